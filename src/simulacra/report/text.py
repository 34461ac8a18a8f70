"""Numbers and names as a report writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence

NONE = "–"
"""In the place of what is not known."""
MINUS = "−"


def number(value: float | None, error: float | None) -> str:
    """A number to the digits that its standard error supports: two where that begins with 1."""
    if value is None or not math.isfinite(value):
        return "not finite"
    return fixed(value, min(6, supported(error)))


def supported(error: float | None) -> int:
    """Decimals that an error supports: two digits of it where it begins with 1, else one."""
    if error is None or not math.isfinite(error) or error <= 0:
        return 3
    exponent = math.floor(math.log10(error))
    return max(0, -exponent + (error < 2 * 10.0**exponent))


def fixed(value: float, decimals: int, *, sign: bool = False) -> str:
    """A number with so many decimals; nothing is left of a minus in front of zero."""
    text = f"{value:{'+' if sign else ''},.{decimals}f}"
    if not text.strip("+-0.,"):
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def two_digits(value: float) -> int:
    """Decimals that show two significant digits of a value."""
    return max(0, 1 - math.floor(math.log10(abs(value)))) if value else 0


PREFIXES = ("", "k", "M", "G", "T", "P", "E")
"""Of thousands, millions and so on."""


def listed(names: Sequence[str]) -> str:
    """Names as a list in a sentence."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
