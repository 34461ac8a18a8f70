"""Tables of .parquet files, by the extra `parquet`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simulacra.data.formats.listing import open_regular, shown
from simulacra.data.formats.safe_reading import FAULTS, ensure_room
from simulacra.data.formats.table import Kinds, Table, columns_of, no_number, places_of
from simulacra.ground.errors import DataError, UsageError


def read_parquet(path: Path, labels: str | None, groups: str | None, kinds: Kinds) -> Table:
    """The table of a .parquet file.

    Args:
        path: The file.
        labels: The name of the column of labels, or its number from 1; or several, with commas.
        groups: The name of the column of groups, or its number.
        kinds: What other columns were said to be.

    Raises:
        DataError: If the file is broken, or a column holds no numbers or misses one; labels may
            be missing.
        UsageError: If no column is called so, or pyarrow is missing.
        ResourceError: If it would not fit into memory.
    """
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
    at, group, categories = columns_of(names, labels, groups, kinds, place, named=True)
    columns = {name: table.column(i) for i, name in enumerate(names)}
    return _table_of(
        columns,
        [names[i] for i in at],
        None if group is None else names[group],
        {names[i] for i in categories},
        place,
    )


def _table_of(
    columns: dict[str, Any],
    labels: Sequence[str],
    groups: str | None,
    categories: set[str],
    place: str,
) -> Table:
    """A table of Arrow's columns.

    Args:
        columns: By name.
        labels: The names of the columns of labels.
        groups: The name of the column of groups, if there is one.
        categories: The names of columns of categories.
        place: Where they come from.

    Raises:
        DataError: If a column holds no numbers, or a value is missing.
    """
    import pyarrow

    kinds = pyarrow.types
    numbers, words, known = [], {}, {}
    for name, column in columns.items():
        if column.null_count and name not in labels:
            row = column.is_null().to_pylist().index(True)
            raise DataError(f"{place}, row {row + 1}, column {name!r}: missing: fill or drop it")
        if kinds.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        kind = column.type
        if name in labels or name == groups or name in categories:
            if kinds.is_nested(kind) or kinds.is_binary(kind):
                what = "labels" if name in labels else "groups" if name == groups else "categories"
                raise DataError(f"{place}, column {name!r}: {what} are integers or words")
            own = ["" if value is None else str(value) for value in column.to_pylist()]
            if name in categories:
                known[name], places = places_of(own)
                numbers.append(places)
            else:
                words[name] = own
            continue
        if not (kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind)
                or kinds.is_decimal(kind)):  # fmt: skip
            raise DataError(f"{place}, column {name!r}: {kind} {no_number(name)}")
        numbers.append(np.asarray(column.to_pylist() if kinds.is_decimal(kind)
                                  else column.to_numpy(), np.float64))  # fmt: skip
    return Table(
        tuple(name for name in columns if name not in words),
        np.stack(numbers, 1),
        {name: words[name] for name in labels},
        None if groups is None else words[groups],
        words=known,
    )
