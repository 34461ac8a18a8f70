"""MAF, IAF, spline flows: orders, values in turn, closed forms, gradients of what is implied."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal

from laws import randomise
from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.flow.autoregressive_maps import (
    AutoregressiveMap,
    InverseAutoregressiveMap,
    MaskedNetwork,
)
from simulacra.models.flow.elementwise import Affine, Elementwise, RationalQuadratic
from simulacra.models.flow.iaf import IAF
from simulacra.models.flow.maf import MAF
from simulacra.models.flow.masked_mixture import MaskedMixture
from simulacra.models.flow.spline_flow import SplineFlow


def network(dims: int, outputs: int, told: int = 0, **keywords: Any) -> MaskedNetwork:
    with seeded(0):
        made = MaskedNetwork(dims, outputs, (24, 24), told, **keywords)
    return randomise(made, 0.5).double()  # type: ignore[type-var]


def mapped(dims: int, map_: Elementwise, told: int = 0, **keywords: Any) -> AutoregressiveMap:
    return AutoregressiveMap(network(dims, map_.parameters, told, **keywords), map_)


def normal(*shape: int, seed: int = 1) -> Tensor:
    with seeded(seed):
        return torch.randn(*shape, dtype=torch.float64)


# ---- the masked network ------------------------------------------------------------------------


@pytest.mark.parametrize(("backwards", "told"), [(False, 0), (True, 0), (False, 2), (True, 2)])
def test_a_networks_numbers_see_what_comes_before_in_its_order(backwards: bool, told: int) -> None:
    net = network(5, 2, told, backwards=backwards)
    features = normal(40, told, seed=2)
    # a unit that is off somewhere is on elsewhere
    sees = torch.autograd.functional.jacobian(lambda y: net(y, features).sum(0), normal(40, 5))
    before = torch.ones(5, 5, dtype=torch.bool).tril(-1)
    assert torch.equal((sees != 0).any(2).any(0), before.flip(0, 1) if backwards else before)


def plainly(of: AutoregressiveMap, z: Tensor, told: Tensor) -> Tensor:
    """The inverse with a whole network for each value; autograd goes through all of it."""
    y = torch.zeros_like(z)
    for _ in range(z.shape[1]):
        y = of.map.inverse(z, of.network(y, told))
    return y


@pytest.mark.parametrize(
    ("dims", "map_", "told", "backwards"),
    [
        (1, Affine(), 0, False), (2, Affine(), 3, True), (7, Affine(), 0, True),
        (11, RationalQuadratic(4), 2, False), (30, Affine(), 0, False),
    ],
)  # fmt: skip
def test_values_from_cached_units_are_those_of_the_whole_network(
    dims: int, map_: Elementwise, told: int, backwards: bool
) -> None:
    of = mapped(dims, map_, told, backwards=backwards)
    z, features = normal(6, dims), normal(6, told, seed=2)
    y = of.inverse(z, features)
    torch.testing.assert_close(y, plainly(of, z, features), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(of(y, features)[0], z, rtol=1e-9, atol=1e-9)


# ---- gradients of what is implied ---------------------------------------------------------------


class ForgetsWhatCodesDo(InverseAutoregressiveMap):
    """A fault: the code is taken as a constant."""

    def forward(self, y: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        z = self.of.inverse(y, told).detach()
        return z, -self.of(z, told)[1]


def gradients(kind: type[InverseAutoregressiveMap] | None) -> list[Tensor]:
    """Of a loss of two maps' codes and volume; by `kind`, or plainly by autograd alone."""
    maps = [mapped(6, Affine(), 2, backwards=turned) for turned in (False, True)]
    y, told = normal(8, 6).requires_grad_(), normal(8, 2, seed=2).requires_grad_()
    z, loss = y, torch.zeros(())
    for of in maps:
        if kind is None:
            z = plainly(of, z, told)
            ladj = -of(z, told)[1]
        else:
            z, ladj = kind(of)(z, told)
        loss = loss - ladj.mean()
    loss = loss + (z - 0.3).square().sum(1).mean()
    asked = [y, told, *maps[0].parameters(), *maps[1].parameters()]
    return list(torch.autograd.grad(loss, asked, allow_unused=True, materialize_grads=True))


