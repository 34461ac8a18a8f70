"""Pokémon sprites: small drawings as indices of one palette, in two files of plain text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.form import Form
from simulacra.data.formats.safe_reading import read_at_most
from simulacra.data.sets.named import NamedSet
from simulacra.data.splits import split_all
from simulacra.ground.errors import DataError
from simulacra.ground.spec import DataSpec

_SHAPE = (1, 20, 20)
_SPRITES = 792
_COLOURS = 167
_LONGEST = 5
"""Bytes that a number and the space around it may take."""


def read_numbers(path: Path, rows: int, columns: int, below: int) -> NDArray[np.uint8]:
    """A table of whole numbers from plain text, a row to a line, with spaces between them.

    Args:
        path: The file.
        rows: How many lines it must have.
        columns: How many numbers each line must have.
        below: Every number is smaller than this, 256 at most.

    Returns:
        `(rows, columns)`.

    Raises:
        DataError: If it cannot be read or holds anything else.
    """
    limit = rows * (columns * _LONGEST + 2)
    try:
        with path.open("rb") as stream:
            content = read_at_most(stream, limit + 1)
    except OSError as fault:
        raise DataError(f"{path} cannot be read ({fault}): get the file again") from fault
    lines = content.splitlines()
    if len(content) > limit or len(lines) != rows:
        came = f"{len(lines)} lines" if len(content) <= limit else f"more than {limit} bytes"
        raise DataError(f"{path} should hold {rows} lines, got {came}: get the file again")
    table = np.empty((rows, columns), np.uint8)
    for place, line in enumerate(lines):
        words = line.split()
        # isdigit of bytes knows ASCII alone; three digits at most keep int() cheap
        numbers = [int(word) for word in words if word.isdigit() and len(word) <= 3]
        if not len(words) == len(numbers) == columns or max(numbers) >= below:
            raise DataError(
                f"{path} should hold {columns} numbers 0 … {below - 1} in each line, got another "
                f"line {place + 1}: get the file again"
            )
        table[place] = numbers
    return table


def _read(this: NamedSet, paths: list[Path], _form: Form) -> Dataset:
    colours = read_numbers(paths[0], _COLOURS, 3, 256)
    indices = read_numbers(paths[1], _SPRITES, _SHAPE[1] * _SHAPE[2], _COLOURS)
    return Dataset(
        name=this.name,
        spec=DataSpec(
            _SHAPE,
            _COLOURS,
            ordered=False,
            coding="palette",
            palette=tuple((red, green, blue) for red, green, blue in colours.tolist()),
        ),
        **split_all(Observations(torch.from_numpy(indices).reshape(-1, *_SHAPE))),
        description=this.description,
    )


POKEMON_SPRITES = NamedSet(
    name="pokemon-sprites",
    description="Drawings of 792 Pokémon, 20×20 in 167 colours without an order (from Hung-yi "
    "Lee's course; the drawings are Nintendo's, for teaching alone).",
    event_shape=_SHAPE,
    levels=_COLOURS,
    classes=0,
    counts=(555, 79, 158),
    read=_read,
    files=(("colormap.txt",), ("pixel_color.txt",)),
    folders=("pokemon-sprites", "pokemon_sprites"),
)
