"""FSDD by its official split, cut into windows."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from simulacra.data.catalogue import NAMES, load
from simulacra.ground.errors import DataError
from simulacra.ground.spec import DataSpec

SPEAKERS = ("anna", "bob")


def spoken(value: float, size: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.full(size, value), 8000, format="WAV")
    return buffer.getvalue()


def write(folder: Path, indices: range = range(12), extra: str = "") -> Path:
    """Ten digits of two speakers; the amplitude tells digit, index and speaker."""
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "recordings.zip", "w") as archive:
        for digit in range(10):
            for number, speaker in enumerate(SPEAKERS):
                for index in indices:
                    code = digit + 10 * index + 200 * number + 1
                    content = spoken(code / 1000, 1000)
                    archive.writestr(f"recordings/{digit}_{speaker}_{index}.wav", content)
        if extra:
            archive.writestr(extra, spoken(0.5, 100))
    return folder.parent


def codes(dataset, split: str) -> torch.Tensor:
    x = dataset.splits[split].x
    return (1000 * dataset.spec.to_float(x[:, 0]) - 1).round().int()


def test_the_official_split_is_by_index(tmp_path: Path) -> None:
    dataset = load("fsdd", data_dir=write(tmp_path / "fsdd"), levels=65536)
    assert dataset.counts == {"train": 126, "validation": 14, "test": 100}
    index = {split: codes(dataset, split) % 200 // 10 for split in dataset.splits}
    assert set(index["test"].tolist()) == set(range(5))
    assert set(index["train"].tolist()) | set(index["validation"].tolist()) == set(range(5, 12))
    every = torch.cat([codes(dataset, split) for split in dataset.splits])
    assert len(set(every.tolist())) == 240
    for split, part in dataset.splits.items():
        assert part.context is not None
        assert torch.equal(part.context, (codes(dataset, split) % 10).long())
    assert dataset.class_names == tuple("0123456789")


def test_options_are_met(tmp_path: Path) -> None:
    place = write(tmp_path / "fsdd")
    dataset = load("fsdd", data_dir=place, window=400, rate=4000, levels=16)
    assert dataset.spec == DataSpec((400,), 16, coding="mu-law", classes=10, rate=4000)
    assert dataset.counts["test"] == 200
    assert dataset.test.lengths is not None
    assert dataset.test.lengths.tolist() == [400, 100] * 100
    seen = [part.groups for part in dataset.splits.values()]
    assert all(each is not None and bool((each[::2] == each[1::2]).all()) for each in seen)
    recordings = torch.cat([each[::2] for each in seen if each is not None])
    assert recordings.sort().values.tolist() == list(range(240))
    speakers = load("fsdd", data_dir=place, labels="*_{label}_*", levels=65536)
    assert speakers.class_names == SPEAKERS
    assert speakers.train.context is not None
    assert torch.equal(speakers.train.context, (codes(speakers, "train") // 200).long())


def test_another_zip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"DIGIT_SPEAKER_INDEX.wav, got 'odd.wav'"):
        load("fsdd", data_dir=write(tmp_path / "fsdd", extra="recordings/odd.wav"))
    few = write(tmp_path / "few" / "fsdd", range(5))
    with pytest.raises(DataError, match="expected at least 10 training observations"):
        load("fsdd", data_dir=few)
    (tmp_path / "few" / "fsdd" / "nothing").mkdir()
    with pytest.raises(DataError, match=r"recordings\.zip, not found"):
        load("fsdd", data_dir=tmp_path / "few" / "fsdd" / "nothing")


def test_the_real_set_is_what_the_catalogue_says(real_data: Path) -> None:
    if not (real_data / "fsdd").is_dir():
        pytest.skip(f"no fsdd in {real_data}")
    dataset = load("fsdd", data_dir=real_data)
    named = NAMES["fsdd"]
    assert tuple(dataset.counts.values()) == named.counts
    assert dataset.spec.event_shape == named.event_shape
    assert (dataset.spec.levels, dataset.spec.classes) == (named.levels, named.classes)
    assert len(dataset.notes) == 2
    lengths = [part.lengths for part in dataset.splits.values()]
    valid = sum(int(each.sum()) for each in lengths if each is not None)
    assert valid / 8000 == pytest.approx(1312.3, abs=0.05)  # seconds, by the source's own notes
    share = 1 - valid / 8000 / sum(named.counts)
    assert dataset.notes[0].startswith(f"{share:.1%} of the samples are silence")
    assert dataset.notes[1].startswith("22.4% of the valid samples are silence")
    assert dataset.test.context is not None
    # 6 speakers × 5 recordings of each digit, some of them longer than a second
    assert torch.bincount(dataset.test.context).min() >= 30
