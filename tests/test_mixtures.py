"""Mixtures: their two stages, weights by class, parts of the data, components that grow."""

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.mixture import binned
from simulacra.models.mixture.clusters import clusters
from simulacra.models.mixture.gmm import GMM, FullGMM
from simulacra.models.mixture.mixing import Mixing
from simulacra.models.stages import Stage
from simulacra.nn.distributions import DiscretisedNormal
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options

PAIR = DataSpec((2,), None)
LABELLED = DataSpec((2,), None, classes=3)
PARTS = DataSpec((2,), None, classes=6, parts=(("digit", 3), ("speaker", 2)))


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def learning(model: GMM, data: Dataset, budget: str, **options: object) -> Training:
    usual = {"device": "cpu", **registry.preset("gmm")}
    made = Training(model, data.train, data.validation, Options(**usual | options))  # type: ignore[arg-type]
    made.set_plan(Budget.parse(budget))
    return made


def pairs(n: int, seed: int = 0) -> Tensor:
    with seeded(seed):
        return torch.randn(n, 2) @ torch.tensor([[1.0, 0.6], [0.0, 0.5]]) + torch.randint(3, (n, 1))


# ---- against scikit-learn ------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_the_likelihood_is_scikit_learns(covariance: str) -> None:
    x = pairs(500)
    theirs = GaussianMixture(3, covariance_type=covariance[:4], random_state=0).fit(x.numpy())
    kind = FullGMM if covariance == "full" else GMM
    own = kind(PAIR, components=3, covariance=covariance).double()  # type: ignore[arg-type]
    with torch.no_grad():
        own.means.copy_(torch.from_numpy(theirs.means_))
        own.mixing.logits.copy_(torch.from_numpy(theirs.weights_).log())
        if isinstance(own, FullGMM):
            own.keep(torch.arange(3), torch.linalg.cholesky(torch.from_numpy(theirs.covariances_)))
        else:
            own.log_scales.copy_(0.5 * torch.from_numpy(theirs.covariances_).log())
        scores = own.log_likelihood(x.double()).numpy()
    np.testing.assert_allclose(scores, theirs.score_samples(x.double().numpy()), atol=1e-6)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_a_sweep_without_a_prior_is_scikit_learns(covariance: str) -> None:
    x = pairs(400)
    own = registry.build("gmm", PAIR, {"components": 2, "covariance": covariance, "prior": 0.0})
    assert isinstance(own, GMM)
    own.double()
    with seeded(0):
        own.prepare(x)
    y = ((x - own.shift) / own.scale).double()
    started = own.means.detach().clone().numpy()
    with torch.no_grad():
        shares = own.mixing.shares.numpy()
        if isinstance(own, FullGMM):
            factors = own.factors(slice(2), y)
            precisions = torch.linalg.inv(factors @ factors.mT).numpy()
        else:
            precisions = (-2 * own.log_scales).exp().numpy()
    theirs = GaussianMixture(
        2, covariance_type=covariance[:4], weights_init=shares, means_init=started,
        precisions_init=precisions, max_iter=1, reg_covar=1e-6, tol=0.0,
    )  # fmt: skip
    with pytest.warns(Warning, match="converge"):
        theirs.fit(y.numpy())
    own.update([(x[:150], None), (x[150:], None)])
    np.testing.assert_allclose(own.means.detach().numpy(), theirs.means_, atol=1e-5)
    np.testing.assert_allclose(own.mixing.shares.detach().numpy(), theirs.weights_, atol=1e-5)


# ---- two stages ----------------------------------------------------------------------------------


def test_the_rest_of_the_budget_climbs_what_is_printed(digits: Dataset) -> None:
    """Sweeps end at 2.2 bits per dimension, whatever their number; gradients go on from there."""
    with seeded(0):
        model = GMM(digits.spec, components=20)
    made = learning(model, digits, "120steps")
    records = list(made)
    swept = [each for each in records if each.stage == 0]
    assert len(swept) < 60, "sweeps converge, and leave their steps to what comes after"
    assert len(records) == 120
    best = [
        min(each.validation for each in records if each.stage == stage and each.validation)
        for stage in (0, 1)
    ]
    assert best[1] < best[0] - 2
    assert made.progress.best == best[1]


