"""`python -m benchmarks.busy`: what a budget in seconds becomes, with and without others beside.

Every model trains on the digits for a few seconds four times: with one thread, as it chooses, with
one other process that takes a core, and with as many as there are cores. Each training has a
process of its own. The others count, as fast as they can, and yield to nobody.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks import machine
from benchmarks.table import NONE, table
from simulacra.data.catalogue import load
from simulacra.ground.threads import usable
from simulacra.models import registry
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options

HEAD = (
    "model", "1 thread", "chosen", "threads", "÷ 1 thread", "one beside", "threads", "÷ 1 thread",
    "all cores taken: got", "steps",
)  # fmt: skip
_COUNT = "while True: pass"


@contextlib.contextmanager
def beside(count: int) -> Iterator[None]:
    """So many processes of usual priority that take a core each, while the block goes on."""
    others = [subprocess.Popen([sys.executable, "-c", _COUNT]) for _ in range(count)]
    try:
        # a start is quieter than what follows
        time.sleep(0.5)
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def trained(name: str, seconds: float) -> dict[str, Any]:
    """A training in this process: what it took, and how it went."""
    data = load("digits")
    options = Options(**registry.preset(name), device="cpu")
    training = Training(registry.build(name, data.spec), data.train, data.validation, options)
    begun = time.perf_counter()
    # what was made ready before is a part of the budget
    begun -= training.progress.seconds
    training.set_plan(Budget(seconds, "s"))
    for _ in training:
        pass
    progress = training.progress
    return {
        "seconds": time.perf_counter() - begun,
        "steps": progress.step,
        "step": progress.spent["steps"] / progress.step,
        "threads": progress.threads,
        "converged": progress.converged,
        "validating": progress.spent.get("validating", 0.0),
    }


def measured(name: str, seconds: float, others: int, threads: int | None = None) -> dict[str, Any]:
    """A training in a process of its own, with others beside it."""
    chosen = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    free = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, "-m", "benchmarks.busy", "--train", name, "--seconds", str(seconds)]
    with beside(others):
        done = subprocess.run(
            command, env=free | chosen, check=True, capture_output=True, text=True
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(name: str, seconds: float) -> list[str]:
    """All of a model."""
    one = measured(name, seconds, 0, threads=1)
    own = measured(name, seconds, 0)
    busy = measured(name, seconds, 1)
    full = measured(name, seconds, usable())

    def timed(found: dict[str, Any]) -> list[str]:
        ratio = found["step"] / one["step"]
        return [f"{1000 * found['step']:.3g} ms", str(found["threads"]), f"{ratio:.2f}"]

    got = f"{full['seconds']:.1f} s" + (", converged" if full["converged"] else "")
    return [
        name, f"{1000 * one['step']:.3g} ms", *timed(own), *timed(busy), got, str(full["steps"]),
    ]  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Print the table, a row as soon as it is there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.busy", description=__doc__)
    add = parser.add_argument
    add("--models", default=",".join(registry.MODELS), help="names, separated by commas")
    add("--seconds", type=float, default=10.0, help="of each training")
    add("--train", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.train:
        print(json.dumps(trained(given.train, given.seconds)))
        return
    about = machine.describe(torch.device("cpu"), usable(), 0)
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    rows = []
    for name in given.models.split(","):
        rows.append(row(name, given.seconds))
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    print(f"Steps on the digits, in trainings of {given.seconds:g} s.\n")
    print(table(HEAD, [[cell or NONE for cell in each] for each in rows]))


if __name__ == "__main__":
    main()
