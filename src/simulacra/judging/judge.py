"""`Judge`: the figures and pictures of trained models, or of anyone's samples, the same for all."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simulacra.data.dataset import Dataset
from simulacra.data.labels import joint_classes
from simulacra.ground.caching import cache_folder
from simulacra.ground.errors import CheckpointError, UsageError
from simulacra.ground.threads import settled
from simulacra.judging import pictures as album
from simulacra.judging.circumstances import data_summary, machine, summary
from simulacra.judging.drawn import draw, drawn_classes
from simulacra.judging.entries import (
    can,
    described,
    diagnosed,
    is_swept,
    learning_curves,
    skipped_steps,
    wrong_inverse,
)
from simulacra.judging.features.views import View, views
from simulacra.judging.figures.cost import cost
from simulacra.judging.figures.labels import Classification, classification
from simulacra.judging.figures.nature import nature
from simulacra.judging.figures.paired import of_both, paired
from simulacra.judging.figures.records import InSteps, Nature, References, SampleFigures
from simulacra.judging.figures.sample_judge import FEWEST, MOST, SampleJudge, fair_count
from simulacra.judging.figures.simple_sounds import PredictorFigures, simple_predictors
from simulacra.judging.figures.verification import verification
from simulacra.judging.judgement import KEPT, Judged, Judgement, fingerprint_of, keep, kept
from simulacra.judging.results import Entry, Results
from simulacra.judging.scoring import Scoring, score_codebook, score_model
from simulacra.judging.steps import in_steps
from simulacra.models import registry
from simulacra.models.description import describe_class
from simulacra.models.model import Encoding, Likelihood, Model, Sampling
from simulacra.models.quantised import Quantised
from simulacra.models.refining import Refining
from simulacra.runs import zoo
from simulacra.runs.run import Outcome, Run
from simulacra.tasks.bayes import class_frequencies
from simulacra.tasks.sample import device_of

_CLASSIFIED, _VALUES = 1024, 1 << 26  # observations, and values of them, classified at once


class Judge:
    """What all models of some data are judged by; its parts are made when they are asked for.

    Args:
        data: With the test split, which is looked at here and nowhere else.
        draws: Importance draws of bounds; of those that are averaged a sixteenth.
        limit: Look only at so many test observations, for the likelihood.
        inception: A file with the weights of the Inception network, to see samples by.
        most: Samples that are judged, at most.
        device: Where models are put, and networks that see samples; models where they are, and
            these on the CPU, by default.
        told: Told in words what is being measured, for whoever waits.

    Example:
        >>> import simulacra as sim, dataclasses, torch
        >>> data = sim.load_data("digits")
        >>> few = {name: split.take(torch.arange(19)) for name, split in data.splits.items()}
        >>> data = dataclasses.replace(data, **few)  # so that it takes a second
        >>> judge = sim.Judge(data)
        >>> first = judge.model(sim.build("nice", data.spec))
        >>> second = judge.model(sim.build("gan", data.spec))
        >>> [entry.model for entry in judge.together([first, second]).results.models]
        ['NICE', 'GAN']
    """

    def __init__(
        self,
        data: Dataset,
        *,
        draws: int = 64,
        limit: int | None = None,
        inception: Path | None = None,
        most: int = MOST,
        device: torch.device | None = None,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.data, self.draws, self.limit, self.inception = data, draws, limit, inception
        self.most, self.device, self.told = most, device, told
        self.frequencies = class_frequencies(data.train, data.spec)

    @cached_property
    @settled()
    def views(self) -> list[View]:
        """What samples are seen by; nothing where there are too few test observations."""
        count = fair_count(self.data, self.most)
        if count < FEWEST:
            return []
        self.told("features that samples are seen by")
        return views(
            self.data, count, inception=self.inception, folder=cache_folder(), device=self.device
        )

    @cached_property
    @settled()
    def samples(self) -> SampleJudge | str:
        """What samples are held against, or in words why that cannot be."""
        try:
            return SampleJudge(self.data, self.views, most=self.most)
        except UsageError as error:
            return str(error)

    @cached_property
    @settled()
    def baseline(self) -> Classification | None:
        """The discriminative classifier on the test split, if there is one."""
        classes = joint_classes(self.data.test, self.data.spec)
        if classes is None or self.frequencies is None or not bool((classes >= 0).any()):
            return None
        told = (classes >= 0).nonzero()[:, 0]
        for view in self.views:
            size = max(1, min(_CLASSIFIED, _VALUES // self.data.spec.dims))
            lots = (self.data.test.batch(rows)[0] for rows in told.split(size))
            parts = [view.log_probabilities(x) for x in lots]
            found = [part for part in parts if part is not None]
            if found:
                return classification(torch.cat(found), classes[told])
        return None

    @cached_property
    @settled()
    def predictors(self) -> tuple[PredictorFigures, ...]:
        """Simple predictors of sounds; nothing of what are none."""
        spec = self.data.spec
        if spec.rate is None or spec.levels is None:
            return ()
        self.told("simple predictors")
        return simple_predictors(self.data)

    def run(
        self, run: Run, outcome: Outcome | None = None, *, code: str | None = None
    ) -> Judgement:
        """The model of a run, judged; kept in its folder, and found there while nothing changed.

        Args:
            run: A run.
            outcome: How its training ended; read from its checkpoints otherwise.
            code: See `saved.load`.
        """
        if outcome is None:
            with contextlib.suppress(CheckpointError):
                outcome = run.outcome()
        name = registry.allowed_name(run.record["model"], code)
        model, options = run.model(code=code), run.record["options"]
        # nothing is written into the package
        place = None if run.folder.parent == zoo.PLACE else run.folder / KEPT
        fingerprint = ""
        if place is not None:
            fingerprint = fingerprint_of(
                self._placed(model),
                name=name,
                data=summary(self.data),
                machine=asdict(machine(self.device)),
                options=options,
                outcome=outcome and asdict(outcome),
                asked=[self.draws, self.limit, self.most],
                views=[view.hash for view in self.views],
            )
            if (before := kept(place, fingerprint)) is not None:
                return before
        judgement = self.model(model, name, outcome=outcome, metrics=run.metrics(), options=options)
        if place is not None:
            keep(place, fingerprint, judgement)
        return judgement

    @settled()
    def model(
        self,
        model: Model,
        name: str | None = None,
        *,
        outcome: Outcome | None = None,
        metrics: Mapping[str, list[float | None]] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Judgement:
        """Any model's figures and pictures, whoever trained it.

        Args:
            model: Trained on the data; it is put on the judge's device, and in eval mode.
            name: That it goes by; that of its class, by default.
            outcome: How its training ended, if that is known.
            metrics: The columns of `metrics.csv`, if there are any.
            options: Of its training, if they are known.
        """
        model = self._placed(model)
        name = name or type(model).__name__
        self.told(f"{name}: cost")
        costs = cost(model, self.data, outcome)
        found = nature(model, self.data, calls=costs.sequential_calls)
        self.told(f"{name}: pictures")
        pictures = album.model_pictures(model, self.data)
        scoring = Scoring()
        if isinstance(model, Likelihood):
            self.told(f"{name}: likelihood")
            scoring = score_model(
                model, name, self.data, frequencies=self.frequencies, draws=self.draws,
                limit=self.limit, flops=costs.flops_per_observation,
                baseline=lambda: self.baseline,
            )  # fmt: skip
        elif isinstance(model, Quantised):
            self.told(f"{name}: codebook")
            scoring = score_codebook(model, self.data, self.limit)
        if isinstance(model, Encoding):
            scoring.found["verification"] = verification(model, self.data)
        figures: SampleFigures | None = None
        refined: tuple[InSteps, ...] = ()
        if isinstance(model, Sampling):
            # of a test split of one group there are no halves, which the judge then says
            count = max(1, fair_count(self.data, self.most))
            self.told(f"{name}: {count} samples")
            drawn = draw(model, self.data, count)
            labels = drawn.labels
            asked = None if labels is None else self.data.spec.joint(labels)
            figures, suspects = self._samples(drawn.x, asked, self._more(model, name, found))
            pictures |= suspects
            if isinstance(model, Refining) and isinstance(self.samples, SampleJudge):
                self.told(f"{name}: samples in fewer steps")
                refined = in_steps(
                    model, self.data, self.samples, figures, flops=costs.flops_per_sample
                )
        entry = described(
            describe_class(type(model), name),
            swept=is_swept(model),
            keywords=_plain(model.keywords),
            options=None if options is None else _plain(options),
            steps=None if outcome is None else outcome.steps,
            observations=None if outcome is None else outcome.observations,
            converged=outcome is not None and outcome.converged,
            curves=learning_curves(metrics or {}, model, self.data),
            warnings=(
                *skipped_steps(outcome),
                *wrong_inverse(outcome),
                *diagnosed(outcome, model),
                *scoring.warnings,
            ),
            diagnoses=() if outcome is None else outcome.diagnoses,
            cost=costs,
            nature=found,
            capabilities=can(model, found),
            samples=figures,
            in_steps=refined,
            **scoring.found,
        )
        return Judgement(entry, pictures | scoring.pictures, scoring.score)

    @settled()
    def foreign(
        self, name: str, x: Tensor, labels: Tensor | None = None, notes: Sequence[str] = ()
    ) -> Judgement:
        """Samples of any program, held against the data as a model's are.

        Args:
            name: Of whatever drew them.
            x: Raw levels or floats `(N, *event_shape)`, on any device.
            labels: The classes that they were drawn for.
            notes: What a reader of the figures has to know.
        """
        x, labels = x.cpu(), None if labels is None else labels.cpu()
        many = None if isinstance(self.samples, str) else self.samples.classes.of_many(x)
        figures, suspects = self._samples(x, labels, many)
        entry = Entry(
            model=name, summary="Samples from a folder.", warnings=tuple(notes), samples=figures
        )
        return Judgement(entry, album.sample_pictures(self.data, x) | suspects)

    def _placed(self, model: Model) -> Model:
        return (model if self.device is None else model.to(self.device)).eval()

    def _more(self, model: Sampling, name: str, found: Nature) -> Tensor | None:
        """The classes of more samples, where they are wanted of a model that draws in one pass."""
        if isinstance(self.samples, str) or found.sampling != "parallel":
            return None
        classes = self.samples.classes
        if not classes.wants_more:
            return None
        self.told(f"{name}: classes of {classes.count:,} samples")
        return drawn_classes(model, self.data, classes.count, classes.taken)

    def _samples(
        self, x: Tensor, labels: Tensor | None, taken: Tensor | None = None
    ) -> tuple[SampleFigures, dict[str, bytes]]:
        """The figures of samples, and a picture of those that look most like copies."""
        if isinstance(self.samples, str):
            return SampleFigures(count=len(x), refused=self.samples), {}
        figures = self.samples.judge(x, labels, taken)
        if figures.refused is not None:
            return figures, {}
        _, shown, near = self.samples.suspicious(x)
        return figures, album.suspect_pictures(self.data.spec, shown, near)

    @settled()
    def together(
        self, judged: Sequence[Judgement], *, seed: int | None = None, budget: str | None = None
    ) -> Judged:
        """Judgements as one set of results: each pair compared, and what all depends on.

        Args:
            judged: All of models with names of their own.
            seed: Of their training.
            budget: Of each model's training, in words.
        """
        scored = [(each.entry.model, each.score) for each in judged if each.score is not None]
        against = None if isinstance(self.samples, str) else self.samples
        results = replace(
            self.unjudged([each.entry for each in judged], seed=seed, budget=budget),
            views=tuple(view.summary() for view in self.views),
            references=References() if against is None else against.references,
            doubts=() if against is None else tuple(against.doubts),
            predictors=self.predictors if any(e.entry.likelihoods for e in judged) else (),
            baseline_classifier=None if self.baseline is None else self.baseline.figures(),
            pairs=tuple(
                paired(*of_both(s, t)).of(a, b) for (a, s), (b, t) in combinations(scored, 2)
            ),
        )
        pictures = album.real_pictures(self.data) | {
            f"{each.entry.model}/{kind}": png
            for each in judged
            for kind, png in each.pictures.items()
        }
        return Judged(results, pictures, dict(scored))

    def unjudged(
        self, entries: Sequence[Entry], *, seed: int | None = None, budget: str | None = None
    ) -> Results:
        """Entries and what they depend on, without what takes time to measure."""
        return Results(
            command=" ".join(["simulacra", *sys.argv[1:]]),
            date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            seed=seed,
            budget=budget,
            machine=machine(self.device),
            data=data_summary(self.data),
            models=tuple(entries),
        )


def judge_model(
    model: Model, data: Dataset, name: str | None = None, *, draws: int = 64,
    limit: int | None = None,
) -> Judged:  # fmt: skip
    """Every figure that a model can have on some data, whoever trained it.

    Args:
        model: Trained on the training split of the data; it stays on its device, in eval mode.
        data: Whose test split is looked at.
        name: That the model goes by; that of its class, by default.
        draws: Importance draws of a bound on likelihood.
        limit: Look only at so many test observations, for the likelihood.

    Returns:
        The `results`, of one model, its pictures and its scores: what `write_report` takes.

    Example:
        >>> import simulacra as sim, dataclasses, torch
        >>> data = sim.load_data("digits")
        >>> few = {name: split.take(torch.arange(19)) for name, split in data.splits.items()}
        >>> data = dataclasses.replace(data, **few)  # so that it takes a second
        >>> judged = sim.judge_model(sim.build("nice", data.spec), data)
        >>> judged.results.models[0].likelihood.relation
        '≤'
    """
    judge = Judge(data, draws=draws, limit=limit, device=device_of(model))
    return judge.together([judge.model(model, name)])


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has them, where tuples are lists: what is written is what is read back."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(values), default=str))
    return plain
