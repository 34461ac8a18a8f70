"""Bayes' rule over the classes that a conditional model takes: p(x), and p(y | x)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from simulacra.data.dataset import Observations
from simulacra.data.labels import joint_classes
from simulacra.ground.errors import DataError, UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.at_once import rows_at_once
from simulacra.models.model import Likelihood
from simulacra.models.modes import scoring
from simulacra.tasks.sample import device_of

_SCORED = 128
"""Observations whose likelihood is computed at once, where they are small."""


def scored_at_once(
    model: Likelihood, x: Tensor, context: Tensor | None = None, *, draws: int = 1
) -> int:
    """How many observations to compute the likelihood of at once; see `rows_at_once`.

    A likelihood does not depend on it, but for rounding.

    Args:
        model: In eval mode.
        x: Observations `(N, *event_shape)` like those to be scored, of which two are looked at.
        context: Their context, if the model takes any.
        draws: Importance draws of a bound.
    """
    device = device_of(model)
    few = x[:2].to(device)
    told = None if context is None else context[:2].to(device)

    def score(rows: int) -> None:
        own = None if told is None else told[:rows]
        model.log_likelihood(few[:rows], own, draws=draws)

    with scoring():
        return rows_at_once(score, _SCORED) if len(few) > 1 else 1


def draws_of(model: Likelihood, draws: int) -> int:
    """How many draws a model takes where so many importance draws are asked for.

    Importance draws make a bound tighter. Draws that are averaged make it more certain, where the
    observations differ by far more than the draws: a sixteenth is enough.

    Args:
        model: With a likelihood.
        draws: Importance draws.
    """
    return max(1, draws // _AVERAGED) if model.averaged else draws


_AVERAGED = 16
"""Importance draws for each one that is averaged."""


def class_frequencies(observations: Observations, spec: DataSpec) -> Tensor | None:
    """How often each class is among observations whose label is told, `(classes,)`.

    Args:
        observations: Of the training split.
        spec: Of the data.

    Returns:
        Shares that sum to 1; `None` where no label is told.
    """
    classes = joint_classes(observations, spec)
    if classes is None or not bool((classes >= 0).any()):
        return None
    told = classes[classes >= 0]
    return torch.bincount(told, minlength=spec.classes) / len(told)


@scoring()
def given_each_label(
    model: Likelihood, x: Tensor, frequencies: Tensor, *, draws: int = 1, seed: int = 0
) -> Tensor:
    """Log p(x | y) of every class y, `(N, classes)` float64 on the model's device, in nats.

    Args:
        model: One that takes labels.
        x: Observations on the model's device.
        frequencies: p(y) in the training data; a class of which it has seen nothing gets −∞.
        draws: Importance draws of a bound.
        seed: Of a bound's noise.
    """
    kind = torch.float64 if x.device.type != "mps" else torch.float32
    terms = torch.full((len(x), len(frequencies)), -math.inf, dtype=kind, device=x.device)
    for label, frequency in enumerate(frequencies.tolist()):
        if frequency > 0:
            labels = model.spec.labels(torch.full((len(x),), label, device=x.device))
            terms[:, label] = model.log_likelihood(x, labels, draws=draws, seed=seed).to(kind)
    return terms


def log_marginal(log_p_x_given_y: Tensor, frequencies: Tensor) -> Tensor:
    """Log Σ_y p(y) p(x | y) in nats, `(N,)` float64 on the CPU.

    Args:
        log_p_x_given_y: `(N, classes)` in nats, or bounds; see `given_each_label`.
        frequencies: p(y) in the training data, `(classes,)`.
    """
    joint = log_p_x_given_y.detach().cpu().double() + frequencies.detach().cpu().double().log()
    return joint.logsumexp(1)


def log_posterior(log_p_x_given_y: Tensor, frequencies: Tensor) -> Tensor:
    """Log p(y | x) by Bayes' rule, `(N, classes)` float64 on the CPU.

    A class absent from training has −∞. A row is NaN if a likelihood of it is NaN or +∞, or if no
    class makes it possible.

    Args:
        log_p_x_given_y: `(N, classes)` in nats, or bounds; see `given_each_label`.
        frequencies: p(y) in the training data, `(classes,)`.

    Raises:
        DataError: If the training data have one class only.
        UsageError: If the arguments are not as above.
    """
    p, each = frequencies.detach().cpu().double(), log_p_x_given_y.detach().cpu().double()
    if p.ndim != 1 or each.shape[1:] != p.shape or bool((p < 0).any()):
        raise UsageError(
            f"Bayes' rule needs log-likelihoods (N, {len(p)}) and the frequencies of these "
            f"{len(p)} classes, got {tuple(each.shape)}"
        )
    if int((p > 0).sum()) < 2:
        raise DataError("a classifier needs at least two classes in the training data, got one")
    joint = torch.where(p > 0, each + p.log(), -math.inf)
    return joint.log_softmax(1)
