"""Another form of the same images: cropped to a square, grey or RGB, of fewer levels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from simulacra.data.dataset import Dataset, smallest_dtype
from simulacra.data.form import Colour
from simulacra.data.formats.safe_reading import ensure_room
from simulacra.data.palette import from_palette, to_palette
from simulacra.data.resize import resize_indices, resize_levels
from simulacra.data.stored import changed
from simulacra.ground.errors import UsageError


def reform(
    dataset: Dataset,
    *,
    side: int | None = None,
    colour: Colour | None = None,
    levels: int | None = None,
    fixed: bool = False,
) -> Dataset:
    """The data set in the form asked for; an option that it already meets changes nothing.

    Args:
        dataset: Images, or vectors if only `levels` is given.
        side: Crop the central square and resize it to `side × side`.
        colour: `grey` by the luma of ITU-R 601, `rgb` by repeating the grey channel, `palette`
            of at most `levels` colours. Pictures of a palette are resized as RGB, or pixel by
            pixel where `palette` is asked for.
        levels: Quantise level x of L to floor(levels · x / L); of a palette, its colours.
        fixed: Refuse what would change a set that is defined by its levels.

    Raises:
        UsageError: If an option does not fit the data.
    """
    shape = dataset.spec.event_shape
    if not dataset.spec.is_image and (side is not None or colour is not None):
        raise UsageError(f"side and colour are for images; {dataset.name} holds vectors {shape}")
    if colour == "palette" or dataset.spec.palette is not None:
        return _of_palette(dataset, side, colour, levels, fixed=fixed)
    recolour = colour is not None and shape[0] != (1 if colour == "grey" else 3)
    resize = side is not None and shape[1:] != (side, side)
    requantise = levels is not None and levels != dataset.spec.levels
    if fixed and (recolour or resize or requantise):
        raise _defined(dataset)
    if recolour and colour == "grey":
        dataset = _each(dataset, to_grey)
    if resize and side is not None:
        ensure_room(sum(dataset.counts.values()) * dataset.spec.event_shape[0] * side**2, "resized")
        old = dataset.spec.levels or 0
        dataset = _each(dataset, lambda x: torch.from_numpy(resize_levels(x.numpy(), side, old)))
    if recolour and colour == "rgb":
        dataset = _each(dataset, to_rgb)
    if requantise and levels is not None:
        return _quantised(dataset, levels)
    return dataset


def _defined(dataset: Dataset) -> UsageError:
    return UsageError(
        f"{dataset.name} is defined by its {dataset.spec.levels} levels at "
        f"{dataset.spec.event_shape}: another side, colour or number of levels would be another set"
    )


def _of_palette(
    dataset: Dataset, side: int | None, colour: Colour | None, levels: int | None, *, fixed: bool
) -> Dataset:
    """`reform` where pictures come with a palette, or one is asked for."""
    if dataset.spec.palette is None:
        if fixed:
            raise _defined(dataset)
        return to_palette(reform(dataset, side=side), levels)
    resize = side is not None and dataset.spec.event_shape[1:] != (side, side)
    if colour in ("grey", "rgb") or (resize and colour is None):
        # between two colours of a palette there is no other: only RGB can be smoothed
        plain = reform(from_palette(dataset), side=side, colour=colour, levels=levels)
        if colour is not None:
            return plain
        note = "colours were mixed to resize: --colour palette takes the nearest pixel instead"
        return replace(plain, notes=(*plain.notes, note))
    if resize and side is not None:
        dataset = _each(dataset, lambda x: resize_indices(x, side))
    return to_palette(dataset, levels)


def to_grey(x: Tensor) -> Tensor:
    """Grey `(N, 1, H, W)` of RGB `(N, 3, H, W)`, in the same levels and with Pillow's rounding."""
    wide = torch.int32 if x.dtype == torch.uint8 else torch.int64
    red, green, blue = (x[:, i : i + 1].to(wide) for i in range(3))
    # the weights of ITU-R 601 in 16 bits; they sum to 2^16
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).to(x.dtype)


def to_rgb(x: Tensor) -> Tensor:
    """RGB `(N, 3, H, W)` of grey `(N, 1, H, W)`."""
    return x.repeat(1, 3, 1, 1)


def _quantised(dataset: Dataset, levels: int) -> Dataset:
    old = dataset.spec.levels
    if old is None:
        raise UsageError(f"{dataset.name} holds continuous vectors, which have no levels")
    if levels > old:
        raise UsageError(f"{dataset.name} has {old} levels: levels can be fewer, got {levels}")
    # a table spares the eight bytes a value that the product would take
    table = (torch.arange(old) * levels // old).to(smallest_dtype(levels)).numpy()
    reduced = _each(dataset, lambda x: torch.from_numpy(table[x.numpy()]))
    return replace(reduced, spec=replace(dataset.spec, levels=levels))


def _each(dataset: Dataset, change: Callable[[Tensor], Tensor]) -> Dataset:
    splits = {
        name: replace(part, x=changed(part.x, change)) for name, part in dataset.splits.items()
    }
    shape = tuple(splits["train"].x.shape[1:])
    return replace(dataset, spec=replace(dataset.spec, event_shape=shape), **splits)  # type: ignore[arg-type]
