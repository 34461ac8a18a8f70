"""Stopping when asked: the step is finished and saved, a second signal ends at once."""

from __future__ import annotations

import contextlib
import os
import signal
import types
from collections.abc import Iterator
from dataclasses import dataclass

from simulacra.ground import processes


@dataclass
class Stop:
    """A signal that asked to stop, once one came."""

    number: int | None = None

    def leave(self) -> None:
        """End the program as the signal would have."""
        raise SystemExit(128 + (self.number or signal.SIGINT))


@contextlib.contextmanager
def stopping() -> Iterator[Stop]:
    """Let the first SIGINT or SIGTERM finish the step; a second one ends the program at once."""
    stop = Stop()

    def handle(number: int, _: types.FrameType | None) -> None:
        if stop.number is not None:
            if number == signal.SIGTERM and processes.count() > 1:
                # torchrun tells each process once more when another one ends, saving or not
                return
            os._exit(128 + number)
        stop.number = number

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
