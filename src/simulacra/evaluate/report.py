"""The comparison report: the same figures in words, as a table, and as one page to send on."""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from simulacra.curves import curves
from simulacra.errors import UsageError

Record = Mapping[str, Any]
NONE = "–"


_WORDS = {"bits/dim": "bits per dimension", "bits/valid sample": "bits per valid sample"}


def verdict(results: Record) -> str:
    """The answer in one paragraph, and no more than the figures bear.

    Two models tie when their figures differ by less than two combined standard errors,
    2 √(se² + se²). A model with a test observation of no finite likelihood is not ranked.
    """
    models, unit = results.get("models") or [], _unit(results)
    ranked = _ranked(models, unit)
    name, budget = (results.get("data") or {}).get("name"), results.get("budget")
    where = f"On {name or 'these data'}" + (f", with {budget} of training each," if budget else ",")
    most = f"the fewest {_WORDS[unit]}" if unit != "nats" else "the highest log-likelihood"
    told = [f"{m['model']} {_figure(m['likelihood'], unit)} {unit}" for m in ranked]
    winners = [m for m in ranked if _tie(ranked[0], m, unit)]
    skilled = sum(bool(m.get("likelihood") and not m.get("failed")) for m in models)
    field = f"the {len(ranked)} models with a {'finite ' * (skilled > len(ranked))}likelihood"
    says = [f"{where} no model has a likelihood that could be compared: nothing is ranked here."]
    if len(ranked) == 1:
        says = [f"{where} only one model has a likelihood that can be compared: {told[0]}."]
    elif len(winners) == 1:
        best = ranked[0]["model"]
        says = [f"{where} {best} gives {most} among {field} ({told[0]}; next: {told[1]})."]
    elif winners:
        why = "they differ" if len(winners) == 2 else "each differs from the first"
        why += " by less than two combined standard errors"
        if any(_error(m) is None for m in winners):
            why = "without standard errors nothing tells them apart"
        names, figures = _and([m["model"] for m in winners]), "; ".join(told[: len(winners)])
        says = [f"{where} {names} tie for {most} among {field} ({figures}): {why}."]
    # A bound that lost or tied might hide a better model; a bound that won alone cannot.
    loose = [m["model"] for m in ranked if not _exact(m["likelihood"]) and [m] != winners]
    if loose and len(ranked) > 1:
        limit, way = ("an upper", "lower") if unit != "nats" else ("a lower", "higher")
        only = f"the figure is only {limit} limit ({_bound(unit)})"
        says.append(f"For {_and(loose)} {only}: the true one may be {way}.")
    trained = [m for m in models if not m.get("failed")]
    for m in trained:
        if m.get("likelihood") and _loss(m, unit) is None:
            lost = f"not finite for {_lost(m['likelihood']) or 'the mean of all'} test observations"
            says.append(f"{m['model']} is not ranked: its likelihood is {lost}.")
    ignorant, truth = _baseline(results), (results.get("data") or {}).get("truth")
    idle = [m["model"] for m in ranked if ignorant and (_loss(m, unit) or 0) >= ignorant]
    if idle:
        says.append(f"No better than knowing nothing ({ignorant:.3f} {unit}): {_and(idle)}.")
    if truth is not None:
        says.append(f"The density that the data were drawn from gives {_number(truth, None)} nats.")
    without = [m for m in trained if not m.get("likelihood")]
    given = [m["model"] for m in without if m.get("likelihood_given_label")]
    told_of = "label" if (results.get("data") or {}).get("classes", 1) else "context"
    none = [m["model"] for m in without if not m.get("likelihood_given_label")]
    if given:
        says.append(f"Only given the {told_of}, which is another question: {_and(given)}.")
    if none:
        says.append(f"Without a likelihood, to be judged by the samples: {_and(none)}.")
    says += [f"{m['model']} failed: {m['failed']}." for m in models if m.get("failed")]
    return " ".join(says)


