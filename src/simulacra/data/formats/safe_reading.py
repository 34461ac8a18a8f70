"""Reading with care: no more of a file than it should hold, and no more than memory holds."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from simulacra.data.formats.listing import open_regular
from simulacra.ground import memory
from simulacra.ground.errors import DataError, ResourceError

FAULTS = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What the standard library raises on a compressed file that is cut or corrupt."""

DEFLATE_RATIO = 1032
"""DEFLATE cannot expand a byte into more (zlib's technical notes): a larger claim is a lie."""

_CHUNK = 1 << 20


def read_at_most(stream: IO[bytes] | gzip.GzipFile, count: int) -> bytes:
    """Up to `count` bytes; memory grows with what is really there, not with `count`."""
    parts: list[bytes] = []
    left = count
    while left > 0 and (part := stream.read(min(left, _CHUNK))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


@contextlib.contextmanager
def open_packed(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """A file opened for reading, unpacked on the way if its name ends in .gz.

    Raises:
        OSError: As `open_regular`.
    """
    with open_regular(path) as file:
        if path.suffix != ".gz":
            yield file
        else:
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield unpacked


def unpack_xz(path: Path, at_most: int) -> bytes:
    """What an .xz file holds, one byte more than `at_most` if it holds more.

    Raises:
        DataError: If it is cut or corrupt, or asks for an absurd dictionary.
        ResourceError: If the packed file alone would not fit into memory.
    """
    # xz -9 needs 65 MiB; the header of a hostile file may ask for gigabytes
    unpacker = lzma.LZMADecompressor(memlimit=256 << 20)
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            ensure_room(size, str(path))
            unpacked = unpacker.decompress(read_at_most(file, size), max_length=at_most + 1)
    except FAULTS as fault:
        raise DataError(f"{path} cannot be unpacked ({fault}): get the file again") from fault
    if len(unpacked) <= at_most and not unpacker.eof:
        raise DataError(f"{path} ends before its data do: get the file again")
    return unpacked


def ensure_room(size: int, what: str) -> None:
    """Refuse what would take more than half of this machine's memory.

    Args:
        size: Bytes.
        what: Its name in the message.

    Raises:
        ResourceError: If there is less.
    """
    whole = memory.whole()
    if size > whole // 2:
        raise ResourceError(
            f"{what} would take {size / 2**30:.1f} GiB of {whole / 2**30:.1f} GiB of memory: "
            "pass a smaller --side, --window or --rate, or fewer observations"
        )
