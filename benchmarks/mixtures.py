"""`python -m benchmarks.mixtures`: what mixtures of large pictures cost, in time and memory.

Each job runs in a fresh process on random RGB pictures with 256 levels: a sweep over 1,000 of them,
a gradient step on 128, the likelihood of 128, and 64 samples. Memory is the growth of the process
at its peak, beyond the model and the pictures, which the job begins with.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.optim import AdamW

from benchmarks.machine import describe
from benchmarks.memory import growth
from benchmarks.table import NONE, amount, seconds, table
from benchmarks.work import pictures
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.model import Likelihood, Sampling
from simulacra.models.registry import MODELS, build
from simulacra.models.swept import Swept

SIDES = (32, 64)
SWEPT, BATCH, DRAWN = 1000, 128, 64
JOBS = (f"sweep of {SWEPT:,}", f"step of {BATCH}", f"score of {BATCH}", f"{DRAWN} samples")
LIMIT = 150
"""Seconds for a job, with what it is prepared from, and done three times."""
CASES: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("gmm", {}, 64),
    # one of its matrices is 302 MB at side 64, and as much for gradients and again for sums
    ("gmm", {"covariance": "full", "components": 2}, 32),
    ("mfa", {}, 64),
    ("kde", {}, 64),
)
"""A model, its keywords, and the largest side that it is tried at."""


def job(name: str, keywords: dict[str, Any], side: int, which: int) -> Callable[[], object] | None:
    """A job of `JOBS`, ready to be called; nothing where the model has no such job."""
    spec = DataSpec((3, side, side), 256)
    with seeded(0):
        model = build(name, spec, keywords)
        x = pictures(spec, SWEPT, 0)
        model.prepare(x)
    if which == 0 and isinstance(model, Swept):
        parts = [(rows, None) for rows in x.split(BATCH)]
        return lambda: model.update(parts)
    turns = [turn for stage in model.stages for turn in stage.turns]
    if which == 1 and turns:
        moved = [each for each in model.parameters() if each.requires_grad]
        optimiser = AdamW(moved, lr=0.0, weight_decay=0.0)

        def step() -> None:
            optimiser.zero_grad()
            model.train().loss(x[:BATCH], turn=turns[0])["loss"].backward()
            optimiser.step()

        return step
    model.eval()
    if which == 2 and isinstance(model, Likelihood):
        return torch.no_grad()(lambda: model.log_likelihood(x[:BATCH]))
    if which == 3 and isinstance(model, Sampling):
        return lambda: model.sample(DRAWN)
    return None


def measured(name: str, keywords: dict[str, Any], side: int, which: int) -> str:
    """The cell of a job: its time and its memory, found in a fresh process."""
    words = [name, json.dumps(keywords), str(side), str(which)]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.mixtures", "--job", *words],
            cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
            timeout=LIMIT,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not done in {LIMIT} s"
    if done.returncode:
        print(f"{' '.join(words)}: {done.stderr[-300:]}", file=sys.stderr)
        return "failed"
    found = json.loads(done.stdout)
    if found is None:
        return NONE
    return f"{seconds(found['seconds'])}, {amount(found['bytes'], 'B')}"


def _job(name: str, keywords: str, side: str, which: str) -> None:
    torch.set_num_threads(1)
    run = job(name, json.loads(keywords), int(side), int(which))
    if run is None:
        print("null")
        return
    grown = growth(run, torch.device("cpu"))
    begun = time.perf_counter()
    run()
    print(json.dumps({"seconds": time.perf_counter() - begun, "bytes": grown}))


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default="gmm,mfa,kde", help="with commas between")
    parser.add_argument("--job", nargs=4, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job is not None:
        _job(*given.job)
        return
    rows = []
    for side in SIDES:
        for name, keywords, largest in CASES:
            if name not in given.models.split(",") or name not in MODELS or side > largest:
                continue
            told = [f"{key}={value}" for key, value in keywords.items()]
            row = [" ".join([name, *told]), f"3×{side}×{side}"]
            row += [measured(name, keywords, side, which) for which in range(len(JOBS))]
            print(" | ".join(row), file=sys.stderr, flush=True)
            rows.append(row)
    print(describe(torch.device("cpu"), 1, 0))
    print(table(("model", "pictures", *JOBS), rows))


if __name__ == "__main__":
    main()
