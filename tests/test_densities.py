"""Densities of a plane, and between the maps of a flow: each is one, and is where it is said."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from simulacra.data.dataset import Dataset, Observations
from simulacra.drawing import planes
from simulacra.ground.column import Column
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.model import Likelihood
from simulacra.tasks.components import on_a_plane
from simulacra.tasks.densities import (
    Plane,
    densities_between,
    has_density,
    has_maps,
    is_plane,
    log_density,
    true_log_density,
)

SPEC = DataSpec((2,), None, classes=2)


def dataset(spec: DataSpec = SPEC, n: int = 200) -> Dataset:
    with seeded(0):
        x, labels = torch.randn(n, *spec.event_shape) + 1, torch.arange(n) % 3 // 2
    split = Observations(x, labels)
    return Dataset("points", spec, split, split, split)


class Round(Likelihood):
    """A standard normal, shifted by its label if it is told one."""

    exact = True

    def __init__(self, spec: DataSpec, context: str = "none") -> None:
        super().__init__(spec)
        self.context = context

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        shift = 0 if context is None else 4.0 * context[:, None]
        return Normal(0, 1).log_prob(x - shift).sum(1)

    def loss(self, *_: object, **__: object) -> dict[str, Tensor]:
        raise AssertionError("nothing is trained here")


def mass(plane: Plane, log_p: Tensor) -> float:
    left, right, lower, upper = plane.extent
    return float(log_p.exp().sum()) * (right - left) * (upper - lower) / plane.side**2


def test_the_lowest_row_comes_first_from_the_left() -> None:
    plane = Plane((0.0, 10.0), (4.0, 18.0), side=2)
    assert plane.points.tolist() == [[1, 12], [3, 12], [1, 16], [3, 16]]
    assert plane.extent == (0, 4, 10, 18)


def test_axes_have_one_scale_unless_their_units_differ() -> None:
    points = torch.randn(1000, 2)
    left, right, lower, upper = Plane.around(points * torch.tensor([1.0, 2.0])).extent
    assert right - left == pytest.approx(upper - lower)
    left, right, lower, upper = Plane.around(points * torch.tensor([1.0, 1000.0])).extent
    assert upper - lower > 500 * (right - left)


def test_one_wild_point_does_not_make_the_rest_small() -> None:
    points = torch.cat([torch.randn(999, 2), torch.full((1, 2), 1e6)])
    assert Plane.around(points).high[0] < 5


def test_a_density_is_where_it_is_said() -> None:
    plane = Plane((-4.0, -6.0), (8.0, 6.0), side=60)
    grid = plane.grid(log_density(Round(SPEC), dataset(), plane.points))
    row, column = divmod(int(grid.argmax()), 60)
    assert abs(column / 60 * 12 - 4) < 0.3
    assert abs(row / 60 * 12 - 6) < 0.3
    assert mass(plane, grid) == pytest.approx(1, abs=1e-3)


def test_labels_are_summed_over_as_often_as_they_are() -> None:
    model, at = Round(SPEC, "label"), torch.tensor([[0.0, 0.0], [4.0, 4.0]]).double()
    first, second = log_density(model, dataset(), at).exp().tolist()
    # two of three observations have the first label
    assert first / second == pytest.approx(133 / 67, rel=0.05)


def test_points_are_in_the_units_of_the_columns() -> None:
    columns = (Column(offset=100.0, scale=10.0), Column())
    data = dataset(DataSpec((2,), None, columns=columns))
    at = torch.tensor([[100.0, 0.0]]).double()
    assert float(log_density(Round(data.spec), data, at)) == pytest.approx(-math.log(2 * math.pi))


def test_what_has_no_density_is_told() -> None:
    model = Round(SPEC, "vector")
    assert not has_density(model, dataset())
    with pytest.raises(MissingCapability, match="context=none"):
        log_density(model, dataset(), torch.zeros(1, 2))
    gan = registry.build("gan", SPEC, {"hidden": (4,)})
    with pytest.raises(MissingCapability, match="GAN has no likelihood"):
        log_density(gan, dataset(), torch.zeros(1, 2))
    assert true_log_density(dataset(), torch.zeros(1, 2)) is None


def test_a_plane_has_two_numbers() -> None:
    assert is_plane(SPEC)
    assert not is_plane(DataSpec((3,), None))
    assert not is_plane(DataSpec((2,), 4))
    words = Column(kind="category", levels=2)
    assert not is_plane(DataSpec((2,), None, columns=(words, Column())))


# ---- between maps -------------------------------------------------------------------------------


def flow(context: str = "none") -> Likelihood:
    """NICE of three couplings with random weights, none of which is still the identity."""
    with seeded(1), torch.no_grad():
        model = registry.build("nice", SPEC, {"hidden": (8,), "couplings": 3, "context": context})
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter) / max(1, parameter.shape[-1]) ** 0.5)
        model.maps[-1].s.copy_(torch.tensor([0.08, -0.03]))
        split = dataset().train
        model.prepare(split.x, split.context if context == "label" else None)
    assert isinstance(model, Likelihood)
    return model.eval()


@pytest.mark.parametrize("context", ["none", "label"])
def test_between_maps_there_are_densities(context: str) -> None:
    model = flow(context)
    assert has_maps(model)
    found = densities_between(model, dataset(), side=100)
    assert [each.number for each in found] == [0, 4, 3, 2, 1]
    assert found[1].name == "Scaling"
    for each in found:
        # all but what lies beyond the picture
        assert 0.9 < mass(each.plane, each.log_p) < 1.01, each.name
    first, last = found[0], found[-1]
    points = first.plane.points
    base = model.base().log_prob(points.float()).double()  # type: ignore[attr-defined]
    assert torch.allclose(first.plane.grid(base), first.log_p, atol=1e-5)
    told = log_density(model, dataset(), last.plane.points)
    assert torch.equal(last.plane.grid(told), last.log_p)


def test_a_map_that_scales_makes_a_density_of_its_own() -> None:
    model = flow()
    scaled = densities_between(model, dataset(), side=20)[1]
    scale = model.maps[-1].log_scale.exp()  # type: ignore[attr-defined,union-attr]
    z = scaled.plane.points * scale.detach()
    wanted = model.base().log_prob(z) + scale.detach().log().sum()  # type: ignore[attr-defined]
    assert torch.allclose(scaled.plane.grid(wanted.double()), scaled.log_p, atol=1e-4)


def test_only_flows_of_a_plane_have_maps_to_look_between() -> None:
    assert not has_maps(Round(SPEC))
    with pytest.raises(MissingCapability, match="Round is no flow made of maps"):
        densities_between(Round(SPEC), dataset())
    spec = DataSpec((3,), None)
    solid = registry.build("nice", spec, {"hidden": (4,)})
    with pytest.raises(MissingCapability, match="a plane"):
        densities_between(solid, dataset(spec))


# ---- drawing ------------------------------------------------------------------------------------


def test_colours_go_from_black_to_the_brightest() -> None:
    grid = torch.tensor([[0.0, -math.inf], [math.nan, -3.0]])
    assert planes.brightest([grid, grid - 1]) == 0
    assert planes.brightest([torch.full((2, 2), math.nan)]) == 0
    figure = planes.planes([planes.Panel("a", (0, 1, 0, 1), log_density=grid)], bar="nats")
    (image,) = figure.axes[0].images
    assert image.norm.vmax == 0
    assert image.get_array().tolist() == [[0, -planes.SPAN], [-planes.SPAN, -3]]
    assert image.origin == "lower"
    with pytest.raises(UsageError, match="at least one panel"):
        planes.planes([])


def test_points_that_are_nowhere_are_left_out() -> None:
    points = torch.tensor([[0.5, 0.5], [math.inf, 0.0]])
    figure = planes.planes([planes.Panel("a", (0, 1, 0, 1), points=points)])
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[0.5, 0.5]]


def test_principal_components_do_not_depend_on_units() -> None:
    with seeded(0):
        a = torch.randn(500, 1)
        x = torch.cat([a, 0.1 * torch.randn(500, 1) + a, torch.randn(500, 1)], 1).double()
    one = on_a_plane(x)(x)
    units = torch.tensor([1.0, 1000.0, 1.0]).double()
    assert torch.allclose(on_a_plane(x * units)(x * units), one, atol=1e-9)
    # the first is what two columns have in common
    shared = torch.corrcoef(torch.stack([one[:, 0], a[:, 0].double()]))[0, 1]
    assert shared > 0.98
    assert torch.equal(on_a_plane(x[:, :2])(x[:, :2]), x[:, :2])


def test_normal_codes_are_seen_as_they_are() -> None:
    """The density of a model whose codes are the data is that of its base."""
    model = registry.build("nice", SPEC, {"hidden": (4,)}).eval()
    at = torch.zeros(1, 2).double()
    base = model.base().log_prob(at.float())  # type: ignore[attr-defined]
    assert float(log_density(model, dataset(), at)) == pytest.approx(float(base), abs=1e-5)
    assert isinstance(model.base(), Independent)  # type: ignore[attr-defined]
