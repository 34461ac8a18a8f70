"""A finished run done again from its record, to the same bits."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import torch

from simulacra.ground import processes
from simulacra.ground.errors import ResourceError, UsageError
from simulacra.ground.storage import read_folder, write_json
from simulacra.runs.encoder import ENCODER
from simulacra.runs.events import EVENTS
from simulacra.runs.record import RECORD, budget_of, versions
from simulacra.runs.run import Run
from simulacra.runs.start import START


def again(run: Run, folder: Path) -> Run:
    """A new run that is asked for the same as another one, and meets the same events.

    On the same kind of processor, with the same versions, its training ends with the same weights.

    Args:
        run: That has ended.
        folder: Of the new one, which must not exist.

    Raises:
        UsageError: If the run has not ended, its events were not recorded, or the folder exists.
    """
    if not run.checkpoints() or not run.outcome().finished:
        raise UsageError(f"{run.folder} has not ended: go on with simulacra resume {run.folder}")
    logged = (run.folder / EVENTS).is_file()
    if budget_of(run.record).unit == "s" and not logged:
        raise UsageError(
            f"{run.folder} was trained for {run.budget}, and what its clock decided was not "
            f"recorded yet; train as many steps: --budget {run.outcome().steps}steps"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists already: choose another --out")
    made = {"plan": None, "created": datetime.now(UTC).isoformat(timespec="seconds")}
    record = run.record | made | {"versions": versions()}
    # where it ended is an event, which is followed whatever was seen before somebody asked for it
    record.pop("stop_on", None)
    if processes.first():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if logged:
                shutil.copyfile(run.folder / EVENTS, folder / EVENTS)
            for kept in (START, ENCODER):
                if (run.folder / kept).is_dir():
                    shutil.copytree(run.folder / kept, folder / kept)
        except OSError as error:
            raise ResourceError(f"cannot write {folder}: {error.strerror}") from error
        write_json(folder / RECORD, record)
    return Run(folder, record)


def differences(run: Run, other: Run) -> list[str]:
    """What two runs' last checkpoints do not have bit for bit alike; nothing where they do.

    Args:
        run: That has ended; one of the zoo has no weights but the kept ones.
        other: Done again.

    Returns:
        Names of weights, those of the kept model and those of the one that learned.
    """
    folder, mine, _ = run.newest("weights", "training")
    # of a model of the zoo the best step is there, which need not be the last
    same_step = other.folder / folder.relative_to(run.folder)
    if same_step in other.checkpoints():
        its = read_folder(same_step, "weights", "training")
    else:
        _, its, _ = other.newest("weights", "training")
    pairs = [("", mine["weights"], its["weights"])]
    if "model" in mine["training"]:
        pairs.append(("last ", mine["training"]["model"], its["training"]["model"]))
    found = []
    for place, a, b in pairs:
        same = {name for name in a.keys() & b.keys() if torch.equal(a[name], b[name])}
        found += [f"{place}{name}" for name in sorted((a.keys() | b.keys()) - same)]
    return found
