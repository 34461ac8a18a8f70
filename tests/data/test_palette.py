from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from simulacra.data import palette as palette_module
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.palette import from_palette, to_palette
from simulacra.data.reform import reform
from simulacra.data.resize import centre_square
from simulacra.ground.errors import DataError, UsageError
from simulacra.ground.spec import DataSpec


def dataset(x: np.ndarray, levels: int = 256) -> Dataset:
    """Half of the pictures to train, a quarter to validation and to test."""
    spec = DataSpec(x.shape[1:], levels)
    half, quarter = len(x) // 2, len(x) // 4
    kind = np.uint8 if levels <= 256 else np.int32
    parts = torch.from_numpy(x.astype(kind)).split([half, quarter, len(x) - half - quarter])
    return Dataset("some", spec, *(Observations(part) for part in parts), notes=("first",))


def few_colours(count: int, n: int = 40, seed: int = 0) -> np.ndarray:
    """RGB pictures of `count` random colours, each of which occurs."""
    rng = np.random.default_rng(seed)
    colours = rng.choice(1 << 24, count, replace=False)
    codes = colours[np.arange(n * 30) % count].reshape(n, 5, 6)
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)


def colours_of(data: Dataset, split: str) -> np.ndarray:
    """What people see of a split, as whole numbers 0 … 255."""
    x = data.spec.to_float(data.splits[split].x.long())
    return (x * 255).round().long().expand(-1, 3, -1, -1).numpy()


@pytest.mark.parametrize("count", [2, 167, 256])
def test_few_colours_are_kept_exactly(count: int) -> None:
    base = dataset(few_colours(count))
    found = to_palette(base)
    assert found.spec.levels == count
    assert (found.spec.ordered, found.spec.coding) == (False, "palette")
    assert found.spec.event_shape == (1, 5, 6)
    assert found.notes == ("first", f"palette: all {count} colours of the pictures are kept")
    for split in base.splits:
        assert np.array_equal(colours_of(found, split), colours_of(base, split))
        found.spec.check(found.splits[split].x)


def test_colours_go_from_dark_to_light() -> None:
    palette = np.array(to_palette(dataset(few_colours(100))).spec.palette)
    luma = palette @ [19595, 38470, 7471]
    assert (np.diff(luma) >= 0).all()


def test_a_colour_of_the_test_split_alone_is_kept() -> None:
    x = few_colours(10)
    x[-1, :, 0, 0] = (1, 2, 3)
    found = to_palette(dataset(x))
    assert (1, 2, 3) in (found.spec.palette or ())
    assert np.array_equal(colours_of(found, "test"), x[30:])


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_grey_pictures_are_a_palette_of_greys(levels: int) -> None:
    x = np.arange(levels * 40).reshape(40, 1, levels, 1) % levels
    base = dataset(x, levels)
    found = to_palette(base)
    assert found.spec.levels == levels
    # dark to light is the order that they had
    assert torch.equal(found.train.x, base.train.x)
    assert np.array_equal(colours_of(found, "test"), colours_of(base, "test"))


def test_levels_beyond_eight_bits_come_near() -> None:
    x = np.linspace(0, 999, 40 * 25).round().reshape(40, 1, 5, 5)
    base = dataset(x, 1000)
    found = to_palette(base)
    assert np.abs(colours_of(found, "test") - colours_of(base, "test")).max() <= 1


def test_more_colours_are_joined_to_the_nearest() -> None:
    base = dataset(few_colours(400))
    found = to_palette(base, 20)
    assert 2 <= (found.spec.levels or 0) <= 20
    palette = np.array(found.spec.palette)
    for split in base.splits:
        old = colours_of(base, split).transpose(0, 2, 3, 1)
        distance = ((old[..., None, :] - palette) ** 2).sum(-1)
        new = found.splits[split].x[:, 0].long().numpy()
        chosen = np.take_along_axis(distance, new[..., None], -1)[..., 0]
        assert np.array_equal(chosen, distance.min(-1))


def test_the_note_tells_the_error_of_training_pixels() -> None:
    base = dataset(few_colours(400))
    found = to_palette(base, 20)
    error = ((colours_of(found, "train") - colours_of(base, "train")) ** 2).mean()
    assert found.notes[-1].startswith(f"palette: {found.spec.levels} colours found by k-means")
    assert f"for 400, mean squared error {error:.3g} over" in found.notes[-1]


def test_colours_are_never_found_on_other_splits() -> None:
    base = dataset(few_colours(400))
    other = Observations(torch.from_numpy(few_colours(300, 10, seed=1).astype(np.uint8)))
    swapped = replace(base, test=other, validation=other)
    assert to_palette(swapped, 20).spec.palette == to_palette(base, 20).spec.palette
    trained = replace(base, train=other)
    assert to_palette(trained, 20).spec.palette != to_palette(base, 20).spec.palette


