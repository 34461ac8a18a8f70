"""Samples that any program made, read in the form of the data that they are judged against.

Nothing is resized, resampled, cropped or dropped to make samples fit, for each of these would
change the figures that they get: what does not fit is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulacra.data.dataset import Dataset
from simulacra.data.file_names import check_broken
from simulacra.data.foreign.sample_arrays import Read, from_arrays, from_table
from simulacra.data.formats.images import FAULTS, read_picture
from simulacra.data.formats.images import SUFFIXES as PICTURES
from simulacra.data.formats.listing import counted, list_files, shown
from simulacra.data.formats.npy import some
from simulacra.data.formats.safe_reading import ensure_room
from simulacra.data.formats.soundfiles import SUFFIXES as SOUNDS
from simulacra.data.formats.soundfiles import UNREADABLE, SoundFiles, decode
from simulacra.data.intensities import levels_of
from simulacra.data.windows import mu_law
from simulacra.ground.errors import DataError
from simulacra.ground.spec import DataSpec

FEWEST_SAMPLES = 20
"""Fewer samples than this say nothing about a model."""

_TABLES = (".csv", ".tsv", ".parquet")
_NAMED = 5
"""So many folders or classes a note names."""


def read_samples(path: Path, data: Dataset) -> tuple[Tensor, Tensor | None, tuple[str, ...]]:
    """Samples as raw levels, or floats, of exactly the data's form.

    A folder of pictures; a folder or .zip of sounds; an .npy or .npz of pictures, sounds or
    vectors; a .csv, .tsv or .parquet of vectors. Folders named as the data's classes are labels,
    and so is the array `y` or `labels` of an .npz.

    - Integers in arrays are levels.
    - Pictures of 8 bits, and floats in [0, 1], which are first rounded to 8 bits, are intensities.
      If all are what `DataSpec.to_float` shows, rounded or cut to 8 bits, they become exactly
      those levels. Otherwise, if the data were quantised by `levels`, so are they, by the same
      floor(L · x / 256), and if not, each pixel takes the nearest level.
    - For a palette, each pixel takes the nearest colour.
    - Amplitudes of sounds take the nearest level of the μ-law.

    Args:
        path: The folder or file.
        data: What the samples are meant to look like.

    Returns:
        `(n, *event_shape)` int64 levels or float32, labels `(n,)` int64 if there are any for all,
        and what a reader of results has to know.

    Raises:
        DataError: If they are fewer than 20, more than one file in a hundred cannot be read, or
            something about them is not as in the data: kind, size, colour, range, rate, length.
        ResourceError: If they would not fit into memory.
    """
    path, spec = path.expanduser(), data.spec
    place, suffix = shown(str(path)), path.suffix.lower()
    if not path.exists():
        raise DataError(f"{place} does not exist: check the path of the samples")
    if suffix in PICTURES | SOUNDS and not path.is_dir():
        beside = path.with_suffix(".npy")
        better = shown(str(beside)) if beside.exists() else "the .npy with the samples' levels"
        raise DataError(
            f"{place} is one file, and samples in one picture or sound cannot be told apart: pass "
            f"{better}, or a folder with one file for each sample"
        )
    folder = path.is_dir() or suffix == ".zip"
    if suffix in (".npy", ".npz") and not folder:
        x, labels, notes = from_arrays(path, data)
    elif folder and spec.coding == "mu-law":
        x, labels, notes = _from_sounds(path, data)
    elif path.is_dir() and spec.is_image:
        x, labels, notes = _from_pictures(path, data)
    elif suffix in _TABLES and not folder and spec.levels is None:
        x, labels, notes = from_table(path, data)
    else:
        raise DataError(
            f"samples of {data.name} may come as {_files(spec)}an .npy or an .npz, got {place}"
        )
    if len(x) < FEWEST_SAMPLES:
        raise DataError(f"{place} holds {counted(len(x), 'sample')}, expected {FEWEST_SAMPLES}")
    spec.check(x)
    if spec.levels is not None and spec.levels > 2 and spec.ordered and spec.coding == "plain":
        highest, usual = int(x.max()), max(int(some.max()) for some in data.train.x.split(1000))
        if 2 * highest < usual:
            notes.append(f"no sample has a level above {highest}, the data go up to {usual}")
    return x, labels, tuple(notes)


def _files(spec: DataSpec) -> str:
    """What samples may come as, beside arrays."""
    if spec.coding == "mu-law":
        return "a folder or .zip of sounds, as "
    if spec.is_image:
        return "a folder of pictures, one for each sample, as "
    return "a .csv, .tsv or .parquet, as " if spec.levels is None else ""


# ---- files -------------------------------------------------------------------------------------


def _from_pictures(folder: Path, data: Dataset) -> Read:
    place, (_, height, width) = shown(str(folder)), data.spec.event_shape
    listing = list_files(folder, PICTURES)
    if not listing.files:
        holds = f"holds {counted(listing.others, 'file')} but no picture"
        raise DataError(
            f"{place} {holds if listing.others else 'is empty'}: expected a picture for each "
            "sample (pass an .npy or .npz by its own path)"
        )
    # as bytes, and as the levels that are returned
    ensure_room(11 * len(listing.files) * height * width * data.spec.event_shape[0], place)
    kept: dict[str, NDArray[np.uint8]] = {}
    broken: list[tuple[str, str]] = []
    animated = 0
    with warnings.catch_warnings():
        # Pillow warns of much that is odd in a file; what matters it raises
        warnings.simplefilter("ignore")
        for name in listing.files:
            try:
                picture = read_picture(folder / name)
            except FAULTS as fault:
                broken.append((name, _why(fault, folder)))
                continue
            tall, wide = picture.pixels.shape[:2]
            if (tall, wide) != (height, width):
                raise DataError(
                    f"{shown(name)} in {place} is {wide}×{tall}, the pictures of {data.name} are "
                    f"{width}×{height}: samples are never resized, which would change their "
                    "figures (if it is a grid of samples, pass their .npy)"
                )
            kept[name] = picture.plain()
            animated += picture.animated
    notes = _skipped(broken, len(listing.files), place, "picture")
    if listing.others:
        notes.append(f"{counted(listing.others, 'file')} with other endings passed over")
    if listing.again:
        notes.append(f"{counted(len(listing.again), 'link')} to folders read already passed over")
    if animated:
        notes.append(f"{counted(animated, 'file')} of several frames: the first frame is taken")
    lossy = sum(Path(name).suffix.lower() in (".jpg", ".jpeg") for name in kept)
    if lossy:
        notes.append(f"{counted(lossy, 'file')} compressed as JPEG, which changes fine detail")
    rgb = any(pixels.ndim == 3 for pixels in kept.values())
    x = np.empty((len(kept), 3 if rgb else 1, height, width), np.uint8)
    for row, pixels in enumerate(kept.values()):
        # grey among RGB loses nothing
        x[row] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    levels, more = levels_of(x, data, place)
    labels, told = _from_folders(list(kept), data)
    return levels, labels, [*notes, *more, *told]


def _from_sounds(path: Path, data: Dataset) -> Read:
    place, spec = shown(str(path)), data.spec
    (window,) = spec.event_shape
    kept: dict[str, NDArray[np.integer]] = {}
    broken: list[tuple[str, str]] = []
    beyond = 0
    with SoundFiles(path) as files:
        if not files.names:
            raise DataError(f"{place} holds no sound: expected one for each sample")
        ensure_room(9 * len(files.names) * window, place)
        for name in files.names:
            try:
                sound, rate = decode(files.read(name))
            except UNREADABLE as fault:
                broken.append((name, _why(fault, path)))
                continue
            what = f"{shown(name)} in {place}"
            if spec.rate is not None and rate != spec.rate:
                raise DataError(
                    f"{what} has {rate} samples a second, {data.name} has {spec.rate}: sounds are "
                    "never resampled, which would change their figures"
                )
            if len(sound) != window:
                raise DataError(
                    f"{what} is {len(sound)} samples long, the windows of {data.name} are "
                    f"{window}: sounds are never cut or padded"
                )
            beyond += bool((np.abs(sound) > 1).any())
            kept[name] = mu_law(sound, spec.levels or 0)
    notes = _skipped(broken, len(kept) + len(broken), place, "sound")
    if beyond:
        notes.append(f"{counted(beyond, 'sound')} with samples beyond ±1, which are clipped")
    x = np.stack(list(kept.values())).astype(np.int64)
    labels, told = _from_folders(list(kept), data)
    return torch.from_numpy(x), labels, [*notes, *told]


def _skipped(broken: list[tuple[str, str]], total: int, place: str, noun: str) -> list[str]:
    """A note on files that were skipped, with the first one's name; see `check_broken`."""
    notes = check_broken(broken, total, place, noun)
    if not broken:
        return []
    (name, why), more = broken[0], len(broken) - 1
    return [f"{notes[0]}: {shown(name)} ({why})" + (f" and {more} more" if more else "")]


