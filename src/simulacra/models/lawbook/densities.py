"""Laws of densities of continuous vectors: that they integrate to 1, and that draws are of them.

Both integrate over all of a line or a plane, and so are asked of vectors of one or two values.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from simulacra.ground.randomness import seeded
from simulacra.models.lawbook.averaged import probabilities
from simulacra.models.lawbook.law import hold
from simulacra.models.lawbook.trials import drawn_from, fits, one_context, precision_of
from simulacra.models.model import Likelihood, Sampling

_REACH = 12
"""Of t in x = sinh t, which is fine where data are and goes to 81,000 standard deviations."""

_GRIDS = 16
"""Of a bound, each of other noise."""

_ROUNDS, _BOXES = 12, 256
"""How often boxes are halved where a density is not smooth, and how many at once, at most."""


@torch.no_grad()
def integrates_to_one(model: Likelihood) -> None:
    """Exact: ∫ p(x) dx = 1, to 1e-3 and as much as two rules of quadrature differ by.

    A bound: its expected integral is at most 1, within four standard errors. Where draws are
    averaged, the integral of the exponentials of their means.
    """
    if model.exact:
        density = _spread(_density(model.double()))
        edges = torch.arange(-_REACH, _REACH + 1.0, dtype=torch.float64)
        values, errors = _integrate(density, *_boxes([edges] * model.spec.dims), 2e-4)
        total, unsure = float(values.sum()), float(errors.sum())
        hold(not unsure > 0.1, f"integrates to {total:.3f} or {total + unsure:.3f}: too narrow")
        allowed = 1e-3 + unsure
        hold(abs(total - 1) < allowed, f"integrates to {total:.4f} ± {allowed:.4f}")
        return
    if model.averaged:
        t = torch.arange(-4, 4, 1 / 4, dtype=torch.float64)
        points = torch.cartesian_prod(*[t] * model.spec.dims).view(-1, model.spec.dims)
        x = points.sinh().to(precision_of(model)).view(-1, *model.spec.event_shape)
        p, errors = probabilities(model, x, one_context(model, len(x)))
        cells = (points.cosh() / 4).prod(1)
        mean, error = float((p * cells).sum()), 4 * float((errors * cells).square().sum().sqrt())
        hold(mean <= 1 + error + 1e-3, f"integrates to {mean:.4f} ± {error:.4f}")
        return
    # a grid for each seed, so that the error tells what noise and grid leave open together
    step = 1 / 8
    totals = []
    for seed in range(_GRIDS):
        t = (torch.arange(-8 / step, 8 / step, dtype=torch.float64) + seed / _GRIDS) * step
        points = torch.cartesian_prod(*[t] * model.spec.dims).view(-1, model.spec.dims)
        totals.append(_spread(_density(model, seed))(points).sum() * step**model.spec.dims)
    mean, error = float(torch.stack(totals).mean()), float(torch.stack(totals).std())
    hold(mean <= 1 + error + 1e-3, f"integrates to {mean:.4f} ± {error:.4f}")
    hold(mean > 0.01, "a bound this loose says nothing")


@torch.no_grad()
def draws_from_its_density(model: Likelihood) -> None:
    """χ² of 100,000 draws against the density, integrated over 64 cells and what is beyond them."""
    assert isinstance(model, Sampling)
    model.double()
    drawn = []
    # lines that other draws would fall between equally often, and rarely beyond
    for seed, n in ((6, 10_000), (7, 100_000)):
        with seeded(seed):
            drawn.append(drawn_from(model, n).double().flatten(1))
    cells = 64 if model.spec.dims == 1 else 8
    shares = torch.linspace(0, 1, cells + 1, dtype=torch.float64).clamp(0.002, 0.998)
    edges = [each.contiguous() for each in drawn[0].quantile(shares, 0).T]
    p, unsure = _integrate(_density(model), *_boxes(edges), 1e-5)
    at = [
        torch.bucketize(v.contiguous(), lines) - 1
        for v, lines in zip(drawn[1].T, edges, strict=True)
    ]
    inside = torch.stack([(place >= 0) & (place < cells) for place in at]).all(0)
    place = torch.stack(at, 1) @ cells ** torch.arange(model.spec.dims - 1, -1, -1)
    counts = torch.bincount(place.where(inside, len(p)), minlength=len(p) + 1).double()
    p = torch.cat([p, (1 - p.sum()).clamp_min(0)[None]])
    unsure = torch.cat([unsure, unsure.sum()[None]])
    fits(counts, p, "samples disagree with the density", unsure)


def _density(model: Likelihood, seed: int = 0) -> Callable[[Tensor], Tensor]:
    """p(x) of points `(N, dims)`, in float64."""

    def density(points: Tensor) -> Tensor:
        x = points.to(precision_of(model)).view(-1, *model.spec.event_shape)
        return model.log_likelihood(x, one_context(model, len(x)), seed=seed).double().exp()

    return density


def _spread(density: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same of t, where x = sinh t."""
    return lambda t: density(t.sinh()) * t.cosh().prod(1)


