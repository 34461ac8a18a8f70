"""Splits of data that come as one piece, the same on every machine and in every version."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

from simulacra.data.dataset import Observations
from simulacra.ground.errors import DataError
from simulacra.ground.randomness import keys_from

ALIASES = {
    "train": ("train",),
    "validation": ("validation", "valid", "val"),
    "test": ("test",),
}
"""What ready splits are called in files and folders."""

SPLIT_SEED = 0
"""Seed of every split that this package draws."""

FEWEST = 10
"""Fewer observations than this leave a split empty or meaningless."""


class Splits(TypedDict):
    """The three splits and the seed that drew them, as keywords of `Dataset`."""

    train: Observations
    validation: Observations
    test: Observations
    split_seed: int | None


def split_all(observations: Observations) -> Splits:
    """Three splits of one piece: a fifth to test, a tenth to validation, the rest to train.

    No group lies in two of them; the splits are as near to these shares as groups allow.

    Args:
        observations: All of them, in an order that the next load repeats.

    Raises:
        DataError: If there are fewer than ten, or fewer than three groups.
    """
    total = len(observations)
    if total < FEWEST:
        raise DataError(
            f"expected at least {FEWEST} observations to split into train, validation and test, "
            f"got {total}: add more"
        )
    test, validation = round(total / 5), round(total / 10)
    drawn, kept, rest = _drawn(observations, (test, validation, total - test - validation))
    return {"test": drawn, "validation": kept, "train": rest, "split_seed": SPLIT_SEED}


def hold_out(
    observations: Observations, test: Observations, *, at_most: int | None = None
) -> Splits:
    """Three splits where the test is given: validation is a tenth of the rest.

    No group of the rest lies both in validation and in training.

    Args:
        observations: Training and validation observations in one piece.
        test: The test split as its authors drew it.
        at_most: Validation takes no more than this.

    Raises:
        DataError: If there are fewer than ten training observations, or no test observation; or
            the training observations are all of one group.
    """
    total = len(observations)
    if total < FEWEST or not len(test):
        raise DataError(
            f"expected at least {FEWEST} training observations and one test observation, "
            f"got {total} and {len(test)}: add more"
        )
    count = round(total / 10) if at_most is None else min(round(total / 10), at_most)
    validation, rest = _drawn(observations, (count, total - count))
    return {"train": rest, "validation": validation, "test": test, "split_seed": SPLIT_SEED}


def _drawn(observations: Observations, sizes: tuple[int, ...]) -> list[Observations]:
    """Disjoint parts of about such sizes, just such without groups, drawn at random.

    In a random order, each group goes to the part that lacks most of its size; the last ones to
    parts that have none yet. So a part is off by no more than a group or two.

    Raises:
        DataError: If there are fewer groups than parts.
    """
    order = permutation(len(observations))
    if observations.groups is None:
        return [observations.take(rows) for rows in order.split(list(sizes))]
    groups, own, counts = observations.groups.unique(return_inverse=True, return_counts=True)
    if len(groups) < len(sizes):
        raise DataError(
            f"expected at least {len(sizes)} groups for as many splits, got {len(groups)}: a group "
            "never spans two splits, so name finer ones by --groups"
        )
    lacking, home = list(sizes), torch.empty(len(groups), dtype=torch.long)
    empty = set(range(len(sizes)))
    for drawn, group in enumerate(permutation(len(groups)).tolist()):
        open_ = sorted(empty) if len(groups) - drawn == len(empty) else range(len(sizes))
        part = max(open_, key=lacking.__getitem__)
        home[group] = part
        lacking[part] -= int(counts[group])
        empty.discard(part)
    return [observations.take(order[home[own[order]] == part]) for part in range(len(sizes))]


def arrange(ready: dict[str, Observations], path: Path) -> Splits:
    """Three splits of whatever of them is there: one piece, train and test, or all three.

    Raises:
        DataError: If a test split is missing, a split is empty, or there are too few.
    """
    if len(ready) == 1 and "test" not in ready:
        return split_all(next(iter(ready.values())))
    for name in ("train", "test"):
        if name not in ready:
            raise DataError(
                f"{path} has {' and '.join(ready)} but no {name} split: add it, or give all "
                "observations in one piece"
            )
    empty = next((name for name, part in ready.items() if not len(part)), None)
    if empty is not None:
        raise DataError(f"{path} has an empty {empty} split: fill it or leave it out")
    if "validation" not in ready:
        return hold_out(ready["train"], ready["test"])
    return {
        "train": ready["train"],
        "validation": ready["validation"],
        "test": ready["test"],
        "split_seed": None,
    }


def halves(observations: Observations, most: int) -> tuple[Tensor, Tensor]:
    """Two sets of rows of one size, without a row or a group in both.

    Each group goes to the half that holds less so far, the largest first: where one holds more
    than all others together, the halves are as large as these others.

    Args:
        observations: With or without groups.
        most: A half has no more rows than this.

    Returns:
        Places `(count,)` int64 each, in a fixed random order; empty where there is one group alone.
    """
    order = permutation(len(observations))
    if observations.groups is None:
        count = min(len(order) // 2, most)
        return order[:count], order[count : 2 * count]
    groups, own, sizes = observations.groups.unique(return_inverse=True, return_counts=True)
    # among groups of one size chance decides, for their numbers may go by class
    drawn = permutation(len(groups))
    second, held = torch.zeros(len(groups), dtype=torch.bool), [0, 0]
    for group in drawn[sizes[drawn].argsort(descending=True, stable=True)].tolist():
        half = int(held[1] < held[0])
        second[group] = bool(half)
        held[half] += int(sizes[group])
    in_second, count = second[own[order]], min(*held, most)
    return order[~in_second][:count], order[in_second][:count]


def permutation(total: int, seed: int = SPLIT_SEED) -> Tensor:
    """A fixed random order of `0 … total − 1`, `(total,)` int64.

    Sorting our own hashes, for NumPy and torch promise no order across their versions.
    """
    return torch.argsort(keys_from(seed, torch.arange(total)), stable=True)
