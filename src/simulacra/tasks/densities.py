"""Densities of points: what a model, or the data's own truth, says all over a plane or a line."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.data.dataset import Dataset
from simulacra.drawing.style import ALIKE
from simulacra.ground.errors import MissingCapability
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.at_once import rows_at_once
from simulacra.models.flow.base import Flow
from simulacra.models.flow.maps import FlowMap
from simulacra.models.model import Likelihood, Model
from simulacra.models.modes import evaluating, scoring
from simulacra.tasks.bayes import class_frequencies, log_marginal, marginal_by_class
from simulacra.tasks.sample import device_of, frequent_context

SIDE = 120
"""Points of a grid on each side."""
DRAWS = 16
"""Importance draws of a bound: with fewer, its noise is seen."""
_AT_ONCE = 1024
_MARGIN = 0.12


def is_plane(spec: DataSpec) -> bool:
    """Whether observations are points of a plane: two numbers, none of them a category."""
    return spec.levels is None and spec.event_shape == (2,) and not spec.mixed


def is_line(spec: DataSpec) -> bool:
    """Whether observations are points of a line: one number, and no category."""
    return spec.levels is None and spec.event_shape == (1,) and not spec.mixed


@dataclass(frozen=True)
class Plane:
    """A rectangle of the plane, looked at in the middles of equal cells.

    Args:
        low: Its lower left corner.
        high: Its upper right corner.
        side: Cells in a row, and in a column.
    """

    low: tuple[float, float]
    high: tuple[float, float]
    side: int = SIDE

    @classmethod
    def around(cls, points: Tensor, side: int = SIDE) -> Plane:
        """With room for points `(N, 2)`, but for one in two hundred at each end.

        Both axes have one scale, unless one spans several times what the other does.
        """
        ends = torch.tensor([0.005, 0.995], dtype=torch.float64)
        low, high = points.double().quantile(ends, 0)
        span = (high - low).clamp_min(1e-6)
        if float(span.max()) < ALIKE * float(span.min()):
            span = span.max().expand(2)
        middle, half = (low + high) / 2, span * (0.5 + _MARGIN)
        (left, lower), (right, upper) = (middle - half).tolist(), (middle + half).tolist()
        return cls((left, lower), (right, upper), side)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Its left, right, lower and upper end."""
        return self.low[0], self.high[0], self.low[1], self.high[1]

    @property
    def points(self) -> Tensor:
        """The middles of the cells, `(side², 2)` float64: the lowest row first, from the left."""
        steps = (torch.arange(self.side, dtype=torch.float64) + 0.5) / self.side
        low, high = torch.tensor([self.low, self.high], dtype=torch.float64)
        up, across = torch.meshgrid(steps, steps, indexing="ij")
        return low + torch.stack([across.flatten(), up.flatten()], 1) * (high - low)

    def grid(self, values: Tensor) -> Tensor:
        """What is known of each of the points, `(side, side)`."""
        return values.view(self.side, self.side)


def has_density(model: Model, data: Dataset) -> bool:
    """Whether a model has one density of x: a likelihood, and no context vector to be told."""
    labelled = model.context != "label" or class_frequencies(data.train, data.spec) is not None
    return isinstance(model, Likelihood) and model.context != "vector" and labelled


def log_density(model: Model, data: Dataset, points: Tensor) -> Tensor:
    """Log p of points in nats as the model has them, `(N,)` float64 on the CPU.

    Of a model that takes labels it is log Σ_y p(y) p(x | y), with the training frequencies. A
    bound has several importance draws.

    Args:
        model: One that `has_density`.
        data: That it learned from.
        points: In the units of the columns, `(N, D)`.

    Raises:
        MissingCapability: If it has no likelihood, or one of each context alone.
    """
    name = type(model).__name__
    if not isinstance(model, Likelihood):
        raise MissingCapability(f"{name} has no likelihood, hence no density to draw: use nice")
    if not has_density(model, data):
        raise MissingCapability(
            f"this {name} has a density for each context, and none of points alone: train one "
            "with --set context=none"
        )
    frequencies = class_frequencies(data.train, data.spec) if model.context == "label" else None
    x = data.spec.from_float(points).to(device_of(model))

    def log_p(x: Tensor) -> Tensor:
        if frequencies is not None:
            return marginal_by_class(model, x, frequencies, draws=DRAWS)[1]
        return model.log_likelihood(x, draws=DRAWS).cpu().double()

    with evaluating(model), scoring():
        size = rows_at_once(lambda rows: log_p(x[:rows]), min(len(x), _AT_ONCE))
        return torch.cat([log_p(some) for some in x.split(size)])


