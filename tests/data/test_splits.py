from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from simulacra.data.dataset import Observations
from simulacra.data.splits import arrange, halves, hold_out, permutation, split_all
from simulacra.ground.errors import DataError

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


def test_halves_without_groups_are_the_two_parts_of_one_permutation() -> None:
    first, second = halves(numbered(11), 1000)
    assert torch.equal(torch.cat([first, second]), permutation(11)[:10])
    first, second = halves(numbered(100), 7)
    assert torch.equal(torch.cat([first, second]), permutation(100)[:14])


@pytest.mark.parametrize(
    ("sizes", "most", "count"),
    [
        ([3] * 10, 1000, 15),
        ([3] * 11, 1000, 15),
        ([1] * 40, 1000, 20),
        ([8, 1, 5, 2, 4, 4], 1000, 12),
        ([3] * 10, 6, 6),
        # one holds more than half: the halves are as large as all the others
        ([20, 3, 4, 1], 1000, 8),
        ([1, 1, 30], 1000, 2),
        ([9], 1000, 0),
    ],
)
def test_halves_share_no_group(sizes: list[int], most: int, count: int) -> None:
    # numbers of groups need neither start at 0 nor follow one another
    groups = torch.tensor([7 + 3 * i for i, size in enumerate(sizes) for _ in range(size)])
    groups = groups[permutation(len(groups), seed=1)]
    split = replace(numbered(len(groups)), groups=groups)
    first, second = halves(split, most)
    assert len(first) == len(second) == count
    assert len(set(first.tolist()) | set(second.tolist())) == 2 * count
    assert not set(groups[first].tolist()) & set(groups[second].tolist())
    again = halves(split, most)
    assert torch.equal(first, again[0])
    assert torch.equal(second, again[1])


def test_halves_are_drawn_from_all_groups_whatever_their_order() -> None:
    groups = torch.arange(400).repeat_interleave(5)
    first, second = halves(replace(numbered(2000), groups=groups), 300)
    for rows in (first, second):
        assert abs(float(groups[rows].double().mean()) - 200) < 4 * 115 / 200**0.5
        assert len(groups[rows].unique()) > 120
        # recordings may take turns by class
        assert abs(float((groups[rows] % 2).double().mean()) - 0.5) < 4 * 0.5 / 120**0.5
