"""Budgets in observations and FLOPs: how many steps they are, and what is counted on the way."""

from __future__ import annotations

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
from simulacra.models import flops
from simulacra.models.mixture.gmm import GMM
from simulacra.models.stages import Stage
from simulacra.runs.run import Run
from simulacra.training import units
from simulacra.training.changes import make_longer
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options
from simulacra.training.progress import Outcome, Progress


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def steps(made: Training, budget: str) -> int:
    return made.set_plan(Budget.parse(budget)).steps


# ---- observations -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "a_step"),
    [
        ("nice", {}, 16),
        ("nice", {"accumulate": 3}, 48),
        # the whole split, if that is smaller
        ("nice", {"batch": 5000}, 1258),
        # each turn takes its own
        ("gan", {}, 32),
        ("clipped-wgan", {"accumulate": 2}, 2 * 4 * 16),
        # three classes of four each, whatever the batch
        ("triplet", {}, 12),
        ("sweeps", {}, 1258),
    ],
)
def test_a_step_sees_its_batches(
    digits: Dataset, name: str, options: dict[str, Any], a_step: int
) -> None:
    made = training(name, digits, **options)
    assert len(digits.train) == 1258
    assert units.observations_a_step(made.learner) == a_step
    # as many as reach it, and not one more; one at least
    assert steps(made, f"{10 * a_step}obs") == 10
    assert steps(made, f"{10 * a_step + 1}obs") == 11
    assert steps(made, f"{10 * a_step - a_step + 1}obs") == 10
    assert steps(made, "1obs") == 1


