from __future__ import annotations

import gc
import io
import os
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulacra.data.formats import npy
from simulacra.data.formats.npy import NpzFile, read_npy
from simulacra.ground.errors import DataError, ResourceError


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


def with_header(text: str, values: bytes = bytes(80)) -> bytes:
    """An .npy file of version 1 whose header is any text."""
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode("latin-1") + values


def described(shape: str = "(20, 4)", descr: str = "'|u1'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "None",
        "(" * 5000,
        "-" * 9000 + "1",
        "[" * 150 + "]" * 150,
        "{'descr': '|u1'}",
        "'\\d'",
        "1if 1else 2",
        "__import__('os').system('true')",
        described().replace("}", ", 'more': 1}"),
        described(shape="20"),
        described(shape="[20, 4]"),
        described(shape="(20.0, 4)"),
        described(shape="(-20, -4)"),
        described(shape="(-1, 80)"),
        described(shape="(80, " + "1, " * 100 + ")"),
        described(shape="(2**64, 0)"),
        described(shape=f"({2**64}, 0)"),
        described(shape=f"({2**63 - 1}, {2**63 - 1})"),
        described(shape="('20', 4)"),
        described(shape="(None,)"),
        described(order="1"),
        described(order="'yes'"),
        described(descr="'O'"),
        described(descr="'|O'"),
        described(descr="'|V4'", shape="(20,)"),
        described(descr="'<M8[s]'", shape="(10,)"),
        described(descr="'<c8'", shape="(10,)"),
        described(descr="'|S4'", shape="(20,)"),
        described(descr="[('a', '|u1'), ('b', '|u1')]", shape="(40,)"),
        described(descr="[('a', '|O')]", shape="(10,)"),
        described(descr="('|u1', (4,))", shape="(20,)"),
        described(descr="'(1000000000,)u1'", shape="(1,)"),
        described(descr="'u1,u1'", shape="(40,)"),
        described(descr="'nonsense'"),
        described(descr="5"),
        described(descr="None", shape="(10,)").replace("None", "'O'"),
    ],
)
def test_a_header_of_any_text_is_refused_in_silence(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.npy").write_bytes(with_header(text))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(DataError, match=r"a\.npy"):
            read_npy(tmp_path / "a.npy")
    assert not said


@pytest.mark.parametrize("version", [(2, 0), (3, 0), (0, 0), (9, 9)])
def test_other_versions_are_refused(tmp_path: Path, version: tuple[int, int]) -> None:
    content = bytearray(npy_bytes(np.zeros((20, 4), np.uint8)))
    content[6:8] = bytes(version)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npy"):
        read_npy(tmp_path / "a.npy")


def test_a_type_without_width_takes_no_memory(tmp_path: Path) -> None:
    """NumPy makes four bytes of no characters, which a shape may multiply without bound."""
    text = described(descr="'<U0'", shape=f"({10**12},)")
    (tmp_path / "a.npy").write_bytes(with_header(text, b""))
    with pytest.raises(DataError, match="should hold numbers, got <U0"):
        read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("code", [0x110000, 0xFFFFFFFF, 0xD800, 0xDFFF])
@pytest.mark.parametrize("order", ["<", ">"])
def test_words_of_characters_that_are_none_are_refused(
    tmp_path: Path, code: int, order: str
) -> None:
    values = np.array([ord("a")] * 19 + [code], f"{order}u4").tobytes()
    (tmp_path / "a.npy").write_bytes(with_header(described("(20,)", f"'{order}U1'"), values))
    with pytest.raises(DataError, match="characters that are none"):
        read_npy(tmp_path / "a.npy")
    good = np.array(["é", "字", "\U0010ffff"], f"{order}U2")
    np.save(tmp_path / "good.npy", good)
    assert read_npy(tmp_path / "good.npy").tolist() == good.tolist()


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_what_is_no_file_is_not_opened(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    read = read_npy if suffix == "npy" else NpzFile
    with pytest.raises(DataError, match="No such file"):
        read(path)
    os.mkfifo(path)
    with pytest.raises(DataError, match="no regular file"):
        read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match="no regular file"):
        read(path)
    path.rmdir()
    path.symlink_to(path)
    with pytest.raises(DataError, match="cannot be read"):
        read(path)


def test_a_file_that_shrinks_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((2000, 400), np.uint8))
    parsed = npy._header

    def shrunk(stream: Any) -> Any:
        found = parsed(stream)
        os.truncate(path, 5000)
        return found

    monkeypatch.setattr(npy, "_header", shrunk)
    with pytest.raises(DataError, match=r"ends after [0-9]+ of 800000 bytes"):
        read_npy(path)


