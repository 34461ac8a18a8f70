"""`python -m benchmarks.counts DATA`: what a table of counts given six neighbours reaches.

Each value is predicted from the six nearest before it: left, left of that, above, above that,
above left, above right. The table counts how often each level followed each context in the
training split; a level that was not seen there gets the share that Krichevsky and Trofimov (1981)
give it, half a count. It is the least that a network has to beat.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import torch
from torch import Tensor

from simulacra.data.catalogue import load
from simulacra.data.dataset import Observations
from simulacra.ground.errors import SimulacraError, UsageError

NEIGHBOURS = ((0, -1), (0, -2), (-1, 0), (-2, 0), (-1, -1), (-1, 1))
"""Rows and columns from a pixel to those that predict it."""


def contexts(x: Tensor, levels: int) -> Tensor:
    """Which context each pixel of pictures `(N, 1, H, W)` has; beyond the edge is level 0."""
    padded = torch.nn.functional.pad(x, (2, 1, 2, 0))
    height, width = x.shape[2:]
    number = torch.zeros_like(x)
    for rows, columns in NEIGHBOURS:
        top, left = 2 + rows, 2 + columns
        number = number * levels + padded[:, :, top : top + height, left : left + width]
    return number


def nats(train: Observations, test: Observations, levels: int) -> Tensor:
    """Negative log-likelihood of each test picture, in nats."""
    table = torch.full((levels ** len(NEIGHBOURS), levels), 0.5, dtype=torch.float64)
    for start in range(0, len(train), 1000):
        x, _ = train.batch(torch.arange(start, min(start + 1000, len(train))))
        places = (contexts(x, levels) * levels + x).flatten()
        table.view(-1).add_(torch.bincount(places, minlength=table.numel()).double())
    log_p = table.log() - table.sum(1, keepdim=True).log()
    x, _ = test.batch(torch.arange(len(test)))
    return -log_p[contexts(x, levels), x].flatten(1).sum(1)


def main(arguments: list[str] | None = None) -> int:
    """Count, and print the figure with its standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.counts", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("source", metavar="DATA", help="name or path of pictures of one colour")
    parser.add_argument("--levels", type=int, help="quantise to so many")
    parser.add_argument("--data-dir", type=Path, help="folder of named sets")
    given = parser.parse_args(arguments)
    try:
        data = load(given.source, levels=given.levels, data_dir=given.data_dir)
        spec = data.spec
        if not spec.is_image or spec.event_shape[0] != 1 or (spec.levels or 99) > 16:
            raise UsageError(
                "counts need pictures of one colour and at most 16 levels, got "
                f"{spec.event_shape} with levels={spec.levels}: pass --levels"
            )
    except SimulacraError as error:
        print(f"counts: {error}", file=sys.stderr)
        return error.exit_code
    each = nats(data.train, data.test, spec.levels or 0)
    mean, off = float(each.mean()), float(each.std()) / math.sqrt(len(each))
    print(
        f"{data.name}: = {mean:.2f} ± {off:.2f} nats an image, "
        f"{mean / spec.dims:.4f} ± {off / spec.dims:.4f} nats a pixel, "
        f"{len(each)} test pictures"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
