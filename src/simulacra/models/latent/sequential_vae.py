"""Sequential VAE: a chain of observations, each drawn from the one before and a code of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import keyed_uniform, keys_of
from simulacra.ground.spec import DataSpec
from simulacra.models.bounded import Bounded, Terms
from simulacra.models.latent import observations
from simulacra.models.latent.base import Autoencoding
from simulacra.models.latent.observations import Observation
from simulacra.models.latent.posteriors import Diagonal, log_normal
from simulacra.models.model import Latent, Stepwise
from simulacra.models.takes import Takes
from simulacra.nn.distributions import importance_weighted
from simulacra.nn.levels import as_input
from simulacra.nn.precision import at_least_float32


class SequentialVAE(Bounded, Stepwise, Autoencoding):
    """A chain x⁰ → x¹ → … → x^T of decoders, each trained to draw the observation itself.

    Step t draws from p(xᵗ | xᵗ⁻¹, zᵗ), with a code zᵗ of its own; in training zᵗ comes from
    q(zᵗ | x) and xᵗ⁻¹ from the step before. The loss is the sum over the steps of
    −log p(x | xᵗ⁻¹, zᵗ) + KL(q(zᵗ | x) ‖ p(zᵗ)): every step pays for its own code, and only for
    what the step before has left to tell. The first step draws from its code alone.

    Its likelihood is no part of the training. With the chain's own draws as proposals of x¹ …
    x^(T−1) their probabilities cancel, so that
    log p(x) ≥ E[log p(x | x^(T−1), z^T)] − Σ KL(q(zᵗ | x) ‖ p(zᵗ)).

    Paper: S. Zhao, J. Song, S. Ermon, "Towards Deeper Understanding of Variational Autoencoding
        Models", 2017, arXiv 1702.08658, section 6 (sequential VAE).
    Departs from the paper: distributions over levels instead of Gaussians of one width, and what
        goes from step to step is a draw, as the chain has it, where the authors' code hands on the
        mean; one encoder gives the codes of all steps; decoders as in `vae`, told the observation
        before by an encoder of their own and, value by value, by a direct way, where the authors
        have residual connections; no warm-up of the divergence.

    Args:
        spec: Any observations.
        steps: Of the chain, T.
        latent: Size of the code of each step.
        observation: Distribution of a value, see `vae`.

    Raises:
        MissingCapability: If the data are not those that the decoders are for.
        UsageError: If a keyword is out of its range.
    """

    exact = False
    takes = Takes()
    preset: ClassVar = {"lr": 2e-3}
    small: ClassVar[tuple[dict[str, Any], ...]] = (
        {"latent": 2, "hidden": (8,), "steps": 2},
        {"latent": 2, "hidden": (8,), "steps": 3, "observation": "discretised-logistic"},
        {"latent": 2, "hidden": (8,), "steps": 2, "context": "label", "encoder": "resnet",
         "channels": 2},
        {"latent": 2, "hidden": (8,), "steps": 2, "context": "vector"},
        {"latent": 2, "hidden": (8,), "steps": 2, "observation": "logistic-mixture"},
        {"latent": 1, "hidden": (8,), "steps": 1},
    )  # fmt: skip

    def __init__(
        self,
        spec: DataSpec,
        *,
        steps: int = 3,
        observation: Observation = "auto",
        **keywords: Any,  # noqa: ANN401 (those of `Autoencoding`)
    ) -> None:
        self.kind = observations.chosen(observation, spec)
        if steps < 1:
            raise UsageError(f"steps is positive, got {steps}")
        super().__init__(spec, **keywords)
        self.observation = observation
        # as many passes as there are steps
        self.steps = self.validation_cost = steps
        parameters = observations.parameters(self.kind, spec)
        self.build(2 * steps * self.latent, parameters)
        looks, decoders, direct = [], [], []
        for _ in range(steps - 1):
            look, decoder = self.pair(_SEEN, self.latent + _SEEN, parameters)
            looks.append(look)
            decoders.append(decoder)
            direct.append(_Direct(spec, parameters))
        self.looks, self.decoders = nn.ModuleList(looks), nn.ModuleList(decoders)
        self.direct = nn.ModuleList(direct)

    @classmethod
    def takes_with(cls, **keywords: Any) -> Takes:  # noqa: ANN401 (any keywords)
        """What the networks and the decoders' distribution are for."""
        own, asked = (
            super().takes_with(**keywords),
            observations.TAKES[keywords.get("observation", "auto")],
        )
        return replace(
            asked, pictures=own.pictures and asked.pictures, sounds=own.sounds and asked.sounds,
            vectors=own.vectors and asked.vectors,
        )  # fmt: skip

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Diagonal:
        """q(z¹ … z^T | x), those of all steps side by side; event `(steps · latent,)`."""
        loc, log_scale = self.encoded(x, context).chunk(2, 1)
        return Diagonal(loc, log_scale.clamp(-10, 10).exp())

    def step(
        self, t: int, z: Tensor, before: Tensor | None, context: Tensor | None = None
    ) -> Independent[Distribution]:
        """p(xᵗ | xᵗ⁻¹, zᵗ) over levels or standardised vectors, event `(*event_shape)`.

        Args:
            t: Which step, from 0.
            z: Its codes `(N, latent)`.
            before: What the step before has drawn, `(N, *event_shape)`: levels or standardised
                vectors; of the first step nothing.
            context: One row for each code.
        """
        if before is None:
            raw = self.decoded(z, context)
        else:
            inputs = as_input(before, self.spec, self.shift.dtype)
            told = self.context_features(context, z)
            seen = self.looks[t - 1](inputs, told)
            raw = self.decoders[t - 1](torch.cat([z, seen], 1), told)
            raw = at_least_float32(raw + self.direct[t - 1](before))
        values = observations.distribution(self.kind, raw, self.spec)
        return Independent(values, len(self.spec.event_shape), validate_args=False)

    def chain(
        self, z: Tensor, context: Tensor | None = None, uniform: Tensor | None = None
    ) -> Iterator[tuple[Independent[Distribution], Tensor]]:
        """Each step's distribution, and what it draws for the next.

        Args:
            z: Codes of all steps `(N, steps · latent)`.
            context: One row for each.
            uniform: Of the draws, `(N, steps, *event_shape, 2)`; fresh ones by default.
        """
        before = None
        for t, own in enumerate(z.split(self.latent, 1)):
            found = self.step(t, own, before, context)
            with torch.no_grad():
                if uniform is None:
                    before = found.sample()
                else:
                    before = observations.placed(found.base_dist, uniform[:, t])
            yield found, before

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """The sum of all steps' bounds in nats, the last one's reconstruction, and all codes'."""
        posterior = self.posterior(x, context)
        values = self._values(x)
        z = posterior.rsample()
        each = torch.stack([-found.log_prob(values).mean() for found, _ in self.chain(z, context)])
        each, kl = each + self.scale.log().sum(), posterior.rates().sum(1).mean()
        return {"loss": each.sum() + kl, "reconstruction": each[-1], "kl": kl}

    def _values(self, x: Tensor) -> Tensor:
        """What a step's distribution is of."""
        return x.to(self.shift.dtype) if self.spec.levels is not None else self.standardised(x)

    def _noise(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """A chain's noise from its keys `(N,)`: of the codes, normal, and of the draws, uniform."""
        units, shape = self.steps * self.latent, (self.steps, *self.spec.event_shape, 2)
        # the last step's is drawn and not used
        uniform = keyed_uniform(keys, (units + torch.Size(shape).numel(),))
        normal = torch.special.ndtri(uniform[:, :units]).to(self.shift)
        # rounding may make a float32 of 1, at which a distribution function is passed nowhere
        most = 1 - torch.finfo(self.shift.dtype).eps / 2
        return normal, uniform[:, units:].to(self.shift).clamp(max=most).unflatten(1, shape)

    def _distortion(self, x: Tensor, z: Tensor, context: Tensor | None, uniform: Tensor) -> Tensor:
        """−log p(x | x^(T−1), z^T) in nats `(N,)`."""
        *_, (last, _) = self.chain(z, context, uniform)
        log_prob: Tensor = last.log_prob(self._values(x))
        return self.scale.log().sum() - log_prob

    def terms(self, x: Tensor, context: Tensor | None = None, *, seed: int = 0) -> Terms:
        """The parts of the evidence lower bound, of the codes of all steps; see `Bounded.terms`."""
        self.spec.check(x)
        posterior = self.posterior(x, context)
        normal, uniform = self._noise(keys_of(x, seed))
        z, _ = posterior.placed(normal)
        return Terms(self._distortion(x, z, context, uniform), posterior.rates())

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """Log (1/k) Σ p(x | x^(T−1), z^T) Π p(zᵗ) / q(zᵗ | x), of k = `draws` chains; nats."""
        self.spec.check(x)
        posterior = self.posterior(x, context)

        def log_weight(keys: Tensor) -> Tensor:
            normal, uniform = self._noise(keys)
            z, log_q = posterior.placed(normal)
            return (log_normal(z) - log_q).sum(1) - self._distortion(x, z, context, uniform)

        return importance_weighted(x, draws, seed, log_weight)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The posterior's mean, `(N, steps · latent)`, the first step's code first."""
        self.spec.check(x)
        mean: Tensor = self.posterior(x, context).mean
        return mean

    def _shown(self, drawn: Tensor) -> Tensor:
        """A draw as the data have it."""
        return drawn.long() if self.spec.levels is not None else drawn * self.scale + self.shift

    @torch.no_grad()
    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """What a chain with these codes draws in its last step."""
        *_, (_, last) = self.chain(z, context)
        return self._shown(last)

    def prior(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        """Standard normal codes `(n, steps · latent)`, times the temperature."""
        units = self.steps * self.latent
        return temperature * torch.randn(n, units, dtype=self.shift.dtype, device=self.shift.device)

    def sample(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        """The last of `sample_steps`, of codes narrowed by a temperature; see `Sampling.sample`."""
        return Latent.sample(self, n, context, temperature=temperature)

    @torch.no_grad()
    def sample_steps(self, n: int, context: Tensor | None = None) -> Iterator[Tensor]:
        """What each step of the chain draws, the last of which is the sample."""
        for _, drawn in self.chain(self.prior(n, context), context):
            yield self._shown(drawn)


_SEEN = 64
"""Numbers that a step is told of the observation before, beside each value's direct way."""


class _Direct(nn.Module):
    """What each value was before, as parameters of its distribution now; nothing to begin with.

    Args:
        spec: The form of the data.
        parameters: Of a value's distribution.
    """

    def __init__(self, spec: DataSpec, parameters: int) -> None:
        super().__init__()
        self.levels = spec.levels
        rows = 2 if spec.levels is None else spec.levels
        self.table = nn.Parameter(torch.zeros(rows, parameters))

    def forward(self, before: Tensor) -> Tensor:
        """Parameters `(N, *event_shape, parameters)` of levels, or of standardised vectors."""
        if self.levels is None:
            slope, shift = self.table
            return before[..., None] * slope + shift
        return self.table[before.long()]
