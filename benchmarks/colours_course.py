"""Samples and losses of the palette exercise after 20, 100 and 600 epochs of few pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.drawings import COLOURS, SIDE, drawings
from benchmarks.table import table
from simulacra.data.dataset import Dataset, Observations
from simulacra.drawing import files, grids
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.ground.storage import write_json
from simulacra.judging.figures.likelihood import likelihood
from simulacra.models.registry import build
from simulacra.tasks.sample import draw
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options

TRAINING = 200
EPOCHS = (20, 100, 600)
_BATCH = 20
_SHOWN = 14


def few(seed: int) -> Dataset:
    """So few drawings that they can be learnt by heart, as colours of their palette."""
    colours = torch.tensor(COLOURS)
    pixels = drawings(TRAINING + 400, seed).long()
    x = (pixels[:, None] == colours[None, :, :, None, None]).all(2).int().argmax(1, keepdim=True)
    spec = DataSpec((1, SIDE, SIDE), len(COLOURS), ordered=False, coding="palette", palette=COLOURS)
    # what is held out is none of those that are learnt from
    known = {tuple(row) for row in x[:TRAINING].flatten(1).tolist()}
    new = [row for row in x[TRAINING:] if tuple(row.flatten().tolist()) not in known]
    held = torch.stack(new)
    half = len(held) // 2
    train, validation, test = (
        Observations(part.to(torch.uint8)) for part in (x[:TRAINING], held[:half], held[half:])
    )
    return Dataset("drawings", spec, train, validation, test)


def course(folder: Path, seed: int, epochs: Sequence[int] = EPOCHS) -> int:
    """Train once, look at so many epochs, and write the table and the picture.

    Args:
        folder: Where they go.
        seed: Of the drawings, the weights and the batches.
        epochs: When to look, in order.
    """
    data = few(seed)
    with seeded(seed):
        model = build("pixelcnn", data.spec, {"channels": 24, "layers": 3})
    options = Options(batch=_BATCH, device="cpu", seed=seed)
    training = Training(model, data.train, data.validation, options, threads=1)
    training.set_plan(Budget(epochs[-1], "epochs"))
    known = {tuple(row) for row in data.train.x[:].flatten(1).tolist()}
    rows: list[dict[str, Any]] = []
    pictures: list[Tensor] = [data.spec.to_float(data.train.batch(torch.arange(_SHOWN))[0])]
    for record in training:
        steps = [each * TRAINING // _BATCH for each in epochs]
        if record.step not in steps:
            continue
        training.settle()
        learned = training.averaged.eval()
        drawn = draw(learned, 256, seed=(seed, 1)).x
        row: dict[str, Any] = {"epochs": epochs[steps.index(record.step)]}
        for name, split in (("training", data.train), ("validation", data.validation)):
            score = likelihood(learned, split).marginal
            assert score is not None  # nothing is told beside the pictures
            row[name] = score.nats / math.log(2)
            row[f"{name} error"] = score.standard_error / math.log(2)
        row["copies"] = sum(tuple(each) in known for each in drawn.flatten(1).tolist()) / 256
        rows.append(row)
        pictures.append(data.spec.to_float(drawn[:_SHOWN]))
        print(row, flush=True)
    write_json(folder / "course.json", {"rows": rows})
    shown = grids.grid(torch.cat(pictures), columns=_SHOWN, scale=4, gap=2)
    files.save(shown, folder / "colours-course.png")
    head = ("epochs", "training, bits", "held out, bits", "samples that are copies")
    cells = [
        [
            f"{row['epochs']}",
            *(f"{row[n]:.1f} ± {row[f'{n} error']:.1f}" for n in ("training", "validation")),
            f"{row['copies']:.0%}",
        ]
        for row in rows
    ]
    print(table(head, cells))
    return 0
