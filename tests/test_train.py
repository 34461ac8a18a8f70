"""The training loop, over every kind of learning."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

import toys
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, DynamicallyBinarised, Observations
from simulacra.ground.errors import DivergedError, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.mixture.gmm import FullGMM
from simulacra.training.fit import fit
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options
from simulacra.training.plan import Plan
from simulacra.training.players import finite

TINY: dict[str, dict[str, Any]] = {
    "sweeps": {"components": 4, "tolerance": 0.0},
    "vae": {"latent": 2, "hidden": (16,)},
    "pixelcnn": {"channels": 4, "layers": 1, "dropout": 0.2, "context": "label"},
    "gan": {"latent": 2, "hidden": (16,)},
    "nice": {"hidden": (16,)},
}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def training(
    name: str, data: Dataset, steps: int = 12, *, every: int = 4, **options: Any
) -> Training:
    with seeded(0):
        own = TINY.get(name) or registry.find(name).small[0]
        model = registry.build(toys.place(name), data.spec, own)
    made = Training(
        model,
        data.train,
        data.validation,
        Options(**{"batch": 16, "device": "cpu", "precision": "32"} | options),
    )
    made.plan = Plan(steps, every)
    return made


def weights(made: Training) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in made.averaged.state_dict().items()}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.mark.parametrize("name", TINY)
def test_going_on_from_a_state_is_bit_for_bit(name: str, digits: Dataset) -> None:
    whole = training(name, digits, steps=10)
    records = list(whole)
    first = training(name, digits, steps=10)
    steps = iter(first)
    for _ in range(5):
        next(steps)
    state = first.state_dict()
    next(steps)  # what came after the state must not matter
    torch.rand(7)
    second = training(name, digits, steps=10)
    second.load_state_dict(state)
    rest = list(second)
    assert_same(weights(whole), weights(second))
    assert [r.losses for r in records[5:]] == [r.losses for r in rest]
    assert [r.validation for r in records[5:]] == [r.validation for r in rest]


@pytest.mark.parametrize("name", TINY)
def test_a_seed_decides_everything_and_leaves_the_generator(name: str, digits: Dataset) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one = training(name, digits, steps=3)
    list(one)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(6)
    two = training(name, digits, steps=3)
    list(two)
    assert_same(weights(one), weights(two))
    other = training(name, digits, steps=3, seed=1)
    list(other)
    assert any(not torch.equal(a, weights(other)[k]) for k, a in weights(one).items())


@pytest.mark.parametrize("name", TINY)
def test_training_lowers_the_validation_loss(name: str, digits: Dataset) -> None:
    made = training(name, digits, steps=80, every=20, lr=5e-3, ema=0.9)
    first = made.learner.validate(1000)
    last = [record.validation for record in made if record.validated][-1]
    assert first is not None
    assert last is not None
    if name == "gan":
        # a game swings: what counts is its best step
        assert made.progress.best is not None
        assert made.progress.best < first
    else:
        # a mixture starts from k-means, near its end
        assert last < first - (0.01 if name == "sweeps" else 1)


def test_sweeps_never_lose(digits: Dataset) -> None:
    """EM climbs its bound with every sweep, for both kinds of covariance."""
    for covariance in ("diagonal", "full"):
        with seeded(0):
            keywords = {"components": 5, "covariance": covariance, "tolerance": 0.0}
            model = registry.build("gmm", digits.spec, keywords)
        made = Training(model, digits.train, digits.validation, Options(device="cpu"))
        made.set_plan(Budget(30, "steps"))
        losses = [record.losses["sweeps/loss"] for record in made if not record.stage]
        assert all(b <= a + 1e-6 for a, b in pairwise(losses)), losses
        assert losses[-1] < losses[0] - 0.1


def test_sweeps_stop_when_they_converge(digits: Dataset) -> None:
    with seeded(0):
        model = toys.Sweeps(digits.spec, components=3)
    made = Training(model, digits.train, digits.validation, Options(device="cpu"))
    made.plan = Plan(1000, 1000)
    records = list(made)
    assert len(records) < 200
    assert records[-1].validated
    assert made.progress.converged


def test_a_mixture_finds_the_mixture_that_made_the_data() -> None:
    spec = DataSpec((2,), None)
    with seeded(3):
        centres = torch.tensor([[-4.0, 0.0], [4.0, 1.0], [0.0, 5.0]])
        x = centres[torch.randint(3, (3000,))] + 0.5 * torch.randn(3000, 2)
        model = FullGMM(spec, components=3, covariance="full")
        model.prepare(x[:500])
    for _ in range(30):
        model.update([(x[:1500], None), (x[1500:], None)])
    nearest = torch.cdist(centres, model.means.detach() * model.scale + model.shift).min(1)
    assert float(nearest.values.max()) < 0.1
    factors = model.factors(slice(3), model.scale).detach()
    factors = model.scale[:, None] * factors
    covariances = factors @ factors.mT
    assert float((covariances - 0.25 * torch.eye(2)).abs().max()) < 0.05
    assert float((model.mixing.shares.detach() - 1 / 3).abs().max()) < 0.05


def test_every_observation_comes_once_an_epoch(digits: Dataset) -> None:
    made = training("nice", digits)
    per_epoch = len(digits.train) // 16
    seen: list[list[int]] = [[], []]
    tagged = Observations(torch.arange(len(digits.train)).view(-1, 1).int())
    made.batches.observations = tagged
    for position in range(2 * per_epoch):
        seen[position // per_epoch] += made.batches.at(position)[0].flatten().tolist()
    assert all(len(set(epoch)) == len(epoch) == 16 * per_epoch for epoch in seen)
    assert seen[0] != seen[1]
    assert seen[0][:16] == made.batches.at(0)[0].flatten().tolist()


def test_turns_draw_batches_of_their_own(digits: Dataset) -> None:
    made = training("gan", digits, steps=2)
    drawn: list[int] = []
    draw = made.batches.at
    made.batches.at = lambda position: (drawn.append(position), draw(position))[1]  # type: ignore[method-assign]
    list(made)
    assert drawn == [0, 1, 2, 3]


def test_accumulated_batches_are_one_large_batch(digits: Dataset) -> None:
    """Two batches of 16 move the weights as one of 32 does, up to rounding."""
    apart = training("pixelcnn", digits, steps=1, batch=16, accumulate=2, clip=0.0, ema=0.0)
    whole = training("pixelcnn", digits, steps=1, batch=32, clip=0.0, ema=0.0)
    for made in (apart, whole):
        for module in made.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        list(made)
    for name, value in weights(apart).items():
        assert torch.allclose(value, weights(whole)[name], atol=2e-5), name


def test_a_gradient_is_clipped_for_each_player(digits: Dataset) -> None:
    made = training("gan", digits, steps=1, clip=1e-3 / 64)
    norms: dict[str, float] = {}
    for turn, optimizer in made.learner.players.optimizers.items():
        step = optimizer.step

        def spy(*args: Any, turn: str = turn, step: Any = step, **kwargs: Any) -> Any:
            gradients = [p.grad for p in made.model.player(turn).parameters() if p.grad is not None]
            norms[turn] = float(torch.cat([g.flatten() for g in gradients]).norm())
            return step(*args, **kwargs)

        optimizer.step = spy  # type: ignore[method-assign]
    list(made)
    assert norms == pytest.approx({"discriminator": 1e-3, "generator": 1e-3}, rel=1e-3)


def test_the_average_follows_the_weights(digits: Dataset) -> None:
    made = training("nice", digits, steps=6, ema=0.5)
    parameter = made.model.maps[-1].s
    expected = parameter.detach().clone()
    for count, _ in enumerate(made):
        # the first update copies, then the decay grows from 2/11 up to its limit
        decay = 0.0 if count == 0 else min(0.5, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * parameter.detach()
        assert torch.allclose(made.averaged.maps[-1].s, expected, atol=1e-7)


class Fragile(Autoregressive):
    """Independent levels, whose loss fails at the steps that it is told."""

    bad: tuple[int, ...] = ()
    gradient_only = False

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        self.logits = nn.Parameter(torch.zeros(*spec.event_shape, spec.levels or 2))
        self.calls = 0

    def conditionals(self, x: Tensor, context: Tensor | None = None) -> Categorical:
        return Categorical(logits=self.logits.expand(len(x), *self.logits.shape))

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        self.calls += 1
        loss = super().loss(x, context)["loss"]
        if self.calls - 1 in self.bad:
            # the root of 0 is finite, its gradient is not
            broken = (self.logits - self.logits.detach()).square().sum().sqrt()
            loss = loss + (broken if self.gradient_only else math.nan)
        return {"loss": loss}


def fragile(data: Dataset, bad: tuple[int, ...], *, gradient_only: bool = False) -> Training:
    model = Fragile(data.spec)
    model.bad, model.gradient_only = bad, gradient_only
    made = Training(
        model, data.train, data.validation, Options(batch=16, device="cpu", warmup=0, lr=0.1,
                                                    schedule="constant")
    )  # fmt: skip
    made.plan = Plan(20, 4)
    return made


@pytest.mark.parametrize("gradient_only", [False, True])
def test_a_bad_step_is_skipped_and_counted(digits: Dataset, gradient_only: bool) -> None:
    made = fragile(digits, (2, 5), gradient_only=gradient_only)
    before = None
    for record in made:
        if record.step in (3, 6):
            assert record.losses == {}
            assert torch.equal(made.model.logits, before)
        before = made.model.logits.detach().clone()
    assert made.progress.skipped == 2
    assert made.progress.rollbacks == 0
    assert finite(made.model)
    assert record.step == 20


def test_three_bad_steps_roll_back_with_half_the_rate(digits: Dataset) -> None:
    made = fragile(digits, (5, 6, 7))
    good = None
    steps = []
    for record in made:
        steps.append(record.step)
        if record.step == 4 and good is None:
            good = copy.deepcopy(made.state_dict())
            assert record.lr == pytest.approx(0.1)
        if made.progress.rollbacks and good:
            assert_same(good["model"], made.state_dict()["model"])
            good = None
    assert steps[:9] == [1, 2, 3, 4, 5, 6, 7, 4, 5]
    assert made.progress.rollbacks == 1
    assert made.progress.skipped == 3
    assert record.lr == pytest.approx(0.05)
    assert record.step == 20


def test_the_fourth_rollback_ends_the_training(digits: Dataset) -> None:
    made = fragile(digits, tuple(range(6, 1000)))
    with pytest.raises(DivergedError, match="lower --lr") as caught:
        list(made)
    assert caught.value.exit_code == 6
    assert made.progress.rollbacks == 3


def test_weights_that_are_no_numbers_are_never_good(digits: Dataset) -> None:
    made = fragile(digits, ())
    spoilt = False
    for record in made:
        if record.step == 3 and not spoilt:
            spoilt = True
            with torch.no_grad():
                made.model.logits[0, 0, 0, 0] = math.inf
        assert not (record.validated and not finite(made.model))
    assert spoilt
    assert finite(made.model)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [("7steps", Plan(7, 1)), ("100steps", Plan(100, 5)), ("2epochs", Plan(156, 8))],
)
def test_budgets_in_steps_and_epochs(digits: Dataset, budget: str, expected: Plan) -> None:
    made = training("nice", digits)
    assert made.set_plan(Budget.parse(budget)) == expected


def test_an_epoch_of_a_game_counts_every_batch(digits: Dataset) -> None:
    assert training("gan", digits).learner.steps_per_epoch == pytest.approx(
        len(digits.train) // 16 / 2
    )
    assert training("sweeps", digits).learner.steps_per_epoch == 1


def test_devices_that_are_not_there_are_refused(digits: Dataset) -> None:
    with pytest.raises(UsageError, match="device is one of"):
        training("nice", digits, device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="has no cuda"):
            training("nice", digits, device="cuda")


@pytest.mark.parametrize("name", ["vae", "pixelcnn", "pixel-transformer", "gan", "nice"])
def test_bfloat16_trains_to_about_the_same_loss(name: str, digits: Dataset) -> None:
    losses = {
        precision: [
            sum(v for k, v in record.losses.items() if k.endswith("loss"))
            for record in training(name, digits, steps=10, precision=precision)
        ]
        for precision in ("32", "bf16")
    }
    assert losses["bf16"] == pytest.approx(losses["32"], rel=0.05)
    assert losses["bf16"] != losses["32"]


def test_fit_trains_by_the_models_preset(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the command line does, unless it is told otherwise."""
    asked: list[Options] = []
    monkeypatch.setattr("simulacra.training.fit.check_room", lambda *each: asked.append(each[2]))
    for options in (None, Options(lr=3e-3)):
        model = registry.build("gmm", digits.spec, {"components": 2})
        fit(model, digits, "2steps", options)
    assert [each.lr for each in asked] == [registry.preset("gmm")["lr"], 3e-3]
    assert [each.batch for each in asked] == [registry.preset("gmm")["batch"], Options().batch]


