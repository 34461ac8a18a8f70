"""What is seen of a game when it is validated: by hand, chosen by, told, and without a trace."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import simulacra as sim
import simulacra.training.diagnosis as thresholds
import simulacra.training.learner as learning_alone
from commands import undrawn
from learning import equal, values
from simulacra.data.dataset import Dataset
from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.judging.entries import diagnosed, learning_curves
from simulacra.judging.features.views import views
from simulacra.judging.results import Entry, Results
from simulacra.models.adversarial.gan import GAN
from simulacra.models.model import Model
from simulacra.nn.frechet import frechet, gaussian
from simulacra.report.balance import balance_charts
from simulacra.report.page import render
from simulacra.runs.again import again, differences
from simulacra.runs.metrics import read_metrics
from simulacra.training.balance import DISTANCE, SAMPLES, Balance
from simulacra.training.diagnosis import Diagnosis
from simulacra.training.plan import Plan
from simulacra.training.progress import Outcome

STEPS = 12


@pytest.fixture(scope="module")
def ring() -> Dataset:
    return few("ring-8", 400)


def few(name: str, count: int) -> Dataset:
    data = sim.load_data(name)
    rows = {key: torch.arange(min(count, len(split))) for key, split in data.splits.items()}
    parts: Any = {key: data.splits[key].take(each) for key, each in rows.items()}
    return replace(data, **parts)


def game(data: Dataset, **keywords: Any) -> GAN:
    with seeded(0):
        return GAN(data.spec, latent=2, hidden=(8,), **keywords)


def training(data: Dataset, model: Model | None = None, **options: Any) -> sim.Training:
    chosen = sim.Options(**{"device": "cpu", "batch": 16, "warmup": 0, "precision": "32"} | options)
    made = sim.Training(model or game(data), data.train, data.validation, chosen)
    made.set_plan(sim.Budget(STEPS, "steps"))
    made.plan = Plan(STEPS, 3)
    return made


def balance(data: Dataset, model: GAN | None = None) -> tuple[Balance, GAN]:
    made = training(data, model)
    assert made.learner.balance is not None
    kept: Any = made.averaged
    return made.learner.balance, kept


# ---- the figures ---------------------------------------------------------------------------------


def test_the_distance_of_gaussians_is_that_of_the_closed_form() -> None:
    """Of covariances with the same axes, the squared difference of deviations along each."""
    a, b = torch.tensor([1.0, 4.0, 0.0]).double(), torch.tensor([9.0, 4.0, 0.25]).double()
    with seeded(0):
        turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    mean = torch.tensor([1.0, -2.0, 0.5]).double()
    cov, cov_ = (turn @ each.diag() @ turn.T for each in (a, b))
    expected = float(mean.square().sum() + (a.sqrt() - b.sqrt()).square().sum())
    assert frechet(mean, cov, torch.zeros(3).double(), cov_) == pytest.approx(expected)


class Drawing(GAN):
    """Draws what it is given."""

    drawn: Tensor

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.drawn[torch.arange(len(z)) % len(self.drawn)]


def seen(data: Dataset, drawn: Tensor) -> dict[str, float]:
    with seeded(0):
        model = Drawing(data.spec, latent=2, hidden=(8,))
    watched, kept = balance(data, model)
    assert isinstance(kept, Drawing)
    kept.drawn = drawn.float()
    # all at once, or each lot would begin anew
    watched._at_once = SAMPLES
    return watched.measure(kept, SAMPLES)


@pytest.mark.parametrize("name", ["ring-8", "digits"])
def test_data_themselves_are_near_and_one_picture_is_at_its_place(name: str) -> None:
    data = few(name, 400)
    x = data.validation.x[:]
    same = seen(data, x)
    assert same[DISTANCE] < 0.03
    assert same["diversity"] == pytest.approx(1.0, abs=0.05)
    assert same["classes"] == 1.0
    one = seen(data, x[:1])
    assert one["diversity"] == pytest.approx(0.0, abs=1e-12)
    assert one["classes"] < 0.2
    # |x − μ|² + tr Σ, by the features of validation rows
    watched, _ = balance(data)
    features = watched._features(x)
    mean, covariance = gaussian(features)
    expected = float((features[0] - mean).square().sum() + covariance.trace())
    assert one[DISTANCE] == pytest.approx(expected, rel=1e-6)


def test_who_always_draws_the_mean_is_at_one(ring: Dataset) -> None:
    watched, _ = balance(ring)
    features = watched._features(ring.train.x[:])
    mean, covariance = gaussian(features)
    nothing = torch.zeros_like(covariance)
    assert frechet(mean, nothing, mean, covariance) == pytest.approx(1.0, rel=0.02)


def test_accuracies_are_shares_of_what_the_opponent_takes_for_what_it_is(ring: Dataset) -> None:
    watched, kept = balance(ring)
    count = len(ring.validation)

    def scores(x: Tensor, _: Tensor | None = None) -> Tensor:
        return torch.where((x[:, :1] > 0).squeeze(1), 1.0, -1.0)

    model: Any = kept
    model.scores = scores
    found = watched.measure(kept, SAMPLES)
    assert found["real"] == pytest.approx(float((ring.validation.x[:][:, 0] > 0).double().mean()))
    rows = watched._known[:count]
    assert found["known"] == pytest.approx(float((ring.train.x[rows][:, 0] > 0).double().mean()))
    # of scores of which only differences count, the middle between both means
    kept.undecided = None
    model.scores = lambda x, _=None: scores(x) + 100
    moved = watched.measure(kept, SAMPLES)
    assert {k: moved[k] for k in ("real", "fake")} == {k: found[k] for k in ("real", "fake")}
    assert "wasserstein" not in found
    kept.estimates_distance = True
    assert watched.measure(kept, SAMPLES)["wasserstein"] == pytest.approx(
        2 * (found["real"] + found["fake"] - 1), abs=1e-6
    )


def test_classes_too_rare_to_be_missed_are_not_counted(ring: Dataset) -> None:
    watched, kept = balance(ring)
    # an eighth of 500 is enough to expect, of 40 it is not
    assert "classes" in watched.measure(kept, SAMPLES)
    assert "classes" not in watched.measure(kept, 40)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_infinitely_far(ring: Dataset, value: float) -> None:
    assert seen(ring, torch.full((3, 2), value)) == {DISTANCE: math.inf}


def test_nothing_is_chosen_by_what_the_judge_uses(ring: Dataset) -> None:
    digits = few("digits", 400)
    unlabelled = replace(
        digits, spec=replace(digits.spec, classes=0),
        **{key: replace(split, context=None) for key, split in digits.splits.items()},
    )  # fmt: skip
    mine = balance(digits)[0]._network.state_dict()
    theirs = views(unlabelled, 100)[0].network.state_dict()
    assert mine.keys() == theirs.keys()
    assert not any(torch.equal(mine[key], theirs[key]) for key in mine)


@pytest.mark.parametrize("context", ["label", "vector"])
def test_samples_are_drawn_for_contexts_of_validation_rows(ring: Dataset, context: Any) -> None:
    data = few("digits", 200)
    if context == "vector":
        vectors = {key: replace(split, context=split.context[:, None].float().repeat(1, 3))
                   for key, split in data.splits.items()}  # fmt: skip
        data = replace(data, spec=replace(data.spec, classes=0, context_width=3), **vectors)
    made = training(data, game(data, context=context))
    (record, *_) = [each for each in made if each.validated]
    assert record.validation is not None
    assert math.isfinite(record.validation)


# ---- the training --------------------------------------------------------------------------------


def test_the_best_step_is_that_of_the_smallest_distance(ring: Dataset) -> None:
    made = training(ring)
    found = iter([3.0, 1.0, math.inf, 2.0])
    plant: Any = made.learner.balance
    plant.measure = lambda *_: {DISTANCE: next(found)}
    kept = {}
    for record in made:
        if record.validated:
            kept[record.step] = record.validation
    assert kept == {3: 3.0, 6: 1.0, 9: math.inf, 12: 2.0}
    assert (made.progress.best_step, made.progress.best) == (6, 1.0)


def test_a_generator_of_no_numbers_is_never_best(ring: Dataset) -> None:
    made = training(ring)
    plant: Any = made.learner.balance
    plant.measure = lambda *_: {DISTANCE: math.inf}
    told = [record.diagnoses for record in made if record.validated]
    assert made.progress.best_step is None
    # and it is told once
    assert [[each.name for each in now] for now in told] == [["divergence"], [], [], []]


def test_looking_leaves_no_trace(ring: Dataset) -> None:
    """A training that looks is, bit for bit, one that does not; so is what is random outside."""
    looked, blind = training(ring), training(ring)
    plant: Any = blind.learner.balance
    plant.measure = lambda *_: {DISTANCE: 1.0}
    torch.manual_seed(7)
    assert sum(record.validated for record in looked) == 4
    after = torch.rand(3)
    torch.manual_seed(7)
    list(blind)
    assert torch.equal(torch.rand(3), after)
    assert equal(values(looked.model), values(blind.model))
    assert equal(values(looked.averaged), values(blind.averaged))


def test_all_processes_have_what_the_first_has_seen(
    ring: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner: Any = training(ring).learner
    first = {DISTANCE: 0.25}
    learner.fabric = SimpleNamespace(world_size=2, global_rank=0, broadcast=lambda _: first)
    monkeypatch.setattr(learning_alone, "sum_over_processes", lambda _, each: each)
    assert learner.validate(50) == 0.25
    assert learner.seen_of_game == first


def alike(*_: Any) -> dict[str, float]:
    return {DISTANCE: 0.5, "diversity": 0.01, "real": 0.7, "fake": 0.6}


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sicknesses that are named within a few steps; every generator is sick."""
    monkeypatch.setattr(thresholds, "LASTS", 4)
    monkeypatch.setattr(Balance, "measure", alike)


