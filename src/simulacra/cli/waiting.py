"""`Waiting`: what is being measured or drawn, told to whoever waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from simulacra.cli.terminal import errors, note

EVERY = 10.0
"""Seconds between two lines of a log about what takes long."""


class Waiting:
    """In a terminal a line for each thing that is begun; in a log one now and then of what lasts.

    Args:
        clock: Seconds, from any moment on.
        doing: What is done to what is begun.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, doing: str = "measuring"
    ) -> None:
        self.clock, self.doing, self.what, self.since = clock, doing, "", 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._say_so, daemon=True)

    def __enter__(self) -> Waiting:
        if not errors.is_terminal:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def begin(self, what: str) -> None:
        """Something else takes its time now; or nothing, if that is empty."""
        self.what, self.since = what, self.clock()
        if what and errors.is_terminal:
            note(f"{self.doing} {what}")

    def say(self) -> None:
        """A line about what takes its time now."""
        if self.what:
            note(f"{self.doing} {self.what}, {self.clock() - self.since:.0f} s so far")

    def _say_so(self) -> None:
        while not self._over.wait(EVERY):
            self.say()
