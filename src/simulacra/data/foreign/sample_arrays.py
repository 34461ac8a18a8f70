"""Samples of any program in arrays and tables, read in the form of the data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulacra.data.columns import as_vectors
from simulacra.data.contexts import continuous
from simulacra.data.dataset import Dataset
from simulacra.data.formats.listing import counted, shown
from simulacra.data.formats.npy import NpzFile, read_npy, some
from simulacra.data.formats.safe_reading import ensure_room
from simulacra.data.formats.table import Kinds, Table, numbered, split_names
from simulacra.data.intensities import levels_of, recoloured
from simulacra.data.tables import in_words_of, numbers, read_table
from simulacra.data.windows import mu_law
from simulacra.ground.errors import DataError, UsageError

_VALUES = ("x", "samples", "images", "data", "X", "arr_0")
_LABELS = ("y", "labels", "arr_1")
_SLACK = 1e-3
"""By so much floats may leave their range: rounding of 16 bits, less than half a level of 256."""

Read = tuple[Tensor, Tensor | None, list[str]]
"""Samples `(n, *event_shape)`, their labels if there are any, and notes."""


def from_arrays(path: Path, data: Dataset) -> Read:
    """Samples of an .npy or .npz, by the rules of `foreign.read_samples`.

    Raises:
        DataError: If their shape, kind of number, range or labels do not fit the data.
        ResourceError: If they would not fit into memory.
    """
    place, spec = shown(str(path)), data.spec
    x, y = _arrays(path)
    if x.dtype.kind not in "biuf":
        raise DataError(f"{place} should hold numbers, got {x.dtype}")
    if spec.is_image:
        x = _channels_first(x, spec.event_shape, place, data.name)
    elif x.shape[1:] != spec.event_shape:
        form = ", ".join(map(str, ("N", *spec.event_shape)))
        raise DataError(
            f"{place} should hold ({form}), as {data.name} does, got {x.dtype} {x.shape}"
        )
    if not len(x):
        raise DataError(f"{place} holds an array without samples, shape {x.shape}")
    ensure_room(8 * x.size, place)
    labels, notes = _labels_of(y, len(x), data, place)
    if x.dtype.kind == "f":
        broken = int((~np.isfinite(x)).reshape(len(x), -1).any(1).sum())
        if broken:
            raise DataError(
                f"{place} has NaN or infinite values in {broken} of {len(x)} samples: without "
                "them the figures would flatter, so none are judged"
            )
    if spec.levels is None:
        numbers = continuous(x, path, wide=True)
        return as_vectors(numbers, spec, data.columns, place), labels, notes
    of = _of_floats if x.dtype.kind == "f" else _of_integers
    levels, more = of(x, data, spec.levels, place)
    return levels, labels, notes + more


def _of_floats(x: NDArray[Any], data: Dataset, levels: int, place: str) -> tuple[Tensor, list[str]]:
    """Levels of amplitudes, or of intensities in [0, 1]."""
    spec = data.spec
    if spec.coding == "mu-law":
        _check_range(x, -1, place)
        return torch.from_numpy(mu_law(x, levels).astype(np.int64)), []
    if not spec.is_image:
        raise DataError(f"{place} holds {x.dtype}, expected integer levels 0 … {levels - 1}")
    _check_range(x, 0, place)
    unit = x.astype(np.float64).clip(0, 1)
    if levels > 256 and spec.palette is None:
        exact = recoloured(unit, data, place) * (levels - 1)
        return torch.from_numpy(np.rint(exact).astype(np.int64)), []
    return levels_of(np.rint(unit * 255).astype(np.uint8), data, place)


def _of_integers(
    x: NDArray[Any], data: Dataset, levels: int, place: str
) -> tuple[Tensor, list[str]]:
    """Integers as the levels that they are; with three channels, as colours for a palette."""
    colours = data.spec.palette is not None and x.shape[1] == 3
    lowest, highest, most = int(x.min()), int(x.max()), 255 if colours else levels - 1
    if lowest < 0 or highest > most:
        raise DataError(
            f"{place} has integers {lowest} … {highest}, expected levels 0 … {most} as in "
            f"{data.name}: quantise them, or save floats in [0, 1]"
        )
    if colours:
        return levels_of(x.astype(np.uint8), data, place)
    if data.spec.is_image:
        x = recoloured(x, data, place)
    return torch.from_numpy(x.astype(np.int64, order="C")), []


def _arrays(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """The samples, and their labels if there are any."""
    if path.suffix.lower() == ".npy":
        return read_npy(path), None
    with NpzFile(path) as npz:
        others = [name for name in npz.names if name not in _LABELS]
        name = next((n for n in _VALUES if n in others), others[0] if len(others) == 1 else None)
        if name is None:
            raise DataError(
                f"{shown(str(path))} should hold its samples under {', '.join(_VALUES)}, got "
                f"{some(npz.names)}: rename them"
            )
        label = next((n for n in _LABELS if n in npz.names), None)
        return npz.read(name), None if label is None else npz.read(label)


def from_table(path: Path, data: Dataset) -> Read:
    """Samples of continuous vectors, with labels if the data's columns of labels are there.

    Columns go by their names where both tables have a header, else by their order. There is none of
    groups.

    Raises:
        DataError: If the table is broken, or has other columns or another number of them.
    """
    place = shown(str(path))
    asked = _columns_of_labels(data)
    try:
        table = read_table(path, asked, None, _categories(data, asked))
    except UsageError:
        if asked is None:
            raise
        # samples need no labels
        table = read_table(path, None, None, _categories(data, None))
    if len(table.names) < data.spec.dims and asked is not None:
        table = read_table(path, None, None, _categories(data, None))
    table, told = _in_order(table, data, place)
    known = {name for own in data.names_by_part.values() for name in own}
    parts = [
        # a table's 1.0 is class 1
        [word if word in known else word.removesuffix(".0") for word in own]
        for own in table.labels.values()
    ]
    words = np.array([", ".join(row) for row in zip(*parts, strict=True)]) if parts else None
    labels, notes = _labels_of(words, len(table.numbers), data, place)
    table = in_words_of(table, data.spec.columns, place)
    x = as_vectors(numbers(table, place), data.spec, table.names, place)
    return x, labels, [*notes, *told]


def _columns_of_labels(data: Dataset) -> str | None:
    """The columns of labels in a table of samples, where none of groups stands before them."""
    labels, group = data.options.get("labels"), numbered(data.options.get("groups"))
    if labels is None or group is None:
        return labels
    numbers = [place + 1 - (place > group) for place in map(numbered, split_names(labels))
               if place is not None]  # fmt: skip
    return ",".join(map(str, numbers)) or labels


def _categories(data: Dataset, labels: str | None) -> Kinds:
    """The categories in a table of samples: by name, or else by number, labels being counted."""
    found = [place for place, column in enumerate(data.spec.columns) if column.kind == "category"]
    if data.columns:
        return {data.columns[place]: "category" for place in found}
    for taken in sorted(place for name in split_names(labels or "")
                        if (place := numbered(name)) is not None):  # fmt: skip
        found = [place + (taken <= place) for place in found]
    return {str(place + 1): "category" for place in found}


def _in_order(table: Table, data: Dataset, place: str) -> tuple[Table, list[str]]:
    """The table with its columns as the data have them, and notes.

    Raises:
        DataError: If they have other names, or are more or fewer.
    """
    named = table.header and bool(data.columns)
    if named and set(table.names) != set(data.columns):
        # of many columns those that differ come first
        own = some(tuple(sorted(table.names, key=lambda name: name in data.columns)))
        expected = some(tuple(sorted(data.columns, key=lambda name: name in table.names)))
        raise DataError(
            f"{place} has the columns {own}; {data.name} has {expected}: give the same ones, in "
            "any order"
        )
    if len(table.names) != data.spec.dims:
        raise DataError(
            f"{place} has {counted(len(table.names), 'column')} of numbers, {data.name} has "
            f"{data.spec.dims}: give the same ones in the same order"
        )
    if not named:
        return table, [f"columns taken in the order of the file: {some(table.names)}"]
    if table.names == data.columns:
        return table, []
    order = [table.names.index(name) for name in data.columns]
    return (
        replace(table, names=data.columns, numbers=table.numbers[:, order]),
        [f"columns brought into the order of {data.name} by their names: {some(data.columns)}"],
    )


def _labels_of(
    y: NDArray[Any] | None, count: int, data: Dataset, place: str
) -> tuple[Tensor | None, list[str]]:
    """Labels of samples, from numbers or names of classes, and notes."""
    if y is None:
        return None, []
    classes = data.spec.classes
    if not classes:
        return None, [f"labels passed over: {data.name} has none"]
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.shape != (count,) or y.dtype.kind not in "iuU":
        raise DataError(
            f"{place} should have labels ({count},), numbers or names of classes, got {y.dtype} "
            f"{y.shape}"
        )
    if y.dtype.kind == "U":
        numbers = {name: number for number, name in enumerate(data.class_names)}
        # a table's 1.0 is class 1
        words = [w if w in numbers else w.removesuffix(".0") for w in map(str, y.tolist())]
        unknown = next((word for word in words if word not in numbers), None)
        if unknown is not None:
            raise DataError(f"{place} has a label {shown(unknown)!r}, no class of {data.name}")
        return torch.tensor([numbers[word] for word in words]), []
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < classes:
        raise DataError(
            f"{place} has labels {y.min()} … {y.max()}, expected 0 … {classes - 1} as in "
            f"{data.name}"
        )
    return torch.from_numpy(y.astype(np.int64)), []


def _check_range(x: NDArray[Any], low: int, place: str) -> None:
    """Refuse floats that are not from `low` to 1."""
    least, most = float(x.min()), float(x.max())
    if least >= low - _SLACK and most <= 1 + _SLACK:
        return
    if most > 2:
        what = "divide by 255 what goes up to 255, or save integer levels"
    elif low == 0 and least < -0.5:
        what = "save (x + 1) / 2 of what goes from −1 to 1"
    else:
        what = "clip them, if that is how your program shows them"
    raise DataError(f"{place} holds floats {least:.4g} … {most:.4g}, expected {low} … 1: {what}")


def _channels_first(
    x: NDArray[Any], event_shape: tuple[int, ...], place: str, name: str
) -> NDArray[Any]:
    """Pictures `(N, C, H, W)` with one or three channels, as the array may have them elsewhere."""
    size = event_shape[1:]
    if x.ndim == 3 and x.shape[1:] == size:
        return x[:, None]
    # our own .npy have channels first: where both ends could be, they are
    if x.ndim == 4 and x.shape[1] in (1, 3) and x.shape[2:] == size:
        return x
    if x.ndim == 4 and x.shape[3] in (1, 3) and x.shape[1:3] == size:
        return x.transpose(0, 3, 1, 2)
    raise DataError(
        f"{place} should hold pictures {event_shape} as {name} does, channels first or last, got "
        f"{x.dtype} {x.shape}: samples are never resized, which would change their figures"
    )
