from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from simulacra.data.catalogue import load
from simulacra.data.contexts import with_contexts
from simulacra.data.dataset import Dataset, DynamicallyBinarised, Observations
from simulacra.data.splits import hold_out, split_all
from simulacra.ground.errors import DataError, UsageError
from simulacra.ground.spec import DataSpec


def vectors(rows: int, width: int = 3) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Rows that tell their place."""
    return np.arange(rows * width, dtype=np.float32).reshape(rows, width)


def one_piece(n: int = 50) -> Dataset:
    """Observations that tell their place too."""
    x = torch.arange(n).float()[:, None]
    return Dataset("some", DataSpec((1,), None), **split_all(Observations(x)))


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_ready_splits_are_taken_row_for_row(tmp_path: Path) -> None:
    whole = vectors(13_000)
    path = save(tmp_path / "c.npz", train=whole[:10_000], val=whole[10_000:11_000],
                test=whole[11_000:])  # fmt: skip
    dataset = load("moons", context=path)
    assert dataset.spec.context_width == 3
    assert dataset.spec.classes == 0
    assert dataset.class_names == ()
    assert "labels were replaced by context vectors" in dataset.notes
    together = torch.cat([s.context for s in dataset.splits.values() if s.context is not None])
    assert torch.equal(together, torch.from_numpy(whole))
    plain = load("moons")
    assert torch.equal(dataset.test.x, plain.test.x)
    assert dataset.fingerprint != plain.fingerprint
    assert load(**dataset.options).fingerprint == dataset.fingerprint


@pytest.mark.parametrize("name", ["c.npy", "c.npz"])
def test_one_array_is_split_as_the_observations_were(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    np.save(path, vectors(50)) if name == "c.npy" else save(path, codes=vectors(50), run="vae-1")
    dataset = with_contexts(one_piece(), path)
    for split in dataset.splits.values():
        assert split.context is not None
        # row i begins with 3 i, and observation i is i
        assert torch.equal(split.context[:, 0], 3 * split.x[:, 0])


def test_train_and_test_are_split_as_the_observations_were(tmp_path: Path) -> None:
    x = torch.arange(100).float()[:, None]
    splits = hold_out(Observations(x[:80]), Observations(x[80:]), at_most=5)
    whole = vectors(100)
    path = save(tmp_path / "c.npz", train=whole[:80], test=whole[80:])
    dataset = with_contexts(Dataset("some", DataSpec((1,), None), **splits), path)
    assert dataset.counts["validation"] == 5
    for split in dataset.splits.values():
        assert split.context is not None
        assert torch.equal(split.context[:, 0], 3 * split.x[:, 0])


def test_where_the_vectors_come_from_is_noted(tmp_path: Path) -> None:
    path = save(tmp_path / "c.npz", codes=vectors(50), run="runs/vae", hash="abc123")
    assert with_contexts(one_piece(), path).notes == (
        "context vectors from c.npz, run runs/vae, hash abc123",
    )


def test_noise_and_changes_of_the_pictures_stay(
    tmp_path: Path, small_mnist: Callable[..., Path]
) -> None:
    plain = load("binarized-mnist-dynamic", data_dir=small_mnist(train=120))
    arrays = {name: vectors(count) for name, count in plain.counts.items()}
    path = save(tmp_path / "c.npz", **arrays)
    dataset = load("binarized-mnist-dynamic", data_dir=tmp_path, context=path, shift=1)
    x, context = dataset.train.batch(torch.tensor([3, 1]), epoch=1)
    assert isinstance(getattr(dataset.train, "base", None), DynamicallyBinarised)
    assert context is not None
    assert context[:, 0].tolist() == [9.0, 3.0]
    dataset.spec.check(x)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"codes": vectors(49)}, r"one array \(50, D\) in the order of some; got \(49, 3\)"),
        ({"train": vectors(35), "test": vectors(10)}, r"got train \(35, 3\), test \(10, 3\)"),
        (
            {"train": vectors(35), "validation": vectors(5), "test": vectors(11)},
            r"train \(35, D\), validation \(5, D\) and test \(10, D\).*test \(11, 3\)",
        ),
        ({"a": vectors(50), "b": vectors(50)}, "or one array, got a, b: rename them"),
        ({"train": vectors(50)}, "or one array, got train"),
        ({"codes": vectors(50)[:, 0]}, r"floats \(N, D\), got float32 \(50,\)"),
        ({"codes": vectors(50).astype(int)}, r"floats \(N, D\), got int64"),
        ({"codes": vectors(50)[:, :0]}, r"floats \(N, D\), got float32 \(50, 0\)"),
        ({"codes": vectors(50) * np.nan}, "NaN or infinite"),
        (
            {"train": vectors(35), "validation": vectors(5, 2), "test": vectors(10)},
            r"of several widths, \[2, 3\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        with_contexts(one_piece(), save(tmp_path / "c.npz", **arrays))
    assert "\n" not in str(caught.value)


def test_windows_of_sounds_are_not_split_again(tmp_path: Path) -> None:
    """Which recording a window is of was decided before they were cut."""
    dataset = one_piece()
    sounds = replace(dataset, spec=replace(dataset.spec, rate=8000))
    path = save(tmp_path / "c.npz", codes=vectors(50))
    with pytest.raises(DataError, match=r"test \(10, D\); got \(50, 3\)"):
        with_contexts(sounds, path)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"context is an \.npy or \.npz file, got 'c\.csv'"):
        load("moons", context=tmp_path / "c.csv")
    with pytest.raises(DataError, match=re.escape(str(tmp_path / "c.npz")) + " does not exist"):
        load("moons", context=tmp_path / "c.npz")
    (tmp_path / "c.npz").write_bytes(b"no zip")
    with pytest.raises(DataError, match="cannot be read as"):
        load("moons", context=tmp_path / "c.npz")
