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
    observations differ by far more than the draws: a sixteenth is enough. Of a model that is told
    labels an eighth, for p(x) weighs its classes by them: of a `vdm` of digits, with its class,
    four draws lost 3 nats of the bound by that, eight none that could be seen.

    Args:
        model: With a likelihood.
        draws: Importance draws.
    """
    if not model.averaged:
        return draws
    return max(1, draws // (_AVERAGED_OF_CLASSES if model.context == "label" else _AVERAGED))


_AVERAGED, _AVERAGED_OF_CLASSES = 16, 8
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


def marginal_by_class(
    model: Likelihood, x: Tensor, frequencies: Tensor, *, draws: int = 1, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Log p(x | y) of every class and log p(x), in nats, float64 on the CPU.

    Where draws are averaged, log Σ_y p(y) exp of estimates would exceed what it is of the bounds
    that they estimate, as the log of a mean of draws would. So two halves of the draws bound it
    instead, each by the weights of the classes that the other one gives; see `bounded_marginal`.

    Args:
        model: One that takes labels.
        x: Observations on the model's device.
        frequencies: p(y) in the training data; a class of which it has seen nothing gets −∞.
        draws: Of a bound; where they are averaged two are taken at least.
        seed: Of a bound's noise.

    Returns:
        `(N, classes)` and `(N,)`.
    """
    if not model.averaged:
        each = given_each_label(model, x, frequencies, draws=draws, seed=seed).cpu().double()
        return each, log_marginal(each, frequencies)
    counts = (draws + 1) // 2, max(1, draws // 2)
    first, second = (
        given_each_label(model, x, frequencies, draws=count, seed=seed + apart).cpu().double()
        for count, apart in zip(counts, (0, _APART), strict=True)
    )
    each = (counts[0] * first + counts[1] * second) / sum(counts)
    return each, bounded_marginal(first, second, frequencies)


_APART = 1 << 31
"""Between the seeds of two halves of draws, further than anybody's seeds are apart."""


def bounded_marginal(first: Tensor, second: Tensor, frequencies: Tensor) -> Tensor:
    """A bound of log Σ_y p(y) p(x | y) by two independent estimates of bounds, `(N,)` in nats.

    Σ_y r(y) (log p(y) p(x | y) − log r(y)) is at most that for any weights r, and linear in each
    log p(x | y): by r that know nothing of the noise in it, it is a bound in the mean (Jensen).

    Args:
        first: Log p(x | y), each right or a bound in the mean, `(N, classes)`, in nats.
        second: The same by other noise.
        frequencies: p(y) in the training data, `(classes,)`.
    """
    prior = frequencies.detach().cpu().double().log()
    bounds = []
    for told, weighing in ((first, second), (second, first)):
        log_r = (weighing + prior).log_softmax(1)
        # a class that cannot be has no weight, and what is no number stays none
        part = log_r.exp() * (told + prior - log_r)
        bounds.append(torch.where(log_r == -math.inf, 0, part).sum(1))
    return (bounds[0] + bounds[1]) / 2


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
