"""Who is ahead: the figure that ranks, the order of the models, and what is a tie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from simulacra.report.text import listed, number

Record = Mapping[str, Any]

WORDS = {"bits/dim": "bits per dimension", "bits/valid sample": "bits per valid sample"}
"""Units of discrete data, in full."""


def unit_of(results: Record) -> str:
    """`bits/dim` of discrete data, `bits/valid sample` of sounds, `nats` of vectors."""
    if (results.get("data") or {}).get("rate") is not None:
        return "bits/valid sample"
    if (results.get("data") or {}).get("levels") is not None:
        return "bits/dim"
    found = [m.get("likelihood") or {} for m in results.get("models") or []]
    return "bits/dim" if any(f.get("bits_per_dim") is not None for f in found) else "nats"


def heading(unit: str) -> str:
    """Heading of the figure that ranks."""
    return f"{unit}, test" if unit != "nats" else "log-likelihood, nats, test"


def heading_given(results: Record) -> str:
    """Heading of the figure of models that are told something: `bits/dim | label`."""
    unit = unit_of(results)
    return f"{unit if unit != 'nats' else 'log-likelihood, nats'} | {told(results)}"


def told(results: Record) -> str:
    """What a conditional model is told: a `label`, or another `context`."""
    return "label" if (results.get("data") or {}).get("classes", 1) else "context"


def exact(likelihood: Record) -> bool:
    """Whether the figure is the likelihood itself and not a bound of it."""
    return bool(likelihood.get("exact", likelihood.get("relation") == "="))


def bound(unit: str) -> str:
    """The sign of a bound, which lies below the log-likelihood and so above the bits it costs."""
    return "≤" if unit != "nats" else "≥"


def absent(model: Record) -> str:
    """Why a model has no figures at all: it was left out, or failed; empty if it has."""
    return str(model.get("left_out") or model.get("failed") or "")


def foreign(results: Record) -> bool:
    """Whether nothing but samples was judged, of whatever program, and no model."""
    models = results.get("models") or []
    known = ("class", "likelihood", "likelihood_given_label")
    return bool(models) and not any(absent(m) or any(m.get(k) for k in known) for m in models)


def observed(results: Record) -> str:
    """On how many test observations likelihoods rest, if not on all: `30 of 359`; else empty."""
    test = (results.get("data") or {}).get("test")
    found = {
        (m.get(key) or {}).get("observations")
        for m in results.get("models") or []
        for key in ("likelihood", "likelihood_given_label")
    }
    fewer = sorted(n for n in found if n is not None and test is not None and n < test)
    return f"{listed([f'{n:,}' for n in fewer])} of {test:,}" if fewer else ""


def draws_of_bounds(results: Record) -> list[int]:
    """How many importance draws bounds took for an observation, where they took more than one."""
    found = [m.get(key) or {} for m in results.get("models") or []
             for key in ("likelihood", "likelihood_given_label")]  # fmt: skip
    return sorted({f["draws"] for f in found if not exact(f) and (f.get("draws") or 1) > 1})


def groups_of(results: Record) -> int | None:
    """How many recordings, which are independent where their windows are not; `None` if unknown."""
    found = [(m.get(key) or {}).get("groups") for m in results.get("models") or []
             for key in ("likelihood", "likelihood_given_label")]  # fmt: skip
    return max((n for n in found if n), default=None)


def value_of(likelihood: Record | None, unit: str) -> float | None:
    """The figure in the report's unit."""
    return (likelihood or {}).get("bits_per_dim" if unit != "nats" else "log_likelihood")


def loss(model: Record, unit: str) -> float | None:
    """The figure that ranks, lower is better; `None` where there is none to stand on."""
    likelihood = model.get("likelihood") or {}
    value = value_of(likelihood, unit)
    if absent(model) or likelihood.get("non_finite") or value is None or not math.isfinite(value):
        return None
    return float(value if unit != "nats" else -value)


def ordered(models: Sequence[Record], unit: str) -> list[Record]:
    """All models: ranked ones best first, then other likelihoods, then none, then failures.

    Those that were left out, since they cannot take such data, stand last.
    """

    def place(m: Record) -> tuple[bool, bool, bool, bool, float]:
        cost = loss(m, unit)
        why = bool(m.get("left_out")), bool(absent(m))
        return *why, cost is None, not m.get("likelihood"), cost or 0.0

    return sorted(models, key=place)


def ranked(models: Sequence[Record], unit: str) -> list[Record]:
    """The models that have a figure to compare, best first."""
    return [m for m in ordered(models, unit) if loss(m, unit) is not None]


def pair(results: Record, a: Record, b: Record) -> dict[str, Any] | None:
    """The paired difference of two models, positive where `a` is better; `None` without one.

    A difference without an interval, of one observation, tells nothing and is none.
    """
    for record in results.get("pairs") or []:
        value, low, high = (record.get(key) for key in ("difference", "low", "high"))
        names = {str(name) for name in record.get("models") or []}
        if names != {str(a["model"]), str(b["model"])} or None in (value, low, high):
            continue
        # the two figures say which way is better: more bits are worse, more nats are not
        unit = unit_of(results)
        ahead = (loss(b, unit) or 0.0) - (loss(a, unit) or 0.0)
        if ahead * value < 0:
            value, low, high = -value, -high, -low
        return {"value": value, "low": low, "high": high, "tie": bool(record.get("tie"))}
    return None


def tie(results: Record, best: Record, other: Record, unit: str) -> bool:
    """Whether two ranked models cannot be told apart.

    The pair of them says so, where there is one. Without it they tie when their figures differ by
    less than two combined standard errors, 2 √(se² + se²), or lack these.
    """
    if best is other:
        return True
    found = pair(results, best, other)
    if found is not None:
        return bool(found["tie"])
    a, b, errors = loss(best, unit), loss(other, unit), [error_of(best), error_of(other)]
    if a is None or b is None or None in errors:
        return True
    return abs(a - b) < 2 * math.hypot(*filter(None, errors))


def winners(results: Record) -> list[Record]:
    """The best model and all that tie with it; empty where fewer than two can be ranked."""
    unit = unit_of(results)
    found = ranked(results.get("models") or [], unit)
    return [m for m in found if len(found) > 1 and tie(results, found[0], m, unit)]


def error_of(model: Record) -> float | None:
    """Standard error of a model's figure; `None` if unknown."""
    error = model["likelihood"].get("standard_error")
    return error if error is not None and math.isfinite(error) else None


def figure(likelihood: Record, unit: str) -> str:
    """A figure with its relation, standard error and draws: `≤ 2.71 ± 0.02 (k 50)`."""
    value, draws = value_of(likelihood, unit), likelihood.get("draws") or 1
    error, is_exact = likelihood.get("standard_error"), exact(likelihood)
    text = f"{'=' if is_exact else bound(unit)} {number(value, error)}"
    if value is not None and error is not None and math.isfinite(error) and error > 0:
        text += f" ± {number(error, error)}"
    return text if is_exact or draws == 1 else f"{text} (k {draws})"


def lost(likelihood: Record) -> str:
    """How many test observations have no finite likelihood, `3 of 359`; empty if none."""
    many, of = likelihood.get("non_finite") or 0, likelihood.get("observations")
    return f"{many:,}{f' of {of:,}' if of else ''}" if many else ""


def baseline(results: Record) -> float | None:
    """What it costs to know nothing but how many levels there are, padding included."""
    data = results.get("data") or {}
    if not data.get("levels") or not data.get("event_shape"):
        return None
    dims = math.prod(data["event_shape"])
    return float(math.log2(data["levels"]) * dims / (data.get("valid") or dims))
