"""How long a training is, what its steps did, what it remembers, how it ended. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from simulacra.ground.errors import UsageError

VALIDATIONS = 20
"""How often a training validates, at most."""
VALIDATION_SHARE = 0.1
"""Share of a budget in seconds that validating may take."""
VALIDATION_SIZE = 1000
"""How many of the validation observations are looked at each time, at most."""
FEW = 64
"""And at least, where there are so many."""


@dataclass(frozen=True)
class Plan:
    """How long a training is.

    Args:
        steps: Cycles of turns, or sweeps.
        validate_every: Steps between validations; there is one after the last step too.
        validate_on: How many of the validation observations are looked at each time, at most.
        seconds: What the steps were counted to take, until they are frozen.
    """

    steps: int
    validate_every: int
    validate_on: int = 1000
    seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuse a plan that no training can have."""
        for name in ("steps", "validate_every", "validate_on"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise UsageError(f"a plan's {name} is a whole number, got {value!r}")
        if self.seconds is not None and not 0 <= self.seconds < math.inf:
            raise UsageError(f"a plan's seconds are finite, got {self.seconds!r}")

    @classmethod
    def within(cls, seconds: float, left: float, step: float, look: float, most: int) -> Plan:
        """As many steps as seconds allow, of which validating takes a tenth at most.

        There are fewer observations in a validation before there are fewer validations, and fewer
        of these before there is less training.

        Args:
            seconds: Of the whole training.
            left: Of these, what is left.
            step: That a step takes.
            look: That a validation takes for each observation.
            most: Observations in a validation.
        """
        affordable = VALIDATION_SHARE * left / look
        size = int(min(most, VALIDATION_SIZE, max(FEW, affordable / 10)))
        count = int(min(VALIDATIONS, max(1, affordable / size)))
        steps = max(1, int((left - count * size * look) / step))
        return cls(steps, math.ceil(steps / count), size, seconds)

    def sparing(self, cost: float) -> Plan:
        """The plan with no more validations than a tenth of its seconds can write down.

        Args:
            cost: Seconds that a checkpoint takes, of which each validation leaves one.
        """
        if self.seconds is None:
            return self
        affordable = max(1, int(0.1 * self.seconds / max(cost, 1e-9)))
        every = max(self.validate_every, math.ceil(self.steps / affordable))
        return replace(self, validate_every=every)

    def recounted(self, done: int, elapsed: float) -> Plan:
        """The plan frozen, its steps counted again if their pace was not kept.

        The first steps of a training say little about a machine that others use too.

        Args:
            done: Steps done.
            elapsed: Seconds that they took.
        """
        left = (self.seconds or elapsed) - elapsed
        steps = done + max(1, round(left * done / elapsed))
        if 0.8 * self.steps < steps < 1.25 * self.steps:
            return replace(self, seconds=None)
        validations = math.ceil(self.steps / self.validate_every)
        every = math.ceil(steps / validations)
        return replace(self, steps=steps, validate_every=every, seconds=None)


@dataclass(frozen=True)
class Record:
    """What one step did.

    Args:
        step: Steps done.
        epoch: Passes over the training data done.
        seconds: Time that steps and validations took so far.
        lr: Learning rate.
        losses: Each turn's scalars, `loss` or `turn/loss`; empty for a skipped step.
        validation: Mean negative log-likelihood of validation data, nats per observation as the
            model sees it (see `DataSpec.columns`); only on steps that validate a model with a
            likelihood.
        validated: Whether this step ended with a validation, hence is worth a checkpoint.
        skipped: Steps skipped so far for non-finite numbers.
    """

    step: int
    epoch: float
    seconds: float
    lr: float
    losses: dict[str, float]
    validation: float | None
    validated: bool
    skipped: int


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
        best: Smallest validation loss, nats per observation as the model sees it, if it has a
            likelihood.
        peak_bytes: Memory at the peak, beyond what the process, or the GPU, had before the model
            was built: weights, gradients, optimiser, activations, the copies that become
            checkpoints; not the data, and on the CPU not torch's own libraries. Of several
            processes, that of the first. `None` where the system does not say.
    """

    finished: bool
    steps: int
    seconds: float
    skipped: int
    best: float | None
    peak_bytes: int | None = None

    @classmethod
    def of(cls, progress: Progress, plan: Plan) -> Outcome:
        """Of a training that came so far."""
        return cls(
            progress.converged or progress.step >= plan.steps,
            progress.step, progress.seconds, progress.skipped, progress.best, progress.peak_bytes,
        )  # fmt: skip
