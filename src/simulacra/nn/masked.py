"""Masked convolution: a parallel form for training, and a cached form for sampling.

The mask is that of van den Oord et al. 2016 (arXiv 1601.06759), figure 2: an output sees the rows
above, the pixels to the left in its own row, and of its own pixel the earlier colours (mask A) or
also its own colour (mask B). The kernel holds no rows below the centre, which would all be zero.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from simulacra.errors import UsageError


def colour_slice(features: int, colours: int, colour: int) -> slice:
    """Which of `features` channels belong to a colour: `colours` contiguous parts, near equal."""
    start, stop = (-(-features * c // colours) for c in (colour, colour + 1))
    return slice(start, stop)


class MaskedConv2d(nn.Conv2d):
    """k×k convolution over the pixels before each pixel.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel_size: k, odd.
        mask: `A` hides a pixel's own colour, `B` shows it.
        colours: Number of colours predicted one after another within a pixel.
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
    ) -> None:
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise UsageError(f"kernel_size is odd and positive, got {kernel_size}")
        if min(inputs, outputs) < colours:
            raise UsageError(f"{colours} colours need at least as many channels")
        reach = kernel_size // 2
        super().__init__(inputs, outputs, (reach + 1, kernel_size), padding=(reach, reach))
        self.reach, self.colours = reach, colours
        kernel = torch.ones_like(self.weight, dtype=torch.bool)
        kernel[:, :, -1, reach:] = False
        for colour in range(colours):
            seen = colour + (mask == "B")
            visible = slice(0, colour_slice(inputs, colours, seen - 1).stop if seen else 0)
            kernel[colour_slice(outputs, colours, colour), visible, -1, reach] = True
        self.register_buffer("mask", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """All positions at once: `(N, inputs, H, W)` to `(N, outputs, H, W)`."""
        y = self._conv_forward(x, self.weight * self.mask, self.bias)
        # padding below the picture made `reach` rows that predict nothing
        return y[:, :, : x.shape[2]]


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
        assert conv.bias is not None
        self.bias = conv.bias.detach()
        self.above = weight[:, :, :-1].contiguous()
        taps = weight[:, :, -1, : self.reach + 1]
        # a matrix per colour, (taps × inputs, outputs of the colour)
        self.taps = [
            taps[colour_slice(weight.shape[0], conv.colours, c)].permute(2, 1, 0).flatten(0, 1)
            for c in range(conv.colours)
        ]
        self.rows = weight.new_zeros(n, self.inputs, self.reach, width)
        self.row = weight.new_zeros(n, (self.reach + width) * self.inputs)
        self.from_above = self.bias.expand(width, n, -1)

    def start_row(self) -> None:
        """Finish the row written last and prepare an empty one."""
        if self.reach:
            n = self.rows.shape[0]
            finished = self.row.view(n, -1, self.inputs)[:, self.reach :].permute(0, 2, 1)
            self.rows = torch.cat([self.rows[:, :, 1:], finished[:, :, None]], 2)
            y = torch.nn.functional.conv2d(
                self.rows, self.above, self.bias, padding=(0, self.reach)
            )
            self.from_above = y[:, :, 0].permute(2, 0, 1).contiguous()
        self.row.zero_()

    def write(self, x: Tensor, pixel: int, colour: int) -> None:
        """Set the input features of a colour at a pixel of the current row, `(N, features)`."""
        part = colour_slice(self.inputs, self.conv.colours, colour)
        start = (self.reach + pixel) * self.inputs
        self.row[:, start + part.start : start + part.stop] = x

    def read(self, pixel: int, colour: int) -> Tensor:
        """The output features of a colour at a pixel, `(N, features)`."""
        seen = self.row[:, pixel * self.inputs : (pixel + self.reach + 1) * self.inputs]
        part = colour_slice(self.bias.shape[0], self.conv.colours, colour)
        return torch.addmm(self.from_above[pixel, :, part], seen, self.taps[colour])
