"""Games: objectives and penalties against hand-made figures, players of any side, augmentation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from simulacra.data.catalogue import load
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.adversarial.augment import _covered, _lit, _moved, augmented
from simulacra.models.adversarial.gan import GAN
from simulacra.models.adversarial.networks import chosen
from simulacra.models.adversarial.objectives import OBJECTIVES, objective_of, told_rightly
from simulacra.models.adversarial.players import Opponent
from simulacra.models.adversarial.regularisers import gradient_penalty, squared_slope
from simulacra.models.game import Game
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options

GREY = DataSpec((1, 6, 6), 4, classes=3)
NAMES = ("gan", "dcgan", "lsgan", "wgan-gp", "sngan", "r3gan")


def game(name: str = "gan", spec: DataSpec = GREY, **keywords: Any) -> GAN:
    """A small one."""
    with seeded(0):
        made = registry.build(name, spec, {"latent": 2, "hidden": (8,), "channels": 4} | keywords)
    assert isinstance(made, GAN)
    return made


# ---- what players minimise ----------------------------------------------------------------------

_REAL, _FAKE = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 3.0])


def _softplus(value: float) -> float:
    return math.log1p(math.exp(value))


@pytest.mark.parametrize(("name", "opponent", "generator"), [
    ("minimax", (_softplus(-2) + _softplus(1) + _softplus(0.5) + _softplus(3)) / 2,
     -(_softplus(0.5) + _softplus(3)) / 2),
    ("non-saturating", (_softplus(-2) + _softplus(1) + _softplus(0.5) + _softplus(3)) / 2,
     (_softplus(-0.5) + _softplus(-3)) / 2),
    ("least-squares", (1 + 4 + 0.25 + 9) / 4, (0.25 + 4) / 4),
    ("wasserstein", 1.75 - 0.5, -1.75),
    ("hinge", (0 + 2 + 1.5 + 4) / 2, -1.75),
    ("relativistic", (_softplus(-1.5) + _softplus(4)) / 2, (_softplus(1.5) + _softplus(-4)) / 2),
])  # fmt: skip
def test_objectives_are_those_of_their_papers(name: str, opponent: float, generator: float) -> None:
    objective = objective_of(name)
    assert float(objective.opponent(_REAL, _FAKE)) == pytest.approx(opponent)
    assert float(objective.generator(_REAL, _FAKE)) == pytest.approx(generator)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_each_player_gains_what_its_name_says(name: str) -> None:
    """The opponent by higher scores of what is real, the generator by those of its work."""
    objective = objective_of(name)
    real, fake = _REAL.clone().requires_grad_(), _FAKE.clone().requires_grad_()
    up, down = torch.autograd.grad(objective.opponent(real, fake), (real, fake))
    # an answer of least squares or of the hinge that is good enough is left alone
    held = name in ("least-squares", "hinge")
    assert (up <= 0).all() if not held else float(up[1]) < 0
    assert (down >= 0).all()
    assert float(down.sum()) > 0
    (pushed,) = torch.autograd.grad(objective.generator(real, fake), fake)
    assert float(pushed[0]) < 0


def test_who_is_told_rightly() -> None:
    assert float(told_rightly(_REAL, _FAKE, 0.0)) == pytest.approx((0.5 + 0.0) / 2)
    assert float(told_rightly(_REAL, _FAKE, 0.6)) == pytest.approx((0.5 + 0.5) / 2)
    # in pairs: 2 above 0.5, and −1 below 3
    assert float(told_rightly(_REAL, _FAKE, None)) == 0.5


# ---- what keeps slopes in bounds ----------------------------------------------------------------

_SLOPE = torch.tensor([3.0, 4.0])


def _linear(y: Tensor) -> Tensor:
    return y @ _SLOPE


def test_penalties_of_a_known_slope() -> None:
    """A linear score has the slope 5 everywhere; one of half the squared norm that of its place."""
    real, fake = torch.zeros(6, 2), torch.ones(6, 2)
    assert gradient_penalty(_linear, real, fake).item() == pytest.approx(16.0)
    square = squared_slope(lambda y: y.square().sum(1) / 2, fake)
    assert torch.allclose(square, torch.full((6,), 2.0))
    with seeded(0):
        # between (0, 0) and (1, 1) slopes are from 0 to √2: (s − 1)² is at most 1, ⅓ in the mean
        many = gradient_penalty(
            lambda y: y.square().sum(1) / 2, torch.zeros(20_000, 2), torch.ones(20_000, 2)
        )
    exact = 2 / 3 - 2 * math.sqrt(2) / 2 + 1
    assert float(many.detach()) == pytest.approx(exact, abs=0.01)


def test_a_penalty_moves_the_weights_that_make_the_slope() -> None:
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    gradient_penalty(lambda y: y @ weight, torch.zeros(4, 2), torch.ones(4, 2)).backward()
    # d (|w| − 1)² / dw = 2 (|w| − 1) w / |w|
    assert weight.grad is not None
    assert torch.allclose(weight.grad, torch.tensor([4.8, 6.4]), atol=1e-5)


@pytest.mark.parametrize(("regulariser", "factor"), [("r1", 1), ("r1-r2", 2)])
def test_a_games_penalty_is_of_its_own_scores(regulariser: str, factor: int) -> None:
    """A linear discriminator has one slope: half its square at real ones, again at generated."""
    made = game("gan", DataSpec((2,), None), hidden=(), regulariser=regulariser, penalty=3.0)
    head = made.discriminator.head  # type: ignore[union-attr]
    assert isinstance(head, nn.Linear)
    x = torch.randn(5, 2)
    made.prepare(x)
    plain = game("gan", DataSpec((2,), None), hidden=())
    plain.load_state_dict(made.state_dict())
    with seeded(1):
        found = made.loss(x, turn="discriminator")
    with seeded(1):
        without = plain.loss(x, turn="discriminator")
    expected = factor * head.weight.square().sum().item() / 2
    assert found["penalty"].item() == pytest.approx(expected, rel=1e-5)
    assert (found["loss"] - without["loss"]).item() == pytest.approx(3 * expected, rel=1e-4)


def test_spectral_weights_have_a_largest_singular_value_of_one() -> None:
    made = game("sngan", DataSpec((1, 12, 12), 4), network="convolutional").train()
    x = torch.randint(4, (8, 1, 12, 12))
    for _ in range(40):
        made.loss(x, turn="discriminator")
    opponent = made.player("discriminator")
    assert isinstance(opponent, Opponent)
    layers = [part for part in opponent.body.modules() if isinstance(part, nn.Conv2d)]
    assert len(layers) > 1
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1).double(), 2).item()
        assert largest == pytest.approx(1.0, abs=0.02)


def test_a_critic_estimates_a_distance_and_others_do_not() -> None:
    for name in NAMES:
        made = game(name)
        found = made.loss(torch.randint(4, (6, 1, 6, 6)), turn=made.opponent)
        assert ("distance" in found) is made.estimates_distance is (name == "wgan-gp")
        assert ("penalty" in found) is (name in ("wgan-gp", "r3gan"))
        assert 0 <= found["accuracy"].item() <= 1


# ---- players ------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["convolutional", "residual"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 13, 37), (1, 1, 9), (2, 64, 3), (100,), (3,)])
def test_players_take_any_side(network: str, shape: tuple[int, ...]) -> None:
    made = game("r3gan", DataSpec(shape, 5), network=network)
    x = torch.randint(5, (2, *shape))
    for turn in dict.fromkeys(made.turns):
        made.zero_grad()
        made.loss(x, turn=turn)["loss"].backward()
    made.eval()
    assert made.sample(3).shape == (3, *shape)
    assert made.scores(x).shape == (2,)
    assert len(made.features(x)) == 2


@pytest.mark.parametrize("network", ["convolutional", "residual"])
def test_every_pixel_is_seen_and_drawn(network: str) -> None:
    """Of odd sides too the last rows and columns have gradients."""
    spec = DataSpec((1, 11, 9), 4)
    made = game("lsgan", spec, network=network, regulariser="r1").eval()
    y = torch.zeros(1, 1, 11, 9, requires_grad=True)
    (slope,) = torch.autograd.grad(made._score(y, None).sum(), y)
    assert (slope != 0).all()
    z = torch.randn(200, 2)
    with torch.no_grad():
        drawn = made.generate(z)
    assert float(drawn.var(0).min()) > 0


def test_a_class_is_told_by_projection() -> None:
    """The score of another class is another by the difference of embeddings · features / √width."""
    made = game("sngan", context="label").eval()
    x, told = torch.randint(4, (5, 1, 6, 6)), torch.tensor([0, 1, 2, 0, -1])
    opponent = made.player("discriminator")
    assert isinstance(opponent, Opponent)
    features, embed = made.features(x), opponent.told.embed.weight
    before, after = made.scores(x, torch.zeros(5).long()), made.scores(x, torch.ones(5).long())
    expected = (features * (embed[1] - embed[0])).sum(1) * features.shape[1] ** -0.5
    assert torch.allclose(after - before, expected, atol=1e-5)
    untold = made.scores(x, told)[-1]
    assert torch.allclose(untold, opponent.head(features[-1:])[0, 0], atol=1e-5)


@pytest.mark.parametrize(("keywords", "why"), [
    ({"moves": (0, 1)}, "moves at least once"),
    ({"moves": (1,)}, "two numbers"),
    ({"rates": (1.0, -1.0)}, "positive and finite"),
    ({"penalty": 1.0}, "regulariser=none"),
    ({"penalty": -1.0, "regulariser": "r1"}, "at least 0"),
    ({"objective": "best"}, "minimax, non-saturating"),
    ({"regulariser": "best"}, "none, spectral"),
    ({"network": "best"}, "auto, mlp"),
    ({"augment": "best"}, "one of auto, always, never"),
    ({"channels": 0}, "channels are positive"),
])  # fmt: skip
def test_wrong_keywords_are_refused(keywords: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        game("gan", **keywords)


@pytest.mark.parametrize(("shape", "levels", "kind"), [
    ((3,), None, "mlp"), ((1, 8, 8), 4, "mlp"), ((1, 15, 40), 4, "mlp"),
    ((3, 16, 16), 4, "convolutional"), ((100,), 4, "convolutional"),
])  # fmt: skip
def test_the_players_that_suit_the_data(
    shape: tuple[int, ...], levels: int | None, kind: str
) -> None:
    assert chosen("auto", DataSpec(shape, levels)) == kind
    assert chosen("residual", DataSpec(shape, levels)) == "residual"


def test_what_convolutions_are_not_for() -> None:
    vectors = DataSpec((3,), None)
    with pytest.raises(MissingCapability, match="network=residual needs ordered levels"):
        game("sngan", vectors, network="residual")
    with pytest.raises(UsageError, match="augment=always is for pictures"):
        game("gan", vectors, augment="always")


# ---- augmentation -------------------------------------------------------------------------------


def test_pictures_are_augmented_each_by_itself() -> None:
    picture = torch.rand(1, 3, 16, 16) * 2 - 1
    many = picture.expand(300, -1, -1, -1)
    with seeded(0):
        lit, moved, covered = _lit(many), _moved(many), _covered(many)
    # contrast and saturation keep the mean, which brightness moves by up to a half
    shift = lit.mean((1, 2, 3)) - picture.mean()
    assert 0.45 < float(shift.abs().max()) < 0.5 + 1e-5
    # by −2 to 2 in both directions: a pixel that is far from the edge is found at one of 25 places
    at = {
        (int(row), int(column))
        for shown in moved
        for row, column in (shown[0] == picture[0, 0, 8, 8]).nonzero()
    }
    assert at == {(row, column) for row in range(6, 11) for column in range(6, 11)}
    share = (covered == 0).float().mean((1, 2, 3))
    assert 0.2 < float(share.max()) <= 0.25 + 1e-6
    assert 0 < float(share.min()) < 0.1


def test_gradients_go_through_augmentation() -> None:
    y = (torch.rand(4, 1, 9, 10) * 2 - 1).requires_grad_()
    with seeded(3):
        (slope,) = torch.autograd.grad(augmented(y).sum(), y)
    assert (slope.flatten(1).abs().sum(1) > 0).all()


def test_few_pictures_are_augmented_and_many_are_not() -> None:
    """What counts is the training split, not the part of it that a model is prepared from."""
    x = torch.randint(4, (50, 1, 6, 6))
    for name, augment, count, expected in (
        ("dcgan", "auto", 50, True), ("dcgan", "auto", 60_000, False), ("gan", "auto", 50, False),
        ("gan", "always", 60_000, True), ("dcgan", "never", 50, False),
    ):  # fmt: skip
        made = game(name, augment=augment)
        made.prepare(x, count=count)
        assert bool(made.augmenting) is expected
    vectors = game("gan", DataSpec((3,), None))
    vectors.prepare(torch.randn(9, 3), count=9)
    assert not vectors.augmenting
    data = load("digits")
    digits = game("dcgan", data.spec)
    Training(digits, data.train, data.validation, Options(device="cpu"))
    assert digits.augmenting


# ---- in the loop --------------------------------------------------------------------------------


def test_the_opponent_moves_more_often_and_faster() -> None:
    data = load("digits")
    made = game("wgan-gp", data.spec, moves=(3, 2), rates=(2.0, 0.5))
    training = Training(
        made, data.train, data.validation, Options(device="cpu", lr=1e-3, schedule="constant")
    )
    training.set_plan(Budget.parse("1steps"))
    (record,) = training
    turns = {name.partition("/")[0] for name in record.losses}
    assert {"critic 1", "critic 3", "generator 1", "generator 2"} <= turns
    assert "critic 4" not in turns
    assert (training.rate("critic"), training.rate("generator")) == (2e-3, 5e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_games_parts_are_what_others_ask(name: str) -> None:
    made = game(name).eval()
    assert isinstance(made, Game)
    z, x = made.prior(4), torch.randint(4, (4, 1, 6, 6))
    z.requires_grad_()
    drawn = made.generate(z)
    assert torch.equal(drawn.floor().clamp(0, 3).long(), made.decode(z))
    assert drawn.requires_grad
    assert made.player(made.opponent) is not made.player("generator")
    # scores are linear in the features
    head = made.player(made.opponent).head
    assert torch.allclose(head(made.features(x)).squeeze(1), made.scores(x), atol=1e-5)


def test_levels_and_what_is_generated_are_shown_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two levels a perfect generator's pictures must not be known by what fills their bins."""
    made = game("gan", DataSpec((1, 4, 4), 2), augment="never")
    x, shown = torch.randint(2, (500, 1, 4, 4)), []

    def keep(y: Tensor, context: Tensor | None) -> Tensor:
        shown.append(y)
        return 0 * y.flatten(1).sum(1)

    monkeypatch.setattr(made, "_score", keep)
    monkeypatch.setattr(made, "_generate", lambda *_: made.scaled(x))
    with seeded(0):
        made.loss(x, turn="discriminator")
    for y in shown:
        assert torch.equal(y > 0, x == 1)
        for side in (y[y > 0], -y[y < 0]):
            assert 0 < float(side.min()) < 0.01
            assert 0.99 < float(side.max()) < 1
            assert float(side.mean()) == pytest.approx(0.5, abs=0.02)
    assert not torch.equal(*shown)


def test_an_opponents_statistics_are_of_its_own_turns() -> None:
    made = game("dcgan", DataSpec((1, 16, 16), 4), augment="never").train()
    norms = [p for p in made.player("discriminator").modules() if isinstance(p, nn.BatchNorm2d)]
    assert norms
    x = torch.randint(4, (8, 1, 16, 16))
    before = [norm.running_mean.clone() for norm in norms]  # type: ignore[union-attr]
    made.loss(x, turn="generator")
    for norm, mean in zip(norms, before, strict=True):
        assert norm.momentum == 0.1
        torch.testing.assert_close(norm.running_mean, mean, rtol=0, atol=0)
    made.loss(x, turn="discriminator")
    assert all((norm.running_mean != mean).any() for norm, mean in zip(norms, before, strict=True))


@pytest.mark.parametrize("regulariser", ["none", "spectral", "r1", "r1-r2"])
def test_a_critic_without_a_bound_estimates_no_distance(regulariser: str) -> None:
    made = game("wgan-gp", regulariser=regulariser)
    assert not made.estimates_distance
    assert "distance" not in made.loss(torch.randint(4, (6, 1, 6, 6)), turn="critic")
