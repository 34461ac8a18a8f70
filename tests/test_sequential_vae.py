"""The chain of decoders: its likelihood against quadrature, its draws, what a step is told."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

import simulacra as sim
from simulacra.ground.randomness import seeded
from simulacra.models.latent import observations
from simulacra.models.latent.observations import Observation
from simulacra.models.latent.sequential_vae import SequentialVAE
from simulacra.models.lawbook.trials import FORMS, agree, randomise, states, trial
from simulacra.nn.levels import as_input

BITS = sim.DataSpec((1, 1, 2), 2)


def chain(spec: sim.DataSpec = BITS, steps: int = 2, latent: int = 2) -> SequentialVAE:
    """Steps that hear their code and the one before, and a posterior not too far from the prior."""
    model = trial(SequentialVAE, spec, {"steps": steps, "latent": latent, "hidden": (8,)}, 0.0)
    for part in (model.decoding, model.looks, model.decoders):
        randomise(part, 0.4)
    randomise(model.encoding, 0.08)
    return model.double()


@torch.no_grad()
def integrated(model: SequentialVAE) -> Tensor:
    """p(x) of every state, over a grid of both steps' codes."""
    line = torch.linspace(-7, 7, 201, dtype=torch.float64)
    weights = Normal(0.0, 1.0).log_prob(line).exp() * (line[1] - line[0])
    decoded = model.likelihood(torch.cartesian_prod(line, line))
    p = torch.stack([decoded.log_prob(x.double()).exp() for x in states(model)])
    return p @ (weights[:, None] * weights).flatten()


def test_weights_are_without_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    """E[w] = p(x); the bound lies below log p(x)."""
    model, n = chain(), 20_000
    p, x = integrated(model), states(model)
    assert float(p.sum()) == pytest.approx(1, abs=1e-6)
    assert float(p.max() / p.min()) > 1.3
    # all draws at once: each row has noise of its own, not that of its values
    for place in ("simulacra.nn.distributions", "simulacra.models.latent.variational"):
        monkeypatch.setattr(f"{place}.keys_of", lambda x, _: torch.arange(len(x)))
    many = x.repeat_interleave(n, 0)
    with torch.no_grad():
        weights = model.log_likelihood(many).exp().view(len(x), n)
        bounds = model.terms(many).bound.view(len(x), n)
    error = weights.std(1) / n**0.5
    assert bool(((weights.mean(1) - p).abs() < 4 * error).all())
    # sharp enough to see what is wrong
    assert bool((error < 0.05 * p).all())
    assert bool((bounds.mean(1) < p.log() + 4 * bounds.std(1) / n**0.5).all())


def test_samples_are_what_it_says() -> None:
    model = chain()
    with seeded(5):
        drawn = model.sample(20_000)
    agree(model, drawn, integrated(model), "samples disagree with the integral")


def test_the_chain_is_shown() -> None:
    model = chain(FORMS["grey"], steps=4, latent=5)
    with seeded(2):
        shown = [x.clone() for x in model.sample_steps(5)]
    assert [x.shape for x in shown] == [(5, 1, 2, 2)] * 4
    with seeded(2):
        assert torch.equal(model.sample(5), shown[-1])


def test_a_step_hears_its_part_and_the_steps_before_it_alone() -> None:
    """What is moved of the code moves its own step, and those after it."""
    model, z = chain(FORMS["grey"], steps=3, latent=5), torch.zeros(1, 5, dtype=torch.float64)
    # five units as three parts
    parts = [[0, 1], [2, 3], [4]]
    with torch.no_grad():
        plain = [step.base_dist.logits for step in model.chain(z)]
        for first, units in enumerate(parts):
            for unit in units:
                moved = z.clone()
                moved[:, unit] = 2.0
                heard = [
                    not torch.allclose(step.base_dist.logits, before, atol=1e-9)
                    for step, before in zip(model.chain(moved), plain, strict=True)
                ]
                assert heard == [t >= first for t in range(3)], unit


def test_a_step_begins_where_the_one_before_ended() -> None:
    """A decoder that says nothing changes nothing."""
    model = chain(FORMS["grey"], steps=2)
    with torch.no_grad():
        for parameter in model.decoders.parameters():
            parameter.zero_()
        first, second = model.chain(torch.randn(3, 2, dtype=torch.float64))
    assert torch.equal(first.base_dist.logits, second.base_dist.logits)


def test_no_step_teaches_the_one_before() -> None:
    model = chain(FORMS["grey"], steps=2)
    *_, last = model.chain(torch.randn(3, 2, dtype=torch.float64))
    last.log_prob(torch.zeros(3, 1, 2, 2)).sum().backward()
    assert all(each.grad is None for each in model.decoding.parameters())
    assert any(each.grad is not None for each in model.decoders.parameters())


def test_the_loss_is_the_sum_of_its_steps() -> None:
    """Of one step it is a VAE's bound; of more, every step's reconstruction is in it."""
    x = torch.tensor([[[[0, 1], [2, 0]]], [[[2, 1], [0, 2]]]])
    single = chain(FORMS["grey"], steps=1)
    with seeded(1), torch.no_grad():
        losses = torch.stack([single.loss(x.repeat(500, 1, 1, 1))["loss"] for _ in range(10)])
        bounds = torch.stack([-single.terms(x, seed=seed).bound.mean() for seed in range(200)])
        error = (losses.var() / 10 + bounds.var() / 200).sqrt()
        assert abs(float(losses.mean() - bounds.mean())) < 4 * float(error)
        several = chain(FORMS["grey"], steps=3, latent=3)
        with seeded(6):
            found = several.loss(x)
        with seeded(6):
            z, _ = several.posterior(x).placed(several.noise(2))
        steps = [float(-step.log_prob(x.double()).mean()) for step in several.chain(z)]
    assert float(found["reconstruction"]) == pytest.approx(steps[-1])
    assert float(found["loss"] - found["kl"]) == pytest.approx(sum(steps))


@pytest.mark.parametrize(
    ("kind", "form"),
    [("bernoulli", "rgb"), ("categorical", "grey"), ("categorical", "palette"),
     ("categorical", "sequence"), ("discretised-logistic", "wide"), ("logistic-mixture", "wide"),
     ("gaussian", "plane")],
)  # fmt: skip
def test_what_is_handed_on_is_the_mean_of_inputs(kind: Observation, form: str) -> None:
    spec, n = FORMS[form], 20_000
    with seeded(3):
        # narrow, so that the open outer bins are seldom met
        raw = torch.randn(1, *spec.event_shape, observations.parameters(kind, spec)) * 0.1
        values = observations.distribution(kind, raw, spec)
        drawn = Independent(values, 0).sample((n,))[:, 0]
    told = observations.expected(values, spec)
    mean = as_input(drawn if spec.levels is None else drawn.long(), spec).mean(0, keepdim=True)
    assert told.shape == mean.shape
    # of the bins' middles a logistic's mean is a little off
    torch.testing.assert_close(told, mean, atol=0.05, rtol=0)


def test_no_step_is_refused() -> None:
    with pytest.raises(sim.UsageError, match="steps is positive, got 0"):
        sim.build("sequential-vae", BITS, {"steps": 0})
