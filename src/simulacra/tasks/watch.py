"""Watching a model learn: what there is to see of it at a moment, and the moments as pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from simulacra.data.dataset import Dataset
from simulacra.data.splits import permutation
from simulacra.drawing import animation, charts, games, planes
from simulacra.ground.errors import MissingCapability
from simulacra.models.game import Game
from simulacra.models.model import Decoding, Encoding, Likelihood, Model, Sampling
from simulacra.models.modes import evaluating
from simulacra.models.refining import Carrying
from simulacra.tasks.components import COMPONENTS, ends_of, on_a_plane
from simulacra.tasks.covered import covered, modes_of
from simulacra.tasks.densities import (
    Plane,
    has_density,
    is_plane,
    log_density,
    true_log_density,
)
from simulacra.tasks.game import Played, played, shows_game
from simulacra.tasks.paths import Paths, shows_paths
from simulacra.tasks.sample import context_of_rows, device_of, draw, example_context

PICTURES, SOUNDS, POINTS = 25, 6, 1000
"""Samples that are shown of each kind of data."""
_PAIRS, _IN_ROW = 15, 5
"""Pictures that are shown above what a model gives back of them, and how many in a row."""
_SIDE = 72
"""Points of a grid on each side: fewer than in a picture that is looked at for long."""
_CARRIED = 36
"""The same of a density that is solved for along the way of each point, with gradients."""
_LINE = 400
_WATCHED = -7  # key of a random stream, beside those of trainings


def following(step: int, steps: int, left: int, *, by_sweeps: bool = False) -> int:
    """The step after which the next picture is due: the last of all where one is left.

    Moments follow one another geometrically, for a training does as much in its first hundredth as
    in the rest: at even distances the second picture would show a model nearly done. Before a three
    hundredth of the steps nothing is seen yet; but a sweep over all data is much at once.

    Args:
        step: Of the last picture, 0 being before the first step.
        steps: Of the whole training, as far as is known.
        left: Pictures to come, at least 1.
        by_sweeps: Whether a step is a sweep.
    """
    if left == 1:
        return max(step + 1, steps)
    if step == 0:
        return 1 if by_sweeps else max(1, steps // _NOTHING_SEEN)
    return max(step + 1, round(step * max(1.0, steps / step) ** (1 / left)))


_NOTHING_SEEN = 300


@dataclass(frozen=True, eq=False)
class _Moment:
    """What was seen: samples or what was given back, log-densities, and a game; in data's units."""

    words: str
    x: Tensor | None
    log_p: Tensor | None
    game: Played | None = None
    way: planes.Panel | None = None
    """Of samples that are carried."""


