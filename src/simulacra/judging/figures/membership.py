"""Whether samples know which real observations were trained on, and which were not."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.novelty import Floats, neighbours, prepared

ENOUGH = 5
"""Rows, of those with fewer, that samples must be spread over: fewer have no normal sum."""


def membership(train: Tensor, others: Tensor, samples: Tensor, *, seed: int = 0) -> Figure | None:
    """Z score of how many samples have a training observation as their nearest real one.

    Training observations and others like them are put together. Whoever draws without memory of
    single observations, however sharp or blurred, knows nothing of which of them were trained on:
    given the places, all ways to tell N of the M rows off as training rows are equally likely. If
    c_j samples are nearest to row j, the number of samples nearest to training rows, Σ_train c_j,
    then has the mean n N / M and the variance N (M − N) / (M (M − 1)) Σ (c_j − n / M)², exactly. A
    sample that is equally near to several takes one by chance. Tests by labels of nearest
    neighbours go back to Schilling 1986 (J. Am. Stat. Assoc. 81, 799).

    Far above 0, training observations are remembered; far below 0, the others were seen.

    Samples that crowd around a few rows, as those of a collapsed model do, say nothing: their sum
    is not normal, and there is no figure. The rows that count are (Σ c)² / Σ c², of which the
    smaller of the two sets has to have 5.

    Args:
        train: Features of training observations `(N, width)`.
        others: Of real observations drawn like them that were not trained on `(M − N, width)`.
        samples: Of samples `(n, width)`.
        seed: Of the order in which ties are broken.

    Raises:
        UsageError: If a set has fewer than 20 rows, or widths differ.
        DataError: If a feature is not finite.
    """
    known, new, drawn = prepared(train, others, samples)
    rows = len(known) + len(new)
    order = np.random.default_rng(seed).permutation(rows)
    pool: Floats = np.concatenate([known, new])[order]
    nearest = order[neighbours(pool, drawn, 2)[0][:, 0]]
    chosen = np.bincount(nearest, minlength=rows)
    spread_over = len(drawn) ** 2 / float((chosen**2).sum())
    if spread_over * min(len(known), len(new)) / rows < ENOUGH:
        return None
    mean = len(drawn) * len(known) / rows
    spread = float(((chosen - len(drawn) / rows) ** 2).sum())
    variance = len(known) * len(new) / (rows * (rows - 1)) * spread
    score = float(chosen[: len(known)].sum() - mean)
    return Figure(score / math.sqrt(variance) if variance > 0 else 0.0, len(drawn))
