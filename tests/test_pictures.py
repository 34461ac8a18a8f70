"""The album: what is drawn of samples, of real data, and of what looks like a copy."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.formats.soundfiles import wav
from simulacra.drawing import charts, files, grids, style
from simulacra.drawing.sounds import heard
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.judging import pictures as album
from simulacra.models.latent.vae import VAE
from simulacra.models.mixture.gmm import GMM
from simulacra.models.model import Sampling
from simulacra.tasks.sample import example_context

PICTURE = DataSpec((1, 4, 4), 17)
VECTOR = DataSpec((3,), None)
SOUND = DataSpec((50,), 16, coding="mu-law", rate=800)
TILE, GAP = 48, 3
"""Pixels of a picture of four by four, and between pictures."""


def some(spec: DataSpec, n: int = 40) -> torch.Tensor:
    with seeded(3):
        if spec.levels is None:
            return torch.randn(n, *spec.event_shape)
        return torch.randint(spec.levels, (n, *spec.event_shape))


def made(spec: DataSpec, n: int = 40, context: torch.Tensor | None = None) -> Dataset:
    """A data set whose validation split is not its training split."""
    x = some(spec, 2 * n)
    train, rest = Observations(x[:n]), Observations(x[n:], context)
    return Dataset("made", spec, train, rest, train)


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("L")).astype(int)


def tile(png: bytes, row: int, column: int) -> np.ndarray:
    top, left = row * (TILE + GAP), column * (TILE + GAP)
    return pixels(png)[top : top + TILE, left : left + TILE]


def flat(levels: list[int], spec: DataSpec = PICTURE) -> torch.Tensor:
    """Pictures of one level each."""
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, *spec.event_shape)


# ---- suspects -----------------------------------------------------------------------------------


def test_each_suspect_stands_left_of_what_it_looks_like():
    samples, near = [1, 2, 3, 4, 5], [11, 12, 13, 14, 15]
    [(name, png)] = album.suspect_pictures(PICTURE, flat(samples), flat(near)).items()
    assert name == "suspects"
    shown = [(tile(png, number // 4, 2 * (number % 4) + side) * 16 / 255)
             for number in range(5) for side in (0, 1)]  # fmt: skip
    assert all(np.ptp(each) == 0 for each in shown)
    levels = [round(float(each[0, 0])) for each in shown]
    assert levels == [level for both in zip(samples, near, strict=True) for level in both]
    # four pairs in a row, and nothing in the places left over
    assert pixels(png).shape == (2 * TILE + GAP, 8 * TILE + 7 * GAP)
    assert (tile(png, 1, 2) == style.GAP).all()


def test_a_pair_may_have_a_sample_of_another_type():
    """Samples are counted in int64, stored pictures in bytes."""
    png = album.suspect_pictures(PICTURE, flat([0]), flat([16]).to(torch.uint8))["suspects"]
    assert (tile(png, 0, 0) == 0).all()
    assert (tile(png, 0, 1) == 255).all()


@pytest.mark.parametrize("spec", [VECTOR, SOUND])
def test_only_pictures_are_shown_in_pairs(spec):
    assert album.suspect_pictures(spec, some(spec), some(spec)) == {}


def test_without_a_suspect_there_is_no_picture():
    assert album.suspect_pictures(PICTURE, flat([]), flat([])) == {}


# ---- samples and real data ----------------------------------------------------------------------


def test_samples_of_pictures_are_a_grid_of_eight_in_a_row():
    x = some(PICTURE, 100)
    found = album.sample_pictures(made(PICTURE), x)
    expected = files.png(grids.grid(PICTURE.to_float(x[:64]), columns=8, gap=GAP))
    assert found == {"samples": expected}
    assert pixels(found["samples"]).shape == (8 * TILE + 7 * GAP,) * 2


def test_sixteen_samples_of_sounds_are_drawn_and_the_first_eight_heard():
    x = some(SOUND)
    found = album.sample_pictures(made(SOUND), x)
    assert found == {
        "samples": files.png(heard(SOUND.to_float(x[:16]), 800)),
        "heard": wav(SOUND.to_float(x[:8]), 800),
    }


@pytest.mark.parametrize("width", [1, 2, 3])
def test_samples_of_vectors_are_points_or_histograms_of_as_many_as_the_real_ones(width):
    spec = DataSpec((width,), None)
    data, x = made(spec, 30), some(spec, 50)
    draw = charts.scatter if width == 2 else charts.histograms
    assert album.sample_pictures(data, x) == {"samples": files.png(draw(x[:30]))}
    assert album.real_pictures(data)["real"] == files.png(draw(data.validation.x))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_samples_that_are_no_numbers_are_not_drawn(bad):
    x = some(VECTOR, 30)
    x[7, 1] = bad
    assert album.sample_pictures(made(VECTOR, 30), x) == {}
    # what is not shown does no harm
    x = torch.cat([some(VECTOR, 30), x])
    assert set(album.sample_pictures(made(VECTOR, 30), x)) == {"samples"}


@pytest.mark.parametrize(("spec", "n"), [(PICTURE, 40), (SOUND, 16), (VECTOR, 40)])
def test_real_pictures_are_of_the_validation_split(spec, n):
    data = made(spec)
    found = album.real_pictures(data)
    assert set(found) == {"real", *(["real/heard"] if spec is SOUND else [])}
    png = found["real"]
    x = data.validation.batch(torch.arange(n))[0]
    assert png == album.sample_pictures(data, x)["samples"]
    assert png != album.sample_pictures(data, data.train.batch(torch.arange(n))[0])["samples"]


def test_as_many_real_pictures_as_are_asked_for():
    shape = pixels(album.real_pictures(made(PICTURE), 8)["real"]).shape
    assert shape == (TILE, 8 * TILE + 7 * GAP)


# ---- a model's ----------------------------------------------------------------------------------


class Broken(Sampling):
    """Draws what is no number."""

    def __init__(self, spec):
        super().__init__(spec)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def loss(self, x, context=None, *, turn="model"):
        return {"loss": self.weight.sum()}

    def sample(self, n, context=None):
        return torch.full((n, *self.spec.event_shape), math.nan)


def test_a_model_shows_what_it_can_do():
    data = load("digits")
    with seeded(0):
        mixture = GMM(data.spec, components=2).eval()
        autoencoder = VAE(data.spec, hidden=(4,), latent=2).eval()
    assert set(album.model_pictures(mixture, data)) == {"samples", "completions"}
    found = album.model_pictures(autoencoder, data)
    assert set(found) == {"samples", "interpolation", "completions"}
    assert found == album.model_pictures(autoencoder, data)
    assert all(len(pixels(png)) > TILE for png in found.values())


def test_a_model_of_vectors_and_one_that_fails_show_no_more_than_samples():
    data = made(VECTOR)
    with seeded(0):
        mixture = GMM(data.spec, components=2).eval()
    assert set(album.model_pictures(mixture, data)) == {"samples"}
    assert album.model_pictures(Broken(data.spec), data) == {}


def test_context_for_samples_is_the_classes_in_turn_or_vectors_of_the_validation_split():
    digits = load("digits")
    labelled = VAE(digits.spec, hidden=(4,), context="label")
    assert example_context(labelled, digits, 12).tolist() == [*range(10), 0, 1]
    assert example_context(VAE(digits.spec, hidden=(4,)), digits, 12) is None
    vectors = torch.arange(6.0).view(3, 2)
    spec = DataSpec((1, 4, 4), 17, context_width=2)
    told = VAE(spec, hidden=(4,), context="vector")
    found = example_context(told, made(spec, 3, vectors), 5)
    assert torch.equal(found, vectors[torch.tensor([0, 1, 2, 0, 1])])
