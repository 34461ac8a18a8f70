"""What the names of files say, whatever is in them: split, label and group; what may be broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import torch
from torch import Tensor

from simulacra.data import groups as grouping
from simulacra.data.dataset import Observations
from simulacra.data.formats.listing import counted, shown
from simulacra.data.label_patterns import parts_of
from simulacra.data.labels import LABEL, Names, numbers_of, together
from simulacra.data.splits import ALIASES
from simulacra.data.stored import Rows
from simulacra.ground.errors import DataError, UsageError

_TOLERATED = 0.01
"""The share of files that may be unreadable before all are refused."""
_NAMED = 5
"""How many unreadable files an error names."""
_SPLITS = {alias: split for split, aliases in ALIASES.items() for alias in aliases}


@dataclass(frozen=True, eq=False)
class Arranged:
    """Split, label and group of each file, row for row.

    Args:
        splits: The split of each file, "" where the folder has no ready ones.
        labels: Its label, `(N,)` or `(N, K)` of K parts; nothing without classes.
        names: Names of the classes of each part.
        groups: Its group, `(N,)`; nothing where each file is its own.
        notes: What a reader of results has to know.
    """

    splits: tuple[str, ...]
    labels: Tensor | None = None
    names: Names = field(default_factory=dict)
    groups: Tensor | None = None
    notes: tuple[str, ...] = ()

    def ready(self, x: Rows, files: Sequence[int]) -> dict[str, Observations]:
        """The observations of each split, or all under "" if there is none.

        Args:
            x: `(n, …)`.
            files: The places of the files that they are of, n.
        """
        own = torch.tensor(files, dtype=torch.long)
        labels, groups = (None if of is None else of[own] for of in (self.labels, self.groups))
        whole, found = Observations(x, labels, groups=groups), {}
        for split in dict.fromkeys(self.splits):
            rows = [row for row, file in enumerate(files) if self.splits[file] == split]
            found[split] = whole.take(torch.tensor(rows, dtype=torch.long))
        return found


def arranged(
    files: Sequence[str], pattern: str | None, groups: str | None, place: str, noun: str
) -> Arranged:
    """Split, label and group of files, from their paths.

    Sub-folders called `train` and `test` (and `validation`) are ready splits. Labels are told by
    the pattern; without one, the sub-folders (of a split) are the classes, if at least two of them
    hold all files, and are not the groups.

    Args:
        files: Paths relative to the folder, with `/`.
        pattern: Of `parts_of`, for labels.
        groups: Of `parts_of`, for what never spans two splits.
        place: The folder, for messages.
        noun: What a file is, for messages.

    Raises:
        DataError: If a name does not fit a pattern.
        UsageError: If a pattern is none, gives all files the same label, or makes labels of groups.
    """
    tops = {file.split("/")[0] for file in files}
    ready = {"train", "test"} <= tops <= set(_SPLITS)
    splits = tuple(_SPLITS[file.split("/")[0]] if ready else "" for file in files)
    paths = [file.split("/", 1)[1] if ready else file for file in files]
    words = _labels(paths, pattern, place, noun)
    classes = {part: sorted(set(own)) for part, own in words.items()}
    labels = together([numbers_of(own, classes[part]) for part, own in words.items()])
    names = {part: tuple(map(shown, own)) for part, own in classes.items()}
    if groups is None:
        return Arranged(splits, labels, names)
    own = [", ".join(_said(groups, path, "groups").values()) for path in paths]
    numbers, notes = grouping.numbered(own), list(grouping.notes_on(own, splits))
    same = grouping.same_as(labels, numbers)
    if same is not None and pattern is not None:
        raise grouping.refusal(list(names)[same], place)
    if same is not None:
        labels, names = None, {}
        notes.append("sub-folders are the groups, so no classes are made of them")
    return Arranged(splits, labels, names, numbers, tuple(notes))


def _labels(
    paths: Sequence[str], pattern: str | None, place: str, noun: str
) -> dict[str, list[str]]:
    """The words of each part of the labels, row for row; nothing without labels."""
    if pattern is None:
        folders = [path.split("/")[0] for path in paths if "/" in path]
        classes = len(folders) == len(paths) and len(set(folders)) > 1
        return {LABEL: folders} if classes else {}
    said = [_said(pattern, path, "labels") for path in paths]
    words = {part: [each[part] for each in said] for part in said[0]}
    for part, own in words.items():
        if len(set(own)) < 2:
            what = "label" if len(words) == 1 else part
            raise UsageError(
                f"labels {pattern!r} give every {noun} of {place} the same {what}, "
                f"{shown(own[0])!r}: expected at least two"
            )
    return words


def _said(pattern: str, path: str, option: str) -> dict[str, str]:
    whole = PurePosixPath(path)
    named = str(whole.parent / whole.stem) if "/" in pattern else whole.stem
    return parts_of(pattern, named, option)


def check_broken(broken: Sequence[tuple[str, str]], total: int, place: str, noun: str) -> list[str]:
    """Notes on files that were skipped.

    Args:
        broken: Their names, and what is wrong with each.
        total: How many files there are.
        place: Their folder.
        noun: What a file is.

    Raises:
        DataError: If they are more than one in a hundred; it names five.
    """
    if len(broken) > _TOLERATED * total:
        named = ", ".join(f"{shown(name)} ({why})" for name, why in broken[:_NAMED])
        more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        raise DataError(
            f"{len(broken)} of {counted(total, noun)} in {place} cannot be read: "
            f"{named}{more}: repair or remove them"
        )
    if not broken:
        return []
    was = "was" if len(broken) == 1 else "were"
    return [f"{counted(len(broken), 'file')} could not be read and {was} skipped"]
