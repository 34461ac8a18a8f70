"""`Game`: a generator that learns from an opponent, who tells its work from data."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from simulacra.models.model import Latent


class Game(Latent):
    """A generator that learns from an opponent, a discriminator or critic, who scores observations.

    Example:
        >>> import simulacra as sim, torch
        >>> spec = sim.DataSpec((1, 8, 8), levels=2)
        >>> gan = sim.build("gan", spec, {"latent": 2, "hidden": (9, 5)}).eval()
        >>> isinstance(gan, sim.Game), gan.opponent
        (True, 'discriminator')
        >>> x = torch.zeros(3, 1, 8, 8).long()
        >>> gan.scores(x).shape, gan.features(x).shape
        (torch.Size([3]), torch.Size([3, 9]))
    """

    opponent: str = "discriminator"
    """The turn in which the opponent moves; the other one is `generator`."""

    undecided: float | None = 0.0
    """The score above which it says that an observation is real; nothing where only differences
    between scores mean anything."""

    estimates_distance: bool = False
    """Whether what its scores of data have in the mean beyond those of samples estimates a
    Wasserstein distance."""

    @abstractmethod
    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """What `decode` rounds, `(N, *event_shape)` floats that gradients go through.

        Args:
            z: Codes `(N, latent)`.
            context: One row for each code.

        Returns:
            Values on the scale of levels, of which those in [k, k + 1) are level k; of continuous
            vectors in the units of the data.
        """

    @abstractmethod
    def scores(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """What the opponent says of each observation, `(N,)`: the higher, the more it is real.

        Args:
            x: Observations `(N, *event_shape)`; levels are taken in the middle of their bins.
            context: One row for each observation.
        """

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """What the opponent sees in each observation, `(N, features)`: its last layer but one.

        Args:
            x: Observations `(N, *event_shape)`; levels are taken in the middle of their bins.
        """
