"""Events of a training: those that happened, and those that its clock decides."""

from __future__ import annotations

from collections.abc import Iterable

from simulacra.ground.threads import Chooser
from simulacra.training.pace import Pace
from simulacra.training.plan import Event, Plan
from simulacra.training.progress import Progress


class Events(list[Event]):
    """What happened, in the order in which it did.

    Args:
        events: None to begin with.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        super().__init__(events)
        self._at: dict[tuple[int, str], list[Event]] = {}
        for event in self:
            self._at.setdefault((event.step, event.made), []).append(event)
        # what somebody changed came after what the clock decided up to there, be that nothing
        self.decided = max((event.step for event in self), default=0)
        """Up to which step the clock has decided all that it was to decide."""

    def at(self, tick: int, made: str) -> list[Event]:
        """What happened after so many steps, those that were undone among them."""
        return self._at.get((tick, made), [])

    def end(self, tick: int) -> Plan | None:
        """The plan by which a stage that was at its end once has ended; nothing of any other.

        Args:
            tick: Steps made, of a training that is done again.
        """
        found = None
        for event in self:
            if event.step > tick:
                if event.made == "stage":
                    break
                found = event.plan or found
        return found if found and found.settled else None


class Decisions:
    """What the clock of a training decides in a stage: how many steps, and how many threads.

    Args:
        plan: In seconds, before the first step in this process.
        progress: Of the training.
        compiled: Whether its first step is compiled.
        most: Threads that may be tried; nothing where their number is settled.
        said: How many the user says, who may have said another number when it began.
    """

    def __init__(
        self, plan: Plan, progress: Progress, *, compiled: bool, most: int | None,
        said: int | None = None,
    ) -> None:  # fmt: skip
        assert plan.seconds is not None
        elapsed, fresh = progress.seconds - plan.begun, progress.step == plan.start
        self.pace = Pace(compiled=compiled, fresh=fresh, begun=elapsed)
        if progress.stage == 0 and not fresh:
            # of one that goes on, what looks and checkpoints took before, the first of these
            # before its first step
            pace, looks = self.pace, progress.looks
            pace.begun = 0.0
            pace.looking, pace.saving = (
                progress.spent.get(kind, 0.0) for kind in ("validating", "checkpoints")
            )
            pace.look, pace.save = pace.looking / looks if looks else 0.0, pace.saving / (looks + 1)
        self.most, self.said = most, said
        self._chooser: Chooser | None = None

    def after(self, plan: Plan, progress: Progress, seconds: float, *, live: bool) -> list[Event]:
        """What is decided after a step.

        Args:
            plan: In seconds.
            progress: With the step.
            seconds: That the step took.
            live: Whether it is still to be decided, or was once and is followed.
        """
        self.pace.stepped(seconds, plan)
        if not live:
            return []
        if progress.converged:
            # whoever does it again need not look at a clock
            again: Plan | None = plan.again(
                progress.step, plan.origin, 1.0, progress.step, plan.validate_every
            )
        else:
            again = self.pace.estimate(
                plan, progress.step, progress.seconds - plan.begun, progress.looks,
                progress.looked_at,
            )  # fmt: skip
        found = []
        if again is not None:
            found.append(Event(progress.tick, plan=again, made="within"))
        if self.most is None or plan.seconds is None:
            if self.said not in (None, progress.threads):
                found.append(Event(progress.tick, threads=self.said, made="within"))
            return found
        if self._chooser is None:
            self._chooser = Chooser(progress.threads, self.most, plan.seconds)
        if (count := self._chooser.after(seconds)) != progress.threads:
            found.append(Event(progress.tick, threads=count, made="within"))
        return found
