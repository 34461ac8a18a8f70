"""Completing by importance resampling: towards the model's own conditional."""

import math

import pytest
import torch

import laws
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.autoregressive.pixelcnn import PixelCNN
from simulacra.tasks.complete import complete, mask, resample

GREY = DataSpec((1, 2, 2), 3, classes=3)
RGB = DataSpec((3, 1, 1), 3)
PICTURE = DataSpec((1, 4, 4), 4)


def small(spec=GREY, kind=PixelCNN, scale=0.5, **keywords):
    with seeded(0):
        model = kind(spec, channels=6, layers=1, first_kernel_size=3, **keywords)
        model.prepare(laws.observations(model, 8), laws.contexts(model, 8))
    laws.randomise(model, scale)
    return model


class WeighsTheHidden(PixelCNN):
    """Takes the whole likelihood for the weight, as if candidates were drawn evenly."""

    def resample(self, x, observed, context=None, *, candidates):
        every = torch.ones_like(observed)
        many = x.repeat_interleave(candidates, 0)
        drawn = self.complete(many, observed)
        log_w = self.conditionals(drawn).log_prob(drawn).where(every, 0).flatten(1).sum(1)
        w = log_w.view(len(x), candidates).softmax(1)
        chosen = torch.arange(len(x)) * candidates + w.multinomial(1)[:, 0]
        return drawn[chosen], 1 / w.square().sum(1)


class WeighsNothing(PixelCNN):
    def resample(self, x, observed, context=None, *, candidates):
        return self.complete(x, observed, context), torch.ones(len(x))


@pytest.mark.parametrize(
    ("spec", "keywords"), [(GREY, {}), (GREY, {"context": "label"}), (RGB, {})]
)
def test_candidates_lead_to_the_conditional(spec, keywords):
    laws.resamples_towards_its_conditional(small(spec, **keywords))


@pytest.mark.parametrize("kind", [WeighsTheHidden, WeighsNothing])
def test_the_law_sees_wrong_weights(kind):
    with pytest.raises(AssertionError, match="candidates are"):
        laws.resamples_towards_its_conditional(small(kind=kind))


@torch.no_grad()
def test_one_candidate_is_what_it_was():
    model, x = small(PICTURE), torch.randint(4, (5, 1, 4, 4))
    observed = mask((1, 4, 4), "top")
    with seeded(3):
        *_, plain = model.sample_steps(5, given=x, observed=observed.expand_as(x))
    with seeded(3):
        assert torch.equal(model.complete(x, observed), plain)
    with seeded(3):
        assert torch.equal(model.complete(x, observed, candidates=1), plain)


@torch.no_grad()
def test_a_mask_that_is_exact_needs_no_candidates(monkeypatch):
    model, x = small(PICTURE), torch.randint(4, (5, 1, 4, 4))
    monkeypatch.setattr(Autoregressive, "resample", None)
    observed = mask((1, 4, 4), "bottom")
    with seeded(3):
        plain = model.complete(x, observed)
    with seeded(3):
        assert torch.equal(model.complete(x, observed, candidates=9), plain)
    assert resample(model, x, observed, candidates=9)[1] is None


@torch.no_grad()
@pytest.mark.parametrize("at_once", [1, 28, 1000])
def test_weights_are_those_of_the_observed(monkeypatch, at_once):
    """Each row's effective number, from its own candidates, whatever is computed together."""
    monkeypatch.setattr("simulacra.models.autoregressive.base._AT_ONCE", at_once)
    model, x, labels = small(context="label"), torch.randint(3, (6, 1, 2, 2)), torch.arange(6) % 3
    drawn = []
    inner = PixelCNN.sample_steps

    def steps(self, n, context=None, **options):
        *_, last = inner(self, n, context, **options)
        drawn.append(last.clone())
        yield last

    monkeypatch.setattr(PixelCNN, "sample_steps", steps)
    # a mask of its own for each row
    observed = torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    completed, effective = model.resample(x, observed, labels, candidates=5)
    candidates = torch.cat(drawn).view(6, 5, 1, 2, 2)
    for i in range(6):
        kept = observed[i].expand(5, 1, 2, 2)
        assert torch.equal(candidates[i][kept], x[i].expand(5, 1, 2, 2)[kept])
        log_p = model.conditionals(candidates[i], labels[i].expand(5)).log_prob(candidates[i])
        w = torch.where(kept, log_p, 0).sum((1, 2, 3)).exp().double()
        expected = float(w.sum() ** 2 / w.square().sum())
        assert float(effective[i]) == pytest.approx(expected, rel=1e-4)
        assert (candidates[i] == completed[i]).flatten(1).all(1).any()
    assert bool((effective >= 1).all() and (effective <= 5).all())


class Impossible(PixelCNN):
    """A model that gives the observed values no chance, or is broken."""

    factor = math.inf

    def conditionals(self, x, context=None):
        found = super().conditionals(x, context)
        found.log_prob = lambda value: torch.full(value.shape, self.factor)
        return found


@torch.no_grad()
@pytest.mark.parametrize("value", [-math.inf, math.inf, math.nan])
def test_weights_that_are_not_finite_leave_the_choice_even(value):
    model = small(kind=Impossible)
    model.factor = value
    x, observed = torch.zeros(3, 1, 2, 2).long(), mask((1, 2, 2), "top")
    _, effective = model.resample(x, observed, candidates=4)
    assert effective.tolist() == pytest.approx([4.0] * 3)


def test_completions_are_resampled_with_their_labels_and_seed():
    model, x, labels = small(context="label"), torch.randint(3, (4, 1, 2, 2)), torch.arange(4) % 3
    arguments = {"times": 3, "candidates": 4, "context": labels}
    observed = mask((1, 2, 2), "left")
    first, effective = resample(model, x, observed, seed=1, **arguments)
    assert first.shape == (4, 3, 1, 2, 2)
    assert effective is not None
    assert 1 <= effective <= 4
    torch.rand(3)
    assert torch.equal(complete(model, x, observed, seed=1, **arguments), first)
    assert not torch.equal(complete(model, x, observed, seed=2, **arguments), first)


def test_what_cannot_be_weighed_is_refused():
    x, observed = torch.zeros(1, 1, 2, 2).long(), mask((1, 2, 2), "left")
    for number in (0, -1):
        with pytest.raises(UsageError, match=f"at least 1, got times=1, candidates={number}"):
            complete(small(), x, observed, candidates=number)
        with pytest.raises(UsageError, match=f"candidates is at least 1, got {number}"):
            small().complete(x, observed, candidates=number)
    mixture = registry.build("gmm", GREY, {"components": 2, "covariance": "full"})
    mixture.completes_exactly = lambda _: False
    with pytest.raises(MissingCapability, match=r"GMM predicts no value .* leave them at 1"):
        complete(mixture, x, observed, candidates=4)
