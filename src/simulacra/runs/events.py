"""`events.jsonl`: what happened to a training that its seed does not decide, a line for each event.

Changes by somebody, and what the clock decided: whoever makes the same steps again follows them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from simulacra.ground.errors import CheckpointError, ResourceError, UsageError
from simulacra.ground.storage import write_bytes
from simulacra.training.plan import Event

EVENTS = "events.jsonl"
_USUAL = {each.name: each.default for each in fields(Event)}


class EventLog:
    """The file of a run.

    A line is written before the next step is made, and is there though the process is killed.

    Args:
        folder: The run's.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / EVENTS
        self._written: list[Event] | None = None
        self._seen: Sequence[Event] | None = None

    def read(self) -> list[Event]:
        """The events that are whole, in the order in which they happened; none without a file.

        Raises:
            CheckpointError: If a line holds anything else.
        """
        if not self.path.is_file():
            return []
        # the last line may have been cut
        *lines, _ = self.path.read_text("utf-8", errors="replace").split("\n")
        try:
            return [Event.from_json(json.loads(line)) for line in lines]
        except (ValueError, TypeError, AttributeError, UsageError) as error:
            raise CheckpointError(f"{self.path} cannot be read: {error}") from error

    def write(self, events: Sequence[Event]) -> None:
        """Let the file hold these.

        Args:
            events: Mostly those that it holds, and some more.

        Raises:
            ResourceError: If the disk is full, or the place forbidden.
        """
        if events is self._seen:
            return
        if self._written is not None and self._written == list(events[: len(self._written)]):
            more = events[len(self._written) :]
            try:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write("".join(map(_line, more)))
            except OSError as error:
                # a line may have been cut
                self._written = None
                raise ResourceError(f"cannot write {self.path}: {error.strerror}") from error
        elif events or self.path.is_file():
            write_bytes(self.path, "".join(map(_line, events)).encode())
        self._written, self._seen = list(events), events


def _line(event: Event) -> str:
    said: dict[str, Any] = {
        name: value for name, value in asdict(event).items() if value != _USUAL[name]
    }
    return json.dumps(said) + "\n"
