"""Quality against work as an SVG, both on scales of ratios."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from simulacra.drawing.curves import axes_beside, colour, lettered, named_axes, svg
from simulacra.drawing.style import INK, PALETTE, QUIET
from simulacra.ground.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axis import Axis

_MARKS = "osD^vPX"


def quality(
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_label: str,
    y_label: str,
    floor: tuple[str, float] | None = None,
    size: tuple[float, float] = (7.8, 3.9),
) -> bytes:
    """An SVG of lines through points, and of points alone, each named on the right.

    The names stand in the order of the lowest point of each, the highest on top.

    Args:
        series: Name → work and quality, all positive; one with a single point has no line.
        x_label: Words under the axis.
        y_label: Words above the vertical axis.
        floor: Name and height of a dotted line.
        size: Width and height in inches.

    Raises:
        UsageError: If there is nothing to draw, or a number is not positive and finite.
    """
    across = [work for pairs in series.values() for work, _ in pairs]
    up = [found for pairs in series.values() for _, found in pairs]
    up += [] if floor is None else [floor[1]]
    drawable = all(0 < number < math.inf for number in across + up)
    if not (series and all(series.values()) and drawable):
        raise UsageError("quality needs positive numbers, a point for each name at least")
    with lettered():
        axes, _, _ = axes_beside([*series, *([] if floor is None else [floor[0]])], size, 44)
        named_axes(axes, x_label, y_label)
        shown = []
        for i, (name, pairs) in enumerate(series.items()):
            (line,) = axes.plot(
                *zip(*pairs, strict=True), _mark(i) + "-" * (len(pairs) > 1),
                color=colour(i), linewidth=1.8, markersize=6, clip_on=False, label=name,
                gid=f"quality-{i}",
            )  # fmt: skip
            shown.append((min(y for _, y in pairs), line))
        if floor is not None:
            line = axes.axhline(
                floor[1], color=QUIET, linewidth=1.2, linestyle=(0, (1, 2)), label=floor[0],
                gid="quality-floor",
            )  # fmt: skip
            shown.append((floor[1], line))
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis, values in ((axes.xaxis, across), (axes.yaxis, up)):
            _numbered(axis, values)
        lines = [line for _, line in sorted(shown, key=lambda each: -each[0])]
        words = axes.legend(
            handles=lines, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False,
            fontsize=10, labelcolor=INK, handlelength=1.6, borderaxespad=0,
        ).get_texts()  # fmt: skip
        for text in words:
            text.set_parse_math(False)
        return svg(axes)


def _mark(i: int) -> str:
    """Mark of the i-th: past seven the colours come round again, each with the next mark."""
    return _MARKS[(i + i // len(PALETTE)) % len(_MARKS)]


def _numbered(axis: Axis, values: Sequence[float]) -> None:
    """Plain numbers along an axis: 1, 2, 5, 10, or the powers of ten alone where it is long."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    short = max(values) < _LONG * min(values)
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if short else (1,), numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
    axis.set_minor_formatter(NullFormatter())
    axis.set_tick_params(which="minor", length=0)


_LONG = 2000
"""Of an axis, its highest number in those of its lowest."""
