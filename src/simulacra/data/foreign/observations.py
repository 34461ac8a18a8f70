"""Observations of a file, in the form of the data that a model learned from."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulacra.data.columns import as_vectors
from simulacra.data.contexts import continuous
from simulacra.data.dataset import Dataset
from simulacra.data.form import Colour
from simulacra.data.formats.images import FAULTS, SUFFIXES, Picture, read_picture
from simulacra.data.formats.listing import shown
from simulacra.data.formats.npy import read_npy
from simulacra.data.intensities import Described, levels_of, recoloured
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
    _check(path, data)
    if path.suffix.lower() == ".npy":
        return _rows(read_npy(path), path, data)
    found = levels_of_image(path, data, data.options.get("side"))
    _check_size(found.shape, path, data)
    return found


def _check(path: Path, data: Dataset) -> None:
    """Refuse a file that is not there, or of a kind that cannot be of the form of the data."""
    name, suffix, spec = shown(str(path)), path.suffix.lower(), data.spec
    if path.is_dir():
        raise UsageError(f"{name} is a folder: name the files in it, as in {name}/*.png")
    if not path.exists():
        raise DataError(f"{name} does not exist: check the path")
    if suffix == ".npy":
        return
    if suffix not in SUFFIXES:
        raise UsageError(f"{name} is no image or .npy: expected {' '.join(sorted(SUFFIXES))} .npy")
    if not spec.is_image:
        raise UsageError(f"{name} is an image, and {data.name} holds {_form(spec)}: pass an .npy")


def read_noisy(path: Path, data: Dataset) -> Tensor:
    """A file whose values may lie between levels and beyond them, as what noise was added to.

    Args:
        path: As for `read_observations`; an .npy for data of levels also of floats, as
            `DataSpec.to_float` has them, which may lie beyond 0 and 1.
        data: That the model learned from, pictures or vectors.

    Returns:
        `(N, *event_shape)` floats: intensities from 0 to 1, or vectors.

    Raises:
        DataError: See `read_observations`, and if an intensity is no finite number.
        UsageError: See `read_observations`.
    """
    _check(path, data)
    spec = data.spec
    if path.suffix.lower() == ".npy":
        values = read_npy(path)
        if spec.levels is None or values.dtype.kind != "f":
            rows = _rows(values, path, data)
            return rows if spec.levels is None else spec.to_float(rows)
        return continuous(_several(values, path, spec, "f"), path)
    plain = _picture(path, data, data.options.get("side")).plain()
    pixels = recoloured(_channels_first(plain), data, shown(str(path)))
    _check_size(pixels.shape, path, data)
    return torch.from_numpy(pixels).float() / 255


def _rows(values: NDArray[Any], path: Path, data: Dataset) -> Tensor:
    """The observations that an .npy file holds."""
    spec = data.spec
    values = _several(values, path, spec, "f" if spec.levels is None else "iu")
    if spec.levels is None:
        numbers = continuous(values, path, wide=True)
        return as_vectors(numbers, spec, data.columns, shown(str(path)))
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= spec.levels:
        raise DataError(
            f"{shown(str(path))} should hold levels 0 … {spec.levels - 1}, got {low} … {high}"
        )
    return torch.from_numpy(values.astype(np.int64))


def _several(values: NDArray[Any], path: Path, spec: DataSpec, kinds: str) -> NDArray[Any]:
    """Values of one observation or several as several, `(N, *event_shape)`."""
    if values.shape == spec.event_shape:
        values = values[None]
    if values.shape[1:] != spec.event_shape or values.dtype.kind not in kinds or not len(values):
        raise DataError(
            f"{shown(str(path))} should hold {_form(spec)}, or rows of them, got {values.dtype} "
            f"{values.shape}"
        )
    return values


def _form(spec: DataSpec) -> str:
    kind = "floats" if spec.levels is None else f"levels 0 … {spec.levels - 1}"
    return f"{kind} ({', '.join(map(str, spec.event_shape))})"


def _check_size(shape: tuple[int, ...], path: Path, data: Dataset) -> None:
    """Refuse a picture `(1, C, h, w)` of another size than the data's."""
    (tall, wide), (height, width) = shape[2:], data.spec.event_shape[1:]
    if (tall, wide) != (height, width):
        raise DataError(
            f"{shown(str(path))} is {wide}×{tall}, and {data.name} holds images of "
            f"{width}×{height}: resize it, or train on images read with --side"
        )


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
    spec, picture = data.spec, _picture(path, data, side)
    if spec.palette is not None and picture.palette is not None:
        own = np.frombuffer(picture.palette, np.uint8).reshape(256, 3)[: len(spec.palette)]
        if (own == np.array(spec.palette)).all() and int(picture.pixels.max()) < len(own):
            # its own indices: of two with one colour the nearest would always be the first
            return torch.from_numpy(picture.pixels.astype(np.int64))[None, None]
    return levels_of(_channels_first(picture.plain()), data, shown(str(path)))[0]


def _picture(path: Path, data: Described, side: int | None) -> Picture:
    """An image file in the colours of the data; see `levels_of_image`."""
    spec = data.spec
    colour: Colour = "grey" if spec.event_shape[0] == 1 else "rgb"
    if spec.palette is not None:
        colour = "palette"
    try:
        with warnings.catch_warnings():
            # Pillow warns of much that is odd in a file; what matters it raises
            warnings.simplefilter("ignore")
            return read_picture(path, side=side, colour=colour)
    except FAULTS as fault:
        raise DataError(f"{shown(str(path))} cannot be read as an image: {_why(fault)}") from fault


def _channels_first(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey `(H, W)` or RGB `(H, W, 3)` as one picture `(1, C, H, W)`."""
    return pixels[None, None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)[None]


def _why(fault: BaseException) -> str:
    told = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
    return shown(told)
