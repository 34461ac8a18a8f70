"""`learnt`: a model trained for as long as its job has, and told how far it came."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from benchmarks.gpu.board import Figure, Place
from simulacra.data.dataset import Dataset
from simulacra.ground.randomness import seeded
from simulacra.models.model import Model
from simulacra.models.registry import build, preset
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options

PRECISIONS = {"32": "float32", "bf16": "bf16"}


def learnt(
    name: str, keywords: dict[str, Any], data: Dataset, place: Place
) -> Generator[Figure, None, Model]:
    """Train for most of the time that is left; the rest is for scoring and sampling.

    Args:
        name: Of the model.
        keywords: Of it.
        data: To learn from.
        place: Where.

    Returns:
        The model that is kept, in eval mode, after the figures of its training.
    """
    with seeded(0):
        model = build(name, data.spec, keywords)
    options = Options(**{**preset(name), "device": place.device.type})
    training = Training(model, data.train, data.validation, options)
    seconds = max(0.1, 0.7 * place.left)
    stop = place.clock() + seconds
    training.set_plan(Budget(seconds, "s"))
    for _ in training:
        if place.clock() > stop:
            break
    training.settle()
    done, of = training.progress, f"{name}, {data.name}"
    seen, precision = done.observations or 0, PRECISIONS[training.options.precision]
    yield Figure(f"{of}: steps", done.step, f"steps in {precision}")
    yield Figure(f"{of}: observations seen", seen, "observations")
    yield Figure(f"{of}: training", seen / done.seconds, "observations/s")
    return training.averaged.eval()
