"""The beginning of a picture or a sound, of a file: what is given of it, and where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simulacra.data.foreign.observations import levels_of_image
from simulacra.data.formats.images import SUFFIXES as PICTURES
from simulacra.data.formats.images import read_opacity
from simulacra.data.formats.listing import open_regular, shown
from simulacra.data.formats.npy import read_npy
from simulacra.data.formats.safe_reading import ensure_room
from simulacra.data.formats.soundfiles import SUFFIXES as SOUNDS
from simulacra.data.formats.soundfiles import UNREADABLE, decode
from simulacra.data.intensities import Described
from simulacra.data.sounds import resampled
from simulacra.data.windows import mu_law
from simulacra.ground.errors import DataError, UsageError


def read_beginning(path: Path, data: Described) -> tuple[Tensor, Tensor]:
    """What a file gives of an observation.

    Args:
        path: A picture as wide as those of the data and no higher: its rows are the first ones,
            but for what is transparent. Or a sound: its samples, at the data's rate, are the first
            ones, and those beyond the window are cut. Or an .npy of levels `(C, h, W)`, `(h, W)`
            of one channel, or `(t,)`, −1 where none is given.
        data: That the model learned from, of pictures or sounds.

    Returns:
        Levels `(*event_shape)` int64, 0 where none is given, and booleans, true where one is.

    Raises:
        DataError: If the file is missing, cannot be read, is of another width or gives nothing.
        UsageError: If files of its kind cannot begin such data.
    """
    name, suffix, spec = shown(str(path)), path.suffix.lower(), data.spec
    kinds = PICTURES if spec.is_image else SOUNDS
    if path.is_dir() or suffix not in {".npy", *kinds}:
        kind = "a folder" if path.is_dir() else repr(suffix)
        raise UsageError(f"a start is one of {' '.join(sorted(kinds))} .npy, got {kind}: {name}")
    if not path.exists():
        raise DataError(f"{name} does not exist: check the path")
    if suffix == ".npy":
        some = _rows(path, data)
    elif spec.is_image:
        some = _picture(path, data)
    else:
        some = _sound(path, data)
    # of a sound; a picture is no higher
    some = some if spec.is_image else some[: spec.dims]
    kept = some >= 0
    if not kept.any():
        raise DataError(f"{name} gives nothing: all of it is left to be drawn")
    levels = torch.zeros(spec.event_shape, dtype=torch.int64)
    observed = torch.zeros(spec.event_shape, dtype=torch.bool)
    # sounds have one axis, and pictures begin with rows
    place = (slice(None), slice(some.shape[1])) if spec.is_image else slice(len(some))
    levels[place], observed[place] = some.clamp(min=0), kept
    return levels, observed


def _picture(path: Path, data: Described) -> Tensor:
    """Levels `(C, h, W)`, −1 where the picture is transparent."""
    some = levels_of_image(path, data)[0]
    _check_size(tuple(some.shape[1:]), path, data)
    opaque = torch.from_numpy(read_opacity(path))
    return torch.where(opaque, some, -1)


def _check_size(size: tuple[int, ...], path: Path, data: Described) -> None:
    (tall, wide), (height, width) = size, data.spec.event_shape[1:]
    if wide != width or tall > height:
        raise DataError(
            f"{shown(str(path))} is {wide}×{tall}, and {data.name} holds pictures of "
            f"{width}×{height}: a start is as wide as these, and no higher"
        )


def _sound(path: Path, data: Described) -> Tensor:
    """Levels `(t,)`."""
    name, spec = shown(str(path)), data.spec
    assert spec.rate is not None
    assert spec.levels is not None
    try:
        ensure_room(path.stat().st_size, name)
        with open_regular(path) as stream:
            sound, rate = decode(stream.read())
    except UNREADABLE as fault:
        raise DataError(f"{name} cannot be read as a sound: {shown(str(fault))}") from fault
    levels = mu_law(resampled(sound, rate, spec.rate), spec.levels)
    return torch.from_numpy(levels.astype(np.int64))


def _rows(path: Path, data: Described) -> Tensor:
    """Levels `(C, h, W)` or `(t,)` of an .npy file, −1 where none is given."""
    name, spec = shown(str(path)), data.spec
    values = read_npy(path)
    if spec.is_image and spec.event_shape[0] == 1 and values.ndim == 2:
        values = values[None]
    form = f"(t,) of at most {spec.dims}"
    if spec.is_image:
        form = f"({spec.event_shape[0]}, h, {spec.event_shape[2]})"
    if values.ndim != len(spec.event_shape) or values.dtype.kind not in "iu" or not values.size:
        raise DataError(f"{name} should hold levels {form}, got {values.dtype} {values.shape}")
    if spec.is_image and values.shape[0] != spec.event_shape[0]:
        raise DataError(f"{name} should hold levels {form}, got {values.shape}")
    if spec.is_image:
        _check_size(values.shape[1:], path, data)
    low, high = int(values.min()), int(values.max())
    if low < -1 or high >= (spec.levels or 0):
        raise DataError(
            f"{name} should hold levels 0 … {(spec.levels or 0) - 1}, or −1 where they are to be "
            f"drawn, got {low} … {high}"
        )
    return torch.from_numpy(values.astype(np.int64))
