"""The files of a folder: each once, whatever links there are, and names safe to show."""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from simulacra.ground.errors import DataError


@dataclass(frozen=True)
class Listing:
    """What lies in a folder and all folders below it; paths are relative, with `/` everywhere.

    Args:
        files: Those with an ending asked for, sorted.
        others: How many there are besides.
        folders: All folders below, sorted.
        again: Links to folders that are listed already, sorted; they were passed over.
        folder: Where they lie.
    """

    files: tuple[str, ...]
    others: int
    folders: tuple[str, ...]
    again: tuple[str, ...]
    folder: str

    @cached_property
    def stamps(self) -> tuple[array[int], array[int]]:
        """Bytes of each file, and when it was last written in ns; 0 of what leads nowhere."""
        sizes, times = array("q"), array("q")
        for name in self.files:
            try:
                status = os.stat(f"{self.folder}/{name}")
                sizes.append(status.st_size)
                times.append(status.st_mtime_ns)
            except OSError:
                sizes.append(0)
                times.append(0)
        return sizes, times

    def only(self, endings: Iterable[str]) -> Listing:
        """The same with some of the files alone, by their endings; the rest are others."""
        endings = tuple(endings)
        files = tuple(name for name in self.files if name.lower().endswith(endings))
        return replace(self, files=files, others=self.others + len(self.files) - len(files))


def list_files(folder: Path, endings: Iterable[str]) -> Listing:
    """The files below a folder, links followed, hidden files and folders passed over.

    Every folder is listed once: under its own place if that is below, else under the first link
    to it. So links end, and no file counts twice, perhaps in training and in test.

    Args:
        folder: The folder.
        endings: Suffixes in lower case, such as `.png`.

    Raises:
        DataError: If a folder cannot be listed.
    """
    endings = tuple(endings)
    files: list[str] = []
    folders: list[str] = []
    again: list[str] = []
    others = 0
    seen: set[tuple[int, int]] = set()
    waiting = [os.fspath(folder)]
    try:
        while waiting:
            links = []
            for root, below, names in os.walk(waiting.pop(0), onerror=_raise):
                status = os.stat(root)
                place = Path(root).relative_to(folder).as_posix()
                # text: of many files, an object for each path takes most of the time
                inside = "" if place == "." else f"{place}/"
                if (status.st_dev, status.st_ino) in seen:
                    below.clear()
                    again.append(place)
                    continue
                seen.add((status.st_dev, status.st_ino))
                folders.append(place)
                below[:] = sorted(name for name in below if not name.startswith("."))
                for name in below:
                    if _loops(root, name):
                        again.append((Path(root) / name).relative_to(folder).as_posix())
                    elif os.path.islink(os.path.join(root, name)):
                        links.append(os.path.join(root, name))
                visible = [name for name in names if not name.startswith(".")]
                found = [name for name in visible if name.lower().endswith(endings)]
                files += [f"{inside}{name}" for name in found]
                others += len(visible) - len(found)
            waiting += sorted(links)
    except OSError as fault:
        where = shown(os.fsdecode(fault.filename or folder))
        raise DataError(
            f"{where} cannot be listed ({fault.strerror}): allow it to be read, or remove it"
        ) from fault
    files.sort()
    return Listing(
        tuple(files), others, tuple(sorted(folders[1:])), tuple(sorted(again)), os.fspath(folder)
    )


def _raise(fault: OSError) -> None:
    """Refuse what `os.walk` would pass over in silence."""
    raise fault


def _loops(root: str, name: str) -> bool:
    """Whether an entry of a folder is a link to that folder, or to one on the way to it."""
    path = os.path.join(root, name)
    if not os.path.islink(path):
        return False
    target = os.path.realpath(path)
    above = {os.path.realpath(place) for place in (Path(root), *Path(root).parents)}
    return any(real == target or real.startswith(os.path.join(target, "")) for real in above)


_IRREGULAR = "it is no regular file, but a folder, pipe or device"


def open_regular(path: Path) -> BinaryIO:
    """A file opened to be read, if it is one: a pipe would be waited for, a device may be endless.

    Raises:
        OSError: If it is none, or cannot be read.
    """
    # a pipe is opened without waiting for a writer; Windows has neither flag nor such pipes
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(_IRREGULAR)
    descriptor = os.open(path, flags)
    # what lies there may have changed since the first look
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(_IRREGULAR)
    return os.fdopen(descriptor, "rb")


def shown(name: str) -> str:
    """A name as one line of printable text; other characters and bytes become escapes."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
