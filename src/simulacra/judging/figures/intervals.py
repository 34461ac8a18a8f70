"""How far a mean or a share may be off: standard errors, degrees of freedom, 95 % intervals."""

from __future__ import annotations

import math

import torch
from scipy.special import stdtrit
from torch import Tensor

from simulacra.judging.figures.figure import Figure

_Z = 1.959963984540054  # of a normal distribution, 95 % within


def standard_error(
    values: Tensor, valid: Tensor | None = None, groups: Tensor | None = None
) -> float:
    """Standard error of a mean; NaN of one value, of which the spread is unknown, not zero.

    Values that share a group may depend on each other in any way: the error is that of the
    jackknife which leaves out a group at a time, √((G − 1) / G Σ (r / (1 − w))²) / N, with r the
    sum of a group's residuals and w its share of the data. Of groups of one size that is the
    cluster-robust error of Liang and Zeger (1986), √(G / (G − 1) Σ r²) / N, which comes out too
    small where one group is much of the data.

    Args:
        values: `(N,)` float64.
        valid: Valid samples of each. The error is then that of Σ values / Σ valid, times the mean
            of `valid`, by the delta method: that ratio varies as the mean of
            v − n Σv / Σn does, over the mean of n.
        groups: Which unit of independence each belongs to, `(N,)` int64; each its own otherwise.
            One group alone has no known spread either.
    """
    spread = values if valid is None else values - valid * (values.sum() / valid.sum())
    if groups is None:
        return float(spread.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan
    sums, shares = _by_group(spread - spread.mean(), groups), _shares(valid, groups)
    if len(sums) < 2:
        return math.nan
    left = (sums / (1 - shares)).square().mean()
    return math.sqrt(float(left) * (len(sums) - 1)) / len(values)


def degrees_of_freedom(
    observations: int, valid: Tensor | None = None, groups: Tensor | None = None
) -> float:
    """Student's degrees of freedom of a mean with `standard_error`, at least 1.

    One less than the observations or, of groups, than as many as tell as much if all were of one
    size: 1 / Σ w² by their shares w (Kish 1965).
    """
    if groups is None:
        return max(observations - 1.0, 1.0)
    return max(1 / float(_shares(valid, groups).square().sum()) - 1, 1.0)


def half_width(error: float, degrees: float) -> float:
    """Half of the 95 % interval about a mean, by Student's t.

    Args:
        error: Standard error of the mean.
        degrees: Degrees of freedom; see `degrees_of_freedom`.
    """
    return error * float(stdtrit(degrees, 0.975))


def _shares(valid: Tensor | None, groups: Tensor) -> Tensor:
    """Each group's share of the data, by valid samples where they are known; `(G,)` float64."""
    return _by_group(torch.ones(len(groups)) if valid is None else valid, groups) / (
        len(groups) if valid is None else valid.sum()
    )


def _by_group(values: Tensor, groups: Tensor) -> Tensor:
    """The sum of each group's values, `(G,)` float64."""
    present, own = groups.unique(return_inverse=True)
    return torch.zeros(len(present), dtype=torch.float64).index_add(0, own, values.double())


def share(value: float, count: int, independent: float | None = None) -> Figure:
    """A share with the 95 % interval of Wilson (1927), which stays within 0 … 1.

    Args:
        value: The share.
        count: Observations or samples behind it.
        independent: How many independent trials tell as much, where these are not as many.
    """
    n = count if independent is None else independent
    scale = 1 + _Z**2 / n
    middle = (value + _Z**2 / (2 * n)) / scale
    half = _Z * math.sqrt(value * (1 - value) / n + (_Z / (2 * n)) ** 2) / scale
    # rounding must not push the ends past the share itself
    low, high = max(0.0, min(middle - half, value)), min(1.0, max(middle + half, value))
    return Figure(value, count, low, high)
