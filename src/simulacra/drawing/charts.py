"""Charts for people: waves, points, histograms, reliability and rates, never on a screen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from simulacra.drawing.style import ALIKE, HIDDEN, INK, PALETTE, QUIET
from simulacra.ground.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
    sounds, columns = sounds_in_range(sounds, rate, columns)
    n, samples = sounds.shape
    if shaded is not None and shaded.shape != (columns, samples):
        raise UsageError(
            f"waves needs shades ({columns}, {samples}), of each column, got {tuple(shaded.shape)}"
        )
    rows = math.ceil(n / columns)
    if rows > 400:  # matplotlib's largest picture is not much longer
        raise UsageError(f"waves takes at most 400 rows, got {rows}: pass fewer sounds")
    scale, unit = (1, "s") if samples >= rate else (1000, "ms")
    time = torch.arange(samples).double() * scale / rate
    figure, places = plain_axes(1, columns, (min(8.0, 14 / columns) * columns, 0.7 + 0.55 * rows))
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


def sounds_in_range(sounds: Tensor, rate: int, columns: int | None) -> tuple[Tensor, int]:
    """Sounds as doubles on the CPU, and in how many columns they are drawn.

    Raises:
        UsageError: If shape, kind of number, range or an option is not as `waves` takes it.
    """
    sounds = _finite(sounds, 2, "waves", "sounds (N, T)")
    if float(sounds.abs().max()) > 1 + 1e-4:
        raise UsageError(
            f"waves needs amplitudes in [-1, 1], got {float(sounds.min()):g} … "
            f"{float(sounds.max()):g}"
        )
    n = len(sounds)
    columns = min(4, math.ceil(n / 8)) if columns is None else min(columns, n)
    if rate < 1 or columns < 1:
        raise UsageError(f"waves needs rate ≥ 1, columns ≥ 1, got {rate} and {columns}")
    return sounds, columns


def _spans(chosen: Tensor) -> list[tuple[float, int]]:
    """Where each run of true values begins, half a step before its first, and how long it is."""
    steps = torch.nn.functional.pad(chosen.int(), (1, 1)).diff()
    starts, ends = (steps == 1).nonzero()[:, 0], (steps == -1).nonzero()[:, 0]
    return list(zip((starts - 0.5).tolist(), (ends - starts).tolist(), strict=True))


def scatter(points: Tensor, names: Sequence[str] = ()) -> Figure:
    """Points of a plane, both axes on one scale unless one spans several times the other.

    Args:
        points: Finite numbers `(N, 2)`.
        names: Of the two axes.

    Raises:
        UsageError: If the points are not as above.
    """
    points = _finite(points, 2, "scatter", "points (N, 2)")
    if points.shape[1] != 2:
        raise UsageError(f"scatter needs points (N, 2), got {tuple(points.shape)}")
    figure, (axes,) = plain_axes(1, 1, (5.2, 5.2))
    # the more points, the fainter each, so that density can be seen
    opacity = max(0.15, min(1.0, 30 / math.sqrt(len(points))))
    across, up = points.T.numpy()
    axes.plot(across, up, "o", color=PALETTE[0], markersize=3, alpha=opacity, markeredgewidth=0)
    narrow, wide = sorted((points.amax(0) - points.amin(0)).tolist())
    if wide < ALIKE * narrow:  # else the points would lie on a line, whatever they do
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
    figure, places = plain_axes(rows, columns, (max(5.2, 2.8 * columns), 0.6 + 2 * rows))
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
    figure, (above, below) = plain_axes(2, 1, (5.2, 6.4), heights=(4, 1))
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


def rates(nats: Sequence[float], used: float) -> Figure:
    """What each unit of a code costs, the costliest first; what is not used is quiet.

    Args:
        nats: Of each unit, in any order.
        used: Below so many nats a unit is not used.

    Raises:
        UsageError: If there is no unit, or a number is not finite.
    """
    values = _finite(torch.tensor(nats, dtype=torch.float64), 1, "rates", "nats (units,)")
    values = values.sort(descending=True).values
    from matplotlib.ticker import MaxNLocator

    figure, (axes,) = plain_axes(1, 1, (5.2, 2.4))
    colours = [PALETTE[0] if value >= used else HIDDEN for value in values.tolist()]
    places = range(1, len(values) + 1)
    axes.bar(places, values.numpy(), 0.8 if len(values) <= 64 else 1.0, color=colours)
    count = int((values >= used).sum())
    # of few units each is one, with no half between them
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0.25, max(len(values), 4) + 0.75)
    axes.set_ylim(bottom=min(0.0, float(values[-1])), top=max(float(values[0]), used) * 1.05)
    axes.set_title("nats that a unit costs", loc="left", color=QUIET, fontsize=9.5)
    axes.set_xlabel(
        f"units of the code, the costliest first: {count} of {len(values)} used", color=QUIET,
        fontsize=9,
    )  # fmt: skip
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


def plain_axes(
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
