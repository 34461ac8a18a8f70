"""`python -m benchmarks.modes`: how many modes of toys do generators cover, seed by seed?

A mode counts if at least 1 % of the samples lie within three of its standard deviations, and a
sample is good if it lies so near to any. Every model has its defaults and those options that it
trains best with; a budget in seconds is of processor time with one thread, so that what else the
machine does takes nothing from it. Figures go into docs/modes.json, a row at a time, and rows that
are there are not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe, processor
from benchmarks.table import table
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.ground.randomness import seeded
from simulacra.ground.storage import detached_copy, write_json
from simulacra.models.model import Model
from simulacra.models.registry import build, preset
from simulacra.runs.run import BUILD
from simulacra.tasks.covered import covered, modes_of
from simulacra.tasks.sample import draw, frequent_context
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options

DOCS = Path(__file__).parents[1] / "docs"
MODELS = ("gan", "lsgan", "wgan-gp", "sngan", "r3gan")
TOYS = ("ring-8", "grid-25")
SAMPLES = 2_500


def trained(model: Model, data: Dataset, budget: str, options: Options) -> tuple[Model, int]:
    """The model to use, as `fit` gives it, and its steps; seconds are of the processor."""
    training = Training(
        model, data.train, data.validation, options, threads=1, clock=time.process_time
    )
    training.set_plan(Budget.parse(budget))
    best = None
    for record in training:
        if record.validated and record.step == training.progress.best_step:
            best = detached_copy(training.averaged.state_dict())
    if best is not None:
        training.averaged.load_state_dict(best)
    return training.averaged.eval(), training.progress.step


def measure(name: str, toy: str, seed: int, budget: str) -> dict[str, Any]:
    """A row: a model that begins and trains as `simulacra train` has it with that seed."""
    data = load(toy)
    modes = modes_of(data)
    assert modes is not None, f"nobody knows the modes of {toy}"
    with seeded(seed, BUILD):
        model = build(name, data.spec)
    options = Options(**{**preset(name), "seed": seed, "device": "cpu"})
    model, steps = trained(model, data, budget, options)
    told = frequent_context(model, data, SAMPLES, seed=seed)
    found = covered(draw(model, SAMPLES, told, seed=(seed,)).x, modes)
    return {
        "model": name, "toy": toy, "seed": seed, "budget": budget, "steps": steps,
        "torch": torch.__version__, "cpu": processor(),
        "modes": found.modes, "covered": found.covered, "good": round(found.good, 4),
    }  # fmt: skip


def markdown(report: Mapping[str, Any]) -> str:
    """A row for each model and toy: in how many seeds all modes are covered."""
    m, kept = report["machine"], report["rows"]
    cells = []
    for name, toy, budget in dict.fromkeys((r["model"], r["toy"], r["budget"]) for r in kept):
        rows = [r for r in kept if (r["model"], r["toy"], r["budget"]) == (name, toy, budget)]
        good, steps = ([row[key] for row in rows] for key in ("good", "steps"))
        modes, least = rows[0]["modes"], min(row["covered"] for row in rows)
        whole = sum(row["covered"] == modes for row in rows)
        cells.append([
            f"`{name}`", f"`{toy}`", budget, f"{modes} of {modes} in {whole} of {len(rows)}",
            str(least), f"{sum(good) / len(good):.1%}", f"{min(good):.1%}",
            f"{sum(steps) / len(steps):,.0f}",
        ])  # fmt: skip
    head = (
        "model", "toy", "budget", "covered, in seeds", "fewest", "good samples", "worst", "steps",
    )  # fmt: skip
    return "\n\n".join(
        [
            table(head, cells),
            f"{SAMPLES:,} samples each. {m['cpu']}, {m['threads']} thread, torch {m['torch']}, "
            f"{m['date'][:10]}.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing, and print what is there."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.modes", description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("--models", default=",".join(MODELS), help="names, with commas between")
    add("--toys", default=",".join(TOYS), help="names, with commas between")
    add("--seeds", type=int, default=10, help="how many, from 0 on")
    add("--budget", default="60s", help="of each training")
    add("--out", type=Path, default=DOCS, help="folder of modes.json")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "modes.json"
    rows = json.loads(path.read_text("utf-8"))["rows"] if path.is_file() else []
    kept = {(row["model"], row["toy"], row["budget"], row["seed"]): row for row in rows}
    report = {"machine": describe(torch.device("cpu"), 1, 0), "rows": rows}
    names, toys = given.models.split(","), given.toys.split(",")
    # seed by seed, so that what is stopped has some of each
    for seed, name, toy in ((s, n, t) for s in range(given.seeds) for n in names for t in toys):
        key = name, toy, given.budget, seed
        if key in kept:
            continue
        kept[key] = measure(name, toy, seed, given.budget)
        print(kept[key], file=sys.stderr, flush=True)
        report["rows"] = [kept[key] for key in sorted(kept)]
        write_json(path, report)
    print(markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
