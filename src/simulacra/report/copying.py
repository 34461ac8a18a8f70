"""Whether samples are copies of the training data, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulacra.report.text import fixed

Record = Mapping[str, Any]

COPYING = -3.0
"""A C_T below this is held for copying."""
CHANCE = 0.01
"""Share of suspects among real observations, by definition."""


def copies(results: Record, model: Record) -> str | None:
    """What says that a model copies, as the rest of a sentence that its name begins.

    Empty if there is no sign of it; `None` if nothing was measured that could show it.
    """
    samples = model.get("samples") or {}
    views = samples.get("views") or {}
    real = (results.get("references") or {}).get("real") or {}
    far, seen = [], []
    for name, figures in views.items():
        floor = ((real.get("views") or {}).get(name) or {}).get("suspects") or {}
        c_t, suspects = figures.get("c_t") or {}, figures.get("suspects") or {}
        where = f" in {name}" if len(views) > 1 else ""
        if (c_t.get("value") or 0.0) < COPYING:
            far.append(f"{fixed(c_t['value'], 1)}{where}")
        # no more is a sign than real data show themselves
        chance = max(CHANCE, floor.get("value") or 0.0)
        if (suspects.get("low") or 0.0) > chance:
            seen.append(f"{_percent(suspects['value'])}{where} (real data {_percent(chance)})")
    signs = [f"C_T = {', '.join(far)}"] if far else []
    signs += [f"suspects {', '.join(seen)}"] if seen else []
    stored = (samples.get("whole") or {}).get("duplicates") or {}
    floor = (real.get("whole") or {}).get("duplicates") or {}
    # binarised or tiny pictures come again by chance, in real data as well
    if (stored.get("low") or 0.0) > (floor.get("high") or 0.0):
        signs.append(f"{_percent(stored['value'])} equal a training observation")
    if signs:
        return f"copies training data: {'; '.join(signs)}"
    measured = any("c_t" in figures or "suspects" in figures for figures in views.values())
    return "" if measured or stored else None


def _percent(share: float) -> str:
    return f"{fixed(100 * share, 1)} %"
