"""`python -m benchmarks.calibration`: the judge is judged, on data whose density is known.

A ladder is a true distribution and deliberately worse ones; how much worse is computed from their
densities. A figure that is right puts them in the same order.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from torch.distributions import Distribution

from benchmarks.__main__ import USUAL
from benchmarks.ladders import jensen_shannon, ladders
from benchmarks.machine import describe
from benchmarks.table import table
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.ground.errors import MissingCapability
from simulacra.ground.randomness import seeded
from simulacra.judging.drawn import draw
from simulacra.judging.features.views import views
from simulacra.judging.figures.likelihood import likelihood
from simulacra.judging.figures.measures import FIDELITY, MEASURES, NOVELTY, WHOLE
from simulacra.judging.figures.records import SampleFigures
from simulacra.judging.figures.sample_judge import SampleJudge, fair_count
from simulacra.judging.scoring import divergence
from simulacra.models.model import Likelihood
from simulacra.models.registry import build, preset
from simulacra.report.copying import copies
from simulacra.training.fit import fit
from simulacra.training.options import Options

DATA = ("mixture-8x8", "table-8x8", "ring-8")
RIGHT, ROUGH = 0.9, 0.5
"""Rank correlations from which a figure counts as right, and as roughly right."""
CHANCE = 0.01
"""Above this, a correlation over all sets of samples may be chance."""
FRESH = 6
"""Sets of samples from the truth that say what real data get."""


def badness(key: str, value: float, real: float) -> float:
    """How bad a figure says that samples are, by its own direction.

    Args:
        key: Of `MEASURES`.
        value: The figure.
        real: What real data get.
    """
    better = MEASURES[key].better
    if better in ("lower", "higher"):
        return value if better == "lower" else -value
    return abs(value - {"one": 1.0, "zero": 0.0}.get(better, real))


def measured(
    judge: SampleJudge, distribution: Distribution, *, repeats: int, seed: tuple[int, ...]
) -> list[SampleFigures]:
    """All figures of fresh draws from a distribution, once for each repeat.

    Args:
        judge: Of the true data.
        distribution: What the samples are drawn from.
        repeats: Sets of samples.
        seed: Of the samples.
    """
    found = []
    for repeat in range(repeats):
        with seeded(*seed, repeat):
            x = distribution.sample(torch.Size([judge.count]))
        found.append(judge.judge(x if judge.data.spec.levels else x.float()))
    return found


def _says(judge: SampleJudge, sets: Sequence[SampleFigures]) -> dict[str, int]:
    """How many of some sets of samples are called copies, and how many merely near."""
    told = [copies(judge.references, each) or "" for each in sets]
    return {
        "copies": sum(text.startswith("copies") for text in told),
        "near": sum(text.startswith("lies") for text in told),
        "void": sum(text.startswith("repeats") for text in told),
    }


def _flat(judged: SampleFigures) -> dict[str, float]:
    """Figures by `key` or `key view`, as one level of names."""
    flat = {key: figure.value for key, figure in judged.whole.items()}
    for view, figures in judged.views.items():
        flat |= {f"{key} {view}": figure.value for key, figure in figures.items()}
    return flat


def correlation(bad: Sequence[float], truth: Sequence[float]) -> tuple[float, float]:
    """Spearman's rank correlation and its p-value; 0 and 1 of a figure that is always the same."""
    if min(len(set(bad)), len(set(truth))) < 2:
        return 0.0, 1.0
    found = spearmanr(bad, truth)
    # of two values there is no p-value
    return float(found.statistic), float(found.pvalue) if len(bad) > 2 else 1.0


def verdict(rank: float, chance: float) -> str:
    """A rank correlation in a word.

    Args:
        rank: Of the rungs.
        chance: How probable so strong a correlation is of a figure that sees nothing.
    """
    rank = round(rank, 9)
    if chance > CHANCE or abs(rank) < ROUGH:
        return "blind"
    if rank < 0:
        return "wrong"
    return "right" if rank >= RIGHT else "roughly"


