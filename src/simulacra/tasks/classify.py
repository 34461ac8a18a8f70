"""Classifying observations: by their likelihood in each class, or as a model does it itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.data.dataset import Observations
from simulacra.ground.errors import MissingCapability
from simulacra.models.classifying import Classifying
from simulacra.models.model import Likelihood, Model
from simulacra.models.modes import scoring
from simulacra.tasks.bayes import (
    log_posterior,
    marginal_by_class,
    scored_at_once,
)
from simulacra.tasks.sample import device_of

_AT_ONCE = 256
"""Observations that a classifier looks at together."""


@dataclass(frozen=True)
class Classified:
    """Observations as a conditional model sees them.

    Args:
        probabilities: p(y | x) by Bayes' rule, `(N, classes)` float64; 0 for classes absent from
            training. A row is NaN if no class makes the observation possible, or a likelihood is
            NaN or infinite. Of a model with a classifier of its own, what that says.
        log_likelihood: Log p(x) in nats, or a bound of it, `(N,)` float64. A low one is unlike the
            data; a high one need not be like them, as a blank picture's.
    """

    probabilities: Tensor
    log_likelihood: Tensor


def classifier(model: Model) -> Likelihood:
    """The model, if it can classify.

    Raises:
        MissingCapability: If it has no likelihood or takes no labels.
    """
    name = type(model).__name__
    if not isinstance(model, Likelihood):
        raise MissingCapability(f"{name} has no likelihood, and cannot classify without")
    if model.context != "label":
        raise MissingCapability(
            f"this {name} takes no labels: train one with --set context=label to classify"
        )
    return model


@torch.no_grad()
def classify(
    model: Model, x: Tensor, frequencies: Tensor, *, draws: int = 1, seed: int = 0
) -> Classified:
    """The probability of each class, p(y | x) ∝ p(y) p(x | y), or a model's own q(y | x).

    Args:
        model: One with a likelihood that takes labels, in eval mode.
        x: Observations `(N, *event_shape)`, N at least 1.
        frequencies: p(y) in the training data, `(classes,)`.
        draws: Importance draws of a bound.
        seed: Of a bound's noise.

    Raises:
        MissingCapability: If the model has no likelihood or takes no labels.
        DataError: If the training data have one class only.
    """
    model = classifier(model)
    device = device_of(model)
    told = model.spec.labels(torch.zeros(len(x[:2]), dtype=torch.long))
    size = scored_at_once(model, x, told, draws=draws)
    found = [
        marginal_by_class(model, some.to(device), frequencies, draws=draws, seed=seed)
        for some in x.split(size)
    ]
    each, marginal = (torch.cat(parts) for parts in zip(*found, strict=True))
    log_p = log_posterior(each, frequencies)
    if isinstance(model, Classifying):
        log_p = own_log_probabilities(model, Observations(x))
    return Classified(log_p.exp(), marginal)


@scoring()
def own_log_probabilities(model: Classifying, observations: Observations) -> Tensor:
    """What a model's own classifier says, `(N, classes)` float64 on the CPU; log q(y | x).

    Args:
        model: In eval mode.
        observations: At least one.
    """
    device = device_of(model)
    with torch.no_grad():
        parts = [
            model.class_log_probabilities(x.to(device)).cpu().double()
            for x, _ in observations.batches(_AT_ONCE)
        ]
    return torch.cat(parts)
