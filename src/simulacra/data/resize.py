"""The central square of pictures, resized: of image files, of levels, of indices of a palette."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

_PORTION = 1 << 22
"""Pixels that are resized at once."""


def centre_square(image: Image, side: int) -> Image:
    """The central square of a Pillow image, resized to `side × side` with a Lanczos filter.

    Of indices of a palette, between which nothing lies, Pillow takes the nearest pixel.
    """
    from PIL import Image

    width, height = image.size
    edge = min(width, height)
    left, top = (width - edge) // 2, (height - edge) // 2
    if (width, height) != (edge, edge):
        image = image.crop((left, top, left + edge, top + edge))
    return image.resize((side, side), Image.Resampling.LANCZOS)


def resize_levels(x: NDArray[Any], side: int, levels: int) -> NDArray[Any]:
    """Images `(N, C, H, W)` resized as `centre_square` does, many at once.

    Pillow resamples along rows, then along columns; so the images of a portion are laid one above
    the other for the first pass and side by side for the second, and no two of them mix.
    """
    from PIL import Image

    def stretch(pixels: NDArray[Any], width: int, height: int) -> NDArray[Any]:
        image = Image.fromarray(np.ascontiguousarray(pixels))
        return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))

    height, width = x.shape[2:]
    edge = min(height, width)
    left, top = (width - edge) // 2, (height - edge) // 2
    planes = x[:, :, top : top + edge, left : left + edge].reshape(-1, edge, edge)
    resized = np.empty((len(planes), side, side), x.dtype)
    portion = max(1, _PORTION // max(edge, side) ** 2)
    for start in range(0, len(planes), portion):
        # Pillow's 8-bit arithmetic where it can be, the same as for image files
        some = planes[start : start + portion].astype(np.uint8 if levels == 256 else np.float32)
        count = len(some)
        rows = stretch(some.reshape(count * edge, edge), side, count * edge)
        rows = rows.reshape(count, edge, side).transpose(1, 0, 2)
        both = stretch(rows.reshape(edge, count * side), count * side, side)
        squares = both.reshape(side, count, side).transpose(1, 0, 2)
        if squares.dtype != np.uint8:
            # Lanczos overshoots at edges
            squares = np.clip(np.rint(squares), 0, levels - 1)
        resized[start : start + count] = squares
    return resized.reshape(*x.shape[:2], side, side)


def resize_indices(x: Tensor, side: int) -> Tensor:
    """Images `(N, C, H, W)` resized as `centre_square` does indices of a palette."""
    height, width = x.shape[2:]
    edge = min(height, width)
    # the pixel in which the middle of the new one lies
    places = (2 * torch.arange(side) + 1) * edge // (2 * side)
    rows, columns = places + (height - edge) // 2, places + (width - edge) // 2
    return x[:, :, rows[:, None], columns]
