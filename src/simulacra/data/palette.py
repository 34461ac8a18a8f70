"""Pictures as 1-of-N colours: levels without an order, each standing for one colour."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulacra.data.dataset import Dataset, smallest_dtype
from simulacra.data.formats.safe_reading import ensure_room
from simulacra.data.stored import Rows, StoredRows, changed
from simulacra.ground.errors import DataError, UsageError
from simulacra.ground.randomness import keys_from
from simulacra.ground.spec import DataSpec

COLOURS = 256
"""As many colours as an indexed picture can have, if no number is asked for."""

_MOST_FOUND = 1024
"""More clusters than this cost minutes, and as many outputs a pixel in every model."""

_SAMPLE = 100_000
"""Training pixels that the colours are found from."""

_PORTION = 1 << 20
"""Pixels that are converted at once."""


def to_palette(dataset: Dataset, colours: int | None = None) -> Dataset:
    """The same pictures as indices of a palette, the same one on every load.

    Colours are RGB of 8 bits; grey is one of them. If all splits together have no more than asked
    for, exactly these are kept, dark to light, and nothing is lost. Else k-means finds as many
    from training pixels alone, and every pixel takes the nearest.

    Args:
        dataset: Pictures: grey, RGB, or of a palette, which stays as it is, numbering included,
            if it has no more colours than asked for, and is joined to fewer otherwise.
        colours: At most so many, at least 2; 256 if not given.

    Returns:
        Levels `(N, 1, H, W)` without an order. Its notes say whether colours were kept or found,
        and with which mean squared error over the red, green and blue levels of training pixels.

    Raises:
        DataError: If there is only one colour.
        UsageError: If the data are no pictures, or the number of colours is out of range.
    """
    spec = dataset.spec
    if not spec.is_image or spec.levels is None:
        raise UsageError(f"a palette is for pictures; {dataset.name} holds {spec.event_shape}")
    if colours is not None and colours < 2:
        raise UsageError(f"a palette needs at least 2 colours, got {colours}")
    most = colours or COLOURS
    if spec.palette is not None and spec.levels <= (colours or spec.levels):
        return dataset
    code = _coder(spec)
    distinct = _distinct(dataset, code)
    if len(distinct) < 2:
        raise DataError(
            f"every pixel of {dataset.name} has the same colour: a palette needs at least two"
        )
    kept = len(distinct) <= most
    palette = _by_luma(distinct if kept else _found(dataset, code, most))
    if len(palette) < 2:
        raise DataError(f"every training pixel of {dataset.name} has the same colour: add others")
    # one table from every 24-bit colour spares a search for each pixel
    table = torch.zeros(1 << 24, dtype=smallest_dtype(len(palette))).numpy()
    table[distinct] = _nearest(distinct, palette)
    pixels = sum(dataset.counts.values()) * spec.event_shape[1] * spec.event_shape[2]
    if not isinstance(dataset.train.x, StoredRows):
        ensure_room(pixels * table.itemsize, f"{dataset.name} as colours")
    parts = {
        name: replace(part, x=changed(part.x, lambda x: _indices(x, code, table)))
        for name, part in dataset.splits.items()
    }
    if kept:
        note = f"palette: all {len(palette)} colours of the pictures are kept"
    else:
        error = _error(dataset.train.x, code, lambda codes: palette[table[codes]])
        how = "found by k-means" if error else "of training pixels kept"
        note = (
            f"palette: {len(palette)} colours {how} for {len(distinct)}, mean squared "
            f"error {error:.3g} over red, green and blue (0 … 255) of training pixels"
        )
    triples = tuple(tuple(colour) for colour in _rgb(palette).tolist())
    return replace(
        dataset,
        **parts,  # type: ignore[arg-type]
        spec=replace(
            spec,
            event_shape=(1, *spec.event_shape[1:]),
            levels=len(palette),
            ordered=False,
            coding="palette",
            palette=triples,
        ),
        notes=(*dataset.notes, note),
    )


def from_palette(dataset: Dataset) -> Dataset:
    """Pictures of a palette as plain RGB `(N, 3, H, W)` of 256 levels; nothing is lost."""
    spec = dataset.spec
    if not isinstance(dataset.train.x, StoredRows):
        ensure_room(3 * spec.dims * sum(dataset.counts.values()), f"{dataset.name} as RGB")
    colours = torch.tensor(spec.palette, dtype=torch.uint8)

    def rgb(x: Tensor) -> Tensor:
        return colours[x[:, 0].long()].movedim(-1, 1).contiguous()

    parts = {name: replace(part, x=changed(part.x, rgb)) for name, part in dataset.splits.items()}
    return replace(
        dataset,
        **parts,  # type: ignore[arg-type]
        spec=replace(
            spec,
            event_shape=(3, *spec.event_shape[1:]),
            levels=256,
            ordered=True,
            coding="plain",
            palette=None,
        ),
    )


_Code = Callable[[Tensor], NDArray[np.int32]]


def _coder(spec: DataSpec) -> _Code:
    """What makes `(n, H, W)` numbers 0xRRGGBB of levels `(n, C, H, W)`."""
    if spec.palette is not None:
        red, green, blue = np.array(spec.palette, np.int32).T
        own = red << 16 | green << 8 | blue
        return lambda x: own[x[:, 0].numpy()]
    levels = spec.levels or 0
    eight = np.rint(np.arange(levels) * (255 / (levels - 1))).astype(np.int32)
    if spec.event_shape[0] == 1:
        return lambda x: eight[x[:, 0].numpy()] * 0x010101
    return lambda x: (
        eight[x[:, 0].numpy()] << 16 | eight[x[:, 1].numpy()] << 8 | eight[x[:, 2].numpy()]
    )


def _portions(x: Rows) -> Iterator[Tensor]:
    yield from x.split(max(1, _PORTION // (x.shape[-1] * x.shape[-2])))


def _indices(x: Tensor, code: _Code, table: NDArray[Any]) -> Tensor:
    """What the table says of each pixel, `(N, 1, H, W)`."""
    indices = np.empty((len(x), 1, *x.shape[2:]), table.dtype)
    start = 0
    for some in _portions(x):
        indices[start : start + len(some), 0] = table[code(some)]
        start += len(some)
    return torch.from_numpy(indices)


def _distinct(dataset: Dataset, code: _Code) -> NDArray[np.int64]:
    """Every colour of any split, once."""
    seen = np.zeros(1 << 24, bool)
    for part in dataset.splits.values():
        for some in _portions(part.x):
            seen[code(some)] = True
    return np.flatnonzero(seen)


def _rgb(codes: NDArray[Any]) -> NDArray[np.int64]:
    """Red, green and blue `(n, 3)` of 0xRRGGBB."""
    return np.stack([codes >> 16 & 255, codes >> 8 & 255, codes & 255], axis=-1).astype(np.int64)


def _by_luma(codes: NDArray[Any]) -> NDArray[np.int64]:
    """Colours from dark to light by the luma of ITU-R 601, equals by their number."""
    luma = _rgb(codes) @ np.array([19595, 38470, 7471])
    return codes[np.lexsort((codes, luma))].astype(np.int64)


def _found(dataset: Dataset, code: _Code, count: int) -> NDArray[np.int64]:
    """At most `count` colours near to those of training pixels."""
    if count > _MOST_FOUND:
        raise UsageError(
            f"{dataset.name} has more than {count} colours, and k-means finds {_MOST_FOUND} at "
            f"most: ask for fewer levels, or for colour rgb"
        )
    colours, weights = np.unique(_sample(dataset.train.x, code), return_counts=True)
    if len(colours) <= count:
        return colours.astype(np.int64)
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    # one thread: several would sum in another order on another number of cores
    with threadpool_limits(1):
        clusters = KMeans(count, n_init=1, random_state=0, max_iter=40, tol=0).fit(
            _rgb(colours).astype(np.float64), sample_weight=weights
        )
    red, green, blue = np.rint(clusters.cluster_centers_).clip(0, 255).astype(np.int64).T
    return np.unique(red << 16 | green << 8 | blue)


def _sample(x: Rows, code: _Code) -> NDArray[np.int32]:
    """Colours of all pixels, or of random ones if there are more than enough."""
    height, width = x.shape[2:]
    total = len(x) * height * width
    if total <= _SAMPLE:
        places = torch.arange(total)
    else:
        # our own hashes: NumPy and torch promise no random numbers across their versions
        places = keys_from(0, torch.arange(_SAMPLE)) % total
    pixels = [
        x[some // (height * width)][
            torch.arange(len(some)), :, some // width % height, some % width
        ]
        for some in places.split(max(1, _PORTION // (height * width)))
    ]
    return code(torch.cat(pixels)[:, :, None, None])[:, 0, 0]


def _nearest(codes: NDArray[np.int64], palette: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each colour the place of the nearest in the palette, the first of equals."""
    # whole numbers below 2^24, which float32 holds exactly: the same answer everywhere
    targets = _rgb(palette).astype(np.float32)
    squares = (targets**2).sum(1)
    nearest = np.empty(len(codes), np.int64)
    portion = max(1, (_PORTION << 2) // len(palette))
    for start in range(0, len(codes), portion):
        some = _rgb(codes[start : start + portion]).astype(np.float32)
        nearest[start : start + portion] = (squares - 2 * some @ targets.T).argmin(1)
    return nearest


def _error(x: Rows, code: _Code, replaced: Callable[[NDArray[Any]], NDArray[Any]]) -> float:
    """Mean squared difference of red, green and blue between pixels and what replaces them."""
    total = 0
    for some in _portions(x):
        codes = code(some)
        total += int(((_rgb(codes) - _rgb(replaced(codes))) ** 2).sum())
    return total / (3 * len(x) * x.shape[-1] * x.shape[-2])
