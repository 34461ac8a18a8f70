"""What the steps of a training did, what it remembers, how it ended. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from simulacra.training.diagnosis import Diagnosis
from simulacra.training.plan import Plan

INVERTS_WITHIN = 1e-3
"""How far off observations may come back from their codes: beyond, an invertible model is named."""


@dataclass(frozen=True)
class Record:
    """What one step did.

    Args:
        step: Steps done.
        epoch: Passes over the training data done.
        seconds: What the training took so far.
        lr: Learning rate.
        losses: Each turn's scalars, `loss` or `turn/loss`; empty for a skipped step.
        validation: Mean of the model's `validation_loss`, where it has one, on steps that validate:
            of a model with a likelihood, nats per observation as the model sees it (see
            `DataSpec.columns`). Of a game without, the Fréchet distance of `Balance`.
        validated: Whether this step ended with a validation, hence is worth a checkpoint.
        skipped: Steps skipped so far for non-finite numbers.
        stage: Which stage it was in, from 0.
        inverse_error: Of an invertible model, on steps that validate: the largest of its
            `inverse_error` over a few validation observations, infinite if one is no number.
        balance: Of a game, on steps that validate: see `Balance.measure`.
        diagnoses: Of a game, what is to be told now: what began, or became clearly worse.
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
    inverse_error: float | None = None
    balance: Mapping[str, float] = field(default_factory=dict)
    diagnoses: tuple[Diagnosis, ...] = ()


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
    spent: dict[str, float] = field(default_factory=dict)
    threads: int = 1
    undone: int = 0
    looks: int = 0
    looked_at: int = 0
    # of the model that is kept: at its best step
    inverse_error: float | None = None
    # of a game: see `Course`
    course: dict[str, Any] = field(default_factory=dict)
    stopped_on: str = ""

    def spend(self, kind: str, seconds: float) -> None:
        """Count seconds that went into something."""
        self.seconds += seconds
        self.spent[kind] = self.spent.get(kind, 0.0) + seconds

    @property
    def tick(self) -> int:
        """Steps made so far, those that a rollback undid among them."""
        return self.step + self.undone

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
            average_updates=0, looks=0, looked_at=self.step,
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
        seconds: What it took, see `spent`.
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
        converged: Whether it ended because it would learn nothing more.
        spent: Seconds by what they went into: `preparing`, `compiling`, `steps`, `validating`,
            `checkpoints`, `pictures`, `other`; nothing of trainings from before that was kept.
        threads: Of the processor, that worked at its end.
        inverse_error: Of an invertible model, at its best step; see `Record`.
        diagnoses: Of a game: all that was diagnosed, in the order in which it began.
        stopped_on: Name of the diagnosis that ended it; empty if none did.
    """

    finished: bool
    steps: int
    seconds: float
    skipped: int
    best: float | None
    peak_bytes: int | None = None
    in_nats: bool = True
    observations: int | None = None
    converged: bool = False
    spent: Mapping[str, float] = field(default_factory=dict)
    threads: int | None = None
    inverse_error: float | None = None
    diagnoses: tuple[Diagnosis, ...] = ()
    stopped_on: str = ""

    @classmethod
    def of(cls, progress: Progress, plan: Plan) -> Outcome:
        """Of a training that came so far."""
        return cls(
            progress.converged or progress.step >= plan.steps,
            progress.step, progress.seconds, progress.skipped, progress.best, progress.peak_bytes,
            progress.in_nats, progress.observations, progress.converged, dict(progress.spent),
            progress.threads, progress.inverse_error,
            tuple(Diagnosis(**each) for each in progress.course.get("diagnoses", ())),
            progress.stopped_on,
        )  # fmt: skip
