"""How a Gated PixelCNN is sampled: each feature is computed once, as few large products as can be.

The vertical stack goes a row at a time, the horizontal one a colour of a pixel at a time. What the
pixels to the left add to a pixel's gates is computed for all layers at once. A row of features is
`(width · n, channels)`, pixel by pixel.

tanh costs many times what σ does, so a gate tanh(a) σ(b) is computed as 2 (σ(2a) − ½) σ(b): the
matrices that lead to a are doubled, once, and so are those that take the gate's output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.nn.masked_convolution import ConvAbove, MaskedConv2d, colour_slice, gates_by_colour


class GatedLayer(Protocol):
    """What is read of a layer of both stacks."""

    first: bool
    vertical: ConvAbove
    across: nn.Conv2d
    horizontal: MaskedConv2d
    out: MaskedConv2d

    def context(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What features `(N, told)` add to the gates of both stacks, `(N, 2p)` each."""


class VerticalRows:
    """The vertical stack, and what it gives to the horizontal one, row by row.

    Of each layer's input it keeps the windows of the last rows: the channels of all pixels that
    a row of the kernel covers, side by side.

    Args:
        layers: Of the model.
        told: Features of the context, `(n, told)`, or of a map `(n, told, height, width)`.
        width: Pixels in a row.
    """

    def __init__(self, layers: Sequence[GatedLayer], told: Tensor, width: int) -> None:
        self.n, self.width = told.shape[0], width
        # a number of Python's would be made a tensor at each use
        self.half = told.new_tensor(0.5)
        horizontal = layers[0].horizontal
        p = horizontal.out_channels // 2
        columns = torch.cat(gates_by_colour(p, horizontal.colours, 2)).to(told.device)
        doubled = told.new_ones(2 * p)
        doubled[:p] = 2
        self.layers, self.columns, self.doubled = layers, columns, doubled
        self.reaches = [layer.vertical.reach for layer in layers]
        # matrices of each row of a kernel, (taps × inputs, outputs); the inputs of all layers but
        # the first are half of what they should be
        self.kernels = [
            [
                part.permute(2, 1, 0).flatten(0, 1) * doubled * (1 if layer.first else 2)
                for part in layer.vertical.weight.unbind(2)
            ]
            for layer in layers
        ]
        self.across = [
            (layer.across.weight[:, :, 0, 0].T / doubled[:, None] * doubled)[:, columns]
            for layer in layers
        ]
        rows = width * self.n
        # features of each pixel of the rows to come, the next one last; of a context that tells the
        # same of all rows nothing, and what it adds once
        self.told: list[Tensor] = []
        if told.ndim == 4:
            by_row = told.permute(2, 3, 0, 1).flatten(1, 2)
            self.told = list(by_row.unbind(0))[::-1]
        else:
            self._tell(told.repeat(width, 1))
        self.windows = [
            [told.new_zeros(rows, len(kernels[0])) for _ in range(reach)]
            for reach, kernels in zip(self.reaches, self.kernels, strict=True)
        ]
        self.given = told.new_zeros(len(layers), rows, 2 * p)

    def _tell(self, told: Tensor) -> None:
        """What features `(width · n, told)` of a row's pixels add to all layers' gates."""
        self.bias, self.bias_across = [], []
        for layer in self.layers:
            for_v, for_h = layer.context(told)
            self.bias.append((for_v + _bias(layer.vertical)) * self.doubled)
            across = (for_h + _bias(layer.horizontal)) * self.doubled
            self.bias_across.append(across[:, self.columns])

    def following(self) -> Tensor:
        """What all but the row itself adds to the gates of the next row.

        Returns:
            `(layers, width, n, 2p)`, columns as in `gates_by_colour`; overwritten by the next call.
        """
        if self.told:
            self._tell(self.told.pop())
        v: Tensor | None = None
        for layer, (kernels, windows) in enumerate(zip(self.kernels, self.windows, strict=True)):
            if v is not None:
                windows.append(self._window(v, self.reaches[layer]))
            features = self.bias[layer]
            for number, (window, kernel) in enumerate(zip(windows, kernels, strict=True)):
                if number:
                    features.addmm_(window, kernel)
                else:
                    features = torch.addmm(features, window, kernel)
            if v is not None:
                windows.pop(0)
            torch.addmm(
                self.bias_across[layer], features, self.across[layer], out=self.given[layer]
            )
            a, b = features.sigmoid_().chunk(2, 1)
            a.sub_(self.half)
            v = a * b if v is None else v.addcmul_(a, b)
        return self.given.unflatten(1, (self.width, self.n))

    def write(self, row: Tensor) -> None:
        """A finished row of the picture's input, `(n, channels, width)`."""
        window = self._window(row.permute(2, 0, 1).flatten(0, 1), self.reaches[0])
        self.windows[0] = [*self.windows[0][1:], window]

    def _window(self, row: Tensor, reach: int) -> Tensor:
        if not reach:
            return row.clone()
        by_pixel = row.view(self.width, self.n, row.shape[1])
        padded = F.pad(by_pixel, (0, 0, 0, 0, reach, reach))
        taps = [padded[k : k + self.width] for k in range(2 * reach + 1)]
        return torch.cat(taps, -1).flatten(0, 1)


