"""Data sets from tables: .csv, .tsv and .parquet, of which every column is a number or a label."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from simulacra.data.contexts import check_varies
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.form import Form
from simulacra.data.formats.delimited import read_text
from simulacra.data.formats.listing import shown
from simulacra.data.formats.parquet import read_parquet
from simulacra.data.formats.table import LARGEST, Table, wrong
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
        form: `labels` is the name of a column of classes, or its number from 1.

    Raises:
        DataError: If the file is broken, a cell is no finite number that float32 holds, or a
            column never varies.
        UsageError: If no column has the name of the labels, or pyarrow is missing.
        ResourceError: If it would not fit into memory.
    """
    place = shown(str(path))
    table = read_table(path, form.labels)
    if len(table.numbers) < FEWEST:
        raise DataError(f"{place} holds {len(table.numbers)} rows, expected at least {FEWEST}")
    labels, class_names = classes_of(table.labels, place)
    splits = split_all(Observations(vectors(table, place), labels))
    return dataset_of(table, splits, class_names, shown(path.name), f"Table {place}")


def read_table(path: Path, labels: str | None) -> Table:
    """The table of a file, by its suffix; see `load_table`."""
    read = read_parquet if path.suffix.lower() == ".parquet" else read_text
    return read(path, labels)


def dataset_of(
    table: Table, splits: Splits, class_names: tuple[str, ...], name: str, origin: str
) -> Dataset:
    """The data set of a table that is split already.

    Args:
        table: Its columns.
        splits: Of the rows.
        class_names: One for each label.
        name: Of the data set.
        origin: Where the table comes from, the beginning of a sentence.

    Raises:
        DataError: If a column takes one value in all training rows.
    """
    check_varies(splits["train"].x[:], table.names, origin)
    return Dataset(
        name=name,
        spec=DataSpec((len(table.names),), None, classes=len(class_names)),
        **splits,
        class_names=class_names,
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


def classes_of(words: list[str] | None, place: str) -> tuple[torch.Tensor | None, tuple[str, ...]]:
    """Labels `(N,)` int64 and the names of their classes, in the order of numbers or letters.

    Raises:
        DataError: If they are too many for classes, or fractions.
    """
    if words is None:
        return None, ()
    distinct = set(words)
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
    number = {name: i for i, name in enumerate(names)}
    labels = torch.tensor([number[name_of[word]] for word in words])
    return labels, tuple(shown(name) for name in names)


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
