"""Mixture of Gaussians with full covariances: `gmm` with `covariance=full`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from simulacra.ground.randomness import keyed_uniform, keys_of
from simulacra.models.mixture.gmm import EMPTY, GMM
from simulacra.nn.distributions import log_mean_exp
from simulacra.nn.precision import double


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
        dims = self.spec.dims
        rows, columns = torch.tril_indices(dims, dims, device=like.device)
        triangles = self.triangles[components].to(like)
        flat = like.new_zeros(len(triangles), dims * dims)
        whole = flat.index_copy(1, rows * dims + columns, triangles).view(-1, dims, dims)
        return whole.tril(-1) + torch.diag_embed(whole.diagonal(dim1=1, dim2=2).exp())

    def keep(self, components: Tensor, factors: Tensor) -> None:
        """Write down L_k `(k, D, D)` of some components `(k,)`."""
        rows, columns = torch.tril_indices(*factors.shape[1:], device=factors.device)
        kept = factors.tril(-1) + torch.diag_embed(factors.diagonal(dim1=1, dim2=2).log())
        self.triangles[components] = kept[:, rows, columns].to(self.triangles)

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
            inverses = _inverses(factors)
            distance = ((y - means[some, None]) @ inverses.mT).square().sum(2)
            log_det = 2 * factors.diagonal(dim1=1, dim2=2).log().sum(1)
            trace = noise * inverses.square().sum((1, 2))
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

    def _log_prior(self) -> Tensor:
        """log-density of the covariances under the prior, but for a constant."""
        pooled = double(self.pooled)
        terms, alive = pooled.new_zeros(()), self.mixing.alive.to(pooled.device)
        for some in self._some(1):
            factors = self.factors(some, pooled)
            log_det = 2 * factors.diagonal(dim1=1, dim2=2).log().sum(1)
            trace = _inverses(factors).square().sum(1) @ pooled
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


def _inverses(factors: Tensor) -> Tensor:
    """Inverses of lower triangular matrices `(k, D, D)`."""
    identity = torch.eye(factors.shape[1], dtype=factors.dtype, device=factors.device)
    return torch.linalg.solve_triangular(factors, identity.expand_as(factors), upper=False)


_VALUES = 1 << 22
"""Of matrices, or of gaps of rows to means, at once."""
