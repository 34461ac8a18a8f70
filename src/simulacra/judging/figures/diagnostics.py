"""What a mean likelihood hides: overfitting, single classes, and contexts that are not heard."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from simulacra.data.augment import Augmented
from simulacra.data.dataset import DynamicallyBinarised, Observations
from simulacra.data.labels import joint_classes
from simulacra.data.splits import permutation
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.intervals import degrees_of_freedom, half_width, standard_error
from simulacra.judging.figures.likelihood import (
    Score,
    Scores,
    first_rows,
    in_units,
    likelihood,
)
from simulacra.models.model import Likelihood, Model
from simulacra.models.modes import scoring
from simulacra.tasks.bayes import scored_at_once
from simulacra.tasks.sample import device_of

MOST_TRAINED_ON = 2000
"""Training observations that are scored."""


@dataclass(frozen=True)
class Generalisation:
    """How much worse a model does on test than on training observations.

    Args:
        train: Its scores of training observations.
        gap: By how much the test figure of p(x) is worse, in `Score.unit`: above 0 the model
            overfits, whether smaller or larger figures are better. `None` if there is no such
            score, or an observation has no finite likelihood.
        gap_given_label: The same of p(x | y).
        notes: What the training figure is of, where that is not plain.
    """

    train: Scores
    gap: Figure | None
    gap_given_label: Figure | None
    notes: tuple[str, ...] = ()


def generalisation(
    model: Model,
    train: Observations,
    test: Scores,
    *,
    class_frequencies: Tensor | None = None,
    draws: int = 1,
    seed: int = 0,
) -> Generalisation:
    """The scores of as many training observations as were tested, and the gap between the two.

    At most 2,000, for scoring takes time; they are chosen by a fixed permutation. Augmented
    pictures are taken as they were before; of dynamically binarised ones, the bits of the first
    epoch, on which the model was trained.

    The interval is that of two independent means (Welch 1947). It knows nothing of another draw of
    the training data. Of observations in groups, such as windows in recordings, the groups are
    counted as independent; where one group is all that was scored, there is no interval.

    Args:
        model: The one that was tested, in eval mode.
        train: What it learned from.
        test: What `likelihood` said of the test split, with the same keywords as here.
        class_frequencies: As for `likelihood`, and so are `draws` and `seed`.
        draws: Importance draws of a bound.
        seed: Of a bound's noise.

    Raises:
        UsageError: If nothing was tested.
    """
    tested = test.marginal or test.given_label
    if tested is None:
        raise UsageError("a gap needs the scores of the test split")
    plain, notes = _as_tested(train)
    scores = likelihood(
        model,
        plain,
        class_frequencies=class_frequencies,
        draws=draws,
        seed=seed,
        limit=min(tested.observations, MOST_TRAINED_ON),
    )
    return Generalisation(
        scores,
        _gap(scores.marginal, test.marginal),
        _gap(scores.given_label, test.given_label),
        (*notes, *_lone(tested, "test"), *_lone(scores.marginal or scores.given_label, "training")),
    )


def _lone(score: Score | None, what: str) -> Iterator[str]:
    """That all observations scored share one group, if they do."""
    if score is not None and score.groups is not None and score.independent == 1:
        yield (
            f"the {what} observations that were scored are all of one group, such as one "
            "recording: how much their figures vary is unknown"
        )


def _as_tested(train: Observations) -> tuple[Observations, tuple[str, ...]]:
    """Training observations without what only training does to them, and what is said of it."""
    notes = []
    while isinstance(train, Augmented):
        notes.append("training pictures are scored as they were before mirroring and moving")
        train = train.base or Observations(train.x, train.context, train.lengths, train.groups)
    if isinstance(train, DynamicallyBinarised):
        notes.append("training pictures are scored by the bits of the first epoch")
        train = train.freeze()
    return train, tuple(notes)


def _gap(train: Score | None, test: Score | None) -> Figure | None:
    if train is None or test is None or train.non_finite or test.non_finite:
        return None
    scale = test.nats_per_unit, train.nats_per_unit
    gap = test.nats / scale[0] - train.nats / scale[1]
    squares = (test.standard_error / scale[0]) ** 2, (train.standard_error / scale[1]) ** 2
    if math.isnan(sum(squares)):
        return Figure(gap, test.observations)
    if not sum(squares):
        return Figure(gap, test.observations, gap, gap)
    degrees = sum(squares) ** 2 / (squares[0] ** 2 / test.degrees + squares[1] ** 2 / train.degrees)
    half = half_width(math.sqrt(sum(squares)), degrees)
    return Figure(gap, test.observations, gap - half, gap + half)


def per_class(score: Score, labels: Tensor, classes: int) -> list[Score | None]:
    """The score of each class alone; `None` of a class of which nothing was looked at.

    Args:
        score: Of a split, or of some of its rows.
        labels: The classes of the whole split, `(N,)`; one that is not told, −1, is in none.
        classes: How many there are.

    Raises:
        UsageError: If the labels are those of other observations.
    """
    if len(score.values) != score.observations or int(score.rows.max()) >= len(labels):
        raise UsageError(
            f"classes need a label for each observation, got {len(labels)} labels for a score of "
            f"{score.observations}"
        )
    own = labels[score.rows]
    return [score.take(own == label) for label in range(classes)]


@dataclass(frozen=True)
class Shuffled:
    """How much a conditional model loses when it is told the context of another observation.

    Args:
        nats: Mean of log p(x | c) − log p(x | c′), per observation; `None` if it is no number.
        figure: The same in `unit`.
        unit: Of `figure`.
        how: What c′ was, in words.
        reason: Why there is no figure, in words.
        within: The same as `figure` where c′ is the vector of another observation of the same
            group, such as another picture of a person: what vectors tell beside the group.
        across: By how much c′ of another group is worse than c′ of the same: what they tell of it.
    """

    nats: Figure | None
    figure: Figure | None
    unit: str
    how: str
    reason: str | None = None
    within: Figure | None = None
    across: Figure | None = None

    @property
    def heard(self) -> bool | None:
        """Whether the interval lies above 0: if not, the context may just as well be ignored."""
        return None if self.nats is None or self.nats.low is None else self.nats.low > 0


def shuffled(
    model: Model,
    observations: Observations,
    scores: Scores,
    *,
    class_frequencies: Tensor | None = None,
    draws: int = 1,
    seed: int = 0,
) -> Shuffled:
    """What it costs a conditional model to be told other contexts, observation by observation.

    Of labels, the mean over all other classes by their frequency in training: what shuffling comes
    to on average, without its chance. Of vectors, the context of another observation by a fixed
    permutation; observations whose context that does not change are left out. Of vectors of
    observations in groups, such as pictures of persons, it is an observation of another group, and
    beside that stands what another one of the same group costs; intervals count the groups.

    Args:
        model: A conditional one with a likelihood.
        observations: The split that was scored.
        scores: What `likelihood` said of it, with the same keywords as here.
        class_frequencies: p(y), as for `likelihood`.
        draws: Importance draws of a bound.
        seed: Of a bound's noise.

    Raises:
        MissingCapability: If the model takes no context.
        UsageError: If the scores are of other observations.
    """
    told = scores.given_label
    if not isinstance(model, Likelihood) or model.context == "none" or told is None:
        raise MissingCapability(f"this {type(model).__name__} is told no context to shuffle")
    observations = observations.take(told.rows)
    assert observations.context is not None  # it was scored with one
    each, p = scores.of_told, class_frequencies
    classes = joint_classes(observations, model.spec)
    if each is not None and p is not None and classes is not None and bool((classes >= 0).all()):
        how = "the other classes, each by its share of training"
        wrong, changed = _other_classes(each, p.cpu().double(), classes)
    else:
        how = "the context of another observation, by a fixed permutation"
        if observations.groups is not None and model.context == "vector":
            return _by_groups(model, observations, observations.groups, told, draws, seed)
        order = permutation(len(observations))
        # everyone gets the context of whoever comes next, so that none keeps its own
        other = torch.empty_like(order)
        other[order] = order.roll(-1)
        wrong, changed = _other_rows(model, observations, other, draws, seed)
    return _shuffled(told, wrong, changed, how)


def _shuffled(told: Score, wrong: Tensor, changed: Tensor, how: str) -> Shuffled:
    """What is lost by other contexts, where they are others."""
    kept = told.take(changed)
    if kept is None:
        return Shuffled(None, None, told.unit, how, "all contexts are the same")
    lost = kept.values - wrong[changed]
    broken = int((~lost.isfinite()).sum())
    if broken:
        why = f"{broken} of {len(lost)} observations have no finite likelihood, own or shuffled"
        return Shuffled(None, None, told.unit, how, why)
    nats = mean_figure(lost, groups=kept.groups)
    figure = mean_figure(lost, kept.nats_per_unit, kept.valid, kept.groups)
    return Shuffled(nats, figure, told.unit, how)


def _by_groups(
    model: Likelihood,
    observations: Observations,
    groups: Tensor,
    told: Score,
    draws: int,
    seed: int,
) -> Shuffled:
    """What vectors of another group cost, and those of others in the same group."""
    order = permutation(len(groups))
    order = order[groups[order].argsort(stable=True)]
    sizes = groups.unique(return_counts=True)[1]
    across, within = torch.empty_like(order), torch.empty_like(order)
    # in the order of groups, so many places further on there is another one
    across[order] = order.roll(-int(sizes.max()))
    within[order] = torch.cat([each.roll(-1) for each in order.split(sizes.tolist())])
    wrong, changed = _other_rows(model, observations, across, draws, seed)
    same, moved = _other_rows(model, observations, within, draws, seed)
    changed &= groups[across] != groups
    how = "the vector of an observation of another group, by a fixed permutation"
    found = _shuffled(told, wrong, changed, how)
    both = changed & moved
    return replace(
        found,
        within=_shuffled(told, same, moved, how).figure,
        across=_shuffled(replace(told, values=same), wrong, both, how).figure,
    )


def _other_classes(each: Tensor, p: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of log p(x | y′) over y′ ≠ y by p(y′), and where there is such a y′."""
    weights = p.expand(len(each), -1).clone()
    weights[torch.arange(len(each)), labels] = 0
    total = weights.sum(1)
    # a class without weight has log p = −∞, which 0 does not take away
    mean = torch.where(weights > 0, weights * each, 0.0).sum(1) / total
    return mean, total > 0


