"""A VAE whose decoder is linear: probabilistic PCA, of which everything is known in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal

from simulacra.ground.spec import DataSpec
from simulacra.models.latent.posteriors import Diagonal, Flowing, PosteriorKind
from simulacra.models.latent.vae import VAE

NARROWEST = 1e-3
"""What the Gaussian decoder adds to its deviation."""


@torch.no_grad()
def linear(
    weight: Tensor, deviation: float, family: PosteriorKind = "diagonal", mean: Tensor | None = None
) -> VAE:
    """`vae` with p(x | z) = N(W z + μ, σ² I), in float64; the encoder is as it begins.

    Args:
        weight: W, `(dims, latent)`.
        deviation: σ.
        family: Of the posterior.
        mean: μ; zeros by default.
    """
    dims, latent = weight.shape
    model = VAE(DataSpec((dims,), levels=None), latent=latent, hidden=(), encoder="mlp",
                posterior_family=family).double()  # fmt: skip
    last = _last(model.decoding)
    rows = torch.zeros(dims, 2, latent, dtype=torch.float64)
    rows[:, 0] = weight
    last.weight.copy_(rows.flatten(0, 1))
    last.bias.copy_(torch.zeros(2 * dims))
    last.bias[1::2] = 2 * math.log(deviation - NARROWEST)
    if mean is not None:
        last.bias[::2] = mean
    return model.eval()


def _last(network: nn.Module) -> nn.Linear:
    """The one layer of a network without hidden ones."""
    (layer,) = (part for part in network.modules() if isinstance(part, nn.Linear))
    return layer


def log_density(weight: Tensor, deviation: float, x: Tensor, mean: Tensor | None = None) -> Tensor:
    """log N(x; μ, W Wᵀ + σ² I), nats, `(N,)` (Tipping and Bishop 1999, equation 3)."""
    covariance = weight @ weight.T + deviation**2 * torch.eye(len(weight)).to(weight)
    centre = torch.zeros_like(weight[:, 0]) if mean is None else mean
    found: Tensor = MultivariateNormal(centre, covariance).log_prob(x)
    return found


def true_posterior(weight: Tensor, deviation: float) -> tuple[Tensor, Tensor]:
    """p(z | x) = N(A (x − μ), S): A `(latent, dims)` and S; their equation 6."""
    precision = torch.eye(weight.shape[1]).to(weight) + weight.T @ weight / deviation**2
    covariance = torch.linalg.inv(precision)
    return covariance @ weight.T / deviation**2, covariance


@torch.no_grad()
def set_posterior(model: VAE, matrix: Tensor, factor: Tensor, mean: Tensor | None = None) -> None:
    """q(z | x) = N(A (x − μ), L Lᵀ), the same L for all x; a diagonal family has its diagonal."""
    latent, layer = model.latent, _last(model.encoding)
    below = torch.tril_indices(latent, latent, -1)
    layer.weight.zero_()
    layer.weight[:latent] = matrix
    layer.bias.zero_()
    if mean is not None:
        layer.bias[:latent] = -matrix @ mean
    layer.bias[latent : 2 * latent] = factor.diagonal().log()
    if model.posterior_family == "full":
        layer.bias[2 * latent :] = factor[below[0], below[1]]


def bound(model: VAE, x: Tensor, weight: Tensor, deviation: float) -> Tensor:
    """The evidence lower bound with its expectation in closed form, nats, `(N,)`; μ = 0."""
    q = model.posterior(x)
    assert not isinstance(q, Flowing)
    factor = torch.diag_embed(q.base_dist.scale) if isinstance(q, Diagonal) else q.scale_tril
    spread = (weight @ factor).square().sum((1, 2)) / (2 * deviation**2)
    fit = Normal(q.mean @ weight.T, deviation).log_prob(x).sum(1)
    rates = q.rates()
    assert rates is not None
    return fit - spread - rates.sum(1)
