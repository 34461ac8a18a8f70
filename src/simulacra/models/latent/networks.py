"""Encoders and decoders of every kind: what turns an observation into numbers, and codes into it.

An encoder maps inputs `(N, channels, …)` and features of a context `(N, told)` to `(N, numbers)`;
a decoder maps codes `(N, latent)` and those features to `(N, *event_shape, parameters)`.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from simulacra.ground.spec import DataSpec
from simulacra.models.takes import Takes
from simulacra.nn.levels import input_channels
from simulacra.nn.mlp import mlp

EncoderKind = Literal["auto", "mlp", "conv", "resnet", "rnn"]

TAKES: dict[EncoderKind, Takes] = {
    "auto": Takes(),
    "mlp": Takes(),
    "conv": Takes(sounds=False, vectors=False),
    "resnet": Takes(sounds=False, vectors=False),
    "rnn": Takes(vectors=False),
}
"""Kind of network → the data that it is for."""

LARGE = 16
"""Side of a picture from which on convolutions are worth their time."""


def chosen(kind: EncoderKind, spec: DataSpec) -> EncoderKind:
    """The kind that is asked for, or the one that suits the data."""
    if kind != "auto":
        return kind
    if spec.is_image and min(spec.event_shape[1:]) >= LARGE:
        return "resnet"
    return "mlp"


HIDDEN: dict[EncoderKind, tuple[int, ...]] = {
    "mlp": (512, 256), "conv": (128,), "resnet": (256,), "rnn": (128,),
}  # fmt: skip
"""Widths of the fully connected layers, or of the recurrent one."""

CHANNELS = {"conv": 64, "resnet": 64}
"""Channels of convolutions."""


def pair(
    kind: EncoderKind,
    spec: DataSpec,
    *,
    numbers: int,
    latent: int,
    parameters: int,
    told: int,
    hidden: tuple[int, ...],
    channels: int,
    dropout: float,
) -> tuple[nn.Module, nn.Module]:
    """An encoder and a decoder that mirrors it.

    Args:
        kind: Which, not `auto`.
        spec: The form of the data.
        numbers: That the encoder gives for each observation.
        latent: Size of a code.
        parameters: That the decoder gives for each value.
        told: Width of the features of a context.
        hidden: Widths of the encoder's fully connected layers, or of its recurrent one; the
            decoder has them in reverse.
        channels: At the first resolution of convolutions.
        dropout: Probability of dropping a feature while training.
    """
    if kind == "mlp":
        encoder: nn.Module = _MLPEncoder(spec, numbers, told, hidden, dropout)
        return encoder, _MLPDecoder(spec, latent, parameters, told, hidden[::-1], dropout)
    if kind == "rnn":
        encoder = _RNNEncoder(spec, numbers, told, hidden, dropout)
        return encoder, _RNNDecoder(spec, latent, parameters, told, hidden, dropout)
    body = _conv_bodies if kind == "conv" else _resnet_bodies
    downwards, shape, upwards = body(spec, parameters, channels, dropout)
    flat = math.prod(shape)
    return (
        _PictureEncoder(downwards, mlp(flat + told, hidden, numbers, dropout=dropout)),
        _PictureDecoder(
            spec, mlp(latent + told, hidden[::-1], flat, dropout=dropout), shape, upwards
        ),
    )


# ---- fully connected ----------------------------------------------------------------------------


class _MLPEncoder(nn.Module):
    def __init__(
        self, spec: DataSpec, numbers: int, told: int, hidden: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        inputs = spec.dims // spec.event_shape[0] * input_channels(spec)
        self.layers = mlp(inputs + told, hidden, numbers, dropout=dropout)

    def forward(self, inputs: Tensor, told: Tensor) -> Tensor:
        numbers: Tensor = self.layers(torch.cat([inputs.flatten(1), told], 1))
        return numbers


class _MLPDecoder(nn.Module):
    def __init__(
        self, spec: DataSpec, latent: int, parameters: int, told: int, hidden: tuple[int, ...],
        dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.shape = (*spec.event_shape, parameters)
        self.layers = mlp(latent + told, hidden, math.prod(self.shape), dropout=dropout)

    def forward(self, z: Tensor, told: Tensor) -> Tensor:
        raw: Tensor = self.layers(torch.cat([z, told], 1))
        return raw.unflatten(1, self.shape)


# ---- pictures -----------------------------------------------------------------------------------


class _PictureEncoder(nn.Module):
    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body = body.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.head = head

    def forward(self, inputs: Tensor, told: Tensor) -> Tensor:
        features = self.body(inputs.contiguous(memory_format=torch.channels_last))
        numbers: Tensor = self.head(torch.cat([features.flatten(1), told], 1))
        return numbers


class _PictureDecoder(nn.Module):
    """Features by fully connected layers, then a body that ends at least as large as pictures."""

    def __init__(
        self, spec: DataSpec, head: nn.Module, shape: tuple[int, int, int], body: nn.Module
    ) -> None:
        super().__init__()
        self.head, self.shape, self.event_shape = head, shape, spec.event_shape
        self.body = body.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, z: Tensor, told: Tensor) -> Tensor:
        features = self.head(torch.cat([z, told], 1)).relu().unflatten(1, self.shape)
        colours, height, width = self.event_shape
        raw = self.body(features.contiguous(memory_format=torch.channels_last))
        return raw[:, :, :height, :width].unflatten(1, (colours, -1)).movedim(2, -1)


def _conv_bodies(
    spec: DataSpec, parameters: int, channels: int, dropout: float
) -> tuple[nn.Module, tuple[int, int, int], nn.Module]:
    """The table of the classic script: 28×28×1 → 28×28×1 → 14×14×64 three times, and back.

    Back it goes through 29×29×64, of which a convolution without padding makes 28×28.
    """
    colours, height, width = spec.event_shape
    inputs = input_channels(spec)
    downwards = nn.Sequential(
        # an even kernel pads one side alone
        nn.ZeroPad2d((0, 1, 0, 1)), _passing(nn.Conv2d(inputs, inputs, 2)), nn.ReLU(),
        nn.ZeroPad2d((0, width % 2, 0, height % 2)), nn.Conv2d(inputs, channels, 2, 2), nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Dropout2d(dropout),
    )  # fmt: skip
    upwards = nn.Sequential(
        nn.ConvTranspose2d(channels, channels, 3, padding=1), nn.ReLU(),
        nn.ConvTranspose2d(channels, channels, 3, padding=1), nn.ReLU(),
        nn.ConvTranspose2d(channels, channels, 3, 2), nn.ReLU(),
        nn.Conv2d(channels, colours * parameters, 2),
    )  # fmt: skip
    for layer in [*list(downwards)[3:], *upwards]:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            # eight layers of torch's own would let next to nothing of a code through
            _keeping(layer)
    return downwards, (channels, (height + 1) // 2, (width + 1) // 2), upwards


def _keeping(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Weights that keep the size of features through a ReLU (He et al. 2015, arXiv 1502.01852)."""
    assert layer.bias is not None
    transposed = isinstance(layer, nn.ConvTranspose2d)
    nn.init.kaiming_normal_(
        layer.weight, mode="fan_out" if transposed else "fan_in", nonlinearity="relu"
    )
    nn.init.zeros_(layer.bias)


