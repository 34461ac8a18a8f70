"""Walking from one code to another."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.models.at_once import rows_at_once
from simulacra.models.game import Game
from simulacra.models.model import Decoding, Encoding, Latent, Model
from simulacra.models.modes import evaluating
from simulacra.tasks.invert import invert
from simulacra.tasks.sample import check_takes, device_of, draw

_DECODE = 1


Path = Literal["spherical", "linear"]


def between(start: Tensor, end: Tensor, steps: int, path: Path = "spherical") -> Tensor:
    """Codes from `start` to `end`, along an arc or straight.

    An arc keeps the length that a prior expects: the middle of a straight way between codes of many
    values lies nearer to the origin than nearly any code does.

    Args:
        start: `(N, …)`.
        end: `(N, …)`.
        steps: Codes on the way, both ends included.
        path: Spherical interpolation (Shoemake 1985), the length interpolated; or linear.

    Returns:
        `(N, steps, …)`.
    """
    if path == "linear":
        t = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)
        return start[:, None].lerp(end[:, None], t.view(1, -1, *[1] * (start.ndim - 1)))
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
    model: Model,
    *,
    rows: int | None = None,
    steps: int,
    ends: tuple[Tensor, Tensor] | None = None,
    path: Path = "spherical",
    context: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Observations along the way from one code to another.

    Where the decoder is random, all frames share their noise, so that what changes along a row
    is the code alone.

    Args:
        model: One with a latent space; in eval mode meanwhile.
        rows: Ways; needed where their ends are drawn from the prior.
        steps: Frames on each.
        ends: Observations `(N, *event_shape)` that ways begin at, and as many that they lead to:
            their codes are the ends, of a model that encodes; of a game, those that `invert` finds.
            Without, codes of the prior are.
        path: Between codes: along an arc, or straight; see `between`.
        context: One row for each way, of both of its ends.
        seed: The same seed gives the same frames.

    Returns:
        `(rows, steps, *event_shape)`, where the model is.

    Raises:
        MissingCapability: If the model has no prior over codes, or does not encode what is given.
        UsageError: If a number is out of its range, or ends are not of the form of the data.

    Example:
        >>> import simulacra as sim
        >>> spec = sim.DataSpec((1, 8, 8), levels=16)
        >>> model = sim.build("vae", spec, {"latent": 2, "hidden": (16,)})
        >>> sim.interpolate(model, rows=2, steps=5).shape
        torch.Size([2, 5, 1, 8, 8])
    """
    rows = len(ends[0]) if rows is None and ends is not None else rows
    if path not in get_args(Path):
        raise UsageError(f"path is one of {', '.join(get_args(Path))}, got {path!r}")
    if rows is None or rows < 1 or steps < 2:
        raise UsageError(f"rows is at least 1 and steps at least 2, got {rows} and {steps}")
    context = None if context is None else context.to(device_of(model))
    with torch.no_grad(), evaluating(model):
        start, end = _ends(model, rows, ends, context, seed)
        return decoded(model, between(start, end, steps, path), context, seed=seed)


def walk(
    model: Model,
    ends: tuple[Tensor, Tensor],
    steps: int,
    *,
    draws: int = 1,
    path: Path = "spherical",
    seed: int = 0,
) -> Tensor:
    """What a model draws along the way from one context vector to another.

    All frames of a row are drawn by the same random numbers, so that what changes along it is the
    vector alone: an autoregressive model changes its mind where a vector tips the scales.

    Args:
        model: One that samples, and is told vectors; in eval mode meanwhile.
        ends: Vectors `(N, D)` that ways begin at, and as many that they lead to.
        steps: Frames on each, both ends included.
        draws: Rows of each way, by other random numbers.
        path: Between the vectors: along an arc about the origin, or straight; see `between`.
        seed: The same seed gives the same frames on the same kind of device.

    Returns:
        `(N · draws, steps, *event_shape)` on the CPU; rows of one way together.

    Raises:
        MissingCapability: If the model does not sample, or is told no vectors.
        UsageError: If a number is out of its range, or ends are of another shape.
    """
    check_takes(model, context=ends[0])
    width = model.spec.context_width
    if any(end.shape != (len(ends[0]), width) for end in ends) or steps < 2 or draws < 1:
        raise UsageError(
            f"a walk has two ends (N, {width}), at least 2 steps and 1 draw, got "
            f"{', '.join(str(tuple(end.shape)) for end in ends)}, {steps} and {draws}"
        )
    way = between(*ends, steps, path).repeat_interleave(draws, 0)
    frames = [draw(model, len(way), way[:, step], seed=(seed,)).x for step in range(steps)]
    return torch.stack(frames, 1)


def _ends(
    model: Model,
    rows: int,
    ends: tuple[Tensor, Tensor] | None,
    context: Tensor | None,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """The codes of what is given, or codes of the prior."""
    name = type(model).__name__
    if ends is None:
        if not isinstance(model, Latent):
            raise MissingCapability(f"{name} has no latent space to walk in: use vae, gan or nice")
        with seeded(seed):
            return model.prior(rows, context), model.prior(rows, context)
    ends_in_codes(model)
    if len(ends[0]) != rows or len(ends[1]) != rows:
        raise UsageError(f"{rows} ways need as many ends, got {len(ends[0])} and {len(ends[1])}")
    device = device_of(model)
    if not isinstance(model, Encoding):
        start, end = (invert(model, each, context, seed=seed).codes.to(device) for each in ends)
        return start, end
    start, end = (model.encode(each.to(device), context) for each in ends)
    return start, end


def ends_in_codes(model: Model) -> None:
    """Check that observations have codes in it that can be decoded, or that can be sought.

    Raises:
        MissingCapability: If they have none.
    """
    if not isinstance(model, Game):
        encoder(model)


def encoder(model: Model) -> Encoding:
    """The model, if observations have codes in it that can be decoded.

    Raises:
        MissingCapability: If it does not encode, or does not decode.
    """
    if isinstance(model, Encoding) and isinstance(model, Decoding):
        return model
    raise MissingCapability(
        f"{type(model).__name__} does not encode observations to decode them again: use vae or nice"
    )


@torch.no_grad()
def decoded(model: Model, codes: Tensor, context: Tensor | None = None, *, seed: int = 0) -> Tensor:
    """What codes along ways decode to, all frames of a row under the same noise.

    Args:
        model: One that decodes.
        codes: `(rows, steps, …)`, where the model is.
        context: One row for each row.
        seed: Of a decoder that draws.

    Returns:
        `(rows, steps, *event_shape)`, where the model is.

    Raises:
        MissingCapability: If the model does not decode.
    """
    if not isinstance(model, Decoding):
        raise MissingCapability(f"{type(model).__name__} decodes no codes: use vae, gan or nice")
    rows = len(codes)
    size = rows_at_once(
        lambda n: model.decode(codes[:n, 0], None if context is None else context[:n]), rows
    )
    frames = []
    for step in range(codes.shape[1]):
        with seeded(seed, _DECODE):
            parts = [
                model.decode(codes[lot, step], None if context is None else context[lot])
                for lot in torch.arange(rows, device=codes.device).split(size)
            ]
        frames.append(torch.cat(parts))
    return torch.stack(frames, 1)
