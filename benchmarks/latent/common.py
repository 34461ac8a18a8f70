"""What the experiments share: trainings, bounds, and the hand of their pictures."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.distributions import Bernoulli, Distribution

from benchmarks.machine import describe
from simulacra.data.dataset import Dataset
from simulacra.drawing.grids import grid
from simulacra.ground.randomness import seeded
from simulacra.models.bounded import Bounded
from simulacra.models.model import Model
from simulacra.models.registry import build, preset
from simulacra.training.fit import fit
from simulacra.training.options import Options

BLUE, RED, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#8a939d"


def trained(
    name: str, data: Dataset, keywords: Mapping[str, Any], steps: int, seed: int = 0
) -> Model:
    """A model with the options that suit it, at its best validation."""
    with seeded(seed):
        model = build(name, data.spec, dict(keywords))
    return fit(model, data, f"{steps}steps", Options(**{**preset(name), "seed": seed}))


@torch.no_grad()
def terms(model: Bounded, x: Tensor) -> tuple[float, float]:
    """Mean distortion and rate of observations, nats, by one code each."""
    found = model.terms(x)
    return float(found.distortion.double().mean()), float(found.kl.double().mean())


def middle(values: Distribution) -> Tensor:
    """The mean level of each value, whatever the distribution says it by."""
    inner = getattr(values, "base_dist", values)
    if isinstance(inner, Bernoulli):
        return inner.probs
    if isinstance(inner, torch.distributions.Categorical):
        levels = torch.arange(inner.probs.shape[-1], dtype=inner.probs.dtype)
        return inner.probs @ levels
    # of others a mean over levels is asked for one by one
    count = int(inner.levels)  # type: ignore[union-attr]
    total = torch.zeros(inner.batch_shape)
    for level in range(count):
        total = total + level * inner.log_prob(torch.full(inner.batch_shape, float(level))).exp()
    return total


def machine() -> dict[str, str | int]:
    """What everything is measured on."""
    return describe(torch.device("cpu"), torch.get_num_threads(), 0)


def told(m: Mapping[str, Any]) -> str:
    """The machine in words."""
    many = "s" if m["threads"] != 1 else ""
    return f"{m['cpu']}, {m['threads']} thread{many}, torch {m['torch']}, {m['date'][:10]}, seed 0"


def rounded(values: Tensor) -> list[Any]:
    """In thousandths."""
    found: list[Any] = (values.double() * 1000).round().div(1000).tolist()
    return found


def packed(pictures: Tensor) -> dict[str, Any]:
    """Pictures in [0, 1] as bytes, for a file; `unpacked` undoes it."""
    levels = (pictures.clamp(0, 1) * 255).round().to(torch.uint8)
    return {"shape": list(pictures.shape), "levels": levels.numpy().tobytes().hex()}


def unpacked(stored: Mapping[str, Any]) -> Tensor:
    """See `packed`."""
    levels = np.frombuffer(bytes.fromhex(stored["levels"]), np.uint8).copy()
    return torch.from_numpy(levels).reshape(stored["shape"]) / 255


def quiet(axis: Axes, x: str, y: str) -> None:
    """Labels, a faint grid, and no frame above or to the right."""
    axis.set(xlabel=x, ylabel=y)
    axis.grid(color="#e3e6ea", linewidth=0.7)
    axis.spines[["top", "right"]].set_visible(False)


def strip(axis: Axes, pictures: Tensor, title: str, columns: int, size: float = 9) -> None:
    """Pictures in [0, 1] as tiles, with a title above."""
    tiles = grid(pictures.clamp(0, 1), columns=columns, scale=_scale(pictures))
    axis.imshow(np.asarray(tiles), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set_title(title, fontsize=size, loc="left")
    axis.set_axis_off()


def _scale(pictures: Tensor) -> int:
    return max(1, round(56 / pictures.shape[-1]))


def save(figure: Figure, path: Path, colours: int = 128) -> None:
    """As a small PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    picture = Image.open(buffer).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)


def legend_right(axis: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Names at the ends of lines: x, y, name and colour of each."""
    for x, y, name, colour in ends:
        axis.annotate(name, (x, y), (4, 0), textcoords="offset points", color=colour,
                      va="center", fontsize=9, annotation_clip=False)  # fmt: skip
