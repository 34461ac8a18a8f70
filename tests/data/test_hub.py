from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from simulacra.data.catalogue import load
from simulacra.ground.errors import DataError, UsageError

try:
    import datasets
except ImportError:
    datasets = None

needs_datasets = pytest.mark.skipif(datasets is None, reason="datasets is not installed")


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of the network, and nothing kept."""
    if datasets is not None:
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def pictures(folder: Path, split: str, count: int, *, side: int = 6) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(len(split))
    drawn = []
    for i in range(count):
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        place = folder / split / ("cat", "dog")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i:03}.png")
        drawn.append(pixels)
    return drawn


@needs_datasets
def test_a_folder_of_pictures_is_as_without_the_library(tmp_path: Path) -> None:
    for split, count in (("train", 24), ("test", 6)):
        pictures(tmp_path / "some", split, count)
    dataset = load(f"hf:{tmp_path / 'some'}")
    plain = load(str(tmp_path / "some"))
    assert dataset.fingerprint == plain.fingerprint
    assert dataset.class_names == ("cat", "dog")
    assert dataset.counts == {"train": 22, "validation": 2, "test": 6}
    assert load(**dataset.options).fingerprint == dataset.fingerprint
    small = load(f"hf:{tmp_path / 'some'}", side=3, colour="grey", levels=4)
    again = load(str(tmp_path / "some"), side=3, colour="grey", levels=4)
    assert small.fingerprint == again.fingerprint


@needs_datasets
def test_pictures_within_a_parquet_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = pictures(tmp_path / "some", "train", 20)
    stored = datasets.load_dataset(str(tmp_path / "some"), split="train")
    (tmp_path / "packed").mkdir()
    stored.to_parquet(tmp_path / "packed" / "train.parquet")
    monkeypatch.chdir(tmp_path)
    dataset = load("hf:./packed")
    everything = torch.cat([split.x for split in dataset.splits.values()])
    expected = {picture.transpose(2, 0, 1).tobytes() for picture in drawn}
    assert {picture.numpy().tobytes() for picture in everything} == expected
    monkeypatch.chdir("/")
    assert load(**dataset.options).fingerprint == dataset.fingerprint
    few = load(f"hf:{tmp_path / 'packed'}", limit=12)
    assert sum(few.counts.values()) == 12
    assert few.notes == ("the first 12 observations of each split alone",)


@needs_datasets
def test_columns_of_numbers_are_a_table(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(40, 2))
    kinds = ["rose", "daisy"] * 20
    rows = [f"{a},{b},{kind}" for (a, b), kind in zip(values, kinds, strict=True)]
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "train.csv").write_text("a,b,kind\n" + "\n".join(rows) + "\n", "utf-8")
    dataset = load(f"hf:{tmp_path / 't'}", labels="kind")
    plain = load(str(tmp_path / "t" / "train.csv"), labels="kind")
    assert dataset.fingerprint == plain.fingerprint
    assert dataset.class_names == ("daisy", "rose")
    with pytest.raises(UsageError, match="no column 'kinds' for labels: did you mean 'kind'"):
        load(f"hf:{tmp_path / 't'}", labels="kinds")
    with pytest.raises(UsageError, match="side is for pictures"):
        load(f"hf:{tmp_path / 't'}", side=4)


@needs_datasets
def test_columns_are_as_those_of_a_table(tmp_path: Path) -> None:
    """Large numbers keep their digits, and a column of words can be a category."""
    values = 1.7e9 + np.random.default_rng(0).normal(size=40)
    rows = [f"{value!r},{'red' if i % 3 else 'blue'}" for i, value in enumerate(values.tolist())]
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "train.csv").write_text("time,colour\n" + "\n".join(rows) + "\n", "utf-8")
    asked = {"column": ("colour=category",)}
    dataset = load(f"hf:{tmp_path / 't'}", **asked)
    assert dataset.spec.columns[0].offset == pytest.approx(1.7e9)
    assert dataset.spec.columns[1].words == ("blue", "red")
    assert dataset.fingerprint == load(str(tmp_path / "t" / "train.csv"), **asked).fingerprint
    for column, others in (("color", {}), ("colour", {"labels": "colour"})):
        with pytest.raises(UsageError, match=rf"no column '{column}' for --column"):
            load(f"hf:{tmp_path / 't'}", column=(f"{column}=category",), **others)


@needs_datasets
def test_columns_of_labels_and_of_groups(tmp_path: Path) -> None:
    rows = [f"{i * 0.3},{i % 5},{i % 2 if i < 12 else ''},{i % 3},p{i // 4}" for i in range(40)]
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "train.csv").write_text("\n".join(["a,b,kind,hue,person", *rows]))
    given = {"labels": "kind,hue", "groups": "person"}
    dataset = load(f"hf:{tmp_path / 't'}", **given)
    assert dataset.spec.parts == (("kind", 2), ("hue", 3))
    assert dataset.columns == ("a", "b")
    assert "28 of 40 labels are not told whole" in dataset.notes
    own = [set(split.groups.tolist()) for split in dataset.splits.values()]
    assert sum(map(len, own)) == 10 == len(set().union(*own))
    with pytest.raises(UsageError, match="no column 'persons' for groups: did you mean 'person'"):
        load(f"hf:{tmp_path / 't'}", groups="persons")


@needs_datasets
@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("text,words\n" + "x,y\n" * 12, "should have a column of pictures or of numbers"),
        ("a,b\n1,2\n" + "3,\n" * 12, "column 'b': a missing value"),
        ("a,b\n" + "3,4\n" * 12, "column 'a' takes one value"),
    ],
)
def test_what_is_no_such_thing_is_refused(tmp_path: Path, column: str, message: str) -> None:
    (tmp_path / "train.csv").write_text(column, "utf-8")
    with pytest.raises(DataError, match=message):
        load(f"hf:{tmp_path}")


@needs_datasets
def test_pictures_of_several_sizes_need_a_side(tmp_path: Path) -> None:
    pictures(tmp_path / "some", "train", 12)
    Image.new("RGB", (9, 9)).save(tmp_path / "some" / "train" / "cat" / "zzz.png")
    with pytest.raises(DataError, match="differ in size: pass --side N"):
        load(f"hf:{tmp_path / 'some'}")
    assert load(f"hf:{tmp_path / 'some'}", side=4).spec.event_shape == (3, 4, 4)


@needs_datasets
def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder: check the path"):
        load(f"hf:{tmp_path / 'nowhere'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="cannot be loaded"):
        load(f"hf:{tmp_path / 'empty'}")
    with pytest.raises(UsageError, match="hf: needs a name"):
        load("hf:")


@needs_datasets
def test_without_a_connection_one_line_says_so(tmp_path: Path) -> None:
    """In a process of its own, for the library looks at its variables once."""
    done = subprocess.run(
        [sys.executable, "-m", "simulacra", "data", "hf:nobody/nothing"],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert "hf:nobody/nothing cannot be reached" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_without_the_library_one_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"pip install 'simulacra\[hf\]'"):
        load("hf:nobody/nothing")
