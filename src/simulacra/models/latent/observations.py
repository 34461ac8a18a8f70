"""What a value's distribution is, given its code: the decoder's numbers as p(x | z)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Normal

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.takes import Takes
from simulacra.nn.distributions import DiscretisedLogistic
from simulacra.nn.levels import as_input
from simulacra.nn.logistic_mixture import DiscretisedLogisticMixture

Observation = Literal[
    "auto", "bernoulli", "categorical", "discretised-logistic", "logistic-mixture", "gaussian"
]

TAKES: dict[Observation, Takes] = {
    "auto": Takes(),
    "bernoulli": Takes(vectors=False, most_levels=2),
    "categorical": Takes(vectors=False),
    "discretised-logistic": Takes(vectors=False, unordered=False),
    "logistic-mixture": Takes(vectors=False, unordered=False),
    "gaussian": Takes(pictures=False, sounds=False),
}
"""Distribution of a value given its code → the data that it is for."""

_FEW = 8
"""Ordered levels that are worth a probability each. Of 17, on 1,258 digits, a location and a scale
find 1.91 bits/dim where a probability each finds 2.09."""

_COMPONENTS = 5
"""Logistic densities of a mixture, as many as PixelCNN++ has for a grey value."""

_NARROWEST = 1e-3
"""Least standard deviation of the Gaussian decoder, in those of the data: a density has no top."""


def chosen(observation: Observation, spec: DataSpec) -> Observation:
    """The distribution that is asked for, or the one that suits the data.

    Raises:
        UsageError: If there is none of that name.
        MissingCapability: If the data are not those that it is for.
    """
    if observation not in get_args(Observation):
        raise UsageError(
            f"observation is one of {', '.join(get_args(Observation))}, got {observation!r}"
        )
    TAKES[observation].check(spec, f"observation={observation!r}")
    if observation != "auto":
        return observation
    if spec.levels is None:
        return "gaussian"
    if spec.levels == 2:
        return "bernoulli"
    few = spec.levels <= _FEW or not spec.ordered
    return "categorical" if few else "discretised-logistic"


def within(networks: Takes, *, observation: Observation = "auto", **others: Any) -> Takes:  # noqa: ANN401, ARG001
    """What networks take of the data that a distribution is for, from all keywords of a model."""
    asked = TAKES[observation]
    return replace(
        asked, pictures=networks.pictures and asked.pictures,
        sounds=networks.sounds and asked.sounds, vectors=networks.vectors and asked.vectors,
    )  # fmt: skip


def parameters(kind: Observation, spec: DataSpec) -> int:
    """How many numbers the distribution of one value has."""
    counts = {
        "bernoulli": 1, "categorical": spec.levels or 0, "logistic-mixture": 3 * _COMPONENTS,
    }  # fmt: skip
    return counts.get(kind, 2)


def distribution(kind: Observation, raw: Tensor, spec: DataSpec) -> Distribution:
    """The distribution of every value, over levels or standardised vectors.

    Args:
        kind: Which one, not `auto`.
        raw: A decoder's numbers `(N, *event_shape, parameters)`, float32 at least.
        spec: The form of the data.

    Returns:
        Of batch shape `(N, *event_shape)`. It is not validated: what is not finite must reach the
        likelihood, where it is counted.
    """
    if kind == "bernoulli":
        return Bernoulli(logits=raw.squeeze(-1), validate_args=False)
    if kind == "categorical":
        return Categorical(logits=raw, validate_args=False)
    if spec.levels is None:
        loc, log_variance = raw.unbind(-1)
        scale = (0.5 * log_variance.clamp(-20, 14)).exp() + _NARROWEST
        return Normal(loc, scale, validate_args=False)
    levels = spec.levels
    # in the middle of the range and a twentieth of it wide to begin with, and never narrower than
    # a twentieth of a bin
    if kind == "discretised-logistic":
        loc, log_scale = raw.unbind(-1)
        scale = (levels / 20 * log_scale.clamp(-10, 7).exp()).clamp_min(0.05)
        return DiscretisedLogistic((loc + 0.5) * levels, scale, levels, validate_args=False)
    logits, loc, log_scale = raw.chunk(3, -1)
    # side by side to begin with, or all would be moved alike
    places = (loc.new_ones(_COMPONENTS).cumsum(0) - 0.5) / _COMPONENTS
    scale = (levels / 20 * log_scale.clamp(-10, 7).exp()).clamp_min(0.05)
    return DiscretisedLogisticMixture(
        logits, (loc + places) * levels, scale, levels, validate_args=False
    )


def expected(values: Distribution, spec: DataSpec) -> Tensor:
    """The mean of what draws would be to a network: of levels in its scale, or one-hot.

    Args:
        values: What `distribution` gives, of batch shape `(N, *event_shape)`.
        spec: The form of the data.

    Returns:
        As `as_input` has it, `(N, input_channels(spec), …)`.
    """
    if isinstance(values, Bernoulli | Categorical):
        p = values.probs
        p = torch.stack([1 - p, p], -1) if isinstance(values, Bernoulli) else p
        if not spec.ordered:
            return p.movedim(-1, 2).flatten(1, 2)
        mean = p @ torch.arange(p.shape[-1], dtype=p.dtype, device=p.device)
    elif isinstance(values, DiscretisedLogisticMixture):
        each = (values.loc - 0.5).clamp(0, values.levels - 1)
        mean = (values.logits.softmax(-1) * each).sum(-1)
    elif isinstance(values, DiscretisedLogistic):
        # beyond the outer bins, which are open, there is no level
        mean = (values.loc - 0.5).clamp(0, values.levels - 1)
    else:
        mean = values.mean
    return as_input(mean, spec, mean.dtype)
