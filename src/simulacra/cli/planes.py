"""What is drawn of a model of points of a plane or a line: its density, and what it samples."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from simulacra.cli import terminal
from simulacra.ground.errors import MissingCapability

if TYPE_CHECKING:
    from torch import Tensor

    from simulacra.data.dataset import Dataset
    from simulacra.models.model import Model

_POINTS = 2000
"""Samples that are drawn, and training points where nobody knows the density."""
_IN_ROW = 6
"""Densities between the maps of a flow in a row, at most."""


def draw_plane(model: Model, data: Dataset, target: Path, *, seed: int = 0) -> None:
    """A picture of what a model makes of a plane; of a flow of maps, what is between them too.

    Args:
        model: In eval mode, on its device.
        data: That it learned from, points of a plane.
        target: The PNG file; the densities between maps go beside it, into NAME-maps.png.
        seed: Of the samples.

    Raises:
        MissingCapability: If the data are no points of a plane, or the model neither samples nor
            has a density.
    """
    from simulacra.data.splits import permutation
    from simulacra.drawing import files, planes
    from simulacra.ground.storage import write_bytes
    from simulacra.judging.figures.likelihood import in_units
    from simulacra.models.model import Sampling
    from simulacra.tasks.densities import (
        Plane,
        densities_between,
        has_density,
        has_maps,
        is_plane,
        log_density,
        true_log_density,
    )
    from simulacra.tasks.sample import draw, frequent_context

    spec, name = data.spec, type(model).__name__
    if not is_plane(spec):
        raise MissingCapability(
            f"a density is drawn of points of a plane, two numbers each, and observations of "
            f"{data.name} are {spec.event_shape}: train on ring-8 or a table of two columns"
        )
    dense = has_density(model, data)
    if not dense and not isinstance(model, Sampling):
        raise MissingCapability(
            f"{name} neither samples nor has a density: there is nothing to map"
        )
    known = spec.to_float(data.train.batch(permutation(len(data.train))[:_POINTS])[0])
    plane = Plane.around(known)
    panels, shown = [], []

    def heat(title: str, log_p: Tensor) -> None:
        grid = plane.grid(in_units(log_p, spec))
        panels.append(planes.Panel(title, plane.extent, log_density=grid))
        shown.append(title)

    if dense:
        heat("density", log_density(model, data, plane.points))
    truth = true_log_density(data, plane.points)
    if truth is not None:
        heat("true density", truth)
    if isinstance(model, Sampling):
        told = frequent_context(model, data, _POINTS, seed=seed)
        drawn = spec.to_float(draw(model, _POINTS, told, seed=(seed,)).x)
        panels.append(planes.Panel("samples", plane.extent, points=drawn))
        shown.append("samples")
    if truth is None:
        panels.append(planes.Panel("data", plane.extent, points=known))
        shown.append("data")
    # a spike of the model's would leave the truth in the dark
    top = None if truth is None else planes.brightest([in_units(truth, spec)])
    figure = planes.planes(panels, top=top, names=data.columns, bar="log p, nats", size=3.2)
    write_bytes(target, files.png(figure))
    terminal.note(f"{target}: {' | '.join(shown)}")
    if not dense:
        terminal.note(f"{name} has no density of points alone, and none is drawn")
    if not has_maps(model) or not dense:
        return
    between = densities_between(model, data)
    strip = [
        planes.Panel(
            "the base" if not each.number
            else f"f{each.number} undone ({each.name}){': data' if each.number == 1 else ''}",
            each.plane.extent,
            log_density=each.log_p - planes.brightest([each.log_p]),
        )
        for each in between
    ]  # fmt: skip
    beside = target.with_name(f"{target.stem}-maps.png")
    columns = math.ceil(len(strip) / math.ceil(len(strip) / _IN_ROW))
    figure = planes.planes(strip, top=0.0, columns=columns, bar="log p below its highest, nats")
    write_bytes(beside, files.png(figure))
    terminal.note(f"{beside}: the base, and its density as one map after another is undone")


def draw_line(model: Model, data: Dataset, target: Path, *, seed: int = 0) -> None:
    """A picture of what a model makes of numbers: its density, its samples, and the data.

    Args:
        model: In eval mode, on its device.
        data: That it learned from, points of a line.
        target: The PNG file.
        seed: Of the samples.

    Raises:
        MissingCapability: If the model neither samples nor has a density.
    """
    import torch

    from simulacra.data.splits import permutation
    from simulacra.drawing import files, planes
    from simulacra.ground.storage import write_bytes
    from simulacra.judging.figures.likelihood import in_units
    from simulacra.models.model import Sampling
    from simulacra.tasks.components import ends_of
    from simulacra.tasks.densities import has_density, log_density, true_log_density
    from simulacra.tasks.sample import draw, frequent_context

    spec, dense = data.spec, has_density(model, data)
    if not dense and not isinstance(model, Sampling):
        raise MissingCapability(
            f"{type(model).__name__} neither samples nor has a density: there is nothing to map"
        )
    known = spec.to_float(data.train.batch(permutation(len(data.train))[:_NUMBERS])[0])[:, 0]
    ends = ends_of(known)
    at = torch.linspace(*ends, 400, dtype=torch.float64)[:, None]
    drawn = None
    if isinstance(model, Sampling):
        told = frequent_context(model, data, _NUMBERS, seed=seed)
        drawn = spec.to_float(draw(model, _NUMBERS, told, seed=(seed,)).x)[:, 0].double()
    truth = true_log_density(data, at)
    figure = planes.line(
        known.double(), ends, samples=drawn, at=at[:, 0],
        log_density=in_units(log_density(model, data, at), spec) if dense else None,
        truth=None if truth is None else in_units(truth, spec),
        name=next(iter(data.columns), ""),
    )  # fmt: skip
    write_bytes(target, files.png(figure))
    shown = [*(["density"] if dense else []), *(["true density"] if truth is not None else []),
             *(["samples"] if drawn is not None else []), "data"]  # fmt: skip
    terminal.note(f"{target}: {', '.join(shown)}")


_NUMBERS = 5000
"""Training data that are drawn, and samples."""
