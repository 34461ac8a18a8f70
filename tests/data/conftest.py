"""Where the real data are, and small files in the formats of the real ones."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def real_data() -> Path:
    """The folder with the real files, or a skip."""
    folder = Path(os.environ.get("SIMULACRA_DATA") or SHARED)
    if not folder.is_dir():
        pytest.skip(f"no data files in {folder}: set SIMULACRA_DATA")
    return folder


@pytest.fixture(autouse=True)
def _no_data_variable(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Tests name their folder, so that a user's environment changes none of them."""
    if "real_data" in request.fixturenames:
        request.getfixturevalue("real_data")
    monkeypatch.delenv("SIMULACRA_DATA", raising=False)


@pytest.fixture
def small_mnist(tmp_path: Path) -> Callable[..., Path]:
    """Writes MNIST's four files with 60 train and 20 test images into a folder."""

    def write(folder: str = "mnist", train: int = 60, test: int = 20) -> Path:
        place = tmp_path / folder
        place.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        for part, count in (("train", train), ("t10k", test)):
            images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
            labels = rng.integers(0, 10, count, dtype=np.uint8)
            for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
                header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
                packed = gzip.compress(header + array.tobytes())
                (place / f"{part}-{kind}-ubyte.gz").write_bytes(packed)
        return tmp_path

    return write
