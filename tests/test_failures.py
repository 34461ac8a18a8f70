"""A comparison that goes on whatever one of its models does."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from commands import blank, run_main, undrawn
from simulacra.comparing.compare import compare
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.ground.errors import CheckpointError, DataError, ResourceError, UsageError
from simulacra.ground.locks import LOCK, held
from simulacra.judging.results import Entry, Results
from simulacra.models import registry
from simulacra.models.flow.nice import NICE
from simulacra.report.tables import table
from simulacra.report.verdict import verdict

MEMORY = "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: 9 bytes"
KEYWORDS: dict[str, dict[str, Any]] = {"gmm": {"components": 2}, "nice": {"hidden": (4,)}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    undrawn(monkeypatch)
    blank(monkeypatch)


@pytest.fixture
def points(tmp_path: Path) -> Dataset:
    """So few that their samples are not judged, which takes most of a comparison."""
    values = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    np.save(tmp_path / "v.npy", values)
    return load(str(tmp_path / "v.npy"))


@pytest.fixture
def run(points: Dataset, tmp_path: Path) -> Callable[..., Results]:
    def compared(**more: Any) -> Results:
        return compare(
            points, ["nice", "gmm"], folder=tmp_path / "c", budget="2steps", draws=1,
            options={"device": "cpu"}, keywords=KEYWORDS, **more,
        )  # fmt: skip

    return compared


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def unbuilt(patch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let NICE not be built for a new run."""
    build = registry.build

    def built(name: str, *told: Any, **more: Any) -> Any:
        if name == "nice":
            raise error
        return build(name, *told, **more)

    patch.setattr(registry, "build", built)


def entries(results: Results) -> dict[str, Entry]:
    return {each.model: each for each in results.models}


class SpokenError(Exception):
    """Of a library that nobody here knows."""


