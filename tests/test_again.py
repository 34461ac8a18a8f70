"""A finished run done again from its record, to the same bits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from commands import run_main
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.ground.errors import UsageError
from simulacra.runs import zoo
from simulacra.runs.again import again, differences
from simulacra.runs.events import EVENTS, EventLog
from simulacra.runs.run import Run
from simulacra.training.options import Budget, Options
from simulacra.training.progress import Record

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def run_of(folder: Path, data: Dataset, budget: str = "0.5s", model: str = "nice") -> Run:
    keywords = {"hidden": (8,)} if model == "nice" else {}
    return Run.create(
        folder, model=model, keywords=keywords, data=data, budget=Budget.parse(budget),
        options=Options(device="cpu", batch=16, ema=0.9),
    )  # fmt: skip


@pytest.fixture(scope="module")
def ended(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """For so many seconds, stopped once and gone on."""
    run = run_of(tmp_path_factory.mktemp("runs") / "ended", digits)
    steps: list[int] = []
    stopped = run.train(
        digits, on_record=lambda record: steps.append(record.step),
        should_stop=lambda: len(steps) >= 12,
    )  # fmt: skip
    assert not stopped.finished
    outcome = Run.open(run.folder).train(digits)
    assert outcome.finished
    # how many more there is time for depends on what else the machine does
    assert outcome.steps > 12
    return Run.open(run.folder)


def test_seconds_done_again_are_the_same_steps(ended: Run, digits: Dataset, tmp_path: Path) -> None:
    made = again(ended, tmp_path / "again")
    outcome = made.train(digits)
    assert outcome.steps == ended.outcome().steps
    assert differences(ended, made) == []
    assert made.outcome().best == ended.outcome().best
    # and once more from that one, put back to before
    for folder in made.checkpoints()[:-1]:
        shutil.rmtree(folder)
    assert Run.open(made.folder).train(digits).steps == outcome.steps
    assert differences(ended, made) == []
    assert Run.open(made.folder).train(digits).steps == outcome.steps


def test_an_event_that_is_lost_is_seen(ended: Run, digits: Dataset, tmp_path: Path) -> None:
    made = again(ended, tmp_path / "again")
    log = EventLog(made.folder)
    lines = (made.folder / EVENTS).read_text().splitlines(keepends=True)
    # what was decided early, so that steps have other rates
    del lines[2]
    (made.folder / EVENTS).write_text("".join(lines))
    assert len(log.read()) == len(lines)
    made.train(digits)
    assert differences(ended, made)


def test_a_run_that_was_killed_behind_a_checkpoint_is_done_again(
    digits: Dataset, tmp_path: Path
) -> None:
    """What its clock decided before that is written down already."""
    run = run_of(tmp_path / "killed", digits)

    def kill(record: Record) -> None:
        if record.validated and run.outcome().finished:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.train(digits, on_record=kill)
    run = Run.open(run.folder)
    assert run.outcome().finished
    made = again(run, tmp_path / "again")
    made.train(digits)
    assert differences(run, made) == []


def test_what_cannot_be_done_again_says_so(ended: Run, digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        again(ended, ended.folder)
    unfinished = run_of(tmp_path / "unfinished", digits)
    with pytest.raises(UsageError, match="has not ended: go on with simulacra resume"):
        again(unfinished, tmp_path / "again")
    # as runs were written once
    old = shutil.copytree(ended.folder, tmp_path / "old")
    (old / EVENTS).unlink()
    with pytest.raises(UsageError, match=r"was not recorded yet; .* --budget \d+steps"):
        again(Run.open(old), tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_the_command(
    ended: Run, digits: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_main("again", ended.folder, "--out", out) == 0
    said = capsys.readouterr().err
    assert f"the weights are those of {ended.folder}, bit for bit" in said.replace("\n", "")
    # of steps nothing but the seed decides
    counted = run_of(tmp_path / "counted", digits, "5steps", "gmm")
    counted.train(digits)
    made = again(counted, tmp_path / "twice")
    made.train(digits)
    assert differences(counted, made) == []
    record = json.loads((counted.folder / "run.json").read_text())
    record["versions"]["torch"] = "1.0"
    record["options"]["seed"] = 8
    (counted.folder / "run.json").write_text(json.dumps(record))
    assert run_main("again", counted.folder, "--out", tmp_path / "other") == 0
    said = capsys.readouterr().err
    assert "weights differ" in said
    assert "torch 1.0 then" in said


def test_a_run_of_the_zoo_is_done_again(digits: Dataset, tmp_path: Path) -> None:
    """Of which the kept weights of its best step are known, and no more."""
    run = run_of(tmp_path / "run", digits, "0.3s")
    run.train(digits)
    zoo.add(run, "mine", tmp_path / "zoo")
    kept = zoo.run_of("mine", tmp_path / "zoo")
    made = again(kept, tmp_path / "again")
    made.train(digits)
    assert differences(kept, made) == []
    # and another one is another one
    other = run_of(tmp_path / "other", digits, "5steps")
    other.train(digits)
    assert differences(kept, other)


def test_what_is_ordered_is_written_down_before_the_next_step(
    digits: Dataset, tmp_path: Path
) -> None:
    run = run_of(tmp_path / "run", digits, "4steps", "gmm")
    run.train(digits)

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.train(digits, longer=Budget(2, "steps"), on_start=kill)
    assert [event.plan.steps for event in EventLog(run.folder).read() if event.plan] == [6]
    assert Run.open(run.folder).train(digits).steps == 6
    made = again(Run.open(run.folder), tmp_path / "again")
    made.train(digits)
    assert differences(run, made) == []
