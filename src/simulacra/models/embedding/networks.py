"""Networks from observations of any form to so many numbers."""

from __future__ import annotations

import math

from torch import Tensor, nn

from simulacra.ground.spec import DataSpec
from simulacra.nn.levels import input_channels, is_sound
from simulacra.nn.mlp import mlp

_SMALLEST = 4
"""Convolutions halve a picture until no side is longer."""
_SHORTEST = 16
"""And quarter a sound."""
_WIDER = 4
"""Channels double at each size, up to so many times those at the first."""
_HIDDEN = (256, 128)
"""Of vectors, and of levels that are neither pictures nor sounds."""


def network(spec: DataSpec, channels: int, outputs: int) -> nn.Module:
    """From inputs `(N, input_channels(spec), …)`, see `as_input`, to numbers `(N, outputs)`.

    Args:
        spec: The form of the data.
        channels: Of the first convolution.
        outputs: How many numbers.
    """
    if not (spec.is_image or (is_sound(spec) and spec.ordered)):
        inputs = spec.dims // spec.event_shape[0] * input_channels(spec)
        return nn.Sequential(nn.Flatten(), mlp(inputs, _HIDDEN, outputs))
    return _Convolutions(spec, channels, outputs)


class _Convolutions(nn.Module):
    """Convolutions of two axes, or of one, each to the next smaller size; then a linear layer."""

    def __init__(self, spec: DataSpec, channels: int, outputs: int) -> None:
        super().__init__()
        self.picture = spec.is_image
        sides = spec.event_shape[1:] if self.picture else spec.event_shape
        by, least = (2, _SMALLEST) if self.picture else (4, _SHORTEST)
        inputs = input_channels(spec) if self.picture else 1
        width, layers = channels, list[nn.Module]()
        while not layers or max(sides) > least:
            layers += [
                nn.Conv2d(inputs, width, 3, 2, 1) if self.picture
                else nn.Conv1d(inputs, width, 9, 4, 4),
                nn.ReLU(),
            ]  # fmt: skip
            inputs, width = width, min(2 * width, _WIDER * channels)
            sides = tuple(math.ceil(side / by) for side in sides)
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(inputs * math.prod(sides), outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.body(inputs if self.picture else inputs[:, None])
        numbers: Tensor = self.head(features.flatten(1))
        return numbers
