"""Curves of training as an SVG, each named at its end."""

from __future__ import annotations

import contextlib
import io
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from simulacra.drawing.style import FONTS, INK, PALETTE, QUIET, RULE
from simulacra.ground.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def curves(
    series: Mapping[str, Mapping[str, Sequence[float | None]]],
    *,
    x: str,
    y: str,
    x_label: str | None = None,
    y_label: str | None = None,
    size: tuple[float, float] = (7.2, 3.6),
    whole: bool = False,
) -> bytes:
    """An SVG of several curves on one pair of axes, each named at its end.

    A curve's opening quarter is cut off where it would flatten all the rest; the picture says so.

    Args:
        series: Name of a curve → its columns, of which `x` and `y` are drawn, of equal lengths.
            `None` was not measured and is passed over; a number that is not finite leaves a hole.
        x: Column of the horizontal axis.
        y: Column of the vertical axis.
        x_label: Words under the axis, with the unit; the column's name if not given.
        y_label: Words above the vertical axis, likewise.
        size: Width and height in inches.
        whole: Show all of a curve's opening, whatever it flattens.

    Raises:
        UsageError: If columns differ in length or nothing finite is left to draw.
    """
    points = {name: _points(name, columns, x, y) for name, columns in series.items()}
    points = {name: p for name, p in points.items() if any(math.isfinite(v) for _, v in p)}
    if not points:
        raise UsageError(f"curves needs at least one finite value of {y!r} over {x!r}, got none")

    with lettered():
        axes, wide, tall = axes_beside(points, size, 26)
        low, high, cut = _limits(points, whole=whole)
        words = (y_label or y) + ("   (steep beginnings are cut off)" if cut else "")
        named_axes(axes, x_label or x, words)
        for i, pairs in enumerate(points.values()):
            (line,) = axes.plot(*zip(*pairs, strict=True), _dash(i), color=colour(i))
            line.set(linewidth=1.8, gid=f"curve-{i}")
        axes.set_ylim(low, high)
        axes.set_xlim(left=min(0.0, *(pairs[0][0] for pairs in points.values())))
        axes.locator_params(axis="y", nbins=max(3, round(tall * 2.4)))
        axes.locator_params(axis="x", nbins=max(3, round(wide * 1.6)))
        _name_ends(axes, points, low, high, 13 / (72 * tall))
        return svg(axes)


