"""Data sets from tables: .csv, .tsv and .parquet, of which every column is a number or a label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from simulacra.data import groups as grouping
from simulacra.data.contexts import check_varies
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.form import Form
from simulacra.data.formats.delimited import read_text
from simulacra.data.formats.listing import shown
from simulacra.data.formats.parquet import read_parquet
from simulacra.data.formats.table import LARGEST, Table, wrong
from simulacra.data.labels import (
    LABEL,
    Names,
    form_of,
    names_of,
    numbers_of,
    together,
    untold_note,
)
from simulacra.data.splits import FEWEST, Splits, split_all
from simulacra.ground.errors import DataError
from simulacra.ground.spec import DataSpec

FEW = 20
"""A column with no more distinct values than these, and a twentieth of the rows, is discrete."""

_MOST_CLASSES = 1000


def load_table(path: Path, form: Form) -> Dataset:
    """The rows of a table as vectors of floats, split at random; none of them is scaled.

    Args:
        path: A .csv, with commas or semicolons, a .tsv or a .parquet file. The first row of text
            is a header if one of its cells is no number.
        form: `labels` is the name of a column of classes, or its number from 1, or several of them
            with commas; an empty cell of them is not told. `groups` is the column of what never
            spans two splits.

    Raises:
        DataError: If the file is broken, a cell is no finite number that float32 holds, or a
            column never varies; or there are too few groups.
        UsageError: If no column has the name of the labels or groups, both are one and the same, or
            pyarrow is missing.
        ResourceError: If it would not fit into memory.
    """
    place = shown(str(path))
    table = read_table(path, form.labels, form.groups)
    if len(table.numbers) < FEWEST:
        raise DataError(f"{place} holds {len(table.numbers)} rows, expected at least {FEWEST}")
    labels, names = labels_of(table.labels, place)
    groups, notes = groups_of(table.groups, labels, names, place)
    splits = split_all(Observations(vectors(table, place), labels, groups=groups))
    table = replace(table, notes=(*table.notes, *untold_note(labels), *notes))
    return dataset_of(table, splits, names, shown(path.name), f"Table {place}")


def read_table(path: Path, labels: str | None = None, groups: str | None = None) -> Table:
    """The table of a file, by its suffix; see `load_table`."""
    read = read_parquet if path.suffix.lower() == ".parquet" else read_text
    return read(path, labels, groups)


def dataset_of(table: Table, splits: Splits, names: Names, name: str, origin: str) -> Dataset:
    """The data set of a table that is split already.

    Args:
        table: Its columns.
        splits: Of the rows.
        names: Of the classes of each part of the labels.
        name: Of the data set.
        origin: Where the table comes from, the beginning of a sentence.

    Raises:
        DataError: If a column takes one value in all training rows, or labels make too many
            combinations.
    """
    check_varies(splits["train"].x, table.names, origin)
    return Dataset(
        name=name,
        spec=DataSpec((len(table.names),), None, **form_of(names, origin)),
        **splits,
        **names_of(names),
        description=f"{origin}: {', '.join(table.names)}.",
        notes=(*table.notes, *_warnings(table)),
        columns=table.names if table.header else (),
    )


def vectors(table: Table, place: str) -> torch.Tensor:
    """The numbers as float32 `(N, D)`.

    Raises:
        DataError: If one is not finite, or too large.
    """
    bad = np.argwhere(~(np.abs(table.numbers) <= LARGEST))
    if len(bad):
        row, column = map(int, bad[0])
        raise DataError(
            f"{place}, row {row + 1}, column {table.names[column]!r}: "
            + wrong(table.numbers[row, column])
        )
    return torch.from_numpy(table.numbers.astype(np.float32))


def labels_of(
    columns: Mapping[str, list[str]], place: str
) -> tuple[torch.Tensor | None, dict[str, tuple[str, ...]]]:
    """Labels of some columns, and the names of the classes of each.

    Args:
        columns: By name, a number or word for each row, empty where it is not told.
        place: Where they come from, for messages.

    Returns:
        Labels `(N,)`, or `(N, K)` of K columns, int64 with −1 for what is not told; nothing
        without columns. Names in the order of numbers or letters, by the names of the columns, or
        `label` of a single one.

    Raises:
        DataError: If they are too many for classes, fractions, or none is told.
    """
    found = {name: _classes_of(words, place) for name, words in columns.items()}
    labels = together([numbers for numbers, _ in found.values()])
    if len(found) == 1:
        found = {LABEL: each for each in found.values()}  # noqa: B035 (it is one)
    return labels, {name: names for name, (_, names) in found.items()}


def groups_of(
    words: list[str] | None,
    labels: torch.Tensor | None,
    names: Names,
    place: str,
    splits: Sequence[str] = ("",),
) -> tuple[torch.Tensor | None, list[str]]:
    """The group of each row `(N,)`, and what a reader has to know of them.

    Args:
        words: Of each row; nothing where each is its own.
        labels: Of the rows.
        names: Of the labels' parts.
        place: Where they come from, for messages.
        splits: The ready split of each row, if there are any.

    Raises:
        UsageError: If a part of the labels is one and the same as they.
    """
    if words is None:
        return None, []
    groups = grouping.numbered(words)
    if (part := grouping.same_as(labels, groups)) is not None:
        raise grouping.refusal(list(names)[part], place)
    return groups, list(grouping.notes_on(words, splits))


def _classes_of(words: list[str], place: str) -> tuple[torch.Tensor, tuple[str, ...]]:
    distinct = set(words) - {""}
    if not distinct:
        raise DataError(f"{place}: no row has a label: fill some, or leave --labels out")
    try:
        values = {word: float(word) for word in distinct}
    except ValueError:
        values = {}
    if any(not value.is_integer() for value in values.values()):
        raise DataError(f"{place}: labels should be integers or words, got fractions")
    # 1 and 1.0 are one class
    name_of = {w: str(int(values[w])) if values else w for w in distinct}
    names = sorted(set(name_of.values()), key=int if values else None)
    if len(names) > min(_MOST_CLASSES, max(2, len(words) // 2)):
        raise DataError(
            f"{place}: labels take {len(names)} values in {len(words)} rows, which are no classes"
        )
    return numbers_of([name_of.get(word, "") for word in words], names), tuple(map(shown, names))


def _warnings(table: Table) -> Iterator[str]:
    """What is suspicious of columns of numbers."""
    rows = len(table.numbers)
    for name, column in zip(table.names, table.numbers.T, strict=True):
        distinct = len(np.unique(column))
        if distinct <= FEW and distinct < rows / 20:
            yield (
                f"column {name!r} takes {distinct} values only: a density of it can be made as "
                "high as one likes"
            )
        narrow = len(np.unique(column.astype(np.float32)))
        if narrow < 0.9 * distinct:
            yield (
                f"column {name!r} has {distinct} values, of which float32 tells {narrow} apart: "
                "subtract what all have in common"
            )
        if (np.diff(column) == 1).all():
            yield f"column {name!r} counts the rows: drop it if it is no measurement"
