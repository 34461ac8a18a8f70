"""Copying is caught, held-out data passes, and every figure is recomputed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu, norm
from sklearn.datasets import load_digits

from simulacra.ground.errors import DataError, UsageError
from simulacra.judging.figures import novelty as module
from simulacra.judging.figures.novelty import duplicates, novelty, suspicious


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def modes(n, random, width=4):
    """Six clouds that differ in place and spread; and which of them each row is from."""
    mode = torch.randint(6, (n,), generator=random)
    x = torch.randn(n, width, generator=random, dtype=torch.float64)
    x *= (0.05 + 0.3 * mode)[:, None]
    x[:, 0] += 12 * mode
    return x, mode


def three(seed=0, train=1200, held_out=400, samples=400):
    random = generator(seed)
    return tuple(modes(n, random)[0] for n in (train, held_out, samples))


def whole_numbers(seed, below, width, *counts):
    random = generator(seed)
    return [torch.randint(below, (n, width), generator=random).double() for n in counts]


def noisy_copies(x, n, noise, seed=9):
    random = generator(seed)
    rows = torch.randint(len(x), (n,), generator=random)
    return x[rows] + noise * torch.randn(n, x.shape[1], generator=random, dtype=x.dtype), rows


def values(figures):
    return {name: figure.value for name, figure in figures.items()}


def test_a_copycat_is_caught():
    train, held_out, _ = three()
    found = novelty(train, held_out, noisy_copies(train, 400, 0.001)[0])
    assert found["c_t"].value < -10
    assert found["authentic"].value < 0.03
    assert found["nearer"].low > 0.9
    assert found["suspects"].low > 0.8


def test_held_out_data_passes():
    found = novelty(*three(1))
    assert abs(found["c_t"].value) < 3
    assert found["nearer"].low < 0.5 < found["nearer"].high
    assert found["suspects"].low < 0.01 < found["suspects"].high
    assert 0.35 < found["authentic"].value < 0.65


def test_a_model_that_copies_now_and_then_is_caught_by_its_suspects():
    train, held_out, samples = three(2)
    samples[:20], rows = noisy_copies(train, 20, 0.0005)
    found = novelty(train, held_out, samples)
    assert found["c_t"].value > -3  # the average does not see it
    assert found["suspects"].value > 0.045
    assert found["suspects"].low > 0.01
    listed = suspicious(train, held_out, samples, most=15)
    assert {each.sample for each in listed} <= set(range(20))
    assert all(each.train == rows[each.sample] for each in listed)


def test_cells_see_copying_in_one_mode_that_the_whole_does_not():
    random = generator(3)
    (train, mode), (held_out, _), (samples, of) = (modes(n, random) for n in (1200, 600, 600))
    # in the densest mode, where held-out data too is nearer than elsewhere
    samples[of == 0] = noisy_copies(train[mode == 0], int((of == 0).sum()), 0.005)[0]
    near = [torch.cdist(x, train).min(1).values.numpy() for x in (samples, held_out)]
    assert mannwhitneyu(*near, alternative="less").pvalue > 0.01
    assert novelty(train, held_out, samples)["c_t"].value < -4


def test_samples_that_are_too_wide_are_underfitted():
    train, held_out, samples = three(4)
    samples += 0.5 * torch.randn(samples.shape, generator=generator(5))
    found = novelty(train, held_out, samples)
    assert found["c_t"].value > 5
    assert found["suspects"].high < 0.03


def test_a_model_of_the_dense_part_alone_copies_nothing():
    suspects, by_distance_alone = [], []
    for seed in range(10):
        random = generator(300 + seed)
        (train, _), (held_out, _), (samples, of) = (modes(n, random) for n in (800, 400, 2000))
        samples = samples[of == 0][:300]
        found = novelty(train, held_out, samples)
        assert abs(found["c_t"].value) < 4
        suspects.append(found["suspects"].value)
        near = [torch.cdist(x, train).min(1).values for x in (held_out, samples)]
        by_distance_alone.append(float((near[1] < near[0].quantile(0.01)).double().mean()))
    assert np.mean(by_distance_alone) > 0.04
    assert np.mean(suspects) < 0.02


def test_real_digits_pass_and_copies_of_them_do_not():
    x = torch.tensor(load_digits().data) / 16
    x = x[torch.randperm(len(x), generator=generator())]
    train, held_out, fresh = x[:1000], x[1000:1400], x[1400:]
    found = novelty(train, held_out, fresh)
    assert abs(found["c_t"].value) < 3
    assert found["nearer"].low < 0.5 < found["nearer"].high
    assert found["suspects"].low < 0.01 < found["suspects"].high
    copies, rows = noisy_copies(train, 397, 0.03)
    found = novelty(train, held_out, copies)
    assert found["c_t"].value < -10
    assert found["authentic"].value < 0.05
    assert found["nearer"].value > 0.95
    assert found["suspects"].value > 0.9
    assert all(each.train == rows[each.sample] for each in suspicious(train, held_out, copies))


@pytest.mark.parametrize("levels", [None, 3], ids=["no ties", "ties"])
def test_the_score_of_one_cell_is_that_of_scipy(levels, monkeypatch):
    monkeypatch.setattr(module, "MOST_CELLS", 1)
    random = generator(7)
    train, held_out, samples = (
        torch.randn(n, 2, generator=random, dtype=torch.float64) for n in (300, 90, 110)
    )
    samples *= 1.2
    if levels is not None:
        train, held_out, samples = ((levels * x).round() for x in (train, held_out, samples))
    near = [torch.cdist(x, train).min(1).values.numpy() for x in (samples, held_out)]
    tested = mannwhitneyu(*near, method="asymptotic", use_continuity=False, alternative="less")
    found = novelty(train, held_out, samples)["c_t"]
    assert found.value == pytest.approx(norm.ppf(tested.pvalue), abs=1e-9)
    assert found.count == 110


def test_the_score_of_several_cells_is_their_weighted_sum():
    # two far clouds, which the partition has to find; of unequal size
    random = generator(8)
    sets = [torch.rand(n, 1, generator=random, dtype=torch.float64) for n in (300, 120, 100)]
    for x in sets:
        x[: 2 * len(x) // 3] += 100
    sets[2] += 0.001
    scores = []
    for far in (True, False):
        cut = [x[: 2 * len(x) // 3] if far else x[2 * len(x) // 3 :] for x in sets]
        near = [torch.cdist(x, cut[0]).min(1).values.numpy() for x in (cut[2], cut[1])]
        tested = mannwhitneyu(*near, method="asymptotic", use_continuity=False, alternative="less")
        scores.append(norm.ppf(tested.pvalue))
    expected = (80 * scores[0] + 40 * scores[1]) / math.hypot(80, 40)
    assert novelty(*sets)["c_t"].value == pytest.approx(expected, abs=1e-6)


def test_a_cell_with_too_few_rows_is_left_out():
    random = generator(9)
    sets = [torch.rand(n, 1, generator=random, dtype=torch.float64) for n in (300, 120, 120)]
    for x in sets[:2]:
        x[: len(x) // 2] += 100
    sets[2][:110] += 100
    assert novelty(*sets)["c_t"].count == 110
    # no cell has enough of both: the whole is one
    sets[1][:110] -= 100
    sets[1][110:] += 100
    assert novelty(*sets)["c_t"].count == 120


def test_without_copying_the_figures_are_what_they_say():
    """Over fresh draws C_T is standard normal; intervals hold what they should."""
    found = [novelty(*three(100 + i, 600, 200, 200), seed=i) for i in range(200)]
    scores = np.array([each["c_t"].value for each in found])
    # five standard errors of a mean and of a standard deviation over 200
    assert abs(scores.mean()) < 5 / math.sqrt(200)
    assert abs(scores.std() - 1) < 5 / math.sqrt(400)
    assert np.mean([each["suspects"].value for each in found]) == pytest.approx(0.01, abs=0.0035)
    assert np.mean([each["nearer"].value for each in found]) == pytest.approx(0.5, abs=0.01)
    for name, truth in {"suspects": 0.01, "nearer": 0.5}.items():
        assert np.mean([each[name].low <= truth <= each[name].high for each in found]) > 0.88


def test_authentic_is_what_its_definition_says():
    train, held_out, samples = whole_numbers(10, 40, 2, 80, 30, 60)
    train[1], samples[0] = train[0], train[0]  # a copy of a row that is there twice is a copy
    authentic, ties = 0, 0
    for x in samples:
        distances = [math.dist(x, other) for other in train]
        i = distances.index(min(distances))
        spacing = min(math.dist(train[i], other) for j, other in enumerate(train) if j != i)
        authentic += distances[i] >= spacing and distances[i] > 0
        ties += distances[i] == spacing > 0
    assert ties > 0
    assert novelty(train, held_out, samples)["authentic"].value == authentic / 60


def test_nearer_counts_pairs_and_has_the_interval_of_delong():
    train, held_out, samples = whole_numbers(11, 40, 2, 30, 40, 50)
    samples[:30] = train  # copies and rows far away: ranks spread wide
    samples[30:] += 100
    held, drawn = (torch.cdist(x, train).min(1).values for x in (held_out, samples))
    pairs = (drawn[:, None] < held).double() + 0.5 * (drawn[:, None] == held)
    found = novelty(train, held_out, samples)["nearer"]
    assert found.value == pytest.approx(float(pairs.mean()))
    error = math.sqrt(pairs.mean(0).var() / 40 + pairs.mean(1).var() / 50)
    assert error**2 > 1.2 * (1 / 40 + 1 / 50) / 12  # more than for equal distributions
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.05)
    swapped = novelty(train, samples, held_out)["nearer"]
    assert swapped.value == pytest.approx(1 - found.value)
    assert swapped.high - swapped.low == pytest.approx(found.high - found.low)
    apart = novelty(train, held_out + 1000, samples)["nearer"]
    assert apart.value == apart.high == 1
    assert 0.9 < apart.low < 0.99  # not certain, though the estimated variance is 0
    copies = train.clone()
    copies[0] += 5.5
    almost = novelty(train, torch.cat([held_out + 100, train[:1] + 0.5]), copies)["nearer"]
    assert almost.value == pytest.approx(1 - 1 / (41 * 30))  # one pair is the other way round
    assert almost.low < 0.96


def test_suspects_are_one_percent_with_ties_as_well():
    """Data of few values: distance 0 is common, in held-out data too."""
    found = [novelty(*whole_numbers(200 + i, 2, 10, 400, 150, 150)) for i in range(60)]
    assert np.mean([each["suspects"].value for each in found]) == pytest.approx(0.01, abs=0.003)


def test_a_copycat_among_held_out_copies_stands_out():
    train, held_out, samples = three(12)
    held_out[:12] = train[:12]  # 3 % are exact copies: more than are rare
    found = novelty(train, held_out, train[:400])
    assert found["suspects"].value == pytest.approx(4.01 / 13)
    samples[:12] = train[:12]
    assert novelty(train, held_out, samples)["suspects"].value == pytest.approx(0.01, rel=0.1)


def test_too_few_held_out_rows_have_no_rare_ones():
    train, held_out, samples = three(13, 300)
    assert "suspects" in novelty(train, held_out[:99], samples)
    assert set(novelty(train, held_out[:98], samples)) == {"c_t", "authentic", "nearer"}


def test_copies_are_found_in_dense_and_sparse_regions():
    random = generator(14)
    (train, mode), (held_out, _), (samples, _) = (modes(n, random) for n in (1200, 400, 400))
    dense, sparse = (torch.nonzero(mode == m)[:5, 0] for m in (0, 5))
    samples[:5] = train[dense] + 0.002
    samples[5:10] = train[sparse] + 0.03  # more than neighbours in the dense mode are apart
    # training rows that are there twice or more are those that models copy
    train = torch.cat([train, train[dense], train[dense], train[sparse]])
    listed = suspicious(train, held_out, samples, most=10)
    assert sorted(each.sample for each in listed) == list(range(10))
    first = listed[0]
    assert first.distance == pytest.approx(math.dist(samples[first.sample], train[first.train]))
    fifth = torch.cdist(train[[first.train]], train)[0].sort().values[5]
    assert first.ratio == pytest.approx(first.distance / float(fifth), rel=1e-6)
    assert first.share < 0.02
    assert suspicious(train, held_out, samples, most=10_000)[-1].share > 0.9
    with pytest.raises(UsageError, match="most=0"):
        suspicious(train, held_out, samples, most=0)


def test_distances_of_copies_are_exact_far_from_the_origin():
    train, held_out, samples = (x + 1e6 for x in three(15))
    samples[0] = train[7]
    samples[1] = train[8] + 2.0**-12
    samples[2:4] = train[9] + 2.0**-24  # the last digits of features are not to be trusted
    listed = suspicious(train, held_out, samples, most=4)
    found = [(each.train, each.distance) for each in listed]
    assert found == [(7, 0), (9, 0), (9, 0), (8, 2 * 2.0**-12)]
    # one wild training row does not blur the others
    train[10] = 1e20
    assert suspicious(train, held_out, samples, most=4) == listed


def test_figures_repeat_and_leave_random_numbers_alone():
    sets = three(16)
    torch.manual_seed(1)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert novelty(*sets, seed=3) == novelty(*sets, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_constant_features_say_nothing_for_or_against():
    flat = [torch.full((n, 3), 0.1) for n in (200, 120, 120)]
    assert values(novelty(*flat)) == pytest.approx(
        {"c_t": 0, "authentic": 0, "nearer": 0.5, "suspects": 0.01}
    )
    away = novelty(flat[0], flat[1] + torch.rand(120, 3, generator=generator()), flat[2])
    assert away["nearer"].value == 1
    assert away["suspects"].value == 1
    assert suspicious(flat[0], flat[1], flat[2] + 1)[0].ratio == math.inf


@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_cannot_be_compared_is_refused(which):
    def without(change):
        sets = list(three(17, 60, 40, 40))
        sets[which] = change(sets[which])
        return sets

    named = ("training set", "held-out set", "samples")[which]
    with pytest.raises(UsageError, match=f"at least 20 rows of each set, got 19 for the {named}"):
        novelty(*without(lambda x: x[:19]))
    for change in (lambda x: x[:, :2], lambda x: x[:, None]):
        with pytest.raises(UsageError, match="of one width"):
            novelty(*without(change))
    with pytest.raises(DataError, match=f"{named} are not finite"):
        novelty(*without(lambda x: x.index_fill(0, torch.tensor(3), math.nan)))
    with pytest.raises(DataError, match=f"{named} are not finite"):
        suspicious(*without(lambda x: x.index_fill(0, torch.tensor(3), math.inf)))


def test_exact_copies_and_repeats_are_counted():
    random = generator(18)
    train = torch.randint(256, (3000, 1, 6, 6), generator=random, dtype=torch.uint8)
    samples = torch.randint(256, (50, 1, 6, 6), generator=random)
    samples[0], samples[1], samples[2] = train[0], train[2999], train[0]
    samples[3] = samples[4] = samples[5]
    samples[6] = train[1].flip(2)  # the same values in another order
    found = duplicates(train, samples)
    assert values(found) == pytest.approx({"duplicates": 3 / 50, "repeats": 3 / 50})
    assert found["duplicates"].low < 3 / 50 < found["duplicates"].high
    assert values(duplicates(train, train[:40])) == {"duplicates": 1, "repeats": 0}


def test_exact_copies_of_floats_do_not_know_the_sign_of_zero():
    train = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    samples = torch.tensor([[-0.0, 1.0], [0.0, 1.0], [2.0, 3.0 + 2**-22], [0.0, -1.0]])
    assert values(duplicates(train, samples)) == {"duplicates": 0.5, "repeats": 0.25}
    assert values(duplicates(train, samples.double())) == {"duplicates": 0.5, "repeats": 0.25}


def test_observations_that_cannot_be_equal_are_refused():
    x = torch.zeros(4, 3)
    with pytest.raises(UsageError, match="one form"):
        duplicates(x, x[:, :2])
    with pytest.raises(UsageError, match="raw levels"):
        duplicates(x, x.long())
    with pytest.raises(UsageError, match="got 4 and 0"):
        duplicates(x, x[:0])
    with pytest.raises(DataError, match="not finite"):
        duplicates(x, x * math.nan)
