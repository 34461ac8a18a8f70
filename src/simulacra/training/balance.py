"""`Balance`: what is seen of a game whenever it is validated, by which its best step is chosen.

A game has no likelihood, and the losses of its players say how strong each is against the other,
not how good samples are. So both sides are looked at: what the opponent makes of observations that
it has not learned from and of samples, and how samples lie among observations.

Features are random, of a seed that the judge never uses: nothing is chosen by the figure that it
is judged by. Codes are the same at each look, and nothing random of the training is touched.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from simulacra.data.labels import joint_classes
from simulacra.data.splits import permutation
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.at_once import rows_at_once
from simulacra.models.game import Game
from simulacra.models.modes import evaluating, scoring
from simulacra.nn.frechet import frechet, gaussian
from simulacra.nn.levels import is_sound, seen, seen_shape, to_levels
from simulacra.nn.precision import moments
from simulacra.nn.random_convolutions import RandomConvolutions
from simulacra.training.batches import Batches

DISTANCE = "distance"
"""Of the figures, what the best step is chosen by."""
SAMPLES = 500
"""Samples at each look, at most."""

_CODES = -8  # key of a random stream that belongs to no step
_SEED = 1018
"""Of features; the judge's is another, and so are those that models learn by."""
_KNOWN = 1000
"""Training rows that features are fitted on, at most."""
_WIDEST = 32
_ROWS_A_FEATURE = 10
"""Validation rows for each feature, at least: a covariance of fewer is mostly noise."""
_EXPECTED = 10
"""Samples that a class has to be expected among, so that none is no chance: e⁻¹⁰ that it is."""
_LOT = 128


