"""Bounds and densities of the family against closed forms, with a network that is never wrong.

Of normal data, and of levels whose joint distribution is known, E[x | z_t] is known; put in place
of the network it leaves of a bound what a constant, a sign or a weight does wrong.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.diffusion import flow_matching
from simulacra.models.diffusion.d3pm import D3PM
from simulacra.models.diffusion.ddpm import DDPM
from simulacra.models.diffusion.flow_matching import FlowMatching
from simulacra.models.diffusion.gaussian import GaussianDiffusion
from simulacra.models.diffusion.vdm import VDM

MEAN = torch.tensor([0.5, -1.0])
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 2.0]])
PLANE = DataSpec((2,), None)
BITS = DataSpec((3,), 2)


def truth(mean: Tensor = MEAN, covariance: Tensor = COVARIANCE) -> MultivariateNormal:
    return MultivariateNormal(mean.double(), covariance.double())


def knowing(model: Any, mean: Tensor = MEAN, covariance: Tensor = COVARIANCE) -> Any:
    """A diffusion of vectors whose network gives E[y | z] of normal data, y in units of z."""
    model.double().eval()
    model.shift.copy_(torch.tensor([2.0, 1.0]))
    model.scale.copy_(torch.tensor([3.0, 0.5]))
    mean = (mean.double() - model.shift) / model.scale
    covariance = covariance.double() / model.scale[:, None] / model.scale

    def predict(z: Tensor, time: Tensor, told: Tensor, guidance: float = 1.0) -> Any:
        alpha, sigma = model.signal(time)
        total = alpha[:, None, None] ** 2 * covariance + sigma[:, None, None] ** 2 * torch.eye(2)
        away = torch.linalg.solve(total, z - alpha[:, None] * mean)
        # Σ α (α² Σ + σ²)⁻¹ (z − α μ), and what is left of z
        y = mean + alpha[:, None] * away @ covariance
        return y, sigma[:, None] * away

    model.predict = predict
    return model


@torch.no_grad()
def off(model: Any, x: Tensor, exact: Tensor, draws: int = 8) -> tuple[float, float]:
    """By how much a bound is off, on average over observations, and four of its standard errors."""
    gaps = model.log_likelihood(x, draws=draws).double() - exact
    return float(gaps.mean()), 4 * float(gaps.std()) / len(x) ** 0.5


def drawn(n: int) -> Tensor:
    with seeded(5):
        return truth().sample((n,))


def expected_bound(model: Any) -> float:
    """E L_T + Σ E L_{t−1} + E L_0 of `knowing`, where every error is known."""
    spread = torch.linalg.eigvalsh((COVARIANCE / model.scale[:, None] / model.scale).double())
    bar = model.alpha_bar[1:, None]
    # E (ε − ε̂)² along each axis, and what the noise grows by at each step
    wrong = bar * spread / (bar * spread + 1 - bar)
    ratio = (1 - bar) / bar
    between = ((ratio[1:] / ratio[:-1] - 1) * wrong[1:] / 2).sum()
    first = ((2 * math.pi * (1 - bar[0])).log() + wrong[0] / bar[0]).sum() / 2
    square = spread.sum() + ((MEAN - model.shift) / model.scale).square().sum()
    noise, signal = 1 - bar[-1], bar[-1]
    last = (2 * (noise - 1 - noise.log()) + signal * square) / 2
    return -float(last + between + first + model.scale.log().sum())


@pytest.mark.parametrize("steps", [10, 100, 1000])
def test_a_bound_of_steps_is_the_sum_of_its_terms(steps: int) -> None:
    """And it comes nearer to the density with every step."""
    model, x = knowing(DDPM(PLANE, hidden=(2,), steps=steps)), drawn(40_000)
    gap, error = off(model, x, truth().log_prob(x))
    expected = expected_bound(model) + float(truth().entropy())
    assert abs(gap - expected) < error < 0.015 * abs(expected) + 0.1
    assert steps < 1000 or abs(expected) < 0.4


def test_a_bound_in_continuous_time_is_the_density() -> None:
    """Whatever the schedule: where times are drawn more often they weigh less."""
    model, x = knowing(VDM(PLANE, hidden=(2,))), drawn(40_000)
    for squares in (torch.ones(32), torch.linspace(0.2, 5, 32).square()):
        model.squares.copy_(squares)
        gap, error = off(model, x, truth().log_prob(x), 16)
        # what is left at the ends of its schedule: hardly any, of data as wide as a normal's
        assert abs(gap) < error + 0.02 < 0.15


def test_parts_of_a_bound_by_hand() -> None:
    """L_T, L_0 and a step between, of one value, from the definitions of the paper."""
    model: Any = DDPM(DataSpec((1,), None), hidden=(2,), steps=4).double().eval()
    y, told = torch.tensor([[0.7]]).double(), torch.zeros(1, 0)
    bar = model.alpha_bar
    normal = torch.distributions.Normal
    last = torch.distributions.kl_divergence(
        normal(bar[4].sqrt() * 0.7, (1 - bar[4]).sqrt()), normal(0.0, 1.0)
    )
    assert float(model._last(y)) == pytest.approx(float(last), rel=1e-9)

    # a network that takes everything for 0.2
    def predict(z: Tensor, time: Tensor, told: Tensor) -> Any:
        alpha, sigma = (each[:, None] for each in model.signal(time))
        return torch.full_like(z, 0.2), (z - alpha * 0.2) / sigma

    model.predict = predict
    first = -normal(0.2, (1 - bar[1]).sqrt()).log_prob(torch.tensor(0.7))
    found = model._first(y, y, told, torch.tensor([3]))
    assert float(found) == pytest.approx(float(first), rel=1e-6)
    # q(z_2 | z_3, x) has the mean of equation 7, in which x stands with this factor
    beta = 1 - bar[3] / bar[2]
    factor = bar[2].sqrt() * beta / (1 - bar[3])
    variance = (1 - bar[2]) / (1 - bar[3]) * beta
    between = (factor * (0.7 - 0.2)) ** 2 / (2 * variance)
    found = model._between(y, told, torch.tensor([3]), torch.tensor([3]))
    assert float(found) == pytest.approx(float(between), rel=1e-6)


def test_the_first_part_of_levels_by_hand() -> None:
    """A normal about x̂ over the bins of levels, of which the outer ones have no end."""
    model: Any = DDPM(DataSpec((2,), 3), hidden=(2,), steps=4).double().eval()
    x = torch.tensor([[2, 1]])
    model.predict = lambda z, *_: (torch.full_like(z, 0.3), z)
    spread = (1 - model.alpha_bar[1]).sqrt()
    below = torch.distributions.Normal(0.3, spread).cdf
    # levels lie at −1, 0 and 1
    expected = (
        -(1 - below(torch.tensor(0.5))).log()
        - (below(torch.tensor(0.5)) - below(torch.tensor(-0.5))).log()
    )
    found = model._first(x, model.scaled(x), torch.zeros(1, 0), torch.tensor([3]))
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_a_flow_s_density_is_the_normal_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = knowing(FlowMatching(PLANE, hidden=(2,), solver_steps=16)), drawn(500)
    exact = truth().log_prob(x)
    assert model.exact
    found = model.log_likelihood(x[:50])
    assert torch.allclose(found, exact[:50], atol=1e-3)
    # what it tells of its own error is more than that is
    coarse = knowing(FlowMatching(PLANE, hidden=(2,), solver_steps=4))
    told, gaps = coarse.solver_error(x[:50]), coarse.log_likelihood(x[:50]) - exact[:50]
    assert float(gaps.abs().mean()) < float(told.abs().mean()) < 1
    # along one direction at random the trace is right on average
    monkeypatch.setattr(flow_matching, "_EXACT", 0)
    assert model.averaged
    assert not model.exact
    gap, error = off(model, x, exact, 1)
    assert abs(gap) < error < 0.2


def test_levels_of_a_flow_pay_for_their_bins() -> None:
    """With a network that gives 0 the path is z = y, and p(y) is the normal density."""
    model = FlowMatching(DataSpec((8,), 4), hidden=(2,), solver_steps=2).eval()
    with seeded(6):
        x = torch.randint(4, (2000, 8))
    low = x / 2 - 1
    # the mean of y² over a bin of width 1 / 2, and the width that a level has in it
    square = (low**2 + low / 2 + 1 / 12).double()
    expected = (math.log(0.5) - square / 2 - math.log(2 * math.pi) / 2).sum(1)
    gap, error = off(model, x, expected, 1)
    assert abs(gap) < error < 0.1


class Known(D3PM):
    """Predicts each hidden value by a joint distribution of bits, given those that are seen."""

    joint: Tensor

    def logits(self, x: Tensor, seen: Tensor, told: Tensor, guidance: float = 1.0) -> Tensor:
        every = torch.tensor(list(itertools.product((0, 1), repeat=self.spec.dims)))
        fits = ((every == x[:, None]) | ~seen[:, None]).all(2) * self.joint
        share = fits / fits.sum(1, keepdim=True)
        ones = share @ every.to(share)
        return torch.stack([1 - ones, ones], -1).log()


INDEPENDENT = torch.tensor([0.2, 0.5, 0.9])
PAIRED = torch.tensor([[0.4, 0.1], [0.1, 0.4]])


def joint_of(kind: str) -> Tensor:
    every = torch.tensor(list(itertools.product((0, 1), repeat=3)))
    if kind == "independent":
        return torch.where(every == 1, INDEPENDENT, 1 - INDEPENDENT).prod(1)
    return PAIRED[every[:, 0], every[:, 1]] * torch.where(every[:, 2] == 1, 0.3, 0.7)


@pytest.mark.parametrize("kind", ["independent", "paired"])
def test_predictions_of_one_joint_distribution_give_its_probabilities(kind: str) -> None:
    """Whatever the order, the chain rule gives log p(x): the bound is tight."""
    model = Known(BITS, hidden=(2,)).eval()
    model.joint = joint_of(kind)
    every = torch.tensor(list(itertools.product((0, 1), repeat=3)))
    exact = model.joint.double().log()
    each = torch.stack([model.log_likelihood(every, draws=3, seed=s) for s in range(60)]) - exact
    assert abs(float(each.mean())) < 4 * float(each.std()) / each.numel() ** 0.5 < 0.2
    error = 4 * each.std(0) / 60**0.5 + 1e-5
    assert bool((each.mean(0).abs() < error).all())


def test_of_as_many_draws_as_values_each_count_comes_once() -> None:
    model, counts = Known(BITS, hidden=(2,)).eval(), []

    def logits(x: Tensor, seen: Tensor, *_: Any) -> Tensor:
        counts.append(int((~seen[0]).sum()))
        return torch.zeros(*x.shape, 2)

    model.logits = logits  # type: ignore[method-assign]
    model.log_likelihood(torch.tensor([[0, 1, 1]]), draws=3)
    assert sorted(counts) == [1, 2, 3]


@pytest.mark.parametrize("kind", [DDPM, VDM])
def test_levels_that_are_known_cost_what_they_are_worth(kind: type[GaussianDiffusion]) -> None:
    """Independent levels of known frequencies: a network of these is never wrong."""
    share = torch.tensor([0.2, 0.5, 0.3])
    model: Any = kind(DataSpec((6,), 3), prediction="levels", hidden=(2,)).eval()
    model.output = lambda z, *_: share.log()[None, :, None].expand(len(z), 3, 6)
    x = torch.tensor(list(itertools.product(range(3), repeat=6)))
    gap, error = off(model, x, share[x].log().sum(1).double(), 48)
    # steps, and what is left of noise at first, cost a little
    assert -0.3 - error < gap < error < 0.4


@pytest.mark.parametrize(("dims", "steps"), [(37, 37), (100, 100), (37, 5), (10, 50)])
def test_each_step_shows_as_many_hidden_levels(dims: int, steps: int) -> None:
    """One where there are as many steps as values, and never two then."""
    model = D3PM(DataSpec((dims,), 2), hidden=(2,)).eval()
    with seeded(0):
        *grown, _ = model.sample_steps(2, steps=steps)
    taken = min(dims, steps)
    assert len(grown) == taken
    seen, ask = [], model.logits

    def logits(x: Tensor, shown: Tensor, *more: Any) -> Tensor:
        seen.append(shown.sum(1))
        return ask(x, shown, *more)

    model.logits = logits  # type: ignore[method-assign]
    model.sample(2, steps=steps)
    each = torch.stack([*seen, torch.full((2,), dims)]).diff(dim=0)
    assert len(each) == taken
    assert int(each.min()) == dims // taken
    assert int(each.max()) == -(-dims // taken)
