"""A budget in seconds is kept, whatever a clock does; and what was decided once is done again."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import toys
from learning import equal, values
from simulacra.cli.standing import seconds_left, steps_of
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.ground.errors import CheckpointError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.ground.threads import Chooser
from simulacra.models.model import Model
from simulacra.runs.events import EventLog
from simulacra.training.changes import make_longer
from simulacra.training.events import Events
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options
from simulacra.training.plan import Event, Plan


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


class StandIn:
    """A clock that goes on only when work says so.

    Args:
        step: Seconds of a step, from its number and the time.
        look: Seconds of validating an observation.
    """

    def __init__(self, step: Callable[[int, float], float], look: float = 0.0) -> None:
        self.now, self.steps, self.step, self.look = 0.0, 0, step, look

    def __call__(self) -> float:
        return self.now


class Timed(Model):
    """A model whose work takes what a clock says."""

    clock: StandIn

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        self.mean = torch.nn.Parameter(torch.zeros(spec.event_shape))

    def _errors(self, x: Tensor) -> Tensor:
        return (x / 16 - self.mean).square().flatten(1).sum(1)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        self.clock.now += self.clock.step(self.clock.steps, self.clock.now)
        self.clock.steps += 1
        # noise, so that no two steps are alike
        return {"loss": self._errors(x + torch.randn(x.shape)).mean()}

    def validation_loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.clock.now += self.clock.look * len(x)
        return self._errors(x)


def timed(clock: StandIn, digits: Dataset, seconds: float, **options: Any) -> Training:
    with seeded(0):
        model = Timed(digits.spec)
    # shared by its copies
    Timed.clock = clock
    chosen = Options(**{"batch": 8, "device": "cpu", "precision": "32"} | options)
    made = Training(model, digits.train, digits.validation, chosen, clock=clock)
    made.set_plan(Budget(seconds, "s"))
    return made


def let_one_work(patch: pytest.MonkeyPatch) -> None:
    """As many threads are asked for as ever, and one works: on a busy machine others wait."""
    asked = [torch.get_num_threads()]
    patch.setattr(torch, "get_num_threads", lambda: asked[-1])
    patch.setattr(torch, "set_num_threads", asked.append)


def burst(_: int, now: float) -> float:
    """Others use the machine for a third of the time, and a step takes three times as long."""
    return 0.9 if int(now / 10) % 3 == 1 else 0.3


CLOCKS: dict[str, Callable[[int, float], float]] = {
    "even": lambda *_: 0.25,
    "a first step of half the budget": lambda step, _: 50.0 if step == 0 else 0.25,
    "two first steps of a quarter": lambda step, _: 25.0 if step < 2 else 0.25,
    "a slow start": lambda step, _: 2.0 if step < 12 else 0.2,
    "a quick start": lambda step, _: 0.02 if step < 30 else 0.4,
    "one step that hangs": lambda step, _: 20.0 if step == 100 else 0.25,
    "slower and slower": lambda _, now: 0.2 + 0.02 * now,
    "quicker and quicker": lambda _, now: 0.2 + 1.0 * max(0.0, 1 - now / 80),
    "bursts": burst,
    "slow at the end": lambda _, now: 2.0 if now > 90 else 0.2,
    "few steps": lambda *_: 7.0,
    "very few steps": lambda *_: 30.0,
}


@pytest.mark.parametrize(
    ("name", "look"),
    [
        pytest.param(name, look, marks=[pytest.mark.nightly] * ((number + dear) % 2))
        for number, name in enumerate(CLOCKS)
        for dear, look in enumerate((1e-4, 0.1))
    ],
)
def test_the_training_takes_what_was_asked(name: str, look: float, digits: Dataset) -> None:
    clock = StandIn(CLOCKS[name], look)
    made = timed(clock, digits, 100.0)
    records = list(made)
    step = CLOCKS[name](10**6, 99.0)
    assert made.progress.seconds == pytest.approx(clock.now)
    assert clock.now <= 105.0
    # not one step more, nor a hundredth
    assert clock.now >= 100.0 - max(1.0, step)
    assert made.progress.spent["validating"] <= 10.0 + 1e-6 + 0.5 * (look > 0.01)
    assert made.progress.looks <= 20
    assert made.progress.looks >= min(5, len(records) - 1)
    assert records[-1].validated
    # the schedule is at its end, and has not stayed there
    assert made.plan.place(made.progress.step) == 1.0
    if len(records) > 50:
        assert records[-1].lr < 0.001 * 0.02
        late = [record.lr < 0.001 * 0.1 for record in records]
        assert late.count(True) < 0.5 * len(records)
    assert len(made.events) <= 150


def test_more_than_the_budget_is_one_step(digits: Dataset) -> None:
    made = timed(StandIn(lambda *_: 70.0), digits, 100.0)
    assert [record.step for record in made] == [1]
    assert made.progress.seconds == pytest.approx(70.0)
    # what is compiled says nothing of the steps after it
    made = timed(StandIn(lambda step, _: 0.5 if step else 70.0), digits, 100.0)
    made.decisions.pace.compiled = True
    assert len(list(made)) == pytest.approx(60, abs=3)


def test_dear_checkpoints_are_written_less_often(digits: Dataset) -> None:
    clock = StandIn(lambda *_: 0.25, 1e-4)
    made = timed(clock, digits, 100.0)
    for record in made:
        if record.validated:
            with made.spending("checkpoints"):
                clock.now += 2.0
    assert made.progress.spent["checkpoints"] <= 10.0
    assert 97.0 <= clock.now <= 102.0


def test_what_the_clock_decided_is_done_again_bit_for_bit(digits: Dataset) -> None:
    """From any state, and from the beginning, by a clock that would decide otherwise."""
    made = timed(StandIn(burst, 1e-3), digits, 40.0)
    states = [(made.state_dict(), made.progress.step) for _ in made]
    assert len(made.events) > 5
    rates = [made.rate("model")]
    for state, step in (states[0], states[20], states[-4]):
        again = timed(StandIn(lambda *_: 0.01), digits, 40.0)
        again.events = Events(made.events)
        again.load_state_dict(state)
        records = list(again)
        assert step + len(records) == made.progress.step
        assert equal(values(again.model), values(made.model))
        assert equal(values(again.averaged), values(made.averaged))
        assert again.progress.best == made.progress.best
        assert again.rate("model") == rates[0]
    again = timed(StandIn(lambda *_: 0.01), digits, 40.0)
    again.events = Events(made.events)
    again.set_plan(Budget(40.0, "s"))
    assert len(list(again)) == made.progress.step
    assert equal(values(again.model), values(made.model))


def test_what_was_not_decided_yet_is_decided_by_the_clock(digits: Dataset) -> None:
    """A training that was killed knows what its clock decided up to then."""
    made = timed(StandIn(lambda *_: 0.1), digits, 40.0)
    states = [made.state_dict() for record in made if record.step <= 100]
    again = timed(StandIn(lambda *_: 0.4), digits, 40.0)
    again.events = Events(event for event in made.events if event.step <= 60)
    again.load_state_dict(states[40])
    list(again)
    assert 39.0 <= again.progress.seconds <= 41.0
    assert again.progress.step < made.progress.step - 100


def test_what_went_on_by_steps_is_done_again_by_a_slower_clock(digits: Dataset) -> None:
    """Up to a change the clock had decided, though it was to leave all as it was."""
    made = timed(StandIn(lambda *_: 0.1), digits, 40.0)
    for record in made:
        if record.step == 100:
            break
    assert made.events[-1].step < 95
    make_longer(made, Budget(20, "steps"))
    list(made)
    again = timed(StandIn(lambda *_: 5.0), digits, 40.0)
    again.events = Events(made.events)
    again.set_plan(Budget(40.0, "s"))
    assert len(list(again)) == made.progress.step
    assert equal(values(again.model), values(made.model))


def test_one_that_is_done_again_says_where_it_ends(digits: Dataset) -> None:
    made = timed(StandIn(burst), digits, 40.0)
    list(made)
    steps = made.progress.step
    again = timed(StandIn(lambda *_: 0.1), digits, 40.0)
    again.events = Events(made.events)
    again.set_plan(Budget(40.0, "s"))
    assert {steps_of(again) for _ in again} == {steps}
    assert seconds_left(again, 10.0) == 0.0
    again.progress.step -= 20
    assert seconds_left(again, 10.0) == 2.0
    # of one that was killed nobody knows
    events = Events(made.events[:-1])
    assert events.end(0) is None
    # each stage has its own end
    first, second = Plan(5, 3, seconds=2.0, at=5), Plan(9, 3, seconds=2.0, start=5, at=9)
    staged = Events([
        Event(0, plan=Plan(7, 3, seconds=2.0), made="stage"), Event(5, plan=first, made="within"),
        Event(5, plan=Plan(8, 3, seconds=2.0, start=5), made="stage"), Event(7, threads=2),
        Event(9, plan=second, made="within"),
    ])  # fmt: skip
    assert staged.end(0) == staged.end(4) == first
    assert staged.end(5) == staged.end(8) == second


def test_a_rollback_does_not_confuse_what_happened_when(digits: Dataset) -> None:
    """Steps come again after it, and what the clock decides in them as well."""

    def broken(made: Training) -> list[int]:
        steps = []
        step = made.learner.step

        def sometimes(*arguments: Any) -> dict[str, float]:
            bad = made.progress.tick in (60, 61, 62)
            return {} if bad else step(*arguments)

        made.learner.step = sometimes  # type: ignore[method-assign]
        for record in made:
            steps.append(record.step)
        return steps

    made = timed(StandIn(burst, 1e-3), digits, 60.0)
    steps = broken(made)
    assert made.progress.rollbacks == 1
    assert steps != sorted(steps)
    again = timed(StandIn(lambda *_: 0.05), digits, 60.0)
    again.events = Events(made.events)
    again.set_plan(Budget(60.0, "s"))
    assert broken(again) == steps
    assert equal(values(again.model), values(made.model))


def test_stages_keep_to_a_budget_in_seconds_together(digits: Dataset) -> None:
    made = Training(
        toys.SampledAutoencoder(digits.spec), digits.train, digits.validation,
        Options(batch=8, device="cpu"),
    )  # fmt: skip
    made.set_plan(Budget(1.5, "s"))
    ends = [record.seconds for record in made if record.step == made.plan.start]
    assert made.progress.stage == 1
    assert made.progress.seconds <= 3.5
    assert ends[0] <= made.progress.seconds
    assert [event.step > 0 for event in made.events if event.made == "stage"] == [False, True]


def test_a_training_in_seconds_is_made_longer(digits: Dataset) -> None:
    clock = StandIn(lambda *_: 0.25, 1e-3)
    made = timed(clock, digits, 40.0)
    list(made)
    done = made.progress.step
    make_longer(made, Budget(60.0, "s"))
    assert made.rate("model") > 1e-4
    records = list(made)
    assert 98.0 <= clock.now <= 103.0
    assert len(records) > done
    assert records[-1].lr < 2e-5
    # and by steps, from where it is
    make_longer(made, Budget(50, "steps"))
    assert len(list(made)) == 50
    assert made.plan.place(made.progress.step) == 1.0


def test_where_the_seconds_went_adds_up(digits: Dataset) -> None:
    clock = StandIn(lambda *_: 0.25, 1e-2)
    made = timed(clock, digits, 30.0)
    for _ in made:
        # whoever watches
        clock.now += 0.01
    spent = made.progress.spent
    assert sum(spent.values()) == pytest.approx(made.progress.seconds)
    assert spent["steps"] == pytest.approx(0.25 * made.progress.step)
    assert spent["other"] == pytest.approx(0.01 * (made.progress.step - 1))
    assert spent["validating"] > 0


def test_the_log_of_events(tmp_path: Path) -> None:
    log, plan = EventLog(tmp_path), Plan(7, 3, seconds=2.0, at=3, place_at=0.5)
    events = Events([Event(0, plan=plan, made="stage"), Event(3, threads=2, made="within")])
    assert log.read() == []
    log.write(events[:1])
    log.write(events)
    log.write(Events([*events, Event(4, player="model", lr=0.5)]))
    assert EventLog(tmp_path).read() == [*events, Event(4, player="model", lr=0.5)]
    # one that takes the place of another one, and a line that was cut
    log.write(Events([*events, Event(4, player="model", lr=0.25)]))
    with log.path.open("a") as file:
        file.write('{"step": 5, "thr')
    assert EventLog(tmp_path).read() == [*events, Event(4, player="model", lr=0.25)]
    again = EventLog(tmp_path)
    again.write(Events([*again.read(), Event(6, threads=1, made="within")]))
    assert [json.loads(line)["step"] for line in log.path.read_text().splitlines()] == [0, 3, 4, 6]
    for wrong in ('{"step": -1}', '{"step": 1, "threads": 0}', "[]", '{"stop": 1}', "nothing"):
        log.path.write_text(wrong + "\n")
        with pytest.raises(CheckpointError, match=r"events\.jsonl cannot be read"):
            EventLog(tmp_path).read()


# ---- threads -------------------------------------------------------------------------------------


def pieces(chooser: Chooser, count: int, piece: Callable[[int, float], float]) -> tuple[float, int]:
    """Seconds that so many pieces take, and the threads that work in most of the last ones."""
    now, last = 0.0, deque[int](maxlen=100)
    for _ in range(count):
        last.append(chooser.count)
        took = piece(chooser.count, now)
        now += took
        chooser.after(took)
    return now, Counter(last).most_common(1)[0][0]


def test_threads_are_those_that_are_quickest() -> None:
    # a second one brings a quarter, a fourth one nothing
    quiet = {1: 0.010, 2: 0.008, 4: 0.0078, 8: 0.009}
    for first in quiet:
        assert pieces(Chooser(first, 8, 60.0), 500, lambda n, _: quiet[n])[1] == 2
    assert pieces(Chooser(1, 16, 60.0), 500, lambda n, _: 0.01 / n)[1] == 16
    assert pieces(Chooser(1, 1, 60.0), 500, lambda *_: 0.01)[1] == 1


@pytest.mark.parametrize("slower", [2.0, 4.0, 15.0])
def test_a_busy_machine_costs_no_more_than_one_thread_takes(slower: float) -> None:
    """Two threads are slower there by a factor of two to fifteen; at most 1.3 times one thread."""
    busy = {1: 0.010, 2: 0.008 * slower}
    seconds, count = pieces(Chooser(1, 2, 60.0), 6000, lambda n, _: busy[n])
    assert count == 1
    assert seconds <= 1.05 * 60.0

    def later(n: int, now: float) -> float:
        return busy[n] if now > 20 else {1: 0.010, 2: 0.008}[n]

    chooser = Chooser(1, 2, 60.0)
    seconds, count = pieces(chooser, 6000, later)
    assert count == 1
    assert seconds <= 1.05 * 60.0
    # and when it is quiet again, two work again
    assert pieces(chooser, 2000, lambda n, _: {1: 0.010, 2: 0.008}[n])[1] == 2


def test_dear_pieces_try_nothing() -> None:
    seconds, count = pieces(Chooser(1, 2, 60.0), 40, lambda n, _: {1: 1.0, 2: 15.0}[n])
    assert (seconds, count) == (40.0, 1)
    # but what falls to a tenth of its pace goes back to fewer
    chooser = Chooser(2, 2, 60.0)
    pieces(chooser, 20, lambda *_: 0.5)
    assert pieces(chooser, 10, lambda n, _: {1: 0.6, 2: 5.0}[n])[1] == 1


def test_a_training_tells_which_threads_work_and_follows_what_was_told(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_one_work(monkeypatch)
    made = timed(StandIn(lambda *_: 0.004), digits, 0.8)
    made.decisions.most = 2
    clock = made.clock
    assert isinstance(clock, StandIn)
    seen = []

    def step(*_: object) -> float:
        seen.append(torch.get_num_threads())
        return 0.004 / seen[-1]

    clock.step = step
    before = torch.get_num_threads()
    list(made)
    assert torch.get_num_threads() == before
    assert {1, 2} <= set(seen)
    assert made.progress.threads == 2
    again = timed(StandIn(lambda *_: 0.004), digits, 0.8)
    again.events = Events(made.events)
    again.set_plan(Budget(0.8, "s"))
    told, seen = seen, []
    clock = again.clock
    assert isinstance(clock, StandIn)
    clock.step = step
    list(again)
    assert seen == told
