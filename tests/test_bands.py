"""Sounds as powers of bands: what the judge's classifier hears."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spectrogram import spectrogram
from simulacra.judging.features.bands import MOST_BANDS, MOST_FRAMES, Bands
from simulacra.models.lawbook.device import Elsewhere


def tone(hertz, rate, samples, loud=1.0, dtype=torch.float32):
    return loud * torch.sin(2 * math.pi * hertz * torch.arange(samples, dtype=dtype) / rate)[None]


def test_a_tone_is_where_its_frequency_and_its_time_are():
    rate, hop = 8000, 64
    sound = tone(1000, rate, 6400)
    sound[:, :3200] = 0
    power = spectrogram(sound, hop)
    assert power.shape == (1, 65, 100)
    assert int(power[0, :, 75].argmax()) == 1000 * 2 * hop // rate
    assert float(power[0, :, 75].max()) == pytest.approx(0.25, rel=1e-3)
    # the middle of frame i is sample i · hop: the tone begins in the middle of frame 50
    assert float(power[0, :, :50].max()) == 0
    assert float(power[0, :, 50].max()) > 0
    double = spectrogram(tone(1000, rate, 500, dtype=torch.float64), hop)
    assert double.dtype == torch.float64


@pytest.mark.parametrize(
    ("samples", "hop", "frames"), [(1, 1, 1), (3, 64, 1), (64, 64, 1), (65, 64, 2)]
)
def test_sounds_shorter_than_a_frame(samples, hop, frames):
    power = spectrogram(torch.ones(2, samples), hop)
    assert power.shape == (2, hop + 1, frames)
    assert bool(power.isfinite().all())
    assert bool((power >= 0).all())


def test_what_is_no_sound_is_refused():
    for sounds, hop in ((torch.ones(5), 2), (torch.ones(1, 0), 2), (torch.ones(1, 5).long(), 2),
                        (torch.ones(1, 5), 0)):  # fmt: skip
        with pytest.raises(UsageError, match="spectrogram needs"):
            spectrogram(sounds, hop)


@pytest.mark.parametrize("rate", [100, 8000, 16_000, 48_000, None])
@pytest.mark.parametrize("samples", [5, 50, 8000, 40_000])
def test_bands_of_any_rate_and_length(rate, samples):
    bands = Bands(samples, rate)
    assert bands.count <= MOST_BANDS
    assert bands.frames <= MOST_FRAMES
    # each frequency is in one band, and each band has some
    assert bool((bands.weights.sum(1) - 1).abs().max() < 1e-5)
    assert bool(((bands.weights > 0).sum(0) == 1).all())
    with seeded(0):
        sounds = torch.rand(2, samples) * 2 - 1
    seen = bands(sounds)
    assert seen.shape == (2, bands.count, bands.frames)
    assert bool(seen.isfinite().all())
    assert bool(bands(torch.zeros(1, samples)).isfinite().all())


def test_bands_are_wider_the_higher_they_are():
    bands = Bands(8000, 8000)
    assert (bands.hop, bands.count, bands.frames) == (128, 32, 63)
    widths = (bands.weights > 0).sum(1).tolist()
    assert widths[0] < widths[-1]
    heard = [int(bands(tone(hertz, 8000, 8000))[0, :, 30].argmax()) for hertz in (200, 800, 3000)]
    assert heard == sorted(set(heard))


def test_bands_are_made_where_the_sounds_are():
    bands = Bands(500, 8000)
    plain = bands(tone(440, 8000, 500))
    with Elsewhere() as there:
        moved = there.bring(Bands(500, 8000))
        there.bring(moved.weights)
        seen = moved(there.bring(tone(440, 8000, 500)))
        assert there.has(seen)
    assert torch.equal(seen, plain)
    double = bands.double()(tone(440, 8000, 500, dtype=torch.float64))
    assert double.dtype == torch.float64
    assert torch.allclose(double.float(), plain, atol=1e-3)
