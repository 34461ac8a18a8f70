"""The tables of models: rows of heading → cell, the same on the page and in a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.measures import ARROWS, MEASURES
from simulacra.judging.figures.records import LikelihoodFigures, SampleFigures
from simulacra.judging.results import Entry, Results
from simulacra.report.cells import (
    NOTHING,
    Cell,
    Rows,
    amount,
    count,
    interval_column,
    related,
    seconds,
    share,
    small,
    without_empty,
    words,
)
from simulacra.report.ranking import (
    figure,
    foreign,
    heading,
    heading_given,
    judged,
    likelihood_cell,
    lost,
    ordered,
    pair,
    ranked,
    sign_of,
    told,
    unit_of,
    value_of,
)
from simulacra.report.text import fixed, two_digits

KL = "KL to the truth, nats"
DISTANCE = f"{MEASURES['frechet'].name} {ARROWS[MEASURES['frechet'].better]}"
"""Headings of the main table that not every comparison has."""
SEEN = "observations seen"
"""Heading of how many observations a training saw, whatever its batches and turns were."""


def table(results: Results) -> Rows:
    """The main table: a row for each model, best first, as heading → cell.

    Every row has the same headings in the same order; what no model has gets no heading. Models
    without a likelihood follow those with one, failed ones come last.
    """
    unit = unit_of(results)
    models = ordered(results.models, unit)
    main, given = heading(unit), heading_given(results)
    gaps = interval_column([m.kl for m in models])
    view = first_view(results)
    apart = distances(results, view, "frechet", [m.samples for m in models]) if view else []
    rows: Rows = []
    for number, m in enumerate(models):
        other = m.likelihood_given_label
        row = {
            "model": words(m.model),
            main: likelihood_cell(m.likelihood, unit),
            given: likelihood_cell(other, unit) if other else NOTHING,
        }
        if m.absent:
            row[main] = Cell("left out" if m.left_out else m.failed_when, why=m.absent)
            row[given] = NOTHING
        # of samples alone nobody expects a likelihood
        if foreign(results):
            row[main] = NOTHING
        row |= {
            KL: _divergence(m.likelihood, gaps[number]),
            "family": words(m.family),
            "parameters": count(m.cost.parameters),
            "training, s": seconds(m.cost.training_seconds),
            "steps": _steps(m),
            SEEN: amount(m.observations),
        }
        if view:
            row[DISTANCE] = apart[number]
        row["can"] = words(", ".join(m.capabilities))
        rows.append(row)
    return without_empty(rows, keep=("model",) if foreign(results) else ("model", main))


def _divergence(likelihood: LikelihoodFigures | None, gap: Cell) -> Cell:
    if gap.empty:
        return NOTHING
    sign = "≤" if likelihood is None else sign_of(likelihood, "bits/dim")
    return replace(gap, head=f"{sign} {gap.head}")


def _steps(m: Entry) -> Cell:
    """How many; what is no step of gradients says what it is, and stands in no line with others."""
    if m.steps is None or m.step_name == "steps":
        return count(m.steps)
    ended = ", converged" if m.converged else ""
    kind = m.step_name.removesuffix("s") if m.steps == 1 else m.step_name
    return Cell(f"{m.steps:,} {kind}{ended}")


def figure_of(samples: SampleFigures | None, view: str | None, key: str) -> Figure | None:
    """A figure of samples, if there are any: in a view, or of the samples themselves."""
    return None if samples is None else samples.figure(view, key)


def first_view(results: Results) -> str | None:
    """Name of the view that the main table stands on."""
    return results.views[0].name if results.views else None


def distances(
    results: Results, view: str, key: str, samples: Sequence[SampleFigures | None]
) -> list[Cell]:
    """A column of distances, to two significant digits of what real data get at least."""
    real = results.references.real
    floor = figure_of(real, view, key)
    value, half = 0.0, 0.0
    if floor:
        value, low, high = floor.value, floor.low or 0.0, floor.high or 0.0
        # the kernel distance of real data is 0 but for chance, of which its interval tells
        half = (high - low) / 2 if key == "kernel" else 0.0
    least = two_digits(max(abs(value), half))
    return interval_column([figure_of(each, view, key) for each in samples], least=least)


def likelihoods(results: Results) -> Rows:
    """Test and training, their gap, shuffled contexts, and what the figures rest on."""
    unit, kind = unit_of(results), told(results)
    found: list[tuple[str, LikelihoodFigures]] = []
    for m in judged(results):
        if m.likelihood:
            found.append((m.model, m.likelihood))
        if m.likelihood_given_label:
            found.append((f"{m.model}, given the {kind}", m.likelihood_given_label))
    gaps = interval_column([f.gap for _, f in found], sign=True)
    shuffled = interval_column([f.shuffled for _, f in found], sign=True)
    groups = in_groups([f for _, f in found])
    rows: Rows = []
    for (name, f), gap, other, by_group in zip(found, gaps, shuffled, groups, strict=True):
        rows.append({
            "model": words(name),
            "test": figure(f, unit, draws=False),
            "training": figure(f.train, unit, draws=False) if f.train else NOTHING,
            "gap": gap,
            f"{kind} shuffled": other.but(loud="ignores it" if f.ignores_context else ""),
            **by_group,
            "test, nats": nats(f) if unit != "nats" else NOTHING,
            "draws, k": NOTHING if f.exact or f.averaged else count(f.draws),
            "draws, averaged": count(f.draws) if f.averaged else NOTHING,
            f"solver error, {unit}": small(f.solver_error),
            "observations": count(f.observations),
            "not finite": Cell("", loud=lost(f)) if lost(f) else NOTHING,
        })  # fmt: skip
    return without_empty(rows, keep=("model", "test"))


def in_groups(found: Sequence[LikelihoodFigures | None]) -> Rows:
    """Vectors shuffled within groups, and what those of another group cost beside these."""
    within = interval_column([f.shuffled_within if f else None for f in found], sign=True)
    across = interval_column([f.shuffled_across if f else None for f in found], sign=True)
    return [
        {"within groups": a, "other group less same": b}
        for a, b in zip(within, across, strict=True)
    ]


def per_class(results: Results) -> Rows:
    """The likelihood of each class of test observations, a column for each model."""
    unit, rows = unit_of(results), dict[str, dict[str, Cell]]()
    names: list[str] = []
    for m in judged(results):
        for f, more in ((m.likelihood, ""), (m.likelihood_given_label, ", given the label")):
            if f is None or not f.per_class:
                continue
            names.append(f"{m.model}{more}")
            for each in f.per_class:
                first = {"class": words(each.class_name), "observations": count(each.observations)}
                row = rows.setdefault(each.class_name, first)
                value = value_of(each, unit)
                sign, known = sign_of(f, unit), value is not None
                row[names[-1]] = related(sign, value, each.standard_error) if known else NOTHING
    blank = dict.fromkeys(["class", "observations", *names], NOTHING)
    return [blank | row for row in rows.values()]


def pairs(results: Results) -> Rows:
    """What the row's model is better by than the column's, observation by observation."""
    models = [m for m, _ in ranked(results)]
    found = [[pair(results, a, b) for b in models[i + 1 :]] for i, a in enumerate(models)]
    if not any(each for row in found for each in row):
        return []
    flat = interval_column(
        [each.figure if each else None for row in found for each in row], sign=True
    )
    rows, cells = [], iter(flat)
    for i, a in enumerate(models[:-1]):
        # nothing is said twice: below the diagonal stand the same figures with the other sign
        row = {"model": words(a.model)}
        row |= {f"than {m.model}": Cell("") for m in models[1 : i + 1]}
        for b, each in zip(models[i + 1 :], found[i], strict=True):
            mark = "tie" if each and each.tie else ""
            row[f"than {b.model}"] = next(cells).but(mark=mark)
        rows.append(row)
    return rows


def costs(results: Results) -> Rows:
    """What a model costs to train, to score with and to draw from."""
    rows: Rows = []
    for m in judged(results):
        cost = m.cost
        rows.append({
            "model": words(m.model),
            "parameters": amount(cost.parameters),
            "training, s": seconds(cost.training_seconds),
            SEEN: amount(m.observations),
            "training, peak memory": _bytes(cost.training_peak_bytes),
            "a training step, per observation": amount(cost.flops_per_training_step, "FLOP"),
            "scoring, per observation": amount(cost.flops_per_observation, "FLOP"),
            "drawing, per sample": amount(cost.flops_per_sample, "FLOP"),
            "calls, per sample": count(cost.sequential_calls),
            "1 sample, s": seconds(cost.seconds_for_1),
            "64 at once, samples/s": amount(cost.samples_per_second),
        })  # fmt: skip
    return without_empty(rows, keep=("model",))


def natures(results: Results) -> Rows:
    """What kind of model each is, as its class says and as it was measured."""
    rows: Rows = []
    for m in judged(results):
        nature = m.nature
        if nature is None:
            continue
        mean, worst = (
            small(value) for value in (nature.reconstruction_error, nature.reconstruction_worst)
        )
        rows.append({
            "model": words(m.model),
            "likelihood": words(nature.likelihood),
            "samples": words(nature.sampling),
            "invertible": words("yes" if nature.invertible else "no"),
            _reconstruction(results): NOTHING if mean.empty
            else replace(mean, error=f"(worst {worst.head})"),
            "values recovered": share(nature.recovered, 2),
            "latent": count(nature.latent),
            "completes": words(nature.completes),
        })  # fmt: skip
    return without_empty(rows, keep=("model", "likelihood", "samples", "invertible", "completes"))


def _reconstruction(results: Results) -> str:
    """Heading of the reconstruction error, with the range that it is to be read in."""
    data = results.data
    if data.rate is not None:
        return "reconstruction error, of the range −1 … 1"
    picture = data.levels and len(data.event_shape) == 3
    return "reconstruction error" + ", of the range 0 … 1" * bool(picture)


def nats(likelihood: LikelihoodFigures) -> Cell:
    """The negative log-likelihood of an observation in nats, without its error."""
    value, bits = likelihood.log_likelihood, likelihood.bits_per_dim
    error = likelihood.standard_error
    if value is not None and bits and error is not None:
        error = error * abs(value / bits)  # given in bits per dimension
    sign = sign_of(likelihood, "bits/dim")
    return replace(related(sign, None if value is None else -value, error), error="", beside=False)


def _bytes(value: float | None) -> Cell:
    """Memory in millions of bytes, or thousands of these."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return Cell(f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{fixed(value / 1e6, 0)} MB")
