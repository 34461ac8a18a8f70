"""The tables of samples: models between real data, the floor, and independent values."""

from __future__ import annotations

from collections.abc import Sequence

from simulacra.judging.figures.classes import ClassRatio
from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.measures import ARROWS, FIDELITY, MEASURES, NOVELTY
from simulacra.judging.figures.records import SampleFigures
from simulacra.judging.results import Results
from simulacra.report.cells import (
    NOTHING,
    Cell,
    Rows,
    count,
    interval_column,
    plain,
    share,
    without_empty,
    words,
)
from simulacra.report.ranking import judged
from simulacra.report.tables import distances, figure_of

REAL, INDEPENDENT = "real (floor)", "independent (ceiling)"
CHANCE = "chance"
"""The rows that are no model: other real observations, values drawn each by itself, and samples of
the commonest class whatever was asked."""
LIKE_REAL = "like real data"
BY_CHANCE = "may be chance"

_Named = tuple[str, SampleFigures]


def fidelity_table(results: Results, view: str) -> Rows:
    """Distances and shares in one view, and which distances are as small as those of real data."""
    rows = _table(results, view, list(FIDELITY))
    real, independent = results.references.real, results.references.independent
    for row, (_, samples) in zip(rows[bool(real) :], _of_models(results), strict=False):
        for key in ("frechet", "kernel"):
            found, floor, ceiling = (
                figure_of(each, view, key) for each in (samples, real, independent)
            )
            if found and floor and _like_real(found, floor, ceiling):
                row[titled(key)] = row[titled(key)].but(mark=LIKE_REAL)
    return rows


def _like_real(found: Figure, floor: Figure, ceiling: Figure | None) -> bool:
    """Whether a distance is not told apart from that of real data, where others would be."""
    if floor.high is None:
        return False
    if ceiling is not None and (ceiling.low is None or ceiling.low <= floor.high):
        return False
    return found.value <= floor.high


def novelty_table(results: Results, view: str) -> Rows:
    """What tells copies of the training data in one view."""
    return without_empty(_table(results, view, list(NOVELTY)))


def mode_table(results: Results) -> Rows:
    """Modes covered and good samples; empty where nobody knows the modes."""
    return without_empty(_table(results, None, ["modes", "good"]))


def equal_table(results: Results) -> Rows:
    """Samples that equal an observation or one another, for which no view is needed."""
    return without_empty(_table(results, None, ["duplicates", "leaked", "repeats"]))


def label_table(results: Results) -> Rows:
    """Samples as the classifier takes them: for what was asked, whole and in each part."""
    known: list[tuple[str, SampleFigures | None]] = list(_of_models(results))
    if not known:
        return []
    references = results.references
    known = [(REAL, references.real), *known, (INDEPENDENT, references.independent)]
    known.append((CHANCE, references.chance))
    named = [(name, each) for name, each in known if each is not None]
    columns = {
        titled("class_accuracy"): [each.figure(None, "class_accuracy") for _, each in named],
        **{accuracy_of(part): [each.by_part.get(part) for _, each in named]
           for part in parts_of(results)},
    }  # fmt: skip
    # of many combinations chance is less than a hundredth or two
    least = 1 if len(columns) > 1 else 0
    whole = {
        heading: interval_column(own, percent=True, least=least) for heading, own in columns.items()
    }
    distances = interval_column([each.figure(None, "class_distance") for _, each in named])
    whole[titled("class_distance")] = distances
    rows: Rows = [
        {"model": Cell(name, reference=name in (REAL, INDEPENDENT, CHANCE))}
        | {heading: column[at] for heading, column in whole.items()}
        for at, (name, _) in enumerate(named)
    ]
    models = rows[1 if references.real else 0 :][: len(_of_models(results))]
    if all(row[titled("class_accuracy")].empty for row in models):
        # nothing was asked for, so nothing comes by chance
        rows = [row for row in rows if row["model"].head != CHANCE]
    if all(cell.empty for row in rows for cell in list(row.values())[1:]):
        return []
    return without_empty(rows)


def parts_of(results: Results) -> list[str]:
    """The parts of a label that samples were asked for in, in their order."""
    return list(dict.fromkeys(part for _, each in _of_models(results) for part in each.by_part))


def accuracy_of(part: str) -> str:
    """The heading of the share of samples that are right in a part."""
    return f"{part} accuracy {ARROWS[MEASURES['class_accuracy'].better]}"


def class_table(results: Results) -> Rows:
    """How often each class is among samples, as the classifier takes them: a column a model."""
    names = results.data.class_names
    told = _of_models(results)
    if results.references.real:
        told.insert(0, (REAL, results.references.real))
    known = {name: samples.class_shares for name, samples in told if samples.class_shares}
    if len(known) < 2:
        return []
    return [
        {"class": words(names[i] if i < len(names) else str(i))}
        | {name: share(shares[i], 1) for name, shares in known.items()}
        for i in range(len(next(iter(known.values()))))
    ]


