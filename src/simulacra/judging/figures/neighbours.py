"""Who is near whom: what precision, recall, density and coverage are counted from.

Their sense is told in `fidelity`, where each stands with its paper.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from simulacra.ground.randomness import seeded
from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.intervals import share

NEIGHBOURS = 5
"""k of the figures of neighbours: Naeem et al. choose 5, Kynkäänniemi et al. 3 for sets of 50,000;
with one k the four speak of the same neighbourhoods."""

_Z = 1.959964  # of a normal distribution, 95 % within
_CUTS, _PART = 64, 500  # parts beyond the first, over all random cuts; rows in a part


def distances(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Within the real, within the samples, and real to samples; none of a row to itself."""
    # by differences, not by products: equal rows are at 0 from each other exactly
    exact = "donot_use_mm_for_euclid_dist"
    within, within_ = torch.cdist(x, x, compute_mode=exact), torch.cdist(y, y, compute_mode=exact)
    return (
        within.fill_diagonal_(math.inf),
        within_.fill_diagonal_(math.inf),
        torch.cdist(x, y, compute_mode=exact),
    )


def _radii(within: Tensor) -> Tensor:
    """How far the last of each row's nearest neighbours is, `(n,)`; from distances `(n, n)`."""
    if len(within) > _PART:
        return within.topk(NEIGHBOURS, largest=False).values[:, -1]
    # in rows as short as these numpy finds it several times as fast
    last = NEIGHBOURS - 1
    return torch.from_numpy(np.partition(within.numpy(), last, 1)[:, last])


def neighbour_values(within: Tensor, within_: Tensor, between: Tensor) -> Tensor:
    """Precision, recall, density and coverage, `(4,)`; from distances `(n, n)`."""
    n = len(between)
    radii, radii_ = _radii(within), _radii(within_)
    holds = between <= radii[:, None]
    # counting is several times as fast as asking for any
    counts = (
        holds.sum(0).count_nonzero(),
        (between <= radii_).sum(1).count_nonzero(),
        holds.sum().double() / NEIGHBOURS,
        holds.sum(1).count_nonzero(),
    )
    return torch.stack([count.double() for count in counts]) / n


def neighbour_figures(x: Tensor, y: Tensor, seed: int) -> dict[str, Figure]:
    """Precision, recall, density and coverage with their intervals, by disjoint parts."""
    n, (within, within_, between) = len(x), distances(x, y)
    values = neighbour_values(within, within_, between).tolist()
    parts = max(2, n // _PART)
    size, cuts = n // parts, -(-_CUTS // (parts - 1))
    level, variance = torch.zeros(2, 4, dtype=torch.float64)
    # numpy takes rows and columns several times as fast, and for the variance float32 will do
    light = [d.float().numpy() for d in (within, within_, between)]

    def part(i: Tensor, j: Tensor) -> Tensor:
        blocks = zip(light, (i, j, i), (i, j, j), strict=True)
        near = (torch.from_numpy(d.take(a, 0).take(b, 1)) for d, a, b in blocks)
        return neighbour_values(*near)

    with seeded(seed):
        for _ in range(cuts):
            rows, rows_ = (torch.randperm(n)[: parts * size].view(parts, size) for _ in range(2))
            found = torch.stack([part(i, j) for i, j in zip(rows, rows_, strict=True)])
            level += found.mean(0) / cuts
            variance += found.var(0) / cuts
    # against the variance of as many independent answers; towards 1 where the parts hardly differ
    little = 0.25 / size
    design = (variance * size + little) / (level * (1 - level) + little)
    figures = {
        name: share(values[i], n, n / float(design[i]))
        for i, name in ((0, "precision"), (1, "recall"), (3, "coverage"))
    }
    # in proportion: where samples crowd, a smaller part has a smaller density
    grown = values[2] / float(level[2]) if level[2] > 0 else 1.0
    reach = _Z * grown * math.sqrt(float(variance[2]) * size / n)
    # of none in n something may still be missed, and that may be as dense as real observations
    high = values[2] + reach if values[2] > 0 else figures["precision"].high
    figures["density"] = Figure(values[2], n, max(values[2] - reach, 0.0), high)
    return figures
