"""What goes wrong in a game, found from what was seen of it, each with advice. No torch here.

What validations saw (see `Balance`), and what the steps between them did, is a list of looks. What
is told follows from that list alone: a training that goes on, or is done again, is told the same.

The thresholds were thought out, and two rules changed after early trainings; docs/adversarial.md
shows how often they are right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from simulacra.ground.errors import UsageError, nearest

Sickness = Literal["strong", "collapse", "oscillation", "divergence"]
NAMES: tuple[Sickness, ...] = get_args(Sickness)
TITLES: Mapping[Sickness, str] = {
    "strong": "discriminator too strong",
    "collapse": "mode collapse suspected",
    "oscillation": "oscillation",
    "divergence": "divergence",
}
"""What people read."""

Look = Mapping[str, float]
"""What was seen at a `step`, at a `place` from 0 to 1 of a training; see `Course.looked`."""

LASTS = 500
"""Steps that a sickness lasts before it is named."""
EARLY = 0.25
"""Of a training, in which samples may be all alike and far from data: they begin so."""
LATE = 0.5
"""Of a training, from where on all classes are to be there; before, those that were there once."""
SURE = 0.99
"""Accuracy of the opponent above which it is too strong."""
NARROW = 0.1
"""Spread of samples over that of data below which they are all alike."""
FAR = 4.0
"""Distance above which samples have left the data: who always draws their mean is at 1."""
GROWN = 100.0
"""By how much a loss has grown that has left all bounds."""
SWINGS = 2.0
"""Swings of the opponent's accuracy within `LASTS` steps of a game that goes round in circles."""
NEARER = 0.9
"""By how much the distance falls in a game that gets somewhere, however it swings."""
WORST = 1e300
"""How bad what is no number is: nothing is worse, and JSON has a number for it."""
_WORSE = 2.0
"""By how much worse a sickness is that is told again."""


@dataclass(frozen=True)
class Diagnosis:
    """A sickness of a game.

    Args:
        name: Its short one, by which `--stop-on` asks for it.
        since: Step of the look that it was first seen at.
        until: Step of the last look that it was seen at.
        figure: How bad it is: the larger, the worse.
        why: What was seen, in words.
        over: Whether it was not seen any more since.
    """

    name: Sickness
    since: int
    until: int
    figure: float
    why: str
    over: bool = False

    def __str__(self) -> str:
        """In a line, without advice."""
        when = f"since step {self.since}" if self.since < self.until else f"at step {self.since}"
        if self.over:
            when = f"from step {self.since} to {self.until}"
        return f"{TITLES[self.name]}, {when}: {self.why}"


def advice(name: Sickness, keywords: Mapping[str, object]) -> str:
    """What may help, of what can be done with such a model.

    Args:
        name: Of the sickness.
        keywords: Of the model: what it has not, or has so already, is left out.
    """
    told = [
        text for keyword, helped, text in _ADVICE[name]
        if not keyword or (keyword in keywords and str(keywords[keyword]) not in helped)
    ]  # fmt: skip
    return "; ".join(told)


_CALM = ("regulariser", ("spectral", "gradient-penalty", "r1", "r1-r2"))
"""A slope in bounds, which is all that advice asks for, whichever way it is kept."""
_ADVICE: Mapping[Sickness, tuple[tuple[str, tuple[str, ...], str], ...]] = {
    "strong": (
        (*_CALM, "--set regulariser=r1, so that it cannot be so sure between observations"),
        ("rates", (), "a slower opponent, as --set rates=0.5,1"),
        ("augment", ("always",), "of few pictures --set augment=always"),
        ("", (), "more data"),
    ),
    "collapse": (
        ("objective", ("relativistic",), "another game: the model r3gan, or --set "
         "objective=relativistic --set regulariser=r1-r2"),
        ("moves", (), "an opponent that follows, as --set moves=2,1 or --set rates=2,1"),
        ("", (), "a lower --lr"),
    ),
    "oscillation": (
        (*_CALM, "--set regulariser=r1, which damps the circles"),
        ("", (), "a lower --lr; less momentum, as --betas 0.0 0.9"),
    ),
    "divergence": (
        ("", (), "a lower --lr"),
        (*_CALM, "--set regulariser=spectral or gradient-penalty, which bounds the opponent"),
    ),
}  # fmt: skip


def check_names(names: Sequence[str]) -> None:
    """Refuse to look for what nobody diagnoses.

    Raises:
        UsageError: If a name is none of `NAMES`.
    """
    for name in names:
        if name not in NAMES:
            raise UsageError(f"no diagnosis is called {name!r}: {nearest(name, NAMES)}")


