"""The answer in one paragraph, and no more than the figures bear."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    loss,
    lost,
    pair,
    ranked,
    told,
    unit_of,
    winners,
)
from simulacra.report.text import interval_column, listed, number


def verdict(results: Record) -> str:
    """Who is ahead by likelihood, who ties, and what else has to be known before believing it.

    Two models tie when the 95 % interval of their paired difference holds 0; without such a pair,
    when their figures differ by less than two combined standard errors, 2 √(se² + se²). A model
    with a test observation of no finite likelihood is not ranked.
    """
    models, unit = results.get("models") or [], unit_of(results)
    order, best = ranked(models, unit), winners(results)
    says = [_ahead(results, order, best)]
    # A bound that lost or tied might hide a better model; a bound that won alone cannot.
    loose = [m["model"] for m in order if not exact(m["likelihood"]) and [m] != best]
    if loose and len(order) > 1:
        limit, way = ("an upper", "lower") if unit != "nats" else ("a lower", "higher")
        only = f"the figure is only {limit} limit ({bound(unit)})"
        says.append(f"For {listed(loose)} {only}: the true one may be {way}.")
    judged = [m for m in models if not absent(m)]
    for m in judged:
        if m.get("likelihood") and loss(m, unit) is None:
            what = f"not finite for {lost(m['likelihood']) or 'the mean of all'} test observations"
            says.append(f"{m['model']} is not ranked: its likelihood is {what}.")
    ignorant = baseline(results)
    idle = [m["model"] for m in order if ignorant and (loss(m, unit) or 0) >= ignorant]
    if idle:
        says.append(f"No better than knowing nothing ({ignorant:.3f} {unit}): {listed(idle)}.")
    says += [*_truth(results, order), *_without(results, judged)]
    for m in judged:
        if sign := copies(results, m):
            says.append(f"{m['model']} {sign}.")
    out = [f"{m['model']} ({m['left_out']})" for m in models if m.get("left_out")]
    if out:
        says.append(f"Left out: {'; '.join(out)}.")
    failed = [m for m in models if m.get("failed") and not m.get("left_out")]
    return " ".join(says + [f"{m['model']} failed: {m['failed']}." for m in failed])


def _ahead(results: Record, order: Sequence[Record], best: Sequence[Record]) -> str:
    """Who gives the best figure, or who ties for it."""
    models, unit = results.get("models") or [], unit_of(results)
    name, budget = (results.get("data") or {}).get("name"), results.get("budget")
    where = f"On {name or 'these data'}" + (f", with {budget} of training each," if budget else ",")
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
