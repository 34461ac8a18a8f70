"""Diagonal BiLSTM: two LSTMs that go along the diagonals see every earlier pixel."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn.functional import pad

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.autoregressive.convolutional_lstm import (
    ConvLSTM,
    Gates,
    Step,
    row_matrix,
    start_remembering,
)
from simulacra.models.autoregressive.diagonal_bilstm_skew import Diagonals
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, ContextKind
from simulacra.nn.levels import as_input, categorical, input_channels
from simulacra.nn.masked_convolution import (
    MaskedConv2d,
    MaskedConvStream,
    colour_slice,
    gates_by_colour,
)


def pixelwise(conv: MaskedConv2d, x: Tensor) -> Tensor:
    """A 1×1 convolution of features `(P, N, C)`, whose channels lie side by side in memory."""
    if not x.shape[1]:
        # a convolution has no pictures of no width
        return x.new_zeros(*x.shape[:2], conv.out_channels)
    return conv(x[:, :, None].permute(0, 3, 1, 2))[..., 0].transpose(1, 2)


class DiagonalBiLSTMLayer(nn.Module):
    """2h → two LSTMs of h features, added → 2h, added to the input (section 3.2; figure 5, right).

    The features of all pixels are in the order of the diagonals from the left.

    Args:
        channels: h.
        colours: Colours of a pixel, one after another.
        told: Width of the context's features.
    """

    def __init__(self, channels: int, colours: int, told: int) -> None:
        super().__init__()
        conv = partial(MaskedConv2d, kernel_size=1, mask="B", colours=colours)
        self.from_left, self.from_right = (
            conv(2 * channels, 4 * channels, gates=4) for _ in range(2)
        )
        # on the diagonal before, in the same row is the pixel to the side, one row up the one above
        self.state_to_state = ConvLSTM(channels, (0, -1), directions=2)
        self.widen = conv(channels, 2 * channels, bias=False)
        self.told = nn.Linear(told, 8 * channels, bias=False) if told else None
        for side in (self.from_left, self.from_right):
            start_remembering(side)

    def bias(self, told: Tensor) -> Tensor:
        """What is added to the gates of both sides whatever is seen, `(2, N, 4h)`."""
        sides: list[Tensor] = [
            side.get_parameter("bias") for side in (self.from_left, self.from_right)
        ]
        bias = torch.stack(sides)[:, None].expand(-1, len(told), -1)
        return bias if self.told is None else bias + torch.stack(self.told(told).chunk(2, 1))

    def forward(self, x: Tensor, told: Tensor, diagonals: Diagonals) -> Tensor:
        """The features after the layer, `(P, N, 2h)`.

        Args:
            x: The features before it, in the order of the diagonals.
            told: Those of the context, `(N, width)`.
            diagonals: Of the picture.
        """
        left = pixelwise(self.from_left, x)
        right = pixelwise(self.from_right, diagonals.move(x, "mirrored"))
        if self.told is not None:
            for_left, for_right = self.told(told).chunk(2, 1)
            left, right = left + for_left, right + for_right
        left, right = self.state_to_state(diagonals.fronts, left, right)
        # one row down: what is to the right of a pixel in its own row comes after it
        return x + pixelwise(self.widen, left + diagonals.move(right, "below"))


class DiagonalBiLSTM(Autoregressive):
    """Convolutional LSTMs that go along the diagonals from both sides see all pixels before.

    The likelihood is exact. Colours are predicted in the order R, G, B within a pixel. There is no
    blind spot: a single layer already carries every earlier pixel to every later one.

    Paper: A. van den Oord, N. Kalchbrenner, K. Kavukcuoglu, "Pixel Recurrent Neural Networks",
        2016, arXiv 1601.06759, section 3.2 and table 1.
    Departs from the paper: inside, a picture has one more column at its right, without which the
        last pixel of a row would not reach the next row but for its end; a context, when given,
        enters every gate, as in the conditional PixelCNN of arXiv 1606.05328; the 1×1 convolutions
        that widen the states have no bias; the biases of the forget gates start one higher;
        levels enter scaled to [−1, 1], unordered ones one-hot.

    Args:
        spec: Pictures of integer levels.
        channels: h, the width of an LSTM's state; 2h between layers.
        layers: Number of LSTM layers; up to 12 in the paper.
        first_kernel_size: k of the first k×k convolution (mask A), at least 3.
        context: What the model is told beside the picture: none, label or vector.
    """

    takes = Takes(sounds=False, vectors=False)
    preset = {"batch": 16, "lr": 2e-3}
    small = (
        {"channels": 6, "layers": 2, "first_kernel_size": 3},
        {"channels": 4, "layers": 1, "context": "label"},
        {"channels": 4, "layers": 1, "context": "vector"},
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        channels: int = 64,
        layers: int = 7,
        first_kernel_size: int = 7,
        context: ContextKind = "none",
    ) -> None:
        if channels < 1 or layers < 1 or first_kernel_size < 3:
            raise UsageError(
                "channels and layers are positive, first_kernel_size at least 3; got "
                f"channels={channels}, layers={layers}, first_kernel_size={first_kernel_size}"
            )
        super().__init__(spec)
        self.channels, self.context = channels, context
        self.first_kernel_size = first_kernel_size
        self.colours = spec.event_shape[0]
        wide = 2 * channels
        self.context_features = ContextEmbedding(context, spec, channels)
        self.first = MaskedConv2d(
            input_channels(spec), wide, first_kernel_size, mask="A", colours=self.colours
        )
        # registered under a name of their own: `layers` is the keyword
        self.recurrent = nn.ModuleList(
            DiagonalBiLSTMLayer(channels, self.colours, self.context_features.width)
            for _ in range(layers)
        )
        self.layers = layers
        # the place past a row's end is the first that may see its last pixel
        self.diagonals = Diagonals(spec.event_shape[1], spec.event_shape[2] + 1)
        conv = partial(MaskedConv2d, kernel_size=1, mask="B", colours=self.colours)
        self.hidden = conv(wide, wide)
        self.logits = conv(wide, self.colours * self._levels)

    def conditionals(self, x: Tensor, context: Tensor | None = None) -> Categorical:
        """p(x_i | x_<i, context), all at once; batch `(N, C, H, W)`."""
        inputs = as_input(x, self.spec, self.first.weight.dtype)
        told = self.context_features(context, inputs)
        h = self.first(pad(inputs, (0, 1)))
        height, width = h.shape[2:]
        h = self.diagonals.move(h.flatten(2).permute(2, 0, 1), "diagonal")
        for layer in self.recurrent:
            h = layer(h, told, self.diagonals)
        h = self.diagonals.move(h, "raster").unflatten(0, (height, width))[:, :-1].flatten(0, 1)
        logits = pixelwise(self.logits, pixelwise(self.hidden, h.relu()).relu())
        logits = logits.unflatten(0, (height, width - 1)).unflatten(-1, (self.colours, -1))
        return categorical(logits.permute(2, 3, 0, 1, 4))

    @torch.no_grad()
    def in_turn(self, canvas: Tensor, context: Tensor | None = None) -> Iterator[Tensor]:
        """The predictions from cached states: each layer runs once per value.

        The LSTMs from the right go through a row when it is complete. See `Autoregressive.in_turn`.
        """
        n, _, height, width = canvas.shape
        dtype = self.first.weight.dtype
        told = self.context_features(context, self.first.weight.new_empty(n))
        first, hidden, logits = (
            MaskedConvStream(layer, n, width + 1)
            for layer in (self.first, self.hidden, self.logits)
        )
        layers = cast("list[DiagonalBiLSTMLayer]", list(self.recurrent))
        stream = _DiagonalStream(layers, told, width + 1)
        for i in range(height):
            for part in (first, stream, hidden, logits):
                part.start_row()
            for j in range(width):
                for c in range(self.colours):
                    hidden.write(stream.read(first.read(j, c), j, c).relu(), j, c)
                    logits.write(hidden.read(j, c).relu_(), j, c)
                    yield logits.read(j, c)
                    first.write(as_input(canvas[:, c : c + 1, i, j], self.spec, dtype), j, c)
            for c in range(self.colours):
                stream.read(first.read(width, c), width, c)


class _DiagonalStream:
    """The cached form of all layers: a pixel's colour at a time, in raster order.

    Args:
        layers: Whose weights are read once.
        told: The context's features, `(N, width)`.
        width: Pixels in a row.
    """

    def __init__(self, layers: list[DiagonalBiLSTMLayer], told: Tensor, width: int) -> None:
        n, count = len(told), len(layers)
        h, colours = layers[0].widen.in_channels, layers[0].widen.colours
        gates = [part.to(told.device) for part in gates_by_colour(h, colours, 4)]
        order = torch.cat(gates)
        left, right = torch.stack([layer.bias(told) for layer in layers], 1)
        self.left_bias, self.right_bias = left[:, :, None, order], right[:, :, None]
        inputs = torch.stack([row_matrix(layer.from_right) for layer in layers])
        states = torch.stack([layer.state_to_state.weight for layer in layers])
        self.left_above = states[:, 0, h:, order]
        # from the right: what is known once the row is complete, and the state to the right
        self.right_known = torch.cat([inputs, states[:, 1, h:]], 1)
        self.right_beside = states[:, 1, :h]
        # at each place the state to its left and the features of its pixel, side by side
        self.rows = told.new_zeros(count + 1, n, width + 1, 3 * h)
        self.given = told.new_zeros(count, n, width, 4 * h)
        self.right = told.new_zeros(width + 1, count, n, h)
        self.left_cell, self.right_cell = told.new_zeros(2, count, n, h)
        self.right_gates = Gates(told.new_empty(count, n, 4 * h))
        sums = told.new_zeros(count, n, h)
        self.begun = False
        self.steps: list[list[list[Step]]] = [[[] for _ in gates] for _ in range(width)]
        for c, part in enumerate(gates):
            inner, outer = colour_slice(h, colours, c), colour_slice(2 * h, colours, c)
            own = slice(h + outer.start, h + outer.stop)
            scratch = Gates(told.new_empty(n, len(part)))
            for k, layer in enumerate(layers):
                matrix = torch.cat([states[k, 0, :h], row_matrix(layer.from_left)])
                weight = matrix[:, part].contiguous()
                widen = row_matrix(layer.widen)[: inner.stop, outer].contiguous()
                summed = sums[k]
                for j in range(width):
                    self.steps[j][c].append(
                        Step(
                            given=self.given[k, :, j, 4 * inner.start : 4 * inner.stop],
                            seen=self.rows[k, :, j],
                            weight=weight,
                            gates=scratch,
                            cell=self.left_cell[k, :, inner],
                            state=self.rows[k, :, j + 1, inner],
                            other=(self.right[j, k, :, inner], summed[:, inner]),
                            states=summed[:, : inner.stop],
                            widen=widen,
                            x=self.rows[k, :, j, own],
                            after=self.rows[k + 1, :, j, own],
                        )
                    )

    def start_row(self) -> None:
        """Prepare an empty row, after the one written last has gone through from the right."""
        h = self.right.shape[-1]
        product = self.given.flatten(1, 2)
        torch.bmm(self.rows[:-1, :, 1:, :h].flatten(1, 2), self.left_above, out=product)
        self.given += self.left_bias
        if self.begun:
            self.go_left()
        self.begun = True
        for buffer in (self.left_cell, self.right_cell, self.rows):
            buffer.zero_()

    def go_left(self) -> None:
        """Let the LSTMs of all layers go through the complete row from the right."""
        h, above = self.right.shape[-1], self.right[:-1].permute(1, 2, 0, 3)
        known = torch.cat([self.rows[:-1, :, :-1, h:], above], -1)
        known = (known.flatten(1, 2) @ self.right_known).view(self.given.shape) + self.right_bias
        for j in reversed(range(known.shape[2])):
            beside, gates = self.right[j + 1], self.right_gates
            torch.baddbmm(known[:, :, j], beside, self.right_beside, out=gates.values)
            gates.advance(self.right_cell, self.right[j])

    def read(self, features: Tensor, pixel: int, colour: int) -> Tensor:
        """The features of a colour at a pixel after all layers, from those before them."""
        steps = self.steps[pixel][colour]
        steps[0].x.copy_(features)
        for step in steps:
            step.take()
        return steps[-1].after
