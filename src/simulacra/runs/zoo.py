"""Trained models that come with the package, by name: the weights, and the record of their run."""

from __future__ import annotations

import shutil
from pathlib import Path

from simulacra.ground.errors import CheckpointError, UsageError, nearest
from simulacra.ground.storage import read_folder, write_folder, write_json
from simulacra.models.model import Model
from simulacra.runs.encoder import ENCODER
from simulacra.runs.events import EVENTS
from simulacra.runs.record import RECORD
from simulacra.runs.run import Run

PLACE = Path(__file__).with_name("trained")
LIMIT = 4_000_000
"""Bytes that a model may take here."""


def names(place: Path = PLACE) -> list[str]:
    """What there is."""
    return sorted(record.parent.name for record in place.glob(f"*/{RECORD}"))


def from_zoo(name: str) -> Model:
    """A trained model that comes with the package, in eval mode.

    Args:
        name: One of those that `simulacra models` lists as trained.

    Raises:
        UsageError: If there is none of that name.

    Example:
        >>> import simulacra as sim
        >>> model = sim.from_zoo("pixelcnnpp-binarized-mnist")
        >>> model.spec.event_shape
        (1, 28, 28)
    """
    return run_of(name).model()


def run_of(name: str, place: Path = PLACE) -> Run:
    """The run of a model that comes with the package, without what a training goes on with.

    Args:
        name: One of `names()`.
        place: Folder of the models.

    Raises:
        UsageError: If there is none of that name.
    """
    if name not in names(place):
        raise UsageError(f"no model of the zoo is called {name!r}: {nearest(name, names(place))}")
    return Run.open(place / name)


def add(run: Run, name: str, place: Path = PLACE) -> Path:
    """Put a finished run's model there: what it needs to be used, not what it needs to go on.

    Args:
        run: Whose model to use is taken, of the best validation.
        name: That it gets.
        place: Folder of the models.

    Returns:
        Its folder.

    Raises:
        UsageError: If the weights are more than 4 MB.
        CheckpointError: If the run is not finished, or the name is taken.
    """
    target = place / name
    if target.exists():
        raise CheckpointError(f"{target} exists already: choose another name")
    folder, state, _ = run.newest("training", records=("training",))
    if not run.outcome().finished:
        raise CheckpointError(f"{run.folder} is not finished: simulacra resume it first")
    kept = {key: state["training"][key] for key in ("progress", "plan")}
    best = folder.with_name(str(kept["progress"]["best_step"]))
    best = best if best in run.checkpoints() else folder
    read = read_folder(best, "model", "weights")
    size = sum(value.nbytes for value in read["weights"].values())
    if size > LIMIT:
        raise UsageError(
            f"a model of the zoo has at most {LIMIT / 1e6:.0f} MB, got {size / 1e6:.1f}"
        )
    write_folder(target / "checkpoints" / best.name, {**read, "training": kept})
    data = run.record["data"]
    # where the files lay on the machine that trained is no one else's business
    options = {key: value for key, value in data["options"].items() if key != "data_dir"}
    told = data.get("encoder")
    if told is not None:
        data = {**data, "encoder": {**told, "run": Path(told["run"]).name}}
    write_json(target / RECORD, {**run.record, "data": {**data, "options": options}})
    if run.encoder is not None:
        run.encoder.save(target / ENCODER, elsewhere=True)
    if (run.folder / EVENTS).is_file():
        # by which it can be done again
        shutil.copyfile(run.folder / EVENTS, target / EVENTS)
    return target
