"""How long a training is, what its steps did, what it remembers, how it ended. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from simulacra.ground.errors import UsageError

VALIDATIONS = 20
"""How often a training validates, at most."""
VALIDATION_SHARE = 0.1
"""Share of a budget in seconds that validating may take."""
VALIDATION_SIZE = 1000
"""How many of the validation observations are looked at each time, at most."""
FEW = 64
"""How many of them are looked at together."""
PASSES = 20
"""Batches that statistics of normalisations are estimated from before a validation, at most."""
LEAST_VALIDATIONS = 5
"""How often a training validates at least, however dear that is."""


@dataclass(frozen=True)
class Plan:
    """How long a stage of a training is, which has one unless its model names several.

    Args:
        steps: Cycles of turns, or sweeps, up to the stage's end, counted from the first stage.
        validate_every: Steps between validations; there is one after the last step too.
        validate_on: How many of the validation observations are looked at each time, at most.
        seconds: What the stage's steps were counted to take, until they are frozen.
        start: Steps of the stages before.
        begun: Seconds that these took.
        passes: Batches that statistics of normalisations are estimated from before a validation.
    """

    steps: int
    validate_every: int
    validate_on: int = 1000
    seconds: float | None = None
    start: int = 0
    begun: float = 0.0
    passes: int = PASSES

    def __post_init__(self) -> None:
        """Refuse a plan that no training can have."""
        for name in ("steps", "validate_every", "validate_on", "start", "passes"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise UsageError(f"a plan's {name} is a whole number, got {value!r}")
        for name, seconds in (("seconds", self.seconds or 0.0), ("begun", self.begun)):
            if not 0 <= seconds < math.inf:
                raise UsageError(f"a plan's {name} are finite, got {seconds!r}")

    @property
    def length(self) -> int:
        """Steps of the stage itself."""
        return self.steps - self.start

    def place(self, step: int) -> float:
        """How far the stage is before a step, from 0 to 1."""
        return min(1.0, (step - self.start) / max(1, self.length))

    def is_due(self, step: int) -> bool:
        """Whether so many steps end with a validation."""
        done = step - self.start
        return done > 0 and done % self.validate_every == 0

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
    def within(
        cls,
        seconds: float,
        left: float,
        pace: Pace,
        most: int,
        *,
        start: int = 0,
        begun: float = 0.0,
    ) -> Plan:
        """As many steps as seconds allow, of which validating takes a tenth at most.

        There are fewer observations in a validation before there are fewer validations, and fewer
        of these before there is less training; but not fewer than five.

        Args:
            seconds: Of the whole stage.
            left: Of these, what is left.
            pace: What steps and validations take.
            most: Observations in a validation.
            start: Steps of the stages before.
            begun: Seconds that these took.
        """
        affordable = VALIDATION_SHARE * max(0.0, left)
        # of those five, half may be for statistics, and the rest for looking
        fits = affordable / 2 / LEAST_VALIDATIONS / max(pace.settle, 1e-9)
        passes = max(1, min(PASSES, int(PASSES * fits)))
        settle = pace.settle * passes / PASSES
        looking = max(affordable / 2, affordable - VALIDATIONS * settle)
        few = min(FEW, looking / pace.look / LEAST_VALIDATIONS)
        size = int(max(1, min(most, VALIDATION_SIZE, max(few, looking / pace.look / 10))))
        each = settle + size * pace.look
        count = int(min(VALIDATIONS, max(LEAST_VALIDATIONS, affordable / each)))
        steps = max(1, int((left - count * each) / pace.step))
        every = _every(steps, count)
        return cls(start + steps, every, size, seconds, start, begun, passes)

    def sparing(self, cost: float, seconds: float | None = None) -> Plan:
        """The plan with no more validations than a tenth of its seconds can write down.

        Args:
            cost: Seconds that a checkpoint takes, of which each validation leaves one.
            seconds: That all its steps take, where the plan does not say.
        """
        if (whole := self.seconds or seconds) is None:
            return self
        affordable = max(1, int(0.1 * whole / max(cost, 1e-9)))
        every = max(self.validate_every, math.ceil(self.length / affordable))
        return replace(self, validate_every=every)

    def recounted(self, step: int, seconds: float) -> Plan:
        """The plan frozen, its steps counted again if their pace was not kept.

        The first steps of a training say little about a machine that others use too.

        Args:
            step: Steps done, those of the stages before among them.
            seconds: That they took.
        """
        done, elapsed = step - self.start, seconds - self.begun
        left = (self.seconds or elapsed) - elapsed
        steps = done + max(1, round(left * done / elapsed))
        if 0.8 * self.length < steps < 1.25 * self.length:
            return replace(self, seconds=None)
        validations = math.ceil(self.length / self.validate_every)
        every = math.ceil(steps / validations)
        return replace(self, steps=self.start + steps, validate_every=every, seconds=None)

    def longer(self, steps: int) -> Plan:
        """The plan with more steps, at most as many validations more as a training has."""
        every = max(self.validate_every, math.ceil(steps / VALIDATIONS))
        return replace(self, steps=self.steps + steps, validate_every=every, seconds=None)


def _every(steps: int, count: int) -> int:
    """Steps between so many validations, or a few less; but not fewer than five."""
    every = math.ceil(steps / count)
    few = steps // every < LEAST_VALIDATIONS <= steps
    return steps // LEAST_VALIDATIONS if few else every


@dataclass(frozen=True)
class Pace:
    """What a training takes, in seconds.

    Args:
        step: One step.
        look: Validating one observation.
        settle: Estimating statistics of normalisations from `PASSES` batches.
    """

    step: float
    look: float
    settle: float = 0.0


@dataclass(frozen=True)
class Record:
    """What one step did.

    Args:
        step: Steps done.
        epoch: Passes over the training data done.
        seconds: Time that steps and validations took so far.
        lr: Learning rate.
        losses: Each turn's scalars, `loss` or `turn/loss`; empty for a skipped step.
        validation: Mean of the model's `validation_loss`, where it has one, on steps that validate:
            of a model with a likelihood, nats per observation as the model sees it (see
            `DataSpec.columns`).
        validated: Whether this step ended with a validation, hence is worth a checkpoint.
        skipped: Steps skipped so far for non-finite numbers.
        stage: Which stage it was in, from 0.
    """

    step: int
    epoch: float
    seconds: float
    lr: float
    losses: dict[str, float]
    validation: float | None
    validated: bool
    skipped: int
    stage: int = 0


@dataclass(frozen=True)
class Event:
    """A change that somebody made while a training went on, before one of its steps.

    Args:
        step: Steps done when it was made.
        player: Whose learning rate is another from then on.
        lr: That rate.
        plan: What the rest of the training goes by from then on.

    Raises:
        UsageError: If the rate is none.
    """

    step: int
    player: str | None = None
    lr: float = 0.0
    plan: Plan | None = None

    def __post_init__(self) -> None:
        """Refuse what no training can follow."""
        if type(self.step) is not int or self.step < 0:
            raise UsageError(f"an event's step is a whole number, got {self.step!r}")
        if self.player is not None and not 0 < self.lr < math.inf:
            raise UsageError(f"a learning rate is positive and finite, got {self.lr!r}")

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Event:
        """The event read back from `dataclasses.asdict`."""
        plan = record.get("plan")
        return cls(**{**record, "plan": None if plan is None else Plan(**plan)})


@dataclass
class Progress:
    """What a training remembers from step to step, beside weights and optimisers."""

    step: int = 0
    seconds: float = 0.0
    lr_scale: float = 1.0
    skipped: int = 0
    streak: int = 0
    rollbacks: int = 0
    converged: bool = False
    best: float | None = None
    best_step: int | None = None
    average_updates: int = 0
    peak_bytes: int | None = None
    stage: int = 0
    rates: dict[str, float] = field(default_factory=dict)
    epochs: float = 0.0
    in_nats: bool = True
    # of a checkpoint from before they were counted, none are known
    observations: int | None = None
    # of the stages before, where the budget is in these
    flops: int = 0

    def improves(self, value: float) -> bool:
        """Keep a validation loss if it is the best of its stage, and say whether it is."""
        if self.best is not None and not value < self.best:
            return False
        if not value < math.inf:
            return False
        self.best, self.best_step = value, self.step
        return True

    def in_next_stage(self) -> Progress:
        """As the stage after this one begins."""
        return replace(
            self, stage=self.stage + 1, streak=0, converged=False, best=None, best_step=None,
            average_updates=0,
        )  # fmt: skip

    def note_peak(self, grown: int | None) -> None:
        """Keep the highest peak of memory, whichever process had it; nothing where none is known.

        Args:
            grown: Bytes; see `PeakMemory`.
        """
        if grown is not None:
            self.peak_bytes = max(grown, self.peak_bytes or 0)


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Args:
        finished: Whether it came to the end of its plan, or was stopped before.
        steps: Steps done.
        seconds: What they took, validations included.
        skipped: Steps skipped for non-finite numbers.
        best: Smallest validation loss of its last stage, if it has any: of a model with a
            likelihood, nats per observation as the model sees it.
        peak_bytes: Memory at the peak, beyond what the process, or the GPU, had before the model
            was built: weights, gradients, optimiser, activations, the copies that become
            checkpoints; not the data, and on the CPU not torch's own libraries. Of several
            processes, that of the first. `None` where the system does not say.
        in_nats: Whether `best` is a negative log-likelihood, and not a loss of another kind.
        observations: Training observations seen, one that came again counted again; `None` of a
            checkpoint from before they were counted.
    """

    finished: bool
    steps: int
    seconds: float
    skipped: int
    best: float | None
    peak_bytes: int | None = None
    in_nats: bool = True
    observations: int | None = None

    @classmethod
    def of(cls, progress: Progress, plan: Plan) -> Outcome:
        """Of a training that came so far."""
        return cls(
            progress.converged or progress.step >= plan.steps,
            progress.step, progress.seconds, progress.skipped, progress.best, progress.peak_bytes,
            progress.in_nats, progress.observations,
        )  # fmt: skip
