"""PixelVAE: a VAE whose decoder predicts values one after another, told what the code says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor
from torch.distributions import Distribution

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.keywords import Nested
from simulacra.models.latent.amortised import Amortised
from simulacra.models.latent.completion import CodeCompletion
from simulacra.models.model import Completion, Latent, Likelihood, Stepwise
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding

_MADE: Nested = {"name": "made", "keywords": {"hidden": (8,)}}
_TINY: Nested = {
    "name": "gated-pixelcnn", "keywords": {"channels": 3, "layers": 1, "first_kernel_size": 3},
}  # fmt: skip
_USUAL: Nested = {
    "name": "gated-pixelcnn",
    "keywords": {"channels": 16, "layers": 2, "first_kernel_size": 3},
}
"""It sees two pixels to each side: what lies further apart only a code can tell."""

_AT_A_PIXEL = 16
"""Numbers that the nested model is told at each pixel, at least."""


class Told(Distribution):
    """p(x | context) of a model, over levels or vectors: batch `(N,)`, event `(*event_shape)`.

    Args:
        model: An exact likelihood that draws value after value.
        context: What it is told, a row for each.
    """

    arg_constraints: ClassVar = {}

    def __init__(self, model: Likelihood, context: Tensor) -> None:
        self.model, self.context = model, context
        shape = torch.Size(model.spec.event_shape)
        super().__init__(torch.Size([len(context)]), shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """In nats, `(N,)`, of values `(N, *event_shape)`, or one for all."""
        value = value.expand(len(self.context), *self.event_shape)
        levels = self.model.spec.levels is not None
        return self.model.log_likelihood(value.long() if levels else value, self.context)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws `(*sample_shape, N, *event_shape)`, by the model's own sampler."""
        assert isinstance(self.model, Stepwise)
        times = math.prod(sample_shape)
        context = self.context.repeat(times, *[1] * (self.context.ndim - 1))
        drawn = self.model.sample(len(context), context)
        return drawn.view(*sample_shape, len(self.context), *self.event_shape)


