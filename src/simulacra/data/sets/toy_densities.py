"""Toys: densities that are known, so that a model's likelihood can be held against the truth."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.form import Form
from simulacra.data.sets.named import NamedSet
from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import keyed_uniform, keys_from
from simulacra.ground.spec import DataSpec

_COUNTS = (10_000, 1_000, 2_000)
_SEED = 0
_PORTION = 1 << 12
"""Points whose density is computed at once."""


@dataclass(frozen=True, eq=False)
class Modes:
    """The modes of a mixture of round Gaussians, none of which hides another.

    Args:
        centres: `(K, D)` float64.
        scales: Their standard deviations `(K,)` float64.
    """

    centres: Tensor
    scales: Tensor

    def __len__(self) -> int:
        """How many there are."""
        return len(self.scales)


class Toy(Distribution):
    """A density over vectors `(D,)` that is a mixture of parts and says which a draw came from.

    A draw is a function of uniform numbers, so that a data set of them is the same in every
    version of torch.

    Args:
        weights: Probabilities of the parts `(K,)`, which sum to 1.
        dims: D.
        uniforms: How many uniform numbers a draw takes beside the one that chooses its part.
    """

    arg_constraints = {}  # noqa: RUF012 (torch's own declaration)
    support = constraints.real_vector

    def __init__(self, weights: Tensor, dims: int, uniforms: int) -> None:
        self.weights, self.uniforms = weights.double(), uniforms
        super().__init__(event_shape=torch.Size([dims]), validate_args=False)

    @property
    def modes(self) -> Modes | None:
        """Its modes, if it is a mixture of round Gaussians; nothing of curves and areas."""
        return None

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density in nats, float64 `(…)` of values `(…, D)`."""

    @abstractmethod
    def place(self, part: Tensor, uniform: Tensor) -> Tensor:
        """Points `(n, D)` of these parts `(n,)` from uniform numbers `(n, uniforms)`."""

    def draw(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Points and their parts.

        Args:
            uniform: Numbers in (0, 1), `(n, 1 + uniforms)` float64.

        Returns:
            `(n, D)` float64, and `(n,)` int64.
        """
        edges = self.weights.cumsum(0)[:-1]
        part = torch.searchsorted(edges, uniform[:, 0].contiguous(), right=True)
        return self.place(part, uniform[:, 1:]), part

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws `(*sample_shape, D)` float64 from torch's generator."""
        shape = torch.Size(sample_shape)
        uniform = torch.rand(shape.numel(), 1 + self.uniforms, dtype=torch.float64)
        # torch's own may be 0, of which the normal quantile is infinite
        return self.draw(uniform.clamp_min(2.0**-53))[0].reshape(shape + self.event_shape)


class Smeared(Toy):
    """Curves with Gaussian noise around them; a point is a curve that stands still.

    The density of a part is ∫₀¹ N(x; path(t), scale²) dt, by Gauss–Legendre quadrature.

    Args:
        path: Points `(…, D)` of parts `(…)` at t `(…)` in [0, 1].
        weights: Probabilities of the parts `(K,)`.
        scales: Standard deviation of the noise of each part `(K,)`.
        nodes: Of the quadrature: neighbours half a scale apart are near enough; 1 for points.
    """

    def __init__(
        self,
        path: Callable[[Tensor, Tensor], Tensor],
        weights: Tensor,
        scales: Tensor,
        nodes: int = 1,
    ) -> None:
        self.path, self.scales = path, scales.double()
        at, shares = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(nodes))
        parts = torch.arange(len(weights))[:, None].expand(-1, nodes)
        self.centres = path(parts, (at.expand(len(weights), -1) + 1) / 2)
        self.log_shares = (shares / 2).log() + weights.double().log()[:, None]
        dims = self.centres.shape[-1]
        super().__init__(weights, dims, uniforms=1 + dims)

    @property
    def modes(self) -> Modes | None:
        """The points, where its curves stand still."""
        return Modes(self.centres[:, 0], self.scales) if self.centres.shape[1] == 1 else None

    def log_prob(self, value: Tensor) -> Tensor:
        """A mixture of as many Gaussians as there are nodes."""
        x = value.double().reshape(-1, self.event_shape[0])
        centres = self.centres.flatten(0, 1)
        precision = self.scales.square().reciprocal()[:, None].expand_as(self.log_shares).flatten()
        normaliser = 0.5 * x.shape[1] * (precision / (2 * math.pi)).log()
        # the square completed, so that nothing of size (n, nodes, D) is made
        constant = (
            self.log_shares.flatten() + normaliser - 0.5 * precision * centres.square().sum(1)
        )
        log_density = x.new_empty(len(x))
        for rows, out in zip(x.split(_PORTION), log_density.split(_PORTION), strict=True):
            gap = rows @ centres.T - 0.5 * rows.square().sum(1, keepdim=True)
            out.copy_((constant + precision * gap).logsumexp(1))
        return log_density.reshape(value.shape[:-1])

    def place(self, part: Tensor, uniform: Tensor) -> Tensor:
        """A point of the curve, and noise."""
        noise = torch.special.ndtri(uniform[:, 1:])
        return self.path(part, uniform[:, 0]) + self.scales[part, None] * noise


