"""`Bands`: sounds as people hear them, the power of bands of frequencies over time."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from simulacra.ground.spectrogram import spectrogram

MOST_BANDS, MOST_FRAMES = 32, 128
_HOP = 0.016
"""Seconds from frame to frame, of sounds that are not long: a frame of 32 ms is about the shortest
that tells the tones of a voice apart."""
_QUIET = 1e-8
"""Power that is added before the logarithm, 80 dB below full scale: less than the μ-law's steps."""
_RATE = 8000
"""Samples a second, of sounds that do not say."""


class Bands(nn.Module):
    """The logarithm of the power of each band in each frame.

    Bands are as wide as ears have them (the mel scale: Stevens, Volkmann and Newman 1937, as
    2595 log₁₀(1 + f / 700) of f Hz), but none narrower than one frequency of the spectrogram.

    Args:
        samples: Of a sound.
        rate: Samples a second; 8,000 if that is not known.

    Attributes:
        count: How many bands, at most `MOST_BANDS`.
        frames: How many frames, at most `MOST_FRAMES`.
    """

    def __init__(self, samples: int, rate: int | None) -> None:
        super().__init__()
        rate = rate or _RATE
        # of few samples in a frame no frequencies are told apart
        self.hop = max(8, round(_HOP * rate), -(-samples // MOST_FRAMES))
        self.frames = -(-samples // self.hop)
        self.count = min(MOST_BANDS, self.hop + 1)
        top = 2595 * torch.tensor(1 + rate / 2 / 700, dtype=torch.float64).log10()
        mels = torch.linspace(0, float(top), self.count + 1, dtype=torch.float64)
        hertz = 700 * (10 ** (mels / 2595) - 1)
        edges = [0]
        for at, edge in enumerate((hertz * 2 * self.hop / rate).round().long().tolist()[1:], 1):
            # room is left for one frequency in each of the bands above
            most = self.hop + 1 - (self.count - at)
            edges.append(min(max(edge, edges[-1] + 1), most))
        edges[-1] = self.hop + 1
        weights = torch.zeros(self.count, self.hop + 1)
        for band, (low, high) in enumerate(pairwise(edges)):
            weights[band, low:high] = 1 / (high - low)
        self.weights: Tensor
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, sounds: Tensor) -> Tensor:
        """`(N, count, frames)` of amplitudes `(N, T)`."""
        return (self.weights @ spectrogram(sounds, self.hop) + _QUIET).log10()
