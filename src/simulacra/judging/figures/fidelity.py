"""Fidelity and coverage: do samples look like real observations, and do they reach all of them.

Everything here compares two sets of feature vectors of equal size, real ones x_1 … x_n and
samples y_1 … y_n, each of `width` numbers. Every figure depends on n, most of all the Fréchet
distance, whose plug-in estimate is biased upwards: only figures at the same n and in the same
features may be compared, and a distance wants its floor beside it, that of two real sets.

The intervals are of a figure's expected value at this n, and nothing is resampled: a row drawn
twice is its own neighbour, and resampled moments vary more than fresh ones. Between equal Gaussians
a centred bootstrap made the Fréchet distance's interval twice too wide (n = 180, width 17).

- Both distances are, to second order, squared lengths |b + e|² of a true difference b and noise e:
  V(E) = s + c (E − floor), with s the variance of |e|², from pairs of different rows, floor the
  mean of |e|², and c the slope that the influence of single rows shows. The interval holds each
  expected value E from which the measured one lies at most 1.96 √V(E) away, as a score interval.
- The four figures of neighbours are sums of local contributions, and their variance is one over n.
  Both sets are cut at random into disjoint parts, again and again: the parts hold no row twice, and
  so their figures vary as those of fresh data of their size do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.neighbours import distances, neighbour_figures, neighbour_values
from simulacra.nn.frechet import eigen, frechet, gaussian

FEWEST = 20
"""Rows below which nothing is measured."""
LARGEST = 1e20
"""Of a feature's numbers; the sixth power of their square is still a float64."""
_Z = 1.959964  # of a normal distribution, 95 % within
_PAIRS = 20_000  # of rows, for the variance of the noise of a Fréchet distance


def fidelity(real: Tensor, samples: Tensor, *, seed: int = 0) -> dict[str, Figure]:
    """The six figures of one set of samples against one set of real observations.

    Args:
        real: Features of real observations `(n, width)`, float.
        samples: Features of samples, of the same shape.
        seed: Of the random cuts behind the intervals; the values do not depend on it.

    Returns:
        `frechet` and `kernel`, lower is better; `precision`, `recall`, `density` and `coverage`,
        higher is better; each with its 95 % interval.

    Raises:
        UsageError: If the counts or widths differ, a number is not finite or beyond 1e20, there
            are fewer than 20 rows, or the width is more than a tenth of the count.
    """
    x, y = _checked(real, samples)
    distances = {"frechet": _frechet_figure(x, y), "kernel": _kernel_figure(x, y)}
    return distances | neighbour_figures(x, y, seed)


def frechet_figure(real: Tensor, samples: Tensor) -> Figure:
    """The first of the six alone; see `fidelity`."""
    return _frechet_figure(*_checked(real, samples))


def frechet_distance(real: Tensor, samples: Tensor) -> float:
    """The Fréchet distance of Gaussians with the moments of both sets; 0 or more, lower is better.

    ‖μ − μ'‖² + tr(Σ + Σ' − 2 (Σ Σ')^½), with unbiased covariances (Heusel et al. 2017,
    arXiv 1706.08500). The trace of (Σ Σ')^½ is the sum of the singular values of Σ^½ Σ'^½, the
    roots of symmetric eigendecompositions: real and finite for singular covariances too.
    """
    x, y = _checked(real, samples)
    return frechet(*gaussian(x), *gaussian(y))


def kernel_distance(real: Tensor, samples: Tensor) -> float:
    """The unbiased squared maximum mean discrepancy; 0 is equal, below 0 by chance.

    Mean k(x_i, x_j) + mean k(y_i, y_j) over i ≠ j, less twice mean k(x_i, y_j) over all i and j,
    with k(x, y) = (x·y / width + 1)³ (Bińkowski et al. 2018, arXiv 1801.01401). Departs from the
    paper: one estimate from all rows at once, not the mean over random subsets of them.
    """
    x, y = _checked(real, samples)
    return _unbiased(_kernel(x, x)) + _unbiased(_kernel(y, y)) - 2 * float(_kernel(x, y).mean())


