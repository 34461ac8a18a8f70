"""`Batches`: observations as a training takes them, shuffled anew in each epoch, on its device."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from lightning_fabric import Fabric
from torch import Tensor

from simulacra.data.dataset import Observations
from simulacra.ground.randomness import seeded
from simulacra.models.model import Model
from simulacra.training.options import Options

Batch = tuple[Tensor, Tensor | None]
"""Observations `(n, *event_shape)`, and their context if the model takes any."""

_SHUFFLE = -2  # key of a random stream, beside those of the loop
_SWEEP_BATCH = 1024


class Batches:
    """A split as an endless stream of batches, of which each is known by its position.

    An epoch is the whole split in an order that (seed, epoch) alone decides, cut into batches of
    one size. So a training goes on at any place of the stream, and nothing has to be stored.

    Args:
        observations: The split.
        model: Whose context goes with them, if it takes any.
        options: The size of a batch, which is the whole split if that is smaller, and the seed.
        fabric: The engine, on whose device they are put.
    """

    def __init__(
        self, observations: Observations, model: Model, options: Options, fabric: Fabric
    ) -> None:
        self.observations, self.size = observations, min(options.batch, len(observations))
        self.seed, self.told = options.seed, model.context != "none"
        self.device = fabric.device
        self.rank, self.processes = fabric.global_rank, fabric.world_size
        self._order: tuple[int, Tensor] | None = None

    @property
    def count(self) -> int:
        """Observations in the split."""
        return len(self.observations)

    def __len__(self) -> int:
        """Whole batches in an epoch."""
        return self.count // self.size

    def at(self, position: int) -> Batch:
        """The batch at a position of the stream, from 0."""
        epoch, number = divmod(position, len(self))
        if self._order is None or self._order[0] != epoch:
            with seeded(self.seed, _SHUFFLE, epoch):
                self._order = (epoch, torch.randperm(self.count))
        return self.rows(self._order[1][number * self.size :][: self.size], epoch=epoch)

    def rows(self, rows: Tensor, *, epoch: int = 0) -> Batch:
        """Some of the observations.

        Args:
            rows: Their places in the split, `(n,)` int64.
            epoch: Sets the noise of a split that has any.
        """
        x, context = self.observations.batch(rows, epoch=epoch)
        wanted = context if self.told else None
        return x.to(self.device), None if wanted is None else wanted.to(self.device)

    def sweep(self) -> Iterator[Batch]:
        """All observations in their order, or of each batch this process's share."""
        for start in range(0, self.count, _SWEEP_BATCH):
            rows = torch.arange(start, min(start + _SWEEP_BATCH, self.count))
            yield self.rows(rows[self.rank :: self.processes])
