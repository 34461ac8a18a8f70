"""Large folders of pictures: decoded once into a cache, of which rows are read when asked for."""

from __future__ import annotations

import copy
import errno
import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import simulacra as sim
from simulacra.data import decoding, pictures
from simulacra.data.dataset import Dataset
from simulacra.data.stored import OpenFile, StoredRows, rows_in
from simulacra.ground import caching
from simulacra.ground.errors import DataError, ResourceError
from simulacra.judging.figures import sample_judge
from simulacra.runs.run import Run
from simulacra.training import loop

pytestmark = pytest.mark.skipif(not hasattr(os, "preadv"), reason="no reading by position here")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIMULACRA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def large(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every folder is large."""
    monkeypatch.setattr(decoding, "LARGE", 1)
    return cache


def draw(folder: Path, count: int = 12, shape: tuple[int, ...] = (6, 5, 3), seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03}.png")
    return folder


def caches(cache: Path) -> list[Path]:
    return sorted((cache / "pictures").glob("*.levels")) if cache.exists() else []


def in_memory(folder: Path, **form: Any) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "LARGE", 1 << 40)
        patch.setenv("SIMULACRA_CACHE", str(folder.parent / "none"))
        dataset = sim.load_data(str(folder), **form)
    assert isinstance(dataset.train.x, torch.Tensor)
    return dataset


def stored(folder: Path, **form: Any) -> Dataset:
    dataset = sim.load_data(str(folder), **form)
    assert all(isinstance(part.x, StoredRows) for part in dataset.splits.values())
    return dataset


def assert_same(one: Dataset, other: Dataset) -> None:
    assert one.fingerprint == other.fingerprint
    for field in ("name", "spec", "class_names", "description", "notes", "split_seed", "options"):
        assert getattr(one, field) == getattr(other, field), field
    for mine, its in zip(one.splits.values(), other.splits.values(), strict=True):
        assert mine.x.shape == its.x.shape
        assert mine.x.dtype == its.x.dtype
        assert torch.equal(mine.x[:], its.x[:])
        assert (mine.context is None) == (its.context is None)
        if mine.context is not None and its.context is not None:
            assert mine.context.dtype == its.context.dtype
            assert torch.equal(mine.context, its.context)


def palettes(folder: Path, kind: str) -> Path:
    """Pictures with palettes: the same in all, another in each, or only in some."""
    draw(folder, 12, (6, 5, 3))
    base = Image.open(folder / "000.png").quantize(8)
    for i, path in enumerate(sorted(folder.iterdir())):
        with Image.open(path) as image:
            each = image.quantize(8) if kind == "several" else image.quantize(palette=base)
        if kind != "some" or i % 2:
            each.save(path)
    return folder


def mixed(folder: Path) -> Path:
    draw(folder, 6, (6, 5))
    draw(folder / "more", 7, (6, 5, 3), seed=1)
    return folder


def labelled(folder: Path) -> Path:
    for split, count in (("train", 9), ("val", 4), ("test", 5)):
        for seed, name in enumerate(("cat", "dog")):
            draw(folder / split / name, count, (4, 4), seed=seed)
    (folder / "train" / "eel").mkdir()
    return folder


def broken(folder: Path) -> Path:
    draw(folder, 120, (3, 3))
    (folder / "050.png").write_bytes(b"no picture")
    frames = [Image.fromarray(np.full((3, 3), i, np.uint8)) for i in (1, 9)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    return folder


FOLDERS: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "rgb": (draw, {}),
    "grey": (lambda folder: draw(folder, shape=(6, 5)), {}),
    "resized": (draw, {"side": 9}),
    "converted": (draw, {"colour": "grey", "side": 4}),
    "quantised": (draw, {"levels": 5}),
    "grey and rgb": (mixed, {}),
    "one palette": (lambda folder: palettes(folder, "one"), {}),
    "fewer colours": (lambda folder: palettes(folder, "one"), {"levels": 3}),
    "several palettes": (lambda folder: palettes(folder, "several"), {}),
    "some palettes": (lambda folder: palettes(folder, "some"), {}),
    "colours found": (draw, {"colour": "palette", "levels": 6}),
    "many colours": (draw, {"colour": "palette", "levels": 300}),
    "colours resized": (lambda folder: palettes(folder, "one"), {"side": 3}),
    "labelled": (labelled, {}),
    "labelled by name": (lambda folder: draw(folder, 12), {"labels": "0{label}*"}),
    "broken": (broken, {}),
    "changing": (draw, {"flip": True, "shift": 1}),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_cache_holds_what_memory_would(name: str, tmp_path: Path, large: Path) -> None:
    make, form = FOLDERS[name]
    folder = make(tmp_path / "pictures")
    if name == "labelled by name":
        for i in range(12):
            (folder / f"{i:03}.png").rename(folder / f"0{'ab'[i % 2]}_{i}.png")
        form = {"labels": "0{label}_*"}
    expected = in_memory(folder, **form)
    first = stored(folder, **form)
    assert len(caches(large)) == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "load_folder", None)
        second = stored(folder, **form)
    for dataset in (first, second):
        assert_same(dataset, expected)
    assert [p.name for p in large.iterdir()] == ["pictures"], "nothing is left beside the cache"


def test_what_cannot_be_written_is_read_all_the_same(tmp_path: Path, large: Path) -> None:
    """The cache failed after decoding: rows are made of decoded pictures whenever they are read."""
    for name in ("grey and rgb", "some palettes", "fewer colours", "colours found"):
        make, form = FOLDERS[name]
        folder = make(tmp_path / name)
        with pytest.MonkeyPatch.context() as patch:

            def full(*_: object) -> None:
                raise OSError(28, "No space left on device")

            patch.setattr(pictures, "_keep", full)
            dataset = stored(folder, **form)
        assert_same(dataset, in_memory(folder, **form))
    assert not caches(large)


def test_small_folders_have_no_cache(tmp_path: Path, cache: Path) -> None:
    dataset = sim.load_data(str(draw(tmp_path / "pictures")))
    assert isinstance(dataset.train.x, torch.Tensor)
    assert not cache.exists()


def test_files_of_many_bytes_count_as_large(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = draw(tmp_path / "pictures", shape=(40, 40, 3))
    monkeypatch.setattr(decoding, "LARGE", 12 * 40 * 40)
    stored(folder, side=2)
    assert caches(cache)


def touch(folder: Path) -> None:
    os.utime(folder / "003.png", ns=(1, 1))


def rename(folder: Path) -> None:
    (folder / "003.png").rename(folder / "zzz.png")


def add(folder: Path) -> None:
    shutil.copy2(folder / "003.png", folder / "100.png")


def remove(folder: Path) -> None:
    (folder / "003.png").unlink()


def replace_one(folder: Path) -> None:
    path = folder / "003.bmp"
    size = path.stat().st_size
    Image.fromarray(np.full((6, 5, 3), 7, np.uint8)).save(path)
    assert path.stat().st_size == size


def empty_folder(folder: Path) -> None:
    (folder / "empty").mkdir()


@pytest.mark.parametrize("change", [touch, rename, add, remove, replace_one, empty_folder])
def test_a_change_of_the_folder_is_noticed(
    change: Callable[[Path], None], tmp_path: Path, large: Path
) -> None:
    folder = draw(tmp_path / "pictures")
    if change is replace_one:
        for path in folder.iterdir():
            with Image.open(path) as image:
                image.save(path.with_suffix(".bmp"))
            path.unlink()
    before = stored(folder)
    rows, fingerprint = before.train.x[:], before.fingerprint
    (old,) = caches(large)
    content = old.read_bytes()
    change(folder)
    after = stored(folder)
    assert_same(after, in_memory(folder))
    assert (after.fingerprint == fingerprint) == (change in (touch, empty_folder))
    assert caches(large) == [old], "the new one takes the place of the old"
    assert old.read_bytes() != content
    assert torch.equal(before.train.x[:], rows), "who has the old one open goes on reading it"


def test_other_files_are_no_change(tmp_path: Path, large: Path) -> None:
    folder = draw(tmp_path / "pictures")
    stored(folder)
    (content,) = (place.read_bytes() for place in caches(large))
    (folder / "notes.txt").touch()
    assert_same(stored(folder), in_memory(folder))
    assert caches(large)[0].read_bytes() == content


@pytest.mark.parametrize("why", ["denied", "a wrong disk", "gone"])
def test_what_could_not_be_read_is_tried_again(
    why: str, tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, read = draw(tmp_path / "pictures", 120), decoding.read_picture
    number = {"denied": errno.EACCES, "a wrong disk": errno.EIO, "gone": errno.ENOENT}[why]

    def fail(path: Path, **form: Any) -> Any:
        if path.name == "050.png":
            raise OSError(number, os.strerror(number), str(path))
        return read(path, **form)

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "read_picture", fail)
        assert stored(folder).notes == ("1 file could not be read and was skipped",)
    assert not caches(large)
    assert_same(stored(folder), in_memory(folder))
    assert caches(large)


def test_what_changes_while_it_is_decoded_is_not_kept(
    tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = draw(tmp_path / "pictures")

    def load_and_touch(*given: Any) -> Dataset:
        dataset = load_folder(*given)
        touch(folder)
        return dataset

    load_folder = pictures.load_folder
    monkeypatch.setattr(pictures, "load_folder", load_and_touch)
    dataset = stored(folder)
    assert not caches(large)
    assert_same(dataset, in_memory(folder))


def test_each_form_has_a_cache_and_gone_folders_have_none(tmp_path: Path, large: Path) -> None:
    folder = draw(tmp_path / "pictures")
    stored(folder)
    stored(folder, side=3).fingerprint  # noqa: B018 (noted beside its rows)
    stored(folder, flip=True)
    assert len(caches(large)) == 2
    shutil.rmtree(folder)
    stored(draw(tmp_path / "others"))
    assert len(caches(large)) == 1
    assert len(list((large / "pictures").iterdir())) == 1


@pytest.mark.parametrize("where", ["start", "levels", "record", "end", "nothing", "text"])
def test_a_broken_cache_is_made_anew(where: str, tmp_path: Path, large: Path) -> None:
    folder = draw(tmp_path / "pictures")
    expected = stored(folder)
    (place,) = caches(large)
    whole = place.read_bytes()
    size = sum(expected.counts.values()) * expected.spec.dims
    broken = {
        "start": whole[10:],
        "levels": whole[: size // 2],
        "record": whole[:size] + whole[size:].replace(b"Images", b"Imagos"),
        "end": whole[:-1],
        "nothing": b"",
        "text": b"no cache" * 100,
    }
    place.write_bytes(broken[where])
    assert_same(stored(folder), in_memory(folder))
    rebuilt = place.read_bytes()
    assert rebuilt[:size] == whole[:size]
    assert len(rebuilt) == len(whole)


def test_a_cache_that_is_cut_while_in_use_is_told(tmp_path: Path, large: Path) -> None:
    dataset = stored(draw(tmp_path / "pictures"))
    os.truncate(caches(large)[0], 10)
    with pytest.raises(DataError, match="cut while in use: run again"):
        dataset.test.x[:]


@pytest.mark.parametrize("why", ["a file", "no room"])
def test_without_a_place_for_it_pictures_are_in_memory(
    why: str, tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = draw(tmp_path / "pictures")
    if why == "a file":
        large.write_text("in the way")
    else:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))  # type: ignore[attr-defined]
    dataset = sim.load_data(str(folder))
    assert isinstance(dataset.train.x, torch.Tensor)
    assert_same(dataset, in_memory(folder))

    def refuse(*_: object) -> None:
        raise ResourceError("pictures would take 9 GiB of memory")

    monkeypatch.setattr(decoding, "ensure_room", refuse)
    with pytest.raises(ResourceError, match=r"9 GiB of memory; or name a folder .*SIMULACRA_CACHE"):
        sim.load_data(str(folder))


def test_what_killed_processes_left_is_removed(tmp_path: Path, large: Path) -> None:
    (large / "pictures").mkdir(parents=True)
    old, new = (large / "pictures" / f".partial-{name}" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half of it")
    os.utime(old, (1, 1))
    stored(draw(tmp_path / "pictures"))
    assert not old.exists()
    assert new.exists(), "another process may be writing it"


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write() -> None:
        with caching.replacing(path) as file:
            file.write(b"new")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        write()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def _load(folder: Path, prints: Any) -> None:
    decoding.LARGE = 1
    for _ in range(3):
        prints.put(sim.load_data(str(folder)).fingerprint)
        # so that the next one writes while others read
        os.utime(folder / "000.png")


def test_processes_do_not_harm_one_another(tmp_path: Path, large: Path) -> None:
    folder = draw(tmp_path / "pictures")
    expected = in_memory(folder).fingerprint
    # a fork has everything imported; it runs no threads of torch
    fork = multiprocessing.get_context("fork")
    prints = fork.Queue()
    others = [fork.Process(target=_load, args=(folder, prints)) for _ in range(2)]
    for process in others:
        process.start()
    found = [prints.get(timeout=60) for _ in range(6)]
    for process in others:
        process.join()
    assert set(found) == {expected}
    assert not list((large / "pictures").glob(".partial-*"))
    assert stored(folder).fingerprint == expected


def test_threads_read_their_own_rows(tmp_path: Path, large: Path) -> None:
    x = stored(draw(tmp_path / "pictures", 60)).train.x
    expected, wrong = x[:], []

    def read(seed: int) -> None:
        rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        wrong.extend(seed for _ in range(30) if not torch.equal(x[rows], expected[rows]))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- rows --------------------------------------------------------------------------------------


@pytest.fixture
def rows(tmp_path: Path) -> tuple[StoredRows, torch.Tensor]:
    x = torch.arange(20 * 6, dtype=torch.int16).reshape(20, 2, 3)
    path = tmp_path / "rows"
    path.write_bytes(b"head" + x.numpy().tobytes())
    file = OpenFile(os.open(path, os.O_RDONLY))
    return StoredRows(rows_in(file, 4, (2, 3), torch.int16), torch.arange(20)), x


@pytest.mark.parametrize(
    "indices",
    [
        torch.tensor([3, 17, 3, 0]),
        torch.tensor([-1, 5]),
        torch.tensor([], dtype=torch.long),
        torch.arange(20) % 3 == 1,
        torch.tensor([[1, 2], [19, 0]]),
        slice(None),
        slice(4, 15, 3),
        slice(0, 0),
        7,
        ...,
        None,
        (),
        (3,),
        (slice(None), 0),
        (slice(2, 9, 2), slice(None), slice(1, 3)),
        (torch.tensor([3, 17, 3]), slice(None), slice(1, 3)),
        (torch.tensor([3, 17, 3]), torch.tensor([0, 1, 1]), 2),
        (torch.tensor([[3], [17]]), torch.tensor([0, 1])),
        (torch.arange(20) % 3 == 1, ..., -1),
        (7, slice(None), torch.tensor([2, 0])),
        (-1, 1, 2),
        (torch.tensor(4), 1),
        ([1, 2], slice(None), 0),
        (..., 2),
        (None, slice(4), 1),
        (slice(4), None),
    ],
    ids=str,
)
def test_any_index_gives_what_a_tensor_gives(
    rows: tuple[StoredRows, torch.Tensor], indices: Any
) -> None:
    stored, x = rows
    assert torch.equal(stored[indices], x[indices])
    assert stored[indices].dtype == x.dtype


def test_rows_outside_are_refused(rows: tuple[StoredRows, torch.Tensor]) -> None:
    with pytest.raises(IndexError):
        rows[0][torch.tensor([20])]
    with pytest.raises(IndexError):
        rows[0][20]
    for beyond in ((0, 2), (slice(None), 0, 0, 0), (torch.tensor([20]), 0)):
        with pytest.raises(IndexError):
            rows[0][beyond]


def test_what_else_a_tensor_has_is_told(rows: tuple[StoredRows, torch.Tensor]) -> None:
    for name in ("float", "mean", "ndim", "__array__"):
        with pytest.raises(AttributeError, match=rf"no '{name}': x\[:\] reads all of them"):
            getattr(rows[0], name)
    assert torch.equal(copy.copy(rows[0])[:], rows[1])


def test_rows_are_chosen_from_chosen_rows(rows: tuple[StoredRows, torch.Tensor]) -> None:
    stored, x = rows
    some, few = torch.tensor([9, 2, 14, 2]), torch.tensor([3, 0])
    twice = stored.take(some).take(few)
    assert torch.equal(twice[:], x[some][few])
    assert twice.shape == (2, 2, 3)
    assert torch.equal(torch.cat(list(stored.take(some).split(3))), x[some])
    doubled = stored.take(some).changed(lambda rows: rows[:, :1].long() * 2).take(few)
    assert torch.equal(doubled[:], 2 * x[some][few][:, :1].long())
    assert doubled.dtype == torch.int64


def test_rows_are_not_held(rows: tuple[StoredRows, torch.Tensor]) -> None:
    stored, x = rows
    first = stored[:2]
    first.zero_()
    assert torch.equal(stored[:2], x[:2])
    held = [v for v in vars(stored).values() if isinstance(v, torch.Tensor)]
    assert sum(v.numel() for v in held) == len(x), "the places alone"


def test_fingerprints_are_noted_for_these_rows_alone(
    tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = draw(tmp_path / "pictures")
    plain, flipped = stored(folder), stored(folder, flip=True)
    expected = [data.fingerprint for data in (plain, flipped)]
    assert expected == [in_memory(folder, **f).fingerprint for f in ({}, {"flip": True})]
    memory = in_memory(folder)
    for rows in (torch.tensor([0, 1]), torch.tensor([1, 0])):
        few = replace(plain, train=plain.train.take(rows))
        assert few.fingerprint == replace(memory, train=memory.train.take(rows)).fingerprint
    labels = replace(plain, train=replace(plain.train, context=torch.zeros(len(plain.train))))
    assert labels.fingerprint not in expected

    def refuse(*_: object) -> None:
        raise AssertionError("levels are read again")

    again = [stored(folder), stored(folder, flip=True)]
    monkeypatch.setattr(StoredRows, "split", refuse)
    assert [data.fingerprint for data in again] == expected
    for path in (large / "pictures").glob("*.json"):
        path.write_text(json.dumps([1, 2]))
    with pytest.raises(AssertionError, match="read again"):
        stored(folder).fingerprint  # noqa: B018


def test_a_fingerprint_is_not_that_of_levels_that_were_altered(tmp_path: Path, large: Path) -> None:
    folder = draw(tmp_path / "pictures")
    before, early = stored(folder), stored(folder)
    expected = before.fingerprint
    (place,) = caches(large)
    written = place.stat().st_mtime_ns
    with place.open("r+b") as file:
        file.write(bytes(20))
    # a clock of few ticks a second may not have gone on
    os.utime(place, ns=(written, written + 1))
    assert stored(folder).fingerprint != expected
    assert early.fingerprint == stored(folder).fingerprint, "it reads the same file"


# ---- training ----------------------------------------------------------------------------------


def trained(folder: Path, data: Dataset, *, stop: int = 0) -> dict[str, Any]:
    """Weights of a training of six steps, in one go or with a break."""
    run = Run.create(
        folder,
        model="nice",
        keywords={"hidden": (8,)},
        data=data,
        options=sim.Options(batch=8, device="cpu", seed=3),
        budget=sim.Budget.parse("6steps"),
    )
    if stop:
        seen: list[int] = []
        run.train(
            data, on_record=lambda r: seen.append(r.step), should_stop=lambda: len(seen) == stop - 1
        )
        assert seen == list(range(1, stop + 1))
        run = Run.open(folder)
        data = run.dataset()
        assert isinstance(data.train.x, StoredRows)
    run.train(data)
    return run.model().state_dict()


def test_training_and_resuming_are_the_same_bit_for_bit(tmp_path: Path, large: Path) -> None:
    folder = draw(tmp_path / "pictures", 40, (4, 4, 3))
    expected = trained(tmp_path / "memory", in_memory(folder, flip=True))
    found = trained(tmp_path / "cached", stored(folder, flip=True), stop=2)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_sweeps_are_the_same_bit_for_bit(tmp_path: Path, large: Path) -> None:
    folder = draw(tmp_path / "pictures", 40, (2, 2, 3))
    weights = [
        sim.fit(sim.build("gmm", data.spec, {"components": 2}), data, "2steps").state_dict()
        for data in (in_memory(folder), stored(folder))
    ]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_large_pictures_are_prepared_from_few(
    tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = stored(draw(tmp_path / "pictures", 300, (4, 4)))
    model = sim.build("nice", data.spec, {"hidden": (8,)})
    seen: list[int] = []
    monkeypatch.setattr(type(model), "prepare", lambda *given: seen.append(len(given[1])))
    for values in (loop._PREPARE_VALUES, 150 * 16, 16):
        monkeypatch.setattr(loop, "_PREPARE_VALUES", values)
        sim.Training(model, data.train, data.validation, sim.Options(batch=8, device="cpu"))
    assert seen == [210, 150, 128]


def test_a_batch_reads_its_rows_alone(
    tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = stored(draw(tmp_path / "pictures", 30))
    read: list[int] = []
    fill = OpenFile.fill

    def count(self: OpenFile, buffer: memoryview, offset: int) -> None:
        read.append(len(buffer))
        fill(self, buffer, offset)

    monkeypatch.setattr(OpenFile, "fill", count)
    x, _ = data.train.batch(torch.tensor([5, 1, 9]))
    assert x.shape == (3, 3, 6, 5)
    assert read == [90, 90, 90]


class Flat:
    """A view of the values themselves."""

    name, learned = "values", False

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).double()

    def log_probabilities(self, x: torch.Tensor) -> None:
        return None


def test_samples_are_judged_as_in_memory(
    tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_judge, "_ROWS", 40)
    folder = draw(tmp_path / "pictures", 220, (1, 2))
    memory, cached = in_memory(folder), stored(folder)
    # copies of training, of validation and of test observations, and one that is new
    samples = torch.cat([part.x[:8] for part in memory.splits.values()] + [255 - memory.test.x[:1]])
    one, other = (sample_judge.SampleJudge(data, [Flat()]) for data in (memory, cached))
    assert torch.equal(one.independent(), other.independent())
    assert torch.equal(one.seen[0].train, other.seen[0].train)
    found = one.judge(samples.long())
    assert found == other.judge(samples.long())
    assert found.whole["duplicates"].value > 0
    assert found.whole["leaked"].value > 0


def test_labels_of_parts_and_groups_come_back(tmp_path: Path, large: Path) -> None:
    """And without the groups it is another cache."""
    draw(tmp_path / "drawn", 24)
    folder = tmp_path / "people"
    folder.mkdir()
    for i, place in enumerate(sorted((tmp_path / "drawn").iterdir())):
        place.rename(folder / f"p{i // 4}_{'ab'[i % 2]}_{i % 4 // 2}.{i}.png")
    labels, groups = "*_{kind}_{number}.*", "{group}_*"
    first, again = (stored(folder, labels=labels, groups=groups) for _ in range(2))
    known = in_memory(folder, labels=labels, groups=groups)
    assert again.part_names == known.part_names == {"kind": ("a", "b"), "number": ("0", "1")}
    for dataset in (first, again):
        assert_same(dataset, known)
        for split, expected in zip(dataset.splits.values(), known.splits.values(), strict=True):
            assert split.context is not None
            assert split.context.shape == (len(split), 2)
            assert split.groups is not None
            assert expected.groups is not None
            assert torch.equal(split.groups, expected.groups)
    people = [set(split.groups.tolist()) for split in again.splits.values()]
    assert sum(map(len, people)) == 6
    assert stored(folder, labels=labels).train.groups is None
