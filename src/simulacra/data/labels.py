"""Labels from words: of one part or of several, and what their classes are called."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import TypedDict

import torch
from torch import Tensor

from simulacra.data.dataset import Observations
from simulacra.data.formats.listing import counted
from simulacra.ground.errors import DataError
from simulacra.ground.spec import DataSpec

Names = Mapping[str, tuple[str, ...]]
"""The names of the classes of each part, by the part's name; nothing without labels."""

LABEL = "label"
"""What the part of a label of one part is called."""

MOST_COMBINATIONS = 10_000
"""Labels of several parts have no more classes than these."""


class ClassForm(TypedDict):
    """What the form of data knows of labels, as keywords of `DataSpec`."""

    classes: int
    parts: tuple[tuple[str, int], ...]


class ClassNames(TypedDict):
    """What the classes of labels are called, as keywords of `Dataset`."""

    class_names: tuple[str, ...]
    part_names: dict[str, tuple[str, ...]]


def form_of(names: Names, place: str) -> ClassForm:
    """The form of labels whose classes are called so.

    Args:
        names: By part.
        place: Where they come from, for the message.

    Raises:
        DataError: If several parts make more classes than figures by class can be had of.
    """
    classes = math.prod(map(len, names.values())) if names else 0
    if len(names) < 2:
        return {"classes": classes, "parts": ()}
    if classes > MOST_COMBINATIONS:
        told = " × ".join(f"{len(own)} of {name}" for name, own in names.items())
        raise DataError(
            f"{place}: labels take {told} = {classes} combinations, which are no classes: at most "
            f"{MOST_COMBINATIONS}, so name fewer parts"
        )
    return {"classes": classes, "parts": tuple((name, len(own)) for name, own in names.items())}


def names_of(names: Names) -> ClassNames:
    """What all classes are called, and those of each part if there are several."""
    every = product(*names.values()) if names else ()
    return {
        "class_names": tuple(", ".join(words) for words in every),
        "part_names": dict(names) if len(names) > 1 else {},
    }


def numbers_of(words: Sequence[str], classes: Sequence[str]) -> Tensor:
    """The class of each word, `(N,)` int64; −1 of one that is empty, which is not told.

    Args:
        words: Of all observations.
        classes: All that there are but the empty one, in the order of their numbers.
    """
    numbers = {name: number for number, name in enumerate(classes)} | {"": -1}
    return torch.tensor([numbers[word] for word in words], dtype=torch.long)


def together(columns: Sequence[Tensor]) -> Tensor | None:
    """Labels of all parts: `(N,)` of one, `(N, K)` of several, nothing of none."""
    if not columns:
        return None
    return columns[0] if len(columns) == 1 else torch.stack(list(columns), 1)


def untold_note(*labels: Tensor | None) -> Iterator[str]:
    """How many labels are not told, if any."""
    given = [each.view(len(each), -1) for each in labels if each is not None]
    untold = sum(int((each < 0).any(1).sum()) for each in given)
    if untold:
        whole = " whole" if given[0].shape[1] > 1 else ""
        yield f"{untold} of {counted(sum(map(len, given)), 'label')} are not told{whole}"


def joint_classes(observations: Observations, spec: DataSpec) -> Tensor | None:
    """The class of each observation, `(N,)` int64, −1 where it is not told; `None` without labels.

    Args:
        observations: Of any split.
        spec: Of the data; see `DataSpec.joint`.
    """
    labels = observations.context
    if labels is None or labels.is_floating_point() or not spec.classes:
        return None
    return spec.joint(labels)
