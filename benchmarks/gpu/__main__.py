"""`python -m benchmarks.gpu --minutes 8`: measure, print, and write `bench/gpu.json`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.gpu import ROOT

DATA = ROOT.parent / "shared" / "data"


def main(arguments: list[str] | None = None) -> int:
    """Measure all sections; 1 if a row failed, the error's code if nothing could be measured."""
    begun = time.perf_counter()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="What simulacra does on a GPU, in a few minutes and unattended.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("--minutes", type=float, default=8.0, help="of all sections together")
    add(
        "--data-dir",
        type=Path,
        default=DATA,
        help="folder of named data sets, with binarized_mnist",
    )
    add("--only", default="", help="sections whose title holds this; they get all the minutes")
    add("--device", default="auto", help="auto, cpu, cuda or mps")
    add("--out", type=Path, default=Path("bench"), help="folder of gpu.json")
    given = parser.parse_args(arguments)
    # seconds to import, which help need not wait for
    from benchmarks.gpu.board import Board, Place, chosen, measure_all
    from benchmarks.gpu.rows import SECTIONS
    from simulacra.ground.errors import SimulacraError
    from simulacra.training.engine import make_fabric
    from simulacra.training.options import Options

    if not given.minutes > 0:
        parser.error(f"--minutes is positive, got {given.minutes:g}")
    sections = chosen(SECTIONS, given.only)
    if not sections:
        parser.error(f"--only names a section, got {given.only!r}: "
                     + "; ".join(section.title for section in SECTIONS))  # fmt: skip
    try:
        device = make_fabric(Options(device=given.device)).device
        given.out.mkdir(parents=True, exist_ok=True)
        board = Board(given.out / "gpu.json", device)
    except (SimulacraError, OSError) as error:
        print(f"benchmarks.gpu: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    print(", ".join(f"{key} {value}" for key, value in board.machine.items()), flush=True)
    try:
        # importing, on a machine that others use, is some of the minutes
        left = 60 * given.minutes - (time.perf_counter() - begun)
        sound = measure_all(sections, board, Place(device, given.data_dir), left)
    except KeyboardInterrupt:
        print(
            f"benchmarks.gpu: interrupted; {len(board.rows)} rows are in {board.path}",
            file=sys.stderr,
        )
        return 130
    print(f"\n{len(board.rows)} rows are in {board.path}")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
