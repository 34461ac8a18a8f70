"""Mixture of Gaussians, fitted by expectation–maximisation."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Categorical

from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import keyed_uniform
from simulacra.ground.spec import DataSpec
from simulacra.models.mixture.base import Mixture
from simulacra.models.takes import Takes
from simulacra.nn.distributions import DiscretisedNormal, importance_weighted
from simulacra.nn.precision import double


class GMM(Mixture):
    """A weighted sum of Gaussian densities, fitted by expectation–maximisation.

    On levels, a level k is the bin [k, k + 1). With diagonal covariances each component is
    integrated over the bins (the outer ones open), and the likelihood is exact. With full
    covariances it is the dequantisation bound, E_u log p(x + u) with u ~ U[0, 1)^D, which
    importance draws tighten. The sweeps climb a looser bound in closed form, that of Jensen within
    each component, E_u log N(x + u): the moments of u enter as x + 1/2 and 1/12.

    Paper: A. P. Dempster, N. M. Laird, D. B. Rubin, "Maximum Likelihood from Incomplete Data via
        the EM Algorithm", 1977, J. R. Stat. Soc. B 39(1), section 4.3.
    Departs from the paper: a k-means start (sklearn.cluster.KMeans); the bins of levels, where the
        paper's section 4.2 would take truncated moments; variances are posterior modes under
        pseudo-observations of the pooled variance (Fraley and Raftery 2007), so that no component
        shrinks onto a value that never varies in it; vectors are standardised first, and counted.

    Args:
        spec: Ordered levels, or continuous vectors.
        components: Number of Gaussians.
        covariance: `diagonal` or `full`.
        prior: Pseudo-observations of the pooled variances in each component; 0 for maximum
            likelihood.
        tolerance: Converged once a sweep gains less than this, in nats per value.
    """

    takes = Takes(unordered=False)
    small = (
        {"components": 3},
        {"components": 3, "covariance": "full"},
    )
    smaller = ({"covariance": "diagonal"}, {"components": 10}, {"components": 2})
    means: Tensor
    factors: Tensor
    pooled: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        components: int = 40,
        covariance: Literal["diagonal", "full"] = "diagonal",
        prior: float = 1.0,
        tolerance: float = 1e-5,
    ) -> None:
        if components < 1 or min(prior, tolerance) < 0 or covariance not in ("diagonal", "full"):
            raise UsageError(
                "components is positive, prior and tolerance at least 0, covariance diagonal or "
                f"full; got {components}, {prior}, {tolerance}, {covariance}"
            )
        super().__init__(spec, components, tolerance)
        self.covariance, self.prior = covariance, prior
        k, d = components, spec.dims
        self.register_buffer("means", torch.full((k, d), (spec.levels or 0) / 2))
        # standard deviations (K, D), or lower Cholesky factors (K, D, D)
        spread = torch.full((d,), (spec.levels or 2) / 2)
        self.register_buffer(
            "factors",
            spread.expand(k, d).clone()
            if covariance == "diagonal"
            else spread.diag().expand(k, d, d).clone(),
        )
        self.register_buffer("pooled", torch.ones(d))

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None = None) -> None:
        """Start from the clusters of k-means, each with its own moments."""
        self.context_features(context, x)
        super().prepare(x.flatten(1))
        y = double(self._middle(x))
        members = self._clusters(y)
        self.pooled.copy_(y.var(0, unbiased=False) + self._floor)
        self._maximise(*self._moments(y, members))

    def _moments(self, y: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Σ r, Σ r y and Σ r y y^T (or its diagonal) for each component."""
        mass = weights.sum(0)
        first = weights.T @ y
        if self.covariance == "diagonal":
            return mass, first, weights.T @ y.square()
        second = y.new_empty(len(mass), *y.shape[1:], *y.shape[1:])
        for each, w in zip(second, weights.T, strict=True):
            torch.mm((y * w[:, None]).T, y, out=each)
        return mass, first, second

    def _maximise(self, *moments: Tensor) -> None:
        """Posterior modes: Σ_k = (Σ r (y − μ)(y − μ)^T + N_k e + ν V) / (N_k + ν)."""
        mass, first, second = moments
        alive = mass > 1e-8
        safe = mass.clamp_min(1e-8)
        means = first / safe[:, None]
        pooled = self.prior * self.pooled.to(means)
        if self.covariance == "diagonal":
            scatter = second - safe[:, None] * means.square()
            scatter = scatter.clamp_min(0) + safe[:, None] * self._floor + pooled
            factors = (scatter / (safe + self.prior)[:, None]).sqrt().to(self.factors)
        else:
            factors = torch.empty_like(self.factors)
            # one after another: a matrix of doubles for each is several times the model
            for k, (m, mean) in enumerate(zip(safe, means, strict=True)):
                scatter = second[k] - m * mean.outer(mean)
                scatter.diagonal().add_(m * self._floor + pooled)
                factors[k] = torch.linalg.cholesky(scatter.div_(m + self.prior))
        self.log_weights.copy_((safe / safe.sum()).log())
        self.means[alive] = means[alive].to(self.means)
        self.factors[alive] = factors[alive]

    def _log_prior(self) -> float:
        """log-density of the covariances under the prior, but for a constant."""
        pooled = double(self.pooled)
        if self.covariance == "diagonal":
            variance = double(self.factors).square()
            terms = (variance.log() + pooled / variance).sum()
        else:
            terms = pooled.new_zeros(())
            for factor in map(double, self.factors):
                terms += 2 * factor.diagonal().log().sum()
                terms += _inverse(factor).square().sum(0) @ pooled
        return -0.5 * self.prior * float(terms)

    @property
    def learnt(self) -> int:
        """Weights that sum to 1, means, and variances or symmetric covariances."""
        k, d = self.components, self.spec.dims
        return k - 1 + k * d + (k * d if self.covariance == "diagonal" else k * d * (d + 1) // 2)

    @property
    def exact(self) -> bool:
        """Exact for diagonal covariances and for continuous vectors, else a bound."""
        return self.covariance == "diagonal" or self.spec.levels is None

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """log p(x) or its bound, `(N,)` in nats; `draws` and `seed` are of the bound's noise."""
        self.spec.check(x)
        self.context_features(context, x)
        if self.spec.levels is None:
            log_density = self._log_joint_density(double(self._middle(x))).logsumexp(1)
            return (log_density - double(self.scale).log().sum()).to(self.means)
        if self.covariance == "diagonal":
            log_mass = self._log_mass(x.flatten(1)).sum(2)
            return (self._log_mixing + log_mass).logsumexp(1)

        def log_weight(keys: Tensor) -> Tensor:
            noise = keyed_uniform(keys, (self.spec.dims,)).to(x.device)
            return self._log_joint_density(double(x.flatten(1)) + noise).logsumexp(1)

        return importance_weighted(x, draws, seed, log_weight).to(self.means)

    @property
    def _bin_variance(self) -> float:
        """Variance of the uniform noise that fills a level's bin."""
        return 1 / 12 if self.spec.levels else 0.0

    @property
    def _floor(self) -> float:
        """Least variance of a value within a component: its bin's, or next to none."""
        return self._bin_variance or 1e-6

    def _log_mass(self, x: Tensor) -> Tensor:
        """log-probability of each level under each diagonal component, `(N, K, D)`."""
        assert self.spec.levels is not None
        normal = DiscretisedNormal(self.means, self.factors, self.spec.levels, validate_args=False)
        return normal.log_prob(x[:, None])

    def _log_joint(self, y: Tensor) -> Tensor:
        """The bound that the sweeps climb: with the bins' variance within each component."""
        return self._log_joint_density(y, self._bin_variance)

    def _log_joint_density(self, y: Tensor, noise: float = 0.0) -> Tensor:
        """log weight + E log N(y + e), `(N, K)`, with e independent of this variance."""
        means = self.means.to(y)
        if self.covariance == "diagonal":
            factors = self.factors.to(y)
            precision = factors.square().reciprocal()
            # the square completed, so that nothing of size (N, K, D) is made
            centre = means.mean(0)
            shifted, around = y - centre, means - centre
            distance = (
                shifted.square() @ precision.T
                - 2 * shifted @ (around * precision).T
                + (around.square() * precision).sum(1)
            )
            trace = precision.sum(1)
            log_det = 2 * factors.log().sum(1)
        else:
            distance = y.new_empty(len(y), self.components)
            trace, log_det = y.new_empty(2, self.components)
            for k, mean in enumerate(means):
                factor = self.factors[k].to(y)
                inverse = _inverse(factor)
                distance[:, k] = ((y - mean) @ inverse.T).square().sum(1)
                trace[k] = inverse.square().sum()
                log_det[k] = 2 * factor.diagonal().log().sum()
        constant = y.shape[1] * math.log(2 * math.pi) + log_det + noise * trace
        return self._log_mixing.to(y) - 0.5 * (distance + constant)

    def _draw(self, component: Tensor) -> Tensor:
        """μ_k + L_k ε."""
        noise = torch.randn(
            len(component), self.spec.dims, dtype=self.means.dtype, device=self.means.device
        )
        if self.covariance == "diagonal":
            return self.means[component] + self.factors[component] * noise
        return self.means[component] + _spread(self.factors, component, noise)

    def completes_exactly(self, observed: Tensor) -> bool:
        """Where the likelihood is exact; a full covariance conditions on the bins' middles."""
        return self.exact

    def _conditional(self, x: Tensor, mask: Tensor) -> Tensor:
        """Draws `(N, D)` whose hidden values follow p(hidden | observed); others are undefined."""
        y = self._middle(x)
        noise = torch.randn_like(y)
        if self.covariance == "diagonal":
            if self.spec.levels is None:
                gap = (y[:, None] - self.means) / self.factors
                log_values = -0.5 * gap.square() - self.factors.log()
            else:
                log_values = self._log_mass(x)
            log_joint = self._log_mixing + (log_values * mask).sum(2)
            component = Categorical(logits=log_joint).sample()
            return self.means[component] + self.factors[component] * noise
        # with the observed values first, the Cholesky factor's blocks condition the rest
        order = torch.cat([mask.nonzero()[:, 0], (~mask).nonzero()[:, 0]])
        split = int(mask.sum())
        permuted = self.factors[:, order]
        factors = torch.linalg.cholesky(permuted @ permuted.mT)
        gap = (y[:, None] - self.means)[:, :, order[:split]]
        code = torch.linalg.solve_triangular(
            factors[:, :split, :split], gap.permute(1, 2, 0), upper=False
        ).permute(2, 0, 1)
        log_det = factors.diagonal(dim1=1, dim2=2)[:, :split].log().sum(1)
        component = Categorical(
            logits=self._log_mixing - 0.5 * code.square().sum(2) - log_det
        ).sample()
        code = code[torch.arange(len(y), device=y.device), component]
        full = torch.cat([code, noise[:, split:]], 1)
        drawn = torch.empty_like(y)
        drawn[:, order] = self.means[component][:, order] + _spread(factors, component, full)
        return drawn


def _spread(factors: Tensor, component: Tensor, noise: Tensor) -> Tensor:
    """L_k ε of each row's component, `(n, D)`, without a matrix for each row."""
    spread = torch.empty_like(noise)
    for k in component.unique():
        rows = component == k
        spread[rows] = noise[rows] @ factors[k].T
    return spread


def _inverse(factor: Tensor) -> Tensor:
    """Inverse of a lower triangular matrix `(D, D)`."""
    identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, identity, upper=False)
