"""`python -m benchmarks.portraits`: pictures of persons that nobody trained on, by their embedding.

Each row is one encoder, and a gated PixelCNN that is told its codes. Persons are held out: of none
there are pictures in two splits. Told is what the vectors tell (of test pictures, with another
vector of the same person, with one of another person), and whether what is drawn from a picture is
like the person, and new. Runs are kept in --out, and what is there is not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.machine import describe
from benchmarks.table import table
from simulacra.data.augment import Augmented
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.ground.errors import SimulacraError, UsageError
from simulacra.ground.storage import write_json
from simulacra.judging.figures.diagnostics import mean_figure, shuffled
from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.likelihood import likelihood
from simulacra.judging.figures.novelty import FEWEST, neighbours, novelty
from simulacra.judging.figures.verification import verification
from simulacra.models.model import Sampling
from simulacra.models.registry import preset
from simulacra.runs.run import Run
from simulacra.tasks.codes import encodes
from simulacra.tasks.likeness import Likeness, likeness
from simulacra.tasks.sample import draw
from simulacra.training.options import Budget, Options

NONE = "none"
"""A row whose model is told nothing."""
ENCODERS: dict[str, dict[str, Any]] = {
    NONE: {},
    "pca": {"components": 16},
    "vae": {"latent": 16},
    "triplet": {},
}
PAINTER: dict[str, Any] = {"channels": 32, "layers": 10, "dropout": 0.3}
"""A gated PixelCNN that sees half a picture, of so few parameters that 280 of them last."""


def run_of(
    folder: Path, model: str, data: Dataset, keywords: dict[str, Any], budget: str, seed: int
) -> Run:
    """A run that is trained to its end: the one that is there, gone on with, or a new one."""
    if (folder / "run.json").is_file():
        run = Run.open(folder)
        if run.checkpoints() and run.outcome().finished:
            return run
    else:
        options = Options(**{**preset(model), "device": "cpu", "seed": seed})
        length = Budget.parse(budget)
        run = Run.create(
            folder, model=model, keywords=keywords, data=data, options=options, budget=length
        )
    run.train(data)
    return Run.open(folder)


def told(run: Run, data: Dataset) -> dict[str, Any]:
    """What the vectors tell, in bits for each value of a test picture."""
    model = run.model()
    scores = likelihood(model, data.test)
    score = scores.given_label or scores.marginal
    assert score is not None
    found: dict[str, Any] = {"own": score.bits_per_dim, "error": score.bits_standard_error}
    if scores.given_label is not None:
        lost = shuffled(model, data.test, scores)
        found |= {
            "other": asdict(_known(lost.figure)), "same": asdict(_known(lost.within)),
            "difference": asdict(_known(lost.across)),
        }  # fmt: skip
    return found


def _known(figure: Figure | None) -> Figure:
    if figure is None:
        raise UsageError("vectors are shuffled among persons: give --groups, and several of them")
    return figure


def drawn(run: Run, data: Dataset, draws: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures like each test picture `(N · draws, …)`, and the row of that one."""
    rows = torch.arange(len(data.test)).repeat_interleave(draws)
    _, context = data.test.batch(rows)
    model = run.model()
    assert isinstance(model, Sampling)
    told_ = context if model.context == "vector" else None
    return draw(model, len(rows), told_, seed=(seed,)).x, rows


def _share(values: Tensor, groups: Tensor) -> dict[str, Any]:
    """A mean of shares, with an interval that counts persons and ends where shares do."""
    found = mean_figure(values, groups=groups)
    if found.low is None or found.high is None:
        return asdict(found)
    return asdict(Figure(found.value, found.count, max(0.0, found.low), min(1.0, found.high)))


def like(data: Dataset, x: Tensor, rows: Tensor) -> dict[str, Any]:
    """How like the persons are to what is drawn, beside real pictures of them and chance."""
    encoder, groups, real = data.encoder, data.test.groups, data.test.context
    if encoder is None or groups is None or real is None:
        return {}
    found: dict[str, Likeness] = {
        "drawn": likeness(encoder.vectors(x), rows, real, groups),
        "real": likeness(real, torch.arange(len(real)), real, groups),
    }
    told_ = {
        name: {
            "than another": _share(each.than_another, each.group),
            "nearest": _share(each.nearest, each.group),
        }
        for name, each in found.items()
    }
    persons = [
        {
            "person": int(person),
            **{
                f"{name} {kind}": float(values[each.group == person].mean())
                for name, each in found.items()
                for kind, values in (("than another", each.than_another), ("nearest", each.nearest))
            },
        }
        for person in groups.unique()
    ]
    chance = dict(zip(("than another", "nearest"), found["drawn"].chance, strict=True))
    return {**told_, "chance": chance, "persons": persons}


