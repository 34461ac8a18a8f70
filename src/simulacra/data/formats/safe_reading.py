"""Files of named sets: where they are, and reading no more of them than they should hold."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from simulacra.data.formats.listing import open_regular
from simulacra.ground.errors import DataError, ResourceError

VARIABLE = "SIMULACRA_DATA"
"""The environment variable that names the folder of data files."""

FAULTS = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What the standard library raises on a compressed file that is cut or corrupt."""

DEFLATE_RATIO = 1032
"""DEFLATE cannot expand a byte into more (zlib's technical notes): a larger claim is a lie."""

_CHUNK = 1 << 20


def data_folder(data_dir: str | Path | None) -> Path | None:
    """The folder with the files of named sets: the argument, else the environment's.

    Raises:
        DataError: If the folder does not exist.
    """
    named = data_dir or os.environ.get(VARIABLE)
    if not named:
        return None
    folder = Path(named).expanduser().absolute()
    if not folder.is_dir():
        origin = "--data-dir" if data_dir else VARIABLE
        raise DataError(f"{origin} names {folder}, which is not a folder: correct it")
    return folder


def locate(
    wanted: Sequence[Sequence[str]], folders: Sequence[str], data_dir: str | Path | None
) -> tuple[list[Path], str]:
    """Paths of a set's files, and a sentence that says what is missing, empty if nothing is.

    Args:
        wanted: For each file the names it may have, the best first.
        folders: Names of the set's own folder, one level down.
        data_dir: As in `data_folder`.

    Returns:
        One path for each file that is there, and the sentence.
    """
    hint = f"name the folder that holds them with --data-dir or {VARIABLE}"
    folder = data_folder(data_dir)
    if folder is None:
        everything = ", ".join(" or ".join(names) for names in wanted)
        return [], f"needs {everything}, and no folder is given to look in: {hint}"
    # all files from one place, the set's own first: MNIST and Fashion-MNIST share their names
    places = [*(folder / name for name in folders), folder]
    attempts = [[_first(place, names) for names in wanted] for place in places]
    best = max(attempts, key=lambda paths: sum(path is not None for path in paths))
    missing = [" or ".join(wanted[i]) for i, path in enumerate(best) if path is None]
    found = [path for path in best if path is not None]
    if not missing:
        return found, ""
    looked = ", ".join(str(place) for place in places)
    return found, f"needs {', '.join(missing)}, not found in {looked}: {hint}"


def _first(place: Path, names: Sequence[str]) -> Path | None:
    return next((place / name for name in names if (place / name).is_file()), None)


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
    memory = _memory()
    if size > memory // 2:
        raise ResourceError(
            f"{what} would take {size / 2**30:.1f} GiB of {memory / 2**30:.1f} GiB of memory: "
            "pass a smaller --side, --window or --rate, or fewer observations"
        )


def _memory() -> int:
    """Bytes of memory that this process may have, as far as the system tells."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        memory = 16 << 30
    for limit in _CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            memory = min(memory, int(limit.read_text()))  # "max" is no number, and no limit
    return memory


_CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where Linux says how much memory a container may have, in cgroups of version 2 and 1."""
