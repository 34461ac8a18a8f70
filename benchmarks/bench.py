"""The whole benchmark: what is built, counted and measured, as one report of plain values."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks import memory
from benchmarks.compare import compare
from benchmarks.machine import describe
from benchmarks.measure import exponent, measure, ratio
from benchmarks.work import LEVELS, Work
from simulacra.ground.errors import UsageError
from simulacra.models import flops

GROWING = ("step", "sample 64")
"""The jobs that are measured at several sides."""
Readings = dict[tuple[str, str, int], list[float]]
"""Seconds of each model, job and side."""


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Args:
        models: Names in the registry.
        side: Height and width of the pictures.
        sides: Those at which growth is measured.
        batch: Observations in a batch.
        rounds: Readings of each row.
        threads: Of torch.
        device: cpu, cuda or mps.
        seed: Of weights and pictures.

    Raises:
        UsageError: If a number is not positive.
    """

    models: tuple[str, ...]
    side: int = 28
    sides: tuple[int, ...] = (8, 16, 28)
    batch: int = 64
    rounds: int = 5
    threads: int = 1
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        for name, least in (("side", 2), ("batch", 1), ("rounds", 1), ("threads", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is at least {least}, got {getattr(self, name)}")
        if any(side < 2 for side in self.sides):
            raise UsageError(f"sides are at least 2, got {', '.join(map(str, self.sides))}")


def run(
    settings: Settings, device: torch.device, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Measure everything.

    Args:
        settings: See `Settings`.
        device: That of the settings.
        say: Shows what is being done.

    Returns:
        `machine`, `settings`, `matmul` (FLOPs a second), `rows`, `growth`, `peers`, and `left_out`
        (model → why), as plain JSON values.
    """
    with threads(settings.threads):
        works, left_out = _works(settings, device)
        say("counting FLOPs")
        counts = {
            (name, job): flops.count(work.model, work.job(job))
            for (name, side), work in works.items()
            if side == settings.side
            for job in work.names
            if job != "loop"
        }
        say("measuring memory, a process for each row")
        peaks = {
            (name, job): memory.peak(
                name, job, side=settings.side, batch=settings.batch,
                device=settings.device, threads=settings.threads,
            )
            for name, job in counts
            if job in GROWING
        }  # fmt: skip
        readings, matmul = _time(settings, device, works, say)
    peers = []
    if device.type == "cpu":
        say("timing peers beside ours, with one thread")
        with threads(1):
            peers = compare(
                settings.models, settings.side, settings.batch, settings.rounds, settings.seed
            )
    return {
        "machine": describe(device, settings.threads, settings.seed),
        "settings": asdict(settings) | {"levels": LEVELS},
        "matmul": matmul,
        "rows": _rows(settings, readings, counts, peaks, matmul),
        "growth": _growth(settings, readings),
        "peers": peers,
        "left_out": left_out,
    }


def _works(
    settings: Settings, device: torch.device
) -> tuple[dict[tuple[str, int], Work], dict[str, str]]:
    works: dict[tuple[str, int], Work] = {}
    left_out = {}
    sides = sorted({settings.side, *settings.sides})
    for name in settings.models:
        try:
            works |= {
                (name, side): Work(name, side, settings.batch, device, settings.seed)
                for side in sides
            }
        except UsageError as error:
            left_out[name] = str(error)
    return works, left_out


def _time(
    settings: Settings,
    device: torch.device,
    works: dict[tuple[str, int], Work],
    say: Callable[[str], None],
) -> tuple[Readings, float]:
    """All readings, interleaved, and the rate of a matrix product among them."""
    tasks: dict[tuple[str, str, int], Callable[[], object]] = {}
    for (name, side), work in works.items():
        for job in work.names:
            if side == settings.side or (job in GROWING and side in settings.sides):
                tasks[name, job, side] = work.job(job)
    # large enough to be limited by arithmetic
    size = 1024 if device.type == "cpu" else 4096
    a, b = torch.rand(2, size, size, device=device)
    matmul = ("", "matmul", size)
    say(f"timing {len(tasks) + 1} rows in {settings.rounds} rounds")
    readings = measure(tasks | {matmul: lambda: a @ b}, settings.rounds, clock=clock_of(device))
    return readings, 2 * size**3 / statistics.median(readings.pop(matmul))


def _rows(
    settings: Settings,
    readings: Readings,
    counts: dict[tuple[str, str], int],
    peaks: dict[tuple[str, str], int | None],
    matmul: float,
) -> list[dict[str, Any]]:
    rows = []
    for (name, job, side), seconds in readings.items():
        if side != settings.side:
            continue
        usual, count = statistics.median(seconds), counts.get((name, job))
        rows.append(
            {
                "model": name,
                "job": job,
                "seconds": usual,
                "fastest": min(seconds),
                "slowest": max(seconds),
                "flops": count,
                "share": None if count is None else count / usual / matmul,
                "peak_bytes": peaks.get((name, job)),
                "forwards": ratio(seconds, readings[name, "forward", side]),
            }
        )
    return rows


def _growth(settings: Settings, readings: Readings) -> list[dict[str, Any]]:
    rows = []
    for name in dict.fromkeys(name for name, _, _ in readings):
        for job in GROWING:
            keys = [(name, job, side) for side in settings.sides]
            if keys[0] not in readings:
                continue
            seconds = [statistics.median(readings[key]) for key in keys]
            pixels = [side**2 for side in settings.sides]
            fitted = exponent(pixels, seconds) if len(pixels) > 1 else None
            rows.append({"model": name, "job": job, "seconds": seconds, "exponent": fitted})
    return rows


def clock_of(device: torch.device) -> Callable[[], float]:
    """Seconds, once the device has done what it was given."""

    def read() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

    return read


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads of torch inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def to_stderr(text: str) -> None:
    """Keeps standard output for the table."""
    print(text, file=sys.stderr, flush=True)
