"""Vectors as points of a plane, and the ends of a line: what is seen of numbers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

COMPONENTS = ("first principal component", "second")
"""What the axes are where `on_a_plane` leaves no columns."""


def ends_of(x: Tensor) -> tuple[float, float]:
    """The ends of a line with room for numbers `(N,)`, but for one in two hundred at each end."""
    ends = torch.tensor([0.005, 0.995], dtype=torch.float64)
    low, high = x.double().quantile(ends).tolist()
    margin = 0.15 * max(high - low, 1e-6)
    return low - margin, high + margin


def on_a_plane(known: Tensor) -> Callable[[Tensor], Tensor]:
    """What makes points of a plane of vectors: themselves, or the first two principal components.

    Args:
        known: Vectors `(N, D)` that say which these are; columns count alike, whatever their units.
    """
    if known.shape[1] == 2:
        return lambda x: x.flatten(1).double()
    mean, spread = known.mean(0), known.std(0).clamp_min(1e-12)
    _, _, axes = torch.linalg.svd((known - mean) / spread, full_matrices=False)
    axes = axes[:2].T
    # either sign would do, but it is to be the same everywhere
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    return lambda x: ((x.flatten(1).double() - mean) / spread) @ axes
