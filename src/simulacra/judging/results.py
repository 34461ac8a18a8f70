"""`Results`: all that was measured, as values from the judge to the page, to JSON and back.

What is not known is `None`, or empty; nothing is read from the text of a table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar

import msgspec

from simulacra.ground.errors import CheckpointError, UsageError
from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.records import (
    ClassifierFigures,
    CodebookFigures,
    CodeFigures,
    Costs,
    Curves,
    InSteps,
    LikelihoodFigures,
    Nature,
    PairFigures,
    References,
    SampleFigures,
    ViewSummary,
)
from simulacra.judging.figures.roc import VerificationFigures
from simulacra.judging.figures.simple_sounds import PredictorFigures
from simulacra.training.diagnosis import Diagnosis

FORMAT = 1
"""Of `results.json`, and of what is kept of a judgement in a run folder."""

_T = TypeVar("_T")


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
        observations: Training observations seen, one that came again counted again.
        converged: Whether its training ended because it would have learnt nothing more.
        diagnoses: What was wrong with it, of a game.
        failed: Why it has no figures.
        failed_after: Seconds after which it failed.
        left_out: Why it cannot take such data.
        likelihood: Of p(x).
        likelihood_given_label: Of p(x | y), or given another context.
        classifier: What it is worth as a classifier, by Bayes' rule.
        own_classifier: What the classifier that it learned along with the rest is worth.
        kl: KL(p ‖ q) in nats, where the true density is known.
        codes: What codes cost, of a bound over them.
        codebook: What codes of a codebook cost, and how much of it is used.
        verification: Whether codes say which observations are of one identity.
        in_steps: What samples are worth that are refined in fewer steps, and in the usual number;
            empty where nothing is refined.
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
    failed_after: float | None = None
    left_out: str | None = None
    capabilities: tuple[str, ...] = ()
    steps: int | None = None
    observations: int | None = None
    converged: bool = False
    curves: Curves = field(default_factory=Curves)
    diagnoses: tuple[Diagnosis, ...] = ()
    warnings: tuple[str, ...] = ()
    likelihood: LikelihoodFigures | None = None
    likelihood_given_label: LikelihoodFigures | None = None
    classifier: ClassifierFigures | None = None
    own_classifier: ClassifierFigures | None = None
    kl: Figure | None = None
    codes: CodeFigures | None = None
    codebook: CodebookFigures | None = None
    verification: VerificationFigures | None = None
    samples: SampleFigures | None = None
    in_steps: tuple[InSteps, ...] = ()
    cost: Costs = field(default_factory=Costs)
    nature: Nature | None = None

    @property
    def failed_when(self) -> str:
        """That it failed and after how many seconds, as a sentence begins."""
        after = self.failed_after
        return "failed" if after is None else f"failed after {after:.{int(after < 10)}f} s"

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
        predictors: Simple ones of the same sounds, where a model has a likelihood of them.
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
    predictors: tuple[PredictorFigures, ...] = ()
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
        if type(found) is not int or found != FORMAT:
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
    except (msgspec.ValidationError, UsageError) as error:
        raise CheckpointError(f"{what} cannot be read: {error}") from error


def _renamed(entry: Any) -> Any:  # noqa: ANN401 (any JSON value)
    """An entry with classes under the name that a Python attribute can have."""
    if not isinstance(entry, dict):
        return entry
    entry = dict(entry)
    for key in _PER_CLASS:
        figures = entry.get(key)
        if isinstance(figures, dict) and isinstance(figures.get("per_class"), (list, tuple)):
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
