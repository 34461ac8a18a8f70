"""The one network of the family: U-Nets of pictures and sounds, and an MLP of vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.ground.spec import DataSpec
from simulacra.nn.levels import is_sound

TOLD = 64
"""Width of the features of a context."""


def denoiser(
    spec: DataSpec,
    inputs: int,
    outputs: int,
    *,
    channels: int,
    layers: int,
    hidden: Sequence[int],
    dropout: float,
    told: int,
) -> nn.Module:
    """The network of a form of data: called with z `(N, inputs, …)`, times `(N,)` and features.

    Args:
        spec: The form of the data.
        inputs: Channels that it sees at each place; of vectors, numbers for each value.
        outputs: Channels that it gives at each place; of vectors, numbers for each value.
        channels: Of a U-Net, at its smallest size.
        layers: Residual blocks of a U-Net at each size, on the way down and on the way up.
        hidden: Widths of an MLP.
        dropout: Probability of dropping a feature while training.
        told: Width of the context's features.
    """
    if spec.is_image:
        return UNet(2, inputs, outputs, spec.event_shape[1:], channels, layers, dropout, told)
    if is_sound(spec):
        return UNet(1, inputs, outputs, spec.event_shape, channels, layers, dropout, told)
    return MLP(inputs, outputs, spec.dims, hidden, dropout, told)


class Times(nn.Module):
    """Features of times in [0, 1] and of a context: sines of many periods, and two linear maps.

    Args:
        width: Of the features.
        told: Width of the context's features.
    """

    frequencies: Tensor

    def __init__(self, width: int, told: int) -> None:
        super().__init__()
        # from half a period over all times to 50: finer ones would make paths through time rough
        frequencies = math.pi * torch.logspace(0, 2, _SINES)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.first = nn.Linear(2 * _SINES + told, width)
        self.second = nn.Linear(width, width)

    def forward(self, time: Tensor, told: Tensor) -> Tensor:
        """`(N, width)` of times `(N,)` and features `(N, told)`."""
        angles = time[:, None] * self.frequencies.to(time.dtype)
        h = self.first(torch.cat([angles.sin(), angles.cos(), told], 1))
        features: Tensor = F.silu(self.second(F.silu(h)))
        return features


_SINES = 16


class Block(nn.Module):
    """A residual block: two convolutions, the second of features that time scales and shifts.

    Args:
        places: Dimensions that it convolves over.
        inputs: Channels that come in.
        outputs: Channels that go out.
        features: Width of the features of time and context.
        dropout: Probability of dropping a feature while training.
    """

    def __init__(
        self, places: int, inputs: int, outputs: int, features: int, dropout: float
    ) -> None:
        super().__init__()
        self.norm = normalised(inputs)
        self.first = convolution(places, inputs, outputs)
        self.told = nn.Linear(features, 2 * outputs)
        self.norm_told = normalised(outputs)
        self.dropout = nn.Dropout(dropout)
        self.second = zeroed(convolution(places, outputs, outputs))
        same = inputs == outputs
        self.skip = nn.Identity() if same else convolution(places, inputs, outputs, 1)

    def forward(self, h: Tensor, features: Tensor) -> Tensor:
        """`(N, outputs, …)` of `(N, inputs, …)`."""
        scale, shift = (
            self.told(features).view(*features.shape[:1], -1, *[1] * (h.ndim - 2)).chunk(2, 1)
        )
        new = self.norm_told(self.first(F.silu(self.norm(h)))) * (1 + scale) + shift
        out: Tensor = self.skip(h) + self.second(self.dropout(F.silu(new)))
        return out


class Attention(nn.Module):
    """Self-attention over all places, added to what came in.

    Args:
        channels: Of what comes in, and goes out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // _HEAD)
        while channels % self.heads:
            self.heads -= 1
        self.norm = normalised(channels)
        self.split = nn.Linear(channels, 3 * channels)
        self.join = zeroed(nn.Linear(channels, channels))

    def forward(self, h: Tensor) -> Tensor:
        """`(N, channels, …)`."""
        flat = self.norm(h).flatten(2).transpose(1, 2)
        q, k, v = (
            each.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for each in self.split(flat).chunk(3, 2)
        )
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return h + self.join(seen).transpose(1, 2).reshape(h.shape)


_HEAD = 32
"""Channels of a head of attention."""


