"""`spectrogram`: sounds as the power of each frequency over time."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.ground.errors import UsageError


def spectrogram(sounds: Tensor, hop: int) -> Tensor:
    """Power of each frequency in frames that overlap by half, weighed by Hann's window.

    The middle of frame i is sample `hop` · i, and what lies outside of a sound is silence, so a
    sound may be shorter than a frame. A sine of amplitude 1 has the power 1/4 in its frequency, and
    1/16 in that beside it on either side.

    Args:
        sounds: Amplitudes `(N, T)`, on any device, in float32 or float64.
        hop: Samples from frame to frame, at least 1; a frame has twice as many.

    Returns:
        `(N, hop + 1, ⌈T / hop⌉)`, not negative, where and of what type the sounds are; row k is
        the frequency k / (2 hop) of the samples a second.

    Raises:
        UsageError: If there is no sample, or a hop of less than one.
    """
    if sounds.ndim != 2 or not sounds.shape[1] or not sounds.is_floating_point() or hop < 1:
        raise UsageError(
            f"a spectrogram needs floats (N, T) and a hop of 1 at least, got {sounds.dtype} "
            f"{tuple(sounds.shape)} and {hop}"
        )
    size, samples = 2 * hop, sounds.shape[1]
    count = -(-samples // hop)
    padded = torch.nn.functional.pad(sounds, (hop, count * hop - samples))
    window = torch.hann_window(size, dtype=sounds.dtype, device=sounds.device)
    found = torch.fft.rfft(padded.unfold(1, size, hop) * (window / window.sum()))
    return (found.real.square() + found.imag.square()).mT
