"""A budget in seconds is kept where it is hard: few steps, resumed runs, rollbacks, ends."""

from __future__ import annotations

import contextlib
import errno
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import toys
from simulacra.cli import training_display
from simulacra.cli.training_display import TrainingDisplay
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.ground import threads
from simulacra.ground.errors import ResourceError
from simulacra.ground.threads import Chooser
from simulacra.runs.events import EventLog
from simulacra.runs.journal import Journal
from simulacra.runs.run import Run
from simulacra.training import clocked
from simulacra.training.changes import make_longer
from simulacra.training.events import Decisions, Events
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options
from simulacra.training.pace import Pace
from simulacra.training.plan import Event, Plan
from simulacra.training.progress import Progress, Record
from test_budget_seconds import StandIn, let_one_work, timed


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.mark.parametrize("step", [50.0, 52.0, 53.0, 57.0])
def test_a_second_step_is_made_if_there_is_room_for_it(step: float, digits: Dataset) -> None:
    clock = StandIn(lambda *_: step, 1e-4)
    made = timed(clock, digits, 100.0)
    assert len(list(made)) == (2 if step <= 52 else 1)
    assert clock.now <= 105.0


def test_a_step_is_made_if_there_is_room_for_it_without_validations() -> None:
    """What is kept for validations and checkpoints is no reason to make one step less."""
    plan, pace = Plan(1 << 48, 1 << 48, seconds=100.0), Pace()
    pace.looked(0.5)
    for number in (1, 2, 3):
        pace.stepped(25.2, plan)
        plan = pace.estimate(plan, number, 25.2 * number + 0.5, number - 1, number - 1) or plan
    assert plan.steps == 4


@pytest.mark.parametrize("look", [0.02, 0.3, 0.9])
def test_planning_takes_no_more_than_a_tenth(look: float, digits: Dataset) -> None:
    """Of a model that takes as long for many observations as for each of them in turn."""
    clock = StandIn(lambda *_: 1.0, look)
    made = timed(clock, digits, 100.0)
    assert clock.now <= 10.0
    list(made)
    assert made.progress.spent["validating"] <= 10.0 + 1e-6
    assert made.progress.looks >= 2


def test_the_schedule_begins_after_what_is_made_ready_in_the_first_step(digits: Dataset) -> None:
    made = timed(StandIn(lambda step, _: 0.5 if step else 50.0), digits, 100.0)
    rates = [record.lr for record in made]
    assert len(rates) > 90
    assert max(rates) > 0.95e-3
    assert rates[-1] < 1e-5


def test_no_step_has_more_than_the_rate(digits: Dataset) -> None:
    """A place by seconds may lie between two steps of the warm-up."""
    assert Options(lr=1e-3, warmup=1).lr_at(0.9, 15.3) <= 1e-3
    made = timed(StandIn(lambda step, _: 6.0 + step % 3), digits, 100.0)
    assert all(record.lr <= 1e-3 for record in made)


@pytest.mark.parametrize(("before", "after"), [(1.0, 3.9), (9.0, 0.5), (9.0, 4.0)])
def test_a_training_that_goes_on_knows_when_its_time_is_over(
    before: float, after: float, digits: Dataset
) -> None:
    """On a machine that is quicker or slower, when few steps are left to make."""
    made = timed(StandIn(lambda *_: before), digits, 100.0)
    states = [made.state_dict() for _ in made][-3:-1]
    for state in states:
        again = timed(StandIn(lambda *_: after), digits, 100.0)
        step = state["progress"]["step"]
        again.events = Events(event for event in made.events if event.step <= step)
        again.load_state_dict(state)
        list(again)
        assert 99.5 - after <= again.progress.seconds <= 105.0
        assert again.plan.place(again.progress.step) == 1.0


def broken_at(made: Training, clock: StandIn, *seconds: float) -> list[float]:
    """Rates of the steps of a training whose weights are no numbers after so many seconds."""
    step, done = made.learner.step, set[float]()

    def breaks(*arguments: Any) -> dict[str, float]:
        losses: dict[str, float] = step(*arguments)
        now = {each for each in seconds if clock.now >= each} - done
        if now:
            done.update(now)
            # what is changed in a step that is lost stays so
            made.happens(Event(made.progress.tick, threads=made.progress.threads + 1))
            with torch.no_grad():
                next(made.model.parameters()).fill_(torch.nan)
        return losses

    made.learner.step = breaks  # type: ignore[method-assign]
    rates = [record.lr for record in made]
    assert made.progress.rollbacks == len(seconds)
    # by which events are found
    assert made.progress.tick == len(rates)
    return rates