@pytest.mark.usefixtures("quickly")
def test_a_training_that_goes_on_tells_what_one_without_a_break_does(ring: Dataset) -> None:
    whole, begun, resumed = (training(ring) for _ in range(3))
    told = [(r.step, [str(d) for d in r.diagnoses]) for r in whole]
    before = []
    for record in begun:
        before.append((record.step, [str(d) for d in record.diagnoses]))
        if record.step == 7:
            # between two looks, as a checkpoint holds it
            resumed.load_state_dict(json_and_back(begun.state_dict()))
            break
    after = [(r.step, [str(d) for d in r.diagnoses]) for r in resumed]
    assert before + after == told
    assert sum(bool(lines) for _, lines in told) == 1
    assert resumed.progress.course == whole.progress.course
    assert equal(values(resumed.model), values(whole.model))
    (found,) = Outcome.of(resumed.progress, resumed.plan).diagnoses
    assert (found.name, found.since, found.until) == ("collapse", 3, 12)


def json_and_back(state: dict[str, Any]) -> dict[str, Any]:
    return state | {"progress": json.loads(json.dumps(state["progress"]))}


def run_of(place: Path, data: Dataset, budget: str, **more: Any) -> sim.Run:
    run = sim.Run.create(
        place, model="gan", keywords={"latent": 2, "hidden": (8,)}, data=data,
        options=sim.Options(device="cpu", batch=16, warmup=0, precision="32"),
        budget=sim.Budget.parse(budget),
    )  # fmt: skip
    run.train(data, **more)
    return run


