"""IDX, the format of MNIST's files: a big-endian header of sizes, then bytes.

Two zero bytes, a type code (8: unsigned bytes), the number of axes, the size of each axis as 32
bits, and the values, last axis fastest.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulacra.data.formats.safe_reading import (
    DEFLATE_RATIO,
    FAULTS,
    ensure_room,
    open_packed,
    read_at_most,
)
from simulacra.ground.errors import DataError

_UNSIGNED_BYTE = 8


def read_idx(path: Path, axes: int) -> NDArray[Any]:
    """The array of an IDX file of unsigned bytes, plain or .gz.

    The header is held against the file's length before anything is unpacked, and unpacking stops
    one byte after what the header claims.

    Args:
        path: The file.
        axes: Number of axes it should have: 1 for labels, 3 for images.

    Returns:
        uint8, of the header's shape, read-only.

    Raises:
        DataError: If the file is cut or corrupt, or its header is not that of such an array.
    """
    try:
        return _read(path, axes)
    except FAULTS as fault:
        raise DataError(f"{path} cannot be read ({fault}): get the file again") from fault


def _read(path: Path, axes: int) -> NDArray[Any]:
    magic = bytes([0, 0, _UNSIGNED_BYTE, axes])
    with open_packed(path) as stream:
        header = read_at_most(stream, 4 + 4 * axes)
        if header[:4] != magic:
            raise DataError(
                f"{path} should start with the IDX magic number {int.from_bytes(magic)}, "
                f"got {int.from_bytes(header[:4])}: it is another kind of file"
            )
        if len(header) < 4 + 4 * axes:
            raise DataError(f"{path} ends within its header: get the file again")
        shape = struct.unpack(f">{axes}I", header[4:])
        size = math.prod(shape)
        if not size:
            raise DataError(f"{path} holds no values, its shape is {shape}: get the file again")
        packed = path.stat().st_size
        if size > packed * (DEFLATE_RATIO if path.suffix == ".gz" else 1):
            raise DataError(
                f"{path} has {packed} bytes, too few for the {size} values of shape {shape} that "
                "its header claims: get the file again"
            )
        ensure_room(size, str(path))
        values = read_at_most(stream, size + 1)
    if len(values) != size:
        came = f"only {len(values)}" if len(values) < size else "more"
        raise DataError(
            f"{path} should hold {size} values of shape {shape} by its header, got {came}: "
            "get the file again"
        )
    return np.frombuffer(values, np.uint8).reshape(shape)
