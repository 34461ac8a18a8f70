"""Peak memory of a job, in a fresh process: what ran before has left its own peak behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.work import Work
from simulacra.training.memory import PeakMemory


def peak(name: str, job: str, *, side: int, batch: int, device: str, threads: int) -> int | None:
    """Bytes that a job needs at its peak, beyond the model and the batch that it begins with.

    On the CPU the growth of the process's memory, with whatever the first call keeps for itself;
    on a GPU that of torch's own allocations.

    Args:
        name: In the registry.
        job: One of `Work.names`.
        side: Height and width of the pictures.
        batch: Observations in a batch.
        device: cpu or cuda.
        threads: Of torch.

    Returns:
        Nothing where no one counts, or where the process ended early; then a line says why.
    """
    values = (name, job, str(side), str(batch), device, str(threads))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", *values],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        print(f"no memory of {name}, {job}: {done.stderr[-300:]}", file=sys.stderr)
        return None
    return int(done.stdout) if done.stdout.strip().isdigit() else None


def growth(run: Callable[[], object], device: torch.device) -> int | None:
    """Bytes by which calling it a few times raises the peak of this process or GPU."""
    peak, before = PeakMemory(device), _highest()
    _call(run)
    grown, after = peak.growth(), _highest()
    if grown is not None or device.type != "cpu" or before is None or after is None:
        return grown
    # where no one forgets a peak, a fresh process has had no higher one
    return after - before


def _highest() -> int | None:
    """The most bytes of this process that were ever in memory; nothing where no one counts."""
    try:
        import resource
    except ImportError:
        return None
    # bytes on macOS, KiB elsewhere
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _call(run: Callable[[], object]) -> None:
    # the optimiser's state is there from the second step on
    for _ in range(2):
        run()


def _main(name: str, job: str, side: str, batch: str, device: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    work = Work(name, int(side), int(batch), torch.device(device))
    grown = growth(work.job(job), work.device)
    print("" if grown is None else grown)


if __name__ == "__main__":
    _main(*sys.argv[1:])
