"""Paired differences of two scores, against simulation and by hand."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict

import pytest
import torch
from scipy.stats import t as student

from simulacra.ground.errors import UsageError
from simulacra.judging.figures.likelihood import Score
from simulacra.judging.figures.paired import paired

LOG2 = math.log(2)


def score(values, *, levels=2, dims=4.0, exact=True, rows=None, valid=None, groups=None):
    values = torch.as_tensor(values, dtype=torch.float64)
    rows = torch.arange(len(values)) if rows is None else rows
    valid = None if valid is None else torch.as_tensor(valid)
    return Score.of(values, rows, exact=exact, dims=dims, levels=levels, valid=valid, groups=groups)


def test_the_difference_is_in_bits_and_its_interval_is_students():
    a, b = [-4.0, -8.0, -6.0, -1.0], [-3.0, -9.0, -3.0, 1.0]
    pair = paired(score(a), score(b))
    bits = [(y - x) / (4 * LOG2) for x, y in zip([4, 8, 6, 1], [3, 9, 3, -1], strict=True)]
    half = student.ppf(0.975, 3) * statistics.stdev(bits) / 2
    assert pair.unit == "bits/dim"
    assert pair.observations == 4
    assert pair.difference == pytest.approx(statistics.fmean(bits))
    assert (pair.low, pair.high) == pytest.approx(
        (statistics.fmean(bits) - half, statistics.fmean(bits) + half)
    )
    assert pair.tie is True
    back = paired(score(b), score(a))
    assert back.difference == pytest.approx(-pair.difference)
    assert (back.low, back.high) == pytest.approx((-pair.high, -pair.low))


def test_of_vectors_the_larger_log_likelihood_wins():
    a, b = torch.linspace(-9, -3, 50), torch.linspace(-9, -3, 50) + 1
    pair = paired(score(a, levels=None), score(b + 0.1 * a.sin(), levels=None))
    assert pair.unit == "nats"
    assert pair.difference == pytest.approx(1, abs=0.1)
    assert (pair.tie, pair.winner) == (False, 1)
    pair = paired(score(a), score(b))
    assert pair.difference == pytest.approx(-1 / (4 * LOG2))
    assert (pair.tie, pair.winner) == (False, 1)
    assert paired(score(b), score(a)).winner == 0


def test_pairing_tells_apart_what_two_errors_cannot():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        hard = 100 * torch.randn(400)
        a, b = score(hard), score(hard + 0.5 + 0.3 * torch.randn(400))
    assert abs(a.nats - b.nats) < a.standard_error
    pair = paired(a, b)
    assert (pair.tie, pair.winner) == (False, 1)


def test_the_same_model_twice_ties_at_nothing():
    values = torch.linspace(-5, 2, 9)
    record = asdict(paired(score(values), score(values)).of("a", "b"))
    assert record == {
        "models": ("a", "b"), "difference": 0.0, "low": 0.0, "high": 0.0, "tie": True,
        "winner": None, "observations": 9, "unit": "bits/dim", "caveat": None, "reason": None,
    }  # fmt: skip
    assert "-0.0" not in str(record)


@pytest.mark.parametrize("n", [5, 60])
def test_the_interval_holds_the_truth_nineteen_times_in_twenty(n):
    generator = torch.Generator().manual_seed(n)
    held, trials = 0, 1500
    for _ in range(trials):
        hard = 10 * torch.randn(n, generator=generator)
        noise = torch.rand(n, generator=generator) - 0.5
        pair = paired(score(hard, levels=None), score(hard + 0.2 + noise, levels=None))
        held += pair.low <= 0.2 <= pair.high
    # 1,500 trials tell a share of 0.95 to within 0.017 (3 errors); a normal interval of five
    # observations would hold it 0.88 of the time
    assert held / trials == pytest.approx(0.95, abs=0.017)


def test_of_sounds_it_is_the_difference_of_two_ratios_and_covers_it():
    generator = torch.Generator().manual_seed(0)
    held, trials = 0, 600
    for _ in range(trials):
        valid = torch.randint(1, 9, (150,), generator=generator)
        hard = torch.randn(150, generator=generator)
        gain = 2 * valid + torch.randn(150, generator=generator) * valid.sqrt()
        a, b = score(-5 * valid + hard, valid=valid), score(-5 * valid + hard + gain, valid=valid)
        pair = paired(a, b)
        assert pair.difference == pytest.approx(b.bits_per_dim - a.bits_per_dim)
        held += pair.low <= -2 / LOG2 <= pair.high
    assert pair.unit == "bits/valid sample"
    assert held / trials == pytest.approx(0.95, abs=0.027)


@pytest.mark.parametrize("lengths", [False, True])
def test_equal_models_tie_where_windows_of_a_recording_are_alike(lengths):
    """Twelve recordings of thirty windows; one recording suits a model more, another less."""
    generator = torch.Generator().manual_seed(0)
    groups = torch.arange(12).repeat_interleave(30)[torch.randperm(360, generator=generator)]
    held, alone, trials = 0, 0, 1000
    for _ in range(trials):
        valid = torch.randint(1, 9, (360,), generator=generator) if lengths else None
        size = 1 if valid is None else valid
        effect = 0.5 * torch.randn(12, generator=generator)
        apart = size * (effect[groups] + torch.randn(360, generator=generator))
        hard = 10 * torch.randn(360, generator=generator)
        found = [
            paired(
                score(hard, valid=valid, groups=each), score(hard + apart, valid=valid, groups=each)
            )
            for each in (groups, None)
        ]
        held, alone = held + found[0].tie, alone + found[1].tie
    # 1,000 trials tell a share of 0.95 to within 0.021 (3 errors)
    assert held / trials == pytest.approx(0.95, abs=0.021)
    assert alone / trials < 0.65
    assert found[0].observations == 360


@pytest.mark.parametrize(
    "sizes", [[300] + [10] * 11, [100] + [20] * 11, [2**i for i in range(9)], [30, 3]]
)
def test_equal_models_tie_where_one_recording_is_much_longer(sizes):
    """An error that takes all recordings for equal would hold 0 in 0.4 of the first."""
    generator = torch.Generator().manual_seed(0)
    groups = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    zero, held, trials = torch.zeros(len(groups)), 0, 800
    for _ in range(trials):
        effect = 0.5 * torch.randn(len(sizes), generator=generator)
        apart = effect[groups] + torch.randn(len(groups), generator=generator)
        held += paired(score(zero, groups=groups), score(apart, groups=groups)).tie
    assert held / trials > 0.95 - 0.023


def test_groups_are_the_degrees_of_freedom():
    groups = torch.tensor([4, 4, 9, 9, 2])
    a, b = torch.zeros(5), torch.tensor([1.0, 2.0, 4.0, 6.0, 9.0])
    pair = paired(score(a, levels=None, groups=groups), score(b, levels=None, groups=groups))
    mean = 22 / 5
    left = [(3 - 2 * mean) / (3 / 5), (10 - 2 * mean) / (3 / 5), (9 - mean) / (4 / 5)]
    error = math.sqrt(2 / 3 * sum(r**2 for r in left)) / 5
    degrees = 25 / (4 + 4 + 1) - 1
    assert pair.high - pair.difference == pytest.approx(student.ppf(0.975, degrees) * error)
    assert pair.difference == pytest.approx(mean)


def test_of_one_recording_there_is_a_difference_but_no_interval():
    groups = torch.full((4,), 7)
    pair = paired(score(torch.arange(4.0), groups=groups), score(torch.ones(4), groups=groups))
    assert pair.difference == pytest.approx((1.5 - 1) / (4 * LOG2))
    assert (pair.low, pair.tie, pair.winner) == (None, None, None)
    assert pair.reason == "of a single group, or recording, the spread is unknown"
    assert "nan" not in str(pair.of("a", "b"))


@pytest.mark.parametrize(("bad", "which"), [(0, "first"), (1, "second")])
def test_what_is_not_finite_has_no_pair_but_a_reason(bad, which):
    scores = [score([-1.0, -2.0, -3.0]), score([-1.0, -2.0, -3.0])]
    scores[bad] = score([-1.0, -math.inf, math.nan])
    pair = paired(*scores)
    assert (pair.difference, pair.low, pair.high, pair.tie, pair.winner) == (None,) * 5
    assert f"the {which} model gives 2 of 3 observations no finite likelihood" in pair.reason
    assert "nan" not in str(pair.of("a", "b"))


def test_of_one_observation_there_is_no_interval():
    pair = paired(score([-1.0]), score([-3.0]))
    assert pair.difference == pytest.approx(2 / (4 * LOG2))
    assert (pair.low, pair.tie, pair.winner) == (None, None, None)
    assert pair.reason == "of one observation the spread is unknown"


def test_scores_of_other_observations_are_refused():
    values = torch.linspace(-5, 2, 9)
    for other in (
        score(values[:5]),
        score(values, rows=torch.arange(1, 10)),
        score(values, levels=3),
        score(values, dims=5.0),
        score(values, levels=None),
        score(values, valid=[4] * 9),
        score(values, groups=torch.arange(9) // 2),
    ):
        with pytest.raises(UsageError, match="a pair is of"):
            paired(score(values), other)
    means = Score(exact=True, nats=3.0, standard_error=1.0, dims=4, levels=2, draws=1,
                  observations=9, non_finite=0)  # fmt: skip
    with pytest.raises(UsageError, match="got means alone"):
        paired(score(values), means)


@pytest.mark.parametrize(
    ("exact", "gain", "caveat"),
    [
        ((True, True), 1.0, None),
        ((True, True), 0.0, None),
        # a bound that wins has won
        ((True, False), 1.0, None),
        ((False, True), -1.0, None),
        # one that loses or ties may hide the better model
        ((True, False), -1.0, "the second figure is a bound: that it loses"),
        ((False, True), 1.0, "the first figure is a bound: that it loses"),
        ((False, True), 0.0, "the first figure is a bound: that it ties"),
        ((False, False), 1.0, "both figures are bounds"),
    ],
)
def test_a_bound_shows_only_what_it_can(exact, gain, caveat):
    values = torch.linspace(-9, -5, 40)
    second = values + gain + 0.01 * values.sin() * (gain != 0)
    pair = paired(score(values, exact=exact[0]), score(second, exact=exact[1]))
    assert pair.winner == (None if gain == 0 else int(gain > 0))
    assert pair.caveat is caveat if caveat is None else pair.caveat.startswith(caveat)
