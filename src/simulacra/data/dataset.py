"""`Dataset`: observations of one form in three splits, as raw levels in memory or in a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution

from simulacra.data.stored import Rows, StoredRows, portion
from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import keyed_uniform, keys_from
from simulacra.ground.spec import DataSpec


def smallest_dtype(levels: int) -> torch.dtype:
    """The type that levels are stored in."""
    if levels <= 256:
        return torch.uint8
    return torch.int16 if levels <= 1 << 15 else torch.int32


@dataclass(frozen=True, eq=False)
class Observations:
    """One split: the observations and, row for row, their context.

    Args:
        x: Levels `(N, *event_shape)` in the smallest of uint8, int16 and int32 that holds them, or
            float32 of continuous vectors; a tensor, or rows that stay in a file.
        context: Labels `(N,)` int64, or `(N, K)` of K parts, −1 where one is not told; vectors
            `(N, D)` float32; or nothing.
        lengths: How many values of each sound are valid, `(N,)` int64, the rest being padding;
            nothing where all are.
        groups: Which recording, or other unit of independence, each observation belongs to,
            `(N,)` int64; nothing where each is its own. What shares a group is alike, so errors
            and intervals count groups.

    Raises:
        UsageError: If one of them differs in length.
    """

    x: Rows
    context: Tensor | None = None
    lengths: Tensor | None = None
    groups: Tensor | None = None

    def __post_init__(self) -> None:
        """Refuse a context, lengths or groups that belong to other observations."""
        if self.context is not None and len(self.context) != len(self.x):
            raise UsageError(
                f"{len(self.x)} observations need as many rows of context, got {len(self.context)}"
            )
        if self.lengths is not None and len(self.lengths) != len(self.x):
            raise UsageError(f"{len(self.x)} observations need as many lengths")
        if self.groups is not None and self.groups.shape != (len(self.x),):
            raise UsageError(
                f"{len(self.x)} observations need a group each, got {tuple(self.groups.shape)}"
            )

    @property
    def kind(self) -> str:
        """What a batch of them is made by, beside what they hold."""
        return type(self).__name__

    def __len__(self) -> int:
        """Number of observations."""
        return self.x.shape[0]

    def batch(self, indices: Tensor, *, epoch: int = 0) -> tuple[Tensor, Tensor | None]:
        """The observations at some places.

        Args:
            indices: `(n,)` int64, places within this split.
            epoch: Sets the noise of a split that has any.

        Returns:
            `(n, *event_shape)`, int64 levels or float32, and their rows of context.
        """
        x = self.x[indices]
        context = None if self.context is None else self.context[indices]
        return (x if x.is_floating_point() else x.long()), context

    def batches(self, size: int, *, epoch: int = 0) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The whole split in order, `size` observations at a time; the last batch may be smaller.

        Raises:
            UsageError: If the size is not positive.
        """
        if size < 1:
            raise UsageError(f"a batch needs at least one observation, got size {size}")
        for start in range(0, len(self), size):
            yield self.batch(torch.arange(start, min(start + size, len(self))), epoch=epoch)

    def take(self, indices: Tensor) -> Observations:
        """These places alone, in this order, as a split of their own."""
        context, lengths, groups = (
            None if part is None else part[indices]
            for part in (self.context, self.lengths, self.groups)
        )
        x = self.x.take(indices) if isinstance(self.x, StoredRows) else self.x[indices]
        return replace(self, x=x, context=context, lengths=lengths, groups=groups)


@dataclass(frozen=True, eq=False)
class DynamicallyBinarised(Observations):
    """Grey images of which every epoch draws new bits, P(bit = 1) = x / 255.

    The draw is keyed by (seed, epoch, index within the split), so that an observation's bits do
    not depend on the batch that it comes in, nor on what was drawn before.

    Args:
        x: Grey levels `(N, 1, H, W)` uint8.
        context: As in `Observations`.
        seed: Of the bits.
    """

    seed: int = 0

    def batch(self, indices: Tensor, *, epoch: int = 0) -> tuple[Tensor, Tensor | None]:
        """Bits `(n, 1, H, W)` int64 of this epoch, and their rows of context."""
        grey, context = super().batch(indices)
        uniform = keyed_uniform(keys_from(self.seed, epoch, indices), tuple(grey.shape[1:]))
        return (uniform < grey / 255.0).long(), context

    def freeze(self, *, epoch: int = 0) -> Observations:
        """One epoch's bits as plain observations, for a split that is to be the same always."""
        bits = [x.to(torch.uint8) for x, _ in self.batches(1000, epoch=epoch)]
        return Observations(torch.cat(bits), self.context, self.lengths, self.groups)


