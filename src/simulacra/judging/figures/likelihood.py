"""Likelihood of unseen observations, in the units of the data.

The one place where nats become bits per dimension, and where a density of vectors as models see
them becomes that of the columns as they are in the data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from simulacra.data.dataset import Observations
from simulacra.data.labels import joint_classes
from simulacra.data.splits import permutation
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.spec import DataSpec
from simulacra.judging.figures.intervals import degrees_of_freedom, standard_error
from simulacra.judging.figures.records import LikelihoodFigures, Relation, Unit
from simulacra.models.model import Likelihood, Model
from simulacra.models.modes import scoring
from simulacra.tasks.bayes import marginal_by_class, scored_at_once
from simulacra.tasks.sample import device_of


@dataclass(frozen=True)
class Score:
    """A mean negative log-likelihood, and what it is.

    Args:
        exact: Whether it is the likelihood itself; else an upper bound of the negative one.
        nats: Mean negative log-likelihood per observation, in nats. Infinite or NaN where an
            observation's is.
        standard_error: Of the mean, in nats; of sounds with padding, that of nats per valid
            sample times `dims`. NaN where nothing varies independently.
        dims: Valid values in an observation, their mean where that differs.
        levels: Levels of a value; `None` for continuous vectors, whose nats stay nats, of a density
            in the columns' own units.
        draws: Of a bound, for importance weights or averaged; 1 where nothing is drawn.
        observations: How many were looked at.
        non_finite: How many of them have no finite likelihood.
        values: The log-likelihood of each, or its bound, in nats: `(N,)` float64. Neither written
            nor compared; empty where only the mean is known.
        rows: Their places in the split, `(N,)` int64.
        valid: Valid samples of each, `(N,)` int64, of sounds.
        groups: Which unit of independence each belongs to, `(N,)` int64; see `Observations`.
        averaged: Whether draws are averaged, and not weighed by importance.
        solver_error: By how much solving equations in steps is off, in nats, in the mean over some
            observations and with its sign; `None` where none is solved.
    """

    exact: bool
    nats: float
    standard_error: float
    dims: float
    levels: int | None
    draws: int
    observations: int
    non_finite: int
    values: Tensor = field(default_factory=lambda: torch.empty(0), compare=False, repr=False)
    rows: Tensor = field(default_factory=lambda: torch.empty(0), compare=False, repr=False)
    valid: Tensor | None = field(default=None, compare=False, repr=False)
    groups: Tensor | None = field(default=None, compare=False, repr=False)
    averaged: bool = False
    solver_error: float | None = None

    @classmethod
    def of(
        cls,
        values: Tensor,
        rows: Tensor,
        *,
        exact: bool,
        dims: float,
        levels: int | None,
        draws: int = 1,
        valid: Tensor | None = None,
        groups: Tensor | None = None,
        averaged: bool = False,
        solver_error: float | None = None,
    ) -> Score:
        """The score of log-likelihoods, one for each observation; the arguments are the fields."""
        values = values.cpu().double()
        return cls(
            exact=exact,
            nats=-float(values.mean()),
            standard_error=standard_error(values, valid, groups),
            dims=dims if valid is None else float(valid.double().mean()),
            levels=levels,
            draws=draws,
            observations=len(values),
            non_finite=int((~values.isfinite()).sum()),
            values=values,
            rows=rows,
            valid=valid,
            groups=groups,
            averaged=averaged,
            solver_error=solver_error,
        )

    @property
    def independent(self) -> int:
        """How many vary independently: groups, or observations where each is its own."""
        return self.observations if self.groups is None else len(self.groups.unique())

    @property
    def degrees(self) -> float:
        """Degrees of freedom of the interval about its mean."""
        return degrees_of_freedom(self.observations, self.valid, self.groups)

    @property
    def unit(self) -> Unit:
        """What the report shows it in."""
        if self.levels is None:
            return "nats"
        return "bits/dim" if self.valid is None else "bits/valid sample"

    @property
    def nats_per_unit(self) -> float:
        """What turns nats per observation into `unit`, by division."""
        return 1.0 if self.levels is None else self.dims * math.log(2)

    def take(self, which: Tensor) -> Score | None:
        """The score of some of its observations alone; `None` of none.

        Args:
            which: Places among its own observations, or booleans for all of them.
        """
        if not len(self.values[which]):
            return None
        return Score.of(
            self.values[which],
            self.rows[which],
            exact=self.exact,
            dims=self.dims,
            levels=self.levels,
            draws=self.draws,
            valid=None if self.valid is None else self.valid[which],
            groups=None if self.groups is None else self.groups[which],
            averaged=self.averaged,
            solver_error=self.solver_error,
        )

    @property
    def relation(self) -> Relation:
        """`=` in front of a likelihood, `≤` in front of a bound (on bits: smaller is better).

        `≈` in front of an estimate that may lie on either side: where its solver is further off
        than its standard error, or where a density is estimated and not bounded.
        """
        if self.solver_error is not None:
            # of vectors nothing is bounded by dequantisation
            estimated = self.averaged and self.levels is None
            if estimated or not abs(self.solver_error) <= self.standard_error:
                return "≈"
        return "=" if self.exact else "≤"

    @property
    def bits_per_dim(self) -> float | None:
        """Bits for each valid value; `None` for continuous vectors."""
        return None if self.levels is None else self.nats / (self.dims * math.log(2))

    @property
    def bits_standard_error(self) -> float | None:
        """Of `bits_per_dim`."""
        return None if self.levels is None else self.standard_error / (self.dims * math.log(2))

    def figures(self) -> LikelihoodFigures:
        """As the results have it, without what takes another score: training, gap, classes."""
        error = self.standard_error if self.levels is None else self.bits_standard_error
        off = self.solver_error and abs(self.solver_error) / self.nats_per_unit
        return LikelihoodFigures(
            exact=self.exact,
            relation=self.relation,
            bits_per_dim=self.bits_per_dim,
            standard_error=None if error is None or math.isnan(error) else error,
            log_likelihood=-self.nats,
            draws=self.draws,
            observations=self.observations,
            non_finite=self.non_finite,
            groups=None if self.groups is None else self.independent,
            averaged=self.averaged,
            solver_error=off,
        )


@dataclass(frozen=True)
class Scores:
    """What a model's likelihood of some observations is.

    Args:
        marginal: p(x); `None` if the model is conditional and nothing sums over its contexts.
        given_label: p(x | y), if the model takes labels or vectors. Of the observations whose label
            is told in all of its parts, unless there are none.
        given_each_label: Log p(x | y) for every y in nats, `(N, classes)` float64, −∞ for classes
            absent from training; if the model takes labels and their frequencies are known. Its
            rows are those of `marginal`.
    """

    marginal: Score | None
    given_label: Score | None
    given_each_label: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    def of_told(self) -> Tensor | None:
        """The rows of `given_each_label` that `given_label` is of."""
        if self.given_each_label is None or self.given_label is None or self.marginal is None:
            return self.given_each_label
        return self.given_each_label[torch.isin(self.marginal.rows, self.given_label.rows)]


@scoring()
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
    of a ratio, by the delta method. Recordings, not their windows, are counted as independent.

    Args:
        model: One with a likelihood.
        observations: Usually the test split.
        class_frequencies: p(y), `(classes,)`; needed by a model that takes labels.
        draws: Of a bound: importance draws, or those that are averaged.
        seed: Of a bound's noise.
        limit: Look only at so many, chosen by a fixed permutation: their order may be by class.

    Raises:
        MissingCapability: If the model has no likelihood.
        UsageError: If there is nothing to look at.

    Example:
        >>> import simulacra as sim
        >>> data = sim.load_data("digits")
        >>> model = sim.fit(sim.build("nice", data.spec, {"hidden": (16,)}), data, "2steps")
        >>> score = sim.likelihood(model, data.test, draws=4, limit=50).marginal
        >>> score.relation, score.unit, score.observations
        ('≤', 'bits/dim', 50)
    """
    if not isinstance(model, Likelihood):
        raise MissingCapability(
            f"{type(model).__name__} has no likelihood: compare it by its samples"
        )
    if draws < 1 or not len(observations) or (limit is not None and limit < 1):
        raise UsageError("a likelihood needs at least one observation and one draw")
    rows = torch.arange(len(observations))
    if limit is not None and limit < len(observations):
        rows = permutation(len(observations))[:limit]
        observations = observations.take(rows)
    device = device_of(model)
    alone, told, each = [], [], []
    size = scored_at_once(model, *first_rows(model, observations), draws=draws)
    for x, context in observations.batches(size):
        x, context = x.to(device), None if context is None else context.to(device)
        if model.context == "none":
            alone.append(in_units(model.log_likelihood(x, draws=draws, seed=seed), model.spec))
        else:
            values = model.log_likelihood(x, context, draws=draws, seed=seed)
            told.append(in_units(values, model.spec))
            if model.context == "label" and class_frequencies is not None:
                values, marginal = marginal_by_class(
                    model, x, class_frequencies, draws=draws, seed=seed
                )
                each.append(in_units(values, model.spec))
                alone.append(in_units(marginal, model.spec))

    off = _solver_error(model, observations, seed, size) if alone or told else None
    valid = observations.lengths
    if valid is None and model.spec.rate is not None:
        # a sound without padding is valid from end to end
        valid = torch.full((len(observations),), model.spec.dims)

    def score(parts: list[Tensor]) -> Score | None:
        if not parts:
            return None
        return Score.of(
            torch.cat(parts),
            rows,
            exact=model.exact,
            dims=model.spec.dims,
            levels=model.spec.levels,
            draws=1 if model.exact else draws,
            valid=valid,
            groups=observations.groups,
            averaged=model.averaged,
            solver_error=off,
        )

    given = score(told)
    classes = joint_classes(observations, model.spec) if model.context == "label" else None
    if given is not None and classes is not None and bool((classes >= 0).any()):
        given = given.take(classes >= 0)
    return Scores(score(alone), given, torch.cat(each) if each else None)


