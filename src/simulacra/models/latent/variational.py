"""`Variational`: what models of Gaussian codes have in common, an approximate posterior first."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from simulacra.ground.randomness import keyed_normal, keys_of
from simulacra.ground.spec import DataSpec
from simulacra.models.bounded import Bounded, Terms
from simulacra.models.latent.posteriors import Posterior, log_normal
from simulacra.models.standardised import Standardised
from simulacra.nn.distributions import importance_weighted, log_mean_exp


@dataclass(frozen=True, eq=False)
class Draw:
    """One code of each observation, drawn from q(z | x), and what it says; in nats.

    Args:
        z: `(N, latent)`.
        log_q: What each unit adds to log q(z | x), `(N, latent)`.
        rates: What each unit costs, `(N, latent)`: its divergence from the prior given the units
            before it where that has a closed form, else its estimate by this code.
        log_likelihood: Log p(x | z), `(N,)`.
    """

    z: Tensor
    log_q: Tensor
    rates: Tensor
    log_likelihood: Tensor

    def log_weight(self, weight: Tensor | float = 1.0) -> Tensor:
        """Log p(x, z) / q(z | x), `(N,)`, of which log p(z) / q(z | x) is weighted."""
        return self.log_likelihood + weight * (log_normal(self.z) - self.log_q).sum(1)


class Variational(Bounded, Standardised):
    """p(x) = ∫ p(x | z) p(z) dz with standard normal codes, known through q(z | x) alone.

    A model implements `posterior`, q(z | x), and `likelihood`, p(x | z); its `loss` is its own.
    Continuous vectors are standardised with moments of the training data, and the Jacobian of
    that is counted; levels stay as they are.
    """

    laws = ("simulacra.models.latent.laws",)
    spec: DataSpec
    latent: int
    expects: ClassVar[bool] = True
    """Whether the mean of p(x | z) is known: of values drawn one after another it is not."""

    @property
    def code_size(self) -> int:
        """Units of a whole code."""
        return self.latent

    @abstractmethod
    def posterior(self, x: Tensor, context: Tensor | None = None) -> Posterior:
        """q(z | x) over codes; batch `(N,)`, event `(latent,)`."""

    @abstractmethod
    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Distribution:
        """p(x | z) over levels or standardised vectors; batch `(N,)`, event `(*event_shape)`."""

    def _log_likelihood(self, x: Tensor, z: Tensor, context: Tensor | None) -> Tensor:
        """Log p(x | z) in nats `(N,)`, of x in the units of the data."""
        # a level is told as it is: what is not finite would be none
        levels = self.spec.levels is not None
        values = x.to(self.shift.dtype) if levels else self.standardised(x)
        log_prob: Tensor = self.likelihood(z, context).log_prob(values)
        return log_prob - self.scale.log().sum()

    def drawn(
        self, x: Tensor, posterior: Posterior, noise: Tensor, context: Tensor | None = None
    ) -> Draw:
        """The code that noise is placed at, and what it says of x.

        Args:
            x: Observations `(N, *event_shape)`.
            posterior: That of x.
            noise: Standard normal, `(N, latent)`.
            context: One row for each observation.
        """
        z, log_q = posterior.placed(noise)
        rates = posterior.rates()
        rates = log_q - log_normal(z) if rates is None else rates
        return Draw(z, log_q, rates, self._log_likelihood(x, z, context))

    def parts(self, x: Tensor, context: Tensor | None, noise: Tensor) -> tuple[Terms, Tensor]:
        """The parts of the evidence lower bound, by one code each, and that code.

        Args:
            x: Observations `(N, *event_shape)`.
            context: One row for each observation.
            noise: Standard normal `(N, latent)`.
        """
        draw = self.drawn(x, self.posterior(x, context), noise, context)
        return Terms(-draw.log_likelihood, draw.rates), draw.z

    def noise(self, n: int) -> Tensor:
        """Standard normal noise of n codes, `(n, latent)`."""
        return torch.randn(n, self.code_size, dtype=self.shift.dtype, device=self.shift.device)

    def terms(self, x: Tensor, context: Tensor | None = None, *, seed: int = 0) -> Terms:
        """The parts of the evidence lower bound; see `Bounded.terms`."""
        self.spec.check(x)
        noise = keyed_normal(keys_of(x, seed), (self.code_size,)).to(self.shift)
        return self.parts(x, context, noise)[0]

    def negative_weighted_bound(
        self,
        x: Tensor,
        draws: int,
        context: Tensor | None = None,
        weight: Tensor | float = 1.0,
    ) -> Tensor:
        """−log (1/k) Σ p(x, z_j) / q(z_j | x) of fresh codes, the mean over observations in nats.

        With one code it is the negative evidence lower bound; with more it is tighter (Burda,
        Grosse and Salakhutdinov 2015, arXiv 1509.00519, equation 8).
        """
        posterior = self.posterior(x, context)
        log_weights = [
            self.drawn(x, posterior, self.noise(len(x)), context).log_weight(weight)
            for _ in range(draws)
        ]
        return -log_mean_exp(torch.stack(log_weights)).mean()

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
            noise = keyed_normal(keys, (self.code_size,)).to(self.shift)
            return self.drawn(x, posterior, noise, context).log_weight()

        return importance_weighted(x, draws, seed, log_weight)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The posterior's mean, `(N, latent)`."""
        self.spec.check(x)
        return self.posterior(x, context).mean

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """A draw from p(x | z)."""
        drawn: Tensor = self.likelihood(z, context).sample()
        return drawn.long() if self.spec.levels is not None else drawn * self.scale + self.shift

    def prior(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        """Standard normal codes `(n, latent)`, whatever the context, times the temperature."""
        return temperature * self.noise(n)
