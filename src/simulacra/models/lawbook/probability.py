"""Laws of likelihoods, and of samples and completions where a likelihood says what they are."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from simulacra.ground.randomness import seeded
from simulacra.models.lawbook.averaged import probabilities
from simulacra.models.lawbook.densities import draws_from_its_density, integrates_to_one
from simulacra.models.lawbook.law import Law, hold
from simulacra.models.lawbook.trials import (
    agree,
    contexts,
    drawn_from,
    observations,
    one_context,
    precision_of,
    states,
)
from simulacra.models.model import Completion, Likelihood, Model, Sampling

_DRAWS = 100_000
"""Samples that are counted; of completions half as many."""

_SEEDS, _LOT, _SURE = 64, 8, 0.01
"""Of a bound, which is random: lots of seeds until its mean is known so well, or so many."""


@torch.no_grad()
def sums_to_one(model: Likelihood) -> None:
    """Exact: Σ p(x) = 1, in float64 too. A bound: its expected sum is at most 1.

    Where draws are averaged, the sum of the exponentials of their means.
    """
    x = states(model)
    told = one_context(model, len(x))
    if model.exact:
        own = precision_of(model)
        for dtype in dict.fromkeys((own, torch.float64)):
            total = float(model.to(dtype).log_likelihood(x, told).double().exp().sum())
            hold(abs(total - 1) < (1e-10 if dtype == torch.float64 else 1e-5), f"sums to {total}")
        model.to(own)
        return
    if model.averaged:
        p, errors = probabilities(model, x, told)
        mean, error = float(p.sum()), 4 * float(errors.square().sum().sqrt())
        hold(mean <= 1 + error, f"sums to {mean:.4f} ± {error:.4f}")
        return
    totals: list[Tensor] = []
    error = math.inf
    while len(totals) < _SEEDS and not error < _SURE:
        for seed in range(len(totals), min(len(totals) + _LOT, _SEEDS)):
            totals.append(model.log_likelihood(x, told, seed=seed).double().exp().sum())
        error = 4 * float(torch.stack(totals).std()) / len(totals) ** 0.5
    mean = float(torch.stack(totals).mean())
    hold(mean <= 1 + error + 1e-9, f"sums to {mean:.4f} ± {error:.4f}")
    hold(mean > 0.01, "a bound this loose says nothing")


def exactly_and_draws(model: Likelihood) -> bool:
    """Whether a model says by an exact likelihood what its samples are."""
    return isinstance(model, Sampling) and model.exact


@torch.no_grad()
def samples_as_it_says(model: Likelihood, p: Tensor | None = None) -> None:
    """χ² of 100,000 draws against the likelihood, over a tiny space."""
    if not isinstance(model, Sampling):
        return
    x = states(model)
    p = model.log_likelihood(x, one_context(model, len(x))).double().exp() if p is None else p
    with seeded(7):
        drawn = drawn_from(model, _DRAWS)
    agree(model, drawn, p, "samples disagree with the likelihood")


def half(model: Model) -> Tensor:
    """A mask of the first half of the values, by rows, by pixels, then by colours."""
    indices = torch.arange(model.spec.dims).view(model.spec.event_shape)
    order = (indices.permute(1, 2, 0) if model.spec.is_image else indices).flatten()
    observed = torch.zeros(model.spec.dims, dtype=torch.bool)
    observed[order[: model.spec.dims // 2]] = True
    return observed.view(model.spec.event_shape)


def completes_exactly(model: Completion) -> bool:
    """Whether a model says by an exact likelihood what its completions are."""
    return isinstance(model, Likelihood) and model.exact and model.completes_exactly(half(model))


@torch.no_grad()
def completes_by_its_conditional(model: Completion) -> None:
    """Where a completion claims to be exact: χ² against p(x) / Σ_hidden p(x)."""
    hold(completes_exactly(model), "it does not claim to complete exactly")
    assert isinstance(model, Likelihood)
    x, observed = states(model), half(model)
    given = x[len(x) // 3]
    matches = (x == given)[:, observed].all(1)
    p = model.log_likelihood(x, one_context(model, len(x))).double().exp() * matches
    n = _DRAWS // 2
    with seeded(8):
        drawn = model.complete(given.expand(n, *given.shape), observed, one_context(model, n))
    hold(bool((drawn == given)[:, observed].all()), "an observed value changed")
    agree(model, drawn, p / p.sum(), "completions disagree with the conditional")


@torch.no_grad()
def scores_alone(model: Likelihood) -> None:
    """An observation's score is the same in every batch."""
    x, told = observations(model, 7), contexts(model, 7)
    together = model.log_likelihood(x, told, draws=3)
    alone = torch.cat(
        [
            model.log_likelihood(x[i : i + 1], None if told is None else told[i : i + 1], draws=3)
            for i in range(7)
        ]
    )
    # float32 has seven digits: a score of many nats a dimension is held to as many
    scale = (together.abs() / model.spec.dims).clamp_min(1)
    gap = float(((together - alone).abs() / scale).max()) / model.spec.dims
    hold(gap < 1e-5, f"a score differs by {gap:.1e} nat a dimension from that in another batch")


def has_weights(model: Model) -> bool:
    """Whether it has numbers that could be broken."""
    return any(value.is_floating_point() for value in (*model.parameters(), *model.buffers()))


@torch.no_grad()
def broken_weights_show(model: Likelihood) -> None:
    """Weights that are no numbers give scores that are none, and no exception: they count."""
    x, told = observations(model, 3), contexts(model, 3)
    for value in (*model.parameters(), *model.buffers()):
        if value.is_floating_point():
            value.fill_(torch.nan)
    scores = model.log_likelihood(x, told)
    hold(not bool(scores.isfinite().any()), "weights that are no numbers give a finite score")


LAWS = (
    # where there are many levels, a volume that is not counted makes a sum too large
    Law(
        "normalisation", Likelihood, sums_to_one, ("wide", "grey", "rgb", "sequence", "palette"),
        states=True,
    ),
    Law(
        "sampling", Likelihood, samples_as_it_says, ("grey", "rgb", "sequence", "palette"),
        exactly_and_draws, states=True,
    ),
    Law(
        "exact completion", Completion, completes_by_its_conditional, ("grey", "rgb"),
        completes_exactly, states=True,
    ),
    Law("score alone", Likelihood, scores_alone, ("picture", "colour-picture", "vectors")),
    # weights of the size of trained ones: larger ones make ridges that no rule integrates
    Law(
        "normalisation of vectors", Likelihood, integrates_to_one, ("plane",), states=True,
        scale=0.1,
    ),
    Law(
        "sampling of vectors", Likelihood, draws_from_its_density, ("plane",), exactly_and_draws,
        states=True, scale=0.1,
    ),
    Law(
        "broken weights", Likelihood, broken_weights_show,
        ("picture", "colour-picture", "vectors"), has_weights,
    ),
)  # fmt: skip
