"""`Results`: all that was measured, as values from the judge to the page, to JSON and back.

What is not known is `None`, or empty; nothing is read from the text of a table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar

import msgspec

from simulacra.ground.errors import CheckpointError
from simulacra.judging.figures.figure import Figure

FORMAT = 1
"""Of `results.json`, and of what is kept of a judgement in a run folder."""

Unit = Literal["bits/dim", "bits/valid sample", "nats"]
"""What a likelihood is shown in: bits of discrete data, nats of continuous vectors."""

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class ClassLikelihood:
    """The likelihood of the test observations of one class.

    Args:
        class_name: The class.
        bits_per_dim: Bits for each valid value; `None` of continuous vectors.
        log_likelihood: Mean, in nats per observation.
        standard_error: As in `LikelihoodFigures`.
        observations: Of the class.
        non_finite: Of these, without a finite likelihood.
    """

    class_name: str
    bits_per_dim: float | None = None
    log_likelihood: float | None = None
    standard_error: float | None = None
    observations: int = 0
    non_finite: int = 0


@dataclass(frozen=True, kw_only=True)
class LikelihoodFigures:
    """What a model says of observations.

    Args:
        exact: Whether it is the likelihood itself and not a bound.
        relation: `=` in front of a likelihood, `≤` in front of a bound, on bits.
        bits_per_dim: Bits for each valid value; `None` of continuous vectors.
        log_likelihood: Mean, in nats per observation.
        standard_error: Of `bits_per_dim` where there is one, else of `log_likelihood`.
        draws: Importance draws of a bound.
        observations: That were scored.
        non_finite: Of these, without a finite likelihood.
        groups: How many vary independently, where they come in groups such as recordings.
        train: The same of training observations.
        gap: By how much the test figure is worse than that, in the report's unit.
        per_class: The same of each class by itself.
        shuffled: What it costs to be told another's context, in the report's unit.
        ignores_context: Whether that may just as well be nothing.
    """

    exact: bool
    relation: Literal["=", "≤"] = "="
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
    ignores_context: bool = False


@dataclass(frozen=True, kw_only=True)
class SampleFigures:
    """What samples are worth, held against real observations.

    Args:
        count: Samples that there were.
        refused: Why there are no figures, in words.
        views: By the name of a view, each figure by its key in `measures.MEASURES`.
        whole: Figures for which no view is needed.
        class_shares: How often the classifier takes samples for each class.
        warnings: What a reader of the figures has to know.
    """

    count: int
    refused: str | None = None
    views: dict[str, dict[str, Figure]] = field(default_factory=dict)
    whole: dict[str, Figure] = field(default_factory=dict)
    class_shares: tuple[float, ...] | None = None
    warnings: tuple[str, ...] = ()

    def figure(self, view: str | None, key: str) -> Figure | None:
        """A figure in a view, or of the samples themselves."""
        return (self.views.get(view, {}) if view else self.whole).get(key)


@dataclass(frozen=True, kw_only=True)
class References:
    """What samples are read between: `real` data, the floor, and `independent` values."""

    real: SampleFigures | None = None
    independent: SampleFigures | None = None


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
    training_peak_bytes: int | None = None
    seconds_for_1: float | None = None
    samples_per_second: float | None = None
    sequential_calls: int | None = None


@dataclass(frozen=True, kw_only=True)
class Nature:
    """What kind of thing a model is; see `nature.nature`."""

    likelihood: Literal["exact", "bound", "none"]
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
    """How a training went: columns of `metrics.csv`, the validation in the report's unit."""

    seconds: _Column = ()
    steps: _Column = ()
    validation: _Column = ()
    losses: dict[str, _Column] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model, or anyone's samples, and its figures.

    Args:
        model: Its name.
        class_name: Its class; `None` of samples alone.
        family: The folder of its family.
        summary: In a sentence.
        paper: That it is from.
        departs: What it does otherwise.
        keywords: It was built with.
        options: Of its training.
        capabilities: What it can do, in words.
        steps: Of its training, each a `step_name`.
        failed: Why it has no figures.
        left_out: Why it cannot take such data.
        likelihood: Of p(x).
        likelihood_given_label: Of p(x | y), or given another context.
        kl: KL(p ‖ q) in nats, where the true density is known.
    """

    model: str
    class_name: str | None = None
    family: str | None = None
    summary: str | None = None
    paper: str | None = None
    departs: str | None = None
    keywords: dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    step_name: Literal["steps", "sweeps"] = "steps"
    failed: str | None = None
    left_out: str | None = None
    capabilities: tuple[str, ...] = ()
    steps: int | None = None
    curves: Curves = field(default_factory=Curves)
    warnings: tuple[str, ...] = ()
    likelihood: LikelihoodFigures | None = None
    likelihood_given_label: LikelihoodFigures | None = None
    classifier: ClassifierFigures | None = None
    kl: Figure | None = None
    samples: SampleFigures | None = None
    cost: Costs = field(default_factory=Costs)
    nature: Nature | None = None

    @property
    def absent(self) -> str:
        """Why it has no figures at all: it was left out, or failed; empty if it has."""
        return self.left_out or self.failed or ""

    @property
    def likelihoods(self) -> tuple[LikelihoodFigures, ...]:
        """Those that it has, of p(x) and given a context."""
        return tuple(f for f in (self.likelihood, self.likelihood_given_label) if f is not None)

    def to_json(self) -> dict[str, Any]:
        """As `results.json` has it, where a class is called `class`."""
        value: dict[str, Any] = msgspec.to_builtins(self)
        for named in (value, *_classes(value)):
            named["class"] = named.pop("class_name")
        return value

    @classmethod
    def from_json(cls, value: Any) -> Self:  # noqa: ANN401 (any JSON value)
        """Read back.

        Raises:
            CheckpointError: If it is none.
        """
        return _read(cls, _renamed(value), "an entry of results")


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """What all was measured on.

    Args:
        valid: Valid values of a test observation, on average.
        truth: Mean log-density of the test split under what it was drawn from, in nats.
        train: Observations, and so on.
    """

    name: str = "these data"
    description: str = ""
    notes: tuple[str, ...] = ()
    event_shape: tuple[int, ...] = ()
    levels: int | None = None
    rate: int | None = None
    valid: float | None = None
    truth: float | None = None
    classes: int = 0
    class_names: tuple[str, ...] = ()
    train: int | None = None
    validation: int | None = None
    test: int | None = None
    fingerprint: str = ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where it was measured, and with which versions."""

    processor: str | None = None
    threads: int | None = None
    device: str | None = None
    simulacra: str | None = None
    torch: str | None = None
    python: str | None = None
    platform: str | None = None


