"""`Embedding`: what networks have in common whose codes tell identities apart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.embedding.networks import network
from simulacra.models.model import Encoding
from simulacra.models.standardised import Standardised
from simulacra.nn.context import ContextEmbedding
from simulacra.nn.levels import as_input
from simulacra.nn.precision import at_least_float32


class Embedding(Encoding, Standardised):
    """A network to codes of length 1, which learns to tell identities apart.

    A batch is K observations of each of P identities. These are the classes of labels, or groups
    where there are no labels: then those of other splits are others, and what is learnt has to
    serve for them. Vectors are standardised. While it trains, pictures are moved at random.

    Args:
        spec: The form of the data.
        embedding: Size of a code.
        identities: In a batch, P; all that there are, where these are fewer.
        each: Observations of each of them in it, K.
        channels: Of the first convolution over pictures or sounds.

    Raises:
        UsageError: If a size is not positive, or a batch would have no pairs.
    """

    def __init__(
        self, spec: DataSpec, *, embedding: int, identities: int, each: int, channels: int
    ) -> None:
        if min(embedding, channels) < 1 or min(identities, each) < 2:
            raise UsageError(
                "embedding and channels are positive, and a batch has two observations of two "
                f"identities at least: got {embedding}, {channels}, {each} and {identities}"
            )
        super().__init__(spec)
        self.embedding, self.channels = embedding, channels
        self.identities, self.each = identities, each
        self.classes_in_batch = (identities, each)
        self.told = ContextEmbedding("none", spec)
        self.network = network(spec, channels, embedding)

    def features(self, x: Tensor) -> Tensor:
        """What the network says of observations, `(N, embedding)`, of any length."""
        values = x if self.spec.levels is not None else self.standardised(x)
        if self.training and self.spec.is_image:
            values = moved(values)
        numbers: Tensor = self.network(as_input(values, self.spec, self.shift.dtype))
        return at_least_float32(numbers)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Codes `(N, embedding)` of length 1: the farther apart, the less alike, 2 at most."""
        self.spec.check(x)
        self.told(context, self.shift.new_zeros(len(x)))
        return normalize(self.features(x), dim=1).to(self.shift.dtype)

    def same(self, identities: Tensor | None, n: int) -> Tensor:
        """Which observations of a batch are of one identity, `(N, N)`.

        Args:
            identities: Of each, `(N,)`.
            n: How many there are.

        Raises:
            UsageError: If identities lack.
        """
        if identities is None or identities.shape != (n,):
            came = "none" if identities is None else f"shape {tuple(identities.shape)}"
            raise UsageError(
                f"{type(self).__name__} learns from the identity of each observation, ({n},): "
                f"got {came}"
            )
        return identities[:, None] == identities


def moved(x: Tensor) -> Tensor:
    """Pictures moved by up to an eighth of each side; what comes in from outside is the edge.

    Of few people a network would else learn where in the picture their features are.

    Args:
        x: `(N, C, H, W)`, each of which is moved by draws of its own.
    """
    height, width = x.shape[2:]
    rows, columns = (_places(x, side) for side in (height, width))
    at = torch.arange(len(x), device=x.device)[:, None, None]
    return x.movedim(1, -1)[at, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def _places(x: Tensor, side: int) -> Tensor:
    """Which rows, or columns, of each picture are shown, `(N, side)`."""
    most = side // 8
    by = torch.randint(-most, most + 1, (len(x), 1), device=x.device)
    return (by + torch.arange(side, device=x.device)).clamp(0, side - 1)


def squared_distances(codes: Tensor) -> Tensor:
    """|a − b|² of all pairs of codes of length 1, `(N, N)` from `(N, D)`: from 0 to 4."""
    return (2 - 2 * codes @ codes.T).clamp_min(0)


def pairs(same: Tensor) -> tuple[Tensor, Tensor]:
    """Every anchor and positive: places of two observations of one identity, both ways round."""
    itself = torch.eye(len(same), dtype=torch.bool, device=same.device)
    anchors, positives = (same & ~itself).nonzero(as_tuple=True)
    return anchors, positives
