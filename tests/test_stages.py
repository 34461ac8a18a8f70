"""Trainings in stages: each begins with what was best in the one before."""

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
from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.laws import check_model
from simulacra.models.model import Model
from simulacra.models.stages import Player, Stage
from simulacra.training.fit import fit
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options
from simulacra.training.plan import Event, Plan


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.mark.parametrize("name", toys.TOYS)
def test_each_keeps_the_laws(name: str) -> None:
    kept = check_model(toys.TOYS[name])
    assert {"turns", "saving"} <= set(kept)
    assert ("validation" in kept) == (name != "clipped-wgan")
    assert ("draws" in kept) == (name in ("sampled-autoencoder", "clipped-wgan", "warm-vae"))


class Remembers(Model):
    """Goes on and on past what validation likes best, the level 0.5."""

    def __init__(self, spec: DataSpec, *, patience: float | None = None) -> None:
        super().__init__(spec)
        self.patience = patience
        self.level = torch.nn.Parameter(torch.zeros(()))

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (Stage("training", self.turns, patience=self.patience),)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        return {"loss": -self.level}

    def validation_loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return (self.level - 0.5).square().expand(len(x))


@pytest.mark.parametrize(
    ("patience", "lr", "ended"), [(None, 0.05, 60), (2.0, 0.05, 30), (2.0, 0.25, 20)]
)
def test_a_training_ends_when_its_patience_does(
    digits: Dataset, patience: float | None, lr: float, ended: int
) -> None:
    """With a level that grows by the rate the best step is 10 or 2; a third is never cut."""
    options = Options(lr=lr, warmup=0, schedule="constant", ema=0.0, device="cpu", clip=0.0)
    made = Training(
        Remembers(digits.spec, patience=patience), digits.train, digits.validation, options
    )
    made.set_plan(Budget(60, "steps"))
    made.plan = replace(made.plan, validate_every=1)
    records = list(made)
    assert made.progress.best_step == round(0.5 / lr)
    assert len(records) == ended
    assert made.progress.converged == (patience is not None)
    assert records[-1].validated


def test_stages_share_a_budget_and_each_has_its_best_step(digits: Dataset) -> None:
    made = training("sampled-autoencoder", digits, 50, lr=0.5, schedule="constant", ema=0.0)
    best: dict[str, Tensor] = {}
    seen: list[tuple[int, int | None]] = []
    for record in made:
        if record.stage == 0 and record.step == made.progress.best_step:
            best = values(made.averaged)
        seen.append((record.stage, made.progress.best_step))
        if record.step == 40:
            # already where the next stage begins: the last record of this one is told all the same
            assert record.stage == 0
            assert made.progress.stage == 1
            assert made.progress.best is None
            now = values(made.model)
            assert all(torch.equal(now[k], best[k]) for k in best if not k.startswith("mixture"))
            assert record.validation is not None
            assert made.plan.start == 40
            assert made.plan.steps == 50
    assert [stage for stage, _ in seen].count(0) == 40
    # else nothing would show that it is the best that is gone on from
    assert seen[38][1] != 40
    after = values(made.model)
    encoder = [name for name in best if name.startswith(("encoder", "decoder"))]
    # statistics of its normalisation among them
    assert any("running_mean" in name for name in encoder)
    assert all(torch.equal(after[name], best[name]) for name in encoder)
    assert made.progress.best_step is not None
    assert made.progress.best_step > 40


def test_the_best_of_a_stage_is_known_after_a_stop(digits: Dataset) -> None:
    """Which may be after it was found, and before the stage ends without a better one."""
    told = {"lr": 0.5, "schedule": "constant", "ema": 0.0}
    made, again = (training("sampled-autoencoder", digits, 20, **told) for _ in range(2))
    for record in made:
        if record.step == 15:
            assert made.progress.best_step is not None
            assert made.progress.best_step < 15
            again.load_state_dict(made.state_dict())
        if record.step == 16:
            # nothing better came
            assert made.progress.best_step is None
            break
    next(iter(again))
    assert again.progress.stage == 1
    assert equal(values(again.model), values(made.model))


def test_what_one_stage_leaves_the_next_one_has(digits: Dataset) -> None:
    """Of epochs, too; and a mixture that converges early ends the training."""
    made = training("sampled-autoencoder", digits)
    made.set_plan(Budget(2, "epochs"))
    per_epoch = len(digits.train) // 16
    assert made.plan.steps == round(2 * 0.8 * per_epoch)
    last = list(made)[-1]
    assert made.plan.start == round(2 * 0.8 * per_epoch)
    # a sweep is an epoch, and 0.4 of one are left
    assert made.plan.length == 1
    assert last.epoch == pytest.approx(1.6 + 1, abs=0.02)


