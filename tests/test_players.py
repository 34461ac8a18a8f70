"""Players of their own, their average, what they change beside weights, and their place."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import toys
from learning import equal, training, values
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.ground.randomness import seeded
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options
from simulacra.training.plan import Plan


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def test_turns_of_one_player_keep_a_loss_each(digits: Dataset) -> None:
    made = training("clipped-wgan", digits, 2, keywords={"critic_steps": 5})
    record = next(iter(made))
    losses = [record.losses[f"critic {number}/loss"] for number in range(1, 6)]
    assert len(set(losses)) == 5
    assert "generator/loss" in record.losses
    # the loss and the gradient's norm of each turn, a distance of each of the critic's, two rates
    assert len(record.losses) == 2 * 6 + 5 + 2
    assert record.losses["critic/lr"] == 2 * record.losses["generator/lr"]


def test_players_move_at_rates_of_their_own(digits: Dataset) -> None:
    made = training("clipped-wgan", digits, 10, lr=1e-3)
    next(iter(made))
    assert made.learner.players is not None
    groups = {n: o.param_groups[0] for n, o in made.learner.players.optimizers.items()}
    assert groups["critic"]["lr"] == pytest.approx(2e-3)
    assert groups["generator"]["lr"] == pytest.approx(1e-3)
    assert groups["critic"]["betas"] == (0.0, 0.9)
    assert made.rate("critic") == pytest.approx(2 * made.rate("generator"))


def test_weights_are_clipped_after_each_move(digits: Dataset) -> None:
    made = training("clipped-wgan", digits, 3, keywords={"bound": 0.01})
    list(made)
    weights = values(made.model)
    largest = {part: max(float(v.abs().max()) for n, v in weights.items() if n.startswith(part))
               for part in ("critic", "generator")}  # fmt: skip
    assert largest["critic"] <= 0.01 + 1e-9
    assert largest["generator"] > 0.1


def test_only_who_is_kept_is_averaged_and_copied(digits: Dataset) -> None:
    made = training("clipped-wgan", digits, 6)
    list(made)
    live, kept = (dict(model.named_parameters()) for model in (made.model, made.averaged))
    for name in live:
        shared = live[name].data_ptr() == kept[name].data_ptr()
        assert shared == name.startswith("critic"), name
    assert not torch.equal(live["generator.0.weight"], kept["generator.0.weight"])
    assert {name.partition(".")[0] for name in made.state_dict()["average"]} == {"generator"}


def test_a_state_of_before_averages_were_of_players_is_gone_on_from(digits: Dataset) -> None:
    """It had the names of torch's own average, and everybody's weights."""
    made, again = (training("clipped-wgan", digits, 8) for _ in range(2))
    for record in made:
        if record.step == 4:
            state = made.state_dict()
            old = {f"module.{name}": value for name, value in values(made.averaged).items()}
            state["average"] = {"n_averaged": torch.tensor(4), **old}
            for name in ("stage", "rates", "epochs", "in_nats"):
                del state["progress"][name]
            for name in ("start", "begun"):
                del state["plan"][name]
            del state["best"], state["budget"]
            again.load_state_dict(state)
    list(again)
    assert equal(values(again.averaged), values(made.averaged))


def test_a_loss_is_told_how_far_its_stage_is(digits: Dataset) -> None:
    weights = [record.losses["weight"] for record in training("warm-vae", digits, 10)]
    assert weights == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1])
    # without being told it is at the end
    with seeded(0):
        model = toys.WarmVAE(digits.spec)
    assert model.loss(digits.train.batch(torch.arange(4))[0])["weight"] == 1


@pytest.mark.parametrize(("accumulate", "precision"), [(1, "32"), (3, "32"), (3, "bf16")])
def test_what_a_model_is_told_after_a_move_is_summed_over_its_batches(
    digits: Dataset, accumulate: int, precision: str
) -> None:
    made = training("codebook", digits, 1, accumulate=accumulate, precision=precision)
    before = values(made.model)
    list(made)
    now = values(made.model)
    uses = (now["uses"] - 0.95 * before["uses"]).sum() / 0.05
    assert float(uses) == pytest.approx(16 * accumulate, rel=1e-4)
    assert not torch.equal(now["entry"], before["entry"])
    # and it is what is kept
    assert torch.equal(values(made.averaged)["entry"], now["entry"])


class Uncompiled(toys.Autoencoder):
    """Says that it is not compiled."""

    not_compiled = "its gradient penalty needs second derivatives"


def test_what_cannot_be_compiled_is_not(digits: Dataset) -> None:
    model = Uncompiled(digits.spec)
    options = Options(device="cpu", compile=True, precision="32")
    made = Training(model, digits.train, digits.validation, options)
    assert made.options == replace(options, compile=False)


def test_statistics_are_those_of_the_averaged_weights(digits: Dataset) -> None:
    made = training("autoencoder", digits, 30, lr=0.05, ema=0.99)
    list(made)
    kept, live = values(made.averaged), values(made.model)
    # what the batches that it was estimated from have, under the averaged weights
    rows = [made.batches.at(number)[0] for number in range(20)]
    inputs = [digits.spec.to_float(x).flatten(1) @ kept["encoder.0.weight"].T for x in rows]
    mean = torch.stack([each.mean(0) for each in inputs]).mean(0)
    assert torch.allclose(kept["encoder.1.running_mean"], mean, atol=1e-4)
    assert not torch.allclose(live["encoder.1.running_mean"], mean, atol=1e-2)
    (norm,) = [m for m in made.averaged.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert norm.momentum == 0.1
    assert not norm.training


class Broken(toys.Autoencoder):
    """Its third batch is no numbers."""

    calls = 0

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        self.calls += 1
        y = self._unit(x) * (math.nan if self.calls == 3 else 1.0)
        return {"loss": (self.decoder(self.encoder(y)) - y).square().sum(1).mean()}


def test_a_skipped_step_leaves_statistics_as_they_were(digits: Dataset) -> None:
    with seeded(0):
        model = Broken(digits.spec)
    made = Training(model, digits.train, digits.validation, Options(batch=16, device="cpu"))
    made.plan = Plan(4, 4)
    found = {record.step: values(made.model) for record in made if record.step < 4}
    assert made.progress.skipped == 1
    assert made.progress.rollbacks == 0
    name = "encoder.1.running_mean"
    assert torch.equal(found[3][name], found[2][name])
    assert not torch.equal(found[1][name], found[2][name])


class Unusual(toys.Autoencoder):
    """A part called module, a normalisation that rests, one that no loss comes by, a count."""

    def __init__(self, spec: Any) -> None:
        super().__init__(spec)
        self.module = torch.nn.Linear(2, 2)
        self.frozen, self.idle = torch.nn.BatchNorm1d(spec.dims), torch.nn.BatchNorm1d(3)
        self.idle.running_mean = torch.full((3,), 5.0)
        self.register_buffer("count", torch.zeros(()))

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        self.frozen.eval()
        return self

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        self.count = self.count + 1
        y = self.frozen(self._unit(x))
        return {"loss": (self.decoder(self.encoder(y)) - y).square().sum(1).mean()}


def test_what_is_kept_has_what_was_trained(digits: Dataset) -> None:
    with seeded(0):
        model = Unusual(digits.spec)
    made = Training(model, digits.train, digits.validation, Options(batch=16, device="cpu"))
    made.set_plan(Budget(4, "steps"))
    made.load_state_dict(made.state_dict())
    list(made)
    live, kept = values(made.model), values(made.averaged)
    for name in ("frozen.running_mean", "idle.running_mean", "count"):
        assert torch.equal(kept[name], live[name]), name
    assert float(live["count"]) == 4
    assert not torch.equal(kept["encoder.1.running_mean"], live["encoder.1.running_mean"])


class Leaves(toys.Autoencoder):
    """Its weights leave the numbers, and its loss refuses what are none."""

    moves = 0

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        loss = super().loss(x, context)["loss"]
        bell = torch.distributions.Normal(loss, 1.0, validate_args=True)
        return {"loss": loss - 0 * bell.log_prob(loss)}

    def moved(self, turn: str, sums: Any) -> None:
        self.moves += 1
        if self.moves == 4:
            self.decoder[0].weight[0, 0] = math.nan


def test_weights_that_are_none_are_seen_before_statistics(digits: Dataset) -> None:
    with seeded(0):
        model = Leaves(digits.spec)
    made = Training(model, digits.train, digits.validation, Options(batch=16, device="cpu"))
    made.plan = Plan(8, 2)
    assert list(made)[-1].step == 8
    assert made.progress.rollbacks == 1
