"""What a log says of a training or a judging that takes long: a line now and then."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from simulacra.cli import waiting
from simulacra.cli.standing import Columns, seconds_left, span
from simulacra.cli.training_display import TrainingDisplay
from simulacra.cli.waiting import Waiting
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.judging.results import Entry
from simulacra.models import registry
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options
from simulacra.training.progress import Record


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def trained(
    digits: Dataset, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[TrainingDisplay, list[str]]]:
    """The lines of a training of which every step takes so many seconds."""

    def run(
        name: str = "nice", steps: int = 12, seconds: float = 4.0
    ) -> tuple[TrainingDisplay, list[str]]:
        clock = Clock()
        model = registry.build(name, digits.spec, {"hidden": (4,)})
        training = Training(model, digits.train, digits.validation, Options(device="cpu"))
        training.set_plan(Budget(steps, "steps"))
        assert training.plan is not None
        training.plan = replace(training.plan, validate_every=5)
        training.progress.seconds = 0.0
        with TrainingDisplay(["of-all", name], digits, clock) as display:
            display.on_start(name, training)
            for record in paced(training, seconds):
                clock.now += seconds
                display.on_record(name, record)
            display.on_done(name, Entry(model=name))
        return display, capsys.readouterr().err.splitlines()

    return run


def paced(training: Training, seconds: float) -> Iterator[Record]:
    for record in training:
        training.progress.seconds = record.step * seconds
        yield replace(record, seconds=record.step * seconds)


def test_a_log_says_every_ten_seconds_where_a_training_stands(trained) -> None:
    _, (first, *lines, last) = trained()
    assert first == "nice: 12 steps to do"
    # steps of four seconds: the third is the first after ten
    assert [re.search(r"(\d+)/12 steps", line)[1] for line in lines] == ["3", "6", "9", "12"]
    for line, spent, left in zip(
        lines, (12, 24, 36, 48), ("36 s", "24 s", "12 s", "0 s"), strict=True
    ):
        assert line.startswith("nice:   ")
        assert re.search(rf"  loss -?[\d.]+ .* 4 s/step  {spent} s +{left} left$", line), line
    assert "validation" not in lines[0]
    assert all(re.search(r"  validation [\d.]+ bits/dim  ", line) for line in lines[1:])
    assert last.startswith("nice: 12/12 steps  validation")
    # below one another, but for what came before the first validation
    ends = [[line.index(word) for word in (" steps", "s/step", " left")] for line in lines[1:]]
    assert ends == [ends[0]] * 3


def test_the_parts_of_a_bound_are_told_beside_it(trained) -> None:
    _, (_, *lines, _) = trained("vae")
    assert len(lines) == 4
    for line in lines:
        found = re.search(r"  loss (\S+) nats  reconstruction +(\S+), kl +(\S+)  ", line)
        assert found is not None, line
        loss, reconstruction, kl = map(float, found.groups())
        assert abs(loss - reconstruction - kl) < 0.2


def test_players_and_a_quick_pace_are_told_in_their_units(trained) -> None:
    _, (_, *lines, _) = trained("gan", steps=60, seconds=0.25)
    (line,) = lines
    assert re.search(
        r"  40/60 steps  discriminator \S+, generator \S+  validation \S+  real +\d+%, "
        r"fake +\d+%, diversity \S+  4 steps/s  10 s  5 s left$",
        line,
    )


def test_a_quick_training_says_nothing_between(trained) -> None:
    _, lines = trained(seconds=0.5)
    assert len(lines) == 2


def test_what_has_seconds_goes_by_them(trained) -> None:
    display, _ = trained()
    training = display.trainings["nice"]
    assert training.plan is not None
    training.plan = replace(training.plan, seconds=400.0, begun=8.0)
    assert seconds_left(training, 0.25) == 400.0 - (48.0 - 8.0)
    training.plan = replace(training.plan, seconds=None, steps=20)
    assert seconds_left(training, 0.25) == (20 - 12) / 0.25
    assert seconds_left(training, 0.0) is None


def test_what_had_ended_before_has_nothing_to_go(
    trained, capsys: pytest.CaptureFixture[str]
) -> None:
    display, _ = trained(seconds=0.5)
    training = display.trainings["nice"]
    for change, line in (
        ({}, "nice: 12 steps done before, which are all"),
        ({"seconds": 6.0, "at": 12}, "nice: 12 steps done before, which are all"),
        ({"seconds": 6.3, "steps": 13}, "nice: 0 s to go, 12 steps done"),
        ({"seconds": 5.9, "steps": 13}, "nice: 0 s to go, 12 steps done"),
        ({"start": 12, "steps": 13}, "nice: 1 step to do"),
    ):
        training.plan = replace(training.plan, **{"seconds": None, "at": None, **change})
        display.on_start("nice", training)
        assert capsys.readouterr().err == f"{line}\n"


def test_a_failure_is_told_with_its_reason(
    digits: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    with TrainingDisplay(["nice"], digits) as display:
        display.on_done("nice", Entry(model="nice", failed="memory ran out", failed_after=12.3))
        display.on_done("nice", Entry(model="nice", left_out="it needs pictures"))
    assert capsys.readouterr().err == (
        "nice: failed after 12 s: memory ran out\nnice: left out: it needs pictures\n"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (99, "99 s"), (150, "2 min"), (5999, "100 min"), (7200, "2.0 h")],
)
def test_times_are_in_their_usual_units(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_a_column_is_as_wide_as_its_widest_cell_so_far() -> None:
    columns = Columns()
    assert columns.line(["", "9", "b"]) == "9  b"
    assert columns.line(["", "10", ""]) == "10"
    assert columns.line(["", "7", "c", "d"]) == " 7  c  d"


# ---- judging ------------------------------------------------------------------------------------


def test_what_takes_long_to_measure_is_told_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    waiting = Waiting(clock)
    waiting.say()
    waiting.begin("gmm: likelihood")
    clock.now += 20
    waiting.say()
    waiting.begin("")
    waiting.say()
    assert capsys.readouterr().err == "measuring gmm: likelihood, 20 s so far\n"


def test_a_log_is_written_while_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    told = threading.Event()
    monkeypatch.setattr(waiting, "EVERY", 0.01)
    monkeypatch.setattr(waiting, "note", lambda _: told.set())
    with Waiting() as here:
        here.begin("gmm: likelihood")
        assert told.wait(60)
    assert not here._thread.is_alive()


def test_a_terminal_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(type(waiting.errors), "is_terminal", True)
    with Waiting() as here:
        here.begin("gmm: likelihood")
    assert "measuring gmm: likelihood\n" in capsys.readouterr().err