@contextlib.contextmanager
def lettered() -> Iterator[None]:
    """Let matplotlib write words as words inside the block, of the same measures everywhere.

    DejaVu comes with matplotlib. It is wider than most fonts that a reader will see instead, so
    what fits here fits there.
    """
    import matplotlib

    with (
        matplotlib.rc_context(
            {"svg.fonttype": "none", "svg.hashsalt": "simulacra", "font.family": "DejaVu Sans"}
        ),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's font has it
        yield


def axes_beside(
    names: Iterable[str], size: tuple[float, float], gap: float
) -> tuple[Axes, float, float]:
    """Plain axes with room for a column of names on their right.

    Args:
        names: To stand there.
        size: Width and height of all, in inches.
        gap: Before a name, in points.

    Returns:
        The axes, and their width and height in inches.
    """
    from matplotlib.figure import Figure

    longest = max(sum(1.0 if ord(c) < 0x1100 else 1.7 for c in name) for name in names)
    left, below, above, beside = 0.62, 0.55, 0.4, (longest * 6.2 + gap) / 72
    wide, tall = max(1.0, size[0] - left - beside), max(0.5, size[1] - below - above)
    axes = Figure(figsize=size).add_axes(
        (left / size[0], below / size[1], wide / size[0], tall / size[1]), axisbelow=True
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(QUIET)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.tick_params(colors=QUIET, labelsize=9, length=0, pad=5)
    return axes, wide, tall


def named_axes(axes: Axes, x_label: str, y_label: str) -> None:
    """Words under axes, and above them on the left."""
    axes.set_title(y_label, loc="left", color=QUIET, fontsize=9.5, pad=12, parse_math=False)
    axes.set_xlabel(x_label, color=QUIET, fontsize=9.5, labelpad=6, parse_math=False)


def svg(axes: Axes) -> bytes:
    """The figure that axes are in, as a file without a date, in the reader's letters."""
    buffer, nothing = io.BytesIO(), dict.fromkeys(("Date", "Creator", "Type", "Format"))
    figure = axes.get_figure(root=True)
    assert figure is not None  # axes that are drawn are in one
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return re.sub(r"'DejaVu Sans'[^;\"]*", FONTS, buffer.getvalue().decode()).encode()


def colour(i: int) -> str:
    """Colour of the i-th curve."""
    return PALETTE[i % len(PALETTE)]


def _dash(i: int) -> str:
    """Line style of the i-th curve: past seven curves the colours come round again, dashed."""
    return ("-", "--", ":")[i // len(PALETTE) % 3]


def _name_ends(
    axes: Axes,
    points: Mapping[str, Sequence[tuple[float, float]]],
    low: float,
    high: float,
    distance: float,
) -> None:
    """A column of names right of the axes, each tied to its curve's end by a dotted line.

    Args:
        axes: Where the curves are drawn, from `low` to `high`.
        points: The curves, each with at least one finite value.
        low: Value at the bottom of the axes.
        high: Value at their top.
        distance: Least distance between two names, as a share of the height.
    """
    ends = [[p for p in pairs if math.isfinite(p[1])][-1] for pairs in points.values()]
    heights = _spread([(end[1] - low) / (high - low) for end in ends], distance)
    for i, (name, end, height) in enumerate(zip(points, ends, heights, strict=True)):
        axes.plot(*end, "o", color=colour(i), markersize=4.5, clip_on=False)
        axes.annotate(
            name,
            xy=end,
            xytext=(1.03, height),
            textcoords="axes fraction",
            annotation_clip=False,
            verticalalignment="center",
            color=INK,
            fontsize=10,
            parse_math=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour(i),
                "linewidth": 0.9,
                "linestyle": (0, (1, 2)),
                "shrinkA": 1,
                "shrinkB": 4,
            },
        )


def _points(
    name: str, columns: Mapping[str, Sequence[float | None]], x: str, y: str
) -> list[tuple[float, float]]:
    """The measured points of one curve; infinities become NaN, which leaves a hole."""
    across, up = columns[x], columns[y]
    if len(across) != len(up):
        raise UsageError(f"curve {name!r}: {len(across)} values of {x!r}, {len(up)} of {y!r}")
    pairs = [(a, b) for a, b in zip(across, up, strict=True) if a is not None and b is not None]
    return [(float(a), float(b) if math.isfinite(b) else math.nan) for a, b in pairs]


def _limits(
    points: Mapping[str, Sequence[tuple[float, float]]], *, whole: bool = False
) -> tuple[float, float, bool]:
    """Lowest and highest value to show, and whether the beginnings of curves are cut off."""
    finite = [[v for _, v in pairs if math.isfinite(v)] for pairs in points.values()]
    every = [v for values in finite for v in values]
    later = [v for values in finite for v in values[len(values) // 4 :]]
    low, high = min(every), max(every)
    # Cut only where it pays: where the beginnings would take more than half of the height.
    cut = not whole and high - low > 2 * (max(later) - min(later)) > 0
    if cut:
        low, high = min(later), max(later)
    margin = 0.06 * (high - low) or max(abs(high), 1.0) * 0.05
    return low - margin, high + margin, cut


def _spread(wanted: Sequence[float], distance: float) -> list[float]:
    """Heights at least `distance` apart, as near to the wanted ones as that allows.

    Least squares by pooling: neighbours that come too close share their mean place.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    pools: list[list[float]] = []
    for rank, i in enumerate(order):
        pools.append([wanted[i] - rank * distance])
        while len(pools) > 1 and _mean(pools[-2]) > _mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    flat = [_mean(pool) for pool in pools for _ in pool]
    placed = [0.0] * len(wanted)
    for rank, i in enumerate(order):
        placed[i] = flat[rank] + rank * distance
    return placed


def _mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return sum(values) / len(values)
