from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from simulacra.data.augment import Augmented
from simulacra.data.dataset import Dataset, DynamicallyBinarised, Observations
from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec


def grey(n: int = 40, side: int = 6) -> torch.Tensor:
    return torch.randint(0, 256, (n, 1, side, side), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )


def dataset(**changes: object) -> Dataset:
    x = grey()
    labels = torch.arange(40) % 4
    parts = [Observations(x[a:b], labels[a:b]) for a, b in ((0, 20), (20, 30), (30, 40))]
    made = Dataset("tiny", DataSpec((1, 6, 6), 256, classes=4), *parts)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_batch_gives_levels_as_int64_and_the_rows_asked_for() -> None:
    x, labels = grey(), torch.arange(40)
    places = torch.tensor([3, 39, 3])
    levels, context = Observations(x, labels).batch(places)
    assert levels.dtype == torch.int64
    assert torch.equal(levels, x[places].long())
    assert context is not None
    assert context.tolist() == [3, 39, 3]


def test_batch_keeps_continuous_vectors_float() -> None:
    x = torch.randn(12, 3)
    rows, context = Observations(x).batch(torch.arange(5))
    assert rows.dtype == torch.float32
    assert torch.equal(rows, x[:5])
    assert context is None


@pytest.mark.parametrize("size", [1, 7, 40, 100])
def test_batches_are_the_whole_split_in_order(size: int) -> None:
    split = Observations(grey(), torch.arange(40))
    batches = list(split.batches(size))
    assert torch.equal(torch.cat([x for x, _ in batches]), split.x.long())
    assert torch.cat([y for _, y in batches if y is not None]).tolist() == list(range(40))
    assert all(len(x) == size for x, _ in batches[:-1])


def test_batches_of_no_size_are_refused() -> None:
    with pytest.raises(UsageError, match="size 0"):
        next(Observations(grey()).batches(0))


def test_context_of_another_length_is_refused() -> None:
    with pytest.raises(UsageError, match=r"40 observations .* got 39"):
        Observations(grey(), torch.arange(39))
    for wrong in (torch.arange(39), torch.zeros(40, 1, dtype=torch.long)):
        with pytest.raises(UsageError, match="40 observations need a group each"):
            Observations(grey(), groups=wrong)


def test_groups_stay_with_their_observations_and_out_of_the_fingerprint() -> None:
    groups = torch.arange(40) // 3
    places = torch.tensor([5, 39, 5, 0])
    plain = Observations(grey(), torch.arange(40), groups=groups)
    dynamic = DynamicallyBinarised(grey(), torch.arange(40), groups=groups, seed=1)
    changed = Augmented.of(dynamic, flip=True, shift=1)
    bare = replace(changed, base=None)
    for split in (plain, dynamic, dynamic.freeze(), changed, bare):
        taken = split.take(places)
        assert split.groups is groups
        assert taken.groups is not None
        assert taken.groups.tolist() == [1, 13, 1, 0]
    base = dataset()
    grouped = replace(base, train=replace(base.train, groups=torch.arange(20) // 2))
    assert grouped.fingerprint == base.fingerprint


def test_dynamic_bits_depend_on_seed_epoch_and_index_alone() -> None:
    split = DynamicallyBinarised(grey(), torch.arange(40), seed=5)
    together, _ = split.batch(torch.arange(40), epoch=2)
    for places in (torch.tensor([7]), torch.tensor([39, 7, 0])):
        alone, labels = split.batch(places, epoch=2)
        assert torch.equal(alone, together[places])
        assert labels is not None
        assert torch.equal(labels, places)
    assert not torch.equal(split.batch(torch.arange(40), epoch=3)[0], together)
    assert not torch.equal(replace(split, seed=6).batch(torch.arange(40), epoch=2)[0], together)
    same = DynamicallyBinarised(grey()[:1].repeat(2, 1, 1, 1), seed=5)
    first, second = same.batch(torch.arange(2))[0]
    assert not torch.equal(first, second)


def test_dynamic_bits_have_the_grey_level_as_their_mean() -> None:
    levels = torch.tensor([0, 1, 64, 128, 254, 255], dtype=torch.uint8).reshape(1, 1, 1, 6)
    split = DynamicallyBinarised(levels.repeat(20000, 1, 1, 1))
    bits, _ = split.batch(torch.arange(20000))
    assert bits.unique().tolist() == [0, 1]
    mean = bits.double().mean(0).flatten()
    p = levels.double().flatten() / 255
    assert ((mean - p).abs() <= 4 * (p * (1 - p) / 20000).sqrt()).all()
    assert mean[0] == 0
    assert mean[-1] == 1


def test_frozen_bits_are_those_of_one_epoch() -> None:
    split = DynamicallyBinarised(grey(), torch.arange(40), seed=1)
    frozen = split.freeze(epoch=4)
    assert type(frozen) is Observations
    assert torch.equal(frozen.x.long(), split.batch(torch.arange(40), epoch=4)[0])
    assert frozen.context is split.context


def test_fingerprint_changes_with_anything_that_a_model_sees() -> None:
    base = dataset()
    x = base.train.x.clone()
    x[3, 0, 0, 0] ^= 1
    labels = (torch.arange(20) + 1) % 4
    backwards = torch.arange(19, -1, -1)
    others = [
        replace(base, train=Observations(x, base.train.context)),
        replace(base, train=Observations(base.train.x, labels)),
        replace(base, train=Observations(base.train.x)),
        replace(base, train=base.train.take(backwards)),
        replace(base, validation=base.test, test=base.validation),
        replace(base, spec=DataSpec((1, 6, 6), 257, classes=4)),
        replace(base, train=DynamicallyBinarised(base.train.x, base.train.context)),
    ]
    fingerprints = {each.fingerprint for each in (base, *others)}
    assert len(fingerprints) == 1 + len(others)
    assert dataset(name="other", notes=("moved",)).fingerprint == base.fingerprint
    assert len(base.fingerprint) == 64
