"""What vectors of a group are worth: another's of the same group, and one of another group."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import simulacra as sim
from simulacra.data.dataset import Observations
from simulacra.judging.figures.diagnostics import Shuffled, shuffled
from simulacra.judging.figures.likelihood import likelihood

GROUPS, EACH = 6, 5
WIDTH = 2


class Told(sim.Likelihood):
    """Each number of the told vector that is not the observation's own costs so many nats."""

    exact = True
    context = "vector"

    def __init__(self, spec: sim.DataSpec, weights: tuple[float, float]) -> None:
        super().__init__(spec)
        self.weights = torch.tensor(weights)

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        assert context is not None
        return -((x.flatten(1) != context) * self.weights.double()).sum(1)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        return {"loss": -self.log_likelihood(x, context).mean()}


def found(
    weights: tuple[float, float], kind: type[Told] = Told, groups: Tensor | None = None
) -> Shuffled:
    """Of observations (group, place within it), each told just that; in an order that is mixed."""
    torch.manual_seed(0)
    order = torch.randperm(GROUPS * EACH)
    x = torch.stack([order // EACH, order % EACH], 1).view(-1, 1, 1, WIDTH)
    own = x[:, 0, 0, 0] if groups is None else groups
    told = Observations(x, x.view(-1, WIDTH).float(), groups=own)
    spec = sim.DataSpec((1, 1, WIDTH), levels=8, context_width=WIDTH)
    model = kind(spec, weights)
    return shuffled(model, told, likelihood(model, told))


BITS = WIDTH * math.log(2)


def test_groups_and_places_are_told_apart() -> None:
    by_group = found((1.0, 0.0))
    assert by_group.heard
    assert "another group" in by_group.how
    assert by_group.figure is not None
    assert by_group.figure.value == pytest.approx(1 / BITS)
    assert by_group.within is not None
    assert by_group.within.value == pytest.approx(0)
    assert by_group.across is not None
    assert by_group.across.value == pytest.approx(by_group.figure.value)
    assert by_group.across.low is not None
    assert by_group.across.low > 0
    by_place = found((0.0, 1.0))
    assert by_place.within is not None
    assert by_place.within.value == pytest.approx(1 / BITS)
    assert by_place.within.count == GROUPS * EACH


def test_a_vector_that_is_ignored_costs_nothing() -> None:
    """The planted fault: whoever hears nothing loses nothing by any vector."""
    for figure in (found((0.0, 0.0)).figure, found((0.0, 0.0)).within, found((0.0, 0.0)).across):
        assert figure is not None
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low <= 0 <= figure.high
    assert found((0.0, 0.0)).heard is False


def test_the_interval_counts_groups() -> None:
    """Half of the groups lose by the vector of another, all of their observations alike."""

    class Half(Told):
        def log_likelihood(self, x: Tensor, *rest: Any, **more: Any) -> Tensor:
            return super().log_likelihood(x, *rest, **more) * (x[:, 0, 0, 0] % 2)

    figure = found((1.0, 0.0), Half).figure
    assert figure is not None
    assert figure.low is not None
    # Student's with 5 degrees of freedom, of 6 groups with 1 or 0
    error = math.sqrt(0.3 / GROUPS)
    assert figure.value - figure.low == pytest.approx(2.5706 * error / BITS, rel=1e-3)


def test_one_group_alone_has_no_other() -> None:
    alone = found((1.0, 0.0), groups=torch.zeros(GROUPS * EACH, dtype=torch.long))
    assert alone.figure is None
    assert alone.reason == "all contexts are the same"
    assert alone.within is not None
