"""`python -m benchmarks.ica`: are a flow's codes independent, and are they the sources?

On the digits, at three stages of fit, and on two known sources behind a known smooth map. Figures
go into docs/ica.json, from which the page is made, and the picture beside it. With every figure is
what codes get that are independent for certain: the same ones, each column shuffled for itself.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor

from benchmarks.bench import to_stderr
from benchmarks.figures.rows import FLOWS
from benchmarks.independence import Codes, dependence, normal, recovered
from benchmarks.machine import describe
from benchmarks.table import table
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.ground.storage import write_json
from simulacra.models.model import Likelihood, Model
from simulacra.models.modes import evaluating, scoring
from simulacra.models.registry import MODELS, build, preset, takes
from simulacra.training.fit import fit
from simulacra.training.options import Options

DOCS = Path(__file__).parents[1] / "docs"
STEPS = (20, 200, 2000)
"""Of trainings on the digits; the toy has the most."""
SOURCES = DataSpec((2,), levels=None)
ANGLE = math.pi / 2
"""By which the middle is turned against the rim."""


# ---- the toy -------------------------------------------------------------------------------------


def turned(s: Tensor, angle: float = ANGLE) -> Tensor:
    """Points of the plane turned around the middle, the more the nearer they are to it.

    The distance stays as it is and areas stay as they are: log |det| = 0.
    """
    by = angle * torch.exp(-s.square().sum(1))
    a, b = s.T
    return torch.stack([a * by.cos() - b * by.sin(), a * by.sin() + b * by.cos()], 1)


def mixed(s: Tensor) -> Tensor:
    """Observations of sources in [−1, 1]²: turned, then bent; log |det| = 0."""
    a, b = turned(s).T
    return torch.stack([a, b + 0.5 * (3 * a).sin()], 1)


def swirled(z: Tensor) -> Tensor:
    """Normal codes turned by an angle that grows with the distance: normal codes again."""
    by = 1.5 * z.square().sum(1).sqrt()
    a, b = z.T
    return torch.stack([a * by.cos() - b * by.sin(), a * by.sin() + b * by.cos()], 1)


def toy(seed: int, count: int = 10_000) -> tuple[Dataset, Tensor]:
    """Mixed uniform sources, and those of the test split."""
    with seeded(seed, 1):
        s = 2 * torch.rand(count + 3000, 2) - 1
    ends = count, count + 1000
    train, validation, test = (Observations(mixed(part)) for part in s.tensor_split(ends))
    return Dataset("two sources", SOURCES, train, validation, test), s[count + 1000 :]


# ---- what is measured ----------------------------------------------------------------------------


@torch.no_grad()
def codes_of(model: Model, observations: Observations, seed: int) -> Codes:
    """The codes of dequantised observations, as the loss sees them: `(N, dims)`."""
    seen: list[Tensor] = []
    transform: Callable[..., tuple[Tensor, Tensor]] = model.transform  # type: ignore[assignment]

    def keeping(y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, ladj = transform(y, context)
        seen.append(z)
        return z, ladj

    model.transform = keeping  # type: ignore[assignment]
    try:
        with seeded(seed, 2), evaluating(model), scoring():
            model.loss(observations.x[:])
    finally:
        del model.transform
    return torch.cat(seen).flatten(1).double().numpy()


def nats(model: Model, observations: Observations) -> float:
    """Mean negative log-likelihood of a few draws of the noise."""
    from simulacra.judging.figures.likelihood import likelihood

    assert isinstance(model, Likelihood)
    score = likelihood(model, observations).marginal
    assert score is not None
    return score.nats


# ---- the experiments -----------------------------------------------------------------------------


def trained(name: str, data: Dataset, steps: int, seed: int) -> Model:
    """A model with its usual keywords and options."""
    with seeded(seed):
        model = build(name, data.spec)
    return fit(model, data, f"{steps}steps", Options(**{**preset(name), "seed": seed}))


def on_digits(name: str, steps: int, seed: int) -> dict[str, Any]:
    """The codes of held-out digits of a model that learnt for so long."""
    data = load("digits")
    model = trained(name, data, steps, seed)
    test = Observations(torch.cat([data.validation.x[:], data.test.x[:]]))
    bits = nats(model, data.test) / data.spec.dims / math.log(2)
    return {"model": name, "steps": steps, "seed": seed, "bits": bits,
            **dependence(codes_of(model, test, seed), seed)}  # fmt: skip


def pixels(seed: int) -> dict[str, Any]:
    """The same of the dequantised pixels themselves."""
    data = load("digits")
    test = torch.cat([data.validation.x[:], data.test.x[:]]).flatten(1).double()
    with seeded(seed, 2):
        x = test + torch.rand(test.shape, dtype=torch.float64)
    return {"model": "pixels", "steps": 0, "seed": seed, **dependence(x.numpy(), seed)}


def on_sources(name: str, seed: int) -> tuple[dict[str, Any], Codes]:
    """The codes of a mixture whose sources are known, and whether they are these."""
    data, s = toy(seed)
    model = trained(name, data, max(STEPS), seed)
    z = codes_of(model, data.test, seed)
    # the density of sources in [−1, 1]² is a quarter, and the map changes no areas
    gap = nats(model, data.test) - math.log(4)
    return {"model": name, "seed": seed, "gap": gap, "recovered": recovered(z, s.numpy()),
            **dependence(z, seed)}, z  # fmt: skip


def controls(seed: int) -> list[dict[str, Any]]:
    """Codes that are no model's: what could be had, and what independence allows."""
    data, s = toy(seed)
    true = torch.from_numpy(norm.ppf((s.double().numpy() + 1) / 2))
    eighth = torch.tensor([[1.0, -1.0], [1.0, 1.0]], dtype=torch.float64) / math.sqrt(2)
    each: dict[str, Codes] = {
        "sources, made normal": true.numpy(),
        "these turned by 45°": (true @ eighth.T).numpy(),
        "these swirled": swirled(true).numpy(),
        "observations": data.test.x[:].double().numpy(),
        "linear ICA": _linear(data),
    }
    return [{"model": name, "seed": seed, "gap": None,
             "recovered": recovered(codes, s.numpy()), **dependence(codes, seed)}
            for name, codes in each.items()]  # fmt: skip


