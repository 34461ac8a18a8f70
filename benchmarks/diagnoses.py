"""`python -m benchmarks.diagnoses`: which sicknesses of games are found, and which are imagined.

Healthy trainings are those of models as they come. Sick ones were made so on purpose: an opponent
twenty times as fast, a generator that moves ten times for each of the opponent's moves, much
momentum at a high rate, a rate that nothing can learn at. What each was diagnosed as is told as it
is, also where a training that was to be well fell ill, or the other way round.

Thresholds may be set on the rows `set` (digits, seeds 0 to 4) and are shown on the rows `shown`, of
other data and seeds. Each training is a row of a JSON file, which is written when it is done: begun
again, this goes on where it was. The looks of each are kept, so that `--told` judges all of them
anew by the thresholds as they are, without training.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe
from benchmarks.table import table
from simulacra.data.catalogue import load
from simulacra.ground.errors import DivergedError
from simulacra.ground.randomness import seeded
from simulacra.ground.storage import write_json
from simulacra.models import registry
from simulacra.training.course import Course
from simulacra.training.diagnosis import NAMES, TITLES
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options

OUT = Path(__file__).parents[1] / "docs" / "diagnoses.json"
HEALTHY = "healthy"
_BUILD = -3  # as a run builds its model
_LIGHT: Mapping[str, Any] = {"channels": 8}
"""Of convolutional players, so that a row takes seconds."""


@dataclass(frozen=True)
class Case:
    """A training.

    Args:
        done: What was done: `healthy`, or the sickness that it was to have.
        part: `set` or `shown`.
        model: Its name.
        data: That it learns from.
        seed: Of all of it.
        steps: How many.
        keywords: Of the model, beside its usual ones.
        options: Of the training, beside the model's own.
    """

    done: str
    part: str
    model: str
    data: str
    seed: int
    steps: int
    keywords: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """By which its row is found again."""
        return json.dumps(asdict(self), sort_keys=True)


def cases(steps: int) -> Iterator[Case]:
    """All trainings, those that thresholds may be set on first.

    Args:
        steps: Of each.
    """
    for part, data, seeds in (
        ("set", "digits", range(5)), ("shown", "ring-8", range(10, 12)),
        ("shown", "digits", range(10, 11)), ("shown", "moons", range(20, 21)),
        ("shown", "grid-25", range(20, 21)),
    ):  # fmt: skip
        pictures = data == "digits"
        healthy = ("gan", "lsgan", "wgan-gp", "sngan", "r3gan", *(["dcgan"] if pictures else []))
        for seed in seeds:
            for name in healthy if part == "shown" else [healthy[seed]]:
                light = _LIGHT if pictures and name != "gan" else {}
                yield Case(HEALTHY, part, name, data, seed, steps, light)
    plain: dict[str, Any] = {"dropout": 0.0, "augment": "never"}
    for part, data, seeds in (
        ("set", "digits", range(5)), ("shown", "ring-8", range(10, 14)),
        ("shown", "digits", range(10, 13)), ("shown", "moons", range(20, 23)),
    ):  # fmt: skip
        pictures = data == "digits"
        for seed in seeds:
            # of pictures by turns of MLPs and of convolutional players
            name = "dcgan" if pictures and seed % 2 else "gan"
            light = _LIGHT if name == "dcgan" else {}
            ways: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
                ("strong", plain | {"rates": (20.0, 0.2)}, {}),
                ("collapse", {"objective": "minimax", "moves": (1, 10)}, {"lr": 2e-3}),
                ("oscillation", plain, {"betas": (0.9, 0.9), "lr": 2e-3}),
                ("divergence", {}, {"lr": 1.0}),
            ]
            for done, keywords, options in ways:
                yield Case(done, part, name, data, seed, steps, {**light, **keywords}, options)


def measured(case: Case) -> dict[str, Any]:
    """One training, and all that its diagnoses follow from."""
    data = load(case.data)
    with seeded(case.seed, _BUILD):
        model = registry.build(case.model, data.spec, dict(case.keywords))
    chosen = {**registry.preset(case.model), "device": "cpu", "precision": "32", **case.options}
    begun = time.process_time()
    training = Training(
        model, data.train, data.validation, Options(**chosen, seed=case.seed), threads=1
    )
    training.set_plan(Budget(case.steps, "steps"))
    failed, accuracies = "", []
    try:
        for record in training:
            told = [v for k, v in record.losses.items() if k.endswith("/accuracy")]
            accuracies.append(round(sum(told) / len(told), 3) if told else None)
    except DivergedError as error:
        failed = str(error)
    course = training.course
    assert course is not None
    return {
        "case": asdict(case), "key": case.key, "looks": course.state["looks"], "failed": failed,
        "best": training.progress.best, "skipped": training.progress.skipped,
        "accuracies": accuracies, "seconds": time.process_time() - begun,
    }  # fmt: skip


def found(row: Mapping[str, Any]) -> list[str]:
    """What a training is diagnosed as, by the thresholds as they are."""
    if row["failed"]:
        # the training ended by itself, and said so
        return ["divergence"]
    critic = row["case"]["model"] == "wgan-gp"
    course = Course({}, "", critic=critic)
    for look in row["looks"]:
        seen = {key: value for key, value in look.items() if key not in ("step", "place")}
        course.looked(int(look["step"]), look["place"], seen)
    return list(dict.fromkeys(each.name for each in course.diagnoses))


def confusion(rows: Sequence[Mapping[str, Any]]) -> str:
    """What was done against what was diagnosed; a training with two diagnoses is in two columns."""
    lines = []
    for done in (HEALTHY, *NAMES):
        mine = [found(row) for row in rows if row["case"]["done"] == done]
        counts = [sum(name in each for each in mine) for name in NAMES]
        nothing = sum(not each for each in mine)
        what = TITLES[done] if done in NAMES else HEALTHY
        lines.append([what, str(len(mine)), *map(str, counts), str(nothing)])
    head = ["what was done", "trainings", *(TITLES[name] for name in NAMES), "nothing"]
    return table(head, lines)


def by_case(rows: Sequence[Mapping[str, Any]]) -> str:
    """Each training that was not diagnosed as what was done."""
    lines = []
    for row in rows:
        case, names = row["case"], found(row)
        if names != ([] if case["done"] == HEALTHY else [case["done"]]):
            last = row["looks"][-1] if row["looks"] else {}
            shown = [f"{last[k]:.2g}" if k in last else "—" for k in ("distance", "diversity")]
            lines.append([case["done"], case["model"], case["data"], str(case["seed"]),
                          ", ".join(names) or "nothing", *shown])  # fmt: skip
    head = ["what was done", "model", "data", "seed", "diagnosed as", "distance", "diversity"]
    return table(head, lines) if lines else "All trainings are diagnosed as what was done."


def markdown(report: Mapping[str, Any]) -> str:
    """The tables of docs/adversarial.md."""
    parts = []
    for part, title in (("shown", "Shown on"), ("set", "Set on")):
        rows = [row for row in report["rows"] if row["case"]["part"] == part]
        if rows:
            parts += [f"### {title} {len(rows)} trainings", confusion(rows), by_case(rows)]
    return "\n\n".join(parts)


def main(arguments: list[str] | None = None) -> int:
    """Train what is not trained yet, and print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.diagnoses", description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--budget", type=int, default=2000, help="steps of each training")
    parser.add_argument("--part", choices=("set", "shown"), help="those rows alone")
    parser.add_argument("--most", type=int, help="trainings to do now, at most")
    parser.add_argument("--told", action="store_true", help="judge what is there, train nothing")
    parser.add_argument("--out", type=Path, default=OUT, help="the JSON file")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    report: dict[str, Any] = {"machine": describe(torch.device("cpu"), 1, 0), "rows": []}
    if given.out.is_file():
        report = json.loads(given.out.read_text("utf-8"))
    done = {row["key"] for row in report["rows"]}
    wanted = [case for case in cases(given.budget) if given.part in (None, case.part)]
    left = [] if given.told else [case for case in wanted if case.key not in done]
    for case in left[: given.most]:
        row = measured(case)
        report["rows"].append(row)
        given.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(given.out, report)
        told = f"{', '.join(found(row)) or 'nothing'} ({row['seconds']:.1f} s)"
        print(f"{case.done} {case.model} {case.data} {case.seed}: {told}", file=sys.stderr)
    print(markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