def test_fit_returns_the_best_that_was_validated(digits: Dataset) -> None:
    with seeded(0):
        model = registry.build("nice", digits.spec, TINY["nice"])
    options = Options(
        batch=16, device="cpu", lr=0.3, warmup=0, schedule="constant", ema=0.0, precision="32"
    )
    made = Training(copy.deepcopy(model), digits.train, digits.validation, options)
    made.set_plan(Budget(40, "steps"))
    values = [record.validation for record in made if record.validated]
    fitted = fit(model, digits, "40steps", options)
    x, _ = digits.validation.batch(torch.arange(len(digits.validation)))
    with torch.no_grad():
        value = -float(fitted.log_likelihood(x).double().mean())  # type: ignore[operator]
    assert value == pytest.approx(min(values), rel=1e-6)  # type: ignore[type-var]
    assert value < values[-1]  # type: ignore[operator]
    assert not fitted.training


def test_optimisers_get_the_options_and_the_halved_rate(digits: Dataset) -> None:
    made = training("gan", digits, lr=0.01, betas=(0.3, 0.8), weight_decay=0.125, warmup=0,
                    schedule="constant")  # fmt: skip
    made.progress.lr_scale = 0.5
    next(iter(made))
    for name, optimizer in made.learner.players.optimizers.items():
        (group,) = optimizer.param_groups
        assert group["lr"] == pytest.approx(0.005 * made.model.players[name].lr)
        assert tuple(group["betas"]) == (0.3, 0.8)
        assert group["weight_decay"] == 0.125


