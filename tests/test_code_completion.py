"""Completion through codes: against the conditional that quadrature over one code gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.latent import completion
from simulacra.models.latent.posteriors import PosteriorKind
from simulacra.models.latent.vae import VAE

SPEC = DataSpec((1, 2, 2), 3)
GIVEN = torch.tensor([[[0, 2], [1, 1]]])
UPPER = torch.tensor([[[True, True], [False, False]]])
CHAINS = 1500


def crude(kind: PosteriorKind = "diagonal", seed: int = 2, latent: int = 1) -> VAE:
    """A model whose posterior is far from the true one."""
    with seeded(seed):
        model = VAE(SPEC, latent=latent, hidden=(8,), posterior_family=kind)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter) * (0.3 if kind == "flow" else 1))
    return model.double().eval()


@torch.no_grad()
def conditional(model: VAE) -> Tensor:
    """p(lower half | upper half), `(9,)`, by quadrature over the code."""
    grid = torch.linspace(-10, 10, 2001, dtype=torch.float64)
    every = GIVEN.repeat(9, 1, 1, 1)
    every[:, 0, 1] = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    values = model.likelihood(grid[:, None])
    log_joint = torch.stack([values.log_prob(x.double()) for x in every]) - grid.square() / 2
    return log_joint.logsumexp(1).softmax(0)


def how_far(model: VAE) -> float:
    """Total variation between ends of chains and the conditional."""
    with seeded(0):
        drawn = model.complete(GIVEN.expand(CHAINS, 1, 2, 2), UPPER)
    assert torch.equal(drawn[:, UPPER], GIVEN[UPPER].expand(CHAINS, 2))
    states = drawn[:, 0, 1, 0] * 3 + drawn[:, 0, 1, 1]
    shares = torch.bincount(states, minlength=9) / CHAINS
    return float((shares - conditional(model)).abs().sum() / 2)


@pytest.mark.parametrize(
    ("kind", "seed"),
    [pytest.param("diagonal", 1, marks=pytest.mark.nightly), ("diagonal", 2), ("flow", 2)],
)
def test_chains_come_near_the_conditional(kind: PosteriorKind, seed: int) -> None:
    assert how_far(crude(kind, seed)) < 0.06


def test_without_the_test_they_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pseudo-Gibbs believes the encoder, which here is wrong."""
    monkeypatch.setattr(completion, "_FREE", 100)
    assert how_far(crude()) > 0.15


@torch.no_grad()
@pytest.mark.parametrize("latent", [1, 4])
def test_a_flow_of_codes_knows_the_density_of_any_code(latent: int) -> None:
    """What draws say by their own noise, and what the steps say when they are undone."""
    model = crude("flow", latent=latent)
    with seeded(1):
        posterior = model.posterior(GIVEN.expand(50, 1, 2, 2))
        z, log_q = posterior.placed(torch.randn(50, latent, dtype=torch.float64))
    torch.testing.assert_close(posterior.log_prob(z), log_q.sum(1), rtol=1e-6, atol=1e-6)
