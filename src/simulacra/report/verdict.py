"""The answer in one paragraph, and no more than the figures bear."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from simulacra.judging.figures.records import LikelihoodFigures
from simulacra.judging.results import Entry, Results
from simulacra.report.cells import NOTHING, Cell, interval_column, share
from simulacra.report.copying import copies
from simulacra.report.ranking import (
    WORDS,
    baseline,
    bound,
    error_of,
    figure,
    foreign,
    loss,
    lost,
    pair,
    ranked,
    sign_of,
    told,
    unit_of,
    winners,
)
from simulacra.report.tables import distances, figure_of, first_view
from simulacra.report.text import listed, number
from simulacra.report.verification_tables import verification_line

_Ranked = Sequence[tuple[Entry, LikelihoodFigures]]


def verdict(results: Results) -> str:
    """Who is ahead by likelihood, who ties, and what else has to be known before believing it.

    Two models tie when the 95 % interval of their paired difference holds 0; without such a pair,
    when their figures differ by less than two combined standard errors, 2 √(se² + se²). A model
    with a test observation of no finite likelihood is not ranked.
    """
    unit, models = unit_of(results), results.models
    order, best = ranked(results), winners(results)
    judged = [m for m in models if not m.absent]
    if foreign(results):
        found = [*_samples(results, judged), *_copies(results, judged)]
        return " ".join(found or ["Nothing was measured of these samples."])
    says = [_ahead(results, order, best)]
    # A bound that lost or tied might hide a better model; a bound that won alone cannot.
    loose = [m.model for m, f in order if sign_of(f, unit) == bound(unit) and [m] != best]
    if loose and len(order) > 1:
        limit, way = ("an upper", "lower") if unit != "nats" else ("a lower", "higher")
        only = f"the figure is only {limit} limit ({bound(unit)})"
        says.append(f"For {listed(loose)} {only}: the true one may be {way}.")
    near = [m.model for m, f in order if f.relation == "≈"]
    if near:
        may = "the true one may be higher or lower"
        says.append(f"For {listed(near)} the figure is an estimate (≈): {may}.")
    for m in judged:
        if m.likelihood and loss(m, unit) is None:
            what = f"not finite for {lost(m.likelihood) or 'the mean of all'} test observations"
            says.append(f"{m.model} is not ranked: its likelihood is {what}.")
    ignorant = baseline(results)
    idle = [m.model for m, _ in order if ignorant and (loss(m, unit) or 0) >= ignorant]
    if idle:
        says.append(f"No better than knowing nothing ({ignorant:.3f} {unit}): {listed(idle)}.")
    says += [*_truth(results, order), *_without(results, judged)]
    says += [said for said in [verification_line(results)] if said]
    says += [*(_no_better(results, judged) if order else _samples(results, judged))]
    says += _copies(results, judged)
    out = [f"{m.model} ({m.left_out})" for m in models if m.left_out]
    if out:
        says.append(f"Left out: {'; '.join(out)}.")
    failed = [m for m in models if m.failed and not m.left_out]
    return " ".join(says + [f"{m.model} {m.failed_when}: {m.failed}." for m in failed])


def _ahead(results: Results, order: _Ranked, best: Sequence[Entry]) -> str:
    """Who gives the best figure, or who ties for it."""
    unit = unit_of(results)
    where = f"On {results.data.name},{_budget(results)}"
    figures = [f"{m.model} {figure(f, unit)} {unit}" for m, f in order]
    if not order:
        return f"{where} no model has a likelihood that could be compared: nothing is ranked here."
    if len(order) == 1:
        return f"{where} only one model has a likelihood that can be compared: {figures[0]}."
    most = f"the fewest {WORDS[unit]}" if unit != "nats" else "the highest log-likelihood"
    skilled = sum(bool(m.likelihood and not m.absent) for m in results.models)
    field = f"the {len(order)} models with a {'finite ' * (skilled > len(order))}likelihood"
    if len(best) == 1:
        apart = pair(results, order[0][0], order[1][0])
        by = f"; paired difference {interval_column([apart.figure])[0]}" if apart else ""
        shown = f"{figures[0]}; next: {figures[1]}{by}"
        return f"{where} {best[0].model} gives {most} among {field} ({shown})."
    names = listed([m.model for m in best])
    shown = "; ".join(f for (m, _), f in zip(order, figures, strict=True) if m in best)
    return f"{where} {names} tie for {most} among {field} ({shown}): {_why(results, best)}."


def _budget(results: Results) -> str:
    """What the training was: one budget for each, or what those of several runs were."""
    budget = results.budget or ""
    many = sum(not m.left_out for m in results.models) > 1
    each = " each" if many and " and " not in budget else ""
    return f" with {budget} of training{each}," if budget else ""


def _why(results: Results, best: Sequence[Entry]) -> str:
    """Why those that tie cannot be told apart."""
    two = len(best) == 2
    paired = [pair(results, best[0], m) is not None for m in best[1:]]
    if all(paired):
        whose = "their paired difference" if two else "each one’s paired difference from the first"
        return f"the 95 % interval of {whose} holds 0"
    if any(error_of(m) is None for m in best):
        return "without standard errors nothing tells them apart"
    if any(paired):
        return "paired differences hold 0, or figures are less than two standard errors apart"
    who = "they differ" if two else "each differs from the first"
    return f"{who} by less than two combined standard errors"


def _truth(results: Results, order: _Ranked) -> list[str]:
    """What the true density gives, and how far from it the models are."""
    data, unit = results.data, unit_of(results)
    truth, says = data.truth, []
    if truth is not None and unit == "nats":
        says = [f"The density that the data were drawn from gives {number(truth, None)} nats."]
    elif truth is not None and data.event_shape:
        dims = data.valid or math.prod(data.event_shape)
        bits = number(-truth / (dims * math.log(2)), None)
        says = [f"The density that the data were drawn from gives {bits} {unit}."]
    known = [(m, f) for m, f in order if m.kl]
    gaps = interval_column([m.kl for m, _ in known])
    shown = [
        f"{m.model} {sign_of(f, 'bits/dim')} {gap}" for (m, f), gap in zip(known, gaps, strict=True)
    ]
    if shown:
        what = "Kullback–Leibler divergence from the true density, in nats"
        says.append(f"{what}: {'; '.join(shown)}.")
    return says


def _without(results: Results, judged: Sequence[Entry]) -> list[str]:
    """Who has no likelihood p(x) to be ranked by."""
    without = [m for m in judged if not m.likelihood]
    given = [m.model for m in without if m.likelihood_given_label]
    other = [m for m in without if not m.likelihood_given_label]
    silent = [m.model for m in other if m.capabilities and "samples" not in m.capabilities]
    none = [m.model for m in other if m.model not in silent]
    verified = {m.model for m in other if m.verification and m.verification.codes}
    silent = [name for name in silent if name not in verified]
    says = []
    if given:
        says.append(f"Only given the {told(results)}, which is another question: {listed(given)}.")
    if none:
        says.append(f"Without a likelihood, to be judged by the samples: {listed(none)}.")
    if silent:
        says.append(f"With neither a likelihood nor samples, not judged here: {listed(silent)}.")
    return says


def _no_better(results: Results, judged: Sequence[Entry]) -> list[str]:
    """Whose samples are as far from real data as values that are drawn each by itself."""
    view, references = first_view(results), results.references
    real, worst = (
        figure_of(each, view, "frechet") if view else None
        for each in (references.real, references.independent)
    )
    low, floor = worst.low if worst else None, real.high if real else None
    # where real data are as far themselves, the distance tells nothing
    if low is None or (floor is not None and low <= floor):
        return []
    found = [(m.model, figure_of(m.samples, view, "frechet")) for m in judged]
    names = [name for name, f in found if f and f.value >= low]
    whose = "its" if len(names) == 1 else "their"
    return [f"By {whose} samples no better than independent values: {listed(names)}."] * bool(names)


def _samples(results: Results, judged: Sequence[Entry]) -> list[str]:
    """Samples in words, between real data and independent values, where nothing ranks them."""
    view, references = first_view(results), results.references
    says = []
    for m in judged:
        if m.samples is None:
            continue
        if m.samples.refused:
            says.append(f"{m.model}: no figures of samples: {m.samples.refused}.")
        if not view or not m.samples.figure(view, "frechet"):
            continue
        between = [m.samples, references.real, references.independent]
        own, *others = distances(results, view, "frechet", between)
        beside = _beside(zip(("real data", "independent values"), others, strict=True))
        parts = [f"{m.model}: Fréchet distance {own}{beside}"]
        for key, before, after in (
            ("coverage", "it covers ", " of real data"),
            ("class_accuracy", "", " of its samples are taken for the class asked for"),
        ):
            where = view if key == "coverage" else None
            found, floor = (figure_of(each, where, key) for each in (m.samples, references.real))
            if found:
                real = share(floor.value if floor else None, 0)
                beside = _beside([("real data", real)])
                parts.append(f"{before}{share(found.value, 0)}{after}{beside}")
        says.append(f"{'; '.join(parts)}.")
    return [*says, *_no_better(results, judged)]


def _beside(found: Iterable[tuple[str, Cell]]) -> str:
    """What others get, in brackets, without intervals."""
    known = [f"{name} {cell.head}" for name, cell in found if cell != NOTHING]
    return f" ({', '.join(known)})" if known else ""


def _copies(results: Results, judged: Sequence[Entry]) -> list[str]:
    signs = [(m.model, copies(results.references, m.samples)) for m in judged]
    return [f"{name} {sign}." for name, sign in signs if sign]
