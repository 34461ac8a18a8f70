"""Inversion, completion through it, features and directions: of a generator made by hand."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from commands import blank
from simulacra.cli.invert import _draw
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.adversarial.completion import InversionCompletion
from simulacra.models.inversion import STEPS, nearing
from simulacra.tasks.changing import changing
from simulacra.tasks.codes import encode, view_of
from simulacra.tasks.complete import complete
from simulacra.tasks.interpolate import interpolate
from simulacra.tasks.invert import MISFIT, invert, nearest
from simulacra.tasks.probe import probe
from simulacra.tasks.reconstruct import reconstruct

SPEC = DataSpec((4,), None, classes=2, context_width=2)
SLOPES = torch.tensor([[1.0, 0.0], [0.5, 2.0], [0.0, -1.0], [1.0, 1.0]])


class Straight(InversionCompletion):
    """G(z) = A z + c, whose best code has a closed form; c is what it is told, if anything."""

    def __init__(self, spec: DataSpec = SPEC, *, context: Any = "none") -> None:
        super().__init__(spec)
        self.context = context
        self.lots: list[int] = []

    def loss(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is trained here")

    def prior(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        return temperature * torch.randn(n, 2)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        shift = 0.0 if context is None else context[:, :1]
        return z @ SLOPES.T + shift

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.generate(z, context)

    def scores(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return x.sum(1)

    def features(self, x: Tensor) -> Tensor:
        return x.cumsum(1)[:, :3]


def ridge(x: Tensor, seen: slice = slice(None), misfit: float = MISFIT) -> Tensor:
    """The code that costs least, of values that are seen."""
    a = SLOPES[seen]
    return torch.linalg.solve(a.T @ a + misfit**2 * torch.eye(2), a.T @ x[:, seen].T).T


def points(n: int) -> Tensor:
    with seeded(3):
        return torch.randn(n, 4)


# ---- inversion ----------------------------------------------------------------------------------


def test_the_code_that_costs_least_is_found() -> None:
    x = points(6)
    found = invert(Straight(), x)
    torch.testing.assert_close(found.codes, ridge(x), atol=0.02, rtol=0)
    gap = (found.codes @ SLOPES.T - x).double()
    torch.testing.assert_close(found.residual, gap.square().mean(1).sqrt())
    assert bool((found.residual < found.sample).all())


def test_what_codes_cost_falls_from_what_beginnings_cost() -> None:
    x = points(5)
    with seeded(0):
        starts = torch.randn(5, 3, 2)
    ways = list(nearing(Straight(), x, starts, misfit=0.5))
    assert len(ways) == STEPS + 1
    torch.testing.assert_close(ways[0][0], starts)
    for codes, costs in (ways[0], ways[-1]):
        gap = ((codes @ SLOPES.T - x[:, None]) ** 2).sum(2) / (2 * 0.5**2)
        torch.testing.assert_close(costs, gap + (codes**2).sum(2) / 2)
    assert bool((ways[-1][1] < ways[0][1]).all())


@pytest.mark.parametrize("name", ["gan", "dcgan"])
def test_what_a_generator_made_is_found_again(name: str) -> None:
    spec = DataSpec((1, 8, 8), 256)
    with seeded(0):
        model = registry.build(name, spec, {"latent": 2, "hidden": (16,), "channels": 4})
        for parameter in model.parameters():
            parameter.data.add_(0.2 * torch.randn(parameter.shape))
        x = model.eval().sample(4)  # type: ignore[operator]
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = invert(model, x)
    assert bool((found.residual < 0.1 * found.sample).all()), (found.residual, found.sample)
    assert model.training, "it is put back"
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), f"{key} moved: the batch statistics of none count"
    assert all(p.grad is None for p in model.parameters())


def test_a_row_does_not_depend_on_its_batch() -> None:
    x, told = points(5), points(5)[:, :2]
    model = Straight(context="vector")
    whole, alone = invert(model, x, told), invert(model, x[3:4], told[3:4])
    for of in ("codes", "x", "residual", "sample"):
        torch.testing.assert_close(getattr(alone, of), getattr(whole, of)[3:4])
    assert not torch.equal(invert(model, x, told, seed=1).sample, whole.sample)
    # what it is told is its own
    torch.testing.assert_close(whole.codes, ridge(x - told[:, :1]), atol=0.02, rtol=0)


def test_it_goes_on_in_lots(monkeypatch: pytest.MonkeyPatch) -> None:
    x = points(5)
    whole = invert(Straight(), x)
    monkeypatch.setattr("simulacra.tasks.invert.rows_at_once", lambda _run, _most: 2)
    torch.testing.assert_close(invert(Straight(), x).codes, whole.codes)


def test_the_nearest_training_observation_is_found() -> None:
    x = points(6)
    train = torch.cat([points(30) + 5, x[:3], x[3:] + 1])
    data = Dataset("points", SPEC, *(Observations(each) for each in (train, x, x)))
    near, count = nearest(Straight(), x, data)
    assert count == 36
    torch.testing.assert_close(near, torch.tensor([0, 0, 0, 1, 1, 1]).double(), atol=1e-6, rtol=0)


def test_levels_are_sought_in_the_middle_of_their_bins() -> None:
    spec = DataSpec((4,), 10)
    x = torch.tensor([[3, 4, 5, 6]])
    _, costs = next(nearing(Straight(spec), x, torch.zeros(1, 1, 2), misfit=1.0))
    assert float(costs) == pytest.approx(float((((x + 0.5) / 5) ** 2).sum()) / 2)


def test_what_has_no_generator_is_refused() -> None:
    spec = DataSpec((1, 4, 4), 4)
    x = torch.zeros(1, 1, 4, 4).long()
    with pytest.raises(MissingCapability, match=r"VAE has no generator .* reconstruct"):
        invert(registry.build("vae", spec, {"latent": 2, "hidden": (4,)}), x)
    with pytest.raises(MissingCapability, match="MADE has no generator to invert: use gan"):
        invert(registry.build("made", spec, {"hidden": (4,)}), x)
    with pytest.raises(UsageError, match="at least one observation"):
        invert(Straight(), points(0))


@pytest.mark.parametrize(("x", "context", "why"), [
    (torch.full((2, 4), float("nan")), None, "finite numbers"),
    (torch.zeros(2, 4), torch.zeros(3, 2), "a context for each of 2 rows, got 3"),
])  # fmt: skip
def test_what_cannot_be_sought_is_refused(x: Tensor, context: Tensor | None, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        invert(Straight(context="vector" if context is not None else "none"), x, context)


# ---- completion ---------------------------------------------------------------------------------

UPPER = torch.tensor([True, True, False, False])


def test_what_is_hidden_is_drawn_as_the_rest_leaves_it_open() -> None:
    """Of a linear generator from the conditional: its mean, and its spread, both in closed form."""
    x = points(2)
    drawn = complete(Straight(), x, UPPER, times=300)
    assert torch.equal(drawn[..., :2], x[:, None, :2].expand(2, 300, 2))
    hidden = ridge(x, slice(0, 2), misfit=0.2) @ SLOPES[2:].T
    torch.testing.assert_close(drawn[..., 2:].mean(1), hidden, atol=0.06, rtol=0)
    first = torch.tensor([True, False, False, False])
    one = complete(Straight(), x, first, times=400)[..., 1:]
    a = SLOPES[:1]
    open_ = SLOPES[1:] @ torch.linalg.inv(a.T @ a / 0.2**2 + torch.eye(2)) @ SLOPES[1:].T
    for own in one:
        torch.testing.assert_close(own.T.cov(), open_, atol=0.6, rtol=0.25)


def test_a_row_of_which_nothing_is_observed_is_a_sample() -> None:
    """Beside others of which something is: not what the code in the middle generates."""
    observed = torch.stack([UPPER, torch.zeros(4).bool()]).repeat(300, 1)
    with seeded(5):
        drawn = Straight().complete(points(2).repeat(300, 1), observed)[1::2]
    torch.testing.assert_close(drawn.T.cov(), SLOPES @ SLOPES.T, atol=0.8, rtol=0.25)


def test_completions_are_approximate_unless_nothing_is_to_be_told() -> None:
    model = Straight()
    assert not model.completes_exactly(UPPER)
    assert model.completes_exactly(torch.ones(4).bool())
    assert model.completes_exactly(torch.zeros(4).bool())


class Bowls(Straight):
    """G(z) = (z₁², z₁, …): two codes fit a first value alike, and differ in the second."""

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return torch.stack([z[:, 0] ** 2, z[:, 0], z[:, 1], z[:, 1]], 1)


def test_codes_that_fit_alike_are_taken_alike() -> None:
    x = torch.ones(1, 4).expand(60, 4)
    drawn = complete(Bowls(), x, torch.tensor([True, False, False, False]))[:, 0, 1]
    assert 12 < int((drawn > 0).sum()) < 48
    torch.testing.assert_close(drawn.abs(), torch.ones(60), atol=0.4, rtol=0)


def test_a_code_that_fits_badly_is_not_taken() -> None:
    model, x = Straight(), points(40)
    # some of the ways are cut short: those at their beginnings fit much worse
    (short,) = islice(model.complete_steps(x, UPPER), 1)
    hidden = ridge(x, slice(0, 2), misfit=0.2) @ SLOPES[2:].T
    with seeded(0):
        any_code = torch.randn(40, 2) @ SLOPES[2:].T
    assert (short[:, 2:] - hidden).abs().mean() < 0.8 * (any_code - hidden).abs().mean()


# ---- features, directions, ways -----------------------------------------------------------------


def test_features_of_a_game_are_encoded_without_a_label() -> None:
    spec = DataSpec((1, 4, 4), 9, classes=2)
    with seeded(0):
        x = torch.randint(9, (40, 1, 4, 4))
        model = registry.build("gan", spec, {"hidden": (6,), "context": "label"})
    found = encode(model, x)
    torch.testing.assert_close(found, model.eval().features(x))  # type: ignore[operator]
    torch.testing.assert_close(encode(model, x, torch.zeros(40).long()), found)
    with pytest.raises(MissingCapability, match="GAN does not encode"):
        reconstruct(model, x)


def test_a_probe_of_a_game_looks_at_its_features() -> None:
    def split(n: int) -> Observations:
        x = points(n)
        return Observations(x, (x[:, :3].sum(1) > 0).long())

    data = Dataset("sums", SPEC, split(100), split(60), split(20))
    first = probe(Straight(context="label"), data)[0]
    assert (first.name, first.features) == ("features of the discriminator", 3)
    assert first.accuracy > 0.95


def test_the_directions_that_change_most_come_first() -> None:
    axes, shares = changing(Straight())
    values, vectors = torch.linalg.eigh((SLOPES.T @ SLOPES).double())
    torch.testing.assert_close(shares, values.flip(0) / values.sum(), atol=1e-4, rtol=0)
    torch.testing.assert_close((axes * vectors.T.flip(0)).sum(1).abs(), torch.ones(2).double())


def test_a_generator_of_many_units_has_a_plane_through_a_code() -> None:
    spec = DataSpec((1, 4, 4), 9)
    data = Dataset("noise", spec, *(Observations(torch.zeros(4, 1, 4, 4).long()),) * 3)
    with seeded(0):
        model = registry.build("gan", spec, {"hidden": (6,), "latent": 5})
    view, other = (view_of(model, data, None, 3, seed=seed) for seed in (0, 1))
    torch.testing.assert_close(view.axes @ view.axes.T, torch.eye(2).double())
    torch.testing.assert_close(view.axes @ view.centre, torch.zeros(2).double())
    torch.testing.assert_close(view.axes, changing(model)[0][:2])
    assert view.codes(view.grid()).shape == (9, 5)
    assert float(view.centre.norm()) > 0.3, "as far out as codes are"
    assert not torch.equal(view.centre, other.centre)


def test_a_way_goes_between_codes_that_were_sought() -> None:
    a, b = points(2)[:1], points(2)[1:]
    way = interpolate(Straight(), ends=(a, b), steps=4)
    torch.testing.assert_close(way[:, 0], ridge(a) @ SLOPES.T, atol=0.05, rtol=0)
    torch.testing.assert_close(way[:, -1], ridge(b) @ SLOPES.T, atol=0.05, rtol=0)


def test_sounds_that_were_found_are_heard(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    blank(monkeypatch)
    spec = DataSpec((16,), 256, coding="mu-law", rate=800)
    with seeded(0):
        x = torch.randint(256, (2, 16))
    told = _draw(spec, tmp_path / "s.png", x, x.flip(0))
    assert told.endswith("s.wav: rows of real | found | difference")
    assert (tmp_path / "s.png").is_file()
    assert (tmp_path / "s.wav").is_file()
