"""Stages, players of their own, averages, buffers, and what is changed while a training goes on."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import toys
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.judging.figures.cost import cost
from simulacra.models import registry
from simulacra.models.lawbook.trials import FORMS, learnt_with
from simulacra.models.laws import check_model
from simulacra.models.model import Model
from simulacra.models.stages import Player, Stage
from simulacra.runs.run import Run
from simulacra.training.batches import ByClass
from simulacra.training.changes import make_longer, set_rate
from simulacra.training.fit import fit
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options
from simulacra.training.plan import Event, Pace, Plan


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def training(
    name: str,
    data: Dataset,
    steps: int | None = None,
    *,
    keywords: dict[str, Any] | None = None,
    **options: Any,
) -> Training:
    with seeded(0):
        model = registry.build(toys.place(name), data.spec, keywords)
    chosen = Options(**{"batch": 16, "device": "cpu", "warmup": 0, "precision": "32"} | options)
    made = Training(model, data.train, data.validation, chosen)
    if steps is not None:
        made.set_plan(Budget(steps, "steps"))
    return made


def values(model: Model) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", toys.TOYS)
def test_each_keeps_the_laws(name: str) -> None:
    kept = check_model(toys.TOYS[name])
    assert {"turns", "saving"} <= set(kept)
    assert ("validation" in kept) == (name not in ("clipped-wgan", "warm-vae"))
    assert ("draws" in kept) == (name in ("sampled-autoencoder", "clipped-wgan", "warm-vae"))


# ---- stages ------------------------------------------------------------------------------------


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
    assert made.plan.begun > 0
    assert made.budget == Budget(1.5, "s")


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


# ---- players -----------------------------------------------------------------------------------


def test_turns_of_one_player_keep_a_loss_each(digits: Dataset) -> None:
    made = training("clipped-wgan", digits, 2, keywords={"critic_steps": 5})
    record = next(iter(made))
    losses = [record.losses[f"critic {number}/loss"] for number in range(1, 6)]
    assert len(set(losses)) == 5
    assert "generator/loss" in record.losses
    assert len(record.losses) == 11 + 2
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


# ---- averages and buffers ----------------------------------------------------------------------


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


# ---- validation --------------------------------------------------------------------------------


def test_every_model_says_what_its_best_step_is_chosen_by(digits: Dataset) -> None:
    best = {}
    for name in ("autoencoder", "triplet", "codebook", "clipped-wgan", "warm-vae"):
        made = training(name, digits, 3)
        list(made)
        best[name] = made.progress.best
        assert made.in_nats(0) == (name == "warm-vae")
    assert best.pop("clipped-wgan") is None
    assert all(value is not None and value > 0 for value in best.values())


@pytest.mark.parametrize("look", [1e-6, 1e-3, 0.02, 0.1, 1.0])
def test_dear_validations_are_of_fewer_observations_and_not_fewer_than_five(look: float) -> None:
    """0.1 s an observation in 14 s: today's tenth is 14 of them."""
    plan = Plan.within(14.0, 14.0, Pace(0.01, look), 1000)
    count = plan.length // plan.validate_every
    assert 5 <= count <= 20
    spent = count * plan.validate_on * look
    # of one observation each time nothing can be left out
    assert spent <= 1.4 * 1.05 or plan.validate_on == 1
    assert plan.length * 0.01 + spent == pytest.approx(14.0, rel=0.05)


def test_a_budget_of_steps_goes_by_what_the_model_says_that_validating_costs(
    digits: Dataset,
) -> None:
    class Dear(toys.Autoencoder):
        validation_cost = 8

    for kind, looks in ((toys.Autoencoder, 1000), (Dear, 125)):
        options = Options(device="cpu")
        made = Training(kind(digits.spec), digits.train, digits.validation, options)
        assert made.set_plan(Budget(10, "steps")).validate_on == looks


# ---- batches of classes ------------------------------------------------------------------------


def test_a_batch_is_some_of_each_of_some_classes(digits: Dataset) -> None:
    made = training("triplet", digits, keywords={"classes": 4, "each": 5})
    met: Counter[int] = Counter()
    for position in range(40):
        x, labels = made.batches.at(position)
        assert labels is not None
        assert len(x) == 20
        assert sorted(Counter(labels.tolist()).values()) == [5] * 4
        assert len(x.flatten(1).unique(dim=0)) == 20
        met.update(labels.tolist())
        assert torch.equal(made.batches.at(position)[0], x)
    assert len(met) == 10
    before = float(made.learner.validate(100) or 0)
    made.set_plan(Budget(60, "steps"))
    assert list(made)[-1].step == 60
    assert float(made.learner.validate(100) or 0) < before


