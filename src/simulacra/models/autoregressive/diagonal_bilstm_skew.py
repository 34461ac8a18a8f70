"""The diagonals of a picture: the skewed map of van den Oord et al. 2016 (arXiv 1601.06759).

Figure 3 shifts each row of the map one place further than the row above, so that diagonals become
columns. Here the pixels are sorted by diagonals, which skews the map without its empty places.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


class Diagonals(nn.Module):
    """The pixels of a picture in the order of the diagonals that go down from the right.

    Args:
        height: Rows.
        width: Pixels in a row.

    Attributes:
        fronts: The first row that each diagonal goes through, and one past the last.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        diagonals = range(height + width - 1)
        self.fronts = [(max(0, d - width + 1), min(height, d + 1)) for d in diagonals]
        pixels = torch.tensor(
            [i * width + d - i for d, rows in enumerate(self.fronts) for i in range(*rows)]
        )
        row, column = pixels // width, pixels % width
        mirrored = row * width + width - 1 - column
        place, mirrored_place = pixels.argsort(), mirrored.argsort()
        nowhere = torch.full((width,), height * width)
        below = torch.cat([nowhere, mirrored_place[:-width]])
        for name, there in (
            ("diagonal", pixels), ("mirrored", place[mirrored]), ("below", below[pixels]),
            ("raster", place),
        ):  # fmt: skip
            back = torch.full_like(there, len(there))
            found = there < len(there)
            back[there[found]] = torch.arange(len(there))[found]
            self.register_buffer(name, torch.stack([there, back]), persistent=False)

    def move(self, x: Tensor, to: Literal["diagonal", "mirrored", "below", "raster"]) -> Tensor:
        """Features `(H × W, N, C)` in another order.

        Args:
            x: The features.
            to: `diagonal` puts those in raster order in order of the diagonals, `raster` the other
                way round. `mirrored` puts the former in the order that the diagonals of the
                mirrored picture have; `below` puts what is in that order back, each pixel in the
                place of the one below it, and zeros in the first row.
        """
        features: Tensor = _Moved.apply(x, *getattr(self, to))  # type: ignore[no-untyped-call]
        return features


class _Moved(torch.autograd.Function):
    """Rows in another order; an index past the end stands for zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor) -> Tensor:  # noqa: ANN401
        ctx.back = back
        return pad(x, (0, 0, 0, 0, 0, 1)).index_select(0, there)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        return pad(grads[0], (0, 0, 0, 0, 0, 1)).index_select(0, ctx.back), None, None
