"""Hidden values drawn by a chain, against conditionals that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

import laws
import simulacra as sim
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.flow import completion
from simulacra.models.flow.base import Flow
from simulacra.models.flow.maps import Scaling
from simulacra.models.flow.nice import NICE
from simulacra.tasks.complete import complete

GREY = DataSpec((1, 2, 2), 3, classes=3)
UPPER = torch.tensor([[[True, True], [False, False]]])


def tiny() -> NICE:
    """Of four values of three levels, with weights of no special value."""
    return laws.trial(NICE, GREY, {"hidden": (8,)})


@torch.no_grad()
def conditional(model: Flow, given: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """All observations, and P(x | what is observed): the density integrated over each bin."""
    at, weights = (torch.tensor(each / 2) for each in np.polynomial.legendre.leggauss(10))
    # densely at both ends of a bin, where the logit bends the density of the outer levels
    at = at + 0.5
    nodes, weights = at**3 * (10 - 15 * at + 6 * at**2), 30 * weights * (at * (1 - at)) ** 2
    grid = torch.cartesian_prod(*[nodes] * 4).view(-1, 1, 2, 2)
    log_weights = torch.cartesian_prod(*[weights.log()] * 4).sum(1)
    x = laws.states(model)
    log_p = torch.full((len(x),), -math.inf, dtype=torch.float64)
    model.double()
    for i in (x == given)[:, observed].all(1).nonzero()[:, 0].tolist():
        log_p[i] = (model.log_density(x[i] + grid) + log_weights).logsumexp(0)
    model.float()
    return x, log_p.softmax(0)


def distance(drawn: Tensor, x: Tensor, p: Tensor) -> float:
    """Total variation between draws and probabilities."""
    place = 3 ** torch.arange(3, -1, -1)
    counts = torch.bincount((drawn.flatten(1) * place).sum(1), minlength=len(x))
    return float((counts / len(drawn) - p).abs().sum() / 2)


@pytest.mark.parametrize(
    "row", [5, *(pytest.param(row, marks=pytest.mark.nightly) for row in (40, 70))]
)
def test_draws_follow_the_flows_own_conditional(row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # of few values a chain is short; what it goes to is seen of a longer one
    monkeypatch.setattr(completion, "_PER_ROOT", 24)
    model = tiny()
    given = laws.states(model)[row]
    x, p = conditional(model, given, UPPER)
    with seeded(3):
        steps = list(model.complete_steps(given.expand(2000, 1, 2, 2), UPPER))
    exact = torch.multinomial(p, 2000, replacement=True, generator=torch.manual_seed(0))
    by_chance = distance(x[exact], x, p)
    assert distance(steps[-1], x, p) < 0.03 + by_chance
    # where it began: at samples that know nothing of what is observed
    assert distance(steps[0], x, p) > 0.15


class Turned(Flow):
    """Two values that go together: standard normal codes, turned and stretched."""

    def base(self, context: Tensor | None = None) -> Independent:
        zeros = torch.zeros(2, dtype=self.shift.dtype)
        return Independent(Normal(zeros, 1.0), 1)

    def _matrix(self) -> Tensor:
        return torch.tensor([[1.0, 0.0], [-0.8 / 0.6, 1 / 0.6]], dtype=self.shift.dtype)

    def transform(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y @ self._matrix().T, y.new_full((len(y),), -math.log(0.6))

    def invert(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return torch.linalg.solve(self._matrix(), z.T).T


def test_a_hidden_value_of_a_vector_has_the_gaussian_conditional() -> None:
    model = Turned(DataSpec((2,), None))
    model.shift.copy_(torch.tensor([3.0, -2.0]))
    model.log_scale.copy_(torch.tensor([2.0, 0.5]).log())
    x = torch.tensor([[6.0, 99.0]]).expand(3000, 2)
    with seeded(1):
        drawn = model.complete(x, torch.tensor([True, False]))
    assert bool((drawn[:, 0] == 6).all())
    # y2 | y1 ~ N(0.8 y1, 0.6²), in units of 0.5 about −2
    assert float(drawn[:, 1].mean()) == pytest.approx(-2 + 0.5 * 0.8 * 1.5, abs=0.02)
    assert float(drawn[:, 1].std()) == pytest.approx(0.5 * 0.6, rel=0.06)


def test_what_is_observed_and_what_is_not_may_differ_from_row_to_row() -> None:
    model, x = tiny(), torch.full((4, 1, 2, 2), 2)
    observed = torch.zeros(4, 1, 2, 2, dtype=torch.bool)
    observed[0] = True
    observed[1, 0, 0] = True
    drawn = model.complete(x, observed)
    assert bool((drawn[observed] == 2).all())
    assert not model.completes_exactly(observed)


def test_with_nothing_observed_it_is_a_sample_and_with_all_what_it_was() -> None:
    model, x = tiny(), torch.zeros(5, 1, 2, 2).long()
    with seeded(2):
        assert torch.equal(model.complete(x, UPPER | True), x)
    with seeded(2):
        drawn = model.complete(x, UPPER & False)
    with seeded(2):
        assert torch.equal(drawn, model.sample(5))


def test_weights_that_are_no_numbers_leave_what_is_observed() -> None:
    model = tiny()
    with torch.no_grad():
        next(each for each in model.maps if isinstance(each, Scaling)).s[0] = math.nan
    x = torch.ones(3, 1, 2, 2).long()
    drawn = model.complete(x, UPPER)
    assert bool((drawn[:, UPPER] == 1).all())


def test_the_chain_learns_no_weights() -> None:
    model = tiny()
    model.complete(torch.zeros(2, 1, 2, 2).long(), UPPER)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_several_completions_of_a_context_from_python() -> None:
    model = laws.trial(NICE, GREY, {"hidden": (8,), "context": "label"})
    x = laws.observations(model, 3)
    drawn = sim.complete(model, x, UPPER, times=4, context=torch.tensor([0, 1, 2]))
    assert drawn.shape == (3, 4, 1, 2, 2)
    assert torch.equal(drawn[:, :, 0, 0], x[:, None, 0, 0].expand(-1, 4, -1))
    again = complete(model, x, UPPER, times=4, context=torch.tensor([0, 1, 2]))
    assert torch.equal(again, drawn)
