"""Samples of a model on their way from noise to data, over a plane, and the field they follow."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.data.dataset import Dataset
from simulacra.drawing.planes import Panel
from simulacra.models.model import Model
from simulacra.models.modes import evaluating
from simulacra.models.refining import Carrying
from simulacra.tasks.densities import Plane, is_plane
from simulacra.tasks.sample import device_of, draw, example_context

POINTS, LINES = 1000, 80
"""Samples that are seen on their way, and of how many the whole of it is drawn."""
ARROWS = 16
"""Places on each side of the plane at which the field is shown."""


class Paths:
    """What is seen of the paths of samples, always in the same plane: that of data and noise.

    Args:
        model: One whose paths can be seen, see `shows_paths`; prepared for the data.
        data: That it learns from, points of a plane.
        seed: Of the samples.
    """

    def __init__(self, model: Model, data: Dataset, seed: tuple[int, ...] = (0,)) -> None:
        self.data, self.seed = data, seed
        known = data.train.batch(torch.arange(min(POINTS, len(data.train))))[0]
        self.known = data.spec.to_float(known).double()
        noise = self.points(model)[0]
        self.plane = Plane.around(torch.cat([noise, self.known]))

    def points(self, model: Model) -> Tensor:
        """Where samples are, from noise on and after each step, `(T, POINTS, 2)` float64."""
        steps: list[Tensor] = []
        draw(
            model, POINTS, example_context(model, self.data, POINTS), seed=self.seed,
            on_step=lambda x: steps.append(self.data.spec.to_float(x.cpu()).double()),
        )  # fmt: skip
        return torch.stack(steps)

    def carried(self, model: Carrying, time: float) -> tuple[Tensor, Tensor]:
        """Places all over the plane, and where the field leads from there in a tenth of all time.

        As fast as it is at that place and time; each `(ARROWS², 2)` float64.

        Args:
            model: That takes no context, for there is a field for each.
            time: From 1, where noise is, to 0, where the field is that of just before.
        """
        spec, now = self.data.spec, max(time, _MOMENT)
        places = Plane(self.plane.low, self.plane.high, ARROWS).points
        with evaluating(model):
            x = spec.from_float(places).to(device_of(model))
            then = spec.to_float(model.carried(x, now, now - _MOMENT).cpu()).double()
        moves = (then - places) * (_LENGTH / _MOMENT)
        # away from all data a late field goes a long way
        longest = _LONGEST * (places[1] - places[0]).norm()
        lengths = moves.norm(dim=1, keepdim=True)
        return places, places + moves * (longest / lengths.clamp_min(longest))

    def whole(self, model: Model) -> Panel:
        """The whole paths of some samples, and data."""
        ways = self.points(model)[:, :LINES].transpose(0, 1)
        title = "paths of samples, from noise to data"
        return Panel(title, self.plane.extent, behind=self.known, paths=ways)

    def travelled(self, model: Carrying, frames: int) -> list[tuple[float, Panel]]:
        """All samples at some times of their way, and the field where there is one for all.

        Args:
            model: As it has learnt.
            frames: How many times, the first 1 and the last 0.
        """
        points, found = self.points(model), []
        for share in torch.linspace(0, 1, frames).tolist():
            place = round(share * (len(points) - 1))
            time = 1 - place / (len(points) - 1)
            field = self.carried(model, time) if model.context == "none" else None
            title = "samples, and where places are carried"
            panel = Panel(
                title, self.plane.extent, points=points[place], behind=self.known, field=field
            )
            found.append((time, panel))
        return found


def shows_paths(model: Model, data: Dataset) -> bool:
    """Whether samples of a model go along paths in a plane."""
    return isinstance(model, Carrying) and is_plane(data.spec)


_MOMENT, _LENGTH = 0.02, 0.1
"""How much time a speed is measured over, and how much of it an arrow is long."""
_LONGEST = 1.5
"""Of an arrow, in distances from one to the next."""
