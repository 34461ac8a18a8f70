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

from simulacra.data.contexts import check_varies, continuous, read_contexts
from simulacra.data.dataset import Dataset, Observations, smallest_dtype
from simulacra.data.form import MOST_LEVELS
from simulacra.data.formats.npy import NpzFile, read_npy, some
from simulacra.data.splits import ALIASES, FEWEST, arrange
from simulacra.ground.errors import DataError, UsageError
from simulacra.ground.spec import DataSpec

_WHOLE = ("x", "images", "data", "X")
_LABELS = ("y", "labels")
_Part = tuple[NDArray[Any], NDArray[Any] | None]


def load_arrays(path: Path, levels: int | None = None) -> Dataset:
    """The data set of an .npy or .npz file, split if it is not already.

    In an .npz, the observations are `x`, `images`, `data`, `X` or the only array, their labels
    `y` or `labels`; ready splits are `train`, `validation` (or `valid`, `val`) and `test`, also
    as `x_train` or `train_images`, with labels `train_labels` or `y_train`. Labels are integers
    or words `(N,)`; floats `(N, D)` are vectors of context.

    Args:
        path: The file.
        levels: Taken as the number of levels if the integers all lie below it. Without it, uint8
            has 256 (or 2, if it is only 0 and 1), other integers one more than their largest.

    Raises:
        DataError: If the file is broken or holds something else.
        UsageError: If levels are asked of continuous vectors.
    """
    parts = {"": (read_npy(path), None)} if path.suffix.lower() == ".npy" else _parts(path)
    total = sum(len(x) if x.ndim else 0 for x, _ in parts.values())
    if total < FEWEST:
        raise DataError(f"{path} holds {total} observations, expected at least {FEWEST}: add more")
    arrays, notes = _oriented([x for x, _ in parts.values()], path)
    if arrays[0].dtype.kind == "f":
        if levels is not None:
            raise UsageError(f"{path} holds continuous vectors, which have no levels")
        tensors = [continuous(x, path) for x in arrays]
        own = None
    else:
        own = _count_levels(arrays, levels, path)
        if levels == own and own != _count_levels(arrays, None, path):
            notes.append(f"levels declared, not reduced: every value is below {own} already")
        dtype = torch.empty(0, dtype=smallest_dtype(own)).numpy().dtype
        # always a copy: what was read from a file is read-only, and has any byte order
        tensors = [torch.from_numpy(x.astype(dtype, order="C")) for x in arrays]
    contexts, class_names = read_contexts([y for _, y in parts.values()], tensors, path)
    ready = {
        name: Observations(x, context)
        for name, x, context in zip(parts, tensors, contexts, strict=True)
    }
    width = contexts[0]
    spec = DataSpec(
        tuple(tensors[0].shape[1:]),
        own,
        classes=len(class_names),
        context_width=0 if width is None or class_names else width.shape[1],
    )
    splits = arrange(ready, path)
    if own is None:
        names = [str(number) for number in range(1, spec.dims + 1)]
        check_varies(splits["train"].x[:], names, str(path))
    return Dataset(
        name=path.name,
        spec=spec,
        **splits,
        class_names=class_names,
        description=f"Arrays from {path}.",
        notes=tuple(notes),
    )


def _parts(path: Path) -> dict[str, _Part]:
    """Observations and labels by split, or under "" if they are one piece."""
    with NpzFile(path) as npz:

        def first(names: tuple[str, ...]) -> NDArray[Any] | None:
            return next((npz.read(name) for name in names if name in npz.names), None)

        whole = first(_WHOLE)
        if whole is not None:
            return {"": (whole, first((*_LABELS, "context")))}
        parts: dict[str, _Part] = {}
        for split, aliases in ALIASES.items():
            x = first(tuple(f for a in aliases for f in (a, f"x_{a}", f"{a}_images")))
            if x is not None:
                y = tuple(f for a in aliases for f in (f"{a}_labels", f"y_{a}", f"{a}_context"))
                parts[split] = (x, first(y))
        if list(parts) == ["train"]:
            x, y_train = parts["train"]
            return {"": (x, first(_LABELS) if y_train is None else y_train)}
        others = [name for name in npz.names if name not in _LABELS]
        if not parts and len(others) == 1:
            return {"": (npz.read(others[0]), first(_LABELS))}
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
