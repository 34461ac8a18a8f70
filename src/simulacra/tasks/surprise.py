"""How surprising each value of an observation is to a model that predicts it from those before."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.model import Model
from simulacra.models.modes import scoring
from simulacra.tasks.bayes import scored_at_once
from simulacra.tasks.sample import device_of


@scoring()
def surprise(model: Model, x: Tensor, context: Tensor | None = None) -> Tensor:
    """−log₂ p(x_i | x_<i) of every value: their sum is what the observation costs to send.

    Args:
        model: An autoregressive one, in eval mode.
        x: Levels `(N, *event_shape)`.
        context: One row for each observation.

    Returns:
        Bits, shaped as `x`, float64 on the CPU.

    Raises:
        MissingCapability: If the model predicts no values from those before them, or the data are
            continuous, whose densities are no probabilities.
        UsageError: If `x` is not of the form of the data.
    """
    name = type(model).__name__
    if not isinstance(model, Autoregressive):
        raise MissingCapability(
            f"{name} does not predict one value after another, and has no surprise at each: "
            "use pixelcnn"
        )
    if model.spec.levels is None:
        raise MissingCapability(f"a {name} of continuous values has no bits of surprise")
    if not len(x):
        raise UsageError("surprise needs at least one observation")
    model.spec.check(x)
    device = device_of(model)
    rows = scored_at_once(model, x, context)
    told = [None] * len(x.split(rows)) if context is None else context.split(rows)
    nats = []
    for some, own in zip(x.split(rows), told, strict=True):
        given = None if own is None else own.to(device)
        nats.append(-model.conditionals(some.to(device), given).log_prob(some.to(device)).cpu())
    return torch.cat(nats).double() / math.log(2)
