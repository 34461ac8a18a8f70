"""How long a training is, and what changes while it goes on. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from simulacra.ground.errors import UsageError

VALIDATIONS = 20
"""How often a training validates, at most."""
SHARE = 0.1
"""Share of a budget in seconds that validating may take, and writing checkpoints as well."""
VALIDATION_SIZE = 1000
"""How many of the validation observations are looked at each time, at most."""
FEW = 64
"""How many of them are looked at together."""
PASSES = 20
"""Batches that statistics of normalisations are estimated from before a validation, at most."""
INVERT_ON = 32
"""On how many of them it is watched that an invertible model inverts."""
LEAST_VALIDATIONS = 5
"""How often a training validates at least, unless a tenth of its seconds does not do for that."""
UNKNOWN = 1 << 48
"""Steps of a plan in seconds before any pace is known."""
_FIRST = 1 / 3
"""Of a stage, in which no patience ends: a warm-up may make what comes after it look worse."""


@dataclass(frozen=True)
class Plan:
    """How long a stage of a training is, which has one unless its model names several.

    Of a budget in seconds the steps are an estimate, made again as their pace shows itself. The
    place in the schedule goes linearly with steps, from what it was at the last estimate to 1.

    Args:
        steps: Cycles of turns, or sweeps, up to the stage's end, counted from the first stage.
        validate_every: Steps between validations; there is one after the last step too.
        validate_on: How many of the validation observations are looked at each time, at most.
        seconds: What the whole stage may take, where that is what it goes by.
        start: Steps of the stages before.
        begun: Seconds that these took.
        passes: Batches that statistics of normalisations are estimated from before a validation.
        validations: Of a stage in seconds, how often it validates.
        origin: Of a stage in seconds, how many of them were over when its schedule began: what is
            made ready in a first step is none of it.
        at: Step of the last estimate; the start, before any.
        place_at: How far the stage was there.
        invert_on: How many of the validation observations an invertible model is watched on.
    """

    steps: int
    validate_every: int
    validate_on: int = 1000
    seconds: float | None = None
    start: int = 0
    begun: float = 0.0
    passes: int = PASSES
    validations: int = VALIDATIONS
    origin: float = 0.0
    at: int | None = None
    place_at: float = 0.0
    invert_on: int = INVERT_ON

    def __post_init__(self) -> None:
        """Refuse a plan that no training can have."""
        whole = (
            "steps", "validate_every", "validate_on", "start", "passes", "validations", "invert_on",
        )  # fmt: skip
        for name in whole if self.at is None else (*whole, "at"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise UsageError(f"a plan's {name} is a whole number, got {value!r}")
        for name in ("seconds", "begun", "origin", "place_at"):
            number = getattr(self, name) or 0.0
            if not 0 <= number < math.inf:
                raise UsageError(f"a plan's {name} is finite and not negative, got {number!r}")

    @property
    def known(self) -> bool:
        """Whether the number of steps is known, or estimated at least."""
        return self.steps < UNKNOWN

    @property
    def settled(self) -> bool:
        """Whether the number of steps is no estimate, or none any more."""
        return self.seconds is None or self.at == self.steps

    @property
    def length(self) -> int:
        """Steps of the stage itself."""
        return self.steps - self.start

    def place(self, step: int) -> float:
        """How far the stage is before a step, from 0 to 1."""
        position, length = self.position(step)
        return min(1.0, position / max(1, length))

    def waited_in_vain(self, step: int, best: int | None, patience: float | None) -> bool:
        """Whether a stage's patience is at its end (see `Stage`): the same whenever it is done.

        Args:
            step: Steps that were done.
            best: Of the best validation, if there was any.
            patience: Of the stage, if it has one.
        """
        if patience is None or best is None or self.place(step) < _FIRST:
            return False
        return step - self.start >= (1 + patience) * (best - self.start)

    def position(self, step: int) -> tuple[float, float]:
        """Steps done and steps in all, of a stage that had always gone at the present pace.

        Args:
            step: Steps that were done, those of the stages before among them.
        """
        if self.at is None:
            return step - self.start, self.length
        left, share = max(0, self.steps - self.at), 1 - min(self.place_at, 1 - 1e-9)
        length, since = max(1.0, left / share), step - self.at
        if self.seconds is not None:
            # a rollback takes back steps, but no seconds
            since = max(0, since)
        return max(0.0, min(length, self.place_at * length + since)), length

    @classmethod
    def counted(cls, steps: int, passes: int, *, start: int = 0, begun: float = 0.0) -> Plan:
        """So many steps.

        Args:
            steps: Of the stage.
            passes: Through the network that validating an observation takes: where it takes many,
                fewer observations are looked at.
            start: Steps of the stages before.
            begun: Seconds that these took.
        """
        size = max(FEW, VALIDATION_SIZE // max(1, passes))
        return cls(start + steps, _every(steps, VALIDATIONS), size, start=start, begun=begun)

    @classmethod
    def timed(
        cls, seconds: float, look: float, settle: float, most: int, *, invert: float = 0.0,
        spent: float = 0.0, start: int = 0, begun: float = 0.0,
    ) -> Plan:  # fmt: skip
        """As many steps as seconds allow, of which validating takes a tenth at most.

        There are fewer observations in a validation before there are fewer validations than five,
        and fewer of these before there is more than a tenth; where it does not do for one
        observation, nothing is validated.

        Args:
            seconds: Of the whole stage.
            look: What validating one observation takes.
            settle: What estimating statistics of normalisations from `PASSES` batches takes.
            most: Observations in a validation.
            invert: What it takes to see on one observation that a model inverts; there are as many
                as a quarter of what five validations may take allows, none where that is dear.
            spent: Seconds that went into finding that out.
            start: Steps of the stages before.
            begun: Seconds that these took.
        """
        affordable = max(0.0, SHARE * seconds - spent)
        watched = int(min(INVERT_ON, affordable / 4 / LEAST_VALIDATIONS / max(invert, 1e-9)))
        # of five validations, half may be for statistics, and the rest for looking
        fits = affordable / 2 / LEAST_VALIDATIONS / max(settle, 1e-9)
        passes = max(1, min(PASSES, int(PASSES * fits)))
        settle = settle * passes / PASSES
        settle += watched * invert
        looking = max(affordable / 2, affordable - VALIDATIONS * settle)
        few = min(FEW, looking / look / LEAST_VALIDATIONS)
        size = int(max(1, min(most, VALIDATION_SIZE, max(few, looking / look / 10))))
        count = min(VALIDATIONS, int(affordable / (settle + size * look)))
        return cls(
            start + UNKNOWN, UNKNOWN, size if count else 0, seconds, start, begun, passes, count,
            invert_on=watched,
        )  # fmt: skip

    def again(self, step: int, spent: float, place: float, steps: int, every: int) -> Plan:
        """The plan as it is estimated from a step on.

        Args:
            step: Steps done.
            spent: Seconds of the stage that were over when its schedule began.
            place: How far it is.
            steps: Up to the stage's end, counted from the first stage.
            every: Steps between validations.
        """
        return replace(
            self, steps=steps, validate_every=every, origin=spent, at=step,
            place_at=min(1.0, max(0.0, place)),
        )  # fmt: skip

    def longer(self, step: int, steps: int) -> Plan:
        """The plan with more steps, at most as many validations more as a training has.

        Args:
            step: Steps done, of a stage in seconds, which goes by steps from there on.
            steps: How many more.
        """
        every = max(min(self.validate_every, self.length), math.ceil(steps / VALIDATIONS))
        longer = replace(self, steps=self.steps + steps, validate_every=every, seconds=None)
        if self.at is None:
            return longer
        position, length = self.position(step)
        return replace(longer, at=step, place_at=position / (length + steps))


def _every(steps: int, count: int) -> int:
    """Steps between so many validations, or a few less; but not fewer than five."""
    every = math.ceil(steps / count)
    few = steps // every < LEAST_VALIDATIONS <= steps
    return steps // LEAST_VALIDATIONS if few else every


@dataclass(frozen=True)
class Event:
    """A change while a training went on, by somebody between two steps or by the training's clock.

    Steps alone do not decide these, so whoever makes the same steps again has to be told them.

    Args:
        step: Steps made when it was made, those among them that a rollback undid.
        player: Whose learning rate is another from then on.
        lr: That rate.
        plan: What the rest of the training goes by from then on.
        threads: How many of the processor's work from then on.
        made: `between` two steps, by somebody; or by the training's clock, `within` a step, before
            what ends it, or when a `stage` begins.

    Raises:
        UsageError: If the rate is none.
    """

    step: int
    player: str | None = None
    lr: float = 0.0
    plan: Plan | None = None
    threads: int | None = None
    made: Literal["between", "within", "stage"] = "between"

    def __post_init__(self) -> None:
        """Refuse what no training can follow."""
        if self.threads is not None and (type(self.threads) is not int or self.threads < 1):
            raise UsageError(f"threads are a whole number from 1 on, got {self.threads!r}")
        if self.made not in ("between", "within", "stage"):
            raise UsageError(f"an event is made between or within steps, got {self.made!r}")
        if type(self.step) is not int or self.step < 0:
            raise UsageError(f"an event's step is a whole number, got {self.step!r}")
        if self.player is not None and not 0 < self.lr < math.inf:
            raise UsageError(f"a learning rate is positive and finite, got {self.lr!r}")

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Event:
        """The event read back from `dataclasses.asdict`."""
        plan = record.get("plan")
        return cls(**{**record, "plan": None if plan is None else Plan(**plan)})
