"""`mfa`: its densities against others', its bound against what it bounds, and its sweeps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, LowRankMultivariateNormal, MixtureSameFamily, Normal
from torch.overrides import TorchFunctionMode

import simulacra as sim
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.lawbook.trials import agree, randomise, states
from simulacra.models.mixture import binned_analysers
from simulacra.models.mixture.mfa import MFA
from simulacra.nn.distributions import DiscretisedNormal

VECTORS = DataSpec((5,), None)
TINY = DataSpec((1, 1, 3), levels=3)


def built(spec: DataSpec, **keywords: float) -> MFA:
    """A model of doubles with weights of no special value."""
    with seeded(3):
        model = randomise(MFA(spec, **{"components": 3, "rank": 2, **keywords}), 0.5, 4).double()
    assert isinstance(model, MFA)
    return model


# ---- densities -----------------------------------------------------------------------------------


def test_one_component_agrees_with_sklearn():
    from sklearn.decomposition import FactorAnalysis

    with seeded(1):
        x = torch.randn(200, 5, dtype=torch.float64) @ torch.randn(5, 5, dtype=torch.float64)
    other = FactorAnalysis(2).fit(x.numpy())
    model = MFA(VECTORS, components=1, rank=2).double()
    with torch.no_grad():
        model.means.copy_(torch.from_numpy(other.mean_)[None])
        model.loadings.copy_(torch.from_numpy(other.components_.T)[None])
        model.log_scales.copy_(0.5 * torch.from_numpy(other.noise_variance_).log()[None])
        own = model.log_likelihood(x)
    assert torch.allclose(own, torch.from_numpy(other.score_samples(x.numpy())), atol=1e-6, rtol=0)


def mixture(model: MFA) -> MixtureSameFamily:
    """The same by torch's own distributions, in units of the model."""
    parts = LowRankMultivariateNormal(
        model.means, model.loadings, (2 * model.log_scales).exp(), validate_args=False
    )
    return MixtureSameFamily(Categorical(logits=model.mixing.logits[0]), parts)


def test_several_components_agree_with_torch():
    model = built(VECTORS)
    with torch.no_grad():
        model.shift.copy_(torch.arange(5.0))
        model.scale.copy_(torch.tensor([1.0, 2.0, 0.5, 3.0, 0.1]))
        x = model.shift + model.scale * torch.randn(50, 5, dtype=torch.float64)
        truth = mixture(model).log_prob((x - model.shift) / model.scale) - model.scale.log().sum()
        assert torch.allclose(model.log_likelihood(x), truth, atol=1e-6, rtol=0)
        # a responsibility is what one would say by Bayes' rule
        joint = mixture(model).component_distribution.log_prob(
            ((x - model.shift) / model.scale)[:, None]
        ) + model.mixing.logits[0].log_softmax(0)
        assert torch.allclose(model.encode(x), joint.softmax(1), atol=1e-6)


def test_samples_have_the_moments_of_the_model():
    model = built(VECTORS)
    with seeded(5):
        drawn = model.sample(40_000)
    truth = mixture(model)
    assert torch.allclose(drawn.mean(0), truth.mean, atol=0.06)
    assert torch.allclose(drawn.var(0), truth.variance, rtol=0.06)


# ---- sweeps --------------------------------------------------------------------------------------


def test_sweeps_find_what_sklearn_finds():
    """The most likely factor analyser of data that are one."""
    from sklearn.decomposition import FactorAnalysis

    with seeded(2):
        x = torch.randn(400, 2, dtype=torch.float64) @ torch.randn(2, 6, dtype=torch.float64)
        x = x + 0.3 * torch.randn(400, 6, dtype=torch.float64)
        model = MFA(DataSpec((6,), None), components=1, rank=2, prior=0.0).double()
        model.prepare(x)
    for _ in range(200):
        model.update([(x, None)])
    other = FactorAnalysis(2, tol=1e-8, max_iter=10_000).fit(x.numpy())
    with torch.no_grad():
        assert float(model.log_likelihood(x).mean()) == pytest.approx(
            other.score(x.numpy()), abs=1e-3
        )


