"""The Fréchet distance between Gaussians, in which sets of observations are compared."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `(width,)` and unbiased covariance `(width, width)` of rows `(N, width)`."""
    centred = x - x.mean(0)
    return x.mean(0), centred.T @ centred / (len(x) - 1)


def eigen(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, which are not negative, and eigenvectors as columns."""
    values, vectors = torch.linalg.eigh(covariance)
    return values.clamp(min=0), vectors  # rounding makes small ones negative


def frechet(mean: Tensor, covariance: Tensor, mean_: Tensor, covariance_: Tensor) -> float:
    """‖μ − μ'‖² + tr(Σ + Σ' − 2 (Σ Σ')^½), 0 or more.

    The trace of (Σ Σ')^½ is the sum of the singular values of Σ^½ Σ'^½, the roots of symmetric
    eigendecompositions: real and finite for singular covariances too.
    """
    values, vectors = eigen(covariance)
    values_, vectors_ = eigen(covariance_)
    product = values.sqrt()[:, None] * (vectors.T @ vectors_) * values_.sqrt()
    traces = covariance.trace() + covariance_.trace() - 2 * torch.linalg.svdvals(product).sum()
    return max(float((mean - mean_).square().sum() + traces), 0.0)
