"""What a model and its training need of memory, foreseen: refused with what would fit."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import simulacra as sim
from commands import run_main
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground import live, memory
from simulacra.ground.errors import ResourceError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry, sizes
from simulacra.models.sizes import TRAINED, held, size_of
from simulacra.training.memory import check_room
from simulacra.training.options import Options

BIG = DataSpec((3, 64, 64), 256)
SMALL = DataSpec((1, 8, 8), 16)
GB = 10**9


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[float | None], None]:
    """Makes one with so many bytes free."""
    return lambda free: monkeypatch.setattr(memory, "free", lambda: free and int(free))


def refusal(*arguments: Any, **keywords: Any) -> str:
    with pytest.raises(ResourceError) as error:
        registry.build(*arguments, **keywords)
    assert "\n" not in str(error.value)
    return str(error.value)


def small(name: str) -> DataSpec:
    """Of so many levels as a model takes."""
    assert SMALL.levels is not None
    levels = min(SMALL.levels, sim.find(name).takes.most_levels or SMALL.levels)
    spec = DataSpec(SMALL.event_shape, levels, classes=10)
    if sim.find(name).takes.includes(spec):
        return spec
    return DataSpec((spec.dims,), levels, classes=10, coding="mu-law", rate=8000)


@pytest.mark.parametrize("name", sim.list_models())
def test_what_is_counted_is_what_a_model_has(name: str) -> None:
    kind, spec = sim.find(name), small(name)
    keywords = registry.configured(kind, {}, name)
    counted = size_of(kind, spec, keywords)
    if name == "diagonal-bilstm":
        assert counted is None  # it reads numbers while it is made; it never is large
    else:
        assert counted == held(sim.build(name, spec))


def test_a_model_beyond_all_memory_is_refused_with_what_fits(
    machine: Callable[[float | None], None],
) -> None:
    machine(16 * GB)
    told = refusal("made", BIG)
    assert re.fullmatch(
        r"made of this form of data needs 160\.5 GB of memory, 16\.0 GB are free; what would fit: "
        r"--set direct=false, or --levels 16, or --side 32",
        told,
    )
    told = refusal("gmm", BIG, {"covariance": "full"}, copies=TRAINED)
    assert "--set covariance=diagonal, or --set components=2" in told


@pytest.mark.parametrize(
    ("name", "spec", "keywords"),
    [("made", BIG, {}), ("gmm", BIG, {"covariance": "full"}),
     ("made", DataSpec((4000,), 256, coding="mu-law", rate=8000), {"hidden": (512, 512)}),
     ("made", DataSpec((1, 28, 28), 256), {"direct": False}), ("nice", BIG, {})],
)  # fmt: skip
def test_what_is_suggested_does_fit(
    machine: Callable[[float | None], None],
    name: str,
    spec: DataSpec,
    keywords: dict[str, Any],
) -> None:
    """Each of it, alone."""
    free = 0.8 * GB
    machine(free)
    told = refusal(name, spec, keywords, copies=TRAINED)
    advice = told.partition("what would fit: ")[2].split(", or ")
    assert len(advice) == len(set(advice)) > 0
    for each in advice:
        given, levels, shape = dict(keywords), spec.levels, spec.event_shape
        for option, value in re.findall(r"--(\w+) (\S+)", each):
            if option == "set":
                key, _, text = value.partition("=")
                given[key] = text
            elif option == "levels":
                levels = int(value)
            else:
                shape = (shape[0], int(value), int(value))
        kind = sim.find(name)
        changed = DataSpec(shape, levels, coding=spec.coding, rate=spec.rate)
        size = size_of(kind, changed, registry.configured(kind, given, name))
        assert size is not None
        assert size * TRAINED <= free


def test_nothing_that_fits_is_said_to_be_so(machine: Callable[[float | None], None]) -> None:
    machine(1000)
    assert refusal("pixel-rnn", SMALL).endswith("are free; nothing that was tried fits")


@pytest.mark.parametrize("name", sim.list_models())
def test_what_fits_is_built_as_without_looking(
    machine: Callable[[float | None], None], name: str
) -> None:
    keywords = dict(sim.find(name).small[0])
    machine(GB)
    with seeded(3):
        first = sim.build(name, small(name), keywords).state_dict()
        drawn = torch.rand(1)
    machine(None)
    with seeded(3):
        second = sim.build(name, small(name), keywords).state_dict()
        assert torch.rand(1) == drawn
    assert all(torch.equal(first[key], second[key]) for key in {**first, **second})


def test_a_large_model_is_counted_before_it_is_made(
    machine: Callable[[float | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "_ORDINARY", 1 << 12)
    size = held(sim.build("vae", SMALL))
    machine(size * TRAINED - 1)
    made = live.peak(lambda: refusal("vae", SMALL, copies=TRAINED))
    # what is on the meta device has a size, and takes nothing
    assert made < 100 * size
    machine(size * TRAINED)
    assert held(registry.build("vae", SMALL, copies=TRAINED)) == size


def test_a_run_is_refused_before_there_is_a_folder(
    machine: Callable[[float | None], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sim.load_data("digits")
    machine(3e6)
    code = run_main("train", "vae", "digits", "--out", tmp_path / "x", "--budget", "1steps")
    assert code == ResourceError.exit_code
    assert "training vae on such data needs" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "x").exists()
    small = sim.build("vae", data.spec, {"hidden": (256,)})
    with pytest.raises(ResourceError, match="beside the weights 0 MB are free: not even --batch 1"):
        # a GPU, where there is one, has memory of its own
        sim.fit(small, data, "1steps", sim.Options(device="cpu"))


# ---- batches ------------------------------------------------------------------------------------


def pictures(n: int = 70) -> Observations:
    return Observations(torch.zeros(n, 1, 16, 16, dtype=torch.uint8))


def test_a_batch_that_is_too_large_is_refused_with_one_that_fits(
    machine: Callable[[float | None], None],
) -> None:
    model = sim.build("pixelcnn", DataSpec((1, 16, 16), 64), {"channels": 8, "layers": 1})
    before = {key: value.clone() for key, value in model.state_dict().items()}
    data, options = pictures(), Options(batch=64, accumulate=2, device="cpu")
    machine(10 * GB)
    check_room(model, data, options)
    machine(15e6)
    with seeded(3):
        expected = torch.rand(1)
    with seeded(3):
        with pytest.raises(ResourceError) as error:
            check_room(model, data, options)
        assert torch.rand(1) == expected
    told = re.search(r"batch of 64 .*: --batch (\d+) --accumulate (\d+) fits", str(error.value))
    assert told is not None
    batch, parts = map(int, told.groups())
    assert parts == 2 * math.ceil(64 / batch)
    check_room(model, data, Options(batch=batch, accumulate=parts, device="cpu"))
    # the very next larger one would not
    larger = math.ceil(64 / (parts // 2 - 1))
    with pytest.raises(ResourceError):
        check_room(model, data, Options(batch=larger, accumulate=2, device="cpu"))
    # of few observations a batch is all of them
    check_room(model, pictures(batch), options)
    after = model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert all(each.grad is None for each in model.parameters())
    assert model.training


@pytest.mark.parametrize("name", ["gmm", "gan", "vae", "made"])
def test_small_batches_are_not_refused(machine: Callable[[float | None], None], name: str) -> None:
    machine(2 * GB)
    data = sim.load_data("digits")
    check_room(sim.build(name, data.spec), data.train, Options(device="cpu"))


def test_the_copies_of_a_training_are_counted(tmp_path: Path) -> None:
    """What `TRAINED` says is what there is, of a model that is nearly all weights."""
    data: Dataset = sim.load_data("digits")
    run = sim.Run.create(
        tmp_path / "x", model="vae", keywords={"hidden": (900, 900)}, data=data,
        options=Options(batch=4, device="cpu"), budget=sim.Budget(2, "steps"),
    )  # fmt: skip
    size = held(sim.build("vae", data.spec, {"hidden": (900, 900)}))
    copies = live.peak(lambda: run.train(data)) / size
    assert TRAINED - 0.5 < copies < TRAINED + 1
