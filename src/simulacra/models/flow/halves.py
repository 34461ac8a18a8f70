"""Couplings of two halves of all values, by fully connected networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from simulacra.models.flow.elementwise import Elementwise
from simulacra.models.flow.maps import FlowMap
from simulacra.nn.mlp import mlp


class HalvesCoupling(FlowMap):
    """Maps the even or the odd values one by one, as a network says that sees the others.

    It starts as what raw zeros give: the identity, or nearly.

    Args:
        dims: Number of values, at least 2.
        map_: What is done to each value.
        hidden: Widths of the network's hidden layers.
        told: Width of a context's features, which the network sees too.
        changes: 0 to change the even values, 1 the odd ones.
    """

    def __init__(
        self, dims: int, map_: Elementwise, hidden: Sequence[int], told: int, *, changes: int
    ) -> None:
        super().__init__()
        halves = ((dims + 1) // 2, dims // 2)
        self.map, self.changes = map_, changes
        outputs = halves[changes] * map_.parameters
        self.m = mlp(halves[1 - changes] + told, hidden, outputs, zero=True)

    def _halves(self, y: Tensor, told: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The half that is seen, that which is changed, and what the network says."""
        flat = y.flatten(1)
        seen, changed = flat[:, 1 - self.changes :: 2], flat[:, self.changes :: 2]
        raw = self.m(torch.cat([seen, told], 1)).unflatten(1, (self.map.parameters, -1))
        return seen, changed, raw

    def _joined(self, seen: Tensor, changed: Tensor, like: Tensor) -> Tensor:
        flat = torch.empty_like(like.flatten(1))
        flat[:, 1 - self.changes :: 2], flat[:, self.changes :: 2] = seen, changed
        return flat.view_as(like)

    def forward(self, y: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """See `FlowMap`."""
        seen, changed, raw = self._halves(y, told)
        changed, log_slope = self.map.forward(changed, raw)
        return self._joined(seen, changed, y), log_slope.sum(1)

    def inverse(self, z: Tensor, told: Tensor) -> Tensor:
        """See `FlowMap`."""
        seen, changed, raw = self._halves(z, told)
        return self._joined(seen, self.map.inverse(changed, raw), z)