@pytest.mark.parametrize("second", [70.0, 99.7])
def test_a_rollback_takes_no_time_back(
    second: float, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the schedule's nor that of dear validations."""
    let_one_work(monkeypatch)
    clock = StandIn(lambda *_: 0.4, 2e-3)
    made = timed(clock, digits, 100.0)
    made.decisions.said = made.decisions.most = None
    before = made.progress.threads
    rates = broken_at(made, clock, 40.0, second)
    assert made.progress.threads == before + 2
    assert made.progress.seconds == pytest.approx(clock.now)
    assert sum(made.progress.spent.values()) == pytest.approx(clock.now)
    assert 97.5 <= clock.now <= 103.0
    assert rates[-1] < 1e-5
    # halved, and no higher than it was before the rollback
    assert all(later <= rate for rate, later in pairwise(rates[100:]))
    assert made.progress.spent["validating"] <= 10.5


@pytest.mark.parametrize("piece", [0.003, 0.05, 0.2])
@pytest.mark.parametrize("fewer", [0.8, 0.9])
def test_where_all_threads_but_one_wait_one_works(piece: float, fewer: float) -> None:
    """On a machine with many cores two are as slow as four, when others come to use it."""
    quiet = {1: piece, 2: fewer * piece, 4: fewer**2 * piece, 8: fewer**3 * piece}

    def later(count: int, now: float) -> float:
        return quiet[count] * (15.0 if now > 20 and count > 1 else 1.0)

    chooser = Chooser(4, 8, 60.0)
    done, now = 0, 0.0
    while now < 60.0:
        took = later(chooser.count, now)
        done, now = done + 1, now + took
        chooser.after(took)
    assert chooser.count == 1
    assert now <= 1.3 * done * piece


def test_a_machine_that_is_busy_from_the_beginning_leaves_one() -> None:
    """Although pieces seem too dear there to try more."""
    chooser = Chooser(2, 4, 60.0)
    done, now = 0, 0.0
    while now < 60.0:
        took = {1: 0.1, 2: 0.9, 4: 1.5}[chooser.count]
        done, now = done + 1, now + took
        chooser.after(took)
    assert chooser.count == 1
    assert now <= 1.3 * done * 0.1


def test_a_training_that_goes_on_knows_what_its_last_checkpoint_takes(digits: Dataset) -> None:
    def saves(made: Training, clock: StandIn) -> list[dict[str, Any]]:
        states = []
        for record in made:
            states.append(made.state_dict())
            if record.validated:
                with made.spending("checkpoints"):
                    clock.now += 4.5
        return states

    clock = StandIn(lambda *_: 0.5)
    made = timed(clock, digits, 100.0)
    with made.spending("checkpoints"):
        clock.now += 4.5
    state = saves(made, clock)[-9]
    clock = StandIn(lambda *_: 0.5)
    again = timed(clock, digits, 100.0)
    again.events = Events(event for event in made.events if event.step <= state["progress"]["step"])
    again.load_state_dict(state)
    saves(again, clock)
    assert 95.0 <= again.progress.seconds <= 102.0
    assert again.progress.spent["checkpoints"] == 9.0


def test_the_picture_at_the_end_is_no_part_of_the_budget(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = StandIn(lambda *_: 0.5)
    made = timed(clock, digits, 20.0)
    journal, drawn = Journal(tmp_path, made), []

    def draw(seconds: float = math.inf) -> None:
        drawn.append(seconds)
        clock.now += 0.1 if seconds < math.inf else 50.0

    monkeypatch.setattr(journal, "_draw", draw)
    with journal:
        for record in made:
            clock.now += 0.01
            journal.add(record)
            if record.validated:
                clock.now += 0.02
                with made.spending("checkpoints"):
                    pass
    assert drawn[-1] == math.inf
    assert set(drawn[:-1]) == {0.2}
    assert 19.0 <= made.progress.seconds <= 21.0
    spent = made.progress.spent
    assert spent["pictures"] == pytest.approx(0.1 * (len(drawn) - 1))
    # all but the last picture
    assert sum(spent.values()) == pytest.approx(made.progress.seconds) == clock.now - 50.0
    assert spent["other"] == pytest.approx(0.01 * made.progress.step + 0.02 * made.progress.looks)


def test_a_full_disk_and_what_is_written_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, events = EventLog(tmp_path), Events([Event(1, threads=2, made="within")])
    log.write(events)
    more = Events([*events, Event(2, threads=1, made="within")])

    def full(path: Path, *_: object, **__: object) -> None:
        with open(path, "ab") as file:
            file.write(b'{"step": 2, "thr')
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        with pytest.raises(ResourceError, match=r"events\.jsonl: No space left"):
            log.write(more)
    assert EventLog(tmp_path).read() == list(events)
    log.write(more)
    assert EventLog(tmp_path).read() == list(more)


def test_a_training_goes_on_with_the_threads_that_its_user_says(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may have said nothing when it began; and done again it changes where it changed."""
    clock = StandIn(lambda *_: 0.1)
    made = timed(clock, digits, 2.0)
    state, before, seen = made.state_dict(), torch.get_num_threads(), list[int]()
    state["progress"]["threads"] = before + 2

    def step(*_: object) -> float:
        seen.append(torch.get_num_threads())
        return 0.1

    clock.step = step
    monkeypatch.setattr(clocked, "chosen_by_user", lambda: True)
    made.load_state_dict(state)
    list(made)
    assert seen == [before + 2] + [before] * (len(seen) - 1)
    assert torch.get_num_threads() == before
    assert Event(1, threads=before, made="within") in made.events


def test_events_of_an_old_record_are_written_once(digits: Dataset, tmp_path: Path) -> None:
    run = Run.create(
        tmp_path / "run", model="nice", keywords={"hidden": (4,)}, data=digits,
        options=Options(device="cpu", batch=8), budget=Budget(4, "steps"),
    )  # fmt: skip
    event = Event(2, player="model", lr=0.5)
    run.record["events"] = [{"step": 2, "player": "model", "lr": 0.5}]
    assert not run.train(digits, should_stop=lambda: True).finished
    for _ in range(2):
        run.train(digits)
        assert EventLog(run.folder).read() == [event]


def test_a_rollback_is_no_pace_backwards(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lines = StandIn(lambda *_: 0.5), list[str]()
    made = timed(clock, digits, 20.0)
    monkeypatch.setattr(training_display, "row", lines.append)
    display = TrainingDisplay(["timed"], digits, clock)
    display.shown = False
    display.on_start("timed", made)
    for step, seconds in ((30, 10.0), (20, 20.0)):
        clock.now += 10.0
        display.on_record("timed", Record(step, 0.0, seconds, 1e-3, {}, None, False, 0))
    assert "3 steps/s" in lines[0]
    assert "/s" not in lines[1]


def test_threads_are_as_they_were_before_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nested, after an exception; and what the user says is what is said outside of all blocks."""
    found, before = torch.get_num_threads(), 4
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(before)
    try:
        _blocks(before, monkeypatch)
    finally:
        torch.set_num_threads(found)


def _blocks(before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable", lambda: before)
    assert not threads.chosen_by_user()
    with threads.using(before + 3):
        with threads.using(before + 2):
            assert torch.get_num_threads() == before + 2
            assert threads.usual() == before // 2
            with threads.settled():
                assert torch.get_num_threads() == before + 2
            with threads.settled(1):
                assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == before + 3
        with contextlib.suppress(ValueError), threads.using(before + 1):
            raise ValueError
        assert torch.get_num_threads() == before + 3
    with threads.using(before - 1):
        # fewer than there are cores, but by us
        assert not threads.chosen_by_user()
    assert torch.get_num_threads() == before
    monkeypatch.setattr(threads, "usable", lambda: before + 1)
    assert threads.chosen_by_user()
    monkeypatch.setattr(threads, "usable", lambda: before)
    monkeypatch.setenv("OMP_NUM_THREADS", str(before))
    with threads.using(before + 1):
        assert threads.chosen_by_user()
        assert threads.usual() == before
        with threads.settled(before + 5):
            assert torch.get_num_threads() == before


def test_a_caller_has_its_threads_after_a_break_and_after_an_exception(digits: Dataset) -> None:
    before = torch.get_num_threads()
    made = timed(StandIn(lambda *_: 0.5), digits, 20.0)
    made.progress.threads = before + 1
    for _ in made:
        assert torch.get_num_threads() == before
        break
    assert torch.get_num_threads() == before

    def lost(*_: object) -> dict[str, float]:
        raise RuntimeError(f"lost with {torch.get_num_threads()}")

    made.learner.step = lost  # type: ignore[method-assign]
    made.progress.threads = before + 1
    with pytest.raises(RuntimeError, match=f"lost with {before + 1}"):
        list(made)
    assert torch.get_num_threads() == before
    assert threads.usual() == before


def test_up_to_the_last_change_all_is_decided(digits: Dataset) -> None:
    """By the clock, which said nothing more, or by somebody who saw it come so far."""
    within, between = Event(5, threads=2, made="within"), Event(9, player="model", lr=0.1)
    assert Events([within]).decided == 5
    assert Events([within, between]).decided == 9
    assert Events([]).decided == 0
    # longer before its time is over, of which nothing is lost
    clock = StandIn(lambda *_: 0.5)
    made = timed(clock, digits, 20.0)
    for record in made:
        if record.step == 20:
            make_longer(made, Budget(20.0, "s"))
    assert 39.0 <= clock.now <= 41.0


def test_stages_share_what_is_left(digits: Dataset) -> None:
    class Ticking(StandIn):
        def __call__(self) -> float:
            self.now += 0.05
            return self.now

    clock = Ticking(lambda *_: 0.0)
    made = Training(
        toys.SampledAutoencoder(digits.spec), digits.train, digits.validation,
        Options(batch=8, device="cpu", precision="32"), clock=clock,
    )  # fmt: skip
    made.set_plan(Budget(20.0, "s"))
    list(made)
    assert made.progress.stage == 1
    assert made.plan.seconds == pytest.approx(20.0 - made.plan.begun)
    assert made.progress.seconds <= 21.0


def test_an_end_by_convergence_is_known_to_whoever_does_it_again() -> None:
    plan, progress = Plan(1 << 48, 1 << 48, seconds=10.0), Progress(step=7, converged=True)
    decisions = Decisions(plan, progress, compiled=False, most=None)
    (event,) = decisions.after(plan, progress, 0.1, live=True)
    assert event.plan is not None
    assert event.plan.steps == 7
    assert event.plan.place(7) == 1.0
    assert decisions.after(plan, progress, 0.1, live=False) == []
