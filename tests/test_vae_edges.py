"""The variational autoencoder where few look: few digits, long warm-ups, other weights, ties."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributions import Bernoulli

from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.latent.infovae import discrepancy
from simulacra.models.latent.iwae import IWAE
from simulacra.models.latent.posteriors import FlowStep
from simulacra.models.latent.vae import VAE
from simulacra.tasks.expected import likeliest

PICTURE = DataSpec((1, 4, 4), 8)
SMALL: dict[str, Any] = {"latent": 2, "hidden": (8,)}


@pytest.mark.parametrize(
    ("kind", "beta", "in_nats"), [(VAE, 1.0, True), (VAE, 4.0, False), (IWAE, 4.0, True)]
)
def test_a_bound_with_another_weight_is_not_called_a_likelihood(
    kind: type[VAE], beta: float, in_nats: bool
) -> None:
    """What a stage scores by a function of its own is shown as a loss, not in bits/dim."""
    model = kind(PICTURE, beta=beta, **SMALL)
    (stage,) = model.stages
    assert (stage.validation_loss is None) is in_nats
    if stage.validation_loss is not None:
        x = torch.zeros(3, 1, 4, 4, dtype=torch.long)
        terms = model.terms(x)
        torch.testing.assert_close(stage.validation_loss(x, None), terms.distortion + 4 * terms.kl)


@pytest.mark.parametrize(("warmup", "ends"), [(0.1, True), (0.5, False)])
def test_no_patience_ends_a_warm_up(warmup: float, ends: bool) -> None:
    (stage,) = VAE(PICTURE, warmup=warmup, **SMALL).stages
    assert (stage.patience is not None) is ends


@pytest.mark.parametrize("part", ["encoding", "decoding"])
def test_dropout_drops_in_every_kind_of_network(part: str) -> None:
    for encoder in ("mlp", "conv", "resnet", "rnn"):
        with seeded(0):
            model = VAE(PICTURE, encoder=encoder, dropout=0.5, latent=2, hidden=(32,), channels=8)
            # a block that begins as the identity drops nothing that shows
            for weights in model.parameters():
                torch.nn.init.normal_(weights, std=0.5)
        x, told = torch.randn(6, 1, 4, 4), torch.zeros(6, 0)
        given = x if part == "encoding" else x.flatten(1)[:, :2]
        network = getattr(model, part)
        first, second = (network(given, told) for _ in range(2))
        assert not torch.equal(first, second), encoder
        network.eval()
        assert torch.equal(network(given, told), network(given, told)), encoder


def test_of_two_levels_alike_one_is_the_likeliest() -> None:
    found = likeliest(Bernoulli(logits=torch.tensor([[-1.0, 0.0, 1.0]])))
    assert found.dtype == torch.long
    assert found.tolist() == [[0, 0, 1]]


def test_a_flow_counts_in_bfloat16_what_it_moves() -> None:
    """A log-scale of eight bits is not that of the move, and each step of a flow adds its own."""
    with seeded(0):
        step, z, features = FlowStep(4, 8, 16, backwards=False), torch.randn(64, 4), torch.randn(8)
        torch.nn.init.normal_(step.direct.weight)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            _, log_scale = step(z, features.expand(64, 8))
            moved, _ = step(2 * z, features.expand(64, 8))
            origin, _ = step(torch.zeros_like(z), features.expand(64, 8))
    assert log_scale.dtype == torch.float32
    # the first unit sees no other: it moves by its scale
    slope = (moved - origin)[:, 0] / (2 * z[:, 0])
    torch.testing.assert_close(slope, log_scale[:, 0].exp(), rtol=1e-4, atol=1e-5)


def test_the_discrepancy_of_codes_far_out_is_that_of_all_digits() -> None:
    with seeded(0):
        z = 20 + 0.5 * torch.randn(64, 8)
    exact = discrepancy(z.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = discrepancy(z)
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=1e-4)
