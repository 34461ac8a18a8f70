"""Whether codes are independent, and are the sources: what the measures see, and do not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import simulacra as sim

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    # the benchmarks are run from the project's folder and not installed
    sys.path.append(str(ROOT))

from benchmarks import ica, independence  # noqa: E402


def test_the_map_of_the_toy_changes_no_areas() -> None:
    s = 2 * torch.rand(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    assert torch.allclose(ica.turned(s).norm(dim=1), s.norm(dim=1))
    for each in s:
        jacobian = torch.func.jacrev(lambda x: ica.mixed(x[None])[0])(each)
        assert float(torch.linalg.det(jacobian)) == pytest.approx(1, abs=1e-9)
    # and is no straight one
    assert not torch.allclose(ica.mixed(-2 * s), -2 * ica.mixed(s))


def test_the_toy_has_splits_and_the_sources_of_the_last() -> None:
    data, s = ica.toy(0, count=50)
    assert data.counts == {"train": 50, "validation": 1000, "test": 2000}
    assert torch.equal(ica.mixed(s), data.test.x[:])
    assert not torch.equal(ica.toy(1, count=50)[1], s)


def normal(dims: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(0).normal(size=(500, dims))


def test_what_is_independent_is_within_the_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(independence, "PAIRS", 40)
    # whatever each column is for itself
    found = independence.dependence(np.exp(normal(12)), 0)
    assert found["pairs"] == pytest.approx(found["pairs_null"], abs=0.005)
    assert found["above"] < 0.15
    assert 0.7 < found["spread_low"] < found["spread"] < found["spread_high"] < 1.3


def test_pairs_show_what_no_correlation_shows() -> None:
    x = normal(3)
    x[:, 1] = x[:, 0] ** 2 + 0.1 * x[:, 1]
    x[:, 2] = np.cos(2 * x[:, 0]) + 0.1 * x[:, 2]
    found = independence.dependence(x, 0)
    assert found["above"] == 1
    assert found["pairs"] > 10 * found["pairs_null"]


def test_the_spread_shows_a_scale_that_all_share() -> None:
    x = normal(8) * np.exp(0.3 * normal(1)[::-1])
    found = independence.dependence(x, 0)
    assert found["spread"] > 1.5 > found["spread_high"]


def test_sources_are_found_up_to_order_and_monotone_functions() -> None:
    s = normal(3)
    assert (
        independence.recovered(np.stack([-(s[:, 2] ** 3), np.exp(s[:, 0]), s[:, 1]], 1), s) == 1.0
    )
    assert independence.recovered(independence.shuffled(s, np.random.default_rng(1)), s) < 0.1
    pair = s[:, :2]
    turned = pair @ np.array([[1, 1], [-1, 1]]) / np.sqrt(2)
    assert independence.recovered(turned, pair) == pytest.approx(0.69, abs=0.04)


def test_codes_are_those_that_the_loss_sees() -> None:
    data = sim.load_data("digits")
    model = sim.build("nice", data.spec, {"hidden": (4,)})
    x = data.test.take(torch.arange(5))
    first, again, other = (ica.codes_of(model, x, seed) for seed in (0, 0, 1))
    assert first.shape == (5, 64)
    assert (first == again).all()
    # of other noise
    assert (first != other).all()
    assert "transform" not in vars(model)


def test_a_tiny_run_keeps_what_was_measured_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ica, "STEPS", (1, 2))
    monkeypatch.setattr(independence, "SHUFFLES", 2)
    monkeypatch.setattr(independence, "PAIRS", 3)
    monkeypatch.setattr(ica, "toy", lambda seed, of=ica.toy: of(seed, 100))
    other = {"seed": 0, "gap": 0.5, "bits": 2.0, "recovered": 0.5, "pairs": 0.1, "steps": 9,
             "pairs_null": 0.1, "above": 0.5, "spread": 1.0, "spread_low": 0.9,
             "spread_high": 1.1, "model": "another"}  # fmt: skip
    path = tmp_path / "ica.json"
    path.write_text(json.dumps({"digits": [other], "sources": [other]}))
    assert ica.main(["--models", "nice", "--seeds", "1", "--out", str(tmp_path)]) == 0
    report = json.loads(path.read_text())
    assert [(row["model"], row["steps"]) for row in report["digits"]] == [
        ("another", 9), ("pixels", 0), ("nice", 1), ("nice", 2),
    ]  # fmt: skip
    assert [row["model"] for row in report["sources"]][-2:] == ["linear ICA", "nice"]
    text = capsys.readouterr().out
    assert "| `nice` | 2 |" in text
    assert "| another | 0.50 | 0.500 | 0.100 | 0.100 | 1.00 | 0.90 … 1.10 |" in text
    with Image.open(tmp_path / "figures" / "ica.png") as image:
        assert image.width == 800
