"""Whether samples are copies, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import betabinom, fisher_exact

from simulacra.report.text import fixed

Record = Mapping[str, Any]

NEAR = -3.0
"""A C_T below this is nearer to the training data than chance brings real data."""
FAR = 3.0
"""A C_T above this is further from the training data than chance brings real data."""
MEMBER = 4.0
"""A membership score above this is memory; below its negative, of observations held out."""
CHANCE, LIKELY = 0.001, 0.05
"""How often a sign may come up by chance, for a single model in a single view; and a doubt."""


def copies(results: Record, model: Record) -> str | None:
    """What says that samples are copies, as the rest of a sentence that the model's name begins.

    Samples copy the training data if they equal training observations more often than real data
    do, or if they are nearer to the training data than real data are **and** know which
    observations were trained on. Nearness alone is shared by draws that are sharper than the data,
    and is said to be no more than that.

    Empty if there is no sign of it; `None` if nothing was measured that could show it.
    """
    samples = model.get("samples") or {}
    views, whole = samples.get("views") or {}, samples.get("whole") or {}
    if not views and not whole:
        return None
    floor = (results.get("references") or {}).get("real") or {}
    real = floor.get("whole") or {}
    leaked, stored = (_by_chance(key, whole, real) for key in ("leaked", "duplicates"))
    # what lies further off than real data repeats none of them
    close = {n: f for n, f in views.items() if ((f.get("c_t") or {}).get("value") or 0.0) <= FAR}
    void = leaked < CHANCE and stored > LIKELY
    if void or _scores(close, "membership", below=-MEMBER):
        what = f"{_percent(whole['leaked']['value'])} equal one" if void else "see membership"
        return f"repeats observations that were held out ({what}): its figures are void"
    equal = []
    if stored < CHANCE:
        equal = [f"{_percent(whole['duplicates']['value'])} equal a training observation"]
    # likely pictures of a small space come again, whether they were trained on or held out
    signs = equal if leaked > LIKELY else []
    near = [*_near(views, results.get("references") or {}), *(equal if not signs else [])]
    member = _scores(views, "membership", above=MEMBER)
    if near and member:
        signs += [*near, f"membership = {', '.join(member)}"]
    if signs:
        return f"copies training data: {'; '.join(signs)}"
    if near:
        return (
            f"lies nearer to the training data than real data do ({'; '.join(near)}): copies, or "
            "draws that are sharper than the data"
        )
    return ""


def _near(views: Mapping[str, Any], references: Mapping[str, Any]) -> list[str]:
    """Signs that samples are nearer to the training data than real data are.

    A view in which independent values are nearer too, as they are to the middle of data that have
    outliers, tells nothing by C_T.
    """
    real, independent = (
        (references.get(key) or {}).get("views") or {} for key in ("real", "independent")
    )
    told = {
        name: figures
        for name, figures in views.items()
        if not _scores({name: independent.get(name) or {}}, "c_t", below=NEAR)
    }
    signs = _scores(told, "c_t", below=NEAR)
    found = [f"C_T = {', '.join(signs)}"] if signs else []
    seen = []
    for name, figures in views.items():
        figure, floor = figures.get("suspects"), (real.get(name) or {}).get("suspects") or {}
        # no more is a sign than real data show themselves
        if figure and figure["value"] > max(
            suspects_by_chance(figure["count"]), floor.get("value") or 0.0
        ):
            seen.append(f"{_percent(figure['value'])}{_where(views, name)}")
    return [*found, f"suspects {', '.join(seen)}"] if seen else found


def further(results: Record, models: Sequence[Record]) -> list[str]:
    """Models whose samples lie further from the training data than real data do, and where."""
    floor = ((results.get("references") or {}).get("real") or {}).get("views") or {}
    found = []
    for m in models:
        views = (m.get("samples") or {}).get("views") or {}
        beyond = {
            name: figures for name, figures in views.items()
            if (_value(figures, "c_t") or 0.0) > max(FAR, _value(floor.get(name), "c_t") or 0.0)
        }  # fmt: skip
        scores = [f"{fixed(figures['c_t']['value'], 1)}{_where(views, name)}"
                  for name, figures in beyond.items()]  # fmt: skip
        if scores:
            found.append(f"{m['model']} (C_T = {', '.join(scores)})")
    return found


def _value(figures: Record | None, key: str) -> float | None:
    return ((figures or {}).get(key) or {}).get("value")


def suspects_by_chance(count: int) -> float:
    """The share of suspects that real data exceed one time in a thousand.

    The bound is the one-in-a-hundredth smallest of `count` held-out distances, so of as many
    fresh ones a number from the beta-binomial distribution lies below it, whatever the data.
    """
    rare = max(1, round(0.01 * (count + 1)))
    return float(betabinom.ppf(1 - CHANCE, count, rare, count + 1 - rare)) / count


def _scores(
    views: Mapping[str, Any], key: str, *, below: float | None = None, above: float | None = None
) -> list[str]:
    """Z scores beyond a limit, and where."""
    found = []
    for name, figures in views.items():
        value = (figures.get(key) or {}).get("value")
        if value is not None and (value < below if below is not None else value > (above or 0.0)):
            found.append(f"{fixed(value, 1)}{_where(views, name)}")
    return found


def _by_chance(key: str, whole: Mapping[str, Any], real: Mapping[str, Any]) -> float:
    """How probable as many equal observations are, if they are no more frequent than in real data.

    Binarised or tiny pictures come again by chance, in real data as well: Fisher's exact test.
    """
    found = whole.get(key)
    if not found or not found["value"]:
        return 1.0
    floor = real.get(key) or {"value": 0.0, "count": found["count"]}
    table = [[round(f["value"] * f["count"]), round((1 - f["value"]) * f["count"])]
             for f in (found, floor)]  # fmt: skip
    return float(fisher_exact(table, alternative="greater").pvalue)


def _where(views: Mapping[str, Any], name: str) -> str:
    return f" in {name}" if len(views) > 1 else ""


def _percent(share: float) -> str:
    return f"{fixed(100 * share, 1)} %"
