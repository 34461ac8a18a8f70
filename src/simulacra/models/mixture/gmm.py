"""Mixture of Gaussians, with diagonal covariances or full ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import keyed_uniform, keys_of
from simulacra.ground.spec import DataSpec
from simulacra.models.mixture.base import Mixture
from simulacra.models.mixture.binned import log_densities, log_likely, log_masses
from simulacra.models.mixture.triangles import diagonal, inverses, to_factors, to_triangles
from simulacra.models.model import Model
from simulacra.models.takes import Takes
from simulacra.nn.distributions import log_mean_exp
from simulacra.nn.precision import double, full_precision


class GMM(Mixture):
    """A weighted sum of Gaussian densities, fitted by expectation–maximisation, then by gradients.

    On levels, a level k is the bin [k, k + 1). With diagonal covariances each component is
    integrated over the bins (the outer ones open), and the likelihood is exact. With full
    covariances it is the dequantisation bound, E_u log p(x + u) with u ~ U[0, 1)^D, which
    importance draws tighten. The sweeps climb a looser bound in closed form, that of Jensen within
    each component, E_u log N(x + u): the moments of u enter as x + 1/2 and 1/12. The gradient steps
    after them climb what is printed.

    Paper: A. P. Dempster, N. M. Laird, D. B. Rubin, "Maximum Likelihood from Incomplete Data via
        the EM Algorithm", 1977, J. R. Stat. Soc. B 39(1), section 4.3.
    Departs from the paper: a k-means start (sklearn.cluster.KMeans); the bins of levels, where the
        paper's section 4.2 would take truncated moments, which the gradient steps find; variances
        of sweeps are posterior modes under pseudo-observations of the pooled variance (Fraley and
        Raftery 2007), so that no component shrinks onto a value that never varies in it; vectors
        are standardised first, and counted.

    Args:
        spec: Ordered levels, or continuous vectors.
        components: Number of Gaussians, where there are five observations for each at least; else
            as many as there are observations for. Where they grow, the most there may be.
        covariance: `diagonal` or `full`; for low-rank ones see `mfa`.
        context: What is told beside an observation: none, or label. Classes share the Gaussians,
            and have weights of their own.
        grow: Whether their number is found: when sweeps gain nothing any more, the heaviest are
            split, and the best step on validation data decides.
        minibatch: How many observations a sweep goes over; 0 for all.
        prior: Pseudo-observations of the pooled variances in each component; 0 for maximum
            likelihood.
        tolerance: A sweep that gains less, in nats per value, has gained nothing.
    """

    takes = Takes(unordered=False)
    preset = {"lr": 2e-2, "batch": 128}
    small = (
        {"components": 3},
        {"components": 3, "covariance": "full"},
        {"components": 4, "context": "label", "grow": True, "minibatch": 8},
    )
    smaller = ({"covariance": "diagonal"}, {"components": 10}, {"components": 2})
    pooled: Tensor
    _full: ClassVar = False

    def __init__(
        self,
        spec: DataSpec,
        *,
        components: int = 100,
        covariance: Literal["diagonal", "full"] = "diagonal",
        context: Literal["none", "label"] = "none",
        grow: bool = False,
        minibatch: int = 0,
        prior: float = 3.0,
        tolerance: float = 1e-5,
    ) -> None:
        if covariance == "full" and not self._full:
            raise UsageError(
                "full covariances have a class of their own: "
                "simulacra.build('gmm', spec, {'covariance': 'full'}), or FullGMM"
            )
        if prior < 0 or covariance not in ("diagonal", "full"):
            raise UsageError(
                "prior is at least 0, covariance is diagonal or full; got "
                f"{prior} and {covariance!r}"
            )
        super().__init__(
            spec, components=components, context=context, grow=grow, minibatch=minibatch,
            tolerance=tolerance,
        )  # fmt: skip
        self.covariance, self.prior = covariance, prior
        self.means = nn.Parameter(torch.zeros(components, spec.dims))
        self.register_buffer("pooled", torch.ones(spec.dims))
        self._make_spreads()
        self._remember()

    def _make_spreads(self) -> None:
        self.log_scales = nn.Parameter(torch.zeros_like(self.means))

    @classmethod
    def class_for(cls, **keywords: object) -> type[Model]:
        """Full covariances are bounded and not exact, and have a class of their own."""
        own = GMM if issubclass(cls, FullGMM) else cls
        return FullGMM if keywords.get("covariance") == "full" else own

    @property
    def exact(self) -> bool:
        """Integrated over the bins of levels; a density of vectors."""
        return True

    def completes_exactly(self, observed: Tensor) -> bool:
        """Where the likelihood is exact; a full covariance conditions on the bins' middles."""
        return self.exact

    @property
    def _floor(self) -> float:
        """Least variance of a value within a component: its bin's, or next to none."""
        return self.bin_variance or math.exp(2 * _LEAST)

    def _begin(self, y: Tensor) -> None:
        self.pooled.copy_(y.var(0, unbiased=False) + self._floor)

    # ---- sweeps ----------------------------------------------------------------------------------

    def log_parts(self, y: Tensor) -> Tensor:
        """log N(y; μ_k, σ_k²), or E log N(y + u) with the bins' noise, `(N, K)`."""
        return log_densities(y, self.means, self.log_scales, self.bin_variance)

    def _moments(self, y: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
        """Σ r y and Σ r y² of each component."""
        return weights.T @ y, weights.T @ y.square()

    @torch.no_grad()
    def _fit(self, mass: Tensor, *moments: Tensor) -> None:
        """Posterior modes: σ_k² = (Σ r (y − μ)² + N_k e + ν v) / (N_k + ν)."""
        first, second = moments
        alive, safe = mass > EMPTY, mass.clamp_min(EMPTY)[:, None]
        means = first / safe
        scatter = (second - safe * means.square()).clamp_min(0)
        scatter += safe * self._floor + self.prior * self.pooled.to(means)
        variances = scatter / (safe + self.prior)
        self.means[alive] = means[alive].to(self.means)
        self.log_scales[alive] = variances[alive].log().mul(0.5).to(self.log_scales)

    def moved(self, turn: str, sums: Mapping[str, Tensor]) -> None:
        """Keep the least variance of vectors, as sweeps do: a constant has no density."""
        if self.spec.levels is None:
            self.log_scales.clamp_min_(_LEAST)

    def _log_prior(self) -> Tensor:
        """log-density of the covariances under the prior, but for a constant."""
        log_variances, pooled = 2 * double(self.log_scales), double(self.pooled)
        terms = log_variances + pooled * (-log_variances).exp()
        return -0.5 * self.prior * terms[self.mixing.alive.to(terms.device)].sum()

    @torch.no_grad()
    def _part(self, parents: Tensor, children: Tensor) -> None:
        """Half of a draw to one side of what was one, and to the other."""
        apart = (self._draw(parents) - self.means[parents]) / 2
        self.means[parents] -= apart
        self.means[children] += apart

    # ---- likelihood, samples, completion ---------------------------------------------------------

    def log_likelihoods(self, x: Tensor, *, draws: int = 1, seed: int = 0) -> Tensor:
        """log p(x | k), integrated over the bins of levels, `(N, K)` in nats."""
        if self.spec.levels is None:
            return self.log_parts(double(self._middle(x))) - self._log_units
        return log_masses(x.flatten(1), *self._over_bins(), self.spec.levels, self.mixing.alive)

    def _quickly(self, x: Tensor, context: Tensor | None) -> Tensor:
        """The likelihood; over the bins of large observations, by the nearest components alone."""
        if self.spec.levels is None or not self.exact:
            return super()._quickly(x, context)
        with full_precision(x):
            log_mixing = self.mixing(context, self._middle(x))
            alive, values = self.mixing.alive, x.flatten(1)
            return log_likely(values, *self._over_bins(), self.spec.levels, alive, log_mixing)

    def _over_bins(self) -> tuple[Tensor, Tensor]:
        """Means and standard deviations `(K, D)` in units of levels, k + 1/2 the middle of k."""
        return self.means * self.scale + self.shift + 0.5, self.log_scales.exp() * self.scale

    def _draw(self, component: Tensor) -> Tensor:
        """μ_k + σ_k ε."""
        means = self.means[component]
        return means + self.log_scales[component].exp() * torch.randn_like(means)

    def _conditional(self, x: Tensor, mask: Tensor, log_mixing: Tensor) -> Tensor:
        """A component by the observed values, of which the hidden ones do not depend within it."""
        if self.spec.levels is None:
            y, means, scales = double(self._middle(x)), self.means, self.log_scales
            log_values = log_densities(y[:, mask], means[:, mask], scales[:, mask])
        else:
            loc, scale = (each[:, mask] for each in self._over_bins())
            log_values = log_masses(x[:, mask], loc, scale, self.spec.levels)
        return self._draw(Categorical(logits=log_mixing + log_values, validate_args=False).sample())


class FullGMM(GMM):
    """`GMM` with full covariances Σ_k = L_k L_kᵀ: see there.

    Of small ones all are computed together, of large ones a few at a time: nothing is made that is
    larger than the observations and the matrices themselves.
    """

    _full = True

    def _make_spreads(self) -> None:
        dims = self.spec.dims
        # the lower triangle of L_k row by row, its diagonal as a logarithm
        self.triangles = nn.Parameter(torch.zeros(self.components, dims * (dims + 1) // 2))

    @property
    def exact(self) -> bool:
        """A density of vectors; of levels a bound, for nobody integrates over a box."""
        return self.spec.levels is None

    def factors(self, components: slice, like: Tensor) -> Tensor:
        """L_k of some components, `(k, D, D)`, in the type of another tensor."""
        return to_factors(self.triangles[components].to(like), self.spec.dims)

    def keep(self, components: Tensor, factors: Tensor) -> None:
        """Write down L_k `(k, D, D)` of some components `(k,)`."""
        self.triangles[components] = to_triangles(factors).to(self.triangles)

    def _some(self, rows: int) -> Iterator[slice]:
        """Components so many at a time that their matrices, and gaps of rows, stay small."""
        part = max(1, _VALUES // (self.spec.dims * max(rows, self.spec.dims)))
        for start in range(0, self.components, part):
            yield slice(start, start + part)

    def log_parts(self, y: Tensor) -> Tensor:
        """log N(y; μ_k, Σ_k), or E log N(y + u) with the bins' noise, `(N, K)`."""
        return self._log_density(y, self.bin_variance)

    def _log_density(self, y: Tensor, noise: float = 0.0) -> Tensor:
        means, parts = self.means.to(y), []
        for some in self._some(len(y)):
            factors = self.factors(some, y)
            inverse = inverses(factors)
            distance = ((y - means[some, None]) @ inverse.mT).square().sum(2)
            log_det = 2 * factors.diagonal(dim1=1, dim2=2).log().sum(1)
            trace = noise * inverse.square().sum((1, 2))
            parts.append(distance + (log_det + trace)[:, None])
        return -0.5 * (torch.cat(parts).T + y.shape[1] * math.log(2 * math.pi))

    def _moments(self, y: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
        """Σ r y and Σ r y yᵀ of each component."""
        second = y.new_empty(self.components, y.shape[1], y.shape[1])
        for some in self._some(len(y)):
            weighed = weights.T[some, :, None] * y
            torch.matmul(weighed.mT, y, out=second[some])
        return weights.T @ y, second

    @torch.no_grad()
    def _fit(self, mass: Tensor, *moments: Tensor) -> None:
        """Posterior modes: Σ_k = (Σ r (y − μ)(y − μ)ᵀ + N_k e + ν V) / (N_k + ν)."""
        first, second = moments
        alive = mass > EMPTY
        pooled = self.prior * self.pooled.to(first)
        for some in self._some(1):
            which = some.start + alive[some].nonzero()[:, 0]
            weight = mass[which, None]
            mean = first[which] / weight
            scatter = second[which] - weight[..., None] * mean[:, :, None] * mean[:, None]
            scatter.diagonal(dim1=1, dim2=2).add_(weight * self._floor + pooled)
            scatter /= weight[..., None] + self.prior
            self.keep(which, torch.linalg.cholesky(scatter))
            self.means[which] = mean.to(self.means)

    def moved(self, turn: str, sums: Mapping[str, Tensor]) -> None:
        """The same of each value given those before it."""
        if self.spec.levels is None:
            places = diagonal(self.spec.dims, self.triangles.device)
            self.triangles[:, places] = self.triangles[:, places].clamp_min(_LEAST)

    def _log_prior(self) -> Tensor:
        """log-density of the covariances under the prior, but for a constant."""
        pooled = double(self.pooled)
        terms, alive = pooled.new_zeros(()), self.mixing.alive.to(pooled.device)
        for some in self._some(1):
            factors = self.factors(some, pooled)
            log_det = 2 * factors.diagonal(dim1=1, dim2=2).log().sum(1)
            trace = inverses(factors).square().sum(1) @ pooled
            terms = terms + (log_det + trace)[alive[some]].sum()
        return -0.5 * self.prior * terms

    def log_likelihoods(self, x: Tensor, *, draws: int = 1, seed: int = 0) -> Tensor:
        """log p(x | k); of levels the logarithm of the mean density of x + u, `(N, K)` in nats."""
        if self.spec.levels is None:
            return self._log_density(double(self._middle(x))) - self._log_units
        keys, middle = keys_of(x, seed), double(self._middle(x))
        densities = []
        for draw in range(draws):
            noise = keyed_uniform(keys + draw, (self.spec.dims,)).to(middle)
            densities.append(self._log_density(middle + (noise - 0.5) * (2 / self.spec.levels)))
        return log_mean_exp(torch.stack(densities)) - self._log_units

    def _draw(self, component: Tensor) -> Tensor:
        """μ_k + L_k ε, without a matrix for each row."""
        drawn = torch.randn_like(self.means[component])
        for k in component.unique().tolist():
            rows = component == k
            (factor,) = self.factors(slice(k, k + 1), drawn)
            drawn[rows] = self.means[k] + drawn[rows] @ factor.T
        return drawn

    def _conditional(self, x: Tensor, mask: Tensor, log_mixing: Tensor) -> Tensor:
        """A component by the observed values, and the hidden ones given both."""
        y = self._middle(x)
        # with the observed values first, the Cholesky factor's blocks condition the rest
        order = torch.cat([mask.nonzero()[:, 0], (~mask).nonzero()[:, 0]])
        split = int(mask.sum())
        codes, below, log_joint = [], [], []
        for some in self._some(len(y)):
            factors = self.factors(some, y)[:, order]
            factors = torch.linalg.cholesky(factors @ factors.mT)
            seen = factors[:, :split, :split]
            gaps = (y - self.means[some, None])[..., order[:split]]
            code = torch.linalg.solve_triangular(seen, gaps.mT, upper=False).mT
            log_det = seen.diagonal(dim1=1, dim2=2).log().sum(1)
            log_joint.append(-0.5 * code.square().sum(2) - log_det[:, None])
            codes.append(code)
            below.append(factors[:, split:])
        logits = log_mixing + torch.cat(log_joint).T
        component = Categorical(logits=logits, validate_args=False).sample()
        drawn = torch.empty_like(y)
        for k in component.unique().tolist():
            rows = component == k
            place, part = divmod(k, len(below[0]))
            seen = codes[place][part][rows]
            noise = torch.randn_like(y[rows, split:])
            hidden = torch.cat([seen, noise], 1) @ below[place][part].T
            drawn[rows[:, None] & ~mask] = (self.means[k][order[split:]] + hidden).flatten()
        return drawn


EMPTY = 1e-8
"""Observations below which a component has none, and stays where it is."""
_LEAST = math.log(1e-3)
"""Log of the least deviation of standardised vectors."""
_VALUES = 1 << 22
"""Of matrices, or of gaps of rows to means, at once."""
