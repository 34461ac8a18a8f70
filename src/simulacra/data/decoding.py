"""All pictures of a folder, decoded into one form: in memory, or where they are many in a file."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from array import array
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulacra.data.form import Form
from simulacra.data.formats.images import FAULTS, Picture, look_up, read_picture
from simulacra.data.formats.listing import Listing, shown
from simulacra.data.formats.safe_reading import ensure_room
from simulacra.data.stored import OpenFile, Rows, StoredRows
from simulacra.ground.caching import cache_folder
from simulacra.ground.errors import DataError, ResourceError
from simulacra.ground.spec import DataSpec

LARGE = 64 << 20
"""Bytes of files or of levels from which these are kept in a file.

Smaller ones are decoded in seconds, and memory has room for them several times.
"""

_AT_ONCE, _MOST_FILES = 1 << 20, 64
"""Bytes of files, and files, that one task decodes: a task costs as much as a small file."""


class Decoded:
    """What the files of a folder hold, gathered one after another.

    Attributes:
        files: Names of those that could be read.
        broken: Names of the others, and what is wrong with each.
        unread: Names of those among them that the system did not let read.
        animated: How many have several frames.
        enlarged: How many were smaller than the side asked for.
        pictures: What keeps them until the form of all is known.
    """

    def __init__(self) -> None:
        self.files: list[str] = []
        self.broken: list[tuple[str, str]] = []
        self.unread: list[str] = []
        self.animated = self.enlarged = 0
        self.pictures: _Pictures = _InMemory()
        self._palette: bytes | None = None
        self._several, self._grey = False, True
        self._used = np.zeros(256, bool)

    def add(self, file: str, picture: Picture) -> None:
        """One more, in the order of the listing."""
        if not self.files:
            self._palette = picture.palette
        self._several |= picture.palette != self._palette
        if picture.palette is None:
            self._grey &= picture.pixels.ndim == 2
        else:
            used = np.bincount(picture.pixels.ravel(), minlength=256) > 0
            self._used |= used
            colours = np.frombuffer(picture.palette, np.uint8).reshape(256, 3)[used]
            self._grey &= bool((colours == colours[:, :1]).all())
        self.animated += picture.animated
        self.enlarged += picture.enlarged
        self.files.append(file)
        self.pictures.add(picture)

    def levels(self, height: int, width: int, place: str) -> tuple[Rows, DataSpec]:
        """All pictures as `(N, C, H, W)` uint8 and their form without classes.

        Indices of a palette if all have the same, else `C` is 1 if every image is grey, or 3.
        """
        palette = None if self._several else self._palette
        if palette is not None:
            used = np.flatnonzero(self._used)
            levels = int(used[-1]) + 1
            if look_up(palette, used.astype(np.uint8)).ndim == 1 or levels < 2:
                palette = None
        if palette is not None:
            colours = [tuple(palette[3 * i : 3 * i + 3]) for i in range(levels)]
            triples = tuple((red, green, blue) for red, green, blue in colours)
            spec = DataSpec(
                (1, height, width), levels, ordered=False, coding="palette", palette=triples
            )
        else:
            spec = DataSpec((1 if self._grey else 3, height, width), 256)
        exact = palette is not None
        return self.pictures.levels(spec.event_shape, exact=exact, place=place), spec


def decoded(folder: Path, listing: Listing, form: Form) -> tuple[Decoded, Rows, DataSpec]:
    """The pictures of a folder, in one form.

    Args:
        folder: The folder.
        listing: Its files.
        form: Of which `side` and `colour` are met.

    Returns:
        What the files hold; the levels `(N, C, H, W)` of those that could be read, in a file that
        has no name any more if they are many; and their form without classes.

    Raises:
        DataError: If their sizes differ.
        ResourceError: If they are many, and neither the folder of caches nor memory has room.
    """
    try:
        return _decoded(folder, listing, form, spooled=True)
    except OSError as error:
        # no cache can be written: memory may have room
        try:
            return _decoded(folder, listing, form, spooled=False)
        except ResourceError as refusal:
            raise ResourceError(
                f"{refusal}; or name a folder with room by SIMULACRA_CACHE, for {cache_folder()} "
                f"has none ({error.strerror or error})"
            ) from refusal


def _decoded(
    folder: Path, listing: Listing, form: Form, *, spooled: bool
) -> tuple[Decoded, Rows, DataSpec]:
    place, found, first = shown(str(folder)), Decoded(), ""
    tall = wide = 0
    for file, picture in _each(folder, listing, form):
        if isinstance(picture, _Unreadable):
            found.broken.append((file, picture.why))
            found.unread += [file] if picture.unread else []
            continue
        height, width = picture.pixels.shape[:2]
        if not found.files:
            first, tall, wide = file, height, width
            size = len(listing.files) * picture.pixels.size
            large = max(size, sum(listing.stamps[0])) >= LARGE
            if large and spooled and hasattr(os, "preadv"):
                found.pictures = _Spooled(size)
            else:
                # twice, while they are laid together
                ensure_room(2 * size, place)
        elif (height, width) != (tall, wide):
            raise DataError(
                f"images in {place} differ in size, {shown(first)} is {wide}×{tall} and "
                f"{shown(file)} is {width}×{height}: pass --side N to crop and resize all of them"
            )
        found.add(file, picture)
    if not found.files:
        return found, torch.empty(0, 1, 1, 1, dtype=torch.uint8), DataSpec((1, 1, 1), 256)
    return found, *found.levels(tall, wide, place)


# ---- files, one after another ------------------------------------------------------------------


@dataclass(frozen=True)
class _Unreadable:
    """A file that could not be decoded: why, and whether the system did not let it be read."""

    why: str
    unread: bool


def _each(
    folder: Path, listing: Listing, form: Form
) -> Iterator[tuple[str, Picture | _Unreadable]]:
    """Every file in order; few are in memory at once."""

    def read(file: str) -> Picture | _Unreadable:
        try:
            return read_picture(folder / file, side=form.side, colour=form.colour)
        except FAULTS as fault:
            why = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
            why = shown(why.replace(str(folder), "…")) or type(fault).__name__
            # Pillow's own have no number
            return _Unreadable(why, unread=isinstance(fault, OSError) and fault.errno is not None)

    def read_some(some: list[str]) -> list[tuple[str, Picture | _Unreadable]]:
        return [(file, read(file)) for file in some]

    from PIL import Image

    # Pillow loads its plugins at first need, which threads would do over each other
    Image.init()
    workers = os.cpu_count() or 1
    waiting: deque[Future[list[tuple[str, Picture | _Unreadable]]]] = deque()
    # Pillow's decoders release the interpreter lock
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        # Pillow warns of much that is odd in a file; what matters it raises
        warnings.simplefilter("ignore")
        try:
            for some in _portions(listing):
                waiting.append(pool.submit(read_some, some))
                if len(waiting) > 2 * workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _portions(listing: Listing) -> Iterator[list[str]]:
    some: list[str] = []
    size = 0
    for file, more in zip(listing.files, listing.stamps[0], strict=True):
        some.append(file)
        size += more
        if size >= _AT_ONCE or len(some) >= _MOST_FILES:
            yield some
            some, size = [], 0
    if some:
        yield some


# ---- pictures until their form is known --------------------------------------------------------


class _Pictures(Protocol):
    """Pictures in order, of one size but not yet of one form."""

    def add(self, picture: Picture) -> None:
        """One more."""

    def levels(self, event_shape: tuple[int, ...], *, exact: bool, place: str) -> Rows:
        """All `(N, C, H, W)`; indices of palettes if `exact`, else grey or RGB."""


def _put(row: NDArray[np.uint8], picture: Picture, *, exact: bool) -> None:
    """Write a picture into a row `(C, H, W)`."""
    image = picture.pixels if exact else picture.plain()
    row[:] = image if image.ndim == 2 else image.transpose(2, 0, 1)


class _InMemory:
    """Pictures in memory."""

    def __init__(self) -> None:
        self.pictures: list[Picture] = []

    def add(self, picture: Picture) -> None:
        """One more."""
        self.pictures.append(picture)

    def levels(self, event_shape: tuple[int, ...], *, exact: bool, place: str) -> Tensor:
        """All of them, laid together."""
        shape = (len(self.pictures), *event_shape)
        ensure_room(int(np.prod(shape)), place)
        stacked = np.empty(shape, np.uint8)
        for row, picture in zip(stacked, self.pictures, strict=True):
            _put(row, picture, exact=exact)
        return torch.from_numpy(stacked)


class _Spooled:
    """Pictures in a file without a name, which is gone when nobody reads it any more.

    Args:
        size: Bytes that are to be expected.

    Raises:
        OSError: If there is no room for them.
    """

    def __init__(self, size: int) -> None:
        place = cache_folder()
        place.mkdir(parents=True, exist_ok=True)
        # these, the cache that is made of them, and something for everyone else
        if shutil.disk_usage(place).free < 3 * size:
            raise OSError(f"less than {3 * size / 2**30:.1f} GiB are free")
        descriptor, name = tempfile.mkstemp(dir=place)
        self.file = OpenFile(descriptor)
        os.unlink(name)
        self.ends = array("q", [0])
        self.coded = bytearray()

    def add(self, picture: Picture) -> None:
        """One more: its palette if it has one, then its pixels."""
        content = (picture.palette or b"") + picture.pixels.tobytes()
        self.ends.append(self.ends[-1] + len(content))
        self.coded.append(picture.palette is not None)
        while content:
            content = content[os.write(self.file.descriptor, content) :]

    def levels(self, event_shape: tuple[int, ...], *, exact: bool, place: str) -> StoredRows:
        """All of them, brought into their form whenever they are read."""

        def read(places: Tensor) -> Tensor:
            rows = np.empty((len(places), *event_shape), np.uint8)
            where = places.tolist()
            for row in places.argsort().tolist():
                _put(rows[row], self._picture(where[row], event_shape[1:]), exact=exact)
            return torch.from_numpy(rows)

        return StoredRows(read, torch.arange(len(self.coded)))

    def _picture(self, place: int, sides: tuple[int, ...]) -> Picture:
        raw = np.empty(self.ends[place + 1] - self.ends[place], np.uint8)
        self.file.fill(raw.data, self.ends[place])
        palette, pixels = (raw[:_PALETTE], raw[_PALETTE:]) if self.coded[place] else (None, raw)
        grey = pixels.size == sides[0] * sides[1]
        pixels = pixels.reshape(sides if grey else (*sides, 3))
        return Picture(pixels, None if palette is None else palette.tobytes())


_PALETTE = 768
"""Bytes of 256 colours."""
