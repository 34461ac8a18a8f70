"""`Swept`: what learns by whole sweeps over the data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.models.model import Model


class Swept(Model):
    """Learns by whole sweeps over the training data instead of gradient steps.

    Example:
        >>> import simulacra as sim
        >>> assert issubclass(sim.find("gmm"), sim.Swept)
    """

    turns = ()

    @property
    @abstractmethod
    def learnt(self) -> int:
        """How many free numbers the sweeps estimate."""

    @abstractmethod
    def statistics(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, ...]:
        """What a sweep has to know of some observations, as sums over them.

        Args:
            x: Observations `(N, *event_shape)`; N may be 0.
            context: One row for each observation.
        """

    @abstractmethod
    def maximise(self, *sums: Tensor) -> dict[str, float]:
        """The end of a sweep, from the statistics of all observations added up.

        Returns:
            `loss` as before the sweep, and `converged` as 1.0 once another sweep is not worth it.
        """

    @torch.no_grad()
    def sums(self, batches: Iterable[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, ...]:
        """The statistics of all batches, added up.

        Args:
            batches: Observations and their context.

        Raises:
            UsageError: If there are no batches.
        """
        parts = (self.statistics(x, context) for x, context in batches)
        sums = next(parts, None)
        if sums is None:
            raise UsageError("a sweep needs at least one batch")
        for part in parts:
            sums = tuple(a + b for a, b in zip(sums, part, strict=True))
        return sums

    @torch.no_grad()
    def update(self, batches: Iterable[tuple[Tensor, Tensor | None]]) -> dict[str, float]:
        """One sweep over all training observations; takes what `sums`, returns what `maximise`."""
        return self.maximise(*self.sums(batches))
