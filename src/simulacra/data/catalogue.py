"""`load`: any data set by its name or path; and the catalogue of those with a name."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from simulacra.data.arrays import load_arrays
from simulacra.data.cifar import CIFAR10
from simulacra.data.dataset import Dataset
from simulacra.data.digits import DIGITS
from simulacra.data.folder import load_folder
from simulacra.data.mnist import BINARIZED_MNIST, BINARIZED_MNIST_DYNAMIC, FASHION_MNIST, MNIST
from simulacra.data.named import NamedSet
from simulacra.data.olivetti import OLIVETTI_FACES
from simulacra.data.reform import Colour, check_options, reform
from simulacra.errors import DataError, nearest

NAMES: dict[str, NamedSet] = {
    named.name: named
    for named in (
        DIGITS,
        MNIST,
        FASHION_MNIST,
        BINARIZED_MNIST,
        BINARIZED_MNIST_DYNAMIC,
        CIFAR10,
        OLIVETTI_FACES,
    )
}
"""Data sets known by name."""


def load(
    source: str,
    *,
    side: int | None = None,
    colour: Colour | None = None,
    levels: int | None = None,
    data_dir: str | Path | None = None,
) -> Dataset:
    """A data set by its name or path, in the form asked for. Nothing is ever downloaded.

    Args:
        source: A name from `NAMES`; or the path of a folder of images, an .npy or an .npz file.
            A name wins over a path: write `./digits` for a folder called like a set.
        side: Crop the central square of each image and resize it to `side × side`.
        colour: `grey` or `rgb`; as the images are if not given.
        levels: Quantise to so many levels, floor(levels · x / old levels).
        data_dir: The folder with the files of named sets, directly or in a folder of the set's
            name; without it, the environment variable SIMULACRA_DATA.

    Raises:
        DataError: If the data are missing, broken, or not what their files claim.
        UsageError: If an option does not fit the data.
        ResourceError: If they would not fit into memory.
    """
    check_options(side, colour, levels)
    if source in NAMES:
        named = NAMES[source]
        folder = named.folder(data_dir)
        dataset = reform(
            named.load(data_dir), side=side, colour=colour, levels=levels, fixed=named.fixed
        )
    else:
        path = _existing(source)
        source, folder = str(path), None
        if path.is_dir():
            dataset = load_folder(path, side=side, colour=colour)
        elif path.suffix.lower() in (".npy", ".npz"):
            dataset = load_arrays(path, levels)
        else:
            raise DataError(f"{path} is one file: expected a folder of images, an .npy or an .npz")
        dataset = reform(dataset, side=side, colour=colour, levels=levels)
    options = {
        "source": source,
        "side": side,
        "colour": colour,
        "levels": levels,
        "data_dir": folder,
    }
    return replace(dataset, options=options)


@dataclass(frozen=True)
class Row:
    """One line of the catalogue: what a named set holds, and what is missing to load it."""

    name: str
    description: str
    event_shape: tuple[int, ...]
    levels: int
    classes: int
    counts: tuple[int, int, int]
    missing: str

    @property
    def available(self) -> bool:
        """Whether it can be loaded here and now."""
        return not self.missing


def catalogue(data_dir: str | Path | None = None) -> list[Row]:
    """Every named set and whether its files are here, without reading them.

    Args:
        data_dir: As in `load`.
    """
    return [
        Row(
            name=named.name,
            description=named.description,
            event_shape=named.event_shape,
            levels=named.levels,
            classes=named.classes,
            counts=named.counts,
            missing=named.missing(data_dir),
        )
        for named in NAMES.values()
    ]


def _existing(source: str) -> Path:
    """The absolute path that a source names.

    Raises:
        DataError: If there is nothing there.
    """
    path = Path(os.path.abspath(Path(source).expanduser()))
    if source.strip() and path.exists():
        return path
    if "/" in source or "\\" in source or path.suffix:
        raise DataError(f"{path} does not exist: check the path, or {nearest(source, NAMES)}")
    raise DataError(
        f"no data set is called {source!r}: {nearest(source, NAMES)} (or pass a path to a folder "
        "of images, an .npy or an .npz)"
    )
