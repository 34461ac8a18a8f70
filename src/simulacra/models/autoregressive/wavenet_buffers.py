"""How a WaveNet is sampled: every layer keeps the features that it will see again.

A layer of dilation d sees what it saw d times ago, which a ring of d places keeps: a time costs the
same however much came before (Le Paine et al. 2016, arXiv 1611.09482). All rings lie in one
tensor, so that what the layers are to see is fetched at once, multiplied at once, and put back at
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn


class GatedLayer(Protocol):
    """What is read of a layer."""

    dilation: int
    now: nn.Linear
    before: nn.Linear
    residual: nn.Linear | None
    skip: nn.Linear

    def context(self, features: Tensor) -> Tensor:
        """What features `(N, told)` add to the gates, `(N, 2 · channels)`."""


class Buffers:
    """The layers of a WaveNet, time by time.

    Args:
        layers: Of the model.
        told: Features of the context, `(n, told)`.
    """

    def __init__(self, layers: Sequence[GatedLayer], told: Tensor) -> None:
        n, channels = len(told), layers[0].now.in_features
        device = told.device
        self.now = [layer.now.weight.T.contiguous() for layer in layers]
        self.residual = [
            (layer.residual.bias, layer.residual.weight.T.contiguous())
            for layer in layers
            if layer.residual is not None
        ]
        self.before = torch.stack([layer.before.weight.T for layer in layers])
        self.always = torch.stack([layer.now.bias + layer.context(told) for layer in layers])
        self.skip = torch.cat([layer.skip.weight.T for layer in layers])
        self.dilations = torch.tensor([layer.dilation for layer in layers], device=device)
        self.starts = self.dilations.cumsum(0) - self.dilations
        self.rings = told.new_zeros(int(self.dilations.sum()), n, channels)
        self.seen = told.new_zeros(len(layers), n, channels)
        self.gated = told.new_zeros(n, len(layers) * channels)
        self.channels, self.time = channels, torch.zeros((), dtype=torch.long, device=device)

    def step(self, h: Tensor) -> Tensor:
        """What all layers add up at the next time, `(n, skip)`.

        Args:
            h: Features of the value before it, `(n, channels)`.
        """
        c = self.channels
        places = self.starts + self.time % self.dilations
        gates = torch.baddbmm(self.always, self.rings[places], self.before)
        for i, now in enumerate(self.now):
            self.seen[i] = h
            both = gates[i].addmm_(h, now)
            both[:, :c].tanh_()
            z = self.gated[:, i * c : (i + 1) * c]
            torch.mul(both[:, :c], both[:, c:].sigmoid_(), out=z)
            if i < len(self.residual):
                h = torch.addmm(self.residual[i][0], z, self.residual[i][1]).add_(h)
        self.rings[places] = self.seen
        self.time += 1
        return self.gated @ self.skip
