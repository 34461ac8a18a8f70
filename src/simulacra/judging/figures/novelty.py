"""Whether samples are new: how near they come to the training set, beside held-out data.

Every figure but the exact duplicates compares samples with held-out observations, row for row in
the same feature space; all of them look at the distance to the nearest training row. What they
cannot see: a copy that the features do not recognise (shifted, mirrored, recoloured). Where cells
of `c_t` disagree, copying here and underfitting there, its sum may cancel; `suspects` does not.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from simulacra.data.stored import Rows
from simulacra.ground.errors import DataError, UsageError
from simulacra.ground.randomness import keys_of
from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.intervals import share

FEWEST = 20
"""Rows that each of the three sets needs, and held-out rows and samples that a cell needs."""
PER_CELL = 50
"""Held-out rows and samples for which there is one more cell."""
MOST_CELLS = 64
RARE = 0.01
"""Share of held-out rows that are as near as a suspect."""
AROUND = 5
"""Which neighbour of a training row says how densely the training set lies around it."""
ROUNDING = 1e-6
"""Distances below this share of a training row's usual size are 0.

Features of equal observations may differ in their last digits, by the batch that they came in.
"""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Suspect:
    """A sample beside the training row that it may be a copy of.

    Args:
        sample: Its row among the samples.
        train: The row of the nearest training observation.
        distance: Between the two, Euclidean.
        ratio: The distance in units of the spacing around that training row, which is its
            distance to its fifth nearest other training row; infinite where that is 0.
        share: Share of held-out rows whose ratio is at most this one; 0 if none comes as near.
    """

    sample: int
    train: int
    distance: float
    ratio: float
    share: float


@dataclass(frozen=True)
class _Nearest:
    """Row for row of some points, the nearest training row."""

    index: Integers
    distance: Floats
    other: Floats  # from the nearest training row to its own nearest other
    ratio: Floats


def novelty(
    train: Tensor, held_out: Tensor, samples: Tensor, *, seed: int = 0
) -> dict[str, Figure]:
    """Figures of nearness to the training data, each beside what held-out data itself gets.

    All of them take draws that are sharper than the data, as those of a low temperature are, for
    near ones too: `membership` tells these from copies.

    `c_t`: the three-sample test of Meehan, Chaudhuri and Dasgupta 2020 (arXiv 2004.05675), a
    standard normal number where samples are as near to the training set as held-out data; far
    below 0 is copying, far above 0 underfitting. In each cell of a k-means partition of the
    training set the Mann–Whitney U of both sets' distances becomes a Z, with ties counted by
    halves and a variance corrected for them; cells are weighted by the held-out rows in them.
    There is a cell for every 50 of the smaller set, at most 64; those with fewer than 20 held-out
    rows or samples are left out, and if none is left the whole space is one cell. `count` is the
    samples in the cells that are looked at. It is its own error bar: no interval.
    Departs from the paper: the weighted mean is divided by its standard deviation under the null
    hypothesis, which otherwise shrinks with the number of cells; distances are to the nearest of
    all training rows, where the authors' code looks at those in the cell.

    `authentic`: authenticity (Alaa, van Breugel, Saveliev and van der Schaar 2022, arXiv
    2102.08921), the share of samples that are no nearer to their nearest training row than that
    row's nearest other training row is; a sample at distance 0 is never authentic. Held-out data
    does not get 1: about half in few dimensions, more in many.

    `nearer`: share of pairs of a sample and a held-out row in which the sample is the one nearer
    to the training set, ties as halves: ½ for held-out data. Its interval is Wilson's, with the
    count at which a share has the variance of DeLong, DeLong and Clarke-Pearson (1988).

    `suspects`: share of samples nearer to the training set than 99 % of held-out data, the
    distance in units of the spacing around the nearest training row (see `Suspect`), so that
    copies show in sparse regions too. 1 % is expected, whatever the
    counts and ties: a sample that ties with held-out rows counts by its expected share over the
    orders that the tie may have. Its interval is Wilson's at the count nm / (n + m), because the
    bound is estimated from n held-out rows. Left out with fewer than 99 held-out rows, among
    which there is no such bound.

    Args:
        train: Features of the training observations, floats `(N, width)`.
        held_out: Of real observations that no model was trained on, `(n, width)`.
        samples: Of the model's samples, `(m, width)`.
        seed: Of the partition.

    Returns:
        `c_t`, `authentic`, `nearer` and `suspects`.

    Raises:
        UsageError: If a set has fewer than 20 rows, or widths differ.
        DataError: If a feature is not finite.
    """
    space, held, drawn = prepared(train, held_out, samples)
    of_held, of_drawn = _nearest(space, held), _nearest(space, drawn)
    copied = (of_drawn.distance < of_drawn.other) | (of_drawn.distance == 0)
    figures = {
        "c_t": _c_t(space, (held, of_held.distance), (drawn, of_drawn.distance), seed),
        "authentic": share(float((~copied).mean()), len(drawn)),
        "nearer": _nearer(of_held.distance, of_drawn.distance),
    }
    if RARE * (len(held) + 1) >= 1:
        count = len(held) * len(drawn) / (len(held) + len(drawn))
        rare = float(_rarely_so_near(of_held.ratio, of_drawn.ratio).mean())
        figures["suspects"] = share(rare, len(drawn), count)
    return figures


def suspicious(train: Tensor, held_out: Tensor, samples: Tensor, most: int = 12) -> list[Suspect]:
    """The samples that are likeliest copies, the likeliest first.

    They are those nearest to the training set in units of the spacing there. Any set of samples
    has some: look at their `share`, and at the pictures.

    Args:
        train: As in `novelty`.
        held_out: As in `novelty`.
        samples: As in `novelty`.
        most: How many at most.

    Raises:
        UsageError: As in `novelty`, or if `most` is not positive.
        DataError: If a feature is not finite.
    """
    if most < 1:
        raise UsageError(f"a page of suspects needs at least one, got most={most}")
    space, held, drawn = prepared(train, held_out, samples)
    nearest, ratios = _nearest(space, drawn), np.sort(_nearest(space, held).ratio)
    shares = np.searchsorted(ratios, nearest.ratio, side="right") / len(ratios)
    return [
        Suspect(
            sample=int(row),
            train=int(nearest.index[row]),
            distance=float(nearest.distance[row]),
            ratio=float(nearest.ratio[row]),
            share=float(shares[row]),
        )
        for row in np.lexsort((nearest.distance, nearest.ratio))[:most]
    ]


def duplicates(train: Rows, samples: Tensor, *more: Rows) -> dict[str, Figure]:
    """Exact copies among samples: of training observations, and of one another.

    `repeats` has no interval: it grows with the number of samples, as birthdays do. Of tiny or
    binarised data, held-out observations too may equal training ones.

    Args:
        train: Raw levels or floats `(N, *event_shape)`; −0.0 equals 0.0.
        samples: As many values each, and the same kind of number.
        more: Other observations that count as training ones here.

    Returns:
        `duplicates`, the share of samples equal to a training observation, and `repeats`, the
        share equal to an earlier sample.

    Raises:
        UsageError: If a set is empty, or shapes or kinds of number differ.
        DataError: If a value is not finite.
    """
    if not len(train) or not len(samples):
        raise UsageError(f"duplicates need rows, got {len(train)} and {len(samples)}")
    if train.shape[1:] != samples.shape[1:]:
        raise UsageError(
            f"training observations are {tuple(train.shape[1:])}, samples are "
            f"{tuple(samples.shape[1:])}: compare them in one form"
        )
    if train.dtype.is_floating_point != samples.dtype.is_floating_point:
        raise UsageError(
            f"training observations are {train.dtype}, samples {samples.dtype}: give both as raw "
            "levels, or both as floats"
        )
    known, keys = np.concatenate([_keys(x) for x in (train, *more)]), _keys(samples)
    equal = np.isin(keys, known)
    repeats = 1 - len(np.unique(keys)) / len(keys)
    return {
        "duplicates": share(float(equal.mean()), len(keys)),
        "repeats": Figure(repeats, len(keys)),
    }


def _keys(x: Rows) -> Integers:
    """A 64-bit hash of each row, in blocks: a hash needs 8 bytes a value."""
    keys = []
    for block in x.split(1024) if len(x) else ():
        if not bool(block.isfinite().all()):
            raise DataError("observations to be compared are not finite (NaN or infinite)")
        keys.append(keys_of(block.flatten(1)).cpu().numpy())
    return np.concatenate(keys) if keys else np.zeros(0, np.int64)


def prepared(train: Tensor, held_out: Tensor, samples: Tensor) -> tuple[Floats, Floats, Floats]:
    """The three sets as float64 around the training median, which keeps distances accurate."""
    sets = {"training set": train, "held-out set": held_out, "samples": samples}
    for name, x in sets.items():
        if x.dim() != 2 or x.shape[1] != train.shape[1] or not x.shape[1]:
            raise UsageError(
                f"novelty compares features (N, width) of one width, got {tuple(x.shape)} "
                f"for the {name}, {tuple(train.shape)} for the training set"
            )
        if len(x) < FEWEST:
            raise UsageError(
                f"novelty needs at least {FEWEST} rows of each set, got {len(x)} for the {name}"
            )
        if not bool(x.isfinite().all()):
            raise DataError(f"features of the {name} are not finite (NaN or infinite)")
    known, held, drawn = (x.cpu().double() for x in sets.values())
    centre = known.median(0).values  # one wild row would carry off the mean
    return (known - centre).numpy(), (held - centre).numpy(), (drawn - centre).numpy()


def _nearest(train: Floats, points: Floats) -> _Nearest:
    # the second neighbour is asked for as well, since the search is exact only to rounding
    near, distances = neighbours(train, points, 2)
    index, distance = near[:, 0], distances[:, 0]
    rows, back = np.unique(index, return_inverse=True)
    # column 0 is the row itself, or a duplicate of it at the same distance 0
    spacings = neighbours(train, train[rows], AROUND + 1)[1][back]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(distance == 0, 0.0, distance / spacings[:, AROUND])
    return _Nearest(index, distance, spacings[:, 1], ratio)


def neighbours(train: Floats, points: Floats, count: int) -> tuple[Integers, Floats]:
    """The nearest training rows, nearest first; their distances from differences, not products.

    Products of vectors, as the search uses them, lose the small distances of copies.
    """
    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(train)
    near = search.kneighbors(points, return_distance=False)
    distances = np.stack([np.linalg.norm(points - train[column], axis=1) for column in near.T], 1)
    distances[distances < ROUNDING * np.median(np.linalg.norm(train, axis=1))] = 0.0
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(near, order, 1), np.take_along_axis(distances, order, 1)


def _c_t(
    train: Floats, held: tuple[Floats, Floats], drawn: tuple[Floats, Floats], seed: int
) -> Figure:
    """The test, from points and their distances."""
    (held_x, held_distances), (drawn_x, drawn_distances) = held, drawn
    many = min(len(held_x), len(drawn_x)) // PER_CELL
    cells = max(1, min(many, MOST_CELLS, len(train)))
    with warnings.catch_warnings():
        # fewer distinct rows than cells leave some cells empty, which does no harm
        warnings.simplefilter("ignore", ConvergenceWarning)
        # any partition will do that knows the training set alone: it need not converge
        partition = KMeans(cells, n_init=1, max_iter=30, random_state=seed).fit(train)
    of_held, of_drawn = partition.predict(held_x), partition.predict(drawn_x)
    weights, scores, count = [], [], 0
    for cell in range(cells):
        a, b = held_distances[of_held == cell], drawn_distances[of_drawn == cell]
        if min(len(a), len(b)) >= FEWEST:
            weights.append(len(a))
            scores.append(_mann_whitney(a, b))
            count += len(b)
    if not weights:
        return Figure(_mann_whitney(held_distances, drawn_distances), len(drawn_x))
    return Figure(float(np.dot(weights, scores) / np.linalg.norm(weights)), count)


def _mann_whitney(a: Floats, b: Floats) -> float:
    """Z of Mann and Whitney's U, above 0 where `b` is larger; 0 where all are equal."""
    n, m = len(a), len(b)
    ranks = rankdata(np.concatenate([a, b]))
    u = ranks[n:].sum() - m * (m + 1) / 2
    ties = np.unique(ranks, return_counts=True)[1].astype(np.float64)
    total = n + m
    variance = n * m / 12 * (total + 1 - (ties**3 - ties).sum() / (total * (total - 1)))
    return float((u - n * m / 2) / math.sqrt(variance)) if variance > 0 else 0.0


