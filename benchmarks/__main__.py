"""`python -m benchmarks`: measure the models, print the table, and write it down."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from simulacra.ground.errors import ResourceError, SimulacraError, UsageError, nearest
from simulacra.models.registry import MODELS

USUAL = ("gmm", "vae", "pixelcnn", "gan", "nice")
"""One model of each family; `benchmarks.sampling` has the whole autoregressive one."""


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; the exit code is 0, or that of the error shown."""
    try:
        _run(_parser().parse_args(arguments))
    except SimulacraError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("benchmarks: interrupted, nothing was written", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="What models cost in time, FLOPs and memory.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("--models", default=",".join(USUAL), help="names, separated by commas")
    add("--side", type=int, default=28, help="height and width of the pictures")
    add("--sides", default="8,16,28", help="those at which growth is measured")
    add("--full", action="store_true", help="measure growth up to side 32 too")
    add("--batch", type=int, default=64, help="observations in a batch")
    add("--rounds", type=int, default=5, help="readings of each row")
    add("--threads", type=int, default=_cores(), help="threads of torch")
    add("--device", default="cpu", help="auto, cpu, cuda or mps")
    add("--seed", type=int, default=0, help="of weights and pictures")
    add("--out", type=Path, default=Path("bench"), help="folder of bench.md and bench.json")
    return parser


def _run(given: argparse.Namespace) -> None:
    models = tuple(dict.fromkeys(name.strip() for name in given.models.split(",")))
    for name in models:
        if name not in MODELS:
            raise UsageError(f"no model is called {name!r}: {nearest(name, MODELS)}")
    sides = {*_whole(given.sides), *([32] if given.full else [])}
    # a second or two to import, which help and mistakes need not wait for
    from benchmarks import bench, table
    from simulacra.training.engine import make_fabric
    from simulacra.training.options import Options

    device = make_fabric(Options(device=given.device)).device
    settings = bench.Settings(
        models, given.side, tuple(sorted(sides)), given.batch, given.rounds, given.threads,
        device.type, given.seed,
    )  # fmt: skip
    try:
        # before minutes are spent
        given.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"{given.out} cannot be a folder: {error.strerror}") from error
    report = bench.run(settings, device, bench.to_stderr)
    table.write(report, given.out)
    print(table.markdown(report))


def _whole(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--sides takes numbers separated by commas, got {text!r}") from None


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())
