"""`Board`: what was measured so far, printed and written down row by row."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.bench import clock_of
from benchmarks.machine import describe
from simulacra.ground.storage import write_json


@dataclass(frozen=True)
class Place:
    """Where a job measures, and how long it may.

    Args:
        device: Of models and data.
        data_dir: Folder of named data sets, if there is any.
        until: By `clock`, when the job should be done.
    """

    device: torch.device
    data_dir: Path | None = None
    until: float = float("inf")

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds, once the device has done what it was given."""
        return clock_of(self.device)

    @property
    def left(self) -> float:
        """Seconds that the job has left."""
        return max(0.0, self.until - self.clock())


@dataclass(frozen=True)
class Figure:
    """What a job found: a count, a number with its unit, or a word."""

    name: str
    figure: int | float | str
    unit: str = ""


@dataclass(frozen=True)
class Job:
    """One thing that is measured, and may fail without ending the others.

    Args:
        name: Of its row, should it fail.
        run: Yields figures, each as soon as it is known; stops in time, see `Place.left`.
    """

    name: str
    run: Callable[[Place], Iterator[Figure]]


@dataclass(frozen=True)
class Section:
    """Jobs under one title.

    Args:
        title: What they are about.
        share: Of all the minutes; what it leaves goes to those after it.
        jobs: Which they are.
    """

    title: str
    share: float
    jobs: Callable[[], Sequence[Job]]


class Board:
    """The rows so far: each is printed when it comes, and the file then holds all of them.

    Args:
        path: The JSON file.
        device: That is measured.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path, self.rows = path, list[dict[str, Any]]()
        self.machine = describe(device, torch.get_num_threads(), 0)
        self.device = str(self.machine.get("gpu", f"{device}: {self.machine['cpu']}"))
        self._write()

    def add(self, section: str, found: Figure, seconds: float, *, failed: bool = False) -> None:
        """Print a row and write it down."""
        self.rows.append({
            "section": section, **asdict(found), "seconds": round(seconds, 3), "failed": failed,
            "device": self.device, "torch": str(torch.__version__),
        })  # fmt: skip
        self._write()
        told = f"{written(found.figure)} {found.unit}".strip()
        print(f"  {found.name:<46} {told:<42} {seconds:6.1f} s", flush=True)

    def _write(self) -> None:
        write_json(self.path, {"machine": self.machine, "rows": self.rows})


def written(figure: int | float | str) -> str:
    """A word as it is, a count in full, a number to four digits."""
    if not isinstance(figure, float):
        return figure if isinstance(figure, str) else f"{figure:,}"
    decimals = next((d for d, least in enumerate((1000, 100, 10, 1)) if abs(figure) >= least), None)
    return f"{figure:.4g}" if decimals is None else f"{figure:,.{decimals}f}"


def chosen(sections: Sequence[Section], words: str) -> list[Section]:
    """Sections whose title holds some words, which share the minutes as they do otherwise."""
    found = [section for section in sections if words.lower() in section.title.lower()]
    if len(found) == len(sections):
        return found
    whole = sum(section.share for section in found)
    return [replace(section, share=section.share / whole) for section in found]


def measure_all(sections: Sequence[Section], board: Board, place: Place, seconds: float) -> bool:
    """Go through all sections within so many seconds.

    Args:
        sections: In their order.
        board: Gets the rows.
        place: Without its time.
        seconds: Of all sections together.

    Returns:
        Whether no job failed.
    """
    begun, end = time.perf_counter(), 0.0
    sound = True
    for section in sections:
        end = min(1.0, end + section.share)
        until = begun + end * seconds
        print(f"\n{section.title}", flush=True)
        jobs = section.jobs()
        for number, job in enumerate(jobs):
            left = until - time.perf_counter()
            if left <= 0:
                rest = f"{len(jobs) - number} of {len(jobs)} left out"
                board.add(section.title, Figure("no time left", rest), 0.0)
                break
            # what is quick leaves its time to those after it
            mine = time.perf_counter() + left / (len(jobs) - number)
            sound &= _do(job, section.title, board, Place(place.device, place.data_dir, mine))
    return sound


def _do(job: Job, section: str, board: Board, place: Place) -> bool:
    """Do one job; whether it did not fail."""
    last = time.perf_counter()
    try:
        for found in job.run(place):
            now = place.clock()
            board.add(section, found, now - last)
            last = now
    except Exception as error:
        # whatever it is: one row that fails ends no other
        why = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:200]
        board.add(section, Figure(job.name, why), time.perf_counter() - last, failed=True)
        return False
    finally:
        if place.device.type == "cuda":
            torch.cuda.empty_cache()
    return True
