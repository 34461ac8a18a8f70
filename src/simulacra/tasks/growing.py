"""Pictures as they grow, while a model draws them one value after another."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.drawing.style import HIDDEN
from simulacra.ground.errors import MissingCapability
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.model import Model

WATCHED = 16
"""Pictures that are shown growing."""

FRAMES = 60
"""Of an animation, at most: a value each would take minutes to look at."""


class Growing:
    """Frames of the first pictures as they grow; what is not drawn yet is light blue.

    `sample.draw` tells its steps to `add`.

    Args:
        model: That draws them one value after another.
        observed: What is given from the start, booleans `(C, H, W)`.

    Raises:
        MissingCapability: If it draws otherwise, or no pictures.
    """

    def __init__(self, model: Model, observed: Tensor | None = None) -> None:
        if not isinstance(model, Autoregressive):
            raise MissingCapability(
                f"{type(model).__name__} does not draw one value after another, as --watch needs: "
                "use pixelcnn"
            )
        spec = model.spec
        if not spec.is_image:
            kind = "vectors" if spec.rate is None else "sounds"
            raise MissingCapability(
                f"--watch shows pictures, not {kind} {spec.event_shape}: leave it out"
            )
        self.spec, self.positions = spec, iter(model.order.tolist())
        self.kept = {round((i + 1) * spec.dims / FRAMES) for i in range(FRAMES)} - {0}
        self.drawn = torch.zeros(spec.dims, dtype=torch.bool)
        if observed is not None:
            self.drawn |= observed.flatten()
        self.frames: list[Tensor] = []
        """Floats in [0, 1], `(n, 3, H, W)` each."""

    def add(self, x: Tensor) -> None:
        """Take in a step: all pictures, `(N, C, H, W)` levels, with one more value drawn."""
        position = next(self.positions)
        if self.drawn[position]:
            # it was given, and shown with the first that is drawn
            return
        self.drawn[position] = True
        if int(self.drawn.sum()) in self.kept:
            # a pixel is there when all its colours are
            there = self.drawn.view(self.spec.event_shape).all(0)
            blank = torch.tensor(HIDDEN)[:, None, None]
            shown = self.spec.to_float(x[:WATCHED].cpu())
            self.frames.append(torch.where(there, shown, blank))
