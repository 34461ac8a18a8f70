"""What a model says of the test split: its likelihood, and all that follows from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from simulacra.data.dataset import Dataset
from simulacra.data.labels import joint_classes
from simulacra.drawing import charts, files
from simulacra.ground.errors import DataError
from simulacra.judging.figures.codebook import codebook_terms, mostly_dead
from simulacra.judging.figures.codes import bound_terms, collapse
from simulacra.judging.figures.diagnostics import generalisation, mean_figure, per_class, shuffled
from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.labels import Classification, classification, generative_classifier
from simulacra.judging.figures.likelihood import Score, Scores, likelihood
from simulacra.judging.figures.records import USED, Bin, ClassLikelihood
from simulacra.models.bounded import Bounded
from simulacra.models.classifying import Classifying
from simulacra.models.model import Likelihood
from simulacra.models.quantised import Quantised
from simulacra.tasks.bayes import draws_of
from simulacra.tasks.classify import own_log_probabilities


@dataclass
class Scoring:
    """What was found.

    Args:
        score: Of p(x), if there is one.
        found: Figures by the names that `Entry` has them under.
        warnings: What a reader has to know.
        pictures: PNG files by kind.
    """

    score: Score | None = None
    found: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)


def score_model(
    model: Likelihood,
    name: str,
    data: Dataset,
    *,
    frequencies: Tensor | None,
    draws: int,
    limit: int | None,
    flops: int | None,
    baseline: Callable[[], Classification | None],
) -> Scoring:
    """Score the test split, as many training observations, and what the labels allow.

    Args:
        model: In eval mode.
        name: That it goes by, in the picture of its reliability.
        data: With the test split.
        frequencies: p(y) in the training data, if there are classes.
        draws: Importance draws of a bound; of those that are averaged fewer, see `draws_of`.
        limit: Look only at so many test observations.
        flops: Of scoring one with one draw, if known: so many are looked at as there is work for.
        baseline: Gives the discriminative classifier, if there is one; asked where it is needed.
    """
    draws, asked = draws_of(model, draws), limit
    limit = affordable(model, data, draws, limit, flops)
    scores = likelihood(model, data.test, class_frequencies=frequencies, draws=draws, limit=limit)
    general = generalisation(model, data.train, scores, class_frequencies=frequencies, draws=draws)
    scoring = Scoring(scores.marginal)
    if limit != asked:
        work = (flops or 0) / 1e9
        scoring.warnings.append(
            f"scored on {limit:,} of {len(data.test):,} test observations: each takes {draws} "
            f"draw{'s' * (draws > 1)} of {work:.2g} GFLOP"
        )
    for key, score, train, gap in (
        ("likelihood", scores.marginal, general.train.marginal, general.gap),
        (
            "likelihood_given_label", scores.given_label, general.train.given_label,
            general.gap_given_label,
        ),
    ):  # fmt: skip
        if score is None:
            continue
        scoring.found[key] = replace(
            score.figures(),
            train=None if train is None else train.figures(),
            gap=gap,
            per_class=_per_class(score, data),
        )
        if score.non_finite:
            scoring.warnings.append(
                f"{score.non_finite} of {score.observations} test observations have no finite "
                "likelihood"
            )
    scoring.warnings += general.notes
    if scores.given_label is not None:
        loss = shuffled(model, data.test, scores, class_frequencies=frequencies, draws=draws)
        scoring.found["likelihood_given_label"] = replace(
            scoring.found["likelihood_given_label"],
            shuffled=loss.figure,
            shuffled_within=loss.within,
            shuffled_across=loss.across,
            ignores_context=loss.heard is False,
        )
        if loss.reason:
            scoring.warnings.append(f"contexts were not shuffled: {loss.reason}")
    if scores.marginal is not None and scores.given_label is not None:
        untold = scores.marginal.observations - scores.given_label.observations
        if untold:
            scoring.warnings.append(
                f"{untold} of {scores.marginal.observations} test observations have no label that "
                "is told whole: figures given the label and by class are of the others"
            )
    scoring.found["kl"] = scores.marginal and divergence(scores.marginal, data)
    if isinstance(model, Bounded):
        _codes(scoring, model, data, limit)
    _classify(scoring, model, name, scores, data, frequencies, baseline)
    return scoring


def affordable(
    model: Likelihood, data: Dataset, draws: int, limit: int | None, flops: int | None
) -> int | None:
    """How many test observations to score; fewer where draws over times are dear.

    Args:
        model: With a likelihood.
        data: With the test split.
        draws: Of each observation.
        limit: As asked for.
        flops: Of one draw of one observation, if known.
    """
    if not model.averaged or not flops:
        return limit
    # given each class, where it takes classes
    each = draws * flops * (1 + data.spec.classes * (model.context == "label"))
    most = max(_FEWEST, int(_WORK / each))
    wanted = len(data.test) if limit is None else min(limit, len(data.test))
    return most if most < wanted else limit


_WORK, _FEWEST = 2e12, 100
"""FLOPs that a test split may take to score, about a minute of a core; observations at least."""


def _codes(scoring: Scoring, model: Bounded, data: Dataset, limit: int | None) -> None:
    """Add the parts of the bound, and the name of a collapse."""
    found = bound_terms(model, data.test, limit=limit)
    scoring.found["codes"] = found
    if said := collapse(found, model.keywords):
        scoring.warnings.append(said)
    if found.units:
        nats = [unit.rate.nats for unit in found.units]
        scoring.pictures["rates"] = files.png(charts.rates(nats, USED))


def score_codebook(model: Quantised, data: Dataset, limit: int | None) -> Scoring:
    """What codes of the test split cost, and how much of the codebook they use.

    Args:
        model: In eval mode.
        data: With the test split.
        limit: Look only at so many test observations.
    """
    found = codebook_terms(model, data.test, limit=limit)
    said = [mostly_dead(found, model.keywords)]
    if found.non_finite:
        said.append(
            f"{found.non_finite} of {found.observations} test observations have no finite rate and "
            "distortion"
        )
    return Scoring(found={"codebook": found}, warnings=[each for each in said if each])


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


def reliability(compared: dict[str, tuple[Bin, ...]]) -> bytes:
    """How often classifiers are right where they are so sure, as a PNG file."""
    bins = {
        name: [(each.observations, each.confidence, each.accuracy) for each in own]
        for name, own in compared.items()
    }
    return files.png(charts.reliability(bins))


def _classify(
    scoring: Scoring,
    model: Likelihood,
    name: str,
    scores: Scores,
    data: Dataset,
    frequencies: Tensor | None,
    baseline: Callable[[], Classification | None],
) -> None:
    """Add what a model that takes labels is worth as a classifier."""
    classes, told, each = joint_classes(data.test, data.spec), scores.given_label, scores.of_told
    if each is None or classes is None or told is None or bool((classes[told.rows] < 0).any()):
        return
    assert frequencies is not None  # or there would be no score of each label
    try:
        found = generative_classifier(each, frequencies, classes[told.rows])
    except DataError as error:
        scoring.warnings.append(f"no classifier: {error}")
        return
    scoring.found["classifier"] = found.figures(bound=not model.exact)
    compared = {name: found.bins}
    if isinstance(model, Classifying):
        own = classification(
            own_log_probabilities(model, data.test.take(told.rows)), classes[told.rows]
        )
        scoring.found["own_classifier"] = own.figures()
        compared[f"{name}, its own"] = own.bins
    if (other := baseline()) is not None:
        compared["discriminative classifier"] = other.bins
    scoring.pictures["reliability"] = reliability(compared)


def _per_class(score: Score, data: Dataset) -> tuple[ClassLikelihood, ...] | None:
    labels, classes = joint_classes(data.test, data.spec), data.spec.classes
    if labels is None:
        return None
    names = data.class_names or tuple(map(str, range(classes)))
    rows = []
    for name, each in zip(names, per_class(score, labels, classes), strict=True):
        if each is None:
            rows.append(ClassLikelihood(class_name=name))
            continue
        figures = each.figures()
        rows.append(
            ClassLikelihood(
                class_name=name,
                exact=figures.exact,
                relation=figures.relation,
                draws=figures.draws,
                bits_per_dim=figures.bits_per_dim,
                log_likelihood=figures.log_likelihood,
                standard_error=figures.standard_error,
                observations=each.observations,
                non_finite=figures.non_finite,
            )
        )
    return tuple(rows)
