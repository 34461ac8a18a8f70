"""NumPy's .npy and .npz files, read without pickle and without trusting what they claim."""

from __future__ import annotations

import math
import tokenize
import zipfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from simulacra.data.files import DEFLATE_RATIO, FAULTS, ensure_room, read_at_most
from simulacra.errors import DataError

# the last four: what NumPy's header parser and zipfile let through on garbage
_FAULTS = (
    *FAULTS,
    zipfile.BadZipFile,
    ValueError,
    TypeError,
    SyntaxError,
    RuntimeError,
    tokenize.TokenError,
)


def read_npy(path: Path) -> NDArray[Any]:
    """The array of an .npy file.

    Raises:
        DataError: If the file is cut or corrupt, claims more than it holds, or holds objects.
    """
    try:
        with path.open("rb") as stream:
            return _read_array(stream, path.stat().st_size, str(path))
    except _FAULTS as fault:
        raise DataError(f"{path} cannot be read as .npy ({fault}): save it again") from fault


class NpzFile:
    """An .npz file, open to read its arrays one by one; a context manager.

    Args:
        path: The file.

    Raises:
        DataError: If it is not a zip archive.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except _FAULTS as fault:
            raise DataError(f"{path} cannot be read as .npz ({fault}): save it again") from fault
        members = self._archive.infolist()
        self._members = {m.filename.removesuffix(".npy"): m for m in members if not m.is_dir()}

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
            raise DataError(f"expected {what}, which holds {', '.join(self.names) or 'nothing'}")
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


def _read_array(stream: IO[bytes], size: int, what: str) -> NDArray[Any]:
    """An array from a stream of `size` bytes, header and values."""
    # versions 2 and 3 exist for headers past 64 KiB and field names: structured arrays alone
    if npy_format.read_magic(stream) != (1, 0):
        raise DataError(f"{what} should be a plain array, got a structured one: save plain numbers")
    shape, fortran, dtype = npy_format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise DataError(
            f"{what} holds pickled Python objects, which are never loaded: save a plain array"
        )
    if dtype.kind not in "biufU":
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
    return flat.reshape(shape[::-1]).transpose() if fortran else flat.reshape(shape)
