"""How long steps, looks at validation observations and statistics take, measured for a plan."""

from __future__ import annotations

import time
from collections.abc import Callable

from simulacra.training.plan import FEW, PASSES

_TRIED = 0.04
"""Share of a stage's seconds that steps are tried for, at least."""
_MOST_TRIED = 0.2
"""And at most, unless one step takes longer."""
_LOOKED = 0.01
"""Share of them that a look at two observations may take, before more are looked at."""


def seconds_a_step(
    step: Callable[[], object], seconds: float, agreed: Callable[[float], float]
) -> float:
    """What a step takes, from the first ones.

    Args:
        step: Makes the next one.
        seconds: Of the whole stage.
        agreed: What all processes have, of what each has.
    """
    started = time.perf_counter()
    times: list[float] = []
    while len(times) < 3 or sum(times) < _TRIED * seconds:
        begun = time.perf_counter()
        step()
        times.append(agreed(time.perf_counter() - begun))
        if agreed(time.perf_counter() - started) > _MOST_TRIED * seconds:
            break
    # the first one allocates, so it says little about the others
    usual = times[1:] or times
    return sum(usual) / len(usual)


def seconds_a_look(
    look: Callable[[int], int], seconds: float, agreed: Callable[[float], float]
) -> float:
    """What validating one observation takes; from two of them alone, where that is dear.

    Args:
        look: Validates so many, or what is nearest to it, and says how many it were.
        seconds: Of the whole stage.
        agreed: What all processes have, of what each has.
    """
    for few in (2, FEW):
        begun = time.perf_counter()
        count = look(few)
        took = time.perf_counter() - begun
        if agreed(took) > _LOOKED * seconds:
            break
    return max(1e-9, took / max(1, count))


def seconds_to_settle(settle: Callable[[int], object]) -> float:
    """What estimating statistics of normalisations takes, from one batch.

    Args:
        settle: Estimates them from so many batches.
    """
    begun = time.perf_counter()
    settle(1)
    return PASSES * (time.perf_counter() - begun)
