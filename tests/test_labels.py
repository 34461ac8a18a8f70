"""Figures of labels: classifiers whose accuracy and calibration are known, and planted faults."""

from __future__ import annotations

import io
import math
from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from PIL import Image

from simulacra.drawing import charts, files
from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.judging.figures.intervals import share
from simulacra.judging.figures.labels import (
    BINS,
    accuracies_by_chance,
    class_accuracy,
    class_distance,
    class_shares,
    classification,
    generative_classifier,
    part_accuracies,
)
from simulacra.models import registry
from simulacra.tasks.bayes import log_posterior


def sure_of(labels, classes=3, confidence=0.9):
    """Log-probabilities that give each label so much, and the others the rest."""
    p = torch.full((len(labels), classes), (1 - confidence) / (classes - 1))
    p[torch.arange(len(labels)), torch.as_tensor(labels)] = confidence
    return p.log()


# ---- shares ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    # R: binom::binom.wilson
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (1, 1, 0.2065, 1.0)],
)
def test_a_share_has_wilsons_interval(hits, count, low, high):
    figure = share(hits / count, count)
    assert figure.value == hits / count
    assert (figure.low, figure.high) == pytest.approx((low, high), abs=1e-4)


def test_every_share_lies_within_its_interval():
    for count in (1, 3, 7, 97, 1000):
        for hits in range(count + 1):
            figure = share(hits / count, count)
            assert 0 <= figure.low <= hits / count <= figure.high <= 1


# ---- samples as a classifier takes them -----------------------------------------------------


def test_each_part_is_counted_by_itself():
    spec = DataSpec((1, 2, 2), 4, classes=6, parts=(("digit", 3), ("speaker", 2)))
    asked = spec.joint(torch.tensor([[0, 0], [1, 1], [2, 0], [2, 1]]))
    taken = spec.joint(torch.tensor([[0, 1], [1, 1], [2, 1], [0, 1]]))
    found = part_accuracies(sure_of(taken, 6), asked, spec)
    assert {name: each.value for name, each in found.items()} == {"digit": 0.75, "speaker": 0.5}
    assert found["digit"].low < 0.75 < found["digit"].high
    assert class_accuracy(sure_of(taken, 6), asked).value == 0.25
    # one that the classifier takes for nothing is wrong in every part, and is counted
    broken = sure_of(taken, 6)
    broken[1] = math.nan
    found = part_accuracies(broken, asked, spec)
    assert {name: each.value for name, each in found.items()} == {"digit": 0.5, "speaker": 0.25}
    assert part_accuracies(sure_of(taken, 6), asked, replace(spec, parts=())) == {}


def test_chance_is_always_the_commonest():
    spec = DataSpec((1, 2, 2), 4, classes=6, parts=(("digit", 3), ("speaker", 2)))
    classes = spec.joint(torch.tensor([[0, 0], [0, 1], [1, 0], [0, 0], [2, 1]]))
    assert accuracies_by_chance(classes, spec) == (0.4, {"digit": 0.6, "speaker": 0.6})
    assert accuracies_by_chance(classes, replace(spec, parts=())) == (0.4, {})


def test_class_accuracy_counts_what_was_asked_for():
    taken = [0, 1, 2, 2, 1, 0, 0, 1, 2, 0]
    asked = torch.tensor([0, 1, 2, 2, 1, 0, 1, 2, 0, 2])
    figure = class_accuracy(sure_of(taken), asked)
    assert (figure.value, figure.count) == (0.6, 10)
    assert figure.low < 0.6 < figure.high
    # unnormalised scores say the same
    assert class_accuracy(sure_of(taken) + 7, asked) == figure


def test_what_no_classifier_could_judge_is_wrong():
    found = sure_of([0, 0, 0, 0])
    found[1] = math.nan
    found[2] = -math.inf
    found[3, 1] = math.inf
    assert class_accuracy(found, torch.zeros(4, dtype=torch.long)).value == 0.25
    assert class_shares(found).tolist() == [0.25, 0, 0]