class UNet(nn.Module):
    """Convolutions at ever smaller sizes and back, each size seeing what the way down made of it.

    Paper: O. Ronneberger, P. Fischer, T. Brox, 2015, arXiv 1505.04597; with residual blocks told
        the time, and attention at the smallest size, as J. Ho, A. Jain, P. Abbeel, 2020, arXiv
        2006.11239, appendix B. Sides are halved, rounded up, so that all sizes have one.

    Args:
        places: Dimensions that it convolves over: 2 of pictures, 1 of sounds.
        inputs: Channels of z.
        outputs: Channels of what it gives, which is 0 to begin with.
        shape: Sides of an observation.
        channels: At the smallest size; half as many at the next, and a quarter at all larger ones.
        layers: Residual blocks at each size, on each way.
        dropout: Probability of dropping a feature while training.
        told: Width of the context's features.
    """

    def __init__(
        self,
        places: int,
        inputs: int,
        outputs: int,
        shape: Sequence[int],
        channels: int,
        layers: int,
        dropout: float,
        told: int,
    ) -> None:
        super().__init__()
        self.stride, features = _STRIDES[places], 2 * channels
        sizes = 1 + shrinks(places, min(shape))
        # as many at larger sizes as there is time for: work is in proportion to places
        widths = [max(1, channels // 2 ** min(size, 2)) for size in reversed(range(sizes))]
        self.times = Times(features, told)
        self.first = convolution(places, inputs, widths[0])
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for own, below in pairwise(widths):
            self.down.append(self._blocks(places, own, own, layers, features, dropout))
            self.shrink.append(convolution(places, own, below, 2 * self.stride - 1, self.stride))
        self.middle = self._blocks(places, channels, channels, layers + 1, features, dropout)
        self.attention = Attention(channels)
        for below, own in pairwise(reversed(widths)):
            self.grow.append(convolution(places, below, own, 1))
            self.up.append(self._blocks(places, 2 * own, own, layers, features, dropout))
        self.norm = normalised(widths[0])
        self.last = zeroed(convolution(places, widths[0], outputs))
        if places == 2:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @staticmethod
    def _blocks(
        places: int, inputs: int, outputs: int, layers: int, features: int, dropout: float
    ) -> nn.ModuleList:
        sizes = [inputs] + [outputs] * layers
        return nn.ModuleList(Block(places, a, b, features, dropout) for a, b in pairwise(sizes))

    def forward(self, z: Tensor, time: Tensor, told: Tensor) -> Tensor:
        """`(N, outputs, …)` of z `(N, inputs, …)`, times `(N,)` and features `(N, told)`."""
        features = self.times(time, told)
        if z.ndim == 4:
            z = z.contiguous(memory_format=torch.channels_last)
        h, kept = self.first(z), []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, features)
            kept.append(h)
            h = shrink(h)
        for number, block in enumerate(self.middle):
            h = block(h, features)
            h = self.attention(h) if number == 0 else h
        for grow, blocks in zip(self.grow, self.up, strict=True):
            same = kept.pop()
            h = F.interpolate(grow(h), size=same.shape[2:])
            h = torch.cat([h, same], 1)
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, features)
        out: Tensor = self.last(F.silu(self.norm(h)))
        return out


_STRIDES = {1: 4, 2: 2}
"""By what sides shrink from one size to the next, of sounds and of pictures."""
_SMALLEST = {1: 32, 2: 7}
"""The smallest side that shrinks."""
_SIZES = {1: 5, 2: 2}
"""How often sides shrink at most."""


def shrinks(places: int, side: int) -> int:
    """How often sides shrink, of which the smallest is given."""
    count = 0
    while side >= _SMALLEST[places] and count < _SIZES[places]:
        side, count = -(-side // _STRIDES[places]), count + 1
    return count


class MLP(nn.Module):
    """Fully connected residual layers, each told the time.

    Args:
        inputs: Numbers for each value that come in.
        outputs: Numbers for each value that go out, 0 to begin with.
        dims: Values of an observation.
        hidden: Widths of the layers.
        dropout: Probability of dropping a unit while training.
        told: Width of the context's features.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        dims: int,
        hidden: Sequence[int],
        dropout: float,
        told: int,
    ) -> None:
        super().__init__()
        self.outputs = outputs
        features = min(hidden)
        self.times = Times(features, told)
        sizes = [inputs * dims, *hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.told = nn.ModuleList(nn.Linear(features, width) for width in hidden)
        self.dropout = nn.Dropout(dropout)
        self.last = zeroed(nn.Linear(sizes[-1], outputs * dims))

    def forward(self, z: Tensor, time: Tensor, told: Tensor) -> Tensor:
        """`(N, outputs, D)` of z `(N, inputs, D)`, times `(N,)` and features `(N, told)`."""
        features = self.times(time, told)
        h = z.flatten(1)
        for layer, moved in zip(self.layers, self.told, strict=True):
            new = self.dropout(F.silu(layer(h) + moved(features)))
            h = h + new if h.shape == new.shape else new
        out: Tensor = self.last(h).unflatten(1, (self.outputs, -1))
        return out


def convolution(
    places: int, inputs: int, outputs: int, kernel: int = 3, stride: int = 1
) -> nn.Module:
    """A convolution over one or two dimensions, of as many places as come in, over the stride."""
    kind = nn.Conv1d if places == 1 else nn.Conv2d
    return kind(inputs, outputs, kernel, stride=stride, padding=kernel // 2)


def normalised(channels: int) -> nn.GroupNorm:
    """Normalises groups of eight channels and more, of each observation alone."""
    groups = max(1, channels // 8)
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels)


def zeroed(module: nn.Module) -> nn.Module:
    """The module, with weights that are 0."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
