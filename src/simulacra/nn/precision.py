"""More precision, where less would show in a likelihood."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Parameters of a distribution as float32, if autocast made them less; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


def full_precision(x: Tensor) -> torch.autocast:
    """A context in which autocast lets everything be as it is on the device of `x`."""
    return torch.autocast(x.device.type, enabled=False)


def double(x: Tensor) -> Tensor:
    """In float64, in which sums over a large data set lose nothing; Apple's GPU has none."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def moments(x: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each value over a batch `(N, …)`, to standardise it by.

    In float64, where no square of a float32 overflows. What does not vary here may do so later, in
    units that are as good as any: its deviation is 1.

    Args:
        x: Values `(N, …)`.
        noise: Variance of what is added to them later.
    """
    wide = double(x)
    spread = (wide.var(0, unbiased=False) + noise).sqrt()
    return wide.mean(0), torch.where(spread > 0, spread, torch.ones_like(spread))
