"""`Figure`: a number with what it takes to believe it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from simulacra.ground.errors import UsageError


@dataclass(frozen=True)
class Figure:
    """A measured number and its 95 % interval.

    Args:
        value: The number; never NaN: what cannot be measured has no figure.
        count: Observations or samples behind it.
        low: Lower end of the interval; `None` where there is no honest one.
        high: Upper end.

    Raises:
        UsageError: If a number is NaN, or the interval does not hold the value.
    """

    value: float
    count: int
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is no figure."""
        numbers = [n for n in (self.low, self.value, self.high) if n is not None]
        if any(math.isnan(n) for n in numbers) or (self.low is None) != (self.high is None):
            raise UsageError(f"a figure is a number with both ends or none, got {numbers}")
        if numbers != sorted(numbers):
            raise UsageError(f"a figure lies within its interval, got {numbers}")
