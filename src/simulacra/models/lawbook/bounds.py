"""Laws of bounds over codes: that their terms are the parts of what the likelihood says."""

from __future__ import annotations

import torch

from simulacra.models.bounded import Bounded
from simulacra.models.lawbook.law import Law, hold
from simulacra.models.lawbook.trials import contexts, observations

_SEEDS = 64


@torch.no_grad()
def terms_are_the_bound(model: Bounded) -> None:
    """−distortion − Σ rates is log p̂(x) with one draw, in the mean over seeds; no rate is below 0.

    A rate per unit that was summed, averaged or counted twice on the way shows here.
    """
    x, told = observations(model, 6), contexts(model, 6)
    first = model.terms(x, told, seed=3)
    units = model.encode(x, told).flatten(1).shape[1]
    shapes = tuple(first.distortion.shape), tuple(first.rates.shape)
    hold(shapes == ((6,), (6, units)), f"distortion and rates are {shapes} of {units} units")
    alone = model.terms(x[2:3], None if told is None else told[2:3], seed=3)
    same = torch.allclose(alone.rates[0], first.rates[2], rtol=1e-3, atol=1e-4) and torch.allclose(
        alone.distortion[0], first.distortion[2], rtol=1e-3, atol=1e-4
    )
    hold(same, "the terms of an observation depend on those beside it")
    terms = [model.terms(x, told, seed=seed) for seed in range(_SEEDS)]
    weights = torch.stack([model.log_likelihood(x, told, seed=s) for s in range(_SEEDS)]).double()
    bounds = torch.stack([each.bound for each in terms]).double()
    rates = torch.stack([each.rates for each in terms]).double()

    def within(apart: torch.Tensor) -> torch.Tensor:
        return 5 * apart.std(0) / _SEEDS**0.5 + 1e-4

    off = (bounds - weights).mean(0)
    worst = int((off.abs() / within(bounds - weights)).argmax())
    hold(
        bool((off.abs() <= within(bounds - weights)).all()),
        f"−distortion − rates is {float(off[worst]):+.4f} nats off log_likelihood with one draw, "
        f"over {_SEEDS} seeds",
    )
    low = rates.mean(0) + within(rates)
    hold(bool((low >= 0).all()), f"a unit costs {float(rates.mean(0).min()):.4f} nats, below 0")


LAWS = (
    Law("terms of a bound", Bounded, terms_are_the_bound, ("grey", "vectors", "sequence")),
)  # fmt: skip
