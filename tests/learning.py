"""Trainings of toys, for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import toys
from simulacra.data.dataset import Dataset
from simulacra.ground.randomness import seeded
from simulacra.models import registry
from simulacra.models.model import Model
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options


def training(
    name: str,
    data: Dataset,
    steps: int | None = None,
    *,
    keywords: dict[str, Any] | None = None,
    clock: Callable[[], float] | None = None,
    **options: Any,
) -> Training:
    with seeded(0):
        model = registry.build(toys.place(name), data.spec, keywords)
    chosen = Options(**{"batch": 16, "device": "cpu", "warmup": 0, "precision": "32"} | options)
    made = Training(model, data.train, data.validation, chosen, clock=clock)
    if steps is not None:
        made.set_plan(Budget(steps, "steps"))
    return made


def values(model: Model) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
