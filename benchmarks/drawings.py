"""Small drawings made by code: creatures of one palette, which anyone may copy and print."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.ground.randomness import seeded

SIDE = 12
COLOURS = (
    (255, 255, 255), (40, 40, 48), (220, 50, 47), (38, 110, 220), (60, 170, 60), (245, 195, 40),
    (150, 70, 190), (90, 200, 215),
)  # fmt: skip
"""Paper, outline and eyes, and the six colours of bodies."""


def drawings(n: int, seed: int = 0) -> Tensor:
    """Creatures, the same on their left and right: a body of one colour, a belly of another.

    Args:
        n: How many.
        seed: Of all that differs between them.

    Returns:
        RGB `(n, 3, SIDE, SIDE)` uint8, of the eight colours alone.
    """
    with seeded(seed):
        return torch.tensor(COLOURS, dtype=torch.uint8)[_indices(n)].permute(0, 3, 1, 2).clone()


def _indices(n: int) -> Tensor:
    """Places in the palette, `(n, SIDE, SIDE)`."""
    half = SIDE // 2
    rows = torch.arange(SIDE).view(1, SIDE, 1)
    columns = torch.arange(half).view(1, 1, half)  # counted from the middle

    def some(low: int, high: int) -> Tensor:
        return torch.randint(low, high, (n, 1, 1))

    top, head, waist = some(1, 4), some(2, 5), some(2, 6)
    neck, bottom = some(5, 7), some(9, 12)
    body = (columns < torch.where(rows < neck, head, waist)) & (rows >= top) & (rows < bottom)
    # two ears or horns, and two legs
    body |= (columns == head - 1) & (rows >= top - some(0, 2)) & (rows < top + 1)
    body &= ~((columns < some(0, 3)) & (rows >= bottom - some(0, 3)))
    first = some(2, len(COLOURS))
    second = torch.where(torch.rand(n, 1, 1) < 0.3, first, some(2, len(COLOURS)))
    belly = (columns < waist - 1) & (rows > neck) & (rows < bottom - 1)
    x = torch.where(body, torch.where(belly, second, first), 0)
    beside = torch.nn.functional.pad(body, (1, 1, 1, 1))
    # what lies left of the first column is its mirror image
    beside[:, 1:-1, 0] = body[:, :, 0]
    inside = beside[:, :-2, 1:-1] & beside[:, 2:, 1:-1] & beside[:, 1:-1, 2:] & beside[:, 1:-1, :-2]
    x = torch.where(body & ~inside, 1, x)
    x = torch.where((columns == some(0, 2)) & (rows == top + 2) & body, 1, x)
    return torch.cat([x.flip(2), x], 2)
