"""How far codes are from independent ones, and whether they are sources that one knows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import norm, rankdata, spearmanr

Codes = NDArray[np.float64]
"""A row for each observation, a column for each code."""
PAIRS, SHUFFLES, NEIGHBOURS = 200, 100, 10


def normal(x: Codes) -> Codes:
    """Each column by its ranks, as if it were normal: dependence does not change by that."""
    made: Codes = norm.ppf(rankdata(x, axis=0) / (len(x) + 1))
    return made


def shuffled(x: Codes, rng: np.random.Generator) -> Codes:
    """The same columns, independent for certain."""
    return np.stack([rng.permutation(column) for column in x.T], 1)


def mutual_information(x: Codes, rng: np.random.Generator) -> Codes:
    """Of random pairs of columns, in nats, by their ten nearest neighbours; never below 0.

    The estimator of Kraskov, Stögbauer and Grassberger (2004), as scikit-learn has it.
    """
    from sklearn.feature_selection import mutual_info_regression

    dims = x.shape[1]
    every = [(i, j) for i in range(dims) for j in range(i)]
    chosen = rng.permutation(len(every))[:PAIRS]
    return np.array([
        mutual_info_regression(x[:, [i]], x[:, j], n_neighbors=NEIGHBOURS, random_state=0)[0]
        for i, j in (every[k] for k in chosen)
    ])  # fmt: skip


def spread(x: Codes) -> float:
    """Variance of Σ z², of normal columns; twice their number where these are independent.

    Larger where who is far out in one code is so in others, smaller where nobody is.
    """
    return float(np.square(x).sum(1).var())


def dependence(x: Codes, seed: int) -> dict[str, float]:
    """How far codes are from independent ones, beside what shuffled ones get.

    Args:
        x: `(N, dims)`.
        seed: Of the pairs and shuffles.

    Returns:
        `pairs` and `pairs_null`, the mean mutual information of two codes; `above`, the share of
        pairs above 95 % of those of shuffled codes; `spread`, times that of shuffled codes, of
        which 95 % lie from `spread_low` to `spread_high`.
    """
    rng = np.random.default_rng(seed)
    x = normal(x)
    found = mutual_information(x, np.random.default_rng(seed))
    repeats = max(1, SHUFFLES // len(found)) if len(found) < SHUFFLES else 1
    null = np.concatenate([
        mutual_information(shuffled(x, rng), np.random.default_rng(seed)) for _ in range(repeats)
    ])  # fmt: skip
    spreads = np.array([spread(shuffled(x, rng)) for _ in range(SHUFFLES)])
    return {
        "pairs": float(found.mean()),
        "pairs_null": float(null.mean()),
        "above": float((found > np.quantile(null, 0.95)).mean()),
        "spread": float(spread(x) / spreads.mean()),
        "spread_low": float(np.quantile(spreads, 0.025) / spreads.mean()),
        "spread_high": float(np.quantile(spreads, 0.975) / spreads.mean()),
    }


def recovered(z: Codes, s: Codes) -> float:
    """Mean rank correlation of sources with codes, each with its own, by the best matching.

    By ranks, for no independence tells a source from a monotone function of it.
    """
    dims = z.shape[1]
    each = np.abs(np.atleast_2d(spearmanr(z, s).statistic)[:dims, dims:])
    rows, columns = linear_sum_assignment(-each)
    return float(each[rows, columns].mean())