def _linear(data: Dataset) -> Codes:
    from sklearn.decomposition import FastICA

    made = FastICA(random_state=0, whiten="unit-variance").fit(data.train.x[:].numpy())
    codes: Codes = made.transform(data.test.x[:].numpy()).astype(np.float64)
    return codes


# ---- the page ------------------------------------------------------------------------------------


def markdown(report: Mapping[str, Any]) -> str:
    """Both tables, a row for each model with the mean over seeds, and the range in brackets."""
    m = report["machine"]
    pair, above, spread = ("of two, nats", "shuffled"), "pairs above", ("spread", "shuffled")
    digits = [
        [model if model == "pixels" else f"`{model}`", str(steps) if steps else "",
         _told(rows, "bits", 3), *_pair(rows), f"{np.mean([row['above'] for row in rows]):.0%}",
         *_spread(rows)]
        for (model, steps), rows in _grouped(report["digits"], "model", "steps").items()
    ]  # fmt: skip
    # of two codes there is one pair
    sources = [
        [f"`{model}`" if model in MODELS else model, _told(rows, "recovered", 2),
         _told(rows, "gap", 3), *_pair(rows), *_spread(rows)]
        for (model,), rows in _grouped(report["sources"], "model").items()
    ]  # fmt: skip
    seeds = sorted({row["seed"] for row in report["digits"]})
    return "\n\n".join([
        f"{m['cpu']}, {m['threads']} thread{'s' if m['threads'] != 1 else ''}, torch "
        f"{m['torch']}, {m['date'][:10]}; means over seeds {', '.join(map(str, seeds))}, the "
        "least and the most in brackets.",
        "### Digits",
        table(("codes of", "steps", "bits/dim", *pair, above, *spread), digits),
        "### Two sources behind a smooth map",
        table(("codes", "sources found", "KL to the truth, nats", *pair, *spread), sources),
    ])  # fmt: skip


