"""Samples with what they were drawn for: one draw for all who draw any."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import simulacra as sim
import toy_nested
from simulacra.data.dataset import Dataset, Observations
from simulacra.drawing.style import HIDDEN
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.adversarial.gan import GAN
from simulacra.models.model import Encoding, Model
from simulacra.tasks.growing import WATCHED, Growing
from simulacra.tasks.sample import (
    Samples,
    asked_context,
    classes_in_turn,
    context_of_rows,
    draw,
    example_context,
    frequent_context,
)

SPEC = DataSpec((1, 4, 4), 5, classes=3, context_width=2)
VAE = {"hidden": (4,)}
CNN = {"channels": 4, "layers": 1}
NICE = {"hidden": (8,)}


def built(name: str, **keywords: Any) -> Model:
    with seeded(1):
        return registry.build(name, SPEC, keywords).eval()


def data(vectors: bool = False) -> Dataset:
    """40 observations, of which the first class has half."""
    with seeded(2):
        x = torch.randint(5, (40, 1, 4, 4))
        told = torch.randn(40, 2) if vectors else torch.arange(40) % 4 % 3
    parts = (slice(0, 30), slice(30, 37), slice(37, 40))
    return Dataset("some", SPEC, *(Observations(x[part], told[part]) for part in parts))


# ---- a draw -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "keywords"), [("vae", VAE), ("pixelcnn", CNN), ("gmm", {})])
def test_a_draw_is_the_models_own_of_that_seed(name: str, keywords: dict[str, Any]) -> None:
    model = built(name, **keywords | ({"components": 2} if name == "gmm" else {}))
    before = torch.get_rng_state()
    drawn = draw(model, 7, seed=(3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(3, 4), torch.no_grad():
        assert torch.equal(drawn.x, model.sample(7))
    assert not drawn.x.requires_grad
    assert (len(drawn), drawn.context, drawn.labels) == (7, None, None)


def test_lots_have_a_seed_each_and_rows_keep_their_context() -> None:
    model = built("vae", **VAE, context="label")
    told = torch.arange(7) % 3
    drawn = draw(model, 7, told, seed=(1,), at_once=3)
    lots = []
    for number, rows in enumerate((told[:3], told[3:6], told[6:])):
        with seeded(1, number), torch.no_grad():
            lots.append(model.sample(len(rows), rows))
    assert torch.equal(drawn.x, torch.cat(lots))
    assert torch.equal(drawn.labels, told)


@pytest.mark.parametrize("training", [False, True])
def test_a_model_samples_in_eval_mode_and_stays_in_its_own(training: bool) -> None:
    class Asked(sim.Sampling):
        def loss(self, x: Tensor, context: Any = None, *, turn: str = "") -> Any:
            raise AssertionError("nothing is trained here")

        def sample(self, n: int, context: Tensor | None = None) -> Tensor:
            assert not self.training
            assert not torch.is_grad_enabled()
            if n == 13:
                raise ValueError("unlucky")
            return torch.zeros(n, 1, 4, 4, dtype=torch.long)

    # a model without weights is on the CPU
    model = Asked(SPEC).train(training)
    assert draw(model, 2).x.shape == (2, 1, 4, 4)
    assert model.training is training
    with pytest.raises(ValueError, match="unlucky"):
        draw(model, 13)
    assert model.training is training


def test_what_cannot_be_drawn_is_refused() -> None:
    class Encoder(Encoding):
        def loss(self, x: Tensor, context: Any = None, *, turn: str = "") -> Any:
            raise AssertionError("nothing is trained here")

        def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            return x

    with pytest.raises(MissingCapability, match="Encoder draws no samples"):
        draw(Encoder(SPEC), 2)
    with pytest.raises(UsageError, match="n is at least 1, got 0"):
        draw(built("vae", **VAE), 0)
    with pytest.raises(UsageError, match="3 samples need as many rows of context, got 2"):
        draw(built("vae", **VAE, context="label"), 3, torch.zeros(2, dtype=torch.long))


# ---- what a user asks for -----------------------------------------------------------------------


def test_a_user_gets_samples_as_the_command_draws_them() -> None:
    model = built("vae", **VAE, context="label")
    drawn = sim.sample(model, seed=5)
    assert isinstance(drawn, Samples)
    assert drawn.x.shape == (64, 1, 4, 4)
    assert drawn.labels.tolist() == [i % 3 for i in range(64)]
    assert torch.equal(drawn.x, draw(model, 64, drawn.labels, seed=(5,)).x)
    assert not torch.equal(drawn.x, sim.sample(model, seed=6).x)
    ones = sim.sample(model, 4, label=1).labels
    assert ones.tolist() == [1] * 4
    own = torch.tensor([2, 0, 1])
    labels = sim.sample(model, context=own).labels
    assert torch.equal(labels, own)


def test_vectors_say_how_many_samples_there_are() -> None:
    model, vectors = built("vae", **VAE, context="vector"), torch.randn(5, 2)
    drawn = sim.sample(model, context=vectors)
    assert len(drawn) == 5
    assert drawn.labels is None
    assert torch.equal(drawn.context, vectors)
    number, told = asked_context(model, 2, context=vectors)
    assert number == 2
    assert torch.equal(told, vectors[:2])


@pytest.mark.parametrize(
    ("context", "asked", "error", "words"),
    [
        ("none", {"label": 1}, MissingCapability, "takes no label: train one with --set context="),
        ("none", {"context": torch.zeros(2, 2)}, MissingCapability, "takes no context vectors"),
        ("none", {"context": torch.zeros(2).long()}, MissingCapability, "takes no labels"),
        ("label", {"context": torch.zeros(2, 2)}, MissingCapability, "takes no context vectors"),
        ("vector", {"context": torch.zeros(2).long()}, MissingCapability, "takes no labels"),
        ("vector", {}, UsageError, r"needs context vectors: pass context, floats \(N, 2\)"),
        ("vector", {"n": 3, "context": torch.zeros(2, 2)}, UsageError, "context has 2 rows"),
        ("label", {"label": 3}, UsageError, "label goes from 0 to 2, got 3"),
        ("label", {"label": -1}, UsageError, "label goes from 0 to 2, got -1"),
        ("label", {"label": 1, "context": torch.zeros(2).long()}, UsageError, "give one"),
        ("label", {"context": torch.full((2,), 7)}, UsageError, "labels go from 0 to 2"),
        ("none", {"n": 0}, UsageError, "n is at least 1"),
        ("none", {"n": 2.5}, UsageError, "n is a whole number, got 2.5"),
        ("label", {"context": torch.tensor(1)}, UsageError, "a row for each sample"),
        ("none", {"temperature": -1.0}, UsageError, "temperature is positive"),
        ("none", {"top_k": 3}, MissingCapability, "as top_k needs: use pixelcnn"),
        ("none", {"top_p": 0.5}, MissingCapability, "as top_p needs: use pixelcnn"),
    ],
)
def test_what_is_wrong_is_said(
    context: str, asked: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        sim.sample(built("vae", **VAE, context=context), **asked)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(UsageError, match="drawn from a model, got Linear"):
        sim.sample(torch.nn.Linear(1, 1), 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "keywords"), [("vae", VAE), ("gan", {"latent": 2, "hidden": (8,)}), ("nice", NICE)]
)
def test_a_temperature_multiplies_codes(name: str, keywords: dict[str, Any]) -> None:
    model = built(name, **keywords)
    assert isinstance(model, sim.Latent)
    with seeded(3):
        codes = model.prior(4)
    with seeded(3):
        torch.testing.assert_close(model.prior(4, temperature=0.5), codes / 2)
    near = torch.zeros_like(codes) + 1e-9 * codes
    with seeded(3):
        model.prior(4)
        expected = model.decode(near)
    assert torch.equal(sim.sample(model, 4, temperature=1e-9, seed=3).x, expected)


def test_a_moved_base_is_narrowed_about_its_own_middle() -> None:
    model = toy_nested.ConditionalBase(DataSpec((2,), None, classes=3), context="label").eval()
    labels = torch.tensor([0, 1, 2])
    middles = model.base(labels).mean
    assert len(middles.unique(dim=0)) == 3
    torch.testing.assert_close(model.prior(3, labels, temperature=1e-6), middles)


def test_a_prior_without_temperature_is_left_as_it_is() -> None:
    class Fixed(GAN):
        def prior(self, n: int, context: Tensor | None = None) -> Tensor:  # type: ignore[override]
            return torch.ones(n, self.latent)

    model = Fixed(DataSpec((1, 4, 4), 5), latent=2, hidden=(8,))
    assert not model.narrows
    assert len(sim.sample(model, 3)) == 3
    with pytest.raises(MissingCapability, match="Fixed has no temperature: leave it at 1"):
        sim.sample(model, 3, temperature=0.7)


def test_narrowing_reaches_a_model_that_draws_in_turn() -> None:
    model = built("pixelcnn", **CNN)
    assert sim.sample(model, 3, top_k=1, seed=1).x.equal(sim.sample(model, 3, top_k=1, seed=2).x)
    assert not sim.sample(model, 3, seed=1).x.equal(sim.sample(model, 3, seed=2).x)
    assert not sim.sample(model, 3, temperature=0.1).x.equal(sim.sample(model, 3).x)
    assert not sim.sample(model, 9, top_p=0.3).x.equal(sim.sample(model, 9).x)


# ---- what samples are drawn for -----------------------------------------------------------------


def test_classes_come_in_turn() -> None:
    told = classes_in_turn(built("vae", **VAE, context="label"), 5)
    assert told.tolist() == [0, 1, 2, 0, 1]
    for kind in ("none", "vector"):
        assert classes_in_turn(built("vae", **VAE, context=kind), 5) is None


def test_rows_of_a_split_come_in_order_and_again() -> None:
    labelled, some = built("vae", **VAE, context="label"), data()
    split = some.validation
    told = context_of_rows(labelled, split, 9)
    assert told.tolist() == [*split.context.tolist(), *split.context[:2].tolist()]
    assert context_of_rows(built("vae", **VAE), split, 9) is None
    assert context_of_rows(labelled, Observations(split.x), 9) is None


def test_examples_are_of_classes_in_turn_or_of_validation_vectors() -> None:
    labelled, vectors = built("vae", **VAE, context="label"), built("vae", **VAE, context="vector")
    told = example_context(labelled, data(), 4)
    assert told.tolist() == [0, 1, 2, 0]
    some = data(vectors=True)
    told = example_context(vectors, some, 3)
    assert torch.equal(told, some.validation.context[:3])


def test_contexts_are_as_frequent_as_in_the_data() -> None:
    model, some = built("vae", **VAE, context="label"), data()
    told = frequent_context(model, some, 3000, seed=2)
    expected = some.train.context.bincount(minlength=3) / 30
    # 4 standard errors of a share of one half
    assert told.bincount(minlength=3) / 3000 == pytest.approx(expected.numpy(), abs=0.037)
    again = frequent_context(model, some, 3000, seed=2)
    assert torch.equal(told, again)
    other = frequent_context(model, some, 3000, seed=3)
    assert not torch.equal(told, other)
    assert frequent_context(built("vae", **VAE), some, 9, seed=2) is None


def test_vectors_of_judged_samples_are_those_that_nothing_was_learned_from() -> None:
    some = data(vectors=True)
    told = frequent_context(built("vae", **VAE, context="vector"), some, 50, seed=2)
    known = {tuple(row) for row in some.validation.context.tolist()}
    assert {tuple(row) for row in told.tolist()} == known


# ---- pictures that grow -------------------------------------------------------------------------


def test_frames_show_what_is_drawn_and_hide_what_is_not() -> None:
    model = built("pixelcnn", **CNN)
    growing = Growing(model)
    x = draw(model, WATCHED + 4, seed=(1,), on_step=growing.add).x
    assert torch.equal(x, draw(model, WATCHED + 4, seed=(1,)).x)
    assert len(growing.frames) == model.spec.dims
    blue = torch.tensor(HIDDEN)[:, None]
    for number, frame in enumerate(growing.frames, 1):
        assert frame.shape == (WATCHED, 3, 4, 4)
        flat, there = frame.flatten(2), model.spec.to_float(x[:WATCHED]).flatten(2)
        assert torch.equal(flat[..., :number], there.expand(-1, 3, -1)[..., :number])
        assert torch.equal(flat[..., number:], blue.expand(WATCHED, 3, 16 - number))


def test_what_does_not_grow_pixel_by_pixel_is_refused() -> None:
    with pytest.raises(MissingCapability, match="VAE draws a picture at once"):
        Growing(built("vae", **VAE))
    sounds = registry.build("made", DataSpec((9,), 4, coding="mu-law", rate=8), {"hidden": (4,)})
    with pytest.raises(MissingCapability, match=r"--watch shows pictures, not sounds \(9,\)"):
        Growing(sounds)
