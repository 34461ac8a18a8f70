"""Training, tasks and judging of models that lie elsewhere, without another device."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

import simulacra as sim
from simulacra.data.dataset import Dataset
from simulacra.ground.randomness import seeded
from simulacra.judging import pictures
from simulacra.judging.figures.cost import cost
from simulacra.judging.figures.nature import nature
from simulacra.judging.judge import Judge
from simulacra.models.lawbook.device import ELSEWHERE, Elsewhere
from simulacra.models.model import Model
from simulacra.tasks.classify import classify
from simulacra.tasks.field import measured
from simulacra.tasks.surprise import surprise
from simulacra.training import engine, loop


@pytest.fixture(scope="module")
def digits() -> Dataset:
    data = sim.load_data("digits")
    few = {name: split.take(torch.arange(40)) for name, split in data.splits.items()}
    return dataclasses.replace(data, **few)


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Trainings are on the other device too."""
    make = engine.make_fabric

    def moved(options: sim.Options) -> Any:
        fabric: Any = make(options)
        fabric._strategy._root_device = ELSEWHERE
        fabric.__class__ = type("Moved", (type(fabric),), {"device": ELSEWHERE})
        return fabric

    monkeypatch.setattr(loop, "make_fabric", moved)
    with Elsewhere() as mode:
        yield mode


def trained(there: Elsewhere, data: Dataset, name: str, **keywords: Any) -> Model:
    with seeded(0):
        model = sim.build(name, data.spec, keywords)
    options = sim.Options(device="cpu", batch=8, warmup=0, precision="32")
    training = sim.Training(model, data.train, data.validation, options)
    training.set_plan(sim.Budget.parse("2steps"))
    assert [record.step for record in training] == [1, 2]
    training.load_state_dict(training.state_dict())
    assert all(map(there.has, training.averaged.state_dict().values()))
    return training.averaged.eval()


@pytest.mark.parametrize(
    ("name", "keywords"),
    [
        ("vae", {"hidden": (6,), "latent": 2}),
        ("made", {"hidden": (6,), "context": "label"}),
        ("gmm", {"components": 2, "covariance": "full"}),
    ],
)
def test_what_is_done_with_a_model_elsewhere(
    there: Elsewhere, digits: Dataset, name: str, keywords: dict[str, Any]
) -> None:
    model = trained(there, digits, name, **keywords)
    x, labels = digits.test.batch(torch.arange(4))
    told = labels if model.context == "label" else None
    found = [sim.sample(model, 4).x]
    if isinstance(model, sim.Completion):
        observed = torch.ones(digits.spec.event_shape).bool().triu()
        found.append(sim.complete(model, x, observed, times=2, context=told))
    if isinstance(model, sim.Latent):
        assert there.has(sim.interpolate(model, rows=2, steps=3, context=told))
    if isinstance(model, sim.Autoregressive):
        assert told is not None
        found.append(sim.complete(model, x, observed, candidates=2, context=told))
        found += [surprise(model, x, told), measured(model, (1, 1), pictures=1)]
        found.append(classify(model, x, torch.ones(10) / 10).probabilities)
    # where whoever asked is
    assert not any(map(there.has, found))
    assert isinstance(model, sim.Likelihood)
    scores = sim.likelihood(model, digits.test, draws=2)
    assert (scores.marginal or scores.given_label) is not None
    assert cost(model, digits).flops_per_training_step
    nature(model, digits, calls=1)
    assert pictures.model_pictures(model, digits)


def test_samples_from_elsewhere_are_judged(there: Elsewhere, digits: Dataset) -> None:
    x, labels = there.bring(digits.test.batch(torch.arange(20)))
    judge = Judge(digits)
    # without a classifier, which takes seconds
    judge.data = dataclasses.replace(
        digits, **{name: dataclasses.replace(split, context=None)
                   for name, split in digits.splits.items()},
    )  # fmt: skip
    assert judge.foreign("theirs", x, labels).entry.samples is not None
