from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from simulacra.data import decoding
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.data.folder import load_folder
from simulacra.data.form import Form
from simulacra.data.formats.images import SUFFIXES
from simulacra.data.formats.listing import list_files
from simulacra.ground.errors import DataError, ResourceError, UsageError
from simulacra.ground.spec import DataSpec


def save(path: Path, shape: tuple[int, ...] = (8, 8), value: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(abs(hash(path.name)) % 1000)
    full = rng.integers(0, 256, shape) if value is None else np.full(shape, value)
    Image.fromarray(full.astype(np.uint8)).save(path)


def save_numbered(folder: Path, count: int = 20, shape: tuple[int, ...] = (8, 8)) -> None:
    for i in range(count):
        save(folder / f"{i:03}.png", shape, value=i)


def values(dataset: Dataset) -> list[int]:
    return torch.cat([part.x[:, 0, 0, 0] for part in dataset.splits.values()]).tolist()


def test_loads_every_image_once(tmp_path: Path) -> None:
    save_numbered(tmp_path)
    dataset = load_folder(tmp_path)
    assert dataset.spec.event_shape == (1, 8, 8)
    assert dataset.counts == {"train": 14, "validation": 2, "test": 4}
    assert sorted(values(dataset)) == list(range(20))
    assert dataset.train.context is None
    assert load_folder(tmp_path).fingerprint == dataset.fingerprint


def test_sub_folders_are_classes_in_sorted_order(tmp_path: Path) -> None:
    for number, name in enumerate(["zebra", "ant", "bee"]):
        for i in range(10):
            save(tmp_path / name / "deep" / f"{i}.png", value=number)
    (tmp_path / "empty").mkdir()
    dataset = load_folder(tmp_path)
    assert dataset.class_names == ("ant", "bee", "zebra")
    assert dataset.spec.classes == 3
    of_value = {0: 2, 1: 0, 2: 1}
    for part in dataset.splits.values():
        assert part.context is not None
        assert [of_value[v] for v in part.x[:, 0, 0, 0].tolist()] == part.context.tolist()


def test_images_beside_sub_folders_have_no_classes(tmp_path: Path) -> None:
    save_numbered(tmp_path / "a", 10)
    save_numbered(tmp_path / "b", 10)
    save(tmp_path / "one.png")
    assert load_folder(tmp_path).spec.classes == 0


def test_train_and_test_folders_are_ready_splits(tmp_path: Path) -> None:
    for split, count, value in (("train", 12, 1), ("val", 3, 2), ("test", 4, 3)):
        for name in ("cat", "dog"):
            for i in range(count):
                save(tmp_path / split / name / f"{i}.png", value=10 * value + (name == "dog"))
    dataset = load_folder(tmp_path)
    assert dataset.counts == {"train": 24, "validation": 6, "test": 8}
    assert dataset.class_names == ("cat", "dog")
    for tens, part in enumerate(dataset.splits.values(), start=1):
        assert part.context is not None
        assert torch.equal(part.x[:, 0, 0, 0].long(), 10 * tens + part.context)


def test_hidden_files_are_passed_over_and_endings_compared_without_case(tmp_path: Path) -> None:
    for name in (".hidden.png", ".cache/a.png", "a/B.PNG", "a/notes.txt", "c.JPeg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listing = list_files(tmp_path, SUFFIXES)
    assert listing.files == ("a/B.PNG", "c.JPeg")
    assert listing.others == 1


def test_a_link_to_a_folder_above_ends(tmp_path: Path) -> None:
    save(tmp_path / "a" / "b" / "c.png")
    os.symlink(tmp_path / "a", tmp_path / "a" / "b" / "again")
    listing = list_files(tmp_path, SUFFIXES)
    assert listing.files == ("a/b/c.png",)
    assert listing.again == ("a/b/again",)


def test_one_colour_file_makes_all_rgb(tmp_path: Path) -> None:
    save_numbered(tmp_path)
    save(tmp_path / "colour.png", (8, 8, 3))
    assert load_folder(tmp_path).spec.event_shape == (3, 8, 8)
    assert load_folder(tmp_path, Form(colour="grey")).spec.event_shape == (1, 8, 8)
    (tmp_path / "colour.png").unlink()
    assert load_folder(tmp_path, Form(colour="rgb")).spec.event_shape == (3, 8, 8)


def test_several_sizes_need_a_side(tmp_path: Path) -> None:
    save_numbered(tmp_path)
    save(tmp_path / "wide.png", (8, 30))
    with pytest.raises(DataError, match=r"000.png is 8×8 and wide.png is 30×8: pass --side N"):
        load_folder(tmp_path)
    assert load_folder(tmp_path, Form(side=6)).spec.event_shape == (1, 6, 6)


def test_one_broken_file_in_a_hundred_is_skipped_and_told(tmp_path: Path) -> None:
    save_numbered(tmp_path, 99)
    whole = (tmp_path / "005.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    dataset = load_folder(tmp_path)
    assert sum(dataset.counts.values()) == 99
    assert dataset.notes == ("1 file could not be read and was skipped",)


def test_more_broken_files_are_refused_by_name(tmp_path: Path) -> None:
    save_numbered(tmp_path, 99)
    for i in range(7):
        (tmp_path / f"bad{i}.jpg").write_bytes(b"not an image")
    with pytest.raises(
        DataError, match=r"7 of 106 images .*bad0.jpg.*bad4.jpg.* and 2 more"
    ) as caught:
        load_folder(tmp_path)
    assert "bad5" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no files"),
        (["notes.txt", "deep/more.txt"], "holds 2 other files but no image"),
        ([f"{i}.png" for i in range(9)], "holds 9 images, expected at least 10"),
    ],
)
def test_folders_without_enough_images_are_refused(
    tmp_path: Path, names: list[str], message: str
) -> None:
    for name in names:
        if name.endswith("png"):
            save(tmp_path / name)
        else:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
    with pytest.raises(DataError, match=message):
        load_folder(tmp_path)


def test_images_that_would_not_fit_stop_at_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_numbered(tmp_path)
    # half of it is 1 KiB: less than 20 images of 64 bytes
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 2, "SC_PAGE_SIZE": 1024}.__getitem__)
    with pytest.raises(ResourceError, match="memory: pass a smaller --side"):
        load_folder(tmp_path)
    assert load_folder(tmp_path, Form(side=4)).spec.event_shape == (1, 4, 4)


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_numbered(tmp_path, 200)
    for pixels, size in ((1.5, (12, 12)), (10, (40, 40))):
        save(tmp_path / "bomb.png", size)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(size[0] * size[1] / pixels))
        with pytest.raises(DataError, match=r"bomb.png has more pixels than Pillow's limit"):
            load_folder(tmp_path, Form(side=8))


