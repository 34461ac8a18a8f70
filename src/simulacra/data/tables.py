"""Data sets from tables: .csv, .tsv and .parquet, of which every column is a number or a label."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simulacra.data.contexts import check_varies
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.form import Form
from simulacra.data.formats.listing import open_regular, shown
from simulacra.data.formats.safe_reading import FAULTS, ensure_room
from simulacra.data.splits import FEWEST, Splits, split_all
from simulacra.ground.errors import DataError, UsageError, nearest
from simulacra.ground.spec import DataSpec

FEW = 20
"""A column with no more distinct values than these, and a twentieth of the rows, is discrete."""

_MOST_CLASSES = 1000
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
    if path.suffix.lower() == ".parquet":
        table = read_parquet(path, form.labels)
    else:
        from simulacra.data.formats.delimited import read_text

        table = read_text(path, form.labels)
    if len(table.numbers) < FEWEST:
        raise DataError(f"{place} holds {len(table.numbers)} rows, expected at least {FEWEST}")
    labels, class_names = classes_of(table.labels, place)
    splits = split_all(Observations(vectors(table, place), labels))
    return dataset_of(table, splits, class_names, shown(path.name), f"Table {place}")


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
    check_varies(splits["train"].x, table.names, origin)
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


def wrong(value: float) -> str:
    """What is wrong with a number that float32 cannot hold."""
    if math.isnan(value):
        return "a missing value (NaN): fill it or drop the row"
    if math.isinf(value):
        return "an infinite value: repair it or drop the row"
    return f"{value:g} is too large for float32: divide the column by a power of ten"


# ---- labels ------------------------------------------------------------------------------------


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


# ---- parquet -----------------------------------------------------------------------------------


def read_parquet(path: Path, labels: str | None) -> Table:
    """A .parquet file, by the extra `parquet`; see `load_table` for what is refused."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as fault:
        raise UsageError(
            f"{shown(path.name)} needs pyarrow: pip install 'simulacra[parquet]'"
        ) from fault
    place = shown(str(path))
    try:
        with open_regular(path) as file, parquet.ParquetFile(file) as opened:
            held = opened.metadata
            ensure_room(16 * held.num_rows * max(1, held.num_columns), place)
            table = opened.read()
    except (pyarrow.ArrowException, *FAULTS, ValueError) as fault:
        why = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise DataError(f"{place} cannot be read as .parquet ({why}): save it again") from fault
    names = [shown(str(name)) for name in table.column_names]
    if not names:
        raise DataError(f"{place} has no columns: expected numbers")
    at = column_of(names, labels, place, named=True)
    columns = {name: table.column(i) for i, name in enumerate(names)}
    return table_of(columns, None if at is None else names[at], place)


def table_of(columns: dict[str, Any], labels: str | None, place: str) -> Table:
    """A table of Arrow's columns.

    Args:
        columns: By name.
        labels: The name of the column of labels, if there is one.
        place: Where they come from.

    Raises:
        DataError: If a column holds no numbers, or a value is missing.
    """
    import pyarrow

    kinds = pyarrow.types
    numbers, words = [], None
    for name, column in columns.items():
        if column.null_count:
            row = column.is_null().to_pylist().index(True)
            raise DataError(f"{place}, row {row + 1}, column {name!r}: missing: fill or drop it")
        if kinds.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        kind = column.type
        if name == labels:
            if kinds.is_nested(kind) or kinds.is_binary(kind):
                raise DataError(f"{place}, column {name!r}: labels are integers or words")
            words = [str(value) for value in column.to_pylist()]
            continue
        if not (kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind)
                or kinds.is_decimal(kind)):  # fmt: skip
            raise DataError(
                f"{place}, column {name!r}: {kind} is no number: drop the column, or pass "
                f"--labels {name!r} if it is a class"
            )
        numbers.append(np.asarray(column.to_pylist() if kinds.is_decimal(kind)
                                  else column.to_numpy(), np.float64))  # fmt: skip
    return Table(tuple(name for name in columns if name != labels), np.stack(numbers, 1), words)
