"""`NamedSet`: a data set known by name, and how it is read from its files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from simulacra.data.dataset import Dataset
from simulacra.data.form import Form, Kind
from simulacra.data.sets.files import data_folder, locate
from simulacra.ground.errors import DataError


@dataclass(frozen=True)
class NamedSet:
    """A data set known by name: what is in it, the files it needs, and how they are read.

    Args:
        name: What the user asks for.
        description: One sentence with the origin.
        event_shape: Shape of one observation.
        levels: Number of levels; `None` for continuous vectors.
        classes: Number of classes, 0 without labels.
        counts: Observations in train, validation and test.
        read: The data set, from the paths of its files in the order of `files`, and the form
            asked for, which pictures may leave to `reform`.
        files: For each file the names that it may have.
        folders: Names that its own folder may have, one level below the data folder.
        fixed: Whether the set is its levels, so that resizing or quantising makes another.
        kind: Which options of `Form` it takes.
    """

    name: str
    description: str
    event_shape: tuple[int, ...]
    levels: int | None
    classes: int
    counts: tuple[int, int, int]
    read: Callable[[NamedSet, list[Path], Form], Dataset]
    files: tuple[tuple[str, ...], ...] = ()
    folders: tuple[str, ...] = ()
    fixed: bool = False
    kind: Kind = "pictures"

    def missing(self, data_dir: str | Path | None) -> str:
        """What is missing and where it was looked for; empty if the set can be loaded."""
        if not self.files:
            return ""
        try:
            return locate(self.files, self.folders, data_dir)[1]
        except DataError as fault:
            return str(fault)

    def load(self, data_dir: str | Path | None, form: Form = Form()) -> Dataset:
        """The data set, from files in `data_dir` or the folder that the environment names.

        Raises:
            DataError: If files are missing, broken, or not what they should be.
        """
        if not self.files:
            return self.read(self, [], form)
        paths, missing = locate(self.files, self.folders, data_dir)
        if missing:
            raise DataError(f"{self.name} {missing} (nothing is downloaded)")
        return self.read(self, paths, form)

    def folder(self, data_dir: str | Path | None) -> str | None:
        """The data folder that `load` looks in, as it is recorded; `None` if it needs none."""
        folder = data_folder(data_dir) if self.files else None
        return None if folder is None else str(folder)


def labels_of(values: Tensor, classes: int, origin: Path) -> Tensor:
    """Labels as int64, all of them below `classes`.

    Raises:
        DataError: If one is not.
    """
    if len(values) and int(values.max()) >= classes:
        raise DataError(
            f"{origin} should hold labels 0 … {classes - 1}, got {int(values.max())}: "
            "get the file again"
        )
    return values.to(torch.int64)
