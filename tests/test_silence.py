"""How much of recordings is silence, as a note of the data says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import soundfile

from simulacra.data.catalogue import load

RATE, FRAME = 8000, 160


def notes(folder, **form):
    data = load(str(folder), window=1000, **form)
    return data, [note for note in data.notes if "of the valid samples are silence" in note]


def write(folder, parts, *, count=12, rate=RATE):
    """Recordings of parts (amplitude, samples), the samples of each going to and fro."""
    for number in range(count):
        pieces = [loud * np.sign(np.sin(2.0 * np.arange(1, n + 1))) for loud, n in parts]
        soundfile.write(folder / f"{number}.wav", np.concatenate(pieces), rate, subtype="PCM_16")


def test_frames_without_a_loud_sample_are_silence(tmp_path):
    """A quarter: 5 frames of 20 that are below a hundredth, not those that are just above it."""
    write(tmp_path, [(0.5, 10 * FRAME), (0.0, 3 * FRAME), (0.008, 2 * FRAME), (0.013, 5 * FRAME)])
    data, found = notes(tmp_path)
    (note,) = found
    assert note.startswith("25.0% of the valid samples are silence (frames of 20 ms within 1%")
    # the padding of last windows is none of it, and is told by itself
    assert data.notes[0].startswith("20.0% of the samples are silence that fills")
    assert dataclasses.replace(data, notes=()).fingerprint == data.fingerprint


def test_one_loud_sample_makes_a_frame_heard(tmp_path):
    write(tmp_path, [(0.0, FRAME), (0.0, FRAME - 1), (0.5, 1), (0.0, FRAME)])
    assert notes(tmp_path)[1][0].startswith("66.7%")


def test_a_last_frame_counts_for_what_it_has(tmp_path):
    write(tmp_path, [(0.5, FRAME), (0.0, FRAME // 4)])
    assert notes(tmp_path)[1][0].startswith("20.0%")


def test_frames_are_seconds_at_any_rate(tmp_path):
    write(tmp_path, [(0.5, 960), (0.0, 960)], rate=48_000)
    assert notes(tmp_path)[1][0].startswith("50.0%")


@pytest.mark.parametrize("levels", [16, 256, 1 << 16])
def test_of_any_number_of_levels(tmp_path, levels):
    write(tmp_path, [(0.5, 3 * FRAME), (0.0, FRAME)])
    assert notes(tmp_path, levels=levels)[1][0].startswith("25.0%")


def test_nothing_is_said_of_sounds_without_silence(tmp_path):
    write(tmp_path, [(0.5, 1000)])
    data, found = notes(tmp_path)
    assert (found, data.notes) == ([], ())
