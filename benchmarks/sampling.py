"""`python -m benchmarks.sampling`: what sampling pixel by pixel costs, and training fast.

A picture cannot cost less than one pass over its own pixels, so the time of sampling is given in
parallel float32 passes over the same batch, taken in the same round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from benchmarks.bench import threads, to_stderr
from benchmarks.machine import describe
from benchmarks.measure import exponent, measure, ratio
from benchmarks.work import form, pictures
from simulacra.ground.randomness import seeded
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.registry import build, find
from simulacra.training.compiling import compiled as compiled_form

LIMITED: dict[str, dict[str, Any]] = {
    "gated-pixelcnn 10 × 128": {"model": "gated-pixelcnn", "layers": 10, "channels": 128},
    "gated-pixelcnn 15 × 64": {"model": "gated-pixelcnn", "layers": 15, "channels": 64},
}
"""Networks whose sampling is held to a limit, at several batches."""
FAMILY = (
    "pixelcnn", "row-lstm", "diagonal-bilstm", "pixelcnnpp", "made", "pixel-rnn",
    "pixel-transformer", "wavenet",
)  # fmt: skip
"""Models with their usual keywords, at the largest batch."""
BATCHES = (64, 16, 1)
SIDES = (8, 16, 28, 32, 64)
SIDE, GROWN = 28, 16
"""Side of the pictures; pictures that are sampled at each of several sides."""
VALUES = 8
"""Values that the plain sampler is timed for; each costs it the same."""


def made(side: int, model: str, seed: int = 0, **keywords: Any) -> Autoregressive:  # noqa: ANN401
    """A model for black and white pictures, or for sounds of 256 levels and as many samples."""
    kind = find(model)
    spec = form(kind, side, levels=2)
    with seeded(seed):
        found = build(model, spec if spec.is_image else form(kind, side), keywords)
    assert isinstance(found, Autoregressive)
    return found.eval()


def forward(model: Autoregressive, x: Tensor) -> Callable[[], object]:
    """One parallel pass."""
    return torch.no_grad()(lambda: model.conditionals(x))


def ratios(rounds: int, seed: int) -> list[dict[str, Any]]:
    """Sampling in forward passes over the same batch."""
    rows = []
    cases: list[tuple[str, dict[str, Any], tuple[int, ...]]]
    cases = [(name, given, BATCHES) for name, given in LIMITED.items()]
    cases += [(name, {"model": name}, BATCHES[:1]) for name in FAMILY]
    for name, given, batches in cases:
        model = made(SIDE, seed=seed, **given)
        for batch in batches:
            x = pictures(model.spec, batch, seed)
            tasks: dict[str, Callable[[], object]] = {
                "forward": forward(model, x),
                "sample": lambda model=model, batch=batch: model.sample(batch),  # type: ignore[misc]
            }
            to_stderr(f"{name}, batch {batch}")
            read = measure(tasks, rounds)
            rows.append({
                "model": name, "batch": batch,
                "parameters": sum(p.numel() for p in model.parameters()),
                **{job: statistics.median(seconds) for job, seconds in read.items()},
                "ratio": ratio(read["sample"], read["forward"]),
            })  # fmt: skip
    return rows


def growth(seed: int) -> dict[str, dict[int, float]]:
    """Seconds to sample pictures of several sides."""
    found: dict[str, dict[int, float]] = {}
    for name in ("gated-pixelcnn", *FAMILY):
        found[name] = {}
        for side in SIDES:
            to_stderr(f"{name}, side {side}")
            model = made(side, name, seed)
            begun = time.perf_counter()
            model.sample(GROWN)
            found[name][side] = time.perf_counter() - begun
    return found


def against_plain(seed: int) -> dict[str, float]:
    """How many times faster cached sampling is than the whole network for each value."""
    model = made(SIDE, seed=seed, **LIMITED["gated-pixelcnn 10 × 128"])
    canvas = torch.zeros(16, 1, SIDE, SIDE, dtype=torch.int64)
    plain = Autoregressive.in_turn(model, canvas)
    next(plain)
    times: list[float] = []
    cached: list[float] = []
    for value in range(VALUES):
        begun = time.perf_counter()
        next(plain)
        times.append(time.perf_counter() - begun)
        if value % 2:
            begun = time.perf_counter()
            model.sample(16)
            cached.append(time.perf_counter() - begun)
    whole = statistics.median(times) * model.spec.dims
    return {"plain": whole, "cached": statistics.median(cached),
            "times": whole / statistics.median(cached)}  # fmt: skip


STEPS: dict[str, dict[str, bool]] = {
    "float32": {},
    "bfloat16": {"low": True},
    "bfloat16, channels last": {"low": True, "last": True},
    "bfloat16, channels last, compiled": {"low": True, "last": True, "compiled": True},
}


def steps(rounds: int, seed: int) -> list[dict[str, Any]]:
    """A training step, batch 16, without the optimiser: plain and made fast."""
    tasks = {name: _step(seed, **how) for name, how in STEPS.items()}
    to_stderr("training steps")
    read = measure(tasks, rounds)
    return [
        {"step": name, "seconds": statistics.median(seconds),
         "faster": ratio(read["float32"], seconds)}
        for name, seconds in read.items()
    ]  # fmt: skip


def _step(
    seed: int, *, low: bool = False, last: bool = False, compiled: bool = False
) -> Callable[[], object]:
    model = made(SIDE, seed=seed, **LIMITED["gated-pixelcnn 10 × 128"]).train()
    if last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = pictures(model.spec, 16, seed)
    loss = compiled_form(type(model).loss) if compiled else type(model).loss

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            value = loss(model, x)["loss"]
        value.backward()
        model.zero_grad()

    return run


def markdown(report: dict[str, Any]) -> str:
    """The report as tables."""
    lines = [
        "| model | parameters | batch | forward | sampling | ÷ forward |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['model']} | {row['parameters']:,} | {row['batch']} | {row['forward']:.3g} s "
        f"| {row['sample']:.3g} s | {row['ratio']:.2f} |"
        for row in report["ratios"]
    ]
    sides = "".join(f" {side} |" for side in SIDES)
    lines += ["", f"| seconds to sample {GROWN}, side |{sides} time ∝ pixels^p, p |",
              "| --- |" + " ---: |" * (len(SIDES) + 1)]  # fmt: skip
    for name, seconds in report["growth"].items():
        power = exponent([side**2 for side in seconds], list(seconds.values()))
        cells = "".join(f" {value:.3g} |" for value in seconds.values())
        lines.append(f"| {name} |{cells} {power:.2f} |")
    plain = report["against_plain"]
    lines += [
        "",
        f"Gated PixelCNN, 10 × 128, 16 pictures of side {SIDE}: the plain sampler, which runs the "
        f"network for each of {SIDE**2} values, would take {plain['plain']:.0f} s ({VALUES} values "
        f"timed), the cached one takes {plain['cached']:.2f} s: {plain['times']:.0f} times faster.",
        "",
        "| training step, batch 16 | seconds | times faster |",
        "| --- | ---: | ---: |",
    ]
    lines += [f"| {s['step']} | {s['seconds']:.3g} | {s['faster']:.2f} |" for s in report["steps"]]
    return "\n".join(lines) + "\n"


def draw(seconds: dict[str, dict[int, float]], path: Path) -> None:
    """Time against pixels, both logarithmic."""
    figure, axis = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for name, grown in seconds.items():
        axis.loglog([side**2 for side in grown], list(grown.values()), marker="o", ms=4, label=name)
    pixels = [side**2 for side in SIDES]
    start = min(grown[SIDES[0]] for grown in seconds.values()) * 0.6
    straight = [start * p / pixels[0] for p in pixels]
    axis.loglog(pixels, straight, "--", color="0.6", label="linear in the pixels")
    axis.set_xticks(pixels, [f"{side}²" for side in SIDES])
    axis.minorticks_off()
    axis.set_xlabel("pixels of a picture")
    axis.set_ylabel(f"seconds to sample {GROWN}")
    axis.legend(fontsize=8, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    to_stderr(f"{what}: {time.perf_counter() - begun:.0f} s")


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write `sampling.md`, `sampling.json` and `sampling.png`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sampling", description=__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="readings of each ratio")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--seed", type=int, default=0, help="of weights and pictures")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder of the results")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    with threads(given.threads), _timed("all"):
        report: dict[str, Any] = {
            "machine": describe(torch.device("cpu"), given.threads, given.seed),
            "ratios": ratios(given.rounds, given.seed),
            "against_plain": against_plain(given.seed),
            "steps": steps(given.rounds, given.seed),
            "growth": growth(given.seed),
        }
    text = markdown(report)
    (given.out / "sampling.md").write_text(text, "utf-8")
    (given.out / "sampling.json").write_text(json.dumps(report, indent=1), "utf-8")
    draw(report["growth"], given.out / "sampling.png")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
