"""Data sets on the Hugging Face hub, through its `datasets` library; no code of theirs is run."""

from __future__ import annotations

import itertools
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.form import Form, Kind
from simulacra.data.formats.images import FAULTS, read_image
from simulacra.data.formats.listing import shown
from simulacra.data.formats.safe_reading import ensure_room
from simulacra.data.formats.table import Table, places_of
from simulacra.data.splits import ALIASES, arrange
from simulacra.data.tables import classes_of, dataset_of, in_order
from simulacra.data.tables import numbers as numbers_of
from simulacra.ground.errors import DataError, ResourceError, UsageError, nearest
from simulacra.ground.spec import DataSpec

_UNREACHED = ("OfflineModeIsEnabled", "ConnectionError", "ConnectTimeout", "ConnectError")
"""Names of what is raised without a connection, by whichever library meets it first."""


def load_hub(name: str, form: Form) -> tuple[Dataset, Kind]:
    """A data set of the hub: its pictures, or its columns of numbers.

    Labels are the column that `form.labels` names, or else the first one of classes. Splits called
    train, validation and test are taken as they are; others are left out.

    Args:
        name: NAME, or NAME@CONFIG; or the path of a folder, beginning with . or /.
        form: `side`, `colour`, `labels` and `column`; with `limit`, the first so many of each
            split.

    Returns:
        The data set and its kind.

    Raises:
        UsageError: If the library is missing, or no column has a name that was given.
        DataError: If there is no such data set, or it holds neither pictures nor numbers.
        ResourceError: If the hub cannot be reached, or the data would not fit into memory.
    """
    splits, notes = _splits(name, form)
    features = next(iter(splits.values())).features
    if features is None:
        raise DataError(f"hf:{name} does not tell its columns: leave --limit out")
    kinds = {column: type(feature).__name__ for column, feature in features.items()}
    labels = _label_column(kinds, form.labels, name)
    pictures = next((column for column, kind in kinds.items() if kind == "Image"), None)
    if pictures is not None:
        return _pictures(splits, pictures, labels, name, form, notes), "pictures"
    for column in form.kinds:
        if column not in kinds or column == labels:
            why = nearest(column, kinds) if column not in kinds else "it holds the labels"
            raise UsageError(f"hf:{name} has no column {column!r} for --column: {why}")
    numbers = [
        column
        for column, feature in features.items()
        if column != labels
        and (_is_number(getattr(feature, "dtype", "")) or form.kinds.get(column) == "category")
    ]
    if numbers:
        return _table(splits, numbers, labels, name, form, notes), "tables"
    if "Audio" in kinds.values():
        raise DataError(
            f"hf:{name} holds sounds, which are read from folders alone: save them as .wav files"
        )
    columns = ", ".join(f"{column} ({kind})" for column, kind in kinds.items())
    raise DataError(f"hf:{name} should have a column of pictures or of numbers, got {columns}")


