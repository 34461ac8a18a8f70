from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from simulacra.data.arrays import load_arrays
from simulacra.data.dataset import Dataset
from simulacra.ground.errors import DataError, UsageError

RNG = np.random.default_rng(0)


def pixels(*shape: int, top: int = 256, dtype: str = "uint8") -> np.ndarray:
    array = RNG.integers(0, top, shape).astype(dtype)
    array.flat[0] = top - 1
    return array


def loaded(tmp_path: Path, levels: int | None = None, **arrays: Any) -> Dataset:
    path = tmp_path / "some.npz"
    np.savez(path, **arrays)
    return load_arrays(path, levels)


def everything(dataset: Dataset) -> torch.Tensor:
    return torch.cat([part.x for part in dataset.splits.values()])


@pytest.mark.parametrize(
    ("shape", "event"),
    [
        ((20, 5, 6), (1, 5, 6)),
        ((20, 5, 6, 1), (1, 5, 6)),
        ((20, 5, 6, 3), (3, 5, 6)),
        ((20, 1, 5, 6), (1, 5, 6)),
        ((20, 3, 5, 6), (3, 5, 6)),
        ((20, 1, 5, 3), (3, 1, 5)),
        ((20, 7), (7,)),
    ],
)
def test_shapes_are_read_as_the_docstring_says(
    tmp_path: Path, shape: tuple[int, ...], event: tuple[int, ...]
) -> None:
    path = tmp_path / "a.npy"
    array = pixels(*shape)
    np.save(path, array)
    dataset = load_arrays(path)
    assert dataset.spec.event_shape == event
    assert dataset.spec.levels == 256
    first_last = array.transpose(0, 3, 1, 2) if len(shape) == 4 and event != shape[1:] else array
    rows = {row.tobytes() for row in first_last}
    assert {row.numpy().tobytes() for row in everything(dataset)} == rows
    ambiguous = shape == (20, 1, 5, 3)
    assert bool(dataset.notes) == ambiguous


@pytest.mark.parametrize(
    ("array", "levels", "expected", "dtype"),
    [
        (pixels(20, 4, 4), None, 256, torch.uint8),
        (pixels(20, 4, 4, top=2), None, 2, torch.uint8),
        (pixels(20, 4, 4, top=2).astype(bool), None, 2, torch.uint8),
        (pixels(20, 4, 4, top=4), None, 256, torch.uint8),
        (pixels(20, 4, 4, top=4), 4, 4, torch.uint8),
        (pixels(20, 4, 4, top=17, dtype="int64"), None, 17, torch.uint8),
        (pixels(20, 4, 4, top=17, dtype=">i2"), None, 17, torch.uint8),
        (pixels(20, 4, 4, top=17, dtype="int64"), 32, 32, torch.uint8),
        (pixels(20, 4, 4, top=300, dtype="uint16"), None, 300, torch.int16),
        (pixels(20, 4, 4, top=65536, dtype="uint16"), None, 65536, torch.int32),
    ],
)
def test_number_of_levels(
    tmp_path: Path, array: np.ndarray, levels: int | None, expected: int, dtype: torch.dtype
) -> None:
    dataset = loaded(tmp_path, levels, x=array)
    assert dataset.spec.levels == expected
    assert dataset.train.x.dtype == dtype
    dataset.spec.check(everything(dataset))
    assert everything(dataset).long().sum() == int(array.astype(np.int64).sum())


def test_floats_are_continuous_vectors(tmp_path: Path) -> None:
    x = RNG.normal(size=(20, 3))
    dataset = loaded(tmp_path, data=x)
    assert dataset.spec.levels is None
    assert dataset.train.x.dtype == torch.float32
    assert torch.allclose(everything(dataset).sum(), torch.tensor(x.sum()).float(), atol=1e-4)
    with pytest.raises(UsageError, match="no levels"):
        loaded(tmp_path, 4, data=x)


@pytest.mark.parametrize("name", ["x", "images", "data", "X", "faces"])
@pytest.mark.parametrize("labelled", ["y", "labels"])
def test_labels_go_with_their_observations(tmp_path: Path, name: str, labelled: str) -> None:
    x = np.arange(20, dtype=np.int32)[:, None].repeat(2, 1)
    dataset = loaded(tmp_path, **{labelled: np.arange(20) % 4, name: x})
    for part in dataset.splits.values():
        assert part.context is not None
        assert part.context.dtype == torch.int64
        assert torch.equal(part.x[:, 0] % 4, part.context)
    assert dataset.spec.classes == 4
    assert dataset.class_names == ("0", "1", "2", "3")


def test_words_are_labels_and_float_rows_are_context(tmp_path: Path) -> None:
    words = np.array(["dog", "cat"] * 10)
    dataset = loaded(tmp_path, x=np.arange(20, dtype=np.int32)[:, None], y=words)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.test.context is not None
    assert torch.equal(dataset.test.context, 1 - dataset.test.x[:, 0].long() % 2)
    dataset = loaded(tmp_path, x=pixels(20, 4), context=RNG.normal(size=(20, 5)))
    assert dataset.spec.context_width == 5
    assert dataset.spec.classes == 0
    assert dataset.train.context is not None
    assert dataset.train.context.dtype == torch.float32


@pytest.mark.parametrize("style", ["{}", "x_{}", "{}_images"])
@pytest.mark.parametrize("validation", ["validation", "valid", "val"])
def test_ready_splits_are_kept_in_order(tmp_path: Path, style: str, validation: str) -> None:
    parts = {"train": pixels(20, 4, 4), validation: pixels(5, 4, 4), "test": pixels(7, 4, 4)}
    arrays = {style.format(name): part for name, part in parts.items()}
    labels = {f"{name}_labels": np.arange(len(part))[:, None] for name, part in parts.items()}
    dataset = loaded(tmp_path, **arrays, **labels)
    for split, part in zip(dataset.splits.values(), parts.values(), strict=True):
        assert np.array_equal(split.x[:, 0].numpy(), part)
        assert split.context is not None
        assert split.context.tolist() == list(range(len(part)))
    assert dataset.split_seed is None


