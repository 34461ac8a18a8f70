"""Hierarchical VAE: codes of several levels, each drawn given those above it."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.latent import observations
from simulacra.models.latent.completion import CodeCompletion
from simulacra.models.latent.ladder import Ladder, LadderPosterior
from simulacra.models.latent.lower_bound import LowerBound
from simulacra.models.latent.observations import Observation
from simulacra.models.latent.posteriors import Posterior
from simulacra.models.latent.variational import Draw
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, ContextKind
from simulacra.nn.levels import as_input


class HVAE(CodeCompletion, LowerBound):
    """A ladder of codes: one of the whole picture, then maps of it, each given those above.

    p(x, z) = p(x | z₁ … z_L) p(z₁) Π p(z_l | z₁ … z_{l−1}), where z₁ is the highest level, and
    q(z_l | x, z₁ … z_{l−1}) has the parents of the prior beside x, for both share the way down.
    Features that go down past every level let each of them reach the picture.

    Paper: C. K. Sønderby, T. Raiko, L. Maaløe, S. K. Sønderby, O. Winther, "Ladder Variational
        Autoencoders", 2016, arXiv 1602.02282, sections 2.2 and 2.3; A. Vahdat, J. Kautz, "NVAE: A
        Deep Hierarchical Variational Autoencoder", 2020, arXiv 2007.03898, section 3.2, for
        posteriors relative to the prior.
    Departs from the paper: residual convolutions on patches of the picture where the first has
        fully connected layers; what comes from above and what comes from x are put together by a
        network instead of by their precisions; posteriors are relative to the prior, and units of a
        code are told so (see `ladder`); the generative path has residual connections past each
        level, as in L. Maaløe, M. Fraccaro, V. Liévin, O. Winther, "BIVA", 2019, arXiv 1902.02102;
        free bits are those of a whole level (arXiv 1606.04934, appendix C.8).

    Args:
        spec: Pictures of integer levels.
        levels: Of the code, L.
        latent: Units of the highest level, which is of the whole picture.
        units: At each patch, of the maps that the other levels are.
        channels: Of features of patches. None: 64, or 32 of pictures of a side under 16.
        hidden: Width between the highest level and those.
        observation: Distribution of a value given its code, see `vae`.
        warmup: Part of the training over which the weight of the divergence rises from 0.
        free_bits: What a level of the code may cost in nats before it is paid for.
        dropout: Probability of dropping a feature while training.
        context: What the model is told beside a picture: none, label or vector; it enters the
            highest level's posterior, and the way down.

    Raises:
        MissingCapability: If the data are not those that the decoder is for.
        UsageError: If a keyword is out of its range.
    """

    takes = Takes(sounds=False, vectors=False)
    preset: ClassVar = {"lr": 3e-3}
    beta = 1.0
    small: ClassVar[tuple[dict[str, Any], ...]] = (
        {"latent": 2, "units": 1, "channels": 4, "hidden": 8, "levels": 2},
        {"latent": 2, "units": 1, "channels": 4, "hidden": 8, "context": "label"},
        {
            "latent": 2, "units": 1, "channels": 4, "hidden": 8, "context": "vector",
            "observation": "logistic-mixture", "free_bits": 0.5, "dropout": 0.1,
        },
        {"latent": 2, "channels": 4, "hidden": 8, "levels": 1},
    )  # fmt: skip

    def __init__(
        self,
        spec: DataSpec,
        *,
        levels: int = 3,
        latent: int = 32,
        units: int = 8,
        channels: int | None = None,
        hidden: int = 256,
        observation: Observation = "auto",
        warmup: float = 0.1,
        free_bits: float = 1.0,
        dropout: float = 0.0,
        context: ContextKind = "none",
    ) -> None:
        self.kind = observations.chosen(observation, spec)
        self.check_weights(self.beta, warmup, free_bits)
        if min(levels, latent, units, channels or 1, hidden) < 1 or not 0 <= dropout < 1:
            raise UsageError(
                "levels, latent, units, channels and hidden are positive and dropout is in [0, 1), "
                f"got {levels}, {latent}, {units}, {channels}, {hidden} and {dropout}"
            )
        super().__init__(spec)
        self.levels, self.units, self.channels, self.hidden = levels, units, channels, hidden
        self.observation, self.warmup, self.free_bits = observation, warmup, free_bits
        self.dropout, self.context = dropout, context
        self.context_features = ContextEmbedding(context, spec, 32)
        self.ladder = Ladder(
            spec, levels=levels, latent=latent, units=units, channels=channels, hidden=hidden,
            parameters=observations.parameters(self.kind, spec),
            told=self.context_features.width, dropout=dropout,
        )  # fmt: skip
        self.latent = latent

    @property
    def code_size(self) -> int:
        """Units of all levels."""
        return sum(self.ladder.sizes)

    @property
    def hierarchy(self) -> tuple[tuple[str, int], ...]:
        """See `Bounded.hierarchy`; the highest level is the first."""
        if self.levels == 1:
            return ()
        return tuple((f"level {i}", size) for i, size in enumerate(self.ladder.sizes, 1))

    @classmethod
    def takes_with(cls, **keywords: Any) -> Takes:  # noqa: ANN401 (any keywords)
        """What the networks and the decoder's distribution are for."""
        return observations.within(cls.takes, **keywords)

    def posterior(self, x: Tensor, context: Tensor | None = None) -> LadderPosterior:
        """q(z | x) over codes of all levels; batch `(N,)`, event `(code_size,)`."""
        inputs = as_input(x, self.spec, self.shift.dtype)
        told = self.context_features(context, inputs)
        return LadderPosterior(self.ladder, self.ladder.seen(inputs), told)

    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Independent[Distribution]:
        """p(x | z) over levels; batch `(N,)`, event `(*event_shape)`."""
        return self._values(self.ladder.generated(z, self.context_features(context, z)))

    def _values(self, raw: Tensor) -> Independent[Distribution]:
        values = observations.distribution(self.kind, raw, self.spec)
        return Independent(values, len(self.spec.event_shape), validate_args=False)

    def drawn(
        self, x: Tensor, posterior: Posterior, noise: Tensor, context: Tensor | None = None
    ) -> Draw:
        """One way down places the code and says what it explains; see `Variational.drawn`."""
        assert isinstance(posterior, LadderPosterior)
        found = posterior.descended(noise)
        explained = self._values(found.raw).log_prob(x.to(self.shift.dtype))
        return Draw(found.u, found.log_q, found.rates, explained)

    def _levels(self, units: Tensor) -> list[Tensor]:
        """What each level costs, of units of these mean rates."""
        return [part.sum() for part in units.split(self.ladder.sizes)]

    def _paid(self, units: Tensor) -> Tensor:
        """See `LowerBound`; free bits are those of a whole level."""
        return super()._paid(torch.stack(self._levels(units)))

    def _told_of(self, units: Tensor) -> dict[str, Tensor]:
        """The divergence of each level, the highest first."""
        if self.levels == 1:
            return {}
        return {f"kl {i}": kl for i, kl in enumerate(self._levels(units), 1)}
