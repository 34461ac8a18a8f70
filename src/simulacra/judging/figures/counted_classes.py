"""`CountedClasses`: the classes of samples, beside those of as many held-out observations."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from simulacra.data.dataset import Dataset
from simulacra.data.splits import permutation
from simulacra.judging.figures.classes import class_figures
from simulacra.judging.figures.labels import classes_taken
from simulacra.tasks.bayes import class_frequencies

FEW_A_CLASS, ENOUGH_A_CLASS = 10, 25.6
"""Where fewer samples than the first are judged for each class, the second is what is counted: of a
thousand modes 25,600 samples, as Metz et al. have it (2016, arXiv 1611.02163)."""
_ROWS = 1000


class CountedClasses:
    """How often a classifier takes samples for each class, beside labels and held-out data.

    Args:
        data: With the labels of the training split, and the test split.
        first: Rows of the test split `(N,)` that are judged as if they were samples.
        log_probabilities: Of the classes of observations, by a classifier; `None` without one.
        seed: Of intervals.
    """

    def __init__(
        self,
        data: Dataset,
        first: Tensor,
        log_probabilities: Callable[[Tensor], Tensor | None],
        *,
        seed: int,
    ) -> None:
        self.data, self.seed = data, seed
        self._first, self._log_probabilities = first, log_probabilities
        self._shares = class_frequencies(data.train, data.spec)

    @cached_property
    def count(self) -> int:
        """Samples to count: as many as are judged, or more where there are many classes.

        No more than the test split has, which they are held against.
        """
        usual = len(self._first)
        classes = 0 if self._shares is None else int((self._shares > 0).sum())
        if classes * FEW_A_CLASS <= usual:
            return usual
        return max(usual, min(len(self.data.test), math.ceil(ENOUGH_A_CLASS * classes)))

    @property
    def wants_more(self) -> bool:
        """Whether more samples are to be counted than are judged."""
        return self.count > len(self._first)

    def taken(self, x: Tensor) -> Tensor | None:
        """The class that the classifier takes each observation for, `(N,)` int64; −1 for none.

        Args:
            x: Raw levels or floats `(N, *event_shape)`.

        Returns:
            `None` without a classifier.
        """
        lots = [self._log_probabilities(some) for some in x.split(_ROWS)]
        found = [classes_taken(lot) for lot in lots if lot is not None]
        return torch.cat(found) if found else None

    def of_many(self, x: Tensor) -> Tensor | None:
        """The classes of `count` of many samples, where that is more than are judged."""
        return self.taken(x[permutation(len(x))[: self.count]]) if self.wants_more else None

    @cached_property
    def real(self) -> Tensor | None:
        """The classes of `count` held-out observations, first of those judged as samples."""
        others = torch.ones(len(self.data.test), dtype=torch.bool)
        others[self._first] = False
        order = permutation(len(others))
        rows = torch.cat([self._first, order[others[order]]])[: self.count]
        lots = [self.taken(self.data.test.batch(some)[0]) for some in rows.split(_ROWS)]
        found = [lot for lot in lots if lot is not None]
        return torch.cat(found) if found else None

    def figures(self, taken: Tensor) -> dict[str, Any]:
        """The figures of classes by their names in `SampleFigures`; none without labels.

        Args:
            taken: The classes of samples, as `taken` has them.
        """
        if self.real is None or self._shares is None:
            return {}
        counts = torch.bincount(taken + 1, minlength=len(self._shares) + 1)[1:]
        return {
            "class_shares": tuple((counts / len(taken)).tolist()),
            "classes": class_figures(taken, self._shares, seed=self.seed),
            "real_classes": class_figures(self.real[: len(taken)], self._shares, seed=self.seed),
        }
