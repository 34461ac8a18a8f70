"""What failed in a comparison: in words, kept so that it is not met again unless asked for."""

from __future__ import annotations

import contextlib
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

from simulacra.ground.errors import CheckpointError, SimulacraError, one_line, out_of_memory
from simulacra.ground.storage import read_json, write_bytes, write_json

RECORD = "failed.json"
TRACE = "error.txt"
"""In the folder of a model's run, where its failure is no mistake that a user can mend."""

_LONGEST = 300
"""Characters of what an error says; its whole text is in the file."""


@dataclass(frozen=True)
class Failure:
    """Why a model has no figures.

    Args:
        why: In words.
        seconds: After which it failed.
    """

    why: str
    seconds: float


def failure_of(error: Exception, seconds: float, place: Path) -> Failure:
    """What happened to a model, and where, if nobody but who wrote it can mend that.

    Args:
        error: That ended its training or judging.
        seconds: After which it came.
        place: The folder of its run, which gets the file that says where it came from.
    """
    if out_of_memory(error):
        return Failure("memory ran out: a smaller --batch", seconds)
    if isinstance(error, SimulacraError):
        return Failure(str(error), seconds)
    place.mkdir(parents=True, exist_ok=True)
    trace = "".join(traceback.format_exception(error))
    write_bytes(place / TRACE, trace.encode("utf-8", "backslashreplace"))
    said = one_line(error)[:_LONGEST]
    return Failure(f"{type(error).__name__}: {said} (see {place / TRACE})", seconds)


def failures(folder: Path) -> dict[str, Failure]:
    """Those of a comparison so far, by model.

    Raises:
        CheckpointError: If the file that has them cannot be read.
    """
    path = folder / RECORD
    if not path.is_file():
        return {}
    try:
        found = {name: Failure(**told) for name, told in read_json(path).items()}
        if not all(
            isinstance(f.why, str) and isinstance(f.seconds, (int, float)) for f in found.values()
        ):
            raise TypeError("a failure is words and seconds")
    except (TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return found


def note_failure(folder: Path, name: str, failure: Failure) -> None:
    """Write down that a model failed."""
    found = failures(folder) | {name: failure}
    write_json(folder / RECORD, {name: asdict(each) for name, each in found.items()})


def forget(folder: Path, places: list[Path]) -> None:
    """Let models that failed be tried again.

    Args:
        folder: The comparison's.
        places: Those of their runs.
    """
    for path in (folder / RECORD, *(place / TRACE for place in places)):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
