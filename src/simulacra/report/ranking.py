"""Who is ahead: the figure that ranks, the order of the models, and what is a tie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.records import ClassLikelihood, LikelihoodFigures, Unit
from simulacra.judging.results import Entry, Results
from simulacra.report.cells import NO_LIKELIHOOD, Cell, related, small
from simulacra.report.text import listed

WORDS = {"bits/dim": "bits per dimension", "bits/valid sample": "bits per valid sample"}
"""Units of discrete data, in full."""


def unit_of(results: Results) -> Unit:
    """`bits/dim` of discrete data, `bits/valid sample` of sounds, `nats` of vectors."""
    if results.data.rate is not None:
        return "bits/valid sample"
    found = [m.likelihood for m in results.models if m.likelihood is not None]
    discrete = any(f.bits_per_dim is not None for f in found)
    return "bits/dim" if results.data.levels is not None or discrete else "nats"


def heading(unit: Unit) -> str:
    """Heading of the figure that ranks."""
    return f"{unit}, test" if unit != "nats" else "log-likelihood, nats, test"


def heading_given(results: Results) -> str:
    """Heading of the figure of models that are told something: `bits/dim | label`."""
    unit = unit_of(results)
    return f"{unit if unit != 'nats' else 'log-likelihood, nats'} | {told(results)}"


def told(results: Results) -> str:
    """What a conditional model is told: a `label`, or another `context`."""
    return "label" if results.data.classes else "context"


def bound(unit: Unit) -> str:
    """The sign of a bound, which lies below the log-likelihood and so above the bits it costs."""
    return "≤" if unit != "nats" else "≥"


def foreign(results: Results) -> bool:
    """Whether nothing but samples was judged, of whatever program, and no model."""
    models = results.models
    return bool(models) and not any(m.absent or m.class_name or m.likelihoods for m in models)


def observed(results: Results) -> str:
    """On how many test observations likelihoods rest, if not on all: `30 of 359`; else empty."""
    test = results.data.test
    found = {f.observations for m in results.models for f in m.likelihoods}
    fewer = sorted(n for n in found if n is not None and test is not None and n < test)
    return f"{listed([f'{n:,}' for n in fewer])} of {test:,}" if fewer else ""


def draws_of_bounds(results: Results) -> list[int]:
    """How many importance draws bounds took for an observation, where they took more than one."""
    found = [f for m in results.models for f in m.likelihoods]
    return sorted({f.draws for f in found if not (f.exact or f.averaged) and f.draws > 1})


def averaged(results: Results) -> bool:
    """Whether any figure is a mean over draws."""
    return any(f.averaged for m in results.models for f in m.likelihoods)


def relations(results: Results) -> set[str]:
    """The signs that stand in front of likelihoods."""
    unit = unit_of(results)
    return {sign_of(f, unit) for m in results.models for f in m.likelihoods}


def groups_of(results: Results) -> int | None:
    """How many groups, which are independent where what is in them is not; `None` without."""
    found = [f.groups for m in results.models for f in m.likelihoods]
    return max((n for n in found if n), default=None)


def value_of(likelihood: LikelihoodFigures | ClassLikelihood | None, unit: Unit) -> float | None:
    """The figure in the report's unit."""
    if likelihood is None:
        return None
    return likelihood.bits_per_dim if unit != "nats" else likelihood.log_likelihood


def loss(model: Entry, unit: Unit) -> float | None:
    """The figure that ranks, lower is better; `None` where there is none to stand on."""
    value = value_of(model.likelihood, unit)
    if model.absent or model.likelihood is None or model.likelihood.non_finite:
        return None
    if value is None or not math.isfinite(value):
        return None
    return value if unit != "nats" else -value


def ordered(models: Sequence[Entry], unit: Unit) -> list[Entry]:
    """All models: ranked ones best first, then other likelihoods, then none, then failures.

    Those that were left out, since they cannot take such data, stand last.
    """

    def place(m: Entry) -> tuple[bool, bool, bool, bool, float]:
        cost = loss(m, unit)
        why = bool(m.left_out), bool(m.absent)
        return *why, cost is None, m.likelihood is None, cost or 0.0

    return sorted(models, key=place)


def judged(results: Results) -> list[Entry]:
    """The models that were judged, in the order of the main table."""
    return [m for m in ordered(results.models, unit_of(results)) if not m.absent]


def ranked(results: Results) -> list[tuple[Entry, LikelihoodFigures]]:
    """The models that have a figure to compare, and that figure, best first."""
    unit = unit_of(results)
    return [
        (m, m.likelihood)
        for m in ordered(results.models, unit)
        if m.likelihood is not None and loss(m, unit) is not None
    ]


