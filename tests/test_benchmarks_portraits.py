"""The benchmark of portraits: its rows and tables, once over tiny pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    # the benchmark is run from the project's folder and not installed
    sys.path.append(str(ROOT))

from benchmarks import portraits  # noqa: E402

pytestmark = pytest.mark.usefixtures("undrawn")


def test_rows_are_done_once_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    for person in range(12):
        (tmp_path / "faces" / f"p{person}").mkdir(parents=True)
        for number in range(4):
            pixels = generator.integers(0, 255, (6, 6)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "faces" / f"p{person}" / f"{number}.png")
    monkeypatch.setitem(portraits.ENCODERS, "pca", {"components": 2})
    asked = [
        "--data", str(tmp_path / "faces"), "--side", "4", "--levels", "4", "--encoders", "none,pca",
        "--budget", "1steps", "--encoder-budget", "1steps", "--channels", "2", "--draws", "3",
        "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    monkeypatch.setitem(portraits.PAINTER, "layers", 2)
    assert portraits.main(asked) == 0
    said = capsys.readouterr().out
    for word in ("another person's", "nearest of all", "pca, each person held out"):
        assert word in said
    rows = json.loads((tmp_path / "out" / "portraits.json").read_text("utf-8"))["rows"]
    assert [row["encoder"] for row in rows] == ["none", "pca"]
    assert rows[0]["like"] == {}
    assert "other" not in rows[0]["told"]
    told, like = rows[1]["told"], rows[1]["like"]
    # what has not learned tells of nobody
    assert told["other"]["low"] < 0.02
    assert len(like["persons"]) == len(rows[1]["new"]["persons"]) == 1 / like["chance"]["nearest"]
    assert 0 <= like["drawn"]["nearest"]["value"] <= 1
    # done before: nothing is trained again
    monkeypatch.setattr(portraits, "run_of", None)
    assert portraits.main(asked) == 0


def test_what_is_wrong_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert portraits.main(["--data", "nowhere", "--encoders", "nobody"]) == 2
    assert portraits.main(["--data", str(tmp_path / "none"), "--out", str(tmp_path)]) == 3
    assert "no row is called 'nobody'" in capsys.readouterr().err
