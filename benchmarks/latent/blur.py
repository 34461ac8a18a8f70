"""Blur as energy at high frequencies; one network as a VAE's decoder and as a GAN's generator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from benchmarks.latent.common import (
    BLUE,
    GREEN,
    RED,
    machine,
    middle,
    packed,
    quiet,
    save,
    strip,
    told,
    trained,
    unpacked,
)
from benchmarks.table import table
from simulacra.data.catalogue import load
from simulacra.ground.caching import cache_folder
from simulacra.ground.randomness import seeded
from simulacra.judging.features.views import views
from simulacra.judging.figures.fidelity import frechet_distance, precision, recall
from simulacra.models.latent.vae import VAE
from simulacra.models.model import Sampling

COUNT = 1000
SHOWN = 12
HIGH = 0.5
"""Of the highest frequency that pixels can tell: what lies above is high."""
LATENT, HIDDEN = 32, (256, 512)
"""Of the decoder and the generator, which are one network."""


def spectrum(pictures: Tensor) -> Tensor:
    """Mean power of pictures `(N, C, H, W)` by frequency, from 1 to side / 2 cycles, in rings.

    The mean of all pictures is taken away first: what is left is what differs between them.
    """
    side = min(pictures.shape[-2:])
    power = torch.fft.fft2((pictures - pictures.mean(0)).double(), norm="ortho").abs().square()
    rows, columns = (torch.fft.fftfreq(n, 1 / side) for n in pictures.shape[-2:])
    ring = (rows[:, None].square() + columns.square()).sqrt().round().long()
    total = power.mean((0, 1))
    return torch.stack([total[ring == k].sum() for k in range(1, side // 2 + 1)])


def sharpness(pictures: Tensor) -> float:
    """The power above half of the highest frequency, of one unit in all: less is more blurred."""
    rings = spectrum(pictures)
    return float(rings[int(HIGH * len(rings)) :].sum() / rings.sum())


def measure(steps: int = 1000, data_dir: Path | None = None) -> dict[str, Any]:
    """Spectra, distances and pictures of data, `vae` and `gan`, on MNIST's digits."""
    data = load("mnist", data_dir=data_dir)
    spec = data.spec
    test = data.test.x[:COUNT]
    shown: dict[str, Tensor] = {"data": spec.to_float(test)}
    drawn: dict[str, Tensor] = {"data": test}
    vae = trained("vae", data, {"latent": LATENT, "hidden": HIDDEN[::-1], "encoder": "mlp"}, steps)
    gan = trained("gan", data, {"latent": LATENT, "hidden": HIDDEN}, steps)
    assert isinstance(vae, VAE)
    assert isinstance(gan, Sampling)
    with torch.no_grad(), seeded(0):
        codes = {"reconstructions": vae.encode(test), "samples": vae.prior(COUNT)}
        for name, z in codes.items():
            likelihood = vae.likelihood(z)
            shown[f"vae, {name}, mean"] = middle(likelihood) / ((spec.levels or 2) - 1)
            drawn[f"vae, {name}, mean"] = middle(likelihood).round().long()
            drawn[f"vae, {name}, drawn"] = vae.decode(z)
            shown[f"vae, {name}, drawn"] = spec.to_float(drawn[f"vae, {name}, drawn"])
        drawn["gan, samples"] = gan.sample(COUNT)
        shown["gan, samples"] = spec.to_float(drawn["gan, samples"])
    view = views(data, COUNT, folder=cache_folder())[0]
    real, rows = view.features(data.test.x[COUNT : 2 * COUNT]), []
    for name, pictures in shown.items():
        seen = view.features(drawn[name])
        rows.append({"name": name, "high": sharpness(pictures),
                     "spectrum": spectrum(pictures).tolist(),
                     "frechet": frechet_distance(real, seen), "precision": precision(real, seen),
                     "recall": recall(real, seen),
                     "pictures": packed(pictures[:SHOWN])})  # fmt: skip
    sizes = {"vae": _size(vae.decoding), "gan": _size(gan.player("generator"))}
    return {"machine": machine(), "steps": steps, "features": view.extractor, "rows": rows,
            "sizes": sizes}  # fmt: skip


def _size(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def draw(report: Mapping[str, Any], folder: Path) -> None:
    """Spectra, and pictures of each."""
    from matplotlib.figure import Figure, SubFigure

    styles = {
        "data": ("black", "-"), "vae, reconstructions, mean": (GREEN, "-"),
        "vae, samples, mean": (BLUE, "-"), "vae, samples, drawn": (BLUE, (0, (2, 2))),
        "gan, samples": (RED, "-"),
    }  # fmt: skip
    figure = Figure((10, 4.2), layout="constrained")
    left, right = cast("list[SubFigure]", figure.subfigures(1, 2, width_ratios=(1, 1.25)))
    axis = left.subplots()
    rows = [row for row in report["rows"] if row["name"] in styles]
    for row in rows:
        colour, line = styles[row["name"]]
        at = range(1, len(row["spectrum"]) + 1)
        axis.plot(at, row["spectrum"], color=colour, linestyle=line, label=row["name"])
    axis.axvspan(HIGH * len(at) + 0.5, len(at) + 0.5, color="#f0f2f4", zorder=0)
    axis.set_xlim(1, len(at))
    axis.set_yscale("log")
    quiet(axis, "cycles per picture (grey: high)", "power of what differs between pictures")
    axis.legend(frameon=False, fontsize=8)
    for axis, row in zip(right.subplots(len(rows), 1), rows, strict=True):
        pictures = unpacked(row["pictures"])
        strip(axis, pictures, f"{row['name']}: {row['high']:.1%} high", SHOWN)
    save(figure, folder / "latent-blur.png")


def markdown(report: Mapping[str, Any]) -> str:
    """A row for each kind of picture."""
    rows = [
        [row["name"], f"{row['high']:.2%}", f"{row['frechet']:.3f}", f"{row['precision']:.2f}",
         f"{row['recall']:.2f}"]
        for row in report["rows"]
    ]  # fmt: skip
    sizes = report["sizes"]
    return "\n\n".join([
        table(("pictures", "energy at high frequencies", "Fréchet", "precision", "recall"), rows),
        f"{COUNT:,} pictures each, distances to other test digits in the judge's features "
        f"({report['features']}); {report['steps']:,} steps of each model, whose decoder and "
        f"generator have {sizes['vae']:,} and {sizes['gan']:,} weights. {told(report['machine'])}.",
    ])  # fmt: skip
