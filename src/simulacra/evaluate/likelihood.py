"""Likelihood of unseen observations: the one place where nats become bits per dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from simulacra.data.dataset import Observations
from simulacra.data.splits import permutation
from simulacra.errors import MissingCapability, UsageError
from simulacra.model import Likelihood, Model
from simulacra.spec import DataSpec

BATCH = 128


@dataclass(frozen=True)
class Score:
    """A mean negative log-likelihood, and what it is.

    Args:
        exact: Whether it is the likelihood itself; else an upper bound of the negative one.
        nats: Mean negative log-likelihood per observation, in nats. Infinite or NaN where an
            observation's is.
        standard_error: Of the mean, in nats; of sounds with padding, that of nats per valid
            sample times `dims`.
        dims: Valid values in an observation, their mean where that differs.
        levels: Levels of a value; `None` for continuous vectors, whose nats stay nats.
        draws: Importance draws of a bound; 1 where nothing is drawn.
        observations: How many were looked at.
        non_finite: How many of them have no finite likelihood.
    """

    exact: bool
    nats: float
    standard_error: float
    dims: float
    levels: int | None
    draws: int
    observations: int
    non_finite: int

    @property
    def relation(self) -> str:
        """`=` in front of a likelihood, `≤` in front of a bound (on bits: smaller is better)."""
        return "=" if self.exact else "≤"

    @property
    def bits_per_dim(self) -> float | None:
        """Bits for each valid value; `None` for continuous vectors."""
        return None if self.levels is None else self.nats / (self.dims * math.log(2))

    @property
    def bits_standard_error(self) -> float | None:
        """Of `bits_per_dim`."""
        return None if self.levels is None else self.standard_error / (self.dims * math.log(2))

    def to_json(self) -> dict[str, Any]:
        """As `results.json` has it; `standard_error` is in bits per dimension where those are."""
        error = self.bits_standard_error
        return {
            "exact": self.exact,
            "relation": self.relation,
            "bits_per_dim": self.bits_per_dim,
            "standard_error": self.standard_error if error is None else error,
            "log_likelihood": -self.nats,
            "draws": self.draws,
            "observations": self.observations,
            "non_finite": self.non_finite,
        }


@dataclass(frozen=True)
class Scores:
    """What a model's likelihood of some observations is.

    Args:
        marginal: p(x); `None` if the model is conditional and nothing sums over its contexts.
        given_label: p(x | y), if the model takes labels.
    """

    marginal: Score | None
    given_label: Score | None


@torch.no_grad()
def likelihood(
    model: Model,
    observations: Observations,
    *,
    class_frequencies: Tensor | None = None,
    draws: int = 1,
    seed: int = 0,
    limit: int | None = None,
) -> Scores:
    """The likelihood of observations under a model in eval mode.

    A model that takes labels has two: p(x | y), and p(x) = Σ_y p(y) p(x | y) with p(y) the
    frequencies in the training data.

    Of sounds with padding, all nats are divided by the valid samples alone: padding is something
    that the model has to predict too, and what it costs is not hidden. The standard error is that
    of a ratio, by the delta method over windows. Windows of one recording are not independent,
    so that of sounds it comes out too small.

    Args:
        model: One with a likelihood.
        observations: Usually the test split.
        class_frequencies: p(y), `(classes,)`; needed by a model that takes labels.
        draws: Importance draws of a bound.
        seed: Of a bound's noise.
        limit: Look only at so many, chosen by a fixed permutation: their order may be by class.

    Raises:
        MissingCapability: If the model has no likelihood.
        UsageError: If there is nothing to look at.
    """
    if not isinstance(model, Likelihood):
        raise MissingCapability(
            f"{type(model).__name__} has no likelihood: compare it by its samples"
        )
    if draws < 1 or not len(observations) or (limit is not None and limit < 1):
        raise UsageError("a likelihood needs at least one observation and one draw")
    if limit is not None and limit < len(observations):
        observations = observations.take(permutation(len(observations))[:limit])
    device = next(iter(model.state_dict().values())).device
    alone, told = [], []
    for x, context in observations.batches(BATCH):
        x, context = x.to(device), None if context is None else context.to(device)
        if model.context == "none":
            alone.append(model.log_likelihood(x, draws=draws, seed=seed))
        else:
            told.append(model.log_likelihood(x, context, draws=draws, seed=seed))
            if model.context == "label" and class_frequencies is not None:
                alone.append(_sum_over_labels(model, x, class_frequencies, draws, seed))
    noisy = draws if not model.exact else 1
    return Scores(
        _score(model, alone, noisy, observations), _score(model, told, noisy, observations)
    )


def _sum_over_labels(
    model: Likelihood, x: Tensor, frequencies: Tensor, draws: int, seed: int
) -> Tensor:
    """Log Σ_y p(y) p(x | y); of bounds, it is a bound."""
    terms = []
    for label, frequency in enumerate(frequencies.tolist()):
        if frequency > 0:
            labels = torch.full((len(x),), label, device=x.device)
            term = model.log_likelihood(x, labels, draws=draws, seed=seed)
            terms.append(math.log(frequency) + term)
    return torch.stack(terms).logsumexp(0)


def _score(
    model: Likelihood, parts: list[Tensor], draws: int, observations: Observations
) -> Score | None:
    if not parts:
        return None
    values = -torch.cat(parts).cpu().double()
    count = len(values)
    spread, lengths = values, observations.lengths
    if lengths is not None:
        # the delta method: Σv / Σn varies as the mean of v − n Σv / Σn does, over the mean of n
        spread = values - lengths * (values.sum() / lengths.sum())
    # with one observation the spread is unknown, not zero
    error = float(spread.std() / math.sqrt(count)) if count > 1 else math.nan
    return Score(
        exact=model.exact,
        nats=float(values.mean()),
        standard_error=error,
        dims=valid_dims(observations),
        levels=model.spec.levels,
        draws=draws,
        observations=count,
        non_finite=int((~values.isfinite()).sum()),
    )


def valid_dims(observations: Observations) -> float:
    """Valid values in an observation, their mean where sounds are padded."""
    if observations.lengths is None:
        return math.prod(observations.x.shape[1:])
    return float(observations.lengths.double().mean())


def bits_per_dim(nats: float, spec: DataSpec, dims: float | None = None) -> float:
    """Nats per observation as bits for each level; of continuous vectors, the nats.

    Args:
        nats: Mean negative log-likelihood.
        spec: Of the data.
        dims: Valid values in an observation, from `valid_dims`; all by default.
    """
    return nats if spec.levels is None else nats / ((dims or spec.dims) * math.log(2))


def class_frequencies(observations: Observations, classes: int) -> Tensor | None:
    """How often each class is among labelled observations, `(classes,)`; `None` without labels."""
    labels = observations.context
    if labels is None or labels.is_floating_point() or not classes:
        return None
    return torch.bincount(labels, minlength=classes) / len(labels)
