"""What the laws cannot see: each model's own equations, against another way to compute them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from laws import randomise
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.adversarial.gan import GAN
from simulacra.models.flow.nice import NICE
from simulacra.models.lawbook.trials import precision_of
from simulacra.models.mixture.gmm import GMM, FullGMM
from simulacra.models.model import Likelihood, Model
from simulacra.models.swept import Swept

PICTURE = DataSpec((1, 4, 4), 8)
PAIR = DataSpec((2,), None)
TRIPLE = DataSpec((3,), None)


def ready(model: Any, x: Tensor) -> Any:
    with seeded(1):
        model.prepare(x)
    return randomise(model)


# ---- nice --------------------------------------------------------------------------------------


def far_pairs() -> Tensor:
    """Vectors far from standard, so that forgetting a scale shows."""
    with seeded(2):
        return torch.randn(500, 2) * torch.tensor([3.0, 0.2]) + torch.tensor([10.0, -4.0])


def on_a_grid(model: NICE) -> tuple[Tensor, Tensor]:
    """Log-density over a grid that holds all its mass, and the area of a cell."""
    sides = [torch.linspace(-90, 110, 1601), torch.linspace(-12, 4, 1601)]
    points = torch.cartesian_prod(*sides).double()
    cell = (sides[0][1] - sides[0][0]) * (sides[1][1] - sides[1][0])
    with torch.no_grad():
        return model.log_likelihood(points).view(1601, 1601), cell.double()


def test_a_flows_density_integrates_to_one_and_makes_its_samples() -> None:
    model = ready(NICE(PAIR, hidden=(8,)), far_pairs()).double()
    with torch.no_grad():
        # ten times as far as other weights: no grid would be fine enough
        model.maps[-1].s.mul_(0.1)
    log_density, cell = on_a_grid(model)
    assert float(log_density.exp().sum() * cell) == pytest.approx(1, abs=2e-3)
    with seeded(3):
        drawn = model.sample(20_000)
    for axis, (low, high) in enumerate(((-90, 110), (-12, 4))):
        mass = (log_density.exp().sum(1 - axis) * cell).numpy()
        marginal = mass.cumsum() - mass / 2
        grid = np.linspace(low, high, 1601)
        test = stats.kstest(
            drawn[:, axis].numpy(), lambda v, g=grid, m=marginal: np.interp(v, g, m)
        )
        assert test.pvalue > 1e-6, axis


def test_a_flow_decodes_what_it_encoded() -> None:
    with seeded(4):
        x = torch.randint(8, (200, 1, 4, 4))
    model = ready(NICE(PICTURE, hidden=(16,)), x)
    with torch.no_grad():
        assert torch.equal(model.decode(model.encode(x)), x)
        # the code is that of the bin's middle
        v = torch.logit(1e-6 + (1 - 2e-6) * (x + 0.5) / 8)
        middle = (v - model.shift) * torch.exp(-model.log_scale)
        assert torch.allclose(model.encode(x), model.transform(middle)[0])


def test_a_flows_bound_gets_tighter_with_draws_of_their_own() -> None:
    with seeded(4):
        x = torch.randint(8, (300, 1, 4, 4))
    model = ready(NICE(PICTURE, hidden=(16,)), x)
    with torch.no_grad():
        means = [float(model.log_likelihood(x, draws=k).mean()) for k in (1, 4, 16, 64)]
    assert means == sorted(means)
    assert means[-1] > means[0] + 0.01


def test_standardising_is_that_of_the_dequantised_data() -> None:
    with seeded(4):
        x = torch.randint(8, (40000, 1, 4, 4))
    model = NICE(PICTURE, hidden=(16,))
    model.prepare(x)
    y = torch.logit((x + torch.rand(x.shape)) / 8)
    assert torch.allclose(model.shift, y.mean(0), atol=0.05)
    assert torch.allclose(model.log_scale.exp(), y.std(0), atol=0.05)


# ---- gan ---------------------------------------------------------------------------------------


class Judged(GAN):
    """A discriminator that says fixed logits, and notes what it is shown."""

    logits: tuple[float, ...] = ()

    def _score(self, y: Tensor, context: Tensor | None) -> Tensor:
        self.shown.append(y.detach())
        logit = self.logits[(len(self.shown) - 1) % len(self.logits)]
        return torch.full((len(y),), logit) + 0 * y.flatten(1).sum(1)


def judged(objective: Any, *logits: float) -> Judged:
    model = Judged(PICTURE, latent=2, hidden=(4,), objective=objective, augment="never")
    model.shown, model.logits = [], logits
    return model


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def test_the_discriminator_is_paid_for_telling_real_from_generated() -> None:
    x = torch.randint(8, (64, 1, 4, 4))
    model = judged("minimax", 2.0, -1.0)
    losses = model.loss(x, turn="discriminator")
    expected = -math.log(sigmoid(2.0)) - math.log(1 - sigmoid(-1.0))
    assert losses["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert losses["accuracy"].item() == 1.0
    real, fake = model.shown
    # real levels fill their bins, on the generator's scale
    bins = (real.view(x.shape) + 1) * 4
    assert torch.equal(bins.floor().long(), x)
    assert bool((bins != bins.floor()).any())
    # generated values too, which lie in [−1, 1], have the noise of half a level
    assert float(fake.abs().max()) <= 1 + 1 / 8


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("minimax", math.log(1 - sigmoid(0.7))),
        ("non-saturating", -math.log(sigmoid(0.7))),
    ],
)
def test_the_generators_objectives(objective: Any, expected: float) -> None:
    x = torch.randint(8, (8, 1, 4, 4))
    loss = judged(objective, 0.7).loss(x, turn="generator")["loss"]
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_generated_value_becomes_its_level() -> None:
    model = GAN(PICTURE, latent=2, hidden=(4,))
    y = torch.linspace(-1, 1, 160).view(10, 1, 4, 4)
    model._generate = lambda *_: y  # type: ignore[method-assign]
    levels = model.decode(torch.zeros(10, 2)).flatten()
    expected = ((y.flatten() + 1) * 4).floor().clamp(0, 7).long()
    assert torch.equal(levels, expected)
    assert set(levels.tolist()) == set(range(8))


# ---- gmm ---------------------------------------------------------------------------------------


def mixture(covariance: Any) -> tuple[GMM, list[Any], np.ndarray]:
    """A fitted mixture of vectors of very different scales; its means and covariances; weights."""
    with seeded(7):
        scales = torch.tensor([1000.0, 1.0, 0.001])
        groups = [torch.randn(400, 3) @ torch.randn(3, 3) + 4 * torch.randn(3) for _ in range(2)]
        x = torch.cat(groups) * scales
        keywords = {"components": 2, "covariance": covariance, "tolerance": 0.0}
        model = registry.build("gmm", TRIPLE, keywords)
        assert isinstance(model, GMM)
        model.prepare(x)
    for _ in range(10):
        model.update([(x, None)])
    scale, shift = model.scale.double(), model.shift.double()
    if isinstance(model, FullGMM):
        matrices = model.factors(slice(2), scale).detach()
    else:
        matrices = torch.diag_embed(model.log_scales.detach().double().exp())
    matrices = scale[:, None] * matrices
    parts = [
        ((model.means[k].detach().double() * scale + shift).numpy(), (m @ m.T).numpy())
        for k, m in enumerate(matrices)
    ]
    return model.eval(), parts, model.mixing.shares.detach().double().numpy()


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_a_mixture_of_vectors_against_its_formula(covariance: Any) -> None:
    model, parts, weights = mixture(covariance)
    with seeded(8):
        x = model.sample(200)
    with torch.no_grad():
        scores = model.log_likelihood(x).numpy()
    each = []
    for weight, (mean, cov) in zip(weights, parts, strict=True):
        factor = np.linalg.cholesky(cov)
        z = np.linalg.solve(factor, (x.double().numpy() - mean).T)
        log_det = np.log(np.diag(factor)).sum()
        each.append(math.log(weight) - 0.5 * (z**2).sum(0) - log_det - 1.5 * math.log(2 * math.pi))
    assert np.allclose(scores, np.logaddexp(*each), atol=2e-3)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_a_mixtures_conditional_against_its_closed_form(covariance: Any) -> None:
    """Given the first value, the draws have the conditional mixture's mean and variance."""
    model, parts, weights = mixture(covariance)
    given = torch.tensor([500.0, 0.0, 0.0])
    observed = torch.tensor([True, False, False])
    logs, means, variances = [], [], []
    for weight, (m, c) in zip(weights, parts, strict=True):
        logs.append(math.log(weight) + stats.norm.logpdf(500.0, m[0], math.sqrt(c[0, 0])))
        means.append(m[1:] + c[1:, 0] / c[0, 0] * (500.0 - m[0]))
        variances.append(np.diag(c[1:, 1:]) - c[1:, 0] ** 2 / c[0, 0])
    r = np.exp(np.array(logs) - max(logs))
    r = (r / r.sum())[:, None]
    mean = (r * np.array(means)).sum(0)
    variance = (r * (np.array(variances) + np.array(means) ** 2)).sum(0) - mean**2
    n = 40_000
    with seeded(9):
        drawn = model.complete(given.expand(n, 3), observed)[:, 1:].double().numpy()
    error = np.sqrt(variance / n)
    assert (np.abs(drawn.mean(0) - mean) < 5 * error).all()
    assert np.allclose(drawn.var(0), variance, rtol=0.06)


