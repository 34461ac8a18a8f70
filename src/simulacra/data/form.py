"""`Form`: in which form data are to be read, whatever their kind."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from simulacra.ground.column import ColumnKind
from simulacra.ground.errors import UsageError

Colour = Literal["grey", "rgb", "palette"]
Kind = Literal["pictures", "sounds", "tables"]

MOST_LEVELS = 1 << 16
"""More are no longer levels but numbers."""

_FEW = ("labelled", "labelled_seed")
KINDS: dict[Kind, tuple[str, ...]] = {
    "pictures": ("side", "colour", "levels", "labels", "groups", "context", "flip", "shift", *_FEW),
    "sounds": ("levels", "window", "rate", "labels", "groups", "context", *_FEW),
    "tables": ("labels", "groups", "context", "column", *_FEW),
}
"""Which of the options are for which kind of data; `limit` is for the hub's alone."""


@dataclass(frozen=True)
class Form:
    """In which form data are to be read; what is not given stays as it is stored.

    Args:
        side: Crop pictures to their central square and resize it to so many pixels a side.
        colour: Convert pictures to grey, rgb or palette: 1-of-N colours without an order, the
            pictures' own if there are no more than --levels (or 256), else found by k-means.
        levels: Quantise to so many levels: 2 for black and white; of a palette, its colours.
        window: Cut sounds into windows of so many samples; one second otherwise.
        rate: Resample sounds to so many samples a second; refused unless asked for.
        labels: Where labels are: in file names by a pattern like {label}_*, or {digit}_{speaker}_*
            for labels of several parts; or a table's columns, as in digit,speaker.
        groups: What never spans two splits, such as a person: in file names by a pattern like
            {person}_*, in folders by one like {person}/*; or a column, or an array of an .npz.
        context: A .npy or .npz file of context vectors, a row for each observation; on the command
            line also a run whose model encodes, as triplet, vae or pca: its codes are the vectors.
        flip: Mirror training pictures at random, left to right.
        shift: Move training pictures at random by up to so many pixels.
        limit: Of a data set on the Hugging Face hub, stream the first so many alone.
        column: What a table's column is: NAME=category, or NAME=number as all are otherwise.
        labelled: Tell so many labels of the training split alone, as many of each class as can be,
            and none of the validation split: to learn with few labels.
        labelled_seed: Which labels --labelled tells; another number, others.

    Raises:
        UsageError: If a value is out of its range.
    """

    side: int | None = None
    colour: Colour | None = None
    levels: int | None = None
    window: int | None = None
    rate: int | None = None
    labels: str | None = None
    groups: str | None = None
    context: Path | None = None
    flip: bool = False
    shift: int | None = None
    limit: int | None = None
    column: tuple[str, ...] = ()
    labelled: int | None = None
    labelled_seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that no data could meet."""
        # a record of a run may hold anything
        kinds = {
            "labels": str, "groups": str, "context": Path, "flip": bool, "colour": str,
            "column": tuple,
        }  # fmt: skip
        for f in fields(self):
            kind, value = kinds.get(f.name, int), getattr(self, f.name)
            # a bool is an int to isinstance
            fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
            if value is not None and not fits:
                raise UsageError(f"{f.name} is of type {kind.__name__}, got {value!r}")
        if self.colour not in (None, *get_args(Colour)):
            raise UsageError(f"colour is grey, rgb or palette, got {self.colour!r}")
        if self.levels is not None and not 2 <= self.levels <= MOST_LEVELS:
            raise UsageError(f"levels needs 2 to {MOST_LEVELS}, got {self.levels}")
        for each in self.column:
            named, _, word = each.rpartition("=") if isinstance(each, str) else ("", "", each)
            if not named or word not in get_args(ColumnKind):
                raise UsageError(
                    f"column is NAME={' or NAME='.join(get_args(ColumnKind))}, got {each!r}"
                )
        if len(self.kinds) < len(self.column):
            raise UsageError(f"column names one twice: {' '.join(self.column)}")
        units = {
            "side": "pixel", "window": "sample", "rate": "sample a second", "shift": "pixel",
            "limit": "observation", "labelled": "label",
        }  # fmt: skip
        for name, unit in units.items():
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} needs at least 1 {unit}, got {value}")
        if self.labelled_seed and self.labelled is None:
            raise UsageError("labelled_seed says which labels labelled tells: give both")

    @property
    def kinds(self) -> dict[str, ColumnKind]:
        """What columns were said to be, by their names."""
        pairs = (each.rpartition("=") for each in self.column)
        # `__post_init__` has seen that each is a kind
        return {name: kind for name, _, kind in pairs}  # type: ignore[misc]

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the options that were given."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) != f.default)

    def check(self, kind: Kind, name: str) -> None:
        """Refuse options that are for another kind of data.

        Args:
            kind: One of `KINDS`.
            name: Of the data, for the message.

        Raises:
            UsageError: Naming the first such option.
        """
        for option in self.given:
            if option == "limit":
                raise UsageError(f"limit is for data on the Hugging Face hub, hf:NAME, not {name}")
            if option not in KINDS[kind]:
                others = " and ".join(k for k, options in KINDS.items() if option in options)
                raise UsageError(f"{option} is for {others}; {name} holds {kind}")
