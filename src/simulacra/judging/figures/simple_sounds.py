"""Simple predictors of sounds, and a coder: what a model of them has to be better than."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.formats.soundfiles import flac
from simulacra.data.splits import permutation
from simulacra.ground.spec import DataSpec
from simulacra.judging.figures.likelihood import Score

FITTED, MEASURED = 10_000_000, 2_000_000
"""Valid samples that predictors are fitted to and measured on, at most: of more windows, those that
come first in a fixed permutation."""
_MOST = 256
"""Levels that tables tell apart; of more, they tell groups, and a histogram what is within one."""
_SLOPES = 33
"""Steps that a slope is told in, finer for small ones."""
_TRUST = 64
"""Samples that a row of a table needs to count as much as what it falls back to."""
_ROWS = 256

_Levels = NDArray[np.int32]
_Shares = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PredictorFigures:
    """What valid samples cost by one simple predictor, or by a coder.

    Args:
        name: In words.
        bits_per_dim: Bits for each valid sample of the test split.
        standard_error: Of `bits_per_dim`, over recordings; `None` of what codes all in one.
        observations: Test windows that were measured.
        samples: Their valid samples.
        fitted: Valid training samples that it was fitted to; 0 of a coder.
    """

    name: str
    bits_per_dim: float
    standard_error: float | None = None
    observations: int
    samples: int
    fitted: int = 0


def simple_predictors(data: Dataset) -> tuple[PredictorFigures, ...]:
    """A histogram, two tables and FLAC, in bits per valid sample of the test split.

    Each predictor is fitted to training windows alone. It is asked about valid samples, and does
    not pay for padding as models do, which is in its favour; before a window is silence.

    - `histogram`: how often each level comes.
    - `Markov table`: a level given the one before.
    - `prediction and slope`: a level given the linear prediction of its amplitude from the two
      before, by least squares, as a level, and the difference of these two as levels.
    - `FLAC`: the size of the levels as samples of 8 bits, or of 16 if there are more than 256, all
      recordings one after another.

    A row of a table counts for n / (n + 64) where it was seen n times; for the rest the Markov
    table falls back to the histogram, and the other to a table given the prediction alone.

    Args:
        data: Sounds.
    """
    train, test = _chosen(data.train, FITTED), _chosen(data.test, MEASURED)
    tables = _Tables(data.spec, train)
    nats: dict[str, list[float]] = {name: [] for name in _Tables.NAMES}
    levels = []
    for window in _windows(test):
        levels.append(window)
        for name, one in tables.nats(window).items():
            nats[name].append(one)
    samples, fitted = sum(map(len, levels)), sum(map(len, _windows(train)))
    found = []
    for name, own in nats.items():
        figures = Score.of(
            -torch.tensor(own, dtype=torch.float64),
            torch.arange(len(test)),
            exact=True,
            dims=data.spec.dims,
            levels=data.spec.levels,
            valid=torch.tensor([len(window) for window in levels]),
            groups=test.groups,
        ).figures()
        assert figures.bits_per_dim is not None  # they are levels
        found.append(
            PredictorFigures(
                name=name,
                bits_per_dim=figures.bits_per_dim,
                standard_error=figures.standard_error,
                observations=len(test),
                samples=samples,
                fitted=fitted,
            )
        )
    assert data.spec.levels is not None
    if data.spec.levels <= 1 << 16:
        size = 8 * len(flac(np.concatenate(levels), data.spec.levels))
        found.append(
            PredictorFigures(
                name="FLAC", bits_per_dim=size / samples, observations=len(test), samples=samples
            )
        )
    return tuple(found)


def _chosen(split: Observations, most: int) -> Observations:
    """As many windows as have so many valid samples."""
    lengths = split.lengths
    if lengths is None:
        lengths = torch.full((len(split),), split.x.shape[1])
    order = permutation(len(split))
    count = max(1, int((lengths[order].cumsum(0) <= most).sum()))
    return split if count == len(split) else split.take(order[:count])


def _windows(split: Observations) -> Iterator[_Levels]:
    """The valid levels of each window."""
    lengths = None if split.lengths is None else split.lengths.tolist()
    for start in range(0, len(split), _ROWS):
        rows = torch.arange(start, min(start + _ROWS, len(split)))
        for at, window in enumerate(split.batch(rows)[0].int().numpy(), start):
            yield window[: None if lengths is None else lengths[at]]


class _Tables:
    """Counts of training windows, and what they say of others."""

    NAMES = ("histogram", "Markov table", "prediction and slope")

    def __init__(self, spec: DataSpec, train: Observations) -> None:
        assert spec.levels is not None
        self.levels, self.told = spec.levels, min(spec.levels, _MOST)
        self.amplitudes = spec.to_float(torch.arange(spec.levels)).double().numpy()
        self.between = (self.amplitudes[1:] + self.amplitudes[:-1]) / 2
        self.weights = self._least_squares(train)
        told = self.told
        every = np.zeros(self.levels)
        markov, alone = np.zeros(told * told), np.zeros(told * told)
        whole = np.zeros(told * _SLOPES * told)
        for lot in _lots(train):
            now, before, predicted, slope = self._places(lot)
            every += np.bincount(np.concatenate(lot), minlength=self.levels)
            markov += np.bincount(before * told + now, minlength=len(markov))
            alone += np.bincount(predicted * told + now, minlength=len(alone))
            joint = predicted * _SLOPES + slope
            whole += np.bincount(joint * told + now, minlength=len(whole))
        every = (every + 0.5) / (every + 0.5).sum()
        groups = self._group(np.arange(self.levels))
        histogram: _Shares = np.bincount(groups, every).astype(np.float64)
        self.log_within = np.log(every / histogram[groups])
        self.histogram = np.log(histogram)
        self.markov = np.log(_smoothed(markov.reshape(told, told), histogram))
        given = _smoothed(alone.reshape(told, told), histogram)
        whole = _smoothed(whole.reshape(told, _SLOPES, told), given[:, None])
        self.whole = np.log(whole)

    def nats(self, window: _Levels) -> dict[str, float]:
        """What the valid levels of a window cost by each of `NAMES`."""
        now, before, predicted, slope = self._places([window])
        within = self.log_within[window].sum()
        each = (self.histogram[now], self.markov[before, now], self.whole[predicted, slope, now])
        return {name: -float(own.sum() + within)
                for name, own in zip(self.NAMES, each, strict=True)}  # fmt: skip

    def _group(self, levels: NDArray[np.integer]) -> NDArray[np.int64]:
        return levels.astype(np.int64) * self.told // self.levels

    def _places(self, lot: list[_Levels]) -> tuple[NDArray[np.int64], ...]:
        """Itself, the one before, its prediction and the slope, as tables have them, of each."""
        now, (first, second) = np.concatenate(lot), self._before(lot)
        guess = self.amplitudes[np.stack([first, second], 1)] @ self.weights
        predicted = np.searchsorted(self.between, guess)
        step = (first - second) * (self.told / self.levels)
        fine = np.sign(step) * np.log2(1 + np.abs(step)) / np.log2(1 + self.told)
        slope = np.round((1 + fine) / 2 * (_SLOPES - 1)).astype(np.int64)
        return self._group(now), self._group(first), self._group(predicted), slope

    def _before(self, lot: list[_Levels]) -> tuple[_Levels, _Levels]:
        """The levels one and two samples before each, silence before a window begins."""
        silence = np.full(2, self.levels // 2, np.int32)
        padded = [np.concatenate([silence, window]) for window in lot]
        return (np.concatenate([window[1:-1] for window in padded]),
                np.concatenate([window[:-2] for window in padded]))  # fmt: skip

    def _least_squares(self, train: Observations) -> _Shares:
        """Weights of the two amplitudes before, for the next."""
        products, targets = np.zeros((2, 2)), np.zeros(2)
        for lot in _lots(train):
            seen = self.amplitudes[np.stack(self._before(lot), 1)]
            products += seen.T @ seen
            targets += seen.T @ self.amplitudes[np.concatenate(lot)]
        # of what never varies there is no one answer, and the least will do
        weights: _Shares = np.linalg.lstsq(products, targets, rcond=None)[0].astype(np.float64)
        return weights


def _lots(split: Observations) -> Iterator[list[_Levels]]:
    """Windows, so many at once that their samples are worth a call."""
    lot: list[_Levels] = []
    for window in _windows(split):
        lot.append(window)
        if sum(map(len, lot)) >= 1 << 19:
            yield lot
            lot = []
    if lot:
        yield lot


def _smoothed(counts: _Shares, fallback: _Shares) -> _Shares:
    """Shares of the last axis, each row as far as it was seen, else what it falls back to."""
    seen: _Shares = counts.sum(-1, keepdims=True, dtype=np.float64)
    return np.asarray((counts + _TRUST * fallback) / (seen + _TRUST), np.float64)