def test_class_distance_is_the_share_that_would_have_to_move():
    real = sure_of([0] * 50 + [1] * 50 + [2] * 100)
    assert class_distance(real, real).value == 0
    assert class_distance(sure_of([0] * 80 + [1] * 20), real).value == pytest.approx(0.55)
    assert class_distance(sure_of([0] * 10), sure_of([1] * 10)).value == 1
    assert class_distance(sure_of([2] * 30), real).value == pytest.approx(0.5)
    broken = sure_of([0] * 25 + [1] * 25 + [2] * 100)
    broken[:10] = math.nan
    # ten of no class, and what that takes from the others
    assert class_distance(broken, real).value == pytest.approx(
        (10 / 150 + abs(15 / 150 - 0.25) + abs(25 / 150 - 0.25) + abs(100 / 150 - 0.5)) / 2
    )


def test_what_a_classifier_always_confuses_does_not_count():
    """It takes every second of class 0 for class 1, of samples and of data alike."""
    confused = sure_of([0, 1] * 50 + [1] * 100)
    assert class_distance(confused, confused).value == 0


def test_the_spread_of_a_class_distance_is_that_of_repeated_draws():
    generator = torch.Generator().manual_seed(0)
    p, q = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([0.5, 0.3, 0.2])

    def drawn(shares):
        return sure_of(torch.multinomial(shares, 300, True, generator=generator))

    figures = [class_distance(drawn(q), drawn(p), seed=i) for i in range(200)]
    values = torch.tensor([figure.value for figure in figures])
    width = torch.tensor([figure.high - figure.low for figure in figures]).mean()
    assert float(values.mean()) == pytest.approx(0.3, abs=0.02)
    assert float(width) == pytest.approx(4 * float(values.std()), rel=0.2)
    held = sum(figure.low <= 0.3 <= figure.high for figure in figures)
    assert held / 200 == pytest.approx(0.95, abs=0.05)


def test_a_missing_class_lies_above_the_floor_and_real_data_upon_it():
    generator = torch.Generator().manual_seed(1)
    p = torch.full((10,), 0.1)
    drawn = [sure_of(torch.multinomial(p, 400, True, generator=generator), 10) for _ in range(3)]
    reference, floor, samples = drawn
    dropped = samples[samples.argmax(1) != 3]
    floor = class_distance(floor, reference)
    assert class_distance(samples, reference).low < floor.high
    assert class_distance(dropped, reference).value > floor.value
    assert floor == class_distance(drawn[1], reference)


@pytest.mark.parametrize(
    ("found", "labels", "words"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), "of two classes at least"),
        (torch.zeros(4, 1), torch.zeros(4, dtype=torch.long), "of two classes at least"),
        (torch.zeros(4), torch.zeros(4, dtype=torch.long), "of two classes at least"),
        (torch.zeros(4, 3), torch.zeros(3, dtype=torch.long), "as many labels 0 … 2"),
        (torch.zeros(4, 3), torch.full((4,), 3), "as many labels 0 … 2"),
        (torch.zeros(4, 3), torch.full((4,), -1), "as many labels 0 … 2"),
        (torch.zeros(4, 3), torch.zeros(4), "as many labels 0 … 2"),
    ],
)
def test_what_cannot_be_judged_is_refused(found, labels, words):
    with pytest.raises(UsageError, match=words):
        class_accuracy(found, labels)
    with pytest.raises(UsageError, match=words):
        classification(found, labels)


def test_samples_and_data_have_one_classifier():
    with pytest.raises(UsageError, match="judged by one classifier"):
        class_distance(torch.zeros(4, 3), torch.zeros(4, 2))


# ---- classifiers ----------------------------------------------------------------------------