def new(data: Dataset, x: Tensor, rows: Tensor) -> dict[str, Any]:
    """How near to the training pictures what is drawn lies, beside held-out pictures: pixels."""

    def seen(values: Tensor) -> Tensor:
        return data.spec.to_float(values).flatten(1).double()

    # both ways round, as they were learned from
    plain = data.train.base if isinstance(data.train, Augmented) and data.train.base else data.train
    once = plain.batch(torch.arange(len(plain)))[0]
    train = seen(torch.cat([once, once.flip(-1)]))
    held, own = seen(data.test.batch(torch.arange(len(data.test)))[0]), seen(x)
    found: dict[str, Any] = {}
    if min(len(train), len(held), len(own)) >= FEWEST:
        found = {name: asdict(each) for name, each in novelty(train, held, own).items()}
    # as the eye measures: the root mean square of differences between pixels, of 1 for white
    scale = np.sqrt(train.shape[1])
    near = {
        "drawn": neighbours(train.numpy(), own.numpy(), 1)[1][:, 0] / scale,
        "held out": neighbours(train.numpy(), held.numpy(), 1)[1][:, 0] / scale,
    }
    groups = data.test.groups
    if groups is not None:
        at = {"drawn": groups[rows].numpy(), "held out": groups.numpy()}
        found["persons"] = [
            {
                "person": int(person),
                **{name: float(np.median(each[at[name] == person])) for name, each in near.items()},
            }
            for person in groups.unique()
        ]
    return found | {name: float(np.median(each)) for name, each in near.items()}


def measured(name: str, data: Dataset, given: argparse.Namespace) -> dict[str, Any]:
    """A row: the encoder and the model that is told by it, trained where they are not there."""
    place = given.out / f"{name}.json"
    if place.is_file():
        row: dict[str, Any] = json.loads(place.read_text("utf-8"))
        return row
    row = {"encoder": name}
    if name != NONE:
        codes = run_of(
            given.out / name, name, data, ENCODERS[name], given.encoder_budget, given.seed
        )
        found = verification(encodes(codes.model()), data)
        if found is None or found.codes is None or found.values is None:
            raise UsageError("persons are held out as groups: give --groups, and several of them")
        data = codes.tell(data)
        row |= {
            "encoder_steps": codes.outcome().steps, "width": data.spec.context_width,
            "area": asdict(found.codes.area), "area of values": asdict(found.values.area),
        }  # fmt: skip
    keywords = PAINTER | {"context": "none" if name == NONE else "vector"}
    if given.channels is not None:
        keywords["channels"] = given.channels
    folder = given.out / f"drawn-by-{name}"
    run = run_of(folder, "gated-pixelcnn", data, keywords, given.budget, given.seed)
    outcome = run.outcome()
    row |= {"steps": outcome.steps, "told": told(run, data)}
    x, rows = drawn(run, data, given.draws, given.seed)
    row |= {"like": like(data, x, rows), "new": new(data, x, rows), "draws": len(x)}
    write_json(place, row)
    return row


def _interval(figure: dict[str, Any] | None, *, sign: bool = False) -> str:
    if not figure:
        return "–"
    plus = "+" if sign else ""
    ends = "" if figure["low"] is None else f" [{figure['low']:{plus}.3f}, {figure['high']:.3f}]"
    return f"{figure['value']:{plus}.3f}{ends}"


def told_table(rows: list[dict[str, Any]]) -> str:
    """What the vectors tell."""
    titles = ("encoder", "area", "own vector", "another's of the person", "another person's",
              "their difference")  # fmt: skip
    return table(titles, [
        [
            row["encoder"],
            _interval(row.get("area")),
            f"{row['told']['own']:.3f} ± {row['told']['error']:.3f}",
            *(_interval(row["told"].get(key), sign=True) for key in ("same", "other",
                                                                     "difference")),
        ]
        for row in rows
    ])  # fmt: skip