def table(results: Record) -> list[dict[str, str]]:
    """The main table: a row for each model, best first, as heading → text.

    Every row has the same headings in the same order. Models without a likelihood follow those
    with one, failed ones come last.
    """
    models, unit = results.get("models") or [], _unit(results)
    conditional = any(m.get("likelihood_given_label") for m in models)
    rows = []
    for m in _ordered(models, unit):
        likelihood, failed = m.get("likelihood"), m.get("failed")
        given = m.get("likelihood_given_label")
        row = {"model": str(m.get("model", NONE)), _heading(unit): _cell(likelihood, unit)}
        if conditional:
            told = "label" if (results.get("data") or {}).get("classes", 1) else "context"
            row[f"{_heading(unit)} given the {told}"] = _cell(given, unit) if given else NONE
        if failed:
            row |= dict.fromkeys(list(row)[1:], NONE)
            row[_heading(unit)] = f"failed: {failed}"
        kind = m.get("step_name") or "steps"
        row |= {
            "family": str(m.get("family") or NONE),
            "parameters": _count(m.get("parameters")),
            "training, s": _seconds(m.get("training_seconds")),
            "steps": _count(m.get("steps")) + ("" if kind == "steps" else f" {kind}"),
        }
        if unit != "nats":
            row["nats, per observation"] = _nats(likelihood)
        row["1 sample, s"] = _seconds(m.get("seconds_for_1"))
        row["64 samples, s"] = _seconds(m.get("seconds_for_64"))
        row["can"] = ", ".join(m.get("capabilities") or []) or NONE
        rows.append(row)
    return rows


def render(results: Record, pictures: Mapping[str, bytes]) -> str:
    """The report as one HTML page that asks nothing of any other address.

    Args:
        results: What `compare` writes as `results.json`; keys may be missing or null.
        pictures: PNG files by name: `real`, `<model>/samples`, `<model>/completions`,
            `<model>/interpolation`; any may be missing.

    Raises:
        UsageError: If a picture is not a PNG file.
    """
    from jinja2 import Environment, PackageLoader

    unit, rows = _unit(results), table(results)
    name = (results.get("data") or {}).get("name") or "these data"
    models = _ordered(results.get("models") or [], unit)
    ranked = _ranked(models, unit)
    loader = PackageLoader("simulacra", "evaluate")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("report.html.j2").render(
        results=results,
        data=results.get("data") or {},
        machine=results.get("machine") or {},
        title=results.get("title") or f"Generative models on {name}",
        verdict=verdict(results),
        rows=list(zip(models, _cells(rows), strict=True)),
        headings=list(rows[0]) if rows else [],
        unit=unit,
        figure=_heading(unit),
        winners=[m["model"] for m in ranked if len(ranked) > 1 and _tie(ranked[0], m, unit)],
        pictures={name: _inline_png(name, data) for name, data in pictures.items()},
        validation=_validation(models, unit),
        games=[game for i, m in enumerate(models) for game in _game(m, f"g{i}-")],
        words=_WORDS.get(unit),
        # grids of pixels; all else is drawn
        pixels=len((results.get("data") or {}).get("event_shape") or (1, 1, 1)) == 3,
        baseline=_baseline(results),
    )


def _baseline(results: Record) -> float | None:
    """What it costs to know nothing but how many levels there are, padding included."""
    data = results.get("data") or {}
    if not data.get("levels") or not data.get("event_shape"):
        return None
    dims = math.prod(data["event_shape"])
    return float(math.log2(data["levels"]) * dims / (data.get("valid") or dims))


def _unit(results: Record) -> str:
    """`bits/dim` of discrete data, `bits/valid sample` of sounds, `nats` of vectors."""
    if (results.get("data") or {}).get("rate") is not None:
        return "bits/valid sample"
    if (results.get("data") or {}).get("levels") is not None:
        return "bits/dim"
    found = [m.get("likelihood") or {} for m in results.get("models") or []]
    return "bits/dim" if any(f.get("bits_per_dim") is not None for f in found) else "nats"


def _heading(unit: str) -> str:
    """Heading of the figure that ranks."""
    return f"{unit}, test" if unit != "nats" else "log-likelihood, nats, test"


def _exact(likelihood: Record) -> bool:
    """Whether the figure is the likelihood itself and not a bound of it."""
    return bool(likelihood.get("exact", likelihood.get("relation") == "="))


