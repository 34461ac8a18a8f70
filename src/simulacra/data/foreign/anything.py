"""Observations of any source, in the form of the data that a model learned from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from simulacra.data.catalogue import HUB, NAMES, load
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.foreign.observations import read_observations
from simulacra.data.foreign.samples import read_samples
from simulacra.data.formats.images import SUFFIXES as PICTURES
from simulacra.data.formats.listing import list_files, shown
from simulacra.ground.errors import DataError, nearest
from simulacra.ground.spec import DataSpec


@dataclass(frozen=True, eq=False)
class Foreign:
    """Observations from elsewhere.

    Args:
        name: Of where they come from.
        observations: In the form of the data.
        names: Of each: its file, or its number.
        notes: What a reader of figures has to know.
    """

    name: str
    observations: Observations
    names: list[str]
    notes: tuple[str, ...] = ()


def read_anything(source: str, data: Dataset, data_dir: Path | None = None) -> Foreign:
    """Observations of a named set, a folder or a file, in the form of the data.

    Of a named set it is the test split, brought to the side, colours and levels of the data. A
    folder's pictures are read one by one; what else there is, as `read_samples` does.

    Args:
        source: A name, `hf:NAME`, or a path.
        data: That a model learned from.
        data_dir: Folder that holds the files of named sets.

    Raises:
        DataError: If there is no such source, or it cannot be of this form.
    """
    if source in NAMES or source.startswith(HUB):
        return _named(source, data, data_dir)
    path = Path(source).expanduser()
    if not source.strip() or not path.exists():
        near = "" if "/" in source or path.suffix else f": {nearest(source, NAMES)}"
        raise DataError(
            f"{shown(source)} does not exist{near or ': check the path'} (or name a data set)"
        )
    suffix, name = path.suffix.lower(), path.resolve().name
    if path.is_dir() and data.spec.is_image:
        files = [path / file for file in list_files(path, PICTURES).files]
        if not files:
            raise DataError(f"{shown(source)} holds no picture: expected a file for each one")
        parts = [read_observations(file, data) for file in files]
        names = [str(file.relative_to(path)) for file in files]
        return Foreign(name, Observations(torch.cat(parts)), names)
    if not path.is_dir() and (suffix in PICTURES or suffix == ".npy"):
        x = read_observations(path, data)
        numbers = [str(row) for row in range(len(x))]
        return Foreign(name, Observations(x), [str(path)] if len(x) == 1 else numbers)
    x, _, notes = read_samples(path, data)
    return Foreign(name, Observations(x), [str(row) for row in range(len(x))], notes)


def _named(source: str, data: Dataset, data_dir: Path | None) -> Foreign:
    """The test split of a set, brought to the form of the data."""
    spec, found = data.spec, load(source, data_dir=data_dir)
    asked = _differing(found.spec, spec)
    if asked:
        found = load(source, data_dir=data_dir, **asked)
    if _form(found.spec) != _form(spec):
        raise DataError(
            f"{source} holds observations {_said(found.spec)}, and {data.name} {_said(spec)}: "
            "name a set that can be read so (see: simulacra data)"
        )
    words = ", ".join(f"{name} {value}" for name, value in asked.items())
    notes = (f"{source} is read with {words}, as {data.name} is",) if asked else ()
    split = found.test
    names = [str(row) for row in range(len(split))]
    return Foreign(source, Observations(split.x, None, split.lengths, split.groups), names, notes)


def _form(spec: DataSpec) -> tuple[Any, ...]:
    """What two have to share for a model of one to take the other."""
    return (
        spec.event_shape, spec.levels, spec.ordered, spec.coding, spec.palette, spec.rate,
        spec.columns,
    )  # fmt: skip


def _differing(found: DataSpec, wanted: DataSpec) -> dict[str, Any]:
    """The options of reading that bring one form nearer to another."""
    if found.is_image != wanted.is_image or (found.rate is None) != (wanted.rate is None):
        return {}
    asked: dict[str, Any] = {}
    if wanted.is_image:
        channels, height, width = wanted.event_shape
        if found.event_shape[1:] != (height, width) and height == width:
            asked["side"] = height
        if found.event_shape[0] != channels or (found.palette and not wanted.palette):
            asked["colour"] = "grey" if channels == 1 else "rgb"
    elif wanted.rate is not None:
        if found.event_shape != wanted.event_shape:
            asked["window"] = wanted.event_shape[0]
        if found.rate != wanted.rate:
            asked["rate"] = wanted.rate
    if found.levels != wanted.levels and wanted.levels is not None and not wanted.palette:
        asked["levels"] = wanted.levels
    return asked


def _said(spec: DataSpec) -> str:
    shape = "×".join(map(str, spec.event_shape))
    return shape if spec.levels is None else f"{shape} of {spec.levels} levels"