def calibrate(data: Dataset, *, repeats: int, budget: str = "", seed: int = 0) -> dict[str, Any]:
    """Every figure on every ladder of one data set.

    Args:
        data: One with known density.
        repeats: Sets of samples for each rung.
        budget: Of every model that is trained on it; none is without.
        seed: Of all draws and weights.

    Returns:
        `data`, `count`, `views`, and `ladders`: each with its `rungs`, their `truth`
        (Jensen–Shannon divergences in nats) and the `figures`: rank correlation with the truth,
        and badness; and `models`, what trained ones truly lack.
    """
    made = views(data, fair_count(data))
    judge = SampleJudge(data, made, seed=seed)
    density = data.density
    assert density is not None  # a ladder stands on it
    # of one half of the test split alone, what real data get would be a matter of chance
    fresh = [_flat(each) for each in measured(judge, density, repeats=FRESH, seed=(seed, 0))]
    real = {key: sum(each[key] for each in fresh) / FRESH for key in fresh[0]}
    found = []
    for number, ladder in enumerate(ladders(data), start=1):
        _say(f"{data.name}: {ladder.name}")
        truth = [jensen_shannon(density, rung, seed=seed) for _, rung in ladder.rungs]
        sets = [
            measured(judge, rung, repeats=repeats, seed=(seed, number, place))
            for place, (_, rung) in enumerate(ladder.rungs)
        ]
        figures = {}
        for key in real:
            name = key.partition(" ")[0]
            # membership is not measured where all samples crowd around a few observations
            bad = [
                [badness(name, flat[key], real[key]) for flat in map(_flat, each) if key in flat]
                for each in sets
            ]
            kept = [(values, t) for values, t in zip(bad, truth, strict=True) if values]
            means = [sum(values) / len(values) for values, _ in kept]
            rank, _ = correlation(means, [t for _, t in kept])
            single = [(value, t) for values, t in kept for value in values]
            _, chance = correlation(*zip(*single, strict=True))
            figures[key] = {"rank": rank, "chance": chance, "verdict": verdict(rank, chance)}
        found.append(
            {
                "name": ladder.name,
                "rungs": [name for name, _ in ladder.rungs],
                "truth": truth,
                "figures": figures,
                "says": [_says(judge, each) for each in sets],
            }
        )
    return {
        "data": data.name,
        "count": judge.count,
        "views": [asdict(view.summary()) for view in made],
        "ladders": found,
        "models": _trained(data, judge, budget, seed) if budget else {},
    }


def _trained(data: Dataset, judge: SampleJudge, budget: str, seed: int) -> dict[str, Any]:
    """What models that learned from the data truly lack, beside what their samples show."""
    found = {}
    for name in USUAL:
        _say(f"{data.name}: {name}")
        try:
            with seeded(seed):
                model = build(name, data.spec)
            options = Options(**{**preset(name), "seed": seed})
            model = fit(model, data, budget, options)
        except MissingCapability:
            continue
        kl = exact = None
        if isinstance(model, Likelihood):
            score = likelihood(model, data.test, draws=64).marginal
            gap = score and divergence(score, data)
            kl, exact = asdict(gap) if gap else None, model.exact
        x = draw(model, data, judge.count).x
        figures = judge.judge(x).views["features"]
        found[name] = {
            "kl": kl,
            "exact": exact,
            **{key: figures[key].value for key in ("frechet", "c_t")},
        }
    return found


