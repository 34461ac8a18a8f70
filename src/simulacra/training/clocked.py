"""`Clocked`: what of a training goes by the clock: its seconds, and what is decided by them.

Several processes train in step: whatever one of them decides by, all of them know.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import torch

from simulacra.ground.threads import chosen_by_user, usable, usual
from simulacra.models.stages import Stage
from simulacra.training.batches import Batches
from simulacra.training.engine import sum_over_processes
from simulacra.training.events import Decisions, Events
from simulacra.training.learner import Learner
from simulacra.training.options import Options
from simulacra.training.pace import seconds_a_look, seconds_to_invert, seconds_to_settle
from simulacra.training.plan import Event, Plan
from simulacra.training.progress import Progress

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_T = TypeVar("_T")


class Clocked(ABC):
    """The part of a training that knows what time it is.

    Args:
        clock: Says so, in seconds.
    """

    fabric: Fabric
    options: Options
    learner: Learner
    validation: Batches
    progress: Progress
    plan: Plan

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock, self._mark, self._going = clock, clock(), False
        self.events = Events()
        self._decisions: Decisions | None = None
        self.stop_on: Collection[str] = ()
        """Names of diagnoses that the training ends on; see `diagnosis`."""

    @property
    @abstractmethod
    def stage(self) -> Stage:
        """The stage that it is in."""

    # ---- where seconds go ----------------------------------------------------------------------

    def goes_on(self) -> None:
        """From here on all time counts."""
        self._going, self._mark = True, self.clock()

    def spend(self, kind: str) -> float:
        """Count the time since the last count, in seconds, as spent for something."""
        now = self.clock()
        seconds, self._mark = now - self._mark, now
        self.progress.spend(kind, seconds)
        return seconds

    @contextlib.contextmanager
    def spending(self, kind: str) -> Iterator[None]:
        """Count what happens inside the block, which belongs to the training, as spent for it."""
        if self._going:
            self.spend("other")
        self._mark = self.clock()
        yield
        seconds = self.spend(kind)
        if kind == "checkpoints" and self.plan.seconds is not None:
            self.decisions.pace.saved(seconds)

    @contextlib.contextmanager
    def not_counting(self) -> Iterator[None]:
        """Leave what happens inside the block out of the training's time."""
        if self._going:
            self.spend("other")
        yield
        self._mark = self.clock()

    # ---- what happens, and what is decided -----------------------------------------------------

    def happens(self, event: Event, instead: Sequence[Event] = ()) -> None:
        """Change something from now on; see `changes`.

        Args:
            event: The change.
            instead: Of which events it takes the place.
        """
        self.events = Events([*(each for each in self.events if each not in instead), event])
        self.meet_events(event.made)

    def meet_events(self, made: str = "between") -> None:
        """Apply what happens now, which may have been applied already.

        Args:
            made: See `Event`.
        """
        for event in self.events.at(self.progress.tick, made):
            if event.plan is not None:
                self.plan = event.plan
            elif event.threads is not None:
                self.progress.threads = event.threads
            elif event.player is not None:
                self.progress.rates[event.player] = event.lr

    def end_on(self, found: Sequence[str]) -> None:
        """End the training here if something was diagnosed that it is to end on.

        Args:
            found: Names of what was.
        """
        progress, plan = self.progress, self.plan
        why = [name for name in found if name in self.stop_on]
        if not why or progress.step >= plan.steps:
            return
        progress.stopped_on = why[0]
        step = progress.step
        if plan.seconds is None:
            ended = replace(plan, steps=step)
        else:
            ended = plan.again(step, plan.origin, 1.0, step, plan.validate_every)
        event = Event(progress.tick, plan=ended)
        # it is there where the training is done again
        if event not in self.events:
            self.happens(event)

    @property
    def decisions(self) -> Decisions:
        """What the clock decides in this stage and process."""
        if self._decisions is None:
            compiled = self.options.compile and not self.stage.by_sweeps
            # what is compiled is compiled for a number of threads, and processes share the cores
            alone = self.fabric.device.type == "cpu" and self.fabric.world_size == 1
            free, said = alone and not compiled, chosen_by_user()
            self._decisions = Decisions(
                self.plan, self.progress, compiled=compiled,
                most=usable() if free and not said else None,
                said=usual() if free and said else None,
            )  # fmt: skip
        return self._decisions

    def note_beginning(self) -> None:
        """Let what decides know how far the stage was before its first step in this process."""
        if self.plan.seconds is not None:
            self._decisions = self.decisions

    def _decide(self, seconds: float) -> None:
        """Let the clock decide after a step, unless what it decided once is to be followed.

        Args:
            seconds: That the step took.
        """
        self.meet_events("within")
        if self.plan.seconds is None:
            return
        live = self.progress.tick > self.events.decided
        found = self.decisions.after(self.plan, self.progress, seconds, live=live)
        if self.fabric.world_size > 1:
            found = self.of_first(found) if self.any_process(bool(found)) else []
        for event in found:
            self.happens(event)

    def _timed_plan(self, seconds: float, start: int, begun: float) -> Plan:
        """The plan of a stage in seconds, its validations by what a few of them take."""
        before = self.progress.spent.get("validating", 0.0)
        self._mark = self.clock()

        def look(few: int) -> int:
            self.learner.validate(few)
            return few if self.learner.balance else self.validation.looked_at(few)

        # the first process alone has looked at few; of many each looks at its share
        a_look = seconds_a_look(look, seconds, self.clock, self.of_first) / self.fabric.world_size
        settle = seconds_to_settle(self.learner.try_to_settle, self.clock)
        self.spend("validating")
        spent = self.progress.spent["validating"] - before
        # where that is dear it takes nothing from those that choose the best step
        invert = seconds_to_invert(self.learner.inverse_error, seconds, self.clock, self.of_first)
        self.spend("validating")
        plan = Plan.timed(
            seconds, a_look, settle, self.learner.validates_on, invert=invert, spent=spent,
            start=start, begun=begun,
        )  # fmt: skip
        return self.of_first(plan)

    # ---- processes ---------------------------------------------------------------------------

    def of_first(self, value: _T) -> _T:
        """What the first process has: clocks differ, decisions must not."""
        return value if self.fabric.world_size == 1 else self.fabric.broadcast(value)

    def any_process(self, flag: bool) -> bool:
        """Whether it is true in one of the processes; all of them have to ask."""
        return bool(sum_over_processes(self.fabric, torch.tensor(float(flag))))
