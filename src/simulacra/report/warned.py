"""Warnings beside the figures, each said once."""

from __future__ import annotations

from collections.abc import Sequence

from simulacra.report.ranking import Record, absent

Said = list[tuple[str, str]]
"""Whom a warning is about, empty for the data, and its words."""
ALL = "all models"


def of_models(results: Record) -> Said:
    """What to know of the models and their likelihoods."""
    models = results.get("models") or []
    judged = [(str(m["model"]), list(m.get("warnings") or [])) for m in models if not absent(m)]
    others = [(str(m["model"]), str(w))
              for m in models if absent(m) for w in m.get("warnings") or []]  # fmt: skip
    return [*_once(judged), *others]


def of_samples(results: Record) -> Said:
    """What to know of the figures of samples, and why there are none."""
    told = []
    for m in results.get("models") or []:
        samples = m.get("samples")
        if samples and not absent(m):
            why = samples.get("refused")
            refused = [f"no figures of samples: {why}"] if why else []
            told.append((str(m["model"]), [*refused, *(samples.get("warnings") or [])]))
    real = (results.get("references") or {}).get("real") or {}
    return _once(told, real.get("warnings") or [])


def _once(told: Sequence[tuple[str, list[str]]], of_data: Sequence[str] = ()) -> Said:
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
