"""Sounds as levels by the μ-law, and recordings cut into windows of one length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from simulacra.data.dataset import Observations, smallest_dtype
from simulacra.data.formats.safe_reading import ensure_room


def mu_law(amplitudes: NDArray[np.floating], levels: int) -> NDArray[np.integer]:
    """Amplitudes as the nearest levels of the μ-law of telephony, with μ = levels − 1.

    `DataSpec.to_float` with coding `mu-law` is its inverse: quiet sounds have finer steps.

    Args:
        amplitudes: In [−1, 1]; what is beyond is clipped.
        levels: At least 2.

    Returns:
        Levels 0 … levels − 1 in the smallest type that holds them.
    """
    mu = levels - 1
    s = np.clip(np.asarray(amplitudes, np.float64), -1, 1)
    f = np.sign(s) * np.log1p(mu * np.abs(s)) / np.log1p(mu)
    smallest = torch.empty(0, dtype=smallest_dtype(levels)).numpy().dtype
    return np.floor((f + 1) / 2 * mu + 0.5).astype(smallest)


def windows(
    recordings: Sequence[NDArray[np.integer]],
    chosen: Observations,
    *,
    window: int,
    levels: int,
) -> Observations:
    """Some recordings, each cut into windows that follow one another.

    A last piece that is shorter than a window is padded with silence, and its length noted.

    Args:
        recordings: Levels of every recording, `(T,)` each, T at least 1.
        chosen: Places of the recordings to cut, `(R,)` in the order wanted; each window has the
            label and the group of its recording.
        window: Samples in a window.
        levels: How many levels there are; the middle one is silence.

    Returns:
        Windows `(N, window)`, with `lengths` if any is padded; their `groups` are the places of
        their recordings, unless these have groups of their own.

    Raises:
        ResourceError: If they would not fit into memory.
    """
    places = chosen.x[:].tolist()
    counts = torch.tensor([-(-len(recordings[place]) // window) for place in places])
    total = int(counts.sum())
    silence = mu_law(np.zeros(1), levels)
    ensure_room(total * window * silence.itemsize, f"{total} windows of {window} samples")
    x = np.full((total, window), silence[0])
    lengths = torch.full((total,), window)
    row = 0
    for place in places:
        recording = recordings[place]
        for start in range(0, len(recording), window):
            piece = recording[start : start + window]
            x[row, : len(piece)] = piece
            lengths[row] = len(piece)
            row += 1
    return Observations(
        torch.from_numpy(x),
        None if chosen.context is None else chosen.context.repeat_interleave(counts, 0),
        lengths if bool((lengths < window).any()) else None,
        (chosen.x[:] if chosen.groups is None else chosen.groups).repeat_interleave(counts),
    )
