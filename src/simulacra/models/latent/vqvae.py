"""VQ-VAE: an autoencoder whose code is a grid of entries of a codebook, and a prior over grids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.keywords import Nested
from simulacra.models.latent import observations
from simulacra.models.latent.codebooks import (
    Codebook,
    FiniteScalars,
    Quantiser,
    QuantiserKind,
    levels_of,
    used,
)
from simulacra.models.latent.second_stage import SecondStage
from simulacra.models.latent.vqvae_networks import GridDecoder, GridEncoder, grid
from simulacra.models.model import Likelihood, Sampling
from simulacra.models.quantised import CodebookTerms, Quantised
from simulacra.models.stages import Stage
from simulacra.models.swept import Swept
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, ContextKind
from simulacra.nn.levels import as_input, nearest_levels
from simulacra.nn.precision import at_least_float32

USUAL: Nested = {"name": "pixel-transformer", "keywords": {"layers": 2}}
"""The prior, where nothing else is said: it takes pictures and sounds, and no level is one-hot."""

_TINY: Nested = {"name": "pixel-transformer", "keywords": {"width": 8, "layers": 1, "heads": 2}}
_TINY_MADE: Nested = {"name": "made", "keywords": {"hidden": (8,)}}

_WIDTH = 16
"""Numbers of an entry that is learnt."""


class VQVAE(SecondStage, Quantised):
    """An autoencoder whose code is a grid of codebook entries, and a prior that draws such grids.

    The encoder gives a vector for each patch, the nearest entry takes its place, and the decoder
    sees the entry alone. In a second stage a model of the registry learns how the indices of
    entries stand side by side. What an observation costs is the rate, −log p(z) of its grid under
    that prior, and the distortion, −log p(x | z); their sum is no likelihood, for it counts one of
    all grids that the observation could come from.

    Paper: A. van den Oord, O. Vinyals, K. Kavukcuoglu, "Neural Discrete Representation Learning",
        2017, arXiv 1711.00937; F. Mentzer, D. Minnen, E. Agustsson, M. Tschannen, "Finite Scalar
        Quantization: VQ-VAE Made Simple", 2023, arXiv 2309.15505, for quantiser=fsq.
    Departs from the paper: the decoder is a distribution over levels, not a squared error; entries
        begin with vectors of the encoder, and those that are long unused begin so again (Dhariwal
        et al. 2020, arXiv 2005.00341); grids have sides of 8 at most for pictures, and sounds a
        place for 16 samples with a decoder that is not autoregressive; the prior is a small
        transformer; AdamW, and the average of the weights is kept.

    Args:
        spec: Pictures or sounds.
        codes: Entries, K; of `fsq` at most so many.
        code_width: Numbers of an entry, D. None: 16; of `fsq`, of which each is rounded to one of
            a few levels, as many as can have five levels and more.
        quantiser: Whether entries are learnt, as moving averages of what they stand for
            (`codebook`), or are all that finite scalars can be (`fsq`).
        commitment: β, the weight of the squared distance of vectors from entries, for each value
            of an observation; 0 in effect with `fsq`.
        channels: Of the convolutions.
        prior: The model of the grids of indices, which are levels without an order.
        context: What the prior is told beside the grid: none, label or vector. The networks are
            not told.

    Raises:
        MissingCapability: If the data are not those that the prior is for.
        UsageError: If a keyword is out of its range, or the prior lacks a likelihood, samples, or
            the context.
    """

    takes = Takes(vectors=False)
    preset = {"lr": 3e-3, "batch": 16}
    smaller = ({"channels": 32},)
    small: ClassVar[tuple[dict[str, Any], ...]] = (
        {"codes": 7, "code_width": 8, "channels": 8, "prior": _TINY},
        {
            "codes": 27, "code_width": 3, "quantiser": "fsq", "channels": 8, "prior": _TINY,
            "context": "label",
        },
        {"codes": 6, "code_width": 3, "channels": 8, "prior": _TINY_MADE, "context": "vector"},
    )  # fmt: skip
    second = "prior"
    second_share = 0.6

    def __init__(
        self,
        spec: DataSpec,
        *,
        codes: int = 256,
        code_width: int | None = None,
        quantiser: QuantiserKind = "codebook",
        commitment: float = 0.25,
        channels: int = 64,
        prior: Nested = USUAL,
        context: ContextKind = "none",
    ) -> None:
        if quantiser not in get_args(QuantiserKind):
            raise UsageError(
                f"quantiser is one of {', '.join(get_args(QuantiserKind))}, got {quantiser!r}"
            )
        if codes < 2 or min(channels, code_width or 1) < 1 or not 0 <= commitment < float("inf"):
            raise UsageError(
                "codes is at least 2, code_width and channels are positive and commitment is not "
                f"negative, got {codes}, {code_width}, {channels} and {commitment}"
            )
        self.takes_with(prior=prior).check(spec, f"VQVAE with prior={prior['name']}")
        super().__init__(spec)
        self.codes, self.code_width, self.quantiser = codes, code_width, quantiser
        self.commitment, self.channels, self.context = commitment, channels, context
        self.prior_model = prior
        self.kind = observations.chosen("auto", spec)
        # the prior alone is told it, and both stages refuse another
        self.told = ContextEmbedding(context, spec)
        self.entries: Quantiser = (
            Codebook(codes, code_width or _WIDTH) if quantiser == "codebook"
            else FiniteScalars(levels_of(codes, code_width))
        )  # fmt: skip
        width = self.entries.width
        self.encoder = GridEncoder(spec, channels, width)
        self.decoder = GridDecoder(spec, channels, width, observations.parameters(self.kind, spec))
        self._add_prior(prior)

    def _add_prior(self, prior: Nested) -> None:
        sides = grid(self.spec)
        codes = replace(
            self.spec, event_shape=(1, *sides) if self.spec.is_image else sides,
            levels=self.entries.size, ordered=False, coding="plain", palette=None, rate=None,
        )  # fmt: skip
        made = self.nest(prior, codes)
        able = isinstance(made, Likelihood) and not isinstance(made, Swept)
        if not (able and isinstance(made, Sampling)) or made.context != self.context:
            raise UsageError(
                "prior is a model that learns by steps, has a likelihood, samples and takes the "
                f"context, got {prior['name']}: use pixel-transformer"
            )
        self.of_codes = made

    @property
    def keywords(self) -> dict[str, Any]:
        """Those it was built with; one is called as a method of every latent model is."""
        own = {"prior": self.prior_model}
        return {name: own.get(name) or getattr(self, name) for name in self.signature()}

    @classmethod
    def takes_with(cls, **keywords: Any) -> Takes:  # noqa: ANN401 (any keywords)
        """What the prior takes a grid of."""
        prior = keywords.get("prior", USUAL)
        own = registry.find(prior["name"]).takes_with(**prior["keywords"])
        return replace(
            cls.takes, pictures=own.pictures and own.unordered, sounds=own.sounds and own.unordered
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The autoencoder, chosen by its distortion; then those of the prior, by the rate."""
        first, *rest = super().stages
        return (replace(first, prepare=self._begin, validation_loss=self._distortion), *rest)

    @torch.no_grad()
    def _begin(self, x: Tensor, context: Tensor | None = None) -> None:
        """Let entries begin where the encoder's vectors are, once these are normalised."""
        norm, training = self.encoder.norm, self.encoder.training
        usual, norm.momentum = norm.momentum, None
        norm.reset_running_stats()
        self.encoder.train()
        self.entries.prepare(self._vectors(x))
        self.encoder.train(training)
        norm.momentum = usual

    # ---- there and back -------------------------------------------------------------------------

    def _vectors(self, x: Tensor) -> Tensor:
        """The encoder's numbers `(N, D, *grid)`, float32 at least."""
        dtype = next(self.encoder.parameters()).dtype
        return at_least_float32(self.encoder(as_input(x, self.spec, dtype)))

    def indices(self, x: Tensor) -> Tensor:
        """Which entry stands in each place of observations' grids, int64 `(N, *grid)`."""
        return self.entries.indices(self.entries.bounded(self._vectors(x)))

    def as_data(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Grids of indices, as the prior takes them: `(N, 1, h, w)`, or `(N, t)` of sounds."""
        indices = self.indices(x)
        return indices[:, None] if self.spec.is_image else indices

    def values(self, entries: Tensor) -> Distribution:
        """p(x | z) of every value, a batch `(N, *event_shape)` over levels.

        Args:
            entries: `(N, D, *grid)`.
        """
        raw = at_least_float32(self.decoder(entries))
        return observations.distribution(self.kind, raw, self.spec)

    def _untold(self, x: Tensor, entries: Tensor) -> Tensor:
        """−log p(x | z) in nats, `(N,)`."""
        values = self.values(entries)
        told = x.to(entries.dtype) if self.kind == "bernoulli" else x
        nats: Tensor = -values.log_prob(told).flatten(1).sum(1)
        return nats

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The entries that stand for patches, `(N, D, *grid)`; the context changes nothing."""
        self.spec.check(x)
        return self.entries.vectors(self.indices(x))

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The likeliest level of each value, or of a logistic one that in its middle.

        Args:
            z: Any vectors `(N, D, *grid)`, each of which the nearest entry stands for.
            context: Changes nothing.
        """
        values = self.values(self.entries.vectors(self.entries.indices(z)).to(z.dtype))
        if isinstance(values, Bernoulli):
            return (values.logits > 0).long()
        if isinstance(values, Categorical):
            return values.logits.argmax(-1)
        return nearest_levels(observations.expected(values, self.spec), self.spec)

    @torch.no_grad()
    def prior(self, n: int, context: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Entries `(n, D, *grid)` of grids that the prior draws, each for a row of the context."""
        drawn = self.of_codes.sample(n, self.told_to_codes(context))
        return self.entries.vectors(drawn[:, 0] if self.spec.is_image else drawn)

    # ---- what it learns by ----------------------------------------------------------------------

    @property
    def codebook_size(self) -> int:
        """K; see `Quantised`."""
        return self.entries.size

    def codebook_terms(self, x: Tensor, context: Tensor | None = None) -> CodebookTerms:
        """See `Quantised.codebook_terms`."""
        self.spec.check(x)
        indices = self.indices(x)
        distortion = self._untold(x, self.entries.vectors(indices))
        of = indices[:, None] if self.spec.is_image else indices
        # or it would have been refused
        assert isinstance(self.of_codes, Likelihood)
        rate = -self.of_codes.log_likelihood(of, self.told_to_codes(context))
        return CodebookTerms(distortion, rate, indices.flatten(1))

    def _distortion(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self._untold(x, self.entries.vectors(self.indices(x)))

    def validation_loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Rate + distortion in nats, `(N,)`; each stage is chosen by its own part."""
        return self.codebook_terms(x, context).total

    def loss(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        turn: str = "autoencoder",
        place: Tensor | float = 1.0,
    ) -> dict[str, Tensor]:
        """Distortion + β · distance (equation 3), and what entries are moved by; or the rate.

        Of the autoencoder also how many entries a batch uses: the perplexity of their frequencies,
        and the share that is used at all.
        """
        if self.is_second(turn):
            return self.second_loss(x, context, turn, place)
        self.told.checked(context, x)
        entries, vectors, indices = self.entries(self._vectors(x))
        distortion = self._untold(x, entries).mean()
        # for each value, as the distortion is
        distance = self.spec.dims * (vectors - entries.detach()).square().mean()
        loss = distortion + self.commitment * distance if self.entries.learnt else distortion
        counts = used(indices, self.entries.size).to(distortion)
        p = counts / counts.sum()
        return {
            "loss": loss, "distortion": distortion.detach(),
            "perplexity": (-torch.special.xlogy(p, p).sum()).exp(),
            "used": (counts > 0).to(distortion).mean(),
            **self.entries.sums(vectors, indices),
        }  # fmt: skip

    def moved(self, turn: str, sums: Mapping[str, Tensor]) -> None:
        """Move the entries to what they stand for; see `Model.moved`."""
        if self.is_second(turn):
            super().moved(turn, sums)
        else:
            self.entries.moved(sums)
