"""Data sets from .npy and .npz files: which array is what, and what its numbers mean.

Integers `(N, H, W)`, `(N, H, W, C)` or `(N, C, H, W)` with one or three channels are images;
integers `(N, D)` are vectors of ordered levels; floats `(N, D)` are continuous vectors. Where
both ends of four axes could be channels, they are taken to be last, as NumPy and Pillow do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulacra.data.columns import in_columns
from simulacra.data.contexts import continuous, read_contexts
from simulacra.data.dataset import Dataset, Observations, smallest_dtype
from simulacra.data.form import MOST_LEVELS
from simulacra.data.formats.npy import NpzFile, read_npy, some
from simulacra.data.labels import Names, form_of, names_of, untold_note
from simulacra.data.splits import ALIASES, FEWEST, arrange
from simulacra.data.tables import groups_of
from simulacra.ground.errors import DataError, UsageError, nearest
from simulacra.ground.spec import DataSpec

_WHOLE = ("x", "images", "data", "X")
_LABELS = ("y", "labels")
_Part = tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]


def load_arrays(path: Path, levels: int | None = None, groups: str | None = None) -> Dataset:
    """The data set of an .npy or .npz file, split if it is not already.

    In an .npz, the observations are `x`, `images`, `data`, `X` or the only array, their labels
    `y` or `labels`; ready splits are `train`, `validation` (or `valid`, `val`) and `test`, also
    as `x_train` or `train_images`, with labels `train_labels` or `y_train`. Labels are integers
    or words `(N,)`, or `(N, K)` of K parts, of integers with −1 where one is not told; floats
    `(N, D)` are vectors of context.

    Args:
        path: The file.
        levels: Taken as the number of levels if the integers all lie below it. Without it, uint8
            has 256 (or 2, if it is only 0 and 1), other integers one more than their largest.
        groups: The name of an array with the group of each observation, integers or words `(N,)`;
            of ready splits, `train_NAME` and so on.

    Raises:
        DataError: If the file is broken or holds something else, or there are too few groups.
        UsageError: If levels are asked of continuous vectors, or groups that are not there or are
            the labels.
    """
    single = path.suffix.lower() == ".npy"
    if single and groups is not None:
        raise UsageError(f"{path} is one array: groups are another one beside it, in an .npz")
    parts = {"": (read_npy(path), None, None)} if single else _parts(path, groups)
    total = sum(len(x) if x.ndim else 0 for x, *_ in parts.values())
    if total < FEWEST:
        raise DataError(f"{path} holds {total} observations, expected at least {FEWEST}: add more")
    arrays, notes = _oriented([x for x, *_ in parts.values()], path)
    if arrays[0].dtype.kind == "f":
        if levels is not None:
            raise UsageError(f"{path} holds continuous vectors, which have no levels")
        tensors = [continuous(x, path, wide=True) for x in arrays]
        own = None
    else:
        own = _count_levels(arrays, levels, path)
        if levels == own and own != _count_levels(arrays, None, path):
            notes.append(f"levels declared, not reduced: every value is below {own} already")
        dtype = torch.empty(0, dtype=smallest_dtype(own)).numpy().dtype
        # always a copy: what was read from a file is read-only, and has any byte order
        tensors = [torch.from_numpy(x.astype(dtype, order="C")) for x in arrays]
    contexts, names = read_contexts([y for _, y, _ in parts.values()], tensors, path)
    if names:
        notes += untold_note(*contexts)
    given = {split: g for split, (*_, g) in parts.items() if g is not None}
    grouped, told = _grouped(given, tensors, contexts if names else None, names, path)
    notes += told
    ready = {
        name: Observations(x, context, groups=group)
        for name, x, context, group in zip(parts, tensors, contexts, grouped, strict=True)
    }
    width = contexts[0]
    spec = DataSpec(
        tuple(tensors[0].shape[1:]),
        own,
        context_width=0 if width is None or names else width.shape[1],
        **form_of(names, str(path)),
    )
    splits = arrange(ready, path)
    if own is None:
        columns = [str(number) for number in range(1, spec.dims + 1)]
        spec, splits = in_columns(splits, spec, columns, str(path))
    return Dataset(
        name=path.name,
        spec=spec,
        **splits,
        **names_of(names),
        description=f"Arrays from {path}.",
        notes=tuple(notes),
    )


def _grouped(
    given: dict[str, NDArray[Any]],
    tensors: list[Tensor],
    labels: list[Tensor | None] | None,
    names: Names,
    path: Path,
) -> tuple[list[Tensor | None], list[str]]:
    """The group of each observation, split by split, and notes.

    Raises:
        DataError: If there is not one for each, a word or an integer.
        UsageError: If labels are what the groups are.
    """
    if not given:
        return [None] * len(tensors), []
    for g, x in zip(given.values(), tensors, strict=True):
        if g.shape != (len(x),) or g.dtype.kind not in "iuU":
            raise DataError(
                f"{path} should have groups as integers or words ({len(x)},), a group for each "
                f"observation, got {g.dtype} {g.shape}"
            )
    sizes = [len(x) for x in tensors]
    words = [str(word) for g in given.values() for word in g.tolist()]
    told = None if labels is None else torch.cat([y for y in labels if y is not None])
    splits = [split for split, size in zip(given, sizes, strict=True) for _ in range(size)]
    groups, notes = groups_of(words, told, names, str(path), splits)
    assert groups is not None  # there are words
    return list(groups.split(sizes)), notes


def _parts(path: Path, groups: str | None) -> dict[str, _Part]:
    """Observations, labels and groups by split, or under "" if they are one piece.

    Raises:
        DataError: If the observations are not found.
        UsageError: If the groups are not.
    """
    with NpzFile(path) as npz:

        def first(names: tuple[str, ...]) -> NDArray[Any] | None:
            return next((npz.read(name) for name in names if name in npz.names), None)

        def grouped(*names: str) -> NDArray[Any] | None:
            if groups is None:
                return None
            found = first(names)
            if found is None:
                raise UsageError(
                    f"{path} has no array {names[0]!r} of groups: {nearest(names[0], npz.names)}"
                )
            return found

        whole = first(_WHOLE)
        if whole is not None:
            return {"": (whole, first((*_LABELS, "context")), grouped(str(groups)))}
        parts: dict[str, _Part] = {}
        for split, aliases in ALIASES.items():
            x = first(tuple(f for a in aliases for f in (a, f"x_{a}", f"{a}_images")))
            if x is not None:
                y = tuple(f for a in aliases for f in (f"{a}_labels", f"y_{a}", f"{a}_context"))
                own = (f"{a}_{groups}" for a in aliases)
                # of one piece called train, the array may be called as if it were all
                parts[split] = (x, first(y), grouped(*own, *[str(groups)] * (split == "train")))
        if list(parts) == ["train"]:
            x, y_train, own_groups = parts["train"]
            return {"": (x, first(_LABELS) if y_train is None else y_train, own_groups)}
        others = [name for name in npz.names if name not in (*_LABELS, groups)]
        if not parts and len(others) == 1:
            return {"": (npz.read(others[0]), first(_LABELS), grouped(str(groups)))}
        if not parts:
            raise DataError(
                f"{path} should hold its observations under x, images, data or X, or train and "
                f"test, got {some(npz.names)}: rename them"
            )
        return parts


def _oriented(arrays: list[NDArray[Any]], path: Path) -> tuple[list[NDArray[Any]], list[str]]:
    """Arrays as `(N, C, H, W)` or `(N, D)`, all of one form, and notes on what was guessed."""
    first = arrays[0]
    for x in arrays:
        if x.dtype.kind not in "biuf":
            raise DataError(f"{path} should hold numbers as observations, got {x.dtype}")
        if x.shape[1:] != first.shape[1:] or (x.dtype.kind == "f") != (first.dtype.kind == "f"):
            raise DataError(
                f"{path} has splits of several forms, {first.dtype} {first.shape} and {x.dtype} "
                f"{x.shape}: give all the same"
            )
        if 0 in x.shape:
            raise DataError(f"{path} has an array without values, shape {x.shape}: leave it out")
    shape = first.shape
    if first.dtype.kind == "f" and first.ndim != 2:
        raise DataError(
            f"{path} holds floats of shape {shape}, expected (N, D): save images as integer "
            "levels, such as (255 * x).round().astype('uint8')"
        )
    if first.ndim == 2:
        return arrays, []
    if first.ndim == 3:
        return [x[:, None] for x in arrays], []
    if first.ndim == 4 and shape[3] in (1, 3):
        guessed = shape[1] in (1, 3) and shape[1:] != (1, 1, 1)
        notes = [f"shape {shape} read as (N, H, W, C)"] if guessed else []
        return [x.transpose(0, 3, 1, 2) for x in arrays], notes
    if first.ndim == 4 and shape[1] in (1, 3):
        return arrays, []
    raise DataError(
        f"{path} should hold images (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, "
        f"or vectors (N, D), got {first.dtype} {shape}"
    )


def _count_levels(arrays: list[NDArray[Any]], asked: int | None, path: Path) -> int:
    smallest, largest = min(int(x.min()) for x in arrays), max(int(x.max()) for x in arrays)
    if smallest < 0:
        raise DataError(
            f"{path} has negative integers (down to {smallest}), expected levels from 0: shift "
            "them, or save floats for continuous vectors"
        )
    if largest >= MOST_LEVELS:
        raise DataError(
            f"{path} has integers up to {largest}, expected levels below {MOST_LEVELS}: save "
            "floats for continuous vectors"
        )
    narrow = all(x.dtype == np.uint8 for x in arrays)
    if asked is not None and largest < asked and (asked <= 256 or not narrow):
        return asked
    if largest <= 1:
        return 2
    return 256 if narrow else largest + 1
