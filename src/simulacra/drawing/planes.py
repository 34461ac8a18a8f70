"""Densities and points of a plane, or of a line, side by side on one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from simulacra.drawing.style import INK, PALETTE, QUIET, RULE
from simulacra.ground.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPAN = 7.0
"""Nats from the brightest colour to black: there a density is a thousandth of the highest."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One square of a picture of a plane.

    Args:
        title: A line above it.
        extent: Left, right, lower and upper end of what is seen of the plane.
        log_density: In nats, `(S, S)`, the first row being the lowest; −∞ and NaN are black.
        points: Drawn as dots, `(N, 2)`; those that are not finite are left out.
        behind: Pale dots below all else, `(N, 2)`.
        paths: Thin lines `(n, T, 2)`, each ending in a dot.
        field: Places `(M, 2)` and where arrows from there lead, `(M, 2)`.
    """

    title: str
    extent: tuple[float, float, float, float]
    log_density: Tensor | None = None
    points: Tensor | None = None
    behind: Tensor | None = None
    paths: Tensor | None = None
    field: tuple[Tensor, Tensor] | None = None


def planes(
    panels: Sequence[Panel],
    *,
    top: float | None = None,
    columns: int | None = None,
    names: Sequence[str] = (),
    bar: str = "",
    size: float = 2.6,
) -> Figure:
    """Heat maps and dots of a plane; all heat maps on one scale of colours.

    Args:
        panels: In order, row by row.
        top: Log-density of the brightest colour; the largest that is shown, by default.
        columns: Panels in a row; all by default.
        names: Of the two axes.
        bar: What the scale of colours says beside it; without, there is none.
        size: Of a panel, in inches.

    Raises:
        UsageError: If there is no panel.
    """
    if not panels:
        raise UsageError("planes needs at least one panel")
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    columns = min(columns or len(panels), len(panels))
    rows = math.ceil(len(panels) / columns)
    maps = [each.log_density for each in panels if each.log_density is not None]
    top = brightest(maps) if top is None else top
    scale = Normalize(top - SPAN, top, clip=True)
    wide, tall = size * columns + (0.9 if bar else 0.1), (size + 0.2) * rows
    figure = Figure((wide, tall), layout="constrained")
    places = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(places, panels, strict=False):
        left, right, lower, upper = panel.extent
        axes.set_title(panel.title, loc="left", fontsize=8.5, color=INK, parse_math=False)
        axes.set(xlim=(left, right), ylim=(lower, upper), box_aspect=1)
        quiet(axes)
        if panel.log_density is not None:
            values = panel.log_density.nan_to_num(nan=-math.inf).clamp(top - SPAN, top)
            axes.imshow(
                values.numpy(), cmap="magma", norm=scale, origin="lower", extent=panel.extent,
                aspect="auto", interpolation="bilinear",
            )  # fmt: skip
        if panel.behind is not None:
            dots(axes, panel.behind, PALETTE[0], 2, opacity=0.25)
        if panel.field is not None:
            here, there = panel.field
            arrows(axes, here, there - here, colour=QUIET)
        if panel.paths is not None:
            for path in panel.paths:
                axes.plot(*path.T.numpy(), color=PALETTE[1], linewidth=0.5, alpha=0.6)
            dots(axes, panel.paths[:, -1], PALETTE[1], 2.4)
        if panel.points is not None:
            # the more points, the fainter each
            shown = int(panel.points.isfinite().all(1).sum())
            opacity = max(0.2, min(1.0, 15 / math.sqrt(max(1, shown))))
            colour = PALETTE[0] if panel.behind is None else PALETTE[1]
            dots(axes, panel.points, colour, 2, opacity=opacity)
        if names:
            axes.set_xlabel(names[0], color=QUIET, fontsize=8, parse_math=False)
            axes.set_ylabel(names[1], color=QUIET, fontsize=8, parse_math=False)
    if bar and maps:
        drawn = figure.colorbar(
            ScalarMappable(scale, "magma"), ax=places, shrink=0.8, aspect=18, pad=0.015
        )
        drawn.set_label(bar, color=QUIET, fontsize=8)
        drawn.ax.tick_params(colors=QUIET, labelsize=7)
        drawn.outline.set_visible(False)
    return figure


def brightest(maps: Sequence[Tensor]) -> float:
    """The largest finite log-density of all; 0 where there is none."""
    finite = [float(each[each.isfinite()].max()) for each in maps if bool(each.isfinite().any())]
    return max(finite, default=0.0)


def line(
    data: Tensor,
    ends: tuple[float, float],
    *,
    samples: Tensor | None = None,
    at: Tensor | None = None,
    log_density: Tensor | None = None,
    truth: Tensor | None = None,
    name: str = "",
    words: tuple[str, str] = ("data", "samples"),
) -> Figure:
    """Histograms of numbers, those of a model over the data's, and the curve of its density.

    Args:
        data: Finite numbers `(N,)`.
        ends: What is seen of the line.
        samples: Other numbers, as the model's draws `(n,)`.
        at: Where the density is known, `(M,)`.
        log_density: There, in nats, `(M,)`.
        truth: The true one, there.
        name: Of what the numbers are.
        words: What both histograms are of.
    """
    from matplotlib.figure import Figure

    figure = Figure((5.2, 3.0), layout="constrained")
    axes = figure.subplots()
    edges = torch.linspace(*ends, 61, dtype=torch.float64).tolist()
    heights, _, _ = axes.hist(data.numpy(), edges, density=True, color=RULE, label=words[0])
    if samples is not None:
        shown = samples[samples.isfinite()].numpy()
        axes.hist(shown, edges, density=True, histtype="step", color=PALETTE[1], label=words[1])
    if at is not None and log_density is not None:
        axes.plot(at.numpy(), log_density.exp().numpy(), color=PALETTE[0], label="density")
    if at is not None and truth is not None:
        axes.plot(
            at.numpy(), truth.exp().numpy(), color=INK, linewidth=1, linestyle=(0, (4, 3)),
            label="true density",
        )  # fmt: skip
    axes.set(xlim=ends, ylim=(0, 1.4 * float(max(heights))))
    axes.legend(loc="upper right", frameon=False, fontsize=8, labelcolor=INK)
    axes.set_xlabel(name, color=QUIET, fontsize=8, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    quiet(axes)
    return figure


def dots(axes: Axes, points: Tensor, colour: str, size: float, *, opacity: float = 1.0) -> None:
    """Points `(N, 2)`, but for those that are not finite."""
    across, up = points[points.isfinite().all(1)].T.numpy()
    axes.plot(
        across, up, "o", color=colour, markersize=size, alpha=opacity, markeredgewidth=0
    )  # fmt: skip


def arrows(axes: Axes, points: Tensor, moves: Tensor, *, colour: str = INK) -> None:
    """Arrows from points `(N, 2)` along their moves `(N, 2)`, but for those that are not finite."""
    there = points.isfinite().all(1) & moves.isfinite().all(1)
    axes.quiver(
        *points[there].T.numpy(), *moves[there].T.numpy(), color=colour, angles="xy",
        scale_units="xy", scale=1, width=0.0035, headwidth=4, headlength=4, headaxislength=3.5,
        zorder=5,
    )  # fmt: skip


def quiet(axes: Axes) -> None:
    """Ticks and frame that do not ask to be looked at."""
    axes.tick_params(colors=QUIET, labelsize=7)
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_offset_text().set(fontsize=7, color=QUIET)
    axes.spines[:].set_color(QUIET)