def _nearer(held: Floats, drawn: Floats) -> Figure:
    """Share of pairs in which the drawn one is nearer, ties as halves."""
    n, m = len(held), len(drawn)
    ranks = rankdata(np.concatenate([held, drawn]))
    # for each row, the share of the other set that it loses to (held) or wins over (drawn)
    lost = (ranks[:n] - rankdata(held)) / m
    won = 1 - (ranks[n:] - rankdata(drawn)) / n
    value = float(np.clip(won.mean(), 0, 1))
    variance = float(lost.var(ddof=1) / n + won.var(ddof=1) / m)
    # at most what two equal distributions give: near 0 and 1 the estimate of the variance is 0
    count = 3.0 * n * m / (n + m)
    if variance > 0:
        count = min(count, value * (1 - value) / variance)
    return share(value, m, count)


def _rarely_so_near(held: Floats, drawn: Floats) -> Floats:
    """How far each drawn value is among the 1 % smallest, 0 … 1; its mean is 1 % for equal sets.

    A fresh value is equally likely to fall into each of the n + 1 gaps of n held-out values, of
    which the first 0.01 (n + 1) are rare; one that ties with t of them may be in any of t + 1.
    """
    ordered, rare = np.sort(held), RARE * (len(held) + 1)
    first = np.searchsorted(ordered, drawn, side="left")
    last = np.searchsorted(ordered, drawn, side="right") + 1
    return (np.minimum(last, rare) - np.minimum(first, rare)) / (last - first)