def test_players_do_not_leave_gradients_on_one_another(digits: Dataset) -> None:
    made = training("gan", digits, steps=3)
    clip, seen = made.fabric.clip_gradients, []

    def spy(module: Any, optimizer: Any, **keywords: Any) -> Any:
        moving = {id(p) for group in optimizer.param_groups for p in group["params"]}
        seen.append(all(p.grad is None for p in made.model.parameters() if id(p) not in moving))
        return clip(module, optimizer, **keywords)

    made.fabric.clip_gradients = spy  # type: ignore[method-assign]
    list(made)
    assert seen == [True] * 6


def test_every_epoch_draws_its_own_noise(digits: Dataset) -> None:
    grey = digits.train.x[:64] * 15
    dynamic = DynamicallyBinarised(grey)
    with seeded(0):
        model = registry.build("nice", DataSpec((1, 8, 8), 2), {"hidden": (8,)})
    made = Training(model, dynamic, dynamic, Options(batch=64, device="cpu"))
    drawn = {}
    for epoch in (0, 1):
        x, _ = made.batches.at(epoch)
        assert made.batches._order is not None
        drawn[epoch] = x[made.batches._order[1].argsort()]
    assert not torch.equal(drawn[0], drawn[1])
    assert bool((drawn[0][grey == 0] == 0).all())


def test_a_last_step_that_is_skipped_is_still_validated(digits: Dataset) -> None:
    made = fragile(digits, (19,))
    *_, last = made
    assert last.losses == {}
    assert last.validated


def test_sweeps_out_of_the_numbers_roll_back(digits: Dataset) -> None:
    made = training("sweeps", digits, steps=10, every=2)
    steps = iter(made)
    next(steps)
    next(steps)
    with torch.no_grad():
        made.model.means.fill_(math.nan)
    skipped = [next(steps) for _ in range(3)][-1]
    assert skipped.skipped == 3
    assert made.progress.rollbacks == 1
    assert finite(made.model)
