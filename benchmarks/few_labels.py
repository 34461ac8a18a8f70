"""`python -m benchmarks.few_labels`: errors of `m2` beside classifiers of the same few labels.

Each seed draws other labels, and other weights. Test errors are those of `m2`'s own classifier, of
the same network learning from the labels alone, and of logistic regression on raw values.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.machine import describe
from benchmarks.table import table
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.labels import joint_classes
from simulacra.ground.randomness import seeded
from simulacra.models.keywords import parse_assignments
from simulacra.models.latent.m2 import M2
from simulacra.models.registry import build, preset
from simulacra.tasks.classify import own_log_probabilities
from simulacra.tasks.probe import Linear, values_of
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options

NAMES = {"m2": "`m2`", "alone": "its classifier, labels alone", "linear": "logistic regression"}
"""What is measured, and what it is called."""

_STEPS = 300
"""Of a classifier alone, all labels in each: the last error is below 0.001 nats of them long
before."""


def told(data: Dataset, split: Observations) -> tuple[Observations, Tensor]:
    """Observations of a split whose class is told, and that class."""
    classes = joint_classes(split, data.spec)
    assert classes is not None  # or no label could have been hidden
    rows = (classes >= 0).nonzero()[:, 0]
    return split.take(rows), classes[rows]


def errors(
    data: Dataset, seconds: float, seed: int, keywords: Mapping[str, Any]
) -> dict[str, float]:
    """Shares of the test split whose class each of `NAMES` does not find.

    Args:
        data: With few labels.
        seconds: Of the processor, for `m2`.
        seed: Of the weights and the batches.
        keywords: Of `m2`.
    """
    test, truth = told(data, data.test)
    few, classes = told(data, data.train)
    with seeded(seed):
        model, alone = (build("m2", data.spec, dict(keywords)) for _ in range(2))
    assert isinstance(model, M2)
    assert isinstance(alone, M2)
    options = Options(**{**preset("m2"), "device": "cpu", "seed": seed})
    training = Training(model, data.train, data.validation, options, clock=time.process_time)
    training.set_plan(Budget(seconds, "s"))
    for _ in training:
        pass
    training.settle()
    learned = training.averaged.eval()
    assert isinstance(learned, M2)
    learn_alone(alone, few, classes, seed, options.lr)
    linear = Linear.fit(values_of(few, data), classes.numpy())
    found = {
        "m2": own_log_probabilities(learned, test).argmax(1),
        "alone": own_log_probabilities(alone.eval(), test).argmax(1),
        "linear": torch.from_numpy(linear.classes(values_of(test, data))),
    }
    return {name: float((each != truth).double().mean()) for name, each in found.items()}


def learn_alone(model: M2, few: Observations, classes: Tensor, seed: int, lr: float) -> None:
    """Teach the classifier of a model what has a label, and nothing else."""
    x, _ = few.batch(torch.arange(len(few)))
    model.train()
    optimiser = torch.optim.AdamW(model.classifying.parameters(), lr=lr)
    with seeded(seed):
        for _ in range(_STEPS):
            loss = F.nll_loss(model.class_log_probabilities(x), classes)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def markdown(found: Sequence[Mapping[str, float]], told_of: str) -> str:
    """A row for each that was measured: mean and deviation over seeds, and every seed."""
    rows = []
    for name, words in NAMES.items():
        own = [100 * each[name] for each in found]
        spread = f" ± {stdev(own):.2f}" if len(own) > 1 else ""
        rows.append([words, f"{mean(own):.2f}{spread}", ", ".join(f"{e:.2f}" for e in own)])
    return f"{table(('test error, %', 'mean ± deviation', 'each seed'), rows)}\n\n{told_of}"


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.few_labels", description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--data", default="digits", help="a data set with labels")
    parser.add_argument("--data-dir", help="where its files are")
    parser.add_argument("--levels", type=int, help="quantise to so many")
    parser.add_argument("--labelled", type=int, default=50, help="labels that are told")
    parser.add_argument("--seconds", type=float, default=10, help="of the processor, for m2")
    parser.add_argument("--seeds", type=int, default=5, help="draws of the labels")
    parser.add_argument("--set", action="append", default=[], help="a keyword of m2: KEY=VALUE")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keywords, found = parse_assignments(given.set), []
    form = {"levels": given.levels, "labelled": given.labelled}
    for seed in range(given.seeds):
        data = load(given.data, data_dir=given.data_dir, labelled_seed=seed, **form)
        found.append(errors(data, given.seconds, seed, keywords))
        print(seed, {name: round(100 * value, 2) for name, value in found[-1].items()}, flush=True)
    machine = describe(torch.device("cpu"), 1, 0)
    print(markdown(
        found,
        f"{data.name}, {given.labelled} of {len(data.train)} training labels, {len(data.test)} "
        f"test observations; {given.seconds:g} s of one thread each, {machine['cpu']}, torch "
        f"{machine['torch']}.",
    ))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
