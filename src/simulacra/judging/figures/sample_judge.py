"""`SampleJudge`: samples held against real observations, whoever drew them.

One half of the test split is the reference. The other half, judged as if it were samples, is the
floor of every figure: what real data get. Independent values, each drawn from its own place in
the training data, are the ceiling: what a model gets that knows nothing of how values go together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from simulacra.data.augment import Augmented
from simulacra.data.dataset import Dataset, DynamicallyBinarised, Observations
from simulacra.data.labels import joint_classes
from simulacra.data.splits import halves, permutation
from simulacra.data.stored import Rows
from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.judging.figures.appearance import appearance, without_ratio
from simulacra.judging.figures.counted_classes import CountedClasses
from simulacra.judging.figures.fidelity import fidelity, frechet_figure
from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.intervals import share
from simulacra.judging.figures.labels import (
    accuracies_by_chance,
    class_accuracy,
    class_distance,
    classes_taken,
    part_accuracies,
)
from simulacra.judging.figures.membership import membership
from simulacra.judging.figures.novelty import Suspect, duplicates, novelty, suspicious
from simulacra.judging.figures.records import References, SampleFigures
from simulacra.tasks.covered import covered, modes_of

MOST = 1000
"""Samples that are judged, at most: as many as half the test split otherwise."""
FEWEST = 20
FEWEST_FOR_SUSPECTS = 99
"""Fewer have no nearest hundredth."""
_ROWS = 1000


class View(Protocol):
    """A way to look at observations: as vectors of features."""

    @property
    def name(self) -> str:
        """`features` or `pixels`."""

    @property
    def learned(self) -> bool:
        """Whether the features were learned from training observations, which look special then."""

    def features(self, x: Tensor) -> Tensor:
        """Float64 features `(N, width)` of raw levels `(N, *event_shape)`."""

    def log_probabilities(self, x: Tensor) -> Tensor | None:
        """Log p(y | x) `(N, classes)` by a classifier; `None` without one."""


def fair_count(data: Dataset, most: int = MOST) -> int:
    """How many samples are judged: as many as half the test split has, and no more than `most`.

    Halves have no group, such as a recording, in both, so that they may be smaller.
    """
    return len(halves(data.test, most)[0])


RULES = 0.2
"""Share of the variance from which one observation rules a distance."""
UNLIKE = 3.0
"""Z score of `membership` from which data that nobody trained on are unlike the training data."""


@dataclass(frozen=True)
class _Seen:
    """Real observations as a view shows them."""

    view: View
    reference: Tensor
    train: Tensor
    validation: Tensor


class SampleJudge:
    """Figures of samples against the test and the training split of a data set.

    Args:
        data: Its test split has at least 40 observations.
        views: Fitted on its training split, for `count` rows.
        most: Samples that are judged, if the test split has enough.
        seed: Of the ceiling and of intervals.

    Raises:
        UsageError: If there are too few test observations, or all training ones are the same.
    """

    def __init__(
        self, data: Dataset, views: Sequence[View], *, most: int = MOST, seed: int = 0
    ) -> None:
        self.data, self.seed = data, seed
        reference, real = halves(data.test, most)
        self.count = len(reference)
        if self.count < FEWEST:
            raise UsageError(
                f"samples are judged against two halves of at least {FEWEST} test observations, "
                f"got {self.count} in each"
                + (" without a recording or group in both" if data.test.groups is not None else "")
            )
        first = data.train.x[:1]
        if all(bool((some == first).all()) for some in data.train.x.split(_ROWS)):
            raise UsageError("all training observations are one and the same: nothing to compare")
        self.reference, _ = data.test.batch(reference)
        self.real, _ = data.test.batch(real)
        self.classes = CountedClasses(data, real, self._log_probabilities, seed=seed)
        classes = joint_classes(data.test, data.spec)
        self.real_classes = None if classes is None else classes[real]
        self.train, self.validation = _values(data.train), _values(data.validation)
        self.seen = [
            _Seen(
                view, view.features(self.reference),
                *(self._shown(view, split) for split in (self.train, self.validation)),
            )
            for view in views
        ]  # fmt: skip

    def _shown(self, view: View, split: Rows) -> Tensor:
        return torch.cat([view.features(x.long() if self._discrete else x)
                          for x in split.split(_ROWS)])  # fmt: skip

    def _log_probabilities(self, x: Tensor) -> Tensor | None:
        """Of the classes, by the first view that has a classifier."""
        for seen in self.seen:
            if (found := seen.view.log_probabilities(x)) is not None:
                return found
        return None

    @cached_property
    def alike(self) -> bool:
        """Whether the test split is drawn like the training split, as far as views can tell.

        If so, the validation split, which is usually drawn like the training split, is as near to
        the one as to the other.
        """
        if len(self.validation) < FEWEST:
            return True
        scores = (
            membership(seen.train, seen.reference, seen.validation, seed=self.seed)
            for seen in self.seen
            if not seen.view.learned
        )
        return all(score is None or score.value <= UNLIKE for score in scores)

    @property
    def _discrete(self) -> bool:
        return self.data.spec.levels is not None

    @cached_property
    def references(self) -> References:
        """The floor `real` and the ceiling `independent`, as `judge` gives them."""
        labels = self.real_classes
        return References(
            real=self.judge(self.real, labels, self.classes.real),
            independent=self.judge(self.independent()),
            chance=self._chance(),
        )

    def _chance(self) -> SampleFigures | None:
        """What always the commonest class gets, where a classifier tells classes apart."""
        classes = joint_classes(self.data.train, self.data.spec)
        if classes is None or self._log_probabilities(self.reference[:1]) is None:
            return None
        whole, parts = accuracies_by_chance(classes[classes >= 0], self.data.spec)
        return SampleFigures(
            count=0,
            whole={"class_accuracy": Figure(whole, len(classes))},
            by_part={name: Figure(each, len(classes)) for name, each in parts.items()},
        )

    @cached_property
    def doubts(self) -> list[str]:
        """What makes figures of such data hard to trust, in words; usually nothing."""
        found = []
        if not self.alike:
            found.append(
                "the test split is unlike the training data (validation observations are nearer to "
                "these): distances are larger than models alone would make them, and nearness to "
                "the training data is no sign of copying"
            )
        for seen in self.seen:
            name, spread = seen.view.name, seen.reference - seen.reference.mean(0)
            shares = spread.square().sum(1) / spread.square().sum().clamp(min=1e-300)
            if float(shares.max()) > RULES:
                found.append(
                    f"one of {self.count} real observations has {float(shares.max()):.0%} of the "
                    f"variance in {name}: intervals of distances there are too narrow"
                )
            real, independent = (
                each and each.figure(name, "frechet")
                for each in (self.references.real, self.references.independent)
            )
            if real and independent and real.high is not None and independent.value <= real.high:
                found.append(
                    f"in {name}, independent values are as near to real data as real data are: "
                    "figures there tell little"
                )
        return found

    def independent(self) -> Tensor:
        """Values each drawn from its own place in the training data, `(count, *event_shape)`."""
        dims = self.data.spec.dims
        with seeded(self.seed, self.count):
            rows = torch.randint(len(self.train), (self.count, dims)).flatten()
        # one part of the training data after another, for not all of them need be in memory
        order = rows.argsort()
        bounds = torch.arange(0, len(self.train) + _ROWS, _ROWS)
        parts = order.tensor_split(torch.searchsorted(rows[order], bounds)[1:-1])
        x = torch.empty(len(rows), dtype=self.train.dtype)
        for start, some, places in zip(bounds, self.train.split(_ROWS), parts, strict=False):
            x[places] = some.flatten(1)[rows[places] - start, places % dims]
        x = x.reshape(-1, *self.data.spec.event_shape)
        return x.long() if self._discrete else x

    def judge(
        self, x: Tensor, labels: Tensor | None = None, taken: Tensor | None = None
    ) -> SampleFigures:
        """All figures of some samples.

        Args:
            x: Raw levels or floats `(N, *event_shape)`, N at least `count`: the first `count` of
                a fixed permutation are judged, so that all are judged on equal numbers.
            labels: The classes that they were drawn for `(N,)`, of a conditional model; −1 where
                none was told.
            taken: The classes of more samples, where `classes` wants more; see `CountedClasses`.

        Returns:
            Its figures; or `refused`, the reason in words why there are none.
        """
        refused = self._refusal(x)
        if refused:
            return SampleFigures(count=len(x), refused=refused)
        x, labels = self._chosen(x, labels)
        views = {}
        for seen in self.seen:
            features = seen.view.features(x)
            figures = fidelity(seen.reference, features, seed=self.seed)
            figures |= novelty(seen.train, seen.reference, features, seed=self.seed)
            others = self._others(seen)
            if len(others) >= FEWEST and not seen.view.learned:
                member = membership(seen.train, others, features, seed=self.seed)
                figures |= {} if member is None else {"membership": member}
            views[seen.view.name] = figures
        whole = duplicates(self.train, x.to(self.train.dtype))
        leaked = duplicates(self.reference, x.to(self.reference.dtype), self.validation)
        whole["leaked"] = leaked["duplicates"]
        whole |= appearance(self.data.spec, self.reference, x, seed=self.seed)
        whole |= self._modes(x)
        found, by_part = self._log_probabilities(x), dict[str, Figure]()
        if found is not None:
            whole["class_distance"] = class_distance(found, self._real, seed=self.seed)
        if found is not None and labels is not None and bool((told := labels >= 0).any()):
            whole["class_accuracy"] = class_accuracy(found[told], labels[told])
            by_part = part_accuracies(found[told], labels[told], self.data.spec)
        if found is not None and taken is None:
            taken = classes_taken(found)
        warnings = without_ratio(self.data.spec, self.reference)
        if self.count < FEWEST_FOR_SUSPECTS:
            warnings.append(
                f"no share of suspects: {FEWEST_FOR_SUSPECTS} held-out observations are needed for "
                f"it, {self.count} are there"
            )
        if bool((x == x[:1]).all()):
            warnings.append("all samples are one and the same")
        elif self._discrete and bool((x.flatten(1) == x.flatten(1)[:, :1]).all()):
            warnings.append("every sample is constant: one value all over")
        return SampleFigures(
            count=len(x),
            views=views,
            whole=whole,
            by_part=by_part,
            **({} if taken is None else self.classes.figures(taken)),
            warnings=tuple(warnings),
        )

    def frechet(self, x: Tensor) -> Figure | None:
        """The Fréchet distance in the first view, as `judge` has it there, and nothing else.

        Args:
            x: As for `judge`.

        Returns:
            `None` of samples that have none: numbers that are not finite, or far too large.
        """
        if self._refusal(x):
            return None
        x, _ = self._chosen(x, None)
        try:
            return frechet_figure(self.seen[0].reference, self.seen[0].view.features(x))
        except UsageError:
            return None

    def _others(self, seen: _Seen) -> Tensor:
        """Observations drawn like the training data that were not trained on."""
        return torch.cat([seen.validation, seen.reference]) if self.alike else seen.validation

    def _refusal(self, x: Tensor) -> str | None:
        if len(x) < self.count:
            return f"{len(x)} samples: {self.count} are needed, half of the test split"
        lost = 0 if not x.is_floating_point() else int((~x.flatten(1).isfinite().all(1)).sum())
        return f"{lost} of {len(x)} samples are not finite" if lost else None

    def _chosen(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """As many as the reference has, by a fixed permutation: their order may be by class."""
        rows = permutation(len(x))[: self.count]
        return x[rows], None if labels is None else labels[rows]

    def _modes(self, x: Tensor) -> dict[str, Figure]:
        """Modes covered and good samples, where the density has modes that are known."""
        modes = modes_of(self.data)
        if modes is None:
            return {}
        found = covered(x, modes)
        return {"modes": Figure(found.covered, len(x)), "good": share(found.good, len(x))}

    @cached_property
    def _real(self) -> Tensor:
        """What the classifier says of the reference, where it says anything of samples."""
        real = self._log_probabilities(self.reference)
        assert real is not None
        return real

    def suspicious(self, x: Tensor, most: int = 12) -> tuple[list[Suspect], Tensor, Tensor]:
        """Samples that look most like copies, and what they look like copies of.

        Args:
            x: As for `judge`.
            most: How many.

        Returns:
            What is known of each, the samples and their nearest training observations, row for
            row `(most, *event_shape)`, in the first view.
        """
        x, _ = self._chosen(x, None)
        seen = self.seen[0]
        found = suspicious(seen.train, seen.reference, seen.view.features(x), most=most)
        near = self.train[torch.tensor([each.train for each in found], dtype=torch.long)]
        return found, x[torch.tensor([each.sample for each in found], dtype=torch.long)], near


def _values(split: Observations) -> Rows:
    """What a split holds, in the type of `x`: not moved, but with its bits drawn.

    Where training mirrors pictures, both ways round, or a mirrored copy would pass for new; but
    for the rows of a large folder, which are not held twice.
    """
    kept = split.base if isinstance(split, Augmented) and split.base is not None else split
    x = kept.freeze().x if isinstance(kept, DynamicallyBinarised) else kept.x
    if isinstance(split, Augmented) and split.flip and isinstance(x, Tensor):
        return torch.cat([x, x.flip(-1)])
    return x