def found_table(results: Results) -> Rows:
    """Classes found, and those that come too seldom or too often beside the training data."""
    told = [(name, each.classes, each.real_classes) for name, each in _of_models(results)]
    models = [(name, own, real) for name, own, real in told if own]
    # real data beside each number of samples, which models that draw slowly have fewer of
    reals = {real.among: real for _, _, real in models if real}
    named = [*((REAL, real) for real in reals.values()), *((name, own) for name, own, _ in models)]
    found = [each for _, each in named]
    columns = {
        titled("reverse_kl"): interval_column([each.reverse_kl for each in found]),
        f"least {titled('class_ratio')}": _ratios(results, [each.rarest for each in found]),
        f"most {titled('class_ratio')}": _ratios(results, [each.commonest for each in found]),
    }
    return [
        {
            "model": Cell(name, reference=name == REAL),
            titled("classes_found"): Cell(
                f"{each.found:,} of {each.classes:,}",
                loud=f"{each.elsewhere:,} samples are of none" if each.elsewhere else "",
            ),
            "samples": count(each.among),
        }
        | {heading: column[row] for heading, column in columns.items()}
        for row, (name, each) in enumerate(named)
    ]


def _ratios(results: Results, found: Sequence[ClassRatio]) -> list[Cell]:
    """How often classes come, each with its name."""
    column = interval_column([each.ratio for each in found], least=2, most=2)
    return [
        cell.but(mark=class_called(results, each.label))
        for cell, each in zip(column, found, strict=True)
    ]


def class_called(results: Results, label: int) -> str:
    """The name of a class, in quotes."""
    names = results.data.class_names
    return f"“{names[label] if label < len(names) else label}”"


def appearance_table(results: Results) -> Rows:
    """Colour and fine detail beside those of the data; empty where neither was measured."""
    return without_empty(_table(results, None, ["saturation", "sharpness"]))


def classifier_table(results: Results) -> Rows:
    """The generative classifiers, and one that was trained for nothing else."""
    found = [
        (m.model, each, own)
        for m in judged(results)
        for each, own in ((m.classifier, False), (m.own_classifier, True))
        if each
    ]
    baseline = results.baseline_classifier
    if not found:
        return []
    if baseline:
        found.append(("discriminative baseline", baseline, True))
    accuracies = interval_column([c.accuracy for _, c, _ in found], percent=True)
    errors = interval_column([c.ece for _, c, _ in found], percent=True)
    rows: Rows = []
    for (name, c, own), accuracy, error in zip(found, accuracies, errors, strict=True):
        by = "its own p(y | x)" if own else "a bound" if c.bound else "p(x | y)"
        rows.append({
            "model": words(name),
            titled("accuracy"): accuracy.but(
                loud=f"{c.non_finite} not finite" if c.non_finite else ""
            ),
            titled("ece"): error.but(mark=BY_CHANCE if c.calibrated else ""),
            "its floor": share(c.ece_floor, 1),
            "log-loss ↓, nats": plain(c.log_loss, 3).but(
                loud=f"{c.impossible} held impossible" if c.impossible else ""
            ),
            "by": words(by),
        })  # fmt: skip
    return without_empty(rows)


def _of_models(results: Results) -> list[_Named]:
    """The samples of the models that were judged, in the order of the main table."""
    return [(m.model, m.samples) for m in judged(results) if m.samples]


def _table(results: Results, view: str | None, keys: Sequence[str]) -> Rows:
    """Real data, the models, and independent values, as far as they are known."""
    told = _of_models(results)
    if not told:
        return []
    if results.references.real:
        told.insert(0, (REAL, results.references.real))
    if results.references.independent:
        told.append((INDEPENDENT, results.references.independent))
    references = (results.references.real, results.references.independent)
    rows: Rows = [
        {"model": Cell(name, reference=any(each is reference for reference in references))}
        for name, each in told
    ]
    for key in keys:
        unit, samples = MEASURES[key].unit, [each for _, each in told]
        column = (
            distances(results, view, key, samples)
            if view and key in ("frechet", "kernel")
            else interval_column(
                [each.figure(view, key) for each in samples],
                percent=unit == "share" and key not in FIDELITY,
                most=_MOST.get(unit, 4),
            )
        )
        for row, cell in zip(rows, column, strict=True):
            row[titled(key)] = cell
    return rows if any(cell != NOTHING for row in rows for cell in list(row.values())[1:]) else []


_MOST = {"share": 2, "modes": 0}
"""Decimals at most, by the unit."""


def titled(key: str) -> str:
    """A figure's name and which way is better."""
    return f"{MEASURES[key].name} {ARROWS[MEASURES[key].better]}"
