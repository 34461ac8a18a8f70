"""Autoregressive maps: each value is changed as a masked network says that sees those before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.models.flow.elementwise import Elementwise
from simulacra.models.flow.maps import FlowMap
from simulacra.nn.masked_linear import MaskedLinear, MaskedLinearStream, deal_degrees
from simulacra.nn.precision import at_least_float32, full_precision


class MaskedNetwork(nn.Module):
    """Numbers for each value, of which none sees that value or a later one.

    The masks are MADE's (Germain et al. 2015, arXiv 1502.03509, equations 8 to 13). It starts with
    an output of 0.

    Args:
        dims: D, number of values.
        outputs: P, numbers for each.
        hidden: Widths of the hidden layers.
        told: Width of a context's features, which every hidden layer sees too.
        backwards: Whether the last value comes first.
        dropout: Probability of dropping a hidden unit.
    """

    order: Tensor

    def __init__(
        self,
        dims: int,
        outputs: int,
        hidden: Sequence[int],
        told: int,
        *,
        backwards: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dims, self.outputs, self.hidden = dims, outputs, tuple(hidden)
        # the place of each value, and the value of each place: turned around, both are the same
        order = torch.arange(dims).flip(0) if backwards else torch.arange(dims)
        self.register_buffer("order", order, persistent=False)
        # a unit of degree m sees the first m values; one of degree 0 the context alone
        least = min(0 if told else 1, dims - 1)
        degrees = [order[None] + 1]
        for layer, width in enumerate(hidden):
            degrees.append(deal_degrees(width, least, dims, 1, layer))
        degrees.append(order.repeat(outputs)[None])
        *between, last = pairwise(degrees)
        self.W = nn.ModuleList(MaskedLinear(*pair) for pair in between)
        self.V = MaskedLinear(*last)
        nn.init.zeros_(self.V.weight)
        nn.init.zeros_(self.V.bias)
        self.U = nn.Linear(told, sum(hidden), bias=False) if told else None
        self.drop = nn.Dropout(dropout)

    def _added(self, told: Tensor) -> list[Tensor]:
        """What the context adds to each hidden layer, `(N, width)`; nothing without."""
        return [] if self.U is None else list(self.U(told).split(self.hidden, 1))

    def forward(self, y: Tensor, told: Tensor) -> Tensor:
        """The numbers `(N, P, D)` for values `(N, D)`."""
        added = self._added(told)
        h = y
        for i, layer in enumerate(self.W):
            h = layer(h)
            h = self.drop(F.relu(h + added[i] if added else h))
        raw: Tensor = self.V(h).unflatten(1, (self.outputs, self.dims))
        return raw

    @torch.no_grad()
    def in_turn(self, told: Tensor, value: Callable[[int, Tensor], Tensor]) -> Tensor:
        """Values `(N, D)`, one after another: each unit is computed when all it sees is known.

        Args:
            told: Features of the context, `(N, width)`.
            value: Gives the value `(N,)` of a place in the order, of its numbers `(N, P)`.
        """
        n, dims, weight = len(told), self.dims, self.V.weight
        # values and units are zero until they are known
        y = h = weight.new_zeros(1, dims, n)
        added = [each.T for each in self._added(told)]
        streams = []
        for i, layer in enumerate(layer for layer in self.W if isinstance(layer, MaskedLinear)):
            stream = MaskedLinearStream(layer, h, dims, added[i] if added else None)
            h = weight.new_zeros(1, layer.out_features, n)
            streams.append((stream, stream.by_degree(h)))
        last = MaskedLinearStream(self.V, h, dims)
        block = math.isqrt(dims)
        for place, known in enumerate(y[0].unbind()):
            if place % block == 0:
                for each in [*(stream for stream, _ in streams), last]:
                    each.start(place, min(place + block, dims))
            for stream, units in streams:
                if stream.counts[place]:
                    torch.clamp_min(stream.step(place), 0, out=units[place])
            known.copy_(value(place, last.step(place)[0].T))
        return y[0][self.order].T.contiguous()


class AutoregressiveMap(FlowMap):
    """z_i = f(y_i), by what a masked network says that sees the y before it.

    Values go to codes in a pass, and back in turn. It starts as what raw zeros give: the identity,
    or nearly.

    Args:
        network: Gives as many numbers for each value as `map_` needs.
        map_: What is done to each value.
    """

    def __init__(self, network: MaskedNetwork, map_: Elementwise) -> None:
        super().__init__()
        self.network, self.map = network, map_

    def _each(self, y: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """z and the log-slope of each value, `(N, D)`, of y `(N, D)`."""
        return self.map.forward(y, self.network(y, told))

    def forward(self, y: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """See `FlowMap`."""
        z, log_slope = self._each(y.flatten(1), told)
        return z.view_as(y), log_slope.sum(1)

    def inverse(self, z: Tensor, told: Tensor) -> Tensor:
        """See `FlowMap`; gradients are those of the function that the map implies."""
        flat = at_least_float32(z).flatten(1)
        told = told.to(flat.dtype)
        # one value at a time is of one type, and a system is not solved by halves
        with full_precision(z):
            codes = flat.detach().T[self.network.order].unbind()
            y = self.network.in_turn(told, lambda i, raw: self.map.inverse(codes[i], raw))
            return (y + self._correction(y, flat, told)).view_as(z)

    def _correction(self, y: Tensor, z: Tensor, told: Tensor) -> Tensor:
        """Zero, of which the gradient is that of the y whose image is z.

        What moves z, or the map under y, moves y by dy = J⁻¹ (dz − d f), with J = ∂f/∂y. So a
        gradient of y becomes J⁻ᵀ times it, of z − f(y). J is triangular: of w = J⁻ᵀ v each round
        of w + (v − Jᵀ w) / diagonal makes one value more exact, and mostly all of them soon.
        """
        if not torch.is_grad_enabled():
            return torch.zeros_like(y)
        at = y.detach().requires_grad_()
        image, log_slope = self._each(at, told)
        gap = z - image
        slope = log_slope.detach().exp()

        def solved(v: Tensor) -> Tensor:
            w = v / slope
            for _ in range(self.network.dims - 1):
                (jw,) = torch.autograd.grad(image, at, w, retain_graph=True)
                step = (v - jw) / slope
                w = w + step
                if bool((step.abs() <= _EXACT * w.abs().amax()).all()):
                    break
            return w

        gap.register_hook(solved)
        return gap - gap.detach()


_EXACT = 1e-7
"""Of the largest value: smaller steps end a gradient's rounds."""


class InverseAutoregressiveMap(FlowMap):
    """The inverse of an autoregressive map: codes go to values in a pass, values to codes in turn.

    Args:
        of: The map.
    """

    def __init__(self, of: AutoregressiveMap) -> None:
        super().__init__()
        self.of = of

    def forward(self, y: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """See `FlowMap`."""
        z = self.of.inverse(y, told)
        return z, -self.of(z, told)[1]

    def inverse(self, z: Tensor, told: Tensor) -> Tensor:
        """See `FlowMap`."""
        y: Tensor = self.of(z, told)[0]
        return y