def test_a_stage_never_ends_worse_than_it_began(digits: Dataset) -> None:
    """Steps that only do harm are undone, though they are of a stage of their own."""
    with seeded(0):
        model = GMM(digits.spec, components=5)
    made = learning(model, digits, "30steps", lr=3.0, warmup=0, clip=0.0, ema=0.0)
    records = [each for each in made if each.validation is not None]
    swept = min(each.validation for each in records if each.stage == 0)
    assert min(each.validation for each in records if each.stage == 1) > swept
    assert made.progress.best == pytest.approx(swept, abs=1e-4)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_gradients_climb_the_posterior_that_sweeps_climb(covariance: str) -> None:
    """Where sweeps have converged on vectors, the gradient of the loss over all rows is none."""
    x = pairs(300) + 30.0 * (torch.arange(300) % 2)[:, None]
    kind = FullGMM if covariance == "full" else GMM
    model = kind(PAIR, components=2, covariance=covariance, tolerance=0.0)  # type: ignore[arg-type]
    model.double()
    with seeded(1):
        model.prepare(x)
    for _ in range(400):
        model.update([(x, None)])
    model.loss(x)["loss"].backward()
    # but for the floor of the variances, which is no prior: 1e-6 of each
    for name, weight in model.named_parameters():
        assert weight.grad is not None
        assert float(weight.grad.abs().max()) < 5e-5, name


@pytest.mark.parametrize(
    ("name", "keywords"), [("gmm", {}), ("gmm", {"covariance": "full"}), ("mfa", {"rank": 1})]
)
def test_steps_do_not_shrink_onto_a_value_that_never_varies(name: str, keywords: Any) -> None:
    """The variance of sweeps is the least one, else the density of a constant has no end."""
    x = torch.cat([pairs(200), torch.full((200, 1), 7.0)], 1)
    data, spec = Observations(x), DataSpec((3,), None)
    with seeded(0):
        model = registry.build(name, spec, {"components": 2, "prior": 0.0, **keywords})
    made = Training(model, data, data, Options(device="cpu", **registry.preset(name)))
    made.set_plan(Budget(70, "steps"))
    best = [min(r.validation for r in lot if r.validation is not None)
            for _, lot in itertools.groupby(made, lambda record: record.stage)]  # fmt: skip
    assert len(best) == 2
    assert best[1] > best[0] - 0.1


def test_full_covariances_are_not_built_by_accident() -> None:
    with pytest.raises(UsageError, match="FullGMM"):
        GMM(PAIR, covariance="full")
    assert type(registry.build("gmm", PAIR, {"covariance": "full"})) is FullGMM


