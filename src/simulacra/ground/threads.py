"""How many threads of a processor work: what this process may use, and a choice by measuring.

Threads that share a piece of work wait for one another at its end, turning in circles. Where one
of them gets no core, all wait for it: on a busy machine two threads may be ten times slower than
one. So work whose numbers must not depend on the moment goes by half the cores, and a training of
so many seconds tries what is quickest, at its beginning and whenever its pace falls.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Iterator
from pathlib import Path

import torch

_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""Where Linux says how many cores a container may use: microseconds of how many."""
_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


@functools.cache
def usable() -> int:
    """Cores that this process may use, those counted once that look like two."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    try:
        cores = len({Path(_SIBLINGS.format(each)).read_text() for each in allowed})
    except OSError:
        cores = len(allowed)
    with contextlib.suppress(OSError, ValueError):
        share, whole = _LIMIT.read_text().split()
        cores = min(cores, math.ceil(int(share) / int(whole)))
    return max(1, cores)


def chosen_by_user() -> bool:
    """Whether somebody has said how many threads work, whose choice it then is."""
    said = any(os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"))
    # whoever said nothing has a thread for each core, of those that look like two for both
    return said or _others() < usable()


def usual() -> int:
    """Threads of work that no clock decides about: half the cores, or as many as the user says.

    Half, for others use the machine too, and a number that is the same whenever it is asked.
    """
    return _others() if chosen_by_user() else max(1, usable() // 2)


@contextlib.contextmanager
def using(count: int) -> Iterator[None]:
    """Let so many threads work inside the block.

    Args:
        count: At least 1.
    """
    before = torch.get_num_threads()
    _before.append(before)
    _use(count)
    try:
        yield
    finally:
        _before.pop()
        _use(before)


@contextlib.contextmanager
def settled(count: int | None = None) -> Iterator[None]:
    """Let a number of threads work inside the block that depends on machine and user alone.

    For what is to have the same numbers tomorrow.

    Args:
        count: For work of many small parts, which more threads do not make quicker; by default
            what a block around this one says, or `usual`. What the user says comes first.
    """
    if count is None and _before:
        yield
        return
    with using(usual() if count is None or chosen_by_user() else count):
        yield


_before: list[int] = []
"""Threads outside the blocks that this is inside of, the outermost first."""


def _others() -> int:
    """Threads that work outside of all our blocks."""
    return _before[0] if _before else torch.get_num_threads()


def _use(count: int) -> None:
    if count != torch.get_num_threads():
        torch.set_num_threads(count)


class Chooser:
    """How many threads do a piece of work quickest that comes again and again.

    It doubles or halves the number where that is quicker, by turns of a few pieces each. The pieces
    that it learns from are done anyway. It tries again when they take longer than they did, and
    more threads from time to time; but never so that trying costs more than a small share of all.

    Args:
        count: Threads at first.
        most: At most so many.
        whole: Seconds that all pieces take together, about.

    Example:
        >>> from simulacra.ground.threads import Chooser
        >>> chooser = Chooser(count=1, most=2, whole=60.0)
        >>> for _ in range(100):
        ...     count = chooser.after(0.010 / chooser.count)
        >>> count
        2
    """

    def __init__(self, count: int, most: int, whole: float) -> None:
        self.count, self.most, self.whole = count, most, whole
        self._usually: float | None = None
        """Mean seconds of a piece, as they were when the number was chosen."""
        self._trial: _Trial | None = None
        self._since = _Mean()
        self._pieces, self._waited = 0, 0.0

    def after(self, seconds: float) -> int:
        """Threads of the next piece.

        Args:
            seconds: That the last one took.
        """
        self._pieces += 1
        if self._pieces <= _WARM:
            # what is made ready in it
            return self.count
        if self._trial is not None:
            self._go_on(self._trial, seconds)
        elif self._pieces == _WARM + 1:
            self._usually = seconds
            if _COST * seconds <= _FIRST_SHARE * self.whole:
                self._try(2 * self.count if self.count < self.most else self.count // 2)
            elif _COST_OF_FEWER * seconds <= _FIRST_SHARE * self.whole:
                self._try(self.count // 2)
        else:
            self._watch(seconds)
        return self.count

    def _try(self, other: int) -> None:
        other = max(1, min(self.most, other))
        if other != self.count:
            self._trial = _Trial(self.count, other, self._usually)
            self.count = self._trial.now
        self._since, self._waited = _Mean(), 0.0

    def _go_on(self, trial: _Trial, seconds: float) -> None:
        trial.add(seconds)
        if not trial.over:
            self.count = trial.now
            return
        before, self.count = trial.first, trial.better
        self._usually = trial.seconds(self.count) or self._usually
        self._trial = None
        up = trial.second > trial.first
        if self.count != before:
            # further in the same direction
            self._try(2 * self.count if up else self.count // 2)
        elif up and before > 1:
            self._try(before // 2)
        elif not up and trial.second > 1:
            # where two stand in each other's way, three do as well
            self._try(trial.second // 2)
        else:
            self._since, self._waited = _Mean(), 0.0

    def _watch(self, seconds: float) -> None:
        self._since.add(seconds)
        self._waited += seconds
        if self._since.count < _WATCHED and self._since.total < _WATCHED_SHARE * self.whole:
            return
        mean, self._since = self._since.value, _Mean()
        if self._usually is None:
            self._usually = mean
        if mean > _FALLEN * self._usually and self.count > 1:
            if _COST * mean <= _FIRST_SHARE * self.whole:
                # to be compared with what they take now
                self._usually = mean
                self._try(self.count // 2)
            else:
                # too dear to try for long; half as many take twice as long at most
                self.count, self._usually = self.count // 2, 2 * self._usually
        elif self.count < self.most and self._waited > _AGAIN * self.whole:
            if _COST * mean <= _AGAIN_SHARE * self.whole:
                self._try(2 * self.count)
            self._waited = 0.0
        else:
            self._usually = min(self._usually, mean)


class _Trial:
    """Two numbers of threads, by turns."""

    def __init__(self, first: int, second: int, usually: float | None) -> None:
        self.first, self.second, self._done = first, second, 0
        self._usually = usually
        self._taken = {first: _Mean(), second: _Mean()}
        self._lost = False

    @property
    def now(self) -> int:
        """Whose turn it is: the second one's first, for the first one has just worked."""
        return (self.second, self.first)[self._done // _TURN % 2]

    @property
    def over(self) -> bool:
        return self._lost or self._done >= _TURNS * _TURN

    def add(self, seconds: float) -> None:
        usually = self._taken[self.first].value or self._usually
        if self.now == self.second and usually is not None and seconds > _HOPELESS * usually:
            self._lost = True
        if self._done % _TURN:
            # the first piece of a turn makes ready what depends on the number
            self._taken[self.now].add(seconds)
        self._done += 1

    def seconds(self, count: int) -> float:
        return self._taken[count].value

    @property
    def better(self) -> int:
        if self._lost:
            return self.first
        fewer, more = sorted(self._taken)
        return more if self.seconds(more) < _WORTH * self.seconds(fewer) else fewer


class _Mean:
    def __init__(self) -> None:
        self.count, self.total = 0, 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value

    @property
    def value(self) -> float:
        return self.total / max(1, self.count)


_WARM = 2
"""Pieces that say nothing: in the first ones memory is taken, and code compiled."""
_TURN, _TURNS = 3, 4
"""Pieces of a turn, of which the first is not counted, and turns of a trial."""
_COST = 20
"""A trial costs so many pieces more at worst, where two threads stand in each other's way."""
_COST_OF_FEWER = _TURN * _TURNS // 2
"""One of fewer threads costs no more than its own pieces, if half of them take twice as long."""
_FIRST_SHARE, _AGAIN_SHARE = 0.1, 0.005
"""Of all seconds, what the first trial may cost, and each later one."""
_AGAIN = 0.08
"""Of all seconds, after how many more threads are tried again."""
_WATCHED, _WATCHED_SHARE = 8, 0.02
"""Over so many pieces, or such a share of all seconds, is seen whether they take longer."""
_FALLEN = 1.35
"""They do if they take so many times what they took."""
_HOPELESS = 3.0
"""A piece that takes so many times what it takes with the other number ends a trial."""
_WORTH = 0.93
"""More threads have to be so much quicker: they are a risk."""
