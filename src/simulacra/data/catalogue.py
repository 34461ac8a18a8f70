"""`load`: any data set by its name or path; and the catalogue of those with a name."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simulacra.data.arrays import load_arrays
from simulacra.data.dataset import Dataset
from simulacra.data.form import Form, Kind
from simulacra.data.formats.images import SUFFIXES as PICTURES
from simulacra.data.formats.listing import list_files
from simulacra.data.pictures import load_pictures
from simulacra.data.reform import reform
from simulacra.data.sets.cifar10 import CIFAR10
from simulacra.data.sets.digits import DIGITS
from simulacra.data.sets.fsdd import FSDD
from simulacra.data.sets.known_pictures import KNOWN
from simulacra.data.sets.mnist import (
    BINARIZED_MNIST,
    BINARIZED_MNIST_DYNAMIC,
    FASHION_MNIST,
    MNIST,
    STACKED_MNIST,
)
from simulacra.data.sets.named import NamedSet
from simulacra.data.sets.olivetti import OLIVETTI_FACES
from simulacra.data.sets.sprites import POKEMON_SPRITES
from simulacra.data.sets.toy_densities import TOYS
from simulacra.ground.errors import DataError, UsageError, nearest

NAMES: dict[str, NamedSet] = {
    named.name: named
    for named in (
        DIGITS,
        MNIST,
        FASHION_MNIST,
        BINARIZED_MNIST,
        BINARIZED_MNIST_DYNAMIC,
        STACKED_MNIST,
        CIFAR10,
        OLIVETTI_FACES,
        POKEMON_SPRITES,
        FSDD,
        *TOYS,
        *KNOWN,
    )
}
"""Data sets known by name."""


def load(source: str, *, data_dir: str | Path | None = None, **asked: Any) -> Dataset:  # noqa: ANN401
    """A data set by its name or path, in the form asked for.

    Nothing is ever downloaded, unless the source begins with `hf:`. A large folder of pictures is
    decoded once, into the folder that SIMULACRA_CACHE names, and its rows stay in that file.

    Args:
        source: A name from `NAMES`; the path of a folder of images or sounds, a .zip of sounds,
            an .npy, .npz, .csv, .tsv or .parquet file; or `hf:NAME` for a data set on the
            Hugging Face hub. A name wins over a path: write `./digits` for a folder called like
            a set.
        data_dir: The folder with the files of named sets, directly or in a folder of the set's
            name; without it, the environment variable SIMULACRA_DATA.
        **asked: The arguments of `Form`: `side`, `levels` and so on.

    Raises:
        DataError: If the data are missing, broken, or not what their files claim.
        UsageError: If an option is unknown or does not fit the data.
        ResourceError: If they would not fit into memory.

    Example:
        >>> import simulacra as sim
        >>> data = sim.load_data("digits", levels=4)
        >>> data.spec.event_shape, data.spec.levels
        ((1, 8, 8), 4)
    """
    unknown = [name for name in asked if name not in Form.__dataclass_fields__]
    if unknown:
        near = nearest(unknown[0], Form.__dataclass_fields__)
        raise UsageError(f"data have no option {unknown[0]!r}: {near}")
    context = asked.get("context")
    if context is not None:
        # absolute, so that a run finds it again from another folder
        asked["context"] = Path(os.path.abspath(Path(context).expanduser()))
    if isinstance(asked.get("column"), list):
        asked["column"] = tuple(asked["column"])  # as a record has it
    form = Form(**asked)
    folder = None
    if source in NAMES:
        named = NAMES[source]
        folder = named.folder(data_dir)
        form.check(named.kind, source)
        if form.labels is not None and named.kind == "pictures":
            raise UsageError(f"{source} has its own labels, or none: leave --labels out")
        if form.column:
            raise UsageError(f"{source} has its own columns: leave --column out")
        if form.groups is not None:
            raise UsageError(f"{source} has splits of its own: leave --groups out")
        dataset = _reformed(named.load(data_dir, form), named.kind, form, fixed=named.fixed)
    elif source.startswith(HUB):
        from simulacra.data.hub import load_hub

        place = source.removeprefix(HUB)
        if place.startswith((".", "~")):
            place = os.path.abspath(Path(place).expanduser())
            source = HUB + place
        dataset, kind = load_hub(place, form)
        replace(form, limit=None).check(kind, source)
        dataset = _reformed(dataset, kind, form)
    else:
        path = _existing(source)
        source = str(path)
        dataset, kind = _read(path, form)
        dataset = _reformed(dataset, kind, form)
    given = {name: getattr(form, name) for name in form.given}
    if "context" in given:
        given["context"] = str(given["context"])
    if "column" in given:
        given["column"] = list(given["column"])
    return replace(dataset, options={"source": source, **given, "data_dir": folder})


HUB = "hf:"
"""How the name begins of a data set on the Hugging Face hub."""


def _read(path: Path, form: Form) -> tuple[Dataset, Kind]:
    """The data of a path, and their kind; options that change arrays are left to `_reformed`.

    Raises:
        DataError: If it is of no kind that is known.
    """
    suffix = path.suffix.lower()
    if path.is_dir() or suffix == ".zip":
        from simulacra.data.formats.soundfiles import SUFFIXES, holds_sounds
        from simulacra.data.sounds import load_sounds

        listing = list_files(path, PICTURES | SUFFIXES) if path.is_dir() else None
        if holds_sounds(path, listing):
            form.check("sounds", path.name)
            return load_sounds(path, form), "sounds"
        if listing is not None:
            form.check("pictures", path.name)
            return load_pictures(path, form, listing.only(PICTURES)), "pictures"
    if suffix in (".npy", ".npz"):
        if form.labels is not None:
            raise UsageError(f"labels of {path.name} are its array y, not {form.labels!r}")
        if form.column:
            raise UsageError(f"columns of {path.name} are numbers: leave --column out")
        levels = None if form.colour == "palette" else form.levels
        dataset = load_arrays(path, levels, form.groups)
        kind: Kind = "pictures" if dataset.spec.is_image or dataset.spec.levels else "tables"
        form.check(kind, path.name)
        return dataset, kind
    if suffix in (".csv", ".tsv", ".parquet"):
        from simulacra.data.tables import load_table

        form.check("tables", path.name)
        return load_table(path, form), "tables"
    raise DataError(
        f"{path} is one file: expected a folder of pictures or sounds, a .zip of sounds, an .npy, "
        ".npz, .csv, .tsv or .parquet"
    )


def _reformed(dataset: Dataset, kind: Kind, form: Form, *, fixed: bool = False) -> Dataset:
    """The data in the form asked for, with their context."""
    if kind == "pictures":
        dataset = reform(
            dataset, side=form.side, colour=form.colour, levels=form.levels, fixed=fixed
        )
    if form.context is not None:
        from simulacra.data.contexts import with_contexts

        dataset = with_contexts(dataset, form.context)
    if form.labelled is not None:
        from simulacra.data.labelled import labelled

        dataset = labelled(dataset, form.labelled, seed=form.labelled_seed)
    if form.flip or form.shift:
        from simulacra.data.augment import augmented

        dataset = augmented(dataset, flip=form.flip, shift=form.shift or 0)
    return dataset


@dataclass(frozen=True)
class Row:
    """One line of the catalogue: what a named set holds, and what is missing to load it."""

    name: str
    description: str
    event_shape: tuple[int, ...]
    levels: int | None
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
        raise DataError(f"{path} does not exist: check the path")
    raise DataError(
        f"no data set is called {source!r}: {nearest(source, NAMES)} (or pass a path to a folder "
        "of pictures or sounds, a .zip of sounds, an .npy, .npz, .csv, .tsv or .parquet)"
    )
