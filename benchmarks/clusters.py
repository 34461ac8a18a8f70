"""`python -m benchmarks.clusters`: are components classes, beside codes that are distributed?

Each component of a mixture is named by the class that most training observations in it are of, and
a test observation is taken for the class of its component. Beside it a linear classifier reads the
responsibilities, or the codes of a `vae`, or the levels themselves. No model is told the labels.
Figures go into docs/clusters.json, from which the page is made.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import describe
from benchmarks.table import NONE, table
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.randomness import seeded
from simulacra.ground.storage import write_json
from simulacra.models.model import Encoding
from simulacra.models.registry import MODELS, build, preset, takes
from simulacra.training.fit import fit
from simulacra.training.options import Options

DOCS = Path(__file__).parents[1] / "docs"
COMPONENTS = (10, 40, 100, 400)
MIXTURES = ("gmm", "mfa", "bernoulli-mixture")
ROWS = 5_000
"""Of a split that are read, at most."""
DATA = {"digits": (None, "30s"), "digits, 2 levels": (2, "30s"), "mnist": (None, "40s"),
        "mnist, 2 levels": (2, "40s")}  # fmt: skip
"""Where: how many levels, if not the usual ones, and how long a model is trained."""


def loaded(where: str, folder: Path | None) -> Dataset:
    """A named set, of fewer levels where `DATA` says so."""
    levels, _ = DATA[where]
    return load(where.partition(",")[0], levels=levels, data_dir=folder)


@torch.no_grad()
def codes(model: Encoding | None, split: Observations) -> tuple[Tensor, Tensor]:
    """What a classifier reads of observations, `(N, …)`, and their labels `(N,)`.

    Args:
        model: Whose codes; without, the levels themselves are read.
        split: The first `ROWS` of it.
    """
    x, labels = split.batch(torch.arange(min(ROWS, len(split))))
    assert labels is not None
    if model is None:
        return x.flatten(1).float(), labels
    return torch.cat([model.encode(rows) for rows in x.split(250)]), labels


def purity(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int) -> float:
    """Share of test observations whose component is named by their class.

    Args:
        train: Responsibilities `(N, K)` and labels `(N,)`, by which components are named.
        test: The same of others.
        classes: How many there are.
    """
    (r, labels), (shown, truth) = train, test
    seen = torch.zeros(r.shape[1], classes)
    seen.index_put_((r.argmax(1), labels), torch.ones(len(r)), accumulate=True)
    # where no training observation is, the most frequent class of all
    seen += 1e-6 * labels.bincount(minlength=classes)
    return float((seen.argmax(1)[shown.argmax(1)] == truth).float().mean())


def probe(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    """Share of test observations that a linear classifier of codes is right about."""
    from sklearn.linear_model import LogisticRegression

    mean, spread = train[0].mean(0), train[0].std(0).clamp_min(1e-3)
    (a, labels), (b, truth) = (((z - mean) / spread, y) for z, y in (train, test))
    made = LogisticRegression(C=0.1, max_iter=200).fit(a.numpy(), labels.numpy())
    return float(made.score(b.numpy(), truth.numpy()))


def measure(where: str, name: str, components: int | None, folder: Path | None) -> dict[str, Any]:
    """A row: of a mixture with so many components, of the `vae`, or of the levels themselves."""
    data = loaded(where, folder)
    row: dict[str, Any] = {"data": where, "model": name, "components": components}
    model: Encoding | None = None
    if name in MODELS:
        with seeded(0):
            new = build(name, data.spec, {"components": components} if components else {})
        fitted = fit(new, data, DATA[where][1], Options(**{**preset(name), "seed": 0}))
        assert isinstance(fitted, Encoding)
        model = fitted
    train, test = codes(model, data.train), codes(model, data.test)
    if components:
        row["purity"] = purity(train, test, data.spec.classes)
    row |= {"probe": probe(train, test), "numbers": train[0].shape[1], "test": len(test[1])}
    return row


def markdown(report: Mapping[str, Any]) -> str:
    """A table for each data set, a row for each model and number of components."""
    m = report["machine"]
    parts = []
    for where, (_, budget) in DATA.items():
        rows = [row for row in report["rows"] if row["data"] == where]
        if not rows:
            continue
        cells = [
            [f"`{row['model']}`" if row["model"] in MODELS else row["model"],
             str(row["numbers"]), f"{row['purity']:.1%}" if "purity" in row else NONE,
             f"{row['probe']:.1%}"]
            for row in rows
        ]  # fmt: skip
        parts += [
            f"**{where}**, {budget} of training each, {rows[0]['test']:,} test observations:",
            table(("codes of", "numbers", "right by component", "right by a linear probe"), cells),
        ]
    parts.append(
        f"{m['cpu']}, {m['threads']} thread, torch {m['torch']}, {m['date'][:10]}, seed 0."
    )
    return "\n\n".join(parts)


def _asked(where: str, names: list[str], folder: Path | None) -> list[tuple[str, int | None]]:
    spec = loaded(where, folder).spec
    return [
        (name, count)
        for name in names
        if name not in MODELS or takes(name).includes(spec)
        for count in (COMPONENTS if name in MIXTURES else (None,))
    ]


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write clusters.json; rows of other data and models stay."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.clusters", description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    every = ["levels", "vae", *MIXTURES]
    add = parser.add_argument
    add("--models", default=",".join(every), help="names, separated by commas; levels is no model")
    add("--data", default=";".join(DATA), help="names, separated by semicolons")
    add("--data-dir", type=Path, default=None, help="folder of named data sets")
    add("--out", type=Path, default=DOCS, help="folder of clusters.json")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    path = given.out / "clusters.json"
    before = json.loads(path.read_text("utf-8"))["rows"] if path.is_file() else []
    kept = {(row["data"], row["model"], row["components"]): row for row in before}
    names = [name for name in given.models.split(",") if name == "levels" or name in MODELS]

    def place(row: Mapping[str, Any]) -> tuple[int, int, int]:
        return list(DATA).index(row["data"]), every.index(row["model"]), row["components"] or 0

    machine = describe(torch.device("cpu"), torch.get_num_threads(), 0)
    for where in given.data.split(";"):
        for name, count in _asked(where, names, given.data_dir):
            row = kept[where, name, count] = measure(where, name, count, given.data_dir)
            print(row, file=sys.stderr, flush=True)
            # at once: what comes later may take long
            write_json(path, {"machine": machine, "rows": sorted(kept.values(), key=place)})
    report = {"machine": machine, "rows": sorted(kept.values(), key=place)}
    print(markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