@pytest.mark.usefixtures("quickly")
def test_it_ends_on_a_diagnosis_and_can_be_done_again_and_gone_on_with(tmp_path: Path) -> None:
    data = sim.load_data("ring-8")
    run = run_of(tmp_path / "run", data, "40steps", stop_on=["collapse"])
    outcome = run.outcome()
    # looks at every other step, from a quarter on
    assert (outcome.finished, outcome.steps, outcome.stopped_on) == (True, 14, "collapse")
    assert [each.name for each in outcome.diagnoses] == ["collapse"]
    assert run.checkpoints()
    columns = read_metrics(run.folder / "metrics.csv")
    assert columns["balance/diversity"][-1] == 0.01
    assert columns["generator/gradient"][-1] is not None
    other = again(run, tmp_path / "other")
    other.train(data)
    assert other.outcome().steps == 14
    assert differences(run, other) == []
    assert "stop_on" not in other.record
    # whoever wants more of it gets it, and is not stopped by what was told
    opened = sim.Run.open(run.folder)
    assert opened.record["stop_on"] == ["collapse"]
    longer = opened.train(data, longer=sim.Budget(6, "steps"))
    assert (longer.steps, longer.stopped_on) == (20, "")


def test_nobody_ends_on_what_nobody_diagnoses(tmp_path: Path) -> None:
    data = sim.load_data("ring-8")
    with pytest.raises(UsageError, match="did you mean"):
        run_of(tmp_path / "run", data, "2steps", stop_on=["divergance"])
    nice = sim.Run.create(
        tmp_path / "nice", model="nice", keywords={"hidden": (8,)}, data=data,
        options=sim.Options(device="cpu"), budget=sim.Budget(2, "steps"),
    )  # fmt: skip
    with pytest.raises(UsageError, match="games of two players"):
        nice.train(data, stop_on=["collapse"])


