"""A game that is watched: what its opponent says of where, and which way samples are pushed."""

from __future__ import annotations

import doctest
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from simulacra.cli import watch as command
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.drawing import animation, games
from simulacra.ground.column import Column
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.game import Game
from simulacra.tasks.densities import Plane
from simulacra.tasks.game import played, shows_game
from simulacra.tasks.watch import Watching
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options

PLANE = DataSpec((2,), None)


class Hill(Game):
    """Samples about (3, 0); a score that falls off around the origin, faster the second way."""

    def __init__(self, spec: DataSpec = PLANE, context: str = "none") -> None:
        super().__init__(spec)
        self.context = context

    def prior(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        return torch.randn(n, *self.spec.event_shape)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return z + torch.tensor([3.0, 0.0])[: z.shape[1]]

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.generate(z, context)

    def scores(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        score = 1 - (x.square() * torch.tensor([0.5, 2.0])[: x.shape[1]]).sum(1)
        return score if context is None else score + 10 * context

    def features(self, x: Tensor) -> Tensor:
        return x

    def loss(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is trained here")


class Far(Hill):
    """Whose scores mean something beside one another alone."""

    undecided = None
    estimates_distance = True


def dataset(spec: DataSpec = PLANE, n: int = 400) -> Dataset:
    with seeded(0):
        x = torch.randn(n, *spec.event_shape)
    # as deviations of 1 and of 3
    x = (x - x.mean(0)) / x.std(0) * torch.tensor([1.0, 3.0, 1.0])[: x.shape[1]]
    split = Observations(x, torch.arange(n) % 4 // 3 if spec.classes else None)
    return Dataset("made up", spec, split, split, split)


# ---- what is seen -------------------------------------------------------------------------------


def test_points_have_the_scores_that_the_opponent_gives_them() -> None:
    seen = played(Hill(), dataset(), torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]]), n=5)
    assert seen.scores.tolist() == [1, -1, -7]
    assert seen.undecided == 0
    assert seen.distance is None


def test_samples_are_pushed_up_the_slope_of_the_score() -> None:
    """As far as columns count in deviations: the second has three times as long a one."""
    seen = played(Hill(), dataset(), torch.zeros(1, 2), n=50)
    assert seen.x.shape == seen.pushes.shape == (50, 2)
    wanted = seen.x * torch.tensor([-1.0, -4.0]) * torch.tensor([1.0, 9.0])
    assert torch.allclose(seen.pushes, wanted, rtol=1e-4, atol=1e-5)


def test_columns_of_other_units_are_pushed_in_these() -> None:
    columns = (Column(offset=1e6, scale=100.0), Column(scale=0.01))
    data = dataset(replace(PLANE, columns=columns))
    plain = played(Hill(), dataset(), torch.zeros(1, 2), n=20)
    seen = played(Hill(data.spec), data, torch.tensor([[1e6 + 200.0, 0.01]]).double(), n=20)
    assert seen.scores.item() == pytest.approx(1 - 2 - 2)
    assert torch.allclose(seen.x, plain.x * torch.tensor([100, 0.01]) + torch.tensor([1e6, 0]))
    assert torch.allclose(seen.pushes, plain.pushes * torch.tensor([100, 0.01]).double())


def test_an_opponent_is_right_about_both_kinds() -> None:
    """Of pairs where its scores mean nothing by themselves."""
    data = dataset()
    seen = played(Hill(), data, torch.zeros(1, 2), n=500)
    score = Hill().scores
    right = float((score(data.validation.x[:]) > 0).float().mean())
    wrong = float((score(seen.x.float()) > 0).float().mean())
    assert seen.accuracy == pytest.approx((right + 1 - wrong) / 2)
    assert str(seen) == f"accuracy {100 * seen.accuracy:.0f} %"
    far = played(Far(), data, torch.zeros(1, 2), n=500)
    real, fake = score(data.validation.x[:]), score(far.x.float())
    assert far.accuracy == pytest.approx(float((real[:, None] > fake).float().mean()))
    assert far.distance == pytest.approx(float(real.mean() - fake.mean()), rel=1e-5)
    assert far.undecided == pytest.approx(float(torch.cat([real, fake]).mean()), rel=1e-5)
    assert "distance" in str(far)


def test_a_point_has_the_scores_of_all_labels_as_often_as_they_come() -> None:
    data = dataset(replace(PLANE, classes=2))
    seen = played(Hill(data.spec, "label"), data, torch.zeros(1, 2), n=4)
    assert seen.scores.item() == pytest.approx(1 + 10 / 4)


def test_only_games_of_one_or_two_numbers_are_shown() -> None:
    assert shows_game(Hill(), dataset())
    line = dataset(DataSpec((1,), None))
    assert shows_game(Hill(line.spec), line)
    three = dataset(DataSpec((2,), None, classes=2))
    assert shows_game(Hill(three.spec, "label"), three)
    assert not shows_game(Hill(three.spec, "vector"), three)
    assert not shows_game(registry.build("nice", PLANE, {"hidden": (4,)}), dataset())
    more = dataset(DataSpec((3,), None))
    assert not shows_game(Hill(more.spec), more)


def test_players_are_looked_at_as_they_are_used_and_stay_as_they_were() -> None:
    """Dropout sleeps, no gradient is left, and torch's generator is where it was."""
    data = load("two-peaks")
    gan = registry.build("gan", data.spec, {"hidden": (8,), "dropout": 0.5}).train()
    assert isinstance(gan, Game)
    at, before = torch.linspace(-3, 3, 7)[:, None], torch.get_rng_state()
    first, again = (played(gan, data, at, n=30) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert gan.training
    assert all(each.grad is None for each in gan.parameters())
    assert torch.equal(first.scores, again.scores)
    with torch.no_grad():
        assert torch.allclose(first.scores.float(), gan.eval().scores(at))


# ---- how it is drawn ----------------------------------------------------------------------------


def colours(image: Image.Image, at: list[tuple[float, float]]) -> list[np.ndarray[Any, Any]]:
    """The darkest about places in the left square of the two, from its lower left corner."""
    pixels = np.asarray(image).astype(int)
    dark = np.abs(pixels - [0x5B, 0x62, 0x6B]).sum(2) < 12
    rows = np.flatnonzero(dark[:, :300].sum(1) > 150)
    columns = np.flatnonzero(dark[:, :300].sum(0) > 150)
    low, high, left, right = rows.max(), rows.min(), columns.min(), columns.max()
    found = []
    for across, up in at:
        row, column = int(low - up * (low - high)), int(left + across * (right - left))
        near = pixels[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3)
        found.append(near[near.sum(1).argmin()])
    return found


def plane_of(scores: Tensor, **more: Any) -> Image.Image:
    nothing = torch.zeros(0, 2)
    told: dict[str, Any] = {
        "undecided": 0.0, "reach": 1.0, "data": nothing, "playing": nothing, "pushes": nothing,
        "kept": nothing, "titles": ("a", "b"),
    }  # fmt: skip
    return animation.raster(games.on_plane(scores, (-1, 1, -1, 1), **{**told, **more}))


@pytest.mark.parametrize(("axis", "real"), [(0, [(0.9, 0.1), (0.9, 0.9)]),
                                            (1, [(0.1, 0.9), (0.9, 0.9)])])  # fmt: skip
def test_blue_is_where_the_opponent_says_real(axis: int, real: list[tuple[float, float]]) -> None:
    plane = Plane((-1.0, -1.0), (1.0, 1.0), 20)
    image = plane_of(plane.grid(plane.points[:, axis]))
    for across, up in ((0.1, 0.1), (0.9, 0.1), (0.1, 0.9), (0.9, 0.9)):
        (red, _, blue), = colours(image, [(across, up)])  # fmt: skip
        assert (blue > red) == ((across, up) in real), (across, up)


def test_what_is_undecided_is_white() -> None:
    (pixel,) = colours(plane_of(torch.full((5, 5), 3.0), undecided=3.0), [(0.3, 0.3)])
    assert (pixel > 240).all()


def test_an_arrow_goes_where_a_sample_is_pushed() -> None:
    def ink(push: list[float]) -> np.ndarray[Any, Any]:
        image = plane_of(torch.zeros(5, 5), playing=torch.zeros(1, 2), pushes=torch.tensor([push]))
        at = [(0.5 + 0.05 * i, 0.5 + 0.05 * j) for i, j in ((1, 0), (-1, 0), (0, 1), (0, -1))]
        return np.array([pixel.sum() < 600 for pixel in colours(image, at)])

    assert ink([1.0, 0.0]).tolist() == [True, False, False, False]
    # the longest arrow is of one length, whatever the slope
    assert ink([0.0, 1e-4]).tolist() == [False, False, True, False]
    assert not ink([0.0, 0.0]).any()


def test_numbers_that_are_none_are_left_out() -> None:
    lost = torch.tensor([[torch.nan, 0.0], [0.0, torch.inf], [0.5, 0.5]])
    image = plane_of(torch.full((4, 4), torch.nan), playing=lost, pushes=lost, kept=lost)
    assert image.width == 600
    data, line = torch.randn(50), torch.linspace(-2, 2, 9)
    figure = games.on_line(
        line * torch.nan, line, (-2, 2), undecided=0.0, reach=1.0, data=data, playing=lost[:, 0],
        pushes=lost[:, 1], kept=lost[:, 0], opponent="critic",
    )  # fmt: skip
    assert animation.raster(figure).width == 600


def test_a_line_has_the_curve_of_the_scores() -> None:
    line = torch.linspace(-2, 2, 9)
    figure = games.on_line(
        2 * line, line, (-2, 2), undecided=1.0, reach=4.0, data=torch.randn(50),
        playing=torch.randn(20), pushes=torch.ones(5), kept=torch.randn(20), opponent="critic",
    )  # fmt: skip
    under, over = figure.axes
    curve, level = over.get_lines()
    assert curve.get_xydata().tolist() == torch.stack([line, 2 * line], 1).tolist()
    assert set(level.get_ydata()) == {1.0}
    assert over.get_ylim() == (-4.0, 6.0)
    words = [each.get_text() for each in under.get_legend().get_texts()]
    assert {"data", "samples kept", "samples", "critic"} == set(words)


# ---- a training that is watched -----------------------------------------------------------------

SMALL = {"hidden": (8,), "latent": 2}


@pytest.mark.parametrize("toy", ["ring-8", "two-peaks"])
def test_a_game_is_watched_and_not_disturbed(toy: str) -> None:
    data = load(toy)

    def trained(frames: int) -> tuple[Training, Watching]:
        with seeded(1):
            built = registry.build("gan", data.spec, SMALL)
        training = Training(
            built, data.train, data.validation, Options(device="cpu", seed=1, batch=16)
        )
        training.set_plan(Budget(5, "steps"))
        watching = Watching(built, data)
        if frames:
            command._train(training, watching, "gan", data, frames)
        else:
            list(training)
        return training, watching

    (alone, _), (training, watching) = trained(0), trained(3)
    for key, value in alone.model.state_dict().items():
        assert torch.equal(training.model.state_dict()[key], value), key
    assert len(watching.moments) == 3
    modes = len(data.density.modes) if data.density else 0  # type: ignore[attr-defined]
    for moment in watching.moments:
        assert f" of {modes}, good samples " in moment.words
        assert ", accuracy " in moment.words
    first, *_, last = (moment.game for moment in watching.moments)
    assert first is not None
    assert last is not None
    assert not torch.equal(first.scores, last.scores)
    sizes = {image.size for image in watching.images()}
    assert len(sizes) == 1


def test_the_players_that_move_are_shown_beside_the_model_that_is_kept() -> None:
    data = dataset()
    watching = Watching(Hill(), data)

    class Moved(Hill):
        def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
            return super().generate(z, context) + 100

    watching.add(Hill(), "", Moved())
    (moment,) = watching.moments
    assert moment.x is not None
    assert moment.game is not None
    assert moment.x.mean() < 10 < moment.game.x.mean()


def test_the_example_of_a_training_of_ones_own_runs() -> None:
    found = doctest.DocTestFinder(recurse=False).find(Watching, "Watching")
    (run,) = (doctest.DocTestRunner().run(each) for each in found)
    assert run.failed == 0 < run.attempted


def test_a_ring_becomes_a_small_moving_picture(ok: Any) -> None:
    brief = ["--set", "hidden=8", "--budget", "6steps", "--batch", "8", "--frames", "3"]
    _, err = ok("watch", "gan", "ring-8", *brief, "-o", "game.gif")
    assert "game.gif: 3 moments of learning" in err
    with Image.open("game.gif") as image:
        shown = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
    assert len(shown) == 3
    assert (np.asarray(shown[0]) != np.asarray(shown[-1])).any()
