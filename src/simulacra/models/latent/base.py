"""`Autoencoding`: what all models of an encoder and a decoder have in common, their networks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

from torch import Tensor, nn

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.latent import networks
from simulacra.models.latent.networks import EncoderKind
from simulacra.models.model import Decoding, Encoding
from simulacra.models.standardised import Standardised
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, ContextKind
from simulacra.nn.levels import as_input
from simulacra.nn.precision import at_least_float32


class Autoencoding(Encoding, Decoding, Standardised):
    """An encoder from observations to numbers, and a decoder from codes to numbers of each value.

    A subclass calls `build` when it knows how many numbers it needs of both. Continuous vectors
    are standardised with moments of the training data; levels stay as they are.

    Args:
        spec: The form of the data.
        latent: Size of a code.
        encoder: Kind of both networks: fully connected (`mlp`), convolutions as in the classic
            script (`conv`), residual blocks (`resnet`), or a recurrent one over the rows of a
            picture or pieces of a sound (`rnn`). `auto`: `resnet` for pictures of side 16 and
            more, `mlp` for all else.
        hidden: Widths of the encoder's fully connected layers; the decoder has them in reverse.
            Of `rnn` the first is that of the recurrent layer. None: 512 and 256 of `mlp`, 128 of
            `conv` and `rnn`, 256 of `resnet`.
        channels: Of convolutions. None: 64.
        dropout: Probability of dropping a feature of both networks while training.
        context: What both networks are told beside the observation: none, label or vector.

    Raises:
        UsageError: If a keyword is out of its range.
    """

    smaller = ({"encoder": "mlp", "hidden": (256, 128)},)

    def __init__(
        self,
        spec: DataSpec,
        *,
        latent: int = 32,
        encoder: EncoderKind = "auto",
        hidden: tuple[int, ...] | None = None,
        channels: int | None = None,
        dropout: float = 0.0,
        context: ContextKind = "none",
    ) -> None:
        if encoder not in get_args(EncoderKind):
            raise UsageError(
                f"encoder is one of {', '.join(get_args(EncoderKind))}, got {encoder!r}"
            )
        networks.TAKES[encoder].check(spec, f"encoder={encoder!r}")
        super().__init__(spec)
        if min(latent, channels or 1, *(hidden or ())) < 1 or not 0 <= dropout < 1:
            raise UsageError(
                "latent, hidden and channels are positive and dropout is in [0, 1), got "
                f"{latent}, {hidden}, {channels} and {dropout}"
            )
        if encoder == "rnn" and hidden == ():
            raise UsageError("encoder=rnn needs a width of its recurrent layer: got hidden=()")
        self.latent, self.encoder, self.dropout = latent, encoder, dropout
        self.hidden = hidden if hidden is None else tuple(hidden)
        self.channels, self.context = channels, context

    def build(self, numbers: int, parameters: int) -> None:
        """Make both networks.

        Args:
            numbers: That the encoder gives for each observation.
            parameters: That the decoder gives for each value of one.
        """
        self.context_features = ContextEmbedding(self.context, self.spec, 32)
        self.encoding, self.decoding = self.pair(numbers, self.latent, parameters)

    def pair(
        self,
        numbers: int,
        latent: int,
        parameters: int,
        *,
        told: int | None = None,
        kind: EncoderKind | None = None,
    ) -> tuple[nn.Module, nn.Module]:
        """An encoder and a decoder as the keywords have them.

        Args:
            numbers: That the encoder gives for each observation.
            latent: Numbers that the decoder is given.
            parameters: That the decoder gives for each value of an observation.
            told: Features beside the observation, or the code; those of a context by default.
            kind: Of both; that of the keyword `encoder` by default.
        """
        kind = networks.chosen(kind or self.encoder, self.spec)
        return networks.pair(
            kind, self.spec, numbers=numbers, latent=latent, parameters=parameters,
            told=self.context_features.width if told is None else told,
            hidden=networks.HIDDEN[kind] if self.hidden is None else self.hidden,
            channels=self.channels or networks.CHANNELS.get(kind, 1), dropout=self.dropout,
        )  # fmt: skip

    @classmethod
    def takes_with(cls, **keywords: Any) -> Takes:  # noqa: ANN401 (any keywords)
        """What the networks are for."""
        own, asked = cls.takes, networks.TAKES[keywords.get("encoder", "auto")]
        return replace(
            own, sounds=own.sounds and asked.sounds, vectors=own.vectors and asked.vectors
        )

    def encoded(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The encoder's numbers `(N, numbers)`, float32 at least.

        Args:
            x: Observations `(N, *event_shape)`, in the units of the data.
            context: One row for each observation.
        """
        values = x if self.spec.levels is not None else self.standardised(x)
        inputs = as_input(values, self.spec, self.shift.dtype)
        return at_least_float32(self.encoding(inputs, self.context_features(context, inputs)))

    def decoded(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The decoder's numbers `(N, *event_shape, parameters)`, float32 at least.

        Args:
            z: Codes `(N, latent)`.
            context: One row for each code.
        """
        return at_least_float32(self.decoding(z, self.context_features(context, z)))
