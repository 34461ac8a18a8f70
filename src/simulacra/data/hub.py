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
from simulacra.data.formats.table import Table, places_of, split_names
from simulacra.data.labels import Names, form_of, names_of, untold_note
from simulacra.data.splits import ALIASES, arrange
from simulacra.data.tables import dataset_of, groups_of, in_order, labels_of
from simulacra.data.tables import numbers as numbers_of
from simulacra.ground.errors import DataError, ResourceError, UsageError, nearest
from simulacra.ground.spec import DataSpec

_UNREACHED = ("OfflineModeIsEnabled", "ConnectionError", "ConnectTimeout", "ConnectError")
"""Names of what is raised without a connection, by whichever library meets it first."""


def load_hub(name: str, form: Form) -> tuple[Dataset, Kind]:
    """A data set of the hub: its pictures, or its columns of numbers.

    Labels are the columns that `form.labels` names, or else the first one of classes; groups the
    one that `form.groups` names. Splits called train, validation and test are taken as they are;
    others are left out.

    Args:
        name: NAME, or NAME@CONFIG; or the path of a folder, beginning with . or /.
        form: `side`, `colour`, `labels`, `groups` and `column`; with `limit`, the first so many
            of each split.

    Returns:
        The data set and its kind.

    Raises:
        UsageError: If the library is missing, no column has a name that was given, or labels and
            groups are one and the same.
        DataError: If there is no such data set, or it holds neither pictures nor numbers.
        ResourceError: If the hub cannot be reached, or the data would not fit into memory.
    """
    splits, notes = _splits(name, form)
    features = next(iter(splits.values())).features
    if features is None:
        raise DataError(f"hf:{name} does not tell its columns: leave --limit out")
    kinds = {column: type(feature).__name__ for column, feature in features.items()}
    labels = _label_columns(kinds, form.labels, name)
    if form.groups is not None:
        _check_column(form.groups, kinds, "groups", name)
    told = [*labels, *([] if form.groups is None else [form.groups])]
    pictures = next((column for column, kind in kinds.items() if kind == "Image"), None)
    if pictures is not None:
        return _pictures(splits, pictures, labels, name, form, notes), "pictures"
    for column in form.kinds:
        if column not in kinds or column in told:
            what = "labels" if column in labels else "groups"
            why = nearest(column, kinds) if column not in kinds else f"it holds the {what}"
            raise UsageError(f"hf:{name} has no column {column!r} for --column: {why}")
    numbers = [
        column
        for column, feature in features.items()
        if column not in told
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


def _label_columns(kinds: Mapping[str, str], asked: str | None, name: str) -> list[str]:
    """The columns of labels.

    Raises:
        UsageError: If none has a name asked for.
    """
    if asked is None:
        return [column for column, kind in kinds.items() if kind == "ClassLabel"][:1]
    columns = list(dict.fromkeys(split_names(asked, tuple(kinds))))
    for column in columns:
        _check_column(column, kinds, "labels", name)
    return columns


def _check_column(column: str, kinds: Mapping[str, str], what: str, name: str) -> None:
    """Refuse a column that is not there.

    Raises:
        UsageError: Naming the nearest one.
    """
    if column not in kinds:
        raise UsageError(f"hf:{name} has no column {column!r} for {what}: {nearest(column, kinds)}")


def _is_number(dtype: str) -> bool:
    return dtype.startswith(("int", "uint", "float", "bool"))


def _rows(split: Any, columns: Iterable[str], form: Form) -> Iterable[dict[str, Any]]:  # noqa: ANN401
    """Some columns of the rows, as many of them as were asked for."""
    chosen = split.select_columns(list(columns))
    return itertools.islice(chosen, form.limit)


def _words(
    rows: Mapping[str, list[dict[str, Any]]],
    column: str,
    feature: Any,  # noqa: ANN401 (one of theirs)
) -> list[str]:
    """A column of all splits as words, the names of classes if it has them; empty where untold."""
    values = [row[column] for part in rows.values() for row in part]
    named = hasattr(feature, "int2str")
    # theirs are untold by −1 too
    return [
        "" if value is None or (named and value < 0)
        else str(feature.int2str(value) if named else value)
        for value in values
    ]  # fmt: skip


def _told(
    rows: Mapping[str, list[dict[str, Any]]],
    labels: list[str],
    groups: str | None,
    features: Any,  # noqa: ANN401 (theirs)
    place: str,
) -> tuple[Tensor | None, Tensor | None, Names, list[str]]:
    """Labels and groups of all splits one after another, names of classes, and notes.

    Raises:
        DataError: If no label is told, or a group is missing.
        UsageError: If labels are what the groups are.
    """
    y, names = labels_of({shown(c): _words(rows, c, features[c]) for c in labels}, place)
    words = None if groups is None else _words(rows, groups, features[groups])
    if words is not None and "" in words:
        raise DataError(f"{place} has rows without a group: name another column by --groups")
    g, notes = groups_of(words, y, names, place, [s for s, part in rows.items() for _ in part])
    return y, g, names, [*untold_note(y), *notes]


def _table(
    splits: dict[str, Any],
    columns: list[str],
    labels: list[str],
    name: str,
    form: Form,
    notes: tuple[str, ...],
) -> Dataset:
    """The rows of numbers."""
    told = [*labels, *([] if form.groups is None else [form.groups])]
    rows = {split: list(_rows(part, [*columns, *told], form)) for split, part in splits.items()}
    features = next(iter(splits.values())).features
    place = f"hf:{shown(name)}"
    y, groups, names, more = _told(rows, labels, form.groups, features, place)
    known: dict[str, tuple[str, ...]] = {}
    held: list[Any] = []
    for column in columns:
        if form.kinds.get(column) == "category":
            known[shown(column)], own = places_of(_words(rows, column, features[column]))
            held.append(own)
        else:
            held.append([row[column] for part in rows.values() for row in part])
    values = np.array(held, np.float64).reshape(len(columns), -1).T  # None becomes NaN
    table = Table(tuple(map(shown, columns)), values, notes=(*notes, *more), words=known)
    table = in_order(table, place)
    x = numbers_of(table, place)
    ready = _parted(x, y, groups, {split: len(part) for split, part in rows.items()})
    return dataset_of(table, arrange(ready, Path(place)), names, place, f"Columns of {place}")


def _parted(
    x: Tensor, y: Tensor | None, groups: Tensor | None, counts: dict[str, int]
) -> dict[str, Observations]:
    """The splits of all rows one after another."""
    whole = Observations(x, y, groups=groups)
    sizes = list(counts.values())
    rows = torch.arange(len(x)).split(sizes)
    return {split: whole.take(own) for split, own in zip(counts, rows, strict=True)}


def _pictures(
    splits: dict[str, Any],
    column: str,
    labels: list[str],
    name: str,
    form: Form,
    notes: tuple[str, ...],
) -> Dataset:
    """The pictures of a column, decoded as those of a folder are."""
    import datasets

    place = f"hf:{shown(name)}"
    features = next(iter(splits.values())).features
    told = [*labels, *([] if form.groups is None else [form.groups])]
    pictures: list[NDArray[np.uint8]] = []
    rows: dict[str, list[dict[str, Any]]] = {}
    for split, part in splits.items():
        plain = part.cast_column(column, datasets.Image(decode=False))
        rows[split] = []
        for row in _rows(plain, [column, *told], form):
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
    y, groups, names, more = _told(rows, labels, form.groups, features, place)
    ready = _parted(x, y, groups, {split: len(part) for split, part in rows.items()})
    return Dataset(
        name=place,
        spec=DataSpec(tuple(x.shape[1:]), 256, **form_of(names, place)),
        **arrange(ready, Path(place)),
        **names_of(names),
        description=f"Pictures of {place}.",
        notes=(*notes, *more),
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
