"""Files as observations in the form of the data, and files that do not fit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.foreign.observations import read_observations
from simulacra.ground.errors import DataError, UsageError
from simulacra.ground.spec import DataSpec


def data_of(spec: DataSpec, **options: Any) -> Dataset:
    some = Observations(torch.zeros(2, *spec.event_shape))
    return Dataset("toy", spec, some, some, some, options=options)


@pytest.mark.parametrize("options", [{}, {"levels": 16}, {"side": 5}, {"colour": "rgb"}])
def test_a_training_file_is_read_as_it_was_for_training(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    for seed in range(40):
        generator = np.random.default_rng(seed)
        pixels = generator.integers(0, 70, (6, 6), dtype=np.uint8) + (180 if seed % 2 else 10)
        folder = tmp_path / "pictures" / ("bright" if seed % 2 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{seed:03}.png")
    data = load(str(tmp_path / "pictures"), **options)
    seen = torch.cat([split.x for split in data.splits.values()]).long()
    for file in ("dark/000.png", "bright/011.png"):
        read = read_observations(tmp_path / "pictures" / file, data)
        assert int((seen == read).flatten(1).all(1).sum()) == 1
    if options == {"side": 5}:
        Image.fromarray(np.full((9, 9), 200, np.uint8)).save(tmp_path / "large.png")
        assert read_observations(tmp_path / "large.png", data).shape == (1, 1, 5, 5)


def test_indexed_pictures_keep_their_indices(tmp_path: Path) -> None:
    """Even where two of them have one colour."""
    palette = [0, 0, 0, 9, 9, 200, 0, 0, 0, 250, 20, 20]
    for i in range(12):
        image = Image.fromarray(((np.arange(16).reshape(4, 4) + i) % 4).astype(np.uint8), "P")
        image.putpalette(palette)
        image.save(tmp_path / f"{i:02}.png")
    data = load(str(tmp_path))
    assert data.spec.levels == 4
    read = read_observations(tmp_path / "01.png", data)
    assert read[0, 0].tolist() == ((np.arange(16).reshape(4, 4) + 1) % 4).tolist()
    # another program's file of the same colours takes the nearest
    Image.open(tmp_path / "01.png").convert("RGB").save(tmp_path / "rgb.png")
    read = read_observations(tmp_path / "rgb.png", data)
    assert set(read.unique().tolist()) == {0, 1, 3}


def test_arrays_hold_levels_of_the_datas_own(tmp_path: Path) -> None:
    data = data_of(DataSpec((1, 2, 2), 4))
    np.save(tmp_path / "one.npy", np.array([[[0, 1], [2, 3]]], np.uint8))
    assert read_observations(tmp_path / "one.npy", data).tolist() == [[[[0, 1], [2, 3]]]]
    np.save(tmp_path / "high.npy", np.full((5, 1, 2, 2), 4))
    with pytest.raises(DataError, match=r"levels 0 … 3, got 4 … 4"):
        read_observations(tmp_path / "high.npy", data)
    np.save(tmp_path / "empty.npy", np.zeros((0, 1, 2, 2), int))
    np.save(tmp_path / "floats.npy", np.zeros((3, 1, 2, 2)))
    np.save(tmp_path / "shape.npy", np.zeros((3, 2, 2), int))
    for name in ("empty", "floats", "shape"):
        with pytest.raises(DataError, match="should hold levels"):
            read_observations(tmp_path / f"{name}.npy", data)
    np.save(tmp_path / "nan.npy", np.array([1.0, math.nan]))
    with pytest.raises(DataError, match="NaN"):
        read_observations(tmp_path / "nan.npy", data_of(DataSpec((2,), None)))
    (tmp_path / "x.png").touch()
    with pytest.raises(UsageError, match="holds levels 0 … 3"):
        read_observations(tmp_path / "x.png", data_of(DataSpec((4,), 4)))
