"""`Encoder`: a trained model whose codes are what another one is told, kept with that one's run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simulacra.data.augment import Augmented
from simulacra.data.catalogue import load
from simulacra.data.contexts import with_vectors
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.foreign.observations import read_observations
from simulacra.ground.errors import CheckpointError, DataError, MissingCapability, UsageError
from simulacra.ground.spec import DataSpec
from simulacra.ground.storage import read_folder, write_folder
from simulacra.models import registry, saved
from simulacra.models.model import Model
from simulacra.tasks.codes import encode_split, encodes

ENCODER = "encoder"
"""A run's folder of the model whose codes it is told."""

_FORM = ("side", "colour", "levels", "window", "rate", "column")
"""Options that say in which form observations are read; the encoder's own are kept for it."""
_ROWS = ("flip", "shift", "labelled", "labelled_seed", "context")
"""Options that change nothing of which observations there are."""
_SHAPE = ("event_shape", "levels", "ordered", "coding", "palette", "rate", "columns")
"""What values mean: see `DataSpec`."""


@dataclass(frozen=True, eq=False)
class Encoder:
    """A model whose codes, brought to one size, are context vectors of another model.

    A vector is (code − mean) / spread, both over the training codes of whoever is told. There is
    one spread, a root mean square, for all numbers of a code: distances keep their proportions.

    Args:
        model: One that encodes and takes no context, in eval mode.
        record: That of its run: what it is called, and in which form it reads data.
        origin: The run that it is from.
        mean: `(D,)` float64; nothing before it was told of data.
        spread: See above.

    Raises:
        MissingCapability: If the model does not encode, or takes context itself.
        UsageError: If it is no model of this package, whose code would have to be kept too.
    """

    model: Model
    record: dict[str, Any]
    origin: str
    mean: Tensor | None = None
    spread: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a model whose codes cannot be told for an observation alone."""
        name = self.record["model"]
        encodes(self.model)
        if self.model.context != "none":
            raise MissingCapability(
                f"the {name} of {self.origin} is told a {self.model.context} with each "
                "observation, which a new one would not have: train one without"
            )
        if name not in registry.MODELS:
            raise UsageError(
                f"an encoder is a model of simulacra, whose code is here for good; {name} of "
                f"{self.origin} is not: write its codes with simulacra encode, and give the file"
            )

    @classmethod
    def open(cls, folder: Path) -> Encoder:
        """One that `save` wrote.

        Raises:
            CheckpointError: If the folder is broken.
        """
        state = read_folder(folder)
        try:
            kept = state["encoder"]
            return cls(
                saved.of(state, folder), kept["record"], kept["origin"], kept["mean"],
                float(kept["spread"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise CheckpointError(f"{folder} holds no encoder: {error}") from error

    def save(self, folder: Path, *, elsewhere: bool = False) -> None:
        """Write it into a new folder, from which `open` has it again.

        Args:
            folder: That is not there yet.
            elsewhere: For other machines: where files lay on this one is left out.
        """
        kept: dict[str, Any] = {
            "record": self.record, "origin": self.origin, "mean": self.mean, "spread": self.spread,
        }  # fmt: skip
        if elsewhere:
            data = self.record["data"]
            options = {key: value for key, value in self._options.items() if key != "data_dir"}
            kept["record"] = {**self.record, "data": {**data, "options": options}}
            kept["origin"] = Path(self.origin).name
        weights = dict(self.model.state_dict())
        write_folder(folder, {"model": self._what, "weights": weights, "encoder": kept})

    @property
    def _what(self) -> dict[str, Any]:
        spec = self.model.spec.to_json()
        return {"model": self.record["model"], "keywords": self.model.keywords, "spec": spec}

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) of the weights, of what the model is, and of the form that it reads.

        Mean and spread follow from these and from the observations.
        """
        said = {**self._what, "form": {k: v for k, v in self._options.items() if k in _FORM}}
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
        for name, value in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    @property
    def _options(self) -> dict[str, Any]:
        """Those that its own data were read with."""
        options: dict[str, Any] = self.record["data"]["options"]
        return options

    @cached_property
    def form(self) -> Dataset:
        """The form that it reads files in, without any observation."""
        return Dataset.of_form(self.record["data"]["name"], self.model.spec, self._options)

    def codes(self, observations: Observations) -> Tensor:
        """Codes of observations in the encoder's own form, `(N, D)` float64.

        Raises:
            DataError: If one is no number.
        """
        codes = encode_split(self.model, observations).flatten(1).double()
        broken = int((~codes.isfinite()).any(1).sum())
        if broken:
            raise DataError(
                f"{broken} of {len(codes)} codes of {self.origin} are not finite (NaN or infinite)"
            )
        return codes

    def vectors(self, x: Tensor) -> Tensor:
        """The vectors `(N, D)` float32 of observations `(N, *event_shape)` in its own form.

        Raises:
            DataError: If a code is no number.
        """
        self.model.spec.check(x)
        return self._scaled(self.codes(Observations(x)))

    def read(self, path: Path) -> Tensor:
        """The vectors `(N, D)` of a file's observations, which are read in its own form.

        Raises:
            DataError: See `read_observations`.
            UsageError: See `read_observations`.
        """
        return self.vectors(read_observations(path, self.form))

    def _scaled(self, codes: Tensor) -> Tensor:
        if self.mean is None:
            raise UsageError(f"the encoder of {self.origin} was told of no data yet: call tell")
        return ((codes - self.mean) / self.spread).float()

    def tell(self, data: Dataset) -> Dataset:
        """The data with their codes as context vectors, in place of labels; groups stay.

        Where the encoder reads another form, as another side or number of levels, the source of
        the data is read once more in that form, into the same splits.

        Args:
            data: Without context vectors so far.

        Raises:
            DataError: If the data are not of the encoder's form, or their codes are all the same.
            UsageError: If they have vectors already, or would have to be read again from nowhere.
        """
        if data.spec.context_width:
            raise UsageError(f"{data.name} has context vectors already: read it without --context")
        own = {name: self.codes(split) for name, split in self._in_own_form(data).items()}
        told = self
        if self.mean is None:
            mean = own["train"].mean(0)
            spread = float((own["train"] - mean).square().mean().sqrt())
            if not spread:
                raise DataError(f"the codes of {self.origin} are the same for all of {data.name}")
            told = replace(self, mean=mean, spread=spread)
        rows = {name: told._scaled(codes) for name, codes in own.items()}
        note = f"context vectors are codes of {self.record['model']}, {self.origin}"
        note = f"{note}, {self.hash[:12]}…{self._other_split(data)}"
        return replace(with_vectors(data, rows, note), encoder=told)

    def _other_split(self, data: Dataset) -> str:
        """What a reader has to know where the encoder may have learned from what is tested."""
        mine, theirs = ([each.get(k) for k in ("source", "groups", "limit")]
                        for each in (self._options, data.options))  # fmt: skip
        if mine[0] != theirs[0] or mine == theirs:
            return ""
        return (
            "; it learned from another split of these data, so what is tested may not be new to it"
        )

    def _in_own_form(self, data: Dataset) -> dict[str, Observations]:
        """The observations of each split, as the encoder reads them."""
        if _differing(data.spec, self.model.spec) is None:
            return {name: _unchanged(split) for name, split in data.splits.items()}
        if "source" not in data.options:
            raise UsageError(
                f"{data.name} is of another form than the data of {self.origin}, and nobody "
                "knows from where to read it again: give data in that form"
            )
        kept = {k: v for k, v in data.options.items() if k not in (*_FORM, *_ROWS)}
        form = {k: v for k, v in self._options.items() if k in _FORM}
        again = load(**kept, **form)
        differing = _differing(again.spec, self.model.spec)
        if differing is not None:
            here, there = (getattr(spec, differing) for spec in (again.spec, self.model.spec))
            raise DataError(
                f"{data.name} cannot be read in the form of {self.origin}: {differing} is {here}, "
                f"expected {there}"
            )
        if again.counts != data.counts or not _same_groups(again, data):
            raise DataError(
                f"{data.name} has other observations when it is read in the form of "
                f"{self.origin}, {_counted(again)} and not {_counted(data)}: train the encoder on "
                "the same data"
            )
        return again.splits


def _differing(spec: DataSpec, other: DataSpec) -> str | None:
    """What values of two forms do not have in common."""
    return next((name for name in _SHAPE if getattr(spec, name) != getattr(other, name)), None)


def _unchanged(split: Observations) -> Observations:
    """Training observations without what only training does to them."""
    while isinstance(split, Augmented) and split.base is not None:
        split = split.base
    return split


def _same_groups(a: Dataset, b: Dataset) -> bool:
    pairs = [(a.splits[name].groups, b.splits[name].groups) for name in a.splits]
    return all(
        (x is None) == (y is None) and (x is None or y is None or torch.equal(x, y))
        for x, y in pairs
    )


def _counted(data: Dataset) -> str:
    return " / ".join(map(str, data.counts.values()))


def encoder_of(folder: Path) -> Encoder | None:
    """The encoder in the folder of a run or a comparison, if there is one."""
    place = folder / ENCODER
    return Encoder.open(place) if place.is_dir() else None