class Balance:
    """What a game is looked at by: features of data, codes, and the rows that are scored.

    Features are answers of random convolutions, of vectors their standardised values and waves of
    them, along the principal axes of training rows. They are scaled as one, so that the variances
    of training rows sum to 1: a generator that always draws their mean is at a distance of 1.

    Args:
        model: On the engine's device.
        train: What it learns from.
        validation: What its best step is chosen by.
        seed: Of the codes.
    """

    def __init__(self, model: Game, train: Batches, validation: Batches, seed: int) -> None:
        self.train, self.validation, self.seed = train, validation, seed
        self.spec = spec = model.spec
        self._known = permutation(train.count)[:_KNOWN]
        self._at_once: int | None = None
        x = train.rows(self._known)[0]
        self._network = _network(spec, x).to(x.device)
        self._shift, self._matrix = torch.zeros(1), torch.eye(1)
        with scoring():
            raw = self._raw(x)
            width = min(_WIDEST, validation.count // _ROWS_A_FEATURE)
            self._shift, self._matrix = _projection(raw, max(1, width), scaled=not _flat(spec))
            known = self._placed(raw)
            self._real = gaussian(
                self._features(validation.rows(torch.arange(validation.count))[0])
            )
        self._spread = float(self._real[1].trace())
        self._means, self._shares = _classes(known, train, spec, self._known)

    @torch.no_grad()
    def measure(self, model: Game, limit: int) -> dict[str, float]:
        """What there is to see of a game now.

        Args:
            model: The one that is kept, whose opponent is the one that learns.
            limit: Samples to look at, at most.

        Returns:
            `distance`, infinite where a sample is no number, and then nothing else; `diversity`,
            the spread of samples over that of data; `classes`, which share of the classes that are
            often enough in the data is found among samples; `real`, `fake` and `known`, the shares
            of held-out observations, samples and training observations that the opponent takes for
            what they are; `wasserstein`, where its scores estimate that. Where nothing says which
            score is undecided, it is midway between the means of held-out ones and samples.
        """
        count = min(SAMPLES, limit)
        with evaluating(model), scoring():
            if self._at_once is None:
                self._at_once = rows_at_once(partial(self._drawn, model), min(_LOT, count))
            drawn = self._drawn(model, count)
            if drawn is None:
                return {DISTANCE: math.inf}
            features, fake = drawn
            held = torch.arange(min(count, self.validation.count))
            real = self._scores(model, self.validation, held)
            known = self._scores(model, self.train, self._known[: len(held)])
        if not bool(features.isfinite().all()):
            return {DISTANCE: math.inf}
        mean, covariance = gaussian(features) if count > 1 else (features[0], self._real[1] * 0)
        found = {DISTANCE: frechet(mean, covariance, *self._real)}
        if self._spread > 0:
            found["diversity"] = math.sqrt(float(covariance.trace()) / self._spread)
        found |= self._found_classes(features)
        scores = torch.cat([real, fake, known])
        if bool(scores.isfinite().all()):
            middle = model.undecided
            if middle is None:
                middle = float(real.mean() + fake.mean()) / 2
            found |= {
                "real": _share(real > middle),
                "fake": _share(fake <= middle),
                "known": _share(known > middle),
            }
            if model.estimates_distance:
                found["wasserstein"] = float(real.mean() - fake.mean())
        return found

    def _drawn(self, model: Game, count: int) -> tuple[Tensor, Tensor] | None:
        """Features and scores of samples from fixed codes; nothing where one is no number."""
        rows = torch.arange(count) % self.validation.count
        context = self.validation.rows(rows)[1]
        with seeded(self.seed, _CODES):
            codes = model.prior(count, context)
        features, scores = [], []
        for lot in torch.arange(count).split(self._at_once or count):
            told = None if context is None else context[lot]
            values = model.generate(codes[lot.to(codes.device)], told)
            if not bool(values.isfinite().all()):
                return None
            x = to_levels(values, self.spec.levels)
            features.append(self._features(x))
            scores.append(model.scores(x, told).double().cpu())
        return torch.cat(features), torch.cat(scores)

    def _scores(self, model: Game, split: Batches, rows: Tensor) -> Tensor:
        """What the opponent says of observations."""
        lots = rows.split(self._at_once or len(rows))
        return torch.cat([model.scores(*split.rows(lot)).double().cpu() for lot in lots])

    def _found_classes(self, features: Tensor) -> dict[str, float]:
        """The share that is found of the classes that are expected to be."""
        expected = self._shares * len(features) >= _EXPECTED
        if not bool(expected.any()):
            return {}
        there = torch.zeros(len(expected), dtype=torch.bool)
        there[torch.cdist(features, self._means).argmin(1)] = True
        return {"classes": _share(there[expected])}

    # ---- features ------------------------------------------------------------------------------

    def _features(self, x: Tensor) -> Tensor:
        """Observations as features `(N, width)` float64 on the CPU."""
        return self._placed(self._raw(x))

    def _placed(self, raw: Tensor) -> Tensor:
        return (raw - self._shift) @ self._matrix

    def _raw(self, x: Tensor) -> Tensor:
        parts = [self._network(seen(self.spec, lot)) for lot in x.split(self._at_once or _LOT)]
        return torch.cat(parts).cpu().double()


class Waves(nn.Module):
    """Standardised values of vectors, and cosines of random directions through them.

    The cosines are of several wavelengths, so that what lies between clusters is seen, and not only
    mean and spread (Rahimi and Recht 2007, "Random Features for Large-Scale Kernel Machines").

    Args:
        x: Training vectors `(N, D)`, whose moments it takes.
    """

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.shift, self.scale = moments(x.cpu())
        generator = torch.Generator().manual_seed(_SEED)
        sizes = torch.tensor(_SIZES).repeat_interleave(_WAVES) / x.shape[1] ** 0.5
        shape = (x.shape[1], len(sizes))
        self.directions = torch.randn(shape, generator=generator).double() * sizes
        self.phases = torch.rand(len(sizes), generator=generator).double() * 2 * math.pi

    def forward(self, x: Tensor) -> Tensor:
        """Features `(N, D + waves)` of vectors `(N, D)`, on the CPU in float64."""
        z = (x.cpu().double() - self.shift) / self.scale
        return torch.cat([z, (z @ self.directions + self.phases).cos()], 1)


_SIZES = (1.0, 2.0, 4.0, 8.0)
"""Deviations of a cosine's argument, of values that do not depend on one another."""
_WAVES = 16
"""Cosines of each."""


def _flat(spec: DataSpec) -> bool:
    """Whether observations have no places that a convolution could go over."""
    return not (spec.is_image or is_sound(spec))


def _network(spec: DataSpec, x: Tensor) -> nn.Module:
    """What makes raw features of observations as they are seen."""
    if _flat(spec):
        return Waves(seen(spec, x))
    channels, *sides = seen_shape(spec)
    return RandomConvolutions(channels, len(sides), seed=_SEED)


def _projection(raw: Tensor, width: int, *, scaled: bool) -> tuple[Tensor, Tensor]:
    """Shift, and matrix from raw features to at most so many.

    Those of convolutions are divided by their deviation, so that none rules by its unit, but by
    no less than a tenth of their root mean square, so that none rules that hardly varies.
    """
    mean, scale = raw.mean(0), torch.ones(raw.shape[1], dtype=torch.float64)
    spread = raw.std(0, unbiased=False)
    least = float(spread.square().mean().sqrt()) / 10
    if scaled and least > 0:
        scale = spread.clamp(min=least)
    centred = (raw - mean) / scale
    axes = torch.linalg.eigh(centred.T @ centred)[1].flip(1)[:, :width]
    matrix = axes / scale[:, None]
    total = float(((raw - mean) @ matrix).var(0, unbiased=False).sum())
    return mean, matrix / total**0.5 if total > 0 else matrix


def _classes(known: Tensor, train: Batches, spec: DataSpec, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The mean features of each class, and which share of rows lies nearest to it.

    Args:
        known: Features of training rows.
        train: That they are of.
        spec: Of the data.
        rows: Which they are.
    """
    classes = joint_classes(train.observations, spec)
    none = torch.zeros(0, dtype=torch.float64)
    if classes is None:
        return none, none
    told = classes[rows]
    there = [label for label in told.unique() if label >= 0]
    if len(there) < 2:
        return none, none
    means = torch.stack([known[told == label].mean(0) for label in there])
    nearest = torch.cdist(known, means).argmin(1)
    return means, nearest.bincount(minlength=len(there)).double() / len(known)


def _share(flags: Tensor) -> float:
    return float(flags.double().mean())
