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
    while True:
        broken: list[str] = []
        for folder in checkpoints(run):
            try:
                return folder, read_folder(folder, *names, records=records), broken
            except CheckpointError as error:
                if not folder.exists():
                    # by a training that goes on, which has written a newer one
                    break
                broken.append(str(error))
        else:
            said = "".join(f"; {line}" for line in broken)
            raise CheckpointError(f"{run} has no sound checkpoint{said}")


def best_sound(run: Path) -> tuple[Path, dict[str, Any]]:
    """The one of the best validation, or the newest sound one if that is broken or there is none.

    Args:
        run: The run's folder.

    Returns:
        Where it is, and its values `model` and `weights`.

    Raises:
        CheckpointError: If none is sound.
    """
    while True:
        there = checkpoints(run)
        folder, state, _ = newest_sound(run, "model", "weights", "training", records=("training",))
        best = folder.with_name(str(state["training"]["progress"]["best_step"]))
        if best == folder:
            return folder, state
        try:
            return best, read_folder(best, "model", "weights")
        except CheckpointError:
            # a training that goes on may have found a better one meanwhile
            if checkpoints(run) == there:
                return folder, state


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
        _remove(folder)
    form = {"model": said, "weights": dict(training.averaged.state_dict())}
    write_folder(folder, {**form, "training": training.state_dict()})
    kept = {str(training.progress.best_step), *(place.name for place in checkpoints(run)[:2])}
    for old in checkpoints(run):
        if old.name not in kept:
            _remove(old)


def _remove(folder: Path) -> None:
    """Remove a checkpoint at once: whoever reads it sees that it is gone, not that it broke."""
    gone = folder.with_name(f"{PARTIAL}{folder.name}-old")
    folder.rename(gone)
    shutil.rmtree(gone)