def test_k_means_finds_clusters_that_are_there() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[20, 20, 20], [230, 40, 40], [40, 60, 220], [240, 240, 230]])
    which = rng.integers(0, 4, (40, 8, 8))
    x = (centres[which] + rng.integers(-6, 7, (40, 8, 8, 3))).transpose(0, 3, 1, 2)
    found = to_palette(dataset(x), 4)
    palette = np.array(found.spec.palette)
    assert np.abs(palette - centres[np.argsort(centres @ [0.299, 0.587, 0.114])]).max() <= 2


@pytest.mark.parametrize("sample", [100_000, 500])
def test_every_load_finds_the_same(monkeypatch: pytest.MonkeyPatch, sample: int) -> None:
    monkeypatch.setattr(palette_module, "_SAMPLE", sample)
    base = dataset(few_colours(700, n=80))
    one = to_palette(base, 16)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 (what a library may draw from)
    monkeypatch.setattr(palette_module, "_PORTION", 100)
    assert to_palette(base, 16).fingerprint == one.fingerprint


def test_a_palette_of_its_own_stays_and_can_be_joined() -> None:
    base = to_palette(dataset(few_colours(30)))
    palette = tuple(reversed(base.spec.palette or ()))
    base = replace(base, spec=replace(base.spec, palette=palette))
    assert to_palette(base) is base
    assert to_palette(base, 30) is base
    fewer = to_palette(base, 12)
    assert (fewer.spec.levels or 0) <= 12
    assert fewer.spec.coding == "palette"


def test_a_palette_becomes_rgb_and_grey() -> None:
    base = dataset(few_colours(30))
    indexed = to_palette(base)
    assert torch.equal(from_palette(indexed).test.x, base.test.x)
    assert reform(indexed, colour="rgb").fingerprint == base.fingerprint
    grey = reform(indexed, colour="grey")
    assert grey.fingerprint == reform(base, colour="grey").fingerprint
    assert reform(indexed, colour="rgb", levels=4).fingerprint == reform(base, levels=4).fingerprint


@pytest.mark.parametrize("side", [3, 5, 7, 16])
def test_resizing_takes_the_nearest_pixel_or_leaves_the_palette(side: int) -> None:
    indexed = to_palette(dataset(few_colours(30)))
    exact = reform(indexed, side=side, colour="palette")
    assert exact.spec.palette == indexed.spec.palette
    for old, new in zip(indexed.test.x.numpy(), exact.test.x.numpy(), strict=True):
        image = Image.frombytes("P", (6, 5), old.tobytes())
        expected = centre_square(image, side)
        assert np.array_equal(new[0], np.asarray(expected))
    mixed = reform(indexed, side=side)
    assert mixed.spec.coding == "plain"
    assert mixed.notes[-1].startswith("colours were mixed")
    assert torch.equal(mixed.test.x, reform(from_palette(indexed), side=side).test.x)


def test_what_meets_the_form_already_stays() -> None:
    indexed = to_palette(dataset(few_colours(30)[:, :, :, :5]))
    assert reform(indexed, side=5, colour="palette", levels=40) is indexed
    assert reform(indexed) is indexed


@settings(max_examples=30, deadline=None, database=None)
@given(
    channels=st.sampled_from([1, 3]),
    levels=st.integers(2, 300),
    colours=st.integers(2, 12),
    seed=st.integers(0, 99),
)
def test_any_pictures_keep_the_laws_of_a_palette(
    channels: int, levels: int, colours: int, seed: int
) -> None:
    x = np.random.default_rng(seed).integers(0, levels, (8, channels, 3, 4))
    x[0, 0, 0, :2] = (0, levels - 1)
    found = to_palette(dataset(x, levels), colours)
    assert 2 <= (found.spec.levels or 0) <= colours
    assert len(set(found.spec.palette or ())) == found.spec.levels
    for split in found.splits.values():
        found.spec.check(split.x)


@pytest.mark.parametrize(
    ("data", "colours", "error", "message"),
    [
        (dataset(np.zeros((8, 1, 2, 2))), None, DataError, "the same colour"),
        (dataset(few_colours(9)), 1, UsageError, "at least 2 colours, got 1"),
        (dataset(np.zeros((8, 5))), None, UsageError, "palette is for pictures"),
        (dataset(few_colours(1100)), 1050, UsageError, "k-means finds 1024 at most"),
    ],
)
def test_what_has_no_palette_is_refused(
    data: Dataset, colours: int | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        to_palette(data, colours)


def test_a_set_that_is_its_levels_takes_no_palette() -> None:
    with pytest.raises(UsageError, match="defined by its 256 levels"):
        reform(dataset(few_colours(9)), colour="palette", fixed=True)


def test_the_catalogue_gives_any_pictures_a_palette(tmp_path: Path) -> None:
    digits = load("digits", colour="palette", levels=4)
    assert (digits.spec.coding, digits.spec.levels) == ("palette", 4)
    np.save(tmp_path / "a.npy", few_colours(40).transpose(0, 2, 3, 1).astype(np.uint8))
    arrays = load(str(tmp_path / "a.npy"), colour="palette")
    assert (arrays.spec.coding, arrays.spec.levels) == ("palette", 40)
    again = load(**{k: v for k, v in arrays.options.items() if k != "data_dir"})
    assert again.fingerprint == arrays.fingerprint