@pytest.mark.usefixtures("quickly")
def test_the_command_says_it_and_leaves_as_a_stop_does(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undrawn(monkeypatch)
    code, _, err = cli(
        "train", "gan", "ring-8", "--budget", "40steps", "--set", "hidden=8", "--set", "latent=2",
        "--stop-on", "collapse", "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 130
    begins = [line for line in err.splitlines() if "mode collapse suspected" in line]
    assert len(begins) == 2
    assert begins[0].startswith("gan: mode collapse suspected, since step 10")
    assert "Try another game: the model r3gan" in begins[0]
    assert begins[1].startswith("diagnosed: ")
    assert "ended by --stop-on collapse" in err
    assert "best validation: 0.500" in err


# ---- the report ----------------------------------------------------------------------------------


def told(model: Model, data: Dataset) -> Entry:
    """As the judge tells of a training."""
    metrics: dict[str, list[float | None]] = {
        "step": [1.0, 2.0, 3.0], "seconds": [1.0, 2.0, 3.0], "validation": [None, 2.0, 1.0],
        "critic 1/loss": [1.0, 1.0, 1.0], "critic 1/gradient": [5.0, 4.0, 3.0],
        "generator/gradient": [1.0, 2.0, 3.0], "balance/real": [None, 0.9, 0.6],
        "balance/fake": [None, 0.8, 0.5], "balance/known": [None, 0.9, 0.7],
        "balance/diversity": [None, 0.5, 0.9], "balance/distance": [None, math.inf, 0.3],
        "balance/wasserstein": [None, 2.0, 1.0],
    }  # fmt: skip
    sick = Diagnosis("collapse", 500, 1500, 20.0, "samples are alike")
    outcome = Outcome(True, 3, 1.0, 0, 0.3, diagnoses=(sick,))
    return Entry(
        model="gan", curves=learning_curves(metrics, model, data), diagnoses=outcome.diagnoses,
        warnings=tuple(diagnosed(outcome, model)),
    )  # fmt: skip


def test_a_report_draws_the_balance_and_says_what_was_wrong(ring: Dataset) -> None:
    entry = told(game(ring), ring)
    charts = balance_charts(entry)
    assert [chart.title for chart in charts] == [
        "told rightly by the opponent", "norm of the gradient",
        "spread of samples over that of data", "distance from validation data",
        "Wasserstein estimate",
    ]  # fmt: skip
    assert [b"one half" in chart.svg for chart in charts] == [True, False, False, False, False]
    assert b"critic 1" in charts[1].svg
    results = Results(models=(entry,))
    assert Results.from_json(json.loads(json.dumps(results.to_json(), allow_nan=False))) == results
    page = render(results, {})
    assert "Balance of the game" in page
    assert page.count("mode collapse suspected, since step 500: samples are alike. Try") == 1
    assert balance_charts(Entry(model="nice")) == []
    assert "Balance of the game" not in render(Results(models=(Entry(model="nice"),)), {})
