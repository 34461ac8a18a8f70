"""Players of every kind: bodies that turn codes into observations, and observations into features.

A generator's body maps `(N, inputs)`, codes and what is told beside them, to `(N, *event_shape)`;
an opponent's maps that to features `(N, width)`. Pictures and sounds of any size are halved (sounds
quartered) until their longest side is small, and doubled from there; what a doubling gives too much
at the far edges is cut off. What is so for pictures is so for sounds, with one axis for two.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.takes import Takes
from simulacra.nn.mlp import mlp

NetworkKind = Literal["auto", "mlp", "convolutional", "residual"]

TAKES = Takes(unordered=False, vectors=False)
"""What convolutions are for."""

LARGE = 16
"""Side of a picture from which on convolutions are better: on digits of 8×8 their opponent stays at
chance all along, and a generator that is told the class draws nearly one picture of each."""

SLOPE = 0.2
"""Of the leaky ReLUs of opponents, and of residual players."""


def chosen(kind: NetworkKind, spec: DataSpec) -> NetworkKind:
    """The kind that is asked for, or the one that suits the data.

    Raises:
        UsageError: If there is no such kind.
    """
    if kind not in get_args(NetworkKind):
        raise UsageError(f"network is one of {', '.join(get_args(NetworkKind))}; got {kind!r}")
    if kind != "auto":
        return kind
    small = spec.levels is None or (spec.is_image and min(spec.event_shape[1:]) < LARGE)
    return "mlp" if small else "convolutional"


def generator_body(
    kind: NetworkKind,
    spec: DataSpec,
    inputs: int,
    *,
    hidden: tuple[int, ...],
    channels: int,
    normalised: bool,
) -> nn.Module:
    """From codes to observations.

    Args:
        kind: Which, not `auto`.
        spec: The form of the data.
        inputs: Width of a code with what is told beside it.
        hidden: Widths of the layers of an MLP.
        channels: At the first resolution below that of the data; twice as many at each further one.
        normalised: Whether convolutional and residual ones are normalised over batches.
    """
    if kind == "mlp":
        return nn.Sequential(mlp(inputs, hidden, spec.dims), nn.Unflatten(1, spec.event_shape))
    return _Generator(spec, inputs, channels, residual=kind == "residual", normalised=normalised)


def opponent_body(
    kind: NetworkKind,
    spec: DataSpec,
    *,
    hidden: tuple[int, ...],
    channels: int,
    dropout: float,
    normalised: bool,
    spectral: bool,
) -> tuple[nn.Module, int]:
    """From observations to features, and how many these are.

    Args:
        kind: Which, not `auto`.
        spec: The form of the data.
        hidden: Widths of the generator's layers, which an MLP has in reverse.
        channels: As of the generator.
        dropout: Probability of dropping a feature of an MLP.
        normalised: Whether a convolutional one is normalised over batches.
        spectral: Whether each weight is divided by its largest singular value.
    """
    if kind == "mlp":
        layers: list[nn.Module] = [nn.Flatten()]
        width = spec.dims
        for following in hidden[::-1]:
            linear = nn.Linear(width, following)
            layers += [bounded(linear, spectral), nn.LeakyReLU(SLOPE)]
            layers += [nn.Dropout(dropout)] if dropout else []
            width = following
        return nn.Sequential(*layers), width
    if kind == "residual":
        residual = _ResidualOpponent(spec, channels, spectral=spectral)
        return residual, residual.width
    plain = _ConvolutionalOpponent(spec, channels, normalised=normalised, spectral=spectral)
    return plain, plain.width


def bounded(layer: nn.Module, spectral: bool) -> nn.Module:
    """A layer, its weight divided by its largest singular value if asked for."""
    return spectral_norm(layer) if spectral else layer


# ---- sizes --------------------------------------------------------------------------------------


class _Sizes:
    """The sizes that an observation goes through, and the layers of as many axes.

    Args:
        spec: Of pictures or sounds.
        channels: At the first size below that of the data.
    """

    def __init__(self, spec: DataSpec, channels: int) -> None:
        self.picture = spec.is_image
        self.colours = spec.event_shape[0] if self.picture else 1
        sides = spec.event_shape[1:] if self.picture else spec.event_shape
        self.by, least = (2, _LEAST_SIDE) if self.picture else (4, _LEAST_LENGTH)
        self.sides = [tuple(sides)]
        while len(self.sides) == 1 or max(self.sides[-1]) > least:
            self.sides.append(tuple(math.ceil(side / self.by) for side in self.sides[-1]))
        count = len(self.sides) - 1
        self.channels = [channels * 2**place for place in range(count)]
        """At each size but that of the data, the largest first."""

    @property
    def smallest(self) -> tuple[int, ...]:
        """Channels and sides where it is smallest."""
        return (self.channels[-1], *self.sides[-1])

    def convolution(self, inputs: int, outputs: int, size: int, **options: Any) -> nn.Module:  # noqa: ANN401 (any options)
        """A convolution that keeps the size."""
        kind = nn.Conv2d if self.picture else nn.Conv1d
        return kind(inputs, outputs, size, padding=size // 2, **options)

    def halving(self, inputs: int, outputs: int, **options: Any) -> nn.Module:  # noqa: ANN401 (any options)
        """A convolution to the next smaller size, of what is a multiple of it."""
        if self.picture:
            return nn.Conv2d(inputs, outputs, 4, 2, 1, **options)
        # by four as WaveGAN, arXiv 1802.04208; its kernels of 25 take more than twice as long
        return nn.Conv1d(inputs, outputs, 8, 4, 2, **options)

    def doubling(self, inputs: int, outputs: int, **options: Any) -> nn.Module:  # noqa: ANN401 (any options)
        """A transposed convolution to the next larger size."""
        if self.picture:
            return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, **options)
        return nn.ConvTranspose1d(inputs, outputs, 8, 4, 2, **options)

    def normalisation(self, channels: int) -> nn.Module:
        """Over batches."""
        return nn.BatchNorm2d(channels) if self.picture else nn.BatchNorm1d(channels)

    def whole(self, y: Tensor) -> Tensor:
        """Padded at the far edges to a multiple of the next smaller size."""
        short = [-side % self.by for side in y.shape[2:]]
        return F.pad(y, [each for by in reversed(short) for each in (0, by)]) if any(short) else y

    def cut(self, y: Tensor, place: int) -> Tensor:
        """Without what a doubling to a size gives too much."""
        for axis, side in enumerate(self.sides[place], start=2):
            y = y.narrow(axis, 0, side)
        return y

    def larger(self, y: Tensor) -> Tensor:
        """Each value repeated to the next larger size."""
        return F.interpolate(y, scale_factor=self.by)

    def smaller(self, y: Tensor) -> Tensor:
        """Means over what becomes one value at the next smaller size."""
        mean = F.avg_pool2d if self.picture else F.avg_pool1d
        return mean(self.whole(y), self.by)

    def laid_out(self, y: Tensor) -> Tensor:
        """As convolutions are quickest."""
        return y.contiguous(memory_format=torch.channels_last) if self.picture else y


_LEAST_SIDE, _LEAST_LENGTH = 4, 16
"""Of a picture and of a sound, at most, where they are smallest."""


# ---- generators ---------------------------------------------------------------------------------


class _Generator(nn.Module):
    """A linear layer to the smallest size, then doublings, or residual blocks that double."""

    def __init__(
        self, spec: DataSpec, inputs: int, channels: int, *, residual: bool, normalised: bool
    ) -> None:
        super().__init__()
        self.sizes = sizes = _Sizes(spec, channels)
        self.event_shape = spec.event_shape
        after = sizes.channels[::-1]
        self.first = nn.Linear(inputs, math.prod(sizes.smallest))
        self.begin: nn.Module = nn.Identity()
        blocks: list[nn.Module] = []
        if residual:
            for outputs, wide in zip([*after[1:], after[-1]], after, strict=True):
                several = math.prod(sizes.sides[len(after) - len(blocks)]) > 1
                norms = normalised and several
                blocks.append(_Doubling(sizes, wide, outputs, normalised=norms))
            norm = sizes.normalisation(after[-1]) if normalised else nn.Identity()
            last = sizes.convolution(after[-1], sizes.colours, 3)
            self.last: nn.Module = nn.Sequential(norm, _activation(normalised), last)
        else:
            if normalised and math.prod(sizes.sides[-1]) > 1:
                # a batch of one has no statistics of one value
                self.begin = sizes.normalisation(after[0])
            for outputs, wide in zip(after[1:], after, strict=False):
                layers = [sizes.doubling(wide, outputs, bias=not normalised)]
                layers += [sizes.normalisation(outputs)] if normalised else []
                blocks.append(nn.Sequential(*layers, _activation(normalised)))
            blocks.append(sizes.doubling(after[-1], sizes.colours))
            self.last = nn.Identity()
        self.residual, self.normalised = residual, normalised
        self.blocks = nn.ModuleList(blocks)
        if sizes.picture:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, inputs: Tensor) -> Tensor:
        """Observations `(N, *event_shape)` of codes `(N, inputs)`."""
        sizes = self.sizes
        y = self.begin(self.first(inputs).unflatten(1, sizes.smallest))
        y = y if self.residual else _activation(self.normalised)(y)
        y = sizes.laid_out(y)
        for place, block in zip(range(len(self.blocks) - 1, -1, -1), self.blocks, strict=True):
            y = sizes.cut(block(y), place)
        return self.last(y).reshape(-1, *self.event_shape)


def _activation(normalised: bool) -> nn.Module:
    """ReLU where half of the values are above 0, else one that lets the rest through as well."""
    return nn.ReLU() if normalised else nn.LeakyReLU(SLOPE)


class _Doubling(nn.Module):
    """A residual block of a generator: arXiv 1704.00028, appendix C; normalised or not."""

    def __init__(self, sizes: _Sizes, inputs: int, outputs: int, *, normalised: bool) -> None:
        super().__init__()
        self.sizes = sizes

        def norm(channels: int) -> nn.Module:
            return sizes.normalisation(channels) if normalised else nn.Identity()

        self.before = nn.Sequential(norm(inputs), _activation(normalised))
        self.widened = sizes.convolution(inputs, outputs, 3, bias=not normalised)
        self.after = nn.Sequential(norm(outputs), _activation(normalised))
        self.second = sizes.convolution(outputs, outputs, 3)
        self.across = sizes.convolution(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """`(N, inputs, …)` to `(N, outputs, …)` of twice the size."""
        moved = self.widened(self.sizes.larger(self.before(x)))
        # a 1×1 convolution of repeated values is a repeated one, and is quicker before
        return self.second(self.after(moved)) + self.sizes.larger(self.across(x))


# ---- opponents ----------------------------------------------------------------------------------


class _ConvolutionalOpponent(nn.Module):
    """Halvings with leaky ReLUs; its features are those of the smallest size, side by side."""

    def __init__(self, spec: DataSpec, channels: int, *, normalised: bool, spectral: bool) -> None:
        super().__init__()
        self.sizes = sizes = _Sizes(spec, channels)
        blocks, inputs = [], sizes.colours
        for place, outputs in enumerate(sizes.channels):
            # what normalises the first one hides how bright an observation is
            norms = normalised and place > 0
            halved = bounded(sizes.halving(inputs, outputs, bias=not norms), spectral)
            layers = [halved, sizes.normalisation(outputs)] if norms else [halved]
            blocks.append(nn.Sequential(*layers, nn.LeakyReLU(SLOPE)))
            inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.width = math.prod(sizes.smallest)
        if sizes.picture:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, y: Tensor) -> Tensor:
        """Features `(N, width)` of observations `(N, *event_shape)`."""
        y = self.sizes.laid_out(y) if self.sizes.picture else y[:, None]
        for block in self.blocks:
            y = block(self.sizes.whole(y))
        return y.flatten(1)


class _ResidualOpponent(nn.Module):
    """Residual blocks that halve; its features are sums over the smallest size."""

    def __init__(self, spec: DataSpec, channels: int, *, spectral: bool) -> None:
        super().__init__()
        self.sizes = sizes = _Sizes(spec, channels)
        blocks, inputs = [], sizes.colours
        for place, outputs in enumerate(sizes.channels):
            blocks.append(_Halving(sizes, inputs, outputs, spectral=spectral, first=place == 0))
            inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.width = sizes.channels[-1]
        if sizes.picture:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, y: Tensor) -> Tensor:
        """Features `(N, width)` of observations `(N, *event_shape)`."""
        y = self.sizes.laid_out(y) if self.sizes.picture else y[:, None]
        for block in self.blocks:
            y = block(y)
        return F.leaky_relu(y, SLOPE).flatten(2).sum(2)


class _Halving(nn.Module):
    """A residual block of an opponent: arXiv 1802.05957, figure 9; the first one sees data."""

    def __init__(
        self, sizes: _Sizes, inputs: int, outputs: int, *, spectral: bool, first: bool
    ) -> None:
        super().__init__()
        self.sizes, self.first = sizes, first
        self.widened = bounded(sizes.convolution(inputs, outputs, 3), spectral)
        self.second = bounded(sizes.convolution(outputs, outputs, 3), spectral)
        self.across = bounded(sizes.convolution(inputs, outputs, 1), spectral)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, inputs, …)` to `(N, outputs, …)` of half the size."""
        moved = self.widened(x if self.first else F.leaky_relu(x, SLOPE))
        moved = self.second(F.leaky_relu(moved, SLOPE))
        # a 1×1 convolution of means is the mean of it, and is quicker after
        return self.sizes.smaller(moved) + self.across(self.sizes.smaller(x))
