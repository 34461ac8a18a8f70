"""`Adversarial`: what generators that learn from an opponent have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from simulacra.ground.spec import DataSpec
from simulacra.models.game import Game
from simulacra.models.standardised import Standardised
from simulacra.nn.context import ContextKind
from simulacra.nn.levels import to_levels


class Adversarial(Standardised, Game):
    """A game between a generator of standard normal codes and whoever tells its work from data.

    The players meet on one scale, on which observations keep their form: levels, dequantised, go to
    [−1, 1], and vectors are standardised. Each is a module called as its turn.

    Args:
        spec: The form of the data.
        latent: Size of a code.
        context: What all players are told beside the observation.
    """

    kept = ("generator",)

    def __init__(self, spec: DataSpec, latent: int, context: ContextKind) -> None:
        super().__init__(spec)
        self.code_size, self.context = latent, context
        if spec.levels is not None:
            # to [−1, 1]
            self.shift.fill_(spec.levels / 2)
            self.scale.fill_(spec.levels / 2)

    @abstractmethod
    def _generate(self, z: Tensor, context: Tensor | None) -> Tensor:
        """G(z), `(N, *event_shape)` on the scale that the players share."""

    def player(self, turn: str) -> nn.Module:
        """The module that moves."""
        player: nn.Module = getattr(self, turn)
        return player

    def scaled(self, x: Tensor, noise: Tensor | float = 0.5) -> Tensor:
        """Observations `(N, *event_shape)` on the scale that the players share.

        Args:
            x: `(N, *event_shape)`.
            noise: In [0, 1), added to levels; without, they are put into the middle of their bins.
        """
        y = x if self.spec.levels is None else x.to(self.shift.dtype) + noise
        return self.standardised(y)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """G(z) on the scale of the data."""
        return self._generate(z, context) * self.scale + self.shift

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """G(z), rounded down to its level."""
        return to_levels(self.generate(z, context), self.spec.levels)

    def prior(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        """Standard normal codes `(n, code_size)`, whatever the context, times the temperature."""
        codes = torch.randn(n, self.code_size, dtype=self.shift.dtype, device=self.shift.device)
        return temperature * codes


@contextmanager
def still(player: nn.Module) -> Iterator[None]:
    """Keep a player's parameters out of the graph while another moves, and its statistics."""
    moving = [p for p in player.parameters() if p.requires_grad]
    norms = [part for part in player.modules() if isinstance(part, _NormBase)]
    momenta = [part.momentum for part in norms]
    for parameter in moving:
        parameter.requires_grad_(False)
    for part in norms:
        # its statistics are those of its own turns
        part.momentum = 0.0
    try:
        yield
    finally:
        for parameter in moving:
            parameter.requires_grad_(True)
        for part, momentum in zip(norms, momenta, strict=True):
            part.momentum = momentum