def test_a_value_that_never_varies_costs_nothing_unseen_much() -> None:
    """One stray level in a constant pixel is dear, but not as dear as under no prior."""
    with seeded(10):
        x = torch.randint(200, 256, (300, 1, 1, 2))
        x[:, :, :, 1] = torch.where(torch.arange(300) < 290, 0, 200)[:, None, None]
    spec = DataSpec((1, 1, 2), 256)
    stray = torch.tensor([[[[220, 90]]]])
    scores = {}
    for prior in (0.0, 1.0):
        with seeded(11):
            model = GMM(spec, components=3, prior=prior)
            model.prepare(x)
        for _ in range(20):
            model.update([(x, None)])
        scores[prior] = float(model.log_likelihood(stray).detach())
    assert scores[1.0] > scores[0.0] + 50
    assert scores[1.0] > -200


@pytest.mark.parametrize("name", ["gmm", "vae", "nice", "gan"])
def test_a_column_that_hardly_ever_varies_is_survived(name: str) -> None:
    spec = DataSpec((2,), None)
    torch.manual_seed(0)
    seen = torch.stack([torch.randn(200), torch.zeros(200)], 1)
    keywords = {"gmm": {"components": 2}, "gan": {"hidden": (8,)}, "nice": {"hidden": (8,)}}
    model = registry.build(name, spec, keywords.get(name, {"hidden": (8,), "latent": 2}))
    model.prepare(seen)
    odd = torch.tensor([[0.1, 1.0]])
    if isinstance(model, Swept):
        scalars = model.update([(torch.cat([seen, odd]), None)])
        assert math.isfinite(scalars["loss"])
    if isinstance(model, Likelihood):
        both = model.log_likelihood(torch.cat([seen[:1], odd]), draws=4).detach()
        assert bool(both.isfinite().all())
        # a value that never varied is no reason for dozens of nats
        assert float(both[0]) < 20
    else:
        assert bool(model.loss(torch.cat([seen, odd]))["loss"].isfinite())


def test_sweeps_over_vectors_tell_their_loss_in_the_units_of_the_data() -> None:
    torch.manual_seed(0)
    x = torch.randn(500, 3) * torch.tensor([0.01, 1.0, 100.0])
    model = registry.build("gmm", DataSpec((3,), None), {"components": 2, "prior": 0.0})
    model.prepare(x)
    with torch.no_grad():
        before = -float(model.log_likelihood(x).mean())
    assert model.update([(x, None)])["loss"] == pytest.approx(before, abs=1e-3)


class Still(Model):
    """Has nothing to learn, and a mask in front of its numbers."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        self.register_buffer("mask", torch.ones(3, dtype=torch.bool))
        self.register_buffer("mean", torch.zeros(3, dtype=torch.float64))

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        return {"loss": self.mean.sum()}


def test_laws_compute_in_the_precision_of_floats_and_not_of_masks() -> None:
    assert precision_of(Still(DataSpec((3,), None))) == torch.float64
