"""A folder that one process has alone, by a lock that the system frees when the process ends."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from simulacra.ground.errors import CheckpointError, ResourceError

LOCK = ".lock"
"""The file in a folder that is locked; whoever has it says in it who that is."""

_TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
"""What a system says of a lock that another process has."""
_MOST = 1000
"""Bytes that are read of what the other process says."""

if sys.platform == "win32":
    import msvcrt

    _FOLLOWS_NO_LINK = 0

    def _lock(handle: int) -> None:
        # nobody can read bytes that are locked here, so one behind all is
        os.lseek(handle, 1 << 20, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

elif sys.platform in ("emscripten", "wasi"):
    _FOLLOWS_NO_LINK = 0

    def _lock(_: int) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

else:
    import fcntl

    _FOLLOWS_NO_LINK = os.O_NOFOLLOW

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def held(folder: Path, done: str) -> Iterator[str]:
    """Have a folder alone, until the end of this or of the process, however that comes.

    What a killed process left hinders nobody. While it is had, the folder holds one file more.

    Args:
        folder: That exists.
        done: What is done with it, as in `trained`: for whoever comes second.

    Yields:
        Why the folder is not had alone after all, in words: some file systems have no locks.
        Empty where it is.

    Raises:
        CheckpointError: If another process has it; it says which.
        ResourceError: If nothing can be written there.
    """
    path = folder / LOCK
    handle, why = _had(path, done)
    try:
        yield why
    finally:
        # before it is freed: afterwards the file may be another's
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(handle)
        if sys.platform == "win32":
            # where nothing open is removed
            with contextlib.suppress(OSError):
                path.unlink()


def is_taken(folder: Path) -> bool:
    """Whether a folder holds anything but a lock, or is something else."""
    if not folder.is_dir():
        return os.path.lexists(folder)
    return any(path.name != LOCK for path in folder.iterdir())


def _had(path: Path, done: str) -> tuple[int, str]:
    """The file, open and locked; and why it is not locked."""
    why = ""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | _FOLLOWS_NO_LINK, 0o666)
        except OSError as error:
            raise ResourceError(f"cannot write {path}: {error.strerror}") from error
        try:
            _lock(handle)
        except OSError as error:
            if error.errno in _TAKEN:
                who = _told(handle)
                os.close(handle)
                raise CheckpointError(f"{path.parent} is being {who}: wait, or stop it") from error
            why = (
                f"{path.parent} cannot be locked ({error.strerror}): see to it that no other "
                "process has it"
            )
        if why or _is_there(handle, path):
            break
        # whoever had it has removed it since it was opened here
        os.close(handle)
    _tell(handle, done)
    return handle, why


def _is_there(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except OSError:
        return False


def _tell(handle: int, done: str) -> None:
    """Say in the file who has it."""
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    who = {"process": os.getpid(), "host": socket.gethostname(), "since": since, "done": done}
    with contextlib.suppress(OSError):
        # it names whoever has the lock, which a full disk is no reason to do without
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, json.dumps(who).encode())


def _told(handle: int) -> str:
    """What is done with the folder and by whom, as far as the file says."""
    try:
        os.lseek(handle, 0, os.SEEK_SET)
        who = json.loads(os.read(handle, _MOST))
        whose = f"process {int(who['process'])} on {who['host']} since {who['since']}"
        return f"{who['done']} by {whose}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "used by another process"
