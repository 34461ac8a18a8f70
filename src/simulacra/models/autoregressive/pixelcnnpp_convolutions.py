"""Shifted convolution: a parallel form for training, and cached forms by rows and by pixels.

Instead of a mask, the picture is padded at the top and the left alone, so that a kernel ends at its
output's own row, or at its own pixel (Salimans et al. 2017, arXiv 1701.05517, section 2.3). The
cached forms compute, as Ramachandran et al. 2017 (arXiv 1704.06001), each output once: at half the
resolution only for every second row and column.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Stream = Literal["down", "down-right"]


class ShiftedConv2d(nn.Conv2d):
    """Convolution whose kernel begins so many rows above and columns left of its output.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel_size: Rows and columns of the kernel.
        above: Rows from its first row down to the output's own.
        left: Columns from its first column to the output's own.
        stride: Every how manieth row and column there is an output, the first one included.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel_size: tuple[int, int],
        *, above: int = 1, left: int = 1, stride: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(inputs, outputs, kernel_size, stride=stride)
        rows, columns = kernel_size
        self.left = left
        # negative where the kernel ends before the output's own row or column
        self.margins = (left, columns - 1 - left, above, rows - 1 - above)

    def forward(self, x: Tensor) -> Tensor:
        """All at once: `(N, inputs, H, W)` to `(N, outputs, ⌈H / stride⌉, ⌈W / stride⌉)`."""
        return super().forward(F.pad(x, self.margins))


def shifted_conv(stream: Stream, inputs: int, outputs: int, *, stride: int = 1) -> ShiftedConv2d:
    """A stream's convolution: 2×3 sees the row and the one above, 2×2 no pixel to the right."""
    return ShiftedConv2d(inputs, outputs, (2, 3 if stream == "down" else 2), stride=stride)


class ShiftedConvTranspose2d(nn.ConvTranspose2d):
    """Twice the rows and columns, of which each sees what lies, halved, not after itself.

    Args:
        stream: `down` takes also from the column to the right, `down-right` does not.
        channels: Input and output channels.
    """

    def __init__(self, stream: Stream, channels: int) -> None:
        self.across = int(stream == "down")
        super().__init__(
            channels, channels, (2, 2 + self.across), stride=2,
            padding=(0, self.across), output_padding=(0, self.across),
        )  # fmt: skip

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """All at once, cut to `output_size`, height and width, since an odd side was rounded up."""
        y = super().forward(x)
        return y if output_size is None else y[:, :, : output_size[0], : output_size[1]]

    def row(self, x: Tensor, odd: int, width: int) -> Tensor:
        """The even or odd one of the two rows `(N, C, 1, width)` that a row becomes."""
        weight = self.weight[:, :, odd : odd + 1]
        across = (0, self.across)
        y = F.conv_transpose2d(
            x, weight, self.bias, stride=(1, 2), padding=across, output_padding=across
        )
        return y[..., :width]

    def pixels(self) -> tuple[Tensor, Tensor]:
        """Bias and matrix from a pixel to the four that it becomes side by side, by rows."""
        assert self.bias is not None
        return self.bias.repeat(4), self.weight.permute(0, 2, 3, 1).flatten(1)


class RowStream:
    """The cached form of a `ShiftedConv2d`, a row at a time.

    Args:
        conv: The layer; its weights are read once.
        n: Number of pictures.
        width: Pixels in a row that comes in.
    """

    def __init__(self, conv: ShiftedConv2d, n: int, width: int) -> None:
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.margins = conv.stride, (*conv.margins[:2], 0, 0)
        rows = conv.kernel_size[0]
        self.rows = self.weight.new_zeros(n, conv.in_channels, rows, width)

    def push(self, row: Tensor) -> None:
        """The next row that comes in, `(N, inputs, 1, W)`."""
        self.rows = torch.cat([self.rows[:, :, 1:], row], 2)

    def read(self) -> Tensor:
        """The row of outputs whose kernel ends at the row that came last."""
        return F.conv2d(F.pad(self.rows, self.margins), self.weight, self.bias, self.stride)


class PixelStream:
    """The cached form of a `ShiftedConv2d`, a pixel at a time.

    What the row above adds is computed once, for the whole row; each step adds the few taps of the
    row itself. The inputs of a pixel are written into its slot before it is read.

    Args:
        conv: The layer, with two rows; its weights are read once.
        n: Number of pictures.
        width: Pixels in a row that comes in.
    """

    def __init__(self, conv: ShiftedConv2d, n: int, width: int) -> None:
        weight, stride = conv.weight, conv.stride[1]
        self.above, self.bias, self.stride = weight[:, :, :1], conv.bias, (1, stride)
        columns, inputs = conv.kernel_size[1], conv.in_channels
        self.taps = weight[:, :, 1].permute(2, 1, 0).flatten(0, 1)
        self.row = weight.new_zeros(n, conv.left + width, inputs)
        self.slots = self.row[:, conv.left :].unbind(1)
        outputs = range(-(-width // stride))
        flat = self.row.flatten(1)
        self.seen = [
            flat[:, j * stride * inputs : (j * stride + columns) * inputs] for j in outputs
        ]
        self.from_above: tuple[Tensor, ...] = ()

    def start_row(self, extra: Tensor) -> None:
        """What is known before the row: the row above, which is in the slots, and something else.

        Args:
            extra: `(N, outputs, 1, W)` of outputs, or what broadcasts to it.
        """
        row = self.row.permute(0, 2, 1)[:, :, None]
        known = F.conv2d(row, self.above, self.bias, self.stride)[..., : len(self.seen)] + extra
        self.from_above = known[:, :, 0].permute(2, 0, 1).contiguous().unbind(0)

    def read(self, column: int) -> Tensor:
        """The outputs of a pixel, `(N, outputs)`, by its column among the outputs."""
        return torch.addmm(self.from_above[column], self.seen[column], self.taps)
