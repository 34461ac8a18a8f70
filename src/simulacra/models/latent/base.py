"""`Variational`: what models of Gaussian codes have in common, an approximate posterior first."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from simulacra.ground.randomness import keyed_normal
from simulacra.ground.spec import DataSpec
from simulacra.models.model import Encoding, Latent, Likelihood
from simulacra.models.standardised import Standardised
from simulacra.nn.distributions import importance_weighted, log_mean_exp


class Variational(Standardised, Likelihood, Encoding, Latent):
    """p(x) = ∫ p(x | z) p(z) dz with standard normal codes, known through q(z | x) alone.

    A model implements `posterior`, q(z | x), and `likelihood`, p(x | z); its `loss` is its own.
    Continuous vectors are standardised with moments of the training data, and the Jacobian of
    that is counted; levels stay as they are.

    Args:
        spec: The form of the data.
        latent: Size of a code.
    """

    laws = ("simulacra.models.latent.laws",)

    def __init__(self, spec: DataSpec, latent: int) -> None:
        super().__init__(spec)
        self.latent = latent

    @abstractmethod
    def posterior(self, x: Tensor, context: Tensor | None = None) -> Independent[Normal]:
        """q(z | x), a diagonal Gaussian over codes; batch `(N,)`, event `(latent,)`."""

    @abstractmethod
    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Independent[Distribution]:
        """p(x | z) over levels or standardised vectors; batch `(N,)`, event `(*event_shape)`."""

    def _log_likelihood(self, x: Tensor, z: Tensor, context: Tensor | None) -> Tensor:
        """Log p(x | z) in nats `(N,)`, of x in the units of the data."""
        # a level is told as it is: what is not finite would be none
        levels = self.spec.levels is not None
        values = x.to(self.shift.dtype) if levels else self.standardised(x)
        log_prob: Tensor = self.likelihood(z, context).log_prob(values)
        return log_prob - self.scale.log().sum()

    def negative_bound(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The two parts of the negative evidence lower bound, means over observations in nats.

        Returns:
            −E_q log p(x | z) from one code each, and the divergence of q(z | x) from the prior.
        """
        posterior = self.posterior(x, context)
        z = posterior.rsample()
        reconstruction = -self._log_likelihood(x, z, context).mean()
        kl = kl_divergence(posterior.base_dist, Normal(0.0, 1.0)).sum(1).mean()
        return reconstruction, kl

    def negative_weighted_bound(
        self, x: Tensor, draws: int, context: Tensor | None = None
    ) -> Tensor:
        """−log (1/k) Σ p(x, z_j) / q(z_j | x) of fresh codes, the mean over observations in nats.

        With one code it is the negative evidence lower bound; with more it is tighter (Burda,
        Grosse and Salakhutdinov 2015, arXiv 1509.00519, equation 8).
        """
        posterior = self.posterior(x, context)
        log_weights = [
            self.log_weight(x, posterior, torch.randn_like(posterior.mean), context)
            for _ in range(draws)
        ]
        return -log_mean_exp(torch.stack(log_weights)).mean()

    def log_weight(
        self,
        x: Tensor,
        posterior: Independent[Normal],
        noise: Tensor,
        context: Tensor | None = None,
    ) -> Tensor:
        """Log p(x, z) / q(z | x) in nats `(N,)`, for the code z = mean + scale · noise.

        Args:
            x: Observations `(N, *event_shape)`.
            posterior: That of x.
            noise: Standard normal, `(N, latent)`.
            context: One row for each observation.
        """
        zero = torch.zeros_like(posterior.mean)
        prior = Independent(
            Normal(zero, torch.ones_like(zero), validate_args=False), 1, validate_args=False
        )
        z = posterior.mean + posterior.base_dist.scale * noise
        log_joint = self._log_likelihood(x, z, context) + prior.log_prob(z)
        # q(z | x) from the noise itself: z − mean loses it where the scale is small
        log_q = prior.log_prob(noise) - posterior.base_dist.scale.log().sum(1)
        weight: Tensor = log_joint - log_q
        return weight

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

        def log_weight(keys: Tensor) -> Tensor:
            noise = keyed_normal(keys, (self.latent,)).to(posterior.mean)
            return self.log_weight(x, posterior, noise, context)

        return importance_weighted(x, draws, seed, log_weight)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The posterior's mean, `(N, latent)`."""
        self.spec.check(x)
        mean: Tensor = self.posterior(x, context).mean
        return mean

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """A draw from p(x | z)."""
        drawn: Tensor = self.likelihood(z, context).sample()
        return drawn.long() if self.spec.levels is not None else drawn * self.scale + self.shift

    def prior(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        """Standard normal codes `(n, latent)`, whatever the context, times the temperature."""
        codes = torch.randn(n, self.latent, dtype=self.shift.dtype, device=self.shift.device)
        return temperature * codes
