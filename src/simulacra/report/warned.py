"""Warnings beside the figures, each said once."""

from __future__ import annotations

from collections.abc import Sequence

from simulacra.judging.results import Results

Said = list[tuple[str, str]]
"""Whom a warning is about, empty for the data, and its words."""
ALL = "all models"


def of_models(results: Results) -> Said:
    """What to know of the models and their likelihoods."""
    told = [(m.model, m.warnings) for m in results.models if not m.absent]
    others = [(m.model, text) for m in results.models if m.absent for text in m.warnings]
    return [*_once(told), *others]


def of_samples(results: Results) -> Said:
    """What to know of the figures of samples, and why there are none."""
    told = []
    for m in results.models:
        if m.samples and not m.absent:
            why = m.samples.refused
            refused = [f"no figures of samples: {why}"] if why else []
            told.append((m.model, [*refused, *m.samples.warnings]))
    real = results.references.real
    return _once(told, real.warnings if real else ())


def _once(told: Sequence[tuple[str, Sequence[str]]], of_data: Sequence[str] = ()) -> Said:
    """What holds for real data too is about the data; then what holds for every model."""
    said = {text for _, texts in told for text in texts}
    found = [("", text) for text in of_data if text in said]
    known = {text for _, text in found}
    if len(told) > 1:
        # in the order that the first model has them in
        shared = [text for text in dict.fromkeys(told[0][1])
                  if text not in known and all(text in texts for _, texts in told)]  # fmt: skip
        found += [(ALL, text) for text in shared]
        known |= set(shared)
    return found + [(name, text) for name, texts in told for text in texts if text not in known]
