from __future__ import annotations

import gzip
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulacra.data.formats.idx import read_idx
from simulacra.ground.errors import DataError


def idx_bytes(array: np.ndarray) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


IMAGES = np.arange(12 * 3 * 4, dtype=np.uint8).reshape(12, 3, 4)


@pytest.mark.parametrize("name", ["some.gz", "some-idx3-ubyte"])
def test_reads_what_was_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content = idx_bytes(IMAGES)
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert np.array_equal(read_idx(path, 3), IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "magic number 2051, got 0"),
        (idx_bytes(IMAGES[0, 0]), "magic number 2051, got 2049"),
        (b"\0\0\x0d\3" + idx_bytes(IMAGES)[4:], "magic number"),
        (idx_bytes(IMAGES)[:10], "ends within its header"),
        (idx_bytes(IMAGES)[:-1], "should hold 144 values .* only 143"),
        (idx_bytes(IMAGES) + b"x", "should hold 144 values .* got more"),
        (b"\0\0\x08\3" + struct.pack(">3I", 0, 28, 28), "holds no values"),
        (b"\0\0\x08\3" + struct.pack(">3I", 0, 2**32 - 1, 2**32 - 1), "holds no values"),
        (b"\0\0\x08\3" + struct.pack(">3I", 2**31, 28, 28) + bytes(99), "header claims"),
        (b"\0\0\x08\3" + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1), "header claims"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=message):
        read_idx(path, 3)


@pytest.mark.parametrize("cut", [5, 20, 60])
def test_a_cut_or_foreign_gzip_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx_bytes(IMAGES))[:cut])
    with pytest.raises(DataError, match="get the file again"):
        read_idx(path, 3)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(path, 3)


def test_a_flipped_bit_in_the_pixels_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    packed = bytearray(gzip.compress(idx_bytes(IMAGES), compresslevel=0))
    packed[60] ^= 1
    path.write_bytes(packed)
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(path, 3)


@pytest.mark.parametrize("name", ["images.gz", "images"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=f"{name} cannot be read .it is no regular file"):
        read_idx(tmp_path / name, 3)


def test_a_bomb_is_unpacked_no_further_than_its_header_claims(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    header = b"\0\0\x08\3" + struct.pack(">3I", 10, 28, 28)
    path.write_bytes(gzip.compress(header + bytes(200 << 20), compresslevel=1))
    tracemalloc.start()
    with pytest.raises(DataError, match="got more"):
        read_idx(path, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


@given(data=st.data())
@settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_bytes_give_an_array_or_a_data_error(tmp_path: Path, data: st.DataObject) -> None:
    inner = bytearray(idx_bytes(IMAGES))
    for place in data.draw(st.lists(st.integers(0, 15), max_size=3)):
        inner[place] = data.draw(st.integers(0, 255))
    whole = bytearray(gzip.compress(bytes(inner), mtime=0))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=2)):
        whole[place] = data.draw(st.integers(0, 255))
    content = data.draw(
        st.one_of(st.just(bytes(whole)), st.just(bytes(inner)), st.binary(max_size=80))
    )
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    path = tmp_path / data.draw(st.sampled_from(["some.gz", "some"]))
    path.write_bytes(content)
    tracemalloc.start()
    try:
        array = read_idx(path, 3)
    except DataError:
        array = np.empty((0, 0, 0), np.uint8)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 << 20
    assert array.dtype == np.uint8
    assert array.ndim == 3
