"""`python -m benchmarks.components`: do enough Gaussians make any density, and how many are enough?

Of each toy whose density p is known, E_p[log p(x) − log q(x)] in nats, over fresh draws, for
mixtures q of 1, 2, 4 … 512 Gaussians along the axes and for the kernel density estimate. All are
fitted on the training split and chosen on the validation split, as the package does. Figures go
into docs/components.json, from which the page is made, and the picture beside it.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import describe
from benchmarks.table import table
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.ground.randomness import seeded
from simulacra.ground.storage import write_json
from simulacra.models.model import Likelihood
from simulacra.models.registry import build
from simulacra.training.fit import fit
from simulacra.training.options import Options

DOCS = Path(__file__).parents[1] / "docs"
TOYS = ("two-peaks", "sawtooth", "ring-8", "grid-25", "spirals", "moons", "circles",
        "checkerboard", "pinwheel")  # fmt: skip
COMPONENTS = tuple(2**i for i in range(10))
PRIOR = 0.03
"""Pseudo-observations of the pooled variance: the usual 3 are far too many where N / K is 20."""
OPTIONS = Options(lr=2e-3, batch=1024, seed=0)
"""Of the gradient steps: vectors of 1 or 2 values are cheap, and their sweeps have little left."""
DRAWS = 20_000
_LEAST = 3e-4
"""Nats below which so many draws tell little, and the picture nothing."""
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7b4ab5", "#8c6d31",
            "#4d4d4d")  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """How long each fit is, and how many draws of the truth a gap is a mean over."""

    budget: str
    draws: int = DRAWS


def fitted(name: str, data: Dataset, keywords: Mapping[str, Any], budget: str) -> Likelihood:
    """A model as the package fits it, of seed 0."""
    with seeded(0):
        model = build(name, data.spec, keywords)
    model = fit(model, data, budget, OPTIONS)
    assert isinstance(model, Likelihood)
    return model


@torch.no_grad()
def lacking(model: Likelihood, data: Dataset, x: Tensor) -> Tensor:
    """log p(x) − log q(x) in nats of each of some vectors, `(N,)`."""
    assert data.density is not None
    parts = [model.log_likelihood(rows.float()).double() for rows in x.split(2000)]
    return data.density.log_prob(x) - torch.cat(parts)


def gap(model: Likelihood, data: Dataset, draws: int = DRAWS) -> dict[str, float]:
    """E_p[log p(x) − log q(x)] over draws of the truth, in nats, with its standard error."""
    assert data.density is not None
    with seeded(1):
        x = data.density.sample(torch.Size([draws]))
    each = lacking(model, data, x)
    return {"gap": float(each.mean()), "error": float(each.std() / len(each) ** 0.5)}


def of_mixtures(toy: str, components: Sequence[int], asked: Asked) -> list[dict[str, float]]:
    """The gaps of mixtures on a toy, by their number of components."""
    data, found = load(toy), []
    for count in components:
        model = fitted("gmm", data, {"components": count, "prior": PRIOR}, asked.budget)
        found.append({"components": count, **gap(model, data, asked.draws)})
        print(toy, found[-1], file=sys.stderr, flush=True)
    return found


def of_kernels(toy: str, asked: Asked) -> dict[str, float]:
    """The gap of the kernel density estimate on a toy."""
    data = load(toy)
    return gap(fitted("kde", data, {}, asked.budget), data, asked.draws)


def _in_words(budget: str) -> str:
    """`120steps` as `120 steps`."""
    return budget.replace("steps", " steps")


def markdown(report: Mapping[str, Any]) -> str:
    """A row for each toy: its gaps, and that of kernels."""
    m = report["machine"]
    counts = [str(each["components"]) for each in report["toys"][0]["mixtures"]]
    rows = [
        [f"`{toy['toy']}`", *(_told(each) for each in toy["mixtures"]),
         _told(toy["kde"]) if "kde" in toy else "—"]
        for toy in report["toys"]
    ]  # fmt: skip
    return "\n\n".join([
        table(("nats", *counts, "`kde`"), rows),
        f"{m['cpu']}, {m['threads']} thread{'s' if m['threads'] != 1 else ''}, torch "
        f"{m['torch']}, {m['date'][:10]}, seed 0; {_in_words(report['budget'])} of each fit, "
        f"{report['draws']:,} draws of the truth. The standard error of a gap is at most "
        f"{max(each['error'] for toy in report['toys'] for each in toy['mixtures']):.3f}, and near "
        "0.001 where the gap is near 0.01.",
    ])  # fmt: skip


def _told(figure: Mapping[str, float]) -> str:
    return f"{figure['gap']:.3f}" if abs(figure["gap"]) >= 0.01 else f"{figure['gap']:.4f}"


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Gaps by components, both on log axes; kernels are dashed, in the colour of their toy."""
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure((8.4, 5.6), layout="constrained")
    axis = figure.subplots()
    ends: list[tuple[float, str, str]] = []
    for toy, colour in zip(report["toys"], _COLOURS, strict=False):
        line = toy["mixtures"]
        at = [each["components"] for each in line]
        # what draws cannot tell from nothing lies at the lower edge
        gaps = [max(each["gap"], _LEAST) for each in line]
        on_line = toy["dims"] == 1
        shape, width = ("-s", 2.4) if on_line else ("-o", 1.5)
        axis.plot(at, gaps, shape, color=colour, linewidth=width, markersize=4)
        if "kde" in toy:
            axis.axhline(max(toy["kde"]["gap"], _LEAST), color=colour, linestyle=(0, (4, 3)),
                         linewidth=1, alpha=0.75, zorder=1)  # fmt: skip
        ends.append((gaps[-1], toy["toy"], colour))
    axis.set(xscale="log", yscale="log", xlabel="Gaussians", ylabel="KL to the truth, nats")
    axis.set_xscale("log", base=2)
    axis.set_xticks(at, [str(each) for each in at])
    axis.set_xlim(at[0] * 0.9, at[-1] * 1.1)
    axis.set_ylim(_LEAST, None)
    axis.grid(color="#e3e6ea", linewidth=0.7)
    axis.spines[["top", "right"]].set_visible(False)
    low, high = (torch.tensor(end).log().item() for end in axis.get_ylim())
    # names at the ends of their lines, moved apart where they would touch
    step, last = 0.042 * (high - low), -float("inf")
    for value, name, colour in sorted(ends):
        place = max(torch.tensor(value).log().item(), last + step)
        last = place
        axis.annotate(name, (1.01, (place - low) / (high - low)), xycoords="axes fraction",
                      color=colour, va="center", fontsize=9.5)  # fmt: skip
    if any("kde" in toy for toy in report["toys"]):
        axis.plot([], [], color="#555555", linestyle=(0, (4, 3)), linewidth=1, label="kde")
    axis.plot([], [], "-s", color="#555555", linewidth=2.4, markersize=4, label="on a line")
    axis.plot([], [], "-o", color="#555555", linewidth=1.5, markersize=4, label="in a plane")
    axis.legend(frameon=False, loc="upper right", fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    Image.open(buffer).convert("RGB").quantize(96, dither=Image.Dither.NONE).save(
        path, optimize=True
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write components.json and figures/components-gap.png."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.components", description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("--toys", default=",".join(TOYS), help="names, separated by commas; others stay")
    add("--models", default="gmm,kde", help="what is measured; what is not, stays")
    add("--most", type=int, default=COMPONENTS[-1], help="components, at most")
    add("--budget", default="120steps", help="of each fit")
    add("--draws", type=int, default=DRAWS, help="of the truth")
    add("--drawn", action="store_true", help="draw what was measured, and measure nothing")
    add("--out", type=Path, default=DOCS, help="folder of components.json and figures/")
    given = parser.parse_args(arguments)
    path = given.out / "components.json"
    before = json.loads(path.read_text("utf-8")) if path.is_file() else {"toys": []}
    report = before
    (given.out / "figures").mkdir(parents=True, exist_ok=True)
    if not given.drawn:
        torch.set_num_threads(1)
        counts = [each for each in COMPONENTS if each <= given.most]
        asked = Asked(given.budget, given.draws)
        kept = {toy["toy"]: toy for toy in before["toys"]}
        for toy in given.toys.split(","):
            kept.setdefault(toy, {"toy": toy, "dims": load(toy).spec.dims})
            if "gmm" in given.models:
                kept[toy]["mixtures"] = of_mixtures(toy, counts, asked)
            if "kde" in given.models:
                kept[toy]["kde"] = of_kernels(toy, asked)
        report = {
            "machine": describe(torch.device("cpu"), torch.get_num_threads(), 0),
            "budget": given.budget, "draws": given.draws,
            "toys": [kept[toy] for toy in TOYS if toy in kept],
        }  # fmt: skip
        write_json(path, report)
    draw(report, given.out / "figures" / "components-gap.png")
    print(markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
