"""Labels of several parts, and labels that are not told: from the files to the figures."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

import simulacra as sim
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.judging.figures.likelihood import likelihood
from simulacra.judging.judge import Judge
from simulacra.judging.scoring import score_model
from simulacra.models import registry
from simulacra.nn.context import ContextEmbedding
from simulacra.tasks.bayes import class_frequencies
from simulacra.tasks.sample import classes_in_turn, frequent_context

PARTS = (("digit", 3), ("speaker", 2))
SPOKEN = DataSpec((1, 2, 2), 3, classes=6, parts=PARTS)
PLAIN = DataSpec((1, 2, 2), 3, classes=6)


# ---- the form of data ----------------------------------------------------------------------------


def test_a_class_and_its_parts_are_one_and_the_same():
    classes = torch.arange(-1, 6)
    labels = SPOKEN.labels(classes)
    assert labels.tolist() == [[-1, -1], [0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]]
    assert torch.equal(SPOKEN.joint(labels), classes)
    assert SPOKEN.joint(torch.tensor([[-1, 1], [2, -1], [2, 1]])).tolist() == [-1, -1, 5]
    assert torch.equal(PLAIN.labels(classes), classes)
    assert torch.equal(PLAIN.joint(classes), classes)


def test_classes_of_any_parts_come_back():
    for sizes in ((2, 3, 4), (1, 5), (7, 1, 2), (3, 3)):
        parts = tuple((f"part{place}", size) for place, size in enumerate(sizes))
        spec = DataSpec((2,), 2, classes=math.prod(sizes), parts=parts)
        labels = spec.labels(torch.arange(spec.classes))
        assert len(labels.unique(dim=0)) == spec.classes
        assert torch.equal(labels.amax(0) + 1, torch.tensor(sizes))
        assert torch.equal(spec.joint(labels), torch.arange(spec.classes))


@pytest.mark.parametrize(
    ("parts", "word"),
    [
        ((("digit", 6),), "a name of its own"),
        ((("digit", 3), ("digit", 2)), "a name of its own"),
        ((("digit", 3), ("speaker", 3)), "their product"),
        ((("digit", 6), ("speaker", 0)), "parts are several"),
        (("digit", "speaker"), "parts are several"),
    ],
)
def test_parts_that_no_labels_can_have_are_refused(parts, word):
    with pytest.raises(UsageError, match=word):
        DataSpec((1, 2, 2), 3, classes=6, parts=parts)


def test_the_form_survives_json_and_old_records_read():
    told = json.loads(json.dumps(SPOKEN.to_json()))
    assert DataSpec.from_json(told) == SPOKEN
    old = PLAIN.to_json()
    del old["parts"]
    assert DataSpec.from_json(old) == PLAIN


def test_data_of_one_part_keep_their_fingerprint():
    # as it was before labels had parts
    x = torch.arange(16).view(4, 1, 2, 2).remainder(3).to(torch.uint8)
    split = Observations(x, torch.tensor([0, 1, 2, 0]))
    assert Dataset("some", PLAIN, split, split, split).fingerprint.startswith("c05538d619a9")


# ---- what models are told ------------------------------------------------------------------------


def test_the_features_of_parts_are_added_and_untold_ones_add_nothing():
    embedding = ContextEmbedding("label", SPOKEN, 4)
    like = torch.zeros(4, 1)
    labels = torch.tensor([[2, 1], [2, -1], [-1, 1], [-1, -1]])
    both, digit, speaker, none = embedding(labels, like)
    assert torch.equal(both, digit + speaker)
    assert torch.equal(digit, embedding.embed.weight[2])
    assert torch.equal(speaker, embedding.embed.weight[4])
    assert not none.any()
    both.sum().backward()
    assert embedding.embed.weight.grad.sum(1).tolist() == [0, 0, 4, 0, 4]


def test_labels_of_one_part_are_what_they_were_and_may_be_untold():
    embedding = ContextEmbedding("label", PLAIN, 4)
    assert list(embedding.state_dict()) == ["embed.weight"]
    assert embedding.embed.weight.shape == (6, 4)
    found = embedding(torch.tensor([5, -1]), torch.zeros(2, 1))
    assert torch.equal(found[0], embedding.embed.weight[5])
    assert not found[1].any()


@pytest.mark.parametrize(
    ("spec", "labels", "word"),
    [
        (SPOKEN, [[0, 2]], "labels of speaker go from 0 to 1, or −1 where untold, got 2 to 2"),
        (SPOKEN, [[-2, 0]], "labels of digit go from 0 to 2"),
        (SPOKEN, [3], r"a label of digit and speaker for each row, \(1, 2\); got shape \(1,\)"),
        (PLAIN, [6], "labels go from 0 to 5"),
        (PLAIN, [-2], "labels go from 0 to 5"),
        (PLAIN, [[0, 0]], r"a label for each row, \(1,\)"),
    ],
)
def test_labels_that_no_class_has_are_refused(spec, labels, word):
    embedding = ContextEmbedding("label", spec, 4)
    with pytest.raises(UsageError, match=word):
        embedding(torch.tensor(labels), torch.zeros(1, 1))


def test_samples_are_drawn_for_combinations_or_for_what_is_told_of_them():
    model = registry.build("made", SPOKEN, {"hidden": (8,), "context": "label"})
    assert torch.equal(sim.sample(model, 8).labels, SPOKEN.labels(torch.arange(8) % 6))
    assert sim.sample(model, 2, label=3).labels.tolist() == [[1, 1], [1, 1]]
    told = torch.tensor([[2, -1], [-1, -1]])
    assert torch.equal(sim.sample(model, context=told).labels, told)
    with pytest.raises(UsageError, match="label goes from 0 to 5"):
        sim.sample(model, 2, label=6)


# ---- figures -------------------------------------------------------------------------------------


def spoken(rows: int = 60, untold: float = 0.0, spec: DataSpec = SPOKEN) -> Dataset:
    """Pictures whose first value is the digit and whose second is the speaker."""
    generator = torch.Generator().manual_seed(3)

    def split() -> Observations:
        classes = torch.randint(spec.classes, (rows,), generator=generator)
        parts = SPOKEN.labels(classes)
        x = torch.randint(3, (rows, 1, 2, 2), generator=generator)
        x[:, 0, 0] = parts
        labels = spec.labels(classes)
        hidden = torch.rand(rows, generator=generator) < untold
        labels = torch.where(hidden.view(-1, *[1] * (labels.dim() - 1)), -1, labels)
        return Observations(x.to(torch.uint8), labels)

    return Dataset("spoken", spec, split(), split(), split())


def untrained(spec: DataSpec) -> sim.Model:
    with seeded(0):
        return registry.build("made", spec, {"hidden": (8,), "context": "label"}).eval()


def test_frequencies_count_whole_labels_alone():
    labels = torch.tensor([[0, 0], [0, 0], [2, 1], [2, -1], [-1, -1]])
    split = Observations(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), labels)
    found = class_frequencies(split, SPOKEN)
    assert found is not None
    assert torch.allclose(found, torch.tensor([2 / 3, 0, 0, 0, 0, 1 / 3]))
    assert class_frequencies(replace(split, context=torch.full((5, 2), -1)), SPOKEN) is None


def test_the_sum_over_classes_needs_no_labels():
    data, model = spoken(), untrained(SPOKEN)
    frequencies = class_frequencies(data.train, SPOKEN)
    whole = likelihood(model, data.test, class_frequencies=frequencies)
    some = data.test.context.clone()
    some[::3] = -1
    some[1, 0] = -1
    hidden = replace(data.test, context=some)
    part = likelihood(model, hidden, class_frequencies=frequencies)
    assert torch.equal(part.marginal.values, whole.marginal.values)
    kept = (some >= 0).all(1)
    assert torch.equal(part.given_label.rows, kept.nonzero()[:, 0])
    assert torch.equal(part.given_label.values, whole.given_label.values[kept])
    assert torch.equal(part.of_told, whole.given_each_label[kept])


@pytest.mark.parametrize("spec", [SPOKEN, PLAIN], ids=["parts", "plain"])
def test_figures_by_class_leave_out_what_is_not_told_and_say_so(spec):
    data, model = spoken(untold=0.4, spec=spec), untrained(spec)
    told = int((spec.joint(data.test.context) >= 0).sum())
    assert 0 < told < 60
    found = score_model(
        model, "made", data, frequencies=class_frequencies(data.train, spec), draws=1, limit=None,
        baseline=lambda: None,
    )  # fmt: skip
    assert any(f"{60 - told} of 60 test observations have no label" in w for w in found.warnings)
    assert found.found["classifier"].observations == told
    per_class = found.found["likelihood_given_label"].per_class
    assert sum(each.observations or 0 for each in per_class) == told
    assert found.found["likelihood"].observations == 60


def test_a_test_split_without_any_label_has_no_figures_by_class():
    data, model = spoken(), untrained(SPOKEN)
    data = replace(data, test=replace(data.test, context=torch.full((60, 2), -1)))
    found = score_model(
        model, "made", data, frequencies=class_frequencies(data.train, SPOKEN), draws=1,
        limit=None, baseline=lambda: None,
    )  # fmt: skip
    assert "classifier" not in found.found
    assert found.found["likelihood"].observations == 60


def test_samples_to_be_judged_are_drawn_for_whole_labels():
    data, model = spoken(untold=0.9), untrained(SPOKEN)
    drawn = frequent_context(model, data, 40, seed=0)
    assert bool((drawn >= 0).all())
    assert classes_in_turn(model, 6).tolist() == SPOKEN.labels(torch.arange(6)).tolist()


def test_a_judge_copes_with_labels_of_which_most_are_not_told():
    data = spoken(120, untold=0.7)
    judged = Judge(data, draws=1).model(untrained(SPOKEN), "made")
    assert judged.entry.samples.refused is None
    assert judged.entry.likelihood is not None
