"""Memory of single observations, told from nearness to all of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simulacra.ground.errors import UsageError
from simulacra.judging.figures.membership import membership
from simulacra.judging.figures.novelty import novelty


def normal(seed, n, width=4, scale=1.0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, scale, (n, width)))


def test_equal_draws_have_a_standard_normal_score():
    """Over fresh training sets, others and samples alike."""
    scores = [
        membership(normal(3 * i, 300), normal(3 * i + 1, 150), normal(3 * i + 2, 150)).value
        for i in range(200)
    ]
    assert abs(np.mean(scores)) < 4 / 200**0.5
    assert 0.85 < np.std(scores) < 1.15


@pytest.mark.parametrize("scale", [0.3, 0.6, 2.0])
def test_sharper_draws_are_nearer_but_remember_nothing(scale):
    train, others, held = normal(0, 600), normal(1, 300), normal(2, 300)
    drawn = normal(3, 300, scale=scale)
    assert abs(membership(train, others, drawn).value) < 3
    if scale < 1:
        assert novelty(train, held, drawn)["c_t"].value < -3


def test_copies_are_remembered_and_copies_of_the_others_are_seen():
    train, others = normal(0, 600), normal(1, 300)
    assert membership(train, others, train[:300] + normal(2, 300, scale=0.01)).value > 8
    half = torch.cat([train[:150] + normal(2, 150, scale=0.01), normal(3, 150)])
    assert membership(train, others, half).value > 3
    assert membership(train, others, others + normal(2, 300, scale=0.01)).value < -8


def test_a_collapsed_model_says_nothing():
    """All samples near one held-out observation would pass for copies of held-out data."""
    train, others = normal(0, 900), normal(1, 100)
    assert membership(train, others, others[:1] + normal(2, 300, scale=0.001)) is None


def test_ties_are_broken_by_chance():
    """Where training and other rows are the same points, none is nearer."""
    points = normal(0, 200)
    score = membership(points, points, points + normal(1, 200, scale=0.01))
    assert abs(score.value) < 3


def test_the_variance_is_that_of_all_labellings():
    train, others, drawn = normal(0, 60), normal(1, 40), normal(2, 80, scale=0.7)
    pool = torch.cat([train, others])
    nearest = torch.cdist(drawn, pool).argmin(1).numpy()
    generator = np.random.default_rng(0)
    sums = []
    for _ in range(4000):
        labels = generator.permutation(100) < 60
        sums.append(labels[nearest].sum())
    score = membership(train, others, drawn)
    assert score.value == pytest.approx(((nearest < 60).sum() - 48) / np.std(sums), rel=0.05)


def test_too_few_are_refused():
    with pytest.raises(UsageError, match="at least 20 rows"):
        membership(normal(0, 100), normal(1, 19), normal(2, 50))