def toy(n, seed=0):
    """Two normal densities two apart: log p(x | y), and labels drawn half and half."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (n,), generator=generator)
    x = torch.randn(n, generator=generator, dtype=torch.float64) + 2 * labels - 1
    each = torch.stack([-((x - m) ** 2) / 2 - math.log(2 * math.pi) / 2 for m in (-1, 1)], 1)
    return each, labels


HALF = torch.tensor([0.5, 0.5])


def test_bayes_classifier_is_as_good_as_theory_says():
    each, labels = toy(12000)
    found = generative_classifier(each, HALF, labels)
    # Φ(1) is right: the nearer mean
    assert found.accuracy.value == pytest.approx(0.841345, abs=0.008)
    assert found.accuracy.low < 0.841345 < found.accuracy.high
    assert found.calibrated
    assert abs(found.ece.value - found.ece_floor) < 0.005
    assert sum(each.observations for each in found.bins) == found.observations == 12000
    # the conditional entropy of the label, by integration
    x = np.linspace(-9, 9, 20001)
    p = np.exp(-((x[:, None] - [-1, 1]) ** 2) / 2) / math.sqrt(2 * math.pi) / 2
    loss = -(p * np.log(p / p.sum(1, keepdims=True))).sum() * (x[1] - x[0])
    assert found.log_loss == pytest.approx(loss, abs=0.01)
    brier = (p * 2 * (1 - p / p.sum(1, keepdims=True)) ** 2).sum() * (x[1] - x[0])
    assert found.brier == pytest.approx(brier, abs=0.01)


@pytest.mark.parametrize("temperature", [0.25, 0.5, 2.0])
def test_the_error_of_a_wrong_temperature_is_the_known_one(temperature):
    """Bin by bin over the densities, by integration."""
    each, labels = toy(15000, seed=1)
    x = np.linspace(-9, 9, 400001)
    density = np.exp(-((x[:, None] - [-1, 1]) ** 2) / 2).mean(1) / math.sqrt(2 * math.pi)
    true, sure = (1 / (1 + np.exp(-np.abs(2 * x) / t)) for t in (1, temperature))
    place = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
    known = np.abs(np.bincount(place, density * (true - sure), BINS)).sum() * (x[1] - x[0])
    found = generative_classifier(each / temperature, HALF, labels)
    assert found.ece.value == pytest.approx(known, abs=0.012)
    assert found.ece.low < known < found.ece.high
    assert known > 0.05
    assert not found.calibrated
    assert found.accuracy.value == generative_classifier(each, HALF, labels).accuracy.value


def test_the_floor_is_what_chance_makes_of_few_observations():
    """Of a calibrated classifier, repeated draws have the floor for their mean."""
    found = [generative_classifier(*_few(seed)) for seed in range(60)]
    values = torch.tensor([each.ece.value for each in found])
    floors = torch.tensor([each.ece_floor for each in found])
    assert float(values.mean()) > 0.05  # far from the truth, which is 0
    error = float(values.std()) / math.sqrt(60)
    assert float(values.mean()) == pytest.approx(float(floors.mean()), abs=4 * error)
    assert sum(each.calibrated for each in found) >= 52  # 57 expected


def _few(seed):
    each, labels = toy(80, seed=seed)
    return each, HALF, labels


def test_a_class_absent_from_training_is_never_found():
    each = torch.tensor([[-1.0, -2.0, math.nan], [-3.0, -1.0, 9.0]])
    p = torch.tensor([0.5, 0.5, 0.0])
    posterior = log_posterior(each, p)
    assert bool((posterior[:, 2] == -math.inf).all())
    assert posterior.exp().sum(1).tolist() == pytest.approx([1, 1])
    found = generative_classifier(each, p, torch.tensor([0, 2]))
    assert (found.accuracy.value, found.impossible, found.non_finite) == (0.5, 1, 0)
    assert found.log_loss == math.inf
    record = found.figures()
    assert (record.log_loss, record.impossible) == (None, 1)


def test_what_is_not_finite_counts_as_surely_wrong():
    each, labels = torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])
    each[torch.arange(4), labels] = 60.0
    each[1] = -math.inf
    each[2, 0] = math.nan
    each[3, 1] = math.inf
    found = generative_classifier(each, torch.full((3,), 1 / 3), labels)
    assert (found.non_finite, found.observations) == (3, 4)
    assert found.accuracy.value == 0.25
    assert found.ece.value == pytest.approx(0.75)
    assert found.brier == pytest.approx(1.5)
    assert astuple(found.bins[-1]) == (4, pytest.approx(1), 0.25)
    # a class that is impossible alone breaks nothing
    each = torch.zeros(4, 3)
    each[:, 2] = -math.inf
    assert generative_classifier(each, torch.full((3,), 1 / 3), labels).non_finite == 0


def test_every_observation_lies_in_one_bin_by_its_confidence():
    p = torch.tensor([[1 / 15, 14 / 15], [0.5, 0.5], [0.0, 1.0], [0.4, 0.6]], dtype=torch.float64)
    found = classification(p.log(), torch.tensor([1, 0, 0, 1]))
    filled = {place: each for place, each in enumerate(found.bins) if each.observations}
    assert list(filled) == [7, 8, 13, 14]
    assert astuple(filled[13]) == (1, pytest.approx(14 / 15), 1)
    assert astuple(filled[14]) == (1, 1, 0)
    gaps = sum(each.observations * abs(each.accuracy - each.confidence) for each in found.bins)
    assert found.ece.value == pytest.approx(gaps / 4)


def test_a_seed_gives_the_same_figures():
    each, labels = toy(200)
    first = generative_classifier(each, HALF, labels)
    torch.rand(3)
    assert generative_classifier(each, HALF, labels) == first
    assert generative_classifier(each, HALF, labels, seed=1).ece_floor != first.ece_floor
    assert first.figures().accuracy.count == 200


def test_densities_that_are_learned_classify_nearly_as_well_as_the_true_ones():
    """A mixture for each class of two rings against the posterior of the truth."""
    generator = torch.Generator().manual_seed(0)

    def drawn(n):
        labels = torch.randint(2, (n,), generator=generator)
        angle = 2 * math.pi * torch.rand(n, generator=generator)
        radius = 1 + 1.2 * labels + 0.35 * torch.randn(n, generator=generator)
        return torch.stack([radius * angle.cos(), radius * angle.sin()], 1), labels

    x, labels = drawn(4000)
    unseen, wanted = drawn(3000)
    learned = []
    for label in range(2):
        model = registry.build("gmm", DataSpec((2,), None), {"components": 12}).eval()
        with seeded(0):
            model.prepare(x[labels == label])
        for _ in range(20):
            model.update([(x[labels == label], None)])
        with torch.no_grad():
            learned.append(model.log_likelihood(unseen))
    found = generative_classifier(torch.stack(learned, 1), HALF, wanted)
    # the density of a point is that of its radius, over 2π times it, folded where it is negative
    radius = unseen.norm(dim=1).double()
    true = torch.stack(
        [
            torch.stack([-((s * radius - m) ** 2) / (2 * 0.35**2) for s in (1, -1)]).logsumexp(0)
            for m in (1.0, 2.2)
        ],
        1,
    )
    best = generative_classifier(true, HALF, wanted)
    assert best.calibrated
    assert found.accuracy.value == pytest.approx(best.accuracy.value, abs=0.015)
    assert found.ece.value < best.ece.value + 0.02
    difference = (
        log_posterior(torch.stack(learned, 1), HALF).exp() - log_posterior(true, HALF).exp()
    )
    assert float(difference.abs().mean()) < 0.04


# ---- the picture ----------------------------------------------------------------------------


def test_the_picture_of_reliability_shows_one_classifier_or_two():
    each, labels = toy(500)
    one, two = (
        [astuple(bin_) for bin_ in generative_classifier(p, HALF, labels).bins]
        for p in (each, each * 3)
    )
    for shown in ({"vae": one}, {"vae": one, "a $x$ baseline": two}):
        figure = charts.reliability(shown)
        above, below = figure.axes
        names = [text.get_text() for text in above.get_legend().get_texts()]
        assert names == list(shown)
        assert sum(bar.get_height() for bar in below.patches) == pytest.approx(len(shown))
        filled = [pair for count, *pair in one if count]
        assert above.collections[0].get_offsets().tolist() == filled
        assert above.get_xlim() == below.get_xlim() == (0, 1)
        picture = Image.open(io.BytesIO(files.png(figure)))
        assert picture.size == (520, 640)


@pytest.mark.parametrize(
    "bins", [{}, {"none": [(0, 0.0, 0.0)] * 15}, {"no share": [(3, 0.5, math.nan)]}]
)
def test_a_picture_of_nothing_is_refused(bins):
    with pytest.raises(UsageError, match="reliability needs"):
        charts.reliability(bins)