@torch.no_grad()
def _passing(layer: nn.Conv2d) -> nn.Conv2d:
    """A convolution that hands on x + 1 to begin with.

    Where there is one channel, random weights are as likely as not to give what no ReLU lets
    through, of any picture: then nothing would ever be learnt.
    """
    assert layer.bias is not None
    nn.init.dirac_(layer.weight)
    nn.init.ones_(layer.bias)
    return layer


class Residual(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))), the last one zero to begin with."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        last = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        nn.init.zeros_(last.weight)
        self.moved = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels), nn.ReLU(), nn.Dropout(dropout), last,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Features `(N, channels, H, W)`, of which the first ones go on."""
        moved: Tensor = self.moved(x)
        return x + moved


_MOST = 8
"""Patches along a side of what a resnet works on, at most."""


def patches(spec: DataSpec, most: int = _MOST) -> tuple[int, tuple[int, int]]:
    """Side of a patch, and how many rows and columns of them a picture has: 7×7 of 28×28 pixels.

    On a processor a block at full resolution costs sixteen times as much, and gains less than the
    steps that are made in its time.

    Args:
        spec: Pictures.
        most: Patches along a side, at most.
    """
    _, height, width = spec.event_shape
    side = 2 ** math.ceil(math.log2(max(max(height, width) / most, 1)))
    return side, (math.ceil(height / side), math.ceil(width / side))


def patched(spec: DataSpec, channels: int, most: int = _MOST) -> nn.Sequential:
    """Inputs `(N, …, H, W)` as features of patches `(N, channels, rows, columns)`."""
    _, height, width = spec.event_shape
    side, (rows, columns) = patches(spec, most)
    return nn.Sequential(
        nn.ZeroPad2d((0, columns * side - width, 0, rows * side - height)),
        nn.PixelUnshuffle(side),
        nn.Conv2d(side**2 * input_channels(spec), channels, 3, padding=1),
    )


_ENCODER_BLOCKS, _DECODER_BLOCKS = 1, 2


def _resnet_bodies(
    spec: DataSpec, parameters: int, channels: int, dropout: float
) -> tuple[nn.Module, tuple[int, int, int], nn.Module]:
    """Residual blocks on patches: 4×4 pixels of a side of 28 or 32, 8×8 of one of 64."""
    side, shape = patches(spec)
    downwards = nn.Sequential(
        *patched(spec, channels),
        *(Residual(channels, dropout) for _ in range(_ENCODER_BLOCKS)),
        nn.ReLU(),
    )
    upwards = nn.Sequential(
        *(Residual(channels, dropout) for _ in range(_DECODER_BLOCKS)),
        nn.ReLU(),
        nn.Conv2d(channels, side**2 * spec.event_shape[0] * parameters, 3, padding=1),
        nn.PixelShuffle(side),
    )
    return downwards, (channels, *shape), upwards


# ---- sequences ----------------------------------------------------------------------------------

_MOST_FRAMES = 64
"""Steps of a recurrent network over one observation, at most: each step is a call of its own."""


class _Frames:
    """An observation as a sequence of frames: rows of a picture, pieces of a sound."""

    def __init__(self, spec: DataSpec) -> None:
        self.picture = spec.is_image
        length = spec.event_shape[1] if self.picture else spec.event_shape[0]
        self.channels = spec.event_shape[0] if self.picture else 1
        self.across = spec.event_shape[2] if self.picture else 1
        self.each = math.ceil(length / _MOST_FRAMES)
        self.length, self.count = length, math.ceil(length / self.each)

    def split(self, inputs: Tensor) -> Tensor:
        """A network's inputs as `(N, count, width of a frame)`, the last one padded."""
        x = inputs.movedim(1, 2) if self.picture else inputs
        x = x.reshape(len(x), self.length, -1)
        x = nn.functional.pad(x, (0, 0, 0, self.count * self.each - self.length))
        return x.reshape(len(x), self.count, -1)


