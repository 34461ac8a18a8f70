"""What a bound is whose draws are averaged: a mean, known but for its standard error."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.models.model import Likelihood

_SEEDS, _DRAWS = 12, 16
"""Of each observation: draws of one seed are spread over the times, seeds tell how certain."""


def probabilities(
    model: Likelihood, x: Tensor, context: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The exponentials of what a bound over times is on average, and their standard errors.

    An estimate that is right on average has an exponential that is too large on average: by half
    its variance, in the logarithm, where that is small. Where it is not, four standard errors less
    are what the logarithm surely is.

    Args:
        model: One whose draws are averaged.
        x: Observations `(N, *event_shape)`.
        context: One row for each.

    Returns:
        Two times `(N,)`, in float64; no error of what is surely less.
    """
    mean, error = means(model, x, context, draws=_DRAWS, seeds=_SEEDS)
    known = error < 1
    p = torch.where(known, mean - error.square() / 2, mean - 4 * error).exp()
    return p, torch.where(known, p * error, 0)


def means(
    model: Likelihood, x: Tensor, context: Tensor | None, *, draws: int, seeds: int
) -> tuple[Tensor, Tensor]:
    """The mean of log-likelihoods over seeds, and its standard error; each `(N,)` float64.

    Args:
        model: With a likelihood.
        x: Observations.
        context: One row for each.
        draws: Of each seed.
        seeds: How many, at least two.
    """
    found = torch.stack(
        [model.log_likelihood(x, context, draws=draws, seed=seed) for seed in range(seeds)]
    ).double()
    return found.mean(0), found.std(0) / seeds**0.5