def diagnosed(looks: Sequence[Look], *, critic: bool = False) -> list[Diagnosis]:
    """What is wrong at the last look.

    Args:
        looks: The oldest first.
        critic: Whether the opponent's scores estimate a distance: the surer such a one is, the
            better is the estimate that the generator learns from.
    """
    found = [_divergence(looks), _collapse(looks), _oscillation(looks)]
    return [each for each in (None if critic else _strong(looks), *found) if each is not None]


def worse(figure: float, told: float) -> bool:
    """Whether a sickness has become so much worse than when it was told that it is told again."""
    return figure > _WORSE * told


# ---- each of them --------------------------------------------------------------------------------


def accuracy(look: Look) -> float | None:
    """Of the opponent on held-out data and samples; on its own batches where that is not known."""
    if "real" in look and "fake" in look:
        return (look["real"] + look["fake"]) / 2
    return look.get("accuracy")


def _strong(looks: Sequence[Look]) -> Diagnosis | None:
    def holds(look: Look) -> bool:
        told = accuracy(look)
        return told is not None and told > SURE

    seen = _lasting(looks, holds)
    if not seen:
        return None
    sure = sum(accuracy(look) or 0.0 for look in seen) / len(seen)
    # a share of errors has no upper bound when it is turned round
    return _found("strong", seen, 1 / max(1 - sure, 1e-3), f"it tells {sure:.1%} rightly")


def _collapse(looks: Sequence[Look]) -> Diagnosis | None:
    def holds(look: Look) -> bool:
        alike, there = look.get("diversity", 1.0) < NARROW, look.get("classes", 1.0)
        before = max((each.get("classes", 0.0) for each in looks if each["step"] < look["step"]),
                     default=0.0)  # fmt: skip
        lost = there < (1.0 if look["place"] >= LATE else before)
        return look["place"] >= EARLY and (alike or lost)

    seen = _lasting(looks, holds)
    if not seen:
        return None
    spread, there = seen[-1].get("diversity", 1.0), seen[-1].get("classes", 1.0)
    why = f"samples are spread {spread:.2g} times as far as data"
    if there < 1.0:
        why += f", and {there:.0%} of the classes are among them"
    return _found("collapse", seen, 1 / max(min(spread, there), 1e-3), why)


def _oscillation(looks: Sequence[Look]) -> Diagnosis | None:
    def holds(look: Look) -> bool:
        return look["place"] >= EARLY and look.get("swings", 0.0) >= SWINGS

    seen = _lasting(looks, holds)
    if not seen or _nearer(looks):
        return None
    swings = sum(look["swings"] for look in seen) / len(seen)
    why = (
        f"the opponent's accuracy goes up and down {swings:.1f} times in {LASTS} steps, and "
        "samples come no nearer to data"
    )
    return _found("oscillation", seen, swings, why)


def _nearer(looks: Sequence[Look]) -> bool:
    """Whether samples have come clearly nearer to data within the last steps."""
    since = looks[-1]["step"] - LASTS
    distances = [(look["step"], look["distance"]) for look in looks if "distance" in look]
    before = [distance for step, distance in distances if step <= since]
    after = [distance for step, distance in distances if step > since]
    return bool(before and after) and min(after) < NEARER * min(before)


def _divergence(looks: Sequence[Look]) -> Diagnosis | None:
    last = looks[-1] if looks else {}
    if last.get("distance") == math.inf:
        return _found("divergence", [last], WORST, "samples hold values that are no numbers")
    far = _lasting(looks, lambda look: look["place"] >= EARLY and look.get("distance", 0.0) > FAR)
    if far:
        distance = far[-1]["distance"]
        why = f"samples are at a distance of {distance:.3g}, where one picture, the mean, is at 1"
        return _found("divergence", far, distance, why)
    for name in (name for name in last if name.endswith("/loss")):
        usual = sorted(abs(look[name]) for look in looks if name in look)
        bound = GROWN * max(1.0, usual[(len(usual) - 1) // 4])
        grown = _lasting(looks, partial(_beyond, name=name, bound=bound))
        if grown:
            why = f"the {name.removesuffix('/loss')}'s loss has grown to {last[name]:.3g}"
            return _found("divergence", grown, abs(last[name]), why)
    return None


def _beyond(look: Look, *, name: str, bound: float) -> bool:
    return abs(look.get(name, 0.0)) > bound


def _lasting(looks: Sequence[Look], holds: Callable[[Look], bool]) -> Sequence[Look]:
    """The last looks, of which each shows something, if they go over enough steps; else none."""
    first = len(looks)
    while first and holds(looks[first - 1]):
        first -= 1
    seen = looks[first:]
    return seen if seen and seen[-1]["step"] - seen[0]["step"] >= LASTS else []


def _found(name: Sickness, seen: Sequence[Look], figure: float, why: str) -> Diagnosis:
    return Diagnosis(name, int(seen[0]["step"]), int(seen[-1]["step"]), figure, why)
