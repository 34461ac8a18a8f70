"""Completing hidden parts of observations."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from simulacra.errors import MissingCapability, UsageError
from simulacra.model import Completion, Model
from simulacra.randomness import seeded

Hidden = Literal["bottom", "top", "left", "right", "centre"]


def mask(event_shape: tuple[int, ...], hide: Hidden) -> Tensor:
    """Which values of a picture are observed when a part of it is hidden.

    Args:
        event_shape: `(C, H, W)`.
        hide: The hidden half, or the hidden middle (half of each side).

    Returns:
        Booleans `(C, H, W)`, true where observed.
    """
    if len(event_shape) != 3:
        raise UsageError(f"only pictures (C, H, W) have a {hide}, got {event_shape}")
    if hide not in get_args(Hidden):
        raise UsageError(f"hide is one of {', '.join(get_args(Hidden))}, got {hide!r}")
    _, height, width = event_shape
    observed = torch.ones(event_shape, dtype=torch.bool)
    rows = {"bottom": slice(height // 2, None), "top": slice(0, height // 2)}
    columns = {"right": slice(width // 2, None), "left": slice(0, width // 2)}
    if hide == "centre":
        rows[hide] = slice(height // 4, height - height // 4)
        columns[hide] = slice(width // 4, width - width // 4)
    observed[:, rows.get(hide, slice(None)), columns.get(hide, slice(None))] = False
    return observed


def complete(
    model: Model,
    x: Tensor,
    observed: Tensor,
    *,
    times: int = 1,
    context: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Several completions of each observation.

    Args:
        model: One with the capability.
        x: `(N, *event_shape)`.
        observed: Booleans `(*event_shape)`, true where `x` is given.
        times: Completions of each.
        context: One row for each observation.
        seed: The same seed gives the same completions.

    Returns:
        `(N, times, *event_shape)`.

    Raises:
        MissingCapability: If the model does not complete.
    """
    if not isinstance(model, Completion):
        raise MissingCapability(
            f"{type(model).__name__} does not complete hidden parts: use pixelcnn or gmm"
        )
    if times < 1:
        raise UsageError(f"times is at least 1, got {times}")
    many = torch.repeat_interleave(x, times, dim=0)
    told = None if context is None else torch.repeat_interleave(context, times, dim=0)
    with seeded(seed), torch.no_grad():
        drawn = model.complete(many, observed.to(x.device), told)
    return drawn.unflatten(0, (len(x), times))


def strips(x: Tensor, observed: Tensor, completions: Tensor) -> Tensor:
    """Pictures in rows *given | completions … | truth*.

    Args:
        x: The truth as floats `(N, C, H, W)` in [0, 1].
        observed: Booleans `(C, H, W)`.
        completions: Floats `(N, times, C, H, W)`.

    Returns:
        `(N · (times + 2), C, H, W)`; hidden values of *given* are mid-grey.
    """
    given = torch.where(observed, x, 0.5)
    return torch.cat([given[:, None], completions, x[:, None]], 1).flatten(0, 1)
