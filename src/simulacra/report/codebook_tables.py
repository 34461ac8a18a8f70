"""The table of codebooks: what codes of entries cost, and how many entries are used."""

from __future__ import annotations

import math

from simulacra.judging.figures.records import CodebookFigures, Term
from simulacra.judging.results import Entry, Results
from simulacra.report.cells import NOTHING, Cell, Rows, count, plain, without_empty, words
from simulacra.report.ranking import judged
from simulacra.report.text import number, supported


def with_codebooks(results: Results) -> list[tuple[Entry, CodebookFigures]]:
    """The models whose codes are entries of a codebook, and what these cost."""
    return [(m, m.codebook) for m in judged(results) if m.codebook is not None]


def codebook_table(results: Results) -> Rows:
    """Distortion, rate and both together, which are no likelihood, and the use of the entries."""
    rows: Rows = []
    for m, found in with_codebooks(results):
        lost = f"{found.non_finite:,} of {found.observations:,}"
        rows.append({
            "model": words(m.model + (f", given the {found.given}" if found.given else "")),
            "distortion, nats": _term(found.distortion),
            "rate, nats": _term(found.rate),
            "rate + distortion, nats": _term(found.total),
            "both, bits/dim": _bits(found.total),
            "entries used": Cell(f"{found.used:,} of {found.entries:,}"),
            "perplexity": plain(found.perplexity, 1),
            "observations": count(found.observations),
            "not finite": Cell("", loud=lost) if found.non_finite else NOTHING,
        })  # fmt: skip
    return without_empty(rows)


def _term(of: Term | None) -> Cell:
    """A mean in nats beside its standard error."""
    if of is None:
        return NOTHING
    error = of.standard_error
    known = error is not None and math.isfinite(error) and error > 0
    beside = f"± {number(error, error)}" if known else ""
    decimals = min(6, supported(error))
    return Cell(number(of.nats, error), beside, decimals=decimals, beside=True)


def _bits(of: Term | None) -> Cell:
    return plain(None if of is None else of.bits_per_dim, 4)