class Tiles(Toy):
    """Uniform on equal squares; nothing elsewhere.

    Args:
        corners: Lower left corners `(K, 2)`.
        side: Of a square.
    """

    def __init__(self, corners: Tensor, side: float) -> None:
        self.corners, self.side = corners.double(), side
        super().__init__(_full(len(corners), 1 / len(corners)), 2, uniforms=2)

    def log_prob(self, value: Tensor) -> Tensor:
        """−log of the whole area inside, −∞ outside."""
        offset = (value.double()[..., None, :] - self.corners) / self.side
        inside = ((offset >= 0) & (offset < 1)).all(-1).any(-1)
        density = -math.log(len(self.corners) * self.side**2)
        return torch.where(inside, density, -math.inf).double()

    def place(self, part: Tensor, uniform: Tensor) -> Tensor:
        """Anywhere on the square."""
        return self.corners[part] + self.side * uniform


class Sawtooth(Toy):
    """Teeth of width 1 side by side from 0, in each of which the density rises from ¼ to 1¾.

    Args:
        teeth: How many.
    """

    def __init__(self, teeth: int) -> None:
        super().__init__(_full(teeth, 1 / teeth), 1, uniforms=1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log (¼ + 3/2 (x mod 1)) / teeth inside, −∞ outside."""
        x, teeth = value.double()[..., 0], len(self.weights)
        rising = (0.25 + 1.5 * (x - x.floor())).log() - math.log(teeth)
        return torch.where((x >= 0) & (x < teeth), rising, -math.inf)

    def place(self, part: Tensor, uniform: Tensor) -> Tensor:
        """By the inverse of t / 4 + 3 t² / 4."""
        return part[:, None] + ((0.0625 + 3 * uniform).sqrt() - 0.25) / 1.5


class Pinwheel(Toy):
    """Long Gaussians around the origin, each point turned by an angle that grows with its radius.

    A turn by an angle that depends on the radius alone keeps areas, so densities too.

    Args:
        arms: How many.
    """

    def __init__(self, arms: int) -> None:
        self.angles = 2 * math.pi * torch.arange(arms).double() / arms
        super().__init__(_full(arms, 1 / arms), 2, uniforms=2)

    _CENTRE = torch.tensor([2.0, 0.0], dtype=torch.float64)
    _SCALES = torch.tensor([0.6, 0.2], dtype=torch.float64)

    def log_prob(self, value: Tensor) -> Tensor:
        """The density of the point turned back."""
        x = value.double()[..., None, :]
        straight = _turned(x, -self.angles - _twist(x))
        gap = (straight - self._CENTRE) / self._SCALES
        log_arm = -0.5 * gap.square().sum(-1) - (2 * math.pi * self._SCALES.prod()).log()
        return (log_arm + self.weights.log()).logsumexp(-1)

    def place(self, part: Tensor, uniform: Tensor) -> Tensor:
        """A point of the long Gaussian, turned."""
        straight = self._CENTRE + self._SCALES * torch.special.ndtri(uniform)
        return _turned(straight, self.angles[part] + _twist(straight))


def _twist(x: Tensor) -> Tensor:
    """Angle by which a point `(…, 2)` is turned, in radians."""
    return 0.8 * x.norm(dim=-1)


def _full(count: int, value: float) -> Tensor:
    return torch.full((count,), value, dtype=torch.float64)


def _turned(x: Tensor, angle: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos * x[..., 0] - sin * x[..., 1], sin * x[..., 0] + cos * x[..., 1]], -1)


def _points(centres: Tensor, weights: Tensor, scales: Tensor) -> Smeared:
    """A mixture of round Gaussians."""
    places = centres.double()
    return Smeared(lambda part, _: places[part], weights, scales)


def _curves(path: Callable[[Tensor, Tensor], Tensor], scale: float, nodes: int) -> Smeared:
    """Two curves of equal weight."""
    return Smeared(path, _full(2, 0.5), _full(2, scale), nodes)


def _polar(radius: Tensor, angle: Tensor) -> Tensor:
    return torch.stack([radius * angle.cos(), radius * angle.sin()], -1)


def _ring() -> Toy:
    angles = torch.arange(8).double() * (math.pi / 4)
    centres = _polar(_full(8, 2.0), angles)
    return _points(centres, _full(8, 1 / 8), _full(8, 0.2))


def _grid() -> Toy:
    steps = torch.arange(-2.0, 3.0)
    return _points(2 * torch.cartesian_prod(steps, steps), _full(25, 1 / 25), _full(25, 0.15))


def _spirals() -> Toy:
    def path(part: Tensor, t: Tensor) -> Tensor:
        # the root spreads points nearly evenly along an arm that grows with its angle
        angle = math.pi * (0.25 + 12 * t).sqrt()
        return _polar(angle / math.pi, angle + math.pi * part)

    return _curves(path, 0.1, 640)


def _moons() -> Toy:
    def path(part: Tensor, t: Tensor) -> Tensor:
        arc = _polar(torch.ones_like(t), math.pi * t)
        turned = torch.stack([1 - arc[..., 0], 0.5 - arc[..., 1]], -1)
        return torch.where(part[..., None] == 0, arc, turned)

    return _curves(path, 0.1, 64)


def _circles() -> Toy:
    return _curves(lambda part, t: _polar(2.0 - part, 2 * math.pi * t), 0.1, 384)


def _checkerboard() -> Toy:
    corners = torch.cartesian_prod(torch.arange(-2, 2), torch.arange(-2, 2))
    return Tiles(2 * corners[corners.sum(1) % 2 == 0], 2.0)


def _two_peaks() -> Toy:
    return _points(
        torch.tensor([[-2.0], [1.0]]), torch.tensor([0.3, 0.7]), torch.tensor([0.4, 0.8])
    )


def _named(name: str, words: str, make: Callable[[], Toy], dims: int, classes: int) -> NamedSet:
    def read(this: NamedSet, _: list[Path], form: Form) -> Dataset:
        if form.labels is not None:
            raise UsageError(f"labels of {name} are its parts, not {form.labels!r}")
        density = make()
        keys = keys_from(_SEED, torch.arange(sum(_COUNTS)))
        x, part = density.draw(keyed_uniform(keys, (1 + density.uniforms,)))
        splits = (
            Observations(*both)
            for both in zip(x.float().split(_COUNTS), part.split(_COUNTS), strict=True)
        )
        train, validation, test = splits
        return Dataset(
            name=name,
            spec=DataSpec((dims,), None, classes=classes),
            train=train,
            validation=validation,
            test=test,
            class_names=tuple(map(str, range(classes))),
            description=this.description,
            density=density,
        )

    return NamedSet(
        name=name,
        description=f"{words}; the density is known.",
        event_shape=(dims,),
        levels=None,
        classes=classes,
        counts=_COUNTS,
        read=read,
        kind="tables",
    )


TOYS = (
    _named("ring-8", "Eight Gaussians on a ring", _ring, 2, 8),
    _named("grid-25", "25 Gaussians on a grid", _grid, 2, 25),
    _named("spirals", "Two spiral arms with Gaussian noise", _spirals, 2, 2),
    _named("moons", "Two half circles with Gaussian noise", _moons, 2, 2),
    _named("circles", "A circle in another, with Gaussian noise", _circles, 2, 2),
    _named("checkerboard", "Uniform on the black squares of a board", _checkerboard, 2, 8),
    _named("pinwheel", "Five bent arms around the origin", lambda: Pinwheel(5), 2, 5),
    _named("two-peaks", "Two unequal Gaussians on a line", _two_peaks, 1, 2),
    _named("sawtooth", "Four rising teeth on a line", lambda: Sawtooth(4), 1, 4),
)
"""Every toy as a named set: 10000 training, 1000 validation and 2000 test vectors."""