def test_seconds_are_planned_when_a_stage_begins(digits: Dataset) -> None:
    made = training("sampled-autoencoder", digits)
    first = made.set_plan(Budget(1.5, "s"))
    assert first.seconds == pytest.approx(1.2)
    assert (first.start, first.begun) == (0, 0.0)
    records = list(made)
    assert made.progress.stage == 1
    assert made.plan.start == sum(record.stage == 0 for record in records)
    assert made.plan.begun == pytest.approx(records[made.plan.start - 1].seconds, rel=0.2)
    assert made.budget == Budget(1.5, "s")
    # each stage has its own part of them, the last one what is left
    assert made.progress.converged or made.progress.seconds >= 1.4
    assert made.progress.seconds <= 3.5


def test_losses_say_which_stage_they_are_of(digits: Dataset) -> None:
    names = [set(record.losses) for record in training("sampled-autoencoder", digits, 10)]
    assert names[0] == {"autoencoder/loss"}
    assert names[-1] == {"mixture/loss"}


def test_a_stage_by_sweeps_needs_a_model_that_has_them(digits: Dataset) -> None:
    class Idle(toys.Autoencoder):
        @property
        def stages(self) -> tuple[Stage, ...]:
            return (Stage("nothing", ()),)

    options = Options(device="cpu")
    with pytest.raises(UsageError, match="'nothing' has no turns, and needs `statistics`"):
        Training(Idle(digits.spec), digits.train, digits.validation, options)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda: Stage("a", ("b",), share=0.0), "share is positive"),
        (lambda: Stage("a", ("b",), kept=("c",)), "keeps some of the players that move in it"),
        (lambda: Stage("a", ("b",), kept=()), "keeps some of the players that move in it"),
        (lambda: Player(lr=0.0), "lr is positive"),
        (lambda: Player(betas=(0.5, 1.0)), r"betas are in \[0, 1\)"),
        (lambda: Event(-1), "step is a whole number"),
        (lambda: Event(1, "model", math.nan), "rate is positive and finite"),
    ],
)
def test_what_no_training_can_follow_is_refused(fault: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fault()


def test_fit_gives_back_the_last_stage(digits: Dataset) -> None:
    """Not the best step of a stage before, of which the mixture knows nothing."""
    with seeded(0):
        model = toys.SampledAutoencoder(digits.spec)
    before = values(model)
    made = fit(model, digits, "20steps", Options(batch=16, device="cpu"))
    assert not torch.equal(values(made)["mixture.means"], before["mixture.means"])
    assert made.sample(3).shape == (3, 1, 8, 8)


def test_a_stage_has_something_left_whatever_those_before_took(digits: Dataset) -> None:
    made = training("sampled-autoencoder", digits)
    made.set_plan(Budget(1.0, "s"))
    made.plan = Plan(3, 3)
    for record in made:
        if record.step == 2:
            # a machine that others use too
            made.progress.seconds = 50.0
    assert made.plan.start == 3
    assert made.plan.length >= 1
    assert made.progress.step > 3


class Finetuned(toys.Autoencoder):
    """A part of it first, then all of it."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (Stage("before", ("part",)), Stage("after", ("everything",)))

    def player(self, turn: str) -> torch.nn.Module:
        return torch.nn.ModuleList([self.decoder]) if turn == "part" else self


def test_who_moves_trains_though_it_is_part_of_who_does_not(digits: Dataset) -> None:
    with seeded(0):
        model = Finetuned(digits.spec)
    made = Training(model, digits.train, digits.validation, Options(batch=16, device="cpu"))
    made.set_plan(Budget(10, "steps"))
    for record in made:
        norm = made.model.encoder[1]
        assert isinstance(norm, torch.nn.BatchNorm1d)
        if record.step < 5:
            # all else rests, statistics too
            assert not norm.training
            assert not norm.num_batches_tracked
            assert made.model.decoder.training
    assert norm.training
    assert int(norm.num_batches_tracked) == 5


class Unvalidated(toys.SampledAutoencoder):
    """Of its last stage the last step is kept."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        first, last = super().stages
        return (first, replace(last, validation_loss=lambda *_: None))


def test_fit_gives_back_a_last_stage_that_validates_nothing(digits: Dataset) -> None:
    with seeded(0):
        model = Unvalidated(digits.spec)
    before = values(model)
    made = fit(model, digits, "20steps", Options(batch=16, device="cpu"))
    assert not torch.equal(values(made)["mixture.means"], before["mixture.means"])
