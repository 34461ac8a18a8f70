"""`make figures`: rows are done once, resumed where they were stopped, and told as they are."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

import reported
from simulacra.models.registry import MODELS

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    # the benchmarks are run from the project's folder and not installed
    sys.path.append(str(ROOT))

from benchmarks.figures import doing, page, rows  # noqa: E402
from benchmarks.figures.__main__ import main, picked  # noqa: E402
from benchmarks.figures.rows import FAMILIES, Group, Row, groups_of, rows_of  # noqa: E402

PROGRAM = """
import pathlib, sys, time
words = sys.argv[1:]
with open("told", "a") as file:
    file.write(" ".join(words) + chr(10))
run = pathlib.Path(words[words.index("--out") + 1] if "--out" in words else words[1])
if words[0] == "train":
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    if pathlib.Path("slow").exists():
        print("begun", file=sys.stderr, flush=True)
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            sys.exit(130)
if words[0] == "evaluate":
    (run / "results.json").write_text(pathlib.Path("results").read_text())
if pathlib.Path("wrong").exists():
    print("the loss is not finite", file=sys.stderr)
    sys.exit(6)
"""
"""Stands where simulacra does: writes what it is told, and what a row is read from."""
SECOND = Row("short", "gmm", "digits", "9s", looked=("--draws", "2"))
SHORT = (
    Group("Digits", (Row("long", "nice", "digits", "5m"), SECOND)),
    Group("Others", (Row("absent", "no-flow", "digits", "1s"),), gap=True),
)


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where rows are done by a program that takes a moment."""
    program = tmp_path / "src" / "simulacra"
    program.mkdir(parents=True)
    (program / "__init__.py").touch()
    (program / "__main__.py").write_text(PROGRAM)
    results = reported.five()
    results["models"] = results["models"][-1:]
    (tmp_path / "results").write_text(json.dumps(reported.typed(results).to_json()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doing, "ROOT", tmp_path)
    monkeypatch.setattr(rows, "_OF_FLOWS", SHORT)
    return tmp_path


def told(at: Path) -> list[str]:
    return [" ".join(line.split()[:3]) for line in (at / "told").read_text().splitlines()]


def do(*words: str) -> int:
    return main(["--family", "flow", "--results", "kept.json", *words])


def test_rows_are_done_once_the_shortest_first(at: Path) -> None:
    assert do("--data-dir", "sets") == 0
    assert told(at) == ["train gmm digits", "evaluate figures/flow/short --draws",
                        "train nice digits", "evaluate figures/flow/long --data-dir"]  # fmt: skip
    kept = json.loads((at / "kept.json").read_text())["flow"]
    assert list(kept) == ["long", "short"]
    assert kept["short"]["command"] == (
        "simulacra train gmm digits --budget 9s --seed 0 --out RUN; "
        "simulacra evaluate RUN --draws 2"
    )
    assert kept["short"]["figures"]["score"]["unit"] == "bits/dim"
    assert kept["short"]["machine"].keys() == {"processor", "cores", "device", "python", "torch"}
    assert kept["short"]["beside"] is None or kept["short"]["beside"] >= 0
    (at / "told").unlink()
    (at / "kept.json").unlink()
    assert do() == 0
    # written down again, from what is there
    assert not (at / "told").exists()
    assert json.loads((at / "kept.json").read_text())["flow"] == kept


def test_a_row_that_failed_ends_no_other_and_is_resumed(
    at: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (at / "wrong").touch()
    assert do() == 1
    assert told(at) == ["train gmm digits", "train nice digits"]
    assert "ended with exit code 6: the loss is not finite" in capsys.readouterr().err
    assert not (at / "kept.json").exists()
    (at / "wrong").unlink()
    assert do("--rows", "short") == 0
    assert told(at)[2:] == ["resume figures/flow/short", "evaluate figures/flow/short --draws"]


def test_what_is_stopped_saves_and_goes_on(at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (at / "slow").touch()

    def stop() -> None:
        # as a terminal does, which tells everyone in it
        while not (at / "figures/flow/short/run.json").exists():
            time.sleep(0.02)
        time.sleep(0.1)
        children = Path(f"/proc/self/task/{main_thread}/children").read_text().split()
        for child in [*map(int, children), os.getpid()]:
            # one that another test started may have gone meanwhile
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGINT)

    main_thread = threading.get_native_id()
    if not Path(f"/proc/self/task/{main_thread}/children").exists():
        pytest.skip("the system does not say which processes were started")
    stopping = threading.Thread(target=stop)
    stopping.start()
    assert do() == 130
    stopping.join()
    assert "short: stopped" in capsys.readouterr().err
    assert told(at) == ["train gmm digits"]
    (at / "slow").unlink()
    assert do("--list") == 0
    states = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert states == ["no such model", "stopped", "not run"]
    assert do() == 0
    assert told(at)[1] == "resume figures/flow/short"


def test_a_row_of_another_command_is_not_taken_for_this_one(
    at: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert do("--rows", "short") == 0
    other = Row("short", "gmm", "digits", "9s", looked=("--draws", "3"))
    monkeypatch.setattr(rows, "_OF_FLOWS", (Group("Digits", (other,)),))
    assert do() == 1
    assert "is of another command: remove it" in capsys.readouterr().err
    found = json.loads((at / "kept.json").read_text())["flow"]
    assert "Not run: `gmm` 9s, seed 0." in page.markdown("flow", found)


def test_a_page_says_what_was_measured_and_what_was_not(at: Path) -> None:
    assert do("--rows", "short") == 0
    found = json.loads((at / "kept.json").read_text())["flow"]
    found["short"] |= {"beside": 0.84, "date": "2026-11-27 09:00 UTC", "commit": "abc1234"}
    found["short"]["figures"] |= {
        "score": {"relation": "≤", "draws": 64, "error": 0.0123, "value": 2.5, "unit": "bits/dim"},
        "gap": {"value": 1.5, "count": 9, "low": 1.25, "high": 1.75, "exact": False},
        "warnings": ["3 steps were skipped"],
    }
    digits, others = page.markdown("flow", found).split("### ")[1:]
    assert "`simulacra train MODEL digits --budget BUDGET --seed 0 --out RUN`" in digits
    (row,) = (line for line in digits.splitlines() if line.startswith("| `gmm`"))
    assert "| 9s | 0 | ≤ 2.500 ± 0.012 bits/dim |" in row
    assert row.endswith("| 2026-11-27, abc1234, beside 0.8 |")
    assert "Not run: `nice` 5m, seed 0." in digits
    assert "`gmm`: 3 steps were skipped." in digits
    # no table without a row
    assert "|" not in others
    shown = page._table(Group("", SHORT[0].rows[1:], gap=True), found)
    assert "| ≤ 1.5 [1.25, 1.75] |" in shown
    # rate and distortion of a codebook have columns of their own, beside no likelihood
    assert "rate + distortion" not in shown
    del found["short"]["figures"]["score"]
    found["short"]["figures"]["codebook"] = {
        "rate": 20.25, "distortion": 70.5, "used": 250, "entries": 256,
    }  # fmt: skip
    coded = page._table(Group("", SHORT[0].rows[1:]), found)
    assert "| — | 20.2 + 70.5 = 90.8 | 250 of 256 |" in coded
    # data that differ within a table are named
    both = Group("", (SECOND, Row("b", "gmm", "mnist", "9s")))
    assert "| `gmm` | digits | 9s | 0 |" in page._table(both, found)
    assert page._told(both, found)[-1] == "Not run: `gmm` mnist 9s, seed 0."
    assert page._score({"relation": "≤", "error": None, "value": -3.0, "unit": "nats"}) == (
        "≥ -3.000 nats"
    )


def test_samples_are_told_by_as_many_figures_as_a_group_asks_for() -> None:
    results = reported.full()
    results["models"] = results["models"][:1]
    figures = doing.figures_of(reported.typed(results))
    assert figures["fidelity"].keys() == {"precision", "recall", "coverage", "suspects"}
    row = SHORT[0].rows[1]
    found = {row.name: {"command": row.text, "figures": figures, "date": "2026-11-27 09:00 UTC",
                        "commit": "abc1234", "beside": None}}  # fmt: skip
    assert "coverage" not in page._table(Group("", (row,)), found)
    shown = page._table(Group("", (row,), fidelity=True), found)
    assert "| precision (real) | recall (real) | coverage (real) | suspects (real) |" in shown
    assert "| 0.651 (0.93) | 0.637 (0.91) | 0.665 (0.95) | 0.0077 (0.011) |" in shown


def test_settings_stand_beside_their_models(monkeypatch: pytest.MonkeyPatch) -> None:
    usual, grown = Row("a", "gmm", "digits", "9s"), Row("b", "gmm", "digits", "9s", 0, (), ("k=2",))
    assert grown.text == (
        "simulacra train gmm digits --budget 9s --seed 0 --set k=2 --out RUN; "
        "simulacra evaluate RUN"
    )
    monkeypatch.setattr(rows, "_OF_FLOWS", (Group("Digits", (grown, usual)),))
    shown = page.markdown("flow", {})
    assert "`simulacra train gmm digits --budget 9s --seed 0 --out RUN`" in shown
    assert "Not run: `gmm` `--set k=2` 9s, seed 0; `gmm` 9s, seed 0." in shown


def test_a_page_is_brought_in_step(at: Path) -> None:
    (at / "kept.md").write_text("# R\n<!-- generated: sets -->\n<!-- end -->\n")
    (at / "docs").mkdir()
    (at / "docs" / "generate.py").write_text("def in_step(text): return text + 'new'")
    page_root, page.ROOT = page.ROOT, at
    try:
        page.add("flow", SHORT[0].rows[0], {"command": "x"}, at / "kept.json")
    finally:
        page.ROOT = page_root
    assert (at / "kept.md").read_text().endswith("new")


def test_words_pick_rows() -> None:
    of_flows = rows_of("flow")
    assert {row.data for row in picked(of_flows, "mnist, faces")} == {"mnist", "olivetti-faces"}
    assert picked(of_flows, "") == of_flows
    assert main(["--family", "flow", "--rows", "digit-nice"]) == 2
    assert main(["--family", "flower"]) == 2


def test_every_family_has_rows_of_its_own_names() -> None:
    for family in FAMILIES:
        names = [row.name for row in rows_of(family)]
        assert names
        assert len(set(names)) == len(names)
        budgets = [row.seconds for row in rows_of(family)]
        assert budgets == sorted(budgets)
        assert all(group.rows for group in groups_of(family))
        # a table tells one command of evaluation for all of its rows
        assert all(len({row.looked for row in group.rows}) == 1 for group in groups_of(family))
    known = {row.model for family in FAMILIES for row in rows_of(family)}
    assert set(MODELS) <= known


def test_what_is_kept_is_of_rows_that_there_are() -> None:
    for family, found in page.read().items():
        assert set(found) <= {row.name for row in rows_of(family)}, "remove what no row is of"
