"""The figures of a model as values, `None` where one is not known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from simulacra.judging.figures.classes import ClassFigures
from simulacra.judging.figures.figure import Figure

Unit = Literal["bits/dim", "bits/valid sample", "nats"]
"""What a likelihood is shown in: bits of discrete data, nats of continuous vectors."""


Relation = Literal["=", "≤", "≈"]
"""Of a likelihood, a bound on bits, and an estimate that may lie on either side."""


@dataclass(frozen=True, kw_only=True)
class ClassLikelihood:
    """The likelihood of the test observations of one class.

    Args:
        class_name: The class.
        exact: As in `LikelihoodFigures`, and so are `relation` and `draws`.
        relation: See there.
        bits_per_dim: Bits for each valid value; `None` of continuous vectors.
        log_likelihood: Mean, in nats per observation.
        standard_error: See there.
        draws: See there.
        observations: Of the class.
        non_finite: Of these, without a finite likelihood.
    """

    class_name: str
    exact: bool = False
    relation: Relation = "≤"
    bits_per_dim: float | None = None
    log_likelihood: float | None = None
    standard_error: float | None = None
    draws: int = 1
    observations: int = 0
    non_finite: int = 0


@dataclass(frozen=True, kw_only=True)
class LikelihoodFigures:
    """What a model says of observations.

    Args:
        exact: Whether it is the likelihood itself and not a bound.
        relation: `=` in front of a likelihood, `≤` in front of a bound, on bits, and `≈` in front
            of an estimate that may lie on either side.
        bits_per_dim: Bits for each valid value; `None` of continuous vectors.
        log_likelihood: Mean, in nats per observation.
        standard_error: Of `bits_per_dim` where there is one, else of `log_likelihood`; `None` where
            the spread is unknown.
        draws: Of a bound: importance draws, or those that are averaged.
        observations: That were scored.
        non_finite: Of these, without a finite likelihood.
        groups: How many vary independently, where they come in groups such as recordings.
        train: The same of training observations.
        gap: By how much the test figure is worse than that, in the report's unit.
        per_class: The same of each class by itself.
        shuffled: What it costs to be told another's context, in the report's unit; of vectors of
            observations in groups, that of another group.
        shuffled_within: Of these, what it costs to be told the vector of another one of the group.
        shuffled_across: By how much another group's vector costs more than that.
        ignores_context: Whether that may just as well be nothing.
        averaged: Whether draws are averaged: more make a figure more certain, and not tighter.
        solver_error: By how much solving equations in steps is off, in the report's unit; `None`
            where none is solved.
    """

    exact: bool
    relation: Relation = "="
    bits_per_dim: float | None = None
    log_likelihood: float | None = None
    standard_error: float | None = None
    draws: int = 1
    observations: int | None = None
    non_finite: int = 0
    groups: int | None = None
    train: LikelihoodFigures | None = None
    gap: Figure | None = None
    per_class: tuple[ClassLikelihood, ...] | None = None
    shuffled: Figure | None = None
    shuffled_within: Figure | None = None
    shuffled_across: Figure | None = None
    ignores_context: bool = False
    averaged: bool = False
    solver_error: float | None = None


@dataclass(frozen=True, kw_only=True)
class Term:
    """A part of a bound: a mean over observations.

    Args:
        nats: For an observation.
        standard_error: Of `nats`; `None` where the spread is unknown.
        bits_per_dim: The same in bits for each valid value; `None` of continuous vectors.
    """

    nats: float
    standard_error: float | None = None
    bits_per_dim: float | None = None


@dataclass(frozen=True, kw_only=True)
class UnitFigures:
    """One unit of a code.

    Args:
        rate: What it costs.
        variance: Of its posterior mean, between observations.
    """

    rate: Term
    variance: float


@dataclass(frozen=True, kw_only=True)
class LevelFigures:
    """One level of a code that has several.

    Args:
        name: What it is called.
        rate: What all its units cost, given the levels above.
        units: How many it has.
    """

    name: str
    rate: Term
    units: int


ACTIVE = 0.01
"""Variance of its posterior mean above which a unit is active (Burda et al. 2015, section 5.1)."""
USED = 0.01
"""Nats below which a unit costs nothing: about what one at the edge of being active must cost."""
IDLE = 0.1
"""Nats below which a whole level costs nothing."""


@dataclass(frozen=True, kw_only=True)
class CodeFigures:
    """A bound over codes in its parts: distortion + rate = −ELBO.

    Args:
        observations: That were looked at.
        non_finite: Of these, with a part that is no number; then there are no figures.
        distortion: −E_q log p(x | z), of continuous vectors in the units of the data.
        rate: KL(q(z | x) ‖ p(z)).
        bound: −ELBO.
        units: Of the code, in its order.
        levels: Of a code that has several, in its order, the highest first.
        given: What the model is told beside an observation; empty for nothing.
    """

    observations: int
    non_finite: int = 0
    distortion: Term | None = None
    rate: Term | None = None
    bound: Term | None = None
    units: tuple[UnitFigures, ...] = ()
    levels: tuple[LevelFigures, ...] = ()
    given: Literal["", "label", "vector", "map"] = ""

    @property
    def active(self) -> int:
        """Units whose posterior mean differs between observations."""
        return sum(unit.variance > ACTIVE for unit in self.units)

    @property
    def unused(self) -> int:
        """Units that cost nothing: their posterior is the prior, whatever is observed."""
        return sum(unit.rate.nats < USED for unit in self.units)

    def units_of(self, level: LevelFigures) -> tuple[UnitFigures, ...]:
        """The units of one of its levels."""
        at = sum(each.units for each in self.levels[: self.levels.index(level)])
        return self.units[at : at + level.units]

    @property
    def dead(self) -> tuple[LevelFigures, ...]:
        """Levels that cost nothing: there the posterior is the prior, whatever is observed."""
        return tuple(level for level in self.levels if level.rate.nats < IDLE)

    @property
    def collapsed(self) -> bool:
        """Whether the decoder ignores the whole code: nothing in it tells of the observation."""
        return bool(self.units) and (self.unused == len(self.units) or not self.active)


@dataclass(frozen=True, kw_only=True)
class CodebookFigures:
    """What codes of a codebook cost, and how much of it is used; no likelihood.

    Args:
        observations: That were looked at.
        entries: Of the codebook.
        places: In which one of them stands, of all observations together.
        used: Entries that stand anywhere.
        perplexity: Of how often each is used: so many, used alike, would tell as much.
        non_finite: Observations with a part that is no number; then there are no costs.
        distortion: −log p(x | z) of an observation given its code.
        rate: −log p(z) of the code.
        total: Of both.
        given: What the prior is told beside a code; empty for nothing.
    """

    observations: int
    entries: int
    places: int
    used: int
    perplexity: float
    non_finite: int = 0
    distortion: Term | None = None
    rate: Term | None = None
    total: Term | None = None
    given: Literal["", "label", "vector"] = ""

    @property
    def mostly_dead(self) -> bool:
        """Whether most entries stand nowhere, though there were places enough for each."""
        return self.places >= _PLACES * self.entries and self.used < self.entries / 2


_PLACES = 10
"""For each entry, from which on one that stands nowhere is likelier dead than rare."""


@dataclass(frozen=True, kw_only=True)
class SampleFigures:
    """What samples are worth, held against real observations.

    Args:
        count: Samples that there were.
        refused: Why there are no figures, in words.
        views: By the name of a view, each figure by its key in `measures.MEASURES`.
        whole: Figures for which no view is needed.
        by_part: Share of samples taken for what was asked, in each part of a label that has
            several, by its name.
        class_shares: How often the classifier takes samples for each class.
        classes: How many it finds among them, and which come too seldom or too often.
        real_classes: The same of as many held-out observations, as far as there are so many.
        warnings: What a reader of the figures has to know.
    """

    count: int
    refused: str | None = None
    views: dict[str, dict[str, Figure]] = field(default_factory=dict)
    whole: dict[str, Figure] = field(default_factory=dict)
    by_part: dict[str, Figure] = field(default_factory=dict)
    class_shares: tuple[float, ...] | None = None
    classes: ClassFigures | None = None
    real_classes: ClassFigures | None = None
    warnings: tuple[str, ...] = ()

    def figure(self, view: str | None, key: str) -> Figure | None:
        """A figure in a view, or of the samples themselves."""
        return (self.views.get(view, {}) if view else self.whole).get(key)


@dataclass(frozen=True, kw_only=True)
class InSteps:
    """How near samples are to real data that a model refines in so many steps.

    Args:
        steps: Calls of the network for each sample.
        frechet: As `SampleFigures` has it in the first view, of as many samples.
    """

    steps: int
    frechet: Figure


@dataclass(frozen=True, kw_only=True)
class References:
    """What samples are read between: `real` data, the floor, and `independent` values.

    Args:
        real: Other real observations, judged as samples.
        independent: Values each drawn by itself.
        chance: What samples of the commonest class alone get, whatever class was asked for.
    """

    real: SampleFigures | None = None
    independent: SampleFigures | None = None
    chance: SampleFigures | None = None


@dataclass(frozen=True, kw_only=True)
class ViewSummary:
    """What samples are seen by; see `features.views.View`."""

    name: str
    extractor: str = ""
    hash: str = ""
    width: int | None = None
    accuracy: float | None = None
    parameters: int | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Observations that a classifier is about equally sure of.

    Args:
        observations: How many.
        confidence: Mean probability of the class found, 0 if there are none.
        accuracy: Share found rightly, 0 if there are none.
    """

    observations: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class ClassifierFigures:
    """A classifier on labelled observations; see `labels.Classification`.

    Args:
        calibrated: Whether a perfectly calibrated classifier may well have this `ece`.
        log_loss: `None` where an own class was held impossible, which `impossible` counts.
        bound: Whether a bound took the likelihood's place.
    """

    accuracy: Figure
    ece: Figure
    ece_floor: float | None = None
    ece_floor_high: float | None = None
    calibrated: bool = False
    log_loss: float | None = None
    impossible: int = 0
    brier: float | None = None
    bins: tuple[Bin, ...] = ()
    observations: int | None = None
    non_finite: int = 0
    bound: bool = False


