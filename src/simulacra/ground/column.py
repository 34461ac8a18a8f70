"""`Column`: what one value of a continuous vector stands for. Nothing here needs torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from simulacra.ground.errors import UsageError

ColumnKind = Literal["number", "category"]


@dataclass(frozen=True)
class Column:
    """What one value of a continuous vector stands for: (value − offset) / scale is what is held.

    Vectors are float32. By an offset large numbers keep their digits there, and by a scale sizes
    that it does not reach.

    Args:
        kind: A `number`; or a `category`, which is held as its place `0 … levels − 1`.
        levels: Of a category, how many it takes; `None` for a number.
        offset: In the column's own unit, a float64.
        scale: How much of the column's own unit a 1 of what is held stands for, a float64.
        words: What each category is called, if they have names.
    """

    kind: ColumnKind = "number"
    levels: int | None = None
    offset: float = 0.0
    scale: float = 1.0
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no column can be."""
        if self.kind not in get_args(ColumnKind):
            raise UsageError(
                f"a column is one of {', '.join(get_args(ColumnKind))}, got {self.kind!r}"
            )
        if type(self.offset) is not float or type(self.scale) is not float:
            raise UsageError(f"offset and scale are floats, got {self.offset!r}, {self.scale!r}")
        if not math.isfinite(self.offset) or not 0 < self.scale < math.inf:
            raise UsageError(
                "a column needs a finite offset and a positive finite scale, got "
                f"{self.offset} and {self.scale}"
            )
        if self.kind == "number":
            if self.levels is not None or self.words:
                raise UsageError("levels and words are for columns of categories, not of numbers")
            return
        if type(self.levels) is not int or self.levels < 2:
            raise UsageError(f"a category needs at least 2 levels, got {self.levels!r}")
        if (self.offset, self.scale) != (0, 1):
            raise UsageError("places of categories have no offset and no scale")
        if self.words and len(self.words) != self.levels:
            raise UsageError(f"{self.levels} categories need as many words, got {len(self.words)}")
