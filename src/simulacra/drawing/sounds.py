"""`heard`: sounds as waveforms, each above its spectrogram."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from simulacra.drawing.charts import plain_axes, sounds_in_range, waves
from simulacra.drawing.style import PALETTE, QUIET
from simulacra.ground.spectrogram import spectrogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_ROWS = 64
"""Rows beyond which there is no room for spectrograms."""
_HOP, _MOST_FRAMES = 0.008, 400
"""Seconds from frame to frame, unless there would be more frames than pixels for them."""
_RANGE = 60.0
"""Decibels between the loudest that is drawn and what is as white as silence."""
_SILENT = 1e-10
"""Power below which all is silence."""
_PITCH, _LOW, _HIGH = 4.0, -2.9, -1.1
"""Units from row to row, of which a waveform has ±1, and where a spectrogram begins and ends."""


def heard(sounds: Tensor, rate: int, *, columns: int | None = None) -> Figure:
    """Waveforms row by row, each above the power of its frequencies on a logarithmic scale.

    All have one scale of time, of amplitude and of power: the darkest blue is the loudest of all,
    white is 60 dB below it. Of very many rows the waveforms alone are drawn.

    Args:
        sounds: Amplitudes in [−1, 1], `(N, T)`.
        rate: Samples a second.
        columns: Sounds in a row; by default one for each eight, four at most.

    Raises:
        UsageError: See `waves`.
    """
    sounds, columns = sounds_in_range(sounds, rate, columns)
    n, samples = sounds.shape
    rows = math.ceil(n / columns)
    if rows > _MOST_ROWS:
        return waves(sounds, rate, columns=columns)
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list(
        "quiet", ["#ffffff", PALETTE[5], PALETTE[0], "#00233b"]
    )
    hop = max(8, round(_HOP * rate), math.ceil(samples / _MOST_FRAMES))
    power = 10 * spectrogram(sounds, hop).clamp(min=_SILENT).log10()
    # what is silent from end to end has nothing that is loud
    top = max(float(power.max()), 10 * math.log10(_SILENT) + _RANGE)
    scale, unit = (1, "s") if samples >= rate else (1000, "ms")
    times = [scale * at / rate for at in range(samples)]
    ends = [scale * (at - 0.5) * hop / rate for at in (0, power.shape[2])]
    size = (min(8.0, 14 / columns) * columns, 0.7 + 1.1 * rows)
    figure, places = plain_axes(1, columns, size)
    for column, axes in enumerate(places):
        for row, (sound, own) in enumerate(
            zip(sounds[column::columns], power[column::columns], strict=True)
        ):
            place = -_PITCH * row
            axes.plot(times, (sound + place).numpy(), color=PALETTE[0], linewidth=0.6)
            axes.imshow(
                own.numpy(), cmap=shades, vmin=top - _RANGE, vmax=top, aspect="auto",
                origin="lower", extent=(ends[0], ends[1], place + _LOW, place + _HIGH),
            )  # fmt: skip
        axes.set_xlim(0, samples * scale / rate)
        axes.set_ylim(-_PITCH * (rows - 1) + _LOW - 0.1, 1)
        own_rows = len(sounds[column::columns])
        ticks = [-_PITCH * row + end for row in range(own_rows) for end in (_LOW, _HIGH)]
        axes.set_yticks(ticks, ["0", f"{rate / 2:,.0f}"] * own_rows, fontsize=7)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"time, {unit}", color=QUIET, fontsize=9)
    places[0].set_ylabel("frequency, Hz", color=QUIET, fontsize=9)
    return figure
