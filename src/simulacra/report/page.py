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
from simulacra.judging.figures.records import Unit
from simulacra.judging.results import Entry, Results
from simulacra.report import sections, warned
from simulacra.report.balance import balance_charts
from simulacra.report.cells import Rows, in_line
from simulacra.report.ranking import (
    WORDS,
    averaged,
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
    relations,
    told,
    unit_of,
    winners,
)
from simulacra.report.sections import Section
from simulacra.report.step_tables import step_chart
from simulacra.report.tables import table
from simulacra.report.text import listed
from simulacra.report.verdict import verdict
from simulacra.report.verification_tables import curves_of

if TYPE_CHECKING:
    from jinja2 import Template


def render(results: Results, pictures: Mapping[str, bytes]) -> str:
    """The report as one HTML page that asks nothing of any other address.

    Args:
        results: All figures.
        pictures: PNG files by name: `real`, `<model>/samples`, `<model>/suspects`,
            `<model>/reliability`, `<model>/rates`, `<model>/completions`,
            `<model>/interpolation`; any may be missing. WAV files of sounds as `real/heard` and
            `<model>/heard`.

    Raises:
        UsageError: If a picture is neither a PNG nor a WAV file.
    """
    unit, rows = unit_of(results), table(results)
    models = ordered(results.models, unit)
    compared = [pair(results, a, b) for (a, _), (b, _) in combinations(ranked(results), 2)]
    name, alone = results.data.name, foreign(results)
    return _page().render(
        results=results,
        data=results.data,
        machine=results.machine,
        title=results.title
        or (f"Samples held against {name}" if alone else f"Generative models on {name}"),
        foreign=alone,
        verdict=verdict(results),
        rows=list(zip(models, in_line(rows), strict=True)),
        headings=list(rows[0]) if rows else [],
        given=heading_given(results),
        told=told(results),
        observed=observed(results),
        draws=listed([f"k\u00a0{draws}" for draws in draws_of_bounds(results)]),
        averaged=averaged(results),
        relations=relations(results),
        groups=groups_of(results),
        warnings=warned.of_models(results),
        unit=unit,
        figure=heading(unit),
        winners=[m.model for m in winners(results)],
        samples=_present(sections.sample_sections(results), pictures),
        details=_present(sections.detail_sections(results), pictures),
        ends=_present(sections.last_sections(results), pictures),
        measures=sections.measures_shown(results),
        views=results.views,
        paired=any(compared),
        unpaired=not all(compared),
        described=[m for m in models if m.class_name or m.summary or m.departs],
        pictures={n: _inline_png(n, data) for n, data in pictures.items() if not _is_wav(data)},
        sounds={n: _uri("audio/wav", data) for n, data in pictures.items() if _is_wav(data)},
        validation=_validation(models, unit),
        charts=_charts(results),
        balances=[each for i, m in enumerate(models) for each in _balance(m, f"b{i}")],
        games=[game for i, m in enumerate(models) for game in _game(m, f"g{i}-")],
        words=WORDS.get(unit),
        # grids of pixels; all else is drawn
        pixels=len(results.data.event_shape or (1, 1, 1)) == 3,
        baseline=baseline(results),
    )


@cache
def _page() -> Template:
    """The page's template, which takes longer to read than to fill in."""
    from jinja2 import Environment, PackageLoader

    loader = PackageLoader("simulacra", "report")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"in_line": in_line, "beside": beside, "broken": broken}
    environment.globals |= {"arrows": ARROWS}
    return environment.get_template("page.html.j2")


def _present(found: Sequence[Section], pictures: Mapping[str, bytes]) -> list[Section]:
    """The sections that have something to show."""
    kinds = {name.rpartition("/")[2] for name in pictures if "/" in name}
    return [s for s in found if s.tables or s.remarks or s.pictures in kinds]


def beside(rows: Rows) -> set[str]:
    """Headings of columns of `= 2.71 ± 0.02`, whose errors stand beside the numbers."""
    return {title for row in rows for title, cell in row.items() if cell.beside}


def broken(title: str) -> str:
    """A heading on two lines: its unit, or where figures should come to lie, below the name."""
    return re.sub(r", | (?=→)", "\n", title, count=1)


