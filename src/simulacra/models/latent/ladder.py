"""`Ladder`: a code of several levels, the network up to them and the one down from them.

A deterministic way up sees x. The way down, from one level to the next, is shared by the generator
and by the posterior, which puts together what comes from above and what comes from x (arXiv
1602.02282, section 2.2).

A unit of the code is told in deviations of its prior, so that the prior of a whole code is standard
normal: where p(z | above) = N(μ, σ²), a unit u stands for z = μ + σ u. A posterior whose location
and deviation are told relative to those, q(z | above, x) = N(μ + σ Δμ, (σ Δσ)²) (the residual
parametrisation, arXiv 2007.03898, section 3.2), is N(Δμ, Δσ²) of u.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from simulacra.ground.spec import DataSpec
from simulacra.models.latent.networks import LARGE, Residual, patched, patches
from simulacra.models.latent.posteriors import Diagonal, Posterior
from simulacra.nn.mlp import mlp
from simulacra.nn.precision import at_least_float32

Place = Callable[[int, Tensor | None], Tensor]
"""The units `(N, …)` of a level, by its number and the features from above; the first has none."""


class Level(nn.Module):
    """A map of units on the way down: its prior, its posterior, and what comes after it.

    Args:
        channels: Of features.
        units: Of the code at each place.
        dropout: Probability of dropping a feature while training.
    """

    def __init__(self, channels: int, units: int, dropout: float) -> None:
        super().__init__()
        self.prior = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, 2 * units, 1)
        )
        self.posterior = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels), nn.ReLU(), _zero(nn.Conv2d(channels, 2 * units, 1)),
        )  # fmt: skip
        self.told = nn.Conv2d(units, channels, 1)
        self.after = Residual(channels, dropout)

    def forward(self, h: Tensor, u: Tensor) -> Tensor:
        """The features below `(N, channels, H, W)`: those from above go on, and are added to."""
        loc, log_scale = at_least_float32(self.prior(h)).chunk(2, 1)
        z = loc + log_scale.clamp(-10, 10).exp() * u
        below: Tensor = self.after(h + self.told(z.to(h.dtype)))
        return below


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    """A layer that gives 0 to begin with: a posterior begins as its prior."""
    assert layer.bias is not None
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def usual(spec: DataSpec) -> tuple[int, int]:
    """Patches along a side, at most, and channels: small pictures learn more of quicker steps."""
    return (8, 64) if max(spec.event_shape[1:]) >= LARGE else (4, 32)


class Ladder(nn.Module):
    """A code whose highest level is of the whole picture and whose others are maps of patches.

    Args:
        spec: Pictures.
        levels: Of the code, at least 1.
        latent: Units of the highest.
        units: At each place of the others.
        channels: Of features; `None`: as many as suit the pictures.
        hidden: Width between the highest level and the features.
        parameters: Numbers of the distribution of each value.
        told: Width of the features of a context.
        dropout: Probability of dropping a feature while training.

    Attributes:
        sizes: How many units each level has, the highest first.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        levels: int,
        latent: int,
        units: int,
        channels: int | None,
        hidden: int,
        parameters: int,
        told: int,
        dropout: float,
    ) -> None:
        super().__init__()
        most, own = usual(spec)
        channels = channels or own
        side, (rows, columns) = patches(spec, most)
        self.event_shape, self.parameters_of_value = spec.event_shape, parameters
        self.features, self.map = (channels, rows, columns), (units, rows, columns)
        self.sizes = [latent, *[math.prod(self.map)] * (levels - 1)]
        flat = math.prod(self.features)
        self.up = nn.Sequential(*patched(spec, channels, most), Residual(channels, dropout))
        self.top_posterior = mlp(flat + told, (hidden,), 2 * latent, dropout=dropout)
        self.top = mlp(latent + told, (hidden,), flat, dropout=dropout)
        self.after_top = Residual(channels, dropout)
        self.maps = nn.ModuleList(Level(channels, units, dropout) for _ in range(levels - 1))
        self.values = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, side**2 * spec.event_shape[0] * parameters, 3, padding=1),
            nn.PixelShuffle(side),
        )  # fmt: skip
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def seen(self, inputs: Tensor) -> Tensor:
        """The way up: features `(N, channels, rows, columns)` of inputs, told to every level."""
        features: Tensor = self.up(inputs.contiguous(memory_format=torch.channels_last))
        return features

    def posterior(self, level: int, h: Tensor | None, features: Tensor, told: Tensor) -> Diagonal:
        """q(u | above, x) of a level's units, batch `(N,)`, event `(units,)`.

        Args:
            level: Its number, the highest is 0.
            h: The features from above; of the highest there are none.
            features: Those of x.
            told: Those of a context.
        """
        if h is None:
            raw = self.top_posterior(torch.cat([features.relu().flatten(1), told], 1))
        else:
            # without features of the context: h has them
            raw = self.maps[level - 1].posterior(torch.cat([h, features], 1))  # type: ignore[operator]
        loc, log_scale = at_least_float32(raw).chunk(2, 1)
        return Diagonal(loc.flatten(1), log_scale.clamp(-10, 10).exp().flatten(1))

    def down(self, place: Place, told: Tensor) -> Tensor:
        """The way down, to numbers of the distributions of values `(N, *event_shape, parameters)`.

        Args:
            place: Which units a level has.
            told: Features of a context `(N, told)`.
        """
        h = self.top(torch.cat([place(0, None), told], 1)).relu().unflatten(1, self.features)
        h = self.after_top(h.contiguous(memory_format=torch.channels_last))
        for number, level in enumerate(self.maps, 1):
            h = level(h, place(number, h).unflatten(1, self.map))
        colours, height, width = self.event_shape
        raw = at_least_float32(self.values(h)[:, :, :height, :width])
        return raw.unflatten(1, (colours, -1)).movedim(2, -1)

    def generated(self, u: Tensor, told: Tensor) -> Tensor:
        """The way down from a code `(N, units)`."""
        parts = u.split(self.sizes, 1)
        return self.down(lambda level, _: parts[level], told)


