"""PixelTransformer against attention that is written out, one pair of values at a time."""

from __future__ import annotations

import math

import pytest
import torch

import laws
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.autoregressive.pixel_transformer import PixelTransformer

GREY = DataSpec((1, 3, 2), 3, classes=3, context_width=2)
COLOURS = DataSpec((3, 2, 2), 4, classes=3, context_width=2)
SOUND = DataSpec((7,), 5, classes=3, context_width=2)
FORMS = pytest.mark.parametrize("spec", [GREY, COLOURS, SOUND], ids=["grey", "rgb", "sound"])


def built(spec, **keywords):
    with seeded(0):
        model = PixelTransformer(spec, **{"width": 16, "heads": 2, "layers": 2, **keywords})
    return laws.randomise(model)


def places(spec):
    """Where each value is, in order; and in front the start, which is nowhere."""
    if not spec.is_image:
        return [(-1,)] + [(t,) for t in range(spec.dims)]
    colours, height, width = spec.event_shape
    pixels = [(i, j) for i in range(height) for j in range(width) for _ in range(colours)]
    return [(-1, -1), *pixels]


def score(q, k, distance, base):
    """q·k of one head after rotating each pair of features by its share of the distance."""
    pairs = len(q) // 2
    zq, zk = (torch.complex(z[:pairs], z[pairs:]) for z in (q, k))
    count = pairs // len(distance)
    angles = [d * base ** (-i / count) for d in distance for i in range(count)]
    turn = torch.exp(1j * torch.tensor(angles, dtype=torch.float64))
    return (turn * zq * zk.conj()).real.sum() / math.sqrt(len(q))


def attention(model, features):
    """What each value of one observation hears, `(dims, d)`, in loops."""
    where = places(model.spec)
    base = 100 if model.spec.is_image else 10_000
    q, k, v = (part.unflatten(1, (model.heads, -1)) for part in features.chunk(3, 1))
    heard = torch.zeros_like(q)
    for i in range(model.spec.dims):
        for head in range(model.heads):
            # the value that is predicted is at i + 1 of `places`, that which j holds at j
            scores = [
                score(
                    q[i, head], k[j, head],
                    [a - b for a, b in zip(where[i + 1], where[j], strict=True)], base,
                )
                for j in range(i + 1)
            ]  # fmt: skip
            heard[i, head] = torch.stack(scores).softmax(0) @ v[: i + 1, head]
    return heard.flatten(1)


def by_equations(model, x, features):
    """Log-probabilities of one observation's values in order."""
    spec = model.spec
    flat = x.permute(1, 2, 0).flatten() if spec.is_image else x
    h = torch.cat([model.start[None], model.value(flat[:-1])])
    if spec.is_image and spec.event_shape[0] > 1:
        h = h + model.next_colour.weight[torch.arange(spec.dims) % spec.event_shape[0]]
    for i, block in enumerate(model.blocks):
        if model.context != "none":
            h = h + model.told[i](features)
        h = h + block.attended(
            attention(model, block.queries_keys_values(block.before_attention(h)))
        )
        inner = block.widen(block.before_mlp(h))
        h = h + block.narrow(inner * (1 + torch.erf(inner / math.sqrt(2))) / 2)
    return model.logits(model.last(h)).log_softmax(-1)


@FORMS
@pytest.mark.parametrize("context", ["none", "label", "vector"])
@torch.no_grad()
def test_both_forms_are_the_equations(spec, context):
    model = built(spec, context=context).double()
    x, told = laws.observations(model, 2), laws.contexts(model, 2)
    told = told.double() if context == "vector" else told
    features = model.context_features(told, model.start.new_empty(2))
    expected = torch.stack([by_equations(model, *row) for row in zip(x, features, strict=True)])
    parallel = model.conditionals(x, told).logits.flatten(1, -2)[:, model.order]
    cached = [logits.log_softmax(-1) for logits in model.in_turn(x.clone(), told)]
    # the angles are known to float32
    torch.testing.assert_close(parallel, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.stack(cached, 1), parallel, rtol=0, atol=1e-12)


@FORMS
@torch.no_grad()
def test_the_cached_form_is_as_exact_in_float32(spec):
    model = built(spec)
    x = laws.observations(model, 4)
    for own, plain in zip(model.in_turn(x), Autoregressive.in_turn(model, x), strict=True):
        torch.testing.assert_close(own.log_softmax(-1), plain, rtol=0, atol=1e-5)


def test_a_sound_is_sampled_incrementally():
    laws.samples_incrementally(built(SOUND))


def test_dropout_is_for_training_alone():
    model, plain = built(COLOURS, dropout=0.5), built(COLOURS)
    x = laws.observations(model, 3)
    assert torch.equal(model.log_likelihood(x), plain.log_likelihood(x))
    model.train()
    assert not torch.equal(model.log_likelihood(x), model.log_likelihood(x))


@FORMS
def test_bfloat16_is_close(spec):
    laws.is_close_in_bfloat16(built(spec))


@pytest.mark.parametrize(
    ("spec", "keywords", "said"),
    [
        (GREY, {"layers": 0}, "layers=0"),
        (GREY, {"heads": 0}, "heads=0"),
        (GREY, {"width": 0}, "width=0"),
        (GREY, {"dropout": 1.0}, r"dropout=1\.0"),
        (GREY, {"width": 12, "heads": 2}, "4 × heads = 8, got 12"),
        (SOUND, {"width": 9, "heads": 2}, "2 × heads = 4, got 9"),
    ],
)
def test_what_makes_no_network_is_refused(spec, keywords, said):
    with pytest.raises(UsageError, match=said):
        PixelTransformer(spec, **keywords)


def test_a_sound_needs_pairs_for_one_direction_alone():
    assert built(SOUND, width=12, heads=2).loss(laws.observations(built(SOUND), 2))["loss"] > 0


@torch.no_grad()
def test_one_value_and_no_observation_are_enough():
    single = PixelTransformer(DataSpec((1, 1, 1), 3))
    each = single.log_likelihood(torch.arange(3).view(3, 1, 1, 1))
    assert float(each.exp().sum()) == pytest.approx(1, abs=1e-6)
    assert single.sample(2).shape == (2, 1, 1, 1)
    model = built(COLOURS)
    assert model.log_likelihood(laws.observations(model, 0)).shape == (0,)


def test_continuous_vectors_are_refused():
    with pytest.raises(MissingCapability, match="Transformer needs levels, these are vectors"):
        PixelTransformer(DataSpec((3,), None))
