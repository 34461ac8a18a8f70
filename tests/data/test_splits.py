from __future__ import annotations

from pathlib import Path

import pytest
import torch

from simulacra.data.dataset import Observations
from simulacra.data.splits import arrange, hold_out, permutation, split_all
from simulacra.errors import DataError

PERMUTATION = [6, 8, 1, 3, 5, 4, 7, 0, 2, 9]


def numbered(n: int) -> Observations:
    return Observations(torch.arange(n, dtype=torch.int32)[:, None])


@pytest.mark.parametrize("n", [10, 11, 99, 1797])
def test_split_all_is_disjoint_exhaustive_and_of_the_sizes_promised(n: int) -> None:
    splits = split_all(numbered(n))
    parts = [splits[name].x.flatten().tolist() for name in ("train", "validation", "test")]
    assert sorted(i for part in parts for i in part) == list(range(n))
    assert [len(part) for part in parts[1:]] == [round(n / 10), round(n / 5)]


def test_permutation_never_changes() -> None:
    # runs made long ago have these splits: this order must hold for ever
    assert permutation(10).tolist() == PERMUTATION
    assert permutation(10, seed=1).tolist() != PERMUTATION
    assert sorted(permutation(1000).tolist()) == list(range(1000))


def test_split_all_scatters_sorted_data() -> None:
    tested = split_all(numbered(1000))["test"].x.double()
    assert abs(tested.mean() - 500) < 4 * 289 / 200**0.5


def test_hold_out_leaves_the_test_split_alone() -> None:
    test = numbered(7)
    splits = hold_out(numbered(100), test, at_most=4)
    assert splits["test"] is test
    both = splits["train"].x.flatten().tolist() + splits["validation"].x.flatten().tolist()
    assert sorted(both) == list(range(100))
    assert len(splits["validation"]) == 4
    assert len(hold_out(numbered(100), test)["validation"]) == 10


@pytest.mark.parametrize("n", [0, 9])
def test_fewer_than_ten_are_refused(n: int) -> None:
    with pytest.raises(DataError, match=f"at least 10 .* got {n}"):
        split_all(numbered(n))
    with pytest.raises(DataError, match=f"at least 10 .* got {n}"):
        hold_out(numbered(n), numbered(5))


def test_ready_splits_are_kept() -> None:
    ready = {"train": numbered(8), "validation": numbered(2), "test": numbered(3)}
    splits = arrange(ready, Path("some.npz"))
    assert all(splits[name] is ready[name] for name in ready)  # type: ignore[literal-required]
    assert splits["split_seed"] is None


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"train": 20, "validation": 5}, "no test split"),
        ({"test": 20}, "no train split"),
        ({"train": 20, "validation": 0, "test": 5}, "empty validation split"),
    ],
)
def test_half_ready_splits_are_refused(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        arrange({name: numbered(n) for name, n in sizes.items()}, Path("some.npz"))
