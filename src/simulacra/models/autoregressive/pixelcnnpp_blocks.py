"""The network of PixelCNN++: two streams of gated residual blocks at several resolutions.

Salimans et al. 2017 (arXiv 1701.05517), figure 2. The parallel form computes all positions at once.
In the cached form the stream u, which sees the rows above, runs a row at a time, and the stream ul,
which also sees what is to the left, a pixel at a time; see `pixelcnnpp_convolutions`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from simulacra.models.autoregressive.pixelcnnpp_convolutions import (
    PixelStream,
    RowStream,
    ShiftedConv2d,
    ShiftedConvTranspose2d,
    Stream,
    shifted_conv,
)

Apply = Callable[[ShiftedConv2d, Tensor], Tensor]


class Features(NamedTuple):
    """Features `(N, C, H, W)`, and what the non-linearity makes of them, `(N, 2C, H, W)`.

    Both are used several times: by the next block, by the other stream, by the way up.
    """

    plain: Tensor
    active: Tensor


def concat_elu(x: Tensor) -> Tensor:
    """ELU of the features and of their negatives, `(N, 2C, …)`."""
    return F.elu(torch.cat([x, -x], 1), inplace=True)


def features(x: Tensor) -> Features:
    """Features with their non-linearity."""
    return Features(x, concat_elu(x))


def parallel(layer: ShiftedConv2d, x: Tensor) -> Tensor:
    """A layer on all positions at once."""
    return layer(x)


class GatedResNet(nn.Module):
    """Two convolutions and a gate, added to the input (section 2.5).

    Args:
        stream: Which convolution.
        channels: C.
        skips: How many other features come in through a 1×1 convolution.
        told: Width of the context's features.
        dropout: Probability of dropping a feature between the convolutions.
    """

    def __init__(
        self, stream: Stream, channels: int, skips: int, told: int, dropout: float
    ) -> None:
        super().__init__()
        self.first = weight_norm(shifted_conv(stream, 2 * channels, channels))
        self.skip = weight_norm(nn.Conv2d(skips * 2 * channels, channels, 1)) if skips else None
        self.drop = nn.Dropout(dropout)
        self.second = weight_norm(shifted_conv(stream, 2 * channels, 2 * channels))
        self.told = nn.Linear(told, 2 * channels, bias=False) if told else None

    def context(self, told: Tensor) -> Tensor:
        """What the context adds before the gate, `(N, 2C, 1, 1)`."""
        if self.told is None:
            return told.new_zeros(told.shape[0], self.second.out_channels, 1, 1)
        return self.told(told)[:, :, None, None]

    def forward(
        self, x: Features, told: Tensor, *skips: Tensor, apply: Apply = parallel
    ) -> Features:
        """The features after the block; `skips` and the convolutions' inputs are active."""
        y = apply(self.first, x.active)
        if self.skip is not None:
            y = y + self.skip(torch.cat(skips, 1))
        y = apply(self.second, self.drop(concat_elu(y)))
        return features(x.plain + F.glu(y + self.context(told), 1))


class Pair(nn.Module):
    """A block of each stream: u of the rows above, ul also of what is to the left (figure 2).

    Args:
        channels: C.
        skips: How many features of the way down come in.
        told: Width of the context's features.
        dropout: Probability of dropping a feature inside a block.
    """

    def __init__(self, channels: int, skips: int, told: int, dropout: float) -> None:
        super().__init__()
        self.u = GatedResNet("down", channels, skips, told, dropout)
        self.ul = GatedResNet("down-right", channels, skips + 1, told, dropout)

    def forward(
        self, both: tuple[Features, Features], told: Tensor, *skips: tuple[Features, Features]
    ) -> tuple[Features, Features]:
        """The features of both streams after the blocks."""
        u = self.u(both[0], told, *(skip[0].active for skip in skips))
        return u, self.ul(both[1], told, u.active, *(skip[1].active for skip in skips))


class Resolution(nn.Module):
    """The blocks of one resolution, on the way down and up, and within it the coarser ones.

    Args:
        scales: How many resolutions, this one included.
        channels: C.
        blocks: Blocks of a stream on the way down.
        told: Width of the context's features.
        dropout: Probability of dropping a feature inside a block.
    """

    def __init__(self, scales: int, channels: int, blocks: int, told: int, dropout: float) -> None:
        super().__init__()
        # the first features of a resolution are a skip of their own, unless the way up begins here
        more = blocks if scales == 1 else blocks + 1
        self.down = nn.ModuleList(Pair(channels, 0, told, dropout) for _ in range(blocks))
        self.up = nn.ModuleList(Pair(channels, 1, told, dropout) for _ in range(more))
        self.coarser: Resolution | None = None
        if scales > 1:
            halved = partial(shifted_conv, inputs=channels, outputs=channels, stride=2)
            self.shrink_u = weight_norm(halved("down"))
            self.shrink_ul = weight_norm(halved("down-right"))
            self.coarser = Resolution(scales - 1, channels, blocks, told, dropout)
            self.grow_u = weight_norm(ShiftedConvTranspose2d("down", channels), dim=1)
            self.grow_ul = weight_norm(ShiftedConvTranspose2d("down-right", channels), dim=1)

    def forward(self, both: tuple[Features, Features], told: Tensor) -> tuple[Features, Features]:
        """The features of both streams at the end of the way up."""
        skips = [both]
        for pair in self.down:
            skips.append(pair(skips[-1], told))
        if self.coarser is None:
            both = skips.pop()
        else:
            u, ul = (x.plain for x in skips[-1])
            halved = features(self.shrink_u(u)), features(self.shrink_ul(ul))
            coarse = self.coarser(halved, told)
            size = list(u.shape[2:])
            both = (
                features(self.grow_u(coarse[0].plain, size)),
                features(self.grow_ul(coarse[1].plain, size)),
            )
        for pair in self.up:
            both = pair(both, told, skips.pop())
        return both


