"""What samples are worth in fewer steps: a table, and a chart of all models by their calls."""

from __future__ import annotations

import math

from simulacra.drawing.quality import quality
from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.records import SampleFigures
from simulacra.judging.results import Entry, Results
from simulacra.report.cells import Cell, Rows, interval_column
from simulacra.report.ranking import judged
from simulacra.report.tables import figure_of, first_view

REAL = "real data"
"""The dotted line of what other real observations get."""


def refined(results: Results) -> list[Entry]:
    """The models that were asked for samples in several numbers of steps."""
    return [m for m in judged(results) if m.in_steps]


def step_table(results: Results) -> Rows:
    """The Fréchet distance of each model, a column for each number of steps."""
    models = refined(results)
    columns = {
        steps: interval_column([_at(m, steps) for m in models])
        for steps in sorted({each.steps for m in models for each in m.in_steps})
    }
    return [
        {"model": Cell(m.model)}
        | {_heading(steps): column[row] for steps, column in columns.items()}
        for row, m in enumerate(models)
    ]


def _heading(steps: int) -> str:
    return f"{steps:,} step{'s' * (steps > 1)}"


def _at(model: Entry, steps: int) -> Figure | None:
    return next((each.frechet for each in model.in_steps if each.steps == steps), None)


def step_said(results: Results) -> str:
    """On how many samples, seen as what, the distances rest, in a sentence."""
    found = refined(results)
    if not found:
        return ""
    counts = sorted({each.frechet.count for m in found for each in m.in_steps})
    floor = _first(results, results.references.real)
    many = " or ".join(f"{n:,}" for n in counts)
    says = f"Fréchet distances of {many} samples"
    if results.views:
        says += f", seen as {results.views[0].name}"
    if floor:
        says += f"; as many real observations get {interval_column([floor])[0]}"
    return f"{says}."


def step_chart(results: Results) -> bytes | None:
    """Distances against calls, a line for each model that refines and a point for each other.

    Returns:
        An SVG; nothing where no model refines.
    """
    if not refined(results):
        return None
    series = {m.model: _points(results, m) for m in judged(results)}
    shown = {name: points for name, points in series.items() if points}
    real = _first(results, results.references.real)
    if not shown:
        return None
    return quality(
        shown,
        x_label="calls of the network for each sample, one after another",
        y_label="Fréchet distance, lower is better",
        floor=(REAL, real.value) if real and _drawable(real) else None,
    )


def _points(results: Results, model: Entry) -> list[tuple[int, float]]:
    """Calls and distance of a model, in each number of steps or in its only way to draw."""
    found = [(each.steps, each.frechet) for each in model.in_steps]
    own, calls = _first(results, model.samples), model.cost.sequential_calls
    if not found and own and calls:
        found = [(calls, own)]
    return [(calls, figure.value) for calls, figure in found if _drawable(figure)]


def _drawable(figure: Figure) -> bool:
    """Whether it has a place on a scale of ratios."""
    return 0 < figure.value < math.inf


def _first(results: Results, samples: SampleFigures | None) -> Figure | None:
    """The distance in the first view."""
    return figure_of(samples, first_view(results), "frechet")
