"""`python -m benchmarks.stacked MODEL`: modes of stacked MNIST that a model finds, and reverse KL.

A model learns from pictures of three digits, of which there are a thousand kinds. Then 25,600
samples are drawn, and a classifier of single digits looks at each of their colours; as many test
pictures are the floor. Both are held against the labels of the training split.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import describe
from benchmarks.table import table
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.labels import joint_classes
from simulacra.data.splits import permutation
from simulacra.ground.errors import SimulacraError
from simulacra.ground.randomness import seeded
from simulacra.judging.drawn import drawn_classes
from simulacra.judging.features.classifier import Classifier
from simulacra.judging.figures.classes import ClassFigures, class_figures
from simulacra.judging.figures.labels import classes_taken
from simulacra.models.keywords import parse_assignments
from simulacra.models.model import Model
from simulacra.models.registry import build, preset
from simulacra.tasks.bayes import class_frequencies
from simulacra.training.fit import fit
from simulacra.training.options import Budget, Options

SAMPLES = 25_600
"""As Metz et al. count modes among (2016, arXiv 1611.02163)."""
STEPS = 600
"""Of the classifier's training, 128 pictures of three digits in each."""
_LOT = 500


@dataclass(frozen=True)
class Recogniser:
    """A classifier of single digits, which learned from the training split.

    Args:
        classifier: See `Classifier`.
        device: Where it is.
        accuracy: Share of validation pictures of which it finds all three digits.
    """

    classifier: Classifier
    device: torch.device
    accuracy: float

    def taken(self, x: Tensor) -> Tensor:
        """The class of each picture, `(N,)` int64."""
        with torch.no_grad():
            return torch.cat([
                classes_taken(self.classifier.log_probabilities(some.to(self.device)))
                for some in x.split(_LOT)
            ])  # fmt: skip


def taken_of(split: Observations, rows: Tensor, recogniser: Recogniser) -> Tensor:
    """The classes of some observations of a split."""
    return torch.cat([recogniser.taken(split.batch(some)[0]) for some in rows.split(_LOT)])


def recogniser_of(data: Dataset, device: torch.device, steps: int = STEPS) -> Recogniser:
    """Teach a classifier the digits of the training split.

    Args:
        data: With labels.
        device: Where.
        steps: Of its training.
    """
    options = Options(
        batch=128, lr=3e-3, weight_decay=0.05, ema=0.99, seed=0, device=device.type, precision="32"
    )
    with seeded(0):
        learned = fit(Classifier(data.spec), data, Budget(steps, "steps"), options).eval()
    assert isinstance(learned, Classifier)
    found = Recogniser(learned, device, 0.0)
    truth = joint_classes(data.validation, data.spec)
    assert truth is not None  # or nothing could have been learned
    own = taken_of(data.validation, torch.arange(len(truth)), found)
    return Recogniser(learned, device, float((own == truth).double().mean()))


def modes(
    model: Model, data: Dataset, recogniser: Recogniser, n: int = SAMPLES
) -> tuple[ClassFigures, ClassFigures]:
    """The classes among samples, and among as many test pictures as there are of these.

    Args:
        model: One that samples.
        data: See `stacked-mnist`.
        recogniser: That sees both.
        n: How many samples.
    """
    shares = class_frequencies(data.train, data.spec)
    taken = drawn_classes(model.eval(), data, n, recogniser.taken)
    assert shares is not None
    assert taken is not None
    real = taken_of(data.test, permutation(len(data.test))[:n], recogniser)
    return class_figures(taken, shares), class_figures(real, shares)


def markdown(rows: Mapping[str, ClassFigures], told_of: str) -> str:
    """A row for each, and what all of them rest on."""
    cells = []
    for name, each in rows.items():
        kl = each.reverse_kl
        told = "–" if kl is None else f"{kl.value:.3f} [{kl.low:.3f}, {kl.high:.3f}]"
        cells.append([
            name, f"{each.among:,}", f"{each.found:,} of {each.classes:,}", told,
            f"{each.rarest.ratio.value:.2f}", f"{each.commonest.ratio.value:.2f}",
        ])  # fmt: skip
    head = ("", "pictures", "modes", "reverse KL, nats", "least × its share", "most × its share")
    return f"{table(head, cells)}\n\n{told_of}"


def main(arguments: list[str] | None = None) -> int:
    """Train, count, and print the table; the exit code is 0, or that of the error shown."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stacked", description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("model", metavar="MODEL", help="a model of the registry that samples")
    parser.add_argument("--budget", default="8m", help="of its training")
    parser.add_argument("--set", action="append", default=[], help="a keyword of it: KEY=VALUE")
    parser.add_argument("--data-dir", type=Path, help="where MNIST's files are")
    parser.add_argument("--side", type=int, help="crop and resize to so many pixels")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="to count modes among")
    parser.add_argument("--recogniser", type=int, default=STEPS, help="steps of its training")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    given = parser.parse_args(arguments)
    try:
        print(_measured(given))
    except SimulacraError as error:
        print(f"benchmarks.stacked: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _measured(given: argparse.Namespace) -> str:
    from simulacra.training.engine import make_fabric

    keywords: dict[str, Any] = parse_assignments(given.set)
    form = {} if given.side is None else {"side": given.side}
    data = load("stacked-mnist", data_dir=given.data_dir, **form)
    options = Options(**{**preset(given.model), "device": given.device, "seed": given.seed})
    device = make_fabric(options).device
    with seeded(given.seed):
        model = build(given.model, data.spec, keywords)
    begun = time.perf_counter()
    trained = fit(model, data, given.budget, options)
    took = time.perf_counter() - begun
    recogniser = recogniser_of(data, device, given.recogniser)
    found, real = modes(trained.to(device), data, recogniser, given.samples)
    machine = describe(device, torch.get_num_threads(), given.seed)
    where = machine.get("gpu", machine["cpu"])
    set_ = f" with {' '.join(given.set)}" if given.set else ""
    return markdown(
        {given.model: found, "real, test": real},
        f"`{given.model}`{set_}, {given.budget} ({took:.0f} s), seed {given.seed}; {where}, "
        f"{machine['threads']} threads, torch {machine['torch']}. The recogniser finds all three "
        f"digits of {recogniser.accuracy:.1%} of validation pictures.",
    )


if __name__ == "__main__":
    sys.exit(main())
