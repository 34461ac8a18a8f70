"""What is seen of a game: how its opponent scores a plane or a line, and where samples are pushed.

Of a model that is told labels the scores of a point are those for each label, in the mean over the
labels as often as the training data have them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from simulacra.data.dataset import Dataset
from simulacra.models.game import Game
from simulacra.models.model import Model
from simulacra.models.modes import evaluating
from simulacra.tasks.bayes import class_frequencies
from simulacra.tasks.densities import is_line, is_plane
from simulacra.tasks.sample import context_of_rows, device_of, draw, example_context

_HELD = 1000
"""Held-out observations that the opponent is asked about."""


@dataclass(frozen=True, eq=False)
class Played:
    """The two players at a moment; all on the CPU and in the units of the columns.

    Args:
        scores: Of the points that were asked for, `(M,)` float64: the higher, the more real.
        undecided: The score above which the opponent says real; where only differences mean
            anything, the mean over held-out observations and samples.
        x: Samples `(n, D)` float64.
        pushes: Where their scores rise, `(n, D)` float64: their gradient if columns are measured
            in deviations of the data, as far as it reaches in the units of the columns.
        accuracy: Share of held-out observations and of samples that the opponent tells rightly;
            where only differences mean anything, of pairs of both.
        distance: Mean score of held-out observations less that of samples, where this estimates
            a Wasserstein distance.
    """

    scores: Tensor
    undecided: float
    x: Tensor
    pushes: Tensor
    accuracy: float
    distance: float | None = None

    def __str__(self) -> str:
        """In words."""
        words = f"accuracy {100 * self.accuracy:.0f} %"
        return words if self.distance is None else f"{words}, distance {self.distance:.3g}"


def shows_game(model: Model, data: Dataset) -> bool:
    """Whether a model is a game that can be drawn: of one or two numbers, and no context vector."""
    if not isinstance(model, Game) or not (is_plane(data.spec) or is_line(data.spec)):
        return False
    if model.context == "label":
        return class_frequencies(data.train, data.spec) is not None
    return model.context == "none"


def played(
    game: Game, data: Dataset, points: Tensor, *, n: int, seed: tuple[int, ...] = (0,)
) -> Played:
    """Look at both players.

    Args:
        game: One that `shows_game`; in any mode, and nothing of it changes.
        data: That it learns from.
        points: Where it is scored, in the units of the columns `(M, D)`.
        n: Samples that are drawn.
        seed: Of them.
    """
    told = example_context(game, data, n)
    drawn = draw(game, n, told, seed=seed).x
    held = data.validation.batch(torch.arange(min(_HELD, len(data.validation))))[0]
    own = context_of_rows(game, data.validation, len(held))
    with evaluating(game):
        real, fake = _scores(game, held, own), _scores(game, drawn, told)
        seen = Played(
            scores=_scored_all(game, data, data.spec.from_float(points)),
            undecided=float(torch.cat([real, fake]).mean()),
            x=data.spec.to_float(drawn).double(),
            pushes=_pushes(game, data, drawn, told),
            accuracy=float((real[:, None] > fake).double().mean()),
        )
    if game.undecided is not None:
        right = (real > game.undecided).double().mean() + (fake <= game.undecided).double().mean()
        seen = replace(seen, undecided=game.undecided, accuracy=float(right) / 2)
    if game.estimates_distance:
        seen = replace(seen, distance=float(real.mean() - fake.mean()))
    return seen


@torch.no_grad()
def _scores(game: Game, x: Tensor, told: Tensor | None) -> Tensor:
    device = device_of(game)
    return game.scores(x.to(device), None if told is None else told.to(device)).cpu().double()


def _scored_all(game: Game, data: Dataset, x: Tensor) -> Tensor:
    """Scores of points, whatever their label."""
    if game.context == "none":
        return _scores(game, x, None)
    frequencies = class_frequencies(data.train, data.spec)
    assert frequencies is not None  # or it would not be shown
    scores = torch.zeros(len(x), dtype=torch.float64)
    for place in frequencies.nonzero()[:, 0].tolist():
        told = data.spec.labels(torch.full((len(x),), place))
        scores += float(frequencies[place]) * _scores(game, x, told)
    return scores


def _pushes(game: Game, data: Dataset, x: Tensor, told: Tensor | None) -> Tensor:
    device, spec = device_of(game), data.spec
    asked = x.detach().to(device).requires_grad_()
    with torch.enable_grad():
        scores = game.scores(asked, None if told is None else told.to(device))
        (slope,) = torch.autograd.grad(scores.sum(), asked)
    slope = slope.cpu().double()
    spread = data.train.x[:].double().std(0)
    # a slope by deviations goes so many deviations
    raw = (spread.square() * slope.cpu().double()).to(x.dtype)
    return spec.to_float(raw).double() - spec.to_float(torch.zeros_like(raw)).double()
