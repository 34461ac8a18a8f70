from __future__ import annotations

import os
import re
import wave
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.foreign.samples import read_samples
from simulacra.ground.errors import DataError
from simulacra.ground.spec import DataSpec

RNG = np.random.default_rng(0)
PALETTE = ((0, 0, 0), (255, 0, 0), (0, 128, 255), (0, 0, 0), (250, 250, 250))


def data_of(
    shape: tuple[int, ...] = (1, 6, 5), levels: int | None = 256, *, classes: int = 0, **form
) -> Dataset:
    """A data set of this form, whose observations do not matter but for their highest level."""
    spec = DataSpec(shape, levels, classes=classes, **form)
    top = torch.full((10, *shape), float(levels - 1) if levels else 1.0)
    part = Observations(top if levels is None else top.to(torch.int32))
    names = tuple(f"class {i}" for i in range(classes))
    return Dataset("those", spec, part, part, part, names)


def levels_like(data: Dataset, n: int = 24) -> np.ndarray:
    return RNG.integers(0, data.spec.levels or 2, (n, *data.spec.event_shape))


def write(folder: Path, pixels: np.ndarray, suffix: str = ".png", mode: str | None = None) -> Path:
    """Pictures `(N, C, H, W)` or `(N, H, W)` of 8 bits, a file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, each in enumerate(pixels.astype(np.uint8)):
        plain = each if each.ndim == 2 else each.transpose(1, 2, 0)
        image = Image.fromarray(plain[..., 0] if plain.shape[2:] == (1,) else plain)
        (image.convert(mode) if mode else image).save(folder / f"{i:03}{suffix}")
    return folder


def shown(data: Dataset, x: np.ndarray) -> np.ndarray:
    """Levels as the intensities of 8 bits that `to_float` is written as."""
    return (data.spec.to_float(torch.from_numpy(x)) * 255).round().to(torch.uint8).numpy()


# ---- levels there and back ---------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("levels", [2, 3, 4, 16, 17, 28, 100, 128, 200, 255, 256])
def test_levels_written_as_pictures_come_back(tmp_path: Path, levels: int, channels: int) -> None:
    for data in (
        data_of((channels, 6, 5), levels),
        replace(data_of((channels, 6, 5), levels), options={"levels": levels}),
    ):
        x = levels_like(data)
        read, labels, notes = read_samples(write(tmp_path / "some", shown(data, x)), data)
        assert read.dtype == torch.int64
        assert torch.equal(read, torch.from_numpy(x))
        assert labels is None
        assert notes == ()


@pytest.mark.parametrize("how", [np.rint, np.floor, lambda v: np.floor(v + 0.5)])
@pytest.mark.parametrize("levels", [2, 3, 4, 16, 17, 28, 100, 200, 256])
def test_however_a_program_rounds(tmp_path: Path, levels: int, how) -> None:
    data = data_of((1, 6, 5), levels)
    x = levels_like(data)
    read, _, notes = read_samples(write(tmp_path, how(x * 255 / (levels - 1))), data)
    assert torch.equal(read, torch.from_numpy(x))
    assert notes == ()


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("levels", [2, 4, 17, 200, 256, 1000])
def test_levels_written_as_floats_come_back(tmp_path: Path, levels: int, kind: type) -> None:
    if levels == 1000 and kind is np.float16:
        kind = np.float32
    data = data_of((3, 6, 5), levels)
    x = levels_like(data)
    np.save(tmp_path / "some.npy", (x / (levels - 1)).astype(kind))
    assert torch.equal(read_samples(tmp_path / "some.npy", data)[0], torch.from_numpy(x))


@pytest.mark.parametrize("levels", [2, 4, 7, 16])
def test_pictures_of_the_original_are_quantised_as_the_data_were(
    tmp_path: Path, levels: int
) -> None:
    """What `load` makes of pictures, `read_samples` makes of the same pictures."""
    original = RNG.integers(0, 256, (40, 1, 6, 5))
    write(tmp_path / "own", original)
    data = load(str(tmp_path / "own"), levels=levels)
    read, _, notes = read_samples(tmp_path / "own", data)
    assert torch.equal(read, torch.from_numpy(original * levels // 256))
    assert f"quantised to floor({levels} · x / 256)" in notes[0]
    every = torch.cat([part.x for part in data.splits.values()]).long().flatten(1)
    assert sorted(every.tolist()) == sorted(read.flatten(1).tolist())
    # floats in [0, 1] are the same pictures
    np.save(tmp_path / "some.npy", original.astype(np.float32) / 255)
    assert torch.equal(read_samples(tmp_path / "some.npy", data)[0], read)


def test_what_lies_between_levels_that_are_the_datas_own_takes_the_nearest(tmp_path: Path) -> None:
    data = data_of((1, 6, 5), 17)
    x = levels_like(data)
    noisy = np.clip(shown(data, x).astype(int) + RNG.integers(-6, 7, x.shape), 0, 255)
    read, _, notes = read_samples(write(tmp_path, noisy), data)
    assert torch.equal(read, torch.from_numpy(x))
    assert "% of the values lie between the 17 levels and are taken to the nearest" in notes[0]


@pytest.mark.parametrize("levels", [2, 4, 17, 128])
def test_levels_in_pictures_as_they_are_are_refused(tmp_path: Path, levels: int) -> None:
    data = data_of((1, 6, 5), levels)
    folder = write(tmp_path, levels_like(data))
    with pytest.raises(DataError, match=f"seem to be levels 0 … {levels - 1} as they are"):
        read_samples(folder, data)


def test_black_samples_are_samples(tmp_path: Path) -> None:
    data = data_of((1, 6, 5), 4)
    read, _, notes = read_samples(write(tmp_path, np.zeros((20, 1, 6, 5))), data)
    assert not read.any()
    assert notes == ("no sample has a level above 0, the data go up to 3",)


def test_more_levels_than_8_bits_hold(tmp_path: Path) -> None:
    data = data_of((1, 6, 5), 1000)
    with pytest.raises(DataError, match="1000 levels, more than 8 bits hold"):
        read_samples(write(tmp_path, np.zeros((20, 1, 6, 5))), data)


# ---- colours -----------------------------------------------------------------------------------


def test_grey_samples_are_not_for_colour(tmp_path: Path) -> None:
    grey, colour = RNG.integers(0, 256, (24, 1, 6, 5)), RNG.integers(0, 256, (24, 3, 6, 5))
    rgb = data_of((3, 6, 5))
    np.save(tmp_path / "grey.npy", grey)
    for path in (write(tmp_path / "grey", grey), tmp_path / "grey.npy"):
        with pytest.raises(DataError, match="are grey, those is RGB"):
            read_samples(path, rgb)
    write(tmp_path / "both", colour)
    write(tmp_path / "both" / "more", grey)
    read = read_samples(tmp_path / "both", rgb)[0]
    expected = np.concatenate([colour, grey.repeat(3, 1)])
    assert torch.equal(read, torch.from_numpy(expected))


def test_colour_is_for_grey_only_if_it_is_grey(tmp_path: Path) -> None:
    grey = RNG.integers(0, 256, (24, 1, 6, 5))
    data = data_of((1, 6, 5))
    read = read_samples(write(tmp_path / "rgb", grey, mode="RGB"), data)[0]
    assert torch.equal(read, torch.from_numpy(grey))
    coloured = grey.repeat(3, 1)
    coloured[[3, 7], 1, 2, 2] ^= 1
    np.save(tmp_path / "some.npy", coloured)
    for path in (write(tmp_path / "rgb", coloured), tmp_path / "some.npy"):
        with pytest.raises(DataError, match=r"2 of 24 samples .* have colours, those is grey"):
            read_samples(path, data)


def test_colours_of_a_palette(tmp_path: Path) -> None:
    data = data_of((1, 6, 5), 5, ordered=False, coding="palette", palette=PALETTE)
    x = RNG.choice([0, 1, 2, 4], (24, 1, 6, 5))
    pixels = np.array(PALETTE)[x[:, 0]].transpose(0, 3, 1, 2)
    read, _, notes = read_samples(write(tmp_path / "exact", pixels), data)
    assert torch.equal(read, torch.from_numpy(x))
    assert notes == ()
    pixels[0, :, 0, 0] = (200, 30, 10)
    pixels[1, :, 0, 0] = (255, 255, 255)
    np.save(tmp_path / "near.npy", pixels)
    np.save(tmp_path / "float.npy", pixels / 255)
    for path in (write(tmp_path / "near", pixels), tmp_path / "near.npy", tmp_path / "float.npy"):
        read, _, notes = read_samples(path, data)
        assert read[:2, 0, 0, 0].tolist() == [1, 4]
        assert torch.equal(read[2:], torch.from_numpy(x[2:]))
        assert notes == (
            "0.3% of the pixels (2) have no colour of the palette and take the nearest",
        )
    # pictures stored with that palette, and indices as they are
    np.save(tmp_path / "own.npy", x)
    assert torch.equal(read_samples(tmp_path / "own.npy", data)[0], torch.from_numpy(x))
    (tmp_path / "indexed").mkdir()
    for i, each in enumerate(x[:, 0].astype(np.uint8)):
        image = Image.fromarray(each, mode=None).convert("P")
        image.putdata(each.ravel().tolist())
        image.putpalette([v for colour in PALETTE for v in colour])
        image.save(tmp_path / "indexed" / f"{i:03}.png")
    assert torch.equal(read_samples(tmp_path / "indexed", data)[0], torch.from_numpy(x))


# ---- folders -----------------------------------------------------------------------------------


def test_an_odd_folder(tmp_path: Path) -> None:
    data = data_of()
    x = levels_like(data)
    write(tmp_path / "deep" / "er", x)
    (tmp_path / "notes.txt").write_text("these are samples")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    os.symlink(tmp_path, tmp_path / "deep" / "again")
    read, labels, notes = read_samples(tmp_path, data)
    assert torch.equal(read, torch.from_numpy(x))
    assert labels is None
    assert notes == (
        "1 file with other endings passed over", "1 link to folders read already passed over",
    )  # fmt: skip


def test_folders_named_as_classes_are_labels(tmp_path: Path) -> None:
    data = data_of(classes=3)
    x = levels_like(data, 30)
    write(tmp_path / "class 2" / "deep", x[:10])
    write(tmp_path / "all" / "class 0", x[10:])
    read, labels, notes = read_samples(tmp_path, data)
    assert labels is not None
    assert labels.tolist() == [0] * 20 + [2] * 10
    assert torch.equal(read, torch.from_numpy(np.concatenate([x[10:], x[:10]])))
    assert notes == ()
    write(tmp_path, x[:1])
    none = "the samples have no labels: "
    assert read_samples(tmp_path, data)[1:] == (
        None, (none + "1 file beside the folders of classes",),
    )  # fmt: skip
    write(tmp_path / "class 0" / "class 1", x[:1])
    assert read_samples(tmp_path, data)[1:] == (
        None, (none + "folder class 0/class 1 names more than one class",),
    )  # fmt: skip
    write(tmp_path / "class 9", x[:2])
    told = none + "folder class 9 is not a class (class 0, class 1, class 2)"
    assert read_samples(tmp_path, data)[1:] == (None, (told,))
    write(tmp_path / "a" / "b", x[:1])
    assert read_samples(tmp_path, data)[2] == (
        none + "folders a/b, class 9 are not classes (class 0, class 1, class 2)",
    )
    assert read_samples(tmp_path, data_of(classes=10))[2] == (
        none + "folder a/b is not a class (class 0 … class 9)",
    )
    for i in range(6):
        write(tmp_path / f"b{i}", x[:1])
    assert "folders a/b, b0, b1, b2, b3 and 3 more are" in read_samples(tmp_path, data)[2][0]


def test_a_folder_without_folders_says_nothing_of_classes(tmp_path: Path) -> None:
    data = data_of(classes=3)
    assert read_samples(write(tmp_path, levels_like(data)), data)[1:] == (None, ())


@pytest.mark.parametrize(
    ("count", "told"), [(0, "is empty: exp"), (1, "holds 1 sample"), (19, "holds 19 s")]
)
def test_too_few(tmp_path: Path, count: int, told: str) -> None:
    data = data_of()
    write(tmp_path, levels_like(data, count))
    with pytest.raises(DataError, match=told):
        read_samples(tmp_path, data)


def test_files_but_no_picture(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="holds 1 file but no picture: expected"):
        read_samples(tmp_path, data_of())


def test_another_size_is_never_resized(tmp_path: Path) -> None:
    data = data_of()
    write(tmp_path, levels_like(data))
    for other in ((12, 5), (6, 10)):
        write(tmp_path / "more", RNG.integers(0, 256, (1, *other)))
        with pytest.raises(DataError, match=f"is {other[1]}×{other[0]}, .* 5×6: .* never"):
            read_samples(tmp_path, data)
    write(tmp_path / "more", RNG.integers(0, 256, (1, 12, 10)))
    with pytest.raises(DataError, match=r"more/000.png .* is 10×12, .* those are 5×6: .* never"):
        read_samples(tmp_path, data)
    np.save(tmp_path / "some.npy", RNG.integers(0, 256, (30, 12, 10)))
    with pytest.raises(DataError, match=r"\(1, 6, 5\) as those does.*\(30, 12, 10\).*never"):
        read_samples(tmp_path / "some.npy", data)


def test_one_picture_is_no_set_of_samples(tmp_path: Path) -> None:
    write(tmp_path, RNG.integers(0, 256, (1, 60, 50)))
    path = tmp_path / "000.png"
    with pytest.raises(DataError, match=r"is one file.* pass the .npy with the samples' levels"):
        read_samples(path, data_of())
    np.save(tmp_path / "000.npy", levels_like(data_of()))
    with pytest.raises(DataError, match=r"pass .*/000.npy, or a folder"):
        read_samples(path, data_of())


def test_unreadable_files_are_told_and_at_most_one_in_a_hundred(tmp_path: Path) -> None:
    data = data_of()
    write(tmp_path, levels_like(data, 99))
    (tmp_path / "cut.png").write_bytes((tmp_path / "000.png").read_bytes()[:50])
    read, _, notes = read_samples(tmp_path, data)
    assert len(read) == 99
    (told,) = notes
    assert re.fullmatch(r"1 file could not be read and was skipped: cut.png \(.+\)", told)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(
        DataError, match=r"2 of 101 pictures .* cut.png .*, text.png .it holds text"
    ):
        read_samples(tmp_path, data)
    write(tmp_path / "more", levels_like(data, 99))
    (told,) = read_samples(tmp_path, data)[2]
    assert re.fullmatch(r"2 files .* were skipped: cut.png \(.+\) and 1 more", told)


def test_sixteen_bits_and_transparency_as_in_data(tmp_path: Path) -> None:
    data = data_of((1, 6, 5), 16)
    x = levels_like(data)
    for i, each in enumerate(x[:, 0]):
        Image.fromarray((each * 4369).astype(np.uint16)).save(tmp_path / f"{i:03}.png")
    assert torch.equal(read_samples(tmp_path, data)[0], torch.from_numpy(x))
    rgb = data_of((3, 6, 5))
    pixels = RNG.integers(0, 256, (24, 4, 6, 5))
    pixels[:, 3] = 255
    pixels[:, 3, 0, 0] = 0
    read = read_samples(write(tmp_path / "alpha", pixels), rgb)[0]
    pixels[:, :3, 0, 0] = 255
    assert torch.equal(read, torch.from_numpy(pixels[:, :3]))


def test_one_bit_a_pixel_and_lossy_files(tmp_path: Path) -> None:
    data = data_of((1, 6, 5), 2)
    x = levels_like(data)
    read = read_samples(write(tmp_path / "bits", 255 * x, mode="1"), data)[0]
    assert torch.equal(read, torch.from_numpy(x))
    _, _, notes = read_samples(write(tmp_path / "lossy", 255 * x, ".jpg"), data)
    assert "24 files compressed as JPEG, which changes fine detail" in notes


# ---- arrays ------------------------------------------------------------------------------------


def test_samples_of_our_own(tmp_path: Path) -> None:
    data = load("digits")
    x = data.test.x[:24].long()
    np.save(tmp_path / "samples-0.npy", x.to(torch.uint8).numpy())
    read, labels, notes = read_samples(tmp_path / "samples-0.npy", data)
    assert torch.equal(read, x)
    assert labels is None
    assert notes == ()


def test_channels_may_be_last_or_missing(tmp_path: Path) -> None:
    data, grey = data_of((3, 6, 5)), data_of()
    x = levels_like(data)
    np.save(tmp_path / "last.npy", x.transpose(0, 2, 3, 1))
    assert torch.equal(read_samples(tmp_path / "last.npy", data)[0], torch.from_numpy(x))
    np.save(tmp_path / "none.npy", x[:, 0])
    assert torch.equal(read_samples(tmp_path / "none.npy", grey)[0], torch.from_numpy(x[:, :1]))


@pytest.mark.parametrize("names", [("x", "y"), ("samples", "labels"), ("arr_0", "arr_1")])
def test_labels_beside_arrays(tmp_path: Path, names: tuple[str, str]) -> None:
    data = data_of(classes=3)
    x, y = levels_like(data), RNG.integers(0, 3, 24)
    for labels in (y, y[:, None], np.array([f"class {i}" for i in y])):
        np.savez(tmp_path / "some.npz", **{names[0]: x, names[1]: labels})
        read, found, notes = read_samples(tmp_path / "some.npz", data)
        assert torch.equal(read, torch.from_numpy(x))
        assert found is not None
        assert found.tolist() == y.tolist()
        assert notes == ()
    assert read_samples(tmp_path / "some.npz", data_of())[1:] == (
        None, ("labels passed over: those has none",),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full(24, 3), "labels 3 … 3, expected 0 … 2"),
        (np.full(24, -1), "labels -1 … -1, expected 0 … 2"),
        (np.zeros(23, int), r"should have labels \(24,\)"),
        (np.zeros(24), r"should have labels \(24,\), .* got float64"),
        (np.array(["ant"] * 24), "a label 'ant', no class of those"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, labels: np.ndarray, message: str) -> None:
    data = data_of(classes=3)
    np.savez(tmp_path / "some.npz", x=levels_like(data), y=labels)
    with pytest.raises(DataError, match=message):
        read_samples(tmp_path / "some.npz", data)


UNIT = RNG.random((24, 1, 6, 5))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (2 * UNIT - 1, r"floats -0.99.* … 0.99.*, expected 0 … 1: save \(x \+ 1\) / 2"),
        (255 * UNIT, "expected 0 … 1: divide by 255"),
        (1.1 * UNIT, "expected 0 … 1: clip them"),
        (UNIT - 0.1, "expected 0 … 1: clip them"),
        (np.where(UNIT > 0.9, np.nan, UNIT)[:, :, :1], "should hold pictures"),
        ((300 * UNIT).astype(int), "integers 0 … 299, expected levels 0 … 255"),
        ((200 * UNIT).astype(int) - 1, "integers -1 … 198, expected levels 0 … 255"),
        (UNIT[:0], "an array without samples"),
        (UNIT[:19], "holds 19 samples, expected 20"),
        (np.array(["a"] * 24), "should hold numbers"),
        (np.float64(0.5), "should hold pictures"),
    ],
)
def test_arrays_that_are_no_samples(tmp_path: Path, values: np.ndarray, message: str) -> None:
    np.save(tmp_path / "some.npy", values)
    with pytest.raises(DataError, match=message) as caught:
        read_samples(tmp_path / "some.npy", data_of())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_counted_and_refused(tmp_path: Path, bad: float) -> None:
    values = UNIT.copy()
    values[3, 0, 1, 1] = values[3, 0, 2, 2] = values[9, 0, 0, 0] = bad
    np.save(tmp_path / "some.npy", values)
    with pytest.raises(DataError, match="NaN or infinite values in 2 of 24 samples"):
        read_samples(tmp_path / "some.npy", data_of())
    np.save(tmp_path / "some.npy", values.reshape(24, 30))
    with pytest.raises(DataError, match="NaN or infinite values in 2 of 24 samples"):
        read_samples(tmp_path / "some.npy", data_of((30,), None))


# ---- vectors -----------------------------------------------------------------------------------


def test_vectors(tmp_path: Path) -> None:
    data, x = data_of((3,), None), RNG.normal(size=(24, 3))
    np.save(tmp_path / "some.npy", x)
    np.savetxt(tmp_path / "some.csv", x, delimiter=",", header="a,b,c", comments="")
    np.savetxt(tmp_path / "some.tsv", x, delimiter="\t")
    for name in ("some.npy", "some.csv", "some.tsv"):
        read, labels, _ = read_samples(tmp_path / name, data)
        assert read.dtype == torch.float32
        assert torch.equal(read, torch.from_numpy(x.astype(np.float32)))
        assert labels is None
    assert read_samples(tmp_path / "some.csv", data)[2] == (
        "columns taken in the order of the file: a, b, c",
    )
    with pytest.raises(DataError, match="3 columns of numbers, those has 2"):
        read_samples(tmp_path / "some.csv", data_of((2,), None))
    (tmp_path / "some.csv").write_text("a,b,c\n1,2,3\n1,nan,3\n")
    with pytest.raises(DataError, match=r"line 3, column 'b': a missing value \(NaN\)"):
        read_samples(tmp_path / "some.csv", data)


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow reads .parquet")
    from pyarrow import parquet

    x = RNG.normal(size=(24, 2))
    parquet.write_table(pyarrow.table({"a": x[:, 0], "b": x[:, 1]}), tmp_path / "some.parquet")
    expected = torch.from_numpy(x.astype(np.float32))
    assert torch.equal(read_samples(tmp_path / "some.parquet", data_of((2,), None))[0], expected)
    data = replace(data_of((2,), None), columns=("b", "a"))
    assert torch.equal(read_samples(tmp_path / "some.parquet", data)[0], expected.flip(1))


def csv(path: Path, names: str, x: np.ndarray, labels: str | None = None) -> Path:
    """A table whose last column may be a label, the same in every row."""
    more = "" if labels is None else f",{labels}"
    rows = [",".join(map(str, row)) + more for row in x.tolist()]
    path.write_text("\n".join([names, *rows] if names else rows))
    return path


def test_a_tables_columns_go_by_their_names(tmp_path: Path) -> None:
    x = RNG.normal((0, 100, 200), size=(60, 3))
    data = load(str(csv(tmp_path / "data.csv", "a,b,c", x)))
    expected = torch.from_numpy(x.astype(np.float32))
    same = read_samples(csv(tmp_path / "same.csv", "a,b,c", x), data)
    assert torch.equal(same[0], expected)
    assert same[2] == ()
    for names, order in (("c,a,b", [2, 0, 1]), ("b,c,a", [1, 2, 0])):
        read, _, notes = read_samples(csv(tmp_path / "other.csv", names, x[:, order]), data)
        assert torch.equal(read, expected)
        assert notes == ("columns brought into the order of data.csv by their names: a, b, c",)
    for names, own, lacks in (("a,q,c", "q, a, c", "b, a, c"), ("A,b,c", "A, b, c", "a, b, c")):
        with pytest.raises(DataError, match=f"has the columns {own}; data.csv has {lacks}: give"):
            read_samples(csv(tmp_path / "wrong.csv", names, x), data)
    with pytest.raises(DataError, match=r"has the columns a, b; data\.csv has c, a, b: give"):
        read_samples(csv(tmp_path / "wrong.csv", "a,b", x[:, :2]), data)


def test_a_table_without_a_header_goes_by_the_order_of_its_columns(tmp_path: Path) -> None:
    x = RNG.normal(size=(60, 2))
    expected = torch.from_numpy(x.astype(np.float32))
    headed, bare = csv(tmp_path / "headed.csv", "b,a", x), csv(tmp_path / "bare.csv", "", x)
    for source, samples, told in ((headed, bare, "column 1, column 2"), (bare, headed, "b, a")):
        read, _, notes = read_samples(samples, load(str(source)))
        assert torch.equal(read, expected)
        assert notes == (f"columns taken in the order of the file: {told}",)


def test_labels_may_stand_anywhere_if_they_are_named(tmp_path: Path) -> None:
    x = RNG.normal(size=(60, 2))
    source = csv(tmp_path / "data.csv", "a,b,kind", x, "old")
    source.write_text(source.read_text().replace("old", "new", 30))
    data = load(str(source), labels="kind")
    samples = csv(tmp_path / "some.csv", "b,a,kind", x[:, ::-1], "new")
    # the label first
    lines = [line.rpartition(",") for line in samples.read_text().splitlines()]
    samples.write_text("\n".join(f"{label},{rest}" for rest, _, label in lines))
    read, labels, _ = read_samples(samples, data)
    assert torch.equal(read, torch.from_numpy(x.astype(np.float32)))
    assert labels is not None
    assert {data.class_names[i] for i in labels} == {"new"}


@pytest.mark.parametrize("asked", ["kind", "3", "1"])
def test_a_tables_column_of_labels_may_be_there_or_not(tmp_path: Path, asked: str) -> None:
    data = replace(data_of((2,), None, classes=3), options={"labels": asked})
    x, y = RNG.normal(size=(24, 2)), RNG.integers(0, 3, 24)
    at = 0 if asked == "1" else 2
    heads = ["a", "b"]
    heads.insert(at, "kind")
    rows = [[f"{a}", f"{b}"] for a, b in x]
    (tmp_path / "plain.csv").write_text("\n".join(map(",".join, [["a", "b"], *rows])))
    read, labels, _ = read_samples(tmp_path / "plain.csv", data)
    assert torch.equal(read, torch.from_numpy(x.astype(np.float32)))
    assert labels is None
    for row, label in zip(rows, y, strict=True):
        row.insert(at, f"class {label}")
    (tmp_path / "told.csv").write_text("\n".join(map(",".join, [heads, *rows])))
    read, labels, _ = read_samples(tmp_path / "told.csv", data)
    assert torch.equal(read, torch.from_numpy(x.astype(np.float32)))
    assert labels is not None
    assert labels.tolist() == y.tolist()


def test_vectors_of_levels(tmp_path: Path) -> None:
    data = data_of((4,), 7)
    x = levels_like(data)
    np.save(tmp_path / "some.npy", x)
    assert torch.equal(read_samples(tmp_path / "some.npy", data)[0], torch.from_numpy(x))
    np.save(tmp_path / "some.npy", x / 6)
    with pytest.raises(DataError, match="expected integer levels 0 … 6"):
        read_samples(tmp_path / "some.npy", data)


# ---- sounds ------------------------------------------------------------------------------------


def sounds(folder: Path, data: Dataset, x: np.ndarray, rate: int = 8000) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, each in enumerate(data.spec.to_float(torch.from_numpy(x)).numpy()):
        with wave.open(str(folder / f"{i:03}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(np.rint(each * 32767).astype("<i2").tobytes())
    return folder


SOUND = data_of((50,), 256, classes=2, coding="mu-law", rate=8000)


def test_sounds_come_back(tmp_path: Path) -> None:
    x = levels_like(SOUND)
    sounds(tmp_path / "all" / "class 1", SOUND, x)
    read, labels, notes = read_samples(tmp_path / "all", SOUND)
    assert torch.equal(read, torch.from_numpy(x))
    assert labels is not None
    assert labels.tolist() == [1] * 24
    assert notes == ()
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        for path in sorted(tmp_path.rglob("*.wav")):
            archive.write(path, path.relative_to(tmp_path))
    assert torch.equal(read_samples(tmp_path / "some.zip", SOUND)[0], torch.from_numpy(x))
    np.save(tmp_path / "some.npy", SOUND.spec.to_float(torch.from_numpy(x)).numpy())
    assert torch.equal(read_samples(tmp_path / "some.npy", SOUND)[0], torch.from_numpy(x))
    np.save(tmp_path / "some.npy", np.full((24, 50), 1.5))
    with pytest.raises(DataError, match="expected -1 … 1"):
        read_samples(tmp_path / "some.npy", SOUND)


def test_sounds_of_another_form_are_refused(tmp_path: Path) -> None:
    x = levels_like(SOUND)
    with pytest.raises(DataError, match=r"16000 samples a second, those has 8000: .* never"):
        read_samples(sounds(tmp_path / "fast", SOUND, x, 16_000), SOUND)
    for short in (x[:, :40], np.concatenate([x, x], 1)):
        with pytest.raises(DataError, match=r"is (40|100) samples long, .* are 50: .* never cut"):
            read_samples(sounds(tmp_path / "other", SOUND, short), SOUND)
    with pytest.raises(DataError, match="holds no sound"):
        read_samples(write(tmp_path / "pictures", levels_like(data_of())), SOUND)
    with pytest.raises(DataError, match="is one file"):
        read_samples(tmp_path / "fast" / "000.wav", SOUND)


# ---- what is for something else ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        (
            data_of(),
            "some.csv",
            "samples of those may come as a folder of pictures, one for each sample, "
            "as an .npy or an .npz, got .*some.csv",
        ),
        (data_of(), "some.zip", "as a folder of pictures"),
        (data_of((3,), None), "", "as a .csv, .tsv or .parquet, as an .npy or an .npz"),
        (data_of((3,), 5), "some.csv", "may come as an .npy or an .npz"),
        (SOUND, "some.csv", "as a folder or .zip of sounds"),
        (data_of(), "nowhere", "does not exist"),
        (data_of(), "some.pt", "as a folder of pictures"),
    ],
)
def test_what_is_for_other_data(tmp_path: Path, data: Dataset, name: str, message: str) -> None:
    for file in ("some.csv", "some.pt"):
        (tmp_path / file).write_text("1,2,3\n" * 30)
    zipfile.ZipFile(tmp_path / "some.zip", "w").close()
    with pytest.raises(DataError, match=message):
        read_samples(tmp_path / name, data)
