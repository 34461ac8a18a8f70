"""Any bytes and any text, for every parser: what it promises, or an error of ours on one line."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulacra.cli.terminal import printable
from simulacra.data.arrays import load_arrays
from simulacra.data.formats.idx import read_idx
from simulacra.data.formats.npy import NpzFile, read_npy
from simulacra.data.sets.cifar10 import read_batch
from simulacra.ground.errors import DataError, ResourceError, UsageError
from simulacra.models import registry
from simulacra.models.keywords import convert, parse_assignments
from simulacra.training.options import Budget

FUZZED = settings(
    max_examples=150, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
X = np.arange(12 * 4, dtype=np.uint8).reshape(12, 2, 2) % 7


def npy_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz_bytes(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


IDX = bytes([0, 0, 8, 3]) + struct.pack(">3I", *X.shape) + X.tobytes()
BATCH = bytes(3073) * 2
LABELS = np.arange(12) % 3
WORDS = np.array(["a", "字", "c"] * 4, "<U2")


@st.composite
def damaged(draw: st.DrawFn, sound: bytes) -> bytes:
    """A sound file with bytes changed, a part left out or put in twice, or its end cut off."""
    content = bytearray(sound)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(content) - 1))
        content[place] = draw(st.integers(0, 255))
    start = draw(st.integers(0, len(content)))
    end = min(len(content), start + draw(st.integers(0, 20)))
    kind = draw(st.sampled_from(["keep", "leave out", "twice", "put in", "cut"]))
    if kind == "leave out":
        del content[start:end]
    elif kind == "twice":
        content[start:start] = content[start:end]
    elif kind == "put in":
        content[start:start] = draw(st.binary(max_size=20))
    elif kind == "cut":
        del content[start:]
    return bytes(content)


def read_all(path: Path) -> list[np.ndarray]:
    with NpzFile(path) as npz:
        return [npz.read(name) for name in npz.names]


def read_set(path: Path) -> list[np.ndarray]:
    data = load_arrays(path)
    return [part.x.numpy() for part in data.splits.values()]


def read_records(path: Path) -> list[np.ndarray]:
    found = read_batch(path)
    assert found.context is not None
    assert len(found.context) == len(found.x)
    return [found.x.numpy()]


PARSERS: dict[str, tuple[Callable[[Path], list[np.ndarray]], str, bytes]] = {
    "npy": (lambda path: [read_npy(path)], "a.npy", npy_bytes(X)),
    "npy of words": (lambda path: [read_npy(path)], "a.npy", npy_bytes(WORDS)),
    "npy of doubles": (lambda path: [read_npy(path)], "a.npy", npy_bytes(X[:, 0] / 4)),
    "npz": (read_all, "a.npz", npz_bytes(x=X, y=LABELS)),
    "data set npy": (read_set, "a.npy", npy_bytes(X)),
    "data set npz": (read_set, "a.npz", npz_bytes(x=X, y=LABELS)),
    "data set of words": (read_set, "a.npz", npz_bytes(train=X, test=X, y_train=WORDS,
                                                       y_test=WORDS)),
    "idx": (lambda path: [read_idx(path, 3)], "a", IDX),
    "idx.gz": (lambda path: [read_idx(path, 3)], "a.gz", gzip.compress(IDX, mtime=0)),
    "cifar": (read_records, "a.bin", BATCH),
    "cifar.xz": (read_records, "a.bin.xz", lzma.compress(BATCH)),
}  # fmt: skip


@pytest.mark.parametrize("parser", PARSERS)
def test_the_sound_file_is_read(parser: str, tmp_path: Path) -> None:
    read, name, sound = PARSERS[parser]
    (tmp_path / name).write_bytes(sound)
    assert all(len(array) for array in read(tmp_path / name))


@pytest.mark.parametrize("parser", PARSERS)
@FUZZED
@given(data=st.data())
def test_any_bytes_are_arrays_or_an_error_of_ours(
    parser: str, tmp_path: Path, data: st.DataObject
) -> None:
    read, name, sound = PARSERS[parser]
    content = data.draw(damaged(sound) | st.binary(max_size=100))
    path = tmp_path / name
    path.write_bytes(content)
    try:
        arrays = read(path)
    except (DataError, ResourceError) as error:
        assert str(path) in str(error)  # noqa: PT017
        return
    # a word may be wider than a byte, never wider than what the file holds unpacked
    assert sum(array.nbytes for array in arrays) <= 8 * (len(sound) + 2000)


@FUZZED
@given(
    members=st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8).map(
                lambda name: name + ".npy"
            ),
            st.sampled_from([npy_bytes(X), npy_bytes(X)[:-1], b"", npz_bytes(x=X)]),
        ),
        max_size=4,
        unique_by=lambda member: member[0],
    )
)
def test_any_names_of_arrays_are_a_data_set_or_an_error_of_ours(
    tmp_path: Path, members: list[tuple[str, bytes]]
) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    try:
        data = load_arrays(path)
    except DataError as error:
        assert "a.npz" in str(error)  # noqa: PT017
    else:
        assert data.spec.event_shape == (1, 2, 2)


# texts that nearly are what is asked for, as well as any text
NUMBERS = st.text(alphabet='0123456789.e+-_ ,()[]{}"infatrueNone', max_size=14)


@FUZZED
@given(text=st.one_of(st.text(max_size=30), NUMBERS))
def test_any_budget_is_read_or_refused(text: str) -> None:
    try:
        budget = Budget.parse(text)
    except UsageError as error:
        assert printable(str(error)).isprintable()  # noqa: PT017
    else:
        assert Budget.parse(str(budget)) == budget


NEARLY = st.tuples(st.sampled_from(["latent", "hidden", "odd"]), NUMBERS).map("=".join)


@FUZZED
@given(texts=st.lists(st.text(max_size=20) | NEARLY, max_size=3))
def test_any_assignments_are_keywords_or_refused(texts: list[str]) -> None:
    try:
        keywords = parse_assignments(texts)
    except UsageError:
        return
    assert len(keywords) == len(texts)
    assert all(key and key == key.strip() for key in keywords)


@FUZZED
@given(key=st.sampled_from(["latent", "hidden"]), text=NUMBERS | st.text(max_size=12))
def test_any_value_is_of_its_type_or_refused(key: str, text: str) -> None:
    annotation = registry.find("vae").signature()[key].annotation
    try:
        value = convert(text, annotation, key)
    except UsageError as error:
        assert key in str(error)  # noqa: PT017
        return
    if value is None:
        # widths that the kind of network chooses
        assert (key, text.lower()) == ("hidden", "none")
        return
    numbers = value if key == "hidden" else (value,)
    assert isinstance(numbers, tuple)
    assert all(type(number) is int and abs(number) < 2**63 for number in numbers)


@FUZZED
@given(message=st.text())
def test_any_message_is_one_printable_line(message: str) -> None:
    shown = printable(message)
    assert shown.isprintable()
    assert len(shown) <= 10 * 4100
    if message.isascii() and message.isprintable() and message == " ".join(message.split()):
        assert shown == message
    assert printable(shown) == shown
