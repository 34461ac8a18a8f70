"""Diagonal Gaussians over the bins of levels, of many components at once."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torch.utils.checkpoint import checkpoint

from simulacra.nn.distributions import DiscretisedNormal


def log_masses(x: Tensor, loc: Tensor, scale: Tensor, levels: int, alive: Tensor) -> Tensor:
    """Log-probability of rows of levels under each component, `(N, K)`.

    Steps over large observations go by the nearest components of each row alone: a sum without the
    others is a lower bound, and their part of it is next to nothing. Scores go by all. Components
    that are not there have −∞, and cost nothing.

    Args:
        x: Levels `(N, D)`.
        loc: Means `(K, D)`; k + 1/2 is the middle of level k.
        scale: Standard deviations `(K, D)`.
        levels: How many there are.
        alive: Which components there are, `(K,)`.
    """
    # of few levels the mass of each is computed once, of many that of those that came
    few = levels <= len(x)
    size = x.shape[1] * (levels if few else len(x))
    part = max(1, _VALUES // max(1, size))
    if part < len(loc) and torch.is_grad_enabled():
        return _nearest(x, loc, scale, levels, alive)
    # a compiled step is one graph, which cannot go by how many there are
    if not torch.compiler.is_compiling() and not bool(alive.all()):
        there = log_masses(x, loc[alive], scale[alive], levels, alive[alive])
        return there.new_full((len(x), len(loc)), -torch.inf).index_copy(
            1, alive.nonzero()[:, 0], there
        )
    of = _from_table if few else _one_by_one
    # so many components at a time that what is made for them stays small
    several = zip(loc.split(part), scale.split(part), strict=True)
    return torch.cat([of(x, *each, levels) for each in several], 1)


def _from_table(x: Tensor, loc: Tensor, scale: Tensor, levels: int) -> Tensor:
    """From the mass of each level under each component: a matrix product."""
    every = torch.arange(levels, device=x.device)
    normal = DiscretisedNormal(loc[..., None], scale[..., None], levels, validate_args=False)
    table = normal.log_prob(every)
    # −∞ times the zeros of others would be no number
    table = table.clamp_min(torch.finfo(table.dtype).min / x.shape[1])
    chosen = one_hot(x.long(), levels).to(table.dtype).flatten(1)
    return chosen @ table.flatten(1).T


def _one_by_one(x: Tensor, loc: Tensor, scale: Tensor, levels: int) -> Tensor:
    """From the mass of each value that came."""
    return DiscretisedNormal(loc, scale, levels, validate_args=False).log_prob(x[:, None]).sum(2)


def _nearest(x: Tensor, loc: Tensor, scale: Tensor, levels: int, alive: Tensor) -> Tensor:
    """Of the nearest components of each row; of the others −∞."""
    with torch.no_grad():
        # by the densities that these have with the bins' noise, their means within the range
        variances = scale.square() + 1 / 12
        middle, means = x.to(loc.dtype) + 0.5, loc.clamp(0, levels)
        gaps = middle.square() @ (1 / variances).T - 2 * middle @ (means / variances).T
        norms = (means.square() / variances + variances.log()).sum(1)
        far = (gaps + norms).masked_fill(~alive, torch.inf)
        nearest = far.topk(min(_NEAREST, len(loc)), largest=False).indices

    def of(loc: Tensor, scale: Tensor) -> Tensor:
        return DiscretisedNormal(loc, scale, levels, validate_args=False).log_prob(x).sum(1)

    # what a step remembers of each is made anew when its gradient is asked for
    found = [checkpoint(of, loc[k], scale[k], use_reentrant=False) for k in nearest.T]
    masses = torch.stack(cast(list[Tensor], found), 1)
    return masses.new_full(far.shape, -torch.inf).scatter(1, nearest, masses)


_NEAREST = 8
"""Components that a step over large observations goes by."""
_VALUES = 1 << 22
"""Of a batch under some components at once."""