def _boxes(edges: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The least and the greatest corners `(N, dims)` of all boxes between lines."""
    dims = len(edges)
    lows, highs = [lines[:-1] for lines in edges], [lines[1:] for lines in edges]
    return (
        torch.cartesian_prod(*lows).view(-1, dims),
        torch.cartesian_prod(*highs).view(-1, dims),
    )


def _integrate(
    density: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, sure: float
) -> tuple[Tensor, Tensor]:
    """The integral over each box, and by how much two rules differ on it.

    Boxes on which they differ most are halved along each side, until they differ by little.

    Args:
        density: Of points.
        low: The least corners of the boxes `(N, dims)`.
        high: The greatest ones.
        sure: How much the rules may differ by in all.
    """
    n, dims = low.shape
    origin = torch.arange(n)
    sides = torch.cartesian_prod(*[torch.tensor([False, True])] * dims).view(-1, 1, dims)
    values, errors = _by_two_rules(density, low, high)
    if n <= _BOXES:
        # few and large: the rules may agree by chance
        errors = errors.clamp_min(2 * sure)
    for _ in range(_ROUNDS):
        # one that is not finite stays so
        if not float(errors.sum()) > sure or not bool(errors.isfinite().all()):
            break
        worst = torch.zeros(len(errors), dtype=torch.bool)
        worst[errors.topk(min(_BOXES, len(errors))).indices] = True
        worst &= errors > sure / len(errors) / 2
        below, above = low[worst], high[worst]
        middle = (below + above) / 2
        halves = (
            torch.where(sides, middle, below).flatten(0, 1),
            torch.where(sides, above, middle).flatten(0, 1),
        )
        found = _by_two_rules(density, *halves)
        # what the whole box missed its halves may miss as well
        parts = found[0].view(len(sides), -1).sum(0)
        missed = (parts - values[worst]).abs() / len(sides)
        found = found[0], torch.maximum(found[1], missed.repeat(len(sides)) / 2)
        values, errors = (
            torch.cat([old[~worst], new]) for old, new in zip((values, errors), found, strict=True)
        )
        low, high = (
            torch.cat([old[~worst], new]) for old, new in zip((low, high), halves, strict=True)
        )
        origin = torch.cat([origin[~worst], origin[worst].repeat(len(sides))])
    empty = torch.zeros(n, dtype=torch.float64)
    return empty.index_add(0, origin, values), empty.index_add(0, origin, errors)


def _by_two_rules(
    density: Callable[[Tensor], Tensor], low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """The integral over each box by Lobatto's rule, and its gap to a shorter one.

    Both look at the corners, so that an edge anywhere in a box shows.
    """
    middle, reach = (high + low) / 2, (high - low) / 2
    found = []
    # an odd and an even rule: two of one kind agree on an edge a little off the middle
    for points in (6, 5):
        highest = np.polynomial.Legendre.basis(points - 1)
        # all are real, though some versions of numpy give them as complex numbers
        ends = [-1.0, *highest.deriv().roots().real, 1.0]
        nodes = torch.tensor(ends, dtype=torch.float64)
        weights = 2 / (points * (points - 1) * torch.tensor(highest(np.array(ends))).square())
        at = torch.cartesian_prod(*[nodes] * low.shape[1]).view(-1, low.shape[1])
        weight = torch.cartesian_prod(*[weights] * low.shape[1]).view(len(at), -1).prod(1)
        x = middle[:, None] + reach[:, None] * at
        p = density(x.flatten(0, 1)).view(len(low), -1)
        found.append((p @ weight) * reach.prod(1))
    return found[0], (found[0] - found[1]).abs()