class Row:
    """The horizontal stack and what follows it, in one row after another.

    Args:
        layers: Of the model.
        head: Its last two convolutions, 1×1.
        n: Number of pictures.
        width: Pixels in a row.
    """

    def __init__(
        self,
        layers: Sequence[GatedLayer],
        head: tuple[MaskedConv2d, MaskedConv2d],
        n: int,
        width: int,
    ) -> None:
        first, p, count = layers[0].horizontal, head[0].in_channels, len(layers)
        colours, inputs, reach = first.colours, first.in_channels, first.reach
        new = first.weight.new_zeros
        columns = torch.cat(gates_by_colour(p, colours, 2)).to(first.weight.device)
        doubled = new(2 * p) + 1
        doubled[:p] = 2
        self.half = new(()) + 0.5
        # (taps, inputs, outputs)
        kernels = [
            ((layer.horizontal.weight * layer.horizontal.mask)[:, :, 0].permute(2, 1, 0) * doubled)[
                ..., columns
            ]
            for layer in layers
        ]
        # from the pixels to the left, for all layers but the first at once
        self.first_left = kernels[0][:-1].flatten(0, 1)
        after = layers[1].horizontal.reach if count > 1 else 0
        self.left = new(count - 1, after * p, 2 * p)
        for matrix, kernel in zip(self.left, kernels[1:], strict=True):
            matrix.copy_(kernel[:-1].flatten(0, 1))
        # the inputs and features of a row's pixels side by side, after those that pad it
        x, h = new(n, (reach + width) * inputs), new(count - 1, n, (after + width) * p)
        self.x_left = [x[:, j * inputs : (j + reach) * inputs] for j in range(width)]
        self.x_here = [x[:, (j + reach) * inputs :][:, :inputs] for j in range(width)]
        self.h_left = [h[:, :, j * p : (j + after) * p] for j in range(width)]
        h_here = [h[:, :, (j + after) * p :][:, :, :p].unbind(0) for j in range(width)]
        self.features = new(count, n, 2 * p)
        gated, (last, self.rectified, self.before) = new(count, n, p), new(3, n, p).unbind(0)
        out = [_by_colour(layer.out, colours, 2) for layer in layers]
        (self.hidden, self.logits) = (_by_colour(conv, colours) for conv in head)
        self.parts = [colour_slice(p, colours, c) for c in range(colours)]
        self.inputs = [colour_slice(inputs, colours, c) for c in range(colours)]
        # all that a layer's step needs, sliced beforehand: (what the colour may see of the pixel,
        # its matrix, gates, halves of the gates, gated, all gated that it may see, matrix out,
        # residual, features out)
        self.steps: list[list[list[tuple[Tensor, ...]]]] = []
        for j in range(width):
            chain = [*h_here[j], last]
            self.steps.append([])
            for c, part in enumerate(self.parts):
                gates = slice(2 * part.start, 2 * part.stop)
                steps = []
                for layer in range(count):
                    before = chain[layer - 1] if layer else self.x_here[j]
                    seen = part.stop if layer else self.inputs[c].start
                    both = self.features[layer, :, gates]
                    steps.append((
                        before[:, :seen], kernels[layer][-1, :seen, gates],
                        both, *both.chunk(2, 1),
                        gated[layer, :, part], gated[layer, :, : part.stop], out[layer][c][0],
                        before[:, part] if layer else new(n, part.stop - part.start),
                        chain[layer][:, part],
                    ))  # fmt: skip
                self.steps[j].append(steps)
        self.last = [last[:, part] for part in self.parts]

    def start_pixel(self, j: int, given: Tensor) -> None:
        """What rows above and pixels to the left add to the gates of all layers.

        Args:
            j: The pixel's column.
            given: What `VerticalRows.following` gave.
        """
        torch.addmm(given[0, j], self.x_left[j], self.first_left, out=self.features[0])
        torch.baddbmm(given[1:, j], self.h_left[j], self.left, out=self.features[1:])

    def predict(self, j: int, c: int) -> Tensor:
        """Logits `(n, levels)` of a colour of a pixel."""
        half = self.half
        for seen, own, both, a, b, gate, gated, out, before, after in self.steps[j][c]:
            if seen.shape[1]:
                both.addmm_(seen, own)
            both.sigmoid_()
            torch.mul(a.sub_(half), b, out=gate)
            torch.addmm(before, gated, out, out=after)
        part = self.parts[c]
        torch.clamp_min(self.last[c], 0, out=self.rectified[:, part])
        matrix, bias = self.hidden[c]
        hidden = torch.addmm(bias, self.rectified[:, : part.stop], matrix)
        torch.clamp_min(hidden, 0, out=self.before[:, part])
        matrix, bias = self.logits[c]
        return torch.addmm(bias, self.before[:, : part.stop], matrix)

    def write(self, value: Tensor, j: int, c: int) -> None:
        """The picture's input `(n, inputs)` of a colour of a pixel, once it is known."""
        self.x_here[j][:, self.inputs[c]] = value


def _by_colour(conv: MaskedConv2d, colours: int, scale: float = 1) -> list[tuple[Tensor, Tensor]]:
    """The matrix and bias of each colour of a 1×1 convolution."""
    matrix = conv.weight[:, :, 0, 0].T * scale
    bias, found = _bias(conv), []
    for c in range(colours):
        outputs = colour_slice(conv.out_channels, colours, c)
        seen = colour_slice(conv.in_channels, colours, c).stop
        found.append((matrix[:seen, outputs].contiguous(), bias[outputs]))
    return found


def _bias(conv: nn.Conv2d) -> Tensor:
    return conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias
