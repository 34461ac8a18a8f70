"""Samples against data: the floor, the ceiling, and models planted to be caught."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import floors
from simulacra.data.augment import augmented
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.judging.figures.sample_judge import SampleJudge, fair_count


class Random:
    """A view by fixed random directions, as wide as the counts bear."""

    name, learned = "features", False

    def __init__(self, data: Dataset, width: int = 10) -> None:
        self.data = data
        with seeded(7):
            self.weights = torch.randn(data.spec.dims, width, dtype=torch.float64) / 8

    def features(self, x: Tensor) -> Tensor:
        return self.data.spec.to_float(x).double().flatten(1) @ self.weights

    def log_probabilities(self, x: Tensor) -> Tensor | None:
        return None


class Brightness(Random):
    """Tells two classes apart: dark, bright."""

    def log_probabilities(self, x: Tensor) -> Tensor | None:
        bright = (self.data.spec.to_float(x).flatten(1).mean(1) - 0.3) * 100
        return torch.stack([-bright, bright], 1).log_softmax(1)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="module")
def judge(digits: Dataset) -> SampleJudge:
    return SampleJudge(digits, [Random(digits)])


def value(judged, key, view="features"):
    return judged.figure(view, key).value


def test_halves_of_the_test_split_share_no_observation(judge, digits):
    assert judge.count == fair_count(digits) == len(digits.test) // 2
    a = {row.numpy().tobytes() for row in judge.reference}
    b = {row.numpy().tobytes() for row in judge.real}
    assert not a & b
    assert len(a | b) == 2 * judge.count


def test_real_data_are_near_the_floor_and_independent_pixels_far_above(judge):
    real, independent = judge.references.real, judge.references.independent
    assert value(independent, "frechet") > 3 * value(real, "frechet")
    assert value(independent, "coverage") < value(real, "coverage") - 0.1
    assert abs(value(real, "c_t")) < 3
    assert value(independent, "c_t") > 3
    assert real.whole["sharpness"].low < 1 < real.whole["sharpness"].high


def test_what_real_data_get_is_kept_for_the_same_data_and_views_alone(judge, digits):
    """It is measured once for all tests: see `floors.py`."""
    again = SampleJudge(digits, [Random(digits)])
    assert again.references is judge.references
    assert floors.measure(again) == judge.references
    fewer = replace(digits, train=digits.train.take(torch.arange(1000)))
    others = [
        SampleJudge(digits, [Random(digits, 9)]), SampleJudge(digits, [Brightness(digits)]),
        SampleJudge(fewer, [Random(digits)]), SampleJudge(digits, [Random(digits)], seed=1),
    ]  # fmt: skip
    asked = {floors.asked_of(each) for each in (judge, *others)}
    assert len(asked) == 5


def test_independent_values_keep_their_places(judge, digits):
    x = judge.independent()
    digits.spec.check(x)
    # a corner that is blank in all of training is blank in each of them
    blank = (digits.train.x == 0).all(0)
    assert blank.any()
    assert (x[:, blank] == 0).all()
    assert torch.equal(x, judge.independent())


def test_a_copycat_has_the_best_distance_and_is_caught(judge, digits):
    """The Fréchet distance alone would crown it."""
    with seeded(3):
        x = digits.train.x[torch.randperm(len(digits.train))[: judge.count]].long()
    judged = judge.judge(x)
    assert value(judged, "frechet") < 2 * value(judge.references.real, "frechet")
    assert value(judged, "c_t") < -3
    assert value(judged, "authentic") == 0
    assert judged.whole["duplicates"].value == 1
    assert judge.references.real.whole["duplicates"].value < 0.05
    suspects, shown, near = judge.suspicious(x, most=5)
    assert len(suspects) == 5
    assert torch.equal(shown, near.long())


def test_too_few_or_broken_samples_are_refused_in_words(judge, digits):
    short = judge.judge(digits.test.x[:50].long())
    assert "50 samples" in short.refused
    assert short.views == {}
    toy = load("ring-8")
    points = SampleJudge(toy, [Random(toy, 2)])
    x = points.real.clone()
    x[3, 0] = float("nan")
    assert points.judge(x).refused == f"1 of {len(x)} samples are not finite"


def test_too_small_a_test_split_is_refused(digits):
    few = replace(digits, test=digits.test.take(torch.arange(39)))
    with pytest.raises(UsageError, match="at least 20 test observations, got 19 in each"):
        SampleJudge(few, [])


def test_samples_without_variety_are_said_to_be_so(judge, digits):
    one = digits.train.x[:1].long().expand(judge.count, -1, -1, -1)
    assert judge.judge(one).warnings == ("all samples are one and the same",)
    flat = torch.arange(judge.count).remainder(17).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    assert judge.judge(flat).warnings == ("every sample is constant: one value all over",)


def test_as_many_are_judged_as_the_reference_has_whatever_their_order(judge, digits):
    """Samples sorted by class would be judged on the first classes alone."""
    bright = torch.full((judge.count, 1, 8, 8), 16)
    x = torch.cat([torch.zeros_like(bright), bright])
    chosen, labels = judge._chosen(x, torch.arange(len(x)))
    assert len(chosen) == judge.count
    assert 0.35 < (chosen[:, 0, 0, 0] == 16).double().mean() < 0.65
    assert torch.equal(x[labels], chosen)


def test_labels_are_judged_by_the_view_that_has_a_classifier(digits):
    judge = SampleJudge(digits, [Brightness(digits)])
    dark, bright = torch.zeros(judge.count, 1, 8, 8).long(), torch.full((judge.count, 1, 8, 8), 16)
    x = torch.where(torch.arange(judge.count).view(-1, 1, 1, 1) % 2 == 0, dark, bright)
    asked = torch.arange(judge.count) % 2
    assert judge.judge(x, asked).whole["class_accuracy"].value == 1
    assert judge.judge(x, 1 - asked).whole["class_accuracy"].value == 0
    assert judge.judge(dark).whole["class_distance"].value > 0.3
    judged = judge.judge(x)
    assert "class_accuracy" not in judged.whole
    assert judged.class_shares == pytest.approx([0.5, 0.5, *[0] * 8], abs=0.01)


def test_copies_are_sought_among_pictures_as_they_are_stored(digits):
    """Not among those that an epoch of augmentation made; but both ways round if it mirrors."""
    moved = SampleJudge(augmented(digits, flip=False, shift=2), [])
    assert torch.equal(moved.train, digits.train.x)
    both = SampleJudge(augmented(digits, flip=True, shift=2), [Random(digits)])
    assert torch.equal(both.train, torch.cat([digits.train.x, digits.train.x.flip(-1)]))
    mirrored = digits.train.x[: both.count].flip(-1).long()
    assert both.judge(mirrored).whole["duplicates"].value == 1
    assert value(both.judge(mirrored), "authentic") == 0


def test_data_without_variety_have_no_figures(digits):
    same = Observations(torch.full((100, 1, 8, 8), 3, dtype=torch.uint8))
    flat = replace(digits, spec=replace(digits.spec, classes=0), train=same, test=same)
    with pytest.raises(UsageError, match="one and the same"):
        SampleJudge(flat, [Random(flat, 5)])


def test_the_test_split_handed_in_as_samples_is_seen(judge, digits):
    """It has a Fréchet distance of 0."""
    judged = judge.judge(judge.reference)
    assert value(judged, "frechet") == pytest.approx(0, abs=1e-6)
    assert judged.whole["leaked"].value == 1
    assert judge.references.real.whole["leaked"].value < 0.05
    held = SampleJudge(digits, [Random(digits)]).judge(digits.validation.x[:179].long())
    assert held.whole["leaked"].value == 1
    assert value(held, "membership") < -3


def test_sharp_draws_are_no_copies_but_a_copycat_is(judge, digits):
    with seeded(5):
        rows = torch.randperm(len(digits.train))[: judge.count]
    copies = digits.train.x[rows].long()
    changed = copies + (torch.rand(copies.shape) < 0.1)
    assert value(judge.judge(changed.clamp(max=16)), "membership") > 3
    assert abs(value(judge.references.real, "membership")) < 3
    assert abs(value(judge.references.independent, "membership")) < 3


def test_a_test_split_of_another_kind_is_noticed(digits):
    """Of other writers, recordings or years: honest samples then look copied."""
    assert SampleJudge(digits, [Random(digits)]).alike
    turned = replace(digits.test, x=digits.test.x.mT.contiguous())
    other = SampleJudge(replace(digits, test=turned), [Random(digits)])
    assert not other.alike
    assert "unlike the training data" in other.doubts[0]


def test_halves_of_sounds_share_no_recording(digits):
    test = replace(digits.test, groups=torch.arange(len(digits.test)) // 3)
    judge = SampleJudge(replace(digits, test=test), [])
    a, b = (
        {row.numpy().tobytes() for row in half.long()} for half in (judge.reference, judge.real)
    )
    where = {
        row.numpy().tobytes(): int(g) for row, g in zip(test.x.long(), test.groups, strict=True)
    }
    assert not {where[row] for row in a} & {where[row] for row in b}
