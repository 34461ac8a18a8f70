"""How far observations lie out of what a model has learned, by two scores; and how well these tell.

−log p alone misleads: it also measures how complex an observation is, so that simple ones from
elsewhere may score below the data themselves (Nalisnick et al. 2019, arXiv 1810.09136).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.ground.errors import UsageError

QUANTILE = 0.99
"""Share of the reference that lies below the threshold."""


@dataclass(frozen=True, eq=False)
class Separation:
    """How a score tells observations from a reference.

    Args:
        threshold: Below which 99 % of the reference lie.
        beyond: Which of the observations lie above it, booleans `(N,)`.
        auroc: Probability that an observation scores above one of the reference, ties counted
            half: 0.5 where the score tells nothing, below where it says the opposite.
        standard_error: Of it (DeLong, DeLong and Clarke-Pearson 1988); NaN of one observation.
    """

    threshold: float
    beyond: Tensor
    auroc: float
    standard_error: float


def separation(scores: Tensor, reference: Tensor) -> Separation:
    """How scores tell observations from a reference; NaN counts as infinite.

    Args:
        scores: Of the observations `(N,)`.
        reference: Of observations like those that the model learned from, `(M,)`.

    Raises:
        UsageError: If there are none of either.
    """
    if not len(scores) or not len(reference):
        raise UsageError("a separation needs at least one score of each")
    ours = scores.double().nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf)
    theirs = reference.double().nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf)
    # the smallest value that at least so many lie at or below: no mean of two, one of which may be
    # infinite
    place = min(len(theirs) - 1, math.ceil(QUANTILE * len(theirs)) - 1)
    threshold = float(theirs.sort().values[place])
    below = _share_below(ours, theirs)
    above = 1 - _share_below(theirs, ours)
    enough = len(ours) > 1 and len(theirs) > 1
    variance = float(below.var() / len(ours) + above.var() / len(theirs)) if enough else math.nan
    return Separation(threshold, ours > threshold, float(below.mean()), math.sqrt(variance))


def _share_below(values: Tensor, others: Tensor) -> Tensor:
    """For each value, which share of others is smaller, equal ones counted half."""
    ordered = others.sort().values
    smaller = torch.searchsorted(ordered, values, right=False)
    not_larger = torch.searchsorted(ordered, values, right=True)
    return (smaller + not_larger).double() / (2 * len(ordered))


def corrected(nats: Tensor, bits: Tensor) -> Tensor:
    """The complexity-corrected score S = −log₂ p(x) − L(x), in bits, `(N,)` float64.

    A likelihood ratio between the model and a code that knows nothing of the data: high where the
    model needs more bits than a plain compressor.

    Paper: J. Serrà et al., "Input Complexity and Out-of-distribution Detection with
        Likelihood-based Generative Models", 2020, arXiv 1909.11480, section 3.

    Args:
        nats: Log p(x), `(N,)`.
        bits: L(x), `(N,)`; see `compressed_bits`.
    """
    return -nats.double() / math.log(2) - bits.double()
