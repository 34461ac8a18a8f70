"""Samples on their way through a plane: where they are, and what field they follow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.column import Column
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.diffusion.gaussian import GaussianDiffusion
from simulacra.models.refining import Carrying
from simulacra.tasks.paths import ARROWS, POINTS, Paths, shows_paths
from simulacra.tasks.watch import Watching

PLANE = DataSpec((2,), None)
SMALL: dict[str, Any] = {"hidden": (4,), "sampling_steps": 5}


def dataset(spec: DataSpec = PLANE, n: int = 300) -> Dataset:
    with seeded(0):
        x = torch.randn(n, *spec.event_shape)
    split = Observations(x, torch.arange(n) % 2 if spec.classes else None)
    return Dataset("made up", spec, split, split, split)


class Current(Carrying):
    """All places are carried by (−1, −2) in all time, from noise about (10, 0)."""

    context, sampling_steps = "none", 4

    def sample_steps(self, n: int, context: Tensor | None = None, **_: Any) -> Any:
        x = torch.randn(n, 2) + torch.tensor([10.0, 0.0])
        yield x
        for _ in range(4):
            # the same tensor each time
            yield x.add_(torch.tensor([-0.25, -0.5]))

    def carried(self, x: Tensor, now: float, then: float, context: Tensor | None = None) -> Tensor:
        assert 0 <= then < now <= 1
        return x + (now - then) * torch.tensor([-1.0, -2.0])

    def loss(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is trained here")


class Rapids(Current):
    """A hundred times as fast."""

    def carried(self, x: Tensor, now: float, then: float, context: Tensor | None = None) -> Tensor:
        return x + 100 * (super().carried(x, now, then) - x)


# ---- what is carried ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["flow-matching", "ddpm", "vdm"])
def test_a_sample_is_what_its_noise_is_carried_to(name: str) -> None:
    model = registry.build(name, PLANE, SMALL).eval()
    assert isinstance(model, GaussianDiffusion)
    with seeded(1), torch.no_grad():
        for value in model.parameters():
            value.normal_(std=0.3) if value.ndim > 1 else None
        model.prepare(5 + 3 * torch.randn(100, 2))
        first, *steps = (x.clone() for x in model.sample_steps(6))
    times = model.times(5)
    assert (first.mean() - 5).abs() < 3
    for now, then, wanted in zip(times, times[1:], steps, strict=False):
        first = model.carried(first, now, then)
        torch.testing.assert_close(first, wanted, rtol=1e-4, atol=1e-4)


def test_whose_paths_are_seen() -> None:
    told = {name: registry.build(name, PLANE, SMALL) for name in ("vdm", "flow-matching")}
    assert all(shows_paths(model, dataset()) for model in told.values())
    assert not shows_paths(registry.build("nice", PLANE, {"hidden": (4,)}), dataset())
    more = DataSpec((3,), None)
    assert not shows_paths(registry.build("vdm", more, SMALL), dataset(more))


# ---- what is seen -------------------------------------------------------------------------------


def test_the_plane_holds_noise_and_data() -> None:
    left, right, lower, upper = Paths(Current(PLANE), dataset()).plane.extent
    assert left < -2
    assert right > 12
    # both axes have one scale
    assert upper - lower == pytest.approx(right - left)


def test_ways_lead_from_noise_to_what_is_drawn() -> None:
    seen = Paths(Current(PLANE), dataset(), seed=(3,))
    points = seen.points(Current(PLANE))
    assert points.shape == (5, POINTS, 2)
    moves = points[-1] - points[0]
    torch.testing.assert_close(moves, torch.tensor([-1.0, -2.0]).double().expand_as(moves))
    panels = seen.travelled(Current(PLANE), 3)
    assert [time for time, _ in panels] == [1, 0.5, 0]
    for (_, panel), at in zip(panels, (0, 2, 4), strict=True):
        assert panel.points is not None
        assert torch.equal(panel.points, points[at])
    ways = seen.whole(Current(PLANE)).paths
    assert ways is not None
    assert torch.equal(ways, points[:, : len(ways)].transpose(0, 1))


@pytest.mark.parametrize("time", [1.0, 0.3, 0.0])
def test_an_arrow_is_a_tenth_of_all_time_long(time: float) -> None:
    places, ends = Paths(Current(PLANE), dataset()).carried(Current(PLANE), time)
    assert places.shape == (ARROWS**2, 2)
    wanted = torch.tensor([-0.1, -0.2]).double().expand_as(places)
    torch.testing.assert_close(ends - places, wanted, rtol=1e-3, atol=1e-3)


def test_arrows_are_in_the_units_of_the_columns() -> None:
    spec = DataSpec((2,), None, columns=(Column(offset=100.0, scale=10.0), Column()))
    places, ends = Paths(Current(spec), dataset(spec)).carried(Current(spec), 0.5)
    wanted = torch.tensor([-1.0, -0.2]).double().expand_as(places)
    torch.testing.assert_close(ends - places, wanted, rtol=1e-3, atol=1e-3)


def test_long_arrows_are_cut() -> None:
    places, ends = Paths(Current(PLANE), dataset()).carried(Rapids(PLANE), 0.5)
    moves = ends - places
    apart = (places[1] - places[0]).norm()
    torch.testing.assert_close(moves.norm(dim=1), (1.5 * apart).expand(len(moves)))
    torch.testing.assert_close(moves[:, 1], 2 * moves[:, 0], rtol=1e-3, atol=1e-3)


# ---- watching -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "context", "dense"),
    [("flow-matching", "none", True), ("vdm", "none", False), ("ddpm", "label", False)],
)
def test_samples_travel_to_what_the_last_moment_shows(name: str, context: str, dense: bool) -> None:
    spec = DataSpec((2,), None, classes=2)
    data, told = dataset(spec), {"solver_steps": 2} if name == "flow-matching" else {}
    with seeded(0):
        model = registry.build(name, spec, {**SMALL, "context": context, **told})
        model.prepare(*data.train.batch(torch.arange(300)))
        for value in model.parameters():
            # what has learnt nothing moves nothing
            value.data.normal_(std=0.3)
    watching = Watching(model, data, seed=2)
    watching.add(model, "step 0")
    watching.travel(model, 3)
    (moment,), travelled = watching.moments, watching.travelled
    assert [each.words.split(",")[1][:10] for each in travelled] == [
        " time 1.00", " time 0.60", " time 0.00"
    ]  # fmt: skip
    last = travelled[-1].way
    assert last is not None
    assert last.points is not None
    assert moment.x is not None
    assert torch.equal(last.points, moment.x.double())
    # a field of all labels there is not; a bound's draws would be specks
    assert (last.field is not None) == (context == "none")
    assert (moment.log_p is not None) == dense
    images = watching.images()
    assert len({image.size for image in images}) == 1
    assert (np.asarray(images[1])[30:] != np.asarray(images[3])[30:]).any()


def test_others_do_not_travel() -> None:
    model, data = registry.build("nice", PLANE, {"hidden": (4,)}), dataset()
    watching = Watching(model, data)
    watching.add(model, "")
    watching.travel(model, 5)
    assert watching.travelled == []


def test_a_picture_goes_on_with_samples_on_their_way(ok: Any) -> None:
    told = ["--set", "hidden=4", "--set", "sampling_steps=4", "--budget", "2steps", "--batch", "8"]
    _, err = ok("watch", "vdm", "moons", *told, "--frames", "2", "-o", "a.png")
    assert "a.png: 2 moments of learning, 4 of samples on their way" in err
    with Image.open("a.png") as image:
        # two in a row
        assert image.height > 1.2 * image.width / 2
