"""Groups of observations, such as all pictures of a person: what never spans two splits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from simulacra.data.dataset import Observations
from simulacra.data.formats.listing import counted, shown
from simulacra.data.labels import joint_classes
from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec


def numbered(words: Sequence[str]) -> Tensor:
    """The group of each observation, `(N,)` int64, in the order of their names."""
    numbers = {name: number for number, name in enumerate(sorted(set(words)))}
    return torch.tensor([numbers[word] for word in words], dtype=torch.long)


def identities(observations: Observations, spec: DataSpec) -> Tensor | None:
    """Of whom each observation is, `(N,)` int64: what one learns by who learns to tell them apart.

    Its joint class, −1 where it is not told; of data without labels its group, numbered from 0
    within this split. `None` of data with neither.

    Args:
        observations: Of any split.
        spec: Of the data.
    """
    classes = joint_classes(observations, spec)
    if classes is not None or observations.groups is None:
        return classes
    return observations.groups.unique(return_inverse=True)[1]


def same_as(labels: Tensor | None, groups: Tensor | None) -> int | None:
    """The part of labels that says just what the groups say.

    No class of it would be in two splits: of what is tested, a model would have learned nothing.

    Args:
        labels: `(N,)` or `(N, K)`; −1 is not told.
        groups: `(N,)`.

    Returns:
        The part's place; `None` where labels and groups differ, or one of them is missing.
    """
    if labels is None or groups is None:
        return None
    for place, column in enumerate(labels.view(len(labels), -1).T):
        told = column >= 0
        pairs = torch.stack([column[told], groups[told]], 1).unique(dim=0)
        if len(pairs) == len(pairs[:, 0].unique()) == len(pairs[:, 1].unique()) > 1:
            return place
    return None


def refusal(part: str, place: str) -> UsageError:
    """Why labels cannot be what the groups are."""
    return UsageError(
        f"{place}: the groups are one and the same as the classes of {part}, and a group is no "
        "class: none would be both learned and tested; leave --labels or --groups out"
    )


def notes_on(words: Sequence[str], splits: Sequence[str]) -> Iterator[str]:
    """What a reader has to know of groups.

    Args:
        words: The group of each observation.
        splits: The ready split of each; a single "" where splits are drawn.
    """
    number = counted(len(set(words)), "group")
    if len(set(splits)) < 2:
        yield f"{number}, each in one split alone"
        return
    homes: dict[str, set[str]] = {}
    for word, split in zip(words, splits, strict=True):
        homes.setdefault(word, set()).add(split)
    both = sorted(word for word, own in homes.items() if len(own) > 1)
    if not both:
        yield f"{number}, each in one of the ready splits alone"
    else:
        where = " and ".join(sorted(homes[both[0]]))
        yield (
            f"{len(both)} of {number} lie in several of the ready splits, such as "
            f"{shown(both[0])!r} in {where}: what is tested is then not new"
        )
