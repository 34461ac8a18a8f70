"""What can go wrong, each kind with the exit code that the command line ends with.

A message says what was expected, what came, and what to do about it, on one line.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class SimulacraError(Exception):
    """A mistake that the user can mend; everything else is a fault of ours (exit code 1)."""

    exit_code = 1


class UsageError(SimulacraError):
    """A wrong argument, option, model keyword or configuration.

    Example:
        >>> import simulacra as sim
        >>> sim.Budget.parse("soon")
        Traceback (most recent call last):
        simulacra.ground.errors.UsageError: a budget is written 90s, ..., got 'soon'
    """

    exit_code = 2


class MissingCapability(UsageError):
    """A model was asked for something that its kind cannot do, or for data that it is not for.

    Example:
        >>> import simulacra as sim
        >>> try:
        ...     sim.build("pixelcnn", sim.DataSpec((3,), levels=None))
        ... except sim.MissingCapability as error:
        ...     print(error)
        pixelcnn needs pictures ...
    """


class BrokenLaw(UsageError, AssertionError):
    """A model does not keep what every model of its kind promises; see `check_model`.

    Example:
        >>> import simulacra as sim
        >>> issubclass(sim.BrokenLaw, AssertionError)
        True
    """


class DataError(SimulacraError):
    """Observations that are missing, broken, or not what their file claims."""

    exit_code = 3


class CheckpointError(SimulacraError):
    """A run or checkpoint that is incomplete, altered, or from another program."""

    exit_code = 4


class ResourceError(SimulacraError):
    """Disk or memory ran short."""

    exit_code = 5


class DivergedError(SimulacraError):
    """Training met non-finite numbers again after every rollback that the policy allows."""

    exit_code = 6


_NO_MEMORY = ("allocate memory", "Storage size calculation overflowed", "multiplication overflow")
"""What torch says, which has no class of its own for the memory of a CPU, nor for sizes beyond all
memory."""


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the machine or of a GPU, whoever says so."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def disk_full(error: BaseException) -> bool:
    """Whether there is no space left on a disk, as the system says it."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence that names the known word nearest to `word`, or lists all of them."""
    names = sorted(known)
    by_small = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word.lower(), by_small, n=1, cutoff=0.5)
    if close:
        return f"did you mean {by_small[close[0]]!r}?"
    return f"known: {', '.join(names)}" if names else "none are known here"


def one_line(error: BaseException) -> str:
    """An error's message on one line, whoever wrote it."""
    return " ".join(str(error).split())
