"""Toys that are right: a flow whose base hears the context, and models made of models.

`test_toy_nested.py` holds them to the laws.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from simulacra.ground.spec import DataSpec
from simulacra.models.flow.base import Flow
from simulacra.nn.context import ContextEmbedding, ContextKind


class ConditionalBase(Flow):
    """A scaling of normal codes whose means a context moves; without one they are learnt alone.

    Args:
        spec: Any observations.
        context: What the base is told: none, label or vector.
    """

    def __init__(self, spec: DataSpec, *, context: ContextKind = "none") -> None:
        super().__init__(spec)
        self.context = context
        self.told = ContextEmbedding(context, spec, 4)
        # one number more than is told, which is always 1
        self.mean = nn.Linear(self.told.width + 1, spec.dims, bias=False)
        self.log_stretch = nn.Parameter(torch.zeros(spec.event_shape))

    def base(self, context: Tensor | None = None) -> Independent[Normal]:
        """N(μ(context), 1) for each row; one for all where there is no context."""
        n = 1 if context is None else len(context)
        one = self.mean.weight.new_ones(n, 1)
        mean = self.mean(torch.cat([self.told(context, one), one], 1))
        mean = mean.view(n, *self.spec.event_shape)
        mean = mean[0] if context is None else mean
        codes = Normal(mean, torch.ones_like(mean), validate_args=False)
        return Independent(codes, len(self.spec.event_shape), validate_args=False)

    def transform(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y * self.log_stretch.exp(), self.log_stretch.sum().expand(len(y))

    def invert(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return z * torch.exp(-self.log_stretch)
