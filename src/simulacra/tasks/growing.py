"""Pictures as they grow, while a model draws them in steps."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.drawing.style import HIDDEN
from simulacra.ground.errors import MissingCapability
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.model import Model
from simulacra.models.refining import Refining
from simulacra.tasks.refined import steps_taken

WATCHED = 16
"""Pictures that are shown growing."""

FRAMES = 60
"""Of an animation, at most: a step each would take minutes to look at."""


class Growing:
    """Frames of the first pictures as they grow, value by value or out of noise.

    What is not drawn yet of values drawn in turn is light blue. `sample.draw` tells its steps to
    `add`.

    Args:
        model: That draws them one value after another, or refines noise.
        observed: What is given from the start, booleans `(C, H, W)`.
        steps: In which noise is refined: see `sample.draw`.

    Raises:
        MissingCapability: If it draws otherwise, or no pictures.
    """

    def __init__(
        self, model: Model, observed: Tensor | None = None, steps: int | None = None
    ) -> None:
        if not isinstance(model, Autoregressive | Refining):
            raise MissingCapability(
                f"{type(model).__name__} draws a picture at once, and --watch shows one as it "
                "grows: use pixelcnn or ddpm"
            )
        self.spec = spec = model.spec
        if not spec.is_image:
            kind = "vectors" if spec.rate is None else "sounds"
            raise MissingCapability(
                f"--watch shows pictures, not {kind} {spec.event_shape}: leave it out"
            )
        self.positions = iter(model.order.tolist() if isinstance(model, Autoregressive) else ())
        self.drawn = torch.zeros(spec.dims, dtype=torch.bool)
        if observed is not None:
            self.drawn |= observed.flatten()
        self.refined = 0 if isinstance(model, Refining) else None
        if isinstance(model, Refining):
            taken = steps_taken(model, steps)
            # what they begin as is the first frame, and what they end as the last
            self.kept = {round(i * taken / (FRAMES - 1)) for i in range(FRAMES)}
        else:
            self.kept = {round((i + 1) * spec.dims / FRAMES) for i in range(FRAMES)} - {0}
        self.frames: list[Tensor] = []
        """Floats in [0, 1], `(n, C, H, W)` each."""

    def add(self, x: Tensor) -> None:
        """Take in a step: all pictures `(N, C, H, W)`, one value or one step further."""
        if self.refined is not None:
            if self.refined in self.kept:
                self.frames.append(self.spec.to_float(x[:WATCHED].cpu()))
            self.refined += 1
            return
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
