"""The tables of codes: what they cost, of each model and of each unit."""

from __future__ import annotations

import math

from simulacra.judging.figures.records import ACTIVE, USED, CodeFigures, Term
from simulacra.judging.results import Entry, Results
from simulacra.report.cells import NOTHING, Cell, Rows, count, plain, without_empty, words
from simulacra.report.ranking import bound, judged
from simulacra.report.tables import nats
from simulacra.report.text import number, supported


def coded(results: Results) -> list[tuple[Entry, CodeFigures]]:
    """The models whose likelihood is a bound over codes, and what their codes cost."""
    return [(m, m.codes) for m in judged(results) if m.codes is not None]


def code_table(results: Results) -> Rows:
    """The parts of each model's bound in nats, and how many units of its code tell anything."""
    rows: Rows = []
    for m, codes in coded(results):
        likelihood = m.likelihood_given_label if codes.given else m.likelihood
        weighted = NOTHING
        if likelihood is not None:
            weighted = nats(likelihood)
            weighted = Cell(
                weighted.head, f"(k {likelihood.draws})", decimals=weighted.decimals, beside=True
            )
        lost = f"{codes.non_finite:,} of {codes.observations:,}"
        rows.append({
            "model": words(m.model + (f", given the {codes.given}" if codes.given else "")),
            "distortion, nats": _term(codes.distortion),
            "rate, nats": _term(codes.rate),
            # of padded sounds bits are shared by valid samples, which no unit's rate is
            "rate, bits/dim": NOTHING if results.data.valid else _bits(codes.rate),
            "by ELBO, nats": _term(codes.bound, bound("bits/dim") + " "),
            "by IWAE, nats": weighted,
            "active units": Cell(f"{codes.active} of {len(codes.units)}") if codes.units
            else NOTHING,
            "units used": Cell(f"{len(codes.units) - codes.unused} of {len(codes.units)}")
            if codes.units else NOTHING,
            "observations": count(codes.observations),
            "not finite": Cell("", loud=lost) if codes.non_finite else NOTHING,
        })  # fmt: skip
    return without_empty(rows)


def level_table(results: Results) -> Rows:
    """What each level costs of codes that have several, the highest first."""
    rows: Rows = []
    for m, codes in coded(results):
        for level in codes.levels:
            units = codes.units_of(level)
            active = sum(unit.variance > ACTIVE for unit in units)
            rows.append({
                "level": words(f"{m.model}, {level.name}"),
                "rate, nats": _term(level.rate),
                "rate, bits/dim": NOTHING if results.data.valid else _bits(level.rate),
                "active units": Cell(f"{active} of {len(units)}"),
                "that": words("" if level not in codes.dead else "costs nothing"),
            })  # fmt: skip
    return without_empty(rows, keep=("level",))


def unit_table(results: Results) -> Rows:
    """What each unit costs, of each model the costliest first, and whether it is active.

    Not of codes of several levels, which have hundreds.
    """
    rows: Rows = []
    found = coded(results)
    for m, codes in found:
        if codes.levels:
            continue
        ranked = sorted(enumerate(codes.units, 1), key=lambda unit: -unit[1].rate.nats)
        for place, unit in ranked:
            says = [] if unit.rate.nats >= USED else ["costs nothing"]
            says += [] if unit.variance > ACTIVE else ["not active"]
            rows.append({
                "unit": words(f"{m.model}, unit {place}"),
                "rate, nats": _term(unit.rate),
                "rate, bits/dim": NOTHING if results.data.valid else _bits(unit.rate),
                "variance of its mean": plain(unit.variance, 3),
                "that": words(", ".join(says)),
            })  # fmt: skip
    return without_empty(rows, keep=("unit",))


def _term(term: Term | None, sign: str = "") -> Cell:
    """A mean in nats beside its standard error."""
    if term is None:
        return NOTHING
    error = term.standard_error
    known = error is not None and math.isfinite(error) and error > 0
    beside = f"± {number(error, error)}" if known else ""
    decimals = min(6, supported(error))
    return Cell(sign + number(term.nats, error), beside, decimals=decimals, beside=True)


def _bits(term: Term | None) -> Cell:
    return plain(None if term is None else term.bits_per_dim, 4)
