"""Low precision and compiled steps: settled before training, kept in the run, and gone on with."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

import simulacra as sim
from simulacra.ground.randomness import seeded
from simulacra.models.model import Likelihood
from simulacra.runs.run import Run
from simulacra.training import engine
from simulacra.training.engine import settled
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options

CPU = torch.device("cpu")
TINY = {"channels": 8, "layers": 2, "first_kernel_size": 3}


@pytest.fixture(scope="module")
def digits():
    return sim.load_data("digits")


def build(name, data, **keywords):
    with seeded(0):
        return sim.build(name, data.spec, keywords)


@pytest.fixture
def units(monkeypatch):
    monkeypatch.setattr(engine, "has_matrix_units", lambda _: True)


def precision(model, data, asked="auto"):
    batch = data.train.batch(torch.arange(16))
    return settled(Options(precision=asked), model, (batch[0], None)).precision


def test_auto_takes_bfloat16_where_it_is_made_for(digits, units):
    assert precision(build("gated-pixelcnn", digits, **TINY), digits) == "bf16"
    assert precision(build("vae", digits, hidden=(8,)), digits) == "bf16"
    # its scores agree
    assert precision(build("gan", digits), digits) == "bf16"
    # no gradients
    gmm = build("gmm", digits, components=2)
    gmm.prepare(digits.train.batch(torch.arange(64))[0])
    assert precision(gmm, digits) == "32"


def test_auto_takes_float32_elsewhere(digits, monkeypatch):
    monkeypatch.setattr(engine, "has_matrix_units", lambda _: False)
    assert precision(build("gated-pixelcnn", digits, **TINY), digits) == "32"


@pytest.mark.parametrize("fault", ["cut off", "scaled"])
def test_auto_takes_float32_where_likelihoods_differ(digits, units, fault):
    """A network that bfloat16 breaks has nearly the mean of a sound one before it is trained."""
    model = build("gated-pixelcnn", digits, **TINY)
    whole = type(model).log_likelihood

    class Delicate(type(model)):
        def log_likelihood(self, x, context=None, *, draws=1, seed=0):
            found = whole(self, x, context)
            if not torch.is_autocast_enabled("cpu"):
                return found
            return found.mean().expand_as(found) if fault == "cut off" else 1.02 * found

    with seeded(0):
        delicate = Delicate(digits.spec, **TINY)
    assert isinstance(delicate, Likelihood)
    assert precision(delicate, digits) == "32"


def test_a_single_observation_settles_nothing(digits, units):
    x, _ = digits.train.batch(torch.arange(1))
    model = build("gated-pixelcnn", digits, **TINY)
    assert settled(Options(), model, (x, None)).precision == "32"


@pytest.mark.parametrize("asked", ["32", "bf16"])
def test_what_is_asked_for_stays(digits, units, asked):
    assert precision(build("gan", digits), digits, asked) == asked


def test_a_model_is_as_it_was_after_settling(digits, units):
    model = build("gated-pixelcnn", digits, **TINY, dropout=0.5).train()
    precision(model, digits)
    assert model.training
    assert not torch.is_autocast_enabled("cpu")


def test_matrix_units_are_what_the_processor_says(monkeypatch):
    for found, expected in (
        ({"amx_bf16": True}, True),
        ({"avx512_bf16": True}, False),
        ({}, False),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found)
        assert engine.has_matrix_units(CPU) is expected
    assert not engine.has_matrix_units(torch.device("mps"))


def create(folder, data, steps, **options):
    return Run.create(
        folder, model="gated-pixelcnn", keywords=TINY, data=data,
        options=Options(batch=8, **options), budget=Budget.parse(f"{steps}steps"),
    )  # fmt: skip


def test_the_run_keeps_what_was_settled(digits, units, tmp_path):
    run = create(tmp_path / "run", digits, 2)
    run.train(digits)
    assert json.loads((run.folder / "run.json").read_text())["options"]["precision"] == "bf16"
    assert Run.open(run.folder).options.precision == "bf16"


def test_a_stopped_run_in_bfloat16_goes_on_bit_for_bit(digits, tmp_path):
    """Weights lie in another order in memory there, and so must the optimiser's moments."""
    whole = create(tmp_path / "whole", digits, 8, precision="bf16")
    whole.train(digits)
    run = create(tmp_path / "run", digits, 8, precision="bf16")
    count = iter(range(100))
    run.train(digits, should_stop=lambda: next(count) == 4)
    shutil.copytree(run.folder, tmp_path / "moved")
    Run.open(tmp_path / "moved").train(digits)
    expected = whole.newest("training")[1]["training"]
    found = Run.open(tmp_path / "moved").newest("training")[1]["training"]
    for part in ("model", "average"):
        for key, value in expected[part].items():
            assert torch.equal(found[part][key], value), key


def test_bfloat16_learns_what_float32_learns(digits):
    losses = {}
    for asked in ("32", "bf16"):
        model = build("gated-pixelcnn", digits, **TINY)
        training = Training(
            model, digits.train, digits.validation, Options(precision=asked, lr=3e-3)
        )
        training.set_plan(Budget.parse("60steps"))
        losses[asked] = torch.tensor([record.losses["loss"] for record in training])
    gap = (losses["bf16"] - losses["32"]).abs() / losses["32"]
    assert float(losses["32"][-10:].mean()) < 0.9 * float(losses["32"][0])
    assert float(gap.max()) < 0.03
    assert float(gap.max()) > 0


def test_a_compiled_step_is_the_plain_one(digits, monkeypatch):
    """As one graph; the code made of it is torch's, which takes half a minute to make."""
    compiled_with, used = torch.compile, []

    def quickly(function, backend):
        assert backend == "inductor"
        used.append(function)
        return compiled_with(function, backend="eager", fullgraph=True)

    monkeypatch.setattr(torch, "compile", quickly)
    losses = {}
    for compiled in (False, True):
        model = build("gated-pixelcnn", digits, **TINY)
        training = Training(
            model, digits.train, digits.validation, Options(compile=compiled, batch=8)
        )
        training.set_plan(Budget.parse("5steps"))
        losses[compiled] = [record.losses["loss"] for record in training]
    assert used == [type(model).loss]
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)
