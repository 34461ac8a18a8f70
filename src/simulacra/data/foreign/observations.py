"""Observations of a file, in the form of the data that a model learned from."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simulacra.data.columns import as_vectors
from simulacra.data.contexts import continuous
from simulacra.data.dataset import Dataset
from simulacra.data.form import Colour
from simulacra.data.formats.images import FAULTS, SUFFIXES, read_picture
from simulacra.data.formats.listing import shown
from simulacra.data.formats.npy import read_npy
from simulacra.data.intensities import Described, levels_of
from simulacra.ground.errors import DataError, UsageError
from simulacra.ground.spec import DataSpec


def read_observations(path: Path, data: Dataset) -> Tensor:
    """A file as observations in the form of the data: an image, or an .npy of raw values.

    An image becomes grey, RGB or the palette's nearest colours, and as few levels, whatever it is
    stored as; and a square of the side that the data were asked for, if they were.

    Args:
        path: An image file, of one observation; or an .npy of levels or floats, of one observation
            `(*event_shape)` or several `(N, *event_shape)`.
        data: That the model learned from.

    Returns:
        `(N, *event_shape)`, int64 levels or float32.

    Raises:
        DataError: If the file is missing, cannot be read, or is of another form or size.
        UsageError: If it is a folder, or files of its kind cannot be of this form.
    """
    name, suffix, spec = shown(str(path)), path.suffix.lower(), data.spec
    if path.is_dir():
        raise UsageError(f"{name} is a folder: name the files in it, as in {name}/*.png")
    if not path.exists():
        raise DataError(f"{name} does not exist: check the path")
    if suffix == ".npy":
        return _rows(path, data)
    if suffix not in SUFFIXES:
        raise UsageError(f"{name} is no image or .npy: expected {' '.join(sorted(SUFFIXES))} .npy")
    if not spec.is_image:
        raise UsageError(f"{name} is an image, and {data.name} holds {_form(spec)}: pass an .npy")
    return _image(path, data)


def _rows(path: Path, data: Dataset) -> Tensor:
    """The observations of an .npy file."""
    spec = data.spec
    values = read_npy(path)
    if values.shape == spec.event_shape:
        values = values[None]
    kinds = "f" if spec.levels is None else "iu"
    if values.shape[1:] != spec.event_shape or values.dtype.kind not in kinds or not len(values):
        raise DataError(
            f"{shown(str(path))} should hold {_form(spec)}, or rows of them, got {values.dtype} "
            f"{values.shape}"
        )
    if spec.levels is None:
        numbers = continuous(values, path, wide=True)
        return as_vectors(numbers, spec, data.columns, shown(str(path)))
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= spec.levels:
        raise DataError(
            f"{shown(str(path))} should hold levels 0 … {spec.levels - 1}, got {low} … {high}"
        )
    return torch.from_numpy(values.astype(np.int64))


def _form(spec: DataSpec) -> str:
    kind = "floats" if spec.levels is None else f"levels 0 … {spec.levels - 1}"
    return f"{kind} ({', '.join(map(str, spec.event_shape))})"


def _image(path: Path, data: Dataset) -> Tensor:
    """The observation of an image file, `(1, C, H, W)`."""
    found = levels_of_image(path, data, data.options.get("side"))
    (tall, wide), (height, width) = found.shape[2:], data.spec.event_shape[1:]
    if (tall, wide) != (height, width):
        raise DataError(
            f"{shown(str(path))} is {wide}×{tall}, and {data.name} holds images of "
            f"{width}×{height}: resize it, or train on images read with --side"
        )
    return found


def levels_of_image(path: Path, data: Described, side: int | None = None) -> Tensor:
    """An image file in the colours and levels of the data, of whatever size it is.

    Args:
        path: The file.
        data: That the model learned from.
        side: See `read_picture`.

    Returns:
        `(1, C, h, w)` int64.

    Raises:
        DataError: If it cannot be read, or its colours do not fit.
    """
    name, spec = shown(str(path)), data.spec
    colour: Colour = "grey" if spec.event_shape[0] == 1 else "rgb"
    if spec.palette is not None:
        colour = "palette"
    try:
        with warnings.catch_warnings():
            # Pillow warns of much that is odd in a file; what matters it raises
            warnings.simplefilter("ignore")
            picture = read_picture(path, side=side, colour=colour)
    except FAULTS as fault:
        raise DataError(f"{name} cannot be read as an image: {_why(fault)}") from fault
    if spec.palette is not None and picture.palette is not None:
        own = np.frombuffer(picture.palette, np.uint8).reshape(256, 3)[: len(spec.palette)]
        if (own == np.array(spec.palette)).all() and int(picture.pixels.max()) < len(own):
            # its own indices: of two with one colour the nearest would always be the first
            return torch.from_numpy(picture.pixels.astype(np.int64))[None, None]
    plain = picture.plain()
    channels_first = plain[None, None] if plain.ndim == 2 else plain.transpose(2, 0, 1)[None]
    return levels_of(channels_first, data, name)[0]


def _why(fault: BaseException) -> str:
    told = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
    return shown(told)
