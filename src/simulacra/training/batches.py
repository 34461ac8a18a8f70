"""`Batches`: observations as a training takes them, shuffled anew in each epoch, on its device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from simulacra.data.dataset import Observations
from simulacra.data.groups import identities
from simulacra.data.labels import joint_classes
from simulacra.ground import processes
from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.models.model import Model
from simulacra.training.engine import check_shared
from simulacra.training.options import Options

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Batch = tuple[Tensor, Tensor | None]
"""Observations `(n, *event_shape)`, and their context if the model takes any."""

_SHUFFLE, _TOLD = -2, -7  # keys of random streams, beside those of the loop
SWEEP_BATCH = 1024


class ByClass:
    """Batches of so many observations of so many classes.

    Args:
        labels: Of all observations, `(N,)`; of those that are untold, −1. See `identities`.
        classes: In a batch, or all that have two observations where these are fewer.
        each: Observations of each; of a class that has fewer, some come again.

    Raises:
        UsageError: If there are no labels, or not two classes of two observations.
    """

    def __init__(self, labels: Tensor | None, classes: int, each: int) -> None:
        if labels is None or labels.is_floating_point() or labels.ndim != 1:
            raise UsageError(
                "this model learns from batches of classes: give --labels, or --groups of which "
                "each is somebody"
            )
        members = [(labels == label).nonzero()[:, 0] for label in labels.unique() if label >= 0]
        self.members = [rows for rows in members if len(rows) > 1]
        if len(self.members) < 2:
            raise UsageError(
                "this model learns from batches of classes: it needs two classes, or groups, of "
                f"two observations at least in each split that is learnt or validated on, got "
                f"{len(self.members)}"
            )
        self.classes, self.each = min(classes, len(self.members)), each
        self.size = self.classes * each

    def rows(self, seed: int, position: int) -> Tensor:
        """Places of the observations in the batch at a position of the stream, class by class."""
        with seeded(seed, _SHUFFLE, position):
            chosen = torch.randperm(len(self.members))[: self.classes]
            rows = [self.members[i][torch.randperm(len(self.members[i]))] for i in chosen]
        return torch.cat([of[torch.arange(self.each) % len(of)] for of in rows])


class Told:
    """Observations with a label, so many of them in each batch.

    Args:
        labels: Of all observations, `(N,)`; of those that are untold, −1.
        size: Of a batch.
        part: Of a batch that has labels, at least.
    """

    def __init__(self, labels: Tensor | None, size: int, part: float) -> None:
        self.members = torch.zeros(0, dtype=torch.long)
        if labels is not None:
            self.members = (labels >= 0).nonzero()[:, 0]
        share = 0.0 if labels is None else len(self.members) / len(labels)
        # chance brings some, or all of them
        lacking = (part - share) / (1 - share) if share < part else 0.0
        self.count = min(math.ceil(lacking * size), size - 1) if len(self.members) else 0

    def rows(self, seed: int, position: int) -> Tensor:
        """Places of those in the batch at a position; where there are fewer, some come again."""
        with seeded(seed, _TOLD, position):
            drawn = self.members[torch.randperm(len(self.members))]
        return drawn[torch.arange(self.count) % len(drawn)]


def check_learnable(model: Model, observations: Observations, options: Options) -> None:
    """Refuse a training that cannot begin, before anything is made for it.

    Raises:
        UsageError: If the model learns from batches of classes and the data have neither labels
            nor groups, or the processes cannot share its batches out.
    """
    if model.classes_in_batch is not None:
        ByClass(identities(observations, model.spec), *model.classes_in_batch)
    if not all(stage.by_sweeps for stage in model.stages):
        check_shared(options, processes.count())


class Batches:
    """A split as an endless stream of batches, of which each is known by its position.

    An epoch is the whole split in an order that (seed, epoch) alone decides, cut into batches of
    one size. A model that learns from few labels has some more of those that have one in each. So
    a training goes on at any place of the stream, and nothing has to be stored.

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
        self.classes: ByClass | None = None
        self.kinds = 0
        """Classes of a model that learns from batches of them: each is numbered below this."""
        if model.classes_in_batch is not None:
            classes = identities(observations, model.spec)
            self.classes = ByClass(classes, *model.classes_in_batch)
            self.size = self.classes.size
            self.kinds = 0 if classes is None else int(classes.max()) + 1
            # who learns from classes is told them, though it may take no context
            if model.context == "none":
                self.observations, self.told = replace(observations, context=classes), True
        self.labelled: Told | None = None
        if model.told_in_batch is not None and self.size > 1:
            labels = joint_classes(observations, model.spec)
            self.labelled = Told(labels, self.size, model.told_in_batch)
            # of the stream each batch has so many fewer
            self.size -= self.labelled.count
        self.device = fabric.device
        self.rank, self.processes = fabric.global_rank, fabric.world_size
        self._order: tuple[int, Tensor] | None = None

    @property
    def count(self) -> int:
        """Observations in the split."""
        return len(self.observations)

    def __len__(self) -> int:
        """Whole batches in an epoch."""
        return max(1, self.count // self.size)

    def at(self, position: int) -> Batch:
        """The batch at a position of the stream, from 0."""
        epoch, number = divmod(position, len(self))
        if self.classes is not None:
            return self.rows(self.classes.rows(self.seed, position), epoch=epoch)
        rows = self._shuffled(epoch)[number * self.size :][: self.size]
        if self.labelled is not None and self.labelled.count:
            rows = torch.cat([self.labelled.rows(self.seed, position), rows])
        return self.rows(rows, epoch=epoch)

    def _shuffled(self, epoch: int) -> Tensor:
        """The order of an epoch."""
        if self._order is None or self._order[0] != epoch:
            with seeded(self.seed, _SHUFFLE, epoch):
                self._order = (epoch, torch.randperm(self.count))
        return self._order[1]

    def rows(self, rows: Tensor, *, epoch: int = 0) -> Batch:
        """Some of the observations.

        Args:
            rows: Their places in the split, `(n,)` int64.
            epoch: Sets the noise of a split that has any.
        """
        x, context = self.observations.batch(rows, epoch=epoch)
        wanted = context if self.told else None
        return x.to(self.device), None if wanted is None else wanted.to(self.device)

    def in_lots(self, limit: int, size: int) -> Iterator[Batch]:
        """The first observations in their order, some at a time; or as many batches of classes.

        Args:
            limit: How many, at most.
            size: How many at a time.
        """
        if self.classes is not None:
            for number in range(self.looked_at(limit) // self.size):
                yield self.at(number)
            return
        for start in range(0, min(limit, self.count), size):
            yield self.rows(torch.arange(start, min(start + size, limit, self.count)))

    def looked_at(self, limit: int) -> int:
        """How many observations `in_lots` gives: as many as that, or one batch of classes."""
        whole = min(limit, self.count)
        return whole if self.classes is None else self.size * max(1, whole // self.size)

    def sweeps(self, size: int | None) -> int:
        """How many sweeps over so many observations there are in an epoch; one over all of them."""
        return 1 if size is None else max(1, self.count // size)

    def sweep(self, number: int, size: int | None = None) -> Iterator[Batch]:
        """The observations of a sweep, some at a time; of these, this process's share.

        Args:
            number: Of the sweep, from 0; of noise that a split has, each epoch has its own.
            size: How many observations, in the order of the epoch; all, in their own order.
        """
        epoch, place = divmod(number, self.sweeps(size))
        rows = torch.arange(self.count)
        if size is not None and size < self.count:
            rows = self._shuffled(epoch)[place * size :][:size]
        for part in rows.split(SWEEP_BATCH):
            yield self.rows(part[self.rank :: self.processes], epoch=epoch)
