"""M2: its bound against one class at a time, batches with few labels, classifier and styles."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from laws import randomise
from learning import equal, training, values
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.labelled import balanced, labelled
from simulacra.data.labels import joint_classes
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.latent.m2 import M2
from simulacra.models.latent.vae import VAE
from simulacra.models.model import Model
from simulacra.tasks.classify import classify, own_log_probabilities
from simulacra.tasks.styles import styles
from simulacra.training.batches import Told

SPEC = DataSpec((1, 3, 3), 2, classes=4)
PARTS = DataSpec((1, 3, 3), 2, classes=6, parts=(("digit", 3), ("hand", 2)))


def model(spec: DataSpec = SPEC, **keywords: Any) -> M2:
    with seeded(0):
        return randomise(M2(spec, **{"latent": 2, "hidden": (6,), "alpha": 3.0} | keywords))


def bits(n: int) -> Tensor:
    with seeded(1):
        return torch.randint(2, (n, 1, 3, 3))


def each_class(own: M2, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """−log p(x | y, z) and KL(q(z | x, y) ‖ p(z)) of every class, by the VAE that is told it."""
    found = [own.parts(x, torch.full((len(x),), y), noise)[0] for y in range(own.spec.classes)]
    return torch.stack([t.distortion for t in found], 1), torch.stack([t.kl for t in found], 1)


@torch.no_grad()
def test_the_loss_is_that_of_the_paper() -> None:
    """Equations 6 to 9, written down once more with one class after another."""
    own, x, y = model(), bits(5), torch.tensor([2, -1, 0, -1, -1])
    with seeded(3):
        found = own.loss(x, y)
    with seeded(3):
        noise = own.noise(5)
    distortion, kl = each_class(own, x, noise)
    bound = distortion + kl + math.log(4)
    q = own.class_log_probabilities(x)
    unlabelled = (q.exp() * (bound + q)).sum(1)
    told = y >= 0
    rows = torch.where(told, bound.gather(1, y.clamp_min(0)[:, None])[:, 0], unlabelled)
    classifier = -q[told].gather(1, y[told][:, None]).mean()
    assert found["loss"].item() == pytest.approx((rows.mean() + 3 * classifier).item(), rel=1e-5)
    assert found["classifier"].item() == pytest.approx(classifier.item(), rel=1e-5)


@torch.no_grad()
def test_what_is_chosen_by_is_the_loss_of_each_row() -> None:
    own, x, y = model(), bits(6), torch.tensor([2, -1, 0, 1, 3, 2])
    found = own.validation_loss(x, y)
    assert found.shape == (6,)
    hidden = own.validation_loss(x, torch.full((6,), -1))
    assert hidden[1] == pytest.approx(found[1].item(), rel=1e-5)
    terms = own.terms(x, y)
    q = own.class_log_probabilities(x)[0, 2]
    whole = -terms.bound[0] + math.log(4) - 3 * q
    assert found[0].item() == pytest.approx(whole.item(), rel=1e-5)


@torch.no_grad()
def test_an_untold_label_is_the_mean_over_classes_and_not_nothing_told() -> None:
    own, x = model(), bits(7)
    each = torch.stack([own.log_likelihood(x, torch.full((7,), y), draws=3) for y in range(4)])
    untold = own.log_likelihood(x, torch.full((7,), -1), draws=3)
    torch.testing.assert_close(untold, each.logsumexp(0) - math.log(4))


@torch.no_grad()
def test_of_several_parts_those_that_are_told_leave_so_many_classes() -> None:
    own, x = model(PARTS), bits(4)
    labels = torch.tensor([[1, -1], [-1, 0], [2, 1], [-1, -1]])
    found = own.log_likelihood(x, labels, draws=2)
    for row, left in enumerate(([[1, 0], [1, 1]], [[0, 0], [1, 0], [2, 0]], [[2, 1]])):
        each = torch.stack(
            [own.log_likelihood(x[row : row + 1], torch.tensor([y]), draws=2)[0] for y in left]
        )
        expected = each.logsumexp(0) - math.log(len(left))
        assert found[row].item() == pytest.approx(expected.item(), rel=1e-4)
    # and the classifier pays for the part that is told
    q = own.class_log_probabilities(x).exp()
    known = torch.stack([q[0, 2:4].sum(), q[1, ::2].sum(), q[2, 5]]).log()
    assert own.loss(x, labels)["classifier"].item() == pytest.approx(-known.mean().item(), rel=1e-4)


@torch.no_grad()
def test_terms_of_what_is_not_told_bound_its_likelihood() -> None:
    own, x, untold = model(PARTS), bits(8), torch.tensor([[-1, 1]]).expand(8, 2)
    bound = torch.stack([own.terms(x, untold, seed=s).bound for s in range(40)]).mean(0)
    tight = own.log_likelihood(x, untold, draws=300)
    assert bool((bound < tight + 0.1).all())


@torch.no_grad()
def test_without_a_label_decoding_draws_a_class_and_encoding_recognises_one() -> None:
    own, untold = model(), torch.full((400,), -1)
    x = bits(1).expand(400, 1, 3, 3)
    with seeded(4):
        z = own.prior(1).expand(400, 2)
        values = own.likelihood(z, untold).base_dist.probs.flatten(1)
    told = torch.stack([own.likelihood(z[:1], torch.tensor([y])).base_dist.probs.flatten()
                        for y in range(4)])  # fmt: skip
    nearest = (values[:, None] - told).abs().sum(2)
    assert bool((nearest.min(1).values < 1e-5).all())
    assert min(nearest.argmin(1).bincount(minlength=4).tolist()) > 60
    likeliest = own.class_log_probabilities(x[:1]).argmax(1)
    torch.testing.assert_close(own.encode(x[:1], untold[:1]), own.encode(x[:1], likeliest))


def test_completing_without_a_label_takes_the_class_that_fits() -> None:
    """Where half of a picture says the class, the hidden half is that class's."""
    own = model(hidden=(), latent=1)
    ends = torch.tensor([-12.0, 12.0, -12.0, 12.0])
    left = torch.tensor([-12.0, -12.0, 12.0, 12.0])
    with torch.no_grad():
        # pixels 0 to 5 say two bits of the class, the last three repeat one of them
        for parameter in own.parameters():
            parameter.zero_()
        own.context_features.embed.weight[:, :4] = torch.eye(4)
        own.decoding.layers[-1].weight[:3, 1:5] = ends
        own.decoding.layers[-1].weight[3:6, 1:5] = left
        own.decoding.layers[-1].weight[6:, 1:5] = ends
    x = torch.zeros((40, 1, 3, 3), dtype=torch.long)
    x[20:, :, 0], x[::2, :, 1] = 1, 1
    observed = torch.ones((1, 3, 3), dtype=torch.bool)
    observed[:, 2] = False
    with seeded(0):
        drawn = own.complete(x, observed, torch.full((40,), -1))
    right = (drawn[:, 0, 2] == x[:, 0, 0]).all(1).float().mean()
    assert right > 0.9


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"context": "none"}, "context='label'"),
        ({"context": "vector"}, "context='label'"),
        ({"alpha": -1.0}, "alpha is not negative"),
        ({"told": 1.0}, "told is from 0"),
        ({"classifier": "cnn"}, "classifier is one of"),
    ],
)
def test_what_it_refuses(keywords: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        M2(SPEC, **keywords)


def test_data_without_labels_are_refused() -> None:
    with pytest.raises(MissingCapability, match="needs data with labels"):
        M2(replace(SPEC, classes=0))


# ---- few labels ---------------------------------------------------------------------------------


def some(spec: DataSpec = SPEC, n: int = 300) -> Dataset:
    """Pictures of which each class has its own row of pixels lit, and noise elsewhere."""
    with seeded(7):
        classes = torch.arange(n) % spec.classes
        x = (torch.rand(n, 1, 3, 3) < 0.15).long()
    for row in range(min(3, spec.classes)):
        x[classes == row, :, row] = 1
    own = Observations(x.to(torch.uint8), spec.labels(classes))
    places = torch.arange(n).split([n // 3] * 3)
    return Dataset("rows", spec, *(own.take(rows) for rows in places))


def test_labels_are_told_of_as_many_of_each_class_as_can_be() -> None:
    classes = torch.tensor([0] * 50 + [1] * 3 + [2] * 20 + [-1] * 9)
    rows = balanced(classes, 0)
    assert sorted(rows.tolist()) == list(range(73))
    assert classes[rows[:6]].bincount().tolist() == [2, 2, 2]
    assert classes[rows[:13]].bincount().tolist() == [5, 3, 5]
    assert not torch.equal(balanced(classes, 1)[:6], rows[:6])


@pytest.mark.parametrize("spec", [SPEC, PARTS])
def test_few_labels_are_those_of_a_part_of_the_training_split(spec: DataSpec) -> None:
    whole = some(spec)
    few = labelled(whole, 2 * spec.classes)
    told = joint_classes(few.train, spec)
    assert told is not None
    assert few.train.context is not None
    assert whole.train.context is not None
    kept = (told >= 0).nonzero()[:, 0]
    assert told[kept].bincount().tolist() == [2] * spec.classes
    assert torch.equal(few.train.context[kept], whole.train.context[kept])
    hidden = few.train.context[told < 0]
    assert bool((hidden == -1).all())
    # or the best step would be chosen by more labels than a model learns from
    assert few.validation.context is not None
    assert bool((few.validation.context == -1).all())
    assert few.test is whole.test
    assert f"{2 * spec.classes} training labels of 100 told" in few.notes[-1]
    more = joint_classes(labelled(whole, 3 * spec.classes).train, spec)
    assert more is not None
    assert bool((more[kept] >= 0).all()), "more labels tell those that fewer tell"
    assert few.fingerprint != whole.fingerprint


def test_labels_that_are_not_there_are_not_told() -> None:
    with pytest.raises(UsageError, match="at most 100"):
        labelled(some(), 101)
    bare = some()
    bare = replace(bare, spec=replace(SPEC, classes=0), train=replace(bare.train, context=None))
    with pytest.raises(UsageError, match="rows has none"):
        labelled(bare, 4)


def test_each_batch_has_observations_with_a_label() -> None:
    told = Told(torch.tensor([-1] * 90 + [0] * 10), 16, 0.25)
    # chance brings a tenth of the others
    assert told.count == 3
    rows = told.rows(0, 5)
    assert bool((rows >= 90).all())
    assert len(rows.unique()) == 3
    assert torch.equal(rows, told.rows(0, 5))
    assert not torch.equal(rows, told.rows(0, 6))
    assert Told(torch.zeros(10), 16, 0.25).count == 0
    assert Told(torch.full((10,), -1), 16, 0.25).count == 0
    scarce = Told(torch.tensor([-1] * 98 + [0] * 2), 16, 0.5)
    assert scarce.rows(0, 0).bincount()[98:].tolist() == [4, 4]
    assert Told(torch.tensor([-1] * 98 + [0] * 2), 2, 0.99).count == 1


def test_few_labels_teach_what_all_pictures_show() -> None:
    """And training in two parts is training in one."""
    data = labelled(some(replace(SPEC, classes=3)), 3)
    keywords = {"latent": 1, "hidden": (16,), "alpha": 3.0}
    learning = training("m2", data, 90, keywords=keywords, lr=1e-2, batch=32)
    x, context = learning.batches.at(0)
    assert (len(x), int((context >= 0).sum() >= 8)) == (32, 1)
    for _ in learning:
        pass
    learning.settle()
    own = learning.averaged.eval()
    assert isinstance(own, M2)
    truth = joint_classes(some(replace(SPEC, classes=3)).test, data.spec)
    found = own_log_probabilities(own, data.test).argmax(1)
    assert (found == truth).float().mean() > 0.9
    again = training("m2", data, 12, keywords=keywords, lr=1e-2, batch=32)
    first = training("m2", data, 12, keywords=keywords, lr=1e-2, batch=32)
    for _ in again:
        pass
    for record in first:
        if record.step == 6:
            break
    second = training("m2", data, 12, keywords=keywords, lr=1e-2, batch=32)
    second.load_state_dict(first.state_dict())
    for _ in second:
        pass
    assert equal(values(second.model), values(again.model))


# ---- what is done with it -----------------------------------------------------------------------


def test_it_classifies_by_its_own_classifier() -> None:
    own, x = model(), bits(9)
    found = classify(own, x, torch.full((4,), 0.25), draws=2)
    torch.testing.assert_close(
        found.probabilities, own.class_log_probabilities(x).detach().double().exp()
    )
    with torch.no_grad():
        untold = own.log_likelihood(x, torch.full((9,), -1), draws=2)
    torch.testing.assert_close(found.log_likelihood, untold.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["m2", "vae"])
def test_a_style_is_a_code_in_every_class(kind: str) -> None:
    own: Model = model()
    if kind == "vae":
        own = randomise(VAE(SPEC, latent=2, hidden=(6,), context="label"))
    x, y = bits(3), torch.tensor([1, 3, 0])
    found = styles(own, x, y)
    assert found.shape == (3, 5, 1, 3, 3)
    assert torch.equal(found[:, 0], x.float())
    with torch.no_grad():
        z = own.encode(x, y)
        third = own.likelihood(z, torch.full((3,), 2)).base_dist.probs
    torch.testing.assert_close(found[:, 3], third)


def test_styles_need_a_label_beside_the_code() -> None:
    with pytest.raises(MissingCapability, match="context=label"):
        styles(VAE(SPEC, latent=2, hidden=(6,)), bits(2), torch.tensor([0, 1]))
    with pytest.raises(UsageError, match="got none"):
        styles(model(), bits(2), None)


@torch.no_grad()
def test_a_classifier_that_says_no_number_shows_in_the_bound() -> None:
    own, x = model(), bits(4)
    for weight in own.classifying.parameters():
        weight.fill_(math.nan)
    untold = torch.full((4,), -1)
    assert bool(own.terms(x, untold).bound.isnan().all())
    assert bool(own.loss(x, untold)["loss"].isnan())


def test_styles_are_of_a_decoder_that_is_told_the_label() -> None:
    own = registry.build("vqvae", DataSpec((1, 8, 8), 4, classes=3), {
        "context": "label", "codes": 8, "channels": 8,
        "prior": {"name": "made", "keywords": {"hidden": (8,)}},
    })  # fmt: skip
    with pytest.raises(MissingCapability, match="tells a label to its prior, and decodes without"):
        styles(own, torch.zeros(2, 1, 8, 8).long(), torch.tensor([0, 1]))
