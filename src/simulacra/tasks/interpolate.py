"""Walking from one code to another."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.models.at_once import rows_at_once
from simulacra.models.model import Latent, Model
from simulacra.tasks.sample import device_of

_DECODE = 1


def between(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Codes from `start` to `end` along the arc, which keeps the length that a prior expects.

    Args:
        start: `(N, …)`.
        end: `(N, …)`.
        steps: Codes on the way, both ends included.

    Returns:
        `(N, steps, …)`: spherical interpolation (Shoemake 1985), its length interpolated.
    """
    a, b = start.flatten(1), end.flatten(1)
    length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    cosine = (a * b).sum(1, keepdim=True) / (length_a * length_b).clamp_min(1e-12)
    angle = cosine.clamp(-1, 1).acos()[:, None]
    t = torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device)[None, :, None]
    # there is no arc between parallel codes, and not one but many between opposite ones
    straight = angle.sin() < 1e-4
    sine = torch.where(straight, 1.0, angle.sin())
    weight_a = torch.where(straight, 1 - t, ((1 - t) * angle).sin() / sine)
    weight_b = torch.where(straight, t, (t * angle).sin() / sine)
    length_a, length_b = length_a[:, None].clamp_min(1e-12), length_b[:, None].clamp_min(1e-12)
    length = (1 - t) * length_a + t * length_b
    walk = weight_a * (length / length_a) * a[:, None] + weight_b * (length / length_b) * b[:, None]
    return walk.unflatten(2, start.shape[1:])


def interpolate(
    model: Model, *, rows: int, steps: int, context: Tensor | None = None, seed: int = 0
) -> Tensor:
    """Observations along the way between codes drawn from the prior.

    Where the decoder is random, all frames share their noise, so that what changes along a row
    is the code alone.

    Args:
        model: One with a latent space.
        rows: Ways.
        steps: Frames on each.
        context: One row for each way.
        seed: The same seed gives the same frames.

    Returns:
        `(rows, steps, *event_shape)`, where the model is.

    Raises:
        MissingCapability: If the model has no prior over codes.

    Example:
        >>> import simulacra as sim
        >>> spec = sim.DataSpec((1, 8, 8), levels=16)
        >>> model = sim.build("vae", spec, {"latent": 2, "hidden": (16,)})
        >>> sim.interpolate(model, rows=2, steps=5).shape
        torch.Size([2, 5, 1, 8, 8])
    """
    if not isinstance(model, Latent):
        raise MissingCapability(
            f"{type(model).__name__} has no latent space to walk in: use vae, gan or nice"
        )
    if rows < 1 or steps < 2:
        raise UsageError(f"rows is at least 1 and steps at least 2, got {rows} and {steps}")
    context = None if context is None else context.to(device_of(model))
    with torch.no_grad():
        with seeded(seed):
            codes = between(model.prior(rows, context), model.prior(rows, context), steps)
        size = rows_at_once(
            lambda n: model.decode(codes[:n, 0], None if context is None else context[:n]), rows
        )
        frames = []
        for step in range(steps):
            with seeded(seed, _DECODE):
                parts = [
                    model.decode(codes[lot, step], None if context is None else context[lot])
                    for lot in torch.arange(rows, device=codes.device).split(size)
                ]
            frames.append(torch.cat(parts))
    return torch.stack(frames, 1)
