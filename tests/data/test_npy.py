from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulacra.data.npy import NpzFile, read_npy
from simulacra.errors import DataError


def npy_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(60, dtype=np.uint8).reshape(5, 4, 3),
        np.asfortranarray(np.arange(60.0).reshape(5, 4, 3)),
        np.arange(7, dtype=">i4"),
        np.array(["cat", "dog"]),
        np.zeros((0, 3)),
        np.array(3),
    ],
)
def test_reads_what_numpy_wrote(tmp_path: Path, array: np.ndarray) -> None:
    path = tmp_path / "a.npy"
    np.save(path, array)
    np.savez_compressed(tmp_path / "b.npz", first=array, second=array[..., None])
    read = read_npy(path)
    assert np.array_equal(read, array)
    assert read.dtype == array.dtype
    with NpzFile(tmp_path / "b.npz") as npz:
        assert npz.names == ("first", "second")
        assert np.array_equal(npz.read("second"), array[..., None])


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    touched = tmp_path / "touched"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (touched,))  # type: ignore[return-value]

    objects = np.array([Trap()] * 20, dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "b.npz", x=objects)
    with pytest.raises(DataError, match="pickled Python objects"):
        read_npy(tmp_path / "a.npy")
    with (
        NpzFile(tmp_path / "b.npz") as npz,
        pytest.raises(DataError, match="pickled Python objects"),
    ):
        npz.read("x")
    assert not touched.exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"(20, 4)", b"(99, 4)", "claims 396 bytes .* holds 80"),
        (b"(20, 4)", b"(2, 40)", ""),
        (b"(20, 4)", b"(9**9,)", "cannot be read"),
        (b"(20, 4)", b"(-20,4)", "claims"),
        (b"(20, 4)", b"(10, 4)", "claims 40 bytes .* holds 80"),
        (b"'|u1'", b"'|V1'", "should hold numbers"),
        (b"(20, 4)", b"(20, 4,", "cannot be read"),
        (b"\x93NUMPY", b"\x93NUMPX", "cannot be read"),
    ],
)
def test_a_header_that_lies_is_refused(
    tmp_path: Path, old: bytes, new: bytes, message: str
) -> None:
    path = tmp_path / "a.npy"
    content = npy_bytes(np.zeros((20, 4), np.uint8))
    assert old in content
    path.write_bytes(content.replace(old, new))
    if not message:
        assert read_npy(path).shape == (2, 40)
        return
    with pytest.raises(DataError, match=message):
        read_npy(path)


def test_a_huge_claim_allocates_nothing(tmp_path: Path) -> None:
    content = npy_bytes(np.zeros((20, 4), np.uint8))
    header = content[10:].split(b"\n")[0]
    huge = header.replace(b"(20, 4)", b"(99999999999, 4)").rstrip(b" ").ljust(len(header))
    content = content.replace(header, huge)
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("x.npy", content)
    tracemalloc.start()
    with pytest.raises(DataError, match="claims 399999999996 bytes"):
        read_npy(tmp_path / "a.npy")
    with NpzFile(tmp_path / "b.npz") as npz, pytest.raises(DataError, match="claims 39999999999"):
        npz.read("x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_member_that_claims_more_than_deflate_allows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.npz"
    np.savez_compressed(path, x=np.zeros((20, 4), np.uint8))
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\1\2")
    content[entry + 24 : entry + 28] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(content)
    with NpzFile(path) as npz, pytest.raises(DataError, match="more than its bytes can hold"):
        npz.read("x")


def test_broken_archives_and_missing_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.npz"
    np.savez_compressed(path, x=np.arange(5000))
    whole = path.read_bytes()
    with NpzFile(path) as npz, pytest.raises(DataError, match=r"expected 'y' .* which holds x"):
        npz.read("y")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cannot be read as .npz"):
        NpzFile(path)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    path.write_bytes(flipped)
    with NpzFile(path) as npz, pytest.raises(DataError, match="cannot be read"):
        npz.read("x")


@given(data=st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_give_an_array_or_a_data_error(tmp_path: Path, data: st.DataObject) -> None:
    stream = io.BytesIO()
    np.savez(stream, x=np.zeros((20, 4), np.uint8))
    packed = data.draw(st.booleans())
    content = bytearray(stream.getvalue() if packed else npy_bytes(np.zeros((20, 4), np.uint8)))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "a"
    path.write_bytes(content)
    try:
        if packed:
            with NpzFile(path) as npz:
                arrays = [npz.read(name) for name in npz.names]
        else:
            arrays = [read_npy(path)]
    except DataError:
        return
    assert all(array.nbytes <= 20 * 4 * 2 for array in arrays)