def test_classes_that_are_few_or_untold() -> None:
    labels = torch.tensor([-1, 0, 0, 0, 1, 1, 2, -1])
    batches = ByClass(labels, classes=3, each=4)
    # one observation makes no pair
    assert batches.size == 8
    for position in range(20):
        rows = batches.rows(0, position)
        counts = Counter(labels[rows].tolist())
        assert counts == {0: 4, 1: 4}
    for wrong in (None, torch.zeros(8, 2), torch.zeros(8).long(), torch.arange(8)):
        with pytest.raises(UsageError, match="learns from batches of classes"):
            ByClass(wrong, classes=3, each=4)


def test_classes_of_labels_with_parts_are_combinations(digits: Dataset) -> None:
    """Told as such to a model that takes no context, in training and validation and its costs."""
    parts = (("parity", 2), ("half", 5))

    def parted(split: Observations) -> Observations:
        assert split.context is not None
        labels = torch.stack([split.context % 2, split.context // 2], 1)
        labels[::7, 1] = -1
        return replace(split, context=labels)

    splits = {name: parted(split) for name, split in digits.splits.items()}
    data = replace(digits, spec=replace(digits.spec, parts=parts), **splits)
    made = training("triplet", data, 2)
    batches = made.batches
    x, told = batches.at(0)
    assert told is not None
    assert sorted(Counter(told.tolist()).values()) == [4, 4, 4]
    rows = [(data.train.x.long() == each).flatten(1).all(1).nonzero()[0, 0] for each in x]
    assert torch.equal(told, data.spec.joint(data.train.context)[torch.stack(rows)])
    assert [record.step for record in made][-1] == 2
    assert cost(made.model, data).flops_per_training_step
    # one that takes labels is told these, by the laws as well
    model = registry.build("vae", FORMS["picture"], {"hidden": (4,), "context": "label"})
    model.classes_in_batch = (2, 2)
    assert torch.equal(learnt_with(model, 3), model.spec.labels(torch.arange(3)))
    model = registry.build("vae", data.spec, {"hidden": (4,), "context": "label"})
    model.classes_in_batch = (2, 2)
    x, told = Training(model, data.train, data.validation, Options(device="cpu")).batches.at(0)
    assert told is not None
    assert told.shape == (4, 2)
    assert sorted(Counter(data.spec.joint(told).tolist()).values()) == [2, 2]


# ---- longer, from, and changed meanwhile -------------------------------------------------------


def run_of(folder: Path, data: Dataset, name: str = "clipped-wgan", **told: Any) -> Run:
    options = Options(batch=16, device="cpu", **told.pop("options", {}))
    return Run.create(
        folder, model=toys.place(name), keywords=told.pop("keywords", {}), data=data,
        budget=Budget(20, "steps"), options=options, **told,
    )  # fmt: skip


def train(run: Run, data: Dataset, **told: Any) -> Any:
    return run.train(data, code=run.record["model"], **told)


def weights(run: Run) -> dict[str, Tensor]:
    return dict(run.model(code=run.record["model"]).state_dict())


def forget_after(run: Run, step: int) -> None:
    """As if the process had been killed before it wrote later checkpoints."""
    for folder in run.checkpoints():
        if int(folder.name) > step:
            shutil.rmtree(folder)


def test_a_finished_run_trains_longer_and_a_kill_does_not_forget_it(
    digits: Dataset, tmp_path: Path
) -> None:
    run = run_of(tmp_path / "run", digits)
    train(run, digits)
    shutil.copytree(run.folder, tmp_path / "killed")
    assert train(Run.open(run.folder), digits, longer=Budget(15, "steps")).steps == 35
    again = Run.open(run.folder)
    assert again.plan is not None
    assert again.plan.steps == 35
    # killed when the change was written down, and the checkpoint that has it was not
    killed = Run.open(tmp_path / "killed")
    record = killed.record | {"events": again.record["events"]}
    assert train(Run(killed.folder, record), digits).steps == 35
    assert equal(weights(again), weights(Run.open(killed.folder)))
    # and once more, in other units
    epochs = 2 * 4 * 16 / len(digits.train)
    assert train(again, digits, longer=Budget(epochs, "epochs")).steps == 37
    longer = train(Run.open(run.folder), digits, longer=Budget(0.2, "s"))
    assert longer.finished
    assert longer.steps > 37


def test_a_longer_training_is_one_that_was_planned_longer(digits: Dataset) -> None:
    """But for what came before it was: its schedule goes on as that of the longer one."""
    short, long = training("autoencoder", digits, 20), training("autoencoder", digits, 40)
    list(short)
    make_longer(short, Budget(20, "steps"))
    rates = {record.step: record.lr for record in short}
    expected = {record.step: record.lr for record in long}
    assert rates == {step: expected[step] for step in range(21, 41)}


def test_what_cannot_be_longer_says_so(digits: Dataset) -> None:
    mixture = training("gmm", digits, 300, keywords={"components": 2})
    list(mixture)
    with pytest.raises(UsageError, match="has converged"):
        make_longer(mixture, Budget(5, "steps"))
    with pytest.raises(UsageError, match="by sweeps has no learning rate"):
        set_rate(mixture, 0.1)
    staged = training("sampled-autoencoder", digits, 20)
    with pytest.raises(UsageError, match=r"in its stage 'codes': .* in its last one, 'mixture'"):
        make_longer(staged, Budget(5, "steps"))
    with pytest.raises(UsageError, match=r"no player is called 'critics': .*critic"):
        set_rate(training("clipped-wgan", digits, 20), 0.1, "critics")


def test_a_rate_that_is_changed_meanwhile_is_followed_after_a_kill(
    digits: Dataset, tmp_path: Path
) -> None:
    def trained(name: str, change: bool) -> Run:
        run = run_of(tmp_path / name, digits, options={"schedule": "constant", "warmup": 0})
        held: list[Training] = []

        def see(record: Any) -> None:
            if change and record.step == 7:
                set_rate(held[0], 0.05, "critic")

        train(run, digits, on_start=lambda made, _: held.append(made), on_record=see)
        assert held[0].rate("critic") == pytest.approx(0.05 if change else 0.002)
        assert held[0].rate("generator") == pytest.approx(0.001)
        return Run.open(run.folder)

    changed, left = trained("changed", True), trained("left", False)
    assert changed.record["events"] == [{"step": 7, "player": "critic", "lr": 0.05, "plan": None}]
    assert not equal(weights(changed), weights(left))
    # with a checkpoint at every step, the run is put to one before the change
    state = tmp_path / "killed"
    stopped = run_of(state, digits, options={"schedule": "constant", "warmup": 0})
    steps: list[int] = []
    train(
        stopped, digits, on_record=lambda record: steps.append(record.step),
        should_stop=lambda: len(steps) >= 4,
    )  # fmt: skip
    record = Run.open(state).record | {"events": changed.record["events"]}
    train(Run(state, record), digits)
    assert equal(weights(Run.open(state)), weights(changed))


def test_a_run_begins_with_the_weights_of_another(digits: Dataset, tmp_path: Path) -> None:
    first = run_of(tmp_path / "first", digits, "warm-vae", keywords={"hidden": (12,)})
    train(first, digits)
    second = run_of(tmp_path / "second", digits, "warm-vae", start=first)
    assert second.record["keywords"]["hidden"] == (12,)
    assert second.record["start"] == {"run": str(first.folder), "steps": 20}
    begun: list[dict[str, Tensor]] = []
    # the other one need not be there any more
    expected = weights(first)
    shutil.rmtree(first.folder)
    opened = Run.open(second.folder)
    train(opened, digits, on_start=lambda made, _: begun.append(values(made.model)))
    assert equal(begun[0], expected)
    assert not equal(weights(opened), expected)
    with pytest.raises(
        UsageError, match=r"toys.py:WarmVAE, whose weights are not for .*:ClippedWGAN"
    ):
        run_of(tmp_path / "other", digits, "clipped-wgan", start=opened)
    with pytest.raises(UsageError, match=r"do not fit: encoder.0.weight should be \(5, 64\)"):
        run_of(tmp_path / "wider", digits, "warm-vae", start=opened, keywords={"hidden": (5,)})
    assert not (tmp_path / "wider").exists()


def test_data_of_another_form_do_not_fit(digits: Dataset, tmp_path: Path) -> None:
    first = run_of(tmp_path / "first", digits, "warm-vae")
    train(first, digits)
    few = replace(
        digits, spec=replace(digits.spec, event_shape=(1, 4, 4)),
        **{name: Observations(split.x[:, :, :4, :4]) for name, split in digits.splits.items()},
    )  # fmt: skip
    with pytest.raises(UsageError, match="the same keywords, and data of the same form"):
        run_of(tmp_path / "small", few, "warm-vae", start=first)


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


# ---- what was broken where nobody looked -------------------------------------------------------


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


def test_statistics_are_paid_from_what_validating_may_take() -> None:
    for settle in (0.0, 0.01, 0.2, 5.0):
        plan = Plan.within(20.0, 20.0, Pace(0.05, 1e-4, settle), 1000)
        count = plan.length // plan.validate_every
        each = settle * plan.passes / 20 + plan.validate_on * 1e-4
        assert 5 <= count <= 20
        assert count * each <= 2.0 * 1.05 or plan.passes == 1
        assert plan.length * 0.05 + count * each == pytest.approx(20.0, rel=0.06)


@pytest.mark.parametrize("steps", range(1, 24))
def test_five_validations_are_five(steps: int) -> None:
    plan = Plan.within(10.0, steps * 1.0 + 0.5, Pace(1.0, 1.0), 1000)
    assert plan.length // plan.validate_every >= min(5, plan.length)


def test_what_is_ordered_on_resuming_goes_before_what_was_to_be_later(digits: Dataset) -> None:
    """As after a kill that took back to before it."""
    made = training("clipped-wgan", digits, 30, schedule="constant")
    longer = replace(made.plan, steps=80)
    made.events = [Event(10, "critic", 0.5), Event(10, plan=longer), Event(12, "generator", 0.25)]
    set_rate(made, 1e-4, "critic")
    make_longer(made, Budget(20, "steps"))
    assert made.plan.steps == 100
    rates = {record.step: record.losses["critic/lr"] for record in made if record.step < 20}
    assert set(rates.values()) == {1e-4}
    assert made.rate("generator") == 0.25
    assert made.progress.step == 100


def test_an_extension_that_was_only_written_down_is_made(digits: Dataset, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", digits)
    train(run, digits)
    # killed before the checkpoint that has it
    lengthened = {"step": 20, "player": None, "lr": 0.0}
    plan = run.record["plan"] | {"steps": 35}
    record = Run.open(run.folder).record | {"events": [lengthened | {"plan": plan}]}
    assert train(Run(run.folder, record), digits, longer=Budget(10, "steps")).steps == 45


def test_a_short_run_made_much_longer_validates_no_more_than_a_long_one(digits: Dataset) -> None:
    made = training("autoencoder", digits, 20)
    list(made)
    assert made.plan.validate_every == 1
    make_longer(made, Budget(400, "steps"))
    assert sum(record.validated for record in made) <= 21
    make_longer(made, Budget(0.3, "s"))
    records = list(made)
    assert len(records) > 20
    assert sum(record.validated for record in records) <= 21


def test_a_rate_that_was_changed_is_the_one_that_is_told(digits: Dataset) -> None:
    made = training("autoencoder", digits, 6, schedule="constant")
    set_rate(made, 1e-5)
    assert {record.lr for record in made} == {1e-5}


def test_a_run_that_begins_with_weights_never_begins_without(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_of(tmp_path / "first", digits, "warm-vae")
    train(first, digits)

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    monkeypatch.setattr("simulacra.models.saved.save", die)
    with pytest.raises(Killed):
        run_of(tmp_path / "second", digits, "warm-vae", start=first)
    assert not (tmp_path / "second" / "run.json").exists()


def test_what_cannot_begin_makes_no_folder(digits: Dataset, tmp_path: Path) -> None:
    told = {name: Observations(split.x) for name, split in digits.splits.items()}
    unlabelled = replace(digits, spec=replace(digits.spec, classes=0), **told)
    with pytest.raises(UsageError, match="needs data with a label each"):
        run_of(tmp_path / "run", unlabelled, "triplet")
    assert not (tmp_path / "run").exists()


def test_batches_of_classes_that_are_larger_than_the_split_are_one(digits: Dataset) -> None:
    made = training("triplet", digits, keywords={"classes": 10, "each": 40})
    assert [made.validation.looked_at(limit) for limit in (2, 180, 1000)] == [400, 400, 400]
    assert sum(len(x) for x, _ in made.validation.in_lots(180, 64)) == 400
    small = training("triplet", digits, keywords={"classes": 5, "each": 4})
    assert [small.validation.looked_at(limit) for limit in (2, 45, 180)] == [20, 40, 180]