def test_validation_is_held_out_of_train_where_it_is_missing(tmp_path: Path) -> None:
    train, test = pixels(50, 6, top=200), pixels(9, 6)
    dataset = loaded(tmp_path, x_train=train, x_test=test)
    assert dataset.counts == {"train": 45, "validation": 5, "test": 9}
    assert np.array_equal(dataset.test.x.numpy(), test)
    alone = loaded(tmp_path, train=train, labels=np.arange(50) % 5)
    assert alone.counts == {"train": 35, "validation": 5, "test": 10}
    assert alone.spec.classes == 5


X = pixels(20, 4, 4)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X[:9]}, "holds 9 observations, expected at least 10"),
        ({"x": np.array(3)}, "holds 0 observations"),
        ({"x": X[:0]}, "holds 0 observations"),
        ({"x": X[:, :0]}, "without values"),
        ({"x": X[:, 0, 0]}, "should hold images"),
        ({"x": pixels(20, 4, 4, 2)}, "with 1 or 3 channels"),
        ({"x": pixels(20, 1, 4, 4, 3)}, "should hold images"),
        ({"x": X / 255}, "save images as integer levels"),
        ({"x": X.astype(np.int64) - 255}, "negative integers"),
        ({"x": X.astype(np.int64) * 1000}, "save floats"),
        ({"x": np.array(["a"] * 20)}, "should hold numbers as observations"),
        ({"x": np.array([[0.0, np.nan]] * 20)}, "NaN or infinite values in 20 of 20"),
        ({"x": np.array([[0.0, np.inf]] + [[0.0, 0.0]] * 19)}, "NaN or infinite values in 1 of 20"),
        ({"x": np.array([[0.0, 1e300]] * 20)}, "column '1' takes one value in all training rows"),
        ({"one": X, "two": X}, "got one, two: rename"),
        ({"train": X, "test": X[:, :3]}, "several forms"),
        ({"train": X, "test": X[:, :, 0] / 2}, "several forms"),
        ({"train": X, "valid": X}, "no test split"),
        ({"test": X}, "no train split"),
        ({"train": X, "test": X[:0]}, "without values"),
        ({"train": X, "test": X, "train_labels": np.zeros(20, int)}, "for some splits only"),
        ({"x": X, "y": np.zeros(19, int)}, "20 observations but labels of shape"),
        ({"x": X, "y": np.zeros(20)}, "labels as integers or words"),
        ({"x": X, "y": np.zeros((20, 2), int)}, "labels as integers or words"),
        ({"x": X, "y": np.full(20, -1)}, "numbered from 0, .*got -1"),
        ({"x": X, "y": np.arange(20) - 2}, "numbered from 0, .*got -2"),
        ({"x": X, "y": np.full(20, 10**9)}, "numbered from 0"),
        ({"x": X, "context": np.full((20, 2), np.nan)}, "NaN or infinite"),
    ],
)
def test_what_is_no_data_set_is_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        loaded(tmp_path, **arrays)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">i2", "<i2", "<u8", ">i4", "|u1"])
def test_the_order_of_bytes_and_axes_changes_nothing(
    tmp_path: Path, dtype: str, order: Any
) -> None:
    x = pixels(40, 6, 5, 3)
    plain, other = tmp_path / "plain", tmp_path / "other"
    plain.mkdir()
    other.mkdir()
    # the first axis is not the last in memory either
    expected = loaded(plain, levels=256, x=x.astype("<i2"))
    came = loaded(other, levels=256, x=np.asarray(x.astype(dtype), order=order))
    assert came.spec == expected.spec
    assert torch.equal(everything(came), everything(expected))
    assert came.fingerprint == expected.fingerprint


@pytest.mark.parametrize("dtype", [">f4", "<f8", ">f8", "<f2", "float128"])
def test_floats_of_any_kind_become_float32(tmp_path: Path, dtype: str) -> None:
    if dtype == "float128" and not hasattr(np, "float128"):
        pytest.skip("this machine has no floats of 128 bits")
    x = np.arange(60).reshape(20, 3) / 4
    came = loaded(tmp_path, x=np.asfortranarray(x.astype(dtype)))
    assert everything(came).dtype == torch.float32
    assert sorted(everything(came).flatten().tolist()) == sorted(x.flatten().tolist())


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(20, [("a", "u1"), ("b", "u1")]),
        np.zeros((20, 4), "complex64"),
        np.zeros((20, 4), "datetime64[s]"),
        np.zeros((20, 4), "S3"),
        np.zeros((20, 4), "V3"),
        np.zeros((20, 4), "U0"),
    ],
    ids=lambda array: str(array.dtype),
)
@pytest.mark.parametrize("name", ["x", "y"])
def test_arrays_of_other_kinds_are_refused(tmp_path: Path, array: np.ndarray, name: str) -> None:
    arrays = {"x": X, name: array}
    with pytest.raises(DataError, match=r"should (hold numbers|be a plain array|have labels)"):
        loaded(tmp_path, **arrays)


def test_words_that_no_terminal_should_see_are_still_labels(tmp_path: Path) -> None:
    words = np.array(["\x1b[2J", "a\nb"] * 10)
    assert loaded(tmp_path, x=X, y=words).class_names == ("\x1b[2J", "a\nb")


def test_a_column_that_never_varies_is_refused(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    x[:, 1] = 2
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(DataError, match=r"x.npy: column '2' takes one value"):
        load_arrays(tmp_path / "x.npy")