class _RNNEncoder(nn.Module):
    """A GRU over frames in both directions; its last states are all that it says."""

    def __init__(
        self, spec: DataSpec, numbers: int, told: int, hidden: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        self.frames = _Frames(spec)
        inputs = spec.dims // spec.event_shape[0] * input_channels(spec)
        wide = self.frames.each * (inputs // self.frames.length)
        self.rnn = nn.GRU(wide, hidden[0], batch_first=True, bidirectional=True)
        self.dropped = nn.Dropout(dropout)
        self.head = mlp(2 * hidden[0] + told, hidden[1:], numbers, dropout=dropout)

    def forward(self, inputs: Tensor, told: Tensor) -> Tensor:
        _, last = self.rnn(self.frames.split(inputs))
        states = self.dropped(torch.cat([last[0], last[1]], 1))
        numbers: Tensor = self.head(torch.cat([states, told], 1))
        return numbers


class _RNNDecoder(nn.Module):
    """A GRU that is told the code at every frame; it does not see what it has written."""

    def __init__(
        self, spec: DataSpec, latent: int, parameters: int, told: int, hidden: tuple[int, ...],
        dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.frames = _Frames(spec)
        self.shape = (*spec.event_shape, parameters)
        wide = self.frames.each * self.frames.channels * self.frames.across * parameters
        self.start = mlp(latent + told, hidden[:0:-1], 2 * hidden[0], dropout=dropout)
        self.dropped = nn.Dropout(dropout)
        self.rnn = nn.GRU(hidden[0], hidden[0], batch_first=True)
        self.head = nn.Linear(hidden[0], wide)

    def forward(self, z: Tensor, told: Tensor) -> Tensor:
        frames = self.frames
        state, inputs = self.start(torch.cat([z, told], 1)).chunk(2, 1)
        inputs = inputs[:, None].expand(-1, frames.count, -1)
        raw, _ = self.rnn(inputs, state.tanh()[None].contiguous())
        raw = self.head(self.dropped(raw)).reshape(
            len(z), -1, frames.channels, frames.across, self.shape[-1]
        )[:, : frames.length]
        return raw.movedim(1, 2).reshape(len(z), *self.shape)
