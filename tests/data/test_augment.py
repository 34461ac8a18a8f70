from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from simulacra.data.augment import Augmented, augmented
from simulacra.data.catalogue import load
from simulacra.data.dataset import DynamicallyBinarised, Observations
from simulacra.ground.errors import UsageError

N = 500


def pictures(n: int = N, shape: tuple[int, ...] = (3, 5, 7)) -> Observations:
    x = np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)
    return Observations(torch.from_numpy(x), torch.arange(n))


def seen(split: Observations, epoch: int = 0) -> Tensor:
    return split.batch(torch.arange(len(split)), epoch=epoch)[0]


def moved(picture: Tensor, down: int, right: int) -> Tensor:
    """By NumPy's own padding with edge values, and a cut."""
    height, width = picture.shape[1:]
    s = 3
    padded = np.pad(picture.numpy(), ((0, 0), (s, s), (s, s)), mode="edge")
    return torch.from_numpy(padded[:, s - down : s - down + height, s - right : s - right + width])


def test_a_flip_mirrors_left_to_right_half_of_the_time() -> None:
    plain = pictures()
    x = seen(Augmented.of(plain, flip=True, shift=0))
    same = (x == plain.x).flatten(1).all(1)
    mirrored = (x == plain.x.flip(-1)).flatten(1).all(1)
    assert bool((same ^ mirrored).all())
    assert abs(int(mirrored.sum()) - N / 2) < 5 * (N / 4) ** 0.5


def test_a_shift_moves_by_every_step_equally_and_repeats_the_edge() -> None:
    plain = pictures(2000)
    x = seen(Augmented.of(plain, flip=False, shift=1))
    counts = np.zeros((3, 3))
    for old, new in zip(plain.x[:, :, :, :], x, strict=True):
        fits = [
            (down, right)
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
            if torch.equal(moved(old.long(), down, right), new)
        ]
        assert len(fits) == 1
        counts[fits[0][0] + 1, fits[0][1] + 1] += 1
    expected = 2000 / 9
    assert (np.abs(counts - expected) < 5 * expected**0.5).all()


def test_a_mirrored_picture_is_moved_too() -> None:
    plain = pictures(60)
    x = seen(Augmented.of(plain, flip=True, shift=2))
    forms = [
        torch.stack([moved(p.long(), down, right) for p in source])
        for source in (plain.x, plain.x.flip(-1))
        for down in range(-2, 3)
        for right in range(-2, 3)
    ]
    found = torch.stack([(x == form).flatten(1).all(1) for form in forms])
    assert bool(found.any(0).all())
    assert found.any(1).sum() > 25  # many of the 50 forms


def test_the_change_belongs_to_the_epoch_and_the_place_not_to_the_batch() -> None:
    split = Augmented.of(pictures(), flip=True, shift=2)
    whole = seen(split, epoch=3)
    some = torch.tensor([7, 400, 7, 0])
    x, context = split.batch(some, epoch=3)
    assert torch.equal(x, whole[some])
    assert context is not None
    assert torch.equal(context, some)
    assert x.dtype == torch.int64
    assert not torch.equal(seen(split, epoch=4), whole)
    assert not torch.equal(seen(Augmented.of(pictures(), flip=True, shift=2, seed=1), 3), whole)
    parts = torch.cat([x for x, _ in split.batches(33, epoch=3)])
    assert torch.equal(parts, whole)


def test_bits_are_drawn_first_and_then_moved() -> None:
    grey = pictures(shape=(1, 6, 6))
    bits = DynamicallyBinarised(grey.x, seed=0)
    drawn = seen(bits, epoch=2)
    x = seen(Augmented.of(bits, flip=True, shift=0), epoch=2)
    straight = (x == drawn).flatten(1).all(1)
    mirrored = (x == drawn.flip(-1)).flatten(1).all(1)
    assert bool((straight | mirrored).all())
    assert set(x.unique().tolist()) == {0, 1}
    # whether a picture is mirrored tells nothing of its bits
    symmetric = straight & mirrored
    first = drawn[~symmetric, 0, 0, 0].double() - grey.x[~symmetric, 0, 0, 0] / 255
    chance = torch.corrcoef(torch.stack([first, mirrored[~symmetric].double()]))[0, 1]
    assert abs(float(chance)) < 5 / N**0.5


def test_taken_pictures_are_changed_too() -> None:
    bits = DynamicallyBinarised(pictures(shape=(1, 6, 6)).x, torch.arange(N), seed=4)
    split = Augmented.of(bits, flip=True, shift=1, seed=2)
    places = torch.tensor([5, 3, 8])
    taken = split.take(places)
    assert isinstance(taken, Augmented)
    assert isinstance(taken.base, DynamicallyBinarised)
    assert (taken.flip, taken.shift, taken.seed) == (True, 1, 2)
    assert torch.equal(taken.x, split.x[places])
    same = Augmented.of(bits.take(places), flip=True, shift=1, seed=2)
    assert torch.equal(seen(taken, 1), seen(same, 1))
    again = Augmented(bits.x, bits.context, flip=True).take(places)
    assert torch.equal(again.x, bits.x[places])


def test_only_training_pictures_change_and_a_reader_is_told() -> None:
    plain = load("digits")
    both = load("digits", flip=True, shift=2)
    assert torch.equal(seen(both.validation), seen(plain.validation))
    assert torch.equal(seen(both.test), seen(plain.test))
    assert not torch.equal(seen(both.train), seen(plain.train))
    both.spec.check(seen(both.train))
    assert both.notes[-1] == "training pictures are mirrored and moved by up to 2 pixels at random"
    assert load("digits", shift=1).notes[-1].endswith("are moved by up to 1 pixels at random")
    assert load(**both.options).fingerprint == both.fingerprint


def test_every_change_is_another_split() -> None:
    plain = pictures()
    bits = DynamicallyBinarised(plain.x)
    changes = [(plain, True, 0), (plain, False, 1), (plain, True, 1), (bits, True, 1)]
    kinds = {Augmented.of(base, flip=flip, shift=shift).kind for base, flip, shift in changes}
    assert len(kinds) == 4
    assert load("digits").fingerprint != load("digits", flip=True).fingerprint
    assert load("digits", flip=True).fingerprint != load("digits", shift=1).fingerprint


def test_dynamic_bits_can_be_augmented_by_name(small_mnist: Callable[..., Path]) -> None:
    dataset = load("binarized-mnist-dynamic", data_dir=small_mnist(train=120), shift=1)
    assert isinstance(dataset.train, Augmented)
    assert isinstance(dataset.train.base, DynamicallyBinarised)
    dataset.spec.check(seen(dataset.train))


@pytest.mark.parametrize("options", [{"flip": True}, {"shift": 1}])
def test_only_pictures_are_changed(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="for pictures"):
        load("moons", **options)
    np.save(tmp_path / "levels.npy", np.arange(40, dtype=np.uint8).reshape(20, 2))
    with pytest.raises(
        UsageError, match=r"flip and shift are for pictures; levels\.npy holds none"
    ):
        load(str(tmp_path / "levels.npy"), **options)


def test_a_picture_moves_by_less_than_its_side() -> None:
    with pytest.raises(UsageError, match="shift is less than a picture's side, 8, got 8"):
        augmented(load("digits"), flip=False, shift=8)