@pytest.mark.parametrize("spec", [VECTORS, DataSpec((1, 2, 3), levels=5)], ids=["vectors", "grey"])
def test_sweeps_never_lower_what_they_climb(spec):
    with seeded(3):
        x = torch.randn(300, 5) if spec.levels is None else torch.randint(5, (300, 1, 2, 3))
        x[:, ..., 1:] = x[:, ..., :-1] if spec.levels else x[:, :-1] + 0.1 * x[:, 1:]
        model = MFA(spec, components=3, rank=2).double()
        model.prepare(x)
    losses = [model.update([(x, None)])["loss"] for _ in range(25)]
    falls = torch.tensor(losses).diff()
    assert float(falls.max()) < 1e-9
    assert losses[-1] < losses[0] - 0.01


def test_the_sweeps_bound_has_the_noise_of_the_bins():
    """E log N(x + u) over uniform noise is log N(x) − var(u) tr C⁻¹ / 2."""
    model = built(DataSpec((1, 1, 4), levels=5))
    y = torch.randn(6, 4, dtype=torch.float64)
    with torch.no_grad():
        parts = mixture(model).component_distribution
        inverses = torch.linalg.inv(parts.covariance_matrix)
        traces = inverses.diagonal(dim1=1, dim2=2).sum(1)
        truth = parts.log_prob(y[:, None]) - 0.5 * model.bin_variance * traces
        assert torch.allclose(model.log_parts(y), truth, atol=1e-9)


def test_sweeps_end_where_nothing_is_to_be_gained():
    """The gradient of the bound and prior that they climb is zero there, noise of bins and all."""
    with seeded(4):
        x = torch.randint(5, (150, 1, 1, 5))
        x[:, ..., 1::2] = x[:, ..., :-1:2]
        model = MFA(DataSpec((1, 1, 5), levels=5), components=2, rank=1).double()
        model.prepare(x)
    steep = []
    for sweeps in (2, 400):
        for _ in range(sweeps):
            model.update([(x, None)])
        y = model._middle(x)
        climbed = (model.mixing(None, y) + model.log_parts(y)).logsumexp(1).sum()
        climbed = climbed + model._log_prior()
        own = (model.means, model.loadings, model.log_scales)
        steep.append(max(float(g.abs().max()) for g in torch.autograd.grad(climbed, own)))
    assert steep[0] > 0.1
    assert steep[1] < 1e-3


class _Largest(TorchFunctionMode):
    """Remembers the size of the largest tensor that is made."""

    numbers = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for each in found if isinstance(found, tuple) else (found,):
            if isinstance(each, Tensor):
                self.numbers = max(self.numbers, each.numel())
        return found


