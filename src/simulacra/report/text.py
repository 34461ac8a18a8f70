"""Numbers and names as a report writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

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


def interval_column(
    figures: Sequence[Mapping[str, Any] | None],
    *,
    percent: bool = False,
    sign: bool = False,
    least: int = 0,
    most: int = 4,
) -> list[str]:
    """Figures as a column on the same decimals, each with its 95 % interval: `0.81 [0.60, 1.02]`.

    The decimals are those that the narrowest interval of the column supports.

    Args:
        figures: `value`, `low`, `high`, the ends null where there is no interval; `None` for a
            row without the figure.
        percent: Shares, written as percentages.
        sign: Differences, written with their sign.
        least: Decimals at least, whatever the intervals support.
        most: Decimals at most; of percentages one.
    """
    scale = 100.0 if percent else 1.0
    found = [f for f in figures if f and _finite(f.get("value"))]
    widths = [
        scale * (f["high"] - f["low"]) / 2
        for f in found
        if _finite(f.get("low")) and _finite(f.get("high")) and f["high"] > f["low"]
    ]
    decimals = max(map(supported, widths)) if widths else 2
    decimals = min(1 if percent else most, max(decimals, least))
    return [_with_interval(f, scale, decimals, sign) for f in figures]


def two_digits(value: float) -> int:
    """Decimals that show two significant digits of a value."""
    return max(0, 1 - math.floor(math.log10(abs(value)))) if value else 0


def _with_interval(f: Mapping[str, Any] | None, scale: float, decimals: int, sign: bool) -> str:
    if not f:
        return NONE
    if not _finite(f.get("value")):
        return "not finite"
    unit = " %" if scale == 100 else ""
    text = fixed(scale * f["value"], decimals, sign=sign)
    if _finite(f.get("low")) and _finite(f.get("high")):
        ends = (fixed(scale * f[end], decimals, sign=sign) for end in ("low", "high"))
        return f"{text}{unit} [{', '.join(ends)}]"
    return text + unit


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def count(value: int | None) -> str:
    """A whole number with its thousands set apart."""
    return NONE if value is None else f"{value:,}"


def seconds(value: float | None) -> str:
    """A duration to about three digits and never finer than a millisecond."""
    if value is None or not math.isfinite(value):
        return NONE
    if 0 < value < 0.001:
        return "<0.001"
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"


def amount(value: float | None, unit: str = "") -> str:
    """A quantity to three digits in thousands, millions and so on: `1.23 GFLOP`, `12.3 M`."""
    if value is None or not math.isfinite(value):
        return NONE
    power = 0
    # 999.6 has three digits as 1.00 of the next
    while abs(value) >= 999.5 and power < len(_PREFIXES) - 1:
        value, power = value / 1000, power + 1
    whole = power == 0 and float(value).is_integer()
    decimals = 0 if whole or abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{fixed(value, decimals)} {_PREFIXES[power]}{unit}".rstrip()


_PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def small(value: float | None) -> str:
    """A number near zero to two digits: `0.031`, `2.1e−7`, `0`."""
    if value is None or not math.isfinite(value):
        return NONE
    text = f"{value:.2g}".replace("e-0", "e-")
    return text.replace("-", MINUS)


def listed(names: Sequence[str]) -> str:
    """Names as a list in a sentence."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
