"""A folder that one process has alone, and a run that one process trains."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands import run_main, undrawn
from forked import Forked
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.ground import locks
from simulacra.ground.errors import CheckpointError, ResourceError, UsageError
from simulacra.ground.locks import LOCK, held, is_taken
from simulacra.judging.features import pinned_classifier as pinned
from simulacra.judging.judgement import Judgement, keep, kept
from simulacra.judging.results import Entry
from simulacra.runs import alone, checkpoints
from simulacra.runs.run import Run
from simulacra.training.options import Budget, Options


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def create(folder: Path, data: Dataset, budget: str = "6steps") -> Run:
    return Run.create(
        folder, model="nice", keywords={"hidden": (4,)}, data=data, budget=Budget.parse(budget),
        options=Options(batch=16, device="cpu", precision="32"),
    )  # fmt: skip


def wait_for(said: Callable[[], bool], process: Forked) -> None:
    until = time.monotonic() + 60
    while not said():
        assert process.poll() is None, process.said()
        assert time.monotonic() < until
        time.sleep(0.01)


# ---- a folder -----------------------------------------------------------------------------------


def hold(folder: Path) -> None:
    with held(folder, "trained"):
        print("held", flush=True)
        time.sleep(600)


def test_a_second_process_is_told_who_has_it_and_a_killed_one_hinders_nobody(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    process = Forked(hold, folder, log=tmp_path / "log")
    wait_for(lambda: process.log.exists() and "held" in process.said(), process)
    told = (folder / LOCK).read_bytes()
    words = rf"run is being trained by process {process.pid} on {socket.gethostname()} since 20"
    with pytest.raises(CheckpointError, match=words + ".*: wait, or stop it"), held(folder, "x"):
        pass
    assert (folder / LOCK).read_bytes() == told
    process.kill()
    process.wait()
    assert (folder / LOCK).is_file()
    with held(folder, "trained") as why:
        assert why == ""
        assert f'"process": {os.getpid()},' in (folder / LOCK).read_text()
    assert list(folder.iterdir()) == []


def take_turns(folder: Path, times: int) -> None:
    """Have the folder so often, and see each time that nobody else has."""
    had = 0
    while had < times:
        try:
            with held(folder, "trained"):
                (folder / "inside").touch(exist_ok=False)
                (folder / "inside").unlink()
                had += 1
        except CheckpointError:
            pass
    print(had)


def test_of_many_processes_one_has_it_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    started = [Forked(take_turns, folder, 200, log=tmp_path / str(n)) for n in range(3)]
    for process in started:
        assert process.wait(60) == 0, process.said()
        assert process.said() == "200\n"
    assert list(folder.iterdir()) == []


def test_a_file_that_was_removed_since_it_was_opened_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, tries = locks._lock, list[int]()

    def late(handle: int) -> None:
        if not tries:
            # whoever had it ends between the two
            (tmp_path / LOCK).unlink()
        tries.append(handle)
        lock(handle)

    monkeypatch.setattr(locks, "_lock", late)
    with held(tmp_path, "trained"):
        assert (tmp_path / LOCK).is_file()
    assert len(tries) == 2


def test_a_file_system_without_locks_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks, "_lock", refuse)
    with held(tmp_path, "trained") as why:
        assert re.search(r"cannot be locked \(No locks available\): see to it that no other", why)


def test_a_folder_that_cannot_be_written_is_a_matter_of_resources(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"cannot write .*none"), held(tmp_path / "none", "x"):
        pass
    (tmp_path / "mine").write_text("mine")
    (tmp_path / LOCK).symlink_to(tmp_path / "mine")
    with pytest.raises(ResourceError, match="cannot write"), held(tmp_path, "trained"):
        pass
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("said", [b"", b"{", b"[1]", b'{"process": 1, "host": 1}', b"\xff"])
def test_who_says_nothing_of_itself_is_another_process(tmp_path: Path, said: bytes) -> None:
    with held(tmp_path, "trained"):
        (tmp_path / LOCK).write_bytes(said)
        with (
            pytest.raises(CheckpointError, match="being used by another process: wait"),
            held(tmp_path, "x"),
        ):
            pass


def test_a_lock_alone_takes_no_folder(tmp_path: Path) -> None:
    assert not is_taken(tmp_path / "none")
    (tmp_path / LOCK).touch()
    assert not is_taken(tmp_path)
    assert is_taken(tmp_path / LOCK)
    (tmp_path / "more").touch()
    assert is_taken(tmp_path)


# ---- a run --------------------------------------------------------------------------------------


def train_and_wait(folder: Path) -> None:
    """Train a run for some steps, and stay within the last of them."""
    run, steps = Run.open(folder), []

    def wait(record: Any) -> None:
        steps.append(record.step)
        if len(steps) == 3:
            print("waiting", flush=True)
            time.sleep(600)

    with pytest.MonkeyPatch.context() as patch:
        undrawn(patch)
        run.train(run.dataset(), on_record=wait)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_run_in_training_is_read_by_all_and_trained_by_none(
    digits: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = create(tmp_path / "run", digits)
    process = Forked(train_and_wait, run.folder, log=tmp_path / "log")
    wait_for(lambda: process.log.exists() and "waiting" in process.said(), process)
    before = files(run.folder)
    for more in ([], ["--budget", "+2steps"], ["--lr", "1"]):
        assert run_main("resume", run.folder, *more) == CheckpointError.exit_code
        assert "run is being trained by process" in capsys.readouterr().err
    assert files(run.folder) == before
    with pytest.raises(UsageError, match="exists already"):
        create(run.folder, digits)
    assert run_main("sample", run.folder, "-n", "1", "--out", tmp_path / "x.png") == 0
    assert run_main("runs", tmp_path) == 0
    assert "unfinished" in capsys.readouterr().out
    process.kill()
    process.wait()
    assert run_main("resume", run.folder) == 0
    assert not (run.folder / LOCK).exists()


def test_what_the_last_training_settled_is_known(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undrawn(monkeypatch)
    one = create(tmp_path / "run", digits, "3steps")
    other = Run.open(one.folder)
    # opened before, as by a process that reads its data meanwhile
    assert one.train(digits, longer=Budget(2, "steps")).steps == 5
    assert other.plan is None
    assert other.train(digits).steps == 5
    assert other.record == Run.open(one.folder).record


def test_a_folder_that_is_taken_meanwhile_is_left_alone(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def taken(folder: Path) -> bool:
        asked.append(folder)
        if len(asked) == 2:
            (folder / "run.json").write_text("another's")
        return is_taken(folder)

    monkeypatch.setattr(alone, "is_taken", taken)
    with pytest.raises(UsageError, match="exists already"):
        create(tmp_path / "run", digits)
    assert (tmp_path / "run" / "run.json").read_text() == "another's"


def test_a_file_system_without_locks_is_said_when_a_training_begins(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, told = create(tmp_path / "run", digits, "1steps"), list[str]()

    def refuse(_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(locks, "_lock", refuse)
    undrawn(monkeypatch)
    run.train(digits, on_start=lambda _, notes: told.extend(notes))
    assert told == [
        f"{run.folder} cannot be locked (not supported): see to it that no other process has it"
    ]


# ---- what is read while it is written -----------------------------------------------------------


def test_a_checkpoint_that_goes_while_it_is_read_is_met_by_a_newer_one(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undrawn(monkeypatch)
    run = create(tmp_path / "run", digits)
    run.train(digits)
    newest, older, *_ = run.checkpoints()
    best = run.outcome().best
    read, here = checkpoints.read_folder, tmp_path / "newest"
    newest.rename(here)

    def going(folder: Path, *names: str, **told: Any) -> dict[str, Any]:
        if folder == older and here.exists():
            # the training goes on
            here.rename(newest)
            shutil.rmtree(folder)
        return read(folder, *names, **told)

    monkeypatch.setattr(checkpoints, "read_folder", going)
    folder, _, broken = run.newest("training")
    assert (folder, broken) == (newest, [])
    assert run.outcome().best == best


def test_a_best_checkpoint_that_goes_while_it_is_read_is_met_by_a_better_one(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undrawn(monkeypatch)
    run = create(tmp_path / "run", digits)
    run.train(digits)
    newest, older, *_ = run.checkpoints()
    read, here = checkpoints.read_folder, tmp_path / "newest"
    newest.rename(here)
    gone = older.with_name("1")

    def going(folder: Path, *names: str, **told: Any) -> dict[str, Any]:
        if folder == gone:
            here.rename(newest)
        state = read(folder, *names, **told)
        if folder == older:
            state["training"]["progress"]["best_step"] = 1
        return state

    monkeypatch.setattr(checkpoints, "read_folder", going)
    assert checkpoints.best_sound(run.folder)[0] == newest


def test_a_checkpoint_is_gone_before_it_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, seen = tmp_path / "7", list[list[str]]()
    folder.mkdir()
    monkeypatch.setattr(
        shutil, "rmtree", lambda _: seen.append([p.name for p in tmp_path.iterdir()])
    )
    checkpoints._remove(folder)
    assert seen == [[".partial-7-old"]]


def keep_and_find(data: Dataset, folder: Path) -> None:
    """What two who judge at once write: judgements of a run, and networks in the cache."""
    pinned._steps = lambda _: 1
    for number in range(8):
        keep(folder / "judgement", "0", Judgement(Entry(model=str(number))))
        kept(folder / "judgement")
        pinned.pinned_classifier(data, folder / str(number))


def test_two_who_judge_at_once_both_succeed(digits: Dataset, tmp_path: Path) -> None:
    started = [Forked(keep_and_find, digits, tmp_path, log=tmp_path / f"log-{n}") for n in (0, 1)]
    for process in started:
        assert process.wait(60) == 0, process.said()
    assert kept(tmp_path / "judgement", "0") is not None
    assert len(list(tmp_path.glob("*/extractor/*/MANIFEST.json"))) == 8
    assert not list(tmp_path.rglob(".partial*"))
