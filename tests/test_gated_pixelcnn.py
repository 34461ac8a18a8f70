"""Gated PixelCNN: no blind spot, context in every gate, and the faults of public ports."""

from __future__ import annotations

import pytest
import torch

import laws
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.autoregressive import gated_pixelcnn
from simulacra.models.autoregressive.gated_pixelcnn import GatedLayer, GatedPixelCNN
from simulacra.models.autoregressive.gated_pixelcnn_rows import Row, VerticalRows
from simulacra.models.autoregressive.pixelcnn import PixelCNN
from simulacra.nn.masked_convolution import ConvAbove

PICTURE = DataSpec((1, 6, 5), 4, classes=3, context_width=2)
TINY = {"channels": 9, "layers": 6, "first_kernel_size": 3}


def build(spec=PICTURE, **keywords):
    with seeded(0):
        return laws.randomise(GatedPixelCNN(spec, **{**TINY, **keywords}))


def blind_share(model):
    """Which share of all pairs of an earlier and a later pixel is blind."""
    pixels = model.blind_spot().shape[0]
    return float(model.blind_spot().sum()) / (pixels * (pixels - 1) / 2)


def test_no_blind_spot_where_pixelcnn_has_one():
    side = DataSpec((1, 14, 14), 2)
    assert blind_share(GatedPixelCNN(side, channels=1, layers=12)) == 0
    # any depth leaves PixelCNN its wedge
    assert blind_share(PixelCNN(side, channels=1, layers=30)) > 0.1
    deep, deeper = (PixelCNN(side, channels=1, layers=n).blind_spot() for n in (30, 31))
    assert torch.equal(deep, deeper)


@pytest.mark.parametrize("layers", [1, 2, 4, 6])
def test_the_declared_field_is_the_measured_one(layers):
    laws.is_causal(build(layers=layers).double())


def test_a_stack_that_moves_up_in_every_layer_is_caught(monkeypatch):
    """A widely used port shifts the vertical stack in each layer, and so skips rows."""

    def shifted(self, x):
        y = self._conv_forward(x, self.weight, self.bias)[:, :, : x.shape[2]]
        return torch.nn.functional.pad(y, (0, 0, 1, 0))[:, :, :-1] if self.own else y

    model = build().double()
    monkeypatch.setattr(ConvAbove, "forward", shifted)
    with pytest.raises(AssertionError, match="does not reach"):
        laws.is_causal(model)


def test_rows_that_are_seen_too_early_are_caught(monkeypatch):
    """The vertical stack not shifted at all sees the row that it predicts."""

    def unshifted(self, x):
        y = self._conv_forward(x, self.weight, self.bias)
        return y[:, :, 1 : x.shape[2] + 1] if not self.own else y[:, :, : x.shape[2]]

    model = build().double()
    monkeypatch.setattr(ConvAbove, "forward", unshifted)
    with pytest.raises(AssertionError, match="seen too early"):
        laws.is_causal(model)


@pytest.mark.parametrize("kind", ["label", "vector"])
def test_the_context_enters_every_gate(kind):
    model = build(context=kind)
    x, told = laws.observations(model, 4), laws.contexts(model, 4)
    model.log_likelihood(x, told).sum().backward()
    for layer in model.stack:
        moved = layer.told.weight.grad.abs().sum(1).view(4, -1)
        # both halves of both stacks' gates; what the last vertical gate gives goes nowhere
        assert bool((moved > 0).all())


def test_all_parameters_are_used():
    model = build(context="label")
    laws.moves_one_player(model)


@torch.no_grad()
@pytest.mark.parametrize(
    ("event_shape", "keywords"),
    [
        ((1, 5, 4), {}),
        ((1, 4, 5), {"kernel_size": 5, "first_kernel_size": 7}),
        ((1, 4, 4), {"kernel_size": 1}),
        ((1, 4, 4), {"layers": 1}),
        ((3, 3, 4), {"channels": 7}),
        ((2, 3, 3), {"channels": 5, "context": "label"}),
        ((1, 1, 5), {"context": "vector"}),
    ],
)
def test_cached_predictions_are_the_parallel_ones(event_shape, keywords):
    spec = DataSpec(event_shape, 3, classes=3, context_width=2)
    model = build(spec, **keywords)
    laws.predicts_in_turn(model)
    laws.samples_incrementally(model)


@pytest.mark.parametrize(
    ("where", "what"), [(VerticalRows, "write"), (Row, "write"), (Row, "start_pixel")]
)
def test_a_cache_that_forgets_is_caught(monkeypatch, where, what):
    model = build()
    monkeypatch.setattr(where, what, lambda *_: None)
    with pytest.raises(AssertionError):
        laws.predicts_in_turn(model)


def test_unordered_levels_come_in_one_hot():
    model = build(DataSpec((1, 3, 3), 4, ordered=False))
    assert model.stack[0].horizontal.in_channels == 4
    laws.predicts_in_turn(model)


def test_dropout_is_off_in_use():
    model = build(dropout=0.5)
    x = laws.observations(model, 3)
    assert torch.equal(model.log_likelihood(x), model.log_likelihood(x))
    model.train()
    assert not torch.equal(model.log_likelihood(x), model.log_likelihood(x))


def test_the_gate_is_the_papers():
    features = torch.tensor([[0.5, -1.0, 2.0, 0.0]]).view(1, 4, 1, 1)
    expected = [torch.tanh(torch.tensor(0.5)) * 0.880797, torch.tanh(torch.tensor(-1.0)) * 0.5]
    torch.testing.assert_close(gated_pixelcnn.gate(features).flatten(), torch.tensor(expected))


def test_the_first_layer_has_no_residual():
    """What it would add is the picture itself, which no pixel may see of its own."""
    with seeded(0):
        first = GatedLayer(1, 4, 3, 1, 0, first=True, dropout=0.0)
    v, h = first(torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3, 3), torch.zeros(1, 0))
    assert v.shape == h.shape == (1, 4, 3, 3)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"layers": 0}, "layers are positive"),
        ({"channels": 0}, "channels and layers"),
        ({"dropout": 1.0}, "dropout in"),
        ({"kernel_size": 2}, "kernel_size is odd"),
        ({"first_kernel_size": 1}, "at least 3"),
    ],
)
def test_wrong_keywords_are_refused(keywords, said):
    with pytest.raises(UsageError, match=said):
        GatedPixelCNN(PICTURE, **keywords)


def test_fewer_channels_than_colours_are_refused():
    with pytest.raises(UsageError, match="colours"):
        GatedPixelCNN(DataSpec((3, 4, 4), 4), channels=2)


def test_only_pictures_of_levels():
    with pytest.raises(MissingCapability, match="needs pictures"):
        GatedPixelCNN(DataSpec((5,), None))
