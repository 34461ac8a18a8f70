"""What the names of files say, whatever is in them: split and class; and how many may be broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from simulacra.data.formats.listing import counted, shown
from simulacra.data.label_patterns import label_of
from simulacra.data.splits import ALIASES
from simulacra.ground.errors import DataError, UsageError

_TOLERATED = 0.01
"""The share of files that may be unreadable before all are refused."""
_NAMED = 5
"""How many unreadable files an error names."""
_SPLITS = {alias: split for split, aliases in ALIASES.items() for alias in aliases}


@dataclass(frozen=True)
class Arranged:
    """Split and class of each file.

    Args:
        splits: The split of each file, "" where the folder has no ready ones.
        labels: Its class's number; nothing without classes.
        classes: Names of the classes.
    """

    splits: dict[str, str]
    labels: dict[str, int]
    classes: tuple[str, ...]


def arranged(files: Sequence[str], pattern: str | None, place: str, noun: str) -> Arranged:
    """Split and class of files, from their paths.

    Sub-folders called `train` and `test` (and `validation`) are ready splits. Classes are named by
    the pattern; without one, the sub-folders (of a split) are the classes, if at least two of them
    hold all files.

    Args:
        files: Paths relative to the folder, with `/`.
        pattern: Of `label_of`, for names without their ending.
        place: The folder, for messages.
        noun: What a file is, for messages.

    Raises:
        DataError: If a name does not fit the pattern.
        UsageError: If the pattern is none, or gives all files the same label.
    """
    tops = {file.split("/")[0] for file in files}
    ready = {"train", "test"} <= tops <= set(_SPLITS)
    parts = {file: file.split("/", 1) if ready else ["", file] for file in files}
    splits = {file: _SPLITS[top] if ready else "" for file, (top, _) in parts.items()}
    if pattern is not None:
        words = {file: label_of(pattern, PurePosixPath(file).stem) for file in files}
        if len(set(words.values())) < 2:
            raise UsageError(
                f"labels {pattern!r} give every {noun} of {place} the same label, "
                f"{shown(words[files[0]])!r}: expected at least two"
            )
    else:
        words = {file: rest.split("/")[0] for file, (_, rest) in parts.items() if "/" in rest}
        if len(words) < len(files) or len(set(words.values())) < 2:
            words = {}
    classes = tuple(sorted(set(words.values())))
    numbers = {name: number for number, name in enumerate(classes)}
    return Arranged(splits, {file: numbers[word] for file, word in words.items()}, classes)


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
