from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulacra.data.catalogue import NAMES, load
from simulacra.data.dataset import Dataset
from simulacra.data.sets.sprites import read_numbers
from simulacra.ground.errors import DataError


def lines(table: np.ndarray) -> bytes:
    return "\n".join(" ".join(map(str, row)) for row in table.tolist()).encode()


def write(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (167, 3))
    indices = rng.integers(0, 167, (792, 400))
    (folder / "colormap.txt").write_bytes(lines(colours))
    (folder / "pixel_color.txt").write_bytes(lines(indices))
    return colours, indices


def test_every_sprite_is_there_once_in_its_own_numbering(tmp_path: Path) -> None:
    colours, indices = write(tmp_path)
    sprites = load("pokemon-sprites", data_dir=tmp_path)
    assert sprites.spec.event_shape == (1, 20, 20)
    assert (sprites.spec.levels, sprites.spec.ordered) == (167, False)
    assert sprites.spec.palette == tuple(map(tuple, colours.tolist()))
    assert tuple(sprites.counts.values()) == NAMES["pokemon-sprites"].counts
    x = torch.cat([part.x for part in sprites.splits.values()]).flatten(1).numpy()
    assert np.array_equal(np.unique(x, axis=0), np.unique(indices, axis=0))


def test_a_split_keeps_the_rows_upright(tmp_path: Path) -> None:
    write(tmp_path)
    rows = np.repeat(np.arange(20), 20)
    (tmp_path / "pixel_color.txt").write_bytes(lines(np.tile(rows, (792, 1))))
    sprites = load("pokemon-sprites", data_dir=tmp_path)
    assert sprites.train.x[0, 0, :, 7].tolist() == list(range(20))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("pixel_color.txt", lambda b: b.replace(b"\n", b" ", 1), "792 lines, got 791 lines"),
        ("pixel_color.txt", lambda b: b + b"\n\n", "792 lines, got 793"),
        ("pixel_color.txt", lambda b: b"167 " + b[b.index(b" ") + 1 :], "0 … 166 .* line 1:"),
        ("pixel_color.txt", lambda b: b + b" 0", "400 numbers .* line 792"),
        ("pixel_color.txt", lambda b: b"x" + b, "another line 1"),
        ("pixel_color.txt", lambda b: b"-" + b, "another line 1"),
        ("pixel_color.txt", lambda b: b * 4, "more than"),
        ("pixel_color.txt", lambda _: b"", "got 0 lines"),
        ("colormap.txt", lambda b: b"256 0" + b[b.index(b" ", 5) :], "line 1"),
        ("colormap.txt", lambda b: b"\xff" * 9 + b[b.index(b"\n") :], "line 1"),
        ("colormap.txt", lambda b: b[b.index(b"\n") + 1 :], "167 lines, got 166"),
    ],
)
def test_files_that_are_not_as_they_should_be_are_refused(
    tmp_path: Path, name: str, change: object, message: str
) -> None:
    write(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(change(content))  # type: ignore[operator]
    with pytest.raises(DataError, match=message) as caught:
        load("pokemon-sprites", data_dir=tmp_path)
    assert "\n" not in str(caught.value)


def test_windows_line_ends_and_a_last_one_are_taken(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"1 2\r\n3 255\r\n")
    assert read_numbers(tmp_path / "a.txt", 2, 2, 256).tolist() == [[1, 2], [3, 255]]


@settings(
    max_examples=200,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    content=st.binary(max_size=40) | st.text(" \n\r\t0123456789-٣.", max_size=40).map(str.encode)
)
def test_any_bytes_are_the_table_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    try:
        table = read_numbers(tmp_path / "a.txt", 2, 2, 100)
    except DataError:
        words = content.split()
        fits = all(w.isdigit() and len(w) <= 3 and int(w) < 100 for w in words)
        rows = [len(line.split()) for line in content.splitlines()]
        assert not (fits and rows == [2, 2] and len(content) <= 24)
        return
    assert table.ravel().tolist() == [int(word) for word in content.split()]
    assert table.shape == (2, 2)
    assert table.max() < 100


@settings(
    max_examples=20,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_altered_file_gives_sprites_or_an_error(tmp_path: Path, data: st.DataObject) -> None:
    write(tmp_path)
    path = tmp_path / data.draw(st.sampled_from(["colormap.txt", "pixel_color.txt"]))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path.write_bytes(content)
    try:
        sprites = load("pokemon-sprites", data_dir=tmp_path)
    except DataError:
        return
    assert isinstance(sprites, Dataset)
    for part in sprites.splits.values():
        sprites.spec.check(part.x)


def test_the_real_sprites_use_all_colours_and_differ(real_data: Path) -> None:
    if NAMES["pokemon-sprites"].missing(real_data):
        pytest.skip("no pokemon-sprites in the data folder")
    sprites = load("pokemon-sprites", data_dir=real_data)
    x = torch.cat([part.x for part in sprites.splits.values()])
    assert len(x.unique()) == 167
    assert len(x.unique(dim=0)) == 792
    assert (sprites.spec.palette or ())[0] == (255, 255, 255)
    fewer = load("pokemon-sprites", data_dir=real_data, colour="palette", levels=8)
    assert fewer.spec.levels == 8