def like_table(rows: list[dict[str, Any]]) -> str:
    """Whether draws are like the person, and new."""
    titles = ("encoder", "nearer than another", "of real", "nearest of all", "of real", "chance",
              "to training, drawn", "held out", "nearer to training")  # fmt: skip
    cells = []
    for row in rows:
        found, near = row["like"], row["new"]
        shares = ["–"] * 5
        if found:
            shares = [
                _interval(found[of][kind])
                for kind in ("than another", "nearest")
                for of in ("drawn", "real")
            ]
            shares.append(f"{found['chance']['nearest']:.3f}")
        cells.append([
            row["encoder"], *shares, f"{near['drawn']:.3f}", f"{near['held out']:.3f}",
            _interval(near.get("nearer")),
        ])  # fmt: skip
    return table(titles, cells)


def persons_table(row: dict[str, Any]) -> str:
    """Each held-out person: likeness of draws and of real pictures, and how new they are."""
    titles = ("person", "nearer than another", "of real", "nearest of all", "of real",
              "to training, drawn", "held out")  # fmt: skip
    cells = [
        [
            str(a["person"]),
            *(f"{a[f'{of} {kind}']:.2f}" for kind in ("than another", "nearest")
              for of in ("drawn", "real")),
            f"{b['drawn']:.3f}", f"{b['held out']:.3f}",
        ]
        for a, b in zip(row["like"]["persons"], row["new"]["persons"], strict=True)
    ]  # fmt: skip
    return table(titles, cells)


def unpacked(source: str, out: Path) -> str:
    """The source; of a .zip of pictures, the folder that it is unpacked to."""
    path = Path(source)
    if path.suffix.lower() != ".zip":
        return source
    folder = out / path.stem
    if not folder.is_dir():
        with zipfile.ZipFile(path) as file:
            file.extractall(folder)
    return str(folder)


def main(arguments: list[str] | None = None) -> int:
    """Do what is not done yet, and print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.portraits", description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("--data", required=True, help="a folder with one of each person, or a .zip of one")
    add("--groups", default="{person}/*", help="who is on a picture")
    add("--side", type=int, default=24, help="of the pictures")
    add("--levels", type=int, default=32, help="of the pictures")
    add("--encoders", default=",".join(ENCODERS), help="names, separated by commas")
    add("--budget", default="14m", help="of the model that draws")
    add("--encoder-budget", default="90s", help="of each encoder")
    add("--channels", type=int, help=f"of the model that draws; {PAINTER['channels']} otherwise")
    add("--draws", type=int, default=2, help="like each test picture")
    add("--seed", type=int, default=0, help="of weights, batches and draws")
    add("--out", type=Path, default=Path("portraits"), help="folder of runs and figures")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    names = [name.strip() for name in given.encoders.split(",")]
    try:
        odd = [name for name in names if name not in ENCODERS]
        if odd:
            raise UsageError(f"no row is called {odd[0]!r}: one of {', '.join(ENCODERS)}")
        data = load(
            unpacked(given.data, given.out), side=given.side, levels=given.levels, colour="grey",
            groups=given.groups, flip=True,
        )  # fmt: skip
        rows = []
        for name in names:
            rows.append(measured(name, data, given))
            print(f"{name}: {_interval(rows[-1]['told'].get('other'), sign=True)}", flush=True)
    except SimulacraError as error:
        print(f"benchmarks.portraits: {error}", file=sys.stderr)
        return error.exit_code
    machine = describe(torch.device("cpu"), 1, given.seed)
    write_json(given.out / "portraits.json", {"rows": rows, "machine": machine})
    print(f"\nBits/dim of test pictures:\n\n{told_table(rows)}")
    values = next((row["area of values"] for row in rows if "area" in row), None)
    print(f"\nThe area under the ROC curve is {_interval(values)} by the pixels themselves.")
    print(f"\nWhat is drawn like each test picture:\n\n{like_table(rows)}")
    for row in rows:
        if row["like"]:
            print(f"\n{row['encoder']}, each person held out:\n\n{persons_table(row)}")
    counts = " / ".join(map(str, data.counts.values()))
    print(
        f"\n{data.name} at {given.side}×{given.side}, {given.levels} levels, {counts} pictures of "
        f"persons in one split each; gated-pixelcnn for {given.budget}, encoders for "
        f"{given.encoder_budget}, seed {given.seed}, one thread; {machine['cpu']}, torch "
        f"{machine['torch']}."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
