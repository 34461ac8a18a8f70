"""Files kept to save time, which may be lost at any: where they lie, and how they get there."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_PARTIAL = ".partial-"
_ABANDONED = 24 * 3600
"""Seconds without a change after which no one writes a file any more."""


def cache_folder() -> Path:
    """Where whatever can be made again is kept.

    The folder that SIMULACRA_CACHE names, or `simulacra` where caches are.
    """
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    named = os.environ.get("SIMULACRA_CACHE") or f"{home}/simulacra"
    return Path(os.path.expanduser(named))


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of another at the end, whole; an error leaves that as it was.

    Whoever has the old one open goes on reading it, and several may write at once: the last wins.

    Args:
        path: Its folder exists. What killed processes left there of files that began so is removed.

    Raises:
        OSError: If the disk is full or the place forbidden.
    """
    _sweep(path.parent)
    partial = path.with_name(f"{_PARTIAL}{path.name}-{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what no one writes any more."""
    for path in folder.glob(f"{_PARTIAL}*"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - _ABANDONED:
                path.unlink()
