"""The tables of models: rows of heading → text, the same on the page and in a terminal.

A cell is a number, then what is quiet beside it (`± …`, `(k 50)`, `[low, high]`), then a mark
(`like real data`, `tie`), then after a semicolon what must not be overlooked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from simulacra.judging.figures.measures import ARROWS, MEASURES
from simulacra.report.ranking import (
    Record,
    absent,
    bound,
    exact,
    figure,
    foreign,
    heading,
    heading_given,
    lost,
    ordered,
    pair,
    ranked,
    told,
    unit_of,
    value_of,
)
from simulacra.report.text import (
    NONE,
    amount,
    count,
    fixed,
    interval_column,
    number,
    seconds,
    small,
    two_digits,
)

Rows = list[dict[str, str]]
KL = "KL to the truth, nats"
DISTANCE = f"{MEASURES['frechet'].name} {ARROWS[MEASURES['frechet'].better]}"
"""Headings of the main table that not every comparison has."""


def table(results: Record) -> Rows:
    """The main table: a row for each model, best first, as heading → text.

    Every row has the same headings in the same order; what no model has gets no heading. Models
    without a likelihood follow those with one, failed ones come last.
    """
    unit = unit_of(results)
    models = ordered(results.get("models") or [], unit)
    main, given = heading(unit), heading_given(results)
    rows: Rows = []
    for m in models:
        row = {"model": str(m.get("model", NONE)), main: cell(m.get("likelihood"), unit)}
        other = m.get("likelihood_given_label")
        row[given] = cell(other, unit) if other else NONE
        why = absent(m)
        if why:
            row |= {main: f"{'left out' if m.get('left_out') else 'failed'}: {why}", given: NONE}
        kind = m.get("step_name") or "steps"
        steps, cost = count(m.get("steps")), cost_of(m)
        row |= {
            KL: NONE,
            "family": str(m.get("family") or NONE),
            "parameters": count(cost.get("parameters")),
            "training, s": seconds(cost.get("training_seconds")),
            "steps": steps if kind == "steps" or steps == NONE else f"{steps} {kind}",
            "can": ", ".join(m.get("capabilities") or []) or NONE,
        }
        rows.append(row)
    gaps = interval_column([m.get("kl") for m in models])
    for row, m, gap in zip(rows, models, gaps, strict=True):
        if gap != NONE:
            row[KL] = f"{'=' if exact(m.get('likelihood') or {}) else '≤'} {gap}"
    view = first_view(results)
    if view:
        cells = distances(results, view, "frechet", models)
        rows = [
            {**{k: v for k, v in row.items() if k != "can"}, DISTANCE: text, "can": row["can"]}
            for row, text in zip(rows, cells, strict=True)
        ]
    # of samples alone nobody expects a likelihood
    if foreign(results):
        rows = [row | {main: NONE} for row in rows]
    return without_empty(rows, keep=("model",) if foreign(results) else ("model", main))


def first_view(results: Record) -> str | None:
    """Name of the view that the main table stands on."""
    views = results.get("views") or []
    return str(views[0]["name"]) if views else None


def figure_of(model: Record, view: str | None, key: str) -> dict[str, Any] | None:
    """A figure of a model's samples: in a view, or of the samples themselves."""
    samples = model.get("samples") or {}
    found = (samples.get("views") or {}).get(view) if view else samples.get("whole")
    return (found or {}).get(key)


def distances(results: Record, view: str, key: str, models: Sequence[Record]) -> list[str]:
    """A column of distances, to two significant digits of what real data get at least."""
    floor = figure_of({"samples": (results.get("references") or {}).get("real")}, view, key) or {}
    value, low, high = (floor.get(end) or 0.0 for end in ("value", "low", "high"))
    # the kernel distance of real data is 0 but for chance, of which its interval tells
    least = two_digits(max(abs(value), (high - low) / 2 if key == "kernel" else 0.0))
    return interval_column([figure_of(m, view, key) for m in models], least=least)


def cell(likelihood: Record | None, unit: str) -> str:
    """A likelihood, with the count of what is not finite behind a semicolon."""
    if not likelihood:
        return "no likelihood"
    many = lost(likelihood)
    return figure(likelihood, unit) + (f"; {many} not finite" if many else "")


def likelihoods(results: Record) -> Rows:
    """Test and training, their gap, shuffled contexts, and what the figures rest on."""
    unit, kind = unit_of(results), told(results)
    found: list[tuple[str, Record]] = []
    for m in ordered(results.get("models") or [], unit):
        given, marginal = m.get("likelihood_given_label"), m.get("likelihood")
        if absent(m):
            continue
        if marginal:
            found.append((str(m["model"]), marginal))
        if given:
            found.append((f"{m['model']}, given the {kind}", given))
    gaps = interval_column([f.get("gap") for _, f in found], sign=True)
    shuffled = interval_column([f.get("shuffled") for _, f in found], sign=True)
    rows: Rows = []
    for (name, f), gap, other in zip(found, gaps, shuffled, strict=True):
        draws, train = f.get("draws") or 1, f.get("train")
        ignored = "; ignores it" if f.get("ignores_context") else ""
        rows.append({
            "model": name,
            "test": figure({**f, "draws": 1}, unit),
            "training": figure({**f, **train, "draws": 1}, unit) if train else NONE,
            "gap": gap,
            f"{kind} shuffled": other + ignored,
            "test, nats": _nats(f) if unit != "nats" else NONE,
            "draws, k": NONE if exact(f) else count(draws),
            "observations": count(f.get("observations")),
            "not finite": f"; {lost(f)}" if lost(f) else NONE,
        })  # fmt: skip
    return without_empty(rows, keep=("model", "test"))


