"""What each process of `test_processes.py` runs: train every kind of model, and save it."""

from __future__ import annotations

import sys
from pathlib import Path

from simulacra import processes, registry
from simulacra.data.catalogue import load
from simulacra.model import Model
from simulacra.options import Options
from simulacra.progress import Plan
from simulacra.randomness import seeded
from simulacra.train import Training

KINDS = {
    "gmm": {"components": 4, "tolerance": 0.0},
    "pixelcnn": {"channels": 4, "layers": 1, "dropout": 0.2, "context": "label"},
    "gan": {"latent": 2, "hidden": (16,)},
    "nice": {"hidden": (16,)},
}
BATCHES = 4


def trained(name: str) -> Model:
    data = load("digits")
    with seeded(0):
        model = registry.build(name, data.spec, KINDS[name])
    options = Options(batch=8, accumulate=BATCHES, device="cpu", lr=1e-2)
    training = Training(model, data.train, data.validation, options)
    training.plan = Plan(20, 5)
    for _ in training:
        pass
    return training.averaged


if __name__ == "__main__":
    for kind in KINDS:
        result = trained(kind)
        registry.save(result, Path(sys.argv[1]) / f"{kind}-{processes.rank()}", kind)
