"""Values behind a score, train and test, single classes, shuffled contexts."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import pytest
import torch
from scipy.stats import t as student

from simulacra.data.augment import Augmented
from simulacra.data.dataset import DynamicallyBinarised, Observations
from simulacra.data.splits import permutation
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.judging.figures.diagnostics import generalisation, per_class, shuffled
from simulacra.judging.figures.likelihood import Score, Scores, likelihood
from simulacra.models import registry
from simulacra.models.model import Likelihood

BITS = DataSpec((1, 2, 2), 2, classes=3, context_width=2)
VECTORS = DataSpec((3,), None, classes=3, context_width=2)
LOG2 = math.log(2)


class Told(Likelihood):
    """Its log-likelihood is a function of observation and context; it keeps what it was asked."""

    exact = True

    def __init__(self, spec, score, context="none"):
        super().__init__(spec)
        self.register_buffer("somewhere", torch.zeros(1))
        self.score, self.context, self.asked = score, context, []

    def loss(self, x, context=None, *, turn=""):
        raise AssertionError("nothing is trained here")

    def log_likelihood(self, x, context=None, *, draws=1, seed=0):
        assert not torch.is_grad_enabled()
        self.asked.append(x)
        return self.score(x) if self.context == "none" else self.score(x, context)


def numbered(n, context=None, *, first=0.0):
    return Observations(first + torch.arange(float(n))[:, None].expand(-1, 3).contiguous(), context)


# ---- the values -----------------------------------------------------------------------------


def test_a_score_keeps_the_value_of_each_row():
    table = torch.linspace(-9, 4, 300)
    model = Told(VECTORS, lambda x: table[x[:, 0].long()])
    score = likelihood(model, numbered(300)).marginal
    assert score.values.dtype == torch.float64
    assert torch.equal(score.values, table.double())
    assert torch.equal(score.rows, torch.arange(300))
    some = likelihood(model, numbered(300), limit=40).marginal
    assert torch.equal(some.rows, permutation(300)[:40])
    assert torch.equal(some.values, table.double()[some.rows])
    assert "tensor" not in repr(score)
    assert some.take(torch.arange(3)).observations == 3
    assert some.take(some.values > 100) is None


def test_the_matrix_of_every_label_holds_the_models_own_answers():
    def score(x, y):
        return -(x[:, 0] + 1) * (y + 1.0)

    model = Told(VECTORS, score, "label")
    data = numbered(150, torch.arange(150) % 3)
    p = torch.tensor([0.25, 0.0, 0.75])
    scores = likelihood(model, data, class_frequencies=p)
    i = torch.arange(150.0).double()
    assert torch.equal(scores.given_each_label[:, 0], -(i + 1))
    assert bool((scores.given_each_label[:, 1] == -math.inf).all())
    assert torch.equal(scores.given_each_label[:, 2], -(i + 1) * 3)
    # an observation of a class absent from training keeps its own answer
    assert scores.given_label.values[1] == -2 * 2
    by_hand = (p.double() * scores.given_each_label.exp()).sum(1).log()
    assert torch.allclose(scores.marginal.values[:50], by_hand[:50])
    assert likelihood(model, data).given_each_label is None


def test_units_are_those_of_the_report():
    def unit(spec, x):
        return likelihood(Told(spec, lambda x: torch.zeros(len(x))), Observations(x)).marginal

    pictures = unit(BITS, torch.zeros(2, 1, 2, 2, dtype=torch.uint8))
    assert (pictures.unit, pictures.nats_per_unit) == ("bits/dim", pytest.approx(4 * LOG2))
    vectors = unit(VECTORS, torch.zeros(2, 3))
    assert (vectors.unit, vectors.nats_per_unit) == ("nats", 1)
    sounds = unit(DataSpec((4,), 8, rate=8000), torch.zeros(2, 4, dtype=torch.uint8))
    assert (sounds.unit, sounds.nats_per_unit) == ("bits/valid sample", pytest.approx(4 * LOG2))


# ---- train and test -------------------------------------------------------------------------


def test_the_gap_is_what_the_test_costs_more():
    model = Told(VECTORS, lambda x: torch.where(x[:, 0] < 1000, -2.0, -5.0) + x[:, 0].sin())
    test = likelihood(model, numbered(60, first=1000))
    found = generalisation(model, numbered(500), test)
    chosen = permutation(500)[:60]
    assert torch.equal(found.train.marginal.rows, chosen)
    assert found.gap.value == pytest.approx(3, abs=0.5)
    assert found.gap.value == pytest.approx(test.marginal.nats - found.train.marginal.nats)
    error = math.hypot(test.marginal.standard_error, found.train.marginal.standard_error)
    assert found.gap.high - found.gap.value == pytest.approx(1.98 * error, rel=0.01)
    assert found.gap.count == 60
    assert (found.gap_given_label, found.notes) == (None, ())


def test_the_gap_covers_the_truth():
    generator = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(400):
        noise = torch.randn(140, generator=generator)
        model = Told(VECTORS, lambda x, noise=noise: noise[x[:, 0].long()] * (1 + (x[:, 0] < 100)))
        gap = generalisation(model, numbered(100), likelihood(model, numbered(40, first=100))).gap
        held += gap.low <= 0 <= gap.high
    assert held / 400 == pytest.approx(0.95, abs=0.033)


def grouped(data, size, *, first=0):
    return replace(data, groups=first + torch.arange(len(data)) // size)


def test_the_gap_covers_the_truth_where_windows_of_a_recording_are_alike():
    generator = torch.Generator().manual_seed(1)
    held = 0
    for _ in range(400):
        # ten recordings of twenty windows for the test, as many for training
        effect = torch.randn(20, generator=generator).repeat_interleave(20)
        noise = effect + torch.randn(400, generator=generator)
        model = Told(VECTORS, lambda x, noise=noise: noise[x[:, 0].long()])
        train = grouped(numbered(200), 20)
        test = likelihood(model, grouped(numbered(200, first=200), 20, first=10))
        gap = generalisation(model, train, test).gap
        held += gap.low <= 0 <= gap.high
    assert held / 400 == pytest.approx(0.95, abs=0.033)


def test_the_gap_has_the_degrees_of_freedom_of_its_recordings():
    model = Told(VECTORS, lambda x: x[:, 0].sin())
    test = likelihood(model, grouped(numbered(40, first=100), 10))
    found = generalisation(model, grouped(numbered(40), 20), test)
    squares = [each.marginal.standard_error**2 for each in (test, found.train)]
    # four recordings of one size, and two
    degrees = sum(squares) ** 2 / (squares[0] ** 2 / 3 + squares[1] ** 2 / 1)
    half = student.ppf(0.975, degrees) * math.sqrt(sum(squares))
    assert found.gap.high - found.gap.value == pytest.approx(half)


def test_of_one_recording_the_gap_has_no_interval_and_says_so():
    model = Told(VECTORS, lambda x: x[:, 0].sin())
    many, one = grouped(numbered(40), 4), grouped(numbered(40), 40)
    for train, test, what in ((many, one, "test"), (one, many, "training")):
        found = generalisation(model, train, likelihood(model, test))
        assert found.gap.low is None
        assert [note.split(" observations")[0] for note in found.notes] == [f"the {what}"]
        assert "all of one group, such as one recording" in found.notes[0]
    assert generalisation(model, many, likelihood(model, many)).notes == ()


def test_what_shuffling_costs_counts_recordings():
    """A loss that is one and the same in all windows of a recording."""
    label = torch.arange(6).repeat_interleave(20) % 2
    lost = torch.tensor([1.0, 4.0, 2.0, 8.0, 3.0, 6.0]).repeat_interleave(20)

    def score(x, y):
        place = x[:, 0].long()
        return torch.where(y == label[place], 0.0, -lost[place])

    model = Told(VECTORS, score, "label")
    p = torch.tensor([0.5, 0.5, 0.0])
    data = grouped(numbered(120, label), 20)
    found = shuffled(model, data, likelihood(model, data, class_frequencies=p), class_frequencies=p)
    half = student.ppf(0.975, 5) * statistics.stdev([1, 4, 2, 8, 3, 6]) / math.sqrt(6)
    assert found.nats.value == found.figure.value == pytest.approx(4)
    assert found.nats.high - 4 == found.figure.high - 4 == pytest.approx(half)
    plain = replace(data, groups=None)
    narrow = shuffled(
        model, plain, likelihood(model, plain, class_frequencies=p), class_frequencies=p
    )
    assert found.nats.value == narrow.nats.value
    assert found.nats.high - found.nats.low > 3 * (narrow.nats.high - narrow.nats.low)
    one = replace(data, groups=torch.zeros(120, dtype=torch.long))
    alone = shuffled(model, one, likelihood(model, one, class_frequencies=p), class_frequencies=p)
    assert (alone.nats.low, alone.heard) == (None, None)


def test_training_pictures_keep_their_groups():
    pictures = Observations(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), groups=torch.arange(6) // 2)
    model = Told(BITS, lambda x: x.flatten(1).sum(1).float())
    test = likelihood(model, pictures)
    dynamic = DynamicallyBinarised(pictures.x, groups=pictures.groups)
    for base in (pictures, dynamic):
        changed = Augmented.of(base, flip=True, shift=1)
        for train in (changed, replace(changed, base=None)):
            found = generalisation(model, train, test).train.marginal
            assert found.groups.tolist() == pictures.groups[found.rows].tolist()


def test_a_stored_training_set_is_found_out():
    """A mixture with a component for each training picture."""
    with seeded(0):
        x = torch.randint(2, (60, 1, 4, 4), dtype=torch.uint8)
    spec = DataSpec((1, 4, 4), 2)
    train, test = Observations(x[:30]), Observations(x[30:])
    with seeded(0):
        model = registry.build("gmm", spec, {"components": 30, "prior": 0.01}).eval()
        model.prepare(train.x.long())
    scores = likelihood(model, test)
    found = generalisation(model, train, scores)
    assert found.gap.low > 0
    assert found.gap.value == pytest.approx(
        scores.marginal.bits_per_dim - found.train.marginal.bits_per_dim
    )


def test_what_only_training_does_is_undone_and_said():
    x = torch.randint(256, (20, 1, 2, 2), dtype=torch.uint8)
    grey = DynamicallyBinarised(x, seed=3)
    model = Told(BITS, lambda x: -x.flatten(1).sum(1).float())
    test = likelihood(model, grey.freeze())
    found = generalisation(model, Augmented.of(grey, flip=True, shift=1), test)
    # all twenty: the mean over the bits of epoch 0, and so for a part, row for row
    bits = torch.cat([b for b, _ in grey.batches(7)]).float().flatten(1).sum(1)
    assert found.train.marginal.nats == pytest.approx(float(bits.mean()))
    assert found.gap.value == pytest.approx(0)
    some = generalisation(model, grey, likelihood(model, grey.freeze(), limit=8)).train.marginal
    assert torch.equal(-some.values.float(), bits[some.rows])
    assert len(found.notes) == 2
    assert "before mirroring" in found.notes[0]
    assert "bits of the first epoch" in found.notes[1]
    plain = generalisation(model, Augmented.of(Observations(x % 2), flip=True, shift=1), test)
    assert plain.train.marginal.nats == pytest.approx(
        float((x % 2).flatten(1).sum(1).double().mean())
    )


def test_a_gap_of_what_is_not_finite_or_has_no_spread_is_no_figure():
    model = Told(VECTORS, lambda x: torch.where(x[:, 0] == 3, -math.inf, -1.0))
    test = likelihood(model, numbered(4, first=10))
    assert generalisation(model, numbered(4), test).gap is None
    model = Told(VECTORS, lambda x: -x[:, 0])
    alone = generalisation(model, numbered(9), likelihood(model, numbered(1, first=10))).gap
    assert alone.low is None
    same = Told(VECTORS, lambda x: torch.full((len(x),), -2.0))
    none = generalisation(same, numbered(9), likelihood(same, numbered(5))).gap
    assert (none.value, none.low, none.high) == (0, 0, 0)
    with pytest.raises(UsageError, match="scores of the test split"):
        generalisation(model, numbered(9), Scores(None, None))


def test_a_conditional_model_has_two_gaps():
    model = Told(VECTORS, lambda x, y: -x[:, 0] / 10 - y, "label")
    p = torch.full((3,), 1 / 3)
    data = numbered(30, torch.arange(30) % 3, first=30)
    test = likelihood(model, data, class_frequencies=p)
    train = numbered(30, torch.arange(30) % 3)
    found = generalisation(model, train, test, class_frequencies=p)
    assert found.gap_given_label.value == pytest.approx(3)
    assert found.gap.value == pytest.approx(3)


# ---- classes --------------------------------------------------------------------------------


def test_each_class_has_its_own_score():
    model = Told(BITS, lambda x: -(1.0 + x[:, 0, 0, 0]) * LOG2)
    x = torch.tensor([0, 1, 1, 0, 1])[:, None, None, None].expand(-1, 1, 2, 2)
    labels = torch.tensor([2, 0, 0, 2, 2])
    score = likelihood(model, Observations(x.to(torch.uint8), labels)).marginal
    first, none, last = per_class(score, labels, 3)
    assert none is None
    assert (first.observations, last.observations) == (2, 3)
    assert first.bits_per_dim == pytest.approx(2 / 4)
    assert last.bits_per_dim == pytest.approx((1 + 1 + 2) / 3 / 4)
    assert last.bits_standard_error == pytest.approx(math.sqrt(1 / 3) / math.sqrt(3) / 4)


def test_classes_of_a_part_are_those_of_its_rows():
    labels = torch.arange(200) % 3
    model = Told(VECTORS, lambda x: labels[x[:, 0].long()].float())
    score = likelihood(model, numbered(200, labels), limit=50).marginal
    parts = per_class(score, labels, 3)
    assert [-part.nats for part in parts] == [0, 1, 2]
    assert sum(part.observations for part in parts) == 50
    with pytest.raises(UsageError, match="a label for each observation, got 20 labels"):
        per_class(score, labels[:20], 3)


# ---- contexts -------------------------------------------------------------------------------


def labelled(n=90):
    return numbered(n, torch.arange(n) % 3)


def test_a_model_that_hears_its_labels_loses_by_other_ones():
    """Against the mean over the other classes, by hand."""

    def score(x, y):
        right = x[:, 0].long() % 3 == y
        return torch.where(right, -1.0, -4.0 - y) + x[:, 0] / 7

    model, data, p = Told(VECTORS, score, "label"), labelled(), torch.tensor([0.5, 0.2, 0.3])
    found = shuffled(model, data, likelihood(model, data, class_frequencies=p), class_frequencies=p)
    costs = {
        0: (0.2 * 4 + 0.3 * 5) / 0.5,
        1: (0.5 * 3 + 0.3 * 5) / 0.8,
        2: (0.5 * 3 + 0.2 * 4) / 0.7,
    }
    assert found.nats.value == pytest.approx(sum(costs.values()) / 3, rel=1e-5)
    assert found.heard is True
    assert found.unit == "nats"
    assert "the other classes" in found.how


def test_in_bits_it_is_divided_by_the_values():
    model = Told(BITS, lambda x, y: torch.where(x[:, 0, 0, 0] == y, -1.0, -3.0), "label")
    labels = torch.tensor([0, 1] * 20)
    x = labels[:, None, None, None].expand(-1, 1, 2, 2).to(torch.uint8)
    data, p = Observations(x, labels), torch.tensor([0.5, 0.5, 0.0])
    found = shuffled(model, data, likelihood(model, data, class_frequencies=p), class_frequencies=p)
    assert found.nats.value == pytest.approx(2)
    assert found.figure.value == pytest.approx(2 / (4 * LOG2))
    assert found.unit == "bits/dim"
    assert found.heard is True


@pytest.mark.parametrize("context", ["label", "vector"])
def test_a_model_that_ignores_its_context_is_found_out(context):
    model = Told(VECTORS, lambda x, _: -x[:, 0], context)
    data = labelled() if context == "label" else numbered(90, torch.randn(90, 2))
    p = torch.full((3,), 1 / 3) if context == "label" else None
    scores = likelihood(model, data, class_frequencies=p)
    found = shuffled(model, data, scores, class_frequencies=p)
    assert found.nats.value == pytest.approx(0, abs=1e-6)
    assert found.heard is False


@pytest.mark.parametrize("limit", [None, 40])
def test_vectors_are_those_of_another_observation(limit):
    context = torch.arange(90.0)[:, None].repeat(1, 2)
    model = Told(VECTORS, lambda x, c: -(x[:, 0] - c[:, 0]).abs(), "vector")
    data = numbered(90, context)
    scores = likelihood(model, data, limit=limit)
    assert scores.given_label.nats == 0
    found = shuffled(model, data, scores)
    assert found.nats.count == (limit or 90)
    assert found.nats.low > 1
    assert found.heard is True
    assert "another observation" in found.how


def test_contexts_that_stay_the_same_do_not_count():
    context = torch.zeros(90, 2)
    context[:5] = torch.arange(5.0)[:, None]
    model = Told(
        VECTORS, lambda x, c: -(c[:, 0] - context[x[:, 0].long(), 0]).abs().sign(), "vector"
    )
    data = numbered(90, context)
    found = shuffled(model, data, likelihood(model, data))
    # every changed context costs one nat, and no other counts
    assert found.nats.value == pytest.approx(1)
    assert 4 <= found.nats.count <= 10
    same = numbered(90, torch.ones(90, 2))
    found = shuffled(model, same, likelihood(model, same))
    assert (found.nats, found.figure, found.heard) == (None, None, None)
    assert found.reason == "all contexts are the same"


def test_one_class_alone_cannot_be_shuffled():
    model = Told(VECTORS, lambda x, _: -x[:, 0], "label")
    data, p = numbered(9, torch.ones(9, dtype=torch.long)), torch.tensor([0.0, 1.0, 0.0])
    scores = likelihood(model, data, class_frequencies=p)
    found = shuffled(model, data, scores, class_frequencies=p)
    assert found.reason == "all contexts are the same"
    assert found.heard is None


def test_what_is_not_finite_is_said():
    model = Told(VECTORS, lambda _, y: torch.where(y == 1, -math.inf, -1.0), "label")
    data, p = labelled(9), torch.full((3,), 1 / 3)
    scores = likelihood(model, data, class_frequencies=p)
    found = shuffled(model, data, scores, class_frequencies=p)
    assert found.nats is None
    assert "9 of 9 observations have no finite likelihood" in found.reason


def test_without_context_there_is_nothing_to_shuffle():
    model = Told(VECTORS, lambda x: -x[:, 0])
    with pytest.raises(MissingCapability, match="no context to shuffle"):
        shuffled(model, numbered(9), likelihood(model, numbered(9)))
    assert isinstance(likelihood(model, numbered(9)).marginal, Score)
