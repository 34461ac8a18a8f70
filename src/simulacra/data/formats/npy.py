"""NumPy's .npy and .npz files, read without pickle and without trusting what they claim."""

from __future__ import annotations

import math
import os
import struct
import tokenize
import warnings
import zipfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from simulacra.data.formats.listing import open_regular
from simulacra.data.formats.safe_reading import DEFLATE_RATIO, FAULTS, ensure_room, read_at_most
from simulacra.ground.errors import DataError

# the others: what NumPy's header parser and zipfile let through on garbage
_FAULTS = (
    *FAULTS,
    zipfile.BadZipFile,
    ValueError,
    TypeError,
    SyntaxError,
    ArithmeticError,
    LookupError,
    RuntimeError,
    struct.error,
    tokenize.TokenError,
)
_LAST_CHARACTER = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)


def read_npy(path: Path) -> NDArray[Any]:
    """The array of an .npy file.

    Raises:
        DataError: If the file is cut or corrupt, claims more than it holds, or holds objects.
    """
    try:
        with open_regular(path) as stream:
            return _read_array(stream, os.fstat(stream.fileno()).st_size, str(path))
    except _FAULTS as fault:
        raise DataError(f"{path} cannot be read as .npy ({fault}): save it again") from fault


class NpzFile:
    """An .npz file, open to read its arrays one by one; a context manager.

    Args:
        path: The file.

    Raises:
        DataError: If it is not a zip archive, or has two arrays of one name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members: dict[str, zipfile.ZipInfo] = {}
        try:
            self._file = open_regular(path)
        except OSError as fault:
            raise DataError(f"{path} cannot be read as .npz ({fault}): save it again") from fault
        try:
            self._archive = zipfile.ZipFile(self._file)
            for member in self._archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name in self._members:
                    raise zipfile.BadZipFile(f"two of its arrays are called {name!r}")
                if not member.is_dir():
                    self._members[name] = member
        except _FAULTS as fault:
            self._file.close()
            raise DataError(f"{path} cannot be read as .npz ({fault}): save it again") from fault

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays, in the order of the file."""
        return tuple(self._members)

    def read(self, name: str) -> NDArray[Any]:
        """One array.

        Raises:
            DataError: If it is not there, corrupt, larger than it can be, or holds objects.
        """
        what = f"{name!r} in {self.path}"
        if name not in self._members:
            raise DataError(f"expected {what}, which holds {some(self.names)}")
        member = self._members[name]
        if member.file_size > member.compress_size * DEFLATE_RATIO + 1024:
            raise DataError(f"{what} claims more than its bytes can hold: save it again")
        try:
            with self._archive.open(member) as stream:
                return _read_array(stream, member.file_size, what)
        except _FAULTS as fault:
            raise DataError(f"{what} cannot be read ({fault}): save it again") from fault

    def __enter__(self) -> NpzFile:
        """The open file."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self._archive.close()
        self._file.close()


def _read_array(stream: IO[bytes], size: int, what: str) -> NDArray[Any]:
    """An array from a stream of `size` bytes, header and values."""
    # versions 2 and 3 exist for headers past 64 KiB and field names: structured arrays alone
    if npy_format.read_magic(stream) != (1, 0):
        raise DataError(f"{what} should be a plain array, got a structured one: save plain numbers")
    shape, fortran, dtype = _header(stream)
    if dtype.hasobject:
        raise DataError(
            f"{what} holds pickled Python objects, which are never loaded: save a plain array"
        )
    if dtype.kind not in "biufU" or not dtype.itemsize:
        raise DataError(f"{what} should hold numbers, got {dtype}: save integers or floats")
    claimed = math.prod(shape) * dtype.itemsize
    held = size - stream.tell()
    if claimed != held or any(axis < 0 for axis in shape):
        raise DataError(
            f"{what} claims {claimed} bytes of shape {shape} but holds {held}: save it again"
        )
    ensure_room(claimed, what)
    values = read_at_most(stream, claimed)
    if len(values) != claimed:
        raise DataError(f"{what} ends after {len(values)} of {claimed} bytes: save it again")
    if not claimed:
        return np.empty(shape, dtype)
    flat = np.frombuffer(values, dtype)
    if dtype.kind == "U":
        _check_text(flat, what)
    return flat.reshape(shape[::-1]).transpose() if fortran else flat.reshape(shape)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and kind of an array; nothing else that its header says is heeded."""
    with warnings.catch_warnings():
        # the header is Python source, of which the interpreter would warn on standard error
        warnings.simplefilter("ignore")
        try:
            return npy_format.read_array_header_1_0(stream)
        except MemoryError as fault:
            # thus the interpreter's parser refuses what is nested too deep
            raise ValueError("its header is nested too deep") from fault


def _check_text(flat: NDArray[Any], what: str) -> None:
    """Refuse words with characters that do not exist, which Python could not print."""
    codes = flat.view(np.dtype(np.uint32).newbyteorder(flat.dtype.byteorder))
    first, last = _SURROGATES
    if (codes > _LAST_CHARACTER).any() or ((codes >= first) & (codes <= last)).any():
        raise DataError(f"{what} has words with characters that are none: save it again")


def some(names: tuple[str, ...], most: int = 8) -> str:
    """Names in a row, as many as a line takes."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more or "nothing"
