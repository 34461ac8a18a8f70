"""Convolutions over pictures that train faster on a processor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from simulacra.nn.bilinear import Axes, Bilinear, plan

ENOUGH = 128
"""Channels from which on the products weigh more than what is done around them."""


class Convolution(nn.Module):
    """A convolution over pictures, as `torch.nn.Conv2d`, with a square kernel.

    Where it trains on a processor, it does so with fewer products; its output is then laid out with
    channels last and observations before them. Rounding differs: relative to the largest value by
    some 1e-6 in float32. That form has no second derivative; the plain one, which is for all else,
    has.

    Args:
        inputs: Channels.
        outputs: Channels.
        kernel: Side of the kernel.
        stride: Between outputs.
        padding: Zeros at each edge.
        bias: Whether there is one; before a normalisation over batches it would do nothing.
    """

    weight: nn.Parameter
    """`(kernel, kernel, inputs, outputs)`, the order of the products."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        # with torch's initial values
        plain = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=bias)
        self.weight = nn.Parameter(plain.weight.detach().permute(2, 3, 1, 0).contiguous())
        self.bias = plain.bias

    def axes(self, x: Tensor) -> Axes:
        """The products for pictures `(N, inputs, H, W)`."""
        kernel = len(self.weight)
        rows, columns = (plan(n, kernel, self.stride, self.padding) for n in x.shape[2:])
        return tuple(g.to(x) for g in rows), tuple(g.to(x) for g in columns)

    def plain(self, x: Tensor) -> Tensor:
        """By torch's own convolution."""
        weight = self.weight.permute(3, 2, 0, 1)
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures `(N, inputs, H, W)` to `(N, outputs, …)`."""
        if not self._learns_here(x):
            return self.plain(x)
        few, many = sorted(self.weight.shape[2:])
        if self._thin and few * len(self.weight) ** 2 <= many >= ENOUGH:
            return self.thin(x)
        # without a stride it is less that tiles save
        enough = ENOUGH if self.stride > 1 else 2 * ENOUGH
        return self.fast(x) if few >= enough else self.plain(x)

    def fast(self, x: Tensor) -> Tensor:
        """By fewer products."""
        apply: Callable[..., Tensor] = Bilinear.apply
        y = apply(x.permute(2, 3, 0, 1).contiguous(), self.weight, self.axes(x))
        y = y if self.bias is None else y + self.bias
        return y.permute(2, 3, 0, 1)

    def thin(self, x: Tensor) -> Tensor:
        """From few channels: one product with all patches, laid out as `fast` does."""
        (kernel, _, _, outputs), (rows, columns) = self.weight.shape, x.shape[2:]
        patches = functional.unfold(x, kernel, padding=self.padding, stride=self.stride)
        weight = self.weight.permute(2, 0, 1, 3).reshape(-1, outputs)
        y = patches.permute(2, 0, 1) @ weight
        y = y if self.bias is None else y + self.bias
        rows, columns = (
            (n + 2 * self.padding - kernel) // self.stride + 1 for n in (rows, columns)
        )
        return y.view(rows, columns, len(x), outputs).permute(2, 3, 0, 1)

    @property
    def _thin(self) -> bool:
        """Whether the side of the patches has the fewer channels."""
        return self.weight.shape[2] < self.weight.shape[3]

    def _learns_here(self, x: Tensor) -> bool:
        """On a processor, in one precision, once and with no second derivative asked for."""
        return (
            x.device.type == "cpu"
            and self.training
            and torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
            and x.dtype == self.weight.dtype
        )


class TransposedConvolution(Convolution):
    """A transposed convolution over pictures, as `torch.nn.ConvTranspose2d`; see `Convolution`.

    Args:
        inputs: Channels.
        outputs: Channels.
        kernel: Side of the kernel.
        stride: Between the outputs of neighbouring inputs.
        padding: Left away at each edge.
        output_padding: Added at the lower and right edge.
        bias: Whether there is one.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        output_padding: int = 0,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding, bias=bias)
        self.output_padding = output_padding
        plain = nn.ConvTranspose2d(inputs, outputs, kernel, stride, padding, bias=bias)
        self.weight = nn.Parameter(plain.weight.detach().permute(2, 3, 0, 1).contiguous())
        self.bias = plain.bias

    def axes(self, x: Tensor) -> Axes:
        """The products for pictures `(N, inputs, H, W)`: of the convolution back, transposed."""
        kernel = len(self.weight)
        more = kernel + self.output_padding - 2 * self.padding
        rows, columns = (
            plan((n - 1) * self.stride + more, kernel, self.stride, self.padding)
            for n in x.shape[2:]
        )
        return (
            tuple(g.to(x).transposed() for g in rows),
            tuple(g.to(x).transposed() for g in columns),
        )

    def thin(self, x: Tensor) -> Tensor:
        """To few channels: one product, whose patches are laid over one another."""
        n, channels, *sides = x.shape
        kernel, outputs = len(self.weight), self.weight.shape[3]
        weight = self.weight.permute(2, 3, 0, 1).reshape(channels, -1)
        patches = x.permute(2, 3, 0, 1).reshape(-1, n, channels) @ weight
        more = kernel + self.output_padding - 2 * self.padding
        y = functional.fold(
            patches.permute(1, 2, 0),
            tuple((side - 1) * self.stride + more for side in sides),
            kernel, padding=self.padding, stride=self.stride,
        )  # fmt: skip
        return y if self.bias is None else y + self.bias.view(outputs, 1, 1)

    @property
    def _thin(self) -> bool:
        return self.weight.shape[3] < self.weight.shape[2]

    def plain(self, x: Tensor) -> Tensor:
        """By torch's own convolution."""
        weight = self.weight.permute(2, 3, 0, 1)
        return functional.conv_transpose2d(
            x, weight, self.bias, self.stride, self.padding, self.output_padding
        )


class PictureNorm(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` that reads what `Convolution` gives as it is laid out."""

    def forward(self, x: Tensor) -> Tensor:
        """Pictures `(N, C, H, W)` to the same form."""
        laid = x.permute(2, 3, 0, 1)
        if x.is_contiguous() or not laid.is_contiguous():
            y: Tensor = super().forward(x)
            return y
        # a batch of single pixels has the same moments, and there is nothing to be copied
        pixels = super().forward(laid.reshape(-1, x.shape[1], 1, 1))
        return pixels.view(laid.shape).permute(2, 3, 0, 1)
