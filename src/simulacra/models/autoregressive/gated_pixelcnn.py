"""Gated PixelCNN: two stacks of gated convolutions, which together see every earlier pixel."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.autoregressive.gated_pixelcnn_rows import Row, VerticalRows
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, MapContextKind
from simulacra.nn.levels import as_input, categorical, input_channels
from simulacra.nn.masked_convolution import ConvAbove, MaskedConv2d


def gate(features: Tensor) -> Tensor:
    """tanh(a) ⊙ σ(b) of two halves of channels `(N, 2p, …)` (equation 2)."""
    a, b = features.chunk(2, 1)
    return a.tanh() * b.sigmoid()


class GatedLayer(nn.Module):
    """One layer of both stacks (figure 2).

    Args:
        inputs: Channels that come in: those of the picture in the first layer, p after it.
        channels: p.
        kernel_size: n of the vertical n×n and the horizontal 1×n convolution.
        colours: Colours of a pixel, one after another.
        told: Width of the context's features.
        first: Whether the picture comes in, of which a pixel may not see itself.
        dropout: Probability of dropping a gated feature of the horizontal stack.
    """

    def __init__(
        self, inputs: int, channels: int, kernel_size: int, colours: int, told: int,
        *, first: bool, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.first = first
        wide = 2 * channels
        self.vertical = ConvAbove(inputs, wide, kernel_size, own=not first)
        self.across = nn.Conv2d(wide, wide, 1, bias=False)
        self.horizontal = MaskedConv2d(
            inputs, wide, kernel_size, mask="A" if first else "B", colours=colours, rows=0, gates=2
        )
        self.out = MaskedConv2d(channels, channels, 1, mask="B", colours=colours, bias=False)
        self.told = nn.Linear(told, 2 * wide, bias=False) if told else None
        self.drop = nn.Dropout(dropout)

    def context(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """V h of both stacks (equation 4), or V s of what each pixel is told, `(N, 2p, …)` each."""
        if self.told is None:
            none = features.new_zeros(len(features), self.across.out_channels, *features.shape[2:])
            return none, none
        if features.ndim == 4:
            both = nn.functional.conv2d(features, self.told.weight[:, :, None, None])
        else:
            both = self.told(features)
        vertical, horizontal = both.chunk(2, 1)
        return vertical, horizontal

    def forward(self, v: Tensor, h: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """Both stacks' features after the layer, `(N, p, H, W)` each."""
        for_v, for_h = self.context(told if told.ndim == 4 else told[:, :, None, None])
        above = self.vertical(v) + for_v
        y = gate(self.horizontal(h) + self.across(above) + for_h)
        y = self.out(self.drop(y))
        return (gate(above), y) if self.first else (v + gate(above), h + y)


