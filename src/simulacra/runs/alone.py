"""One training a run: nobody else trains it meanwhile, and nobody writes over it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simulacra.ground import processes
from simulacra.ground.errors import SimulacraError, UsageError
from simulacra.ground.locks import held, is_taken
from simulacra.runs.record import RECORD, SETTLED, options_of, read_record
from simulacra.training.engine import make_fabric


@contextlib.contextmanager
def alone(folder: Path, record: dict[str, Any]) -> Iterator[list[str]]:
    """Let no other training have a run, until the end of this one.

    The first process of several sees to it, and tells the others.

    Args:
        folder: The run's.
        record: What is in its `run.json`: it gets what a training has settled since it was read.

    Yields:
        What there is to know of that, in words.

    Raises:
        CheckpointError: If another process is training it.
        ResourceError: If nothing can be written there.
    """
    with contextlib.ExitStack() as stack:
        found: tuple[str, dict[str, Any]] | SimulacraError = ("", {})
        if processes.first():
            try:
                unlocked = stack.enter_context(held(folder, "trained"))
                now = read_record(folder / RECORD)
                found = (unlocked, {part: now[part] for part in SETTLED if part in now})
            except SimulacraError as error:
                found = error
        if processes.count() > 1:
            found = make_fabric(options_of(record)).broadcast(found)
        if isinstance(found, SimulacraError):
            raise found
        record |= found[1]
        yield [found[0]] if found[0] else []


def check_free(folder: Path) -> None:
    """Refuse a folder for a new run that something is in.

    Raises:
        UsageError: Saying what to do.
    """
    if is_taken(folder):
        raise UsageError(f"{folder} exists already: choose another --out, or resume it")
