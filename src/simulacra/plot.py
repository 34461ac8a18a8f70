"""Pictures for people: grids, waves, points and curves, as bytes and never on a screen."""

from __future__ import annotations

import io
import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from simulacra.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TILE = 48  # pixels that a tile's longer side comes near to; whole scales give about 35 to 71
GAP = 128  # mid grey: told apart from black and from white pictures
INK, QUIET, RULE = "#1f2328", "#5b626b", "#e3e6ea"
# Okabe and Ito's palette without its yellow, which vanishes on a white page.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Noto Sans CJK SC', sans-serif"


def grid(
    pictures: Tensor, *, columns: int | None = None, scale: int | None = None, gap: int = 1
) -> Image.Image:
    """One picture of many, row by row, each enlarged by a whole number without smoothing.

    Args:
        pictures: Floats in [0, 1], `(N, C, H, W)` with one channel or three.
        columns: Tiles in a row; by default the square root of N, rounded up.
        scale: Pixels for each side of a pixel; by default a tile comes near to 48 pixels.
        gap: Grey pixels between tiles, not enlarged. Empty places at the end are grey too.

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


def png(picture: Image.Image | Figure) -> bytes:
    """The picture, of pixels or drawn, as the bytes of a PNG file."""
    buffer = io.BytesIO()
    if isinstance(picture, Image.Image):
        picture.save(buffer, "PNG", optimize=True)
        return buffer.getvalue()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box is drawn for it
        picture.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


def save(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """A PNG file that is there as a whole or not at all: whoever reads `path` sees no half of it.

    Raises:
        OSError: If the folder is missing or full; what was at `path` before is then untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(png(image))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def waves(sounds: Tensor, rate: int, *, columns: int | None = None) -> Figure:
    """Waveforms row by row, all on one scale of time and of amplitude.

    Args:
        sounds: Amplitudes in [−1, 1], `(N, T)`; each is drawn on a line of its own.
        rate: Samples a second.
        columns: Waveforms in a row; by default one for each eight, four at most.

    Raises:
        UsageError: If shape, kind of number, range or an option is not as above.
    """
    sounds = _finite(sounds, 2, "waves", "sounds (N, T)")
    if float(sounds.abs().max()) > 1 + 1e-4:
        raise UsageError(
            f"waves needs amplitudes in [-1, 1], got {float(sounds.min()):g} … "
            f"{float(sounds.max()):g}"
        )
    n, samples = sounds.shape
    columns = min(4, math.ceil(n / 8)) if columns is None else min(columns, n)
    if rate < 1 or columns < 1:
        raise UsageError(f"waves needs rate ≥ 1, columns ≥ 1, got {rate} and {columns}")
    rows = math.ceil(n / columns)
    if rows > 400:  # matplotlib's largest picture is not much longer
        raise UsageError(f"waves takes at most 400 rows, got {rows}: pass fewer sounds")
    scale, unit = (1, "s") if samples >= rate else (1000, "ms")
    time = torch.arange(samples).double() * scale / rate
    figure, places = _axes(1, columns, (min(8.0, 14 / columns) * columns, 0.7 + 0.55 * rows))
    for column, axes in enumerate(places):
        for row, sound in enumerate(sounds[column::columns]):
            axes.plot(time.numpy(), (sound - 2 * row).numpy(), color=PALETTE[0], linewidth=0.6)
        # one band of ±1 to a sound, so that loud ones touch and none overlap
        axes.set_ylim(1 - 2 * rows, 1)
        axes.set_xlim(0, samples * scale / rate)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"time, {unit}", color=QUIET, fontsize=9)
    return figure


def scatter(points: Tensor, names: Sequence[str] = ()) -> Figure:
    """Points of a plane, both axes on one scale.

    Args:
        points: Finite numbers `(N, 2)`.
        names: Of the two axes.

    Raises:
        UsageError: If the points are not as above.
    """
    points = _finite(points, 2, "scatter", "points (N, 2)")
    if points.shape[1] != 2:
        raise UsageError(f"scatter needs points (N, 2), got {tuple(points.shape)}")
    figure, (axes,) = _axes(1, 1, (5.2, 5.2))
    # the more points, the fainter each, so that density can be seen
    opacity = max(0.15, min(1.0, 30 / math.sqrt(len(points))))
    across, up = points.T.numpy()
    axes.plot(across, up, "o", color=PALETTE[0], markersize=3, alpha=opacity, markeredgewidth=0)
    axes.set_aspect("equal", adjustable="datalim")
    if names:
        axes.set_xlabel(names[0], color=QUIET, fontsize=9, parse_math=False)
        axes.set_ylabel(names[1], color=QUIET, fontsize=9, parse_math=False)
    return figure


