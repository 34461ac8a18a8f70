"""Sequential VAE: a chain of decoders, each told by the one before and a part of the code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.latent import observations
from simulacra.models.latent.base import Autoencoding
from simulacra.models.latent.observations import Observation
from simulacra.models.latent.posteriors import Diagonal
from simulacra.models.latent.variational import Variational
from simulacra.models.model import Latent, Stepwise
from simulacra.models.takes import Takes
from simulacra.nn.precision import at_least_float32


class SequentialVAE(Variational, Stepwise, Autoencoding):
    """A chain of decoders from x¹ to x^T, each trained to give the observation itself.

    Step t gives p(xᵗ | xᵗ⁻¹, zᵗ), with a part of the code of its own; what it is told of the step
    before are the means of all values, and it begins where that ended. The loss is the sum over the
    steps of −log p(x | xᵗ⁻¹, zᵗ) + KL(q(zᵗ | x) ‖ p(zᵗ)), each step with gradients of its own: it
    pays for its part of the code, and needs to tell there only what is not told yet.

    Its likelihood is no part of the training. The last step is a decoder of the whole code, so that
    log p(x) ≥ E[log p(x | z¹ … z^T)] − Σ KL(q(zᵗ | x) ‖ p(zᵗ)).

    Paper: S. Zhao, J. Song, S. Ermon, "Towards Deeper Understanding of Variational Autoencoding
        Models", 2017, arXiv 1702.08658 (the sequential VAE), and its code of the same year.
    Departs from the paper: as the authors' code, a step hands on its means, where the paper's chain
        draws; distributions over levels instead of Gaussians of one width; one encoder gives the
        codes of all steps; decoders as in `vae`, told the means by an encoder of their own, and
        parameters of the step before are added to theirs, by a weight that is learnt; no warm-up of
        the divergence.

    Args:
        spec: Any observations.
        steps: Of the chain, T.
        latent: Size of a code, of which every step has a part of its own.
        observation: Distribution of a value, see `vae`.

    Raises:
        MissingCapability: If the data are not those that the decoders are for.
        UsageError: If a keyword is out of its range.
    """

    takes = Takes()
    preset: ClassVar = {"lr": 3e-3}
    small: ClassVar[tuple[dict[str, Any], ...]] = (
        {"latent": 4, "hidden": (8,), "steps": 2},
        {"latent": 4, "hidden": (8,), "steps": 3, "observation": "discretised-logistic"},
        {"latent": 4, "hidden": (8,), "steps": 2, "context": "label", "encoder": "resnet",
         "channels": 4},
        {"latent": 4, "hidden": (8,), "steps": 2, "context": "vector"},
        {"latent": 4, "hidden": (8,), "steps": 2, "observation": "logistic-mixture"},
        {"latent": 2, "hidden": (8,), "steps": 1},
    )  # fmt: skip

    def __init__(
        self,
        spec: DataSpec,
        *,
        steps: int = 3,
        latent: int = 48,
        observation: Observation = "auto",
        **keywords: Any,  # noqa: ANN401 (those of `Autoencoding`)
    ) -> None:
        self.kind = observations.chosen(observation, spec)
        if steps < 1:
            raise UsageError(f"steps is positive, got {steps}")
        super().__init__(spec, latent=latent, **keywords)
        self.observation = observation
        # as many passes as there are steps
        self.steps = self.validation_cost = steps
        parameters = observations.parameters(self.kind, spec)
        self.build(2 * latent, parameters)
        pairs = [self.pair(_SEEN, latent + _SEEN, parameters) for _ in range(steps - 1)]
        self.looks = nn.ModuleList(look for look, _ in pairs)
        self.decoders = nn.ModuleList(decoder for _, decoder in pairs)
        self.kept_on = nn.Parameter(torch.ones(steps - 1, parameters))
        own = torch.tensor_split(torch.arange(latent), steps)
        parts = torch.stack([torch.isin(torch.arange(latent), units) for units in own])
        self.register_buffer("parts_of_steps", parts, persistent=False)

    parts_of_steps: Tensor

    @classmethod
    def takes_with(cls, **keywords: Any) -> Takes:  # noqa: ANN401 (any keywords)
        """What the networks and the decoders' distribution are for."""
        return observations.within(super().takes_with(**keywords), **keywords)

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Diagonal:
        """q(z | x) over the code of all steps; batch `(N,)`, event `(latent,)`."""
        loc, log_scale = self.encoded(x, context).chunk(2, 1)
        return Diagonal(loc, log_scale.clamp(-10, 10).exp())

    def chain(
        self, z: Tensor, context: Tensor | None = None
    ) -> Iterator[Independent[Distribution]]:
        """Each step's p(xᵗ | xᵗ⁻¹, zᵗ) over levels or standardised vectors.

        Args:
            z: Codes `(N, latent)`.
            context: One row for each.

        Yields:
            Batch `(N,)`, event `(*event_shape)`; no gradient leads to the step before.
        """
        told, raw, values = self.context_features(context, z), None, None
        for t, part in enumerate(self.parts_of_steps):
            # units of other steps are nothing to it
            own = z * part
            if raw is None or values is None:
                raw = self.decoded(own, context)
            else:
                means = observations.expected(values, self.spec).to(self.shift.dtype)
                seen = self.looks[t - 1](means.detach(), told)
                new = self.decoders[t - 1](torch.cat([own, seen], 1), told)
                raw = at_least_float32(new) + self.kept_on[t - 1] * raw.detach()
            values = observations.distribution(self.kind, raw, self.spec)
            yield Independent(values, len(self.spec.event_shape), validate_args=False)

    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Independent[Distribution]:
        """p(x | z), the last step's; batch `(N,)`, event `(*event_shape)`."""
        *_, last = self.chain(z, context)
        return last

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """The sum of all steps' bounds in nats, the last one's reconstruction, and all codes'."""
        values = x.to(self.shift.dtype) if self.spec.levels is not None else self.standardised(x)
        posterior = self.posterior(x, context)
        z, _ = posterior.placed(self.noise(len(x)))
        each = torch.stack([-step.log_prob(values).mean() for step in self.chain(z, context)])
        each, kl = each + self.scale.log().sum(), posterior.rates().sum(1).mean()
        return {"loss": each.sum() + kl, "reconstruction": each[-1], "kl": kl}

    def _drawn(self, z: Tensor, context: Tensor | None) -> Iterator[Tensor]:
        """A draw of each step, as the data have it."""
        for step in self.chain(z, context):
            drawn: Tensor = step.sample()
            yield (
                drawn.long() if self.spec.levels is not None else (drawn * self.scale + self.shift)
            )

    @torch.no_grad()
    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """A draw from p(x | z)."""
        *_, last = self._drawn(z, context)
        return last

    def sample(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        """The last of `sample_steps`, of codes narrowed by a temperature; see `Sampling.sample`."""
        return Latent.sample(self, n, context, temperature=temperature)

    @torch.no_grad()
    def sample_steps(self, n: int, context: Tensor | None = None) -> Iterator[Tensor]:
        """What each step of the chain draws, the last of which is the sample."""
        yield from self._drawn(self.prior(n, context), context)


_SEEN = 64
"""Numbers that a step is told of the means of the one before."""
