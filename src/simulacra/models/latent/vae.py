"""Variational autoencoder: a decoder of Gaussian codes, and an encoder that approximates them."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    Normal,
    kl_divergence,
)

from simulacra.distributions import DiscretisedLogistic, log_mean_exp
from simulacra.errors import MissingCapability, UsageError
from simulacra.model import Encoding, Latent, Likelihood
from simulacra.nn.context import ContextEmbedding, ContextKind
from simulacra.nn.levels import as_input, input_channels
from simulacra.nn.mlp import mlp
from simulacra.nn.precision import at_least_float32
from simulacra.randomness import keyed_normal, keys_of
from simulacra.spec import DataSpec

Observation = Literal["auto", "bernoulli", "categorical", "discretised-logistic"]


class VAE(Likelihood, Encoding, Latent):
    """A decoder of Gaussian codes, trained with an encoder on the evidence lower bound.

    The decoder is a distribution over levels, so the bound is one on a discrete likelihood; with
    k importance draws it is that of Burda, Grosse and Salakhutdinov 2015 (arXiv 1509.00519).

    Paper: D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", 2013, arXiv 1312.6114,
        section 3 and appendices B and C.
    Departs from the paper: ReLU instead of tanh; discrete levels have a categorical or
        discretised logistic decoder instead of a Gaussian one; a context, when given, enters
        both networks.

    Args:
        spec: Observations of integer levels.
        latent: Size of a code.
        hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.
        observation: Distribution of a level given its code. `auto`: Bernoulli for 2 levels,
            categorical for up to 32 or unordered ones, discretised logistic for more.
        context: What both networks are told beside the observation: none, label or vector.

    Raises:
        MissingCapability: If the data are continuous, or the decoder needs ordered levels.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        latent: int = 16,
        hidden: tuple[int, ...] = (512, 256),
        observation: Observation = "auto",
        context: ContextKind = "none",
    ) -> None:
        if spec.levels is None:
            raise MissingCapability("vae models integer levels, not floats: use nice or gmm")
        if latent < 1 or any(width < 1 for width in hidden):
            raise UsageError(f"latent and hidden are positive, got {latent} and {hidden}")
        if observation not in get_args(Observation):
            raise UsageError(
                f"observation is one of {', '.join(get_args(Observation))}, got {observation!r}"
            )
        super().__init__(spec)
        self.latent, self.hidden, self.observation = latent, tuple(hidden), observation
        self.context = context
        self.kind = observation
        if observation == "auto":
            few = spec.levels <= 32 or not spec.ordered
            self.kind = "categorical" if few else "discretised-logistic"
            self.kind = "bernoulli" if spec.levels == 2 else self.kind
        if self.kind == "bernoulli" and spec.levels != 2:
            raise UsageError(f"observation='bernoulli' needs 2 levels, the data have {spec.levels}")
        if self.kind == "discretised-logistic" and not spec.ordered:
            raise MissingCapability("a discretised logistic needs ordered levels: use categorical")
        parameters = {"bernoulli": 1, "categorical": spec.levels, "discretised-logistic": 2}
        self.context_features = ContextEmbedding(context, spec, 32)
        told = self.context_features.width
        pixels = spec.dims // spec.event_shape[0] * input_channels(spec)
        self.encoder = mlp(pixels + told, hidden, 2 * latent)
        self.decoder = mlp(latent + told, hidden[::-1], spec.dims * parameters[self.kind])

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Independent[Normal]:
        """q(z | x), a diagonal Gaussian over codes; batch `(N,)`, event `(latent,)`."""
        inputs = as_input(x, self.spec, self._dtype).flatten(1)
        told = self.context_features(context, inputs)
        raw = at_least_float32(self.encoder(torch.cat([inputs, told], 1)))
        loc, log_scale = raw.chunk(2, 1)
        # not validated: what is not finite must reach the likelihood, where it is counted
        scale = log_scale.clamp(-10, 10).exp()
        return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)

    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Independent[Distribution]:
        """p(x | z) over levels; batch `(N,)`, event `(*event_shape)`."""
        told = self.context_features(context, z)
        raw = at_least_float32(self.decoder(torch.cat([z, told], 1)))
        raw = raw.unflatten(1, (*self.spec.event_shape, -1))
        levels = self.spec.levels or 2
        values: Distribution
        if self.kind == "bernoulli":
            values = Bernoulli(logits=raw.squeeze(-1), validate_args=False)
        elif self.kind == "categorical":
            values = Categorical(logits=raw, validate_args=False)
        else:
            loc, log_scale = raw.unbind(-1)
            # in the middle of the range and a twentieth of it wide to begin with, and never
            # narrower than a twentieth of a bin
            scale = (levels / 20 * log_scale.clamp(-10, 7).exp()).clamp_min(0.05)
            values = DiscretisedLogistic((loc + 0.5) * levels, scale, levels, validate_args=False)
        return Independent(values, len(self.spec.event_shape), validate_args=False)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """The negative evidence lower bound in nats, with its two parts (equation 3)."""
        posterior = self.posterior(x, context)
        z = posterior.rsample()
        reconstruction = -self.likelihood(z, context).log_prob(x.to(self._dtype)).mean()
        kl = kl_divergence(posterior.base_dist, Normal(0.0, 1.0)).sum(1).mean()
        return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}

    @property
    def exact(self) -> bool:
        """Never: the importance-weighted bound."""
        return False

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """Log (1/k) Σ p(x, z_k) / q(z_k | x) with exactly k = `draws` codes; nats, `(N,)`."""
        self.spec.check(x)
        posterior = self.posterior(x, context)
        zero = torch.zeros_like(posterior.mean)
        prior = Independent(
            Normal(zero, torch.ones_like(zero), validate_args=False), 1, validate_args=False
        )
        keys = keys_of(x, seed)
        log_weights = []
        for draw in range(draws):
            noise = keyed_normal(keys + draw, (self.latent,)).to(posterior.mean)
            z = posterior.mean + posterior.base_dist.scale * noise
            log_joint = self.likelihood(z, context).log_prob(x.to(self._dtype)) + prior.log_prob(z)
            log_weights.append(log_joint - posterior.log_prob(z))
        return log_mean_exp(torch.stack(log_weights))

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The posterior's mean, `(N, latent)`."""
        self.spec.check(x)
        mean: Tensor = self.posterior(x, context).mean
        return mean

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """A draw from p(x | z)."""
        drawn: Tensor = self.likelihood(z, context).sample()
        return drawn.long()

    def prior(self, n: int) -> Tensor:
        """Standard normal codes `(n, latent)`."""
        weight = next(self.parameters())
        return torch.randn(n, self.latent, dtype=weight.dtype, device=weight.device)

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype
