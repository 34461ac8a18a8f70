"""`Judge`: the figures and pictures of trained models, or of anyone's samples, the same for all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simulacra.data.dataset import Dataset
from simulacra.drawing import charts, files
from simulacra.ground.errors import CheckpointError, DataError, UsageError
from simulacra.judging import pictures as album
from simulacra.judging.features.views import View, views
from simulacra.judging.figures.cost import cost
from simulacra.judging.figures.diagnostics import generalisation, mean_figure, per_class, shuffled
from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.labels import Classification, classification, generative_classifier
from simulacra.judging.figures.likelihood import (
    Score,
    Scores,
    class_frequencies,
    likelihood,
)
from simulacra.judging.figures.nature import nature
from simulacra.judging.figures.paired import paired
from simulacra.judging.figures.sample_judge import FEWEST, MOST, SampleJudge, fair_count
from simulacra.judging.results import BLANK, can, described, learning_curves, skipped_steps
from simulacra.models import registry
from simulacra.models.model import Likelihood, Model, Sampling
from simulacra.runs.run import Outcome, Run
from simulacra.tasks import sample as tasks
from simulacra.tasks.sample import Samples, frequent_context
from simulacra.training.engine import make_fabric


def cache() -> Path:
    """Where classifiers that see samples are kept, so that each is trained once.

    The folder that SIMULACRA_CACHE names, or `simulacra` where caches are.
    """
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("SIMULACRA_CACHE") or f"{home}/simulacra").expanduser()


_AT_ONCE = 250
_DRAWN, _TOLD = 1, 2  # keys of random streams: of the samples judged, and of their labels


@dataclass(frozen=True)
class Judgement:
    """What is known of a model, or of anyone's samples.

    Args:
        entry: One of `models` in `results.json`.
        pictures: PNG files by kind.
        score: Of p(x), if there is one.
    """

    entry: dict[str, Any]
    pictures: dict[str, bytes] = field(default_factory=dict)
    score: Score | None = None


class Judge:
    """What all models of some data are judged by; its parts are made when they are asked for.

    Args:
        data: With the test split, which is looked at here and nowhere else.
        draws: Importance draws of bounds.
        limit: Look only at so many test observations, for the likelihood.
        inception: A file with the weights of the Inception network, to see samples by.
        most: Samples that are judged, at most.
        told: Told in words what is being measured, for whoever waits.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        draws: int = 64,
        limit: int | None = None,
        inception: Path | None = None,
        most: int = MOST,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.data, self.draws, self.limit, self.inception = data, draws, limit, inception
        self.most, self.told = most, told
        self.frequencies = class_frequencies(data.train, data.spec.classes)

    @cached_property
    def views(self) -> list[View]:
        """What samples are seen by; nothing where there are too few test observations."""
        count = fair_count(self.data, self.most)
        if count < FEWEST:
            return []
        self.told("features that samples are seen by")
        return views(self.data, count, inception=self.inception, folder=cache())

    @cached_property
    def samples(self) -> SampleJudge | str:
        """What samples are held against, or in words why that cannot be."""
        try:
            return SampleJudge(self.data, self.views, most=self.most)
        except UsageError as error:
            return str(error)

    @cached_property
    def baseline(self) -> Classification | None:
        """The discriminative classifier on the test split, if there is one."""
        labels = self.data.test.context
        for view in self.views if self.frequencies is not None else ():
            found = view.log_probabilities(
                self.data.test.batch(torch.arange(len(self.data.test)))[0]
            )
            if found is not None and labels is not None:
                return classification(found, labels)
        return None

    def run(
        self, run: Run, outcome: Outcome | None = None, *, code: str | None = None
    ) -> Judgement:
        """A trained model's figures and pictures, as the report shows them.

        Args:
            run: Its run.
            outcome: How its training ended; read from its checkpoints otherwise.
            code: See `saved.load`.
        """
        if outcome is None:
            with contextlib.suppress(CheckpointError):
                outcome = run.outcome()
        model = run.model(code=code).to(make_fabric(run.options).device)
        name = registry.allowed_name(run.record["model"], code)
        self.told(f"{name}: cost")
        costs = cost(model, self.data, outcome)
        entry = described(name, run.record["keywords"], run.record["options"]) | {
            "steps": outcome and outcome.steps,
            "curves": learning_curves(run.metrics(), model, self.data),
            "warnings": skipped_steps(outcome),
            "cost": costs,
            "nature": nature(model, self.data, calls=costs["sequential_calls"]),
        }
        entry["capabilities"] = can(model, entry["nature"])
        pictures = album.model_pictures(model, self.data)
        score = None
        if isinstance(model, Likelihood):
            self.told(f"{name}: likelihood")
            scores = self._likelihood(model, entry, pictures)
            score = scores.marginal
        if isinstance(model, Sampling):
            count = fair_count(self.data, self.most)
            self.told(f"{name}: {count} samples")
            drawn = draw(model, self.data, count)
            self._samples(drawn.x, drawn.labels, entry, pictures)
        return Judgement(entry, pictures, score)

    def foreign(
        self, name: str, x: Tensor, labels: Tensor | None = None, notes: Sequence[str] = ()
    ) -> Judgement:
        """Samples of any program, held against the data as a model's are.

        Args:
            name: Of whatever drew them.
            x: Raw levels or floats `(N, *event_shape)`.
            labels: The classes that they were drawn for.
            notes: What a reader of the figures has to know.
        """
        entry = {**BLANK, "model": name, "summary": "Samples from a folder.", "family": None}
        entry["warnings"] = list(notes)
        pictures = album.sample_pictures(self.data, x)
        self._samples(x, labels, entry, pictures)
        return Judgement(entry, pictures)

    def _samples(
        self, x: Tensor, labels: Tensor | None, entry: dict[str, Any], pictures: dict[str, bytes]
    ) -> None:
        if isinstance(self.samples, str):
            entry["samples"] = {"count": len(x), "refused": self.samples, "views": {}, "whole": {}}
            return
        entry["samples"] = self.samples.judge(x, labels)
        if entry["samples"]["refused"] is None:
            _, shown, near = self.samples.suspicious(x)
            pictures |= album.suspect_pictures(self.data.spec, shown, near)

    def _likelihood(
        self, model: Likelihood, entry: dict[str, Any], pictures: dict[str, bytes]
    ) -> Scores:
        """Fill in what a model says of observations."""
        data, p, draws = self.data, self.frequencies, self.draws
        scores = likelihood(model, data.test, class_frequencies=p, draws=draws, limit=self.limit)
        general = generalisation(model, data.train, scores, class_frequencies=p, draws=draws)
        for key, score, train, gap in (
            ("likelihood", scores.marginal, general.train.marginal, general.gap),
            (
                "likelihood_given_label", scores.given_label, general.train.given_label,
                general.gap_given_label,
            ),
        ):  # fmt: skip
            if score is None:
                continue
            entry[key] = score.to_json() | {
                "train": train and train.to_json(),
                "gap": gap and gap.to_json(),
                "per_class": self._per_class(score),
            }
            if score.non_finite:
                entry["warnings"].append(
                    f"{score.non_finite} of {score.observations} test observations have no finite "
                    "likelihood"
                )
        entry["warnings"] += general.notes
        if scores.given_label is not None:
            loss = shuffled(model, data.test, scores, class_frequencies=p, draws=draws)
            entry["likelihood_given_label"] |= {
                "shuffled": loss.figure and loss.figure.to_json(),
                "ignores_context": loss.heard is False,
            }
            if loss.reason:
                entry["warnings"].append(f"contexts were not shuffled: {loss.reason}")
        kl = scores.marginal and divergence(scores.marginal, data)
        entry["kl"] = kl and kl.to_json()
        self._classifier(model, scores, entry, pictures)
        return scores

    def _classifier(
        self, model: Likelihood, scores: Scores, entry: dict[str, Any], pictures: dict[str, bytes]
    ) -> None:
        """Fill in what a model that takes labels is worth as a classifier."""
        labels, told = self.data.test.context, scores.given_label
        if scores.given_each_label is None or labels is None or told is None:
            return
        assert self.frequencies is not None  # or there would be no score of each label
        try:
            found = generative_classifier(
                scores.given_each_label, self.frequencies, labels[told.rows]
            )
        except DataError as error:
            entry["warnings"].append(f"no classifier: {error}")
            return
        entry["classifier"] = found.to_json() | {"bound": not model.exact}
        compared = {str(entry["model"]): found}
        if self.baseline is not None:
            compared["discriminative classifier"] = self.baseline
        bins = {name: each.bins for name, each in compared.items()}
        pictures["reliability"] = files.png(charts.reliability(bins))

    def _per_class(self, score: Score) -> list[dict[str, Any]] | None:
        labels, classes = self.data.test.context, self.data.spec.classes
        if labels is None or not classes:
            return None
        names = self.data.class_names or tuple(map(str, range(classes)))
        found = per_class(score, labels, classes)
        return [
            {"class": name, **(each.to_json() if each is not None else {"observations": 0})}
            for name, each in zip(names, found, strict=True)
        ]

    def results(self, judged: Sequence[Judgement]) -> dict[str, Any]:
        """What `results.json` has beside the models: what they were held against, and pairs."""
        return {
            "views": [view.to_json() for view in self.views],
            "references": {} if isinstance(self.samples, str) else self.samples.references,
            "doubts": [] if isinstance(self.samples, str) else self.samples.doubts,
            "baseline_classifier": self.baseline and self.baseline.to_json(),
            "pairs": [
                {"models": [a.entry["model"], b.entry["model"]], **paired(s, t).to_json()}
                for (a, s), (b, t) in combinations(
                    [(each, each.score) for each in judged if each.score is not None], 2
                )
            ],
        }


def draw(model: Model, data: Dataset, n: int) -> Samples:
    """Samples to be judged: a fixed draw, with contexts as frequent as they are in the data.

    Args:
        model: One that samples.
        data: See `frequent_context`.
        n: How many.
    """
    context = frequent_context(model, data, n, seed=_TOLD)
    return tasks.draw(model, n, context, seed=(_DRAWN,), at_once=_AT_ONCE)


def divergence(score: Score, data: Dataset) -> Figure | None:
    """KL(p ‖ q) = E_p log p(x) − log q(x) over the test observations that were scored.

    Args:
        score: Of p(x); a bound gives an upper limit.
        data: Of known density.

    Returns:
        Nats, with Student's 95 % interval; `None` where an observation has no finite likelihood,
        or nobody knows the density.
    """
    if data.density is None or score.non_finite:
        return None
    truth = data.density.log_prob(data.test.batch(score.rows)[0]).double()
    return mean_figure(truth - score.values, groups=score.groups)
