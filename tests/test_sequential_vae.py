"""The chain of decoders: its likelihood against enumeration, its draws against both."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

import simulacra as sim
from simulacra.ground.randomness import keyed_uniform, seeded
from simulacra.models.latent import observations
from simulacra.models.latent.observations import Observation
from simulacra.models.latent.sequential_vae import SequentialVAE
from simulacra.models.lawbook.trials import FORMS, agree, randomise, states, trial

BITS = sim.DataSpec((1, 1, 2), 2)


def chain(spec: sim.DataSpec = BITS, steps: int = 3) -> SequentialVAE:
    """Steps that hear their code and the one before, and a posterior not too far from the prior."""
    model = trial(SequentialVAE, spec, {"steps": steps, "latent": 1, "hidden": (8,)}, 0.0)
    for part in (model.decoding, model.looks, model.decoders, model.direct):
        randomise(part, 0.4)
    randomise(model.encoding, 0.08)
    return model.double()


@torch.no_grad()
def enumerated(model: SequentialVAE) -> Tensor:
    """p(x) of every state, over all that the chain may draw and a grid of each step's code."""
    x, grid = states(model), torch.linspace(-8, 8, 801, dtype=torch.float64)
    weights = Normal(0.0, 1.0).log_prob(grid).exp() * (grid[1] - grid[0])
    p = None
    for t in range(model.steps):
        # of each state before, a row; the first step has none
        found = []
        for before in [None] if p is None else list(x):
            told = None if before is None else before.expand(len(grid), *before.shape)
            step = model.step(t, grid[:, None], told)
            found.append(torch.stack([step.log_prob(row.double()).exp() @ weights for row in x]))
        table = torch.stack(found)
        p = table[0] if p is None else p @ table
    assert p is not None
    return p


def test_weights_are_without_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    """E[w] = p(x) with the chain's own draws as proposals; the bound lies below log p(x)."""
    model = chain()
    p, x, n = enumerated(model), states(model), 20_000
    assert float(p.sum()) == pytest.approx(1, abs=1e-6)
    assert float(p.max() / p.min()) > 1.5
    # all draws at once: each row has noise of its own, not that of its values
    for place in ("simulacra.nn.distributions", "simulacra.models.latent.sequential_vae"):
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
    agree(model, drawn, enumerated(model), "samples disagree with the enumeration")


def test_the_chain_is_shown() -> None:
    model = chain(FORMS["grey"], steps=4)
    with seeded(2):
        shown = [x.clone() for x in model.sample_steps(5)]
    assert [x.shape for x in shown] == [(5, 1, 2, 2)] * 4
    with seeded(2):
        assert torch.equal(model.sample(5), shown[-1])


def test_a_step_hears_its_code_and_the_step_before() -> None:
    model, z = chain(FORMS["grey"]), torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    x = torch.tensor([[[[0, 0], [0, 0]]], [[[2, 1], [0, 2]]]])
    with torch.no_grad():
        for t in (1, 2):
            here, there = (model.step(t, z, own).base_dist.logits for own in (x, x.flip(0)))
            assert not torch.allclose(here[0], there[0])
            assert not torch.allclose(here[0], model.step(t, z.flip(0), x).base_dist.logits[0])


def test_the_loss_is_the_sum_of_its_steps() -> None:
    """Each pays for its own code; of one step it is a VAE's."""
    x = torch.tensor([[[[0, 1], [2, 0]]], [[[2, 1], [0, 2]]]])
    single = chain(FORMS["grey"], steps=1)
    with seeded(1), torch.no_grad():
        losses = torch.stack([single.loss(x.repeat(500, 1, 1, 1))["loss"] for _ in range(10)])
        bounds = torch.stack([-single.terms(x, seed=seed).bound.mean() for seed in range(200)])
    error = (losses.var() / 10 + bounds.var() / 200).sqrt()
    assert abs(float(losses.mean() - bounds.mean())) < 4 * float(error)
    with torch.no_grad():
        found = chain(FORMS["grey"]).loss(x)
    assert float(found["loss"]) > float(found["reconstruction"] + found["kl"])


@pytest.mark.parametrize(
    ("kind", "form"),
    [("bernoulli", "rgb"), ("categorical", "grey"), ("discretised-logistic", "wide"),
     ("logistic-mixture", "wide"), ("gaussian", "plane")],
)  # fmt: skip
def test_keyed_draws_are_of_their_distribution(kind: Observation, form: str) -> None:
    spec, n = FORMS[form], 20_000
    with seeded(3):
        raw = torch.randn(1, *spec.event_shape, observations.parameters(kind, spec))
    values: Distribution = observations.distribution(
        kind, raw.expand(n, *raw.shape[1:]).double(), spec
    )
    drawn = observations.placed(values, keyed_uniform(torch.arange(n), (*spec.event_shape, 2)))
    with seeded(4):
        others = values.sample()
    for place in range(spec.dims):
        a, b = (each.flatten(1)[:, place].double() for each in (drawn, others))
        if spec.levels is None:
            assert abs(float(a.mean() - b.mean())) < 5 * float(b.std()) * (2 / n) ** 0.5
            assert float(a.std() / b.std()) == pytest.approx(1, abs=0.03)
            continue
        for level in range(spec.levels):
            p = float((b == level).double().mean())
            error = (2 * max(p * (1 - p), 1 / n) / n) ** 0.5
            assert abs(float((a == level).double().mean()) - p) < 5 * error


def test_no_step_is_refused() -> None:
    with pytest.raises(sim.UsageError, match="steps is positive, got 0"):
        sim.build("sequential-vae", BITS, {"steps": 0})