def test_the_result_does_not_depend_on_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_numbered(tmp_path, 150)
    many = load_folder(tmp_path).fingerprint
    monkeypatch.setattr(decoding.os, "cpu_count", lambda: 1)
    assert load_folder(tmp_path).fingerprint == many


def save_indexed(folder: Path, palette: list[int], *, count: int = 12, suffix: str = "png") -> None:
    """Pictures of indices 0 … 3 in one palette of four colours."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        indices = np.random.default_rng(i).integers(0, 4, (6, 8)).astype(np.uint8)
        indices[0, :4] = range(4)
        image = Image.new("P", (8, 6))
        image.putdata(indices.ravel().tolist())
        image.putpalette(palette)
        image.save(folder / f"{i:02}.{suffix}", optimize=False)


COLOURS = [200, 10, 10, 0, 0, 0, 10, 200, 30, 255, 255, 0]
"""Red, black, green and yellow: neither by luma nor by number."""


@pytest.mark.parametrize("suffix", ["png", "gif", "bmp"])
def test_one_palette_of_all_files_is_kept(tmp_path: Path, suffix: str) -> None:
    save_indexed(tmp_path, [*COLOURS, 1, 2, 3], suffix=suffix)
    dataset = load_folder(tmp_path)
    assert (dataset.spec.levels, dataset.spec.ordered) == (4, False)
    assert dataset.spec.palette == ((200, 10, 10), (0, 0, 0), (10, 200, 30), (255, 255, 0))
    assert dataset.spec.event_shape == (1, 6, 8)
    assert dataset.train.x[:, 0, 0, :4].unique(dim=0).tolist() == [[0, 1, 2, 3]]
    assert len(dataset.notes) == 1
    assert dataset.notes[0].startswith("palette: the 4 colours")
    rgb = load_folder(tmp_path, Form(colour="rgb"))
    assert rgb.spec == DataSpec((3, 6, 8), 256)
    seen = (dataset.spec.to_float(dataset.test.x.long()) * 255).round()
    assert torch.equal(seen, rgb.test.x.float())
    assert load_folder(tmp_path, Form(colour="grey")).spec == DataSpec((1, 6, 8), 256)


def test_a_palette_of_greys_is_grey(tmp_path: Path) -> None:
    save_indexed(tmp_path, [9, 9, 9, 0, 0, 0, 200, 200, 200, 70, 70, 70, 255, 0, 0])
    dataset = load_folder(tmp_path)
    assert dataset.spec == DataSpec((1, 6, 8), 256)
    assert dataset.train.x.unique().tolist() == [0, 9, 70, 200]


def test_several_palettes_are_rgb(tmp_path: Path) -> None:
    save_indexed(tmp_path / "a", COLOURS)
    save_indexed(tmp_path / "b", [*COLOURS[:9], 255, 255, 1])
    assert load_folder(tmp_path).spec == DataSpec((3, 6, 8), 256, classes=2)
    joined = load(str(tmp_path), colour="palette")
    assert joined.spec.levels == 5
    assert joined.spec.classes == 2


def test_a_picture_without_a_palette_makes_all_rgb(tmp_path: Path) -> None:
    save_indexed(tmp_path, COLOURS)
    save(tmp_path / "plain.png", (6, 8))
    assert load_folder(tmp_path).spec == DataSpec((3, 6, 8), 256)


def test_transparency_of_a_palette_is_laid_on_white(tmp_path: Path) -> None:
    save_indexed(tmp_path, COLOURS)
    for place in tmp_path.iterdir():
        Image.open(place).save(place, transparency=bytes([255, 0, 128]))
    palette = load_folder(tmp_path).spec.palette
    assert palette is not None
    assert palette[:2] == ((200, 10, 10), (255, 255, 255))
    # half of green, half of white
    assert np.abs(np.array(palette[2]) - [132, 227, 142]).max() <= 1


def test_resizing_keeps_a_palette_only_if_asked(tmp_path: Path) -> None:
    save_indexed(tmp_path, COLOURS)
    assert load_folder(tmp_path, Form(side=3)).spec == DataSpec((3, 3, 3), 256)
    exact = load_folder(tmp_path, Form(side=3, colour="palette"))
    assert exact.spec.palette == load_folder(tmp_path).spec.palette
    whole = load_folder(tmp_path)
    # the middle of each third of the central square
    assert torch.equal(exact.train.x, whole.train.x[:, :, 1::2, 2:7:2])


def test_the_catalogue_counts_the_colours_of_a_palette(tmp_path: Path) -> None:
    save_indexed(tmp_path, COLOURS)
    assert load(str(tmp_path), colour="palette").spec.palette == load(str(tmp_path)).spec.palette
    fewer = load(str(tmp_path), levels=2)
    assert (fewer.spec.coding, fewer.spec.levels) == ("palette", 2)
    assert load(str(tmp_path), side=4, colour="grey").spec == DataSpec((1, 4, 4), 256)


def test_labels_come_from_file_names(tmp_path: Path) -> None:
    for number, name in enumerate(["zebra", "ant"]):
        for i in range(8):
            save(tmp_path / f"part{i % 2}" / f"{name}_{i}.png", value=number)
    dataset = load_folder(tmp_path, Form(labels="{label}_*"))
    assert dataset.class_names == ("ant", "zebra")
    for part in dataset.splits.values():
        assert part.context is not None
        assert (1 - part.x[:, 0, 0, 0].long()).tolist() == part.context.tolist()
    save(tmp_path / "other.png")
    with pytest.raises(DataError, match="the name 'other' does not fit"):
        load_folder(tmp_path, Form(labels="{label}_*"))


def test_labels_that_tell_nothing_are_refused(tmp_path: Path) -> None:
    for i in range(12):
        save(tmp_path / f"same_{i}.png")
    with pytest.raises(UsageError, match=r"every image of .* the same label, 'same'"):
        load_folder(tmp_path, Form(labels="{label}_*"))
    with pytest.raises(UsageError, match="labels need"):
        load_folder(tmp_path, Form(labels="same"))
