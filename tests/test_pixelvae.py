"""`pixelvae`: maps that tell each pixel something, and what a code and a nested model do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import simulacra as sim
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.latent.pixelvae import PixelVAE
from simulacra.models.model import Latent
from simulacra.nn.distributions import Narrowing
from simulacra.tasks.expected import expected, words_of
from simulacra.tasks.onnx import export_onnx
from simulacra.tasks.sample import draw

GREY = DataSpec((1, 2, 2), 3, classes=2)
TOLD = DataSpec((3, 3, 4), 4, context_width=2, map_width=2)
SMALL: dict[str, dict[str, Any]] = {
    "gated-pixelcnn": {"channels": 6, "layers": 2, "first_kernel_size": 3},
    "pixelcnn": {"channels": 6, "layers": 1, "first_kernel_size": 3},
}


def coarse(model: sim.Model, seed: int = 3) -> Any:
    """With weights of no special value, in float64."""
    with seeded(seed):
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.5)
    return model.double().eval()


def made(seed: int = 3, **keywords: Any) -> PixelVAE:
    nested = {"decoder": "made", "decoder.hidden": "8"}
    with seeded(seed):
        model = sim.build("pixelvae", GREY, {"latent": 1, "hidden": (8,), **nested, **keywords})
    assert isinstance(model, PixelVAE)
    return coarse(model, seed)


# ---- maps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_a_map_that_says_the_same_everywhere_is_a_vector(name: str) -> None:
    """And one that differs at a pixel is heard there."""
    with seeded(0):
        vector = coarse(sim.build(name, TOLD, {**SMALL[name], "context": "vector"}))
        mapped = coarse(sim.build(name, TOLD, {**SMALL[name], "context": "map"}))
    state = vector.state_dict()
    shapes = {key: value.shape for key, value in mapped.state_dict().items()}
    mapped.load_state_dict({key: value.view(shapes[key]) for key, value in state.items()})
    with seeded(1):
        x, told = torch.randint(4, (5, 3, 3, 4)), torch.randn(5, 2, dtype=torch.float64)
    maps = told[:, :, None, None].repeat(1, 1, 3, 4)
    expected_logits = vector.conditionals(x, told).logits
    assert torch.allclose(mapped.conditionals(x, maps).logits, expected_logits)
    maps[:, :, 1, 2] += 1
    moved = (mapped.conditionals(x, maps).logits - expected_logits).abs().amax((0, 1, 4)) > 1e-9
    assert moved[1, 2]
    assert not moved[0].any()
    assert isinstance(mapped, Autoregressive)
    at = 3 * 4 * 1 + 3 * 2  # the red of that pixel, in the order of prediction
    predictions = list(mapped.in_turn(x, maps))
    flat = mapped.conditionals(x, maps).logits.flatten(1, -2)
    order = mapped.order.tolist()
    logits = predictions[at].log_softmax(-1)
    assert torch.allclose(logits, flat[:, order[at]])


@pytest.mark.parametrize("name", SMALL)
def test_data_of_ones_own_have_no_maps(name: str) -> None:
    with pytest.raises(UsageError, match=r"context='map' needs .* each pixel, which no data set"):
        sim.build(name, GREY, {"context": "map"})
    with pytest.raises(UsageError, match=r"is one of none, label, vector, got 'map'"):
        sim.build("made", TOLD, {"context": "map"})


def test_maps_come_with_pictures_alone_and_are_not_written_where_there_are_none() -> None:
    with pytest.raises(UsageError, match="maps come with pictures"):
        DataSpec((4,), 2, map_width=1)
    assert "map_width" not in GREY.to_json()
    assert DataSpec.from_json(TOLD.to_json()) == TOLD
    told = sim.build("gated-pixelcnn", TOLD, {**SMALL["gated-pixelcnn"], "context": "map"})
    with pytest.raises(UsageError, match=r"takes a map for each row, \(2, 2, 3, 4\); got shape"):
        told.loss(torch.zeros(2, 3, 3, 4).long(), torch.zeros(2, 2))


# ---- what may be nested -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gan", "vae", "gmm", "bernoulli-mixture", "pixelvae"])
def test_a_decoder_predicts_value_after_value(name: str) -> None:
    with pytest.raises(UsageError, match=f"decoder is a model that predicts .* got {name}: use"):
        sim.build("pixelvae", DataSpec((1, 4, 4), 2), {"decoder": name})


def test_a_decoder_is_refused_what_it_does_not_take_and_what_it_does_not_have() -> None:
    sound = DataSpec((6,), 3)
    with pytest.raises(MissingCapability, match="pixelvae needs pictures of levels"):
        sim.build("pixelvae", sound)
    assert sim.build("pixelvae", sound, {"decoder": "made"}).decoder["name"] == "made"
    with pytest.raises(UsageError, match=r"no keyword 'decoder\.depth'"):
        sim.build("pixelvae", GREY, {"decoder.depth": 3})
    with pytest.raises(UsageError, match=r"decoder\.context is what this model tells"):
        sim.build("pixelvae", GREY, {"decoder.context": "label"})


@pytest.mark.parametrize("name", ["pixelcnnpp", "pixel-rnn", "pixel-transformer", "row-lstm"])
def test_others_are_told_a_vector(name: str) -> None:
    """The code moves what they predict, and gradients reach the encoder."""
    spec = DataSpec((1, 4, 4), 4, classes=2)
    few = {"pixelcnnpp": {"channels": 4, "blocks": 1, "scales": 1}, "pixel-rnn": {"hidden": 4},
           "pixel-transformer": {"width": 8, "layers": 1, "heads": 1},
           "row-lstm": {"channels": 4, "layers": 1}}  # fmt: skip
    decoder = {"decoder": {"name": name, "keywords": few[name]}}
    keywords = {"latent": 2, "hidden": (8,), "context": "label", **decoder}
    model = sim.build("pixelvae", spec, keywords)
    assert isinstance(model, PixelVAE)
    with seeded(1):
        x, labels = torch.randint(4, (6, 1, 4, 4)), torch.arange(6) % 2
    model.prepare(x, labels)
    coarse(model)
    model.loss(x, labels)["reconstruction"].backward()
    assert all(bool(p.grad.any()) for p in model.encoding.parameters() if p.grad is not None)
    model.spec.check(model.sample(3, labels[:3]))


# ---- what it does -------------------------------------------------------------------------------


@torch.no_grad()
def test_completions_are_near_the_conditional() -> None:
    """The lower half given the upper one, against quadrature over a code of one number."""
    model, given = made(4), torch.tensor([[[0, 2], [1, 1]]])
    upper = torch.tensor([[[True, True], [False, False]]])
    grid = torch.linspace(-8, 8, 401, dtype=torch.float64)
    every = given.repeat(9, 1, 1, 1)
    every[:, 0, 1] = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    values = model.likelihood(grid[:, None])
    log_joint = torch.stack([values.log_prob(x) for x in every]) - grid.square() / 2
    wanted = log_joint.logsumexp(1).softmax(0)

    def off(told: bool) -> float:
        with seeded(0):
            z = model.prior(1000)
            drawn = (
                model.complete(given.expand(1000, 1, 2, 2), upper)
                if told
                else model.filled(given.expand(1000, 1, 2, 2), upper.expand(1000, 1, 2, 2), z)
            )
        places = drawn[:, 0, 1, 0] * 3 + drawn[:, 0, 1, 1]
        assert torch.equal(drawn[:, upper], given[upper].expand(1000, 2))
        return float((torch.bincount(places, minlength=9) / 1000 - wanted).abs().sum() / 2)

    assert off(True) < 0.06
    # of codes that know nothing of what is observed
    assert off(False) > 0.1
    assert not model.completes_exactly(upper)


@torch.no_grad()
def test_what_a_code_stands_for_is_a_draw(tmp_path: Path) -> None:
    model = made()
    codes = torch.zeros(40, 1, dtype=torch.float64)
    assert words_of(model) == "draws"
    shown = expected(model, codes, seed=1)
    assert len(shown.unique(dim=0)) > 1
    assert set(shown.unique().tolist()) <= {0.0, 0.5, 1.0}
    with pytest.raises(MissingCapability, match="draws one value after another"):
        export_onnx(model, tmp_path / "decoder.onnx")


@pytest.mark.parametrize("name", ["pixelvae", "sequential-vae"])
def test_a_temperature_narrows_codes_of_what_draws_in_steps(name: str) -> None:
    with seeded(0):
        model = made() if name == "pixelvae" else coarse(sim.build(name, GREY, {"hidden": (4,)}))
    assert isinstance(model, Latent)
    found = draw(model, 20, narrowing=Narrowing(temperature=0.5), seed=(3,)).x
    with seeded(3):
        assert torch.equal(found, model.sample(20, temperature=0.5))
    with seeded(3):
        assert not torch.equal(found, model.sample(20))


@torch.no_grad()
def test_a_distribution_that_is_told_draws_as_it_scores() -> None:
    model = made()
    values = model.likelihood(torch.tensor([[0.5], [-1.0]], dtype=torch.float64))
    every = torch.cartesian_prod(*[torch.arange(3)] * 4).view(-1, 1, 2, 2)
    p = torch.stack([values.log_prob(x) for x in every]).exp()
    assert torch.allclose(p.sum(0), torch.ones(2, dtype=torch.float64))
    with seeded(0):
        drawn: Tensor = values.sample((2000,))
    assert drawn.shape == (2000, 2, 1, 2, 2)
    place = 3 ** torch.arange(3, -1, -1)
    for row in range(2):
        counts = torch.bincount((drawn[:, row].flatten(1) * place).sum(1), minlength=81)
        assert float((counts / 2000 - p[:, row]).abs().sum() / 2) < 0.12