@pytest.mark.parametrize("name", ["nice", "gan", "sweeps"])
def test_what_is_seen_is_what_is_asked_for(
    digits: Dataset, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = training(name, digits, keywords={"components": 2} if name == "sweeps" else None)
    made.set_plan(Budget(2 * 1258, "obs"))
    seen = 0
    rows = made.batches.rows

    def counting(places: Tensor, *, epoch: int = 0) -> Any:
        nonlocal seen
        seen += len(places)
        return rows(places, epoch=epoch)

    monkeypatch.setattr(made.batches, "rows", counting)
    for _ in range(2):
        next(iter(made))
        assert made.progress.observations == seen


def test_stages_share_observations(digits: Dataset) -> None:
    made = training("sampled-autoencoder", digits)
    assert steps(made, "20kobs") == 1000
    seen = [(record.stage, made.progress.observations) for record in made]
    assert (0, 999 * 16) in seen
    # 4000 are left, and four sweeps reach them
    assert made.plan.length == 4
    assert made.progress.observations == 16_000 + 1258 * (made.progress.step - 1000)


def test_longer_by_observations(digits: Dataset) -> None:
    made = training("gan", digits, 3)
    list(made)
    make_longer(made, Budget(33, "obs"))
    assert made.plan.steps == 5
    list(made)
    assert made.progress.observations == 5 * 32


# ---- FLOPs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nice", "gan", "clipped-wgan", "sweeps", "autoencoder"])
def test_flops_are_those_of_a_step_and_counting_leaves_no_trace(digits: Dataset, name: str) -> None:
    made = training(name, digits, accumulate=2)
    before, state, drawn = values(made.model), made.state_dict(), torch.get_rng_state()
    a_step = units.flops_a_step(made.learner)
    assert equal(before, values(made.model))
    assert equal(before, made.state_dict()["model"])
    assert torch.equal(drawn, torch.get_rng_state())
    assert all(p.grad is None for p in made.model.parameters())
    assert state["progress"] == made.state_dict()["progress"]
    assert steps(made, f"{7 * a_step}flops") == 7
    assert steps(made, f"{7 * a_step + 1}flops") == 8
    # what the loop computes, of which optimisers and averages are not counted
    assert flops.count(made.model, made._step) == a_step


class Busy(GMM):
    """Multiplies matrices at the end of a sweep too."""

    def maximise(self, *sums: Tensor) -> dict[str, float]:
        torch.eye(3) @ torch.eye(3)
        return super().maximise(*sums)


def test_the_end_of_a_sweep_is_counted(digits: Dataset) -> None:
    found = []
    for kind in (GMM, Busy):
        with seeded(0):
            model = kind(digits.spec, components=2)
        made = Training(model, digits.train, digits.validation, Options(device="cpu"))
        found.append(units.flops_a_step(made.learner))
    assert found[1] - found[0] == 2 * 3**3


def test_one_more_batch_is_as_many_flops_more(digits: Dataset) -> None:
    one = units.flops_a_step(training("vae", digits).learner)
    assert units.flops_a_step(training("vae", digits, accumulate=3).learner) == 3 * one
    assert units.flops_a_step(training("vae", digits, batch=48).learner) == 3 * one
    assert units.flops_a_step(training("vae", digits, precision="bf16").learner) == one


def test_stages_share_flops(digits: Dataset) -> None:
    made = training("sampled-autoencoder", digits)
    first = units.flops_a_step(made.learner)
    assert steps(made, f"{25 * first}flops") == 20
    stopped = []
    for record in made:
        if record.step == 20:
            stopped.append(made.state_dict())
    assert made.progress.flops == 20 * first
    a_sweep = units.flops_a_step(made.learner)
    assert made.plan.length == max(1, -(-5 * first // a_sweep))
    # one that goes on knows what was spent
    again = training("sampled-autoencoder", digits)
    again.load_state_dict(stopped[0])
    assert (again.progress.flops, again.plan) == (20 * first, made.plan)


class Thrice(toys.SampledAutoencoder):
    """Learns its codes twice."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        codes, mixture = super().stages
        return (codes, replace(codes, name="again", share=0.4), mixture)


def test_of_each_stage_before_its_own_flops_are_known(digits: Dataset) -> None:
    options = Options(batch=16, device="cpu", precision="32")
    with seeded(0):
        made = Training(Thrice(digits.spec), digits.train, digits.validation, options)
    first = units.flops_a_step(made.learner)
    made.set_plan(Budget(14 * first, "flops"))
    lengths = [(record.stage, made.progress.flops // first) for record in made]
    assert [lengths.count(each) for each in ((0, 0), (0, 8), (1, 8), (1, 12))] == [7, 1, 3, 1]
    assert made.progress.flops == 12 * first


def test_longer_by_flops(digits: Dataset) -> None:
    made = training("nice", digits, 2)
    make_longer(made, Budget(3 * units.flops_a_step(made.learner), "flops"))
    assert made.plan.steps == 5


class Penalised(toys.Autoencoder):
    """Its loss is made of a gradient."""

    not_compiled = "its penalty needs second derivatives"

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        y = self._unit(x).requires_grad_()
        (slope,) = torch.autograd.grad(self.encoder(y).sum(), y, create_graph=True)
        return {"loss": slope.square().mean()}


class Plain(toys.Autoencoder):
    """Its loss has no product of matrices."""

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        return {"loss": sum(p.square().sum() for p in self.parameters())}


def test_what_cannot_be_counted_says_so(digits: Dataset) -> None:
    options = Options(batch=16, device="cpu", precision="32")
    made = Training(Plain(digits.spec), digits.train, digits.validation, options)
    with pytest.raises(UsageError, match="Plain works value by value, of which no FLOPs"):
        made.set_plan(Budget(1e9, "flops"))
    assert steps(made, "32obs") == 2


def test_gradients_of_gradients_are_counted(digits: Dataset) -> None:
    options = Options(batch=16, device="cpu", precision="32")
    made = Training(Penalised(digits.spec), digits.train, digits.validation, options)
    # forward, backward, and each of the two products of both once more
    assert units.flops_a_step(made.learner) > 2 * 16 * 3 * 64 * 32


# ---- what is remembered and told ----------------------------------------------------------------


def test_observations_survive_a_stop_and_older_checkpoints(digits: Dataset) -> None:
    made = training("gan", digits, 6)
    for record in made:
        if record.step == 4:
            break
    state = made.state_dict()
    again = training("gan", digits)
    again.load_state_dict(state)
    assert again.progress.observations == 4 * 32
    # from before they were counted
    for name in ("observations", "flops"):
        del state["progress"][name]
    assert Outcome.of(Progress(**state["progress"]), made.plan).observations is None
    again = training("gan", digits)
    again.load_state_dict(state)
    assert again.progress.observations == 4 * 32
    list(again)
    assert Outcome.of(again.progress, again.plan).observations == 6 * 32


def test_a_run_of_so_many_observations(digits: Dataset, tmp_path: Any) -> None:
    run = Run.create(
        tmp_path / "run", model="nice", keywords={"hidden": [8]}, data=digits,
        options=Options(batch=16, device="cpu"), budget=Budget.parse("0.1kobs"),
    )  # fmt: skip
    assert run.train(digits).observations == 7 * 16
    opened = Run.open(run.folder)
    assert (opened.budget, str(opened.budget)) == (Budget(100, "obs"), "100obs")
    assert opened.train(digits, longer=Budget.parse("0.02kobs")).observations == 9 * 16
    assert Run.open(run.folder).outcome().observations == 9 * 16
