"""Pictures of what autoencoders are made of."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    # the benchmarks are run from the project's folder and not installed
    sys.path.append(str(ROOT))

from benchmarks import autoencoders  # noqa: E402


def test_pictures_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    autoencoders.holes(tmp_path / "holes.png", steps=2, side=3)
    autoencoders.sparse(tmp_path / "sparse.png", steps=2)
    for name in ("holes", "sparse"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert min(picture.size) > 200
    out = capsys.readouterr().out
    assert "halfway between those of two classes" in out
    assert "of units within a tenth of 0.05" in out


def test_a_filter_is_local_where_its_weights_are() -> None:
    everywhere, here = torch.ones(1, 28, 28), torch.zeros(1, 28, 28)
    here[0, 3:8, 20:25] = 1
    assert autoencoders._locality(everywhere) == pytest.approx(81 / 784)
    assert autoencoders._locality(here) == pytest.approx(1)