@pytest.mark.parametrize("levels", [4, 200])
def test_masses_are_the_same_from_a_table_and_one_by_one(levels: int) -> None:
    spec = DataSpec((1, 3, 3), levels)
    with seeded(0):
        model = GMM(spec, components=4)
        x = torch.randint(levels, (300, *spec.event_shape))
        model.prepare(x)
        with torch.no_grad():
            together = model.log_likelihoods(x)
            alone = torch.cat([model.log_likelihoods(row) for row in x[:40].split(3)])
    torch.testing.assert_close(together[:40], alone, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_masses_by_erfc_are_those_of_the_plain_form(dtype: torch.dtype) -> None:
    """From the middle to far tails, at outer bins, of narrow and wide Gaussians."""
    levels = 256
    with seeded(0):
        loc = (torch.rand(60, 40) * 400 - 70).to(dtype)
        scale = torch.exp(torch.rand(60, 40) * 9 - 3).to(dtype)
        x = torch.randint(levels, (50, 40))
        x[:, :3], x[:, 3:6] = 0, levels - 1
    exact = DiscretisedNormal(loc.double(), scale.double(), levels, validate_args=False)
    for column in range(40):
        own = loc[:, column : column + 1], scale[:, column : column + 1]
        with torch.no_grad():
            found = binned._one_by_one(x[:, column : column + 1], *own, levels)
        wanted = exact.log_prob(x[:, None])[..., column]
        near = 2e-4 if dtype == torch.float32 else 1e-9
        torch.testing.assert_close(found.double(), wanted, rtol=near, atol=near)


def test_components_taken_some_at_a_time_have_the_same_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = DataSpec((1, 3, 3), 50)
    found = []
    for values in (1 << 22, 400):
        monkeypatch.setattr("simulacra.models.mixture.binned._VALUES", values)
        with seeded(0):
            model = GMM(spec, components=7)
            x = torch.randint(50, (20, *spec.event_shape))
            model.prepare(x)
        model.loss(x)["loss"].backward()
        found.append([weight.grad for weight in model.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_scores_are_the_same_with_gradients_and_in_any_company(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Steps over large observations look at some components alone; scores and codes at all."""
    monkeypatch.setattr("simulacra.models.mixture.binned._VALUES", 400)
    spec = DataSpec((1, 3, 3), 50)
    with seeded(0):
        model = GMM(spec, components=20)
        x = torch.randint(50, (30, *spec.event_shape))
        model.mixing.logits.data.normal_()
        model.means.data.normal_(std=0.1)
    with torch.no_grad():
        scores, codes = model.log_likelihood(x), model.encode(x)
    torch.testing.assert_close(model.log_likelihood(x), scores)
    torch.testing.assert_close(model.encode(x), codes)
    torch.testing.assert_close(model.log_likelihood(x[:1]), scores[:1])
    lower = -float(model.loss(x)["loss"].detach())
    assert float(scores.mean()) - 3 < lower < float(scores.mean())


def test_the_nearest_components_are_found_far_from_nought(monkeypatch: pytest.MonkeyPatch) -> None:
    """White pictures whose components differ little, some of which are of no weight."""
    monkeypatch.setattr("simulacra.models.mixture.binned._VALUES", 400)
    monkeypatch.setattr("simulacra.models.mixture.binned._NEAREST", 1)
    spec = DataSpec((1, 64, 64), 256)
    model = GMM(spec, components=4)
    with seeded(0), torch.no_grad():
        model.means.fill_(254 / 128 - 1)
        model.log_scales.normal_(math.log(0.3 / 128), 0.02)
        for k in range(4):
            model.means[k, 9 * k : 9 * k + 9] -= 1.0 / 128
        model.mixing.logits[0, 1] = -1e3
    x = torch.full((4, 1, 64, 64), 254)
    for k in range(4):
        x[k].view(-1)[9 * k : 9 * k + 9] -= 1
    with torch.no_grad():
        scores = model.log_likelihood(x)
    steps = torch.stack([-model.loss(row[None])["loss"].detach() for row in x])
    torch.testing.assert_close(steps, scores, rtol=1e-4, atol=3.0)


# ---- weights by class ----------------------------------------------------------------------------


def filled(spec: DataSpec, components: int = 4) -> Mixing:
    mixing = Mixing(spec, components, "label").double()
    with seeded(0), torch.no_grad():
        mixing.logits.copy_(torch.randn(mixing.logits.shape))
        frequencies = torch.rand(len(mixing.frequencies)) + 0.1
        mixing.frequencies.copy_(frequencies / frequencies.sum())
    return mixing


def test_what_is_not_told_is_averaged_over_what_it_may_be() -> None:
    mixing = filled(PARTS)
    like = torch.zeros(4, dtype=torch.float64)
    told = torch.tensor([[2, 1], [2, -1], [-1, 0], [-1, -1]])
    with torch.no_grad():
        found = mixing(told, like).exp()
    weights, p = mixing.logits.detach().softmax(1), mixing.frequencies
    # the class of (digit, speaker) is 2 digit + speaker
    for row, may_be in zip(found, ([5], [4, 5], [0, 2, 4], range(6)), strict=True):
        rows = list(may_be)
        expected = (p[rows, None] * weights[rows]).sum(0) / p[rows].sum()
        torch.testing.assert_close(row, expected)
    torch.testing.assert_close(mixing.shares.detach(), found[3])


def test_rows_that_are_told_nothing_count_for_the_classes_they_may_be_of() -> None:
    mixing = filled(LABELLED)
    with seeded(1):
        weights = torch.rand(3, 4, dtype=torch.float64).softmax(1)
    with torch.no_grad():
        members = mixing.members(torch.tensor([1, -1, 1]), weights)
        untold = mixing.members(torch.tensor([-1]), weights[1:2])
    torch.testing.assert_close(members[1] - untold[1], weights[0] + weights[2])
    torch.testing.assert_close(members.sum(0), weights.sum(0))
    joint = mixing.frequencies[:, None] * mixing.logits.detach().softmax(1)
    torch.testing.assert_close(untold, weights[1] * joint / joint.sum(0))


def test_sweeps_over_labels_never_lose() -> None:
    x = pairs(300)
    labels = torch.arange(300) % 4 - 1
    model = GMM(LABELLED, components=5, context="label", tolerance=0.0, prior=0.0)
    with seeded(0):
        model.prepare(x, labels)
    losses = [
        model.update([(x[:99], labels[:99]), (x[99:], labels[99:])])["loss"] for _ in range(9)
    ]
    # one pseudo-observation of all classes holds the weights back by as much
    assert all(b <= a + 1e-3 for a, b in itertools.pairwise(losses)), losses
    assert losses[-1] < losses[0]


def test_a_class_that_nobody_was_of_has_the_weights_of_all() -> None:
    x, labels = pairs(90), torch.arange(90) % 2
    model = GMM(LABELLED, components=4, context="label")
    with seeded(0):
        model.prepare(x, labels)
    model.update([(x, labels)])
    with torch.no_grad():
        unseen = model.mixing(torch.tensor([2]), x[:1]).exp()
        scores = model.log_likelihood(x, torch.full((90,), 2))
    torch.testing.assert_close(unseen[0], model.mixing.logits.detach()[:2].softmax(1).mean(0),
                               atol=0.02, rtol=0.1)  # fmt: skip
    assert bool(scores.isfinite().all())


def test_components_by_class_tell_the_classes(digits: Dataset) -> None:
    """Bayes by the weights and the components they share."""
    with seeded(0):
        model = GMM(digits.spec, components=40, context="label")
    list(learning(model, digits, "60steps"))
    x = digits.test.x[:]
    labels = digits.test.context
    assert labels is not None
    with torch.no_grad():
        scores = [model.log_likelihood(x, torch.full((len(x),), y)) for y in range(10)]
    found = torch.stack(scores, 1).argmax(1)
    assert float((found == labels).double().mean()) > 0.9


def test_each_class_has_clusters_by_its_size() -> None:
    y = pairs(60)
    classes = torch.tensor([0] * 40 + [2] * 15 + [-1] * 5)
    with seeded(0):
        found = clusters(y, classes, 11)
    assert set(found[55:].tolist()) == {-1}
    first, second = set(found[:40].tolist()), set(found[40:55].tolist())
    assert not first & second
    assert len(first) == 8
    assert len(second) == 3


# ---- parts of the data, and new draws ------------------------------------------------------------


def test_sweeps_over_parts_come_near_those_over_all() -> None:
    x = pairs(3000)
    labels = torch.zeros(3000)
    data = Observations(x, labels.long())
    scores = {}
    for minibatch in (0, 300):
        with seeded(0):
            model = GMM(PAIR, components=3, minibatch=minibatch, tolerance=0.0)
        made = Training(model, data, data, Options(device="cpu"))
        made.set_plan(Budget(60, "steps"))
        stages = {each.stage: made.progress.observations for each in made}
        assert stages[0] % (minibatch or 3000) == 0
        with torch.no_grad():
            scores[minibatch] = float(model.log_likelihood(x).mean())
    assert scores[300] == pytest.approx(scores[0], abs=0.02)


def test_a_part_is_larger_than_the_data_and_so_all_of_it() -> None:
    x, (all_of_it, part) = pairs(200), (GMM(PAIR, components=2, minibatch=n) for n in (0, 500))
    for model in (all_of_it, part):
        with seeded(0):
            model.prepare(x)
        model.update([(x, None)])
    torch.testing.assert_close(all_of_it.means, part.means)


def test_an_epoch_of_parts_sees_all_rows_once_in_an_order_of_its_own(digits: Dataset) -> None:
    with seeded(0):
        made = learning(GMM(digits.spec, components=2, minibatch=600), digits, "8steps")
    seen = [torch.cat([x for x, _ in made.batches.sweep(i, 600)]).flatten(1) for i in range(4)]
    assert [len(x) for x in seen] == [600] * 4
    assert made.learner.steps_per_epoch == 2
    rows = {tuple(row) for row in torch.cat(seen[:2]).tolist()}
    assert len(rows) > 1190
    assert not torch.equal(seen[0], seen[2])


class Noisy(Observations):
    """Rows that are drawn anew in each epoch, as dynamic binarisation does."""

    def batch(self, rows: Tensor, *, epoch: int = 0) -> tuple[Tensor, Tensor | None]:
        x, context = super().batch(rows, epoch=epoch)
        return x + 100.0 * epoch, context


def test_each_sweep_reads_the_draws_of_its_own_epoch() -> None:
    data = Noisy(pairs(50))
    made = Training(GMM(PAIR, components=2), data, data, Options(device="cpu"))
    means = [torch.cat([x for x, _ in made.batches.sweep(i)]).mean() for i in range(3)]
    assert float(means[1] - means[0]) == pytest.approx(100, abs=1e-3)
    assert float(means[2] - means[1]) == pytest.approx(100, abs=1e-3)
    # and the loop asks for one after another
    made.set_plan(Budget(8, "steps"))
    asked = []
    inner = made.batches.sweep

    def sweep(number: int, size: int | None = None) -> object:
        asked.append(number)
        return inner(number, size)

    made.batches.sweep = sweep  # type: ignore[method-assign, assignment]
    list(made)
    assert len(asked) > 1
    assert asked == list(range(len(asked)))


def test_one_unlucky_draw_of_the_data_does_not_end_the_sweeps() -> None:
    model = GMM(PAIR, components=2)
    ended = [model._gains_little(loss) for loss in (10.0, 9.0, 9.5, 8.0, 8.0 - 1e-9)]
    assert ended == [False, False, False, False, True]
    # but many do
    assert [model._gains_little(8.5) for _ in range(9)].count(True) == 1


def test_a_sweep_goes_over_something() -> None:
    for wrong in ({"sweep": 0}, {"turns": ("model",), "sweep": 5}):
        with pytest.raises(UsageError, match="a sweep goes over at least one observation"):
            replace(Stage("fit", ()), **wrong)  # type: ignore[arg-type]


# ---- how many components -------------------------------------------------------------------------


def test_components_grow_until_validation_says_enough() -> None:
    with seeded(0):
        centres = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
        x = centres[torch.randint(4, (1200,))] + 0.7 * torch.randn(1200, 2)
    train, validation = Observations(x[:240]), Observations(x[240:])
    with seeded(0):
        model = GMM(PAIR, components=64, grow=True, prior=0.01)
    made = Training(model, train, validation, Options(device="cpu", lr=1e-3))
    made.set_plan(Budget(400, "steps"))
    there = [int(each.losses["sweeps/components"]) for each in made if each.stage == 0]
    assert there[0] == 1
    assert sorted(there) == there
    assert max(there) > 30, "it has tried far more than there are"
    assert 4 <= int(made.averaged.mixing.alive.sum()) < max(there) / 2


def test_splitting_changes_nothing_but_where_two_of_a_kind_are() -> None:
    x = pairs(200)
    model = GMM(PAIR, components=4, grow=True)
    with seeded(0):
        model.prepare(x)
        before = model.log_likelihood(x)
        model._part = lambda *_: None  # type: ignore[method-assign]
        assert model._split()
    torch.testing.assert_close(model.log_likelihood(x), before)
    assert model.mixing.alive.tolist() == [True, True, False, False]
    # one weight of all is settled by the others
    assert model.learnt == -2 * 5 - 1


@pytest.mark.parametrize("minibatch", [0, 100])
def test_what_was_swept_before_has_no_part_in_sweeps_over_other_data(minibatch: int) -> None:
    model = GMM(PAIR, components=2, minibatch=minibatch)
    for scale in (1e-3, 50.0):
        x = scale * pairs(300)
        with seeded(0):
            model.prepare(x)
        losses = [model.update([(x, None)]) for _ in range(2)]
    fresh = GMM(PAIR, components=2, minibatch=minibatch)
    with seeded(0):
        fresh.prepare(x)
    assert losses == [fresh.update([(x, None)]) for _ in range(2)]


@pytest.mark.parametrize("name", ["gmm", "mfa"])
def test_copies_of_few_rows_have_as_many_components_as_there_are_rows(name: str) -> None:
    x = pairs(3).repeat(40, 1)
    model = registry.build(name, PAIR, {"components": 10})
    with seeded(0):
        model.prepare(x)
        model.update([(x, None)])
    assert int(model.mixing.alive.sum()) == 3
    assert bool(model.sample(5).isfinite().all())
    assert float(model.loss(x)["loss"].detach()) < 3


def test_few_observations_have_as_many_components_as_there_are_rows_for() -> None:
    model = GMM(PAIR)
    with seeded(0):
        model.prepare(pairs(42))
        model.update([(pairs(42), None)])
        drawn = model.sample(5)
    assert int(model.mixing.alive.sum()) == 8
    assert bool(drawn.isfinite().all())
    assert math.isfinite(float(model.loss(pairs(42))["loss"].detach()))


def test_masses_of_components_that_are_not_there_are_not_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed = []
    each = binned._one_by_one

    def counted(x: Tensor, loc: Tensor, scale: Tensor, levels: int) -> Tensor:
        computed.append(len(loc))
        return each(x, loc, scale, levels)

    monkeypatch.setattr(binned, "_one_by_one", counted)
    model = GMM(DataSpec((1, 3, 3), 200))
    with seeded(0):
        x = torch.randint(200, (21, 1, 3, 3))
        model.prepare(x)
    model.loss(x)["loss"].backward()
    assert computed == [int(model.mixing.alive.sum())] == [4]


# ---- codes ---------------------------------------------------------------------------------------


def test_a_code_is_the_probability_of_each_component() -> None:
    x = pairs(100)
    model = GMM(PAIR, components=3).double()
    with seeded(0):
        model.prepare(x)
    with torch.no_grad():
        codes = model.encode(x)
        weights = model.mixing.logits.softmax(1) * model.log_likelihoods(x).exp()
    torch.testing.assert_close(codes, weights / weights.sum(1, keepdim=True))