def zipped(path: Path, *members: tuple[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", how) as archive:
        warnings.simplefilter("ignore")  # of names that come twice
        for name, content in members:
            archive.writestr(name, content)
    return path


GOOD = npy_bytes(np.zeros((20, 4), np.uint8))


@pytest.mark.parametrize("second", ["x.npy", "x"])
def test_two_arrays_of_one_name_are_refused(tmp_path: Path, second: str) -> None:
    path = zipped(tmp_path / "a.npz", ("x.npy", GOOD), ("y.npy", GOOD), (second, GOOD))
    with pytest.raises(DataError, match="two of its arrays are called 'x'"):
        NpzFile(path)


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/../../x", "C:\\x", "..", "\x1b[2J", ""])
def test_a_name_that_leads_elsewhere_is_only_a_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    path = zipped(tmp_path / "a" / "b" / "c.npz", (f"{name}.npy", GOOD))
    with NpzFile(path) as npz:
        [found] = npz.names
        assert npz.read(found).shape == (20, 4)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["c.npz"]


def test_a_zip_in_a_zip_is_no_array(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.npz", ("x.npy", GOOD)).read_bytes()
    with (
        NpzFile(zipped(tmp_path / "a.npz", ("x.npy", inner), ("inner.npz", inner))) as npz,
        pytest.raises(DataError, match=r"'x' .* cannot be read"),
    ):
        npz.read("x")


@pytest.mark.parametrize("how", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_is_unpacked_no_further_than_its_claim(tmp_path: Path, how: int) -> None:
    """Zeros shrink a thousandfold and more; what comes after the array's own bytes is not read."""
    path = zipped(tmp_path / "a.npz", ("x.npy", GOOD + bytes(64 << 20)), how=how)
    tracemalloc.start()
    with NpzFile(path) as npz, pytest.raises(DataError, match="claims"):
        npz.read("x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_bomb_that_is_what_it_claims_needs_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = npy_bytes(np.zeros((1 << 20, 16), np.uint8))
    path = zipped(tmp_path / "a.npz", ("x.npy", content))
    monkeypatch.setattr("simulacra.ground.memory.whole", lambda: 20 << 20)
    tracemalloc.start()
    with NpzFile(path) as npz, pytest.raises(ResourceError, match=r"'x' in .* would take 0\.0 GiB"):
        npz.read("x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    monkeypatch.setattr("simulacra.ground.memory.whole", lambda: 40 << 20)
    with NpzFile(path) as npz:
        assert npz.read("x").shape == (1 << 20, 16)


@pytest.mark.parametrize(
    ("signature", "place", "value"),
    [
        (b"PK\1\2", 8, 1),  # encrypted, by the directory
        (b"PK\1\2", 10, 99),  # packed in an unknown way
        (b"PK\1\2", 6, 255),  # made for a newer reader
        (b"PK\1\2", 16, 7),  # another checksum
        (b"PK\1\2", 42, 200),  # elsewhere
        (b"PK\3\4", 26, 255),  # another name
        (b"PK\3\4", 0, 0),  # no member
    ],
)
def test_an_archive_that_contradicts_itself_is_refused(
    tmp_path: Path, signature: bytes, place: int, value: int
) -> None:
    path = zipped(tmp_path / "a.npz", ("x.npy", GOOD))
    content = bytearray(path.read_bytes())
    start = content.index(signature) + place
    assert content[start] != value
    content[start] = value
    path.write_bytes(content)
    with pytest.raises(DataError), NpzFile(path) as npz:
        npz.read("x")


def test_an_archive_of_many_names_is_refused_in_a_short_line(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.npz", *((f"array{i}.npy", GOOD) for i in range(500)))
    with NpzFile(path) as npz, pytest.raises(DataError, match="and 492 more") as caught:
        npz.read("y")
    assert len(str(caught.value)) < 300 + len(str(path))


def test_no_file_stays_open(tmp_path: Path) -> None:
    """An unclosed file is a warning, and so an error here."""
    path = zipped(tmp_path / "a.npz", ("x.npy", GOOD))
    with NpzFile(path) as npz:
        stream = npz._file
        npz.read("x")
    assert stream.closed
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError):
        NpzFile(path)
    gc.collect()


@given(data=st.data())
@settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
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
