"""Laws of codes that are entries of a codebook: what they are, what they cost, how they move."""

from __future__ import annotations

import torch

from simulacra.ground.randomness import seeded
from simulacra.models.lawbook.law import Law, hold
from simulacra.models.lawbook.trials import contexts, observations
from simulacra.models.quantised import Quantised


@torch.no_grad()
def codes_are_entries(model: Quantised) -> None:
    """As many different vectors as indices, each decoded as what lies near to it is."""
    x, told = observations(model, 12), contexts(model, 12)
    codes, terms = model.encode(x, told), model.codebook_terms(x, told)
    places = codes[0, 0].numel()
    found = tuple(terms.indices.shape)
    hold(found == (12, places), f"indices are {found}, of 12 observations of {places} places")
    low, high = int(terms.indices.min()), int(terms.indices.max())
    within = low >= 0 and high < model.codebook_size
    hold(within, f"indices go from {low} to {high}, of {model.codebook_size} entries")
    vectors = codes.flatten(2).movedim(1, 2).reshape(-1, codes.shape[1])
    same = (vectors[:, None] - vectors).abs().amax(2) == 0
    flat = terms.indices.flatten()
    hold(bool((same == (flat[:, None] == flat)).all()), "an index has several vectors, or none")
    near = codes + 1e-4 * codes.std().clamp_min(1e-3) * torch.randn_like(codes)
    again = [model.decode(each, told) for each in (codes, near)]
    hold(torch.equal(*again), "a vector beside an entry is not decoded as that entry")
    # and what is drawn is made of entries as well: going to the nearest moves none of them
    with seeded(0):
        drawn = model.prior(12, told)
    hold(drawn.shape == codes.shape, f"codes drawn are {tuple(drawn.shape)}, of observations "
         f"{tuple(codes.shape)}")  # fmt: skip


@torch.no_grad()
def terms_cost(model: Quantised) -> None:
    """Distortion and rate are of each observation alone, no rate is below 0, chance is in none."""
    x, told = observations(model, 6), contexts(model, 6)
    with seeded(0):
        whole = model.codebook_terms(x, told)
    with seeded(1):
        alone = model.codebook_terms(x[2:3], None if told is None else told[2:3])
    for what in ("distortion", "rate", "total"):
        values = getattr(whole, what)
        hold(tuple(values.shape) == (6,), f"of 6 observations {what} is {tuple(values.shape)}")
        near = torch.allclose(getattr(alone, what)[0], values[2], rtol=1e-4, atol=1e-4)
        hold(near, f"the {what} of an observation depends on chance, or on those beside it")
    hold(bool((whole.rate >= 0).all()), f"a code costs {float(whole.rate.min()):.4f} nats, below 0")


LAWS = (
    Law("entries", Quantised, codes_are_entries, ("picture", "colour-picture", "sequence")),
    Law("terms of a codebook", Quantised, terms_cost, ("picture", "palette", "sequence")),
)