FAULTS = [
    (RuntimeError(MEMORY), "memory ran out: a smaller --batch"),
    (MemoryError(), "memory ran out: a smaller --batch"),
    (torch.OutOfMemoryError("CUDA out of memory"), "memory ran out: a smaller --batch"),
    (UsageError("give it less"), "give it less"),
    (CheckpointError("it was altered"), "it was altered"),
    (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero (see "),
    (SpokenError("some\nlines " + "and more" * 99), "SpokenError: some lines and more"),
    (FileNotFoundError(errno.ENOENT, "not there"), "FileNotFoundError: [Errno 2] not there (see "),
]


@pytest.mark.parametrize(("error", "words"), FAULTS, ids=[type(e).__name__ for e, _ in FAULTS])
@pytest.mark.parametrize("where", ["loss", "log_likelihood"])
def test_whatever_one_model_does_is_a_row(
    error: Exception,
    words: str,
    where: str,
    run: Callable[..., Results],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(NICE, where, raising(error))
    results = run()
    failed, sound = entries(results)["nice"], entries(results)["gmm"]
    assert failed.failed is not None
    assert failed.failed.startswith(words)
    assert len(failed.failed) < 500
    assert failed.failed_after is not None
    assert sound.failed is None
    assert sound.likelihood is not None
    assert not results.stopped
    trace = tmp_path / "c" / "nice" / "error.txt"
    assert trace.is_file() == ("(see " in failed.failed)
    if trace.is_file():
        assert str(trace) in failed.failed
        told = trace.read_text()
        assert told.startswith("Traceback")
        assert "in fail\n    raise error\n" in told


def test_a_row_says_after_how_long(run: Callable[..., Results], monkeypatch) -> None:
    monkeypatch.setattr(NICE, "loss", raising(RuntimeError(MEMORY)))
    results = run()
    found = entries(results)["nice"]
    assert found.failed_after is not None
    after = Entry(model="nice", failed=found.failed, failed_after=12.4)
    assert after.failed_when == "failed after 12 s"
    assert Entry(model="nice", failed="x", failed_after=0.25).failed_when == "failed after 0.2 s"
    assert Entry(model="nice", failed="x").failed_when == "failed"
    row = next(row for row in table(results) if str(row["model"]) == "nice")
    said = f"{found.failed_when}: memory ran out: a smaller --batch"
    assert said in map(str, row.values())
    assert re.match(r"failed after [\d.]+ s: ", said)
    assert f"nice {found.failed_when}: memory ran out: a smaller --batch." in verdict(results)
    assert Results.from_json(json.loads(json.dumps(results.to_json()))) == results


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(), SystemExit(3), DataError("cut"), ResourceError("no space left"),
        OSError(errno.ENOSPC, "full"), BrokenPipeError(),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_what_is_no_matter_of_one_model_ends_it(
    error: BaseException, run: Callable[..., Results], tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(NICE, "loss", raising(error))
    with pytest.raises(type(error)):
        run()
    assert not (tmp_path / "c" / "failed.json").exists()
    assert not (tmp_path / "c" / LOCK).exists()


def test_what_failed_is_not_met_again_unless_asked_for(
    run: Callable[..., Results], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(NICE, "loss", raising(ZeroDivisionError("by zero")))
        first = entries(run())["nice"]
        unbuilt(patch, AssertionError("it was built"))
        patch.setattr(NICE, "loss", raising(AssertionError("it was trained")))
        again = entries(run())
    assert again["nice"] == first
    assert again["gmm"].failed is None
    retried = entries(run(retry=True))
    assert retried["nice"].failed is None
    assert retried["nice"].likelihood is not None
    assert not (tmp_path / "c" / "failed.json").exists()
    assert not (tmp_path / "c" / "nice" / "error.txt").exists()
    assert entries(run())["nice"].failed is None


@pytest.mark.parametrize(
    ("error", "words"),
    [(RuntimeError(MEMORY), "memory ran out"), (ZeroDivisionError("x"), "ZeroDivisionError: x")],
)
def test_one_that_cannot_be_built_is_a_row_and_tried_again(
    error: Exception, words: str, run: Callable[..., Results], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        unbuilt(patch, error)
        found = entries(run())
        assert (found["nice"].failed or "").startswith(words)
        assert found["gmm"].failed is None
    assert entries(run(retry=True))["nice"].failed is None


def test_failures_that_were_altered_are_refused(
    run: Callable[..., Results], tmp_path: Path
) -> None:
    run()
    wrong = [[1], {"nice": 3}, {"nice": {"why": 3, "seconds": 1}}, {"nice": {"a": 1}}]
    for said in ("{", *map(json.dumps, wrong)):
        (tmp_path / "c" / "failed.json").write_text(said)
        with pytest.raises(CheckpointError, match=r"failed\.json"):
            run()


def test_the_commands_say_how_to_try_again(
    points: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    asked = ["compare", tmp_path / "v.npy", "--models", "nice,gmm", "--budget", "1steps",
             "--set", "gmm.components=2", "--set", "nice.hidden=4",
             "--out", tmp_path / "c"]  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(NICE, "loss", raising(RuntimeError(MEMORY)))
        assert run_main(*asked) == 0
    told = capsys.readouterr().err
    assert f"simulacra resume {tmp_path / 'c'} --retry\n" in told
    assert re.search(r"^nice: failed after [\d.]+ s: memory ran out", told, re.M)
    assert run_main("resume", tmp_path / "c") == 0
    assert "--retry" in capsys.readouterr().err
    assert run_main("resume", tmp_path / "c", "--retry") == 0
    assert "--retry" not in capsys.readouterr().err
    assert run_main("resume", tmp_path / "c" / "nice", "--retry") == UsageError.exit_code
    assert "--retry is for a comparison" in capsys.readouterr().err


def test_a_comparison_is_made_by_one_process(
    run: Callable[..., Results], points: Dataset, tmp_path: Path, capsys
) -> None:
    run()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "c").rglob("*") if p.is_file()}
    with held(tmp_path / "c", "compared"):
        assert run_main("resume", tmp_path / "c") == CheckpointError.exit_code
        assert "c is being compared by process" in capsys.readouterr().err
        now = {p: p.stat().st_mtime_ns for p in (tmp_path / "c").rglob("*") if p.name != LOCK}
    assert before == {p: time for p, time in now.items() if p.is_file()}


def test_measuring_is_told(run: Callable[..., Results]) -> None:
    told: list[str] = []
    run(told=told.append)
    assert "nice: likelihood" in told
