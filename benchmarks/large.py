"""Data larger than memory: what a large folder of pictures takes to load and to train on.

`python -m benchmarks.large FOLDER` makes 200,000 pictures of 64×64 RGB there, if there is no such
folder yet. Then fresh processes load them three times, and train a small `vae` on them; each
says how long it took and how much was in memory at most. The cache and the run lie beside the
folder and are removed at the end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

COUNT = 200_000
SIDE = 64
MODEL = ("vae", "--set", "hidden=64,32")
"""With few weights, of which training keeps several copies: what the data take is to be seen."""
_A_FOLDER = 1000


def make(folder: Path, count: int = COUNT) -> None:
    """Fill a folder with pictures: smooth ones with some noise, so that they are like photographs.

    Args:
        folder: Must not exist; pictures lie in sub-folders of a thousand.
        count: How many.
    """
    folder.mkdir(parents=True)
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(_make_some, [(folder, s, count) for s in range(0, count, _A_FOLDER)]))


def _make_some(task: tuple[Path, int, int]) -> None:
    from PIL import Image

    folder, start, count = task
    below = folder / f"{start // _A_FOLDER:04}"
    below.mkdir()
    rng = np.random.default_rng(start)
    for i in range(start, min(start + _A_FOLDER, count)):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = smooth + rng.integers(-8, 9, smooth.shape, dtype=np.int16)
        picture = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        picture.save(below / f"{i:07}.png", compress_level=1)


def measure(folder: Path, budget: str) -> None:
    """Print time and memory of three loads and of a training."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="large-") as place:
        load = ("-m", "benchmarks.large", str(folder), "--load")
        train = ("-m", "simulacra", "train", *MODEL, str(folder), "--budget", budget)
        for name, arguments in {
            "first load": load,
            "second load": load,
            "third load": load,
            f"train {' '.join(MODEL)} --budget {budget}": (*train, "--out", f"{place}/run"),
        }.items():
            begun = time.perf_counter()
            child = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=Path(__file__).parents[1],
                env={**os.environ, "SIMULACRA_CACHE": f"{place}/cache"},
            )
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.perf_counter() - begun
            # KiB on Linux
            print(f"{name}: {seconds:.1f} s, at most {usage.ru_maxrss / 1024:.0f} MiB", flush=True)


def _load(folder: str) -> None:
    # what a first call imports is not what is measured
    import simulacra as sim

    sim.load_data("digits")
    begun, worked = time.perf_counter(), time.process_time()
    data = sim.load_data(folder)
    seconds, worked = time.perf_counter() - begun, time.process_time() - worked
    levels = sum(data.counts.values()) * data.spec.dims / 1e9
    print(f"load_data: {seconds:.2f} s, {worked:.2f} s of them on a processor", flush=True)
    print(f"{data.counts}, {levels:.2f} GB of levels", flush=True)
    begun = time.perf_counter()
    print(f"fingerprint: {data.fingerprint[:12]} in {time.perf_counter() - begun:.2f} s")


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--load", action="store_true", help="only load it")
    given = parser.parse_args()
    if given.load:
        _load(str(given.folder))
        return
    if not given.folder.exists():
        make(given.folder, given.count)
    measure(given.folder.absolute(), given.budget)


if __name__ == "__main__":
    _main()
