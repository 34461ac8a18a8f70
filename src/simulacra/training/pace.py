"""`Pace`: what steps and looks at validation observations take, and what follows for a plan.

A budget in seconds is kept by looking at the clock after every step. The number of steps is
estimated anew when it is off by more than half a per cent of the seconds, but not for every
hundredth of them; the training ends when the next step would be one too many. Each estimate is an
`Event`, so that a training that goes on from before it, or is done again, follows the same.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable

from simulacra.training.plan import (
    FEW,
    INVERT_ON,
    LEAST_VALIDATIONS,
    PASSES,
    SHARE,
    UNKNOWN,
    VALIDATIONS,
    Plan,
)

_RECENT = 0.05
"""Share of the seconds whose steps say what the next ones take, but five of them at least."""
_FEW = 33
"""Of so many steps the median counts, for some of the first ones take longer than any other."""
_EARLY = (3, 5, 9, 17, _FEW)
"""Steps after which an estimate is made however little time is over."""
_OFTEN, _OFF = 0.01, 0.005
"""Shares of the seconds between two estimates, and that the plan has to be off by for another."""
_OVER, _OVER_OF_FEW, _OVER_SECONDS = 0.025, 0.1, 1.0
"""Share of the seconds that a last step may take more than there is left; of few seconds this
share of them, but not more than so many."""
_LIKELY = 0.96
"""Share of what a stage's first step took that the next one takes, as far as anyone knows."""
_LOOKED = ((1, 0.03), (2, 0.01), (8, 0.01), (FEW, 1.0))
"""Observations that are looked at first, each time if the time before took no more of the seconds:
once to make ready what a first call makes ready, and never so many more that they take a tenth."""


