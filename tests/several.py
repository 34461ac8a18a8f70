"""What processes of tests run: train every kind of model and save it, draw from what was saved."""

from __future__ import annotations

import json
import math
import runpy
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from simulacra.data.catalogue import load
from simulacra.ground import processes
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry, saved
from simulacra.models.flow.nice import NICE
from simulacra.models.model import Model
from simulacra.training.engine import make_fabric, sum_over_processes
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options
from simulacra.training.plan import Plan
from toys import place

KINDS: dict[str, dict[str, Any]] = {
    "gmm": {"components": 4, "tolerance": 0.0},
    "pixelcnn": {"channels": 4, "layers": 1, "dropout": 0.2, "context": "label"},
    "gan": {"latent": 2, "hidden": (16,)},
    "r3gan": {"latent": 2, "channels": 4},
    "nice": {"hidden": (16,)},
    "sampled-autoencoder": {"components": 4},
    "clipped-wgan": {},
}
BATCHES = 4


class Troubled(NICE):
    """In the second process alone, every fifth loss is not a number; and a part is never used."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec, hidden=(16,))
        self.idle, self.seen = nn.Linear(3, 3), 0

    @property
    def keywords(self) -> dict[str, Any]:
        return {}

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        self.seen += 1
        loss = super().loss(x, context)["loss"].square().sqrt()
        bad = processes.rank() == 1 and self.seen % 5 == 0
        return {"loss": loss * math.nan if bad else loss, "unused": loss.detach()}


def trained(model: Model, batches: int = BATCHES) -> tuple[Model, list[Any]]:
    """A model trained for 20 steps, and what was told of each."""
    data = load("digits")
    options = Options(batch=8, accumulate=batches, device="cpu", lr=1e-2)
    training = Training(model, data.train, data.validation, options)
    training.plan = Plan(20, 5)
    if len(model.stages) > 1:
        training.set_plan(Budget(20, "steps"))
    told = [[r.losses, r.validation, r.skipped] for r in training]
    return training.averaged, told


def statistics(steps: int = 3) -> list[float]:
    """Of a normalisation in the model that learns, after steps of which none validates."""
    data = load("digits")
    options = Options(batch=8, accumulate=BATCHES, device="cpu")
    training = Training(made("sampled-autoencoder"), data.train, data.validation, options)
    training.budget, training.plan = Budget(20, "steps"), Plan(20, 20)
    for record, _ in zip(training, range(steps), strict=False):
        assert not record.validated
    buffers = dict(training.model.named_buffers())
    found: list[float] = buffers["encoder.1.running_mean"].tolist()
    return found


def made(name: str) -> Model:
    with seeded(0):
        spec = load("digits").spec
        if name == "troubled":
            return Troubled(spec)
        return registry.build(place(name), spec, KINDS[name])


def command_read_anew(*arguments: str) -> None:
    """A command whose modules are imported in this environment, as a process of a user's does.

    Only what they are built on is there already, which takes longest.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == "simulacra"]:
        del sys.modules[name]
    sys.argv = ["simulacra", *arguments]
    runpy.run_module("simulacra", run_name="__main__", alter_sys=True)


def train_all(folder: Path) -> None:
    """What each of the processes of `test_processes.py` does."""
    mine = torch.tensor([1.0 + processes.rank()])
    total = sum_over_processes(make_fabric(Options(device="cpu")), mine)
    (folder / f"sum-{processes.rank()}.json").write_text(json.dumps([float(mine), float(total)]))
    for kind in (*KINDS, "troubled"):
        result, history = trained(made(kind))
        saved.save(result, folder / f"{kind}-{processes.rank()}", kind)
        (folder / f"{kind}-{processes.rank()}.json").write_text(json.dumps(history))
    (folder / f"statistics-{processes.rank()}.json").write_text(json.dumps(statistics()))


def told(model: Model) -> Tensor | None:
    """Labels of five observations, for a model that takes no less."""
    return torch.arange(5) % model.spec.classes if model.context == "label" else None


def draw_saved(folder: Path) -> None:
    """Say what every model of a folder draws."""
    for saved_one in sorted(folder.iterdir()):
        model = saved.load(saved_one)
        for seed in (0, 1):
            with seeded(seed), torch.no_grad():
                drawn = model.sample(5, told(model))
                print(saved_one.name, seed, drawn.flatten().tolist())
