"""Ladders: a true distribution and deliberately worse ones, all of known density."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    Normal,
)

from simulacra.data.dataset import Dataset
from simulacra.data.sets.known_pictures import PixelMixture, mixture, table
from simulacra.ground.randomness import seeded

TEMPERATURES = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3)
DROPPED = range(10)
NOISE = (0.0, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4)
COPIED = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
WIDENED = (0.0, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8)
STORED = 1000
"""Training observations that a copying model knows by heart."""
_NEAR = 0.01
"""Standard deviation of the noise on copies of vectors, which would have no density without."""


@dataclass(frozen=True)
class Ladder:
    """Distributions that leave the truth more and more.

    Args:
        name: How they leave it.
        rungs: What was done, in words, and the distribution.
    """

    name: str
    rungs: tuple[tuple[str, Distribution], ...]


class Stored(Distribution):
    """Draws one of the stored observations, each as likely as it is often.

    Args:
        x: Levels `(N, *event_shape)`.
    """

    arg_constraints = {}  # noqa: RUF012 (torch's own declaration)

    def __init__(self, x: Tensor) -> None:
        self.x = x.long()
        self.counts = Counter(self._keys(self.x))
        super().__init__(event_shape=x.shape[1:], validate_args=False)

    @staticmethod
    def _keys(x: Tensor) -> list[bytes]:
        return [row.tobytes() for row in x.flatten(1).long().numpy()]

    def log_prob(self, value: Tensor) -> Tensor:
        """log of how often it is stored, −∞ for what is not, `(N,)` float64."""
        shares = [self.counts[key] / len(self.x) for key in self._keys(value)]
        return torch.tensor(shares, dtype=torch.float64).log()

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws `(n, *event_shape)`."""
        return self.x[torch.randint(len(self.x), tuple(sample_shape))]


class Blend(Distribution):
    """With probability `share` the second distribution, else the first.

    Args:
        first: Its samples and log-probabilities are those of any distribution.
        second: The same.
        share: In [0, 1].
    """

    arg_constraints = {}  # noqa: RUF012 (torch's own declaration)

    def __init__(self, first: Distribution, second: Distribution, share: float) -> None:
        self.first, self.second, self.share = first, second, share
        super().__init__(event_shape=first.event_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """The density of the two together, `(N,)`."""
        first, second = self.first.log_prob(value), self.second.log_prob(value)
        keep = math.log1p(-self.share) if self.share < 1 else -math.inf
        take = math.log(self.share) if self.share > 0 else -math.inf
        return torch.logaddexp(keep + first.double(), take + second.double())

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws `(n, *event_shape)`."""
        (n,) = sample_shape
        first, second = self.first.sample(torch.Size([n])), self.second.sample(torch.Size([n]))
        chosen = torch.rand(n) < self.share
        return torch.where(chosen.view(n, *[1] * len(self.event_shape)), second, first)


def gaussians(centres: Tensor, scales: Tensor, weights: Tensor) -> Distribution:
    """A mixture of round Gaussians at `(K, D)`, standard deviations and weights `(K,)`."""
    spread = scales.double()[:, None].expand_as(centres)
    parts = Independent(Normal(centres.double(), spread), 1)
    return MixtureSameFamily(Categorical(weights.double()), parts, validate_args=False)


def ladders(data: Dataset) -> list[Ladder]:
    """The ladders of `mixture-8x8`, `table-8x8` or `ring-8`.

    Args:
        data: One of the three, whose training observations are what is copied.

    Raises:
        KeyError: If it is another.
    """
    return {"mixture-8x8": _of_mixture, "table-8x8": _of_table, "ring-8": _of_ring}[data.name](data)


def _of_mixture(data: Dataset) -> list[Ladder]:
    truth = mixture()
    weights, levels = truth.log_weights.exp(), truth.log_levels.exp().unflatten(1, (8, 8))

    def noisy(share: float) -> Distribution:
        return PixelMixture(weights, ((1 - share) * levels + share / truth.levels).log())

    def without(count: int) -> Distribution:
        # the rarest first: a lazy model loses those
        kept = len(weights) - count
        return PixelMixture(weights[:kept] / weights[:kept].sum(), levels[:kept].log())

    return [
        Ladder("temperature", tuple((f"T = {t}", mixture(t)) for t in TEMPERATURES)),
        Ladder("modes dropped", tuple((f"{n} of 10", without(n)) for n in DROPPED)),
        Ladder("noise", tuple((f"{s:.0%} of pixels", noisy(s)) for s in NOISE)),
        _copies(truth, Stored(data.train.x[:STORED])),
    ]


def _of_table(data: Dataset) -> list[Ladder]:
    return [
        Ladder("temperature", tuple((f"T = {t}", table(t)) for t in TEMPERATURES)),
        _copies(table(), Stored(data.train.x[:STORED])),
    ]


def _of_ring(data: Dataset) -> list[Ladder]:
    angles = torch.arange(8).double() * (math.pi / 4)
    centres, even = 2 * torch.stack([angles.cos(), angles.sin()], 1), torch.full((8,), 1 / 8)

    def ring(count: int = 8, scale: float = 0.2) -> Distribution:
        return gaussians(centres[:count], torch.full((count,), scale), even[:count])

    known = data.train.x[:STORED]
    stored = gaussians(known, torch.full((len(known),), _NEAR), torch.ones(len(known)))
    return [
        # the density raised to 1 / T, as long as the modes keep apart
        Ladder("temperature", tuple((f"T = {t}", ring(scale=0.2 * t**0.5)) for t in TEMPERATURES)),
        Ladder("modes dropped", tuple((f"{n} of 8", ring(8 - n)) for n in DROPPED if n < 8)),
        Ladder("noise", tuple((f"sd {s}", ring(scale=math.hypot(0.2, s))) for s in WIDENED)),
        _copies(ring(), stored),
    ]


def _copies(truth: Distribution, stored: Distribution) -> Ladder:
    return Ladder(
        "copies", tuple((f"{share:.0%} copied", Blend(truth, stored, share)) for share in COPIED)
    )


def jensen_shannon(
    p: Distribution, q: Distribution, *, draws: int = 20_000, seed: int = 0
) -> float:
    """Jensen–Shannon divergence in nats, 0 … log 2, by draws from both.

    Finite where one has modes that the other lacks, and even between a density and its copies.

    Args:
        p: Any distribution with samples and log-probabilities.
        q: Another over the same space.
        draws: From each.
        seed: Of the draws.
    """

    def half(a: Distribution, b: Distribution) -> float:
        x = a.sample(torch.Size([draws]))
        own, other = a.log_prob(x).double(), b.log_prob(x).double()
        return float((own - torch.logaddexp(own, other) + math.log(2)).mean())

    with seeded(seed):
        return (half(p, q) + half(q, p)) / 2