def per_class(results: Record) -> Rows:
    """The likelihood of each class of test observations, a column for each model."""
    unit, rows = unit_of(results), dict[str, dict[str, str]]()
    names: list[str] = []
    for m in ordered(results.get("models") or [], unit):
        for key, more in (("likelihood", ""), ("likelihood_given_label", ", given the label")):
            found = (m.get(key) or {}).get("per_class") or []
            if not found or absent(m):
                continue
            names.append(f"{m['model']}{more}")
            for each in found:
                first = {"class": str(each["class"]), "observations": count(each["observations"])}
                row = rows.setdefault(str(each["class"]), first)
                value = value_of(each, unit)
                shown = figure({**m[key], **each, "draws": 1}, unit)
                row[names[-1]] = NONE if value is None else shown
    return [dict.fromkeys(["class", "observations", *names], NONE) | row for row in rows.values()]


def pairs(results: Record) -> Rows:
    """What the row's model is better by than the column's, observation by observation."""
    unit = unit_of(results)
    models = ranked(results.get("models") or [], unit)
    found = [[pair(results, a, b) for b in models[i + 1 :]] for i, a in enumerate(models)]
    if not any(each for row in found for each in row):
        return []
    flat = interval_column([each for row in found for each in row], sign=True)
    rows, cells = [], iter(flat)
    for i, a in enumerate(models[:-1]):
        # nothing is said twice: below the diagonal stand the same figures with the other sign
        row = {"model": str(a["model"])} | {f"than {m['model']}": "" for m in models[1 : i + 1]}
        for b, each in zip(models[i + 1 :], found[i], strict=True):
            mark = " tie" if each and each["tie"] else ""
            row[f"than {b['model']}"] = next(cells) + mark
        rows.append(row)
    return rows


def costs(results: Record) -> Rows:
    """What a model costs to train, to score with and to draw from."""
    rows: Rows = []
    for m in ordered(results.get("models") or [], unit_of(results)):
        if absent(m):
            continue
        cost = cost_of(m)
        rows.append({
            "model": str(m.get("model", NONE)),
            "parameters": amount(cost.get("parameters")),
            "training, s": seconds(cost.get("training_seconds")),
            "training, peak memory": _bytes(cost.get("training_peak_bytes")),
            "a training step, per observation": amount(cost.get("flops_per_training_step"), "FLOP"),
            "scoring, per observation": amount(cost.get("flops_per_observation"), "FLOP"),
            "drawing, per sample": amount(cost.get("flops_per_sample"), "FLOP"),
            "calls, per sample": count(cost.get("sequential_calls")),
            "1 sample, s": seconds(cost.get("seconds_for_1")),
            "64 at once, samples/s": amount(cost.get("samples_per_second")),
        })  # fmt: skip
    return without_empty(rows, keep=("model",))


def cost_of(model: Record) -> dict[str, Any]:
    """What is known of a model's cost; older records have some of it beside the figures."""
    many = model.get("seconds_for_64")
    beside = {k: model.get(k) for k in ("parameters", "training_seconds", "seconds_for_1")}
    beside["samples_per_second"] = 64 / many if many else None
    return beside | {k: v for k, v in (model.get("cost") or {}).items() if v is not None}


def natures(results: Record) -> Rows:
    """What kind of model each is, as its class says and as it was measured."""
    rows: Rows = []
    for m in ordered(results.get("models") or [], unit_of(results)):
        nature = m.get("nature")
        if not nature or absent(m):
            continue
        recovered = nature.get("recovered")
        mean, worst = (small(nature.get(f"reconstruction_{k}")) for k in ("error", "worst"))
        rows.append({
            "model": str(m.get("model", NONE)),
            "likelihood": str(nature.get("likelihood") or NONE),
            "samples": str(nature.get("sampling") or NONE),
            "invertible": "yes" if nature.get("invertible") else "no",
            _reconstruction(results): mean if mean == NONE else f"{mean} (worst {worst})",
            "values recovered": NONE if recovered is None else f"{fixed(100 * recovered, 2)} %",
            "latent": count(nature.get("latent")),
            "completes": str(nature.get("completes") or NONE),
        })  # fmt: skip
    return without_empty(rows, keep=("model", "likelihood", "samples", "invertible", "completes"))


def _reconstruction(results: Record) -> str:
    """Heading of the reconstruction error, with the range that it is to be read in."""
    data = results.get("data") or {}
    if data.get("rate") is not None:
        return "reconstruction error, of the range −1 … 1"
    picture = data.get("levels") and len(data.get("event_shape") or ()) == 3
    return "reconstruction error" + ", of the range 0 … 1" * bool(picture)


def without_empty(rows: Rows, *, keep: Sequence[str] = ("model",)) -> Rows:
    """The rows without the columns in which nothing is known of any model."""
    empty = {
        h for h in (rows[0] if rows else ())
        if h not in keep and all(row[h] == NONE for row in rows)
    }  # fmt: skip
    return [{h: text for h, text in row.items() if h not in empty} for row in rows]


def _nats(likelihood: Mapping[str, Any]) -> str:
    """The negative log-likelihood of an observation of discrete data, in nats."""
    keys = ("log_likelihood", "bits_per_dim", "standard_error")
    nats, bits, error = (likelihood.get(key) for key in keys)
    if nats is not None and bits and error is not None:
        error = error * abs(nats / bits)  # given in bits per dimension
    sign = "=" if exact(likelihood) else bound("bits/dim")
    return f"{sign} {number(None if nats is None else -nats, error)}"


def _bytes(value: float | None) -> str:
    """Memory in millions of bytes, or thousands of these."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:,.0f} MB"
