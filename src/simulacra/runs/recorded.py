"""`RecordedTraining`: a training as the folder of its run has it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from simulacra.ground import processes
from simulacra.ground.errors import CheckpointError, UsageError
from simulacra.ground.storage import write_json
from simulacra.runs.checkpoints import checkpoints, newest_sound, write_checkpoint
from simulacra.runs.events import EventLog
from simulacra.runs.record import RECORD, budget_of, said_of
from simulacra.training.changes import make_longer, set_rate
from simulacra.training.diagnosis import check_names
from simulacra.training.events import Events
from simulacra.training.loop import Training
from simulacra.training.options import Budget
from simulacra.training.plan import Event
from simulacra.training.players import finite
from simulacra.training.progress import Outcome


class RecordedTraining:
    """A training that is put where its run is, and whose run is kept where it is.

    Args:
        folder: The run's.
        record: What is in its `run.json`, which is kept up to date.
        training: Not begun yet.
    """

    def __init__(self, folder: Path, record: dict[str, Any], training: Training) -> None:
        self.folder, self.record, self.training = folder, record, training
        self.log = EventLog(folder)
        self.outcome: Outcome | None = None
        """Of the newest checkpoint, once there is one."""

    def go_to_newest(self) -> list[str]:
        """Put the training where the run is; what is wrong with newer checkpoints.

        The first process looks, and tells the others: they need not see its folder.

        Raises:
            CheckpointError: If no checkpoint is sound, or it is of another model.
        """
        training = self.training
        found: tuple[Any, list[str], list[Event]] | CheckpointError = (None, [], [])
        if processes.first():
            try:
                # of runs from before they had a file, which holds these too once there is one
                before = [Event.from_json(event) for event in self.record.get("events", [])]
                found = (None, [], self.log.read() if self.log.path.is_file() else before)
                if self.record["plan"] and checkpoints(self.folder):
                    _, state, broken = newest_sound(self.folder, "training")
                    found = (state["training"], broken, found[2])
            except CheckpointError as error:
                found = error
        found = training.fabric.broadcast(found)
        if isinstance(found, CheckpointError):
            raise found
        newest, broken, events = found
        training.budget, training.events = budget_of(self.record), Events(events)
        if newest is None:
            training.set_plan(training.budget)
            # before the first checkpoint, which follows from it
            self.note()
            self.save()
            return broken
        try:
            training.load_state_dict(newest)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"the checkpoints of {self.folder} are not of the model that its record says: "
                f"{type(error).__name__}; another version of simulacra may have begun it: go on "
                "with that one, or train again"
            ) from error
        if not finite(training.model) or not finite(training.averaged):
            raise CheckpointError(
                f"the newest checkpoint of {self.folder} has NaN or infinite weights: remove it"
            )
        # one that was killed before it had saved them
        training.meet_events()
        self.outcome = Outcome.of(training.progress, training.plan)
        return broken

    def stop_on(self, names: Sequence[str]) -> None:
        """Let the training end on diagnoses: on those named, or those that its run was told before.

        Raises:
            UsageError: If nobody diagnoses that, or the model is no game.
        """
        check_names(names)
        if names and self.training.course is None:
            raise UsageError(
                f"--stop-on is for games of two players; {self.record['model']} is none"
            )
        if names and list(names) != self.record.get("stop_on"):
            self.record["stop_on"] = list(names)
            if processes.first():
                write_json(self.folder / RECORD, self.record)
        self.training.stop_on = self.record.get("stop_on", [])

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
            self.save()

    def save(self) -> None:
        """Write a checkpoint, and in the record what was settled since the one before."""
        with self.training.spending("checkpoints"):
            # as whoever reads the checkpoint will find it
            self.outcome = Outcome.of(self.training.progress, self.training.plan)
            if processes.first():
                write_checkpoint(self.folder, self.training, said_of(self.record))
            settled = {"plan": asdict(self.training.plan), "options": asdict(self.training.options)}
            # as JSON reads them, where tuples are lists
            settled = json.loads(json.dumps(settled))
            if any(self.record.get(key) != value for key, value in settled.items()):
                self.record |= settled
                if processes.first():
                    write_json(self.folder / RECORD, self.record)

    def note(self) -> None:
        """Write down what happened since, before the next step goes by it."""
        if processes.first():
            self.log.write(self.training.events)
