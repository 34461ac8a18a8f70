"""The masks of a model's convolutions, read off their buffers: who may see whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from simulacra.ground.errors import MissingCapability
from simulacra.models.model import Model
from simulacra.nn.masked_convolution import MaskedConv2d, colour_slice


@dataclass(frozen=True)
class Mask:
    """What one convolution lets through.

    Args:
        kind: `A` hides a pixel's own colour, `B` shows it.
        seen: Part of the weights that are let through, `(C, C, k, k)` in [0, 1]: of the features
            of an output colour, from those of an input colour, at each place of the kernel; the
            pixel is in its middle.
    """

    kind: Literal["A", "B"]
    seen: Tensor

    @property
    def right(self) -> Tensor:
        """What the paper lets through, by the places alone: booleans `(C, C, k, k)`."""
        colours, side = self.seen.shape[0], self.seen.shape[-1]
        earlier = torch.arange(side * side).view(side, side) < side * side // 2
        right = earlier.expand(self.seen.shape).clone()
        own = torch.ones(colours, colours).tril(0 if self.kind == "B" else -1).bool()
        right[..., side // 2, side // 2] = own
        return right

    @property
    def leaks(self) -> Tensor:
        """Places that are seen before their time, booleans `(C, C, k, k)`."""
        return (self.seen > 0) & ~self.right


def masks(model: Model) -> list[Mask]:
    """The widest convolution of each kind, A before B: the first one, where several are as wide.

    Raises:
        MissingCapability: If the model has none.
    """
    found: list[Mask] = []
    for kind in ("A", "B"):
        of_kind = [
            part for part in model.modules()
            if isinstance(part, MaskedConv2d) and part.shows_own == (kind == "B")
        ]  # fmt: skip
        if of_kind:
            found.append(Mask(kind, _seen(max(of_kind, key=lambda conv: conv.kernel_size[1]))))
    if not found:
        raise MissingCapability(
            f"{type(model).__name__} has no masked convolutions to draw: use pixelcnn"
        )
    return found


def _seen(conv: MaskedConv2d) -> Tensor:
    """The mask of a convolution by colours, on a square with the pixel in its middle."""
    outputs, inputs = conv.mask.shape[:2]
    reach = max(conv.reach, conv.rows)
    side = 2 * reach + 1
    # the kernel has no place for what nobody sees: rows below, and along a row what is to the right
    whole = torch.zeros(outputs, inputs, side, side)
    top, left = reach - conv.rows, reach - conv.reach
    tall, wide = conv.mask.shape[2:]
    whole[:, :, top : top + tall, left : left + wide] = conv.mask.cpu().float()
    blocks = whole.unflatten(0, (conv.gates, -1))
    into, out_of = (
        [colour_slice(features, conv.colours, c) for c in range(conv.colours)]
        for features in (outputs // conv.gates, inputs)
    )
    shares = [blocks[:, rows, columns].mean((0, 1, 2)) for rows in into for columns in out_of]
    return torch.stack(shares).unflatten(0, (conv.colours, conv.colours))
