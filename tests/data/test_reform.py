from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.reform import reform, to_grey
from simulacra.data.resize import centre_square
from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec


def dataset(shape: tuple[int, ...], levels: int | None = 256, n: int = 6) -> Dataset:
    rng = np.random.default_rng(0)
    if levels is None:
        x = torch.from_numpy(rng.normal(size=(3 * n, *shape)).astype(np.float32))
    else:
        x = torch.from_numpy(rng.integers(0, levels, (3 * n, *shape)).astype(np.uint8))
    parts = [Observations(part) for part in x.split(n)]
    return Dataset("some", DataSpec(shape, levels), *parts)


@pytest.mark.parametrize("shape", [(1, 9, 9), (3, 7, 12), (1, 12, 7)])
@pytest.mark.parametrize("side", [1, 5, 16])
def test_resizing_many_is_resizing_each_with_pillow(shape: tuple[int, ...], side: int) -> None:
    base = dataset(shape)
    resized = reform(base, side=side)
    assert resized.spec.event_shape == (shape[0], side, side)
    for old, new in zip(base.test.x.numpy(), resized.test.x.numpy(), strict=True):
        image = Image.fromarray(old[0] if shape[0] == 1 else old.transpose(1, 2, 0).copy())
        expected = np.asarray(centre_square(image, side)).reshape(side, side, -1)
        assert np.array_equal(new, expected.transpose(2, 0, 1))


def test_the_crop_is_central() -> None:
    image = Image.new("L", (30, 10), 0)
    image.paste(200, (10, 0, 20, 10))
    assert np.asarray(centre_square(image, 10)).min() == 200


@pytest.mark.parametrize("levels", [2, 17])
def test_resizing_keeps_few_levels_in_range(levels: int) -> None:
    base = dataset((1, 8, 8), levels)
    resized = reform(base, side=16)
    resized.spec.check(resized.train.x)
    assert resized.spec.levels == levels
    assert int(resized.train.x.max()) == levels - 1
    flat = replace(base, train=Observations(torch.full((6, 1, 8, 8), levels - 1).to(torch.uint8)))
    assert reform(flat, side=5).train.x.unique().tolist() == [levels - 1]


def test_colour_agrees_with_pillow_and_returns() -> None:
    base = dataset((3, 6, 6))
    grey = reform(base, colour="grey")
    assert grey.spec.event_shape == (1, 6, 6)
    for old, new in zip(base.train.x.numpy(), grey.train.x.numpy(), strict=True):
        expected = Image.fromarray(old.transpose(1, 2, 0).copy()).convert("L")
        assert np.array_equal(new[0], np.asarray(expected))
    back = reform(grey, colour="rgb")
    assert torch.equal(back.train.x, grey.train.x.expand(-1, 3, -1, -1))
    assert torch.equal(reform(back, colour="grey").train.x, grey.train.x)


def test_grey_of_many_levels_does_not_overflow() -> None:
    white = torch.full((1, 3, 1, 1), 65535, dtype=torch.int32)
    assert to_grey(white).tolist() == [[[[65535]]]]


@pytest.mark.parametrize(("old", "new"), [(256, 4), (256, 255), (17, 2), (17, 16)])
def test_quantising_is_the_floor_of_a_proportion(old: int, new: int) -> None:
    base = dataset((1, 8, 8), old)
    quantised = reform(base, levels=new)
    assert torch.equal(quantised.test.x.long(), base.test.x.long() * new // old)
    assert quantised.spec.levels == new
    assert quantised.train.x.dtype == torch.uint8


def test_an_option_that_is_met_changes_nothing() -> None:
    base = dataset((1, 8, 8), 2)
    assert reform(base, side=8, colour="grey", levels=2, fixed=True) is base


@pytest.mark.parametrize("option", [{"side": 4}, {"colour": "rgb"}, {"levels": 3}])
def test_a_set_that_is_its_levels_is_not_changed(option: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="defined by its 17 levels"):
        reform(dataset((1, 8, 8), 17), fixed=True, **option)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "levels", "option", "message"),
    [
        ((1, 8, 8), 17, {"levels": 18}, "has 17 levels: levels can be fewer, got 18"),
        ((5,), 17, {"side": 3}, "vectors"),
        ((5,), 17, {"colour": "grey"}, "vectors"),
        ((5,), None, {"levels": 4}, "continuous vectors, which have no levels"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    shape: tuple[int, ...], levels: int | None, option: dict[str, int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        reform(dataset(shape, levels), **option)  # type: ignore[arg-type]