def precision(real: Tensor, samples: Tensor) -> float:
    """The share of samples within the real observations' manifold; higher is better.

    (1/n) Σ_j 1[y_j ∈ ∪_i B(x_i, NND_k(x_i))], with B a closed ball and NND_k(x_i) the distance
    from x_i to its k-th nearest other real one (Kynkäänniemi et al. 2019, arXiv 1904.06991).
    Departs from the paper: k = 5, not 3. One outlier among the real makes a large ball that lets
    everything pass.
    """
    return float(neighbour_values(*distances(*_checked(real, samples)))[0])


def recall(real: Tensor, samples: Tensor) -> float:
    """The share of real observations within the samples' manifold; higher is better.

    (1/n) Σ_i 1[x_i ∈ ∪_j B(y_j, NND_k(y_j))]: `precision` with the two sets exchanged
    (Kynkäänniemi et al. 2019, arXiv 1904.06991). Scattered samples make large balls and score
    well.
    """
    return float(neighbour_values(*distances(*_checked(real, samples)))[1])


def density(real: Tensor, samples: Tensor) -> float:
    """How many real neighbourhoods hold a sample, against k; 1 for equal distributions.

    (1/kn) Σ_j Σ_i 1[y_j ∈ B(x_i, NND_k(x_i))] (Naeem et al. 2020, arXiv 2002.09797). Not bounded
    by 1: samples crowded where real observations are dense exceed it.
    """
    return float(neighbour_values(*distances(*_checked(real, samples)))[2])


def coverage(real: Tensor, samples: Tensor) -> float:
    """The share of real observations with a sample in their neighbourhood; higher is better.

    (1/n) Σ_i 1[∃ j: y_j ∈ B(x_i, NND_k(x_i))] (Naeem et al. 2020, arXiv 2002.09797). Equal
    distributions do not reach 1: their expected value is 1 − Π_{l=1…k} (n − l) / (2n − l), near
    1 − 2^−k.
    """
    return float(neighbour_values(*distances(*_checked(real, samples)))[3])


