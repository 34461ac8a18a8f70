"""`python -m benchmarks.beside_diffusers`: our U-Net beside that of diffusers, in a plain loop.

Theirs is a `UNet2DModel` of as many sizes, with a block at each on the way down, and of widths that
make it about as large and as dear as ours; both numbers are in the table. Ours is `ddpm` with its
usual keywords, told to predict the noise, as theirs is. A step is that of the loop that diffusers
shows: noise added by their scheduler, the squared error, its gradient, AdamW. A call is what a
sample takes `steps` of. Both are timed in interleaved rounds of one process with one thread, by the
seconds that the process has a processor: what else the machine does counts for little.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import work
from benchmarks.bench import threads, to_stderr
from benchmarks.machine import describe
from benchmarks.measure import measure, ratio
from benchmarks.peers import Peer, Wrapped
from benchmarks.table import seconds, table
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import flops
from simulacra.models.model import Model
from simulacra.models.registry import build
from simulacra.training.engine import has_matrix_units

SHAPES = ((1, 8, 8), (1, 28, 28), (3, 32, 32))
WIDTHS = (12, 24, 40)
"""Of theirs at each size, the smallest last; small pictures have the last ones alone."""
HEAD = 8
"""Channels of a head of theirs, of which widths are multiples."""


def _theirs(ours: Any) -> Model:  # noqa: ANN401 (ours is a DDPM)
    package = importlib.import_module("diffusers")
    channels, side, _ = ours.spec.event_shape
    widths = WIDTHS[-len(ours.network.down) - 1 :]
    network = package.UNet2DModel(
        sample_size=side, in_channels=channels, out_channels=channels, layers_per_block=1,
        block_out_channels=widths, down_block_types=("DownBlock2D",) * len(widths),
        up_block_types=("UpBlock2D",) * len(widths), attention_head_dim=HEAD, norm_num_groups=4,
        resnet_time_scale_shift="scale_shift",
    )  # fmt: skip
    scheduler = package.DDPMScheduler(ours.steps, beta_schedule="squaredcos_cap_v2")

    def loss(x: Tensor) -> Tensor:
        y = x.float() * (2 / (work.LEVELS - 1)) - 1
        noise, time = torch.randn_like(y), torch.randint(ours.steps, (len(y),))
        predicted: Tensor = network(scheduler.add_noise(y, noise, time), time).sample
        return (predicted - noise).square().mean()

    return Wrapped(ours.spec, network, loss)


PEER = Peer("diffusers", "ddpm", work.LEVELS, _theirs)


def _call(model: Any, z: Tensor) -> Callable[[], object]:  # noqa: ANN401 (either)
    """One call of the network, without gradients, at the same time for all."""
    model.eval()
    time, told = torch.full((len(z),), 0.5), z.new_zeros(len(z), 0)
    wrapped = isinstance(model, Wrapped)

    @torch.no_grad()
    def run() -> None:
        model.eval()
        if wrapped:
            model.network(z, time * 1000)
        else:
            model.network(z, time, told)

    return run


def _rounded(job: Callable[[], object]) -> Callable[[], object]:
    """The same within autocast to bfloat16."""

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            job()

    return run


def compare(
    shape: tuple[int, int, int], precision: str, batch: int, rounds: int, seed: int
) -> list[dict[str, Any]]:
    """A step and a call of both in the same rounds.

    Returns:
        Of each job `shape`, `precision`, `job`, `parameters`, `flops` and `ours` (seconds); and
        `missing`, or `their_parameters`, `their_flops`, `theirs` and `times`, which is their time
        divided by ours.
    """
    spec = DataSpec(shape, levels=work.LEVELS)
    x = work.pictures(spec, batch, seed)
    with seeded(seed):
        ours = build("ddpm", spec, {"prediction": "noise"})
        ours.prepare(x)
        theirs, z = PEER.make(ours), torch.randn(batch, *shape)
    jobs: dict[tuple[str, str], Callable[[], object]]
    jobs = {("ours", "step"): work.step(ours, x), ("ours", "call"): _call(ours, z)}
    if not isinstance(theirs, str):
        jobs |= {("theirs", "step"): work.step(theirs, x), ("theirs", "call"): _call(theirs, z)}
    models: dict[str, Any] = {"ours": ours, "theirs": theirs}
    counts = {(who, job): flops.count(models[who], run) for (who, job), run in jobs.items()}
    if precision == "bf16":
        jobs = {key: _rounded(run) for key, run in jobs.items()}
    read = measure(jobs, rounds, clock=time.process_time)
    rows = []
    for job in ("step", "call"):
        row: dict[str, Any] = {
            "shape": shape, "precision": precision, "job": job, "parameters": _size(ours),
            "flops": counts["ours", job], "ours": statistics.median(read["ours", job]),
        }  # fmt: skip
        if isinstance(theirs, str):
            rows.append(row | {"missing": theirs})
            continue
        rows.append(row | {
            "version": PEER.version, "their_parameters": _size(theirs),
            "their_flops": counts["theirs", job],
            "theirs": statistics.median(read["theirs", job]),
            "times": ratio(read["theirs", job], read["ours", job]),
        })  # fmt: skip
    return rows


def _size(model: Model) -> int:
    return sum(p.numel() for p in model.parameters())


def markdown(report: Mapping[str, Any]) -> str:
    """A row for each job; above 1, ours is faster, or takes fewer operations."""
    head = (
        "pictures", "job", "precision", "parameters: diffusers, ours", "diffusers", "ours",
        "diffusers ÷ ours", "operations: diffusers ÷ ours",
    )  # fmt: skip
    rows = []
    for row in report["rows"]:
        there = "missing" not in row
        sizes = [row["their_parameters"]] if there else []
        rows.append([
            "×".join(map(str, row["shape"])), row["job"], row["precision"],
            ", ".join(f"{size:,}" for size in (*sizes, row["parameters"])),
            seconds(row["theirs"]) if there else row["missing"], seconds(row["ours"]),
            f"{row['times']:.2f}" if there else "—",
            f"{row['their_flops'] / row['flops']:.2f}" if there else "—",
        ])  # fmt: skip
    return table(head, rows)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, and write `beside_diffusers.json`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.beside_diffusers",
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--batch", type=int, default=64, help="pictures in a step and in a call")
    parser.add_argument("--rounds", type=int, default=5, help="readings of each")
    parser.add_argument("--seed", type=int, default=0, help="of weights and pictures")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder of the figures")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    # bfloat16 where --precision auto may choose it
    precisions = ("float32", "bf16")[: 1 + has_matrix_units(torch.device("cpu"))]
    rows = []
    with threads(1):
        for shape in SHAPES:
            for precision in precisions:
                to_stderr(f"{'×'.join(map(str, shape))}, {precision}")
                rows += compare(shape, precision, given.batch, given.rounds, given.seed)
        report = {"machine": describe(torch.device("cpu"), 1, given.seed), "batch": given.batch,
                  "rounds": given.rounds, "rows": rows}  # fmt: skip
    (given.out / "beside_diffusers.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
