from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from simulacra.data import folder as folder_module
from simulacra.data.dataset import Dataset
from simulacra.data.folder import find_images, load_folder
from simulacra.errors import DataError, ResourceError


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
    assert find_images(tmp_path) == ["a/B.PNG", "c.JPeg"]


def test_a_link_to_a_folder_above_ends(tmp_path: Path) -> None:
    save(tmp_path / "a" / "b" / "c.png")
    os.symlink(tmp_path / "a", tmp_path / "a" / "b" / "again")
    assert find_images(tmp_path) == ["a/b/c.png"]


def test_one_colour_file_makes_all_rgb(tmp_path: Path) -> None:
    save_numbered(tmp_path)
    save(tmp_path / "colour.png", (8, 8, 3))
    assert load_folder(tmp_path).spec.event_shape == (3, 8, 8)
    assert load_folder(tmp_path, colour="grey").spec.event_shape == (1, 8, 8)
    (tmp_path / "colour.png").unlink()
    assert load_folder(tmp_path, colour="rgb").spec.event_shape == (3, 8, 8)


def test_several_sizes_need_a_side(tmp_path: Path) -> None:
    save_numbered(tmp_path)
    save(tmp_path / "wide.png", (8, 30))
    with pytest.raises(DataError, match=r"000.png is 8×8 and wide.png is 30×8: pass --side N"):
        load_folder(tmp_path)
    assert load_folder(tmp_path, side=6).spec.event_shape == (1, 6, 6)


def test_one_broken_file_in_a_hundred_is_skipped_and_told(tmp_path: Path) -> None:
    save_numbered(tmp_path, 99)
    whole = (tmp_path / "005.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    dataset = load_folder(tmp_path)
    assert sum(dataset.counts.values()) == 99
    assert dataset.notes == ("1 files could not be read and were skipped",)


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
    assert load_folder(tmp_path, side=4).spec.event_shape == (1, 4, 4)


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_numbered(tmp_path, 200)
    for pixels, size in ((1.5, (12, 12)), (10, (40, 40))):
        save(tmp_path / "bomb.png", size)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(size[0] * size[1] / pixels))
        with pytest.raises(DataError, match=r"bomb.png has more pixels than Pillow's limit"):
            load_folder(tmp_path, side=8)


def test_the_result_does_not_depend_on_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_numbered(tmp_path, 150)
    many = load_folder(tmp_path).fingerprint
    monkeypatch.setattr(folder_module.os, "cpu_count", lambda: 1)
    assert load_folder(tmp_path).fingerprint == many
