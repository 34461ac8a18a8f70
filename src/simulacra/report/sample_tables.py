"""The tables of samples: models between real data, the floor, and independent values."""

from __future__ import annotations

from collections.abc import Sequence

from simulacra.judging.figures.measures import ARROWS, FIDELITY, MEASURES, NOVELTY
from simulacra.report.ranking import Record, absent, ordered, unit_of
from simulacra.report.tables import Rows, distances, figure_of, without_empty
from simulacra.report.text import NONE, fixed, interval_column

REAL, INDEPENDENT = "real (floor)", "independent (ceiling)"
"""The rows that are no model: other real observations, and values drawn each by itself."""
LIKE_REAL = " like real data"
BY_CHANCE = " may be chance"


def fidelity_table(results: Record, view: str) -> Rows:
    """Distances and shares in one view, and which distances are as small as those of real data."""
    rows = _table(results, view, list(FIDELITY), ceiling=True)
    references = results.get("references") or {}
    real, worst = ({"samples": references.get(key) or {}} for key in ("real", "independent"))
    judged = [m for m in _judged(results) if m.get("samples")]
    for row, m in zip(rows[bool(references.get("real")) :], judged, strict=False):
        for key in ("frechet", "kernel"):
            found, floor, ceiling = (figure_of(each, view, key) for each in (m, real, worst))
            if found and floor and _like_real(found, floor, ceiling):
                row[titled(key)] += LIKE_REAL
    return rows


def _like_real(found: Record, floor: Record, ceiling: Record | None) -> bool:
    """Whether a distance is not told apart from that of real data, where others would be."""
    value, high = found.get("value"), floor.get("high")
    if value is None or high is None or (ceiling and ceiling.get("low", high) <= high):
        return False
    return bool(value <= high)


def novelty_table(results: Record, view: str) -> Rows:
    """What tells copies of the training data in one view."""
    return without_empty(_table(results, view, list(NOVELTY), ceiling=True))


def equal_table(results: Record) -> Rows:
    """Samples that equal an observation or one another, for which no view is needed."""
    keys = ["duplicates", "leaked", "repeats"]
    return without_empty(_table(results, None, keys, ceiling=True))


def label_table(results: Record) -> Rows:
    """Samples as the classifier takes them."""
    return without_empty(_table(results, None, ["class_accuracy", "class_distance"], ceiling=True))


def class_table(results: Record) -> Rows:
    """How often each class is among samples, as the classifier takes them: a column a model."""
    names = (results.get("data") or {}).get("class_names") or []
    references = results.get("references") or {}
    told = [(str(m["model"]), m.get("samples") or {}) for m in _judged(results)]
    told.insert(0, (REAL, references.get("real") or {}))
    columns = {name: samples.get("class_shares") for name, samples in told}
    known = {name: shares for name, shares in columns.items() if shares}
    if len(known) < 2:
        return []
    return [
        {"class": str(names[i] if i < len(names) else i)}
        | {name: f"{fixed(100 * shares[i], 1)} %" for name, shares in known.items()}
        for i in range(len(next(iter(known.values()))))
    ]


def appearance_table(results: Record) -> Rows:
    """Colour and fine detail beside those of the data; empty where neither was measured."""
    return without_empty(_table(results, None, ["saturation", "sharpness"], ceiling=True))


def classifier_table(results: Record) -> Rows:
    """The generative classifiers, and one that was trained for nothing else."""
    found = [(str(m["model"]), m["classifier"]) for m in _judged(results) if m.get("classifier")]
    baseline = results.get("baseline_classifier")
    if not found:
        return []
    if baseline:
        found.append(("discriminative baseline", baseline))
    accuracies = interval_column([c.get("accuracy") for _, c in found], percent=True)
    errors = interval_column([c.get("ece") for _, c in found], percent=True)
    rows = []
    for (name, c), accuracy, error in zip(found, accuracies, errors, strict=True):
        floor, cost = c.get("ece_floor"), c.get("log_loss")
        lost, never = c.get("non_finite"), c.get("impossible")
        by = "its own p(y | x)" if c is baseline else "a bound" if c.get("bound") else "p(x | y)"
        rows.append({
            "model": name,
            titled("accuracy"): accuracy + (f"; {lost} not finite" if lost else ""),
            titled("ece"): error + (BY_CHANCE if c.get("calibrated") else ""),
            "its floor": NONE if floor is None else f"{fixed(100 * floor, 1)} %",
            "log-loss ↓, nats": (NONE if cost is None else fixed(cost, 3))
            + (f"; {never} held impossible" if never else ""),
            "by": by,
        })  # fmt: skip
    return without_empty(rows)


def _judged(results: Record) -> list[Record]:
    """The models that were judged, in the order of the main table."""
    models = ordered(results.get("models") or [], unit_of(results))
    return [m for m in models if not absent(m)]


def _table(
    results: Record, view: str | None, keys: Sequence[str], *, ceiling: bool = False
) -> Rows:
    """Real data, the models, and with `ceiling` independent values, as far as they are known."""
    references = results.get("references") or {}
    told = [(str(m["model"]), m) for m in _judged(results) if m.get("samples")]
    if not told:
        return []
    if references.get("real"):
        told.insert(0, (REAL, {"samples": references["real"]}))
    if ceiling and references.get("independent"):
        told.append((INDEPENDENT, {"samples": references["independent"]}))
    rows = [{"model": name} for name, _ in told]
    for key in keys:
        share, models = MEASURES[key].unit == "share", [m for _, m in told]
        column = (
            distances(results, view, key, models)
            if view and key in ("frechet", "kernel")
            else interval_column(
                [figure_of(m, view, key) for m in models],
                percent=share and key not in FIDELITY,
                most=2 if share else 4,
            )
        )
        for row, text in zip(rows, column, strict=True):
            row[titled(key)] = text
    return rows if any(text != NONE for row in rows for text in list(row.values())[1:]) else []


def titled(key: str) -> str:
    """A figure's name and which way is better."""
    return f"{MEASURES[key].name} {ARROWS[MEASURES[key].better]}"
