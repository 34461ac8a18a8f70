"""Simple predictors of sounds: what they cost, by hand, and where a report has them."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pytest
import soundfile
import torch

from reported import five, render, texts, typed
from simulacra.data.dataset import Dataset, Observations, smallest_dtype
from simulacra.data.formats.soundfiles import flac
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.judging.figures import simple_sounds
from simulacra.judging.figures.simple_sounds import simple_predictors
from simulacra.report import sound_tables

TRUST = 64


def of(train, test, levels=256, lengths=None):
    """Windows of a sound; all of the training split are valid, of the test split so many."""
    spec = DataSpec((train.shape[1],), levels, coding="mu-law", rate=8000)
    kind = smallest_dtype(levels)
    told = None if lengths is None else torch.tensor(lengths)
    return Dataset(
        "made", spec, Observations(train.to(kind)), Observations(train[:1].to(kind)),
        Observations(test.to(kind), lengths=told),
    )  # fmt: skip


def bits(data):
    return {each.name: each.bits_per_dim for each in simple_predictors(data)}


def noise(n, length, levels=256, *, seed=0):
    with seeded(seed):
        return torch.randint(levels, (n, length))


def test_histogram_and_markov_table_are_what_counting_says():
    levels, train, test = 5, noise(6, 9, 5), noise(4, 9, 5, seed=1)
    data = of(train, test, levels)
    counts = np.full(levels, 0.5)
    pairs = np.zeros((levels, levels))
    for row in train.numpy():
        for before, now in zip([levels // 2, *row], row, strict=False):
            counts[now] += 1
            pairs[before, now] += 1
    shares = counts / counts.sum()
    given = (pairs + TRUST * shares) / (pairs.sum(1, keepdims=True) + TRUST)
    plain, markov = [], []
    for row in test.numpy():
        for before, now in zip([levels // 2, *row], row, strict=False):
            plain.append(-np.log2(shares[now]))
            markov.append(-np.log2(given[before, now]))
    found = bits(data)
    assert found["histogram"] == pytest.approx(np.mean(plain))
    assert found["Markov table"] == pytest.approx(np.mean(markov))


def test_a_prediction_from_two_samples_hears_what_one_does_not():
    """Tones of one pitch: two samples tell the next, one tells it but for whether it rises."""
    with seeded(0):
        phase, loud = torch.rand(2, 60, 1)
    tones = (0.1 + 0.8 * loud) * torch.sin(0.3 * torch.arange(400) + 6.3 * phase)
    x = torch.from_numpy(np.round((tones.numpy() + 1) / 2 * 63)).long()
    spec = DataSpec((400,), 64, rate=8000)
    data = dataclasses.replace(of(x[:50], x[50:], 64), spec=spec)
    found = bits(data)
    assert found["prediction and slope"] < found["Markov table"] - 0.5
    assert found["Markov table"] < found["histogram"] - 0.5


def test_padding_is_neither_learnt_nor_asked_about():
    train, test = noise(8, 50), noise(5, 50, seed=1)
    lengths = [50, 20, 1, 33, 7]
    short = of(train, test, lengths=lengths)
    other = test.clone()
    for row, length in zip(other, lengths, strict=True):
        row[length:] = 3
    assert simple_predictors(short) == simple_predictors(of(train, other, lengths=lengths))
    assert {each.samples for each in simple_predictors(short)} == {sum(lengths)}
    learnt = dataclasses.replace(short, train=short.test, test=short.train)
    beside = of(train, other, lengths=lengths)
    beside = dataclasses.replace(beside, train=beside.test, test=beside.train)
    assert simple_predictors(learnt) == simple_predictors(beside)
    assert simple_predictors(learnt)[0].fitted == sum(lengths)


def test_training_windows_alone_are_learnt_from():
    data = of(noise(8, 50), noise(5, 50, seed=1))
    unlike = Observations(torch.zeros(9, 50, dtype=torch.uint8))
    assert bits(dataclasses.replace(data, validation=unlike)) == bits(data)
    # windows that are asked about do not change what others cost
    one, two = (dataclasses.replace(data, test=data.test.take(rows))
                for rows in torch.arange(5).split([2, 3]))  # fmt: skip
    for name in ("histogram", "Markov table", "prediction and slope"):
        whole = 2 * bits(one)[name] + 3 * bits(two)[name]
        assert whole / 5 == pytest.approx(bits(data)[name])


def test_flac_keeps_every_level():
    for count, subtype in ((200, "PCM_S8"), (256, "PCM_S8"), (257, "PCM_16"), (1 << 16, "PCM_16")):
        levels = noise(1, 5000, count)[0].numpy()
        levels[:2] = 0, count - 1
        with soundfile.SoundFile(io.BytesIO(flac(levels, count))) as file:
            assert (file.format, file.subtype) == ("FLAC", subtype)
            again = file.read(dtype="int16").astype(int)
        assert (again // (256 if subtype == "PCM_S8" else 1) + count // 2 == levels).all()
    data = of(noise(4, 500), torch.full((2, 500), 7))
    assert bits(data)["FLAC"] == 8 * len(flac(np.full(1000, 7), 256)) / 1000


def test_more_levels_than_tables_tell_apart():
    """The histogram still tells every level, and the tables fall back to it within a group."""
    train, test = noise(40, 100, 700), noise(10, 100, 700, seed=1)
    data = of(train, test, 700)
    shares = np.bincount(train.flatten().numpy(), minlength=700) + 0.5
    expected = -np.log2(shares / shares.sum())[test.flatten().numpy()].mean()
    assert bits(data)["histogram"] == pytest.approx(expected)
    # 65,537 levels are more than FLAC's samples are given
    assert "FLAC" not in bits(of(train, test, (1 << 16) + 1))


def test_of_many_windows_some_are_looked_at(monkeypatch):
    monkeypatch.setattr(simple_sounds, "FITTED", 300)
    monkeypatch.setattr(simple_sounds, "MEASURED", 100)
    found = simple_predictors(of(noise(40, 50), noise(20, 50, seed=1)))
    assert {each.fitted for each in found} == {300, 0}
    assert {(each.samples, each.observations) for each in found} == {(100, 2)}


@pytest.mark.parametrize("value", [0, 128, 255])
def test_sounds_that_never_vary(value):
    still = torch.full((5, 30), value)
    found = bits(of(still, still))
    assert all(0 <= each < 9 for each in found.values())


# ---- in a report -----------------------------------------------------------------------------


def told(*figures):
    """Results of sounds, with simple predictors beside models of 1.9 to 2.6 bits."""
    results = five()
    results["data"] |= {"rate": 8000, "valid": 40.0}
    results["predictors"] = [
        {"name": name, "bits_per_dim": each, "standard_error": 0.05 if name != "FLAC" else None,
         "observations": 302, "samples": 1034030, "fitted": 8507635 if name != "FLAC" else 0}
        for name, each in zip(("histogram", "Markov table", "FLAC"), figures, strict=True)
    ]  # fmt: skip
    return results


def test_a_report_has_them_beside_the_likelihoods():
    results = told(7.18, 5.448, 5.6256)
    rows = texts(sound_tables.predictor_table, results)
    assert [row["predictor"] for row in rows] == ["histogram", "FLAC", "Markov table"]
    figures = [row["bits/valid sample"] for row in rows]
    assert figures == ["= 7.18 ± 0.05", "= 5.626", "= 5.45 ± 0.05"]
    page = render(results, {})
    assert "Simple predictors of the same sounds" in page
    assert "8,507,635 valid samples of training windows" in page
    assert "not asked about padding" in page
    assert "does not beat" not in page
    assert "Simple predictors" not in render(five(), {})
    line = sound_tables.predictor_line(typed(results))
    assert line.endswith("without padding: histogram 7.180, Markov table 5.448, FLAC 5.626")
    assert json.loads(json.dumps(typed(results).to_json()["predictors"])) == results["predictors"]


def test_a_model_that_a_histogram_beats_is_told_loudly():
    results = told(0.5, 0.4, 9.0)
    found = sound_tables.not_better(typed(results))
    assert found
    assert {(text, loud) for _, text, loud in found} == {
        ("does not beat histogram and Markov table.", True)
    }
    assert "does not beat histogram and Markov table." in render(results, {})
    # a coder alone is quiet
    quiet = sound_tables.not_better(typed(told(9.0, 9.0, 0.4)))
    assert {loud for *_, loud in quiet} == {False}