@scoring()
def _other_rows(
    model: Likelihood, observations: Observations, rows: Tensor, draws: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Log p(x | context of the row that is named for it), and where that is another context."""
    context = observations.context
    assert context is not None
    other = context[rows]
    changed = (other != context).reshape(len(context), -1).any(1)
    device = device_of(model)
    size = scored_at_once(model, *first_rows(model, observations), draws=draws)
    parts = [
        in_units(
            model.log_likelihood(x.to(device), told.to(device), draws=draws, seed=seed), model.spec
        )
        for x, told in replace(observations, context=other).batches(size)
        if told is not None
    ]
    return torch.cat(parts), changed


def mean_figure(
    values: Tensor,
    scale: float = 1.0,
    valid: Tensor | None = None,
    groups: Tensor | None = None,
) -> Figure:
    """The mean of one value an observation, with Student's 95 % interval; none of a single one.

    Args:
        values: `(N,)` float64, all finite.
        scale: What the mean is divided by; see `Score.nats_per_unit`.
        valid: Valid samples of each, of sounds.
        groups: Which unit of independence each belongs to, `(N,)`; a single one has no interval.
    """
    mean, error = float(values.mean()) / scale, standard_error(values, valid, groups) / scale
    if math.isnan(error):
        return Figure(mean, len(values))
    half = half_width(error, degrees_of_freedom(len(values), valid, groups))
    return Figure(mean, len(values), mean - half, mean + half)
