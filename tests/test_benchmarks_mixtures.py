"""The benchmarks of mixtures: gaps to the truth, components beside classes, and what they cost."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import simulacra as sim

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    # the benchmarks are run from the project's folder and not installed
    sys.path.append(str(ROOT))

from benchmarks import assembled, clusters, components, mixtures  # noqa: E402


class Off(sim.Likelihood):
    """The truth of `two-peaks`, a third of a nat too low."""

    exact = True
    density = sim.load_data("two-peaks").density

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        assert self.density is not None
        return self.density.log_prob(x) - 1 / 3

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        return {"loss": -self.log_likelihood(x, context).mean()}


def test_a_gap_is_what_the_truth_has_more() -> None:
    data = sim.load_data("two-peaks")
    found = components.gap(Off(data.spec), data, 3000)
    assert found["gap"] == pytest.approx(1 / 3, abs=1e-5)
    assert found["error"] < 1e-5


def test_gaps_are_kept_told_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--models", "gmm", "--most", "2", "--budget", "6steps", "--draws", "500"]
    assert components.main([*few, "--toys", "sawtooth", "--out", str(tmp_path)]) == 0
    assert components.main([*few, "--toys", "two-peaks", "--out", str(tmp_path)]) == 0
    kept = json.loads((tmp_path / "components.json").read_text())
    assert [toy["toy"] for toy in kept["toys"]] == ["two-peaks", "sawtooth"]
    one, two = (each["gap"] for each in kept["toys"][0]["mixtures"])
    assert one > 0.1 > two
    assert (tmp_path / "figures" / "components-gap.png").stat().st_size > 1000
    out = capsys.readouterr().out
    assert out.count("| `two-peaks` |") == 1
    assert components.markdown(kept) in out
    assert "6 steps of each fit" in out


def test_components_are_named_by_the_training_split() -> None:
    r = torch.eye(4)
    named = (r[[0, 0, 0, 1, 1, 2]], torch.tensor([1, 1, 0, 2, 2, 0]))
    shown = (r[[0, 0, 1, 2]], torch.tensor([1, 0, 2, 0]))
    assert clusters.purity(named, shown, 3) == 0.75
    # one that no training observation is in has the name of the most frequent class
    more = torch.tensor([1, 1, 1, 2, 2, 0])
    assert clusters.purity((named[0], more), (r[[3]], torch.tensor([1])), 3) == 1


def test_a_probe_reads_what_lies_apart() -> None:
    torch.manual_seed(0)
    labels = torch.randint(3, (300,))
    z = torch.randn(300, 5) + 3 * torch.eye(5)[labels]
    both = (z[:200], labels[:200]), (z[200:], labels[200:])
    assert clusters.probe(*both) > 0.9
    mixed = (torch.randn(200, 5), labels[:200]), (torch.randn(100, 5), labels[200:])
    assert clusters.probe(*mixed) < 0.5


def test_rows_are_of_what_the_data_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clusters, "DATA", {"digits, 2 levels": (2, "2steps"), "digits": (None, "")})
    monkeypatch.setattr(clusters, "COMPONENTS", (3,))
    asked = ["--models", "levels,bernoulli-mixture", "--data", "digits, 2 levels"]
    assert clusters.main([*asked, "--out", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "clusters.json").read_text())["rows"]
    assert [(row["model"], row["numbers"]) for row in rows] == [
        ("levels", 64), ("bernoulli-mixture", 3),
    ]  # fmt: skip
    # three classes at most can be named by three components
    assert 0.15 < rows[1]["purity"] < 0.35
    assert rows[0]["probe"] > 0.8
    assert "| `bernoulli-mixture` | 3 |" in capsys.readouterr().out
    assert clusters._asked("digits", ["bernoulli-mixture"], None) == []


def test_costs_are_of_jobs_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixtures, "SWEPT", 150)
    for which in range(len(mixtures.JOBS)):
        run = mixtures.job("gmm", {"components": 2}, 4, which)
        assert run is not None
        run()
    # what learns by no sweeps has none
    assert mixtures.job("nice", {"hidden": (4,)}, 4, 0) is None


def test_a_density_is_drawn_piece_by_piece(tmp_path: Path) -> None:
    assembled.draw(tmp_path / "both.png", (2, 2))
    assert (tmp_path / "both.png").stat().st_size > 5000