def _solver_error(
    model: Likelihood, observations: Observations, seed: int, size: int
) -> float | None:
    """The mean of `solver_error` over some observations, `size` at once, in nats with its sign."""
    few = observations.take(permutation(len(observations))[:_SOLVED])
    device, found = device_of(model), []
    for x, context in few.batches(size):
        told = None if context is None or model.context == "none" else context.to(device)
        off = model.solver_error(x.to(device), told, seed=seed)
        if off is None:
            return None
        found.append(off.cpu().double())
    return float(torch.cat(found).mean())


_SOLVED = 32
"""Observations whose equations are solved twice, to see how far off that is."""


def first_rows(model: Model, observations: Observations) -> tuple[Tensor, Tensor | None]:
    """The first two observations, and their context if the model takes any."""
    x, context = observations.batch(torch.arange(min(2, len(observations))))
    return x, None if model.context == "none" else context


def valid_dims(observations: Observations) -> float:
    """Valid values in an observation, their mean where sounds are padded."""
    if observations.lengths is None:
        return math.prod(observations.x.shape[1:])
    return float(observations.lengths.double().mean())


def in_units(log_p: Tensor, spec: DataSpec) -> Tensor:
    """Log-likelihoods of observations as a model has them, in the units of the data.

    Args:
        log_p: Nats, of any shape.
        spec: Of the data; columns with a scale make a density another one.

    Returns:
        Nats, float64 on the CPU.
    """
    return log_p.cpu().double() - spec.log_scale


def bits_per_dim(nats: float, spec: DataSpec, dims: float | None = None) -> float:
    """Nats per observation as bits for each level; of continuous vectors, nats in their units.

    Args:
        nats: Mean negative log-likelihood, as a model has it.
        spec: Of the data.
        dims: Valid values in an observation, from `valid_dims`; all by default.
    """
    if spec.levels is None:
        return nats + spec.log_scale
    return nats / ((dims or spec.dims) * math.log(2))
