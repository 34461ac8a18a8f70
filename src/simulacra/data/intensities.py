"""Pictures of 8-bit intensities, as other programs write them, taken back to levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulacra.ground.errors import DataError
from simulacra.ground.spec import DataSpec


class Described(Protocol):
    """What is known of data without having them: a `Dataset` is, and what a run notes of one."""

    @property
    def name(self) -> str:
        """What they are called."""

    @property
    def spec(self) -> DataSpec:
        """Their form."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Keywords that load them."""


def recoloured(x: NDArray[Any], data: Described, place: str) -> NDArray[Any]:
    """Pictures `(N, C, H, W)` with as many channels as the data, if nothing is lost by it.

    Raises:
        DataError: If colour would have to be invented or lost.
    """
    channels = data.spec.event_shape[0]
    if x.shape[1] == channels:
        return x
    if channels == 3:
        raise DataError(
            f"all samples in {place} are grey, {data.name} is RGB: save them in colour, or judge "
            "them against --colour grey"
        )
    coloured = int((x != x[:, :1]).reshape(len(x), -1).any(1).sum())
    if coloured:
        raise DataError(
            f"{coloured} of {len(x)} samples in {place} have colours, {data.name} is grey: save "
            "them as grey by your program's own rule"
        )
    return x[:, :1]


def levels_of(x: NDArray[np.uint8], data: Described, place: str) -> tuple[Tensor, list[str]]:
    """Intensities of 8 bits as levels, by the rules of `foreign.read_samples`.

    Args:
        x: Grey `(N, 1, H, W)` or RGB `(N, 3, H, W)`, each 0 … 255.
        data: What the pictures are meant to look like.
        place: Where they come from, for messages.

    Returns:
        `(N, *event_shape)` int64, and what a reader of results has to know.

    Raises:
        DataError: If the colours do not fit, or intensities seem to be levels as they are.
    """
    if data.spec.palette is not None:
        return _indices(x, data.spec.palette)
    x = recoloured(x, data, place)
    table, notes = _table_of(x, data, place)
    return torch.from_numpy(table[x]), notes


def _table_of(
    x: NDArray[np.uint8], data: Described, place: str
) -> tuple[NDArray[np.int64], list[str]]:
    """The level of each of the 256 intensities."""
    levels = data.spec.levels or 0
    if levels > 256:
        raise DataError(
            f"{data.name} has {levels} levels, more than 8 bits hold: save them as .npy, integers "
            "or floats in [0, 1]"
        )
    counts = np.bincount(x.ravel(), minlength=256)
    used = np.flatnonzero(counts)
    exact = np.arange(levels) * 255 / (levels - 1)
    # programs round to even, round up, or cut
    written = (np.rint(exact), np.floor(exact + 0.5), np.floor(exact))
    for each in written:
        if np.isin(used, each).all():
            return np.searchsorted(each, np.arange(256)).astype(np.int64), []
    # a picture of the original intensities is seldom dark everywhere
    if used[-1] < levels <= 128:
        raise DataError(
            f"no pixel in {place} is brighter than {used[-1]} of 255, so they seem to be levels "
            f"0 … {levels - 1} as they are: write x · 255 / {levels - 1}, or levels as .npy"
        )
    every = np.arange(256)
    between = counts[~np.isin(every, written)].sum() / counts.sum()
    if "levels" in data.options:
        how = f"quantised to floor({levels} · x / 256)"
        table = every * levels // 256
    else:
        how = "taken to the nearest"
        table = np.rint(every * ((levels - 1) / 255)).astype(np.int64)
    return table, [f"{between:.1%} of the values lie between the {levels} levels and are {how}"]


def _indices(
    x: NDArray[np.uint8], palette: tuple[tuple[int, int, int], ...]
) -> tuple[Tensor, list[str]]:
    """Indices `(N, 1, H, W)` of the palette's nearest colours, and how many were not exact."""
    from scipy.spatial import KDTree

    red, green, blue = np.broadcast_to(x, (len(x), 3, *x.shape[2:])).swapaxes(0, 1).astype(np.int32)
    pixels = red << 16 | green << 8 | blue
    codes, counts = np.unique(pixels, return_counts=True)
    # of equal colours the first
    colours, first = np.unique(np.array(palette), axis=0, return_index=True)
    rgb = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], 1)
    distances, places = KDTree(colours).query(rgb)
    found = np.searchsorted(codes, pixels)
    indices = torch.from_numpy(first[places][found][:, None])
    other = int(counts[distances > 0].sum())
    if not other:
        return indices, []
    share = other / counts.sum()
    return indices, [
        f"{share:.1%} of the pixels ({other}) have no colour of the palette and take the nearest"
    ]