class Pace:
    """What a stage's steps and looks take in this process.

    Args:
        compiled: Whether the first step is compiled, so that it says nothing about the others.
        fresh: Whether the stage begins with its first step, so that its schedule does too.
        begun: Seconds of the stage that were over.
        look: What a validation takes, as far as that is known.
    """

    def __init__(
        self, *, compiled: bool = False, fresh: bool = True, begun: float = 0.0, look: float = 0.0
    ) -> None:
        self.compiled, self.fresh, self.begun = compiled, fresh, begun
        self.look, self.save = look, 0.0
        self.looking, self.saving = 0.0, 0.0
        self._times: deque[float] = deque()
        self._total, self._count = 0.0, 0
        self._first = 0.0
        self._last = begun

    def stepped(self, seconds: float, plan: Plan) -> None:
        """A step was done.

        Args:
            seconds: That it took.
            plan: In seconds.
        """
        self._count += 1
        if self._count == 1:
            self._first = seconds
            return
        self._times.append(seconds)
        self._total += seconds
        recent = _RECENT * (plan.seconds or 0.0)
        while len(self._times) > 5 and self._total - self._times[0] > recent:
            self._total -= self._times.popleft()

    def looked(self, seconds: float) -> None:
        """A validation was done."""
        self.look, self.looking = seconds, self.looking + seconds

    def saved(self, seconds: float) -> None:
        """A checkpoint was written."""
        self.save, self.saving = seconds, self.saving + seconds

    @property
    def step(self) -> float:
        """Seconds of a step."""
        if len(self._times) <= _FEW:
            return max(1e-9, statistics.median(self._times))
        return max(1e-9, self._total / len(self._times))

    def estimate(
        self, plan: Plan, step: int, elapsed: float, looks: int, looked_at: int
    ) -> Plan | None:
        """The plan as it is now; nothing where the one there is will do.

        Args:
            plan: In seconds.
            step: Steps done, those of the stages before among them.
            elapsed: Seconds of the stage that are over.
            looks: Validations that were done in it.
            looked_at: Step of the last one, or the stage's first.
        """
        assert plan.seconds is not None
        each = self.look + self.save
        rest = plan.seconds - elapsed - each
        over = max(_OVER * plan.seconds, min(_OVER_SECONDS, _OVER_OF_FEW * plan.seconds))
        # of what a step takes the first one says next to nothing where it was compiled in it
        pace = self.step if self._count > 1 else self._first * (0.1 if self.compiled else _LIKELY)
        room = rest + over
        if self.fresh and 2 * self._first <= plan.seconds:
            # a tenth that went into planning before is no reason to end here
            room += min(self.begun, SHARE * plan.seconds)
        if self._count == 1 and pace > room:
            return plan.again(step, plan.origin if plan.known else elapsed, 1.0, step, UNKNOWN)
        if self._count == 1 and not (plan.known and step >= plan.steps):
            return None
        left = self._looks_left(plan, looks, rest)
        count = _steps(rest - (left - 1) * each, pace, over)
        if count == 0:
            # rather a step than a validation before it
            left, count = 1, _steps(rest, pace, over)
        off = abs(plan.steps - step - count) * pace
        closing = step >= plan.steps or count == 0
        if closing and (count == 0 or count * pace <= _OFTEN * plan.seconds):
            # its end, known to whoever does it again
            return plan.again(step, plan.origin, 1.0, step, UNKNOWN)
        early = self._count in _EARLY or closing or not plan.known
        if not early and elapsed - self._last < _OFTEN * plan.seconds:
            return None
        if plan.known and off <= _OFF * plan.seconds:
            return None
        self._last = elapsed
        origin = plan.origin
        if self.fresh and self._count <= _FEW:
            # as if the first steps had taken what steps take: what is made ready is no part of it
            origin = max(0.0, elapsed - pace * (self._count - 1))
        place = (elapsed - origin) / max(1e-9, plan.seconds - each - origin)
        every = -(-(step + count - looked_at) // left)
        return plan.again(step, origin, place, step + count, max(1, every))

    def _looks_left(self, plan: Plan, looks: int, rest: float) -> int:
        """Validations and checkpoints that there are to be yet, of which the last one is one."""
        assert plan.seconds is not None
        left = (plan.validations or VALIDATIONS) - looks
        may = SHARE * (plan.seconds - self.begun)
        for each, spent in ((self.look, self.looking), (self.save, self.saving)):
            if each:
                # a training that is late has no time for all of them either
                left = min(left, int((may - spent) / each), 1 + int(SHARE * max(0.0, rest) / each))
        return max(1, left)


def _steps(seconds: float, pace: float, over: float) -> int:
    """How many steps there is time for, the last of which may take so many seconds over."""
    return int(max(0.0, seconds) / pace + min(0.5, over / pace))


def seconds_a_look(
    look: Callable[[int], int],
    seconds: float,
    clock: Callable[[], float],
    agreed: Callable[[float], float],
) -> float:
    """What validating one observation takes; from one or two of them alone, where that is dear.

    Args:
        look: Validates so many, or what is nearest to it, and says how many it were.
        seconds: Of the whole stage.
        clock: Says what time it is, in seconds.
        agreed: What all processes have, of what each has.
    """
    for few, share in _LOOKED:
        begun = clock()
        count = look(few)
        took = agreed(clock() - begun)
        if took > share * seconds:
            break
    return max(1e-9, took / max(1, count))


def seconds_to_settle(settle: Callable[[int], object], clock: Callable[[], float]) -> float:
    """What estimating statistics of normalisations takes, from one batch.

    Args:
        settle: Estimates them from so many batches.
        clock: Says what time it is, in seconds.
    """
    begun = clock()
    settle(1)
    return PASSES * (clock() - begun)


def seconds_to_invert(
    invert: Callable[[int], object],
    seconds: float,
    clock: Callable[[], float],
    agreed: Callable[[float], float],
) -> float:
    """What it takes to see of one observation that a model inverts; from one where that is dear.

    Args:
        invert: Looks at so many observations.
        seconds: Of the whole stage.
        clock: Says what time it is, in seconds.
        agreed: What all processes have, of what each has.
    """
    for few in (1, INVERT_ON):
        begun = clock()
        invert(few)
        took = agreed(clock() - begun)
        # what `Plan.timed` does not allow
        if LEAST_VALIDATIONS * took > SHARE * seconds / 4:
            break
    return took / few
