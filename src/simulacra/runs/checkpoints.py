"""The checkpoints of a run: which there are, the newest sound one, and a new one beside them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from simulacra.ground.errors import CheckpointError
from simulacra.ground.storage import PARTIAL, read_folder, write_folder
from simulacra.training.loop import Training

FOLDER = "checkpoints"
"""Of a run's folder, where they are, each called by its step."""


def checkpoints(run: Path) -> list[Path]:
    """Those in a run's folder, newest first; incomplete ones are not there."""
    found = [place for place in (run / FOLDER).glob("[0-9]*") if place.name.isdigit()]
    return sorted(found, key=lambda place: int(place.name), reverse=True)


def newest_sound(
    run: Path, *names: str, records: tuple[str, ...] = ()
) -> tuple[Path, dict[str, Any], list[str]]:
    """The newest sound one: where, its values, and what is wrong with newer ones.

    Args:
        run: The run's folder.
        names: Of the values to read.
        records: See `read_folder`: where a training is takes several times what its model does.

    Raises:
        CheckpointError: If none is sound.
    """
    broken: list[str] = []
    for folder in checkpoints(run):
        try:
            return folder, read_folder(folder, *names, records=records), broken
        except CheckpointError as error:
            broken.append(str(error))
    raise CheckpointError(f"{run} has no sound checkpoint" + "".join(f"; {b}" for b in broken))


def write_checkpoint(run: Path, training: Training, said: dict[str, Any]) -> None:
    """Write where a training is; of older ones, the newest and the best are kept.

    Args:
        run: The run's folder.
        training: Between two steps.
        said: Which model it is, as the run's record says.
    """
    folder = run / FOLDER / str(training.progress.step)
    for left in folder.parent.glob(f"{PARTIAL}*"):
        # by a process that was killed while writing
        shutil.rmtree(left)
    if folder.exists():
        # one that was found broken, or the same one
        shutil.rmtree(folder)
    form = {"model": said, "weights": dict(training.averaged.state_dict())}
    write_folder(folder, {**form, "training": training.state_dict()})
    kept = {str(training.progress.best_step), *(place.name for place in checkpoints(run)[:2])}
    for old in checkpoints(run):
        if old.name not in kept:
            shutil.rmtree(old)
