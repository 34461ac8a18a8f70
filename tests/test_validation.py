"""What a best step is chosen by and what that costs; and batches of classes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

import toys
from learning import training
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.errors import UsageError
from simulacra.judging.figures.cost import cost
from simulacra.models import registry
from simulacra.models.lawbook.trials import FORMS, learnt_with
from simulacra.training.batches import ByClass
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options
from simulacra.training.plan import Plan


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def test_every_model_says_what_its_best_step_is_chosen_by(digits: Dataset) -> None:
    best = {}
    for name in ("autoencoder", "triplet", "codebook", "clipped-wgan", "warm-vae"):
        made = training(name, digits, 3)
        list(made)
        best[name] = made.progress.best
        assert made.in_nats(0) == (name == "warm-vae")
    # a game has its distance
    assert all(value is not None and value > 0 for value in best.values())


@pytest.mark.parametrize("look", [1e-6, 1e-3, 0.02, 0.1, 0.2])
def test_dear_validations_are_of_fewer_observations_and_not_fewer_than_five(look: float) -> None:
    """0.1 s an observation in 14 s: a tenth is 14 of them."""
    plan = Plan.timed(14.0, look, 0.0, 1000)
    assert 5 <= plan.validations <= 20
    assert plan.validations * plan.validate_on * look <= 1.4 * 1.001


def test_validating_never_takes_more_than_a_tenth() -> None:
    few = Plan.timed(14.0, 0.5, 0.0, 1000)
    assert (few.validations, few.validate_on) == (2, 1)
    none = Plan.timed(14.0, 1.5, 0.0, 1000)
    assert (none.validations, none.validate_on) == (0, 0)
    spent = Plan.timed(14.0, 0.1, 0.0, 1000, spent=0.7)
    assert spent.validations * spent.validate_on * 0.1 <= 0.7 * 1.001


def test_a_budget_of_steps_goes_by_what_the_model_says_that_validating_costs(
    digits: Dataset,
) -> None:
    class Dear(toys.Autoencoder):
        validation_cost = 8

    for kind, looks in ((toys.Autoencoder, 1000), (Dear, 125)):
        options = Options(device="cpu")
        made = Training(kind(digits.spec), digits.train, digits.validation, options)
        assert made.set_plan(Budget(10, "steps")).validate_on == looks


def test_a_batch_is_some_of_each_of_some_classes(digits: Dataset) -> None:
    made = training("triplet", digits, keywords={"classes": 4, "each": 5})
    met: Counter[int] = Counter()
    for position in range(40):
        x, labels = made.batches.at(position)
        assert labels is not None
        assert len(x) == 20
        assert sorted(Counter(labels.tolist()).values()) == [5] * 4
        assert len(x.flatten(1).unique(dim=0)) == 20
        met.update(labels.tolist())
        assert torch.equal(made.batches.at(position)[0], x)
    assert len(met) == 10
    before = float(made.learner.validate(100) or 0)
    made.set_plan(Budget(60, "steps"))
    assert list(made)[-1].step == 60
    assert float(made.learner.validate(100) or 0) < before


def test_classes_that_are_few_or_untold() -> None:
    labels = torch.tensor([-1, 0, 0, 0, 1, 1, 2, -1])
    batches = ByClass(labels, classes=3, each=4)
    # one observation makes no pair
    assert batches.size == 8
    for position in range(20):
        rows = batches.rows(0, position)
        counts = Counter(labels[rows].tolist())
        assert counts == {0: 4, 1: 4}
    for wrong in (None, torch.zeros(8, 2), torch.zeros(8).long(), torch.arange(8)):
        with pytest.raises(UsageError, match="learns from batches of classes"):
            ByClass(wrong, classes=3, each=4)


def test_classes_of_labels_with_parts_are_combinations(digits: Dataset) -> None:
    """Told as such to a model that takes no context, in training and validation and its costs."""
    parts = (("parity", 2), ("half", 5))

    def parted(split: Observations) -> Observations:
        assert split.context is not None
        labels = torch.stack([split.context % 2, split.context // 2], 1)
        labels[::7, 1] = -1
        return replace(split, context=labels)

    splits = {name: parted(split) for name, split in digits.splits.items()}
    data = replace(digits, spec=replace(digits.spec, parts=parts), **splits)
    made = training("triplet", data, 2)
    batches = made.batches
    x, told = batches.at(0)
    assert told is not None
    assert sorted(Counter(told.tolist()).values()) == [4, 4, 4]
    rows = [(data.train.x.long() == each).flatten(1).all(1).nonzero()[0, 0] for each in x]
    assert torch.equal(told, data.spec.joint(data.train.context)[torch.stack(rows)])
    assert [record.step for record in made][-1] == 2
    assert cost(made.model, data).flops_per_training_step
    # one that takes labels is told these, by the laws as well
    model = registry.build("vae", FORMS["picture"], {"hidden": (4,), "context": "label"})
    model.classes_in_batch = (2, 2)
    assert torch.equal(learnt_with(model, 3), model.spec.labels(torch.arange(3)))
    model = registry.build("vae", data.spec, {"hidden": (4,), "context": "label"})
    model.classes_in_batch = (2, 2)
    x, told = Training(model, data.train, data.validation, Options(device="cpu")).batches.at(0)
    assert told is not None
    assert told.shape == (4, 2)
    assert sorted(Counter(data.spec.joint(told).tolist()).values()) == [2, 2]


def test_statistics_are_paid_from_what_validating_may_take() -> None:
    for settle in (0.0, 0.01, 0.2, 5.0):
        plan = Plan.timed(20.0, 1e-4, settle, 1000)
        each = settle * plan.passes / 20 + plan.validate_on * 1e-4
        assert 5 <= plan.validations <= 20
        assert plan.validations * each <= 2.0 * 1.001


@pytest.mark.parametrize("steps", range(1, 24))
def test_five_validations_are_five(steps: int) -> None:
    plan = Plan.counted(steps, 1)
    assert plan.length // plan.validate_every >= min(5, plan.length)


def test_batches_of_classes_that_are_larger_than_the_split_are_one(digits: Dataset) -> None:
    made = training("triplet", digits, keywords={"classes": 10, "each": 40})
    assert [made.validation.looked_at(limit) for limit in (2, 180, 1000)] == [400, 400, 400]
    assert sum(len(x) for x, _ in made.validation.in_lots(180, 64)) == 400
    small = training("triplet", digits, keywords={"classes": 5, "each": 4})
    assert [small.validation.looked_at(limit) for limit in (2, 45, 180)] == [20, 40, 180]
