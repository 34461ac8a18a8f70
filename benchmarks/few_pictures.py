"""`python -m benchmarks.few_pictures`: games that learn from few pictures, augmented and not.

"Few data suffice" is said of GANs too. Each row learns from the first so many training pictures of
a shuffled order. Beside the Fréchet distance of its samples from held-out pictures stands what the
opponent says: which share of training and of held-out pictures it scores above the median sample.
Where it knows training pictures by heart, the first share is near 1, and the second is not.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch
from torch import Tensor

from benchmarks.machine import describe
from benchmarks.table import table
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.splits import permutation
from simulacra.ground.randomness import seeded
from simulacra.judging.features.views import View, views
from simulacra.judging.figures.fidelity import frechet_distance
from simulacra.models.game import Game
from simulacra.models.registry import build, preset
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options


def trained(
    name: str, data: Dataset, few: Observations, seconds: float, seed: int, augment: str
) -> Game:
    """A game after so many seconds of one thread; its average."""
    with seeded(seed):
        model = build(name, data.spec, {"augment": augment})
    options = Options(**{**preset(name), "device": "cpu", "seed": seed})
    training = Training(model, few, data.validation, options, threads=1, clock=time.process_time)
    training.set_plan(Budget(seconds, "s"))
    for _ in training:
        pass
    training.settle()
    learned = training.averaged.eval()
    assert isinstance(learned, Game)
    return learned


@torch.no_grad()
def row(model: Game, view: View, data: Dataset, few: Observations, real: Tensor) -> list[str]:
    """The Fréchet distance, and what the opponent says of each kind."""
    with seeded(0):
        drawn = model.sample(len(real))
    middle = model.scores(drawn).median()
    shown = [split.batch(torch.arange(min(500, len(split))))[0] for split in (few, data.test)]
    shares = [float((model.scores(x) > middle).double().mean()) for x in shown]
    return [
        f"{frechet_distance(real, view.features(drawn)):.2f}",
        *(f"{each:.2f}" for each in shares),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.few_pictures",
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--data", default="digits", help="pictures")
    parser.add_argument("--data-dir", help="where their files are")
    parser.add_argument("--model", default="sngan", help="a game of the registry")
    parser.add_argument("--counts", default="50,200,1000", help="training pictures, with commas")
    parser.add_argument("--seconds", type=float, default=20, help="of the processor, for each")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the batches")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = load(given.data, data_dir=given.data_dir)
    n = min(1000, len(data.test))
    view = views(data, n)[0]
    real = view.features(data.test.batch(torch.arange(n))[0])
    order, rows = permutation(len(data.train)), []
    for count in map(int, given.counts.split(",")):
        few = data.train.take(order[:count])
        for augment in ("never", "always"):
            model = trained(given.model, data, few, given.seconds, given.seed, augment)
            rows.append([f"{len(few):,}", augment, *row(model, view, data, few, real)])
            print(*rows[-1], flush=True)
    print()
    print(table(
        ("training pictures", "augmented", "Fréchet", "training above", "held out above"), rows
    ))  # fmt: skip
    machine = describe(torch.device("cpu"), 1, given.seed)
    floor = frechet_distance(real, view.features(data.train.batch(torch.arange(n))[0]))
    print(
        f"\n{data.name}, {given.model}, {given.seconds:g} s of one thread each, seed {given.seed}; "
        f"{n} samples against as many test observations, {view.extractor}, floor {floor:.2f}; "
        f"above the median score of samples; {machine['cpu']}, torch {machine['torch']}."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
