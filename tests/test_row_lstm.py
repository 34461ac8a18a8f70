import pytest
import torch
from torch.nn.functional import pad

import laws
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.autoregressive.convolutional_lstm import ConvLSTM
from simulacra.models.autoregressive.diagonal_bilstm_skew import Diagonals
from simulacra.models.autoregressive.row_lstm import RowLSTM

PICTURE = DataSpec((1, 6, 6), 4, classes=3)
COLOUR_PICTURE = DataSpec((3, 3, 4), 4)


def ready(spec, **keywords):
    with seeded(0):
        return laws.randomise(RowLSTM(spec, **{"channels": 8, "first_kernel_size": 3} | keywords))


# ---- the recurrence, in nn/recurrent.py ---------------------------------------------------------

ROWS = [(0, 4)] * 3
DIAGONALS = Diagonals(3, 4).fronts


def by_loops(lstm, fronts, given):
    """Equation 3, one state at a time."""
    states, before, start = [], {}, 0
    none = given.new_zeros(given.shape[0], given.shape[2], given.shape[3] // 4)
    for first, stop in fronts:
        now = {}
        for place in range(first, stop):
            seen = [before.get(place + tap, (none, none))[0] for tap in lstm.taps]
            gates = given[:, start + place - first] + torch.cat(seen, -1) @ lstm.weight
            o, f, i, g = gates.chunk(4, -1)
            cell = f.sigmoid() * before.get(place, (none, none))[1] + i.sigmoid() * g.tanh()
            now[place] = o.sigmoid() * cell.tanh(), cell
            states.append(now[place][0])
        before, start = now, start + stop - first
    return torch.stack(states, 1)


@pytest.mark.parametrize(
    ("fronts", "taps", "directions"),
    [(ROWS, (-1, 0, 1), 1), (ROWS, (-5, 0, 5), 1), (DIAGONALS, (0, -1), 2), ([(0, 1)], (0,), 1)],
)
def test_the_recurrence_and_its_gradients_are_those_of_the_equation(fronts, taps, directions):
    with seeded(0):
        lstm = ConvLSTM(3, taps, directions).double()
        places = sum(stop - first for first, stop in fronts)
        given = torch.randn(directions, places, 2, 12, dtype=torch.float64, requires_grad=True)
        weight = torch.randn(directions, places, 2, 3, dtype=torch.float64)
    found, expected = lstm(fronts, *given), by_loops(lstm, fronts, given)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    gradients = [
        torch.autograd.grad((x * weight).sum(), (given, lstm.weight), materialize_grads=True)
        for x in (found, expected)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_the_recurrence_takes_bfloat16():
    with seeded(0):
        lstm = ConvLSTM(3, (-1, 0, 1))
        given = torch.randn(12, 2, 12)
    half = given.bfloat16().requires_grad_()
    found = lstm(ROWS, half)
    found.float().sum().backward()
    assert found.dtype == half.grad.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), lstm(ROWS, given), rtol=0.05, atol=0.02)


# ---- the model ----------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("spec", [PICTURE, COLOUR_PICTURE])
def test_the_cached_predictions_are_the_parallel_ones(spec, kernel):
    model = ready(spec, kernel_size=kernel, layers=2).double()
    x = laws.observations(model, 3)
    for own, plain in zip(model.in_turn(x), Autoregressive.in_turn(model, x), strict=True):
        torch.testing.assert_close(own.log_softmax(1), plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("first", "kernel"), [(1, 3), (3, 1), (3, 5), (5, 3)])
@pytest.mark.parametrize("spec", [DataSpec((1, 5, 6), 3), DataSpec((2, 3, 4), 3)])
def test_it_sees_what_it_says(spec, first, kernel):
    laws.is_causal(ready(spec, channels=12, first_kernel_size=first, kernel_size=kernel, layers=1))


def test_the_field_is_a_triangle():
    """Of pixel (4, 2), to which two layers add two pixels on the left, and no more on the right."""
    blind = ready(PICTURE, layers=2).blind_spot().view(6, 6, 6, 6)[:, :, 4, 2]
    seen = [[4 - i >= 0 and -2 - (4 - i) <= j - 2 <= 4 - i for j in range(6)] for i in range(6)]
    earlier = [[(i, j) < (4, 2) for j in range(6)] for i in range(6)]
    assert torch.equal(blind, torch.tensor(earlier) & ~torch.tensor(seen))


def test_causality_catches_padding_on_the_wrong_side(monkeypatch):
    model = ready(PICTURE, layers=1)
    conv = model.recurrent[0].input_to_state
    forward = conv.forward
    monkeypatch.setattr(conv, "forward", lambda x: forward(pad(x, (0, 1)))[..., 1:])
    with pytest.raises(AssertionError, match="too early"):
        laws.is_causal(model)


def test_causality_catches_an_undeclared_blind_spot(monkeypatch):
    model = ready(PICTURE, layers=1)
    laws.is_causal(model)
    monkeypatch.setattr(RowLSTM, "blind_spot", Autoregressive.blind_spot)
    with pytest.raises(AssertionError, match="does not reach"):
        laws.is_causal(model)


def test_what_it_cannot_do_is_refused():
    with pytest.raises(MissingCapability, match="RowLSTM needs pictures"):
        RowLSTM(DataSpec((4,), 3))
    for keywords in ({"layers": 0}, {"channels": 0}):
        with pytest.raises(UsageError, match="are positive"):
            RowLSTM(PICTURE, **keywords)
    with pytest.raises(UsageError, match="odd and positive"):
        RowLSTM(PICTURE, kernel_size=4)