def _why(fault: BaseException, path: Path) -> str:
    """What is wrong with a file, on one line and without its path."""
    told = getattr(fault, "strerror", None) or str(fault)
    return shown(" ".join(told.replace(str(path), "…").split())) or type(fault).__name__


def _from_folders(names: Sequence[str], data: Dataset) -> tuple[Tensor | None, list[str]]:
    """Labels by folders that are called as classes, if every file lies in just one of them.

    Where there are folders and no labels, a note says why.
    """
    classes = data.class_names
    folders = [name.rpartition("/")[0] for name in names]
    if not classes or not any(folders):
        return None, []
    numbers = {name: number for number, name in enumerate(classes)}
    found = [
        {numbers[part] for part in map(shown, folder.split("/")) if part in numbers}
        for folder in folders
    ]
    if all(len(each) == 1 for each in found):
        return torch.tensor([number for (number,) in found]), []
    strange = dict.fromkeys(
        shown(folder) for folder, each in zip(folders, found, strict=True) if folder and not each
    )
    both = next((f for f, each in zip(folders, found, strict=True) if len(each) > 1), None)
    if strange:
        called = some(classes) if len(classes) <= _NAMED else f"{classes[0]} … {classes[-1]}"
        are = "folder {} is not a class" if len(strange) == 1 else "folders {} are not classes"
        why = f"{are.format(some(tuple(strange), _NAMED))} ({called})"
    elif both is not None:
        why = f"folder {shown(both)} names more than one class"
    else:
        why = f"{counted(folders.count(''), 'file')} beside the folders of classes"
    return None, [f"the samples have no labels: {why}"]
