"""`Takes`: which forms of data a model is for, and why it is not for others."""

from __future__ import annotations

from dataclasses import dataclass

from simulacra.ground.errors import MissingCapability
from simulacra.ground.spec import DataSpec


@dataclass(frozen=True)
class Takes:
    """Which forms of data a model takes; all, unless it says otherwise.

    Example:
        >>> import simulacra as sim
        >>> takes = sim.Takes(sounds=False, vectors=False)
        >>> print(takes)
        pictures of levels
        >>> takes.refusal(sim.DataSpec((3,), levels=None))
        'needs pictures of levels, these are vectors (3,)'

    Args:
        pictures: Levels of a picture `(C, H, W)`.
        sounds: Levels of what is no picture, as of a sound `(T,)`.
        vectors: Continuous vectors.
        unordered: Levels without an order, too.
        fewest_levels: How many there are at least.
        most_levels: How many there are at most.
        smallest_side: The fewest pixels that a side of a picture may have.
        largest_side: The most.
        values: The fewest values that an observation may have.
        mixed: Vectors of which some columns are no plain numbers, too; none, unless it says so.
    """

    pictures: bool = True
    sounds: bool = True
    vectors: bool = True
    unordered: bool = True
    fewest_levels: int = 2
    most_levels: int | None = None
    smallest_side: int = 1
    largest_side: int | None = None
    values: int = 1
    mixed: bool = False

    def includes(self, spec: DataSpec) -> bool:
        """Whether data of this form are among them."""
        return self.refusal(spec) is None

    def refusal(self, spec: DataSpec) -> str | None:
        """Why data of this form are not among them: what is needed, and what came."""
        if spec.levels is None:
            kind = self.vectors
        else:
            kind = self.pictures if spec.is_image else self.sounds
            kind = kind and (self.unordered or spec.ordered)
        if not kind:
            return f"needs {self._kinds()}, these are {_form(spec)}"
        if spec.mixed and not self.mixed:
            return "needs columns of numbers, these have some of categories"
        if spec.dims < self.values:
            return f"needs {_range(self.values, None)} values, these have {spec.dims}"
        if spec.levels is None:
            return None
        if not self.fewest_levels <= spec.levels <= (self.most_levels or spec.levels):
            needed = _range(self.fewest_levels, self.most_levels)
            return f"needs {needed} levels, these have {spec.levels}"
        for side in spec.event_shape[1:] if spec.is_image else ():
            if not self.smallest_side <= side <= (self.largest_side or side):
                needed = _range(self.smallest_side, self.largest_side)
                return f"needs sides of {needed}, these are {_form(spec)}"
        return None

    def check(self, spec: DataSpec, who: str) -> None:
        """Refuse data that are not among them.

        Raises:
            MissingCapability: If they are not; `who` is named.
        """
        if (why := self.refusal(spec)) is not None:
            raise MissingCapability(f"{who} {why}")

    def __str__(self) -> str:
        """In words: `pictures of ordered levels, sides of at least 4`."""
        told = [self._kinds()]
        if self.smallest_side > 1 or self.largest_side is not None:
            told.append(f"sides of {_range(self.smallest_side, self.largest_side)}")
        if self.values > 1:
            told.append(f"{_range(self.values, None)} values")
        return ", ".join(told)

    def _kinds(self) -> str:
        levels = "levels" if self.unordered else "ordered levels"
        if self.fewest_levels > 2 or self.most_levels is not None:
            levels = f"{_range(self.fewest_levels, self.most_levels)} {levels}"
        if self.pictures != self.sounds:
            levels = f"{'pictures' if self.pictures else 'sounds'} of {levels}"
        if not (self.pictures or self.sounds):
            return "continuous vectors"
        return f"{levels} or continuous vectors" if self.vectors else levels


def _range(least: int, most: int | None) -> str:
    if most is None:
        return f"at least {least}"
    return f"{least}" if least == most else f"{least} to {most}"


def _form(spec: DataSpec) -> str:
    """What data are, in words."""
    if spec.levels is None:
        return f"vectors {spec.event_shape}"
    kind = f"{'pictures' if spec.is_image else 'sounds'} {spec.event_shape}"
    return kind if spec.ordered else f"{kind} of unordered levels"
