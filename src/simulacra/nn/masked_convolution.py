"""Masked convolution: a parallel form for training, and a cached form for sampling.

The mask is that of van den Oord et al. 2016 (arXiv 1601.06759), figure 2: an output sees the rows
above, the pixels to the left in its own row, and of its own pixel the earlier colours (mask A) or
also its own colour (mask B). The kernel holds no rows below the centre, which would all be zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from simulacra.ground.errors import UsageError


def colour_slice(features: int, colours: int, colour: int) -> slice:
    """Which of `features` channels belong to a colour: `colours` contiguous parts, near equal."""
    start, stop = (-(-features * c // colours) for c in (colour, colour + 1))
    return slice(start, stop)


def seen_colours(
    outputs: int, inputs: int, colours: int, mask: Literal["A", "B"], gates: int = 1
) -> Tensor:
    """Which inputs of a pixel each of its outputs may see, `(outputs, inputs)`.

    Args:
        outputs: Output channels, `gates` blocks that are each split among the colours.
        inputs: Input channels.
        colours: Colours predicted one after another within a pixel.
        mask: `A` hides a pixel's own colour, `B` shows it.
        gates: Blocks of outputs.

    Raises:
        UsageError: If a colour would have no channel.
    """
    block = outputs // gates
    if min(inputs, block) < colours:
        raise UsageError(f"{colours} colours need at least as many channels")
    seen = torch.zeros(block, inputs, dtype=torch.bool)
    for colour in range(colours):
        last = colour if mask == "B" else colour - 1
        stop = colour_slice(inputs, colours, last).stop if last >= 0 else 0
        seen[colour_slice(block, colours, colour), :stop] = True
    return seen.repeat(gates, 1)


class MaskedConv2d(nn.Conv2d):
    """k×k convolution over the pixels before each pixel.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel_size: k, odd.
        mask: `A` hides a pixel's own colour, `B` shows it.
        colours: Number of colours predicted one after another within a pixel.
        rows: How many rows above are seen; k // 2 if not given. With 0 it is a convolution along
            the row.
        gates: The outputs are so many blocks, each of which is split among the colours.
        bias: Whether something is added.
    """

    mask: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        *,
        mask: Literal["A", "B"],
        colours: int = 1,
        rows: int | None = None,
        gates: int = 1,
        bias: bool = True,
    ) -> None:
        check_kernel(kernel_size)
        seen = seen_colours(outputs, inputs, colours, mask, gates)
        reach = kernel_size // 2
        rows = reach if rows is None else rows
        # along the row alone there is nothing to the right that the kernel could hold
        across = kernel_size if rows else reach + 1
        super().__init__(inputs, outputs, (rows + 1, across), padding=(rows, reach), bias=bias)
        self.reach, self.rows, self.colours, self.gates = reach, rows, colours, gates
        self.shows_own = mask == "B"
        kernel = torch.ones_like(self.weight, dtype=torch.bool)
        kernel[:, :, -1, reach:] = False
        kernel[:, :, -1, reach] = seen
        self.register_buffer("mask", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """All positions at once: `(N, inputs, H, W)` to `(N, outputs, H, W)`."""
        y = self._conv_forward(x, self.weight * self.mask, self.bias)
        # padding below the picture, and to its right, made outputs that predict nothing
        return y[:, :, : x.shape[2], : x.shape[3]]

    def spread(self, light: Tensor) -> Tensor:
        """Where light `(N, 1, H, W)` on the inputs falls on the outputs, as 0 and 1."""
        # by the sizes alone, so that a mask can be held against it
        kernel = light.new_ones(1, 1, *self.kernel_size)
        kernel[..., -1, self.reach :] = 0
        kernel[..., -1, self.reach] = float(self.shows_own)
        y = nn.functional.conv2d(light, kernel, padding=self.padding)
        return (y[:, :, : light.shape[2], : light.shape[3]] > 0).float()


class ConvAbove(nn.Conv2d):
    """k×k convolution over the rows above each pixel, whole rows: no mask, hence no blind spot.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel_size: k, odd; k // 2 rows above are seen.
        own: Whether a pixel's own row is seen too, whose inputs then may hold rows above alone.
        bias: Whether something is added.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel_size: int, *, own: bool, bias: bool = True
    ) -> None:
        check_kernel(kernel_size)
        self.reach, self.own = kernel_size // 2, own
        if not self.reach and not own:
            raise UsageError("kernel_size is at least 3 where only rows above are seen, got 1")
        super().__init__(
            inputs, outputs, (self.reach + own, kernel_size),
            padding=(self.reach, self.reach), bias=bias,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """All positions at once: `(N, inputs, H, W)` to `(N, outputs, H, W)`."""
        y = self._conv_forward(x, self.weight, self.bias)
        # padding below the picture made outputs that stand for no row
        return y[:, :, : x.shape[2]]

    def spread(self, light: Tensor) -> Tensor:
        """Where light `(N, 1, H, W)` on the inputs falls on the outputs, as 0 and 1."""
        kernel = light.new_ones(1, 1, *self.kernel_size)
        y = nn.functional.conv2d(light, kernel, padding=self.padding)
        return (y[:, :, : light.shape[2]] > 0).float()


def gates_by_colour(features: int, colours: int, gates: int) -> list[Tensor]:
    """For each colour, where its gates are among so many blocks of `features` gates."""
    blocks = torch.arange(gates * features).view(gates, features)
    return [blocks[:, colour_slice(features, colours, c)].flatten() for c in range(colours)]


def blind_pixels(
    event_shape: tuple[int, ...], first: MaskedConv2d, after: Iterable[Callable[[Tensor], Tensor]]
) -> Tensor:
    """Which values of earlier pixels do not reach those of later ones, `(dims, dims)` booleans.

    Args:
        event_shape: `(C, H, W)`.
        first: The first layer, with mask A.
        after: Where each layer after it carries light `(P, 1, H, W)` on its inputs to.
    """
    colours, height, width = event_shape
    pixels = height * width
    earlier = torch.ones(pixels, pixels).triu(1).bool()
    # one picture for each pixel: what its light spreads to, layer by layer
    light, layers = torch.eye(pixels).view(pixels, 1, height, width), list(after)
    blind = []
    for colour in range(colours):
        lit = first.spread(light)
        if colour < colours - 1:
            # the later colours of its own pixel see it, and hand it on
            lit = torch.maximum(lit, light)
        for spread in layers:
            lit = spread(lit)
        blind.append(earlier & (lit.view(pixels, pixels) == 0))
    return torch.cat([part.repeat(1, colours) for part in blind])


def check_kernel(size: int) -> None:
    """Refuse a kernel that has no centre.

    Raises:
        UsageError: If the size is not odd and positive.
    """
    if size < 1 or size % 2 == 0:
        raise UsageError(f"kernel_size is odd and positive, got {size}")


class MaskedConvStream:
    """The cached form of one `MaskedConv2d`: a pixel's colour at a time, in raster order.

    What the finished rows add to a row is computed once, for the whole row; each step adds the
    few taps of the row itself.

    Args:
        conv: The layer; its weights are read once.
        n: Number of pictures.
        width: Pixels in a row.
    """

    def __init__(self, conv: MaskedConv2d, n: int, width: int) -> None:
        weight = (conv.weight * conv.mask).detach()
        self.conv = conv
        self.reach, self.inputs = conv.reach, weight.shape[1]
        self.outputs = [colour_slice(weight.shape[0], conv.colours, c) for c in range(conv.colours)]
        bias = conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias
        self.bias = bias.detach()
        self.above = weight[:, :, :-1].contiguous()
        taps = weight[:, :, -1, : self.reach + 1]
        # a matrix per colour, (taps × inputs, outputs of the colour)
        self.taps = [
            taps[part].permute(2, 1, 0).flatten(0, 1).contiguous() for part in self.outputs
        ]
        self.rows = weight.new_zeros(n, self.inputs, self.reach, width)
        self.row = weight.new_zeros(n, (self.reach + width) * self.inputs)
        # what is written and read of the row, sliced beforehand: it takes as long as a product
        starts = range(self.reach * self.inputs, self.row.shape[1], self.inputs)
        parts = [colour_slice(self.inputs, conv.colours, c) for c in range(conv.colours)]
        self.slots = [
            [self.row[:, start + part.start : start + part.stop] for part in parts]
            for start in starts
        ]
        self.seen = [
            self.row[:, start - self.reach * self.inputs : start + self.inputs] for start in starts
        ]
        self._split(self.bias.expand(width, n, -1))

    def _split(self, from_above: Tensor) -> None:
        """What is added at each pixel, `(width, N, outputs)`, by pixel and colour."""
        self.from_above = [
            [pixel[:, part] for part in self.outputs] for pixel in from_above.unbind(0)
        ]

    def start_row(self) -> None:
        """Finish the row written last and prepare an empty one."""
        if self.reach:
            finished = self.row.unflatten(1, (-1, self.inputs))[:, self.reach :].permute(0, 2, 1)
            self.rows = torch.cat([self.rows[:, :, 1:], finished[:, :, None]], 2)
            y = torch.nn.functional.conv2d(
                self.rows, self.above, self.bias, padding=(0, self.reach)
            )
            self._split(y[:, :, 0].permute(2, 0, 1).contiguous())
        self.row.zero_()

    def write(self, x: Tensor, pixel: int, colour: int) -> None:
        """Set the input features of a colour at a pixel of the current row, `(N, features)`."""
        self.slots[pixel][colour].copy_(x)

    def read(self, pixel: int, colour: int) -> Tensor:
        """The output features of a colour at a pixel, `(N, features)`."""
        return torch.addmm(self.from_above[pixel][colour], self.seen[pixel], self.taps[colour])
