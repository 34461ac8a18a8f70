"""Codes in their plane, coloured by class, and what lies at each place of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

import torch
from PIL import Image
from torch import Tensor

from simulacra.drawing.animation import raster
from simulacra.drawing.style import INK, PALETTE, QUIET, RULE
from simulacra.ground.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = ("o", "^", "s")
"""Where there are more classes than colours, their marks tell them apart."""
MOST_CLASSES = len(MARKS) * len(PALETTE)
_DPI = 100


@dataclass(frozen=True, eq=False)
class Classes:
    """Which class each point is of.

    Args:
        labels: `(N,)`; −1 where it is not told.
        names: Of the classes.
    """

    labels: Tensor
    names: Sequence[str]

    @property
    def told(self) -> list[int]:
        """Those that some point is of, if they are not too many to be told apart."""
        there = sorted(set(self.labels[self.labels >= 0].tolist()))
        return there if len(there) <= MOST_CLASSES else []


def scatter(
    points: Tensor,
    classes: Classes | None,
    *,
    names: Sequence[str],
    side: float = 6.0,
    title: str = "",
    ellipses: Sequence[Tensor] = (),
    frame: tuple[float, float, float, float] | None = None,
) -> Figure:
    """Points of a plane, each class in its own colour, its name in the middle of it.

    Args:
        points: `(N, 2)`; those that are not finite are left out.
        classes: Of the points; without, all are of one colour.
        names: Of the axes; of one without a name nothing is told.
        side: Height of the picture, in inches.
        title: A line above it.
        ellipses: Draws around points, each `(n, 2)`: dots of one colour, and the ellipse that
            holds 95 % of a normal distribution with their mean and covariance.
        frame: Left, right, lower and upper end of a rectangle, which a grid beside it goes over.

    Raises:
        UsageError: If there are no points of a plane.
    """
    if points.ndim != 2 or points.shape[1] != 2 or not bool(points.isfinite().all(1).any()):
        raise UsageError(f"scatter needs finite points (N, 2), got {tuple(points.shape)}")
    from matplotlib.figure import Figure

    told = [] if classes is None else classes.told
    wide = side + (0.9 if told else 0)
    figure = Figure((wide, side), layout="constrained")
    axes = figure.subplots()
    whole = points.isfinite().all(1)
    size = max(1.5, min(4.0, 160 / math.sqrt(len(points))))
    opacity = max(0.35, min(0.9, 25 / math.sqrt(len(points))))
    faint = bool(told) or bool(ellipses)
    rest = whole if classes is None or not told else whole & (classes.labels < 0)
    if bool(rest.any()):
        axes.plot(*points[rest].T.numpy(), "o", color=QUIET if faint else PALETTE[0],
                  markersize=size, alpha=0.25 if faint else opacity, markeredgewidth=0)  # fmt: skip
    for place, label in enumerate(told):
        assert classes is not None
        own = points[whole & (classes.labels == label)]
        if not len(own):
            continue
        # clouds that lie upon one another are mixed by drawing each in turn, faintly
        axes.plot(*own.T.numpy(), _mark(place), color=_colour(place), markersize=size,
                  alpha=opacity, markeredgewidth=0)  # fmt: skip
    if told and classes is not None:
        _name(axes, points, whole, classes)
        _legend(figure, classes)
    for place, cloud in enumerate(ellipses):
        axes.plot(*cloud.T.numpy(), ".", color=_colour(place), markersize=2.5, alpha=0.6)
        axes.plot(*_ellipse(cloud).T.numpy(), color=_colour(place), linewidth=1.2)
        axes.annotate(
            str(place + 1), _middle(cloud), color=INK, fontsize=9, ha="center", va="center",
            bbox=_BOX,
        )  # fmt: skip
    if frame is not None:
        left, right, lower, upper = frame
        axes.plot([left, right, right, left, left], [lower, lower, upper, upper, lower],
                  color=QUIET, linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)  # fmt: skip
    low, high = _ends_of(points[whole], *ellipses, frame)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), box_aspect=1)
    axes.set_xlabel(names[0], color=QUIET, fontsize=9, parse_math=False)
    axes.set_ylabel(names[1], color=QUIET, fontsize=9, parse_math=False)
    if not names[1]:
        axes.set_yticks([])
    if title:
        axes.set_title(title, loc="left", color=INK, fontsize=9.5, parse_math=False)
    _plain(axes)
    return figure


def histogram(values: Tensor, classes: Classes | None, *, name: str, wide: float) -> Figure:
    """How often codes of one number take their values: a curve for each class.

    Args:
        values: `(N,)`; those that are not finite are left out.
        classes: Of the values.
        name: Of the axis.
        wide: Of the picture, in inches.
    """
    from matplotlib.figure import Figure

    told = [] if classes is None else classes.told
    figure = Figure((wide, 3.2), layout="constrained")
    axes = figure.subplots()
    whole = values.isfinite()
    low, high = _ends_of(values[whole][:, None])
    bins = max(10, min(60, 2 * math.isqrt(len(values))))
    edges = torch.linspace(low[0], high[0], bins + 1, dtype=torch.float64).tolist()
    axes.hist(values[whole].numpy(), edges, color=RULE, label="all")
    for place, label in enumerate(told):
        assert classes is not None
        own = values[whole & (classes.labels == label)].numpy()
        axes.hist(own, edges, histtype="step", color=_colour(place), linewidth=1.3,
                  linestyle=("-", "--", ":")[place // len(PALETTE)])  # fmt: skip
    if told and classes is not None:
        _legend(figure, classes, lines=True)
    axes.set_xlabel(name, color=QUIET, fontsize=9, parse_math=False)
    axes.set_ylabel("validation codes", color=QUIET, fontsize=9)
    _plain(axes)
    return figure


def lattice(places: Tensor, data: Tensor, names: Sequence[str], side: float = 6.0) -> Figure:
    """What the lines of a grid among codes become in the plane of the data.

    Args:
        places: Decoded places of the grid, `(S, S, 2)`, or `(S, 2)` of a line.
        data: Points `(N, 2)` behind it.
        names: Of the axes.
        side: Of the picture, in inches.
    """
    from matplotlib.figure import Figure

    figure = Figure((side, side), layout="constrained")
    axes = figure.subplots()
    axes.plot(*data.T.numpy(), "o", color=QUIET, markersize=2, alpha=0.3, markeredgewidth=0)
    lines = [*places, *places.movedim(1, 0)] if places.ndim == 3 else [places]
    across = len(places) if places.ndim == 3 else 1
    for number, line in enumerate(lines):
        axes.plot(*line.T.numpy(), color=PALETTE[0 if number < across else 1], linewidth=0.9)
    low, high = _ends_of(torch.cat([data, places.flatten(0, -2)]))
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), box_aspect=1)
    if names:
        axes.set_xlabel(names[0], color=QUIET, fontsize=9, parse_math=False)
        axes.set_ylabel(names[1], color=QUIET, fontsize=9, parse_math=False)
    _plain(axes)
    return figure


Picture = Union["Image.Image", "Figure"]
"""Of pixels, or drawn by lines."""


def beside(*pictures: Picture) -> Image.Image:
    """Pictures side by side on white, in their middles, each pixel as it is."""
    return _joined(pictures, along=0)


def below(*pictures: Picture) -> Image.Image:
    """Pictures one below another on white, each pixel as it is."""
    return _joined(pictures, along=1)


def _joined(pictures: Sequence[Picture], *, along: int) -> Image.Image:
    shown = [
        each.convert("RGB") if isinstance(each, Image.Image) else raster(each) for each in pictures
    ]
    size = [max(each.size[axis] for each in shown) for axis in (0, 1)]
    whole = list(size)
    whole[along] = sum(each.size[along] for each in shown) + _BETWEEN * (len(shown) - 1)
    canvas, at = Image.new("RGB", (whole[0], whole[1]), "white"), 0
    for each in shown:
        middle = (size[1 - along] - each.size[1 - along]) // 2
        canvas.paste(each, (middle, at) if along else (at, middle))
        at += each.size[along] + _BETWEEN
    return canvas


_BETWEEN = 12
"""Pixels between pictures that are joined."""


def inches(image: Image.Image, axis: int) -> float:
    """How large a figure is that is as wide (0) or high (1) as a picture of pixels."""
    return float(image.size[axis]) / _DPI


_BOX = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}


def _middle(points: Tensor) -> tuple[float, float]:
    across, up = points.median(0).values.tolist()
    return across, up


def _colour(place: int) -> str:
    return PALETTE[place % len(PALETTE)]


def _mark(place: int) -> str:
    return MARKS[place // len(PALETTE) % len(MARKS)]


def _name(axes: Axes, points: Tensor, whole: Tensor, classes: Classes) -> None:
    """The name of each class where most of it is."""
    for place, label in enumerate(classes.told):
        own = points[whole & (classes.labels == label)]
        if len(own):
            axes.annotate(
                classes.names[label], _middle(own), color=_colour(place),
                fontsize=9, fontweight="bold", ha="center", va="center", bbox=_BOX,
                parse_math=False,
            )  # fmt: skip


def _legend(figure: Figure, classes: Classes, *, lines: bool = False) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=_colour(place), label=classes.names[label],
               linestyle=("-", "--", ":")[place // len(PALETTE)] if lines else "none",
               marker="" if lines else _mark(place), markersize=5)
        for place, label in enumerate(classes.told)
    ]  # fmt: skip
    words = figure.legend(
        handles=handles, loc="outside right upper", frameon=False, fontsize=8.5, labelcolor=INK
    ).get_texts()
    for text in words:
        text.set_parse_math(False)  # names are the user's


def _ends_of(
    *clouds: Tensor | tuple[float, float, float, float] | None,
) -> tuple[list[float], list[float]]:
    """Corners with room for all points of each cloud but one in five hundred at each end.

    Args:
        clouds: Points `(N, D)`, or the left, right, lower and upper end of a rectangle.
    """
    shares = torch.tensor([0.002, 0.998], dtype=torch.float64)
    corners = [
        torch.tensor(each, dtype=torch.float64).view(2, 2).T
        if isinstance(each, tuple)
        else each.double().quantile(shares, 0)
        for each in clouds
        if each is not None
    ]
    low, high = (
        torch.stack([c[0] for c in corners]).amin(0),
        torch.stack([c[1] for c in corners]).amax(0),
    )
    room = 0.06 * (high - low).clamp_min(1e-6)
    return (low - room).tolist(), (high + room).tolist()


def _ellipse(cloud: Tensor) -> Tensor:
    """The outline that holds 95 % of a normal distribution with the moments of points."""
    centred = cloud.double() - cloud.double().mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / max(1, len(cloud) - 1))
    angle = torch.linspace(0, 2 * math.pi, 73, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin()], 1) * math.sqrt(_WITHIN)
    return cloud.double().mean(0) + circle * values.clamp_min(0).sqrt() @ vectors.T


_WITHIN = 5.991464547107979
"""The 95 % quantile of χ² with two degrees of freedom."""


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=QUIET, labelsize=8)