def _pair(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [_told(rows, "pairs", 3), f"{np.mean([row['pairs_null'] for row in rows]):.3f}"]


def _spread(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    low, high = (float(np.mean([row[f"spread_{end}"] for row in rows])) for end in ("low", "high"))
    return [_told(rows, "spread", 2), f"{low:.2f} … {high:.2f}"]


def _grouped(rows: Sequence[Mapping[str, Any]], *keys: str) -> dict[tuple[Any, ...], list[Any]]:
    found: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def _told(rows: Sequence[Mapping[str, Any]], key: str, decimals: int) -> str:
    values = [row[key] for row in rows if row.get(key) is not None]
    if not values:
        return "—"
    mean, low, high = (f"{v:.{decimals}f}" for v in (np.mean(values), min(values), max(values)))
    return mean if low == high else f"{mean} [{low}, {high}]"


def draw(path: Path, name: str, z: Codes, seed: int) -> None:
    """Sources, observations, codes, and other codes that are as independent, in one colour each."""
    from matplotlib.figure import Figure
    from PIL import Image

    data, s = toy(seed)
    normals = norm.cdf(normal(z)) * 2 - 1
    true = torch.from_numpy(norm.ppf((s.double().numpy() + 1) / 2))
    shown = {
        "sources s": s.numpy(), "observations x": data.test.x[:].numpy(),
        f"codes of {name}": normals, "swirled sources": 2 * norm.cdf(swirled(true).numpy()) - 1,
    }  # fmt: skip
    figure = Figure((10, 2.8), layout="constrained")
    for axis, (title, points) in zip(figure.subplots(1, 4), shown.items(), strict=True):
        axis.scatter(*points.T, c=s[:, 0], s=3, cmap="viridis", linewidths=0)
        axis.set_title(title, fontsize=10)
        axis.set_aspect("equal")
        axis.set_xticks([])
        axis.set_yticks([])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, metadata={"Software": None})
    picture = Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write ica.json and figures/ica.png; what is there of other models stays."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ica", description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    known = [name for name in FLOWS if name in MODELS]
    parser.add_argument("--models", default=",".join(known), help="names, separated by commas")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of ica.json and figures/")
    given = parser.parse_args(arguments)
    names, path = given.models.split(","), given.out / "ica.json"
    before = (
        json.loads(path.read_text("utf-8")) if path.is_file() else {"digits": [], "sources": []}
    )
    digits, sources = [pixels(0)], [row for seed in range(given.seeds) for row in controls(seed)]
    drawn: tuple[str, Codes] | None = None
    for seed in range(given.seeds):
        for name in names:
            if takes(name).includes(load("digits").spec):
                for steps in STEPS:
                    digits.append(on_digits(name, steps, seed))
                    to_stderr(f"digits: {digits[-1]}")
            if takes(name).includes(SOURCES):
                row, z = on_sources(name, seed)
                sources.append(row)
                to_stderr(f"sources: {row}")
                drawn = (name, z) if seed == 0 else drawn
    mine = {row["model"] for row in (*digits, *sources)}
    report = {
        "machine": describe(torch.device("cpu"), torch.get_num_threads(), 0),
        "digits": [*(r for r in before["digits"] if r["model"] not in mine), *digits],
        "sources": [*(r for r in before["sources"] if r["model"] not in mine), *sources],
    }
    write_json(path, report)
    if drawn is not None:
        (given.out / "figures").mkdir(exist_ok=True)
        draw(given.out / "figures" / "ica.png", *drawn, 0)
    print(markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
