"""With p fixed and q trained alone, the bound rises to the likelihood as KL(q ‖ p(z | x)) falls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from torch.optim import Adam

from benchmarks.latent.common import BLUE, RED, machine, quiet, save, terms, told, trained
from benchmarks.latent.linear import bound, linear, log_density
from benchmarks.table import table
from simulacra.data.catalogue import load
from simulacra.ground.randomness import seeded
from simulacra.models.latent.posteriors import PosteriorKind
from simulacra.models.latent.vae import VAE

WEIGHT = torch.tensor([[1.0, 0.9], [0.5, 0.8], [-0.4, -0.1], [0.9, 0.7]], dtype=torch.float64)
"""Of four values by two units that are nearly about the same."""
DEVIATION = 0.5
DRAWS = 1024


def measure(steps: int = 1000, observations: int = 100) -> dict[str, Any]:
    """Bounds of a linear model while q learns, and gaps of three families on the digits."""
    with seeded(0):
        noise = torch.randn(500, 6, dtype=torch.float64)
    x = noise[:, :2] @ WEIGHT.T + DEVIATION * noise[:, 2:]
    lines = {family: _learnt(family, x) for family in ("diagonal", "full")}
    exact = float(log_density(WEIGHT, DEVIATION, x).mean())
    rows = [_gap(family, steps, observations) for family in get_args(PosteriorKind)]
    return {"machine": machine(), "exact": exact, "lines": lines, "steps": steps,
            "observations": observations, "gaps": rows}  # fmt: skip


def _learnt(family: PosteriorKind, x: torch.Tensor, steps: int = 600) -> list[list[float]]:
    with seeded(0):
        model = linear(WEIGHT, DEVIATION, family)
    optimizer, line = Adam(model.encoding.parameters(), 0.03), []
    for step in range(steps + 1):
        value = bound(model, x, WEIGHT, DEVIATION).mean()
        line.append([step, float(value.detach())])
        optimizer.zero_grad()
        (-value).backward()
        optimizer.step()
    return line


def _gap(family: PosteriorKind, steps: int, observations: int) -> dict[str, Any]:
    data = load("digits")
    keywords = {"latent": 8, "hidden": (256, 128), "posterior_family": family}
    model = trained("vae", data, keywords, steps)
    assert isinstance(model, VAE)
    x = data.test.x[:observations]
    distortion, rate = terms(model, x)
    with torch.no_grad():
        tight = float(model.log_likelihood(x, draws=DRAWS).double().mean())
    return {"family": family, "distortion": distortion, "rate": rate,
            "bound": -distortion - rate, "tight": tight}  # fmt: skip


def draw(report: Mapping[str, Any], folder: Path) -> None:
    """Both bounds below the likelihood, and what is between."""
    from matplotlib.figure import Figure

    figure = Figure((9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    exact, colours = report["exact"], {"diagonal": RED, "full": BLUE}
    for family, line in report["lines"].items():
        steps, values = zip(*line, strict=True)
        left.plot(steps, values, color=colours[family], label=f"bound, {family} q")
        gaps = [max(exact - value, 1e-6) for value in values]
        right.plot(steps, gaps, color=colours[family], label=f"{family} q")
    left.axhline(exact, color="black", linestyle=(0, (4, 3)), linewidth=1, label="log p(x)")
    low = min(value for line in report["lines"].values() for step, value in line if step >= 10)
    left.set_ylim(low, exact + 0.08 * (exact - low))
    quiet(left, "steps of q alone, p fixed", "nats per observation")
    left.legend(frameon=False, loc="lower right")
    right.set_yscale("log")
    right.set_ylim(1e-4, None)
    quiet(right, "steps of q alone, p fixed", "KL(q ‖ p(z | x)) = log p(x) − bound, nats")
    right.legend(frameon=False)
    save(figure, folder / "latent-bound.png")


def markdown(report: Mapping[str, Any]) -> str:
    """The gaps of the families."""
    rows = [
        [row["family"], f"{row['distortion']:.2f}", f"{row['rate']:.2f}", f"{row['bound']:.2f}",
         f"{row['tight']:.2f}", f"{row['tight'] - row['bound']:.2f}"]
        for row in report["gaps"]
    ]  # fmt: skip
    head = ("q(z \\| x)", "distortion", "rate", "bound", f"IWAE, {DRAWS} draws", "between")
    last = {family: report["exact"] - line[-1][1] for family, line in report["lines"].items()}
    return "\n\n".join([
        f"Of the linear model there remain {last['diagonal']:.3f} nats for a diagonal q and "
        f"{last['full']:.4f} for a full one.",
        table(head, rows),
        f"Nats for each of {report['observations']} test digits, {report['steps']:,} steps, 8 "
        f"units; {told(report['machine'])}.",
    ])  # fmt: skip
