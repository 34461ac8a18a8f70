"""The tables that a terminal has room for, beside the main one."""

from __future__ import annotations

import math

from simulacra.judging.figures.measures import MEASURES
from simulacra.report.ranking import Record, absent, ordered, told, unit_of
from simulacra.report.sample_tables import INDEPENDENT, REAL, titled
from simulacra.report.tables import Rows, figure_of, first_view, without_empty
from simulacra.report.text import NONE, fixed, interval_column

_SHOWN = ("frechet", "precision", "recall", "coverage", "c_t")


def sample_figures(results: Record) -> Rows:
    """The first view's figures without intervals; empty where no samples were judged."""
    view, references = first_view(results), results.get("references") or {}
    if not view:
        return []
    found = [(str(m.get("model", NONE)), m) for m in _judged(results)]
    found.insert(0, (REAL, {"samples": references.get("real")}))
    found.append((INDEPENDENT, {"samples": references.get("independent")}))
    rows = [
        {"model": name} | {titled(key): _short(key, figure_of(m, view, key)) for key in _SHOWN}
        for name, m in found
    ]
    # samples that were all refused have no figures
    return rows if any(text != NONE for row in rows for text in list(row.values())[1:]) else []


def detail_figures(results: Record) -> Rows:
    """Overfitting and labels: a column for each figure that some model has; may be empty."""
    models = _judged(results)
    floor = {"samples": (results.get("references") or {}).get("real"), "model": REAL}
    if any(figure_of(m, None, "class_accuracy") for m in models):
        models = [floor, *models]
    likelihoods = [m.get("likelihood") or m.get("likelihood_given_label") or {} for m in models]
    conditional = [m.get("likelihood_given_label") or m.get("likelihood") or {} for m in models]
    gaps = interval_column([each.get("gap") for each in likelihoods], sign=True)
    lost = interval_column([each.get("shuffled") for each in conditional], sign=True)
    rows: Rows = []
    for m, gap, loss, given in zip(models, gaps, lost, conditional, strict=True):
        asked, bayes = figure_of(m, None, "class_accuracy"), m.get("classifier") or {}
        rows.append({
            "model": str(m.get("model", NONE)),
            f"gap, {unit_of(results)}": gap,
            "class accuracy": _short("class_accuracy", asked),
            "Bayes accuracy": _short("accuracy", bayes.get("accuracy")),
            f"{told(results)} shuffled": loss + "; ignores it" * bool(given.get("ignores_context")),
        })  # fmt: skip
    rows = without_empty(rows)
    return rows if rows and len(rows[0]) > 1 else []


def _judged(results: Record) -> list[Record]:
    models = ordered(results.get("models") or [], unit_of(results))
    return [m for m in models if not absent(m)]


def _short(key: str, figure: Record | None) -> str:
    """A figure without its interval: shares and scores to two decimals, others to three digits."""
    value = (figure or {}).get("value")
    if value is None or not math.isfinite(value):
        return NONE
    if key in ("class_accuracy", "accuracy"):
        return f"{fixed(100 * value, 1)} %"
    if MEASURES[key].unit in ("share", "Z score"):
        return fixed(value, 2)
    digits = 0 if not value else math.floor(math.log10(abs(value)))
    return fixed(value, min(4, max(0, 2 - digits)))