def test_gradients_of_codes_found_in_turn_are_those_of_autograd() -> None:
    for ours, true in zip(gradients(InverseAutoregressiveMap), gradients(None), strict=True):
        torch.testing.assert_close(ours, true, rtol=1e-7, atol=1e-8)


def test_a_code_that_is_taken_as_a_constant_shows_in_the_gradients() -> None:
    pairs = zip(gradients(ForgetsWhatCodesDo), gradients(None), strict=True)
    assert any(float((ours - true).abs().max()) > 1e-3 for ours, true in pairs)


def test_a_sample_has_the_gradient_of_its_code() -> None:
    of, told = mapped(5, Affine()), torch.zeros(1, 0, dtype=torch.float64)
    z = normal(5)
    ours, true = (
        torch.autograd.functional.jacobian(lambda c, f=f: f(c[None], told)[0], z)
        for f in (of.inverse, lambda c, t: plainly(of, c, t))
    )
    torch.testing.assert_close(ours, true, rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        assert not of.inverse(z[None], told).requires_grad


# ---- closed forms ------------------------------------------------------------------------------


def linear(of: AutoregressiveMap, factor: Tensor, offset: Tensor) -> None:
    """Set z = factor · y + offset, of a lower triangular factor and a positive diagonal."""
    net = of.network
    (first,) = net.W
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        dims = len(offset)
        for j in range(dims - 1):
            # two units see the first j + 1 values: relu(y) − relu(−y) is y
            up, down = (first.targets[0] == j + 1).nonzero().flatten()[:2]
            first.weight[up, j], first.weight[down, j] = 1, -1
            net.V.weight[dims + j + 1 : 2 * dims, up] = factor[j + 1 :, j]
            net.V.weight[dims + j + 1 : 2 * dims, down] = -factor[j + 1 :, j]
        net.V.bias[:dims] = 3 * torch.atanh(factor.diagonal().log() / 3)
        net.V.bias[dims:] = offset


@pytest.mark.parametrize("kind", [MAF, IAF])
def test_the_likelihood_of_a_gaussian_is_the_closed_form(kind: type[MAF] | type[IAF]) -> None:
    dims = 4
    with seeded(5):
        scale = torch.randn(dims, dims).tril(-1) + torch.diag(torch.rand(dims) + 0.5)
        mean = 3 * torch.randn(dims)
    true = MultivariateNormal(mean, scale_tril=scale)
    keywords = {"transforms": 1, "hidden": (2 * (dims - 1),)}
    plain = {"components": 1} if kind is MAF else {}
    model = kind(DataSpec((dims,), None), **keywords, **plain).eval()
    (of,) = model.maps
    if isinstance(of, InverseAutoregressiveMap):
        linear(of.of, scale, mean)
    else:
        inverse = torch.linalg.inv(scale)
        linear(of, inverse, -inverse @ mean)
    with seeded(6), torch.no_grad():
        x = true.sample((200,))
        gap = model.log_likelihood(x) - true.log_prob(x)
        drawn = model.sample(20_000)
    assert float(gap.abs().max()) < 1e-4
    torch.testing.assert_close(drawn.T.cov(), true.covariance_matrix, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("told", [0, 2])
def test_a_base_of_gaussians_is_a_mixture_of_each_code_given_those_before(told: int) -> None:
    k, dims = 3, 4
    net = network(dims, 3 * k, told, backwards=True)
    features = normal(5 if told else 1, told, seed=2)
    base = MaskedMixture(net, torch.Size((dims,)), features)
    codes = normal(5, dims)
    true = torch.zeros(5, dtype=torch.float64)
    for i in reversed(range(dims)):
        known = codes.clone()
        known[:, : i + 1] = 1e3  # must not matter
        logits, loc, log_s = net(known, features.expand(5, -1))[:, :, i].chunk(3, 1)
        normals = Normal(loc + torch.tensor([-1, 0, 1]), (3 * torch.tanh(log_s / 3)).exp())
        true += MixtureSameFamily(Categorical(logits=logits), normals).log_prob(codes[:, i])
    torch.testing.assert_close(base.log_prob(codes), true)
    assert base.batch_shape == torch.Size([5] if told else [])
    drawn = base.sample() if told else base.sample((5,))
    assert drawn.shape == (5, dims)
    # at no temperature at all, the mean of each given the means before
    (cold,) = base.sample(() if told else (1,), 0.0)[:1]
    for i in range(dims):
        logits, loc, _ = net(cold[None], features[:1])[0, :, i].chunk(3)
        mean = (logits.softmax(0) * (loc + torch.tensor([-1, 0, 1]))).sum()
        torch.testing.assert_close(cold[i], mean)


def test_the_density_after_a_map_is_that_before_it_less_its_volume() -> None:
    model = randomise(MAF(DataSpec((3,), None), hidden=(8,), transforms=2))
    y, told = torch.randn(4, 3), torch.zeros(4, 0)
    with torch.no_grad():
        torch.testing.assert_close(model.log_density_after(y, 0), model.log_density(y))
        for count, each in enumerate(model.maps):
            z, ladj = each(y, told)
            after = model.log_density_after(z, count + 1)
            torch.testing.assert_close(model.log_density_after(y, count), after + ladj)
            y = z
        torch.testing.assert_close(model.base().log_prob(y), after)


# ---- numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bins", [2, 8, 32])
def test_a_spline_comes_back_whatever_a_network_says(bins: int) -> None:
    spline = RationalQuadratic(bins)
    with seeded(7):
        raw = 30 * torch.randn(2000, spline.parameters, 3)
        y = 2 * torch.randn(2000, 3)
    z, log_slope = spline.forward(y, raw)
    assert float((spline.inverse(z, raw) - y).abs().max()) < 5e-3
    assert float(log_slope.abs().max()) < 14


@pytest.mark.parametrize("name", ["maf", "iaf", "spline-flow"])
def test_values_that_never_vary_keep_numbers_finite(name: str) -> None:
    small = {"hidden": (8,), "transforms": 2}
    keywords = small if name != "spline-flow" else {"hidden": (8,), "couplings": 2}
    with seeded(8):
        x = torch.randint(256, (64, 1, 3, 3))
        model = registry.build(name, DataSpec((1, 3, 3), 256), keywords)
        # borders of a digit are black, always
        x[:, :, 0], x[:, :, :, 0] = 0, 0
        model.prepare(x)
        optimiser = torch.optim.Adam(model.parameters(), 0.05)
        for _ in range(30):
            optimiser.zero_grad()
            loss = model.loss(x)["loss"]
            loss.backward()
            assert bool(loss.isfinite())
            optimiser.step()
    with torch.no_grad():
        assert bool(model.log_likelihood(x).isfinite().all())
        drawn = model.sample(32)
    assert int(drawn.min()) >= 0 <= int(drawn.max()) <= 255


def test_a_spline_flow_shuffles_all_values_the_same_way_each_time() -> None:
    spec = DataSpec((3, 2, 2), 4)
    one, two = (SplineFlow(spec, couplings=6, hidden=(4,)) for _ in range(2))
    orders = [[each.order for each in model.maps if hasattr(each, "order")] for model in (one, two)]
    assert len(orders[0]) == 2
    assert all(torch.equal(a, b) for a, b in zip(*orders, strict=True))
    assert not torch.equal(*orders[0])
    assert not any(hasattr(each, "order") for each in SplineFlow(DataSpec((2,), None)).maps)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *itertools.product(("maf", "iaf"), ({"transforms": 0}, {"hidden": ()}, {"hidden": (0,)})),
        ("maf", {"parts": 1}), ("maf", {"components": 0}),
        ("maf", {"dropout": 1.0}),
        ("spline-flow", {"couplings": 1}), ("spline-flow", {"parts": 65}),
        ("spline-flow", {"hidden": (0,)}),
    ],
)  # fmt: skip
def test_keywords_out_of_range_are_refused(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        registry.build(name, DataSpec((3,), None), wrong)
