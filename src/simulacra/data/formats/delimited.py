"""Tables of delimited text: .csv and .tsv files, read row by row."""

from __future__ import annotations

import csv
import io
import math
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from simulacra.data.formats.listing import open_regular, shown
from simulacra.data.formats.safe_reading import FAULTS, ensure_room, read_at_most
from simulacra.data.formats.table import (
    Kinds,
    Table,
    columns_of,
    no_number,
    numbered,
    split_names,
    wrong,
)
from simulacra.ground.errors import DataError

_LONGEST = 40
"""Characters of a cell that an error shows."""


def read_text(path: Path, labels: str | None, groups: str | None, kinds: Kinds) -> Table:
    """The table of a text file, which has a header if a cell of its first row is no number.

    Args:
        path: A .tsv, or a .csv with commas, semicolons or tabs.
        labels: The name of the column of labels, or its number from 1; or several, with commas.
        groups: The name of the column of groups, or its number.
        kinds: What other columns were said to be.

    Raises:
        DataError: If it is no such text, a row has another length, a cell is no number, or that of
            a group is empty.
        UsageError: If no column is called so.
    """
    text = _text(path)
    place = shown(str(path))
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text)
    rows = _rows(text, delimiter, place)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{place} is empty: expected rows of numbers")
    # a column of words that is named by its number says nothing about a header
    of_words = {numbered(name) for name in [*split_names(labels or ""), groups, *kinds]}
    header = any(not _is_number(cell) for i, cell in enumerate(first[1]) if i not in of_words)
    width = len(first[1])
    names = [cell or f"column {i}" for i, cell in enumerate(first[1], 1)]
    names = [shown(name) for name in names] if header else [f"column {i + 1}" for i in range(width)]
    at, group, categories = columns_of(names, labels, groups, kinds, place, named=header)
    # the last first, so that taking one out moves none of the others
    taken = sorted([*at, *([] if group is None else [group])], reverse=True)
    numbers, words = array("d"), {i: list[str]() for i in taken}
    # the words of a category, each with its place
    places: dict[int, dict[str, int]] = {i: {} for i in categories}
    kept = [name for i, name in enumerate(names) if i not in words]
    line, cells = first
    if header:
        line, cells = next(rows, (0, []))
    while cells:
        if len(cells) != width:
            raise DataError(
                f"{place}, line {line}: {len(cells)} cells where the first row has {width}: "
                "give every row as many"
            )
        for i, known in places.items():
            if not cells[i]:
                raise DataError(
                    f"{place}, line {line}, column {names[i]!r}: an empty cell: fill it or drop "
                    "the row"
                )
            cells[i] = str(known.setdefault(cells[i], len(known)))
        for i in taken:
            words[i].append(cells.pop(i))
            if i == group and not words[i][-1]:
                raise DataError(f"{place}, line {line}: no group: fill it or drop the row")
        try:
            numbers.extend(map(_number, cells))
        except ValueError as fault:
            raise _no_number(place, line, kept, cells, delimiter) from fault
        line, cells = next(rows, (0, []))
    values = np.frombuffer(numbers, np.float64).reshape(-1, len(kept))
    notes = []
    if not header and len(kept) > 2 and (np.diff(values[0]) == 1).all() and values[0, 0] in (0, 1):
        notes.append("the first row counts the columns: if it is a header, name them by words")
    return Table(
        tuple(kept),
        values,
        {names[i]: words[i] for i in at},
        None if group is None else words[group],
        tuple(notes),
        header,
        {names[i]: tuple(known) for i, known in places.items()},
    )


def _text(path: Path) -> str:
    """The text of a file.

    Raises:
        DataError: If it is no UTF-8 text.
    """
    place = shown(str(path))
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            # the bytes, their text, and rows as numbers
            ensure_room(8 * size, place)
            raw = read_at_most(file, size)
    except FAULTS as fault:
        raise DataError(f"{place} cannot be read ({fault})") from fault
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = raw.count(b"\n", 0, fault.start) + 1
        raise DataError(f"{place}, line {line}: no UTF-8 text: save it as UTF-8") from fault
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{place}, line {line}: a NUL byte, so no text: save it as UTF-8")
    return text


def _delimiter(text: str) -> str:
    """What separates the cells: whichever of comma, semicolon and tab the first line has most."""
    line = re.sub(r'"[^"]*"', "", text.split("\n", 1)[0])
    # in Europe semicolons separate, and commas are within numbers
    return max(";\t,", key=lambda mark: (mark in line and mark != ",", line.count(mark)))


def _rows(text: str, delimiter: str, place: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and stripped cells of each row; empty lines at the end are passed over.

    Raises:
        DataError: If quotes are wrong, or a line in between is empty.
    """
    reader = csv.reader(
        io.StringIO(text.rstrip("\r\n "), newline=""), delimiter=delimiter, strict=True
    )
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as fault:
            raise DataError(
                f"{place}, line {reader.line_num}: {shown(str(fault))}: repair it"
            ) from fault
        if cells is None:
            return
        if not cells:
            raise DataError(f"{place}, line {reader.line_num}: empty: drop it")
        yield reader.line_num, [cell.strip() for cell in cells]


def _number(cell: str) -> float:
    """A finite number.

    Raises:
        ValueError: If it is none.
    """
    value = float(cell)
    if "_" in cell or not math.isfinite(value):
        raise ValueError(cell)
    return value


def _is_number(cell: str) -> bool:
    """Whether a cell is meant as a number, NaN and missing ones among them."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _no_number(
    place: str, line: int, names: Sequence[str], cells: Sequence[str], delimiter: str
) -> DataError:
    """What is wrong with the first cell of a row that is no number."""
    where, cell = "", ""
    for name, cell in zip(names, cells, strict=True):
        where = f"{place}, line {line}, column {name!r}"
        try:
            _number(cell)
        except ValueError:
            break
    if _is_number(cell):
        return DataError(f"{where}: {wrong(float(cell))}")
    if not cell:
        return DataError(f"{where}: an empty cell: fill it or drop the row")
    if delimiter != "," and _is_number(cell.replace(",", ".", 1)):
        return DataError(f"{where}: {cell!r} has a decimal comma: write a point")
    if len(cell) > _LONGEST:
        cell = cell[:_LONGEST] + "…"
    return DataError(f"{where}: '{shown(cell)}' {no_number(shown(name))}")
