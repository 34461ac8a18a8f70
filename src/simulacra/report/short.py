"""The tables that a terminal has room for, beside the main one."""

from __future__ import annotations

import math

from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.measures import MEASURES
from simulacra.judging.figures.records import SampleFigures
from simulacra.judging.results import Results
from simulacra.report.cells import (
    NOTHING,
    Cell,
    Rows,
    interval_column,
    plain,
    share,
    without_empty,
    words,
)
from simulacra.report.code_tables import code_table
from simulacra.report.codebook_tables import codebook_table
from simulacra.report.ranking import judged, told, unit_of
from simulacra.report.sample_tables import (
    CHANCE,
    INDEPENDENT,
    REAL,
    class_called,
    parts_of,
    titled,
)
from simulacra.report.tables import figure_of, first_view, in_groups

_SHOWN = ("frechet", "precision", "recall", "coverage", "c_t")
_WHOLE = ("saturation", "modes", "good")
"""Figures that need no view: colours, where pictures have any, and modes, where they are known."""


def sample_figures(results: Results) -> Rows:
    """The first view's figures without intervals; empty where no samples were judged."""
    view, references = first_view(results), results.references
    if not view:
        return []
    found = [(m.model, m.samples) for m in judged(results)]
    found = [(REAL, references.real), *found, (INDEPENDENT, references.independent)]
    rows: Rows = [
        {"model": words(name)}
        | {titled(key): _short(key, figure_of(each, view, key)) for key in _SHOWN}
        | {titled(key): _short(key, figure_of(each, None, key)) for key in _WHOLE}
        for name, each in found
    ]
    # only where the data have any
    rows = without_empty(rows, keep=["model", *map(titled, _SHOWN)])
    # samples that were all refused have no figures
    return rows if any(cell != NOTHING for row in rows for cell in list(row.values())[1:]) else []


def detail_figures(results: Results) -> Rows:
    """Overfitting and labels: a column for each figure that some model has; may be empty."""
    models, kind = judged(results), told(results)
    plainly = [m.likelihood or m.likelihood_given_label for m in models]
    conditional = [m.likelihood_given_label or m.likelihood for m in models]
    gaps = interval_column([f.gap if f else None for f in plainly], sign=True)
    losses = interval_column([f.shuffled if f else None for f in conditional], sign=True)
    rows: Rows = []
    groups = in_groups(conditional)
    for m, gap, loss, given, by_group in zip(
        models, gaps, losses, conditional, groups, strict=True
    ):
        ignored = given is not None and given.ignores_context
        rows.append({
            "model": words(m.model),
            f"gap, {unit_of(results)}": gap,
            "class accuracy": _short(
                "class_accuracy", figure_of(m.samples, None, "class_accuracy")
            ),
            **{
                f"{part} accuracy": _short("class_accuracy", _in_part(m.samples, part))
                for part in parts_of(results)
            },
            "Bayes accuracy": _short("accuracy", m.classifier.accuracy if m.classifier else None),
            "own accuracy": _short(
                "accuracy", m.own_classifier.accuracy if m.own_classifier else None
            ),
            f"{kind} shuffled": loss.but(loud="ignores it" if ignored else ""),
            **by_group,
        })  # fmt: skip
    if rows and any(row["class accuracy"] != NOTHING for row in rows):
        real, chance = results.references.real, results.references.chance
        for at, name, each in ((0, REAL, real), (len(rows) + 1, CHANCE, chance)):
            own = dict.fromkeys(rows[0], NOTHING) | {"model": words(name)}
            own["class accuracy"] = _short(
                "class_accuracy", figure_of(each, None, "class_accuracy")
            )
            for part in parts_of(results):
                own[f"{part} accuracy"] = _short("class_accuracy", _in_part(each, part))
            if each is not None:
                rows.insert(at, own)
    rows = without_empty(rows)
    return rows if rows and len(rows[0]) > 1 else []


def _in_part(samples: SampleFigures | None, part: str) -> Figure | None:
    return None if samples is None else samples.by_part.get(part)


def class_lines(results: Results) -> list[str]:
    """A line for each model: classes found among its samples, and those out of proportion."""
    lines = []
    for m in judged(results):
        own, real = (m.samples.classes, m.samples.real_classes) if m.samples else (None, None)
        if own is None or real is None:
            continue
        least, most = (
            f"{each.ratio.value:.2f} × its share, {class_called(results, each.label)} "
            f"({other.ratio.value:.2f})"
            for each, other in ((own.rarest, real.rarest), (own.commonest, real.commonest))
        )
        among = f" of {real.among:,}" if real.among != own.among else ""
        kl, floor = (
            plain(each.reverse_kl.value if each.reverse_kl else None, 3) for each in (own, real)
        )
        lines.append(
            f"{m.model}: {own.found:,} of {own.classes:,} classes among {own.among:,} samples "
            f"(real data {real.found:,}{among}); least {least}, most {most}; reverse KL {kl} nats "
            f"({floor})"
        )
    return lines


def code_figures(results: Results) -> Rows:
    """What codes cost; that all are of the same observations is told elsewhere."""
    left_out = ("rate, bits/dim", "units used", "observations")
    return [
        {heading: cell for heading, cell in row.items() if heading not in left_out}
        for row in code_table(results)
    ]


def _short(key: str, figure: Figure | None) -> Cell:
    """A figure without its interval: shares and scores to two decimals, others to three digits."""
    if figure is None or not math.isfinite(figure.value):
        return NOTHING
    if key in ("class_accuracy", "accuracy", "good"):
        return share(figure.value, 1)
    if MEASURES[key].unit in ("share", "Z score"):
        return plain(figure.value, 2)
    if MEASURES[key].unit == "modes":
        return plain(figure.value, 0)
    digits = 0 if not figure.value else math.floor(math.log10(abs(figure.value)))
    return plain(figure.value, min(4, max(0, 2 - digits)))


def codebook_figures(results: Results) -> Rows:
    """What codebooks cost, and how many of their entries are used."""
    return [
        {heading: cell for heading, cell in row.items() if heading != "observations"}
        for row in codebook_table(results)
    ]