class ContextEncoder(Protocol):
    """What made the context vectors of data: a trained model, of which data know no more."""

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of all that its vectors follow from, beside the observations."""

    @property
    def origin(self) -> str:
        """The run that it is from, in words."""

    def vectors(self, x: Tensor) -> Tensor:
        """The vectors `(N, D)` of observations in the encoder's own form."""

    def read(self, path: Path) -> Tensor:
        """The vectors `(N, D)` of the observations in a file."""

    def save(self, folder: Path) -> None:
        """Write it into a new folder."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Observations of one form in three splits, and where they come from.

    Args:
        name: What the user asked for: a set's name, or the last part of a path.
        spec: The form of one observation.
        train: To learn from.
        validation: To stop and tune by.
        test: To be looked at once, by `evaluate`.
        class_names: One for each label; of several parts, for each combination.
        part_names: Of labels of several parts, the names of the classes of each.
        description: One sentence with the origin.
        notes: What a reader of results has to know: files skipped, parts missing.
        split_seed: Seed of the permutation that made the splits; `None` where the authors of the
            data drew all three.
        options: Keywords that make `catalogue.load` load the same again; plain JSON values.
        density: What the observations were drawn from, if that is known.
        columns: Names of a table's columns, in the order of a vector; nothing without a header.
        encoder: What made the context vectors, if a trained model did.

    Example:
        >>> import simulacra as sim
        >>> data = sim.load_data("digits")
        >>> data.counts
        {'train': 1258, 'validation': 180, 'test': 359}
        >>> x, labels = next(data.train.batches(64))
        >>> x.shape, labels.shape
        (torch.Size([64, 1, 8, 8]), torch.Size([64]))
    """

    name: str
    spec: DataSpec
    train: Observations
    validation: Observations
    test: Observations
    class_names: tuple[str, ...] = ()
    part_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    description: str = ""
    notes: tuple[str, ...] = ()
    split_seed: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    density: Distribution | None = None
    columns: tuple[str, ...] = ()
    encoder: ContextEncoder | None = None

    @classmethod
    def of_form(cls, name: str, spec: DataSpec, options: dict[str, Any]) -> Dataset:
        """The form of data without any observation: how files are to be read.

        Args:
            name: Of the data.
            spec: Of an observation.
            options: Those that the data were read with.
        """
        dtype = torch.float32 if spec.levels is None else smallest_dtype(spec.levels)
        none = Observations(torch.empty(0, *spec.event_shape, dtype=dtype))
        return cls(name, spec, none, none, none, options=dict(options))

    @property
    def splits(self) -> dict[str, Observations]:
        """The three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def counts(self) -> dict[str, int]:
        """Number of observations in each split."""
        return {name: len(split) for name, split in self.splits.items()}

    @property
    def names_by_part(self) -> dict[str, tuple[str, ...]]:
        """Names of the classes of each part of the labels; a single part is called `label`."""
        return self.part_names or ({"label": self.class_names} if self.class_names else {})

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the form and of every split's observations and context, in order.

        Names, notes and paths are left out, and so is the seed of dynamic noise, which belongs
        to a run: the same data from another place keep their fingerprint. Groups are left out
        too: they follow from the same files, and no model sees them. Vectors of an encoder are
        told by its hash, for their last digits may be another machine's.

        Rows in a file are read for it once: what else it depends on is the key that it is noted
        under beside them.
        """
        stored = [part.x for part in self.splits.values() if isinstance(part.x, StoredRows)]
        sources = [x.source for x in stored]
        if not sources or None in sources:
            return self._digest()
        key = self._digest(by_name=True)
        notes = next(source for source in sources if source is not None)
        return notes.recalled(key) or notes.noted(key, self._digest())

    def _digest(self, *, by_name: bool = False) -> str:
        """What `fingerprint` says; `by_name` takes the names of rows in a file for the rows."""
        # a field that DataSpec gains later leaves the fingerprints of today's data alone
        defaults = {each.name: each.default for each in fields(DataSpec)}
        form = {k: v for k, v in self.spec.to_json().items() if v != defaults[k]}
        digest = hashlib.sha256(json.dumps(form, sort_keys=True).encode())
        if self.encoder is not None:
            digest.update(f"encoder {self.encoder.hash}".encode())
        for name, split in self.splits.items():
            digest.update(f"{name} {split.kind}".encode())
            told = split.context if self.encoder is None else None
            parts = (split.x, told, split.lengths)
            # a part that splits gained later leaves the fingerprints of data without it alone
            for tensor in parts if split.lengths is not None else parts[:2]:
                if tensor is None:
                    digest.update(b"none")
                    continue
                digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
                if by_name and isinstance(tensor, StoredRows) and tensor.source is not None:
                    digest.update(tensor.source.state.encode())
                    continue
                pieces = tensor.split(portion(tensor)) if len(tensor) else ()
                for piece in pieces:
                    digest.update(piece.contiguous().numpy().data)
        return digest.hexdigest()
