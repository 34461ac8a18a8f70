"""`RecordedTraining`: a training as the folder of its run has it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from simulacra.ground import processes
from simulacra.ground.errors import CheckpointError, UsageError
from simulacra.ground.storage import write_json
from simulacra.runs.checkpoints import checkpoints, newest_sound, write_checkpoint
from simulacra.runs.record import RECORD, budget_of, said_of
from simulacra.training.changes import make_longer, set_rate, spare
from simulacra.training.loop import Training
from simulacra.training.options import Budget
from simulacra.training.plan import Event, Plan
from simulacra.training.players import finite


class RecordedTraining:
    """A training that is put where its run is, and whose run is kept where it is.

    Args:
        folder: The run's.
        record: What is in its `run.json`, which is kept up to date.
        training: Not begun yet.
    """

    def __init__(self, folder: Path, record: dict[str, Any], training: Training) -> None:
        self.folder, self.record, self.training = folder, record, training
        self._noted: tuple[Plan, int] | None = None

    def go_to_newest(self) -> list[str]:
        """Put the training where the run is; what is wrong with newer checkpoints.

        The first process looks, and tells the others: they need not see its folder.

        Raises:
            CheckpointError: If no checkpoint is sound, or it is of another model.
        """
        training = self.training
        plan = Plan(**self.record["plan"]) if self.record["plan"] else None
        found: tuple[Any, list[str], Plan | None] | CheckpointError = (None, [], plan)
        if processes.first() and plan is not None and checkpoints(self.folder):
            try:
                _, state, broken = newest_sound(self.folder, "training")
                found = (state["training"], broken, plan)
            except CheckpointError as error:
                found = error
        found = training.fabric.broadcast(found)
        if isinstance(found, CheckpointError):
            raise found
        newest, broken, plan = found
        training.budget = budget_of(self.record)
        training.events = [Event.from_json(event) for event in self.record.get("events", [])]
        if newest is None:
            training.plan = plan or training.set_plan(training.budget)
            begun = time.perf_counter()
            self.save()
            sparing = training.plan.sparing(time.perf_counter() - begun)
            training.plan = training.fabric.broadcast(sparing)
            self.note()
            return broken
        try:
            training.load_state_dict(newest)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"the checkpoints of {self.folder} are not of the model that its record says: "
                f"{type(error).__name__}"
            ) from error
        if not finite(training.model) or not finite(training.averaged):
            raise CheckpointError(
                f"the newest checkpoint of {self.folder} has NaN or infinite weights: remove it"
            )
        # one that was killed before it had saved them
        training.meet_events()
        self.note()
        return broken

    def change(self, longer: Budget | None, rates: Mapping[str | None, float]) -> None:
        """Change the training before it goes on, in all processes alike.

        Args:
            longer: How much longer it is to be.
            rates: Learning rates from here on: of a player, or of everyone.
        """
        training = self.training
        ended = training.progress.converged or training.progress.step >= training.plan.steps
        if rates and longer is None and ended:
            raise UsageError(
                f"{self.folder} has ended: say with --budget how much longer to train at another "
                "rate, as +10m"
            )
        for player, lr in rates.items():
            set_rate(self.training, lr, player)
        if longer is not None:
            make_longer(self.training, longer)
        if rates or longer is not None:
            # what is written down first is done again if the checkpoint is never written
            self.note()
            begun = time.perf_counter()
            self.save()
            if longer is not None:
                spare(self.training, time.perf_counter() - begun, longer)
                self.note()

    def save(self) -> None:
        """Write a checkpoint."""
        if processes.first():
            write_checkpoint(self.folder, self.training, said_of(self.record))

    def note(self) -> None:
        """Write down what was settled since: the plan, the precision, and what was changed."""
        training = self.training
        now = (training.plan, len(training.events))
        if now == self._noted:
            return
        self._noted = now
        settled: dict[str, Any] = {
            "plan": asdict(training.plan), "options": asdict(training.options)
        }  # fmt: skip
        if training.events:
            settled["events"] = [asdict(event) for event in training.events]
        # as JSON reads them, where tuples are lists
        settled = json.loads(json.dumps(settled))
        if any(self.record.get(key) != value for key, value in settled.items()):
            self.record |= settled
            if processes.first():
                write_json(self.folder / RECORD, self.record)
