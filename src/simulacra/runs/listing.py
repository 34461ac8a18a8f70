"""`Listed`: a run in a list, whole or broken."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from simulacra.ground.errors import CheckpointError
from simulacra.runs.record import RECORD
from simulacra.runs.run import Run
from simulacra.training.progress import Outcome


@dataclass(frozen=True)
class Listed:
    """A run in a list.

    Args:
        folder: Its own.
        run: The run, if its record can be read.
        outcome: How far it came; `None` before its first checkpoint.
        broken: What is wrong with it, in words; empty of a sound one.
    """

    folder: Path
    run: Run | None = None
    outcome: Outcome | None = None
    broken: str = ""

    @property
    def created(self) -> datetime | None:
        """When it was made, by the clock here, if its record says so."""
        try:
            made = datetime.fromisoformat(self.run.record["created"]) if self.run else None
            # some dates are in no calendar once they are moved to another zone
            return None if made is None else made.astimezone()
        except (KeyError, TypeError, ValueError, OverflowError):
            return None


def listed(folder: Path) -> list[Listed]:
    """The runs in a folder, and those of comparisons in it, the newest first, broken ones last.

    Args:
        folder: That holds runs; or a run's own.
    """
    places = [folder] if (folder / RECORD).is_file() else [
        record.parent for pattern in (f"*/{RECORD}", f"*/*/{RECORD}")
        for record in sorted(folder.glob(pattern))
    ]  # fmt: skip
    runs = [_one(place) for place in places]
    sound = [run for run in runs if run.created is not None]
    sound.sort(key=lambda run: str(run.created), reverse=True)
    return [*sound, *(run for run in runs if run.created is None)]


def _one(folder: Path) -> Listed:
    run = None
    try:
        run = Run.open(folder)
        # a training writes its first checkpoint once its steps are counted
        outcome = run.outcome() if run.checkpoints() else None
    except CheckpointError as error:
        return Listed(folder, run, broken=str(error))
    return Listed(folder, run, outcome)