def _checked(real: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64; refuse what cannot be measured."""
    for name, features in (("real", real), ("samples'", samples)):
        if features.ndim != 2:
            raise UsageError(f"{name} features are (count, width), got {tuple(features.shape)}")
    if real.shape != samples.shape:
        raise UsageError(
            "real and samples' features must be as many and as wide, got "
            f"{tuple(real.shape)} and {tuple(samples.shape)}: leave out rows of the larger set"
        )
    count, width = real.shape
    if count < FEWEST:
        raise UsageError(f"fidelity needs at least {FEWEST} samples, got {count}: draw more")
    if not 1 <= width <= count // 10:
        raise UsageError(
            f"features may be at most a tenth as wide as there are samples ({count // 10} of "
            f"{count}), got {width}: draw more samples or use a narrower view"
        )
    both = []
    for name, features in (("real", real), ("samples'", samples)):
        x = features.detach().cpu().double()
        if broken := int((~x.isfinite()).any(1).sum()):
            raise UsageError(f"{broken} of {count} {name} features are not finite: look at them")
        if (largest := float(x.abs().max())) > LARGEST:
            raise UsageError(
                f"{name} features must lie within ±{LARGEST:g}, got {largest:g}: standardise them"
            )
        both.append(x)
    return both[0], both[1]


@dataclass(frozen=True)
class _Variance:
    """V(E), the variance of a squared distance whose expected value is E.

    Args:
        noise: s, where nothing but noise lies between the two sets.
        slope: c, by how much it grows with each unit of E.
        floor: Expected value where there is nothing but noise.
    """

    noise: float
    slope: float
    floor: float

    def interval(self, value: float) -> tuple[float, float]:
        """The E with (value − E)² ≤ 1.96² V(E)."""
        reach = _Z * math.sqrt(self.noise)
        half = _Z**2 * self.slope / 2
        within = self.noise + self.slope * (value - self.floor)
        root = math.sqrt(max(half**2 + _Z**2 * within, 0.0))
        # below the floor the variance stays what it is there
        low = root - half if value - reach > self.floor else reach
        high = root + half if value + reach > self.floor else reach
        return value - max(low, 0.0), value + high


def _transport(covariance: Tensor, covariance_: Tensor) -> Tensor:
    """The symmetric T with T Σ T = Σ' on the range of Σ: the Fréchet distance's derivative."""
    values, vectors = eigen(covariance)
    roots = values.sqrt()
    large = roots > 1e-6 * roots.max()
    root = (vectors * roots) @ vectors.T
    inverse = (vectors * torch.where(large, 1 / roots, 0.0)) @ vectors.T
    values, vectors = eigen(root @ covariance_ @ root)
    return inverse @ (vectors * values.sqrt()) @ vectors.T @ inverse


def _frechet_figure(x: Tensor, y: Tensor) -> Figure:
    n, (mean, cov), (mean_, cov_) = len(x), gaussian(x), gaussian(y)
    value = frechet(mean, cov, mean_, cov_)
    x, y, shift = x - mean, y - mean_, mean - mean_
    influence = 2 * x @ shift + (x * (x - x @ _transport(cov, cov_))).sum(1)
    influence_ = -2 * y @ shift + (y * (y - y @ _transport(cov_, cov))).sum(1)
    single = float(influence.var() + influence_.var()) / n

    # near equal moments the distance is |Δμ|² + Σ_ab ΔΣ_ab² / 2 (λ_a + λ_b), in the axes of the
    # mean covariance: a squared length between means of (x, xxᵀ), with its inner product
    lengths, axes = eigen((cov + cov_) / 2)
    sums = lengths[:, None] + lengths
    weights = torch.where(sums > max(1e-12 * float(lengths.max()), 1e-300), 0.5 / sums, 0.0)
    x, y, cov, cov_ = x @ axes, y @ axes, axes.T @ cov @ axes, axes.T @ cov_ @ axes

    def inner(a: Tensor, b: Tensor, cov_a: Tensor, cov_b: Tensor, turns: range) -> Tensor:
        """Of row i of `a` and row i + turn of `b`, both centred; `(turns, n)`."""
        own = (a * (a @ (weights * cov_b))).sum(1)
        other = (b * (b @ (weights * cov_a))).sum(1) - (weights * cov_a * cov_b).sum()
        products = ((a * b.roll(-turn, 0), other.roll(-turn)) for turn in turns)
        return torch.stack([(p + p * (p @ weights)).sum(1) - own - rest for p, rest in products])

    # a row with itself says how large the noise is; different rows alone, how much it varies
    itself, others = range(1), range(1, min(n, 1 + -(-_PAIRS // n)))
    floor = float((inner(x, x, cov, cov, itself) + inner(y, y, cov_, cov_, itself)).mean()) / n
    squares = (
        inner(x, x, cov, cov, others).square()
        + inner(y, y, cov_, cov_, others).square()
        + 2 * inner(x, y, cov, cov_, others).square()
    )
    noise = 2 / n**2 * float(squares.mean())
    variance = _Variance(noise, single / value if value > 0 else 0.0, floor)
    low, high = variance.interval(value)
    return Figure(value, n, max(low, 0.0), high)


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _unbiased(square: Tensor) -> float:
    """Mean of what is not on the diagonal."""
    n = len(square)
    return float(square.sum() - square.trace()) / (n * (n - 1))


def _kernel_figure(x: Tensor, y: Tensor) -> Figure:
    n, between = len(x), _kernel(x, y)
    cross = float(between.mean())
    value, biased, noise = -2 * cross, -2 * cross, 0.0
    single = 0.0
    for side, means in ((x, between.mean(1)), (y, between.mean(0))):
        k = _kernel(side, side)
        inside = (k.sum(1) - k.diagonal()) / (n - 1)
        value, biased = value + _unbiased(k), biased + float(k.mean())
        single += 4 / n * float((inside - means).var())
        noise += _unbiased((k - inside[:, None] - inside + inside.mean()).square())
    centred = between - between.mean(0) - between.mean(1)[:, None] + cross
    noise = 2 / n**2 * (noise + 2 * float(centred.square().mean()))
    # the biased estimate is the squared distance of the two sets' mean embeddings: 0 or more
    low, high = _Variance(noise, single / biased if biased > 0 else 0.0, 0.0).interval(value)
    return Figure(value, n, low, high)
