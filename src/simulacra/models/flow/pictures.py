"""`PictureFlow`: what flows of pictures in several scales have in common."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.flow.base import Flow
from simulacra.models.flow.dequantiser import PictureDequantiser
from simulacra.models.flow.elementwise import Elementwise, Kind, Logistics, elementwise
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextKind
from simulacra.nn.precision import double

Dequantisation = Literal["uniform", "variational"]


class PictureFlow(Flow):
    """A flow of pictures of two pixels or more, of any side and colour, in several scales.

    Values are standardised channel by channel, not pixel by pixel: what convolutions share is the
    same everywhere.

    Args:
        spec: Pictures of ordered levels.
        scales: Their number, at most; pictures of one pixel are not squeezed any more.
        steps: Steps of each scale.
        hidden: Channels of the couplings' networks.
        coupling: What is done to each value.
        parts: Bins of a spline, or logistics of a mixture, 1 to 64.
        dequantisation: Of the noise that is added to levels.
        context: What the couplings are told.
    """

    takes = Takes(sounds=False, vectors=False, unordered=False, values=2)

    def __init__(
        self,
        spec: DataSpec,
        *,
        scales: int,
        steps: int,
        hidden: int,
        coupling: Kind,
        parts: int,
        dequantisation: Dequantisation,
        context: ContextKind,
    ) -> None:
        if min(scales, steps, hidden) < 1:
            raise UsageError(
                f"scales, steps and hidden are positive, got {scales}, {steps} and {hidden}"
            )
        if len(spec.event_shape) == 3 and spec.event_shape[1:] == (1, 1):
            # its colours would all be on one side of every coupling
            raise MissingCapability(
                f"{type(self).__name__} couples pixels, and a picture {spec.event_shape} has one: "
                "use spline-flow or maf"
            )
        if dequantisation not in get_args(Dequantisation):
            raise UsageError(
                f"dequantisation is one of {', '.join(get_args(Dequantisation))}, "
                f"got {dequantisation!r}"
            )
        super().__init__(spec, context)
        self.scales, self.steps, self.hidden = scales, steps, hidden
        self.coupling, self.parts, self.dequantisation = coupling, parts, dequantisation
        if dequantisation == "variational":
            narrower = max(1, hidden // 2)
            self.dequantiser = PictureDequantiser(
                spec, _COUPLINGS, Logistics(_PARTS), narrower, self.context_features.width
            )

    def _elementwise(self) -> Elementwise:
        return elementwise(self.coupling, self.parts)

    def _moments(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Of each channel, over all pixels."""
        wide = double(y)
        mean, spread = (
            of(wide, (0, 2, 3), keepdim=True)[0].expand(y.shape[1:])
            for of in (torch.mean, torch.std)
        )
        return mean, torch.where(spread > 0, spread, torch.ones_like(spread))


_COUPLINGS, _PARTS = 4, 4
"""Of a learnt dequantisation, and logistics of each."""
