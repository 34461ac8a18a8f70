"""Data sets from a folder of image files; classes by sub-folders, or by file names."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from simulacra.data.dataset import Dataset
from simulacra.data.file_names import Arranged, arranged, check_broken
from simulacra.data.form import Form
from simulacra.data.formats.images import FAULTS, SUFFIXES, Picture, look_up, read_picture
from simulacra.data.formats.listing import Listing, counted, list_files, shown
from simulacra.data.formats.safe_reading import ensure_room
from simulacra.data.labels import form_of, names_of
from simulacra.data.splits import FEWEST, arrange
from simulacra.ground.errors import DataError
from simulacra.ground.spec import DataSpec


@dataclass(frozen=True)
class _Unreadable:
    """A file that could not be decoded, and why."""

    why: str


def load_folder(folder: Path, form: Form = Form()) -> Dataset:
    """The images of a folder and all folders below, sorted by name, split at random.

    If no image lies in the folder itself and at least two of its sub-folders hold some, these are
    the classes in alphabetical order. Sub-folders called `train` and `test` (and `validation`)
    are ready splits, and the classes lie within them. Hidden files and folders are passed over,
    and so are links to folders that are read anyway.

    Images are RGB if any file is, else grey. If all are stored with one and the same palette, they
    stay its indices, unless a colour or a smooth resizing is asked for.

    Args:
        folder: The folder.
        form: `side` and `colour` are met here, file by file, save that colours of a palette are
            not counted or found; `labels` is a pattern of file names that replaces sub-folders,
            and `groups` one of what never spans two splits.

    Raises:
        DataError: If there are no images, more than one in a hundred cannot be read, their sizes
            differ while no side is given, or a name does not fit the pattern of labels or groups.
        UsageError: If a pattern is none, gives every image the same label, or makes labels of
            groups.
        ResourceError: If they would not fit into memory.
    """
    listing = list_files(folder, SUFFIXES)
    place = shown(str(folder))
    if not listing.files:
        others = counted(listing.others, "other file") + " but no image"
        raise DataError(
            f"{place} holds {others if listing.others else 'no files'}: "
            f"expected files that end in {' '.join(sorted(SUFFIXES))}"
        )
    pictures, broken = _read_all(folder, listing.files, form)
    told = [(name, fault.why) for name, fault in broken]
    notes = check_broken(told, len(listing.files), place, "image")
    if len(pictures) < FEWEST:
        raise DataError(
            f"{place} holds {counted(len(pictures), 'image')}, expected at least {FEWEST}: add more"
        )
    names = arranged(listing.files, form.labels, form.groups, place, "image")
    notes += [*_notes(listing, list(pictures.values()), names, form), *names.notes]
    places = {file: place for place, file in enumerate(listing.files)}
    kept = [places[file] for file in pictures]
    x, spec = _stack(list(pictures.values()), place)
    if spec.palette is not None:
        notes.append(
            f"palette: the {len(spec.palette)} colours that all files share are kept in their "
            "order (--colour rgb reads plain RGB)"
        )
    return Dataset(
        name=shown(folder.name) or place,
        spec=replace(spec, **form_of(names.names, place)),
        **arrange(names.ready(x, kept), folder),
        **names_of(names.names),
        description=f"Images from {place}.",
        notes=tuple(notes),
    )


def _notes(
    listing: Listing,
    pictures: list[Picture],
    names: Arranged,
    form: Form,
) -> Iterator[str]:
    """What a reader of results has to know of these files."""
    animated = sum(picture.animated for picture in pictures)
    if animated:
        yield f"{counted(animated, 'file')} of several frames: the first frame is taken"
    enlarged = sum(picture.enlarged for picture in pictures)
    if enlarged:
        yield f"{counted(enlarged, 'image')} smaller than side {form.side} enlarged"
    if listing.again:
        links = counted(len(listing.again), "link")
        yield f"{links} to folders read already passed over, such as {shown(listing.again[0])}"
    has_splits = "" not in names.splits
    tops = [name for name in listing.folders if name.count("/") == has_splits]
    empty = [top for top in tops if not any(f.startswith(f"{top}/") for f in listing.files)]
    if empty and form.labels is None and names.names:
        first, number = shown(empty[0]), counted(len(empty), "sub-folder")
        yield f"{number} without images, such as {first}: no class is made of it"
    if (
        form.labels is None
        and form.groups is None
        and not names.names
        and all(file.count("/") > has_splits for file in listing.files)
    ):
        yield "all images lie in one sub-folder: classes need two"


def _read_all(
    folder: Path, files: tuple[str, ...], form: Form
) -> tuple[dict[str, Picture], list[tuple[str, _Unreadable]]]:
    """The readable files by name, and the unreadable ones."""
    pictures: dict[str, Picture] = {}
    broken: list[tuple[str, _Unreadable]] = []
    for file, picture in _decoded(folder, files, form):
        if isinstance(picture, _Unreadable):
            broken.append((file, picture))
            continue
        if not pictures:
            first, (tall, wide) = file, picture.pixels.shape[:2]
            # twice, while they are laid together
            ensure_room(2 * len(files) * picture.pixels.size, shown(str(folder)))
        elif picture.pixels.shape[:2] != (tall, wide):
            height, width = picture.pixels.shape[:2]
            raise DataError(
                f"images in {shown(str(folder))} differ in size, {shown(first)} is {wide}×{tall} "
                f"and {shown(file)} is {width}×{height}: pass --side N to crop and resize all of "
                "them"
            )
        pictures[file] = picture
    return pictures, broken


def _decoded(
    folder: Path, files: tuple[str, ...], form: Form
) -> Iterator[tuple[str, Picture | _Unreadable]]:
    def read(file: str) -> Picture | _Unreadable:
        try:
            return read_picture(folder / file, side=form.side, colour=form.colour)
        except FAULTS as fault:
            why = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
            return _Unreadable(shown(why.replace(str(folder), "…")) or type(fault).__name__)

    def read_some(some: tuple[str, ...]) -> list[Picture | _Unreadable]:
        return [read(file) for file in some]

    from PIL import Image

    # Pillow loads its plugins at first need, which threads would do over each other
    Image.init()
    # Pillow's decoders release the interpreter lock; a task per file would cost as much as a file
    portions = [files[i : i + 64] for i in range(0, len(files), 64)]
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        # Pillow warns of much that is odd in a file; what matters it raises
        warnings.simplefilter("ignore")
        for portion, images in zip(portions, pool.map(read_some, portions), strict=True):
            yield from zip(portion, images, strict=True)


def _stack(pictures: list[Picture], place: str) -> tuple[torch.Tensor, DataSpec]:
    """All images as `(N, C, H, W)` and their form without classes.

    Indices of a palette if all have the same, else `C` is 1 if every image is grey, or 3.
    """
    height, width = pictures[0].pixels.shape[:2]
    palettes = {picture.palette for picture in pictures}
    palette = pictures[0].palette if len(palettes) == 1 else None
    if palette is not None:
        used = np.unique(np.concatenate([np.unique(picture.pixels) for picture in pictures]))
        levels = int(used[-1]) + 1
        if look_up(palette, used).ndim == 1 or levels < 2:
            palette = None
    images: Iterator[NDArray[np.uint8]]
    if palette is not None:
        colours = [tuple(palette[3 * i : 3 * i + 3]) for i in range(levels)]
        triples = tuple((red, green, blue) for red, green, blue in colours)
        spec = DataSpec(
            (1, height, width), levels, ordered=False, coding="palette", palette=triples
        )
        images = (picture.pixels for picture in pictures)
    else:
        grey = all(picture.plain().ndim == 2 for picture in pictures)
        spec = DataSpec((1 if grey else 3, height, width), 256)
        images = (picture.plain() for picture in pictures)
    ensure_room(len(pictures) * spec.dims, place)
    stacked = np.empty((len(pictures), *spec.event_shape), np.uint8)
    for row, image in enumerate(images):
        stacked[row] = image if image.ndim == 2 else image.transpose(2, 0, 1)
    return torch.from_numpy(stacked), spec
