"""What takes long to make is made once for all tests, whichever worker asks first.

What is kept here is read by many tests: one that changes it takes a copy.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import commands


class Kept:
    """A folder of all workers, in which each thing has the hash of its recipe as its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def once(self, recipe: str, make: Callable[[Path], object]) -> Path:
        """Where `make` put what the recipe names, now or when it was first asked for.

        Args:
            recipe: All that the result depends on, as text.
            make: Makes a file or folder at the place that it is given, which is free.
        """
        place = self.folder / hashlib.sha256(recipe.encode()).hexdigest()[:16]
        with place.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.exists():
                unfinished = place.with_suffix(".part")
                make(unfinished)
                unfinished.rename(place)
        return place

    def run(self, *arguments: object, into: Path | None = None) -> Path:
        """The folder of a run that `simulacra train` made of these arguments, without pictures.

        Args:
            arguments: Of the command but for `--out`. Data are named as in the catalogue, for
                files would have to be where the first who asked has them.
            into: Where a copy is put for a test that changes it.
        """
        told = [str(argument) for argument in arguments]
        made = self.once(f"run {told}", lambda place: commands.train(*told, "--out", place))
        return Path(shutil.copytree(made, into)) if into else made


def shared(own: Path) -> Path:
    """The folder that all workers have, of the base folder of one."""
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