def true_log_density(data: Dataset, points: Tensor) -> Tensor | None:
    """Log-density that data were drawn from, `(N,)` float64; `None` where nobody knows it."""
    if data.density is None:
        return None
    return data.density.log_prob(data.spec.from_float(points)).double()


@dataclass(frozen=True, eq=False)
class Between:
    """What a flow has made of its base after some of its maps are undone.

    Args:
        number: Of the map that was undone last, counted from the data; 0 of the base.
        name: Of that map.
        plane: Where its points are.
        log_p: Log-density in nats, `(side, side)` float64.
    """

    number: int
    name: str
    plane: Plane
    log_p: Tensor


def has_maps(model: Model) -> bool:
    """Whether a model is a flow of maps one after another, between which there are densities."""
    return isinstance(model, Flow) and len(model.maps) > 0


@scoring()
def densities_between(model: Model, data: Dataset, side: int = SIDE) -> list[Between]:
    """The densities that lie between the maps of a flow on a plane, from the base to the data.

    With z = f_L(… f_1(y)), y_l = f_l(… f_1(y)) has the density of z where the maps after f_l carry
    it, times their volume: log p(y_l) = log p(z) + Σ_{k > l} log |det ∂f_k|. f_L is undone first,
    then the one before it, and so on: so a plain density becomes that of the data. Where the flow
    is told labels, all of this is summed over them, as in `log_density`.

    Args:
        model: One that `has_maps`, and that `has_density`.
        data: That it learned from, points of a plane.
        side: Points of each grid on a side.

    Returns:
        The base first, then one for each map, the last map first. All are in standardised units but
        for the last, which is in the units of the columns.

    Raises:
        MissingCapability: If the model is no flow of maps, or the data are no plane.
    """
    name = type(model).__name__
    if not isinstance(model, Flow) or not len(model.maps):
        raise MissingCapability(
            f"{name} is no flow made of maps, and has no densities between them"
        )
    if not is_plane(model.spec) or not has_density(model, data):
        raise MissingCapability(
            "densities between maps are drawn of points of a plane, not of "
            f"{model.spec.event_shape} with context={model.context}"
        )
    maps, device = _maps_of(model), device_of(model)
    found = []
    with evaluating(model), seeded(0):
        context = frequent_context(model, data, _SEEN, seed=0)
        context = None if context is None else context.to(device)
        y = model.prior(_SEEN, context)
        told = model.context_features(context, y)
        for undone in range(len(maps) + 1):
            if undone:
                y = maps[-undone].inverse(y, told)
            if undone == len(maps):
                break
            plane = Plane.around(y[y.isfinite().all(1)].cpu(), side)
            log_p = _carried(model, data, plane.points.to(y), len(maps) - undone)
            found.append(Between(*_called(maps, undone), plane, plane.grid(log_p)))
    x = data.spec.to_float(y * model.log_scale.exp() + model.shift).cpu()
    plane = Plane.around(x[x.isfinite().all(1)], side)
    log_p = plane.grid(log_density(model, data, plane.points))
    return [*found, Between(*_called(maps, len(maps)), plane, log_p)]


_SEEN = 4000
"""Draws that say where points are."""


def _maps_of(model: Flow) -> list[FlowMap]:
    return [each for each in model.maps if isinstance(each, FlowMap)]


def _called(maps: list[FlowMap], undone: int) -> tuple[int, str]:
    """Number and name of the map that was undone last."""
    if not undone:
        return 0, ""
    return len(maps) - undone + 1, type(maps[-undone]).__name__


def _carried(model: Flow, data: Dataset, y: Tensor, first: int) -> Tensor:
    """Log-density of values that only the maps from one on have yet to meet, `(N,)` float64."""
    spec = data.spec
    frequencies = class_frequencies(data.train, spec) if model.context == "label" else None

    def log_p(label: Tensor | None) -> Tensor:
        return model.log_density_after(y, first, label).cpu().double()

    if frequencies is None:
        return log_p(None)
    each = torch.full((len(y), spec.classes), -torch.inf, dtype=torch.float64)
    for label in frequencies.nonzero()[:, 0].tolist():
        each[:, label] = log_p(spec.labels(torch.full((len(y),), label)).to(y.device))
    return log_marginal(each, frequencies)
