"""Seconds, taken in interleaved rounds, and what is derived from them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Key = TypeVar("Key")

LEAST = 0.02
"""Seconds that one reading lasts, at least: what is shorter is called several times."""
MOST_CALLS = 100
"""Calls in one reading, at most."""
SLOW = 0.5
"""Seconds of a call that need no second one to know that it is slow."""


def measure(
    tasks: Mapping[Key, Callable[[], object]],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
    until: float = math.inf,
) -> dict[Key, list[float]]:
    """Seconds of a call of each task, once in every round.

    A round reads all tasks one after another. So a machine that others use too slows all of them
    alike, and two tasks are compared by readings taken close together.

    Args:
        tasks: What is called.
        rounds: How often, at least 1.
        clock: Seconds; on a GPU, one that waits for it first.
        until: By that clock, when no other round begins; the first one does in any case.

    Returns:
        For each task as many readings as rounds.
    """
    calls = {}
    for key, run in tasks.items():
        begun = clock()
        run()
        seconds = clock() - begun
        if seconds < SLOW:
            # the first call of a short task mostly prepares
            begun = clock()
            run()
            seconds = clock() - begun
        calls[key] = calls_for(seconds)
    readings: dict[Key, list[float]] = {key: [] for key in tasks}
    for _ in range(rounds):
        for key, run in tasks.items():
            begun = clock()
            for _ in range(calls[key]):
                run()
            readings[key].append((clock() - begun) / calls[key])
        if clock() >= until:
            break
    return readings


def calls_for(seconds: float) -> int:
    """How many calls of so many seconds make a reading that is long enough."""
    if seconds * MOST_CALLS <= LEAST:
        return MOST_CALLS
    return math.ceil(LEAST / seconds)


def ratio(readings: Sequence[float], others: Sequence[float]) -> float:
    """Median over the rounds of one task's reading divided by another's of the same round."""
    return statistics.median(a / b for a, b in zip(readings, others, strict=True))


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The p of seconds ∝ size^p, fitted by least squares of the logarithms.

    Args:
        sizes: Positive, at least two different ones.
        seconds: Positive, one for each size.
    """
    return statistics.linear_regression(
        [math.log(size) for size in sizes], [math.log(second) for second in seconds]
    ).slope
