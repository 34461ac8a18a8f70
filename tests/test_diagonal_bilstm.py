import pytest
import torch
from torch.nn.functional import pad

import laws
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.autoregressive.diagonal_bilstm import DiagonalBiLSTM, _DiagonalStream
from simulacra.models.autoregressive.diagonal_bilstm_skew import Diagonals

PICTURE = DataSpec((1, 5, 6), 4)
COLOUR_PICTURE = DataSpec((3, 3, 4), 4)
# wider than the first convolution reaches
WIDE = DataSpec((1, 3, 9), 3)


def ready(spec, **keywords):
    with seeded(0):
        keywords = {"channels": 8, "layers": 2, "first_kernel_size": 3} | keywords
        return laws.randomise(DiagonalBiLSTM(spec, **keywords))


# ---- the skewed map, in nn/diagonals.py ---------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(3, 4), (4, 2), (1, 3), (3, 1)])
def test_diagonals_are_the_columns_of_the_skewed_map(height, width):
    raster = torch.arange(height * width)
    picture = raster.view(height, width)
    mirrored = picture.flip(1)
    diagonals = Diagonals(height, width)

    def columns(map_):
        skewed = torch.full((height, height + width - 1), -1)
        for i in range(height):
            skewed[i, i : i + width] = map_[i]
        return skewed.T[skewed.T >= 0]

    def moved(x, to):
        return diagonals.move(x[:, None, None], to).flatten()

    assert torch.equal(moved(raster, "diagonal"), columns(picture))
    assert torch.equal(moved(columns(picture), "mirrored"), columns(mirrored))
    assert torch.equal(moved(columns(picture), "raster"), raster)
    below = torch.cat([torch.zeros(1, width).long(), picture[:-1]])
    assert torch.equal(moved(columns(mirrored), "below"), moved(below.flatten(), "diagonal"))
    assert [stop - first for first, stop in diagonals.fronts] == [
        int((torch.arange(height)[:, None] + torch.arange(width) == d).sum())
        for d in range(height + width - 1)
    ]


@pytest.mark.parametrize("to", ["diagonal", "mirrored", "below", "raster"])
def test_gradients_move_back(to):
    x = torch.randn(12, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: Diagonals(3, 4).move(x, to), x)


# ---- the model ----------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("spec", [PICTURE, COLOUR_PICTURE])
def test_the_cached_predictions_are_the_parallel_ones(spec):
    model = ready(spec).double()
    x = laws.observations(model, 3)
    for own, plain in zip(model.in_turn(x), Autoregressive.in_turn(model, x), strict=True):
        torch.testing.assert_close(own.log_softmax(1), plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("spec", [WIDE, DataSpec((3, 2, 6), 3)])
def test_one_layer_sees_all_before(spec):
    model = ready(spec, layers=1, channels=12)
    assert not model.blind_spot().any()
    laws.is_causal(model)


def test_causality_catches_states_from_the_right_that_are_not_shifted_down(monkeypatch):
    move = Diagonals.move

    def in_its_own_row(self, x, to):
        return move(self, x, "mirrored" if to == "below" else to)

    model = ready(PICTURE)
    laws.is_causal(model)
    # a picture mirrored twice is as it was
    monkeypatch.setattr(Diagonals, "move", in_its_own_row)
    with pytest.raises(AssertionError, match="too early"):
        laws.is_causal(model)


def test_causality_catches_padding_on_the_wrong_side(monkeypatch):
    """The states that the map's end loses come in again at its start."""
    move = Diagonals.move

    def up(self, x, to):
        if to != "below":
            return move(self, x, to)
        own_row = move(self, move(self, x, "mirrored"), "raster")
        return move(self, pad(own_row[7:], (0, 0, 0, 0, 0, 7)), "diagonal")

    model = ready(PICTURE)
    monkeypatch.setattr(Diagonals, "move", up)
    with pytest.raises(AssertionError, match="too early"):
        laws.is_causal(model)


def test_causality_catches_the_lost_end_of_a_row(monkeypatch):
    """Without a place past the end of a row, its last pixel does not reach the next row's start."""
    model = ready(WIDE)
    laws.is_causal(model)
    forward = model.first.forward
    at_pixels = torch.arange(WIDE.event_shape[2] + 1) < WIDE.event_shape[2]
    monkeypatch.setattr(model.first, "forward", lambda x: forward(x) * at_pixels)
    with pytest.raises(AssertionError, match="does not reach"):
        laws.is_causal(model)


@torch.no_grad()
def test_sampling_catches_a_row_that_did_not_go_left(monkeypatch):
    model = ready(PICTURE).double()
    x = laws.observations(model, 3)
    monkeypatch.setattr(_DiagonalStream, "go_left", lambda _: None)
    pairs = zip(model.in_turn(x), Autoregressive.in_turn(model, x), strict=True)
    gaps = [float((own.log_softmax(1) - plain).abs().max()) for own, plain in pairs]
    assert max(gaps[:6]) < 1e-10
    assert max(gaps[6:]) > 1e-6


def test_what_it_cannot_do_is_refused():
    with pytest.raises(MissingCapability, match="DiagonalBiLSTM needs pictures"):
        DiagonalBiLSTM(DataSpec((4,), 3))
    for keywords in ({"layers": 0}, {"channels": 0}, {"first_kernel_size": 1}):
        with pytest.raises(UsageError, match="are positive"):
            DiagonalBiLSTM(PICTURE, **keywords)
