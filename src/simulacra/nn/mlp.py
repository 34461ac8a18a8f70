"""Fully connected networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn


def mlp(
    inputs: int,
    hidden: Sequence[int],
    outputs: int,
    activation: Callable[[], nn.Module] = nn.ReLU,
    *,
    zero: bool = False,
    dropout: float = 0.0,
) -> nn.Sequential:
    """A network of linear layers with an activation between them.

    Args:
        inputs: Width of the input `(N, inputs)`.
        hidden: Widths between.
        outputs: Width of the output `(N, outputs)`, which has no activation.
        activation: Makes one activation module.
        zero: Start with an output of 0.
        dropout: Probability of dropping a hidden unit while training.
    """
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), activation()]
        layers += [nn.Dropout(dropout)] if dropout else []
        inputs = width
    last = nn.Linear(inputs, outputs)
    if zero:
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)
