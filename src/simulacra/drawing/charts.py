"""Pictures for people: grids, waves, points and histograms, never on a screen."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from simulacra.ground.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TILE = 48  # pixels that a tile's longer side comes near to; whole scales give about 35 to 71
FRAME = 420  # pixels that an animation comes near to, in height and in width
GAP = 228  # light grey, between pictures: told apart from white ones, black ones and HIDDEN
HIDDEN = (0.53, 0.71, 0.87)  # light blue, of what is hidden or not there yet: no grey is like it
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
        gap: Light grey pixels between tiles, not enlarged. Empty places at the end are so too.

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


def gif(frames: Sequence[Tensor], *, seconds: float = 0.08, last: float = 2.5) -> bytes:
    """Grids of pictures one after another, again and again, as the bytes of a GIF file.

    Args:
        frames: Each as for `grid`, all of one shape; at least one.
        seconds: How long each is shown.
        last: How long the last one is.
    """
    n, _, height, width = frames[0].shape
    columns = math.ceil(math.sqrt(n))
    scale = max(1, FRAME // (columns * max(height, width)))
    first, *others = (
        grid(frame, columns=columns, scale=scale, gap=max(2, scale // 2)) for frame in frames
    )
    shown = [round(1000 * seconds)] * len(others) + [round(1000 * last)]
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=shown, loop=0)
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


def waves(
    sounds: Tensor, rate: int, *, columns: int | None = None, shaded: Tensor | None = None
) -> Figure:
    """Waveforms row by row, all on one scale of time and of amplitude.

    Args:
        sounds: Amplitudes in [−1, 1], `(N, T)`; each is drawn on a line of its own.
        rate: Samples a second.
        columns: Waveforms in a row; by default one for each eight, four at most.
        shaded: Booleans `(columns, T)`, true for the samples that have a shade behind them, for
            those to see that were hidden.

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
    if shaded is not None and shaded.shape != (columns, samples):
        raise UsageError(
            f"waves needs shades ({columns}, {samples}), of each column, got {tuple(shaded.shape)}"
        )
    rows = math.ceil(n / columns)
    if rows > 400:  # matplotlib's largest picture is not much longer
        raise UsageError(f"waves takes at most 400 rows, got {rows}: pass fewer sounds")
    scale, unit = (1, "s") if samples >= rate else (1000, "ms")
    time = torch.arange(samples).double() * scale / rate
    figure, places = _axes(1, columns, (min(8.0, 14 / columns) * columns, 0.7 + 0.55 * rows))
    for column, axes in enumerate(places):
        if shaded is not None:
            spans = [(scale * start / rate, scale * long / rate)
                     for start, long in _spans(shaded[column])]  # fmt: skip
            axes.broken_barh(
                spans, (1 - 2 * rows, 2 * rows), color=HIDDEN, alpha=0.4, linewidth=0, zorder=0
            )
        for row, sound in enumerate(sounds[column::columns]):
            axes.plot(time.numpy(), (sound - 2 * row).numpy(), color=PALETTE[0], linewidth=0.6)
        # one band of ±1 to a sound, so that loud ones touch and none overlap
        axes.set_ylim(1 - 2 * rows, 1)
        axes.set_xlim(0, samples * scale / rate)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"time, {unit}", color=QUIET, fontsize=9)
    return figure


def _spans(chosen: Tensor) -> list[tuple[float, int]]:
    """Where each run of true values begins, half a step before its first, and how long it is."""
    steps = torch.nn.functional.pad(chosen.int(), (1, 1)).diff()
    starts, ends = (steps == 1).nonzero()[:, 0], (steps == -1).nonzero()[:, 0]
    return list(zip((starts - 0.5).tolist(), (ends - starts).tolist(), strict=True))


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


def reliability(bins: Mapping[str, Sequence[tuple[int, float, float]]]) -> Figure:
    """How often classifiers are right where they are so sure, and how often they are so sure.

    Args:
        bins: For each classifier, of bins of confidence of equal width from 0 to 1: the number of
            observations, their mean confidence, and the share found rightly.

    Raises:
        UsageError: If there is no classifier, or one has no observations, or what is no share.
    """
    for name, own in bins.items():
        shares = [share for _, *pair in own for share in pair]
        if not sum(n for n, *_ in own) or not all(0 <= share <= 1 for share in shares):
            raise UsageError(f"reliability needs observations and shares in [0, 1], not of {name}")
    if not bins:
        raise UsageError("reliability needs at least one classifier")
    figure, (above, below) = _axes(2, 1, (5.2, 6.4), heights=(4, 1))
    above.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
    above.annotate(
        "perfectly calibrated", (0.03, 0.03), xytext=(0, 5), textcoords="offset points",
        rotation=45, rotation_mode="anchor", transform_rotates_text=True, color=QUIET, fontsize=8.5,
    )  # fmt: skip
    for i, (name, own) in enumerate(bins.items()):
        colour = PALETTE[i % len(PALETTE)]
        total = sum(n for n, *_ in own)
        # a bin of few observations says little, and is drawn small
        sizes = [12 + 160 * n / total for n, *_ in own if n]
        across, up = [sure for n, sure, _ in own if n], [right for n, _, right in own if n]
        # no line between them: it would lead the eye through bins of one observation
        above.scatter(
            across, up, s=sizes, color=colour, label=name, alpha=0.8, clip_on=False, zorder=3,
            linewidths=0,
        )  # fmt: skip
        wide = 0.86 / len(own) / len(bins)
        left = [(place + 0.07) / len(own) + i * wide for place in range(len(own))]
        below.bar(left, [n / total for n, *_ in own], wide, align="edge", color=colour, alpha=0.5)
    above.set_ylim(0, 1)
    words = above.legend(
        loc="upper left", frameon=False, fontsize=9, labelcolor=INK, scatterpoints=1
    ).get_texts()
    for text in words:
        text.set_parse_math(False)  # names are the user's
    above.set_title("share found rightly", loc="left", color=QUIET, fontsize=9.5)
    below.set_title("share of observations", loc="left", color=QUIET, fontsize=9.5)
    below.set_xlabel("confidence in the class found", color=QUIET, fontsize=9)
    for axes in (above, below):
        axes.set_xlim(0, 1)
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


def _axes(
    rows: int, columns: int, size: tuple[float, float], heights: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches with plain axes, row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    places = list(figure.subplots(rows, columns, squeeze=False, height_ratios=heights).flat)
    for axes in places:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(QUIET)
        axes.tick_params(colors=QUIET, labelsize=8)
    return figure, places
