"""PixelRNN against its equations, written out value by value."""

from __future__ import annotations

import copy

import pytest
import torch

import laws
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.autoregressive.pixel_rnn import PixelRNN

COLOURS = DataSpec((3, 2, 2), 4, classes=3, context_width=2)
PALETTE = DataSpec((1, 2, 3), 3, ordered=False, classes=3, context_width=2)
SOUND = DataSpec((9,), 16, classes=3, context_width=2)
FORMS = pytest.mark.parametrize("spec", [COLOURS, PALETTE, SOUND], ids=["rgb", "palette", "sound"])
CELLS = pytest.mark.parametrize("cell", ["lstm", "gru"])


def built(spec, **keywords):
    with seeded(0):
        model = PixelRNN(spec, **{"hidden": 5, **keywords})
    return laws.randomise(model)


def one_step(cell, layer, x, state):
    """A layer's next state, by the equations; an LSTM's is its cell too."""
    w, u, b, c = (p.chunk(4 if cell == "lstm" else 3) for p in layer.parameters())
    if cell == "lstm":
        i, f, g, o = (x @ w[k].T + state[0] @ u[k].T + b[k] + c[k] for k in range(4))
        memory = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        return o.sigmoid() * memory.tanh(), memory
    r, z = ((x @ w[k].T + state[0] @ u[k].T + b[k] + c[k]).sigmoid() for k in range(2))
    new = (x @ w[2].T + b[2] + r * (state[0] @ u[2].T + c[2])).tanh()
    return (1 - z) * new + z * state[0], state[1]


def by_equations(model, x, told):
    """Logits by `order`, in loops."""
    n, levels = len(x), model.spec.levels
    flat = x.permute(0, 2, 3, 1).flatten(1) if model.spec.is_image else x
    features = model.context_features(told, model.start.new_empty(n))
    state = [[model.start.new_zeros(n, model.hidden)] * 2 for _ in model.recurrent]
    value, found = model.start.expand(n, -1), []
    for t in range(flat.shape[1]):
        below = []
        for k, layer in enumerate(model.recurrent):
            seen = torch.cat([value, features, *below], 1)
            state[k] = one_step(model.cell, layer, seen, state[k])
            below = [state[k][0]]
        found.append(model.logits(torch.cat([s[0] for s in state], 1)).log_softmax(-1))
        if model.spec.ordered:
            value = flat[:, t, None].double() * (2 / (levels - 1)) - 1
        else:
            value = torch.eye(levels, dtype=model.start.dtype)[flat[:, t]]
    return found


@FORMS
@CELLS
@pytest.mark.parametrize("context", ["none", "label", "vector"])
@torch.no_grad()
def test_both_forms_are_the_equations(spec, cell, context):
    model = built(spec, cell=cell, layers=3, context=context).double()
    x, told = laws.observations(model, 4), laws.contexts(model, 4)
    told = told.double() if context == "vector" else told
    parallel = model.conditionals(x, told).logits.flatten(1, -2)[:, model.order]
    cached = [logits.log_softmax(-1) for logits in model.in_turn(x.clone(), told)]
    expected = torch.stack(by_equations(model, x, told), 1)
    torch.testing.assert_close(parallel, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.stack(cached, 1), expected, rtol=0, atol=1e-12)


@CELLS
@torch.no_grad()
def test_the_cached_form_is_as_exact_in_float32(cell):
    model = built(COLOURS, cell=cell, layers=2)
    x = laws.observations(model, 4)
    for own, plain in zip(model.in_turn(x), Autoregressive.in_turn(model, x), strict=True):
        torch.testing.assert_close(own.log_softmax(-1), plain, rtol=0, atol=1e-5)


@CELLS
def test_a_sound_is_sampled_incrementally(cell):
    laws.samples_incrementally(built(SOUND, cell=cell))


@CELLS
@torch.no_grad()
def test_it_remembers_from_the_start_what_came_a_whole_picture_ago(cell):
    with seeded(0):
        model = PixelRNN(DataSpec((1, 20, 20), 2), cell=cell, hidden=32)
    x = laws.observations(model, 8)
    other = x.clone()
    other[:, 0, 0, :3] = 1 - x[:, 0, 0, :3]
    last = [model.conditionals(each).logits[:, 0, -1, -1] for each in (x, other)]
    assert float((last[0] - last[1]).abs().max()) > 1e-5


def test_dropout_is_for_training_alone():
    model = built(COLOURS, dropout=0.5)
    x = laws.observations(model, 3)
    assert torch.equal(model.log_likelihood(x), model.log_likelihood(x))
    plain = built(COLOURS)
    assert torch.equal(model.log_likelihood(x), plain.log_likelihood(x))
    model.train()
    assert not torch.equal(model.log_likelihood(x), model.log_likelihood(x))


@CELLS
def test_bfloat16_is_close(cell):
    model = built(DataSpec((1, 6, 6), 4), cell=cell, hidden=16)
    laws.is_close_in_bfloat16(model)


@pytest.mark.parametrize(
    "keywords", [{"hidden": 0}, {"layers": 0}, {"dropout": 1.0}, {"dropout": -0.1}, {"cell": "rnn"}]
)
def test_what_makes_no_network_is_refused(keywords):
    with pytest.raises(UsageError, match=f"{next(iter(keywords.values()))}"):
        PixelRNN(COLOURS, **keywords)


@torch.no_grad()
def test_one_value_and_no_observation_are_enough():
    single = PixelRNN(DataSpec((1, 1, 1), 3))
    each = single.log_likelihood(torch.arange(3).view(3, 1, 1, 1))
    assert float(each.exp().sum()) == pytest.approx(1, abs=1e-6)
    assert single.sample(2).shape == (2, 1, 1, 1)
    model = built(COLOURS)
    assert model.log_likelihood(laws.observations(model, 0)).shape == (0,)


def test_continuous_vectors_are_refused():
    with pytest.raises(MissingCapability, match="PixelRNN needs levels, these are vectors"):
        PixelRNN(DataSpec((3,), None))


@CELLS
def test_weights_of_a_copy_are_laid_together_before_they_are_used(cell, monkeypatch):
    """Apart, a GPU puts them together at every call, with a warning. A CPU leaves them apart."""
    told = []

    def lays(layer):
        told.append(layer)
        weights = list(layer.parameters())
        pool = torch.cat([each.detach().flatten() for each in weights])
        for each, part in zip(weights, pool.split([w.numel() for w in weights]), strict=True):
            each.data = part.view_as(each)

    model = built(SOUND, cell=cell, layers=2)
    x = torch.randint(16, (3, 9))
    before = model.log_likelihood(x)
    copied = copy.deepcopy(model)
    monkeypatch.setattr(torch.nn.RNNBase, "flatten_parameters", lays)
    for _ in range(2):
        torch.testing.assert_close(copied.log_likelihood(x), before)
        # once: a loss may keep them for its gradient when another one is asked for
        assert told == list(copied.recurrent)
