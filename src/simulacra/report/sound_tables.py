"""What a model of sounds has to be better than: a table, and who is not."""

from __future__ import annotations

from simulacra.judging.results import Results
from simulacra.report.cells import Cell, Rows, count, related, words
from simulacra.report.ranking import judged
from simulacra.report.text import fixed, listed

_BY = {
    "histogram": "how often each level comes",
    "Markov table": "the level before",
    "prediction and slope": "a linear prediction from the two levels before, and their difference",
    "FLAC": "a lossless coder of sounds, told the levels as samples",
}
"""What each goes by."""

CAPTION = "Simple predictors of the same sounds"


def predictor_table(results: Results) -> Rows:
    """The simple predictors, the best last; empty of what are no sounds."""
    return [
        {
            "predictor": words(each.name),
            "bits/valid sample": related("=", each.bits_per_dim, each.standard_error)
            if each.fitted
            else Cell(f"= {fixed(each.bits_per_dim, 3)}", decimals=3, beside=True),
            "by": words(_BY.get(each.name)),
            "test windows": count(each.observations),
        }
        for each in sorted(results.predictors, key=lambda each: -each.bits_per_dim)
    ]


def predictor_note(results: Results) -> str:
    """What they were fitted to and measured on, and what is in their favour."""
    if not results.predictors:
        return ""
    samples = results.predictors[0].samples
    fitted = max(each.fitted for each in results.predictors)
    return (
        f"Fitted to {fitted:,} valid samples of training windows, measured on {samples:,} of test "
        "windows. They are not asked about padding, whose cost a model’s figure has: that is in "
        "their favour."
    )


def not_better(results: Results) -> list[tuple[str, str, bool]]:
    """Models that a simple predictor beats: who, what beats it, and whether that is a histogram."""
    found = []
    for m in judged(results):
        own = [f.bits_per_dim for f in m.likelihoods if f.bits_per_dim is not None]
        by = [each.name for each in results.predictors if own and each.bits_per_dim <= min(own)]
        if by:
            said = f"does not beat {listed(by)}."
            found.append((m.model, said, "histogram" in by))
    return found


def predictor_line(results: Results) -> str:
    """The simple predictors in one line, for a terminal; empty of what are no sounds."""
    if not results.predictors:
        return ""
    each = ", ".join(f"{p.name} {fixed(p.bits_per_dim, 3)}" for p in results.predictors)
    return f"Simple predictors, bits/valid sample without padding: {each}"
