"""How many bits an observation takes without any model: the shortest of several plain codes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulacra.ground.errors import MissingCapability
from simulacra.ground.spec import DataSpec

_BLOCK = 256
"""Samples of a sound that share a Rice parameter."""
_PARAMETERS = 16


def compressed_bits(x: Tensor, spec: DataSpec) -> Tensor:
    """The length of each observation in the shortest of several lossless codes, `(N,)` float64.

    Of pictures these are PNG's five filters, one for the whole picture, each followed by deflate;
    of sounds deflate of differences, and polynomial prediction with Rice codes as in FLAC. What is
    the same for all of one form (headers, which of the codes it is) is left out.

    Args:
        x: Levels `(N, *event_shape)`.
        spec: Their form.

    Raises:
        MissingCapability: If they are continuous, which no code makes shorter without losing some.
    """
    if spec.levels is None:
        raise MissingCapability(f"numbers {spec.event_shape} without levels have no lossless code")
    kind = np.uint8 if spec.levels <= 256 else np.uint16
    values = x.cpu().numpy().astype(kind)
    filtered = _filtered if spec.is_image else _differences
    bits = [min(map(_deflated, filtered(each))) for each in values]
    shortest = torch.tensor(bits, dtype=torch.float64)
    if not spec.is_image:
        # silence is in the middle
        shortest = shortest.minimum(_rice(x.cpu().long().flatten(1) - spec.levels // 2))
    return shortest


def _deflated(values: NDArray[np.unsignedinteger]) -> int:
    """Bits of a raw deflate stream; of two bytes each, all high ones come before the low ones."""
    data = values.tobytes()
    if values.itemsize > 1:
        data = values.astype(">u2").view(np.uint8).reshape(-1, 2).T.tobytes()
    coder = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return 8 * (len(coder.compress(data)) + len(coder.flush()))


def _filtered(
    picture: NDArray[np.unsignedinteger],
) -> Iterator[NDArray[np.unsignedinteger]]:
    """A picture `(C, H, W)` by each filter of PNG: none, left, up, their mean, and Paeth's.

    Colours stand beside one another, as in a PNG file.
    """
    pixels = picture.transpose(1, 2, 0)
    left, up, corner = (np.zeros_like(pixels) for _ in range(3))
    left[:, 1:], up[1:], corner[1:, 1:] = pixels[:, :-1], pixels[:-1], pixels[:-1, :-1]
    a, b, c = (each.astype(np.int32) for each in (left, up, corner))
    guess = a + b - c
    away = np.stack([np.abs(guess - a), np.abs(guess - b), np.abs(guess - c)])
    # of those that are equally near, the first
    paeth = np.choose(away.argmin(0), [left, up, corner])
    mean = ((a + b) // 2).astype(pixels.dtype)
    for guessed in (np.zeros_like(pixels), left, up, mean, paeth):
        # unsigned numbers go round
        yield pixels - guessed


def _differences(
    sound: NDArray[np.unsignedinteger],
) -> Iterator[NDArray[np.unsignedinteger]]:
    """A sound as it is, and its first and second differences."""
    for _ in range(3):
        yield sound
        sound = np.diff(sound, prepend=sound[:1] * 0)


def _rice(sounds: Tensor) -> Tensor:
    """Bits of Rice codes of what polynomials of order 0 to 3 leave, `(N,)` float64.

    A block of samples has the parameter k that suits it, which takes four bits: a residual r,
    folded to u ≥ 0, takes u / 2^k rounded down, 1 and k bits.
    """
    shortest: Tensor | None = None
    rest = sounds
    for _ in range(4):
        folded = torch.where(rest >= 0, 2 * rest, -2 * rest - 1)
        short = -folded.shape[1] % _BLOCK
        blocks = torch.nn.functional.pad(folded, (0, short)).unflatten(1, (-1, _BLOCK))
        there = torch.nn.functional.pad(torch.ones_like(folded), (0, short)).view_as(blocks)
        costs = torch.stack([(((blocks >> k) + 1 + k) * there).sum(2) for k in range(_PARAMETERS)])
        bits = (costs.amin(0) + 4).sum(1).double()
        shortest = bits if shortest is None else shortest.minimum(bits)
        rest = rest.diff(dim=1, prepend=torch.zeros_like(rest[:, :1]))
    assert shortest is not None
    return shortest
