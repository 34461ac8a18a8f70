"""`DataSpec`: all that a model knows of its data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from simulacra.ground.column import Column
from simulacra.ground.errors import UsageError

Coding = Literal["plain", "palette", "mu-law"]

COLOURS = ("red", "green", "blue")
"""The channels of a colour picture, by whose names its labels may have a part for each."""


@dataclass(frozen=True)
class DataSpec:
    """The form of one observation: a tensor of integer levels, or a vector of floats.

    Args:
        event_shape: Shape of one observation: `(C, H, W)` for an image, `(T,)` for a sound,
            `(D,)` for a vector.
        levels: Each value is an integer in `0 … levels − 1`; `None` for a continuous vector.
        ordered: Whether neighbouring levels mean neighbouring values. Palette indices do not.
        coding: What a level stands for: `plain` intensity, `palette` index, `mu-law` amplitude.
        palette: For palette coding, `levels` triples `(r, g, b)` in 0 … 255.
        classes: Number of classes that labels take, 0 without labels; of labels of several parts,
            that of all combinations.
        context_width: Width of the context vectors that come with the data, 0 without.
        rate: Samples a second, of a sound.
        columns: Of a continuous vector, what each value stands for; nothing where all are numbers
            as they are.
        parts: Of labels of several parts, such as a digit and its speaker, the name of each and
            how many classes it has; their product is `classes`. Nothing of labels of one part.
        map_width: Of the maps `(map_width, H, W)` that come with pictures, numbers for each pixel;
            0 without. Data that are read have none: a model that is nested in another is told them.

    Example:
        >>> import simulacra as sim, torch
        >>> spec = sim.DataSpec((1, 2, 2), levels=4)
        >>> spec.dims
        4
        >>> spec.to_float(torch.tensor([[[0, 3], [3, 0]]])).tolist()
        [[[0.0, 1.0], [1.0, 0.0]]]
    """

    event_shape: tuple[int, ...]
    levels: int | None
    ordered: bool = True
    coding: Coding = "plain"
    palette: tuple[tuple[int, int, int], ...] | None = None
    classes: int = 0
    context_width: int = 0
    rate: int | None = None
    columns: tuple[Column, ...] = ()
    parts: tuple[tuple[str, int], ...] = ()
    map_width: int = 0

    def __post_init__(self) -> None:
        """Refuse a form that no observation can have."""
        for name in ("levels", "rate", "classes", "context_width", "map_width", "event_shape"):
            value = getattr(self, name)
            for size in value if isinstance(value, tuple) else (value,):
                if size is not None and type(size) is not int:
                    raise UsageError(f"{name} is a whole number, got {size!r}")
        if not self.event_shape or any(size < 1 for size in self.event_shape):
            raise UsageError(f"event_shape needs positive sizes, got {self.event_shape}")
        if self.levels is not None and self.levels < 2:
            raise UsageError(f"levels needs at least 2 (or None: continuous), got {self.levels}")
        if self.coding not in get_args(Coding):
            raise UsageError(f"coding is one of {', '.join(get_args(Coding))}, got {self.coding!r}")
        if (self.coding == "palette") != (self.palette is not None):
            raise UsageError("a palette comes with coding='palette', and only with it")
        if self.palette is not None and len(self.palette) != self.levels:
            raise UsageError(f"{self.levels} levels need as many colours, got {len(self.palette)}")
        if self.palette is not None and (
            self.ordered or not self.is_image or self.event_shape[0] != 1
        ):
            raise UsageError(
                "a palette is of unordered levels (1, H, W), "
                f"got {self.event_shape} with ordered={self.ordered}"
            )
        if self.map_width and not self.is_image:
            raise UsageError(f"maps come with pictures (C, H, W), not with {self.event_shape}")
        if self.columns and (self.levels is not None or self.event_shape != (len(self.columns),)):
            form = "levels" if self.levels is not None else "a vector"
            raise UsageError(
                f"columns are those of a continuous vector, one for each value: got "
                f"{len(self.columns)} for {form} {self.event_shape}"
            )
        self._check_parts()

    def _check_parts(self) -> None:
        """Refuse parts that no labels can have.

        Raises:
            UsageError: If they are not several, by names of their own, that make up all classes.
        """
        if not self.parts:
            return
        told = f"parts are several (name, number of classes), got {self.parts!r}"
        if any(
            not isinstance(part, tuple) or len(part) != 2 or not isinstance(part[0], str)
            or type(part[1]) is not int or part[1] < 1
            for part in self.parts
        ):  # fmt: skip
            raise UsageError(told)
        if len({name for name, _ in self.parts}) < max(2, len(self.parts)):
            raise UsageError(f"{told}: each has a name of its own")
        if math.prod(size for _, size in self.parts) != self.classes:
            raise UsageError(f"{told}: their product is the number of classes, {self.classes}")

    @property
    def dims(self) -> int:
        """Number of values in one observation."""
        return math.prod(self.event_shape)

    @property
    def is_image(self) -> bool:
        """Whether an observation is a picture `(C, H, W)`."""
        return len(self.event_shape) == 3

    @property
    def labels_channels(self) -> bool:
        """Whether each channel of a picture has a label of its own, all of the same classes.

        The parts of the labels are called red, green and blue then, as those of stacked MNIST are.
        """
        sizes = {size for _, size in self.parts}
        named = tuple(name for name, _ in self.parts) == COLOURS
        return self.is_image and self.event_shape[0] == len(COLOURS) and named and len(sizes) == 1

    @property
    def mixed(self) -> bool:
        """Whether some values of a vector are no plain numbers."""
        return any(column.kind != "number" for column in self.columns)

    @property
    def log_scale(self) -> float:
        """By how much log p of a vector as it is held exceeds that in the columns' own units."""
        return math.fsum(math.log(column.scale) for column in self.columns)

    def _units(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Offset and scale of each column, `(D,)` float64: float32 would round an offset."""
        pairs = [(column.offset, column.scale) for column in self.columns]
        offset, scale = torch.tensor(pairs, dtype=torch.float64, device=device).T
        return offset, scale

    def to_float(self, x: Tensor) -> Tensor:
        """Levels as numbers for people and metrics; the one place where this happens.

        Args:
            x: Levels `(N, *event_shape)`, or floats of a continuous vector.

        Returns:
            Floats: intensities in [0, 1], RGB in [0, 1] as `(N, 3, H, W)` for a palette,
            amplitudes in [−1, 1] for μ-law. A continuous vector is itself; or, with columns, in
            the units of these, in float64, a category being its place.
        """
        if self.levels is None:
            if not self.columns:
                return x.float()
            offset, scale = self._units(x.device)
            return x.double() * scale + offset
        if self.palette is not None:
            colours = torch.tensor(self.palette, dtype=torch.float32, device=x.device) / 255
            return colours[x[:, 0].long()].movedim(-1, 1)
        unit = x.float() / (self.levels - 1)
        if self.coding == "mu-law":
            mu = self.levels - 1
            signed = 2 * unit - 1
            return signed.sign() * ((1 + mu) ** signed.abs() - 1) / mu
        return unit

    def from_float(self, values: Tensor) -> Tensor:
        """Numbers in the units of the columns as continuous vectors: the inverse of `to_float`.

        Args:
            values: `(N, D)`, float64 where digits matter; a category as its place.

        Returns:
            `(N, D)` float32; infinite where a number is too large for it.

        Raises:
            UsageError: If the data are levels, whose numbers `foreign` reads.
        """
        if self.levels is not None:
            raise UsageError(
                f"numbers become continuous vectors, and data have {self.levels} levels"
            )
        if not self.columns:
            return values.float()
        offset, scale = self._units(values.device)
        return ((values.double() - offset) / scale).float()

    def joint(self, labels: Tensor) -> Tensor:
        """The class of each label, one number whatever parts the label has.

        Args:
            labels: `(N,)`, or `(N, K)` of K parts; −1 where a label, or a part, is not told.

        Returns:
            `(N,)` int64 in 0 … classes − 1; −1 where any part is not told.
        """
        if not self.parts:
            return labels.long()
        joint = labels.new_zeros(len(labels), dtype=torch.long)
        for column, (_, size) in zip(labels.T, self.parts, strict=True):
            joint = joint * size + column
        return torch.where((labels < 0).any(1), -1, joint)

    def labels(self, joint: Tensor) -> Tensor:
        """The labels of classes: what `joint` undoes.

        Args:
            joint: `(N,)` in 0 … classes − 1; −1 for labels of which nothing is told.

        Returns:
            `(N,)`, or `(N, K)` of K parts, int64.

        Example:
            >>> import simulacra as sim, torch
            >>> spec = sim.DataSpec((4,), 2, classes=6, parts=(("digit", 3), ("speaker", 2)))
            >>> spec.labels(torch.tensor([0, 5, -1])).tolist()
            [[0, 0], [2, 1], [-1, -1]]
        """
        if not self.parts:
            return joint.long()
        columns, rest = [], joint.long()
        for _, size in reversed(self.parts):
            columns.append(rest % size)
            rest = rest.div(size, rounding_mode="floor")
        told = torch.stack(columns[::-1], 1)
        return torch.where(joint[:, None] < 0, -1, told)

    def check(self, x: Tensor) -> None:
        """Refuse a batch that is not of this form.

        Raises:
            UsageError: If the shape, the kind of number or the range differs.
        """
        if tuple(x.shape[1:]) != self.event_shape:
            raise UsageError(
                f"expected observations (N, {', '.join(map(str, self.event_shape))}), "
                f"got {tuple(x.shape)}"
            )
        if self.levels is None:
            self._check_categories(x)
            return
        if x.is_floating_point():
            raise UsageError(
                f"expected integer levels 0 … {self.levels - 1}, got {x.dtype}: "
                "models take raw levels and scale them inside"
            )
        # whether a number is in its range is not known while a step is compiled, before any data
        if torch.compiler.is_compiling():
            return
        if x.numel() and (int(x.min()) < 0 or int(x.max()) >= self.levels):
            raise UsageError(
                f"expected levels 0 … {self.levels - 1}, got {int(x.min())} … {int(x.max())}"
            )

    def _check_categories(self, x: Tensor) -> None:
        """Refuse what is no place of a category."""
        if torch.compiler.is_compiling() or not self.mixed:
            return
        for at, column in enumerate(self.columns):
            places = x[:, at]
            wrong = (places != places.round()) | (places < 0) | (places >= (column.levels or 0))
            if column.kind == "category" and bool(wrong.any()):
                raise UsageError(
                    f"column {at + 1} is a category: expected its places 0 … "
                    f"{(column.levels or 0) - 1}, got {float(places[wrong][0]):g}"
                )

    def to_json(self) -> dict[str, Any]:
        """The form as plain JSON values."""
        record = asdict(self)
        # a record from before there were columns, parts or maps is that of the same form
        return {k: v for k, v in record.items() if v or k not in ("columns", "parts", "map_width")}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> DataSpec:
        """The form read back from `to_json`."""
        palette = record.get("palette")
        columns = (
            Column(**{**each, "words": tuple(each["words"])}) for each in record.get("columns", ())
        )
        return cls(
            **{
                **record,
                "event_shape": tuple(record["event_shape"]),
                "palette": None if palette is None else tuple(tuple(c) for c in palette),
                "columns": tuple(columns),
                # what was written before labels had parts
                "parts": tuple(tuple(part) for part in record.get("parts", ())),
            }
        )
