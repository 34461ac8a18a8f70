"""Without the divergence, the deviations of q(z | x) go to zero: a VAE becomes an autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from benchmarks.latent.common import (
    BLUE,
    RED,
    machine,
    middle,
    packed,
    quiet,
    save,
    strip,
    unpacked,
)
from simulacra.data.catalogue import load
from simulacra.ground.randomness import seeded
from simulacra.models.latent.posteriors import Diagonal
from simulacra.models.latent.vae import VAE
from simulacra.models.registry import preset
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options

BETAS = (1.0, 0.0)
COLOURS = {1.0: BLUE, 0.0: RED}
SHOWN = 8


def measure(steps: int = 1500) -> dict[str, Any]:
    """Posterior deviations over a training with and without the divergence, and pictures."""
    data = load("digits")
    x, runs = data.validation.x[:], []
    for beta in BETAS:
        with seeded(0):
            model = VAE(data.spec, latent=8, hidden=(256, 128), beta=beta)
        training = Training(model, data.train, data.validation, Options(**preset("vae"), seed=0))
        training.set_plan(Budget(steps, "steps"))
        line = []
        for record in training:
            if record.step % max(1, steps // 40) == 0 or record.step == 1:
                line.append([record.step, _deviation(model, x)])
        runs.append({"beta": beta, "deviations": line, **_pictures(model, x[:SHOWN])})
    return {"machine": machine(), "steps": steps, "data": packed(data.spec.to_float(x[:SHOWN])),
            "runs": runs}  # fmt: skip


@torch.no_grad()
def _deviation(model: VAE, x: Tensor) -> float:
    """Geometric mean of the deviations of q(z | x), over units and observations."""
    q = model.eval().posterior(x)
    assert isinstance(q, Diagonal)
    return float(q.base_dist.scale.log().mean().exp())


@torch.no_grad()
def _pictures(model: VAE, x: Tensor) -> dict[str, Any]:
    model.eval()
    with seeded(0):
        shown = {"reconstructions": model.encode(x), "samples": model.prior(len(x))}
    return {
        name: packed(middle(model.likelihood(z)) / ((model.spec.levels or 2) - 1))
        for name, z in shown.items()
    }


def draw(report: Mapping[str, Any], folder: Path) -> None:
    """Deviations over steps, and what both models make of pictures and of the prior."""
    from matplotlib.figure import Figure, SubFigure

    figure = Figure((9, 3.8), layout="constrained")
    left, right = cast("list[SubFigure]", figure.subfigures(1, 2, width_ratios=(1, 1)))
    axis = left.subplots()
    for run in report["runs"]:
        steps, deviations = zip(*run["deviations"], strict=True)
        axis.plot(steps, deviations, color=COLOURS[run["beta"]], label=f"β = {run['beta']:g}")
    axis.set_yscale("log")
    quiet(axis, "training steps", "standard deviation of q(z | x), geometric mean")
    axis.legend(frameon=False)
    rows = [("validation digits", report["data"])]
    for run in report["runs"]:
        for name, title in (("reconstructions", "their reconstructions"),
                            ("samples", "codes from the prior, decoded")):  # fmt: skip
            rows.append((f"β = {run['beta']:g}: {title}", run[name]))
    for axis, (title, pictures) in zip(right.subplots(len(rows), 1), rows, strict=True):
        strip(axis, unpacked(pictures), title, SHOWN)
    save(figure, folder / "latent-noise.png")


def markdown(report: Mapping[str, Any]) -> str:
    """The deviations at the ends."""
    return "; ".join(
        f"β = {run['beta']:g}: {run['deviations'][0][1]:.2f} after one step, "
        f"{run['deviations'][-1][1]:.2g} after {run['deviations'][-1][0]:,}"
        for run in report["runs"]
    )
