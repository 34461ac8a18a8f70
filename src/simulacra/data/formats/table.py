"""`Table`: what a file of columns holds, whichever its format; and which columns are which."""

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
    """Columns of numbers and of categories, and those of labels and groups.

    Args:
        names: Of the columns, without those of labels and groups.
        numbers: `(N, D)` float64, all finite; of a category, the places of its `words`.
        labels: Of each column that was named as labels, by its name, a number or word for each
            row; empty where it is not told.
        groups: A number or word for each row, if a column was named as groups.
        notes: What a reader of results has to know.
        header: Whether the names are the file's own, and not made of the columns' numbers.
        words: Of each column of categories by its name, the words that it holds, in any order.
    """

    names: tuple[str, ...]
    numbers: NDArray[np.float64]
    labels: Mapping[str, list[str]] = field(default_factory=dict)
    groups: list[str] | None = None
    notes: tuple[str, ...] = ()
    header: bool = True
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def wrong(value: float) -> str:
    """What is wrong with a number that is not finite."""
    if math.isnan(value):
        return "a missing value (NaN): fill it or drop the row"
    return "an infinite value: repair it or drop the row"


def no_number(column: str) -> str:
    """What to do with a column of words."""
    return (
        f"is no number: drop the column, or pass --labels {column!r} if it is a class, "
        f"--column {f'{column}=category'!r} if it is a category"
    )


def columns_of(
    names: Sequence[str],
    labels: str | None,
    groups: str | None,
    kinds: Kinds,
    place: str,
    *,
    named: bool,
) -> tuple[list[int], int | None, set[int]]:
    """The places of the columns of labels, that of groups, and those of categories.

    Args:
        names: Of all columns.
        labels: The name of a column or its number from 1, or several with commas between.
        groups: The name of a column, or its number.
        kinds: What other columns were said to be.
        place: Where the table comes from, for messages.
        named: Whether the names are the file's own.

    Raises:
        DataError: If two columns have one name.
        UsageError: If none is called so, one is asked for twice, or no other column is left.
    """
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise DataError(f"{place} has two columns called {twice!r}: rename one")

    def found(column: str, what: str) -> int:
        if named and column in names:
            return names.index(column)
        if (number := numbered(column)) is not None and 0 <= number < len(names):
            return number
        hint = nearest(column, names) if named else f"name it by its number, 1 to {len(names)}"
        raise UsageError(f"{place} has no column {column!r} for {what}: {hint}")

    several = () if labels is None else split_names(labels, names if named else ())
    at = [found(column, "labels") for column in several]
    own = None if groups is None else found(groups, "groups")
    if len(set(at)) < len(at):
        raise UsageError(f"{place}: labels {labels!r} name a column twice: name each once")
    if own in at:
        raise UsageError(f"{place}: {groups!r} is both labels and groups: a group is no class")
    taken = len(at) + (own is not None)
    if len(names) <= taken:
        one = (
            "one column only, which cannot be its labels" if len(names) == 1 else "no other column"
        )
        raise UsageError(f"{place} has {one}: leave one of numbers")
    said = {column: found(column, f"a {kind}") for column, kind in kinds.items()}
    for column, i in said.items():
        also = next((name for name in said if name != column and said[name] == i), None)
        if also is not None:
            raise UsageError(f"{place}: {column!r} and {also!r} are one column: name it once")
    categories = set()
    for column, kind in kinds.items():
        i = said[column]
        if i in at or i == own:
            what = "labels" if i in at else "groups"
            raise UsageError(f"{place}: column {column!r} holds the {what}, and cannot be a {kind}")
        categories |= {i} if kind == "category" else set()
    return at, own, categories


def places_of(words: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """The words that a column holds, and the place of each row's word in them, `(N,)`."""
    known: dict[str, int] = {}
    places = [known.setdefault(word, len(known)) for word in words]
    return tuple(known), np.array(places, np.float64)


def split_names(labels: str, names: Sequence[str] = ()) -> list[str]:
    """Names of columns with commas between; a name may have a comma of its own."""
    return [labels] if labels in names else [name.strip() for name in labels.split(",")]


def numbered(column: str | None) -> int | None:
    """The place of a column that is named by its number, from 0."""
    # no table has a billion columns, and Python refuses to read thousands of digits
    return int(column) - 1 if column and column.isdecimal() and len(column) < 10 else None
