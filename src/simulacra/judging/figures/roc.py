"""Pairs of observations, told apart by a distance: the receiver operating characteristic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from simulacra.judging.figures.figure import Figure


@dataclass(frozen=True, kw_only=True)
class RocFigures:
    """How well a distance tells pairs of one identity from pairs of two.

    Args:
        area: Under the receiver operating characteristic: how often a pair of one is nearer.
        equal_error: Share of errors where both kinds of pairs are taken wrongly as often.
        accuracy: At the threshold of validation pairs, as if both kinds were as many; chance is ½.
        threshold: That distance.
        curve: Share of pairs of two that are taken for one, and of pairs of one.
    """

    area: Figure
    equal_error: Figure
    accuracy: Figure | None = None
    threshold: float | None = None
    curve: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class VerificationFigures:
    """Whether codes say which test observations are of one identity; see `verification`.

    Args:
        kind: What the identities are.
        identities: In the test split.
        observations: That were paired.
        unseen: Whether none of the identities was there to be learnt.
        same: Pairs of one identity.
        different: Pairs of two.
        validation_identities: That the thresholds are of.
        codes: By distances between codes.
        values: By those between the values themselves.
        components: By those between principal components.
        of_components: How many these are.
        beyond: By how much the area of codes is larger than that of values.
        reason: Why there are no figures; empty if there are.
    """

    kind: Literal["group", "class"] = "group"
    identities: int = 0
    observations: int = 0
    unseen: bool = True
    same: int = 0
    different: int = 0
    validation_identities: int = 0
    codes: RocFigures | None = None
    values: RocFigures | None = None
    components: RocFigures | None = None
    of_components: int = 0
    beyond: Figure | None = None
    reason: str = ""


@dataclass(frozen=True)
class Pairs:
    """All pairs of some observations, by how far apart they are, the nearest first.

    Args:
        gaps: Distances `(P,)` float64, ascending.
        same: Whether both are of one identity, `(P,)`.
        owners: Of whom each of both is, numbered from 0, `(2, P)`.
    """

    gaps: Tensor
    same: Tensor
    owners: Tensor

    @classmethod
    def of(cls, codes: Tensor, who: Tensor) -> Pairs:
        """Of codes `(N, …)` and the identities of whoever they are of, `(N,)`."""
        gaps = torch.pdist(codes.flatten(1).double())
        first, second = torch.triu_indices(len(who), len(who), 1)
        own = who.unique(return_inverse=True)[1]
        order = gaps.argsort(stable=True)
        owners = torch.stack([own[first], own[second]])[:, order]
        return cls(gaps[order], owners[0] == owners[1], owners)

    @property
    def decidable(self) -> bool:
        """Whether there are pairs of both kinds."""
        return bool(self.same.any()) and not bool(self.same.all())

    def rates(self, times: Tensor | None = None) -> Rates:
        """How many pairs are taken for the same below each distance, by what they are.

        Args:
            times: How often each identity is there, `(G,)`; once, by default. Two copies of one
                make no pair.
        """
        weight = torch.ones_like(self.gaps)
        if times is not None:
            a, b = times.double()[self.owners]
            weight = torch.where(self.same, a, a * b)
        ends = torch.cat([self.gaps.diff() > 0, torch.ones(1, dtype=torch.bool)])
        false, true = (
            torch.cat([weight.new_zeros(1), (weight * kind).cumsum(0)[ends]])
            for kind in (~self.same, self.same)
        )
        return Rates(false / false[-1], true / true[-1], self.gaps[ends])


class Rates(NamedTuple):
    """Shares of pairs that are taken for one identity below each of K distances.

    Args:
        false: Of pairs of two, `(K + 1,)` from 0 to 1; NaN where there are none.
        true: Of pairs of one.
        gaps: The distances, ascending, `(K,)`.
    """

    false: Tensor
    true: Tensor
    gaps: Tensor

    @property
    def known(self) -> bool:
        """Whether there were pairs of both kinds."""
        return bool(self.false[-1] * self.true[-1] == 1)

    @property
    def area(self) -> float:
        """How often a pair of one identity is nearer than one of two; of ties half."""
        return float(torch.trapezoid(self.true, self.false))

    @property
    def equal_error(self) -> float:
        """The share of errors where pairs of one and of two are taken wrongly as often."""
        gap = self.false - (1 - self.true)
        # it goes from −1 to 1: between two distances, on the line that joins them
        after = int((gap >= 0).nonzero()[0, 0])
        part = gap[after - 1] / (gap[after - 1] - gap[after])
        return float(torch.lerp(self.false[after - 1], self.false[after], part))

    @property
    def best_threshold(self) -> float:
        """The distance below which pairs are best taken for one, if both kinds are as many."""
        best = int((self.true - self.false).argmax())
        around = torch.cat([self.gaps.new_zeros(1), self.gaps, self.gaps[-1:]])
        return float(around[best : best + 2].mean())

    def right_below(self, threshold: float) -> float:
        """The share that a threshold decides rightly, if both kinds were as many."""
        at = int((self.gaps <= threshold).sum())
        return float(self.true[at] + 1 - self.false[at]) / 2
