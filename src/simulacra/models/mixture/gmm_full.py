"""Mixture of Gaussians with full covariances: `gmm` with `covariance=full`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from simulacra.ground.randomness import keyed_uniform, keys_of
from simulacra.models.mixture.gmm import EMPTY, GMM
from simulacra.nn.distributions import log_mean_exp
from simulacra.nn.precision import double


class FullGMM(GMM):
    """`GMM` with full covariances Σ_k = L_k L_kᵀ, one matrix at a time: see there."""

    _full = True

    def _make_spreads(self) -> None:
        dims = self.spec.dims
        # the lower triangle of L_k row by row, its diagonal as a logarithm
        self.triangles = nn.Parameter(torch.zeros(self.components, dims * (dims + 1) // 2))

    @property
    def exact(self) -> bool:
        """A density of vectors; of levels a bound, for nobody integrates over a box."""
        return self.spec.levels is None

    def _factor(self, k: int, like: Tensor) -> Tensor:
        """L_k, `(D, D)`, in the type of another tensor."""
        dims = self.spec.dims
        rows, columns = torch.tril_indices(dims, dims, device=like.device)
        factor = like.new_zeros(dims, dims)
        factor = factor.index_put((rows, columns), self.triangles[k].to(like))
        return factor.tril(-1) + factor.diagonal().exp().diag()

    def _keep(self, k: int, factor: Tensor) -> None:
        """Write L_k down."""
        dims = self.spec.dims
        rows, columns = torch.tril_indices(dims, dims, device=factor.device)
        kept = factor.tril(-1) + factor.diagonal().log().diag()
        self.triangles[k] = kept[rows, columns].to(self.triangles)

    def log_parts(self, y: Tensor) -> Tensor:
        """log N(y; μ_k, Σ_k), or E log N(y + u) with the bins' noise, `(N, K)`."""
        return self._log_density(y, self.bin_variance)

    def _log_density(self, y: Tensor, noise: float = 0.0) -> Tensor:
        parts = []
        for k, mean in enumerate(self.means.to(y)):
            factor = self._factor(k, y)
            inverse = _inverse(factor)
            distance = ((y - mean) @ inverse.T).square().sum(1)
            trace = noise * inverse.square().sum() if noise else 0.0
            parts.append(distance + 2 * factor.diagonal().log().sum() + trace)
        return -0.5 * (torch.stack(parts, 1) + y.shape[1] * math.log(2 * math.pi))

    def _moments(self, y: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
        """Σ r y and Σ r y yᵀ of each component."""
        second = y.new_empty(self.components, y.shape[1], y.shape[1])
        for each, w in zip(second, weights.T, strict=True):
            torch.mm((y * w[:, None]).T, y, out=each)
        return weights.T @ y, second

    @torch.no_grad()
    def _fit(self, mass: Tensor, *moments: Tensor) -> None:
        """Posterior modes: Σ_k = (Σ r (y − μ)(y − μ)ᵀ + N_k e + ν V) / (N_k + ν)."""
        first, second = moments
        pooled = self.prior * self.pooled.to(first)
        # one after another: a matrix of doubles for each is several times the model
        for k, m in enumerate(mass.tolist()):
            if m <= EMPTY:
                continue
            mean = first[k] / m
            scatter = second[k] - m * mean.outer(mean)
            scatter.diagonal().add_(m * self._floor + pooled)
            self._keep(k, torch.linalg.cholesky(scatter.div_(m + self.prior)))
            self.means[k] = mean.to(self.means)

    def _log_prior(self) -> Tensor:
        """log-density of the covariances under the prior, but for a constant."""
        pooled = double(self.pooled)
        terms = pooled.new_zeros(())
        for k in self.mixing.alive.nonzero()[:, 0].tolist():
            factor = self._factor(k, pooled)
            terms = terms + 2 * factor.diagonal().log().sum()
            terms = terms + _inverse(factor).square().sum(0) @ pooled
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
            drawn[rows] = self.means[k] + drawn[rows] @ self._factor(k, drawn).T
        return drawn

    def _conditional(self, x: Tensor, mask: Tensor, log_mixing: Tensor) -> Tensor:
        """A component by the observed values, and the hidden ones given both."""
        y = self._middle(x)
        # with the observed values first, the Cholesky factor's blocks condition the rest
        order = torch.cat([mask.nonzero()[:, 0], (~mask).nonzero()[:, 0]])
        split = int(mask.sum())
        gaps = (y - self.means.mean(0))[:, order[:split]]
        around = (self.means - self.means.mean(0))[:, order[:split]]
        log_joint, factors = [], []
        for k in range(self.components):
            factor = self._factor(k, y)[order]
            factor = torch.linalg.cholesky(factor @ factor.T)
            seen = factor[:split, :split]
            code = torch.linalg.solve_triangular(seen, (gaps - around[k]).T, upper=False)
            log_joint.append(-0.5 * code.square().sum(0) - seen.diagonal().log().sum())
            factors.append((code.T, factor[split:]))
        logits = log_mixing + torch.stack(log_joint, 1)
        component = Categorical(logits=logits, validate_args=False).sample()
        drawn = torch.empty_like(y)
        for k in component.unique().tolist():
            rows = component == k
            code, below = factors[k]
            noise = torch.randn_like(y[rows][:, : len(order) - split])
            hidden = torch.cat([code[rows], noise], 1) @ below.T
            drawn[rows[:, None] & ~mask] = (self.means[k][order[split:]] + hidden).flatten()
        return drawn


def _inverse(factor: Tensor) -> Tensor:
    """Inverse of a lower triangular matrix `(D, D)`."""
    identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, identity, upper=False)
