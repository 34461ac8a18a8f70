"""Many pictures as one of pixels, each enlarged without smoothing."""

from __future__ import annotations

import math

import torch
from PIL import Image
from torch import Tensor

from simulacra.drawing.style import GAP
from simulacra.ground.errors import UsageError

TILE = 48  # pixels that a tile's longer side comes near to; whole scales give about 35 to 71


def grid(
    pictures: Tensor, *, columns: int | None = None, scale: int | None = None, gap: int = 1
) -> Image.Image:
    """One picture of many, row by row, each enlarged by a whole number without smoothing.

    Args:
        pictures: Floats in [0, 1], `(N, C, H, W)` with one channel or three.
        columns: Tiles in a row; by default the square root of N, rounded up.
        scale: Pixels for each side of a pixel; by default a tile comes near to 48 pixels.
        gap: Light grey pixels between tiles, not enlarged. Empty places at the end are so too.

    Raises:
        UsageError: If shape, kind of number, range or an option is not as above.
    """
    if pictures.ndim != 4 or pictures.shape[1] not in (1, 3) or pictures.numel() == 0:
        raise UsageError(
            "a grid needs pictures (N, C, H, W), at least one, with 1 or 3 channels, "
            f"got {tuple(pictures.shape)}"
        )
    if not pictures.is_floating_point():
        raise UsageError(f"a grid needs floats, got {pictures.dtype}: pass levels to spec.to_float")
    pictures = pictures.detach().to("cpu", torch.float32)
    if not bool(pictures.isfinite().all()):
        count = int((~pictures.isfinite()).sum())
        raise UsageError(f"a grid needs finite numbers, got {count} values that are not")
    low, high = float(pictures.min()), float(pictures.max())
    if low < -1e-4 or high > 1 + 1e-4:  # rounding in float16 may pass one by that much
        raise UsageError(f"a grid needs values in [0, 1], got {low:g} … {high:g}")
    n, channels, height, width = pictures.shape
    columns = math.ceil(math.sqrt(n)) if columns is None else columns
    scale = max(1, round(TILE / max(height, width))) if scale is None else scale
    if columns < 1 or scale < 1 or gap < 0:
        raise UsageError(
            f"a grid needs columns ≥ 1, scale ≥ 1, gap ≥ 0, got {columns}, {scale}, {gap}"
        )
    columns = min(columns, n)
    rows = math.ceil(n / columns)
    tiles = (pictures.clamp(0, 1) * 255).round().to(torch.uint8)
    tiles = tiles.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3).movedim(1, -1)
    high_tile, wide_tile = height * scale, width * scale
    canvas = torch.full(
        (rows * (high_tile + gap) - gap, columns * (wide_tile + gap) - gap, channels),
        GAP,
        dtype=torch.uint8,
    )
    for i, tile in enumerate(tiles):
        top, left = (i // columns) * (high_tile + gap), (i % columns) * (wide_tile + gap)
        canvas[top : top + high_tile, left : left + wide_tile] = tile
    return Image.fromarray((canvas[..., 0] if channels == 1 else canvas).numpy())
