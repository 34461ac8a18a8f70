"""Fully connected networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn


def mlp(
    inputs: int,
    hidden: Sequence[int],
    outputs: int,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """A network of linear layers with an activation between them.

    Args:
        inputs: Width of the input `(N, inputs)`.
        hidden: Widths between.
        outputs: Width of the output `(N, outputs)`, which has no activation.
        activation: Makes one activation module.
    """
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), activation()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))