class PixelVAE(CodeCompletion, Stepwise, Amortised):
    """A code says what a picture is of, and a nested autoregressive model draws it, pixel by pixel.

    p(x | z) = Π p(x_i | x_<i, z): values are not independent given the code, so it need not hold
    what neighbours say of one another. A decoder that sees all values before needs no code at all;
    one of few layers sees a neighbourhood, and is told the rest.

    The decoder is any autoregressive model of the registry that takes context vectors, with
    keywords of its own: `decoder=gated-pixelcnn`, `decoder.layers=4`. One that takes maps is told
    something else at each pixel: a network of the code makes features of the picture's size.

    Paper: I. Gulrajani, K. Kumar, F. Ahmed, A. A. Taiga, F. Visin, D. Vazquez, A. Courville,
        "PixelVAE: A Latent Variable Model for Natural Images", 2016, arXiv 1611.05013.
    Departs from the paper: one level of codes, where the paper has two for larger pictures;
        features enter every layer of the nested model, as the maps of arXiv 1606.05328 (section
        2.3), and not its first one alone; encoder and features by the networks of `vae`, and its
        warm-up; a context, when given, enters the encoder and the features.

    Args:
        spec: What the decoder and the networks take.
        decoder: The nested model.
        free_bits: What a unit of the code may cost in nats before it is paid for: a decoder that
            does without the code at first may never come to use it.

    Raises:
        MissingCapability: If the data are not those that the decoder or the networks are for.
        UsageError: If a keyword is out of its range, or no such decoder can be told of a code.
    """

    takes = Takes()
    expects = False
    moves = 50
    preset: ClassVar = {"lr": 2e-3, "batch": 32}
    small: ClassVar[tuple[dict[str, Any], ...]] = (
        {"latent": 2, "hidden": (8,), "decoder": _MADE},
        {"latent": 2, "hidden": (8,), "decoder": _TINY},
        {"latent": 2, "hidden": (8,), "decoder": _TINY, "context": "label"},
        {"latent": 2, "hidden": (8,), "decoder": _MADE, "context": "vector"},
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        decoder: Nested = _USUAL,
        free_bits: float = 0.2,
        **keywords: Any,  # noqa: ANN401 (those of `Amortised`)
    ) -> None:
        super().__init__(spec, free_bits=free_bits, **keywords)
        self.decoder = decoder
        if decoder["keywords"].get("context", "none") != "none":
            raise UsageError(
                "decoder.context is what this model tells its decoder: leave it out, and tell the "
                "whole of a label by context=label"
            )
        kinds = _contexts(decoder)
        self.mapped = spec.is_image and "map" in kinds
        bare = replace(spec, classes=0, parts=(), columns=(), context_width=0)
        if self.mapped:
            each = math.ceil(_AT_A_PIXEL / spec.event_shape[0])
            self.build(self.approximation.numbers, each)
            told = replace(bare, map_width=each * spec.event_shape[0])
        else:
            self.context_features = ContextEmbedding(self.context, spec, 32)
            # a mirror of the encoder gives values, and here only the nested model does
            self.encoding, _ = self.pair(self.approximation.numbers, 1, 1)
            told = replace(bare, context_width=self.latent + self.context_features.width)
        given = {**decoder["keywords"], "context": "map" if self.mapped else "vector"}
        nested = registry.build(decoder["name"], told, given) if kinds else None
        if not (
            isinstance(nested, Stepwise) and isinstance(nested, Completion)
            and isinstance(nested, Likelihood) and nested.exact
        ):  # fmt: skip
            raise UsageError(
                "decoder is a model that predicts one value after another and takes context "
                f"vectors, got {decoder['name']}: use gated-pixelcnn, or made"
            )
        self.nested = nested

    @classmethod
    def takes_with(cls, **keywords: Any) -> Takes:  # noqa: ANN401 (any keywords)
        """What the decoder takes of what the encoder is for."""
        decoder: Nested = keywords.get("decoder", _USUAL)
        given, of_networks = decoder["keywords"], super().takes_with(**keywords)
        own = registry.find(decoder["name"]).class_for(**given).takes_with(**given)
        return replace(
            own, mixed=False, pictures=own.pictures and of_networks.pictures,
            sounds=own.sounds and of_networks.sounds, vectors=own.vectors and of_networks.vectors,
        )  # fmt: skip

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None = None) -> None:
        """Standardise vectors, and prepare the nested model, told of codes of the prior."""
        super().prepare(x, context)
        told = None if context is None else context[:_PREPARED]
        features = self.features(self.prior(len(x[:_PREPARED]), told), told)
        values = x[:_PREPARED] if self.spec.levels is not None else self.standardised(x[:_PREPARED])
        self.nested.prepare(values, features)

    def features(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """What the nested model is told of codes.

        Args:
            z: Codes `(N, latent)`.
            context: One row for each.

        Returns:
            Maps `(N, K, H, W)` for a model that takes them, else vectors `(N, K)`.
        """
        if not self.mapped:
            return torch.cat([z, self.context_features(context, z)], 1)
        return self.decoded(z, context).movedim(-1, 2).flatten(1, 2)

    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Told:
        """p(x | z) over levels or standardised vectors; batch `(N,)`, event `(*event_shape)`."""
        return Told(self.nested, self.features(z, context))

    @torch.no_grad()
    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """A draw from p(x | z)."""
        return super().decode(z, context)

    def sample(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        """Draws told of codes of the prior, which a temperature narrows; see `Sampling.sample`."""
        return Latent.sample(self, n, context, temperature=temperature)

    @torch.no_grad()
    def sample_steps(self, n: int, context: Tensor | None = None) -> Iterator[Tensor]:
        """The observations as they grow, value after value, each told of a code of the prior."""
        for x in self.nested.sample_steps(n, self.features(self.prior(n, context), context)):
            yield self._in_units(x)

    def filled(
        self, x: Tensor, observed: Tensor, z: Tensor, context: Tensor | None = None
    ) -> Tensor:
        """See `CodeCompletion.filled`, by the nested model's own completion.

        It is exact only where all that is observed comes before all that is hidden. Elsewhere a
        value is told of later observed ones by the code alone.
        """
        values = x if self.spec.levels is not None else self.standardised(x)
        drawn = self.nested.complete(values, observed, self.features(z, context))
        return torch.where(observed, x, self._in_units(drawn).to(x.dtype))

    def _in_units(self, drawn: Tensor) -> Tensor:
        """What the nested model drew, in the units of the data."""
        return drawn if self.spec.levels is not None else drawn * self.scale + self.shift


_PREPARED = 500
"""Observations that a nested model is prepared with."""


def _contexts(decoder: Nested) -> set[str]:
    """Which contexts that are no labels a model takes: what its keyword may be."""
    keyword = registry.find(decoder["name"]).signature().get("context")
    return {"map", "vector"} & set(() if keyword is None else get_args(keyword.annotation))
