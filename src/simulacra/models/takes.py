"""`Takes`: which forms of data a model is for."""

from __future__ import annotations

from dataclasses import dataclass

from simulacra.ground.spec import DataSpec


@dataclass(frozen=True)
class Takes:
    """Which forms of data a model takes; all, unless it says otherwise.

    Example:
        >>> import simulacra as sim
        >>> sim.Takes(vectors=False).includes(sim.DataSpec((3,), levels=None))
        False

    Args:
        pictures: Levels of a picture `(C, H, W)`.
        sequences: Levels of what is no picture, as of a sound `(T,)`.
        vectors: Continuous vectors.
        unordered: Levels without an order, too.
        values: The fewest values that an observation may have.
        mixed: Vectors of which some columns are no plain numbers, too; none, unless it says so.
    """

    pictures: bool = True
    sequences: bool = True
    vectors: bool = True
    unordered: bool = True
    values: int = 1
    mixed: bool = False

    def includes(self, spec: DataSpec) -> bool:
        """Whether data of this form are among them."""
        if spec.levels is None:
            kind = self.vectors
        else:
            kind = self.pictures if spec.is_image else self.sequences
        ordered = self.unordered or spec.ordered
        return kind and ordered and spec.dims >= self.values and (self.mixed or not spec.mixed)
