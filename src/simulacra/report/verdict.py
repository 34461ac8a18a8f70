"""The answer in one paragraph, and no more than the figures bear."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from simulacra.report.copying import copies
from simulacra.report.ranking import (
    WORDS,
    Record,
    absent,
    baseline,
    bound,
    error_of,
    exact,
    figure,
    foreign,
    loss,
    lost,
    pair,
    ranked,
    told,
    unit_of,
    winners,
)
from simulacra.report.tables import distances, figure_of, first_view
from simulacra.report.text import NONE, fixed, interval_column, listed, number


def verdict(results: Record) -> str:
    """Who is ahead by likelihood, who ties, and what else has to be known before believing it.

    Two models tie when the 95 % interval of their paired difference holds 0; without such a pair,
    when their figures differ by less than two combined standard errors, 2 √(se² + se²). A model
    with a test observation of no finite likelihood is not ranked.
    """
    models, unit = results.get("models") or [], unit_of(results)
    order, best = ranked(models, unit), winners(results)
    judged = [m for m in models if not absent(m)]
    if foreign(results):
        found = [*_samples(results, judged), *_copies(results, judged)]
        return " ".join(found or ["Nothing was measured of these samples."])
    says = [_ahead(results, order, best)]
    # A bound that lost or tied might hide a better model; a bound that won alone cannot.
    loose = [m["model"] for m in order if not exact(m["likelihood"]) and [m] != best]
    if loose and len(order) > 1:
        limit, way = ("an upper", "lower") if unit != "nats" else ("a lower", "higher")
        only = f"the figure is only {limit} limit ({bound(unit)})"
        says.append(f"For {listed(loose)} {only}: the true one may be {way}.")
    for m in judged:
        if m.get("likelihood") and loss(m, unit) is None:
            what = f"not finite for {lost(m['likelihood']) or 'the mean of all'} test observations"
            says.append(f"{m['model']} is not ranked: its likelihood is {what}.")
    ignorant = baseline(results)
    idle = [m["model"] for m in order if ignorant and (loss(m, unit) or 0) >= ignorant]
    if idle:
        says.append(f"No better than knowing nothing ({ignorant:.3f} {unit}): {listed(idle)}.")
    says += [*_truth(results, order), *_without(results, judged)]
    says += [*(_no_better(results, judged) if order else _samples(results, judged))]
    says += _copies(results, judged)
    out = [f"{m['model']} ({m['left_out']})" for m in models if m.get("left_out")]
    if out:
        says.append(f"Left out: {'; '.join(out)}.")
    failed = [m for m in models if m.get("failed") and not m.get("left_out")]
    return " ".join(says + [f"{m['model']} failed: {m['failed']}." for m in failed])


def _ahead(results: Record, order: Sequence[Record], best: Sequence[Record]) -> str:
    """Who gives the best figure, or who ties for it."""
    models, unit = results.get("models") or [], unit_of(results)
    where = f"On {(results.get('data') or {}).get('name') or 'these data'},{_budget(results)}"
    figures = [f"{m['model']} {figure(m['likelihood'], unit)} {unit}" for m in order]
    if not order:
        return f"{where} no model has a likelihood that could be compared: nothing is ranked here."
    if len(order) == 1:
        return f"{where} only one model has a likelihood that can be compared: {figures[0]}."
    most = f"the fewest {WORDS[unit]}" if unit != "nats" else "the highest log-likelihood"
    skilled = sum(bool(m.get("likelihood") and not absent(m)) for m in models)
    field = f"the {len(order)} models with a {'finite ' * (skilled > len(order))}likelihood"
    if len(best) == 1:
        apart = pair(results, order[0], order[1])
        by = f"; paired difference {interval_column([apart])[0]}" if apart else ""
        shown = f"{figures[0]}; next: {figures[1]}{by}"
        return f"{where} {best[0]['model']} gives {most} among {field} ({shown})."
    names = listed([m["model"] for m in best])
    shown = "; ".join(f for m, f in zip(order, figures, strict=True) if m in best)
    return f"{where} {names} tie for {most} among {field} ({shown}): {_why(results, best)}."


def _budget(results: Record) -> str:
    """What the training was: one budget for each, or what those of several runs were."""
    budget = str(results.get("budget") or "")
    many = sum(not m.get("left_out") for m in results.get("models") or []) > 1
    each = " each" if many and " and " not in budget else ""
    return f" with {budget} of training{each}," if budget else ""


def _why(results: Record, best: Sequence[Record]) -> str:
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


def _truth(results: Record, order: Sequence[Record]) -> list[str]:
    """What the true density gives, and how far from it the models are."""
    data, unit = results.get("data") or {}, unit_of(results)
    truth, says = data.get("truth"), []
    if truth is not None and unit == "nats":
        says = [f"The density that the data were drawn from gives {number(truth, None)} nats."]
    elif truth is not None and data.get("event_shape"):
        dims = data.get("valid") or math.prod(data["event_shape"])
        bits = number(-truth / (dims * math.log(2)), None)
        says = [f"The density that the data were drawn from gives {bits} {unit}."]
    known = [m for m in order if m.get("kl")]
    gaps = interval_column([m["kl"] for m in known])
    shown = [
        f"{m['model']} {'=' if exact(m['likelihood']) else '≤'} {gap}"
        for m, gap in zip(known, gaps, strict=True)
    ]
    if shown:
        what = "Kullback–Leibler divergence from the true density, in nats"
        says.append(f"{what}: {'; '.join(shown)}.")
    return says


def _without(results: Record, judged: Sequence[Record]) -> list[str]:
    """Who has no likelihood p(x) to be ranked by."""
    without = [m for m in judged if not m.get("likelihood")]
    given = [m["model"] for m in without if m.get("likelihood_given_label")]
    none = [m["model"] for m in without if not m.get("likelihood_given_label")]
    says = []
    if given:
        says.append(f"Only given the {told(results)}, which is another question: {listed(given)}.")
    if none:
        says.append(f"Without a likelihood, to be judged by the samples: {listed(none)}.")
    return says


def _no_better(results: Record, judged: Sequence[Record]) -> list[str]:
    """Whose samples are as far from real data as values that are drawn each by itself."""
    view, references = first_view(results), results.get("references") or {}
    real, worst = (
        figure_of({"samples": references.get(key)}, view, "frechet") if view else None
        for key in ("real", "independent")
    )
    low, floor = ((worst or {}).get("low"), (real or {}).get("high"))
    # where real data are as far themselves, the distance tells nothing
    if low is None or (floor is not None and low <= floor):
        return []
    found = [(str(m["model"]), figure_of(m, view, "frechet")) for m in judged]
    names = [name for name, f in found if f and f["value"] is not None and f["value"] >= low]
    whose = "its" if len(names) == 1 else "their"
    return [f"By {whose} samples no better than independent values: {listed(names)}."] * bool(names)


def _samples(results: Record, judged: Sequence[Record]) -> list[str]:
    """Samples in words, between real data and independent values, where nothing ranks them."""
    view, references = first_view(results), results.get("references") or {}
    real, worst = ({"samples": references.get(key)} for key in ("real", "independent"))
    says = []
    for m in judged:
        name, refused = m["model"], (m.get("samples") or {}).get("refused")
        if refused:
            says.append(f"{name}: no figures of samples: {refused}.")
        if not view or not figure_of(m, view, "frechet"):
            continue
        column = distances(results, view, "frechet", [m, real, worst])
        own, *others = [column[0], *(text.partition(" [")[0] for text in column[1:])]
        beside = _beside(zip(("real data", "independent values"), others, strict=True))
        parts = [f"{name}: Fréchet distance {own}{beside}"]
        for key, before, after in (
            ("coverage", "it covers ", " of real data"),
            ("class_accuracy", "", " of its samples are taken for the class asked for"),
        ):
            where = view if key == "coverage" else None
            share, floor = (_percent(figure_of(each, where, key)) for each in (m, real))
            if share != NONE:
                parts.append(f"{before}{share}{after}{_beside([('real data', floor)])}")
        says.append(f"{'; '.join(parts)}.")
    return [*says, *_no_better(results, judged)]


def _percent(share: Record | None) -> str:
    return f"{fixed(100 * share['value'], 0)} %" if share else NONE


def _beside(found: Iterable[tuple[str, str]]) -> str:
    """What others get, in brackets."""
    known = [f"{name} {text}" for name, text in found if text != NONE]
    return f" ({', '.join(known)})" if known else ""


def _copies(results: Record, judged: Sequence[Record]) -> list[str]:
    signs = [(m["model"], copies(results, m)) for m in judged]
    return [f"{name} {sign}." for name, sign in signs if sign]
