"""`bernoulli-mixture`: sweeps against a plain loop, what they climb, and what it refuses."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.mixture.bernoulli_mixture import BernoulliMixture
from simulacra.models.registry import build

SPEC = DataSpec((1, 2, 3), 2, classes=2)


def pictures(n: int = 60) -> Tensor:
    """Two kinds of pictures, of which each pixel differs now and then."""
    with seeded(0):
        kinds = torch.tensor([[0, 0, 0, 1, 1, 1], [1, 0, 1, 0, 1, 0]])
        flips = torch.rand(n, 6) < 0.15
        return (kinds[torch.randint(2, (n,))] ^ flips.long()).view(n, 1, 2, 3)


def prepared(x: Tensor, **keywords: object) -> BernoulliMixture:
    with seeded(1):
        model = BernoulliMixture(SPEC, components=3, tolerance=0.0, **keywords).double()  # type: ignore[arg-type]
        model.prepare(x)
    return model


def test_a_sweep_is_that_of_a_plain_loop() -> None:
    x = pictures()
    model = prepared(x, prior=2.0)
    chances, weights = model.means.tolist(), model.mixing.shares.tolist()
    rows = x.flatten(1).tolist()
    pooled = [(sum(row[d] for row in rows) + 0.5) / (len(rows) + 1) for d in range(6)]
    mass, ones, bound = [0.0] * 3, [[0.0] * 6 for _ in range(3)], 0.0
    for row in rows:
        joint = [
            weights[k]
            * math.prod(p if on else 1 - p for p, on in zip(chances[k], row, strict=True))
            for k in range(3)
        ]
        bound += math.log(sum(joint))
        for k in range(3):
            share = joint[k] / sum(joint)
            mass[k] += share
            for d, on in enumerate(row):
                ones[k][d] += share * on
    told = model.update([(x[:25], None), (x[25:], None)])
    prior = 2 * sum(
        m * math.log(p) + (1 - m) * math.log(1 - p)
        for each in chances
        for m, p in zip(pooled, each, strict=True)
    )
    assert told["loss"] == pytest.approx(-(bound + prior) / len(rows))
    expected = [[(ones[k][d] + 2 * pooled[d]) / (mass[k] + 2) for d in range(6)] for k in range(3)]
    assert torch.allclose(model.means, torch.tensor(expected).double(), atol=1e-12)
    shares = torch.tensor(mass).double() / len(rows)
    assert torch.allclose(model.mixing.shares, shares, atol=1e-12)


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_no_sweep_loses(prior: float) -> None:
    x = pictures(200)
    model = prepared(x, prior=prior)
    losses = [model.update([(x, None)])["loss"] for _ in range(25)]
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(losses))
    assert losses[-1] < losses[0] - 0.01


def test_the_probabilities_of_all_pictures_sum_to_one() -> None:
    x = pictures()
    x[..., -1] = 0
    every = torch.tensor(list(itertools.product((0, 1), repeat=6))).view(64, 1, 2, 3)
    for prior in (0.0, 1.0):
        model = prepared(x, prior=prior)
        model.update([(x, None)])
        score = model.log_likelihood(every).detach()
        # what was never seen is not impossible
        assert bool(score.isfinite().all())
        assert float(score.logsumexp(0)) == pytest.approx(0, abs=1e-9)


def test_two_levels_need_no_order_and_more_are_refused() -> None:
    palette = DataSpec((1, 2, 3), 2, ordered=False)
    model = build("bernoulli-mixture", palette, {"components": 2})
    model.prepare(pictures())
    assert model.loss(pictures())["loss"].isfinite()
    for wrong, words in (
        (DataSpec((1, 2, 3), 17), "needs 2 levels, these have 17: use gmm"),
        (DataSpec((3,), None), "these are vectors"),
    ):
        with pytest.raises(MissingCapability, match=words):
            build("bernoulli-mixture", wrong)
    with pytest.raises(UsageError, match="prior is at least 0"):
        BernoulliMixture(SPEC, prior=-1.0)
