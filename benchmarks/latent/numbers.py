"""Bits per dimension against the number of training pictures: do few suffice?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.latent.common import BLUE, GREY, RED, machine, quiet, save, told, trained
from benchmarks.table import table
from simulacra.data.catalogue import load
from simulacra.models.latent.vae import VAE

COUNTS = (20, 50, 100, 200, 400, 800)
"""And all there are."""
DRAWS = 64


def measure(steps: int = 1000) -> dict[str, Any]:
    """The bound of training and of validation pictures, by how many were learnt from."""
    data, rows = load("digits"), []
    for count in (*COUNTS, len(data.train)):
        few = replace(data, train=data.train.take(torch.arange(count)))
        model = trained("vae", few, {"latent": 8, "hidden": (256, 128)}, steps)
        assert isinstance(model, VAE)
        rows.append({"count": count, "train": _bits(model, few.train.x[:]),
                     "validation": _bits(model, data.validation.x[:])})  # fmt: skip
    uniform = math.log2(data.spec.levels or 2)
    return {"machine": machine(), "steps": steps, "uniform": uniform, "rows": rows}


@torch.no_grad()
def _bits(model: VAE, x: torch.Tensor) -> float:
    nats = -model.log_likelihood(x[:400], draws=DRAWS).double().mean()
    return float(nats) / model.spec.dims / math.log(2)


def draw(report: Mapping[str, Any], folder: Path) -> None:
    """Both lines, coming together from two sides."""
    from matplotlib.figure import Figure

    figure = Figure((5.6, 3.6), layout="constrained")
    axis = figure.subplots()
    counts = [row["count"] for row in report["rows"]]
    for key, colour in (("validation", RED), ("train", BLUE)):
        axis.plot(counts, [row[key] for row in report["rows"]], "-o", color=colour, markersize=4,
                  label={"train": "training"}.get(key, key))  # fmt: skip
    axis.axhline(report["uniform"], color=GREY, linestyle=(0, (4, 3)), linewidth=1,
                 label="all levels alike")  # fmt: skip
    axis.set_xscale("log")
    axis.set_xticks(counts, [f"{count:,}" for count in counts])
    axis.minorticks_off()
    axis.set_ylim(0, None)
    quiet(axis, "training digits", "bits/dim, at most")
    axis.legend(frameon=False)
    save(figure, folder / "latent-numbers.png")


def markdown(report: Mapping[str, Any]) -> str:
    """A row for each number of pictures."""
    rows = [
        [f"{row['count']:,}", f"≤ {row['train']:.3f}", f"≤ {row['validation']:.3f}"]
        for row in report["rows"]
    ]
    return "\n\n".join([
        table(("digits learnt from", "training, bits/dim", "validation, bits/dim"), rows),
        f"IWAE with {DRAWS} draws, of 400 at most; the best of {report['steps']:,} steps on the "
        f"validation digits; {told(report['machine'])}.",
    ])  # fmt: skip
