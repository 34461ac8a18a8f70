"""`Analysers`: the Gaussians of several factor analysers, without a matrix of D × D."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Analysers(NamedTuple):
    """y = μ_k + Λ_k z + σ_k ε with z and ε standard normal: N(μ_k, Λ_k Λ_kᵀ + diag σ_k²).

    Args:
        means: `(K, D)`.
        loadings: `(K, D, R)`.
        scales: Standard deviations of what the factors leave, `(K, D)`.
    """

    means: Tensor
    loadings: Tensor
    scales: Tensor

    def of(self, values: Tensor) -> Analysers:
        """The marginal distributions of some values, by a mask or by their numbers."""
        return Analysers(self.means[:, values], self.loadings[:, values], self.scales[:, values])

    def given(self, y: Tensor, noise: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
        """log N(y; μ_k, C_k) in nats, `(N, K)`, and the mean of z given y, `(N, K, R)`.

        By the matrix inversion lemma: of C_k = Λ Λᵀ + Ψ only I + Λᵀ Ψ⁻¹ Λ is inverted.

        Args:
            y: `(N, D)`.
            noise: Variance that is added to Ψ of all, or of each value, `(D,)`.
        """
        variances = self.scales.square() + noise
        precision = variances.reciprocal()
        weighted, factor = self.inner(precision)
        # the square completed, so that nothing of size (N, K, D) is made
        centre = self.means.mean(0)
        y, means = y - centre, self.means - centre
        k, d, r = self.loadings.shape
        pulled = (y @ weighted.movedim(1, 0).reshape(d, k * r)).view(len(y), k, r)
        pulled = pulled - (weighted.mT @ means[..., None])[..., 0]
        codes = torch.cholesky_solve(pulled.permute(1, 2, 0), factor).permute(2, 0, 1)
        distance = (
            y.square() @ precision.T
            - 2 * y @ (means * precision).T
            + (means.square() * precision).sum(1)
            - (pulled * codes).sum(2)
        )
        log_det = variances.log().sum(1) + 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
        return -0.5 * (distance + log_det + d * math.log(2 * math.pi)), codes

    def traces(self) -> Tensor:
        """tr C_k⁻¹, `(K,)`."""
        precision = self.scales.square().reciprocal()
        weighted, factor = self.inner(precision)
        left = torch.linalg.solve_triangular(factor, weighted.mT, upper=False)
        return precision.sum(1) - left.square().sum((1, 2))

    def regressions(self) -> tuple[Tensor, Tensor]:
        """Of z on y: slopes `(K, R, D)`, and the covariance of z given y, `(K, R, R)`."""
        weighted, factor = self.inner(self.scales.square().reciprocal())
        return torch.cholesky_solve(weighted.mT, factor), torch.cholesky_inverse(factor)

    def inner(self, precision: Tensor) -> tuple[Tensor, Tensor]:
        """Ψ⁻¹ Λ, `(K, D, R)`, and the Cholesky factor of I + Λᵀ Ψ⁻¹ Λ, `(K, R, R)`."""
        weighted = self.loadings * precision[..., None]
        inner = self.loadings.mT @ weighted
        identity = torch.eye(inner.shape[-1], dtype=inner.dtype, device=inner.device)
        return weighted, torch.linalg.cholesky_ex(inner + identity).L
