"""Two models on the same observations: the difference of their figures, observation by observation.

Observations differ more from one another than models do, so two figures with overlapping errors
may still be told apart: what is hard for one model is hard for the other, and falls out of their
difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.judging.figures.intervals import half_width, standard_error
from simulacra.judging.figures.likelihood import Score
from simulacra.judging.figures.records import PairFigures, Unit


@dataclass(frozen=True)
class Pair:
    """How much the figure of a second model differs from that of a first.

    Args:
        unit: Of the difference. In bits smaller figures are better; in nats, which are those of a
            log-likelihood, larger ones.
        observations: That both were asked about.
        exact: Whether each of the two is a likelihood itself and not a bound of it.
        difference: The second figure less the first; `None` if it is no number.
        low: Lower end of its 95 % interval; `None` where the spread is unknown.
        high: Upper end.
        reason: Why there is no difference or no interval, in words.
    """

    unit: Unit
    observations: int
    exact: tuple[bool, bool]
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    @property
    def tie(self) -> bool | None:
        """Whether the interval holds 0, so that neither is better; `None` where there is none."""
        return None if self.low is None or self.high is None else self.low <= 0 <= self.high

    @property
    def winner(self) -> Literal[0, 1] | None:
        """Which of the two has the better figure; `None` of a tie, or where nobody knows."""
        if self.tie is not False or self.difference is None:
            return None
        return 1 if (self.difference < 0) == (self.unit != "nats") else 0

    @property
    def caveat(self) -> str | None:
        """What bounds leave open, in words; `None` where nothing is left open.

        A bound that wins over a likelihood has won, for the likelihood behind it is better still.
        One that loses or ties might hide the better model.
        """
        if self.tie is None or all(self.exact) or self._shown:
            return None
        if not any(self.exact):
            return "both figures are bounds: the likelihoods behind them may stand otherwise"
        which = ("first", "second")[self.exact.index(False)]
        verb = "ties" if self.tie else "loses"
        return f"the {which} figure is a bound: that it {verb} does not show that the model does"

    @property
    def _shown(self) -> bool:
        """Whether the loser's figure is its likelihood, than which it is no better."""
        return self.winner is not None and self.exact[1 - self.winner]

    def of(self, first: str, second: str) -> PairFigures:
        """As the results have it, beside the names of the two."""
        return PairFigures(
            models=(first, second),
            difference=self.difference,
            low=self.low,
            high=self.high,
            tie=self.tie,
            winner=self.winner,
            observations=self.observations,
            unit=self.unit,
            caveat=self.caveat,
            reason=self.reason,
        )


def paired(first: Score, second: Score) -> Pair:
    """The paired difference of two scores, second less first, with Student's 95 % interval.

    It is wider by what their solvers are off.

    Of sounds it is that of two ratios, nats over valid samples, by the delta method. Where
    observations come in groups, such as windows in recordings, the groups are counted as
    independent.

    Args:
        first: Of one model.
        second: Of another, on the same rows of the same split.

    Raises:
        UsageError: If they are of other rows or another form of data, or keep no values.
    """
    _check(first, second)
    empty = Pair(first.unit, first.observations, (first.exact, second.exact))
    for which, score in (("first", first), ("second", second)):
        if score.non_finite:
            return _without(
                empty,
                f"the {which} model gives {score.non_finite} of {score.observations} observations "
                "no finite likelihood, so the mean difference is no number",
            )
    # bits are of −log p, nats of log p itself; adding 0 leaves no −0
    better = second.values - first.values
    shown = better if first.levels is None else -better + 0.0
    difference = float(shown.mean()) / first.nats_per_unit
    error = standard_error(shown, first.valid, first.groups) / first.nats_per_unit
    if math.isnan(error):
        one = "one observation" if first.groups is None else "a single group, or recording,"
        return _without(empty, f"of {one} the spread is unknown", difference)
    # by as much as solvers may be off nobody knows which is better
    solved = sum(abs(each.solver_error or 0.0) for each in (first, second)) / first.nats_per_unit
    half = half_width(error, first.degrees) + solved
    return Pair(
        empty.unit, empty.observations, empty.exact, difference, difference - half,
        difference + half,
    )  # fmt: skip


def of_both(first: Score, second: Score) -> tuple[Score, Score]:
    """Two scores of the same rows: those that both were asked about, in the order of the split.

    As they are where they are of the same rows, or share none.
    """
    if _equal(first.rows, second.rows):
        return first, second
    found = []
    for score, other in ((first, second), (second, first)):
        shared = torch.isin(score.rows, other.rows).nonzero()[:, 0]
        found.append(score.take(shared[score.rows[shared].argsort()]))
    return (found[0] or first, found[1] or second)


def _without(pair: Pair, reason: str, difference: float | None = None) -> Pair:
    """A pair that has no interval, and why."""
    return Pair(pair.unit, pair.observations, pair.exact, difference, reason=reason)


def _check(first: Score, second: Score) -> None:
    """Refuse scores that are not of the same observations."""
    for score in (first, second):
        if len(score.values) != score.observations or not score.observations:
            raise UsageError("a pair needs the likelihood of each observation, got means alone")
    same_groups = _equal(first.groups, second.groups)
    if not same_groups or not _equal(first.rows, second.rows):
        raise UsageError(
            "a pair is of the same observations, got "
            f"{first.observations} and {second.observations}, or other ones: judge both models "
            "on the same rows of one split"
        )
    forms = [(s.levels, s.dims, s.unit) for s in (first, second)]
    if forms[0] != forms[1] or not _equal(first.valid, second.valid):
        raise UsageError(
            f"a pair is of one form of data, got {forms[0][0]} levels of {forms[0][1]:g} values "
            f"and {forms[1][0]} of {forms[1][1]:g}"
        )


def _equal(first: Tensor | None, second: Tensor | None) -> bool:
    """Whether two tensors hold the same, or neither is there."""
    if first is None or second is None:
        return first is second
    return torch.equal(first, second)
