"""The comparison report: the same figures in words, as tables, and as one page to send on."""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from simulacra.drawing.curves import curves
from simulacra.ground.errors import UsageError
from simulacra.judging.figures.measures import ARROWS
from simulacra.report import sections, warned
from simulacra.report.ranking import (
    WORDS,
    Record,
    baseline,
    draws_of_bounds,
    foreign,
    groups_of,
    heading,
    heading_given,
    observed,
    ordered,
    pair,
    ranked,
    told,
    unit_of,
    winners,
)
from simulacra.report.sample_tables import INDEPENDENT, REAL
from simulacra.report.sections import Section
from simulacra.report.tables import table
from simulacra.report.text import listed
from simulacra.report.verdict import verdict

if TYPE_CHECKING:
    from jinja2 import Template


def render(results: Record, pictures: Mapping[str, bytes]) -> str:
    """The report as one HTML page that asks nothing of any other address.

    Args:
        results: What `compare` writes as `results.json`; keys may be missing or null.
        pictures: PNG files by name: `real`, `<model>/samples`, `<model>/suspects`,
            `<model>/reliability`, `<model>/completions`, `<model>/interpolation`; any may be
            missing.

    Raises:
        UsageError: If a picture is not a PNG file.
    """
    unit, rows = unit_of(results), table(results)
    name = (results.get("data") or {}).get("name") or "these data"
    models = ordered(results.get("models") or [], unit)
    compared = [pair(results, *two) for two in combinations(ranked(models, unit), 2)]
    alone = foreign(results)
    return _page().render(
        results=results,
        data=results.get("data") or {},
        machine=results.get("machine") or {},
        title=results.get("title")
        or (f"Samples held against {name}" if alone else f"Generative models on {name}"),
        foreign=alone,
        verdict=verdict(results),
        rows=list(zip(models, cells(rows), strict=True)),
        headings=list(rows[0]) if rows else [],
        given=heading_given(results),
        told=told(results),
        observed=observed(results),
        draws=listed([f"k\u00a0{draws}" for draws in draws_of_bounds(results)]),
        groups=groups_of(results),
        warnings=warned.of_models(results),
        unit=unit,
        figure=heading(unit),
        winners=[m["model"] for m in winners(results)],
        samples=_present(sections.sample_sections(results), pictures),
        details=_present(sections.detail_sections(results), pictures),
        ends=_present(sections.last_sections(results), pictures),
        measures=sections.measures_shown(results),
        views=results.get("views"),
        paired=any(compared),
        unpaired=not all(compared),
        described=[m for m in models if any(m.get(k) for k in ("class", "summary", "departs"))],
        pictures={name: _inline_png(name, data) for name, data in pictures.items()},
        validation=_validation(models, unit),
        games=[game for i, m in enumerate(models) for game in _game(m, f"g{i}-")],
        words=WORDS.get(unit),
        # grids of pixels; all else is drawn
        pixels=len((results.get("data") or {}).get("event_shape") or (1, 1, 1)) == 3,
        baseline=baseline(results),
    )


@cache
def _page() -> Template:
    """The page's template, which takes longer to read than to fill in."""
    from jinja2 import Environment, PackageLoader

    loader = PackageLoader("simulacra", "report")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"cells": cells, "broken": broken}
    environment.globals |= {"references": (REAL, INDEPENDENT), "arrows": ARROWS}
    return environment.get_template("page.html.j2")


def _present(found: Sequence[Section], pictures: Mapping[str, bytes]) -> list[Section]:
    """The sections that have something to show."""
    kinds = {name.rpartition("/")[2] for name in pictures if "/" in name}
    return [s for s in found if s.tables or s.remarks or s.pictures in kinds]


_CELL = re.compile(
    r"(?P<head>–|(?:(?:[=≤≥<] ?)?[−+]?(?:\d|not finite)[^±;(\[]*?)?)"
    r"(?: (?P<error>[±(\[][^;]*?))?(?: (?P<mark>like real data|may be chance|tie))?"
    r"(?:; (?P<loud>.*))?"
)
_NUMBER = re.compile(r"(?:[=≤≥<] ?)?[−+]?[\d,]+(?P<rest>\.\d+)?(?P<unit> %)?")


def cells(rows: Sequence[Mapping[str, str]]) -> list[dict[str, dict[str, str]]]:
    """Tables taken apart for the page: the number, what is quiet beside it, a mark, what is loud.

    Numbers of a column get figure spaces behind them until their decimal points stand in line.
    The first column names the row, and is left whole. Columns of `= 2.71 ± 0.02` are to stand
    against their left side.
    """
    split: list[dict[str, dict[str, str]]] = []
    for row in rows:
        first = next(iter(row), "")
        parts = {h: None if h == first else _CELL.fullmatch(text) for h, text in row.items()}
        split.append({
            h: {"head": row[h], "error": "", "mark": "", "loud": "", "side": ""} if p is None
            else p.groupdict("") | {"side": ""}
            for h, p in parts.items()
        })  # fmt: skip
    for title in list(rows[0])[1:] if rows else ():
        column = [each[title] for each in split]
        side = "figure" if any(c["error"].startswith("±") for c in column) else ""
        found = [_NUMBER.fullmatch(c["head"]) for c in column]
        most = max((len(m["rest"] or "") for m in found if m), default=0)
        for each, match in zip(column, found, strict=True):
            short = most - len(match["rest"] or "") if match else 0
            point = "\u2008" if match and short and not match["rest"] else ""
            each["side"] = side
            each["head"] += point + "\u2007" * (short - len(point))
    return split


def broken(title: str) -> str:
    """A heading on two lines: its unit, or where figures should come to lie, below the name."""
    return re.sub(r", | (?=→)", "\n", title, count=1)


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
    what = WORDS.get(unit, "log-likelihood in nats")
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
    label = f"Losses of {listed(list(losses))} of {model['model']} while training"
    return [{"model": model["model"], "svg": _inline_svg(svg, prefix, label)}]


def _measured(values: Sequence[float | None] | None) -> list[float]:
    """The finite numbers among the values."""
    return [v for v in values or () if v is not None and math.isfinite(v)]