@dataclass(frozen=True, kw_only=True)
class Results:
    """All figures of some models on the same data.

    Args:
        title: Of the report, if it has one of its own.
        command: That made it.
        date: Of the measurement, UTC.
        seed: Of the training.
        budget: Of each model's training, in words.
        views: What samples were seen by, first what the main table stands on.
        doubts: What makes figures of such data hard to trust.
        baseline_classifier: A discriminative classifier of the labels.
        stopped: Whether a comparison was stopped before its end.
    """

    title: str | None = None
    command: str = ""
    date: str = ""
    seed: int | None = None
    budget: str | None = None
    machine: Machine = field(default_factory=Machine)
    data: DataSummary = field(default_factory=DataSummary)
    views: tuple[ViewSummary, ...] = ()
    references: References = field(default_factory=References)
    doubts: tuple[str, ...] = ()
    baseline_classifier: ClassifierFigures | None = None
    pairs: tuple[PairFigures, ...] = ()
    models: tuple[Entry, ...] = ()
    stopped: bool = False

    def to_json(self) -> dict[str, Any]:
        """As `results.json` has it, its format number in front."""
        models = [model.to_json() for model in self.models]
        return {"format": FORMAT, **msgspec.to_builtins(self), "models": models}

    @classmethod
    def from_json(cls, value: Any) -> Self:  # noqa: ANN401 (any JSON value)
        """Read back what `to_json` gave.

        Raises:
            CheckpointError: If it is of another format, or no results.
        """
        found = value.get("format") if isinstance(value, dict) else None
        if found != FORMAT:
            raise CheckpointError(
                f"these results have format {found}, this simulacra reads {FORMAT}: "
                "make them again with the version at hand"
            )
        models = value.get("models")
        if isinstance(models, list):
            value = {**value, "models": [_renamed(model) for model in models]}
        return _read(cls, value, "results")


def _read(kind: type[_T], value: object, what: str) -> _T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{what} cannot be read: {error}") from error


def _renamed(entry: Any) -> Any:  # noqa: ANN401 (any JSON value)
    """An entry with classes under the name that a Python attribute can have."""
    if not isinstance(entry, dict):
        return entry
    entry = dict(entry)
    for key in _PER_CLASS:
        figures = entry.get(key)
        if isinstance(figures, dict) and isinstance(figures.get("per_class"), list):
            each = [_with_class_name(row) for row in figures["per_class"]]
            entry[key] = {**figures, "per_class": each}
    return _with_class_name(entry)


def _with_class_name(value: Any) -> Any:  # noqa: ANN401 (any JSON value)
    if not isinstance(value, dict):
        return value
    return {"class_name" if key == "class" else key: part for key, part in value.items()}


_PER_CLASS = ("likelihood", "likelihood_given_label")


def _classes(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of each class in an entry."""
    return [row for key in _PER_CLASS for row in (entry[key] or {}).get("per_class") or ()]