def _bound(unit: str) -> str:
    """The sign of a bound, which lies below the log-likelihood and so above the bits it costs."""
    return "≤" if unit != "nats" else "≥"


def _lost(likelihood: Record) -> str:
    """How many test observations have no finite likelihood, `3 of 359`; empty if none."""
    count, of = likelihood.get("non_finite") or 0, likelihood.get("observations")
    return f"{count:,}{f' of {of:,}' if of else ''}" if count else ""


def _loss(model: Record, unit: str) -> float | None:
    """The figure that ranks, lower is better; `None` where there is none to stand on."""
    likelihood = model.get("likelihood") or {}
    if model.get("failed") or likelihood.get("non_finite"):
        return None
    bits, nats = likelihood.get("bits_per_dim"), likelihood.get("log_likelihood")
    value = bits if unit != "nats" else None if nats is None else -nats
    return float(value) if value is not None and math.isfinite(value) else None


def _ranked(models: Sequence[Record], unit: str) -> list[Record]:
    """The models that have a figure to compare, best first."""
    return [m for m in _ordered(models, unit) if _loss(m, unit) is not None]


def _ordered(models: Sequence[Record], unit: str) -> list[Record]:
    """All models: ranked ones best first, then other likelihoods, then none, then failures."""

    def place(m: Record) -> tuple[bool, bool, bool, float]:
        loss = _loss(m, unit)
        return bool(m.get("failed")), loss is None, not m.get("likelihood"), loss or 0.0

    return sorted(models, key=place)


def _tie(best: Record, other: Record, unit: str) -> bool:
    """Whether two ranked models differ by less than two combined standard errors.

    Without both standard errors nobody can tell them apart, so that is a tie too.
    """
    a, b, errors = _loss(best, unit), _loss(other, unit), [_error(best), _error(other)]
    if best is other or a is None or b is None or None in errors:
        return True
    return abs(a - b) < 2 * math.hypot(*filter(None, errors))


def _error(model: Record) -> float | None:
    """Standard error of a model's figure; `None` if unknown."""
    error = model["likelihood"].get("standard_error")
    return error if error is not None and math.isfinite(error) else None


def _figure(likelihood: Record, unit: str) -> str:
    """A figure with its relation, standard error and draws: `≤ 2.71 ± 0.02 (k 50)`."""
    value = likelihood.get("bits_per_dim" if unit != "nats" else "log_likelihood")
    error, draws = likelihood.get("standard_error"), likelihood.get("draws") or 1
    exact = _exact(likelihood)
    text = f"{'=' if exact else _bound(unit)} {_number(value, error)}"
    if value is not None and error is not None and math.isfinite(error) and error > 0:
        text += f" ± {_number(error, error)}"
    return text if exact or draws == 1 else f"{text} (k {draws})"


def _cell(likelihood: Record | None, unit: str) -> str:
    """A figure as the table has it, with the count of what is not finite behind a semicolon."""
    if not likelihood:
        return "no likelihood"
    lost = _lost(likelihood)
    return _figure(likelihood, unit) + (f"; {lost} not finite" if lost else "")


def _nats(likelihood: Record | None) -> str:
    """The negative log-likelihood of an observation of discrete data, in nats."""
    if not likelihood:
        return NONE
    keys = ("log_likelihood", "bits_per_dim", "standard_error")
    nats, bits, error = (likelihood.get(key) for key in keys)
    if nats is not None and bits and error is not None:
        error = error * abs(nats / bits)  # given in bits per dimension
    sign = "=" if _exact(likelihood) else _bound("bits/dim")
    return f"{sign} {_number(None if nats is None else -nats, error)}"


def _number(value: float | None, error: float | None) -> str:
    """A number to the digits that its standard error supports: two where that begins with 1."""
    if value is None or not math.isfinite(value):
        return "not finite"
    digits = 3
    if error is not None and math.isfinite(error) and error > 0:
        exponent = math.floor(math.log10(error))
        digits = min(6, max(0, -exponent + (error < 2 * 10.0**exponent)))
    return f"{value:,.{digits}f}".replace("-", "−")


def _count(value: int | None) -> str:
    """A whole number with its thousands set apart."""
    return NONE if value is None else f"{value:,}"


