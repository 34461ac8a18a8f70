"""Surprise of each value, and its pictures."""

import math

import pytest
import torch

import laws
from simulacra.drawing import files, maps
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.autoregressive.pixelcnn import PixelCNN
from simulacra.tasks.surprise import surprise

RGB = DataSpec((3, 4, 5), 4, classes=3, context_width=2)


def small(**keywords):
    with seeded(0):
        model = PixelCNN(RGB, channels=6, layers=1, first_kernel_size=3, **keywords)
    return laws.randomise(model)


@torch.no_grad()
@pytest.mark.parametrize("context", ["none", "label", "vector"])
@pytest.mark.parametrize("at_once", [1, 3, 128])
def test_bits_add_up_to_the_likelihood(context, at_once, monkeypatch):
    monkeypatch.setattr("simulacra.tasks.bayes._SCORED", at_once)
    model = small(context=context)
    x, told = laws.observations(model, 5), laws.contexts(model, 5)
    bits = surprise(model, x, told)
    assert bits.shape == x.shape
    assert bits.dtype == torch.float64
    nats = -model.log_likelihood(x, told).double()
    torch.testing.assert_close(bits.sum((1, 2, 3)) * math.log(2), nats, rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_a_value_surprises_where_it_is():
    """Another last value costs something at its own place alone."""
    model, x = small(), laws.observations(small(), 1)
    other = x.clone()
    other[0, 2, 3, 4] = (x[0, 2, 3, 4] + 1) % 4
    moved = surprise(model, x) != surprise(model, other)
    assert moved.nonzero().tolist() == [[0, 2, 3, 4]]


def test_what_has_no_surprise_is_refused():
    x = torch.zeros(1, 3, 4, 5).long()
    for name in ("gmm", "vae", "gan"):
        with pytest.raises(MissingCapability, match="does not predict one value after another"):
            surprise(registry.build(name, RGB), x)
    with pytest.raises(UsageError, match="at least one"):
        surprise(small(), x[:0])
    with pytest.raises(UsageError, match="levels 0 … 3, got 0 … 4"):
        surprise(small(), x + torch.tensor([0, 0, 0, 0, 4]))


# ---- pictures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "channels"), [(1, 1), (4, 3)])
def test_each_picture_is_beside_its_map(n, channels):
    with seeded(n):
        pictures, bits = torch.rand(n, channels, 4, 5), 9 * torch.rand(n, 4, 5)
    figure = maps.surprises(pictures, bits, [f"picture {i}" for i in range(n)])
    drawn = [axes for axes in figure.axes if axes.get_images()]
    assert len(drawn) == 2 * n
    for i in range(n):
        left, right = (axes.get_images()[0] for axes in drawn[2 * i : 2 * i + 2])
        assert drawn[2 * i].get_title(loc="left") == f"picture {i}"
        shown = torch.tensor(left.get_array().filled())
        assert torch.equal(shown, pictures[i].expand(3, 4, 5).movedim(0, -1))
        assert torch.equal(torch.tensor(right.get_array().filled()), bits[i])
        assert right.get_clim() == (0, float(bits.max())), "one scale for all"
    assert figure.axes[-1].get_ylabel() == "surprise, bits"
    assert files.png(figure)[:4] == b"\x89PNG"


def test_what_is_impossible_is_the_brightest():
    bits = torch.tensor([[[1.0, 3.0], [math.inf, math.nan]]])
    figure = maps.surprises(torch.rand(1, 1, 2, 2), bits, ["one"])
    shown = figure.axes[1].get_images()[0].get_array().filled()
    assert shown.tolist() == [[1, 3], [3, 3]]
    nothing = maps.surprises(torch.rand(1, 1, 2, 2), bits * math.inf, ["one"])
    assert files.png(nothing)[:4] == b"\x89PNG"


def test_a_sound_is_above_its_curve():
    with seeded(0):
        sounds, bits = torch.rand(2, 50) - 0.5, 9 * torch.rand(2, 50)
    bits[0, 3] = math.inf
    figure = maps.surprise_curves(sounds, bits, 100, ["a", "$b"])
    assert len(figure.axes) == 4
    assert [axes.get_ylabel() for axes in figure.axes] == ["", "bits", "", "bits"]
    assert figure.axes[-1].get_xlabel() == "time, ms"
    line = torch.tensor(figure.axes[2].get_lines()[0].get_ydata())
    assert torch.equal(line, sounds[1])
    assert files.png(figure)[:4] == b"\x89PNG"


def test_maps_that_do_not_belong_together_are_refused():
    with pytest.raises(UsageError, match="a map and a title for each picture"):
        maps.surprises(torch.rand(2, 1, 4, 4), torch.rand(1, 4, 4), ["a", "b"])
    with pytest.raises(UsageError, match="a map and a title for each picture"):
        maps.surprises(torch.rand(2, 1, 4, 4), torch.rand(2, 4, 4), ["a"])
    with pytest.raises(UsageError, match="a curve and a title for each sound"):
        maps.surprise_curves(torch.rand(2, 9), torch.rand(2, 8), 100, ["a", "b"])
