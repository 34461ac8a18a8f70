from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from simulacra.data.catalogue import NAMES, catalogue, load
from simulacra.ground.errors import DataError, UsageError

DIGITS_FINGERPRINT = "c5b2c85666bbc480ccb09567ba266d4925e723a5a4c7163b98d54b89a34cf638"


def test_digits_never_change() -> None:
    first, second = load("digits"), load("digits")
    assert first.fingerprint == second.fingerprint == DIGITS_FINGERPRINT
    assert first.counts == {"train": 1258, "validation": 180, "test": 359}
    assert first.spec.event_shape == (1, 8, 8)
    assert first.spec.levels == 17
    assert first.split_seed is not None
    first.spec.check(first.train.x)
    assert int(first.train.x.max()) == 16


def test_every_form_of_the_digits_is_another_data_set() -> None:
    forms = [{}, {"levels": 2}, {"levels": 16}, {"side": 12}, {"colour": "rgb"}]
    fingerprints = {load("digits", **form).fingerprint for form in forms}  # type: ignore[arg-type]
    assert len(fingerprints) == len(forms)


def test_a_named_set_in_another_form_keeps_its_labels_and_splits() -> None:
    plain, small = load("digits"), load("digits", side=4, levels=5, colour="rgb")
    assert small.spec.event_shape == (3, 4, 4)
    assert small.spec.levels == 5
    assert small.spec.classes == 10
    for part, other in zip(plain.splits.values(), small.splits.values(), strict=True):
        assert part.context is not None
        assert other.context is not None
        assert torch.equal(part.context, other.context)


def make_folder(place: Path) -> Path:
    place.mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(place / f"{i}.png")
    return place


def make_npz(place: Path) -> Path:
    rng = np.random.default_rng(0)
    path = place.with_suffix(".npz")
    np.savez(path, x=rng.integers(0, 256, (12, 9, 7, 3), dtype=np.uint8), y=np.arange(12))
    return path


@pytest.mark.parametrize("make", [make_folder, make_npz])
def test_options_are_enough_to_load_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path / "some")
    monkeypatch.chdir(tmp_path)
    dataset = load(path.name, side=6, colour="grey", levels=4)
    assert dataset.name == path.name
    assert dataset.spec.event_shape == (1, 6, 6)
    assert dataset.spec.levels == 4
    dataset.spec.check(dataset.test.x)
    monkeypatch.chdir("/")
    again = load(**json.loads(json.dumps(dataset.options)))
    assert again.fingerprint == dataset.fingerprint
    assert again.options == dataset.options


def test_a_folder_and_an_array_of_the_same_images_are_resized_alike(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "some")
    names = sorted(path.name for path in folder.iterdir())
    np.save(tmp_path / "some.npy", np.stack([np.asarray(Image.open(folder / n)) for n in names]))
    for options in ({"side": 5}, {"side": 5, "colour": "grey"}, {"side": 16, "levels": 9}):
        one = load(str(folder), **options)  # type: ignore[arg-type]
        other = load(str(tmp_path / "some.npy"), **options)  # type: ignore[arg-type]
        assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digitz", "no data set is called 'digitz': did you mean 'digits'.*or pass a path"),
        ("", "no data set is called ''"),
        ("./digitz", "digitz does not exist"),
        ("/nowhere/at/all", "/nowhere/at/all does not exist"),
        ("some.npz", "some.npz does not exist"),
        (__file__, r"is one file: expected a folder of pictures or sounds, .* \.csv, \.tsv"),
    ],
)
def test_a_source_that_is_nothing_is_refused(source: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load(source)
    assert "\n" not in str(caught.value)


FREE = {name for name, named in NAMES.items() if not named.files}
"""Sets that need no file: toys, and digits."""


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FREE])
def test_missing_files_are_named_with_where_they_belong(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        DataError, match=r"needs .*no folder is given.*--data-dir or SIMULACRA_DATA"
    ):
        load(name)
    with pytest.raises(DataError) as caught:
        load(name, data_dir=tmp_path)
    message = str(caught.value)
    assert message.startswith(name)
    assert str(tmp_path) in message
    assert all(file in message for files in NAMES[name].files for file in files)
    assert "--data-dir or SIMULACRA_DATA (nothing is downloaded)" in message
    assert "\n" not in message
    with pytest.raises(DataError, match="which is not a folder"):
        load(name, data_dir=tmp_path / "nowhere")


