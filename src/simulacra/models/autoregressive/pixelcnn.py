"""PixelCNN: masked convolutions predict each pixel from those above and to the left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import relu

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.autoregressive.outputs import Output, OutputKind, takes_output
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, MapContextKind
from simulacra.nn.levels import as_input, input_channels
from simulacra.nn.masked_convolution import (
    MaskedConv2d,
    MaskedConvStream,
    blind_pixels,
    colour_slice,
)

Apply = Callable[[MaskedConv2d, Tensor], Tensor]


class ResidualBlock(nn.Module):
    """2h → h → h (k×k) → 2h features, added to the input (figure 5, left).

    Args:
        channels: h.
        kernel_size: k.
        colours: Colours of a pixel, one after another.
        dropout: Probability of dropping a feature.
    """

    def __init__(self, channels: int, kernel_size: int, colours: int, dropout: float) -> None:
        super().__init__()
        conv = partial(MaskedConv2d, mask="B", colours=colours)
        self.narrow = conv(2 * channels, channels, 1)
        self.masked = conv(channels, channels, kernel_size)
        self.widen = conv(channels, 2 * channels, 1)
        self.drop = nn.Dropout(dropout)

    def forward(self, h: Tensor, bias: Tensor, apply: Apply) -> Tensor:
        """The features after the block; see `PixelCNN._network` for `apply`."""
        inner = apply(self.narrow, relu(h + bias))
        inner = apply(self.masked, relu(inner))
        return h + apply(self.widen, self.drop(relu(inner)))


class PixelCNN(Autoregressive):
    """Masked convolutions predict each pixel from the pixels above and to the left.

    The likelihood is exact. Colours are predicted in the order R, G, B within a pixel. The stack
    of masked convolutions has a blind spot: pixels to the upper right that no path reaches.

    Paper: A. van den Oord, N. Kalchbrenner, K. Kavukcuoglu, "Pixel Recurrent Neural Networks",
        2016, arXiv 1601.06759, section 3.5 and table 1.
    Departs from the paper: a context, when given, adds a bias to every block, as in the
        conditional PixelCNN of arXiv 1606.05328; levels enter scaled to [−1, 1], unordered
        ones one-hot; dropout, and a density in place of categories, where they are asked for.

    Args:
        spec: Pictures of integer levels.
        channels: h, the width inside a residual block; 2h between blocks.
        layers: Number of residual blocks.
        kernel_size: k of the blocks' masked k×k convolution (mask B).
        first_kernel_size: k of the first convolution (mask A), at least 3.
        dropout: Probability of dropping a feature inside each block.
        output: What is said of a value: categorical, a probability of each level; gaussian, one
            number that is regressed; or logistics, a mixture of ten.
        context: What the model is told beside the picture: none, label or vector, or a map, which
            tells something else at each pixel.
    """

    takes = Takes(sounds=False, vectors=False)
    # a step costs what its pictures cost, and many small steps learn more in the same time
    preset = {"batch": 16}
    small = (
        {"channels": 6, "layers": 2, "first_kernel_size": 3},
        {"channels": 4, "layers": 1, "context": "label"},
        {"channels": 4, "layers": 1, "context": "vector"},
        {"channels": 4, "layers": 1, "context": "map"},
        {"channels": 4, "layers": 1, "output": "logistics"},
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        channels: int = 64,
        layers: int = 5,
        kernel_size: int = 3,
        first_kernel_size: int = 7,
        dropout: float = 0.0,
        output: OutputKind = "categorical",
        context: MapContextKind = "none",
    ) -> None:
        if channels < 1 or layers < 0 or not 0 <= dropout < 1:
            raise UsageError(
                "channels is positive, layers at least 0, dropout in [0, 1); got "
                f"channels={channels}, layers={layers}, dropout={dropout}"
            )
        if first_kernel_size < 3:
            raise UsageError(
                f"first_kernel_size is at least 3, to see other pixels, got {first_kernel_size}"
            )
        super().__init__(spec)
        takes_output(self.takes, output).check(spec, f"PixelCNN with output={output}")
        self.channels, self.layers, self.dropout = channels, layers, dropout
        self.kernel_size, self.first_kernel_size = kernel_size, first_kernel_size
        self.context = context
        self.colours = spec.event_shape[0]
        wide = 2 * channels
        self.first = MaskedConv2d(
            input_channels(spec), wide, first_kernel_size, mask="A", colours=self.colours
        )
        self.blocks = nn.ModuleList(
            ResidualBlock(channels, kernel_size, self.colours, dropout) for _ in range(layers)
        )
        pixelwise = partial(MaskedConv2d, kernel_size=1, mask="B", colours=self.colours)
        self.hidden = pixelwise(wide, wide)
        self.last, self.output = Output(output, self._levels), output
        self.logits = pixelwise(wide, self.colours * self.last.numbers)
        self.context_features = ContextEmbedding(context, spec, channels)
        self.biases = nn.ModuleList(
            nn.Linear(self.context_features.width, wide, bias=False)
            for _ in range(layers + 1 if self.context_features.width else 0)
        )

    @classmethod
    def takes_with(cls, **keywords: Any) -> Takes:  # noqa: ANN401 (any keywords)
        """Densities over levels need their order."""
        return takes_output(cls.takes, keywords.get("output", "categorical"))

    def _network(self, x: Tensor, biases: list[Tensor], apply: Apply) -> Tensor:
        """The network, written once: `apply` runs a layer in its parallel or its cached form."""
        h = apply(self.first, x) + biases[0]
        for block, bias in zip(self.blocks, biases[1:], strict=True):
            h = block(h, bias, apply)
        return apply(self.logits, relu(apply(self.hidden, relu(h))))

    def _biases(self, features: Tensor) -> list[Tensor]:
        """What features `(N, …, width)` add before the first block and in each, `(N, …, 2h)`."""
        if not self.context_features.width:
            nothing = features.new_zeros(*features.shape[:-1], 2 * self.channels)
            return [nothing] * (self.layers + 1)
        return [linear(features) for linear in self.biases]

    def conditionals(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """p(x_i | x_<i, context), all at once; batch `(N, C, H, W)`."""
        inputs = as_input(x, self.spec, self.first.weight.dtype)
        features = self.context_features(context, inputs)
        features = features if features.ndim == 4 else features[:, :, None, None]
        biases = [bias.movedim(-1, 1) for bias in self._biases(features.movedim(1, -1))]
        numbers = self._network(inputs, biases, lambda layer, h: layer(h))
        found: Distribution = self.last(numbers.unflatten(1, (self.colours, -1)).movedim(2, -1))
        return found

    def blind_spot(self) -> Tensor:
        """Earlier pixels that no path reaches: to the upper right, and beyond the layers' reach.

        See `Autoregressive.blind_spot`.
        """
        blocks: list[ResidualBlock] = list(self.blocks)  # type: ignore[arg-type]
        after = [block.masked.spread for block in blocks]
        return blind_pixels(self.spec.event_shape, self.first, after)

    @torch.inference_mode()
    def in_turn(self, canvas: Tensor, context: Tensor | None = None) -> Iterator[Tensor]:
        """The predictions from cached features: each layer runs once per value.

        See `Autoregressive.in_turn`.
        """
        n, _, height, width = canvas.shape
        wide, dtype = 2 * self.channels, self.first.weight.dtype
        features = self.context_features(context, self.first.weight.new_empty(n))
        parts = [colour_slice(wide, self.colours, c) for c in range(self.colours)]

        def by_colour(told: Tensor) -> list[list[Tensor]]:
            return [[bias[:, part] for bias in self._biases(told)] for part in parts]

        biases = [] if features.ndim == 4 else by_colour(features)
        streams = {
            layer: MaskedConvStream(layer, n, width)
            for layer in self.modules()
            if isinstance(layer, MaskedConv2d)
        }
        for i in range(height):
            for stream in streams.values():
                stream.start_row()
            for j in range(width):
                if features.ndim == 4:
                    biases = by_colour(features[:, :, i, j])
                for c in range(self.colours):

                    def apply(
                        layer: MaskedConv2d, h: Tensor, pixel: int = j, colour: int = c
                    ) -> Tensor:
                        stream = streams[layer]
                        # mask A predicts a value before it is there to be written
                        if layer is not self.first:
                            stream.write(h, pixel, colour)
                        return stream.read(pixel, colour)

                    # the first layer reads what was drawn, so nothing is handed to it
                    yield self.last.logits(self._network(canvas, biases[c], apply))
                    channel = canvas[:, c : c + 1, i, j]
                    streams[self.first].write(as_input(channel, self.spec, dtype), j, c)
