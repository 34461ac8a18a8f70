"""`python -m benchmarks.family DATA`: the autoregressive models at equal steps and parameters.

All are trained on the same batches in the same order and judged picture by picture on the test
split, so that differences are paired. Time is of a training step, all models interleaved.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.bench import to_stderr
from benchmarks.machine import describe
from benchmarks.measure import measure, ratio
from benchmarks.work import step
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.ground.randomness import seeded
from simulacra.models.model import Likelihood
from simulacra.models.registry import build
from simulacra.training.fit import fit
from simulacra.training.options import Options

ORDER = ("diagonal-bilstm", "gated-pixelcnn", "row-lstm", "pixelcnn")
"""From the best to the worst in the papers."""
LAYERS, LR = 4, 2e-3


def sized(name: str, data: Dataset, parameters: int) -> Likelihood:
    """A model of about so many parameters: the width that comes nearest."""
    best: tuple[int, Likelihood] | None = None
    for width in range(4, 257, 2):
        with seeded(0):
            model = build(name, data.spec, {"channels": width, "layers": LAYERS})
        assert isinstance(model, Likelihood)
        gap = abs(sum(p.numel() for p in model.parameters()) - parameters)
        if best is not None and gap > best[0]:
            break
        best = (gap, model)
    assert best is not None
    return best[1]


def scores(model: Likelihood, data: Dataset) -> Tensor:
    """Log-likelihood of each test picture in bits a value."""
    found = []
    with torch.no_grad():
        for start in range(0, len(data.test), 100):
            x, _ = data.test.batch(torch.arange(start, min(start + 100, len(data.test))))
            found.append(model.log_likelihood(x))
    return torch.cat(found).double() / (data.spec.dims * math.log(2))


def run(data: Dataset, budget: str, batch: int, parameters: int, rounds: int) -> dict[str, Any]:
    """Train, judge and time every model.

    Returns:
        `models` (name, channels, parameters, bits, error, seconds and times the last one's of a
        step) and `pairs` (each with the next: difference, low, high), as plain JSON values.
    """
    models = {name: sized(name, data, parameters) for name in ORDER}
    x, _ = data.train.batch(torch.arange(batch))
    read = measure({name: step(model, x) for name, model in models.items()}, rounds)
    found: dict[str, Tensor] = {}
    for name, model in models.items():
        to_stderr(f"{name}: {sum(p.numel() for p in model.parameters()):,} parameters")
        with seeded(0):
            trained = fit(model, data, budget, Options(batch=batch, lr=LR))
        assert isinstance(trained, Likelihood)
        found[name] = -scores(trained, data)
        to_stderr(f"{name}: {float(found[name].mean()):.4f} bits a value")
    return {
        "models": [
            {
                "model": name, "channels": models[name].keywords["channels"],
                "parameters": sum(p.numel() for p in models[name].parameters()),
                "bits": float(bits.mean()), "error": float(bits.std()) / math.sqrt(len(bits)),
                "step": statistics.median(read[name]), "times": ratio(read[name], read[ORDER[-1]]),
            }
            for name, bits in found.items()
        ],
        "pairs": [
            {"models": [a, b], **difference(found[a], found[b])} for a, b in pairwise(ORDER)
        ],
    }  # fmt: skip


def difference(a: Tensor, b: Tensor) -> dict[str, float]:
    """How much more bits the second needs, with the 95 % interval over pictures."""
    gaps = b - a
    middle, off = float(gaps.mean()), 1.96 * float(gaps.std()) / math.sqrt(len(gaps))
    return {"difference": middle, "low": middle - off, "high": middle + off}


def markdown(report: dict[str, Any]) -> str:
    """The report as tables."""
    lines = [
        "| model | channels | parameters | bits/dim | training step | × pixelcnn |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {m['model']} | {m['channels']} | {m['parameters']:,} | = {m['bits']:.4f} ± "
        f"{m['error']:.4f} | {1000 * m['step']:.0f} ms | {m['times']:.2f} |"
        for m in report["models"]
    ]
    lines += ["", "| second less first, bits/dim | difference | 95 % interval |",
              "| --- | ---: | ---: |"]  # fmt: skip
    lines += [
        f"| {' → '.join(pair['models'])} | {pair['difference']:+.4f} "
        f"| {pair['low']:+.4f} … {pair['high']:+.4f} |"
        for pair in report["pairs"]
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Compare, print and write `family.md` and `family.json`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.family", description=__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    parser.add_argument("source", metavar="DATA", nargs="?", default="digits")
    parser.add_argument("--levels", type=int, help="quantise to so many")
    parser.add_argument("--side", type=int, help="crop and resize to so many pixels")
    parser.add_argument("--data-dir", type=Path, help="folder of named sets")
    parser.add_argument("--budget", default="1500steps", help="of each model")
    parser.add_argument("--batch", type=int, default=16, help="pictures in a batch")
    parser.add_argument("--parameters", type=int, default=150_000, help="of each model, about")
    parser.add_argument("--rounds", type=int, default=5, help="readings of a step's time")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder of the results")
    given = parser.parse_args(arguments)
    data = load(given.source, levels=given.levels, side=given.side, data_dir=given.data_dir)
    report = run(data, given.budget, given.batch, given.parameters, given.rounds)
    report["machine"] = describe(torch.device("cpu"), torch.get_num_threads(), 0)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "family.json").write_text(json.dumps(report, indent=1), "utf-8")
    (given.out / "family.md").write_text(markdown(report), "utf-8")
    print(markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