def _inline_png(name: str, data: bytes) -> dict[str, Any]:
    """A PNG file as a data URI, with its size in pixels."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 24:
        raise UsageError(f"picture {name!r}: expected the bytes of a PNG file")
    width, height = struct.unpack(">II", data[16:24])
    return {"uri": _uri("image/png", data), "width": width, "height": height}


def _is_wav(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WAVE"


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _inline_svg(svg: bytes, prefix: str, label: str) -> Markup:
    """An SVG file as an element of a page: no address, no style for all, ids of its own."""
    text = svg[svg.index(b"<svg") :].decode()
    text = re.sub(r'\s(?:xmlns(?::\w+)?|version)="[^"]*"', "", text)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", text)
    return Markup(text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1))


def _validation(models: Sequence[Entry], unit: Unit) -> Markup | None:
    """Validation likelihood against training seconds, all models on one pair of axes."""
    series = {
        m.model: {"seconds": m.curves.seconds, "validation": m.curves.validation}
        for m in models
        if m.likelihood and _measured(m.curves.validation)
    }
    if not series:
        return None
    what = WORDS.get(unit, "log-likelihood in nats")
    svg = curves(
        series, x="seconds", y="validation", x_label="training, seconds",
        y_label=f"validation, {what}", size=(7.8, 3.9),
    )  # fmt: skip
    last = [f"{name} {_measured(c['validation'])[-1]:.3f}" for name, c in series.items()]
    label = f"Validation, {what}, against training seconds. Last values: {', '.join(last)}"
    return _inline_svg(svg, "v-", label)


def _charts(results: Results) -> dict[str, Markup]:
    """By the section that it stands in, a chart of all models together."""
    drawn = _chart_of_steps(results)
    found = curves_of(results)
    if not found:
        return drawn
    series = {
        name: dict(zip(("false", "true"), zip(*each.curve, strict=True), strict=True))
        for name, each in found.items()
    }
    what = "share of pairs of {} that are taken for one"
    svg = curves(
        series, x="false", y="true", x_label=what.format("two"), y_label=what.format("one"),
        size=(7.8, 3.9), whole=True,
    )  # fmt: skip
    areas = ", ".join(f"{name} {each.area.value:.3f}" for name, each in found.items())
    label = f"Receiver operating characteristic. Areas: {areas}"
    return drawn | {"verification": _inline_svg(svg, "r-", label)}


def _chart_of_steps(results: Results) -> dict[str, Markup]:
    svg = step_chart(results)
    label = "Fréchet distance against calls of the network for each sample"
    return {} if svg is None else {"steps": _inline_svg(svg, "s-", label)}


def _game(model: Entry, prefix: str) -> list[dict[str, Any]]:
    """The losses of a model without a likelihood, each player's, on axes of their own."""
    losses = {k: v for k, v in model.curves.losses.items() if _measured(v)}
    if model.likelihood or not losses:
        return []
    steps = model.curves.steps
    series = {
        player: {"step": steps if len(steps) == len(v) else tuple(range(1, len(v) + 1)), "loss": v}
        for player, v in losses.items()
    }
    x_label = model.step_name
    svg = curves(series, x="step", y="loss", x_label=x_label, size=(4.4, 2.7))
    label = f"Losses of {listed(list(losses))} of {model.model} while training"
    return [{"model": model.model, "svg": _inline_svg(svg, prefix, label)}]


def _balance(model: Entry, prefix: str) -> list[dict[str, Any]]:
    """The balance of a game, a picture for each thing that was watched."""
    charts = [
        {
            "title": chart.title,
            "sentence": chart.sentence,
            "svg": _inline_svg(
                chart.svg, f"{prefix}-{i}-", f"{chart.title}, of {model.model} while training"
            ),
        }
        for i, chart in enumerate(balance_charts(model))
    ]
    return [{"model": model.model, "charts": charts}] if charts else []


def _measured(values: Sequence[float | None] | None) -> list[float]:
    """The finite numbers among the values."""
    return [v for v in values or () if v is not None and math.isfinite(v)]
