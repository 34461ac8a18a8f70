"""`Waiting`: what is being measured, told to whoever waits for it."""

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
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.what, self.since = clock, "", 0.0
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
        """Something else is measured now; or nothing, if that is empty."""
        self.what, self.since = what, self.clock()
        if what and errors.is_terminal:
            note(f"measuring {what}")

    def say(self) -> None:
        """A line about what is measured now."""
        if self.what:
            note(f"measuring {self.what}, {self.clock() - self.since:.0f} s so far")

    def _say_so(self) -> None:
        while not self._over.wait(EVERY):
            self.say()
