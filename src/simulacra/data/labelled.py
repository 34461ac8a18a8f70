"""Few labels: those of a balanced part of the training split, and of the test split, alone."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.formats.listing import counted
from simulacra.data.labels import joint_classes
from simulacra.data.splits import permutation
from simulacra.ground.errors import UsageError


def labelled(dataset: Dataset, count: int, *, seed: int = 0) -> Dataset:
    """The data set with so many training labels told, and no others but those of the test split.

    Those of the validation split are hidden too: what is chosen by more labels than a model learns
    from has learned from these. Test labels stay, to measure errors by.

    Of each class the first ones are told, in an order that the seed alone decides; of a class that
    has fewer than others, all. So what 50 tell is told by 100 as well.

    Args:
        dataset: With labels.
        count: How many are told.
        seed: Another one tells others.

    Raises:
        UsageError: If the data have no labels, or not so many in the training split.
    """
    classes = joint_classes(dataset.train, dataset.spec)
    if classes is None:
        raise UsageError(f"labelled is for data with labels; {dataset.name} has none")
    rows = balanced(classes, seed)
    if count > len(rows):
        raise UsageError(
            f"labelled is at most {len(rows)}, for so many training labels {dataset.name} has: "
            f"got {count}"
        )
    rows = rows[:count]
    seen = len(classes[rows].unique())
    some = "" if seen == dataset.spec.classes else f", of {seen} of {dataset.spec.classes} classes"
    note = (
        f"{counted(count, 'training label')} of {len(classes)} told{some}, "
        "and none of the validation split"
    )
    return replace(
        dataset,
        train=_telling(dataset.train, rows),
        validation=_telling(dataset.validation, rows[:0]),
        notes=(*dataset.notes, note),
    )


def _telling(split: Observations, rows: Tensor) -> Observations:
    """The split with the labels of these rows alone."""
    if split.context is None:
        return split
    hidden = torch.full_like(split.context, -1)
    hidden[rows] = split.context[rows]
    return replace(split, context=hidden)


def balanced(classes: Tensor, seed: int) -> Tensor:
    """Places of all that have a class, so that the first ones are as many of each as can be.

    Args:
        classes: `(N,)`; −1 where there is none.
        seed: Of the order.
    """
    order = permutation(len(classes), seed)
    order = order[classes[order] >= 0]
    own = classes[order]
    rank = torch.zeros_like(own)
    for label in own.unique():
        mine = own == label
        rank[mine] = torch.arange(int(mine.sum()))
    return order[rank.argsort(stable=True)]
