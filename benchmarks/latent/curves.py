"""What one unit costs by its log variance σ and mean m: e^σ, less its tangent 1 + σ, and m²."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.latent.common import BLUE, GREEN, GREY, RED, quiet, rounded, save


def measure() -> dict[str, Any]:
    """The curves, at log variances from −3 to 2."""
    at = torch.linspace(-3, 2, 101)
    return {"at": rounded(at), "exponential": rounded(at.exp()), "line": rounded(1 + at),
            "cost": rounded(at.exp() - 1 - at)}  # fmt: skip


def draw(report: Mapping[str, Any], folder: Path) -> None:
    """The three curves, and the cost by the mean too."""
    from matplotlib.figure import Figure

    figure = Figure((9, 3.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for key, name, colour in (("exponential", "e^σ", BLUE), ("line", "1 + σ", RED),
                              ("cost", "e^σ − (1 + σ)", GREEN)):  # fmt: skip
        left.plot(report["at"], report[key], color=colour, label=name)
    left.plot([0], [0], "o", color=GREEN, markersize=5)
    left.axvline(0, color=GREY, linewidth=0.8)
    left.set_ylim(-2.2, 5)
    quiet(left, "σ, log variance of q(z | x)", "value")
    left.legend(frameon=False)
    for mean, colour in ((0.0, GREEN), (0.5, "#56b4e9"), (1.0, BLUE), (2.0, "#7b4ab5")):
        cost = [0.5 * (each + mean**2) for each in report["cost"]]
        right.plot(report["at"], cost, color=colour, label=f"m = {mean:g}")
    right.set_ylim(0, 4.6)
    quiet(right, "σ, log variance of q(z | x)", "½ (e^σ − (1 + σ) + m²), nats")
    right.legend(frameon=False, ncols=2)
    save(figure, folder / "latent-curves.png")


def markdown(report: Mapping[str, Any]) -> str:
    """Where the cost is least."""
    least = min(range(len(report["at"])), key=lambda i: report["cost"][i])
    return f"Least at σ = {abs(report['at'][least]):.2f}, where it is {report['cost'][least]:.2f}."