@dataclass(frozen=True, eq=False)
class Descent:
    """What the way down comes to, and what it costs.

    Args:
        u: The code `(N, units)`.
        log_q: What each unit adds to log q(u | x), nats `(N, units)`.
        rates: KL(q ‖ p) of each unit given the levels above it, nats `(N, units)`.
        raw: Numbers of the distributions of values, `(N, *event_shape, parameters)`.
    """

    u: Tensor
    log_q: Tensor
    rates: Tensor
    raw: Tensor


class LadderPosterior(Posterior):
    """q(u | x) over the whole code: each level is Gaussian, given those above it.

    Args:
        ladder: Whose levels these are.
        features: Of x, see `Ladder.seen`.
        told: Features of a context `(N, told)`.
    """

    def __init__(self, ladder: Ladder, features: Tensor, told: Tensor) -> None:
        self.ladder, self.features, self.told = ladder, features, told

    def descended(self, noise: Tensor | None = None, *, u: Tensor | None = None) -> Descent:
        """The way down of the code that noise is placed at, or of one that is given.

        Args:
            noise: Standard normal, `(N, units)`.
            u: A code in its place, `(N, units)`.
        """
        given = noise if u is None else u
        assert given is not None
        parts = given.split(self.ladder.sizes, 1)
        found: list[tuple[Tensor, Tensor, Tensor]] = []

        def place(level: int, h: Tensor | None) -> Tensor:
            q = self.ladder.posterior(level, h, self.features, self.told)
            part = parts[level]
            if u is None:
                own, log_q = q.placed(part)
            else:
                own, (_, log_q) = part, q.placed((part - q.mean) / q.stddev)
            found.append((own, log_q, q.rates()))
            return own

        raw = self.ladder.down(place, self.told)
        code, log_q, rates = (torch.cat(each, 1) for each in zip(*found, strict=True))
        return Descent(code, log_q, rates, raw)

    def placed(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """See `Posterior.placed`; a level's place depends on what was drawn above it."""
        found = self.descended(noise)
        return found.u, found.log_q

    def rates(self) -> None:
        """What a level costs depends on what was drawn above it: see `Descent`."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Log q(u | x) of any codes, nats, `(N,)`."""
        return self.descended(u=z).log_q.sum(1)

    @property
    def mean(self) -> Tensor:
        """The mean of each level given the means above it: the middle of q, if not its mean."""
        return self.placed(self._noise(torch.zeros))[0]

    def rsample(self) -> Tensor:
        """One code of each observation, `(N, units)`."""
        return self.placed(self._noise(torch.randn))[0]

    @torch.no_grad()
    def sample(self) -> Tensor:
        """`rsample`, without gradients."""
        return self.rsample()

    def _noise(self, kind: Callable[..., Tensor]) -> Tensor:
        of = self.told
        return kind(len(of), sum(self.ladder.sizes), dtype=of.dtype, device=of.device)