def histograms(values: Tensor, names: Sequence[str] = ()) -> Figure:
    """How often each column takes its values: a histogram of each, the first 24 columns at most.

    Args:
        values: Finite numbers `(N, D)`.
        names: Of the columns; their numbers otherwise.

    Raises:
        UsageError: If the values are not as above.
    """
    values = _finite(values, 2, "histograms", "values (N, D)")
    shown = min(values.shape[1], 24)
    columns = min(4, shown)
    rows = math.ceil(shown / columns)
    figure, places = _axes(rows, columns, (max(5.2, 2.8 * columns), 0.6 + 2 * rows))
    for i, axes in enumerate(places):
        if i >= shown:
            axes.remove()
            continue
        axes.hist(values[:, i].numpy(), bins=min(40, math.isqrt(len(values)) + 1), color=PALETTE[0])
        name = names[i] if i < len(names) else f"column {i}"
        axes.set_title(name, loc="left", color=QUIET, fontsize=9.5, parse_math=False)
    if shown < values.shape[1]:
        figure.suptitle(f"the first {shown} of {values.shape[1]} columns", color=QUIET, fontsize=9)
    return figure


def _finite(values: Tensor, axes: int, what: str, wanted: str) -> Tensor:
    """Floats as doubles on the CPU.

    Raises:
        UsageError: If the shape is another, nothing is there, or a number is not finite.
    """
    if values.ndim != axes or values.numel() == 0 or not values.is_floating_point():
        raise UsageError(
            f"{what} needs floats, {wanted}, at least one, got {values.dtype} {tuple(values.shape)}"
        )
    values = values.detach().cpu().double()
    if not bool(values.isfinite().all()):
        count = int((~values.isfinite()).sum())
        raise UsageError(f"{what} needs finite numbers, got {count} values that are not")
    return values


def _axes(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches with plain axes, row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    places = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in places:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(QUIET)
        axes.tick_params(colors=QUIET, labelsize=8)
    return figure, places


def curves(
    series: Mapping[str, Mapping[str, Sequence[float | None]]],
    *,
    x: str,
    y: str,
    x_label: str | None = None,
    y_label: str | None = None,
    size: tuple[float, float] = (7.2, 3.6),
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

    Raises:
        UsageError: If columns differ in length or nothing finite is left to draw.
    """
    points = {name: _points(name, columns, x, y) for name, columns in series.items()}
    points = {name: p for name, p in points.items() if any(math.isfinite(v) for _, v in p)}
    if not points:
        raise UsageError(f"curves needs at least one finite value of {y!r} over {x!r}, got none")

    import matplotlib
    from matplotlib.figure import Figure

    # DejaVu comes with matplotlib, so the measures are the same everywhere. It is wider than most
    # fonts that a reader will see instead, so what fits here fits there.
    with (
        matplotlib.rc_context(
            {"svg.fonttype": "none", "svg.hashsalt": "simulacra", "font.family": "DejaVu Sans"}
        ),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's font has it
        figure = Figure(figsize=size)
        longest = max(sum(1.0 if ord(c) < 0x1100 else 1.7 for c in name) for name in points)
        left, below, above, beside = 0.62, 0.55, 0.4, (longest * 6.2 + 26) / 72
        wide, tall = max(1.0, size[0] - left - beside), max(0.5, size[1] - below - above)
        axes = figure.add_axes(
            (left / size[0], below / size[1], wide / size[0], tall / size[1]), axisbelow=True
        )
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(QUIET)
        axes.grid(axis="y", color=RULE, linewidth=0.8)
        axes.tick_params(colors=QUIET, labelsize=9, length=0, pad=5)
        low, high, cut = _limits(points)
        words = (y_label or y) + ("   (steep beginnings are cut off)" if cut else "")
        axes.set_title(words, loc="left", color=QUIET, fontsize=9.5, pad=12, parse_math=False)
        axes.set_xlabel(x_label or x, color=QUIET, fontsize=9.5, labelpad=6, parse_math=False)
        for i, pairs in enumerate(points.values()):
            (line,) = axes.plot(*zip(*pairs, strict=True), _dash(i), color=_colour(i))
            line.set(linewidth=1.8, gid=f"curve-{i}")
        axes.set_ylim(low, high)
        axes.set_xlim(left=min(0.0, *(pairs[0][0] for pairs in points.values())))
        axes.locator_params(axis="y", nbins=max(3, round(tall * 2.4)))
        axes.locator_params(axis="x", nbins=max(3, round(wide * 1.6)))
        _name_ends(axes, points, low, high, 13 / (72 * tall))
        buffer = io.BytesIO()
        nothing = dict.fromkeys(("Date", "Creator", "Type", "Format"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return re.sub(r"'DejaVu Sans'[^;\"]*", FONTS, buffer.getvalue().decode()).encode()


def _colour(i: int) -> str:
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
        axes.plot(*end, "o", color=_colour(i), markersize=4.5, clip_on=False)
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
                "color": _colour(i),
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


def _limits(points: Mapping[str, Sequence[tuple[float, float]]]) -> tuple[float, float, bool]:
    """Lowest and highest value to show, and whether the beginnings of curves are cut off."""
    finite = [[v for _, v in pairs if math.isfinite(v)] for pairs in points.values()]
    every = [v for values in finite for v in values]
    later = [v for values in finite for v in values[len(values) // 4 :]]
    low, high = min(every), max(every)
    # Cut only where it pays: where the beginnings would take more than half of the height.
    cut = high - low > 2 * (max(later) - min(later)) > 0
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
