"""Data sets from a folder of image files, its sub-folders being the classes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.files import ensure_room
from simulacra.data.form import Colour, Form
from simulacra.data.images import FAULTS, SUFFIXES, read_image
from simulacra.data.splits import ALIASES, FEWEST, arrange
from simulacra.errors import DataError
from simulacra.spec import DataSpec

_TOLERATED = 0.01
"""The share of files that may be unreadable before the folder is refused."""

_NAMED = 5
"""How many unreadable files an error names."""


_SPLIT_NAMES = {alias: split for split, aliases in ALIASES.items() for alias in aliases}


@dataclass(frozen=True)
class _Unreadable:
    """A file that could not be decoded, and why."""

    why: str


def load_folder(folder: Path, form: Form = Form()) -> Dataset:
    """The images of a folder and all folders below, sorted by name, split at random.

    If no image lies in the folder itself and at least two of its sub-folders hold some, these are
    the classes in alphabetical order. Sub-folders called `train` and `test` (and `validation`)
    are ready splits, and the classes lie within them. Hidden files and folders are passed over.

    Args:
        folder: The folder.
        form: `side` and `colour` are met here, file by file; without a colour, the images are RGB
            if any file is.

    Raises:
        DataError: If there are no images, more than one in a hundred cannot be read, or their
            sizes differ while no side is given.
    """
    files = find_images(folder)
    side, colour = form.side, form.colour
    pixels, kept, broken = _read_all(folder, files, side, colour)
    if len(broken) > _TOLERATED * len(files):
        named = ", ".join(f"{name} ({fault.why})" for name, fault in broken[:_NAMED])
        more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        raise DataError(
            f"{len(broken)} of {len(files)} images in {folder} cannot be read: {named}{more}: "
            "repair or remove them"
        )
    if len(kept) < FEWEST:
        raise DataError(f"{folder} holds {len(kept)} images, expected at least {FEWEST}: add more")
    has_splits = _has_splits(files)
    below = {file: _place(file, has_splits) for file in files}
    classes = _classes([name for _, name in below.values()])
    numbers = {name: number for number, name in enumerate(classes)}
    x = _stack(pixels)
    ready: dict[str, Observations] = {}
    for split in dict.fromkeys(split for split, _ in below.values()):
        rows = [row for row, file in enumerate(kept) if below[file][0] == split]
        labels = [numbers[below[kept[row]][1].split("/")[0]] for row in rows if classes]
        ready[split] = Observations(x[rows], torch.tensor(labels) if classes else None)
    return Dataset(
        name=folder.name or str(folder),
        spec=DataSpec(tuple(x.shape[1:]), 256, classes=len(classes)),
        **arrange(ready, folder),
        class_names=classes,
        description=f"Images from {folder}.",
        notes=(f"{len(broken)} files could not be read and were skipped",) if broken else (),
    )


def find_images(folder: Path) -> list[str]:
    """Paths of the image files below a folder, relative to it, with `/` on every system, sorted.

    Raises:
        DataError: If there are none.
    """
    found, others = [], 0
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [
            name for name in folders if not name.startswith(".") and not _loops(root, name)
        ]
        for name in names:
            if name.startswith("."):
                continue
            if Path(name).suffix.lower() in SUFFIXES:
                found.append((Path(root) / name).relative_to(folder).as_posix())
            else:
                others += 1
    if not found:
        holds = f"{others} other files but no image" if others else "no files"
        raise DataError(
            f"{folder} holds {holds}: expected files that end in {' '.join(sorted(SUFFIXES))}"
        )
    return sorted(found)


def _loops(root: str, name: str) -> bool:
    """Whether a folder is a link to one that it lies in."""
    path = os.path.join(root, name)
    return os.path.islink(path) and os.path.realpath(root).startswith(os.path.realpath(path))


def _has_splits(files: list[str]) -> bool:
    """Whether the folder holds nothing but ready splits, train and test at least."""
    tops = {file.split("/")[0] for file in files}
    return {"train", "test"} <= tops <= set(_SPLIT_NAMES)


def _place(file: str, has_splits: bool) -> tuple[str, str]:
    """A file's split, "" if there are none, and its path below the split's folder."""
    if not has_splits:
        return "", file
    top, rest = file.split("/", 1)
    return _SPLIT_NAMES[top], rest


def _classes(files: list[str]) -> tuple[str, ...]:
    """The sub-folders that are classes."""
    if any("/" not in file for file in files):
        return ()
    names = tuple(sorted({file.split("/")[0] for file in files}))
    return names if len(names) > 1 else ()


def _read_all(
    folder: Path, files: list[str], side: int | None, colour: Colour | None
) -> tuple[list[NDArray[np.uint8]], list[str], list[tuple[str, _Unreadable]]]:
    """Pixels of the readable files, their names, and the unreadable ones."""
    pixels: list[NDArray[np.uint8]] = []
    kept: list[str] = []
    broken: list[tuple[str, _Unreadable]] = []
    for file, image in _decoded(folder, files, side, colour):
        if isinstance(image, _Unreadable):
            broken.append((file, image))
            continue
        if not pixels:
            ensure_room(len(files) * image.size, str(folder))
        elif image.shape[:2] != pixels[0].shape[:2]:
            (tall, wide), (height, width) = pixels[0].shape[:2], image.shape[:2]
            raise DataError(
                f"images in {folder} differ in size, {kept[0]} is {wide}×{tall} and {file} is "
                f"{width}×{height}: pass --side N to crop and resize all of them"
            )
        pixels.append(image)
        kept.append(file)
    return pixels, kept, broken


def _decoded(
    folder: Path, files: list[str], side: int | None, colour: Colour | None
) -> Iterator[tuple[str, NDArray[Any] | _Unreadable]]:
    def read(file: str) -> NDArray[np.uint8] | _Unreadable:
        try:
            return read_image(folder / file, side=side, colour=colour)
        except FAULTS as fault:
            return _Unreadable(str(fault).replace(str(folder), "…") or type(fault).__name__)

    def read_some(some: list[str]) -> list[NDArray[np.uint8] | _Unreadable]:
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


def _stack(pixels: list[NDArray[np.uint8]]) -> torch.Tensor:
    """All images as `(N, 1, H, W)` if every one is grey, else `(N, 3, H, W)`."""
    height, width = pixels[0].shape[:2]
    channels = 3 if any(image.ndim == 3 for image in pixels) else 1
    stacked = np.empty((len(pixels), channels, height, width), np.uint8)
    for place, image in enumerate(pixels):
        stacked[place] = image if image.ndim == 2 else image.transpose(2, 0, 1)
    return torch.from_numpy(stacked)
