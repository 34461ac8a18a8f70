"""What a report shows and lets hear: what a model draws, completes, interpolates, and real data."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.data.dataset import Dataset
from simulacra.data.formats.soundfiles import wav
from simulacra.drawing import files, grids
from simulacra.drawing.observations import look
from simulacra.ground.spec import DataSpec
from simulacra.models.model import Completion, Latent, Model, Sampling
from simulacra.tasks.complete import complete, mask, strips
from simulacra.tasks.interpolate import interpolate
from simulacra.tasks.sample import device_of, draw, example_context

PICTURES = 64
"""Samples in each model's grid."""
GAP = 3
"""Pixels between pictures, so that small ones do not run into one another."""
_WAVES, _POINTS = 16, 1000
_HEARD, _SECONDS = 8, 10


def real_pictures(data: Dataset, n: int = PICTURES) -> dict[str, bytes]:
    """Validation observations as one picture, under the name `real`; sounds to be heard."""
    x, _ = data.validation.batch(torch.arange(_shown(data, min(n, len(data.validation)))))
    picture = look(data.spec, x, columns=_columns(data.spec), gap=GAP)
    return {"real": picture} | _audible(data.spec, x, "real/heard")


def sample_pictures(data: Dataset, x: Tensor) -> dict[str, bytes]:
    """Samples as one picture, `samples`, and to be heard; nothing if they are not finite."""
    x = x[: _shown(data, PICTURES)]
    if x.is_floating_point() and not bool(x.isfinite().all()):
        return {}
    picture = look(data.spec, x, columns=_columns(data.spec), gap=GAP)
    return {"samples": picture} | _audible(data.spec, x, "heard")


def _audible(spec: DataSpec, x: Tensor, name: str) -> dict[str, bytes]:
    """The first sounds one after another as a WAV file, as many as make a page no larger."""
    if spec.rate is None or spec.is_image:
        return {}
    few = max(1, min(_HEARD, _SECONDS * spec.rate // spec.dims))
    return {name: wav(spec.to_float(x[:few]), spec.rate)}


def suspect_pictures(spec: DataSpec, samples: Tensor, near: Tensor) -> dict[str, bytes]:
    """Pairs of sample and nearest training picture, four in a row, under the name `suspects`."""
    if not spec.is_image or not len(samples):
        return {}
    pairs = torch.stack([spec.to_float(samples), spec.to_float(near)], 1).flatten(0, 1)
    return {"suspects": files.png(grids.grid(pairs, columns=8, gap=GAP))}


@torch.no_grad()
def model_pictures(model: Model, data: Dataset) -> dict[str, bytes]:
    """Grids of what a model draws, completes and interpolates."""
    spec, drawn = data.spec, dict[str, bytes]()
    device = device_of(model)
    if isinstance(model, Sampling):
        count = _shown(data, PICTURES)
        x = draw(model, count, example_context(model, data, count)).x
        drawn |= sample_pictures(data, x)
    if not spec.is_image:
        return drawn
    if isinstance(model, Completion):
        x, context = data.validation.batch(torch.arange(min(6, len(data.validation))))
        observed = mask(spec.event_shape, "bottom")
        told = None if context is None or model.context == "none" else context.to(device)
        many = complete(model, x.to(device), observed, times=4, context=told).cpu()
        rows = strips(
            spec.to_float(x), observed, spec.to_float(many.flatten(0, 1)).unflatten(0, (len(x), 4))
        )
        drawn["completions"] = files.png(grids.grid(rows, columns=6, gap=GAP))
    if isinstance(model, Latent):
        told = example_context(model, data, 6)
        told = None if told is None else told.to(device)
        frames = interpolate(model, rows=6, steps=10, context=told).cpu()
        drawn["interpolation"] = files.png(
            grids.grid(spec.to_float(frames.flatten(0, 1)), columns=10, gap=GAP)
        )
    return drawn


def _shown(data: Dataset, most: int) -> int:
    """How many observations make a picture: a distribution of numbers needs more than a grid."""
    if data.spec.is_image:
        return most
    return min(_WAVES, most) if data.spec.rate is not None else min(_POINTS, len(data.validation))


def _columns(spec: DataSpec) -> int | None:
    return 8 if spec.is_image else None
