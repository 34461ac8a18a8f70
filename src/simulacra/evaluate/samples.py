"""`SampleJudge`: samples held against real observations, whoever drew them.

One half of the test split is the reference. The other half, judged as if it were samples, is the
floor of every figure: what real data get. Independent values, each drawn from its own place in
the training data, are the ceiling: what a model gets that knows nothing of how values go together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from simulacra.data.augment import Augmented
from simulacra.data.dataset import Dataset, DynamicallyBinarised, Observations
from simulacra.data.splits import permutation
from simulacra.errors import UsageError
from simulacra.evaluate.appearance import appearance, without_ratio
from simulacra.evaluate.fidelity import fidelity
from simulacra.evaluate.figure import Figure
from simulacra.evaluate.labels import class_accuracy, class_distance, class_shares
from simulacra.evaluate.novelty import Suspect, duplicates, novelty, suspicious
from simulacra.randomness import seeded

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

    def features(self, x: Tensor) -> Tensor:
        """Float64 features `(N, width)` of raw levels `(N, *event_shape)`."""

    def log_probabilities(self, x: Tensor) -> Tensor | None:
        """Log p(y | x) `(N, classes)` by a classifier; `None` without one."""


def fair_count(data: Dataset) -> int:
    """How many samples are judged: as many as half the test split has, and no more than `MOST`."""
    return min(len(data.test) // 2, MOST)


@dataclass(frozen=True)
class _Seen:
    """Real observations as a view shows them."""

    view: View
    reference: Tensor
    train: Tensor


class SampleJudge:
    """Figures of samples against the test and the training split of a data set.

    Args:
        data: Its test split has at least 40 observations.
        views: Fitted on its training split, for `fair_count` rows.
        seed: Of the ceiling and of intervals.

    Raises:
        UsageError: If there are too few test observations.
    """

    def __init__(self, data: Dataset, views: Sequence[View], *, seed: int = 0) -> None:
        self.data, self.seed, self.count = data, seed, fair_count(data)
        if self.count < FEWEST:
            raise UsageError(
                f"samples are judged against two halves of at least {FEWEST} test observations, "
                f"got {len(data.test)} in all"
            )
        order = permutation(len(data.test))
        self.reference, _ = data.test.batch(order[: self.count])
        self.real, self.real_context = data.test.batch(order[self.count : 2 * self.count])
        self.train = _values(data.train)
        self.seen = [_Seen(view, view.features(self.reference), self._told(view)) for view in views]

    def _told(self, view: View) -> Tensor:
        return torch.cat([view.features(x.long() if self._discrete else x)
                          for x in self.train.split(_ROWS)])  # fmt: skip

    @property
    def _discrete(self) -> bool:
        return self.data.spec.levels is not None

    @cached_property
    def references(self) -> dict[str, Any]:
        """The floor `real` and the ceiling `independent`, as `judge` gives them."""
        context = self.real_context
        labels = None if context is None or context.is_floating_point() else context
        return {
            "real": self.judge(self.real, labels),
            "independent": self.judge(self.independent()),
        }

    def independent(self) -> Tensor:
        """Values each drawn from its own place in the training data, `(count, *event_shape)`."""
        flat = self.train.flatten(1)
        with seeded(self.seed, self.count):
            rows = torch.randint(len(flat), (self.count, flat.shape[1]))
        x = flat.gather(0, rows).unflatten(1, self.data.spec.event_shape)
        return x.long() if self._discrete else x

    def judge(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Any]:
        """All figures of some samples.

        Args:
            x: Raw levels or floats `(N, *event_shape)`, N at least `count`: the first `count` of
                a fixed permutation are judged, so that all are judged on equal numbers.
            labels: The classes that they were drawn for `(N,)`, of a conditional model.

        Returns:
            An entry of `samples` in `results.json`: `count`, `views`, `whole`, `class_shares`
            (the histogram of classes), `warnings`; or `refused`, the reason in words why there
            are no figures.
        """
        refused = self._refusal(x)
        if refused:
            return {"count": len(x), "refused": refused, "views": {}, "whole": {}, "warnings": []}
        x, labels = self._chosen(x, labels)
        views = {}
        for seen in self.seen:
            features = seen.view.features(x)
            figures = fidelity(seen.reference, features, seed=self.seed)
            figures |= novelty(seen.train, seen.reference, features, seed=self.seed)
            views[seen.view.name] = _json(figures)
        whole = duplicates(self.train, x.to(self.train.dtype))
        whole |= appearance(self.data.spec, self.reference, x, seed=self.seed)
        whole |= self._labelled(x, labels)
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
        return {
            "count": len(x),
            "refused": None,
            "views": views,
            "whole": _json(whole),
            "class_shares": self._class_shares(x),
            "warnings": warnings,
        }

    def _refusal(self, x: Tensor) -> str | None:
        if len(x) < self.count:
            return f"{len(x)} samples: {self.count} are needed, half of the test split"
        lost = 0 if not x.is_floating_point() else int((~x.flatten(1).isfinite().all(1)).sum())
        return f"{lost} of {len(x)} samples are not finite" if lost else None

    def _chosen(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """As many as the reference has, by a fixed permutation: their order may be by class."""
        rows = permutation(len(x))[: self.count]
        return x[rows], None if labels is None else labels[rows]

    def _labelled(self, x: Tensor, labels: Tensor | None) -> dict[str, Figure]:
        for seen in self.seen:
            found, real = (seen.view.log_probabilities(each) for each in (x, self.reference))
            if found is not None and real is not None:
                figures = {"class_distance": class_distance(found, real, seed=self.seed)}
                if labels is not None:
                    figures["class_accuracy"] = class_accuracy(found, labels)
                return figures
        return {}

    def _class_shares(self, x: Tensor) -> list[float] | None:
        """How often the classifier takes samples for each class."""
        for seen in self.seen:
            found = seen.view.log_probabilities(x)
            if found is not None:
                return [float(share) for share in class_shares(found)]
        return None

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


def _json(figures: dict[str, Figure]) -> dict[str, Any]:
    return {name: figure.to_json() for name, figure in figures.items()}


def _values(split: Observations) -> Tensor:
    """What a split holds, in the type of `x`: not mirrored or moved, but with its bits drawn."""
    kept = split.base if isinstance(split, Augmented) and split.base is not None else split
    return kept.freeze().x if isinstance(kept, DynamicallyBinarised) else kept.x
