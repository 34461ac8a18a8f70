"""Whether samples are copies, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scipy.stats import betabinom, fisher_exact

from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.records import References, SampleFigures
from simulacra.judging.results import Entry, Results
from simulacra.report.text import fixed

NEAR = -3.0
"""A C_T below this is nearer to the training data than chance brings real data."""
FAR = 3.0
"""A C_T above this is further from the training data than chance brings real data."""
MEMBER = 4.0
"""A membership score above this is memory; below its negative, of observations held out."""
CHANCE, LIKELY = 0.001, 0.05
"""How often a sign may come up by chance, for a single model in a single view; and a doubt."""

_Figures = Mapping[str, Figure]
_Views = Mapping[str, _Figures]


def copies(references: References, samples: SampleFigures | None) -> str | None:
    """What says that samples are copies, as the rest of a sentence that the model's name begins.

    Samples copy the training data if they equal training observations more often than real data
    do, or if they are nearer to the training data than real data are **and** know which
    observations were trained on. Nearness alone is shared by draws that are sharper than the data,
    and is said to be no more than that.

    Empty if there is no sign of it; `None` if nothing was measured that could show it.
    """
    if samples is None or not (samples.views or samples.whole):
        return None
    views, whole = samples.views, samples.whole
    real = references.real.whole if references.real else {}
    leaked, stored = (_by_chance(key, whole, real) for key in ("leaked", "duplicates"))
    # what lies further off than real data repeats none of them
    close = {name: figures for name, figures in views.items() if _value(figures, "c_t") <= FAR}
    void = leaked < CHANCE and stored > LIKELY
    if void or _scores(close, "membership", below=-MEMBER):
        what = f"{_percent(whole['leaked'].value)} equal one" if void else "see membership"
        return f"repeats observations that were held out ({what}): its figures are void"
    equal = []
    if stored < CHANCE:
        equal = [f"{_percent(whole['duplicates'].value)} equal a training observation"]
    # likely pictures of a small space come again, whether they were trained on or held out
    signs = equal if leaked > LIKELY else []
    near = [*_near(views, references), *(equal if not signs else [])]
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


def _near(views: _Views, references: References) -> list[str]:
    """Signs that samples are nearer to the training data than real data are.

    A view in which independent values are nearer too, as they are to the middle of data that have
    outliers, tells nothing by C_T.
    """
    real, independent = (
        each.views if each else {} for each in (references.real, references.independent)
    )
    told = {
        name: figures
        for name, figures in views.items()
        if not _scores({name: independent.get(name, {})}, "c_t", below=NEAR)
    }
    signs = _scores(told, "c_t", below=NEAR)
    found = [f"C_T = {', '.join(signs)}"] if signs else []
    seen = []
    for name, figures in views.items():
        figure, floor = figures.get("suspects"), _value(real.get(name, {}), "suspects")
        # no more is a sign than real data show themselves
        if figure and figure.value > max(suspects_by_chance(figure.count), floor):
            seen.append(f"{_percent(figure.value)}{_where(views, name)}")
    return [*found, f"suspects {', '.join(seen)}"] if seen else found


def further(results: Results, models: Sequence[Entry]) -> list[str]:
    """Models whose samples lie further from the training data than real data do, and where."""
    floor = results.references.real.views if results.references.real else {}
    found = []
    for m in models:
        views = m.samples.views if m.samples else {}
        scores = [
            f"{fixed(figures['c_t'].value, 1)}{_where(views, name)}"
            for name, figures in views.items()
            if _value(figures, "c_t") > max(FAR, _value(floor.get(name, {}), "c_t"))
        ]
        if scores:
            found.append(f"{m.model} (C_T = {', '.join(scores)})")
    return found


def _value(figures: _Figures, key: str) -> float:
    """A figure's value; 0, which is no sign of anything, where there is none."""
    return figures[key].value if key in figures else 0.0


def suspects_by_chance(count: int) -> float:
    """The share of suspects that real data exceed one time in a thousand.

    The bound is the one-in-a-hundredth smallest of `count` held-out distances, so of as many
    fresh ones a number from the beta-binomial distribution lies below it, whatever the data.
    """
    rare = max(1, round(0.01 * (count + 1)))
    return float(betabinom.ppf(1 - CHANCE, count, rare, count + 1 - rare)) / count


def _scores(
    views: _Views, key: str, *, below: float | None = None, above: float | None = None
) -> list[str]:
    """Z scores beyond a limit, and where."""
    found = []
    for name, figures in views.items():
        if key not in figures:
            continue
        value = figures[key].value
        if value < below if below is not None else value > (above or 0.0):
            found.append(f"{fixed(value, 1)}{_where(views, name)}")
    return found


def _by_chance(key: str, whole: _Figures, real: _Figures) -> float:
    """How probable as many equal observations are, if they are no more frequent than in real data.

    Binarised or tiny pictures come again by chance, in real data as well: Fisher's exact test.
    """
    found = whole.get(key)
    if not found or not found.value:
        return 1.0
    floor = real.get(key) or Figure(0.0, found.count)
    table = [[round(f.value * f.count), round((1 - f.value) * f.count)] for f in (found, floor)]
    return float(fisher_exact(table, alternative="greater").pvalue)


def _where(views: _Views, name: str) -> str:
    return f" in {name}" if len(views) > 1 else ""


def _percent(share: float) -> str:
    return f"{fixed(100 * share, 1)} %"