@pytest.mark.parametrize("levels", [None, 4])
def test_nothing_is_as_large_as_a_covariance(levels):
    dims = 900
    spec = DataSpec((dims,), None) if levels is None else DataSpec((1, 30, 30), levels)
    with seeded(0):
        x = torch.randn(40, dims) if levels is None else torch.randint(levels, (40, 1, 30, 30))
        model = MFA(spec, components=3, rank=2)
        with _Largest() as largest:
            model.prepare(x)
            model.update([(x, None)])
            model.loss(x)["loss"].backward()
            with torch.no_grad():
                model.log_likelihood(x)
                model.sample(40)
                model.complete(x, torch.arange(dims).view(spec.event_shape) < dims // 2)
    assert 40 * dims <= largest.numbers < dims * dims


# ---- the bound of levels -------------------------------------------------------------------------


def masses(model: MFA) -> tuple[Tensor, Tensor]:
    """All observations, and log p(x | k) of each by quadrature over one factor, `(N, K)`."""
    x = states(model)
    z = torch.linspace(-9, 9, 1201, dtype=torch.float64)
    own = model._binned(z).analysers
    at = own.means[:, None] + z[:, None] * own.loadings[:, None, :, 0]
    normal = DiscretisedNormal(at, own.scales[:, None], model.spec.levels, validate_args=False)
    given = normal.log_prob(x.flatten(1)[:, None, None]).sum(3)
    weights = Normal(0, 1).log_prob(z) + math.log(float(z[1] - z[0]))
    return x, (given + weights).logsumexp(2)


@torch.no_grad()
def test_the_bound_is_below_the_mass_and_reaches_it():
    model = built(TINY, rank=1)
    x, truth = masses(model)
    assert torch.allclose(truth.exp().sum(0), torch.ones(3, dtype=torch.float64))
    one = torch.stack([model.log_likelihoods(x, seed=seed) for seed in range(200)])
    # each draw has the mass as its mean, and the mean of its logarithm is below
    error = 5 * one.exp().std(0) / 200**0.5
    assert bool(((one.exp().mean(0) - truth.exp()).abs() < error + 1e-5).all())
    assert float(error.max()) < 0.02
    assert bool((one.mean(0) < truth + 5e-3).all())
    many = model.log_likelihoods(x, draws=400)
    assert float((many - truth).abs().mean()) < 0.01


@torch.no_grad()
def test_samples_of_levels_follow_the_mass():
    model = built(TINY, rank=1)
    _, truth = masses(model)
    with seeded(6):
        drawn = model.sample(20_000)
    p = (model.mixing(None, truth) + truth).logsumexp(1).exp()
    agree(model, drawn, p, "a sample of no probability")


@torch.no_grad()
def test_components_that_explain_badly_are_left_out():
    """The sum of a few is a lower bound of that of all, and next to it."""
    model = built(DataSpec((1, 3, 3), levels=4), components=12)
    x = model.sample(64)
    few = model._log_joint(x, None, 1, 0)
    whole = model.mixing(None, few) + model.log_likelihoods(x, draws=50)
    assert bool((few.isfinite().sum(1) == 3).all())
    gap = whole.logsumexp(1) - few.logsumexp(1)
    assert -0.05 < float(gap.mean()) < 0.7


@torch.no_grad()
def test_newton_finds_the_top():
    model = built(DataSpec((1, 3, 3), levels=4))
    x = model.sample(64).flatten(1)
    binned = model._binned(torch.zeros((), dtype=torch.float64))
    every = torch.arange(3).expand(64, -1)
    pairs = binned_analysers.Pairs(binned, x, every)
    codes = torch.zeros(len(pairs.component), 2, dtype=torch.float64)
    codes = pairs.climbed(pairs.newton(codes), 12).codes

    def uphill(codes: Tensor) -> Tensor:
        with torch.enable_grad():
            at = codes.clone().requires_grad_()
            joint = pairs.log_mass(at) - 0.5 * at.square().sum(1)
            return torch.autograd.grad(joint.sum(), at)[0]

    assert float(uphill(codes).abs().max()) < 1e-6
    # and the curvature there is what the draws are made of
    factors = pairs.newton(codes).factors
    step = torch.tensor([1e-5, 0.0], dtype=torch.float64)
    curvature = (uphill(codes - step) - uphill(codes + step)) / 2e-5
    assert torch.allclose((factors @ factors.mT)[:, :, 0], curvature, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quick_masses_are_those_of_the_exact_ones(dtype):
    """With their gradients; in the far tail to the first digits."""
    with seeded(1):
        loc = (40 * torch.randn(2000, dtype=dtype)).requires_grad_()
        scale = (2 + 3 * torch.rand(2000, dtype=dtype)).requires_grad_()
        x = (loc.detach() + 6 * scale.detach() * torch.randn(2000)).round().clamp(-20, 20) + 20
    found = []
    for quick in (True, False):
        mean = loc + 20
        if quick:
            lower = ((x - mean) / scale).masked_fill(x <= 0, -1e4)
            upper = ((x + 1 - mean) / scale).masked_fill(x >= 40, 1e4)
            value = binned_analysers._log_mass(lower, upper)
        else:
            value = DiscretisedNormal(mean, scale, 41, validate_args=False).log_prob(x)
        gradients = torch.autograd.grad(value.sum(), [loc, scale])
        found.append((value, *gradients))
    near = found[1][0] > -60
    assert 0.3 < float(near.float().mean()) < 1
    for own, other in zip(*found, strict=True):
        assert torch.allclose(own[near], other[near], rtol=2e-4, atol=2e-4)
        assert torch.allclose(own, other, rtol=0.02, atol=1e-2)


# ---- completion ----------------------------------------------------------------------------------


@torch.no_grad()
def test_completion_of_levels_follows_the_conditional():
    """As the enumerated conditional has it, to what a few draws resampled are off by."""
    model = built(TINY, rank=1)
    # far from what a Gaussian at the top says
    model.loadings.mul_(4)
    model.log_scales.sub_(1.5)
    x, truth = masses(model)
    p = (model.mixing(None, truth) + truth).logsumexp(1).exp()
    observed = torch.tensor([[[True, False, False]]])
    given = torch.tensor([2, 0, 0]).view(1, 1, 1, 3)
    with seeded(7):
        drawn = model.complete(given.expand(10_000, -1, -1, -1), observed)
    told = x.flatten(1)[:, 0] == 2
    conditional = torch.where(told, p, 0.0)
    agree(model, drawn, conditional / conditional.sum(), "a completion of no probability")


@torch.no_grad()
def test_completion_of_vectors_follows_the_conditional():
    model = built(VECTORS)
    model.loadings.mul_(3)
    observed = torch.tensor([True, False, True, False, False])
    x = torch.randn(1, 5, dtype=torch.float64)
    with seeded(8):
        drawn = model.complete(x.expand(20_000, -1), observed)
    parts = mixture(model)
    covariances = parts.component_distribution.covariance_matrix
    seen, hidden = observed.nonzero()[:, 0], (~observed).nonzero()[:, 0]
    inverse = torch.linalg.inv(covariances[:, seen][:, :, seen])
    slopes = covariances[:, hidden][:, :, seen] @ inverse
    means = (
        model.means[:, hidden] + (slopes @ (x[0, seen] - model.means[:, seen])[..., None])[..., 0]
    )
    marginal = torch.distributions.MultivariateNormal(
        model.means[:, seen], covariances[:, seen][:, :, seen]
    )
    weights = (marginal.log_prob(x[0, seen]) + model.mixing.logits[0].log_softmax(0)).softmax(0)
    mean = weights @ means
    assert torch.allclose(drawn[:, hidden].mean(0), mean, atol=0.05)
    left = covariances[:, hidden][:, :, hidden] - slopes @ covariances[:, seen][:, :, hidden]
    second = left.diagonal(dim1=1, dim2=2) + means.square()
    assert torch.allclose(drawn[:, hidden].square().mean(0), weights @ second, rtol=0.06)


# ---- training ------------------------------------------------------------------------------------


def test_gradient_steps_go_on_from_sweeps():
    """And no digits are lost under autocast."""
    data = sim.load_data("digits")
    x, _ = data.train.batch(torch.arange(256))
    with seeded(0):
        model = sim.build("mfa", data.spec, {"components": 4, "rank": 3})
        model.prepare(x)
        for _ in range(4):
            model.update([(x, None)])
        with torch.no_grad():
            before = float(model.log_likelihood(x).mean())
            with torch.autocast("cpu", torch.bfloat16):
                same = float(model.log_likelihood(x).mean())
        assert same == before
        steps = []
        for enabled in (False, True):
            with seeded(1), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                steps.append(float(model.loss(x)["loss"].detach()))
        assert steps[0] == steps[1]
        optimiser = torch.optim.Adam(model.parameters(), 0.02)
        for _ in range(20):
            optimiser.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = model.loss(x)["loss"]
            assert loss.dtype == torch.float32
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            after = float(model.log_likelihood(x).mean())
    assert after > before + 4


def test_it_says_what_it_does_not_take():
    with pytest.raises(sim.UsageError, match="rank is positive"):
        MFA(VECTORS, rank=0)
    with pytest.raises(sim.MissingCapability, match="order"):
        sim.build("mfa", DataSpec((1, 2, 2), levels=3, ordered=False))


def test_few_rows_have_few_components():
    model = MFA(VECTORS, components=20)
    with seeded(1):
        x = torch.randn(17, 5)
        model.prepare(x)
    told = model.update([(x, None)])
    assert told["components"] == 3
    with torch.no_grad():
        assert bool(model.log_likelihood(x).isfinite().all())


@torch.no_grad()
def test_no_step_ends_lower_than_it_began():
    """Where bins are far from what a component has, and curved as nothing near them is."""
    with seeded(2):
        model = randomise(MFA(DataSpec((1, 4, 4), levels=64), components=3, rank=4), 3.0)
        x = torch.randint(64, (40, 16))
        x[:, ::2] = 63 * (x[:, ::2] > 31)
    binned = model._binned(torch.zeros(()))
    pairs = binned_analysers.Pairs(binned, x, torch.arange(3).expand(40, -1))
    with seeded(3):
        begun = pairs.newton(3 * torch.randn(120, 4))
    ended = pairs.newton(pairs.climbed(begun, 3).codes)
    assert bool((ended.joint >= begun.joint - 1e-3 * begun.joint.abs()).all())
