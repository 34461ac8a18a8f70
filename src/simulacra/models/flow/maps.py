"""`FlowMap`: an invertible map that counts its volume; and the plain ones flows are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from simulacra.nn.precision import double, full_precision

_GAIN = 10.0
"""How much farther a learnt log-scale moves than its weight: an optimiser that moves each weight by
its learning rate a step at most would not bring a single number per dimension to where it belongs
before the networks beside it have learnt to do without."""


def where_built(x: Tensor) -> Tensor:
    """What was found out on the processor, on the device that a model is being built on.

    On torch's `meta` device, where the size of a model is counted, no number can be read.
    """
    return x.to(torch.get_default_device())


class FlowMap(nn.Module, ABC):
    """An invertible map of values, given features of a context.

    `forward` gives z `(N, …)` and log |det ∂z/∂y| `(N,)` of y `(N, …)`.
    """

    @abstractmethod
    def forward(self, y: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """z, and its log-determinant.

        Args:
            y: Values `(N, …)`.
            told: Features of the context, `(N, width)`; of width 0 where there is none.
        """

    @abstractmethod
    def inverse(self, z: Tensor, told: Tensor) -> Tensor:
        """The y whose image is z."""

    @torch.no_grad()
    def start(self, y: Tensor, told: Tensor) -> None:
        """Initialise from the values that reach it, once, before the first step."""


class Scaling(FlowMap):
    """Multiplies each value, or each channel of a picture, by a scale of its own; and shifts it.

    Args:
        shape: Of the scales: that of the values, or `(C, 1, 1)`.
        gain: How much farther a log-scale moves than its weight.
        shift: Whether something is added before.
        real: Booleans `(C, H, W)` on the processor, which values of a picture there are, if not
            all.
    """

    real: Tensor | None
    count: Tensor

    def __init__(
        self, shape: tuple[int, ...], *, gain: float = _GAIN, shift: bool = False,
        real: Tensor | None = None, pixels: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.gain = gain
        self.s = nn.Parameter(torch.zeros(shape))
        self.shift = nn.Parameter(torch.zeros(shape)) if shift else None
        self.register_buffer("real", None if real is None else where_built(real), persistent=False)
        # how many values each scale belongs to
        count = torch.full(shape, float(pixels))
        count = count if real is None else where_built(real.sum((1, 2)).view(shape))
        self.register_buffer("count", count, persistent=False)

    @property
    def log_scale(self) -> Tensor:
        """Log of the scales, shaped as these."""
        return self.gain * self.s

    def forward(self, y: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """z = (y + shift) · scale."""
        z = y if self.shift is None else y + self.shift
        z = z * self.log_scale.exp()
        z = z if self.real is None else torch.where(self.real, z, y)
        return z, (self.log_scale * self.count).sum().expand(len(y))

    def inverse(self, z: Tensor, told: Tensor) -> Tensor:
        """y = z / scale − shift."""
        y = z * torch.exp(-self.log_scale)
        y = y if self.shift is None else y - self.shift
        return y if self.real is None else torch.where(self.real, y, z)


class ActNorm(Scaling):
    """A shift and a scale for each channel, so that what comes out is standardised at the start.

    Paper: D. P. Kingma, P. Dhariwal, "Glow: Generative Flow with Invertible 1×1 Convolutions",
        2018, arXiv 1807.03039, section 3.1.

    Args:
        channels: C of pictures `(N, C, H, W)`.
        pixels: H · W.
        real: Booleans `(C, H, W)` on the processor, which values there are, if not all.
    """

    def __init__(self, channels: int, pixels: int, real: Tensor | None = None) -> None:
        super().__init__((channels, 1, 1), gain=1.0, shift=True, real=real, pixels=pixels)

    @torch.no_grad()
    def start(self, y: Tensor, told: Tensor) -> None:
        """Standardise each channel over all pictures and pixels given."""
        assert self.shift is not None
        wide = double(y)
        count = (self.count.to(wide) * len(y)).clamp_min(1)
        real = None if self.real is None else self.real.to(wide.device)
        kept = wide if real is None else torch.where(real, wide, 0)
        mean = kept.sum((0, 2, 3), keepdim=True)[0] / count
        away = (wide - mean).square()
        away = away if real is None else torch.where(real, away, 0)
        spread = (away.sum((0, 2, 3), keepdim=True)[0] / count).sqrt()
        # what does not vary here may do so later, in units that are as good as any
        spread = torch.where(spread > _LEAST_SPREAD, spread, torch.ones_like(spread))
        self.shift.copy_(-mean)
        self.s.copy_(-spread.log() / self.gain)


_LEAST_SPREAD = 1e-6


class InvertibleConv(FlowMap):
    """An invertible 1×1 convolution, W = P L (U + diag(s)), whose log-determinant is Σ log |s|.

    Paper: D. P. Kingma, P. Dhariwal, "Glow: Generative Flow with Invertible 1×1 Convolutions",
        2018, arXiv 1807.03039, section 3.2, equations 9 to 11.

    Args:
        channels: C of pictures `(N, C, H, W)`.
        pixels: H · W.
        real: Booleans `(C, H, W)` on the processor, which values there are, if not all: where a
            pixel lacks some, its channels stay as they are.
    """

    whole: Tensor | None
    order: Tensor
    sign: Tensor

    def __init__(self, channels: int, pixels: int, real: Tensor | None = None) -> None:
        super().__init__()
        # a random rotation
        rotation = torch.linalg.qr(torch.randn(channels, channels)).Q
        p, lower, upper = torch.linalg.lu(rotation)
        self.register_buffer("order", p.argmax(0))
        self.register_buffer("sign", upper.diagonal().sign())
        # many weights act on a value together: each has a part of it, and moves it by no more
        self.part = channels**-0.5
        self.lower = nn.Parameter(lower.tril(-1) / self.part)
        self.upper = nn.Parameter(upper.triu(1) / self.part)
        self.log_s = nn.Parameter(upper.diagonal().abs().log())
        whole = None if real is None else real.all(0)
        kept = None if whole is None else where_built(whole)
        self.register_buffer("whole", kept, persistent=False)
        self.pixels = pixels if whole is None else int(whole.sum())

    def _factors(self) -> tuple[Tensor, Tensor]:
        """L and U + diag(s)."""
        with full_precision(self.lower):
            one = torch.eye(len(self.lower), dtype=self.lower.dtype, device=self.lower.device)
            lower = self.part * self.lower.tril(-1) + one
            upper = self.part * self.upper.triu(1) + torch.diag(self.sign * self.log_s.exp())
        return lower, upper

    def _apply_to(self, x: Tensor, weight: Tensor) -> Tensor:
        with full_precision(x):
            mixed = nn.functional.conv2d(x, weight[:, :, None, None])
        return mixed if self.whole is None else torch.where(self.whole, mixed, x)

    def forward(self, y: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """z = W y at each pixel."""
        lower, upper = self._factors()
        with full_precision(y):
            weight = (lower @ upper)[self.order.argsort()]
        return self._apply_to(y, weight), (self.pixels * self.log_s.sum()).expand(len(y))

    def inverse(self, z: Tensor, told: Tensor) -> Tensor:
        """y = W⁻¹ z, by two triangular systems."""
        lower, upper = self._factors()
        one = torch.eye(len(lower), dtype=z.dtype, device=z.device)[self.order.argsort()].T
        inverse = torch.linalg.solve_triangular(lower, one, upper=False, unitriangular=True)
        return self._apply_to(z, torch.linalg.solve_triangular(upper, inverse, upper=True))


class Reordering(FlowMap):
    """All values, or the channels of a picture, in another order.

    Args:
        order: A permutation of them, `(values,)` or `(C,)`, on the processor.
    """

    order: Tensor
    back: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("order", where_built(order), persistent=False)
        self.register_buffer("back", where_built(order.argsort()), persistent=False)

    def forward(self, y: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """The values in their new order, whose volume is theirs."""
        return self._in_order(y, self.order), y.new_zeros(len(y))

    def inverse(self, z: Tensor, told: Tensor) -> Tensor:
        """The values as they were."""
        return self._in_order(z, self.back)

    @staticmethod
    def _in_order(y: Tensor, order: Tensor) -> Tensor:
        return y.reshape(len(y), len(order), -1).index_select(1, order).view_as(y)
