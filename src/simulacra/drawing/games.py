"""A game on a plane or a line: how the opponent scores it, and where samples are pushed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from simulacra.drawing import planes
from simulacra.drawing.style import INK, PALETTE, QUIET, RULE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REAL, GENERATED = PALETTE[0], PALETTE[1]
_BANDS = 12
"""Of colour: with fewer shades a moving picture is smaller, and a plane's slope is seen."""
_LONGEST = 0.13
"""Of an arrow, as a share of the width of the picture."""


def on_plane(
    scores: Tensor,
    extent: tuple[float, float, float, float],
    *,
    undecided: float,
    reach: float,
    data: Tensor,
    playing: Tensor,
    pushes: Tensor,
    kept: Tensor,
    titles: tuple[str, str],
    names: Sequence[str] = (),
) -> Figure:
    """Scores as bands of colour under data, samples and arrows; beside it what samples are kept.

    Args:
        scores: `(S, S)`, the first row being the lowest.
        extent: Left, right, lower and upper end of what is seen.
        undecided: The score that is white, with a line around what lies above.
        reach: How far from it a score has the deepest colour.
        data: Points `(N, 2)`.
        playing: Samples `(n, 2)` of the generator as it plays.
        pushes: Of the first of them, `(m, 2)`; the longest arrow is of the longest.
        kept: Samples of the model that is kept.
        titles: Of the two pictures.
        names: Of the two axes.
    """
    from matplotlib.figure import Figure

    left, right, lower, upper = extent
    figure = Figure((6.0, 3.25), layout="constrained")
    game, beside = figure.subplots(1, 2)
    for axes, title in zip((game, beside), titles, strict=True):
        axes.set_title(title, loc="left", fontsize=8.5, color=INK, parse_math=False)
        axes.set(xlim=(left, right), ylim=(lower, upper), box_aspect=1)
        planes.quiet(axes)
        if names:
            axes.set_xlabel(names[0], color=QUIET, fontsize=8, parse_math=False)
            axes.set_ylabel(names[1], color=QUIET, fontsize=8, parse_math=False)
    shown = scores.nan_to_num(nan=undecided).clamp(undecided - reach, undecided + reach)
    across, up = (
        torch.linspace(*ends, 2 * side + 1, dtype=torch.float64)[1::2].numpy()
        for ends, side in (((left, right), scores.shape[1]), ((lower, upper), scores.shape[0]))
    )
    bands = torch.linspace(undecided - reach, undecided + reach, _BANDS + 1).tolist()
    game.contourf(across, up, shown.numpy(), levels=bands, cmap=_colours(), extend="both")
    # it warns of a level that is nowhere
    if float(shown.min()) < undecided < float(shown.max()):
        game.contour(
            across, up, shown.numpy(), levels=[undecided], colors=QUIET, linewidths=0.8,
            linestyles="dashed",
        )  # fmt: skip
    planes.dots(game, data, REAL, 1.3)
    planes.dots(game, playing, GENERATED, 2.2)
    _arrows(game, playing[: len(pushes)], pushes, right - left)
    planes.dots(beside, data, RULE, 2.2)
    planes.dots(beside, kept, GENERATED, 2.0)
    return figure


def _arrows(axes: Axes, points: Tensor, pushes: Tensor, wide: float) -> None:
    there = points.isfinite().all(1) & pushes.isfinite().all(1)
    longest = float(pushes[there].norm(dim=1).max()) if there.any() else 0.0
    if longest:
        planes.arrows(axes, points, pushes * (_LONGEST * wide / longest))


def _colours() -> object:
    from matplotlib.colors import LinearSegmentedColormap

    # paler than the dots that lie on them
    return LinearSegmentedColormap.from_list("told", ["#f0b38a", "#ffffff", "#8cc0e2"])


def on_line(
    scores: Tensor,
    at: Tensor,
    ends: tuple[float, float],
    *,
    undecided: float,
    reach: float,
    data: Tensor,
    playing: Tensor,
    pushes: Tensor,
    kept: Tensor,
    opponent: str,
    name: str = "",
) -> Figure:
    """Histograms of data and samples under the curve of the scores, and arrows below.

    Args:
        scores: At each of `at`, `(M,)`.
        at: Points of the line, rising.
        ends: What is seen of it.
        undecided: The score in the middle of its axis, where a line is drawn.
        reach: How far the axis of scores goes from there.
        data: Numbers `(N,)`.
        playing: Samples `(n,)` of the generator as it plays.
        pushes: Of the first of them, `(m,)`; the longest arrow is of the longest.
        kept: Samples of the model that is kept.
        opponent: Whose scores they are.
        name: Of what the numbers are.
    """
    figure = planes.line(data, ends, samples=kept, name=name, words=("data", "samples kept"))
    (axes,) = figure.axes
    figure.set_size_inches(6.0, 3.25)
    ticks = [(each, 0.0) for each in playing[playing.isfinite()].tolist()]
    low = -0.2 * axes.get_ylim()[1]
    axes.set_ylim(low, axes.get_ylim()[1])
    axes.plot(*zip(*ticks, strict=True), "|", color=GENERATED, markersize=4, label="samples")
    # in rows, or they would hide one another
    rows = low * (0.25 + 0.25 * (torch.arange(len(pushes)) % 3))
    points = torch.stack([playing[: len(pushes)], rows], 1)
    _arrows(axes, points, torch.stack([pushes, torch.zeros(len(pushes))], 1), ends[1] - ends[0])
    over = axes.twinx()
    over.plot(at.numpy(), scores.numpy(), color=PALETTE[2], linewidth=1.6, label=opponent)
    over.axhline(undecided, color=PALETTE[2], linewidth=0.8, linestyle=(0, (4, 3)))
    over.set_ylim(undecided - 1.25 * reach, undecided + 1.25 * reach)
    over.set_ylabel("score", color=PALETTE[2], fontsize=8)
    over.spines[["top"]].set_visible(False)
    planes.quiet(over)
    handles = [each for one in (axes, over) for each in one.get_legend_handles_labels()[0]]
    axes.legend(handles=handles, loc="upper right", frameon=False, fontsize=8, labelcolor=INK)
    return figure
