"""Sounds as they are shown and heard: waveforms above spectrograms, and players in a report."""

from __future__ import annotations

import base64
import io
import math
import re

import pytest
import soundfile
import torch

from reported import digits_pictures, five, render
from simulacra.data.dataset import Dataset, Observations
from simulacra.drawing import files
from simulacra.drawing.observations import look
from simulacra.drawing.sounds import heard
from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.judging import pictures


def tones(rate, samples, *hertz):
    t = torch.arange(samples) / rate
    return torch.stack([0.5 * torch.sin(2 * math.pi * each * t) for each in hertz])


def loudest(image):
    """The frequency of the loudest row of a spectrogram, in units of its height."""
    low, high = image.get_extent()[2:]
    rows = image.get_array().max(1)
    return float(rows.argmax()) / (len(rows) - 1), (low, high)


def test_each_waveform_stands_above_its_own_spectrogram():
    figure = heard(tones(8000, 4000, 500, 1000, 2000, 3000), 8000, columns=2)
    for column, axes in enumerate(figure.axes):
        assert len(axes.images) == len(axes.lines) == 2
        for row, (image, line) in enumerate(zip(axes.images, axes.lines, strict=True)):
            share, (low, high) = loudest(image)
            assert share == pytest.approx(
                (500, 1000, 2000, 3000)[2 * row + column] / 4000, abs=0.01
            )
            y = line.get_ydata()
            assert low < high < min(y)
            assert max(y) <= axes.get_ylim()[1] - 4 * row
        words = [tick.get_text() for tick in axes.get_yticklabels()]
        assert words == ["0", "4,000"] * 2
        assert axes.get_xlabel() == "time, ms"
    assert figure.axes[0].get_ylabel() == "frequency, Hz"
    assert heard(tones(8000, 8000, 500), 8000).axes[0].get_xlabel() == "time, s"


def test_a_tone_that_comes_late_is_drawn_late():
    sound = tones(8000, 4000, 1000)
    sound[:, :2000] = 0
    (image,) = heard(sound, 8000).axes[0].images
    start, end = image.get_extent()[:2]
    power = image.get_array().max(0)
    first = int((power > power.max() - 20).argmax())
    # milliseconds of the middle of the first frame that is loud
    assert start + (end - start) * (first + 0.5) / len(power) == pytest.approx(250, abs=10)


@pytest.mark.parametrize("rate", [800, 8000, 48_000])
@pytest.mark.parametrize("samples", [1, 5, 64, 3000])
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_short_and_constant_sounds_are_drawn(rate, samples, value):
    figure = heard(torch.full((1, samples), value), rate)
    (image,) = figure.axes[0].images
    low, high = image.get_clim()
    assert high - low == pytest.approx(60)
    if not value:
        # silence is white, and not all of one loud colour
        assert float(image.get_array().max()) == pytest.approx(low)
    assert files.png(heard(torch.zeros(2, 5), 8000)).startswith(b"\x89PNG")


def test_one_scale_of_power_for_all():
    loud = tones(8000, 800, 1000)
    figure = heard(torch.cat([loud, loud / 100]), 8000, columns=1)
    first, second = figure.axes[0].images
    assert first.get_clim() == second.get_clim()
    difference = float(first.get_array().max() - second.get_array().max())
    assert difference == pytest.approx(40, abs=0.1)


def test_long_sounds_have_no_more_frames_than_there_is_room_for():
    (image,) = heard(torch.zeros(1, 100_000), 8000).axes[0].images
    assert image.get_array().shape[1] <= 400


def test_of_very_many_rows_the_waveforms_alone_are_drawn():
    assert not heard(torch.zeros(65, 3), 8, columns=1).axes[0].images
    assert heard(torch.zeros(64, 3), 8, columns=1).axes[0].images
    with pytest.raises(UsageError, match="amplitudes"):
        heard(torch.full((1, 3), 1.5), 8)


# ---- in a report --------------------------------------------------------------------------------


def sounds(n=20, samples=500, rate=8000):
    spec = DataSpec((samples,), 256, coding="mu-law", rate=rate)
    levels = (tones(rate, samples, *[100 + 50 * i for i in range(n)]) * 127 + 128).to(torch.uint8)
    split = Observations(levels)
    return Dataset("made", spec, split, split, split)


def test_real_and_drawn_sounds_come_with_a_file_to_hear():
    data = sounds()
    found = pictures.real_pictures(data) | pictures.sample_pictures(data, data.train.x.long())
    assert sorted(found) == ["heard", "real", "real/heard", "samples"]
    heard_, rate = soundfile.read(io.BytesIO(found["heard"]))
    assert (rate, len(heard_)) == (8000, 8 * 500 + 7 * 2000)
    expected = data.spec.to_float(data.train.x[:1].long())[0].numpy()
    assert heard_[:500] == pytest.approx(expected, abs=1e-4)
    # of long ones no more than ten seconds
    long = sounds(n=3, samples=8000 * 6)
    (wav,) = (v for k, v in pictures.real_pictures(long).items() if k == "real/heard")
    assert soundfile.info(io.BytesIO(wav)).frames == 8000 * 6
    assert look(data.spec, data.train.x[:16].long()) == found["samples"]


def test_a_report_plays_what_it_shows():
    data = sounds()
    made = pictures.sample_pictures(data, data.train.x.long())
    name = five()["models"][0]["model"]
    shown = digits_pictures() | pictures.real_pictures(data)
    shown |= {f"{name}/{kind}": value for kind, value in made.items()}
    page = render(five(), shown)
    players = re.findall(r'<audio controls[^>]*src="data:audio/wav;base64,([^"]*)"', page)
    assert len(players) == 2
    assert base64.b64decode(players[1]) == made["heard"]
    assert f'aria-label="Samples drawn from {name}, one after another"' in page
    assert "media-src data:" in page
    assert "<audio" not in render(five(), digits_pictures())
    with pytest.raises(UsageError, match="PNG"):
        render(five(), {"real": b"RIFF1234AVI "})
