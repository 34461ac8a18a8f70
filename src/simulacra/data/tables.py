"""Data sets from tables: .csv, .tsv and .parquet, of which columns are numbers or categories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from simulacra.data import groups as grouping
from simulacra.data.columns import in_columns
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.form import Form
from simulacra.data.formats.delimited import read_text
from simulacra.data.formats.listing import shown
from simulacra.data.formats.parquet import read_parquet
from simulacra.data.formats.table import Kinds, Table, wrong
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
from simulacra.ground.column import Column
from simulacra.ground.errors import DataError
from simulacra.ground.spec import DataSpec

FEW = 20
"""A column with no more distinct values than these, and a twentieth of the rows, is discrete."""

_MOST_CLASSES = 1000


def load_table(path: Path, form: Form) -> Dataset:
    """The rows of a table as vectors of floats, split at random.

    Numbers stay as they are, but where float32 would lose their digits or not reach them: there a
    column has an offset and a scale, see `columns`.

    Args:
        path: A .csv, with commas or semicolons, a .tsv or a .parquet file. The first row of text
            is a header if one of its cells is no number.
        form: `labels` is the name of a column of classes, or its number from 1, or several of them
            with commas; an empty cell of them is not told. `groups` is the column of what never
            spans two splits, and `column` says what others are.

    Raises:
        DataError: If the file is broken, a cell is no finite number, or a column never varies; or
            there are too few groups.
        UsageError: If no column has the name of the labels or groups, both are one and the same, or
            pyarrow is missing.
        ResourceError: If it would not fit into memory.
    """
    place = shown(str(path))
    table = read_table(path, form.labels, form.groups, form.kinds)
    if len(table.numbers) < FEWEST:
        raise DataError(f"{place} holds {len(table.numbers)} rows, expected at least {FEWEST}")
    labels, names = labels_of(table.labels, place)
    groups, notes = groups_of(table.groups, labels, names, place)
    table = in_order(table, place)
    splits = split_all(Observations(numbers(table, place), labels, groups=groups))
    table = replace(table, notes=(*table.notes, *untold_note(labels), *notes))
    return dataset_of(table, splits, names, shown(path.name), f"Table {place}")


def read_table(path: Path, labels: str | None, groups: str | None, kinds: Kinds) -> Table:
    """The table of a file, by its suffix; see `load_table`."""
    read = read_parquet if path.suffix.lower() == ".parquet" else read_text
    return read(path, labels, groups, kinds)


def dataset_of(table: Table, splits: Splits, names: Names, name: str, origin: str) -> Dataset:
    """The data set of a table that is split already.

    Args:
        table: Its columns.
        splits: Of its numbers.
        names: Of the classes of each part of the labels.
        name: Of the data set.
        origin: Where the table comes from, the beginning of a sentence.

    Raises:
        DataError: If a column takes one value in all training rows, a number is too large beside
            these, or labels make too many combinations.
    """
    spec = DataSpec((len(table.names),), None, **form_of(names, origin))
    spec, splits = in_columns(splits, spec, table.names, origin, table.words)
    told = [
        f"{each} ({len(table.words[each])} categories)" if each in table.words else each
        for each in table.names
    ]
    return Dataset(
        name=name,
        spec=spec,
        **splits,
        **names_of(names),
        description=f"{origin}: {', '.join(told)}.",
        notes=(*table.notes, *_warnings(table, spec.columns)),
        columns=table.names if table.header else (),
    )


def numbers(table: Table, place: str) -> torch.Tensor:
    """The numbers, `(N, D)` float64.

    Raises:
        DataError: If one is not finite.
    """
    bad = np.argwhere(~np.isfinite(table.numbers))
    if len(bad):
        row, column = map(int, bad[0])
        raise DataError(
            f"{place}, row {row + 1}, column {table.names[column]!r}: "
            + wrong(table.numbers[row, column])
        )
    return torch.from_numpy(table.numbers)


def in_order(table: Table, place: str) -> Table:
    """The table with the words of each category in the order of numbers or letters.

    Raises:
        DataError: If they are too many for categories, or fractions, or one is missing.
    """
    if not table.words:
        return table
    values, words = table.numbers.copy(), {}
    for name, own in table.words.items():
        at = table.names.index(name)
        rows = [own[int(i)] for i in values[:, at]]
        where = f"{place}, column {name!r}"
        if "" in own:
            raise DataError(f"{where}: row {rows.index('') + 1} has no category: fill or drop it")
        places, words[name] = _classes_of(rows, where, what="categories")
        values[:, at] = places.numpy()
    return replace(table, numbers=values, words=words)


def in_words_of(table: Table, columns: tuple[Column, ...], place: str) -> Table:
    """The table with its categories as places of the data's own words.

    Args:
        table: With as many columns as the data, in their order.
        columns: Of the data.
        place: Where the table comes from.

    Raises:
        DataError: If it has another word.
    """
    if not table.words:
        return table
    values = table.numbers.copy()
    for at, (name, column) in enumerate(zip(table.names, columns, strict=True)):
        if name not in table.words:
            continue
        known = {word: i for i, word in enumerate(column.words)}
        # a table's 1.0 is category 1
        words = map(shown, table.words[name])
        own = [word if word in known else word.removesuffix(".0") for word in words]
        unknown = next((word for word in own if word not in known), None)
        if unknown is not None:
            raise DataError(
                f"{place}, column {name!r}: {unknown!r} is none of the data's categories"
            )
        values[:, at] = np.array([known[word] for word in own])[values[:, at].astype(np.int64)]
    return replace(table, numbers=values)


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


def _classes_of(
    words: list[str], place: str, *, what: str = "labels"
) -> tuple[torch.Tensor, tuple[str, ...]]:
    distinct = set(words) - {""}
    if not distinct:
        raise DataError(f"{place}: no row has a label: fill some, or leave --labels out")
    try:
        values = {word: float(word) for word in distinct}
    except ValueError:
        values = {}
    if any(not value.is_integer() for value in values.values()):
        raise DataError(f"{place}: {what} should be integers or words, got fractions")
    # 1 and 1.0 are one class
    name_of = {w: str(int(values[w])) if values else w for w in distinct}
    names = sorted(set(name_of.values()), key=int if values else None)
    if len(names) > min(_MOST_CLASSES, max(2, len(words) // 2)):
        raise DataError(
            f"{place}: {what} take {len(names)} values in {len(words)} rows, which are no classes"
        )
    return numbers_of([name_of.get(word, "") for word in words], names), tuple(map(shown, names))


def _warnings(table: Table, columns: tuple[Column, ...]) -> Iterator[str]:
    """What is suspicious of columns of numbers."""
    rows = len(table.numbers)
    own = columns or (Column(),) * len(table.names)
    for name, values, column in zip(table.names, table.numbers.T, own, strict=True):
        if name in table.words:
            continue
        distinct = len(np.unique(values))
        if distinct <= FEW and distinct < rows / 20:
            yield (
                f"column {name!r} takes {distinct} values only: a density of it can be made as "
                "high as one likes"
            )
        held = ((values - column.offset) / column.scale).astype(np.float32)
        narrow = len(np.unique(held))
        if narrow < 0.9 * distinct:
            vanished = ((held == 0) & (values != column.offset)).any()
            yield (
                f"column {name!r} has {distinct} values, of which float32 tells {narrow} apart"
                + (
                    ": it spans too many orders of magnitude, take its logarithm"
                    if vanished
                    else ", whatever is subtracted"
                )
            )
        if (np.diff(values) == 1).all():
            yield f"column {name!r} counts the rows: drop it if it is no measurement"
