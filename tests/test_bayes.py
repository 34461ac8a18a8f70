"""Bayes' rule over the classes of a conditional model."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.data.dataset import Observations
from simulacra.ground.errors import DataError, UsageError
from simulacra.ground.spec import DataSpec
from simulacra.tasks.bayes import (
    bounded_marginal,
    class_frequencies,
    log_marginal,
    log_posterior,
)


def of(classes: int) -> DataSpec:
    return DataSpec((1, 2, 2), 2, classes=classes)


HALF = torch.tensor([0.5, 0.5])


def test_frequencies_are_those_of_the_labels() -> None:
    x = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    frequencies = class_frequencies(Observations(x, torch.tensor([0, 2, 2, 2])), of(4))
    assert frequencies is not None
    assert frequencies.tolist() == [0.25, 0, 0.75, 0]
    assert class_frequencies(Observations(x), of(4)) is None
    assert class_frequencies(Observations(x, torch.randn(4, 2)), of(4)) is None
    assert class_frequencies(Observations(x, torch.tensor([0, 1, 1, 0])), of(0)) is None


def test_frequencies_are_part_of_bayes_rule():
    each = torch.tensor([[0.0, 1.0]])
    prior = torch.tensor([0.9, 0.1])
    by_hand = 0.9 / (0.9 + 0.1 * math.e)
    assert log_posterior(each, prior).exp()[0].tolist() == pytest.approx([by_hand, 1 - by_hand])
    far = log_posterior(torch.tensor([[-1e6, -1e6 - 3]]), HALF)
    assert far[0, 0] - far[0, 1] == pytest.approx(3)


def test_a_marginal_is_the_sum_over_the_classes():
    each = torch.tensor([[0.0, 1.0], [-1e6, -1e6], [-math.inf, 0.0]])
    found = log_marginal(each, torch.tensor([0.9, 0.1]))
    by_hand = [math.log(0.9 + 0.1 * math.e), -1e6, math.log(0.1)]
    assert found.tolist() == pytest.approx(by_hand, rel=1e-6)
    assert found.dtype == torch.float64
    absent = log_marginal(torch.tensor([[-2.0, -math.inf]]), torch.tensor([1.0, 0.0]))
    assert absent.tolist() == [-2.0]


def test_noisy_classes_are_not_summed_as_if_they_were_sure():
    """Estimates of log p(x | y): their log-sum-exp is too good, and what is printed is a bound."""
    prior = torch.tensor([0.5, 0.2, 0.3, 0.0]).double()
    true = torch.tensor([-10.0, -11.0, -10.5, -math.inf]).double()
    exact = float(log_marginal(true[None], prior))
    generator = torch.Generator().manual_seed(0)
    first, second = (
        true + 3 * torch.randn(4000, 4, generator=generator).double() for _ in range(2)
    )
    found = bounded_marginal(first, second, prior)
    error = 4 * float(found.std()) / len(found) ** 0.5
    assert float(found.mean()) < exact
    assert float(log_marginal(first, prior).mean()) > exact + error
    # with weights of the same noise it would be no bound either
    assert float(bounded_marginal(first, first, prior).mean()) > exact + error
    sure = true.expand(2, 4)
    assert bounded_marginal(sure, sure, prior).tolist() == pytest.approx([exact] * 2)
    odd = torch.tensor([[math.nan, -1.0, -1.0, -math.inf]])
    assert bounded_marginal(odd, odd, prior).isnan().all()


def test_two_classes_at_least():
    with pytest.raises(DataError, match="at least two classes in the training data"):
        log_posterior(torch.zeros(4, 3), torch.tensor([0.0, 1.0, 0.0]))
    with pytest.raises(UsageError, match=r"log-likelihoods \(N, 2\)"):
        log_posterior(torch.zeros(4, 3), HALF)
