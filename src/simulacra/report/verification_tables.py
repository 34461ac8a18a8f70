"""The table of verification: distances between codes beside those between the values themselves."""

from __future__ import annotations

from collections.abc import Iterator

from simulacra.judging.figures.roc import RocFigures, VerificationFigures
from simulacra.judging.results import Entry, Results
from simulacra.report.cells import Cell, Rows, interval_column, without_empty
from simulacra.report.ranking import judged
from simulacra.report.text import listed

VALUES = "the values themselves"
"""The row of distances that nobody learnt."""
_MANY = {"group": "groups", "class": "classes"}


def verified(results: Results) -> list[tuple[Entry, VerificationFigures]]:
    """The models whose codes were asked whom observations are of."""
    return [(m, m.verification) for m in judged(results) if m.verification is not None]


def curves_of(results: Results) -> dict[str, RocFigures]:
    """What pairs are told apart by: the models' codes, then values and their components."""
    found = {m.model: v.codes for m, v in verified(results) if v.codes}
    for _, v in verified(results):
        if v.values and v.components:
            return {**found, VALUES: v.values, _components(v): v.components}
    return found


def _components(found: VerificationFigures) -> str:
    return f"{found.of_components} principal components"


def verification_table(results: Results) -> Rows:
    """The area under each curve, the equal error, and the accuracy at a threshold found before."""
    found = curves_of(results)
    beyond = {m.model: v.beyond for m, v in verified(results)}
    columns = {
        "ROC area ↑": interval_column([each.area for each in found.values()], least=3),
        "more than values": interval_column([beyond.get(name) for name in found], sign=True),
        "equal error ↓": interval_column(
            [each.equal_error for each in found.values()], percent=True
        ),
        "accuracy ↑": interval_column([each.accuracy for each in found.values()], percent=True),
    }
    models = {m.model for m, _ in verified(results)}
    return without_empty([
        {"model": Cell(name, reference=name not in models)}
        | {heading: column[row] for heading, column in columns.items()}
        for row, name in enumerate(found)
    ])  # fmt: skip


def verification_said(results: Results) -> str:
    """What was paired, and what the columns mean, in sentences; empty where nothing was."""
    every = [v for _, v in verified(results) if v.codes]
    if not every:
        return ""
    v = every[0]
    kinds, some = _MANY[v.kind], v.observations
    new = ", none of which was in the training split," if v.unseen else ""
    says = [
        f"{some:,} test observations of {v.identities:,} {kinds}{new} make {v.same:,} pairs of one "
        f"{v.kind} and {v.different:,} of two.",
        "The area is how often a pair of one is nearer than one of two, ½ by chance; at the equal "
        "error both kinds are taken wrongly as often.",
    ]
    if any(each.accuracy for each in (v.codes, v.values) if each):
        says.append(
            f"Accuracy is that of a threshold chosen on {v.validation_identities:,} validation "
            f"{kinds}, as if both kinds of pairs were as many: 50 % by chance."
        )
    else:
        says.append("There is no accuracy: the validation split has no pairs of both kinds.")
    if v.codes and v.codes.area.low is not None:
        says.append(f"Intervals are of a bootstrap over {kinds}.")
    return " ".join(says)


def not_verified(results: Results) -> Iterator[tuple[str, str]]:
    """Models that have no figures of it, and why."""
    for m, v in verified(results):
        if v.reason:
            yield m.model, f"cannot be verified by {_MANY[v.kind]}: {v.reason}"


def verification_line(results: Results) -> str:
    """Whose codes are told apart better than values are, in a sentence."""
    better, worse, level = list[str](), list[str](), list[str]()
    for m, v in verified(results):
        if v.beyond is None or v.beyond.low is None or v.beyond.high is None:
            continue
        where = better if v.beyond.low > 0 else worse if v.beyond.high < 0 else level
        where.append(m.model)
    says = [
        f"{what}: {listed(names)}."
        for what, names in (
            ("Codes verify better than the values themselves", better),
            ("Worse", worse),
            ("Not told apart from them", level),
        )
        if names
    ]
    return " ".join(says)
