"""Distributions over levels, against mpmath, scipy and their own draws."""

from __future__ import annotations

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.nn.distributions import (
    Discretised,
    DiscretisedLogistic,
    DiscretisedNormal,
    Logistic,
    Narrowing,
    draw_levels,
    log1m_exp,
    log_mean_exp,
)

KINDS = [DiscretisedLogistic, DiscretisedNormal]
DTYPES = [torch.float32, torch.float64]
ALMOST_ONE = {torch.float32: 1 - 2.0**-24, torch.float64: 1 - 2.0**-53}
SCALES = [1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4]


def locations(levels: int) -> list[float]:
    inside = [0.0, 0.5, levels / 2, levels - 0.5, levels]
    return [-1e6, -1e4, -300.0, -1.0, *inside, levels + 300.0, 1e4, 1e6]


# ---- the logistic density -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_logistic_density_is_scipys(dtype: torch.dtype) -> None:
    x = torch.tensor([-1e5, -700, -30, -3, -0.1, 0, 0.5, 4, 100, 1e4], dtype=dtype)
    for loc, scale in [(0.0, 1.0), (2.0, 0.25), (-50.0, 40.0)]:
        own = Logistic(torch.tensor(loc, dtype=dtype), torch.tensor(scale, dtype=dtype)).log_prob(x)
        true = stats.logistic.logpdf(x.double().numpy(), loc, scale)
        assert own.dtype == dtype
        np.testing.assert_allclose(own, true, rtol=1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_logistic_draws_are_logistic(dtype: torch.dtype) -> None:
    loc = torch.tensor([0.0, 3.0, -20.0], dtype=dtype)
    scale = torch.tensor([1.0, 0.2, 30.0], dtype=dtype)
    with seeded(0):
        drawn = Logistic(loc, scale).sample((20_000,))
    assert drawn.shape == (20_000, 3)
    assert drawn.dtype == dtype
    for i in range(3):
        test = stats.kstest(drawn[:, i].numpy(), "logistic", (float(loc[i]), float(scale[i])))
        assert test.pvalue > 1e-4


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_outermost_logistic_draws_are_as_likely_as_they_should_be(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    """rand's 0 comes as often as any other number of its, so it may not land far out."""
    drawn = []
    for uniform in (0.0, ALMOST_ONE[dtype]):
        with monkeypatch.context() as patch:
            patch.setattr(torch, "rand", lambda shape, u=uniform, **kw: torch.full(shape, u, **kw))
            drawn.append(float(Logistic(torch.zeros(1, dtype=dtype), torch.ones(1)).sample()))
    step = math.log(torch.finfo(dtype).eps)
    assert 0.9 * step > drawn[0] > 1.2 * step
    assert -0.9 * step < drawn[1] < -1.2 * step


def test_logistic_gradients_are_finite_far_out() -> None:
    loc, scale = torch.tensor(0.0, requires_grad=True), torch.tensor(1e-3, requires_grad=True)
    x = torch.tensor([-1e4, -1.0, 0.0, 1.0, 1e4])
    for gradient in torch.autograd.grad(Logistic(loc, scale).log_prob(x).sum(), (loc, scale)):
        assert bool(gradient.isfinite())


# ---- bins ---------------------------------------------------------------------------------------


def exact_mass(kind: type[Discretised], loc: float, scale: float, levels: int, k: int) -> mp.mpf:
    """The logarithm of a bin's probability, to 60 digits."""
    with mp.workdps(60):
        lower = -mp.inf if k == 0 else (k - mp.mpf(loc)) / mp.mpf(scale)
        upper = mp.inf if k == levels - 1 else (k + 1 - mp.mpf(loc)) / mp.mpf(scale)
        if lower > -upper:  # the smaller tail keeps its digits
            lower, upper = -upper, -lower

        def cdf(z: mp.mpf) -> mp.mpf:
            if kind is DiscretisedNormal:
                return mp.ncdf(z)
            return mp.mpf(0) if z == -mp.inf else mp.mpf(1) if z == mp.inf else 1 / (1 + mp.exp(-z))

        return mp.log(cdf(upper) - cdf(lower))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_log_probabilities_are_exact(kind: type[Discretised], dtype: torch.dtype) -> None:
    eps = torch.finfo(dtype).eps
    cases = [(3.5, 0.1), (128.0, 10.0), (128.0, 1e-3), (0.0, 1.0), (255.9, 0.3), (100.3, 1e4)]
    cases += [(-300.0, 1.0), (600.0, 5.0), (1e4, 100.0), (-1e4, 0.5)]
    for loc, scale in cases:
        parameters = torch.tensor([loc, scale], dtype=dtype)
        loc, scale = parameters.tolist()
        for k in (0, 1, 3, 127, 128, 254, 255):
            own = float(kind(*parameters, 256).log_prob(torch.tensor(k)))
            true = float(exact_mass(kind, loc, scale, 256, k))
            # of inputs in this precision: the size of the result, and the width of a bin in z
            allowed = 8 * eps * (1 + abs(true) + abs(k - loc) + scale)
            assert abs(own - true) < allowed, f"{loc}, {scale}, level {k}: {own} for {true}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_all_levels_sum_to_one_and_none_underflows(
    kind: type[Discretised], dtype: torch.dtype
) -> None:
    for levels in (2, 5, 256, 65536):
        grid = torch.tensor(list(itertools.product(locations(levels), SCALES)), dtype=dtype)
        if levels > 256:
            grid = grid[::7]
        loc, scale = grid.T[..., None]
        log_p = kind(loc, scale, levels).log_prob(torch.arange(levels))
        assert bool(log_p.isfinite().all())
        assert bool((log_p <= 0).all())
        gap = (log_p.double().exp().sum(1) - 1).abs().max()
        assert float(gap) < (5e-7 if dtype == torch.float32 else 1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_and_right_everywhere(
    kind: type[Discretised], dtype: torch.dtype
) -> None:
    """At outer bins and in far tails too; float32 against the same formula in float64."""
    for levels in (2, 5, 256):
        grid = torch.tensor(list(itertools.product(locations(levels), SCALES)), dtype=dtype)
        k = torch.tensor([0, 1, levels // 2, levels - 1])
        gradients = []
        for precision in (dtype, torch.float64):
            exact = grid.to(precision, copy=True).requires_grad_()
            loc, scale = exact.T[..., None]
            kind(loc, scale, levels).log_prob(k).sum().backward()
            assert exact.grad is not None
            assert bool(exact.grad.isfinite().all()), f"{levels} levels"
            gradients.append(exact.grad.double())
        distance = (grid.double()[:, :1] - levels / 2).abs() + levels
        size = distance / grid.double()[:, 1:] ** 2 * (1 + distance / grid.double()[:, 1:])
        assert bool(((gradients[0] - gradients[1]).abs() < 1e-4 * size + 1e-6).all())


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_differences(kind: type[Discretised]) -> None:
    for loc, scale in [(3.2, 0.7), (-20.0, 2.0), (0.1, 30.0), (40.0, 1.5)]:
        at = torch.tensor([loc, scale], dtype=torch.float64, requires_grad=True)
        for k in (0, 1, 4, 7):
            (own,) = torch.autograd.grad(kind(*at, 8).log_prob(torch.tensor(k)), at)
            with mp.workdps(40):
                step = mp.mpf("1e-12")
                wanted = [
                    (exact_mass(kind, loc + a, scale + b, 8, k)
                     - exact_mass(kind, loc - a, scale - b, 8, k)) / (2 * step)
                    for a, b in ((step, 0), (0, step))
                ]  # fmt: skip
            np.testing.assert_allclose(own, [float(w) for w in wanted], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_normals_gradient_holds_in_far_tails(dtype: torch.dtype) -> None:
    """There log p is −z² / 2 but for its logarithm, so d log p / d loc = z / scale."""
    scale = torch.tensor(0.1, dtype=dtype)
    for z in (50.0, 1e3, 1e4, 1e5, 1e6):
        for sign, edge in ((1, 2.0), (-1, 3.0)):
            loc = edge - sign * z * scale
            loc.requires_grad_()
            log_p = DiscretisedNormal(loc, scale, 6).log_prob(torch.tensor(2))
            (gradient,) = torch.autograd.grad(log_p, loc)
            assert float(gradient) == pytest.approx(sign * (z + 1 / z) * 10, rel=0.002)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("loc", "scale"), [(2.5, 1.0), (0.0, 4.0), (7.9, 0.4), (-2.0, 1.5)])
def test_draws_are_as_often_as_they_are_probable(
    kind: type[Discretised], loc: float, scale: float
) -> None:
    n, density = 100_000, kind(torch.tensor(loc), torch.tensor(scale), 8)
    with seeded(1):
        drawn = density.sample((n,))
    assert drawn.dtype == torch.int64
    expected = density.log_prob(torch.arange(8)).double().exp().numpy() * n
    counts = torch.bincount(drawn, minlength=8).numpy()
    many = expected >= 10
    counts = np.append(counts[many], counts[~many].sum())
    expected = np.append(expected[many], max(expected[~many].sum(), 1e-9))
    statistic = float(((counts - expected) ** 2 / expected).sum())
    assert stats.chi2.sf(statistic, int(many.sum())) > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_levels_wherever_the_density_is(kind: type[Discretised]) -> None:
    loc = torch.tensor([-1e9, -1e6, 2.5, 1e6, 1e9])
    with seeded(0):
        drawn = kind(loc, torch.tensor(3.0), 6).sample((50, 2))
    assert drawn.shape == (50, 2, 5)
    assert drawn[..., [0, 1]].unique().tolist() == [0]
    assert drawn[..., [3, 4]].unique().tolist() == [5]
    assert drawn[..., 2].unique().tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_level_or_scale_is_refused(kind: type[Discretised]) -> None:
    density = kind(torch.zeros(2), torch.ones(2), 4)
    for value in (-1.0, 4.0, 1.5):
        with pytest.raises(ValueError, match="support"):
            density.log_prob(torch.tensor([0.0, value]))
    for scale in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="scale"):
            kind(torch.zeros(1), torch.tensor([scale]), 4)


# ---- draws by the inverse distribution function -------------------------------------------------


def log(*p: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(p, dtype=dtype).log()


@pytest.mark.parametrize("dtype", DTYPES)
def test_draws_fall_where_the_distribution_function_passes(dtype: torch.dtype) -> None:
    one = ALMOST_ONE[dtype]
    quarters, gaps = log(0.25, 0.25, 0.5, dtype=dtype), log(0, 0.5, 0, 0.5, 0, dtype=dtype)
    for logits, cases in [
        (quarters, {0.0: 0, 0.249: 0, 0.251: 1, 0.499: 1, 0.501: 2, one: 2}),
        (quarters + 7, {0.0: 0, 0.249: 0, 0.251: 1, 0.499: 1, 0.501: 2, one: 2}),
        # levels of no probability are never drawn, not even at the ends
        (gaps, {0.0: 1, 0.49: 1, 0.51: 3, 0.999: 3, one: 3}),
        (log(1.0, 0.0, dtype=dtype), {0.0: 0, 0.5: 0, one: 0}),
        (log(0.0, 1.0, dtype=dtype), {0.0: 1, 0.5: 1, one: 1}),
    ]:
        uniform = torch.tensor(list(cases), dtype=dtype)
        drawn = draw_levels(logits.expand(len(cases), -1), uniform)
        assert drawn.dtype == torch.int64
        assert drawn.tolist() == list(cases.values())


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_never_draws_the_improbable(dtype: torch.dtype) -> None:
    """The distribution function of many levels ends a little off 1."""
    with seeded(0):
        logits = 3 * torch.randn(3000, 256, dtype=dtype)
    logits[:, 200:] = -500
    logits[:, :20] = -math.inf
    for uniform in (0.0, ALMOST_ONE[dtype], 1 - 2e-7):
        drawn = draw_levels(logits, torch.full((3000,), uniform, dtype=dtype))
        assert bool(((drawn >= 20) & (drawn < 200)).all())


def test_draws_are_numpys() -> None:
    rng = np.random.default_rng(0)
    logits, uniform = rng.normal(size=(4, 5, 7)), rng.random((4, 5))
    for temperature in (0.3, 1.0, 2.0):
        narrowed = Narrowing(temperature).applied(torch.tensor(logits))
        drawn = draw_levels(narrowed, torch.tensor(uniform))
        for i, j in itertools.product(range(4), range(5)):
            p = np.exp(logits[i, j] / temperature)
            expected = np.searchsorted(np.cumsum(p / p.sum()), uniform[i, j], side="right")
            assert int(drawn[i, j]) == expected


def test_a_low_temperature_draws_the_likeliest() -> None:
    with seeded(0):
        logits, uniform = torch.randn(200, 9), torch.rand(200)
    drawn = draw_levels(Narrowing(1e-4).applied(logits), uniform)
    assert torch.equal(drawn, logits.argmax(-1))


def test_top_k_leaves_the_likeliest_levels() -> None:
    logits = log(0.1, 0.4, 0.3, 0.2)
    for top_k, left in (
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 3]),
        (4, [0, 1, 2, 3]),
        (9, [0, 1, 2, 3]),
    ):
        kept = Narrowing(top_k=top_k).applied(logits)
        assert kept.isfinite().nonzero().flatten().tolist() == left
        assert torch.equal(kept[left], logits[left])
    # those that are equal to the last one stay
    assert Narrowing(top_k=1).applied(log(0.4, 0.2, 0.4)).isfinite().tolist() == [True, False, True]


def test_the_nucleus_is_the_fewest_levels_that_reach_the_probability() -> None:
    logits = log(0.1, 0.4, 0.3, 0.2)
    for top_p, left in ((0.05, [1]), (0.39, [1]), (0.41, [1, 2]), (0.69, [1, 2]), (0.71, [1, 2, 3]),
                        (0.91, [0, 1, 2, 3]), (1.0, [0, 1, 2, 3])):  # fmt: skip
        kept = Narrowing(top_p=top_p).applied(logits)
        assert kept.isfinite().nonzero().flatten().tolist() == left
    # the temperature comes first, and what top-k leaves is a whole
    assert Narrowing(temperature=0.1, top_p=0.9).applied(logits).isfinite().sum() == 1
    assert Narrowing(top_k=2, top_p=0.58).applied(logits).isfinite().sum() == 2
    assert Narrowing(top_p=0.58).applied(logits).isfinite().sum() == 2
    assert Narrowing(top_k=2, top_p=0.56).applied(logits).isfinite().sum() == 1


def test_narrowing_goes_row_by_row() -> None:
    with seeded(0):
        logits = torch.randn(3, 5, 7)
    for narrowing in (Narrowing(2.0, 3, 0.7), Narrowing(top_k=2), Narrowing(top_p=0.5)):
        kept = narrowing.applied(logits)
        for i, j in itertools.product(range(3), range(5)):
            assert torch.equal(kept[i, j], narrowing.applied(logits[i, j]))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"temperature": 0.0}, "temperature is positive"),
        ({"temperature": math.inf}, "temperature is positive"),
        ({"temperature": math.nan}, "temperature is positive"),
        ({"top_k": 0}, "top_k is at least 1"),
        ({"top_p": 0.0}, "top_p is above 0"),
        ({"top_p": 1.1}, "top_p is above 0"),
        ({"top_p": math.nan}, "top_p is above 0"),
    ],
)
def test_narrowing_leaves_something(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Narrowing(**wrong)  # type: ignore[arg-type]


def test_draws_are_as_often_as_the_softmax_says() -> None:
    with seeded(0):
        logits, uniform = torch.randn(12), torch.rand(100_000)
    counts = torch.bincount(draw_levels(logits.expand(100_000, 12), uniform), minlength=12)
    expected = logits.double().softmax(0) * 100_000
    assert stats.chisquare(counts.numpy(), expected.numpy()).pvalue > 1e-4


# ---- sums in the logarithm ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_log1m_exp_is_exact(dtype: torch.dtype) -> None:
    gaps = torch.tensor(
        [1e-30, 1e-12, 1e-4, 0.1, 0.69, 0.6931, 0.6932, 0.7, 1, 5, 20, 80], dtype=dtype
    )
    with mp.workdps(50):
        true = [float(mp.log(-mp.expm1(-mp.mpf(float(gap))))) for gap in gaps]
    eps = torch.finfo(dtype).eps
    np.testing.assert_allclose(log1m_exp(gaps).double(), true, rtol=8 * eps, atol=1e-37)
    assert float(log1m_exp(torch.tensor(math.inf, dtype=dtype))) == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_log1m_exp_has_a_finite_gradient(dtype: torch.dtype) -> None:
    gaps = torch.tensor([0, 1e-300, 1e-30, 1e-3, 0.5, 0.7, 50, 1e30, math.inf], dtype=dtype)
    gaps.requires_grad_()
    value = log1m_exp(gaps)
    (gradient,) = torch.autograd.grad(value.sum(), gaps)
    assert bool(value.isfinite().all())
    assert bool(gradient.isfinite().all())
    middle = gaps[3:7].detach().double()
    np.testing.assert_allclose(gradient[3:7], 1 / torch.expm1(middle), rtol=1e-5)
    assert gradient[-2:].tolist() == [0, 0]


def test_log_mean_exp() -> None:
    weights = torch.tensor([[0.0, 1000.0, -1000.0, -math.inf], [math.log(3), 1000.0, -1000.0, 0.0]])
    expected = [math.log(2), 1000, -1000, -math.log(2)]
    np.testing.assert_allclose(log_mean_exp(weights), expected, rtol=1e-6)
    assert torch.equal(log_mean_exp(weights[1:]), weights[1])
    assert log_mean_exp(torch.full((3, 2), -math.inf)).tolist() == [-math.inf] * 2


@pytest.mark.parametrize("temperature", [1e-30, 1e-39, 1e-60])
def test_the_coldest_draws_are_of_the_likeliest_level(temperature):
    logits = torch.tensor([[0.0, 1.0, 3.0], [900.0, -900.0, 0.0]])
    left = Narrowing(temperature=temperature).applied(logits)
    assert draw_levels(left, torch.tensor([0.5, 0.5])).tolist() == [2, 0]
