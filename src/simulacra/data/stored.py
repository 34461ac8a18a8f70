"""`StoredRows`: observations that stay in a file, and of which only those asked for are read."""

from __future__ import annotations

import contextlib
import json
import math
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

import torch
from torch import Tensor

from simulacra.ground.caching import replacing
from simulacra.ground.errors import DataError

Read = Callable[[Tensor], Tensor]
"""Rows `(n, *event_shape)` of their places `(n,)` int64, in memory of their own."""


class OpenFile:
    """A file that is read by position, and closed when nobody holds it any more.

    It is never mapped into memory: what was read of a mapped file counts as memory of the process.

    Args:
        descriptor: Of the open file, which belongs to this object from now on.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def fill(self, buffer: memoryview, offset: int) -> None:
        """Read as many bytes as the buffer has.

        Raises:
            DataError: If they are not there any more.
        """
        done = 0
        try:
            while done < len(buffer):
                count = os.preadv(self.descriptor, [buffer[done:]], offset + done)
                if not count:
                    raise DataError("the cache of decoded pictures was cut while in use: run again")
                done += count
        except OSError as error:
            why = error.strerror or error
            raise DataError(f"the cache of decoded pictures cannot be read: {why}") from error


def rows_in(file: OpenFile, start: int, event_shape: Sequence[int], dtype: torch.dtype) -> Read:
    """Reads rows that lie in a file one after another.

    Args:
        file: The file.
        start: Where the first row begins, in bytes.
        event_shape: Of each row.
        dtype: Of each value, in this machine's order of bytes.
    """
    size = math.prod(event_shape) * dtype.itemsize

    def read(places: Tensor) -> Tensor:
        rows = torch.empty((len(places), *event_shape), dtype=dtype)
        raw = rows.view(-1).view(torch.uint8).numpy().data
        where = places.tolist()
        # in the order of the file, as disks like it
        for row in places.argsort().tolist():
            file.fill(raw[row * size : (row + 1) * size], start + where[row] * size)
        return rows

    return read


@dataclass(frozen=True)
class Source:
    """What rows are that were neither changed nor chosen from: the same name, the same rows.

    Args:
        name: Of these rows, and of no others.
        file: That they lie in.
        notes: A JSON file beside them, of what is known of data that hold these rows; there may be
            none.
    """

    name: str
    file: OpenFile
    notes: Path

    @property
    def state(self) -> str:
        """The name, and what the system knows of the file: another one when it was altered."""
        file = os.fstat(self.file.descriptor)
        stamps = file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns
        return " ".join(map(str, (self.name, *stamps)))

    def recalled(self, key: str) -> str | None:
        """What was noted under a key."""
        return self._noted().get(key)

    def noted(self, key: str, value: str) -> str:
        """The value, noted under a key if that can be."""
        known = {**self._noted(), key: value}
        with contextlib.suppress(OSError), replacing(self.notes) as file:
            file.write(json.dumps(dict(list(known.items())[-_MOST_NOTES:])).encode())
        return value

    def _noted(self) -> dict[str, str]:
        try:
            known = json.loads(self.notes.read_bytes())
        except (OSError, ValueError):
            return {}
        texts = isinstance(known, dict) and all(isinstance(value, str) for value in known.values())
        return known if texts else {}


_MOST_NOTES = 100


class StoredRows:
    """Stands for a tensor `(N, *event_shape)` of which only the rows asked for come into memory.

    Args:
        read: Reads rows by their places.
        places: Of these rows, `(N,)` int64.
        source: What they are, if they are all of something that has a name.
    """

    def __init__(self, read: Read, places: Tensor, source: Source | None = None) -> None:
        self._read, self._places, self.source = read, places, source
        none = read(places[:0])
        self.shape, self.dtype = torch.Size((len(places), *none.shape[1:])), none.dtype

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._places)

    def __getitem__(self, indices: Any) -> Tensor:  # noqa: ANN401 (whatever a tensor takes)
        """Values in memory of their own, as the same indices give of a tensor.

        The rows that the first index names are read whole, and the others chosen from them.
        """
        first, *rest = indices if isinstance(indices, tuple) and indices else (indices,)
        if rest and (first is None or first is ...):
            # it names no rows
            return self[:][indices]
        places = self._places[first]
        rows = self._read(places.reshape(-1))
        if not rest:
            return rows.reshape(*places.shape, *self.shape[1:])
        # so that a tensor of rows and one of columns go together as they do in torch
        own = torch.arange(len(rows)).reshape(places.shape)
        return rows[(slice(None) if isinstance(first, slice) else own, *rest)]

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Never:
            """Say how to come by what a tensor has.

            Raises:
                AttributeError: Always.
            """
            raise AttributeError(
                f"rows in a file have no {name!r}: x[:] reads all of them into a tensor"
            )

    def split(self, size: int) -> Iterator[Tensor]:
        """All rows in order, so many at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def take(self, indices: Tensor | slice) -> StoredRows:
        """Some rows, still in the file."""
        return StoredRows(self._read, self._places[indices])

    def changed(self, change: Callable[[Tensor], Tensor]) -> StoredRows:
        """The same rows, each changed whenever it is read.

        Args:
            change: Of rows `(n, *event_shape)`, each by itself.
        """
        read = self._read
        return StoredRows(lambda places: change(read(places)), self._places)


Rows = Tensor | StoredRows
"""`(N, *event_shape)`, in memory or in a file; `x[:]` is the tensor of both."""

_PORTION = 4 << 20


def portion(x: Rows) -> int:
    """How many rows make some megabytes."""
    return max(1, _PORTION // max(1, math.prod(x.shape[1:]) * x.dtype.itemsize))


def changed(x: Rows, change: Callable[[Tensor], Tensor]) -> Rows:
    """The rows changed, each by itself: at once, or those in a file whenever they are read."""
    return x.changed(change) if isinstance(x, StoredRows) else change(x)
