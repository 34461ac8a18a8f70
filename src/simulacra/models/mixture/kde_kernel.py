"""The kernel of `kde`: a product over values, each with a bandwidth of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.ground.spec import DataSpec
from simulacra.nn.precision import double


@dataclass(frozen=True)
class Kernel:
    """K(x | c), with all numbers in float64.

    Of vectors a normal density. Of levels the mass of x times exp(−(x − c)² / 2h²), over their sum,
    where a level is met in the middle of its mass, or differs from others by 1 if it has no order.

    Args:
        spec: The form of the data.
        bandwidths: h of each value, `(D,)`: of standardised vectors, or of the masses of levels.
        log_mass: Log of how much all values together are at each level, `(L,)`.
        shift: What vectors are standardised by, `(D,)`.
        scale: The same, `(D,)`.
    """

    spec: DataSpec
    bandwidths: Tensor
    log_mass: Tensor
    shift: Tensor
    scale: Tensor

    @property
    def places(self) -> Tensor:
        """Where each level lies: the middle of its mass, `(L,)` in (0, 1)."""
        mass = self.log_mass.softmax(0)
        return mass.cumsum(0) - mass / 2

    @property
    def gaps(self) -> Tensor:
        """The squared distance of each level from each, `(L, L)`."""
        places = self.places
        if self.spec.ordered:
            return (places[:, None] - places).square()
        return 1 - torch.eye(len(places), dtype=places.dtype, device=places.device)

    def code(self, x: Tensor) -> Tensor:
        """What distances are of: the place of each level, or the standardised vector, `(N, D)`."""
        if self.spec.levels is None:
            return (double(x) - self.shift) / self.scale
        return self.places[x.to(self.log_mass.device).long()]

    def own(self, x: Tensor) -> Tensor:
        """What all kernels have in common at `x`: the mass of levels, the units of vectors."""
        if self.spec.levels is None:
            return -self.scale.log().sum()
        return self.log_mass[x.to(self.log_mass.device).long()].sum(1)

    def log_masses(self, bandwidths: Tensor) -> Iterator[Tensor]:
        """For each bandwidth, the kernels of all levels, `(L, L)`: each row sums to one."""
        gaps = self.gaps
        for width in bandwidths:
            yield (self.log_mass - gaps / (2 * width.square())).log_softmax(1)

    def _log_tops(self, points: Tensor) -> Tensor:
        """log K(c | c) of each value of the centres, `(M, D)`, but for `own`."""
        widths, whose = self.bandwidths.unique(return_inverse=True)
        if self.spec.levels is None:
            return -(self.bandwidths * math.sqrt(2 * math.pi)).log().expand(points.shape)
        tops = [each.diagonal() - self.log_mass for each in self.log_masses(widths)]
        return torch.stack(tops)[whose, points.to(whose.device).long()]

    def log_kernels(self, x: Tensor, points: Tensor, observed: Tensor | None = None) -> Tensor:
        """log K(x | c) of each row and centre, `(N, M)`, but for `own`.

        Args:
            x: `(N, D)`.
            points: The centres, `(M, D)`.
            observed: Which values count, `(N, D)` booleans; all, if left out.
        """
        weights = torch.ones_like(self.bandwidths)[None] if observed is None else double(observed)
        near = weights / (2 * self.bandwidths.square())
        found = []
        for some in points.split(self._block):
            log_kernels = weights @ self._log_tops(some).T
            found.append(log_kernels - self._distances(x, some, near))
        return torch.cat(found, 1) if len(found) > 1 else found[0]

    @property
    def _block(self) -> int:
        """Centres whose values are numbers at the same time."""
        return max(1, NUMBERS // self.spec.dims)

    def _distances(self, x: Tensor, points: Tensor, weights: Tensor) -> Tensor:
        """Σ_d w_d (x_d − c_d)², `(N, M)`, of weights `(N, D)` or `(1, D)`."""
        if not self.spec.ordered:
            found = weights.new_zeros(len(x), len(points))
            each = weights.expand(len(x), -1)
            for rows, differ in self._differences(x, points):
                found[rows] = torch.einsum("nmd,nd->nm", differ, each[rows])
            return found
        # as products of matrices, so that nothing of size (N, M, D) is made
        own, code = self.code(x), self.code(points)
        both = weights @ code.square().T + (weights * own.square()).sum(1, keepdim=True)
        return both.addmm_(weights * own, code.T, alpha=-2)

    def spread(self, x: Tensor, points: Tensor, shares: Tensor) -> Tensor:
        """Σ_nm r_nm (x_nd − c_md)² of each value, `(D,)`, of responsibilities `(N, M)`."""
        found = torch.zeros_like(self.bandwidths)
        blocks = points.split(self._block), shares.split(self._block, 1)
        for some, share in zip(*blocks, strict=True):
            if self.spec.ordered:
                own, code = self.code(x), self.code(some)
                found += share.sum(1) @ own.square() + share.sum(0) @ code.square()
                found -= 2 * (own * (share @ code)).sum(0)
            else:
                for rows, differ in self._differences(x, some):
                    found += torch.einsum("nmd,nm->d", differ, share[rows])
        return found

    def _differences(self, x: Tensor, points: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Which values of unordered levels differ, `(n, M, D)` of 0 and 1, of a few rows a time."""
        size = max(1, NUMBERS // points.numel())
        for at in range(0, len(x), size):
            rows = slice(at, at + size)
            yield rows, double(x[rows, None] != points)

    def widths(self, wanted: Tensor, points: Tensor, mass: Tensor) -> Tensor:
        """Bandwidths of levels at which kernels expect these squared distances, `(D,)`.

        Args:
            wanted: Of each value, `(D,)`.
            points: The centres, `(M, D)`.
            mass: How much of what is expected is around each centre, `(M,)`.
        """
        tried = wanted.new_tensor(TRIED)
        level = points.T.to(mass.device).long()
        weight = mass.new_zeros(self.spec.dims, len(self.log_mass))
        weight.scatter_add_(1, level, (mass / mass.sum()).expand(level.shape))
        each = [(table.exp() * self.gaps).sum(1) for table in self.log_masses(tried)]
        expected = weight @ torch.stack(each, 1)
        return tried[(expected - wanted[:, None]).abs().argmin(1)]

    def drawn(self, points: Tensor) -> Tensor:
        """A draw from the kernel around each row `(n, D)`: levels, or standardised vectors."""
        if self.spec.levels is None:
            return self.code(points) + self.bandwidths * torch.randn_like(double(points))
        widths, whose = self.bandwidths.unique(return_inverse=True)
        level = points.to(widths.device).long()
        place = torch.rand(level.shape, dtype=widths.dtype, device=widths.device)
        drawn = torch.empty_like(level)
        for number, log_mass in enumerate(self.log_masses(widths)):
            below = log_mass.exp().cumsum(1)
            below[:, -1] = 1
            # all kernels in one ascending row, each between its level and the next
            below = (below + torch.arange(len(below), device=below.device)[:, None]).flatten()
            values = whose == number
            found = torch.searchsorted(below, level[:, values] + place[:, values], right=True)
            drawn[:, values] = found - level[:, values] * len(self.log_mass)
        return drawn


NUMBERS = 1 << 22
"""In a matrix that is made by the way: 32 MB of doubles."""
TRIED = [1e-3 * 1.06**step for step in range(140)]
"""Bandwidths of levels: to 3, where a kernel is as wide as it can be. They are few, so that the
kernels of levels are few tables."""
