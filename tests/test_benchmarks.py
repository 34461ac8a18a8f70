"""The benchmark: interleaving by a fake clock, the table, and one tiny run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from simulacra.ground.errors import MissingCapability, ResourceError
from simulacra.ground.spec import DataSpec
from simulacra.models import flops
from simulacra.models.model import Model, Sampling
from simulacra.models.registry import MODELS, build
from simulacra.training.memory import STATUS

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    # the benchmark is run from the project's folder and not installed
    sys.path.append(str(ROOT))

from benchmarks import bench, memory, peers, table, work  # noqa: E402
from benchmarks.__main__ import USUAL, main  # noqa: E402
from benchmarks.measure import LEAST, MOST_CALLS, calls_for, exponent, measure, ratio  # noqa: E402

CPU = torch.device("cpu")


# ---- time ----------------------------------------------------------------------------------------


class Machine:
    """A clock that the tasks themselves move on, at a pace that changes."""

    def __init__(self) -> None:
        self.now, self.pace = 0.0, 1.0
        self.calls: list[str] = []

    def task(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.now += seconds * self.pace
            self.calls.append(name)

        return run


def test_rounds_are_interleaved() -> None:
    machine = Machine()
    tasks = {"a": machine.task("a", 1.0), "b": machine.task("b", 2.0)}
    readings = measure(tasks, 3, clock=lambda: machine.now)
    assert readings == {"a": [1.0] * 3, "b": [2.0] * 3}
    assert "".join(machine.calls).endswith("ababab")


def test_short_tasks_are_called_till_a_reading_is_long_enough() -> None:
    machine = Machine()
    readings = measure({"a": machine.task("a", LEAST / 4)}, 2, clock=lambda: machine.now)
    assert readings["a"] == pytest.approx([LEAST / 4] * 2)
    # two to learn how long it takes, and four in each round
    assert len(machine.calls) == 2 + 2 * 4
    assert calls_for(0.0) == MOST_CALLS
    assert calls_for(10 * LEAST) == 1


def test_a_ratio_does_not_see_a_machine_that_slows_down() -> None:
    machine = Machine()
    slow = machine.task("slow", 3.0)

    def last() -> None:
        slow()
        machine.pace *= 1.5

    readings = measure(
        {"one": machine.task("one", 1.0), "three": last}, 4, clock=lambda: machine.now
    )
    assert max(readings["one"]) > 3 * min(readings["one"])
    assert ratio(readings["three"], readings["one"]) == pytest.approx(3.0)


def test_the_exponent_of_a_power_law_is_found() -> None:
    sizes = [64, 256, 784]
    assert exponent(sizes, [3e-7 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert exponent(sizes, [0.2] * 3) == pytest.approx(0.0)


# ---- memory --------------------------------------------------------------------------------------


@pytest.mark.skipif(not STATUS.exists(), reason="needs Linux's /proc")
def test_memory_grows_by_what_is_allocated() -> None:
    count = 2**24
    grown = memory.growth(lambda: torch.ones(count), CPU)
    assert grown is not None
    assert 0.9 < grown / (4 * count) < 3


def test_a_process_that_fails_says_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = memory.peak("no-such-model", "step", side=4, batch=2, device="cpu", threads=1)
    assert found is None
    assert "no-such-model" in capsys.readouterr().err


# ---- the work ------------------------------------------------------------------------------------


# those of which each family has one are what is measured unless told
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.nightly] * (name not in USUAL)) for name in MODELS],
)
def test_every_model_of_the_registry_can_be_measured(name: str) -> None:
    found = work.Work(name, 4, 3, CPU)
    kind = type(found.model)
    # what does not sample has no such job
    expected = {"forward", "step", *["sample 64"] * issubclass(kind, Sampling)}
    assert expected <= set(found.names)
    for job in found.names:
        found.job(job)()


def test_a_step_moves_every_player_and_leaves_the_weights() -> None:
    found = work.Work("gan", 4, 3, CPU)
    before = [p.clone() for p in found.model.parameters()]
    seen: list[str] = []
    loss = found.model.loss

    def noted(*args: torch.Tensor, turn: str) -> dict[str, torch.Tensor]:
        seen.append(turn)
        return loss(*args, turn=turn)

    found.model.loss = noted  # type: ignore[method-assign, assignment]
    found.job("step")()
    assert seen == ["discriminator", "generator"]
    assert all(map(torch.equal, before, found.model.parameters()))
    generator = found.model.player("generator")
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())


def test_forward_keeps_no_gradients() -> None:
    found = work.Work("vae", 4, 3, CPU)
    found.job("forward")()
    assert all(p.grad is None for p in found.model.parameters())


# ---- peers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [4, 5])
@pytest.mark.parametrize("peer", peers.PEERS, ids=lambda peer: peer.package)
def test_a_peer_does_the_same_multiplications_as_ours(peer: peers.Peer, side: int) -> None:
    spec = DataSpec((1, side, side), levels=peer.levels)
    ours = build(peer.ours, spec)
    made = peer.make(ours)
    if isinstance(made, str):
        assert not made.startswith("not usable"), made
        pytest.skip(f"{peer.package}: {made}")
    x = work.pictures(spec, 3, seed=0)
    step = work.step(made, x)
    step()
    assert made.loss(x)["loss"].isfinite()
    assert all(p.grad is not None for p in made.parameters())
    theirs, own = flops.count(made, step), flops.count(ours, work.step(ours, x))
    # halves of an odd size may be the larger one first in every coupling
    assert theirs == own if side % 2 == 0 else theirs == pytest.approx(own, rel=0.02)


@pytest.mark.parametrize(
    ("missing", "reason"), [("zuko", "not installed"), ("inner", "not importable: no inner")]
)
def test_a_peer_that_is_not_there_says_so(
    missing: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError("no inner", name=missing)

    ours = build("nice", DataSpec((1, 4, 4), levels=4))
    monkeypatch.setattr(peers.importlib, "import_module", absent)
    assert peers.PEERS[0].make(ours) == reason


def test_a_peer_leaves_torch_as_it_was() -> None:
    def like(_: object) -> nn.Module:
        torch.distributions.Distribution.set_default_validate_args(False)
        return nn.Linear(1, 1)

    peers.Peer("zuko", "nice", 2, like).make(nn.Linear(1, 1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="constraint"):
        torch.distributions.Normal(0.0, -1.0)


def test_a_peer_of_another_version_stops_nothing() -> None:
    def changed(ours: Model) -> Model:
        raise TypeError("no such argument")

    ours = build("nice", DataSpec((1, 4, 4), levels=4))
    found = peers.Peer("zuko", "nice", 4, changed).make(ours)
    assert found == "not usable: TypeError: no such argument"


# ---- the report ----------------------------------------------------------------------------------

REPORT = {
    "machine": {"cpu": "Abacus", "threads": 1},
    "settings": {"side": 4, "sides": (2, 4), "batch": 3, "rounds": 2, "levels": 256},
    "matmul": 2.5e9,
    "rows": [
        {
            "model": "one", "job": "step", "seconds": 0.0123, "fastest": 0.01, "slowest": 1.5,
            "flops": 7_500_000, "share": 0.2436, "peak_bytes": 1_200_000, "forwards": 3.14159,
        },
        {
            "model": "one", "job": "loop", "seconds": 25e-6, "fastest": 2e-5, "slowest": 3e-5,
            "flops": None, "share": None, "peak_bytes": None, "forwards": 123.4,
        },
    ],
    "growth": [{"model": "one", "job": "step", "seconds": [1.0, 4.0], "exponent": 1.0}],
    "peers": [
        {"package": "here", "version": "1.0", "ours": "one", "levels": 2, "seconds": 2.0,
         "our_seconds": 1.0, "ratio": 2.0, "flops": 1000, "our_flops": 999},
        {"package": "gone", "version": "", "ours": "one", "missing": "not installed"},
    ],
    "left_out": {"two": "it needs sounds"},
}  # fmt: skip


def test_the_table_says_what_the_report_holds() -> None:
    text = table.markdown(REPORT)
    for line in (
        "| one | step | 12.3 ms | 10 ms – 1.5 s | 7.5 M | 24.4% | 1.2 MB | 3.14 |",
        "| one | loop | 25 µs | 20 µs – 30 µs | — | — | — | 123 |",
        "| one | step | 1 s | 4 s | 1.00 |",
        "| here 1.0 | one, 2 levels | 2 s | 1 s | 2 | 1 k | 999 |",
        "| gone | one | not installed | — | — | — | — |",
        "two is left out: it needs sounds",
    ):
        assert line in text.splitlines()
    assert "2.5 GFLOP/s" in text


def test_every_table_has_as_many_cells_in_each_line() -> None:
    blocks = [block for block in table.markdown(REPORT).split("\n\n") if block.startswith("|")]
    assert len(blocks) == 3
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert table.table(("a",), [("x|y",)]) == "| a |\n| --- |\n| x\\|y |"


def test_the_report_is_written_and_read_back(tmp_path: Path) -> None:
    table.write(REPORT, tmp_path)
    read = json.loads((tmp_path / "bench.json").read_text("utf-8"))
    assert read["rows"] == REPORT["rows"]
    assert (tmp_path / "bench.md").read_text("utf-8") == table.markdown(REPORT)
    with pytest.raises(ResourceError, match="written"):
        table.write(REPORT, tmp_path / "not there")


def test_a_model_that_takes_no_pictures_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise MissingCapability("it needs sounds")

    monkeypatch.setattr(work, "build", refuse)
    settings = bench.Settings(("gan",), side=4, sides=(4,))
    assert bench._works(settings, CPU) == ({}, {"gan": "it needs sounds"})


def test_a_tiny_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, peak = torch.get_num_threads(), memory.peak
    asked: list[tuple[str, str]] = []

    def one_process(name: str, job: str, **settings: Any) -> int | None:
        asked.append((name, job))
        return peak(name, job, **settings) if job == "step" else None

    # a process takes longest to start, and one for each row are all alike
    monkeypatch.setattr(memory, "peak", one_process)
    options = [
        "--models",
        "gan",
        "--side",
        "4",
        "--sides",
        "3,4",
        "--rounds",
        "1",
        "--batch",
        "4",
        "--threads",
        "1",
    ]
    assert main([*options, "--out", str(tmp_path / "new" / "bench")]) == 0
    report = json.loads((tmp_path / "new" / "bench" / "bench.json").read_text("utf-8"))
    assert [row["job"] for row in report["rows"]] == [
        "forward", "step", "loop", "sample 64", "sample 1",
    ]  # fmt: skip
    rows = {row["job"]: row for row in report["rows"]}
    assert rows["forward"]["forwards"] == 1
    assert rows["sample 64"]["flops"] == 64 * rows["sample 1"]["flops"] > 0
    assert rows["loop"]["flops"] is None
    assert [(row["job"], len(row["seconds"])) for row in report["growth"]] == [
        ("step", 2), ("sample 64", 2),
    ]  # fmt: skip
    assert report["peers"] == []
    assert report["machine"]["torch"] == torch.__version__
    assert asked == [("gan", "step"), ("gan", "sample 64")]
    if STATUS.exists():
        assert rows["step"]["peak_bytes"] > 0
    shown = capsys.readouterr()
    assert (tmp_path / "new" / "bench" / "bench.md").read_text("utf-8") in shown.out
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("--models vea", 2, "did you mean 'vae'"),
        ("--sides 8,big", 2, "numbers separated by commas"),
        ("--rounds 0", 2, "rounds is at least 1, got 0"),
        ("--sides 1,8", 2, "sides are at least 2"),
        ("--device tpu", 2, "device is one of"),
        ("--out FILE", 5, "cannot be a folder"),
    ],
)
def test_mistakes_are_met_by_one_line(
    arguments: str, code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    given = arguments.replace("FILE", str(file)).split()
    if "--out" not in given:
        given += ["--out", str(tmp_path / "bench")]
    assert main(given) == code
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1


def test_one_model_of_each_family_is_measured_unless_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[bench.Settings] = []

    def stop(settings: bench.Settings, *_: object) -> dict[str, object]:
        asked.append(settings)
        return REPORT

    monkeypatch.setattr(bench, "run", stop)
    assert main(["--out", str(tmp_path)]) == 0
    assert main(["--out", str(tmp_path), "--full"]) == 0
    assert asked[0].models == USUAL
    assert [settings.sides for settings in asked] == [(8, 16, 28), (8, 16, 28, 32)]
