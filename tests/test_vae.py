"""The variational autoencoder: its bound and its loss against other ways to compute them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

import laws
from laws import randomise
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.latent.infovae import _WIDTHS, InfoVAE, discrepancy
from simulacra.models.latent.iwae import IWAE
from simulacra.models.latent.laws import by_quadrature
from simulacra.models.latent.vae import VAE
from simulacra.models.lawbook.trials import FORMS, trial

PICTURE = DataSpec((1, 4, 4), 8)
PAIR = DataSpec((2,), None)


def ready(model: Any, x: Tensor) -> Any:
    with seeded(1):
        model.prepare(x)
    return randomise(model)


def far_pairs() -> Tensor:
    """Vectors far from standard, so that forgetting a scale shows."""
    with seeded(2):
        return torch.randn(500, 2) * torch.tensor([3.0, 0.2]) + torch.tensor([10.0, -4.0])


def test_the_loss_is_reconstruction_and_divergence() -> None:
    with seeded(5):
        x = torch.randint(8, (32, 1, 4, 4))
        model = randomise(VAE(PICTURE, latent=3, hidden=(8,)))
        with seeded(6), torch.no_grad():
            losses = model.loss(x)
        posterior = model.posterior(x)
        kl = kl_divergence(posterior.base_dist, Normal(0.0, 1.0)).sum(1).mean()
        with seeded(6), torch.no_grad():
            z = posterior.rsample()
            reconstruction = -model.likelihood(z).log_prob(x.float()).mean()
    assert losses["kl"].item() == pytest.approx(kl.item(), rel=1e-6)
    assert losses["reconstruction"].item() == pytest.approx(reconstruction.item(), rel=1e-6)
    assert losses["loss"].item() == pytest.approx((kl + reconstruction).item(), rel=1e-6)


def test_a_vae_of_vectors_against_quadrature() -> None:
    """With one code, p(x) = ∫ p(x | z) N(z) dz is a sum over a grid; draws have its moments."""
    x = far_pairs()
    with seeded(11):
        model = ready(VAE(PAIR, latent=1, hidden=(8,)), x)
    z = torch.linspace(-6, 6, 2001)[:, None]
    log_share = Normal(0.0, 1.0).log_prob(z[:, 0]) + math.log(12 / 2000)
    with torch.no_grad():
        decoder = model.likelihood(z).base_dist
        # in the units of the data
        mean = decoder.loc * model.scale + model.shift
        scale = decoder.scale * model.scale
        log_parts = Normal(mean, scale).log_prob(x[:200, None]).sum(2) + log_share
        bound = model.log_likelihood(x[:200], draws=3000)
        with seeded(12):
            drawn = model.sample(40_000)
    # most: an encoder of no training is a poor proposal where an observation is improbable
    assert float((bound - log_parts.logsumexp(1)).abs().median()) < 0.02
    share = log_share.exp()[:, None]
    expected = (share * mean).sum(0)
    variance = (share * (scale.square() + mean.square())).sum(0) - expected.square()
    assert bool(((drawn.mean(0) - expected).abs() < 5 * (variance / 40_000).sqrt()).all())
    assert torch.allclose(drawn.var(0), variance, rtol=0.06)


def test_a_decoder_is_for_levels_or_for_vectors() -> None:
    assert VAE(PAIR, hidden=(4,)).kind == "gaussian"
    for spec, observation in ((PAIR, "categorical"), (PICTURE, "gaussian")):
        with pytest.raises(MissingCapability, match=f"observation='{observation}' needs"):
            VAE(spec, hidden=(4,), observation=observation)


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"observation": "categorical", "posterior_family": "full"},
        {"observation": "logistic-mixture"},
    ],
)
def test_the_bound_is_below_and_converges(keywords: dict[str, Any]) -> None:
    """Against p(x) by quadrature over a one-dimensional code."""
    model = trial(VAE, FORMS["grey"], {"hidden": (8,), "latent": 1, **keywords}).double()
    with torch.no_grad():
        # a posterior near the prior: loose enough to show, and wide enough to converge
        for parameter in model.encoding.layers[-1].parameters():
            parameter.mul_(0.3)
        for parameter in model.decoding.layers[-1].parameters():
            parameter.mul_(0.5)
        x = laws.states(model)[::8]
        true = by_quadrature(model, x)
        elbos = torch.stack([model.log_likelihood(x, seed=seed) for seed in range(200)])
        tight = torch.stack([model.log_likelihood(x, draws=1024, seed=s) for s in range(2)]).mean(0)
    error = 4 * elbos.std(0) / 200**0.5
    assert bool((elbos.mean(0) <= true + error).all())
    assert bool((elbos.mean(0) < true - 0.001).any()), "the bound is loose here, so it must show"
    assert float((tight - true).mean().abs()) < 0.01


@pytest.mark.parametrize("family", ["diagonal", "full", "flow"])
def test_a_posterior_knows_the_density_of_its_codes(family: Any) -> None:
    """log q(z | x) by the change of variables from the noise, whose Jacobian autograd finds."""
    with seeded(3):
        model = randomise(VAE(PICTURE, latent=3, hidden=(8,), posterior_family=family).double())
        x = torch.randint(8, (4, 1, 4, 4))
        noise = torch.randn(4, 3, dtype=torch.float64)
    for row, own in zip(x, noise, strict=True):
        posterior = model.posterior(row[None])

        def placed(each: Tensor, posterior: Any = posterior) -> Tensor:
            code: Tensor = posterior.placed(each[None])[0][0]
            return code

        jacobian = torch.autograd.functional.jacobian(placed, own)
        expected = Normal(0.0, 1.0).log_prob(own).sum() - jacobian.slogdet()[1]
        torch.testing.assert_close(posterior.placed(own[None])[1].sum(), expected)


@pytest.mark.parametrize("family", ["diagonal", "full"])
def test_rates_are_the_divergence_by_units(family: Any) -> None:
    with seeded(4):
        model = randomise(VAE(PICTURE, latent=3, hidden=(8,), posterior_family=family))
        x = torch.randint(8, (5, 1, 4, 4))
    posterior = model.posterior(x)
    full = family == "full"
    wide = posterior.covariance_matrix if full else torch.diag_embed(posterior.variance)
    prior = MultivariateNormal(torch.zeros(3), torch.eye(3))
    expected = kl_divergence(MultivariateNormal(posterior.mean, wide), prior)
    torch.testing.assert_close(posterior.rates().sum(1), expected)
    assert bool((posterior.rates() >= 0).all())


def test_the_discrepancy_is_that_of_draws_of_the_prior() -> None:
    """With y ~ N(0, I) drawn, and not known: E k(z, z′) − 2 E k(z, y) + E k(y, y′)."""
    with seeded(6):
        z = 0.5 + 0.8 * torch.randn(1000, 2, dtype=torch.float64)
        y = torch.randn(1000, 2, dtype=torch.float64)
        prior = torch.stack([discrepancy(torch.randn(500, 2)) for _ in range(60)])

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([(-torch.cdist(a, b).square() / (8 * w)).exp() for w in _WIDTHS]).mean(0)

    def among(a: Tensor) -> Tensor:
        return (kernel(a, a).sum() - len(a)) / (len(a) * (len(a) - 1))

    drawn = among(z) - 2 * kernel(z, y).mean() + among(y)
    assert float(discrepancy(z)) == pytest.approx(float(drawn), rel=0.1)
    assert float(prior.mean().abs()) < 4 * float(prior.std()) / 60**0.5
    assert float(discrepancy(z)) > 20 * float(prior.std())
    assert float(discrepancy(z[:1])) == 0


def test_warm_up_and_free_bits_weigh_the_divergence() -> None:
    x = torch.randint(8, (16, 1, 4, 4), generator=torch.Generator().manual_seed(1))
    model = randomise(VAE(PICTURE, latent=3, hidden=(8,), beta=2.0, warmup=0.5))

    def weight(place: float) -> float:
        with seeded(1), torch.no_grad():
            told = model.loss(x, place=place)
        return float((told["loss"] - told["reconstruction"]) / told["kl"])

    assert weight(0.0) == 0
    assert weight(0.25) == pytest.approx(1.0, rel=1e-3)
    assert weight(0.5) == weight(1.0) == pytest.approx(2.0, rel=1e-3)
    free = randomise(VAE(PICTURE, latent=3, hidden=(8,), free_bits=100.0))
    with seeded(1), torch.no_grad():
        told = free.loss(x)
    assert float(told["loss"] - told["reconstruction"]) == pytest.approx(300, rel=1e-3)


def test_training_loss_is_the_negative_bound() -> None:
    """The closed-form KL in the loss agrees with the sampled one in the likelihood."""
    model = trial(VAE, FORMS["picture"], VAE.small[0])
    x = laws.observations(model, 20)
    with torch.no_grad(), seeded(0):
        losses = torch.stack([model.loss(x)["loss"] for _ in range(400)])
        bounds = torch.stack([-model.log_likelihood(x, seed=s).mean() for s in range(400)])
    error = 4 * float((losses.var() / 400 + bounds.var() / 400).sqrt())
    assert abs(float(losses.mean() - bounds.mean())) < error


@pytest.mark.parametrize("draws", [1, 4])
def test_the_importance_weighted_loss_is_the_negative_bound_of_as_many_draws(draws: int) -> None:
    model = trial(IWAE, FORMS["picture"], {**VAE.small[0], "draws": draws})
    x = laws.observations(model, 20)
    with torch.no_grad(), seeded(0):
        losses = torch.stack([model.loss(x)["loss"] for _ in range(120)])
        bounds = torch.stack(
            [-model.log_likelihood(x, draws=draws, seed=1000 * s).mean() for s in range(120)]
        )
        looser = torch.stack([-model.log_likelihood(x, seed=s).mean() for s in range(120)])
    error = 4 * float((losses.var() / 120 + bounds.var() / 120).sqrt())
    assert abs(float(losses.mean() - bounds.mean())) < error
    if draws > 1:
        assert float(looser.mean() - losses.mean()) > error


def test_its_gradient_weighs_codes_by_how_well_they_explain() -> None:
    """Σ w̃_j ∇ log w_j (equation 14), from the same noise."""
    model = trial(IWAE, FORMS["picture"], {**VAE.small[0], "draws": 3})
    x = laws.observations(model, 6)
    with seeded(4):
        model.loss(x)["loss"].backward()
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    with seeded(4):
        posterior = model.posterior(x)
        noise = [torch.randn_like(posterior.mean) for _ in range(3)]
        log_w = torch.stack([model.drawn(x, posterior, each).log_weight() for each in noise])
    (-(log_w.detach().softmax(0) * log_w).sum(0).mean()).backward()
    expected = [p.grad for p in model.parameters() if p.grad is not None]
    for own, true in zip(found, expected, strict=True):
        torch.testing.assert_close(own, true)


@pytest.mark.parametrize(
    ("kind", "keywords", "said"),
    [
        (VAE, {"beta": -1.0}, "beta and free_bits are not negative"),
        (VAE, {"warmup": 1.5}, "warmup is from 0 to 1"),
        (VAE, {"posterior_family": "round"}, "diagonal, full, flow, got 'round'"),
        (VAE, {"encoder": "cnn"}, "auto, mlp, conv, resnet, rnn, got 'cnn'"),
        (VAE, {"encoder": "rnn", "hidden": ()}, "needs a width of its recurrent layer"),
        (VAE, {"dropout": 1.0}, "dropout is in"),
        (IWAE, {"draws": 0}, "draws is positive"),
        (IWAE, {"free_bits": 2.0}, "iwae has no free bits"),
        (InfoVAE, {"alpha": 1.5}, "alpha is from 0 to 1"),
        (InfoVAE, {"alpha": 0.0, "mmd": 0.5}, "at least 1"),
    ],
)
def test_impossible_keywords_are_refused(
    kind: type[VAE], keywords: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        kind(PICTURE, **{"hidden": (4,), **keywords})
