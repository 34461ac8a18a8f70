"""`Table`: what a file of columns holds, whichever its format; and what its cells may be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simulacra.ground.column import ColumnKind
from simulacra.ground.errors import DataError, UsageError, nearest

Kinds = Mapping[str, ColumnKind]
"""What columns were said to be, by their names or their numbers from 1."""


@dataclass(frozen=True)
class Table:
    """Columns of numbers and of categories, and one of labels.

    Args:
        names: Of the columns, without that of labels.
        numbers: `(N, D)` float64, all finite; of a category, the places of its `words`.
        labels: A number or word for each row, if a column was named as labels.
        notes: What a reader of results has to know.
        header: Whether the names are the file's own, and not made of the columns' numbers.
        words: Of each column of categories by its name, the words that it holds, in any order.
    """

    names: tuple[str, ...]
    numbers: NDArray[np.float64]
    labels: list[str] | None = None
    notes: tuple[str, ...] = ()
    header: bool = True
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def wrong(value: float) -> str:
    """What is wrong with a number that is not finite."""
    if math.isnan(value):
        return "a missing value (NaN): fill it or drop the row"
    return "an infinite value: repair it or drop the row"


def columns_of(
    names: Sequence[str], labels: str | None, kinds: Kinds, place: str, *, named: bool
) -> tuple[int | None, set[int]]:
    """The places of the column of labels, and of those of categories.

    Raises:
        DataError: If two columns have one name.
        UsageError: If none is called so, no other column is left, or one is to be both.
    """
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise DataError(f"{place} has two columns called {twice!r}: rename one")
    at = None if labels is None else _place(names, labels, place, "labels", named=named)
    if at is not None and len(names) == 1:
        raise UsageError(f"{place} has one column only, which cannot be its labels")
    found = set()
    for name, kind in kinds.items():
        i = _place(names, name, place, f"a {kind}", named=named)
        if i == at:
            raise UsageError(f"{place}: column {name!r} holds the labels, and cannot be a {kind}")
        found |= {i} if kind == "category" else set()
    return at, found


def _place(names: Sequence[str], name: str, place: str, what: str, *, named: bool) -> int:
    """The place of a column that is given by its name, or by its number from 1."""
    if named and name in names:
        return names.index(name)
    if (number := numbered(name)) is not None and 0 <= number < len(names):
        return number
    hint = nearest(name, names) if named else f"name it by its number, 1 to {len(names)}"
    raise UsageError(f"{place} has no column {name!r} for {what}: {hint}")


def places_of(words: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """The words that a column holds, and the place of each row's word in them, `(N,)`."""
    known: dict[str, int] = {}
    places = [known.setdefault(word, len(known)) for word in words]
    return tuple(known), np.array(places, np.float64)


def numbered(labels: str | None) -> int | None:
    """The place of a column that is named by its number, from 0."""
    # no table has a billion columns, and Python refuses to read thousands of digits
    return int(labels) - 1 if labels and labels.isdecimal() and len(labels) < 10 else None