@dataclass(frozen=True)
class Apart:
    """How far two models are apart, positive where the first is better; and whether they tie."""

    figure: Figure
    tie: bool


def pair(results: Results, a: Entry, b: Entry) -> Apart | None:
    """The paired difference of two models; `None` without one.

    A difference without an interval, of one observation, tells nothing and is none.
    """
    for each in results.pairs:
        value, low, high = each.difference, each.low, each.high
        if set(each.models) != {a.model, b.model} or value is None or low is None or high is None:
            continue
        # the two figures say which way is better: more bits are worse, more nats are not
        unit = unit_of(results)
        ahead = (loss(b, unit) or 0.0) - (loss(a, unit) or 0.0)
        if ahead * value < 0:
            value, low, high = -value, -high, -low
        return Apart(Figure(value, each.observations or 0, low, high), bool(each.tie))
    return None


def tie(results: Results, best: Entry, other: Entry) -> bool:
    """Whether two ranked models cannot be told apart.

    The pair of them says so, where there is one. Without it they tie when their figures differ by
    less than two combined standard errors, 2 √(se² + se²), and what their solvers are off, or lack
    these.
    """
    if best is other:
        return True
    found = pair(results, best, other)
    if found is not None:
        return found.tie
    unit = unit_of(results)
    a, b, errors = loss(best, unit), loss(other, unit), [error_of(best), error_of(other)]
    if a is None or b is None or None in errors:
        return True
    solved = sum(m.likelihood.solver_error or 0.0 for m in (best, other) if m.likelihood)
    return abs(a - b) < 2 * math.hypot(*filter(None, errors)) + solved


def winners(results: Results) -> list[Entry]:
    """The best model and all that tie with it; empty where fewer than two can be ranked."""
    found = [m for m, _ in ranked(results)]
    return [m for m in found if len(found) > 1 and tie(results, found[0], m)]


def error_of(model: Entry) -> float | None:
    """Standard error of a model's figure; `None` if unknown."""
    error = None if model.likelihood is None else model.likelihood.standard_error
    return error if error is not None and math.isfinite(error) else None


def sign_of(likelihood: LikelihoodFigures | ClassLikelihood, unit: Unit) -> str:
    """What stands in front of a figure: `=`, the sign of a bound, or `≈`."""
    if likelihood.relation == "≈":
        return "≈"
    return "=" if likelihood.exact else bound(unit)


def figure(likelihood: LikelihoodFigures, unit: Unit, *, draws: bool = True) -> Cell:
    """A figure with its relation, standard error and draws: `≤ 2.71 ± 0.02 (k 50)`.

    Args:
        likelihood: Its figures.
        unit: That it is shown in.
        draws: Whether to tell those of a bound, and by how much a solver is off.
    """
    return related(
        sign_of(likelihood, unit),
        value_of(likelihood, unit),
        likelihood.standard_error,
        note=_rests_on(likelihood) if draws else "",
    )


def _rests_on(likelihood: LikelihoodFigures) -> str:
    """Draws, and the error of a solver: `4 draws, solver error 0.002`."""
    parts = []
    if likelihood.averaged:
        parts.append(f"{likelihood.draws} draw{'s' * (likelihood.draws > 1)}")
    elif likelihood.draws > 1 and not likelihood.exact:
        parts.append(f"k {likelihood.draws}")
    if likelihood.solver_error is not None:
        parts.append(f"solver error {small(likelihood.solver_error).head}")
    return ", ".join(parts)


def likelihood_cell(likelihood: LikelihoodFigures | None, unit: Unit) -> Cell:
    """A likelihood, and loudly how many observations have none that is finite."""
    if likelihood is None:
        return Cell(NO_LIKELIHOOD)
    many = lost(likelihood)
    return figure(likelihood, unit).but(loud=f"{many} not finite" if many else "")


def lost(likelihood: LikelihoodFigures) -> str:
    """How many test observations have no finite likelihood, `3 of 359`; empty if none."""
    many, of = likelihood.non_finite, likelihood.observations
    return f"{many:,}{f' of {of:,}' if of else ''}" if many else ""


def baseline(results: Results) -> float | None:
    """What it costs to know nothing but how many levels there are, padding included."""
    data = results.data
    if not data.levels or not data.event_shape:
        return None
    dims = math.prod(data.event_shape)
    return float(math.log2(data.levels) * dims / (data.valid or dims))