def markdown(report: Mapping[str, Any]) -> str:
    """The whole as Markdown: for each data set the ladders, and how each figure ranks them."""
    machine = report["machine"]
    told = ", ".join(f"{key} {machine[key]}" for key in ("cpu", "torch", "date") if key in machine)
    parts = [f"{told}; seed {report['seed']}, {report['repeats']} sets of samples for each rung."]
    for each in report["data"]:
        seen = ", ".join(
            f"{v['name']}: {v['extractor']}, width {v['width']}" for v in each["views"]
        )
        parts.append(f"### {each['data']}\n\n{each['count']} samples against as many. {seen}.")
        parts.append(_truths(each["ladders"]))
        parts.append(_ranks(each["ladders"]))
        parts.append(_words(each["ladders"], report["repeats"]))
        if each.get("models"):
            parts.append(_gaps(each["models"]))
    return "\n\n".join(parts)


def _truths(ladders: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            ladder["name"],
            "; ".join(
                f"{name} {truth:.4f}".replace("-0.0000", "0.0000")
                for name, truth in zip(ladder["rungs"], ladder["truth"], strict=True)
            ),
        ]
        for ladder in ladders
    ]
    lines = [
        "| ladder | rungs, and their Jensen–Shannon divergence from the truth, nats |",
        "|---|---|",
    ]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _ranks(ladders: Sequence[Mapping[str, Any]]) -> str:
    """Rank correlations: a row for each figure and view, a column for each ladder."""
    keys = {key: None for ladder in ladders for key in ladder["figures"]}
    ordered = [*FIDELITY, *NOVELTY, *WHOLE]
    head = ["figure", "view", *(ladder["name"] for ladder in ladders)]
    rows = []
    for key in sorted(keys, key=lambda k: (ordered.index(k.partition(" ")[0]), k)):
        name, _, view = key.partition(" ")
        cells = [_cell(ladder["figures"].get(key)) for ladder in ladders]
        rows.append([MEASURES[name].name, view or "–", *cells])
    return table(head, rows)


def _words(ladders: Sequence[Mapping[str, Any]], repeats: int) -> str:
    """On which rungs the report calls samples copies."""
    rows = []
    for ladder in ladders:
        cells = []
        for word in ("copies", "near", "void"):
            named = [
                f"{name} ({says[word]} of {repeats})"
                for name, says in zip(ladder["rungs"], ladder["says"], strict=True)
                if says.get(word)
            ]
            cells.append(", ".join(named) or "never")
        rows.append([ladder["name"], *cells])
    head = ["ladder", "“copies training data”", "“lies nearer …”", "“repeats … held out”"]
    return table(head, rows)


def _gaps(models: Mapping[str, Any]) -> str:
    rows = []
    for name, found in models.items():
        kl, gap = found["kl"], "none: no likelihood"
        if kl:
            sign = "=" if found["exact"] else "≤"
            gap = f"{sign} {kl['value']:.3f} [{kl['low']:.3f}, {kl['high']:.3f}]"
        rows.append([f"`{name}`", gap, *(f"{found[k]:.3g}" for k in ("frechet", "c_t"))])
    return table(["model", "KL to the truth, nats", "Fréchet distance", "C_T"], rows)


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "–"
    text = f"{figure['rank']:.2f}".replace("-", "−")
    return text if figure["verdict"] == "right" else f"{text} ({figure['verdict']})"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, and write `calibration.json`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.calibration",
        description="Which figures of samples put worse models in the right order.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--data", default=",".join(DATA), help="names, separated by commas")
    parser.add_argument("--repeats", type=int, default=2, help="sets of samples for each rung")
    parser.add_argument("--budget", default="64kobs", help="of every model that is trained")
    parser.add_argument("--seed", type=int, default=0, help="of the samples")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder of the results")
    given = parser.parse_args(arguments)
    report = {
        "machine": describe(torch.device("cpu"), torch.get_num_threads(), given.seed),
        "repeats": given.repeats,
        "seed": given.seed,
        "data": [
            calibrate(load(name), repeats=given.repeats, budget=given.budget, seed=given.seed)
            for name in given.data.split(",")
        ],
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "calibration.json").write_text(json.dumps(report, indent=1) + "\n")
    print(markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