class CachedBlock:
    """A `GatedResNet` of the right stream, a pixel at a time.

    Args:
        block: The block.
        n: Number of pictures.
        width: Pixels in a row.
        told: The context's features.
    """

    def __init__(self, block: GatedResNet, n: int, width: int, told: Tensor) -> None:
        self.first = PixelStream(block.first, n, width)
        self.second = PixelStream(block.second, n, width)
        self.first_parts, self.second_parts = (
            [(slot, *slot.chunk(2, 1)) for slot in stream.slots]
            for stream in (self.first, self.second)
        )
        self.told = block.context(told)
        assert block.skip is not None
        weight, self.bias = block.skip.weight, block.skip.bias
        # of the skips, u is known for the whole row, ul (on the way up) pixel by pixel
        wide = block.first.in_channels
        self.from_u, self.from_ul = weight[:, :wide], weight[:, wide:, 0, 0].T.contiguous()

    def start_row(self, u: Features) -> None:
        """All that does not depend on the row's own pixels."""
        self.first.start_row(F.conv2d(u.active, self.from_u, self.bias))
        self.second.start_row(self.told)

    def __call__(self, x: Tensor, j: int, skip: Tensor | None = None) -> Tensor:
        """The features `(N, C)` after the block, at a column; see `GatedResNet.forward`."""
        activate(x, *self.first_parts[j])
        y = self.first.read(j)
        if skip is not None:
            y.addmm_(skip, self.from_ul)
        activate(y, *self.second_parts[j])
        return F.glu(self.second.read(j), 1).add_(x)


def activate(x: Tensor, slot: Tensor, positive: Tensor, negative: Tensor) -> None:
    """`concat_elu` of features `(N, C)`, written into a slot `(N, 2C)` and its two halves."""
    positive.copy_(x)
    torch.neg(x, out=negative)
    F.elu_(slot)


class CachedResolution:
    """A `Resolution`, whose stream u runs a row and whose stream ul a pixel at a time.

    Args:
        resolution: The network; its weights are read once.
        n: Number of pictures.
        width: Pixels in a row, at this resolution.
        told: The context's features.
    """

    def __init__(self, resolution: Resolution, n: int, width: int, told: Tensor) -> None:
        self.resolution, self.width, self.told = resolution, width, told
        self.pairs_down, self.pairs_up = (
            [pair for pair in pairs if isinstance(pair, Pair)]
            for pairs in (resolution.down, resolution.up)
        )
        self.rows = {
            conv: RowStream(conv, n, width)
            for pair in (*self.pairs_down, *self.pairs_up)
            for conv in (pair.u.first, pair.u.second)
        }
        self.down, self.up = (
            [CachedBlock(pair.ul, n, width, told) for pair in pairs]
            for pairs in (self.pairs_down, self.pairs_up)
        )
        self.coarser: CachedResolution | None = None
        if resolution.coarser is not None:
            self.shrink_row = RowStream(resolution.shrink_u, n, width)
            self.shrink = PixelStream(resolution.shrink_ul, n, width)
            self.coarser = CachedResolution(resolution.coarser, n, -(-width // 2), told)
            self.grow_bias, self.grow = resolution.grow_ul.pixels()
            self.grown: list[tuple[Tensor, ...]] = [()] * (-(-width // 2))

    def start_row(self, i: int, u: Tensor) -> Features:
        """The stream u `(N, C, 1, W)` of a row, and all else that its pixels do not change."""

        def apply(conv: ShiftedConv2d, x: Tensor) -> Tensor:
            self.rows[conv].push(x)
            return self.rows[conv].read()

        us = [features(u)]
        for pair, cached in zip(self.pairs_down, self.down, strict=True):
            us.append(pair.u(us[-1], self.told, apply=apply))
            cached.start_row(us[-1])
        if self.coarser is None:
            x = us.pop()
        else:
            self.shrink_row.push(us[-1].plain)
            if i % 2 == 0:
                self.shrink.start_row(self.told.new_zeros(1))
                self.from_coarser = self.coarser.start_row(i // 2, self.shrink_row.read()).plain
            grow = self.resolution.grow_u
            x = features(grow.row(self.from_coarser, i % 2, self.width))
        for pair, cached in zip(self.pairs_up, self.up, strict=True):
            x = pair.u(x, self.told, us.pop().active, apply=apply)
            cached.start_row(x)
        return x

    def pixel(self, i: int, j: int, x: Tensor) -> Tensor:
        """The stream ul `(N, C)` of a pixel; see `Resolution.forward`."""
        skips = []
        for block in self.down:
            x = block(x, j)
            # the block left its input there, active
            skips.append(block.first.slots[j])
        if self.coarser is not None:
            skips.append(concat_elu(x))
            self.shrink.slots[j].copy_(x)
            half = j // 2
            if i % 2 == 0 and j % 2 == 0:
                y = self.coarser.pixel(i // 2, half, self.shrink.read(half))
                self.grown[half] = torch.addmm(self.grow_bias, y, self.grow).chunk(4, 1)
            x = self.grown[half][2 * (i % 2) + j % 2]
        for block in self.up:
            x = block(x, j, skips.pop())
        return x
