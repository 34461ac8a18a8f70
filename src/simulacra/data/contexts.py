"""What comes beside observations: labels, or vectors of context."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulacra.errors import DataError

_MOST_SPARSE = 1000
"""Labels may leave gaps in their numbers up to here; beyond, they are not numbers of classes."""


def read_contexts(
    given: list[NDArray[Any] | None], observations: list[Tensor], path: Path
) -> tuple[list[Tensor | None], tuple[str, ...]]:
    """Context of every split, and the names of the classes if it is labels.

    Args:
        given: For each split integers or words `(N,)` or `(N, 1)`, floats `(N, D)`, or nothing.
        observations: The observations of the same splits.
        path: Where they come from.

    Returns:
        Labels `(N,)` int64 or vectors `(N, D)` float32 for each split, and one name for each
        class: the words in alphabetical order, or the numbers from 0.

    Raises:
        DataError: If they do not fit the observations or each other.
    """
    present = [y for y in given if y is not None]
    if not present:
        return [None] * len(given), ()
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
        return [continuous(y, path) for y in present], ()
    if axes != 1 or kind == "f":
        raise DataError(
            f"{path} should have labels as integers or words (N,), or context as floats (N, D), "
            f"got {present[0].dtype} {present[0].shape}"
        )
    if kind == "U":
        words = np.unique(np.concatenate(present))
        places = [torch.from_numpy(np.searchsorted(words, y).astype(np.int64)) for y in present]
        return list(places), tuple(str(word) for word in words)
    every = np.concatenate(present)
    smallest, largest = int(every.min()), int(every.max())
    if smallest < 0 or largest >= max(_MOST_SPARSE, len(every)):
        raise DataError(
            f"{path} should have labels numbered from 0, got {smallest} … {largest}: renumber them"
        )
    labels = [torch.from_numpy(y.astype(np.int64)) for y in present]
    return list(labels), tuple(str(i) for i in range(largest + 1))


def _column(y: NDArray[Any]) -> NDArray[Any]:
    """Labels that come as a column, flat."""
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 and y.dtype.kind != "f" else y


def continuous(x: NDArray[Any], path: Path) -> Tensor:
    """Float vectors `(N, D)` as float32.

    Raises:
        DataError: If one is NaN or infinite, or too large for float32.
    """
    with np.errstate(over="ignore"):
        floats = torch.from_numpy(x.astype(np.float32))
    broken = int((~floats.isfinite()).flatten(1).any(1).sum())
    if broken:
        raise DataError(
            f"{path} has NaN or infinite values in {broken} of {len(x)} rows: repair or drop them"
        )
    return floats