class GatedPixelCNN(Autoregressive):
    """Gated convolutions, one stack for the rows above and one along the row, see all before.

    The likelihood is exact. Colours are predicted in the order R, G, B within a pixel. There is no
    blind spot: with enough layers every earlier pixel reaches every later one. The reach, in rows
    up and columns to either side, is first_kernel_size // 2 + (layers − 1) · (kernel_size // 2).

    Paper: A. van den Oord, N. Kalchbrenner, O. Vinyals, L. Espeholt, A. Graves, K. Kavukcuoglu,
        "Conditional Image Generation with PixelCNN Decoders", 2016, arXiv 1606.05328.
    Departs from the paper: the vertical stack has residual connections too, without which its
        features fade from gate to gate, but the first layer has none in either stack; levels enter
        scaled to [−1, 1], unordered ones one-hot; the residual 1×1 convolutions have no bias;
        dropout, where it is asked for.

    Args:
        spec: Pictures of integer levels.
        channels: p, the width of both stacks.
        layers: Number of gated layers, the first one included.
        kernel_size: n of the layers after the first.
        first_kernel_size: n of the first layer, with mask A.
        dropout: Probability of dropping a gated feature of the horizontal stack.
        context: What the model is told beside the picture: none, label or vector, or a map, which
            tells something else at each pixel; it enters every gate.
    """

    takes = Takes(sounds=False, vectors=False)
    # many small steps here too; residual connections everywhere bear the larger ones
    preset = {"batch": 16, "lr": 2e-3}
    small = (
        {"channels": 12, "layers": 3, "first_kernel_size": 3},
        {"channels": 6, "layers": 2, "first_kernel_size": 3, "context": "label"},
        {"channels": 6, "layers": 2, "kernel_size": 1, "context": "vector"},
        {"channels": 6, "layers": 2, "first_kernel_size": 3, "context": "map"},
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        channels: int = 64,
        layers: int = 10,
        kernel_size: int = 3,
        first_kernel_size: int = 7,
        dropout: float = 0.0,
        context: MapContextKind = "none",
    ) -> None:
        if channels < 1 or layers < 1 or not 0 <= dropout < 1:
            raise UsageError(
                "channels and layers are positive, dropout in [0, 1); got "
                f"channels={channels}, layers={layers}, dropout={dropout}"
            )
        super().__init__(spec)
        self.channels, self.dropout, self.context = channels, dropout, context
        self.kernel_size, self.first_kernel_size = kernel_size, first_kernel_size
        self.colours = spec.event_shape[0]
        self.context_features = ContextEmbedding(context, spec, channels)
        layer = partial(
            GatedLayer, channels=channels, colours=self.colours,
            told=self.context_features.width, dropout=dropout,
        )  # fmt: skip
        # registered under a name of their own: `layers` is the keyword
        self.gated = nn.ModuleList(
            [layer(input_channels(spec), kernel_size=first_kernel_size, first=True)]
            + [layer(channels, kernel_size=kernel_size, first=False) for _ in range(layers - 1)]
        )
        self.layers = layers
        pixelwise = partial(MaskedConv2d, kernel_size=1, mask="B", colours=self.colours)
        self.hidden = pixelwise(channels, channels)
        self.logits = pixelwise(channels, self.colours * self._levels)

    @property
    def stack(self) -> list[GatedLayer]:
        """The layers, in order."""
        layers: list[GatedLayer] = list(self.gated)  # type: ignore[arg-type]
        return layers

    def conditionals(self, x: Tensor, context: Tensor | None = None) -> Categorical:
        """p(x_i | x_<i, context), all at once; batch `(N, C, H, W)`."""
        v = h = as_input(x, self.spec, self.logits.weight.dtype)
        told = self.context_features(context, h)
        for layer in self.stack:
            v, h = layer(v, h, told)
        logits = self.logits(self.hidden(h.relu()).relu())
        return categorical(logits.unflatten(1, (self.colours, -1)).movedim(2, -1))

    def blind_spot(self) -> Tensor:
        """Earlier pixels that are further away than the layers reach; see `Autoregressive`."""
        _, height, width = self.spec.event_shape
        pixels = height * width
        # one picture for each pixel: what its light spreads to, layer by layer
        v = h = torch.eye(pixels).view(pixels, 1, height, width)
        for layer in self.stack:
            above = layer.vertical.spread(v)
            lit = layer.horizontal.spread(h) + above
            v, h = (above, lit) if layer.first else (v + above, h + lit)
        earlier = torch.ones(pixels, pixels).triu(1).bool()
        blind = earlier & (h.view(pixels, pixels) == 0)
        return blind.repeat(self.colours, self.colours)

    @torch.inference_mode()
    def in_turn(self, canvas: Tensor, context: Tensor | None = None) -> Iterator[Tensor]:
        """The predictions, each feature computed once; see `Autoregressive.in_turn`."""
        n, _, height, width = canvas.shape
        dtype = self.logits.weight.dtype
        told = self.context_features(context, self.logits.weight.new_empty(n))
        above = VerticalRows(self.stack, told, width)
        row = Row(self.stack, (self.hidden, self.logits), n, width)
        for i in range(height):
            given = above.following()
            for j in range(width):
                row.start_pixel(j, given)
                for c in range(self.colours):
                    yield row.predict(j, c)
                    value = canvas[:, c : c + 1, i, j]
                    row.write(as_input(value, self.spec, dtype), j, c)
            above.write(as_input(canvas[:, :, i], self.spec, dtype))
