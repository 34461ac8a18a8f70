"""The balance of a game, as curves: what each player is worth while they train."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from simulacra.drawing.curves import curves
from simulacra.judging.results import Entry

_Column = Sequence[float | None]


@dataclass(frozen=True)
class Chart:
    """One picture of a game.

    Args:
        title: What is drawn.
        sentence: What to read from it.
        svg: The picture.
    """

    title: str
    sentence: str
    svg: bytes


def balance_charts(model: Entry) -> list[Chart]:
    """What was watched of a game while it trained; nothing of what is none.

    Args:
        model: With its curves.
    """
    drawn: list[Chart] = []
    for title, sentence, wanted, level in _CHARTS:
        found = {
            word.format(turn=name.partition("/")[0]): column
            for name, column in model.curves.balance.items()
            for ending, word in wanted.items()
            if (name == ending or _ends(name, ending)) and _measured(column)
        }
        if not found:
            continue
        steps = model.curves.steps
        series = {word: {"step": steps, "value": column} for word, column in found.items()}
        if level is not None:
            at, word = level
            series[word] = {"step": (steps[0], steps[-1]), "value": (at, at)}
        svg = curves(
            series, x="step", y="value", x_label=model.step_name, y_label=title, size=_SIZE
        )
        drawn.append(Chart(title, sentence, svg))
    return drawn


_SIZE = (4.4, 2.7)
_CHARTS: tuple[tuple[str, str, dict[str, str], tuple[float, str] | None], ...] = (
    (
        "told rightly by the opponent",
        "Where all come near one half it can tell samples from data no more; where training "
        "observations stay above held-out ones it has learned them by heart.",
        {"balance/real": "held-out data", "balance/known": "training data",
         "balance/fake": "samples"},
        (0.5, "one half"),
    ),
    (
        "norm of the gradient",
        "A player whose gradient vanishes has nothing more to learn from the other one.",
        {"*/gradient": "{turn}"},
        None,
    ),
    (
        "spread of samples over that of data",
        "At 1 samples are as different from one another as data; near 0 all are one picture.",
        {"balance/diversity": "samples", "balance/classes": "classes found"},
        (1.0, "as data"),
    ),
    (
        "distance from validation data",
        "The Fréchet distance in random features, which are not the judge's, in units in which one "
        "picture, the mean, is at 1: the step where it is smallest is kept.",
        {"balance/distance": "samples"},
        None,
    ),
    (
        "Wasserstein estimate",
        "What the critic's scores of data have beyond those of samples: it falls as samples come "
        "nearer, as far as the critic keeps up.",
        {"balance/wasserstein": "estimate"},
        None,
    ),
)  # fmt: skip


def _ends(name: str, ending: str) -> bool:
    return ending.startswith("*") and name.endswith(ending[1:])


def _measured(column: _Column) -> bool:
    return any(value is not None and math.isfinite(value) for value in column)
