"""The parts that flows are made of: maps of single values, of channels, of scales, and noise."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import simulacra as sim
from simulacra.models import registry
from simulacra.models.flow import maps as maps_module
from simulacra.models.flow.base import Flow
from simulacra.models.flow.dequantiser import PictureDequantiser
from simulacra.models.flow.elementwise import (
    Additive,
    Affine,
    Elementwise,
    Logistics,
    RationalQuadratic,
    elementwise,
)
from simulacra.models.flow.maps import ActNorm, FlowMap, InvertibleConv, Scaling
from simulacra.models.flow.networks import GlowNetwork
from simulacra.models.flow.scales import ChannelCoupling, Form, MultiScale, Squeeze

EACH = [Additive(), Affine(), RationalQuadratic(5), Logistics(3)]
NOTHING = torch.zeros(2, 0, dtype=torch.float64)


def named(each: Elementwise) -> str:
    return type(each).__name__


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("each", EACH, ids=named)
def test_a_map_of_values_comes_back_and_counts_its_slope(each: Elementwise) -> None:
    # beyond the reach of a spline too
    y = (4 * torch.randn(40, 3)).double().requires_grad_()
    raw = torch.randn(40, each.parameters, 3).double()
    z, log_slope = each.forward(y, raw)
    (slope,) = torch.autograd.grad(z.sum(), y)
    assert torch.allclose(slope.log(), log_slope, atol=1e-9)
    assert torch.allclose(each.inverse(z, raw), y, atol=1e-8)


@pytest.mark.parametrize("each", EACH, ids=named)
def test_raw_zeros_leave_values_nearly_as_they_are(each: Elementwise) -> None:
    y = torch.linspace(-3, 3, 20)[:, None]
    z, _ = each.forward(y, torch.zeros(20, each.parameters, 1))
    assert float((z - y).abs().max()) < 0.4 if isinstance(each, Logistics) else torch.allclose(z, y)


@pytest.mark.parametrize("each", EACH[1:], ids=named)
def test_no_raw_number_makes_a_map_that_is_not_finite(each: Elementwise) -> None:
    y = torch.tensor([-1e4, -5.0, 0.0, 4.999, 1e4])[:, None]
    for size in (1e3, -1e3):
        raw = torch.full((5, each.parameters, 1), size, requires_grad=True)
        z, log_slope = each.forward(y, raw)
        (gradient,) = torch.autograd.grad((z + log_slope).sum(), raw)
        assert bool(z.isfinite().all() and log_slope.isfinite().all() and gradient.isfinite().all())


def test_gradients_go_through_the_inverse_of_a_mixture() -> None:
    each = Logistics(3)
    z = torch.randn(6, 2).double().requires_grad_()
    raw = torch.randn(6, each.parameters, 2).double()
    y = each.inverse(z, raw)
    (slope,) = torch.autograd.grad(y.sum(), z)
    assert torch.allclose(slope.log(), -each.forward(y, raw)[1], atol=1e-8)


def test_a_spline_says_what_the_paper_says_at_its_knots() -> None:
    spline = RationalQuadratic(3, reach=2.0)
    raw = torch.zeros(1, spline.parameters, 1).double()
    raw[0, :3, 0] = torch.tensor([0.5, -0.5, 0.0])
    raw[0, 3:6, 0] = torch.tensor([-1.0, 1.0, 0.0])
    bounded = spline.bound * torch.tanh(raw[0, :, 0] / spline.bound)
    ys, zs = (
        4 * (spline.least + (1 - 3 * spline.least) * bounded[part].softmax(0)).cumsum(0) - 2
        for part in (slice(0, 3), slice(3, 6))
    )
    z, _ = spline.forward(ys[:2, None], raw.expand(2, -1, -1))
    assert torch.allclose(z[:, 0], zs[:2])


def test_a_scale_of_each_value_moves_farther_than_its_weight() -> None:
    scaling = Scaling((3,))
    with torch.no_grad():
        scaling.s.add_(0.01)
    z, ladj = scaling(torch.ones(1, 3), torch.zeros(1, 0))
    assert torch.allclose(z, torch.full((1, 3), math.exp(0.1)))
    assert torch.allclose(ladj, torch.tensor([0.3]))


@pytest.mark.parametrize("odd", [False, True])
def test_actnorm_starts_by_standardising_each_channel(odd: bool) -> None:
    real = Form.whole((2, 3, 3)).real
    real[1, :, 2] = not odd
    y = torch.where(real, 3 + 5 * torch.randn(50, 2, 3, 3), 0)
    norm = ActNorm(2, 9, real if odd else None)
    norm.start(y, torch.zeros(50, 0))
    z, ladj = (each.detach() for each in norm(y, torch.zeros(50, 0)))
    for channel in range(2):
        values = z[:, channel][:, real[channel]]
        assert abs(float(values.mean())) < 1e-5
        assert float(values.std(correction=0)) == pytest.approx(1, abs=1e-4)
    expected = (norm.log_scale.detach().flatten() * real.sum((1, 2))).sum()
    assert torch.allclose(ladj, expected.expand(50))


def test_a_channel_that_never_varies_stays_finite() -> None:
    norm = ActNorm(1, 4)
    norm.start(torch.full((9, 1, 2, 2), 7.0), torch.zeros(9, 0))
    z, ladj = norm(torch.full((2, 1, 2, 2), 7.5), torch.zeros(2, 0))
    assert torch.allclose(z, torch.full_like(z, 0.5))
    assert torch.equal(ladj, torch.zeros(2))


def test_a_convolution_counts_its_determinant_and_comes_back() -> None:
    conv = InvertibleConv(5, 6).double()
    with torch.no_grad():
        for weight in conv.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    y = torch.randn(2, 5, 2, 3).double()
    z, ladj = conv(y, NOTHING)
    weight = torch.autograd.functional.jacobian(lambda v: conv(v, NOTHING)[0][0, :, 0, 0], y)
    expected = 6 * torch.linalg.slogdet(weight[:, 0, :, 0, 0])[1]
    assert torch.allclose(ladj, expected.expand(2))
    assert torch.allclose(conv.inverse(z, NOTHING), y)


def test_a_convolution_starts_as_a_rotation() -> None:
    conv = InvertibleConv(7, 1).double()
    y = torch.randn(2, 7, 1, 1).double()
    z, ladj = conv(y, NOTHING)
    assert torch.allclose(z.norm(dim=1), y.norm(dim=1))
    assert torch.allclose(ladj, torch.zeros_like(ladj), atol=1e-6)


@pytest.mark.parametrize("side", [(4, 6), (3, 4), (5, 5), (1, 2)])
def test_squeezed_halves_are_the_fields_of_a_checkerboard(side: tuple[int, int]) -> None:
    squeeze = Squeeze(Form.whole((2, *side)))
    y = torch.randn(3, 2, *side)
    z = squeeze(y)
    assert torch.equal(squeeze.inverse(z), y)
    assert int(squeeze.form.real.sum()) == y[0].numel()
    black = (torch.arange(side[0])[:, None] + torch.arange(side[1])) % 2 == 0
    seen = torch.where(squeeze.form.real, z, 0).chunk(2, 1)[0].flatten(1).sort(1).values
    kept = torch.where(black, y, 0).flatten(1)
    # as many zeros more as there are places in the half that are not black
    kept = torch.cat([kept, kept.new_zeros(3, max(0, seen.shape[1] - kept.shape[1]))], 1)
    kept = kept.sort(1).values
    assert torch.equal(seen[seen != 0], kept[kept != 0])


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 7, 5), (3, 1, 2), (3, 3, 3)])
def test_a_code_has_as_many_values_as_a_picture_of_any_side(shape: tuple[int, ...]) -> None:
    def coupled(form: Form) -> ChannelCoupling:
        return ChannelCoupling(form, Affine(), lambda i, o, t: GlowNetwork(i, 4, o, t), 0)

    def maps(form: Form) -> list[FlowMap]:
        return [ActNorm(form.channels, form.pixels, form.mask), coupled(form)]

    flow = MultiScale(shape, 3, maps, coupled).double()
    with torch.no_grad():
        for weight in flow.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    y = torch.randn(2, *shape).double()
    z, ladj = flow(y, NOTHING)
    assert z.shape == y.shape
    assert torch.allclose(flow.inverse(z, NOTHING), y)
    flat = y[:1].flatten()
    matrix = torch.autograd.functional.jacobian(
        lambda v: flow(v.view(1, *shape), NOTHING[:1])[0].flatten(), flat
    )
    assert torch.allclose(torch.linalg.slogdet(matrix)[1], ladj[0])


def test_learnt_noise_starts_uniform_and_counts_its_density() -> None:
    spec = sim.DataSpec((1, 3, 4), 5)
    made = PictureDequantiser(spec, 2, Affine(), 4, 0).double()
    x, uniform = torch.randint(0, 5, (3, 1, 3, 4)), torch.rand(3, 1, 3, 4).double()
    told = torch.zeros(3, 0).double()
    noise, log_q = made(x, uniform, told)
    assert torch.allclose(noise, uniform)
    assert torch.allclose(log_q, torch.zeros_like(log_q), atol=1e-9)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    noise, log_q = made(x, uniform, told)
    assert bool(((noise > 0) & (noise < 1)).all())
    matrix = torch.autograd.functional.jacobian(
        lambda u: made(x[:1], u.view(1, 1, 3, 4), told[:1])[0].flatten(), uniform[0].flatten()
    )
    assert torch.allclose(torch.linalg.slogdet(matrix)[1], -log_q[0])


@pytest.mark.parametrize("name", ["nice", "realnvp", "glow"])
def test_all_probability_of_levels_lies_within_their_range(name: str) -> None:
    """Samples need no outer bins: what a code decodes to lies between the ends."""
    model = registry.build(
        name, sim.DataSpec((1, 4, 4), 3), {"hidden": (8,) if name == "nice" else 8}
    )
    assert isinstance(model, Flow)
    x = torch.randint(0, 3, (40, 1, 4, 4))
    model.prepare(x)
    z = 3 * model.prior(200)
    with torch.no_grad():
        y = model._shrunk(model.invert(z) * model.log_scale.exp() + model.shift)
    assert float(y.min()) > -1e-3
    assert float(y.max()) < 3 + 1e-3


@pytest.mark.parametrize("name", ["realnvp", "glow"])
@pytest.mark.parametrize(
    ("wrong", "value"),
    [("coupling", "splines"), ("dequantisation", "unifrom"), ("parts", 150), ("parts", 0)],
)
def test_keywords_out_of_range_are_refused_by_the_class_itself(
    name: str, wrong: str, value: Any
) -> None:
    with pytest.raises(sim.UsageError, match=wrong):
        sim.find(name)(sim.DataSpec((1, 4, 4), 3), **{"coupling": "spline", wrong: value})


@pytest.mark.parametrize("name", ["realnvp", "glow"])
def test_a_picture_of_one_pixel_is_refused(name: str) -> None:
    with pytest.raises(sim.MissingCapability, match="has one: use spline-flow"):
        registry.build(name, sim.DataSpec((3, 1, 1), 4))
    registry.build(name, sim.DataSpec((1, 1, 2), 4), {"hidden": 8})


def test_values_that_there_are_not_take_a_model_to_the_device_that_it_is_built_on() -> None:
    spec = sim.DataSpec((1, 5, 7), 3)
    with torch.device("meta"):
        model = registry.build("glow", spec, {"hidden": 8})
    values = [*model.parameters(), *model.buffers()]
    assert {each.device.type for each in values} == {"meta"}


def test_a_start_is_in_float64_where_a_device_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apple's GPU has none: `precision.double` knows, `Tensor.double` does not."""
    asked = []
    monkeypatch.setattr(maps_module, "double", lambda x: asked.append(x) or x.double())
    ActNorm(1, 4).start(torch.randn(3, 1, 2, 2), torch.zeros(3, 0))
    assert len(asked) == 1


def test_a_map_of_anyones_is_undone_as_it_was_done() -> None:
    class Twice(torch.nn.Module):
        def forward(self, y: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
            return 2 * y, y.new_full((len(y),), 3 * math.log(2))

        def inverse(self, z: Tensor, told: Tensor) -> Tensor:
            return z / 2

        def start(self, y: Tensor, told: Tensor) -> None: ...

    model, x = sim.Flow(sim.DataSpec((3,), None)), torch.randn(5, 3)
    model.maps.append(Twice())
    assert torch.equal(model.decode(model.encode(x)), x)
    assert torch.allclose(model.log_density_after(x, 0), model.log_density(x))


def test_a_coupling_that_does_not_exist_is_refused() -> None:
    with pytest.raises(sim.UsageError, match="coupling"):
        registry.build("glow", sim.DataSpec((1, 4, 4), 3), {"coupling": "quadratic"})
    assert elementwise("spline", 4).parameters == 11
