"""`Standardised`: continuous vectors in units that suit a network, and back; levels as they are."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.ground.spec import DataSpec
from simulacra.models.model import Model
from simulacra.nn.precision import moments


class Standardised(Model):
    """Standardises continuous vectors by the training data's moments; what levels are, they stay.

    A density of standardised values becomes one of the data when Σ log `scale` is taken from it.

    Args:
        spec: The form of the data.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        self.register_buffer("shift", torch.zeros(spec.event_shape))
        self.register_buffer("scale", torch.ones(spec.event_shape))

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None = None) -> None:
        """Take the mean and standard deviation of continuous vectors."""
        if self.spec.levels is None:
            mean, spread = moments(x)
            self.shift.copy_(mean)
            self.scale.copy_(spread)

    def standardised(self, x: Tensor) -> Tensor:
        """Observations, or levels, as floats in units of their own: (x − shift) / scale."""
        return (x.to(self.shift.dtype) - self.shift) / self.scale
