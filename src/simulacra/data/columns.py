"""Columns of numbers as float32: which offset and scale each takes to keep its digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from simulacra.data.contexts import check_varies
from simulacra.data.dataset import Observations
from simulacra.data.splits import Splits
from simulacra.ground.column import Column
from simulacra.ground.errors import DataError, UsageError
from simulacra.ground.spec import DataSpec

_ROOM = 2.0**100
"""Float32 goes to 2^127: beyond this, or all below its inverse, sums and reciprocals lack room."""

_ROWS = 20_000
"""By so many training rows one sees if float32 merges fractions: of millions it always does."""


def in_columns(
    splits: Splits,
    spec: DataSpec,
    names: Sequence[str],
    origin: str,
    words: Mapping[str, tuple[str, ...]] = {},
) -> tuple[DataSpec, Splits]:
    """Numbers as the vectors that models see, and their form with the columns that this takes.

    What float32 holds as it is stays so. Offset and scale are those of the training rows.

    Args:
        splits: Of finite numbers `(N, D)`, float64 or float32; of categories their places.
        spec: Their form, without columns.
        names: Of the columns.
        origin: Where they come from, for messages.
        words: Of the columns of categories, by their names.

    Raises:
        DataError: If a number is too large beside the training rows, or a column takes one value
            or spans more than float32 does.
    """
    train = splits["train"].x[:].numpy()
    columns = [Column() for _ in names]
    with np.errstate(over="ignore"):
        rounded = (train.astype(np.float32) != train).any(0)
    for i, name in enumerate(names):
        if name in words:
            if len(words[name]) < 2:
                raise DataError(f"{origin}: column {name!r} is of one category: drop the column")
            columns[i] = Column("category", len(words[name]), words=words[name])
        elif rounded[i]:
            columns[i] = _fitted(train[:, i].astype(np.float64), f"{origin}: column {name!r}")
    if any(column != Column() for column in columns):
        spec = replace(spec, columns=tuple(columns))

    def held(part: Observations) -> Observations:
        return replace(part, x=as_vectors(part.x[:], spec, names, origin))

    parts = Splits(
        train=held(splits["train"]),
        validation=held(splits["validation"]),
        test=held(splits["test"]),
        split_seed=splits["split_seed"],
    )
    numbers = [i for i, name in enumerate(names) if name not in words]
    check_varies(parts["train"].x[:][:, numbers], [names[i] for i in numbers], origin)
    return spec, parts


def as_vectors(numbers: Tensor, spec: DataSpec, names: Sequence[str], place: str) -> Tensor:
    """Numbers in the units of the columns as float32 `(N, D)`; see `DataSpec.from_float`.

    Args:
        numbers: Finite ones `(N, D)`; of categories their places.
        spec: With the columns.
        names: Of the columns; their numbers from 1 where there are none.
        place: Where they come from, for messages.

    Raises:
        DataError: If a number is too large, or no place of a category.
    """
    x = spec.from_float(numbers)
    bad = (~x.isfinite()).nonzero()
    if len(bad):
        row, column = bad[0].tolist()
        name = names[column] if names else str(column + 1)
        raise DataError(
            f"{place}: column {name!r} holds {float(numbers[row, column]):g}, which is too large "
            "for float32 beside the training rows: repair it or drop the row"
        )
    try:
        spec.check(x)
    except UsageError as fault:
        raise DataError(f"{place}: {fault}") from fault
    return x


def _fitted(values: NDArray[np.float64], where: str) -> Column:
    """The column of numbers that float32 rounds; as they are, unless it loses what matters.

    Raises:
        DataError: If they overflow float32, and most would be one and the same in any unit.
    """
    plain, largest = Column(), float(np.abs(values).max())
    whole = largest < 2**53 and bool((values == np.rint(values)).all())
    seen = np.unique(values if whole else values[:_ROWS])
    with np.errstate(over="ignore"):
        error = float(np.abs(values.astype(np.float32) - values).max())
    # whole numbers are to stay whole; of fractions the last digits may go, unless they are many
    few = 0 if whole else len(seen) / 10
    small = error <= (float(seen[-1]) - float(seen[0])) / 1000
    if 1 / _ROOM <= largest <= _ROOM and _lost(seen, plain, whole) <= few and (whole or small):
        return plain
    middle = float(np.sort(values)[(len(values) - 1) // 2])
    offsets = [0.0, middle]
    if whole:
        # where half the span is what float32 counts up to
        offsets.append(float((seen[0] + seen[-1]) // 2))
    found = [column for offset in offsets if (column := _with(values, offset)) is not None]
    # what would make a number infinite is no choice, however few others it merges
    overflows = largest > float(np.finfo(np.float32).max)
    choice = found if overflows else [*found, plain]
    best = min(choice, key=lambda column: _lost(seen, column, whole))
    if overflows and _lost(seen, best, whole) > len(seen) / 2:
        least = float(np.abs(values[values != 0]).min())
        raise DataError(
            f"{where} spans too many orders of magnitude for float32, {least:g} to {largest:g}: "
            "take its logarithm, or drop the rows that are far off"
        )
    return best


def _with(values: NDArray[np.float64], offset: float) -> Column | None:
    """The column with an offset and a scale that brings what is left into float32's range."""
    with np.errstate(over="ignore"):
        largest = float(np.abs(values - offset).max())
    if not np.isfinite(largest):
        return None
    fits = 1 / _ROOM <= largest <= _ROOM
    # a power of two, by which nothing is rounded
    return Column(offset=offset, scale=1.0 if fits else float(2.0 ** (np.frexp(largest)[1] - 1.0)))


def _lost(values: NDArray[np.float64], column: Column, whole: bool) -> int:
    """How many of some distinct values float32 changes if whole, else no longer tells apart."""
    held: NDArray[Any] = ((values - column.offset) / column.scale).astype(np.float32)
    if whole:
        return int((held.astype(np.float64) * column.scale + column.offset != values).sum())
    return len(values) - len(np.unique(held))
