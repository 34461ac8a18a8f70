"""Maps over pictures and sounds: what surprises a model where, and what a prediction sees."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from simulacra.drawing.style import INK, PALETTE, QUIET
from simulacra.ground.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure

BLIND, LATER, LEAK = "#f0b27a", "#e3e6ea", "#d11f2f"
"""Earlier pixels without influence, pixels that come later, and those of them that have some."""


def surprises(pictures: Tensor, bits: Tensor, titles: Sequence[str]) -> Figure:
    """Pictures, each beside a map of its surprise; all maps on one scale of colours.

    Args:
        pictures: Floats in [0, 1], `(N, C, H, W)` with one channel or three.
        bits: Surprise of each pixel, `(N, H, W)`; what is infinite has the brightest colour.
        titles: A line above each picture.

    Raises:
        UsageError: If the shapes do not belong together.
    """
    n, _, height, width = pictures.shape
    if bits.shape != (n, height, width) or len(titles) != n or not n:
        raise UsageError(
            f"surprises needs a map and a title for each picture, got {tuple(pictures.shape)}, "
            f"{tuple(bits.shape)} and {len(titles)}"
        )
    from matplotlib.figure import Figure

    most = _most(bits)
    pairs = min(3, n)
    rows = math.ceil(n / pairs)
    tall = 1.75 * min(2.0, max(0.5, height / width))
    figure = Figure((3.6 * pairs + 0.9, (tall + 0.25) * rows + 0.1), layout="constrained")
    places = list(figure.subplots(rows, 2 * pairs, squeeze=False).flat)
    for axes in places:
        axes.set_axis_off()
    for i, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        left, right = places[2 * i : 2 * i + 2]
        shown = picture.movedim(0, -1).expand(height, width, 3).numpy()
        left.imshow(shown, interpolation="nearest")
        left.set_title(title, loc="left", fontsize=8.5, color=INK, parse_math=False)
        image = right.imshow(
            bits[i].nan_to_num(nan=math.inf).clamp(0, most).numpy(),
            cmap="magma", vmin=0, vmax=most, interpolation="nearest",
        )  # fmt: skip
    bar = figure.colorbar(image, ax=places, shrink=min(1.0, 1.6 / rows), aspect=14, pad=0.015)
    _label(bar, "surprise, bits")
    return figure


def surprise_curves(sounds: Tensor, bits: Tensor, rate: int, titles: Sequence[str]) -> Figure:
    """Sounds, each above the curve of its surprise.

    Args:
        sounds: Amplitudes in [−1, 1], `(N, T)`.
        bits: Surprise of each sample, `(N, T)`.
        rate: Samples a second.
        titles: A line above each sound.

    Raises:
        UsageError: If the shapes do not belong together.
    """
    if bits.shape != sounds.shape or len(titles) != len(sounds) or not len(sounds):
        raise UsageError(
            f"surprise_curves needs a curve and a title for each sound, got {tuple(sounds.shape)}, "
            f"{tuple(bits.shape)} and {len(titles)}"
        )
    from matplotlib.figure import Figure

    n, samples = sounds.shape
    scale, unit = (1, "s") if samples >= rate else (1000, "ms")
    time = (torch.arange(samples).double() * scale / rate).numpy()
    figure = Figure((8.0, 1.9 * n + 0.4), layout="constrained")
    places = list(figure.subplots(2 * n, 1, squeeze=False, sharex=True).flat)
    most = _most(bits)
    for i, title in enumerate(titles):
        above, below = places[2 * i : 2 * i + 2]
        above.plot(time, sounds[i].numpy(), color=PALETTE[0], linewidth=0.6)
        above.set_ylim(-1, 1)
        above.set_yticks([])
        above.set_title(title, loc="left", fontsize=8.5, color=INK, parse_math=False)
        below.fill_between(time, bits[i].clamp(0, most).numpy(), color=PALETTE[1], linewidth=0)
        below.set_ylim(0, most)
        below.set_ylabel("bits", color=QUIET, fontsize=8)
    for axes in places:
        _plain(axes)
        axes.set_xlim(0, samples * scale / rate)
    places[-1].set_xlabel(f"time, {unit}", color=QUIET, fontsize=9)
    return figure


def field(
    strength: Tensor, earlier: Tensor, leaks: Tensor, at: tuple[int, int], title: str
) -> Figure:
    """What the prediction of one pixel sees: how strongly it depends on which earlier pixels.

    Args:
        strength: Of each pixel's influence, `(H, W)`, in nats; 0 for none, and infinite or
            smaller than can be drawn is brought to the end of the scale.
        earlier: Which pixels come before the one that is predicted, `(H, W)`.
        leaks: Which pixels have an influence before their time, `(H, W)`.
        at: Row and column of the one that is predicted; it may see itself.
        title: A line above the picture.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, LogNorm, to_rgb
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import NullFormatter

    height, width = strength.shape
    seen = strength[(strength > 0) & ~leaks]
    finite = seen[seen.isfinite()]
    high = max(float(finite.max()), 1e-30) if len(finite) else 1.0
    low = max(float(finite.min()) if len(finite) else high, high * _SPAN)
    # from a power of ten on, so that the scale has a number on it
    norm = LogNorm(10 ** math.floor(math.log10(min(low, high / 2))), high, clip=True)
    blues = LinearSegmentedColormap.from_list("influence", ["#cfe3f1", PALETTE[0], "#00304d"])
    colours = torch.tensor(to_rgb(LATER)).expand(height, width, 3).clone()
    colours[earlier] = torch.tensor(to_rgb(BLIND))
    drawn = torch.from_numpy(blues(norm(strength.clamp_max(high).numpy()))[..., :3]).float()
    colours = torch.where((strength > 0)[..., None], drawn, colours)
    colours[at] = 0
    colours[leaks] = torch.tensor(to_rgb(LEAK))
    figure = Figure((4.8, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(colours.numpy(), interpolation="nearest")
    axes.set_xticks([i - 0.5 for i in range(width + 1)], [])
    axes.set_yticks([i - 0.5 for i in range(height + 1)], [])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.grid(color="white", linewidth=min(0.8, 16 / max(height, width)))
    axes.set_title(title, loc="left", fontsize=10, color=INK, parse_math=False)
    if leaks[at]:
        axes.add_patch(Rectangle((at[1] - 0.2, at[0] - 0.2), 0.4, 0.4, color="black", linewidth=0))
    words = {"predicted": "black", "no influence": BLIND, "later": LATER}
    if bool(leaks.any()):
        words["seen too early"] = LEAK
    _legend(figure, words)
    bar = figure.colorbar(ScalarMappable(norm, blues), ax=axes, shrink=0.8, aspect=18, pad=0.02)
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    _label(bar, "influence on log p, nats")
    return figure


def masks(panels: Sequence[tuple[str, Tensor, Tensor]], names: Sequence[str]) -> Figure:
    """Masks of convolutions: for each colour that is predicted, what it sees of each colour.

    Args:
        panels: Of each mask a line above it; which part of the weights is let through, `(C, C, k,
            k)` by predicted and by seen colour; and which places are seen too early, alike.
        names: Of the C colours.
    """
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure

    colours = len(names)
    inch = max(1.1 if colours > 1 else 2.2, 0.2 * max(seen.shape[-1] for _, seen, _ in panels))
    figure = Figure(
        (len(panels) * (colours * inch + 0.7), colours * inch + 1.0), layout="constrained"
    )
    parts = figure.subfigures(1, len(panels), squeeze=False, wspace=0.04)[0]
    for part, (title, seen, leaks) in zip(parts, panels, strict=True):
        part.suptitle(title, fontsize=10.5, color=INK)
        side = seen.shape[-1]
        full, none = (torch.tensor(to_rgb(colour)) for colour in (PALETTE[0], LATER))
        drawn = none + (full - none) * seen[..., None]
        drawn[leaks] = torch.tensor(to_rgb(LEAK))
        for i, row in enumerate(part.subplots(colours, colours, squeeze=False)):
            for j, axes in enumerate(row):
                axes.imshow(drawn[i, j].clamp(0, 1).numpy(), interpolation="nearest")
                axes.set_xticks([c - 0.5 for c in range(side + 1)], [])
                axes.set_yticks([c - 0.5 for c in range(side + 1)], [])
                axes.tick_params(length=0)
                axes.spines[:].set_visible(False)
                axes.grid(color="white", linewidth=1.2)
                own = seen[i, j, side // 2, side // 2] > 0
                axes.plot(side // 2, side // 2, "o", markersize=4, color="white" if own else INK)
                if i == 0 and colours > 1:
                    axes.set_title(f"of {names[j]}", fontsize=9, color=INK, pad=3)
                if j == 0 and colours > 1:
                    axes.set_ylabel(f"for {names[i]}", fontsize=9, color=INK)
    words = {"seen": PALETTE[0], "not seen": LATER}
    if any(bool(leaks.any()) for _, _, leaks in panels):
        words["seen too early"] = LEAK
    _legend(figure, words)
    return figure


def _legend(figure: Figure, words: Mapping[str, str]) -> None:
    """What each colour stands for, below."""
    from matplotlib.patches import Patch

    figure.legend(
        handles=[Patch(facecolor=colour, label=word) for word, colour in words.items()],
        loc="outside lower left", ncols=len(words), frameon=False, fontsize=8.5, labelcolor=INK,
        handlelength=1.0, handleheight=1.0, columnspacing=1.2,
    )  # fmt: skip


_SPAN = 1e-6
"""The faintest influence that has a colour of its own, as a part of the strongest."""


def drawable(text: str) -> bool:
    """Whether the font of pictures has all characters of a text."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("DejaVu Sans"))
    return all(c.isprintable() and font.get_char_index(ord(c)) for c in text)


def _most(bits: Tensor) -> float:
    """The end of a scale of surprise: the largest that is finite."""
    finite = bits[bits.isfinite()]
    return max(float(finite.max()), 1e-3) if len(finite) else 1.0


def _label(bar: Colorbar, text: str) -> None:
    bar.set_label(text, color=QUIET, fontsize=9)
    bar.ax.tick_params(colors=QUIET, labelsize=8)
    bar.outline.set_visible(False)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=QUIET, labelsize=8)
