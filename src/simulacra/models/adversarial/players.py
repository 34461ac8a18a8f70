"""The two players: a generator and its opponent, each told the context in a way of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from simulacra.nn.context import ContextEmbedding
from simulacra.nn.precision import at_least_float32


class Generator(nn.Module):
    """A body that is told the context beside the code.

    Args:
        told: Features of a context.
        body: From codes and those features to observations.
        squashed: Whether observations end in tanh, as levels do.
    """

    def __init__(self, told: ContextEmbedding, body: nn.Module, *, squashed: bool) -> None:
        super().__init__()
        self.told, self.body, self.squashed = told, body, squashed

    def forward(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Observations `(N, *event_shape)`, on the scale that the players share."""
        raw: Tensor = self.body(torch.cat([z, self.told(context, z)], 1))
        return at_least_float32(raw.tanh() if self.squashed else raw)


class Opponent(nn.Module):
    """A body whose features say how real an observation is, and how like its context.

    The score is w · φ(y), and e(context) · φ(y) more where there is a context: the projection of
    T. Miyato, M. Koyama, "cGANs with Projection Discriminator", 2018, arXiv 1802.05637, equation 3.

    Args:
        told: Features of a context, as many as the body's.
        body: From observations to features.
        width: How many.
    """

    def __init__(self, told: ContextEmbedding, body: nn.Module, width: int) -> None:
        super().__init__()
        self.told, self.body, self.width = told, body, width
        # a bias would cancel in differences, and features have biases of their own; w is free where
        # other weights are bounded, so that the slope has a bound that is learned
        self.head = nn.Linear(width, 1, bias=False)

    def forward(self, y: Tensor, context: Tensor | None) -> Tensor:
        """Scores `(N,)` of observations on the scale that the players share."""
        features = self.body(y)
        score = at_least_float32(self.head(features)).squeeze(1)
        told = self.told(context, features)
        if not self.told.width:
            return score
        # embeddings begin with numbers of size 1, which so weigh no more than w does
        return score + at_least_float32((told * features).sum(1)) * self.told.width**-0.5