def _seconds(value: float | None) -> str:
    """A duration to about three digits and never finer than a millisecond."""
    if value is None or not math.isfinite(value):
        return NONE
    if 0 < value < 0.001:
        return "<0.001"
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"


def _cells(rows: Sequence[Mapping[str, str]]) -> list[dict[str, dict[str, str]]]:
    """The table taken apart for the page: what stands before ±, from there on, and what is loud.

    Numbers of a column get figure spaces behind them until their decimal points stand in line.
    """
    split: list[dict[str, dict[str, str]]] = [{} for _ in rows]
    for cells, row in zip(split, rows, strict=True):
        for heading, text in row.items():
            parts = re.fullmatch(r"([=≤≥] [^±;(]*[^±;( ])?( [±(][^;]*)?(?:; (.*))?", text)
            head, error, loud = parts.groups("") if parts and parts[1] else (text, "", "")
            cells[heading] = {"head": head, "error": error.strip(), "loud": loud}
    for heading in rows[0] if rows else ():
        column = [cells[heading] for cells in split]
        found = [re.fullmatch(r"(?:[=≤≥<] ?)?−?[\d,]+(\.\d+)?", c["head"]) for c in column]
        most = max((len(m.group(1) or "") for m in found if m), default=0)
        for cell, match in zip(column, found, strict=True):
            short = most - len(match.group(1) or "") if match else 0
            point = "\u2008" if match and short and not match.group(1) else ""
            cell["head"] += point + "\u2007" * (short - len(point))
    return split


def _inline_png(name: str, data: bytes) -> dict[str, Any]:
    """A PNG file as a data URI, with its size in pixels."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 24:
        raise UsageError(f"picture {name!r}: expected the bytes of a PNG file")
    width, height = struct.unpack(">II", data[16:24])
    uri = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return {"uri": uri, "width": width, "height": height}


def _inline_svg(svg: bytes, prefix: str, label: str) -> Markup:
    """An SVG file as an element of a page: no address, no style for all, ids of its own."""
    text = svg[svg.index(b"<svg") :].decode()
    text = re.sub(r'\s(?:xmlns(?::\w+)?|version)="[^"]*"', "", text)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", text)
    return Markup(text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1))


def _validation(models: Sequence[Record], unit: str) -> Markup | None:
    """Validation likelihood against training seconds, all models on one pair of axes."""
    series = {
        m["model"]: m["curves"]
        for m in models
        if m.get("likelihood") and _measured((m.get("curves") or {}).get("validation"))
    }
    if not series:
        return None
    what = _WORDS.get(unit, "log-likelihood in nats")
    labels = {"x_label": "training, seconds", "y_label": f"validation, {what}"}
    svg = curves(series, x="seconds", y="validation", size=(7.8, 3.9), **labels)
    last = [f"{name} {_measured(c['validation'])[-1]:.3f}" for name, c in series.items()]
    label = f"Validation, {what}, against training seconds. Last values: {', '.join(last)}"
    return _inline_svg(svg, "v-", label)


def _game(model: Record, prefix: str) -> list[dict[str, Any]]:
    """The losses of a model without a likelihood, each player's, on axes of their own."""
    record = model.get("curves") or {}
    losses = {k: v for k, v in (record.get("losses") or {}).items() if _measured(v)}
    if model.get("likelihood") or not losses:
        return []
    steps = record.get("steps") or []
    series = {
        player: {"step": steps if len(steps) == len(v) else list(range(1, len(v) + 1)), "loss": v}
        for player, v in losses.items()
    }
    x_label = model.get("step_name") or "steps"
    svg = curves(series, x="step", y="loss", x_label=x_label, size=(4.4, 2.7))
    label = f"Losses of {_and(list(losses))} of {model['model']} while training"
    return [{"model": model["model"], "svg": _inline_svg(svg, prefix, label)}]


def _measured(values: Sequence[float | None] | None) -> list[float]:
    """The finite numbers among the values."""
    return [v for v in values or () if v is not None and math.isfinite(v)]


def _and(names: Sequence[str]) -> str:
    """Names as a list in a sentence."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