class Watching:
    """What is seen of a model at the moments of a training, always in the same way.

    Of numbers, the density where there is one, with samples; of pictures and sounds, samples from
    one seed; of what does not sample, reconstructions. Of a game on one or two numbers, how its
    opponent scores them, and where that pushes samples. Of samples that are carried over a plane,
    their paths, and in the end how they travel.

    Args:
        model: That is going to learn; any that samples, has a density of one or two numbers, or
            gives back what it encodes.
        data: That it learns from.
        seed: Of the samples.

    Raises:
        MissingCapability: If there is nothing to see of it.

    Example:
        >>> import simulacra as sim
        >>> from simulacra.tasks.watch import Watching
        >>> data = sim.load_data("ring-8")
        >>> model = sim.build("gan", data.spec, {"hidden": (9,)})
        >>> watching = Watching(model, data)
        >>> training = sim.Training(model, data.train, data.validation, sim.Options(device="cpu"))
        >>> plan = training.set_plan(sim.Budget.parse("2steps"))
        >>> for record in training:
        ...     watching.add(training.averaged, f"step {record.step}", model)
        >>> [frame.size for frame in watching.images()]
        [(600, 349), (600, 349)]
    """

    def __init__(self, model: Model, data: Dataset, seed: int = 0) -> None:
        self.data, self.seed, spec = data, seed, data.spec
        self.moments: list[_Moment] = []
        self.travelled: list[_Moment] = []
        known = is_plane(spec) or (self._on_a_line and spec.levels is None and not spec.mixed)
        dense = known and has_density(model, data)
        self.carries = shows_paths(model, data)
        self.paths: Paths | None = None
        if self.carries and isinstance(model, Likelihood) and model.averaged:
            # its draws differ from point to point, and would be seen as specks
            dense = False
        self.game = shows_game(model, data)
        self.opponent = model.opponent if isinstance(model, Game) else ""
        self.samples = isinstance(model, Sampling)
        back = isinstance(model, Encoding) and isinstance(model, Decoding)
        if not (self.samples or dense or back):
            raise MissingCapability(
                f"{type(model).__name__} neither samples nor gives back what it encodes, and "
                f"observations {spec.event_shape} are more than a plane: there is nothing to watch"
            )
        self.points: Tensor | None = None
        self._known = spec.to_float(data.train.batch(permutation(len(data.train))[:_MOST])[0])
        if self._on_a_line:
            self._ends = ends_of(self._known[:, 0])
            self._at = torch.linspace(*self._ends, _LINE, dtype=torch.float64)[:, None]
            self.points = self._at if dense else None
        elif not spec.is_image and spec.rate is None:
            self._seen = on_a_plane(self._known.flatten(1).double())
            side = _CARRIED if self.carries else _SIDE
            self.plane = Plane.around(self._seen(self._known), side)
            self._at = self.plane.points
            self.points = self._at if dense else None

    @property
    def _on_a_line(self) -> bool:
        spec = self.data.spec
        return spec.dims == 1 and not spec.is_image and spec.rate is None

    def add(self, model: Model, words: str, playing: Model | None = None) -> None:
        """Look at the model as it is now.

        Args:
            model: In any mode; nothing of it changes. Of a training that keeps an average, the one
                that is kept.
            words: That stand above the picture, and before what is counted: of densities whose
                modes are known how many are covered, and of a game how well its opponent tells.
            playing: Of a game, the model whose players move, if that is another one.
        """
        x = None
        spec = self.data.spec
        if self.samples:
            n = PICTURES if spec.is_image else SOUNDS if spec.rate else POINTS
            told = example_context(model, self.data, n)
            x = spec.to_float(draw(model, n, told, seed=(self.seed, _WATCHED)).x)
        elif self.points is None:
            x = spec.to_float(self._given_back(model))
        log_p = None if self.points is None else log_density(model, self.data, self.points)
        modes, game = modes_of(self.data), None
        if modes is not None and self.samples:
            assert x is not None
            words = f"{words}, {covered(self.data.spec.from_float(x), modes)}"
        if self.game:
            other = model if playing is None else playing
            assert isinstance(other, Game)
            seed = self.seed, _WATCHED
            game = played(other, self.data, self._at, n=POINTS, seed=seed)
            words = f"{words}, {game}"
        way = self._paths_of(model).whole(model) if self.carries else None
        self.moments.append(_Moment(words, x, log_p, game, way))

    def _paths_of(self, model: Model) -> Paths:
        """Of a model that is prepared: where its noise is says how wide a plane is seen."""
        if self.paths is None:
            self.paths = Paths(model, self.data, (self.seed, _WATCHED))
        return self.paths

    def travel(self, model: Model, frames: int) -> None:
        """Look at samples of a model that carries them as they travel: after the last moment.

        Args:
            model: As it is kept in the end; of one that carries nothing there is nothing to add.
            frames: At how many times of their way.
        """
        if not (self.carries and isinstance(model, Carrying)):
            return
        last = self.moments[-1]
        for time, panel in self._paths_of(model).travelled(model, frames):
            words = f"in the end, time {time:.2f} from noise (1) to data (0)"
            self.travelled.append(replace(last, words=words, way=panel))

    def _given_back(self, model: Model) -> Tensor:
        """What becomes of validation observations, encoded and decoded."""
        assert isinstance(model, Encoding)
        assert isinstance(model, Decoding)
        split = self.data.validation
        x, _ = split.batch(torch.arange(min(self._shown, len(split))))
        told, device = context_of_rows(model, split, len(x)), device_of(model)
        told = None if told is None else told.to(device)
        with torch.no_grad(), evaluating(model):
            return model.decode(model.encode(x.to(device), told), told).cpu()

    @property
    def _shown(self) -> int:
        spec = self.data.spec
        return _PAIRS if spec.is_image else SOUNDS // 2 if spec.rate else POINTS

    def images(self) -> list[animation.Picture]:
        """The moments in order, and the travelling, each below its words, all of one size.

        Densities have one scale of colours: that of the true density, or of the last moment.
        """
        spec = self.data.spec
        draw_one: Callable[[_Moment], animation.Picture] = self._points
        if spec.is_image:
            draw_one = self._pictures
        elif spec.rate is not None:
            draw_one = self._sounds
        elif self._on_a_line:
            draw_one = self._line
        seen = [*self.moments, *self.travelled]
        return animation.captioned([draw_one(each) for each in seen], [each.words for each in seen])

    def _before(self) -> Tensor | None:
        """What was encoded, of a model whose reconstructions are shown."""
        if self.samples:
            return None
        split = self.data.validation
        return self.data.spec.to_float(split.batch(torch.arange(min(self._shown, len(split))))[0])

    def _pictures(self, moment: _Moment) -> animation.Picture:
        assert moment.x is not None
        before = self._before()
        if before is None:
            return animation.enlarged(moment.x)
        # a row of pictures, and below it the row of what came back
        rows = [
            row
            for pair in zip(before.split(_IN_ROW), moment.x.split(_IN_ROW), strict=True)
            for row in pair
        ]
        return animation.enlarged(torch.cat(rows), columns=_IN_ROW)

    def _sounds(self, moment: _Moment) -> animation.Picture:
        assert moment.x is not None
        assert self.data.spec.rate is not None
        before = self._before()
        x = moment.x if before is None else torch.stack([before, moment.x], 1).flatten(0, 1)
        return animation.raster(charts.waves(x, self.data.spec.rate, columns=1))

    def _line(self, moment: _Moment) -> animation.Picture:
        if moment.game is not None:
            return self._game_on_line(moment, moment.game)
        return animation.raster(
            planes.line(
                self._known[:, 0].double(), self._ends,
                samples=None if moment.x is None else moment.x[:, 0].double(),
                at=None if self.points is None else self.points[:, 0], log_density=moment.log_p,
                name=next(iter(self.data.columns), ""),
            )
        )  # fmt: skip

    def _points(self, moment: _Moment) -> animation.Picture:
        if moment.game is not None:
            return self._game_on_plane(moment, moment.game)
        extent, panels = self.plane.extent, []
        if moment.log_p is not None:
            grid = self.plane.grid(moment.log_p)
            panels.append(planes.Panel("density, log scale", extent, log_density=grid))
        if moment.x is not None:
            title = "samples" if self.samples else "given back"
            panels.append(planes.Panel(title, extent, points=self._seen(moment.x)))
        known = self._seen(self._known[:POINTS])
        panels.append(planes.Panel("data", extent, points=known))
        size = _SIZE
        if moment.way is not None:
            # data are on it, and what samples become
            panels, size = [moment.way, panels[0]], _LARGE
        figure = planes.planes(panels, top=self._top(), names=self._names, size=size)
        return animation.raster(figure)

    @property
    def _names(self) -> Sequence[str]:
        return self.data.columns if self.data.spec.dims == 2 else COMPONENTS

    def _game_on_plane(self, moment: _Moment, game: Played) -> animation.Picture:
        assert moment.x is not None
        figure = games.on_plane(
            self.plane.grid(game.scores), self.plane.extent, undecided=game.undecided,
            reach=reach_of(game), data=self._known[:POINTS].double(), playing=game.x,
            pushes=game.pushes[:_ARROWS], kept=moment.x.double(), names=self._names,
            titles=(
                f"what the {self.opponent} says: real is blue", "samples that are kept, on data"
            ),
        )  # fmt: skip
        return animation.raster(figure)

    def _game_on_line(self, moment: _Moment, game: Played) -> animation.Picture:
        assert moment.x is not None
        figure = games.on_line(
            game.scores, self._at[:, 0], self._ends, undecided=game.undecided,
            reach=reach_of(game), data=self._known[:, 0].double(), playing=game.x[:, 0],
            pushes=game.pushes[:_ARROWS, 0], kept=moment.x[:, 0].double(),
            opponent=f"score of the {self.opponent}", name=next(iter(self.data.columns), ""),
        )  # fmt: skip
        return animation.raster(figure)

    def _top(self) -> float | None:
        """The brightest log-density of all moments' pictures."""
        if self.points is None:
            return None
        truth, last = true_log_density(self.data, self.points), self.moments[-1].log_p
        known = last if truth is None else truth
        return None if known is None else planes.brightest([known])


_MOST = 5000
"""Training observations that say where to look."""
_ARROWS = 36
_SIZE, _LARGE = 2.4, 3.0
"""Of a panel in inches; there are fewer where paths are shown."""


def reach_of(game: Played) -> float:
    """How far scores go from the undecided one, but for one in fifty."""
    away = (game.scores - game.undecided).abs()
    away = away[away.isfinite()]
    return max(1e-6, float(away.quantile(0.98))) if len(away) else 1.0
