"""The classes of samples: how many are found, and how often each comes beside the training data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import xlogy
from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.intervals import share

_DRAWS = 1000


@dataclass(frozen=True, kw_only=True)
class ClassRatio:
    """How often a class comes.

    Args:
        label: Its number.
        ratio: Its share divided by that in the training data.
    """

    label: int
    ratio: Figure


@dataclass(frozen=True, kw_only=True)
class ClassFigures:
    """Classes of samples, as a classifier takes them, beside those of the training data.

    Args:
        classes: That the training data have: modes, where each is one.
        found: Of these, those that some sample is taken for.
        among: Samples that were looked at.
        elsewhere: Of these, those that are taken for none of these classes.
        reverse_kl: KL(shares of the samples ‖ shares of the training data), in nats, over all
            samples but those elsewhere; `None` where no others are. Chance makes it larger than 0:
            by about (classes − 1) / 2 among.
        rarest: The class that comes least, for how often it comes in the training data; of several
            the first.
        commonest: The one that comes most.
    """

    classes: int
    found: int
    among: int
    elsewhere: int
    reverse_kl: Figure | None
    rarest: ClassRatio
    commonest: ClassRatio


def class_figures(taken: Tensor, shares: Tensor, *, seed: int = 0) -> ClassFigures:
    """Count the classes of samples.

    Args:
        taken: The class that each is taken for, `(N,)`; −1 for none.
        shares: Of the classes in the training data, `(classes,)`, which sum to 1.
        seed: Of the bootstrap behind the interval of the divergence.

    Raises:
        UsageError: If there is nothing to count, or a class that there is no share of.
    """
    if taken.ndim != 1 or not len(taken) or int(taken.max()) >= len(shares):
        raise UsageError(
            f"classes are counted of at least one sample, each 0 … {len(shares) - 1} or −1, got "
            f"{tuple(taken.shape)}"
        )
    counts = torch.bincount(taken + 1, minlength=len(shares) + 1)[1:].numpy()
    known = (shares > 0).nonzero()[:, 0]
    counts, p = counts[known], shares[known].double().numpy()
    among, within = len(taken), int(counts.sum())
    ratios = counts / among / p

    def ratio(place: int) -> ClassRatio:
        own, scale = share(int(counts[place]) / among, among), float(p[place])
        low, high = (None if end is None else end / scale for end in (own.low, own.high))
        return ClassRatio(
            label=int(known[place]), ratio=Figure(own.value / scale, among, low, high)
        )

    return ClassFigures(
        classes=len(p),
        found=int((counts > 0).sum()),
        among=among,
        elsewhere=among - within,
        reverse_kl=_reverse_kl(counts, p / p.sum(), seed) if within else None,
        rarest=ratio(int(ratios.argmin())),
        commonest=ratio(int(ratios.argmax())),
    )


def _reverse_kl(counts: NDArray[np.int64], p: NDArray[np.float64], seed: int) -> Figure:
    """The divergence with its spread by bootstrap, down to 0 where chance alone may come to it."""

    def kl(q: NDArray[np.float64]) -> NDArray[np.float64]:
        return xlogy(q, q / p).sum(-1)

    within, generator = int(counts.sum()), np.random.default_rng(seed)
    q = counts / within
    value = float(kl(q))
    again = kl(generator.multinomial(within, q, _DRAWS) / within)
    chance = kl(generator.multinomial(within, p, _DRAWS) / within)
    # draws lie further off than what they are drawn from: they tell the spread, and no more
    low, high = value + np.quantile(again, [0.025, 0.975]) - again.mean()
    if value <= np.quantile(chance, 0.95):
        low = 0.0
    return Figure(value, within, min(value, max(0.0, float(low))), max(value, float(high)))
