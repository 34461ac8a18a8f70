"""What kind of thing a model is, of ours and of a user's own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.judging.figures.nature import nature
from simulacra.models import registry
from simulacra.models.flow.nice import NICE
from simulacra.models.model import Completion, Decoding, Encoding

TINY = {
    "gmm": {"components": 4},
    "vae": {"latent": 2, "hidden": (16,)},
    "pixelcnn": {"channels": 4, "layers": 1},
    "gan": {"latent": 3, "hidden": (16,)},
    "nice": {"hidden": (16,)},
}
MEASURED = ("reconstruction_error", "reconstruction_worst", "recovered")


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def build(name, data, **keywords):
    with seeded(0):
        model = registry.build(name, data.spec, TINY[name] | keywords)
        model.prepare(data.train.batch(torch.arange(200))[0])
    return model.eval()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gmm", ("exact", False, "parallel", 4, "exactly")),
        ("vae", ("bound", False, "parallel", 2, "~")),
        ("pixelcnn", ("exact", False, "sequential", None, "exactly")),
        ("gan", ("none", False, "parallel", 3, "~")),
        ("nice", ("bound", True, "parallel", 64, "~")),
    ],
)
def test_the_models_of_the_registry(digits, name, expected):
    found = nature(build(name, digits), digits, calls=64 if name == "pixelcnn" else 1)
    keys = ("likelihood", "invertible", "sampling", "latent", "completes")
    assert tuple(getattr(found, key) for key in keys) == expected
    assert (found.reconstruction_error is None) == (name not in ("vae", "nice"))


def test_a_flow_gives_back_what_it_was_given(digits):
    model = build("nice", digits)
    with seeded(1), torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    assert [getattr(nature(model, digits, calls=1), key) for key in MEASURED] == [0.0, 0.0, 1.0]


class Leaky(NICE):
    """Its inverse forgets to be one."""

    def invert(self, z, context=None):
        return super().invert(z, context) + 0.7


def test_a_flow_whose_inverse_is_none_is_found_out(digits):
    with seeded(0):
        model = Leaky(digits.spec, hidden=(16,)).eval()
        model.prepare(digits.train.batch(torch.arange(200))[0])
    found = nature(model, digits, calls=1)
    assert found.invertible
    assert found.recovered < 0.7
    assert found.reconstruction_error > 0.1
    assert found.reconstruction_worst >= 3 / 16


class Shifting(Encoding, Decoding, Completion):
    """A user's own: decodes what it encoded, one level higher; told a label, that many higher."""

    def __init__(self, spec, by=1, context="none"):
        super().__init__(spec)
        self.by, self.context, self.seen = by, context, 0
        self.weight = nn.Parameter(torch.zeros(1))

    def loss(self, x, context=None, *, turn="model"):
        return {"loss": self.weight.sum()}

    def encode(self, x, context=None):
        self.seen += len(x)
        return torch.cat([x.flatten(1).float(), torch.zeros(len(x), 1)], 1)

    def decode(self, z, context=None):
        by = self.by if context is None else context[:, None]
        x = z[:, :-1] + by
        return (x if self.spec.levels is None else x.long()).view(-1, *self.spec.event_shape)

    def complete(self, x, observed, context=None):
        return x

    def completes_exactly(self, observed):
        self.observed = observed
        return False


def dataset(spec, x, labels=None):
    split = Observations(x, labels)
    return Dataset("made", spec, split, split, split)


def test_a_users_own_model_is_measured_by_hand():
    spec = DataSpec((1, 4, 3), 11)
    data = dataset(spec, torch.randint(0, 9, (300, 1, 4, 3), dtype=torch.uint8))
    model = Shifting(spec).eval()
    found = nature(model, data, calls=None)
    assert found.reconstruction_error == pytest.approx(0.1)
    assert found.reconstruction_worst == pytest.approx(0.1)
    assert found.recovered is None
    assert (found.latent, found.completes, found.sampling) == (13, "~", None)
    assert not found.invertible
    # those that are reconstructed, one for the width of a code, and one whose memory is counted
    assert model.seen == 256 + 1 + 1
    assert model.observed[0].int().tolist() == [[1] * 3, [1] * 3, [0] * 3, [0] * 3]


def test_contexts_are_told_row_for_row():
    spec = DataSpec((1, 2, 2), 11, classes=3)
    labels = torch.tensor([0, 0, 0, 2] * 20)
    data = dataset(spec, torch.zeros(80, 1, 2, 2, dtype=torch.uint8), labels)
    found = nature(Shifting(spec, context="label").eval(), data, calls=None)
    assert found.reconstruction_error == pytest.approx(math.sqrt(0.25 * 0.2**2))
    assert found.reconstruction_worst == pytest.approx(0.2)


def test_vectors_have_their_own_units_and_a_later_half():
    spec = DataSpec((5,), None)
    data = dataset(spec, torch.randn(40, 5))
    model = Shifting(spec, by=-2.5).eval()
    found = nature(model, data, calls=None)
    assert found.reconstruction_error == pytest.approx(2.5)
    assert model.observed.int().tolist() == [1, 1, 0, 0, 0]


def test_what_is_not_finite_or_fails_is_no_number():
    spec = DataSpec((5,), None)
    data = dataset(spec, torch.randn(40, 5))
    found = nature(Shifting(spec, by=math.nan).eval(), data, calls=None)
    assert [getattr(found, key) for key in MEASURED] == [None] * 3

    class Broken(Shifting):
        def encode(self, x, context=None):
            raise ValueError("a constraint")

    found = nature(Broken(spec).eval(), data, calls=None)
    assert [getattr(found, key) for key in MEASURED] == [None] * 3
    assert found.latent is None


def test_a_decoder_that_draws_draws_the_same_again_and_leaves_the_generator(digits):
    model = build("vae", digits)
    state = torch.get_rng_state()
    one, again = (nature(model, digits, calls=1) for _ in range(2))
    assert one == again
    assert torch.equal(state, torch.get_rng_state())
    assert 0 < one.reconstruction_error < one.reconstruction_worst <= 1
