"""Autoencoder: a code in the middle of two networks that give back what they are given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal, get_args

from torch import Tensor
from torch.nn.functional import cross_entropy

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.keywords import Nested
from simulacra.models.latent.base import Autoencoding
from simulacra.models.latent.code_density import CodeDensity, SweptCodeDensity
from simulacra.models.latent.random_features import RandomFeatures
from simulacra.models.model import Model
from simulacra.models.registry import find
from simulacra.models.swept import Swept
from simulacra.models.takes import Takes
from simulacra.nn.levels import as_input, input_channels, nearest_levels

Reconstruction = Literal["levels", "features"]


class Autoencoder(Autoencoding):
    """An encoder to a short code and a decoder from it, which learn to give back what they get.

    The decoder gives one value in each place, so there is no likelihood; and nothing says what lies
    between codes, so there is nothing to sample from. With `density` a second stage learns a model
    of the codes of the training data; then codes drawn from it are decoded. What that model says of
    a code is a density of codes, and no likelihood of an observation.

    Paper: G. E. Hinton, R. R. Salakhutdinov, "Reducing the Dimensionality of Data with Neural
        Networks", 2006, Science 313; P. Ghosh, M. S. M. Sajjadi, A. Vergari, M. Black, B.
        Schölkopf, "From Variational to Deterministic Autoencoders", 2020, arXiv 1903.12436, section
        4, for the density of codes; K. He, Y. Wang, J. Hopcroft, "A Powerful Generative Model Using
        Random Weights for the Deep Image Representation", 2016, arXiv 1606.04801, for features.
    Departs from the paper: ReLU, AdamW, and nothing is trained before; squared error of ordered
        levels and vectors, where the first has the cross-entropy of grey values; codes are not
        regularised.

    Args:
        spec: Any observations.
        reconstruction: What has to come back: `levels`, by the squared error of values from −1 to
            1, or of standardised vectors, or by the cross-entropy of unordered levels; or
            `features`, by the squared error of what random convolutions answer to pictures.
        density: A model of vectors that learns the density of codes in a second stage, as `gmm`;
            with it the autoencoder samples. None: it does not.

    Raises:
        MissingCapability: If the data are not those that the networks or features are for.
        UsageError: If a keyword is out of its range, or the density does not sample.
    """

    takes = Takes()
    preset = {"lr": 2e-3}
    small: ClassVar[tuple[dict[str, Any], ...]] = (
        {"latent": 2, "hidden": (8,)},
        {
            "latent": 2, "hidden": (8,), "encoder": "conv", "channels": 4,
            "reconstruction": "features",
        },
        {
            "latent": 2, "hidden": (8,), "context": "label",
            "density": {"name": "gmm", "keywords": {"components": 3}},
        },
        {
            "latent": 2, "hidden": (8,), "context": "vector",
            "density": {"name": "nice", "keywords": {"hidden": (8,)}},
        },
    )  # fmt: skip

    def __init__(
        self,
        spec: DataSpec,
        *,
        reconstruction: Reconstruction = "levels",
        density: Nested | None = None,
        **keywords: Any,  # noqa: ANN401 (those of `Autoencoding`)
    ) -> None:
        if reconstruction not in get_args(Reconstruction):
            raise UsageError(f"reconstruction is levels or features, got {reconstruction!r}")
        if reconstruction == "features":
            _FEATURES.check(spec, "reconstruction='features'")
        super().__init__(spec, **keywords)
        self.reconstruction, self.density = reconstruction, density
        self.one_hot = spec.levels is not None and not spec.ordered
        self.build(self.latent, spec.levels if self.one_hot and spec.levels else 1)
        if reconstruction == "features":
            self.features = RandomFeatures(input_channels(spec))

    @classmethod
    def takes_with(cls, **keywords: Any) -> Takes:  # noqa: ANN401 (any keywords)
        """What the networks and the features are for."""
        own = super().takes_with(**keywords)
        if keywords.get("reconstruction") != "features":
            return own
        return replace(own, sounds=False, vectors=False)

    @classmethod
    def class_for(cls, **keywords: Any) -> type[Model]:  # noqa: ANN401 (any keywords)
        """With a density it samples, and has a class of its own."""
        density = keywords.get("density")
        if density is None:
            return Autoencoder
        swept = issubclass(find(density["name"]), Swept)
        return SweptSampledAutoencoder if swept else SampledAutoencoder

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Codes `(N, latent)`."""
        self.spec.check(x)
        return self.encoded(x, context).to(self.shift.dtype)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The value that the decoder gives in each place: of levels the nearest, or likeliest."""
        raw = self.decoded(z, context)
        if self.one_hot:
            return raw.argmax(-1)
        return nearest_levels(raw.squeeze(-1) * self.scale + self.shift, self.spec)

    def validation_loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """How far what comes back is from x, summed over values, `(N,)`; see `reconstruction`."""
        return self.error(x, self.decoded(self.encoded(x, context), context))

    def error(self, x: Tensor, raw: Tensor) -> Tensor:
        """How far the decoder's numbers are from observations, `(N,)`.

        Args:
            x: Observations `(N, *event_shape)`.
            raw: See `decoded`.
        """
        if self.reconstruction == "features":
            again = raw.softmax(-1).movedim(-1, 2).flatten(1, 2) if self.one_hot else raw[..., 0]
            inputs = as_input(x, self.spec, raw.dtype)
            return self.features.distance(again, inputs) * self.spec.dims
        if self.one_hot:
            return cross_entropy(raw.movedim(-1, 1), x.long(), reduction="none").flatten(1).sum(1)
        values = x if self.spec.levels is not None else self.standardised(x)
        inputs = as_input(values, self.spec, raw.dtype)
        return (raw[..., 0] - inputs).square().flatten(1).sum(1)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """The mean error."""
        return {"loss": self.validation_loss(x, context).mean()}


class SampledAutoencoder(CodeDensity, Autoencoder):
    """`Autoencoder` that samples: see there."""

    def __init__(self, spec: DataSpec, **keywords: Any) -> None:  # noqa: ANN401
        super().__init__(spec, **keywords)
        assert self.density is not None
        self.add_density(self.density)

    def loss(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        turn: str = "autoencoder",
        place: Tensor | float = 1.0,
    ) -> dict[str, Tensor]:
        """The autoencoder's error, or the loss of the density on its codes."""
        if self.is_second(turn):
            return self.second_loss(x, context, turn, place)
        return super().loss(x, context)


class SweptSampledAutoencoder(SweptCodeDensity, SampledAutoencoder):
    """`SampledAutoencoder` with a density that learns by sweeps."""


_FEATURES = Takes(sounds=False, vectors=False)
