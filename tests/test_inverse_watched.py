"""That an invertible model inverts is watched while it trains: recorded, named where it fails."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import simulacra as sim
from commands import undrawn
from simulacra.cli.training_display import TrainingDisplay
from simulacra.judging.entries import wrong_inverse
from simulacra.models.flow.nice import NICE
from simulacra.runs.metrics import Metrics, read_metrics
from simulacra.training.plan import INVERT_ON, Plan
from simulacra.training.progress import Outcome, Record


class Off(NICE):
    """Comes back from its codes a little elsewhere."""

    by = 1e-2

    def invert(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return super().invert(z, context) + self.by


class Broken(Off):
    """Comes back from nowhere."""

    by = math.nan


class Beyond(Off):
    """Comes back from beyond all numbers."""

    by = math.inf


@pytest.fixture(scope="module")
def digits() -> sim.Dataset:
    return sim.load_data("digits")


def training(kind: type[NICE], data: sim.Dataset, steps: int = 6) -> sim.Training:
    model = kind(data.spec, hidden=(8,))
    made = sim.Training(model, data.train, data.validation, sim.Options(device="cpu"))
    made.plan = Plan(steps, 3)
    return made


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        (Off, 0.009, 0.011),
        (Broken, math.inf, math.inf),
        (Beyond, math.inf, math.inf),
        (NICE, 0, 1e-4),
    ],
)
def test_every_validation_has_the_largest_error(
    kind: type[NICE], low: float, high: float, digits: sim.Dataset
) -> None:
    made = training(kind, digits)
    found = [record.inverse_error for record in made]
    assert [error is None for error in found] == [True, True, False] * 2
    assert all(low <= error <= high for error in found if error is not None)
    # on the way to a checkpoint and back, and in how it ended
    kept = made.progress.inverse_error
    assert kept is not None
    assert low <= kept <= high
    assert Outcome.of(made.progress, made.plan).inverse_error == kept
    assert made.state_dict()["progress"]["inverse_error"] == kept


def test_the_worst_of_the_rows_counts_and_few_are_looked_at(digits: sim.Dataset) -> None:
    made = training(NICE, digits)
    looked: list[int] = []

    def one_is_off(x: Tensor, _: Tensor | None = None) -> Tensor:
        looked.append(len(x))
        return torch.zeros(len(x)).index_fill(0, torch.tensor([3]), 0.5)

    model: Any = made.averaged
    model.inverse_error = one_is_off
    assert made.learner.inverse_error(INVERT_ON) == 0.5
    assert sum(looked) == INVERT_ON
    assert made.learner.inverse_error(0) is None


def test_what_is_kept_is_the_error_of_the_best_step(digits: sim.Dataset) -> None:
    made = training(NICE, digits)
    losses, errors = iter([3.0, 2.0, 4.0]), iter([0.3, 0.2, 0.4])
    learner: Any = made.learner
    learner.validate, learner.inverse_error = lambda _: next(losses), lambda _: next(errors)
    made.plan = Plan(3, 1)
    assert [record.inverse_error for record in made] == [0.3, 0.2, 0.4]
    assert made.progress.inverse_error == 0.2


def test_all_processes_have_the_figure_of_the_first(digits: sim.Dataset) -> None:
    learner: Any = training(Off, digits).learner
    learner.fabric = SimpleNamespace(world_size=2, broadcast=lambda _: 0.25)
    assert learner.inverse_error(4) == 0.25


def test_where_inverting_is_dear_validations_come_first() -> None:
    plain = Plan.timed(100.0, 1e-4, 0.0, 1000)
    assert plain.invert_on == INVERT_ON
    cheap = Plan.timed(100.0, 1e-4, 0.0, 1000, invert=0.001)
    assert (cheap.invert_on, cheap.validate_on) == (INVERT_ON, 1000)
    # a quarter of ten seconds for five of them
    assert Plan.timed(100.0, 1e-4, 0.0, 1000, invert=0.06).invert_on == 8
    dear = Plan.timed(100.0, 1e-4, 0.0, 1000, invert=1.0)
    assert dear.invert_on == 0
    assert (dear.validate_on, dear.validations) == (plain.validate_on, plain.validations)
    # what is looked at is paid for
    tight = Plan.timed(100.0, 5e-3, 0.0, 1000, invert=0.04)
    assert tight.invert_on == 12
    assert tight.validations * (12 * 0.04 + tight.validate_on * 5e-3) <= 10.0


def test_its_time_is_known_to_the_plan(digits: sim.Dataset) -> None:
    """A clock that inverting alone moves on."""
    now = 0.0

    class Slow(NICE):
        def inverse_error(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            nonlocal now
            now += 2.0
            return super().inverse_error(x, context)

    def planned(seconds: float) -> tuple[Plan, float]:
        before = now
        made = sim.Training(
            Slow(digits.spec, hidden=(8,)), digits.train, digits.validation,
            sim.Options(device="cpu"), clock=lambda: now,
        )  # fmt: skip
        plan = made.set_plan(sim.Budget(seconds, "s"))
        assert made.progress.spent["validating"] == now - before
        return plan, now - before

    dear, spent = planned(10.0)
    # one observation was tried, and validations are as many as without
    assert (dear.invert_on, dear.validate_on, spent) == (0, 180, 2.0)
    assert dear.validations > 0
    cheap, spent = planned(1000.0)
    assert (cheap.invert_on, spent) == (INVERT_ON, 4.0)


# ---- what is told --------------------------------------------------------------------------------


def record(step: int, error: float | None) -> Record:
    return Record(step, 0.1, 1.0, 1e-3, {"loss": 2.0}, 3.0, True, 0, 0, error)


@pytest.fixture
def display(digits: sim.Dataset) -> Iterator[TrainingDisplay]:
    with TrainingDisplay(["off"], digits) as made:
        made.on_start("off", training(Off, digits))
        yield made


def test_what_does_not_invert_is_named_once_and_again_when_it_is_worse(
    display: TrainingDisplay, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    for step, error in enumerate([None, 9e-4, 1e-2, 2e-2, 0.3, math.inf], start=1):
        display.on_record("off", record(step, error))
    told = capsys.readouterr().err
    named = [line for line in told.splitlines() if "off by" in line]
    assert [line.partition(":")[0] for line in named] == [
        "off, step 3", "off, step 5", "off, step 6",
    ]  # fmt: skip
    assert "off by 0.01, more than 0.001" in named[0]
    assert "lower --lr" in named[0]


def test_a_column_of_metrics_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    with Metrics(path, 0) as metrics:
        for step, error in enumerate([None, 1e-2, math.inf], start=1):
            metrics.add(record(step, error), write=True)
    assert read_metrics(path)["inverse_error"] == [None, 1e-2, math.inf]
    with Metrics(tmp_path / "other.csv", 0) as metrics:
        metrics.add(record(1, None), write=True)
    assert "inverse_error" not in read_metrics(tmp_path / "other.csv")


def test_a_run_and_its_report_say_it(
    ok: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undrawn(monkeypatch)
    tests = Path(__file__)
    words = ("train", f"{tests}:Off", "ring-8", "--budget", "3steps", "--set", "hidden=8",
             "--out", "runs/off")  # fmt: skip
    _, err = ok(*words)
    assert "come back from their codes off by 0.01" in err
    run = sim.Run.open(tmp_path / "runs" / "off")
    outcome = run.outcome()
    assert outcome.inverse_error == pytest.approx(1e-2, rel=0.1)
    (warning,) = wrong_inverse(outcome)
    assert "off by 0.01" in warning
    data = run.dataset()
    judged = sim.Judge(data, limit=4, most=20).run(run, code=f"{tests}:Off")
    assert warning in judged.entry.warnings


def test_what_inverts_is_no_warning() -> None:
    ended = Outcome(True, 3, 1.0, 0, 2.0, inverse_error=9e-4)
    assert wrong_inverse(ended) == wrong_inverse(None) == []
