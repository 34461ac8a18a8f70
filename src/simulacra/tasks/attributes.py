"""Plain attributes of observations, which nobody labelled: what is seen to change along a way."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.ground.spec import DataSpec

_COLUMNS = 6
"""Columns of vectors that are told, at most."""


def attributes(
    spec: DataSpec, values: Tensor, *, dark: bool = True, names: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """Attributes of observations by name, `(N,)` float64 each.

    Of pictures they are moments of ink, which is what differs from the ground: `ink`, its mean;
    `width` and `height`, the standard deviation of its columns and rows, in pixels; `slant`, how
    many pixels to the right it goes for each pixel up; and `stroke`, twice the ink for each unit of
    its outline, in pixels. Of sounds they are `loudness`, the root of the mean square, and
    `crossings` of zero for each sample, which rise with the pitch. Of vectors the first columns.

    Args:
        spec: Of the data.
        values: As `DataSpec.to_float` gives them, `(N, …)`.
        dark: Whether the ground of pictures is dark, and ink bright.
        names: Of the columns of vectors.
    """
    values = values.double()
    if spec.is_image:
        return _of_pictures(values.mean(1) if dark else 1 - values.mean(1))
    if spec.rate is not None:
        positive = (values > 0).double()
        return {
            "loudness": values.square().mean(1).sqrt(),
            "crossings": positive.diff(dim=1).abs().mean(1),
        }
    flat = values.flatten(1)
    return {
        names[i] if i < len(names) else f"value {i}": flat[:, i]
        for i in range(min(flat.shape[1], _COLUMNS))
    }


def _of_pictures(ink: Tensor) -> dict[str, Tensor]:
    """Of ink `(N, H, W)` in [0, 1]."""
    _, height, width = ink.shape
    total = ink.sum((1, 2)).clamp_min(1e-9)
    down = torch.arange(height, dtype=ink.dtype)[:, None]
    across = torch.arange(width, dtype=ink.dtype)[None]

    def mean(of: Tensor) -> Tensor:
        return (ink * of).sum((1, 2)) / total

    y, x = mean(down.expand(height, width)), mean(across.expand(height, width))
    from_y, from_x = down[None] - y[:, None, None], across[None] - x[:, None, None]
    tall = (ink * from_y.square()).sum((1, 2)) / total
    wide = (ink * from_x.square()).sum((1, 2)) / total
    leaning = (ink * from_y * from_x).sum((1, 2)) / total
    framed = torch.nn.functional.pad(ink, (1, 1, 1, 1))
    outline = framed.diff(dim=1).abs().sum((1, 2)) + framed.diff(dim=2).abs().sum((1, 2))
    return {
        "ink": ink.mean((1, 2)),
        "width": wide.sqrt(),
        "height": tall.sqrt(),
        "slant": -leaning / tall.clamp_min(1e-9),
        "stroke": 2 * total / outline.clamp_min(1e-9),
    }
