"""What keeps the opponent's slope in bounds: every regulariser of the family, side by side.

All but one are penalties of the gradient of its scores with respect to what it is shown, `y` on
the scale that the players share. `spectral` is none: it divides each weight but the last by its
largest singular value (arXiv 1802.05957), which the networks do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec

RegulariserName = Literal["none", "spectral", "gradient-penalty", "r1", "r1-r2"]
Scoring = Callable[[Tensor], Tensor]
"""Scores `(N,)` of what `(N, …)` the opponent is shown, each with its context."""

PENALTIES: dict[RegulariserName, float] = {"gradient-penalty": 10.0, "r1": 0.1, "r1-r2": 0.1}
"""The usual weight of each penalty, where there is one."""


def usual_penalty(name: RegulariserName, spec: DataSpec) -> float:
    """The weight of a penalty; 0 of a regulariser that is none.

    Of vectors a slope of 1 is held a hundred times less, as in the toys of arXiv 1704.00028: theirs
    are few values, of which narrow modes need steep scores.
    """
    return PENALTIES.get(name, 0.0) * (
        0.01 if name == "gradient-penalty" and spec.levels is None else 1.0
    )


def check_regulariser(name: str) -> None:
    """Refuse a name that no regulariser has.

    Raises:
        UsageError: If none has it.
    """
    if name not in get_args(RegulariserName):
        names = ", ".join(get_args(RegulariserName))
        raise UsageError(f"regulariser is one of {names}; got {name!r}")


def squared_slope(score: Scoring, y: Tensor) -> Tensor:
    """‖∇ score(y)‖² of each, `(N,)`; gradients go through it."""
    with torch.enable_grad():
        y = y.detach().requires_grad_()
        (slope,) = torch.autograd.grad(score(y).sum(), y, create_graph=True)
    return slope.flatten(1).square().sum(1)


def gradient_penalty(score: Scoring, real: Tensor, fake: Tensor) -> Tensor:
    """E (‖∇ score(ŷ)‖ − 1)², ŷ between a real and a generated one: arXiv 1704.00028, equation 3."""
    between = torch.rand(len(real), *[1] * (real.ndim - 1), dtype=real.dtype, device=real.device)
    square = squared_slope(score, between * real + (1 - between) * fake)
    # the root has no derivative at 0
    return ((square + 1e-12).sqrt() - 1).square().mean()