@dataclass(frozen=True, kw_only=True)
class PairFigures:
    """Two models, observation by observation; see `paired.Pair`.

    Args:
        models: Their names.
        difference: The second figure less the first, in `unit`; its 95 % interval is
            `low` … `high`, and `reason` says why there is none.
        winner: Which of the two; `None` of a tie.
        caveat: What bounds leave open.
    """

    models: tuple[str, str]
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    tie: bool | None = None
    winner: int | None = None
    observations: int | None = None
    unit: Unit | None = None
    caveat: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a model costs; see `cost.cost`. `None` is what cannot be measured.

    Args:
        parameters: Free numbers that were learnt.
        flops_per_observation: Of scoring one, with one draw.
        flops_per_training_step: Forward and backward, divided by the observations in a batch.
        flops_per_sample: Of drawing one.
        training_seconds: Of the whole training.
        training_spent: Seconds of these by what they went into; see `Outcome`.
        training_peak_bytes: See `Outcome`.
        seconds_for_1: Median, of a single sample.
        samples_per_second: 64 at once.
        sequential_calls: Network calls that a sample takes, one after another.
    """

    parameters: int | None = None
    flops_per_observation: int | None = None
    flops_per_training_step: int | None = None
    flops_per_sample: int | None = None
    training_seconds: float | None = None
    training_spent: dict[str, float] | None = None
    training_peak_bytes: int | None = None
    seconds_for_1: float | None = None
    samples_per_second: float | None = None
    sequential_calls: int | None = None


@dataclass(frozen=True, kw_only=True)
class Nature:
    """What kind of thing a model is; see `nature.nature`."""

    likelihood: Literal["exact", "bound", "estimate", "none"]
    invertible: bool = False
    reconstruction_error: float | None = None
    reconstruction_worst: float | None = None
    recovered: float | None = None
    sampling: Literal["parallel", "sequential"] | None = None
    latent: int | None = None
    completes: Literal["exactly", "~", "no"] = "no"


_Column = tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """How a training went: columns of `metrics.csv`, the validation in the report's unit.

    Args:
        balance: Of a game: norms of gradients, and what looks saw, by the names of the columns.
    """

    seconds: _Column = ()
    steps: _Column = ()
    validation: _Column = ()
    losses: dict[str, _Column] = field(default_factory=dict)
    balance: dict[str, _Column] = field(default_factory=dict)
