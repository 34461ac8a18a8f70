"""Rate against distortion over β, and reconstructions beside samples: both cannot be best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.latent.common import (
    BLUE,
    GREY,
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
from benchmarks.latent.common import terms as terms_of
from benchmarks.table import table
from simulacra.data.catalogue import load
from simulacra.ground.caching import cache_folder
from simulacra.ground.randomness import seeded
from simulacra.judging.features.views import views
from simulacra.judging.figures.fidelity import frechet_distance
from simulacra.models.latent.vae import VAE

BETAS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
SHOWN = 10


def measure(steps: int = 500) -> dict[str, Any]:
    """Terms, distances and pictures for each β, on the digits."""
    data = load("digits")
    test = data.test.x[:]
    view, rows = views(data, len(test), folder=cache_folder())[0], []
    real, top = view.features(test), (data.spec.levels or 2) - 1
    for beta in BETAS:
        keywords = {"latent": 8, "hidden": (256, 128), "beta": beta}
        model = trained("vae", data, keywords, steps)
        assert isinstance(model, VAE)
        distortion, rate = terms_of(model, test)
        with torch.no_grad(), seeded(0):
            codes = model.posterior(test).rsample(), model.prior(len(test))
            drawn = [model.decode(z) for z in codes]
            middles = [middle(model.likelihood(z[:SHOWN])) / top for z in codes]
        again, new = (frechet_distance(real, view.features(y)) for y in drawn)
        rows.append({"beta": beta, "distortion": distortion, "rate": rate, "again": again,
                     "new": new, "reconstructions": packed(middles[0]),
                     "samples": packed(middles[1])})  # fmt: skip
    train = data.train.x[: len(test)]
    return {"machine": machine(), "steps": steps, "features": view.extractor, "rows": rows,
            "dims": data.spec.dims, "floor": frechet_distance(real, view.features(train)),
            "data": packed(data.spec.to_float(test[:SHOWN]))}  # fmt: skip


def draw(report: Mapping[str, Any], folder: Path) -> None:
    """The curve with lines of equal bound; the distances; then the pictures of each β."""
    from matplotlib.figure import Figure

    rows, dims = report["rows"], report["dims"]
    rate, distortion = ([row[key] for row in rows] for key in ("rate", "distortion"))
    figure = Figure((9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(rate, distortion, "-o", color=BLUE, markersize=4)
    for row in rows:
        left.annotate(f"β = {row['beta']:g}", (row["rate"], row["distortion"]), (6, 6),
                      textcoords="offset points", fontsize=8)  # fmt: skip
    low = min(r + d for r, d in zip(rate, distortion, strict=True))
    wide = max(rate) * 1.25
    top, bottom = max(distortion) * 1.06, min(distortion) * 0.92
    bits = low / dims / math.log(2)
    for more in range(4):
        total = low + more * 8
        name = f"equal bounds, 8 nats apart;\nthe best: {low:.1f} nats, {bits:.2f} bits/dim"
        left.plot([0, wide], [total, total - wide], color=GREY, linewidth=0.8, zorder=1,
                  linestyle=(0, (4, 3)), label=None if more else name)  # fmt: skip
    left.set_xlim(0, wide)
    left.set_ylim(bottom, top)
    quiet(left, "rate: KL(q(z | x) ‖ p(z)), nats", "distortion: −E log p(x | z), nats")
    left.legend(frameon=True, edgecolor="none", framealpha=1, loc="upper right", fontsize=8)
    betas = [row["beta"] for row in rows]
    for key, name, colour in (("again", "reconstructions", BLUE), ("new", "prior samples", RED)):
        right.plot(betas, [row[key] for row in rows], "-o", color=colour, markersize=4, label=name)
    right.axhline(report["floor"], color=GREY, linestyle=(0, (4, 3)), linewidth=1,
                  label="training digits")  # fmt: skip
    right.set(xscale="log", yscale="log")
    quiet(right, "β", "Fréchet distance to test digits")
    right.legend(frameon=False)
    save(figure, folder / "latent-rates.png")
    figure = Figure((7.6, 5), layout="constrained")
    axes = figure.subplots(len(rows) + 1, 2)
    strip(axes[0, 0], unpacked(report["data"]), "test digits", SHOWN)
    axes[0, 1].set_axis_off()
    for (again, new), row in zip(axes[1:], rows, strict=True):
        strip(again, unpacked(row["reconstructions"]),
              f"β = {row['beta']:g}: reconstructions, {row['again']:.3f}", SHOWN)  # fmt: skip
        strip(new, unpacked(row["samples"]), f"prior samples, {row['new']:.3f}", SHOWN)
    save(figure, folder / "latent-betas.png")


def markdown(report: Mapping[str, Any]) -> str:
    """A row for each β."""
    rows = [
        [f"{row['beta']:g}", f"{row['distortion']:.1f}", f"{row['rate']:.1f}",
         f"≤ {(row['distortion'] + row['rate']) / report['dims'] / math.log(2):.3f}",
         f"{row['again']:.3f}", f"{row['new']:.3f}"]
        for row in report["rows"]
    ]  # fmt: skip
    head = ("β", "distortion", "rate", "bits/dim", "Fréchet, reconstructions", "Fréchet, samples")
    return "\n\n".join([
        table(head, rows),
        f"Test digits, nats; {report['steps']:,} steps at most, 8 units. Distances in the judge's "
        f"features ({report['features']}), of as many drawn pictures as there are test digits; "
        f"that of training digits is {report['floor']:.3f}. {told(report['machine'])}.",
    ])  # fmt: skip
