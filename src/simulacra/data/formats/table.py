"""`Table`: what a file of columns holds, whichever its format; and what its cells may be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulacra.ground.errors import DataError, UsageError, nearest

LARGEST = float(np.finfo(np.float32).max)
"""The largest number that float32 holds."""


@dataclass(frozen=True)
class Table:
    """Columns of numbers, and one of labels.

    Args:
        names: Of the columns of numbers.
        numbers: `(N, D)` float64, all finite.
        labels: A number or word for each row, if a column was named as labels.
        notes: What a reader of results has to know.
        header: Whether the names are the file's own, and not made of the columns' numbers.
    """

    names: tuple[str, ...]
    numbers: NDArray[np.float64]
    labels: list[str] | None = None
    notes: tuple[str, ...] = ()
    header: bool = True


def wrong(value: float) -> str:
    """What is wrong with a number that float32 cannot hold."""
    if math.isnan(value):
        return "a missing value (NaN): fill it or drop the row"
    if math.isinf(value):
        return "an infinite value: repair it or drop the row"
    return f"{value:g} is too large for float32: divide the column by a power of ten"


def column_of(names: Sequence[str], labels: str | None, place: str, *, named: bool) -> int | None:
    """The place of the column of labels.

    Raises:
        DataError: If two columns have one name.
        UsageError: If none is called so, or no other column is left.
    """
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise DataError(f"{place} has two columns called {twice!r}: rename one")
    if labels is None:
        return None
    if named and labels in names:
        at = names.index(labels)
    elif (number := numbered(labels)) is not None and 0 <= number < len(names):
        at = number
    else:
        hint = nearest(labels, names) if named else f"name it by its number, 1 to {len(names)}"
        raise UsageError(f"{place} has no column {labels!r} for labels: {hint}")
    if len(names) == 1:
        raise UsageError(f"{place} has one column only, which cannot be its labels")
    return at


def numbered(labels: str | None) -> int | None:
    """The place of a column that is named by its number, from 0."""
    # no table has a billion columns, and Python refuses to read thousands of digits
    return int(labels) - 1 if labels and labels.isdecimal() and len(labels) < 10 else None