def _splits(name: str, form: Form) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Train, validation and test as far as they are there, and what was left out.

    Raises:
        UsageError: If the library is missing.
        DataError: If there is no such data set.
        ResourceError: If the hub cannot be reached.
    """
    try:
        import datasets
    except ImportError as fault:
        raise UsageError(
            f"hf:{name} needs the datasets library: pip install 'simulacra[hf]'"
        ) from fault
    place, _, config = name.partition("@")
    if not place:
        raise UsageError("hf: needs a name, as in hf:ylecun/mnist")
    if place.startswith((".", "/", "~")):
        path = Path(place).expanduser()
        if not path.is_dir():
            raise DataError(f"{shown(place)} is no folder: check the path")
        place = os.path.abspath(path)
    datasets.disable_progress_bars()
    # each try to connect is told otherwise; what comes of them is told below
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        found = datasets.load_dataset(place, config or None, streaming=form.limit is not None)
    except Exception as fault:
        raise _refusal(fault, name) from fault
    parts: dict[str, Any] = {}
    for split, aliases in ALIASES.items():
        alias = next((alias for alias in aliases if alias in found), None)
        if alias is not None:
            parts[split] = found[alias]
    if not parts:
        raise DataError(f"hf:{name} should have a split called train, got {', '.join(found)}")
    known = {alias for aliases in ALIASES.values() for alias in aliases}
    left = [split for split in found if split not in known]
    notes = [f"left out: split {split}" for split in left]
    if form.limit is not None:
        notes.append(f"the first {form.limit} observations of each split alone")
    return parts, tuple(notes)


def _refusal(fault: Exception, name: str) -> Exception:
    """What to tell of a data set that cannot be loaded, on one line."""
    chain: list[BaseException] = [fault]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    kinds = {kind.__name__ for each in chain for kind in type(each).__mro__}
    why = " ".join(str(fault).split())[:200]
    if kinds & set(_UNREACHED):
        return ResourceError(
            f"hf:{name} cannot be reached, and no copy of it lies here: check the connection, "
            "HF_HUB_OFFLINE and the name"
        )
    return DataError(f"hf:{name} cannot be loaded ({type(fault).__name__}: {why})")


def _label_column(kinds: Mapping[str, str], asked: str | None, name: str) -> str | None:
    """The column of labels.

    Raises:
        UsageError: If none has the name asked for.
    """
    if asked is None:
        return next((column for column, kind in kinds.items() if kind == "ClassLabel"), None)
    if asked not in kinds:
        raise UsageError(f"hf:{name} has no column {asked!r} for labels: {nearest(asked, kinds)}")
    return asked


def _is_number(dtype: str) -> bool:
    return dtype.startswith(("int", "uint", "float", "bool"))


def _rows(split: Any, columns: Iterable[str], form: Form) -> Iterable[dict[str, Any]]:  # noqa: ANN401
    """Some columns of the rows, as many of them as were asked for."""
    chosen = split.select_columns(list(columns))
    return itertools.islice(chosen, form.limit)


def _words(
    rows: Mapping[str, list[dict[str, Any]]],
    column: str | None,
    feature: Any,  # noqa: ANN401 (one of theirs)
    name: str,
    what: str = "label",
) -> list[str] | None:
    """Labels or categories of all splits as words: the names of classes, if the column has them.

    Raises:
        DataError: If one is missing.
    """
    if column is None:
        return None
    values = [row[column] for part in rows.values() for row in part]
    named = hasattr(feature, "int2str")
    if any(value is None or (named and value < 0) for value in values):
        raise DataError(f"hf:{name} has rows without a {what} in {column!r}: name another column")
    return [str(feature.int2str(value) if named else value) for value in values]


def _table(
    splits: dict[str, Any],
    columns: list[str],
    labels: str | None,
    name: str,
    form: Form,
    notes: tuple[str, ...],
) -> Dataset:
    """The rows of numbers."""
    chosen = columns if labels is None else [*columns, labels]
    rows = {split: list(_rows(part, chosen, form)) for split, part in splits.items()}
    features = next(iter(splits.values())).features
    words = _words(rows, labels, features.get(labels), name)
    known: dict[str, tuple[str, ...]] = {}
    held: list[Any] = []
    for column in columns:
        if form.kinds.get(column) == "category":
            own = _words(rows, column, features.get(column), name, what="category")
            known[shown(column)], places = places_of(own or [])
            held.append(places)
        else:
            held.append([row[column] for part in rows.values() for row in part])
    values = np.array(held, np.float64).reshape(len(columns), -1).T  # None becomes NaN
    place = f"hf:{shown(name)}"
    table = in_order(Table(tuple(map(shown, columns)), values, words, notes, words=known), place)
    x = numbers_of(table, place)
    y, class_names = classes_of(words, place)
    ready = _parted(x, y, {split: len(part) for split, part in rows.items()})
    return dataset_of(table, arrange(ready, Path(place)), class_names, place, f"Columns of {place}")


def _parted(x: Tensor, y: Tensor | None, counts: dict[str, int]) -> dict[str, Observations]:
    """The splits of all rows one after another."""
    sizes = list(counts.values())
    contexts = [None] * len(sizes) if y is None else y.split(sizes)
    return {
        split: Observations(part, context)
        for split, part, context in zip(counts, x.split(sizes), contexts, strict=True)
    }


def _pictures(
    splits: dict[str, Any],
    column: str,
    labels: str | None,
    name: str,
    form: Form,
    notes: tuple[str, ...],
) -> Dataset:
    """The pictures of a column, decoded as those of a folder are."""
    import datasets

    place = f"hf:{shown(name)}"
    features = next(iter(splits.values())).features
    pictures: list[NDArray[np.uint8]] = []
    rows: dict[str, list[dict[str, Any]]] = {}
    for split, part in splits.items():
        plain = part.cast_column(column, datasets.Image(decode=False))
        rows[split] = []
        for row in _rows(plain, [column] if labels is None else [column, labels], form):
            picture = _decoded(
                row.pop(column), f"{place}, {split} row {len(rows[split]) + 1}", form
            )
            if pictures and picture.shape[:2] != pictures[0].shape[:2]:
                raise DataError(
                    f"pictures of {place} differ in size: pass --side N to crop and resize all"
                )
            pictures.append(picture)
            rows[split].append(row)
            if not len(pictures) % 1000:
                ensure_room(2 * sum(p.size for p in pictures), place)
    if not pictures:
        raise DataError(f"{place} holds no pictures")
    if any(picture.ndim == 3 for picture in pictures):
        stacked = np.stack([p if p.ndim == 3 else p[..., None].repeat(3, 2) for p in pictures])
        x = torch.from_numpy(stacked).movedim(-1, 1).contiguous()
    else:
        x = torch.from_numpy(np.stack(pictures))[:, None]
    words = _words(rows, labels, features.get(labels), name)
    y, class_names = classes_of(words, place)
    ready = _parted(x, y, {split: len(part) for split, part in rows.items()})
    return Dataset(
        name=place,
        spec=DataSpec(tuple(x.shape[1:]), 256, classes=len(class_names)),
        **arrange(ready, Path(place)),
        class_names=class_names,
        description=f"Pictures of {place}.",
        notes=notes,
    )


def _decoded(stored: dict[str, Any] | None, place: str, form: Form) -> NDArray[np.uint8]:
    """The pixels of a stored picture, `(H, W)` or `(H, W, 3)`.

    Raises:
        DataError: If it is missing or broken.
    """
    held = stored or {}
    colour = None if form.colour == "palette" else form.colour
    try:
        if held.get("bytes") is None:
            return read_image(Path(held.get("path") or ""), side=form.side, colour=colour)
        # by way of a file, so that pictures are decoded in one place alone
        with tempfile.NamedTemporaryFile() as file:
            file.write(held["bytes"])
            file.flush()
            return read_image(Path(file.name), side=form.side, colour=colour)
    except FAULTS as fault:
        raise DataError(f"{place}: the picture is missing or cannot be read ({fault})") from fault
