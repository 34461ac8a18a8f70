"""The benchmark of diagnoses: rows are done once, and judged anew by the thresholds as they are."""

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

from benchmarks import diagnoses  # noqa: E402

from simulacra.training.diagnosis import NAMES  # noqa: E402


def test_there_are_enough_trainings_of_other_data_and_seeds() -> None:
    every = list(diagnoses.cases(2000))
    assert len({case.key for case in every}) == len(every)
    shown = [case for case in every if case.part == "shown"]
    counts = {name: sum(case.done == name for case in shown) for name in ("healthy", *NAMES)}
    assert counts["healthy"] >= 20
    assert min(counts.values()) >= 10
    known = {(case.data, case.seed) for case in every if case.part == "set"}
    assert known == {("digits", seed) for seed in range(5)}
    assert not known & {(case.data, case.seed) for case in shown}
    # healthy are models as they come
    assert all(not case.options for case in every if case.done == "healthy")


def row(done: str, *, model: str = "gan", **seen: Any) -> dict[str, Any]:
    looks = [{"step": 300.0 * n, "place": 0.6, "distance": 0.1, **seen} for n in range(1, 4)]
    case = {"done": done, "part": "shown", "model": model, "data": "ring-8", "seed": 0}
    return {"case": case, "looks": looks, "failed": ""}


def test_the_table_counts_what_was_done_against_what_was_diagnosed() -> None:
    sure: dict[str, Any] = {"real": 1.0, "fake": 1.0}
    rows = [
        row("healthy"), row("healthy", diversity=0.01), row("healthy", model="wgan-gp", **sure),
        row("collapse", diversity=0.01, **sure), row("divergence") | {"failed": "NaN"},
    ]  # fmt: skip
    lines = diagnoses.confusion(rows).splitlines()[2:]
    assert lines == [
        "| healthy | 3 | 0 | 1 | 0 | 0 | 2 |",
        "| discriminator too strong | 0 | 0 | 0 | 0 | 0 | 0 |",
        "| mode collapse suspected | 1 | 1 | 1 | 0 | 0 | 0 |",
        "| oscillation | 0 | 0 | 0 | 0 | 0 | 0 |",
        "| divergence | 1 | 0 | 0 | 0 | 1 | 0 |",
    ]
    missed = diagnoses.by_case(rows).splitlines()[2:]
    assert [line.split(" | ")[4] for line in missed] == ["collapse", "strong, collapse"]


def test_a_row_is_done_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"hidden": (4,), "latent": 2}
    few = [diagnoses.Case("healthy", "shown", "gan", "ring-8", seed, 2, small) for seed in (0, 1)]
    monkeypatch.setattr(diagnoses, "cases", lambda _: iter(few))
    out = tmp_path / "rows.json"
    done = []
    measured = diagnoses.measured

    def counted(case: diagnoses.Case) -> dict[str, Any]:
        done.append(case.seed)
        return measured(case)

    monkeypatch.setattr(diagnoses, "measured", counted)
    for _ in range(3):
        assert diagnoses.main(["--out", str(out), "--most", "1"]) == 0
    assert done == [0, 1]
    assert diagnoses.main(["--out", str(out), "--told"]) == 0
    assert "| healthy | 2 | 0 | 0 | 0 | 0 | 2 |" in capsys.readouterr().out
    rows = json.loads(out.read_text("utf-8"))["rows"]
    assert [len(each["looks"]) for each in rows] == [2, 2]
    assert all(each["accuracies"] for each in rows)
