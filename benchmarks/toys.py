"""How far flows stay from toys whose density is known, beside zuko's spline flow at equal steps.

`python -m benchmarks.toys --models spline-flow,maf --steps 1000` prints, of each toy in a plane,
the mean of log p(x) − log q(x) over its test split in nats. All learn by one loop: batches of 256,
AdamW at 0.001 with a warm-up of 100 steps and a cosine, weight decay 0.0001, seed 0.
"""

from __future__ import annotations

import argparse
import importlib
import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

import simulacra as sim
from simulacra.data.dataset import Dataset
from simulacra.models.flow.base import Flow

TOYS = ("ring-8", "grid-25", "spirals", "moons", "circles", "checkerboard", "pinwheel")
BATCH, LR, WARMUP = 256, 1e-3, 100
LogDensity = Callable[[Tensor], Tensor]


def ours(name: str, data: Dataset) -> tuple[nn.Module, LogDensity]:
    """A flow of this package with its usual keywords, and its log-density."""
    model = sim.build(name, data.spec)
    assert isinstance(model, Flow)
    model.prepare(data.train.x[:])
    return model, model.log_density


def zuko(data: Dataset) -> tuple[nn.Module, LogDensity]:
    """zuko's neural spline flow as it comes, of values that are standardised for it too."""
    flow = importlib.import_module("zuko").flows.NSF(data.spec.dims)
    x = data.train.x[:]
    mean, spread = x.mean(0), x.std(0)

    def log_density(x: Tensor) -> Tensor:
        score: Tensor = flow().log_prob((x - mean) / spread) - spread.log().sum()
        return score

    return flow, log_density


def learn(log_density: LogDensity, weights: Iterable[nn.Parameter], x: Tensor, steps: int) -> None:
    """So many steps, the same batches for everyone."""
    optimiser = torch.optim.AdamW(weights, LR, weight_decay=1e-4)

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    draw = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = x[torch.randint(len(x), (BATCH,), generator=draw)]
        optimiser.zero_grad()
        (-log_density(rows).mean()).backward()
        optimiser.step()
        schedule.step()


def gap(name: str, data: Dataset, steps: int) -> float:
    """Nats by which what a model learnt lies below the truth, on the test split."""
    torch.manual_seed(0)
    model, log_density = zuko(data) if name == "zuko" else ours(name, data)
    learn(log_density, model.train().parameters(), data.train.x[:], steps)
    model.eval()
    assert data.density is not None
    x = data.test.x[:]
    with torch.no_grad():
        return float((data.density.log_prob(x) - log_density(x).double()).mean())


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default="zuko,spline-flow,maf,iaf", help="with commas between")
    parser.add_argument("--toys", default=",".join(TOYS), help="with commas between")
    parser.add_argument("--steps", type=int, default=1000)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    names = asked.models.split(",")
    print(f"| toy | {' | '.join(names)} |\n| --- |{' --- |' * len(names)}")
    for toy in asked.toys.split(","):
        data = sim.load_data(toy)
        gaps = [f"{gap(name, data, asked.steps):.3f}" for name in names]
        print(f"| `{toy}` | {' | '.join(gaps)} |", flush=True)


if __name__ == "__main__":
    main()
