"""Training in several processes, as torchrun starts them."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import several
from forked import Forked
from simulacra.cli.app import main
from simulacra.ground.errors import CheckpointError, ResourceError, UsageError
from simulacra.ground.locks import held
from simulacra.ground.storage import read_folder
from simulacra.models import saved
from simulacra.runs.run import Run
from toys import place

TOLERANCE = 1e-3
"""Of every weight, relative to the largest of its tensor: floats are added in another order."""


class Group:
    """Processes with the environment that torchrun gives, so that each one's end is seen."""

    def __init__(
        self,
        folder: Path,
        start: Callable[[Path, dict[str, str]], Forked | subprocess.Popen[bytes]],
        count: int = 2,
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.logs = [folder / f"log-{time.monotonic_ns()}-{rank}" for rank in range(count)]
        self.members = []
        for rank, log in enumerate(self.logs):
            told = {
                "TORCHELASTIC_RUN_ID": "test", "RANK": rank, "LOCAL_RANK": rank,
                "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "GROUP_RANK": 0,
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1,
            }  # fmt: skip
            self.members.append(start(log, {name: str(value) for name, value in told.items()}))

    def wait(self, seconds: float = 600) -> list[int]:
        return [member.wait(seconds) for member in self.members]

    def said(self, rank: int) -> str:
        return self.logs[rank].read_text()

    def kill(self) -> None:
        for member in self.members:
            member.kill()
            member.wait()


def started_anew(
    log: Path, environment: dict[str, str], *arguments: str
) -> subprocess.Popen[bytes]:
    """A command as a user starts it, to see how a whole process ends."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "simulacra", *arguments],
            env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip


def forked(log: Path, environment: dict[str, str], *arguments: str) -> Forked:
    return Forked(main, arguments, log=log, environment=environment)


def read_anew(log: Path, environment: dict[str, str], *arguments: str) -> Forked:
    """Whether a process speaks is settled when it imports the command line."""
    return Forked(several.command_read_anew, *arguments, log=log, environment=environment)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Callable[..., Group]]:
    made: list[Group] = []

    def start(
        *arguments: str, anew: int | None = None, others: Callable[..., Forked] = forked
    ) -> Group:
        """`anew` is the one of which a test sees how a process of a user's ends."""

        def member(log: Path, told: dict[str, str]) -> Forked | subprocess.Popen[bytes]:
            how = started_anew if told["RANK"] == str(anew) else others
            return how(log, told, *arguments)

        made.append(Group(tmp_path, member))
        return made[-1]

    yield start
    for each in made:
        each.kill()


def gap(one: torch.nn.Module, other: torch.nn.Module) -> float:
    """The largest difference of two weights, relative to the largest of their tensor."""
    a, b = one.state_dict(), other.state_dict()
    assert a.keys() == b.keys()
    pairs = [(a[name].double(), b[name].double()) for name in a if a[name].numel()]
    return max(float((x - y).abs().max() / x.abs().max().clamp_min(1e-9)) for x, y in pairs)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes learnt together."""
    folder = tmp_path_factory.mktemp("both")
    started = Group(
        folder, lambda log, told: Forked(several.train_all, folder, log=log, environment=told)
    )
    assert started.wait() == [0, 0], started.said(0) + started.said(1)
    return folder


@pytest.mark.parametrize("kind", several.KINDS)
def test_two_processes_learn_what_one_learns(both: Path, kind: str) -> None:
    first, second = (saved.load(both / f"{kind}-{rank}", code=place(kind)) for rank in (0, 1))
    assert gap(first, second) == 0
    alone, told = several.trained(several.made(kind))
    assert gap(alone, first) < TOLERANCE
    for rank in (0, 1):
        history = json.loads((both / f"{kind}-{rank}.json").read_text())
        assert len(history) == len(told) == 20
        for (losses, validation, skipped), (its_losses, its_validation, its_skipped) in zip(
            told, history, strict=True
        ):
            assert its_losses == pytest.approx(losses, rel=TOLERANCE, abs=TOLERANCE)
            if validation is None:
                assert its_validation is None
            else:
                assert its_validation == pytest.approx(validation, rel=TOLERANCE)
            assert skipped == its_skipped == 0
    if kind != "gmm":
        # what would be seen if one process's batches were left out
        half, _ = several.trained(several.made(kind), several.BATCHES // 2)
        assert gap(alone, half) > 10 * TOLERANCE


def test_statistics_are_exchanged_at_each_step(both: Path) -> None:
    """Each process normalises batches of its own; none goes on with its statistics alone."""
    first, second = (json.loads((both / f"statistics-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert max(map(abs, first)) > 0


def test_a_sum_over_processes_leaves_its_parts_alone(both: Path) -> None:
    told = [json.loads((both / f"sum-{rank}.json").read_text()) for rank in (0, 1)]
    assert told == [[1.0, 3.0], [2.0, 3.0]]


def test_what_one_process_cannot_count_with_all_skip(both: Path) -> None:
    histories = [json.loads((both / f"troubled-{rank}.json").read_text()) for rank in (0, 1)]
    assert histories[0] == histories[1]
    skipped = [step for step, (losses, _, _) in enumerate(histories[0]) if not losses]
    # two batches a step: the fifth loss of the second process, the tenth and so on
    assert len(skipped) >= 6
    assert histories[0][-1][2] == len(skipped)
    finite = [losses["loss"] for losses, _, _ in histories[0] if losses]
    assert all(math.isfinite(loss) for loss in finite)
    weights = [read_folder(both / f"troubled-{rank}", "weights")["weights"] for rank in (0, 1)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def train(run: Path, steps: int) -> list[str]:
    return [
        "train", "nice", "digits", "--budget", f"{steps}steps", "--batch", "8",
        "--set", "hidden=16", "--out", str(run),
    ]  # fmt: skip


def wait_for_step(run: Path, step: int, started: Group) -> None:
    deadline = time.monotonic() + 600
    while not any(int(p.name) >= step for p in run.glob("checkpoints/[0-9]*") if p.name.isdigit()):
        codes = [member.poll() for member in started.members]
        assert codes == [None, None], started.said(0) + started.said(1)
        assert time.monotonic() < deadline
        time.sleep(0.02)


STEPS = 50
BELOW = re.compile(r"^\[rank\d\]:\[W.*\n", re.M)
"""What torch warns of before Python can keep it from that."""


def test_a_killed_process_ends_the_other_and_the_run_goes_on(
    group: Callable[..., Group], tmp_path: Path
) -> None:
    run, peace = tmp_path / "killed", tmp_path / "peace"
    started = group(*train(run, STEPS), anew=0)
    wait_for_step(run, 10, started)
    started.members[1].kill()
    # the promise is a minute
    assert started.members[0].wait(60) == ResourceError.exit_code, started.said(0)
    (error,) = [line for line in started.said(0).splitlines() if line.startswith("error")]
    assert "another of the 2 processes of this training ended" in error
    assert "Traceback" not in started.said(0)
    # nor does what the command line is built on speak, which settles that when it is loaded
    assert BELOW.findall(started.said(0)) == []
    again = group("resume", str(run), others=read_anew)
    assert again.wait() == [0, 0], again.said(0) + again.said(1)
    assert BELOW.sub("", again.said(1)) == ""
    # what one process learns that is left in peace
    with pytest.raises(SystemExit) as ended:
        main([*train(peace, STEPS), "--accumulate", "2"])
    assert ended.value.code == 0
    one, other = Run.open(run), Run.open(peace)
    assert one.plan == other.plan
    assert one.options == other.options
    assert gap(one.model(), other.model()) < TOLERANCE
    columns = [r.metrics() for r in (one, other)]
    assert columns[0].keys() == columns[1].keys()
    for name in columns[0].keys() - {"seconds"}:
        assert len(columns[0][name]) == len(columns[1][name]) > STEPS // 2
        for a, b in zip(columns[0][name], columns[1][name], strict=True):
            assert (a is None) == (b is None)
            assert a is None or a == pytest.approx(b, rel=TOLERANCE)


def test_asked_to_stop_all_stop_and_one_process_can_go_on(
    group: Callable[..., Group], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    started = group(*train(run, 100_000))
    wait_for_step(run, 0, started)
    # to one of them alone first: torchrun tells all, but not at the same step
    started.members[1].send_signal(signal.SIGTERM)
    started.members[0].send_signal(signal.SIGTERM)
    # and once more when one ends, which must not cut the other's saving short
    started.members[0].send_signal(signal.SIGTERM)
    assert started.wait(60) == [128 + signal.SIGTERM] * 2, started.said(0) + started.said(1)
    opened = Run.open(run)
    step = int(opened.checkpoints()[0].name)
    assert f"stopped after {step} step" in started.said(0)
    seen: list[int] = []
    outcome = opened.train(
        opened.dataset(),
        on_record=lambda record: seen.append(record.step),
        should_stop=lambda: len(seen) == 2,
    )
    assert seen == [step + 1, step + 2, step + 3]
    assert not outcome.finished
    assert int(opened.checkpoints()[0].name) == step + 3


def test_a_run_that_is_being_trained_ends_all_of_them(
    group: Callable[..., Group], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        main([*train(tmp_path / "run", 2), "--accumulate", "2"])
    with held(tmp_path / "run", "trained"):
        started = group("resume", str(tmp_path / "run"), "--budget", "+9steps")
        codes = started.wait(60)
    assert codes == [CheckpointError.exit_code] * 2, started.said(0) + started.said(1)
    for rank in (0, 1):
        assert f"error: process {rank}: {tmp_path / 'run'} is being trained" in started.said(rank)
    assert Run.open(tmp_path / "run").outcome().steps == 2


def test_batches_that_processes_cannot_share_out_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Three:
        world_size, device = 3, torch.device("cpu")

    monkeypatch.setattr("simulacra.training.loop.make_fabric", lambda *_, **__: Three())
    with pytest.raises(UsageError, match="4 batches are not for 3"):
        several.trained(several.made("nice"))


def test_a_comparison_is_one_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        main(["compare", "digits"])
    assert ended.value.code == UsageError.exit_code
    said = capsys.readouterr().err
    assert said.startswith("error: process 0: compare trains its models one after another")
