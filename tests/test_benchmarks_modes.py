"""The benchmark of modes: a row for each seed, kept at once and not done again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    # the benchmarks are run from the project's folder and not installed
    sys.path.append(str(ROOT))

from benchmarks import modes  # noqa: E402


def row(name: str, toy: str, seed: int, budget: str) -> dict[str, Any]:
    whole = {"ring-8": 8, "grid-25": 25}[toy]
    return {
        "model": name, "toy": toy, "seed": seed, "budget": budget, "steps": 1000 + seed,
        "modes": whole, "covered": whole - seed // 2, "good": 0.9 - seed / 10,
    }  # fmt: skip


def test_rows_are_kept_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(name: str, toy: str, seed: int, budget: str) -> dict[str, Any]:
        if seed:
            raise KeyboardInterrupt
        return row(name, toy, seed, budget)

    monkeypatch.setattr(modes, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        modes.main(["--models", "gan,r3gan", "--toys", "ring-8", "--out", str(tmp_path)])
    kept = json.loads((tmp_path / "modes.json").read_text())["rows"]
    assert kept == [row(name, "ring-8", 0, "60s") for name in ("gan", "r3gan")]


def test_nothing_is_measured_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[tuple[str, str, int]] = []

    def measure(name: str, toy: str, seed: int, budget: str) -> dict[str, Any]:
        done.append((name, toy, seed))
        return row(name, toy, seed, budget)

    monkeypatch.setattr(modes, "measure", measure)
    for seeds in ("1", "3"):
        assert modes.main(["--models", "gan", "--seeds", seeds, "--out", str(tmp_path)]) == 0
    assert done == [("gan", toy, seed) for seed in range(3) for toy in ("ring-8", "grid-25")]
    kept = json.loads((tmp_path / "modes.json").read_text())["rows"]
    assert len(kept) == 6
    table = capsys.readouterr().out.split("\n\n")[-2]
    assert "| `gan` | `ring-8` | 60s | 8 of 8 in 2 of 3 | 7 | 80.0% | 70.0% | 1,001 |" in table


def test_a_row_is_of_a_trained_model() -> None:
    found = modes.measure("gan", "two-peaks", 3, "2steps")
    assert (found["model"], found["toy"], found["seed"], found["steps"]) == (
        "gan", "two-peaks", 3, 2,
    )  # fmt: skip
    assert (found["modes"], found["covered"]) == (2, 1)
    assert found == modes.measure("gan", "two-peaks", 3, "2steps")