def test_the_catalogue_tells_what_is_here(small_mnist: Callable[..., Path]) -> None:
    rows = {row.name: row for row in catalogue(small_mnist())}
    assert list(rows) == list(NAMES)
    here = {name for name, row in rows.items() if row.available}
    assert "digits" in FREE
    assert here == FREE | {"mnist", "binarized-mnist-dynamic", "stacked-mnist"}
    assert "data_batch_3.bin" in rows["cifar10"].missing
    assert {row.name for row in catalogue() if row.available} == FREE
    assert {row.name for row in catalogue("/nowhere") if row.available} == FREE
    for row in rows.values():
        if row.name in FREE:
            dataset = load(row.name)
            assert tuple(dataset.counts.values()) == row.counts
            assert dataset.spec.event_shape == row.event_shape
            assert (dataset.spec.levels, dataset.spec.classes) == (row.levels, row.classes)
            assert dataset.description == row.description


def test_the_variable_names_the_folder_and_the_argument_wins(
    small_mnist: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = small_mnist()
    monkeypatch.setenv("SIMULACRA_DATA", str(folder))
    dataset = load("mnist")
    assert dataset.options["data_dir"] == str(folder)
    assert load("mnist", data_dir=folder / "mnist").fingerprint == dataset.fingerprint
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="not found in"):
        load("mnist", data_dir=empty)


@pytest.mark.parametrize("option", [{"side": 14}, {"levels": 3}, {"colour": "rgb"}])
def test_binarised_sets_keep_their_form(
    small_mnist: Callable[..., Path], option: dict[str, int]
) -> None:
    with pytest.raises(UsageError, match="binarized-mnist-dynamic is defined by its 2 levels"):
        load("binarized-mnist-dynamic", data_dir=small_mnist(), **option)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"side": 0}, "side needs at least 1 pixel, got 0"),
        ({"levels": 1}, "levels needs 2 to 65536, got 1"),
        ({"levels": 10**9}, "levels needs 2 to 65536"),
        ({"colour": "green"}, "colour is grey, rgb or palette, got 'green'"),
        ({"window": 0}, "window needs at least 1 sample, got 0"),
        ({"rate": -1}, "rate needs at least 1 sample a second, got -1"),
        ({"shift": 0}, "shift needs at least 1 pixel"),
        ({"limit": 0}, "limit needs at least 1 observation"),
        ({"sides": 3}, "data have no option 'sides': did you mean 'side'"),
    ],
)
def test_bad_options_are_refused_before_anything_is_read(
    option: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load("/nowhere", **option)


@pytest.mark.parametrize("option", [{"window": 5}, {"rate": 8000}, {"limit": 3}])
def test_options_for_another_kind_of_data_are_refused(
    tmp_path: Path, option: dict[str, int]
) -> None:
    (name,) = option
    path = tmp_path / "some.npy"
    np.save(path, np.zeros((12, 4, 4), np.uint8))
    for source in ("digits", "moons", str(path), str(make_folder(tmp_path / "folder"))):
        with pytest.raises(UsageError, match=f"{name} is for"):
            load(source, **option)


def test_options_of_pictures_are_not_for_vectors(tmp_path: Path) -> None:
    np.save(tmp_path / "some.npy", np.random.default_rng(0).normal(size=(20, 3)))
    for option in ({"side": 4}, {"colour": "grey"}, {"flip": True}):
        with pytest.raises(UsageError, match="is for pictures"):
            load(str(tmp_path / "some.npy"), **option)  # type: ignore[arg-type]
