"""Diagonal Gaussians, at points or over the bins of levels, of many components at once."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torch.utils.checkpoint import checkpoint

from simulacra.nn.distributions import DiscretisedNormal


def log_densities(y: Tensor, means: Tensor, log_scales: Tensor, noise: float = 0.0) -> Tensor:
    """log N(y; μ_k, σ_k²) of points `(N, D)`, or its mean over noise in them, `(N, K)`.

    Args:
        y: Gives the type.
        means: `(K, D)`.
        log_scales: Log of the standard deviations, `(K, D)`.
        noise: Its variance.
    """
    means, log_scales = means.to(y), log_scales.to(y)
    precision = (-2 * log_scales).exp()
    # the square completed, so that nothing of size (N, K, D) is made
    centre = means.mean(0)
    shifted, around = y - centre, means - centre
    distance = (
        shifted.square() @ precision.T
        - 2 * shifted @ (around * precision).T
        + (around.square() * precision).sum(1)
    )
    constant = y.shape[1] * math.log(2 * math.pi) + 2 * log_scales.sum(1)
    return -0.5 * (distance + constant + noise * precision.sum(1))


def log_masses(
    x: Tensor, loc: Tensor, scale: Tensor, levels: int, alive: Tensor | None = None
) -> Tensor:
    """Log-probability of rows of levels under each component, `(N, K)`.

    Args:
        x: Levels `(N, D)`.
        loc: Means `(K, D)`; k + 1/2 is the middle of level k.
        scale: Standard deviations `(K, D)`.
        levels: How many there are.
        alive: Which components there are, `(K,)`, if not all; of the others it is −∞.
    """
    # a compiled step is one graph, which cannot go by how many there are
    few = alive is not None and not torch.compiler.is_compiling() and not bool(alive.all())
    if few and alive is not None:
        there = log_masses(x, loc[alive], scale[alive], levels)
        nowhere = there.new_full((len(x), len(loc)), -torch.inf)
        return nowhere.index_copy(1, alive.nonzero()[:, 0], there)
    # of few levels the mass of each is computed once, of many that of those that came
    of = _from_table if levels <= len(x) else _one_by_one
    # so many components at a time that what is made for them stays small
    part = _at_once(x, levels)
    several = zip(loc.split(part), scale.split(part), strict=True)
    return torch.cat([of(x, *each, levels) for each in several], 1)


def log_likely(
    x: Tensor, loc: Tensor, scale: Tensor, levels: int, alive: Tensor, log_mixing: Tensor
) -> Tensor:
    """Log-probability of rows of levels under all components together, `(N,)`, for steps.

    Of large observations it goes by those components of each row that are nearest to it: a sum
    without the others is a lower bound, and their part of it is next to nothing.

    Args:
        x: See `log_masses`.
        loc: The same.
        scale: The same.
        levels: The same.
        alive: Which components there are, `(K,)`.
        log_mixing: Log-weights of the components, `(N, K)` or `(1, K)`.
    """
    if _at_once(x, levels) >= len(loc):
        return (log_mixing + log_masses(x, loc, scale, levels, alive)).logsumexp(1)
    nearest, masses = _nearest(x, loc, scale, levels, log_mixing.detach())
    return (log_mixing.expand(len(x), -1).gather(1, nearest) + masses).logsumexp(1)


def _at_once(x: Tensor, levels: int) -> int:
    """How many components are computed together."""
    return max(1, _VALUES // max(1, x.shape[1] * min(levels, len(x))))


def _from_table(x: Tensor, loc: Tensor, scale: Tensor, levels: int) -> Tensor:
    """From the mass of each level under each component: a matrix product."""
    every = torch.arange(levels, device=x.device)
    normal = DiscretisedNormal(loc[..., None], scale[..., None], levels, validate_args=False)
    table = normal.log_prob(every)
    # −∞ times the zeros of others would be no number
    table = table.clamp_min(torch.finfo(table.dtype).min / max(1, x.shape[1]))
    chosen = one_hot(x.long(), levels).to(table.dtype).flatten(1)
    return chosen @ table.flatten(1).T


def _one_by_one(x: Tensor, loc: Tensor, scale: Tensor, levels: int) -> Tensor:
    """From the mass of each value that came."""
    normal = DiscretisedNormal(loc, scale, levels, validate_args=False)
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return normal.log_prob(x[:, None]).sum(2)
    # by erfc, in a fourth of the time; in which it loses nothing above its smallest numbers
    value, unit = x[:, None].to(loc.dtype), math.sqrt(0.5) / scale
    lower = (value - loc) * unit
    upper = torch.where(value >= levels - 1, torch.inf, lower + unit)
    lower = lower.masked_fill_(value <= 0, -torch.inf)
    mirrored = lower < -upper
    mass = torch.special.erfc(torch.where(mirrored, -upper, lower))
    mass = mass.sub_(torch.special.erfc(torch.where(mirrored, -lower, upper))).mul_(0.5)
    small = mass < _SMALL
    log_mass = mass.log_()
    if bool(small.any()):
        row, part, place = small.nonzero(as_tuple=True)
        those = DiscretisedNormal(loc[part, place], scale[part, place], levels, validate_args=False)
        log_mass[small] = those.log_prob(x[row, place])
    return log_mass.sum(2)


def _nearest(
    x: Tensor, loc: Tensor, scale: Tensor, levels: int, log_mixing: Tensor
) -> tuple[Tensor, Tensor]:
    """The nearest components of each row, and its log-probability under them, `(N, M)` each."""
    with torch.no_grad():
        # by the densities that these have with the bins' noise, their means within the range
        variances, means = scale.square() + 1 / 12, loc.clamp(0, levels)
        # from their middle, for squares of what is far from nought lose the digits of the rest
        centre = means.mean(0)
        middle, means = x.to(loc.dtype) + 0.5 - centre, means - centre
        gaps = middle.square() @ (1 / variances).T - 2 * middle @ (means / variances).T
        norms = (means.square() / variances + variances.log()).sum(1)
        far = gaps + norms - 2 * log_mixing
        nearest = far.topk(min(_NEAREST, len(loc)), largest=False).indices

    def of(loc: Tensor, scale: Tensor) -> Tensor:
        return DiscretisedNormal(loc, scale, levels, validate_args=False).log_prob(x).sum(1)

    # what a step remembers of each is made anew when its gradient is asked for
    found = [checkpoint(of, loc[k], scale[k], use_reentrant=False) for k in nearest.T]
    return nearest, torch.stack(cast(list[Tensor], found), 1)


_SMALL = 1e-30
"""A mass below which erfc runs out of numbers, or what is left of a difference is none."""
_NEAREST = 8
"""Components that a step over large observations goes by."""
_VALUES = 1 << 22
"""Of a batch under some components at once."""
