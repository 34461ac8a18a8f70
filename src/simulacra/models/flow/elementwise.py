"""Monotone maps of single values, whose parameters a network gives: what a coupling does.

A map takes y `(N, …)` and raw parameters `(N, P, …)`, any real numbers, one set for each value. Raw
zeros, which networks start with, give the identity, or nearly. All computes in float32 at least.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from simulacra.ground.errors import UsageError
from simulacra.nn.precision import at_least_float32

Kind = Literal["additive", "affine", "spline", "logistics"]


class Elementwise(ABC):
    """A monotone map of each value by itself."""

    parameters: int
    """P: numbers for each value."""

    @abstractmethod
    def forward(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """z, and log dz/dy of each value, both shaped as y."""

    @abstractmethod
    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        """The y of each z."""


class Additive(Elementwise):
    """z = y + t (NICE, arXiv 1410.8516, equation 4)."""

    parameters = 1

    def forward(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """See `Elementwise`."""
        return y + at_least_float32(raw[:, 0]), torch.zeros_like(y)

    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        """See `Elementwise`."""
        return z - at_least_float32(raw[:, 0])


class Affine(Elementwise):
    """z = y · exp(s) + t (RealNVP, arXiv 1605.08803, equation 7), with |s| < 3, smoothly."""

    parameters = 2
    bound = 3.0

    def _scale(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        s, t = at_least_float32(raw).unbind(1)
        return self.bound * torch.tanh(s / self.bound), t

    def forward(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """See `Elementwise`."""
        s, t = self._scale(raw)
        return y * s.exp() + t, s

    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        """See `Elementwise`."""
        s, t = self._scale(raw)
        return (z - t) * torch.exp(-s)


class RationalQuadratic(Elementwise):
    """A monotone rational-quadratic spline on [−B, B], the identity beyond.

    Paper: C. Durkan, A. Bekasov, I. Murray, G. Papamakarios, "Neural Spline Flows", 2019, arXiv
        1906.04032, section 3.1 and equations 4 to 8.

    Args:
        bins: K.
        reach: B.
    """

    least = 1e-2
    """Least width and height of a bin, as a part of all, and least derivative."""
    bound = 3.0
    """Of raw parameters, smoothly: a slope that is next to none comes not back from rounding."""

    def __init__(self, bins: int = 8, reach: float = 5.0) -> None:
        self.bins, self.reach = bins, reach
        self.parameters = 3 * bins - 1

    def _knots(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Places of the K + 1 knots in y and in z, and the derivatives there; at dim 1."""
        raw = self.bound * torch.tanh(at_least_float32(raw) / self.bound)
        widths, heights, slopes = raw.split([self.bins, self.bins, self.bins - 1], 1)
        places = []
        for each in (widths, heights):
            parts = self.least + (1 - self.least * self.bins) * each.softmax(1)
            inner = 2 * self.reach * parts[:, :-1].cumsum(1) - self.reach
            ends = torch.full_like(inner[:, :1], self.reach)
            places.append(torch.cat([-ends, inner, ends], 1))
        # a raw 0 is a derivative of 1, as beyond the ends
        one = torch.ones_like(slopes[:, :1])
        slopes = self.least + softplus(slopes + math.log(math.expm1(1 - self.least)))
        return places[0], places[1], torch.cat([one, slopes, one], 1)

    @staticmethod
    def _bin(of: tuple[Tensor, ...], at: Tensor, places: Tensor) -> list[Tensor]:
        """What belongs to the bin in which each value lies, and what belongs to the next knot."""
        k = (at.unsqueeze(1) >= places[:, 1:-1]).sum(1, keepdim=True)
        return [each.gather(1, k + side).squeeze(1) for each in of for side in (0, 1)]

    def forward(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """See `Elementwise`; equations 4 and 5."""
        ys, zs, slopes = self._knots(raw)
        inside = y.abs() < self.reach
        at = torch.where(inside, y, 0)
        y0, y1, z0, z1, d0, d1 = self._bin((ys, zs, slopes), at, ys)
        s = (z1 - z0) / (y1 - y0)
        xi = (at - y0) / (y1 - y0)
        both = xi * (1 - xi)
        below = s + (d1 + d0 - 2 * s) * both
        z = z0 + (z1 - z0) * (s * xi * xi + d0 * both) / below
        log_slope = (
            2 * s.log()
            + (d1 * xi * xi + 2 * s * both + d0 * (1 - xi).square()).log()
            - 2 * below.log()
        )
        return torch.where(inside, z, y), torch.where(inside, log_slope, 0)

    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        """See `Elementwise`; equations 6 to 8."""
        ys, zs, slopes = self._knots(raw)
        inside = z.abs() < self.reach
        at = torch.where(inside, z, 0)
        y0, y1, z0, z1, d0, d1 = self._bin((ys, zs, slopes), at, zs)
        s = (z1 - z0) / (y1 - y0)
        up = at - z0
        bend = up * (d1 + d0 - 2 * s)
        a = (z1 - z0) * (s - d0) + bend
        b = (z1 - z0) * d0 - bend
        c = -s * up
        root = (b * b - 4 * a * c).clamp_min(0).sqrt()
        return torch.where(inside, y0 + (y1 - y0) * 2 * c / (-b - root), z)


class Logistics(Elementwise):
    """z = exp(a) · logit F(y) + b, with F the distribution function of a mixture of logistics.

    Paper: J. Ho, X. Chen, A. Srinivas, Y. Duan, P. Abbeel, "Flow++: Improving Flow-Based Generative
        Models with Variational Dequantization and Architecture Design", 2019, arXiv 1902.00275,
        section 3.2.

    Args:
        components: K logistics.
    """

    bound = 3.0
    """Of the log-scales, smoothly: exp(−3) to exp(3)."""

    def __init__(self, components: int = 4) -> None:
        self.components = components
        self.parameters = 3 * components + 2

    def _mixture(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Log-weights, locations and log-scales `(N, K, …)`; a and b `(N, …)`."""
        raw = at_least_float32(raw)
        k = self.components
        weights, loc, log_s = raw[:, :-2].split(k, 1)
        a, b = raw[:, -2:].unbind(1)
        # those that start alike would stay alike
        spread = torch.linspace(-1, 1, k, dtype=raw.dtype, device=raw.device)
        loc = loc + spread.view(1, k, *[1] * (raw.ndim - 2))
        log_s = self.bound * torch.tanh(log_s / self.bound)
        a = self.bound * torch.tanh(a / self.bound)
        return weights.log_softmax(1), loc, log_s, a, b

    @staticmethod
    def _logit(y: Tensor, mixture: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Logit F(y), and the log of its derivative; no tail underflows."""
        log_w, loc, log_s = mixture
        at = (y.unsqueeze(1) - loc) * torch.exp(-log_s)
        log_sigmoid = logsigmoid(at)
        below = log_w + log_sigmoid
        above = below - at
        log_f = (above + log_sigmoid - log_s).logsumexp(1)
        log_below, log_above = below.logsumexp(1), above.logsumexp(1)
        return log_below - log_above, log_f - log_below - log_above

    def forward(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """See `Elementwise`."""
        *mixture, a, b = self._mixture(raw)
        logit, log_slope = self._logit(y, tuple(mixture))
        return logit * a.exp() + b, log_slope + a

    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        """See `Elementwise`; by Newton's steps, and halving where these leave the bracket."""
        log_w, loc, log_s, a, b = self._mixture(raw)
        target = (z - b) * torch.exp(-a)
        with torch.no_grad():
            # logit F lies between those of the single components
            each = loc + log_s.exp() * target.unsqueeze(1)
            low, high = each.amin(1), each.amax(1)
            y = (low + high) / 2
            for _ in range(_MOST_STEPS):
                logit, log_slope = self._logit(y, (log_w, loc, log_s))
                off = logit - target
                low, high = torch.where(off < 0, y, low), torch.where(off < 0, high, y)
                step = y - off * torch.exp(-log_slope)
                y, last = torch.where((step > low) & (step < high), step, (low + high) / 2), y
                if torch.equal(y, last):
                    break
        # a last step, through which gradients flow
        logit, log_slope = self._logit(y, (log_w, loc, log_s))
        return y - (logit - target) * torch.exp(-log_slope.detach())


_MOST_STEPS = 64


def elementwise(kind: Kind, parts: int) -> Elementwise:
    """The map of a name.

    Args:
        kind: additive, affine, spline or logistics.
        parts: Bins of a spline, or logistics of a mixture, 1 to 64.

    Raises:
        UsageError: If there is no such map, or parts are out of their range.
    """
    if kind not in get_args(Kind):
        raise UsageError(f"coupling is one of {', '.join(get_args(Kind))}, got {kind!r}")
    # of more than 99 bins the least width of each is more than there is
    if not 1 <= parts <= 64:
        raise UsageError(f"parts is 1 to 64, got {parts}")
    if kind == "spline":
        return RationalQuadratic(parts)
    if kind == "logistics":
        return Logistics(parts)
    return Affine() if kind == "affine" else Additive()
