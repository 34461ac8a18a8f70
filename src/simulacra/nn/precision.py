"""More precision, where less would show in a likelihood."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Parameters of a distribution as float32, if autocast made them less; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


def double(x: Tensor) -> Tensor:
    """In float64, in which sums over a large data set lose nothing; Apple's GPU has none."""
    return (x.cpu() if x.device.type == "mps" else x).double()
