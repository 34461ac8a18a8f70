"""`triplet`: mining, centres, identities from labels and from groups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.groups import identities
from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.judging.figures.cost import cost
from simulacra.models import registry, saved
from simulacra.models.embedding.base import moved, pairs, squared_distances
from simulacra.models.embedding.triplet import Triplet, semi_hard
from simulacra.training.batches import check_learnable
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options

CPU = Options(device="cpu", warmup=0)
SMALL: dict[str, Any] = {"embedding": 4, "identities": 3, "each": 4, "channels": 4}
PICTURES = DataSpec((1, 5, 7), 4)


def built(spec: DataSpec = PICTURES, **keywords: Any) -> Triplet:
    with seeded(0):
        model = registry.build("triplet", spec, {**SMALL, **keywords})
    assert isinstance(model, Triplet)
    return model


@pytest.fixture(scope="module")
def people() -> Dataset:
    """Digits whose classes are groups, of which none is in two splits."""
    data = load("digits")

    def of(split: Observations, *digits: int) -> Observations:
        assert split.context is not None
        few = split.take(torch.isin(split.context, torch.tensor(digits)).nonzero()[:90, 0])
        assert few.context is not None
        # numbers that somebody gave them
        return replace(few, context=None, groups=10**9 + 7 * few.context)

    return replace(
        data, spec=replace(data.spec, classes=0), train=of(data.train, 0, 1, 2, 3, 4),
        validation=of(data.validation, 5, 6), test=of(data.test, 7, 8, 9), class_names=(),
    )  # fmt: skip


# ---- mining --------------------------------------------------------------------------------------


def test_the_negative_of_a_batch_by_hand() -> None:
    """Anchor 0 and positive 1 at 0.5: of negatives at 0.3, 0.6, 0.65 and 1 that at 0.6 counts."""
    gaps = torch.tensor([[0.0, 0.5, 0.3, 0.6, 0.65, 1.0]])
    same = torch.tensor([[True, True, False, False, False, False]])
    place = torch.tensor([0]), torch.tensor([1])
    assert float(semi_hard(gaps, same, *place)) == pytest.approx(0.6)
    # where none is farther, the farthest; one as far is no farther
    gaps = torch.tensor([[0.0, 0.5, 0.3, 0.5, 0.4, 0.1]])
    assert float(semi_hard(gaps, same, *place)) == pytest.approx(0.5)
    assert float(semi_hard(gaps, torch.ones_like(same), *place)) == torch.inf


def by_loops(codes: Tensor, who: list[int], margin: float) -> tuple[float, list[float]]:
    """Both losses as the paper tells them, triplet by triplet: mined ones, and all of an anchor."""
    gap = [[float((a - b).square().sum()) for b in codes] for a in codes]
    mined, every = [], []
    for a in range(len(who)):
        own = []
        for p in range(len(who)):
            if p == a or who[p] != who[a]:
                continue
            others = [n for n in range(len(who)) if who[n] != who[a]]
            own += [max(0.0, gap[a][p] - gap[a][n] + margin) for n in others]
            farther = [gap[a][n] for n in others if gap[a][n] > gap[a][p]]
            hardest = min(farther) if farther else max(gap[a][n] for n in others)
            mined.append(max(0.0, gap[a][p] - hardest + margin))
        every.append(sum(own) / len(own))
    return sum(mined) / len(mined), every


def test_losses_are_those_of_plain_loops() -> None:
    model = built(margin=0.5).double().eval()
    who = [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    x = torch.randint(4, (10, 1, 5, 7), generator=torch.Generator().manual_seed(0))
    mined, every = by_loops(model.encode(x).detach(), who, 0.5)
    found = model.loss(x, torch.tensor(who))
    assert float(found["loss"].detach()) == pytest.approx(mined)
    assert 0 < float(found["active"]) <= 1
    assert model.validation_loss(x, torch.tensor(who)).tolist() == pytest.approx(every)


def test_codes_are_of_length_one_and_distances_those_of_codes() -> None:
    for spec in (PICTURES, DataSpec((3, 1, 2), 2), DataSpec((3,), None),
                 DataSpec((300,), 256, coding="mu-law"),
                 DataSpec((1, 4, 4), 3, ordered=False)):  # fmt: skip
        model = built(spec).eval()
        x = torch.randn(6, 3) if spec.levels is None else torch.randint(
            spec.levels, (6, *spec.event_shape)
        )  # fmt: skip
        codes = model.encode(x)
        assert codes.shape == (6, 4)
        assert torch.allclose(codes.norm(dim=1), torch.ones(6), atol=1e-6)
        assert torch.allclose(
            squared_distances(codes), torch.cdist(codes, codes).square(), atol=1e-5
        )
    anchors, positives = pairs(torch.eye(3, dtype=torch.bool))
    assert len(anchors) == len(positives) == 0


def test_a_batch_without_triplets_costs_nothing() -> None:
    for who in (torch.zeros(4).long(), torch.arange(4)):
        x, model = torch.randint(4, (4, 1, 5, 7)), built()
        found = model.loss(x, who)["loss"]
        found.backward()
        assert float(found.detach()) == 0
        assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
        assert model.eval().validation_loss(x, who).tolist() == [0.0] * 4


# ---- centres -------------------------------------------------------------------------------------


def test_centres_move_by_the_rule_of_the_paper() -> None:
    """Δc = Σ (c − x) / (1 + n), of which α = ½ is taken; who is not in the batch stays."""
    model = built(replace(PICTURES, classes=4), objective="centre", centre=0.1).eval()
    model.centres.copy_(torch.arange(16.0).view(4, 4) / 10)
    before, x = model.centres.clone(), torch.randint(4, (6, 1, 5, 7))
    who = torch.tensor([0, 0, 0, 2, 2, 3])
    found, features = model.loss(x, who), model.features(x).detach()
    gap = sum(float((features[i] - before[who[i]]).square().sum()) for i in range(6)) / 12
    assert float(found["gap"]) == pytest.approx(gap, rel=1e-5)
    softmax = -model.softmax(features).log_softmax(1)[range(6), who].mean()
    assert float(found["loss"].detach()) == pytest.approx(
        float(softmax.detach()) + 0.1 * gap, rel=1e-5
    )
    model.moved("model", {"moves": found["moves"]})
    for one in range(4):
        own = features[who == one]
        change = (before[one] - own).sum(0) / (1 + len(own))
        assert torch.allclose(model.centres[one], before[one] - 0.5 * change, atol=1e-6)


@pytest.mark.parametrize("objective", ["triplet", "centre"])
def test_it_learns_from_groups_and_comes_back(
    objective: str, people: Dataset, tmp_path: Path
) -> None:
    model = built(people.spec, objective=objective)
    made = Training(model, people.train, people.validation, replace(CPU, lr=1e-2))
    x, told = made.batches.at(0)
    assert told is not None
    assert len(x) == 12
    assert sorted(told.bincount().tolist())[-3:] == [4, 4, 4]
    assert int(told.max()) < made.batches.kinds == 5
    # of two persons the batch is smaller, and always the same
    looks = [[rows for rows, _ in made.validation.in_lots(1000, 64)] for _ in range(2)]
    assert len(looks[0][0]) == 8
    assert all(torch.equal(a, b) for a, b in zip(*looks, strict=True))
    assert made.learner.validate(1000) == made.learner.validate(1000)

    def score() -> float:
        with torch.no_grad():
            return float(model.eval().validation_loss(x, told).mean())

    before = score()
    made.set_plan(Budget(40, "steps"))
    assert [record.step for record in made][-1] == 40
    assert score() < 0.5 * before
    assert cost(made.averaged, people).flops_per_training_step
    codes = made.averaged.eval().encode(people.test.x[:9].long())
    saved.save(made.averaged, tmp_path / "model", "triplet")
    assert torch.equal(saved.load(tmp_path / "model").encode(people.test.x[:9].long()), codes)


def test_whose_an_observation_is() -> None:
    x, groups = torch.zeros(4, 1, 5, 7, dtype=torch.uint8), torch.tensor([70, 3, 70, 9])
    labels = torch.tensor([1, 0, -1, 1])
    spec = replace(PICTURES, classes=2)
    found = identities(Observations(x, groups=groups), PICTURES)
    assert found is not None
    assert found.tolist() == [2, 0, 2, 1]
    assert identities(Observations(x, labels, groups=groups), spec) is labels
    assert identities(Observations(x), PICTURES) is None
    vectors = identities(Observations(x, torch.zeros(4, 2), groups=groups), PICTURES)
    assert torch.equal(vectors, found)


def test_what_cannot_be_learnt_from_is_refused(people: Dataset) -> None:
    model = built()
    alone = replace(people.train, groups=None)
    with pytest.raises(UsageError, match="give --labels, or --groups of which each is somebody"):
        check_learnable(model, alone, CPU)
    one = people.train.take((people.train.groups == 10**9).nonzero()[:, 0])
    with pytest.raises(UsageError, match="two classes, or groups, of two observations at least"):
        check_learnable(model, one, CPU)
    x = torch.randint(4, (4, 1, 5, 7))
    for context in (None, torch.zeros(3).long()):
        with pytest.raises(UsageError, match="learns from the identity of each observation"):
            model.loss(x, context)
    for wrong in ({"embedding": 0}, {"identities": 1}, {"each": 1}, {"margin": 0.0}, {"margin": 4},
                  {"centre": -1.0}, {"objective": "center"}, {"channels": 0}):  # fmt: skip
        with pytest.raises(UsageError, match="got"):
            built(**wrong)


def test_pictures_are_moved_while_it_trains_and_not_after() -> None:
    x = torch.arange(8 * 16).view(1, 1, 8, 16).expand(200, 2, -1, -1)
    with seeded(0):
        found = moved(x)
    every = {}
    for down in (-1, 0, 1):
        for right in (-2, -1, 0, 1, 2):
            # what comes in is the edge
            rows = (torch.arange(8) + down).clamp(0, 7)
            columns = (torch.arange(16) + right).clamp(0, 15)
            every[x[0, 0][rows][:, columns].numpy().tobytes()] = down, right
    assert len(every) == 15
    assert {each[1].numpy().tobytes() for each in found} == set(every)
    assert torch.equal(found[:, 0], found[:, 1])
    model = built(DataSpec((1, 16, 16), 4))
    x = torch.randint(4, (4, 1, 16, 16))
    assert not torch.equal(model.train().features(x), model.features(x))
    assert torch.equal(model.eval().features(x), model.features(x))


def test_directions_alone_count() -> None:
    """Features of twice the length have the same codes."""
    model = built().eval()
    x = torch.randint(4, (4, 1, 5, 7))
    assert torch.allclose(model.encode(x), normalize(model.features(x) * 2, dim=1), atol=1e-6)
