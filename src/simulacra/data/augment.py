"""Augmentation: training pictures mirrored and moved at random, anew in every epoch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import keyed_uniform, keys_from

_CHANGES = 1
"""In the key of every change, so that it is no function of the bits drawn for the same picture."""


@dataclass(frozen=True, eq=False)
class Augmented(Observations):
    """Pictures that every epoch mirrors and moves anew; what moves in repeats the edge.

    The change is keyed by (seed, epoch, index within the split), so that it does not depend on
    the batch that a picture comes in.

    Args:
        x: Of `base`.
        context: Of `base`.
        lengths: Of `base`.
        groups: Of `base`.
        base: What is changed, after it has drawn its own noise.
        flip: Mirror left to right with probability ½.
        shift: Move by −shift … shift pixels, both ways, each equally probable.
        seed: Of the changes.
    """

    base: Observations | None = None
    flip: bool = False
    shift: int = 0
    seed: int = 0

    @classmethod
    def of(cls, base: Observations, *, flip: bool, shift: int, seed: int = 0) -> Augmented:
        """The same pictures, changed."""
        whole = (base.x, base.context, base.lengths, base.groups)
        return cls(*whole, base, flip, shift, seed)

    @property
    def kind(self) -> str:
        """What distinguishes this split from the same pictures read otherwise."""
        base = type(self.base).__name__
        return f"{type(self).__name__} {base} flip={self.flip} shift={self.shift}"

    def batch(self, indices: Tensor, *, epoch: int = 0) -> tuple[Tensor, Tensor | None]:
        """The pictures at some places as this epoch sees them, and their rows of context."""
        read = super().batch if self.base is None else self.base.batch
        x, _ = read(indices, epoch=epoch)
        context = None if self.context is None else self.context[indices]
        chance = keyed_uniform(keys_from(_CHANGES, self.seed, epoch, indices), (3,))
        height, width = x.shape[-2:]
        down, right = ((2 * self.shift + 1) * chance[:, 1:]).floor().long().T[
            ..., None
        ] - self.shift
        rows = (torch.arange(height) - down).clamp(0, height - 1)
        columns = (torch.arange(width) - right).clamp(0, width - 1)
        mirrored = (chance[:, :1] < 0.5) & self.flip
        columns = torch.where(mirrored, width - 1 - columns, columns)
        which = torch.arange(len(x))[:, None, None, None]
        channels = torch.arange(x.shape[1])[:, None, None]
        return x[which, channels, rows[:, None, :, None], columns[:, None, None]], context

    def take(self, indices: Tensor) -> Augmented:
        """These places alone, changed by their new places."""
        base = self.base
        if base is None:
            base = Observations(self.x, self.context, self.lengths, self.groups)
        return Augmented.of(base.take(indices), flip=self.flip, shift=self.shift, seed=self.seed)


def augmented(dataset: Dataset, *, flip: bool, shift: int) -> Dataset:
    """The data set with changing training pictures; validation and test stay as they are.

    Args:
        dataset: Pictures.
        flip: Mirror left to right with probability ½.
        shift: Move by up to so many pixels, both ways.

    Raises:
        UsageError: If it holds no pictures, or they are too small to move so far.
    """
    spec = dataset.spec
    if not spec.is_image:
        raise UsageError(f"flip and shift are for pictures; {dataset.name} holds none")
    if shift >= min(spec.event_shape[1:]):
        raise UsageError(
            f"shift is less than a picture's side, {min(spec.event_shape[1:])}, got {shift}"
        )
    changes = ["mirrored"] * flip + [f"moved by up to {shift} pixels"] * (shift > 0)
    return replace(
        dataset,
        train=Augmented.of(dataset.train, flip=flip, shift=shift),
        notes=(*dataset.notes, f"training pictures are {' and '.join(changes)} at random"),
    )
