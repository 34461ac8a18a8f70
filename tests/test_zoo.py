"""Models that come with the package: small, whole, and found by their names."""

from __future__ import annotations

import json

import pytest
import torch

import simulacra as sim
from simulacra.cli import flags
from simulacra.cli.app import main
from simulacra.cli.flags import open_run, run_folder
from simulacra.ground.errors import CheckpointError, UsageError
from simulacra.ground.randomness import seeded
from simulacra.models import registry
from simulacra.runs import zoo
from simulacra.runs.run import Run
from simulacra.training.options import Budget, Options

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def digits():
    return sim.load_data("digits")


@pytest.fixture
def run(digits, tmp_path):
    made = Run.create(
        tmp_path / "run", model="pixelcnn", keywords={"channels": 4, "layers": 1}, data=digits,
        options=Options(), budget=Budget.parse("3steps"),
    )  # fmt: skip
    made.train(digits)
    return made


def test_a_run_can_be_put_there_and_used(run, digits, tmp_path):
    folder = zoo.add(run, "small", tmp_path / "zoo")
    assert zoo.names(tmp_path / "zoo") == ["small"]
    found = zoo.run_of("small", tmp_path / "zoo")
    for seed in range(2):
        with seeded(seed), torch.no_grad():
            expected = run.model().sample(3)
        with seeded(seed), torch.no_grad():
            assert torch.equal(found.model().sample(3), expected)
    assert found.outcome() == run.outcome()
    assert found.dataset().fingerprint == digits.fingerprint
    # the weights alone, not what a training goes on with
    sizes = [path.stat().st_size for path in folder.rglob("*.safetensors")]
    assert len(sizes) == 1


def test_it_cannot_go_on(run, digits, tmp_path):
    zoo.add(run, "small", tmp_path / "zoo")
    with pytest.raises(CheckpointError):
        zoo.run_of("small", tmp_path / "zoo").train(digits)


def test_what_does_not_belong_there_is_refused(run, digits, tmp_path, monkeypatch):
    zoo.add(run, "small", tmp_path / "taken")
    with pytest.raises(CheckpointError, match="exists already"):
        zoo.add(run, "small", tmp_path / "taken")
    with pytest.raises(UsageError, match="no model of the zoo is called 'none'"):
        zoo.run_of("none", tmp_path)
    monkeypatch.setattr(zoo, "LIMIT", 1000)
    with pytest.raises(UsageError, match=r"at most 0 MB, got"):
        zoo.add(run, "large", tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()
    stopped = Run.create(
        tmp_path / "stopped", model="pixelcnn", keywords={"channels": 4, "layers": 1}, data=digits,
        options=Options(), budget=Budget.parse("9steps"),
    )  # fmt: skip
    stopped.train(digits, should_stop=lambda: True)
    with pytest.raises(CheckpointError, match="not finished"):
        zoo.add(stopped, "stopped", tmp_path / "zoo")


@pytest.mark.parametrize("name", zoo.names())
def test_every_model_there_is_whole_small_and_found_by_name(name):
    folder = zoo.PLACE / name
    assert run_folder(zoo.PLACE.__class__(name)) == folder
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < zoo.LIMIT
    model = open_run(zoo.PLACE.__class__(name)).model()
    found = sim.from_zoo(name)
    assert not found.training
    assert all(map(torch.equal, found.state_dict().values(), model.state_dict().values()))
    assert zoo.run_of(name).record["model"] in registry.MODELS
    told = model.spec.labels(torch.arange(2)) if model.context == "label" else None
    with seeded(0), torch.no_grad():
        # a second of sound takes many steps, which are all alike
        many = isinstance(model, sim.Stepwise) and model.spec.dims > 1000
        x = next(model.sample_steps(2, told)) if many else model.sample(2, told)
        model.spec.check(x)
        if isinstance(model, sim.Likelihood):
            assert bool(model.log_likelihood(x, told).isfinite().all())
    record = json.dumps(zoo.run_of(name).record)
    assert "/" not in record.replace("https://", "")


def test_what_is_made_with_them_stays_out_of_the_package(run, tmp_path, monkeypatch):
    """Its folder may be read by others, or by nobody but root."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(flags, "_zoo", lambda: tmp_path / "zoo")
    zoo.add(run, "small", tmp_path / "zoo")
    before = sorted((tmp_path / "zoo").rglob("*"))
    with pytest.raises(SystemExit) as ended:
        main(["sample", "small", "-n", "2"])
    assert ended.value.code == 0
    assert (tmp_path / "runs/small/samples-0.png").is_file()
    assert sorted((tmp_path / "zoo").rglob("*")) == before
    # a folder of its name below runs/ does not hide it
    assert run_folder(tmp_path.__class__("small")) == tmp_path / "zoo/small"
