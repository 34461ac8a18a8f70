"""Laws of games: what is generated is what is decoded, and scores are of each alone."""

from __future__ import annotations

import torch

from simulacra.ground.randomness import seeded
from simulacra.models.game import Game
from simulacra.models.lawbook.law import Law, hold
from simulacra.models.lawbook.trials import contexts, observations
from simulacra.nn.levels import to_levels
from simulacra.nn.precision import double


def plays(model: Game) -> None:
    """Both players are there, gradients reach a code, and scores are of each observation alone."""
    x, told = observations(model, 6), contexts(model, 6)
    turns = set(model.turns)
    hold(turns == {model.opponent, "generator"}, f"its turns are {sorted(turns)}, and its opponent "
         f"is the {model.opponent}")  # fmt: skip
    hold(model.kept == ("generator",), f"it keeps the average of {model.kept}, not the generator's")
    with seeded(0):
        z = model.prior(6, told).requires_grad_()
    y = model.generate(z, told)
    hold(y.shape == x.shape, f"of 6 codes it generates {tuple(y.shape)}")
    with torch.no_grad():
        same = torch.equal(to_levels(y, model.spec.levels), model.decode(z, told))
    hold(same, "what is decoded is not what was generated, rounded down")
    (slope,) = torch.autograd.grad(double(y).square().sum(), z)
    hold(bool((slope != 0).any(1).all()), "no gradient reaches a code")
    with torch.no_grad():
        scores, features = model.scores(x, told), model.features(x)
        alone = model.scores(x[2:3], None if told is None else told[2:3]), model.features(x[2:3])
    hold(tuple(scores.shape) == (6,), f"of 6 observations come scores {tuple(scores.shape)}")
    whole = features.ndim == 2 and len(features) == 6
    hold(whole, f"of 6 observations come features {tuple(features.shape)}")
    near = [
        torch.allclose(a[0], b[2], rtol=1e-4, atol=1e-5)
        for a, b in zip(alone, (scores, features), strict=True)
    ]
    hold(all(near), "what the opponent sees depends on what else is in its batch")


LAWS = (Law("game", Game, plays, ("picture", "colour-picture", "vectors", "sequence")),)
