"""How many rows a model may be given at once: as many as memory was meant for, counted on one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from simulacra.ground import live
from simulacra.ground.randomness import seeded

ROOM = 1 << 30
"""Bytes that what is made of the rows given at once may take. Where an observation is small, what
the caller would take at most comes to less, and stays as it is."""


def rows_at_once(run: Callable[[int], object], most: int) -> int:
    """How many rows may be given at once.

    What a row takes is counted: it is run once, and once more with a second one if so many might
    not fit. So it follows from the size of an observation, from its levels, from the model and its
    keywords, and from what is asked of it, whoever wrote the model. It is a power of two where it
    is less than `most`, so that a little more or less in another version of torch changes nothing.

    Args:
        run: Does what is to be done with so many rows. It changes nothing; its random numbers are
            its own.
        most: Rows that are taken at once of small observations.
    """
    if most < 2:
        return max(1, most)
    with seeded(0):
        one = live.history(partial(run, 1))
        if max(one) * most <= ROOM:
            return most
        two = live.history(partial(run, 2))
    # what is there whatever the rows are, as of masked weights, is not the second one's
    row = max(more for _, more in live.of_rows(one, two))
    if row * most <= ROOM:
        return most
    return 1 << max(0, (ROOM // row).bit_length() - 1)
