"""Networks between observations and grids of vectors: strided convolutions, of pictures or sounds.

Written once for both: a sound is a picture of one axis.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.ground.spec import DataSpec
from simulacra.nn.levels import input_channels

_SIDE = 8
"""Of a grid of a picture, at most."""
_EACH = 16
"""Samples of a sound for each place of its grid."""
_BLOCKS = 2
"""Residual blocks at the grid, of each network."""


def halvings(spec: DataSpec) -> int:
    """How often the sides of an observation are halved until they are those of its grid."""
    if not spec.is_image:
        # of a short one no fewer places than a picture has along a side
        return int(math.log2(min(max(spec.dims / _SIDE, 1), _EACH)))
    side = max(spec.event_shape[1:])
    return max(math.ceil(math.log2(side / _SIDE)), int(side >= _SIDE // 2))


def grid(spec: DataSpec) -> tuple[int, ...]:
    """The sides of an observation's grid: `(h, w)`, or `(t,)` of a sound."""
    sides = spec.event_shape[1:] if spec.is_image else spec.event_shape
    return tuple(math.ceil(side / 2 ** halvings(spec)) for side in sides)


class _Residual(nn.Module):
    """x + conv(relu(conv(relu(x)))), the last one zero to begin with."""

    def __init__(self, conv: Any, channels: int) -> None:  # noqa: ANN401 (a class of torch)
        super().__init__()
        last = conv(channels, channels, 1)
        nn.init.zeros_(last.weight)
        self.moved = nn.Sequential(
            nn.ReLU(), conv(channels, channels, 3, padding=1), nn.ReLU(), last
        )

    def forward(self, x: Tensor) -> Tensor:
        moved: Tensor = self.moved(x)
        return x + moved


class GridEncoder(nn.Module):
    """From inputs `(N, channels, …)` of an observation to vectors `(N, width, *grid)`.

    They are normalised over batches, so that they spread from the first step on and neither grow
    nor shrink beside entries (A. Łańcucki et al., "Robust Training of Vector Quantized Bottleneck
    Models", 2020, arXiv 2005.08520).

    Args:
        spec: The form of the data.
        channels: Of the convolutions at the grid; half as many before the last halving.
        width: Of a vector.
    """

    def __init__(self, spec: DataSpec, channels: int, width: int) -> None:
        super().__init__()
        conv = nn.Conv2d if spec.is_image else nn.Conv1d
        times = halvings(spec)
        sides = spec.event_shape[1:] if spec.is_image else spec.event_shape
        self.padded = [
            number for side, places in zip(sides[::-1], grid(spec)[::-1], strict=True)
            for number in (0, places * 2**times - side)
        ]  # fmt: skip
        self.spec = spec
        channels_in = input_channels(spec) // (1 if spec.is_image else spec.dims)
        wide = [channels_in, *[max(1, channels // 2)] * (times - 1), channels]
        layers: list[nn.Module] = []
        for each in range(times):
            layers += [conv(wide[each], wide[each + 1], 4, 2, 1), nn.ReLU()]
        layers += [conv(wide[times and -1], channels, 3, padding=1)]
        layers += [_Residual(conv, channels) for _ in range(_BLOCKS)]
        normed = nn.BatchNorm2d if spec.is_image else nn.BatchNorm1d
        self.norm = normed(width, affine=False)
        self.layers = nn.Sequential(*layers, nn.ReLU(), conv(channels, width, 1), self.norm)

    def forward(self, inputs: Tensor) -> Tensor:
        """See the class."""
        if not self.spec.is_image:
            inputs = inputs.unflatten(1, (self.spec.dims, -1)).movedim(2, 1)
        vectors: Tensor = self.layers(F.pad(inputs, self.padded))
        return vectors


class GridDecoder(nn.Module):
    """From vectors `(N, width, *grid)` to the numbers `(N, *event_shape, parameters)` of values.

    Args:
        spec: The form of the data.
        channels: See `GridEncoder`.
        width: See there.
        parameters: Numbers of each value.
    """

    def __init__(self, spec: DataSpec, channels: int, width: int, parameters: int) -> None:
        super().__init__()
        conv, up = (
            (nn.Conv2d, nn.ConvTranspose2d) if spec.is_image else (nn.Conv1d, nn.ConvTranspose1d)
        )
        times = halvings(spec)
        self.spec = spec
        colours = spec.event_shape[0] if spec.is_image else 1
        wide = [channels, *[max(1, channels // 2)] * (times - 1), colours * parameters]
        layers: list[nn.Module] = [conv(width, channels, 3, padding=1)]
        layers += [_Residual(conv, channels) for _ in range(_BLOCKS)]
        for each in range(times):
            layers += [nn.ReLU(), up(wide[each], wide[each + 1], 4, 2, 1)]
        if not times:
            layers += [nn.ReLU(), conv(channels, colours * parameters, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        raw = self.layers(vectors)
        if not self.spec.is_image:
            return raw[..., : self.spec.dims].movedim(1, -1)
        colours, height, width = self.spec.event_shape
        return raw[:, :, :height, :width].unflatten(1, (colours, -1)).movedim(2, -1)
