"""How much memory each model needs to train, sample and be evaluated on large observations.

`python -m benchmarks.memory_table` makes 300 pictures of 64×64 RGB with 256 levels. Then each
command runs in a fresh process, as a user gives it, on a machine with 4 GB as far as it is told,
and the most that was in memory is noted. Where a command is refused, the advice that it gives is
followed. Of a model that draws one value after another the first hundred are drawn, by when
all that it keeps is there: all of them may take hours. What takes too long nevertheless is ended,
and its peak until then is marked `*`.

With `--counts` it says instead what one observation takes, as the package counts it, and how many
are taken at once.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from benchmarks.large import make
from benchmarks.machine import describe
from benchmarks.table import NONE, table
from simulacra.ground import live
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.at_once import rows_at_once
from simulacra.models.model import Likelihood, Sampling, Stepwise

PICTURES = 300
LIMIT = 4.0
"""Gigabytes that each process is told it may have."""
STEPS = 100
"""Values that are drawn of each sample, of a model that draws one after another."""
_MOST_TRIES = 4
_STARTED = """
import sys
from itertools import islice
from pathlib import Path
from simulacra.ground import memory
from simulacra.models.autoregressive.base import Autoregressive

limit, steps = float(sys.argv.pop(1)), int(sys.argv.pop(1))

def free():
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    return max(0, int(limit * 1e9) - resident)

def few(self, *args, **kwargs):
    return islice(whole(self, *args, **kwargs), steps)

memory.free, whole = free, Autoregressive.sample_steps
Autoregressive.sample_steps = few
from simulacra.cli.app import main
main()
"""
"""What each process runs: the command line, on a machine that is smaller than this one."""


@dataclass(frozen=True)
class Done:
    """How a command ended.

    Args:
        code: Its exit code; negative if a signal ended it.
        peak: Bytes that were in memory at most.
        said: What it wrote.
        late: Whether it was ended because it took too long.
    """

    code: int
    peak: int
    said: str
    late: bool


def run(*arguments: str, limit: float, seconds: float) -> Done:
    """A command in a fresh process, ended after so many seconds."""
    command = [sys.executable, "-c", _STARTED, str(limit), str(STEPS), *arguments]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        watch = subprocess.Popen(
            [sys.executable, "-c", _WATCH, str(process.pid), str(seconds)], stdin=subprocess.PIPE
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        late = watch.poll() is not None
        watch.terminate()
        watch.wait()
        log.seek(0)
        said = log.read().decode(errors="replace")
    # KiB, on Linux
    return Done(process.returncode, 1024 * used.ru_maxrss, said, late)


_WATCH = "import os, sys, time; time.sleep(float(sys.argv[2])); os.kill(int(sys.argv[1]), 9)"


def measure(name: str, data: Path, place: Path, limit: float, seconds: float) -> list[str]:
    """The cells of a model's row, after its name: its options, and each command's peak."""
    folder, options = place / name, list[str]()
    train = ("train", name, str(data), "--out", str(folder))
    for _ in range(_MOST_TRIES):
        trained = run(*train, *options, "--budget", "2steps", limit=limit, seconds=seconds)
        advice = _advice(trained.said)
        if trained.code != 5 or not advice:
            break
        print(f"{name}: {_last(trained.said)}", flush=True)
        options += advice
    if trained.late:
        # what is sampled is trained on single observations then, which takes less time
        shutil.rmtree(folder, ignore_errors=True)
        smaller = options[: options.index("--batch")] if "--batch" in options else options
        run(*train, *smaller, "--budget", "1steps", "--batch", "1",
            limit=limit, seconds=10 * seconds)  # fmt: skip
    elif trained.code:
        print(f"{name}: {_last(trained.said)}", flush=True)
        return [" ".join(options) or NONE, "refused", NONE, NONE]
    sampled = run("sample", str(folder), limit=limit, seconds=seconds)
    judged = run("evaluate", str(folder), limit=limit, seconds=seconds)
    cells = [_cell(each, name) for each in (trained, sampled, judged)]
    return [" ".join(options) or NONE, *cells]


def counts(name: str, spec: DataSpec) -> list[str]:
    """The cells of a model's row, after its name: what an observation takes, and how many go."""
    keywords = {"direct": False, "hidden": (16,)} if name == "made" else {}
    model = registry.build(name, spec, keywords).eval()
    x = torch.zeros(2, *spec.event_shape, dtype=torch.long)
    weights = [each for each in model.parameters() if each.requires_grad]

    def step(rows: int) -> None:
        for turn in model.turns:
            torch.autograd.grad(model.loss(x[:rows], turn=turn)["loss"], weights, allow_unused=True)

    def score(rows: int) -> None:
        if isinstance(model, Likelihood):
            model.log_likelihood(x[:rows])

    def sample(rows: int) -> None:
        if isinstance(model, Stepwise):
            list(islice(model.sample_steps(rows), 8))
        elif isinstance(model, Sampling):
            model.sample(rows)

    cells = [f"{each / 1e6:,.1f}" for each in (_row(step), *map(_row_alone, (score, sample)))]
    with torch.no_grad():
        cells += [str(rows_at_once(score, 128)), str(rows_at_once(sample, 250))]
    return cells if isinstance(model, Likelihood) else [cells[0], NONE, cells[2], NONE, cells[4]]


def _row(run: Callable[[int], None]) -> int:
    one, two = (live.history(partial(run, rows)) for rows in (1, 2))
    return max(more for _, more in live.of_rows(one, two))


@torch.no_grad()
def _row_alone(run: Callable[[int], None]) -> int:
    return _row(run)


def _advice(said: str) -> list[str]:
    """The first options that a refusal says would fit."""
    found = re.search(r"(?:would fit:|are free:) ((?:--\S+ \S+ ?)+?)(?:,| or | fits|$)", said, re.M)
    return found[1].split() if found else []


def _last(said: str) -> str:
    return " ".join(said.strip().splitlines()[-1:])


def _cell(done: Done, name: str) -> str:
    if done.code and not done.late:
        print(f"{name}: ended with {done.code}: {_last(done.said)}", flush=True)
        return "refused" if done.code == 5 else "failed"
    return f"{done.peak / 1e6:,.0f}" + "*" * done.late


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default=",".join(registry.list_models()))
    parser.add_argument("--limit", type=float, default=LIMIT, help="gigabytes")
    parser.add_argument("--seconds", type=float, default=600, help="of each command, at most")
    parser.add_argument("--counts", action="store_true", help="what an observation takes, alone")
    chosen = parser.parse_args()
    if chosen.counts:
        names = ("model", "step, MB", "scored, MB", "drawn, MB", "scored at once", "drawn at once")
        spec = DataSpec((3, 64, 64), 256)
        found = ([name, *counts(name, spec)] for name in chosen.models.split(","))
        print(table(names, found))
        return
    head = ("model", "options", "train, MB", "sample, MB", "evaluate, MB")
    rows = []
    with tempfile.TemporaryDirectory(prefix="memory-") as place:
        data = Path(place) / "pictures"
        make(data, PICTURES)
        for name in chosen.models.split(","):
            cells = measure(name, data, Path(place), chosen.limit, chosen.seconds)
            rows.append([name, *cells])
            print(table(head, rows[-1:]).splitlines()[-1], flush=True)
    print(describe(torch.device("cpu"), torch.get_num_threads(), 0))
    print(table(head, rows))


if __name__ == "__main__":
    main()
