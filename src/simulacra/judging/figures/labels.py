"""Figures of labels: samples as a classifier takes them, and models as classifiers themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.intervals import share
from simulacra.judging.figures.records import Bin, ClassifierFigures
from simulacra.tasks.bayes import log_posterior

BINS = 15
"""Bins of confidence, as Guo et al. have them."""

_DRAWS = 1000
"""Of a bootstrap, and of a simulation."""


def class_accuracy(log_probabilities: Tensor, asked: Tensor) -> Figure:
    """Share of conditional samples that a classifier takes for the class they were drawn for.

    Args:
        log_probabilities: Of the classes, `(N, classes)`; a row that is not finite is wrong.
        asked: The classes, `(N,)`.

    Returns:
        The share, with Wilson's interval (1927).

    Raises:
        UsageError: If there is nothing to judge, or one class only.
    """
    taken = _taken(_normalised(log_probabilities, asked))
    return share(int((taken == asked.cpu()).sum()) / len(taken), len(taken))


def part_accuracies(log_probabilities: Tensor, asked: Tensor, spec: DataSpec) -> dict[str, Figure]:
    """Share of conditional samples that a classifier takes for what was asked, in each part.

    A sample of the right digit by the wrong speaker is right in one part and wrong in the other.

    Args:
        log_probabilities: Of the combinations, `(N, classes)`; a row that is not finite is wrong.
        asked: The combinations, `(N,)`.
        spec: Of the data; without parts there is nothing to tell.

    Returns:
        The share of each part by its name, with Wilson's interval (1927).
    """
    if not spec.parts:
        return {}
    taken = spec.labels(_taken(_normalised(log_probabilities, asked)))
    right = (taken == spec.labels(asked.cpu())).double().mean(0).tolist()
    return {name: share(own, len(taken)) for (name, _), own in zip(spec.parts, right, strict=True)}


def accuracies_by_chance(classes: Tensor, spec: DataSpec) -> tuple[float, dict[str, float]]:
    """What samples get that are all of the commonest class, whatever is asked: in whole, by part.

    Args:
        classes: Of the training observations, `(N,)`, all told.
        spec: Of the data.
    """
    parts = spec.labels(classes).T if spec.parts else ()
    commonest = [float(part.bincount().max()) / len(classes) for part in (classes, *parts)]
    return commonest[0], dict(zip([name for name, _ in spec.parts], commonest[1:], strict=True))


def classes_taken(log_probabilities: Tensor) -> Tensor:
    """The class that a classifier takes each for, `(N,)` int64; −1 of a row that is not finite.

    Args:
        log_probabilities: Of the classes, `(N, classes)`.

    Raises:
        UsageError: If there is nothing to judge, or one class only.
    """
    return _taken(_normalised(log_probabilities))


def class_shares(log_probabilities: Tensor) -> Tensor:
    """How often a classifier takes each class, `(classes,)`.

    The sum falls short of 1 by the rows that are not finite, which are of no class.
    """
    taken = _taken(_normalised(log_probabilities))
    return torch.bincount(taken + 1, minlength=log_probabilities.shape[1] + 1)[1:] / len(taken)


def class_distance(samples: Tensor, real: Tensor, *, seed: int = 0) -> Figure:
    """Total variation between the classes of samples and of held-out data, 0 … 1.

    One classifier looks at both, so that what it always confuses does not count; yet confusion
    makes shares alike, and so it can hide a class that is drawn too often.

    The interval is that of the figure's spread, by bootstrap; it reaches down to 0 where two equal
    sets are as far apart as this one time in twenty. Chance makes the figure larger, the more so
    the fewer there are of either: it is read beside that of real data judged as samples.

    Args:
        samples: Log-probabilities of the classes, `(N, classes)`; a row that is not finite is of
            no class, which is one more class.
        real: The same of real observations that neither model nor classifier learned from.
        seed: Of the bootstrap.

    Raises:
        UsageError: If there is nothing to judge, or the two have other classes.
    """
    if samples.shape[1:] != real.shape[1:]:
        raise UsageError(
            f"samples and real data are judged by one classifier, got {tuple(samples.shape[1:])} "
            f"and {tuple(real.shape[1:])} classes"
        )
    shares = []
    for found in (samples, real):
        known = class_shares(found).double().numpy()
        shares.append(np.append(known, max(0.0, 1 - known.sum())))
    generator = np.random.default_rng(seed)
    drawn = [
        generator.multinomial(len(found), p / p.sum(), _DRAWS) / len(found)
        for found, p in zip((samples, real), shares, strict=True)
    ]
    value = float(np.abs(shares[0] - shares[1]).sum() / 2)
    both = shares[0] * len(samples) + shares[1] * len(real)
    equal = [generator.multinomial(len(x), both / both.sum(), _DRAWS) / len(x)
             for x in (samples, real)]  # fmt: skip
    chance = float(np.quantile(np.abs(equal[0] - equal[1]).sum(1) / 2, 0.95))
    return _spread(value, np.abs(drawn[0] - drawn[1]).sum(1) / 2, len(samples), chance)


@dataclass(frozen=True)
class Classification:
    """How good the probabilities of a classifier are on labelled observations.

    An observation without finite probabilities counts as one of whose wrong class the classifier
    was sure.

    Args:
        accuracy: Share whose most probable class is theirs, with Wilson's interval (1927).
        ece: Expected calibration error: |share found rightly − mean confidence|, averaged over
            the `bins` by their counts. The interval is that of its spread, by bootstrap, and
            reaches down to 0 where chance alone may come to it; chance makes the figure larger,
            the more so the fewer observations there are.
        ece_floor: Mean ECE of a perfectly calibrated classifier with the same confidences: what
            chance alone comes to, by simulation.
        ece_floor_high: What such a one stays below 95 % of the time.
        log_loss: Mean −log p(own class), in nats; infinite if one was held to be impossible.
        impossible: How many were.
        brier: Mean squared distance of the probabilities from the truth, 0 … 2.
        bins: `BINS` bins of confidence of equal width, from 0 to 1.
        observations: How many there are.
        non_finite: How many of them have no finite probabilities.

    Paper: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural
        Networks", 2017, arXiv 1706.04599, section 2.
    """

    accuracy: Figure
    ece: Figure
    ece_floor: float
    ece_floor_high: float
    log_loss: float
    impossible: int
    brier: float
    bins: tuple[Bin, ...]
    observations: int
    non_finite: int

    @property
    def calibrated(self) -> bool:
        """Whether a perfectly calibrated classifier may well have this ECE."""
        return self.ece.value <= self.ece_floor_high

    def figures(self, *, bound: bool = False) -> ClassifierFigures:
        """As the results have it.

        Args:
            bound: Whether a bound took the likelihood's place.
        """
        return ClassifierFigures(
            accuracy=self.accuracy,
            ece=self.ece,
            ece_floor=self.ece_floor,
            ece_floor_high=self.ece_floor_high,
            calibrated=self.calibrated,
            log_loss=self.log_loss if math.isfinite(self.log_loss) else None,
            impossible=self.impossible,
            brier=self.brier,
            bins=self.bins,
            observations=self.observations,
            non_finite=self.non_finite,
            bound=bound,
        )


def generative_classifier(
    log_p_x_given_y: Tensor, frequencies: Tensor, labels: Tensor, *, seed: int = 0
) -> Classification:
    """A conditional model as a classifier: argmax over y of log p(x | y) + log p(y).

    Args:
        log_p_x_given_y: `(N, classes)` in nats, or bounds; see `Scores.given_each_label`.
        frequencies: p(y) in the training data, `(classes,)`.
        labels: `(N,)`.
        seed: Of bootstrap and simulation.

    Raises:
        DataError: If the training data have one class only.
        UsageError: If the arguments are not as above.
    """
    return classification(log_posterior(log_p_x_given_y, frequencies), labels, seed=seed)


def classification(log_probabilities: Tensor, labels: Tensor, *, seed: int = 0) -> Classification:
    """Any classifier that gives probabilities itself, by the same figures.

    Args:
        log_probabilities: Of the classes, `(N, classes)`.
        labels: `(N,)`.
        seed: Of bootstrap and simulation.

    Raises:
        UsageError: If the arguments are not as above, or there is nothing to judge.
    """
    known = _normalised(log_probabilities, labels)
    labels = labels.cpu().long()
    broken = known.isnan().any(1)
    rows = torch.arange(len(known))
    known[broken] = -math.inf
    known[rows[broken], (labels[broken] + 1) % known.shape[1]] = 0
    p = known.exp()
    confidence, found = p.max(1)
    right = (found == labels).double()
    own = known[rows, labels]
    wanted = torch.zeros_like(p)
    wanted[rows, labels] = 1
    sure, hit = confidence.numpy(), right.numpy()
    place = np.clip(np.ceil(sure * BINS).astype(np.int64) - 1, 0, BINS - 1)
    generator = np.random.default_rng(seed)
    calibrated = np.array(
        [_ece(place, (generator.random(len(sure)) < sure) - sure) for _ in range(_DRAWS)]
    )
    again = np.empty(_DRAWS)
    for draw in range(_DRAWS):
        chosen = generator.integers(len(sure), size=len(sure))
        again[draw] = _ece(place[chosen], (hit - sure)[chosen])
    return Classification(
        accuracy=share(int(right.sum()) / len(right), len(right)),
        ece=_spread(
            _ece(place, hit - sure), again, len(right), float(np.quantile(calibrated, 0.95))
        ),
        ece_floor=float(calibrated.mean()),
        ece_floor_high=float(np.quantile(calibrated, 0.95)),
        log_loss=float(-own.mean()),
        impossible=int(own.isneginf().sum()),
        brier=float(((p - wanted) ** 2).sum(1).mean()),
        bins=_bins(place, sure, hit),
        observations=len(right),
        non_finite=int(broken.sum()),
    )


def _normalised(log_probabilities: Tensor, labels: Tensor | None = None) -> Tensor:
    """Log-probabilities as float64 on the CPU; a row that is not finite is NaN.

    Raises:
        UsageError: If they are not `(N, classes)`, or labels do not fit them.
    """
    shape = tuple(log_probabilities.shape)
    if len(shape) != 2 or not shape[0] or shape[1] < 2:
        raise UsageError(
            f"a classifier gives log-probabilities (N, classes), of two classes at least and one "
            f"observation, got {shape}"
        )
    if labels is not None and (
        tuple(labels.shape) != shape[:1]
        or labels.is_floating_point()
        or not 0 <= int(labels.min()) <= int(labels.max()) < shape[1]
    ):
        raise UsageError(
            f"{shape[0]} observations need as many labels 0 … {shape[1] - 1}, "
            f"got {labels.dtype} {tuple(labels.shape)}"
        )
    return log_probabilities.detach().cpu().double().log_softmax(1)


def _taken(known: Tensor) -> Tensor:
    """The most probable class of each row, −1 if it is not finite."""
    return torch.where(known.isnan().any(1), -1, known.argmax(1))


def _ece(place: NDArray[np.int64], excess: NDArray[np.float64]) -> float:
    """The calibration error, from each observation's bin and its rightness less its confidence."""
    return float(np.abs(np.bincount(place, excess, BINS)).sum() / len(place))


def _bins(
    place: NDArray[np.int64], sure: NDArray[np.float64], hit: NDArray[np.float64]
) -> tuple[Bin, ...]:
    counts = np.bincount(place, minlength=BINS)
    divided = np.maximum(counts, 1)
    means = (np.bincount(place, each, BINS) / divided for each in (sure, hit))
    columns = zip(counts, *means, strict=True)
    return tuple(
        Bin(observations=int(count), confidence=float(mean), accuracy=float(right))
        for count, mean, right in columns
    )


def _spread(value: float, drawn: NDArray[np.float64], count: int, chance: float) -> Figure:
    """A figure in [0, 1] with the spread of its bootstrap about it.

    Draws of a distance are larger than the distance itself, by about as much as that is larger
    than the truth: they say how far it spreads, not where it lies. What `chance` alone may come to
    does not exclude 0.
    """
    low, high = (value + np.quantile(drawn, [0.025, 0.975]) - drawn.mean()).tolist()
    if value <= chance:
        low = 0.0
    return Figure(value, count, min(value, max(0.0, low)), max(value, min(1.0, high)))
