"""What comes beside observations: labels, or vectors of context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulacra.data.augment import Augmented
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.formats.npy import NpzFile, read_npy, some
from simulacra.data.labels import LABEL, Names, together
from simulacra.data.splits import ALIASES, permutation
from simulacra.ground.errors import DataError, UsageError

_MOST_SPARSE = 1000
"""Labels may leave gaps in their numbers up to here; beyond, they are not numbers of classes."""


def read_contexts(
    given: list[NDArray[Any] | None], observations: list[Tensor], path: Path
) -> tuple[list[Tensor | None], Names]:
    """Context of every split, and the names of the classes if it is labels.

    Args:
        given: For each split integers or words `(N,)`, or `(N, K)` of K parts; floats `(N, D)`; or
            nothing. The integer −1 is a label that is not told.
        observations: The observations of the same splits.
        path: Where they come from.

    Returns:
        Labels `(N,)` or `(N, K)` int64, or vectors `(N, D)` float32, for each split; and of labels
        the names of the classes of each part: the words in alphabetical order, or the numbers
        from 0. Parts are called part1, part2 and so on.

    Raises:
        DataError: If they do not fit the observations or each other.
    """
    present = [y for y in given if y is not None]
    if not present:
        return [None] * len(given), {}
    if len(present) < len(given):
        raise DataError(f"{path} has labels for some splits only: give them for all or for none")
    present = [_column(y) for y in present]
    for y, x in zip(present, observations, strict=True):
        if y.ndim == 0 or len(y) != len(x):
            raise DataError(f"{path} has {len(x)} observations but labels of shape {y.shape}")
        if (y.dtype.kind, y.ndim) != (present[0].dtype.kind, present[0].ndim):
            raise DataError(f"{path} has labels of several kinds: give the same for all splits")
    kind, axes = present[0].dtype.kind, present[0].ndim
    if kind == "f" and axes == 2:
        if len({y.shape[1] for y in present}) > 1 or not present[0].shape[1]:
            raise DataError(f"{path} has context vectors of several widths, or of none")
        return [continuous(y, path) for y in present], {}
    if len({y.shape[1:] for y in present}) > 1:
        raise DataError(f"{path} has labels of several numbers of parts: give all splits as many")
    every = np.concatenate(present)
    several = axes == 2 and all(len(np.unique(column)) > 1 for column in every.T)
    if kind not in "biuU" or not (axes == 1 or several):
        raise DataError(
            f"{path} should have labels as integers or words (N,), or (N, K) of K parts that each "
            f"vary, or context as floats (N, D), got {present[0].dtype} {present[0].shape}"
        )
    columns = [every] if axes == 1 else list(every.T)
    found = [_classes_of(column, path) for column in columns]
    called = [LABEL] if axes == 1 else [f"part{place}" for place in range(1, len(found) + 1)]
    labels = together([numbers for numbers, _ in found])
    assert labels is not None  # there is a column
    names = {name: own for name, (_, own) in zip(called, found, strict=True)}
    return list(labels.split([len(y) for y in present])), names


def _classes_of(labels: NDArray[Any], path: Path) -> tuple[Tensor, tuple[str, ...]]:
    """Numbers of classes `(N,)` int64, and the classes' names.

    Raises:
        DataError: If they are no numbers of classes.
    """
    if labels.dtype.kind == "U":
        words, numbers = np.unique(labels, return_inverse=True)
        return torch.from_numpy(numbers.astype(np.int64)), tuple(str(word) for word in words)
    smallest, largest = int(labels.min()), int(labels.max())
    if smallest < -1 or not 0 <= largest < max(_MOST_SPARSE, len(labels)):
        raise DataError(
            f"{path} should have labels numbered from 0, or −1 where one is not told, got "
            f"{smallest} … {largest}: renumber them"
        )
    return torch.from_numpy(labels.astype(np.int64)), tuple(str(i) for i in range(largest + 1))


def _column(y: NDArray[Any]) -> NDArray[Any]:
    """Labels that come as a column, flat."""
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 and y.dtype.kind != "f" else y


def check_varies(train: Tensor, names: Sequence[str], origin: str) -> None:
    """Refuse a column of a table where every density would be infinite.

    Args:
        train: All training rows `(N, D)`.
        names: Of the columns.
        origin: Where they come from, for the message.

    Raises:
        DataError: If a column takes one value in all of them.
    """
    for name, column in zip(names, train.T, strict=True):
        if bool((column == column[0]).all()):
            raise DataError(
                f"{origin}: column {name!r} takes one value in all training rows, where a density "
                "is infinite: drop the column"
            )


def continuous(x: NDArray[Any], path: Path, *, wide: bool = False) -> Tensor:
    """Vectors `(N, D)` as float32.

    Args:
        x: Numbers.
        path: Where they come from.
        wide: As float64 where float32 may not hold what they are stored as.

    Raises:
        DataError: If one is NaN or infinite, or too large for the kind of float.
    """
    narrow = not wide or x.dtype in (np.float16, np.float32)
    with np.errstate(over="ignore"):
        floats = torch.from_numpy(x.astype(np.float32 if narrow else np.float64))
    broken = int((~floats.isfinite()).flatten(1).any(1).sum())
    if broken:
        raise DataError(
            f"{path} has NaN or infinite values in {broken} of {len(x)} rows: repair or drop them"
        )
    return floats


def with_contexts(dataset: Dataset, path: Path) -> Dataset:
    """The data set with a vector of context beside each observation, in place of its labels.

    Args:
        dataset: Any.
        path: An .npz with arrays `train`, `validation` and `test`, floats `(N, D)` row for row as
            the splits are. Of data that came without all three splits, also one array in the
            order of the source (an .npy, or an .npz with one), or `train` with what validation
            was taken from and `test`. Words `run` and `hash` tell where the vectors come from.

    Raises:
        UsageError: If the name is that of another kind of file.
        DataError: If there is no such file, or its vectors do not fit the observations.
    """
    if path.suffix.lower() not in (".npy", ".npz"):
        raise UsageError(
            f"context is an .npy or .npz file, got {path.name!r}; codes of a run's model are told "
            "by --context RUN, or in Python by Run.tell"
        )
    if not path.exists():
        raise DataError(f"{path} does not exist: name the file of the context vectors")
    given, told = ({"": read_npy(path)}, "") if path.suffix.lower() == ".npy" else _vectors(path)
    for name, values in given.items():
        if values.ndim != 2 or values.dtype.kind != "f" or not values.shape[1]:
            raise DataError(
                f"{path} should hold context as floats (N, D), got {values.dtype} {values.shape}"
                + (f" for {name}" if name else "")
            )
    widths = {values.shape[1] for values in given.values()}
    if len(widths) > 1:
        raise DataError(f"{path} has context vectors of several widths, {sorted(widths)}")
    rows = {name: continuous(each, path) for name, each in _rows(dataset, given, path).items()}
    return with_vectors(dataset, rows, f"context vectors from {path.name}{told}")


def with_vectors(dataset: Dataset, rows: Mapping[str, Tensor], note: str) -> Dataset:
    """The data set with vectors of context in place of its labels.

    Args:
        dataset: Any.
        rows: Of each split, floats `(N, D)` row for row.
        note: Where they come from.
    """

    def told(split: Observations, vectors: Tensor) -> Observations:
        if isinstance(split, Augmented) and split.base is not None:
            # of a picture as it was before it is changed
            return replace(split, context=vectors, base=told(split.base, vectors))
        return replace(split, context=vectors)

    splits = {name: told(split, rows[name]) for name, split in dataset.splits.items()}
    notes = [note]
    if dataset.spec.classes:
        notes.append("labels were replaced by context vectors")
    width = rows["train"].shape[1]
    return replace(
        dataset,
        spec=replace(dataset.spec, classes=0, parts=(), context_width=width),
        class_names=(),
        part_names={},
        notes=(*dataset.notes, *notes),
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
    )


def _vectors(path: Path) -> tuple[dict[str, NDArray[Any]], str]:
    """The arrays of an .npz by split, or under "" if they are one; and where they come from."""
    with NpzFile(path) as npz:
        words = {
            name: str(value)
            for name in ("run", "hash")
            if name in npz.names and (value := npz.read(name)).dtype.kind == "U"
        }
        told = "".join(f", {name} {word}" for name, word in words.items())
        names = {
            split: next((alias for alias in aliases if alias in npz.names), None)
            for split, aliases in ALIASES.items()
        }
        ready = {split: npz.read(name) for split, name in names.items() if name is not None}
        others = [name for name in npz.names if name not in words]
        if not ready and len(others) == 1:
            return {"": npz.read(others[0])}, told
        if ready.keys() in ({"train", "test"}, ALIASES.keys()):
            return ready, told
        raise DataError(
            f"{path} should hold context vectors train, validation and test, or one array, got "
            f"{some(npz.names)}: rename them"
        )


def _rows(dataset: Dataset, given: dict[str, NDArray[Any]], path: Path) -> dict[str, NDArray[Any]]:
    """The vectors of each split.

    Raises:
        DataError: If there are more or fewer than observations.
    """
    counts = dataset.counts
    train, validation, test = counts.values()
    total = train + validation + test
    have = {name: len(values) for name, values in given.items()}
    if have == counts:
        return given
    # windows were cut after the split: which of them a row belongs to, nobody knows; groups are
    # split otherwise
    by_row = dataset.spec.rate is None and dataset.train.groups is None
    splittable = dataset.split_seed is not None and by_row
    whole = (round(total / 5), round(total / 10)) == (test, validation)
    if splittable and whole and have == {"": total}:
        order = permutation(total, dataset.split_seed or 0).numpy()
        values = given[""][order]
        return {
            "test": values[:test],
            "validation": values[test : test + validation],
            "train": values[test + validation :],
        }
    if splittable and not whole and have == {"train": train + validation, "test": test}:
        order = permutation(train + validation, dataset.split_seed or 0).numpy()
        values = given["train"][order]
        return {
            "validation": values[:validation], "train": values[validation:], "test": given["test"]
        }  # fmt: skip
    expected = f"train ({train}, D), validation ({validation}, D) and test ({test}, D)"
    if splittable:
        pieces = f"one array ({total}, D)" if whole else f"train ({train + validation}, D) and test"
        expected += f", or {pieces} in the order of {dataset.name}"
    got = ", ".join(f"{name} {values.shape}".strip() for name, values in given.items())
    raise DataError(f"{path} should hold context vectors {expected}; got {got}")
