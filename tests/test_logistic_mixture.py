"""Mixtures of discretised logistics, against torch's mixtures and their own draws."""

import itertools

import pytest
import torch
from scipy import stats
from torch.distributions import Categorical, MixtureSameFamily

from simulacra.ground.randomness import seeded
from simulacra.nn.distributions import DiscretisedLogistic
from simulacra.nn.logistic_mixture import DiscretisedLogisticMixture

DTYPES = [torch.float32, torch.float64]


def mixture(levels, dtype=torch.float64, batch=(5, 3), components=4, spread=1.0):
    with seeded(0):
        logits, loc, scale = torch.randn(3, *batch, components, dtype=dtype)
    return DiscretisedLogisticMixture(
        logits * 2, (loc * spread + 0.5) * levels, (scale * spread).exp() * levels / 8, levels,
        # compiling a model turns the usual checks off in the whole process
        validate_args=True,
    )  # fmt: skip


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
def test_it_is_torchs_mixture(levels):
    own = mixture(levels)
    components = DiscretisedLogistic(own.loc, own.scale, levels)
    theirs = MixtureSameFamily(Categorical(logits=own.logits), components, validate_args=False)
    for level in {0, 1, levels // 2, levels - 1}:
        value = torch.full(own.batch_shape, level)
        torch.testing.assert_close(own.log_prob(value), theirs.log_prob(value))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("levels", "spread"), list(itertools.product([2, 3, 17, 256], [1.0, 4.0])))
def test_all_levels_at_once_are_each_of_them(levels, spread, dtype):
    own = mixture(levels, dtype, spread=spread)
    at_once = own.level_log_probs()
    each = torch.stack([own.log_prob(torch.full(own.batch_shape, k)) for k in range(levels)], -1)
    assert at_once.shape == (5, 3, levels)
    assert at_once.dtype == dtype
    near = 1e-4 if dtype == torch.float32 else 1e-11
    torch.testing.assert_close(at_once, each, rtol=near, atol=near)
    gap = float((at_once.exp().sum(-1) - 1).abs().max())
    assert gap < (2e-6 if dtype == torch.float32 else 1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
def test_far_levels_keep_their_logarithm(dtype):
    own = DiscretisedLogisticMixture(
        torch.zeros(2, dtype=dtype), torch.tensor([10.5, 12.5], dtype=dtype), torch.tensor(0.1), 256
    )
    far = own.level_log_probs()[255]
    torch.testing.assert_close(far, own.log_prob(torch.tensor(255)))
    assert float(far) < -2400


def test_draws_are_as_likely_as_they_should_be():
    own = mixture(5, batch=(2,))
    n = 20_000
    with seeded(1):
        drawn = own.sample((n,))
    assert drawn.shape == (n, 2)
    assert drawn.dtype == torch.int64
    for column, p in zip(drawn.T, own.level_log_probs().exp(), strict=True):
        counts = torch.bincount(column, minlength=5)
        assert stats.chisquare(counts.numpy(), (p / p.sum() * n).numpy()).pvalue > 1e-4


def test_what_is_not_finite_comes_through():
    broken = torch.full((3,), torch.nan)
    own = DiscretisedLogisticMixture(broken, broken, broken, 4, validate_args=False)
    assert bool(own.log_prob(torch.tensor(1)).isnan())
    assert bool(own.level_log_probs().isnan().all())


def test_levels_outside_are_refused():
    with pytest.raises(ValueError, match="support"):
        mixture(4).log_prob(torch.full((5, 3), 4))


def test_components_are_shared_by_broadcasting():
    own = DiscretisedLogisticMixture(torch.zeros(3), torch.zeros(2, 1, 3), torch.ones(1), 4)
    assert own.batch_shape == (2, 1)
    assert own.log_prob(torch.zeros(2, 1).long()).shape == (2, 1)
