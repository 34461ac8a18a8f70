"""Row LSTM: a convolutional LSTM that goes down the rows sees a triangle above each pixel."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn.functional import max_pool1d, pad

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
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, ContextKind
from simulacra.nn.levels import as_input, categorical, input_channels
from simulacra.nn.masked_convolution import (
    MaskedConv2d,
    MaskedConvStream,
    blind_pixels,
    colour_slice,
    gates_by_colour,
)


class RowLSTMLayer(nn.Module):
    """2h → LSTM of h features → 2h, added to the input (section 3.1; figure 5, right).

    Args:
        channels: h.
        kernel_size: k of the input-to-state and of the state-to-state convolution.
        colours: Colours of a pixel, one after another.
        told: Width of the context's features.
    """

    def __init__(self, channels: int, kernel_size: int, colours: int, told: int) -> None:
        super().__init__()
        conv = partial(MaskedConv2d, mask="B", colours=colours)
        self.input_to_state = conv(2 * channels, 4 * channels, kernel_size, rows=0, gates=4)
        reach = kernel_size // 2
        # no mask: the row above is complete
        self.state_to_state = ConvLSTM(channels, range(-reach, reach + 1))
        self.widen = conv(channels, 2 * channels, 1, bias=False)
        self.told = nn.Linear(told, 4 * channels, bias=False) if told else None
        start_remembering(self.input_to_state)

    def bias(self, told: Tensor) -> Tensor:
        """What is added to the gates whatever is seen, `(N, 4h)`."""
        bias = self.input_to_state.get_parameter("bias").expand(len(told), -1)
        return bias if self.told is None else bias + self.told(told)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """The features after the layer, `(N, 2h, H, W)`."""
        height, width = x.shape[2:]
        given = self.input_to_state(x)
        if self.told is not None:
            given = given + self.told(told)[:, :, None, None]
        given = given.flatten(2).permute(2, 0, 1)
        states = self.state_to_state([(0, width)] * height, given)
        return x + self.widen(states[0].permute(1, 2, 0).unflatten(2, (height, width)))


class RowLSTM(Autoregressive):
    """Convolutional LSTMs that go down the rows see a triangle above each pixel.

    The likelihood is exact. Colours are predicted in the order R, G, B within a pixel. What lies
    outside of the triangle, and in the own row further left than the convolutions reach, is not
    seen.

    Paper: A. van den Oord, N. Kalchbrenner, K. Kavukcuoglu, "Pixel Recurrent Neural Networks",
        2016, arXiv 1601.06759, section 3.1 and table 1.
    Departs from the paper: a context, when given, enters every gate, as in the conditional
        PixelCNN of arXiv 1606.05328; the 1×1 convolutions that widen the states have no bias;
        the biases of the forget gates start one higher; levels enter scaled to [−1, 1],
        unordered ones one-hot.

    Args:
        spec: Pictures of integer levels.
        channels: h, the width of an LSTM's state; 2h between layers.
        layers: Number of LSTM layers; up to 12 in the paper.
        kernel_size: k of the LSTM's two k×1 convolutions.
        first_kernel_size: k of the first k×k convolution (mask A).
        context: What the model is told beside the picture: none, label or vector.
    """

    takes = Takes(sounds=False, vectors=False)
    preset = {"batch": 16, "lr": 2e-3}
    small = (
        {"channels": 8, "layers": 2, "first_kernel_size": 3},
        {"channels": 4, "layers": 1, "context": "label"},
        {"channels": 4, "layers": 1, "context": "vector"},
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        channels: int = 64,
        layers: int = 7,
        kernel_size: int = 3,
        first_kernel_size: int = 7,
        context: ContextKind = "none",
    ) -> None:
        if channels < 1 or layers < 1:
            raise UsageError(
                f"channels and layers are positive, got channels={channels}, layers={layers}"
            )
        super().__init__(spec)
        self.channels, self.context = channels, context
        self.kernel_size, self.first_kernel_size = kernel_size, first_kernel_size
        self.colours = spec.event_shape[0]
        wide = 2 * channels
        self.context_features = ContextEmbedding(context, spec, channels)
        self.first = MaskedConv2d(
            input_channels(spec), wide, first_kernel_size, mask="A", colours=self.colours
        )
        # registered under a name of their own: `layers` is the keyword
        self.recurrent = nn.ModuleList(
            RowLSTMLayer(channels, kernel_size, self.colours, self.context_features.width)
            for _ in range(layers)
        )
        self.layers = layers
        pixelwise = partial(MaskedConv2d, kernel_size=1, mask="B", colours=self.colours)
        self.hidden = pixelwise(wide, wide)
        self.logits = pixelwise(wide, self.colours * self._levels)

    def conditionals(self, x: Tensor, context: Tensor | None = None) -> Categorical:
        """p(x_i | x_<i, context), all at once; batch `(N, C, H, W)`."""
        inputs = as_input(x, self.spec, self.first.weight.dtype)
        told = self.context_features(context, inputs)
        h = self.first(inputs)
        for layer in self.recurrent:
            h = layer(h, told)
        logits = self.logits(self.hidden(h.relu()).relu())
        return categorical(logits.unflatten(1, (self.colours, -1)).movedim(2, -1))

    def blind_spot(self) -> Tensor:
        """Earlier pixels outside of the triangle, whose sides the kernels and the layers set.

        See `Autoregressive.blind_spot`.
        """
        after = [partial(_lit_after, kernel_size=self.kernel_size)] * self.layers
        return blind_pixels(self.spec.event_shape, self.first, after)

    @torch.no_grad()
    def in_turn(self, canvas: Tensor, context: Tensor | None = None) -> Iterator[Tensor]:
        """The predictions from cached states: each layer runs once per value.

        What the row above adds to a row is computed once for the whole row. See
        `Autoregressive.in_turn`.
        """
        n, _, height, width = canvas.shape
        dtype = self.first.weight.dtype
        told = self.context_features(context, self.first.weight.new_empty(n))
        first, hidden, logits = (
            MaskedConvStream(layer, n, width) for layer in (self.first, self.hidden, self.logits)
        )
        layers = cast("list[RowLSTMLayer]", list(self.recurrent))
        stream = _RowStream(layers, told, width)
        for i in range(height):
            for part in (first, stream, hidden, logits):
                part.start_row()
            for j in range(width):
                for c in range(self.colours):
                    hidden.write(stream.read(first.read(j, c), j, c).relu(), j, c)
                    logits.write(hidden.read(j, c).relu_(), j, c)
                    yield logits.read(j, c)
                    first.write(as_input(canvas[:, c : c + 1, i, j], self.spec, dtype), j, c)


def _lit_after(light: Tensor, kernel_size: int) -> Tensor:
    """Where one LSTM layer carries light `(P, 1, H, W)` to, as 0 and 1."""
    reach = kernel_size // 2
    # along the row from the left; then from each row to the next
    lit = max_pool1d(pad(light[:, 0], (reach, 0)), reach + 1, 1)
    for i in range(1, lit.shape[1]):
        above = max_pool1d(lit[:, i - 1 : i], kernel_size, 1, reach)
        lit[:, i : i + 1] = torch.maximum(lit[:, i : i + 1], above)
    return lit[:, None]


class _RowStream:
    """The cached form of all layers: a pixel's colour at a time, in raster order.

    Args:
        layers: Whose weights are read once.
        told: The context's features, `(N, width)`.
        width: Pixels in a row.
    """

    def __init__(self, layers: list[RowLSTMLayer], told: Tensor, width: int) -> None:
        n, count = len(told), len(layers)
        conv = layers[0].widen
        h, colours, reach = conv.in_channels, conv.colours, layers[0].input_to_state.reach
        self.reach, self.width = reach, width
        gates = [part.to(told.device) for part in gates_by_colour(h, colours, 4)]
        order = torch.cat(gates)
        self.bias = torch.stack([layer.bias(told)[:, order] for layer in layers])[:, None]
        self.from_above = torch.cat([layer.state_to_state.weight[..., order] for layer in layers])
        # each row's states are written over those of the row above, once these were read
        self.states = told.new_zeros(count, reach + width + reach, n, h)
        self.given = told.new_zeros(count, width, n, 4 * h)
        rows = told.new_zeros(count + 1, n, (reach + width) * 2 * h)
        cells = told.new_zeros(count, width, n, h)
        self.steps: list[list[list[Step]]] = [[[] for _ in gates] for _ in range(width)]
        for c, part in enumerate(gates):
            inner, outer = colour_slice(h, colours, c), colour_slice(2 * h, colours, c)
            scratch = Gates(told.new_empty(n, len(part)))
            for k, layer in enumerate(layers):
                weight = row_matrix(layer.input_to_state)[:, part].contiguous()
                widen = row_matrix(layer.widen)[: inner.stop, outer].contiguous()
                for j in range(width):
                    state = self.states[k, reach + j]
                    start, stop = j * 2 * h, (reach + j) * 2 * h
                    own = slice(stop + outer.start, stop + outer.stop)
                    self.steps[j][c].append(
                        Step(
                            given=self.given[k, j, :, 4 * inner.start : 4 * inner.stop],
                            seen=rows[k, :, start : stop + 2 * h],
                            weight=weight,
                            gates=scratch,
                            cell=cells[k, j, :, inner],
                            state=state[:, inner],
                            other=None,
                            states=state[:, : inner.stop],
                            widen=widen,
                            x=rows[k, :, own],
                            after=rows[k + 1, :, own],
                        )
                    )
        self.rows = rows

    def start_row(self) -> None:
        """Add up what the row written last, now complete, gives to the next."""
        self.rows.zero_()
        shifted = [self.states[:, k : k + self.width] for k in range(2 * self.reach + 1)]
        product = self.given.flatten(1, 2)
        torch.bmm(torch.cat(shifted, -1).flatten(1, 2), self.from_above, out=product)
        self.given += self.bias

    def read(self, features: Tensor, pixel: int, colour: int) -> Tensor:
        """The features of a colour at a pixel after all layers, from those before them."""
        steps = self.steps[pixel][colour]
        steps[0].x.copy_(features)
        for step in steps:
            step.take()
        return steps[-1].after
