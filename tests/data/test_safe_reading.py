"""Opening only what is a file, and taking no more memory than there is."""

from __future__ import annotations

import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulacra.data.formats.listing import open_regular
from simulacra.data.formats.safe_reading import ensure_room, open_packed, unpack_xz
from simulacra.ground import memory
from simulacra.ground.errors import DataError, ResourceError


def test_a_file_is_opened_through_a_link_too(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for name in ("a", "b"):
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"content"


def test_nothing_else_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "pipe")
    opened = []
    monkeypatch.setattr(os, "open", lambda *arguments: opened.append(arguments))
    for place in (tmp_path / "pipe", tmp_path / "folder", tmp_path / "linked", Path(os.devnull)):
        with pytest.raises(OSError, match="no regular file"):
            open_regular(place)
    assert not opened
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def test_a_pipe_that_takes_a_files_place_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, look = tmp_path / "a", Path.stat
    path.write_bytes(b"content")

    def changed(self: Path) -> os.stat_result:
        found = look(self)
        if self == path:
            path.unlink()
            os.mkfifo(path)
        return found

    monkeypatch.setattr(Path, "stat", changed)
    with pytest.raises(OSError, match="no regular file"):
        open_regular(path)


@pytest.mark.parametrize("name", ["a", "a.gz"])
def test_packed_files_are_closed(tmp_path: Path, name: str) -> None:
    import gzip

    (tmp_path / name).write_bytes(gzip.compress(b"abc") if name.endswith("gz") else b"abc")
    with open_packed(tmp_path / name) as stream:
        assert stream.read() == b"abc"
    assert stream.closed


def test_a_packed_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.xz")
    with pytest.raises(DataError, match=r"a\.xz cannot be unpacked .it is no regular file"):
        unpack_xz(tmp_path / "a.xz", 10)


def test_an_xz_file_is_unpacked_no_further_than_asked(tmp_path: Path) -> None:
    (tmp_path / "a.xz").write_bytes(lzma.compress(bytes(1000)))
    assert unpack_xz(tmp_path / "a.xz", 1000) == bytes(1000)
    assert len(unpack_xz(tmp_path / "a.xz", 10)) == 11
    (tmp_path / "a.xz").write_bytes(lzma.compress(bytes(1000))[:-9])
    with pytest.raises(DataError, match="ends before its data do"):
        unpack_xz(tmp_path / "a.xz", 1000)


def test_half_of_the_memory_may_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "whole", lambda: 8 << 30)
    ensure_room(4 << 30, "it")
    with pytest.raises(ResourceError, match=r"it would take 4\.0 GiB of 8\.0 GiB"):
        ensure_room((4 << 30) + 1, "it")
    with pytest.raises(ResourceError):
        ensure_room(10**30, "it")


@pytest.mark.parametrize(("text", "limited"), [("1048576\n", True), ("max\n", False), ("", False)])
def test_the_limit_of_a_container_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, *, limited: bool
) -> None:
    places = [(tmp_path / "none", "max", "now", "x"), (tmp_path, "limit", "used", "inactive_file")]
    monkeypatch.setattr(memory, "_CONTAINERS", places)
    whole, free = memory.whole(), memory.free()
    (tmp_path / "limit").write_text(text)
    (tmp_path / "used").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 600000\ninactive_file 100000\n")
    assert memory.whole() == (1048576 if limited else whole)
    if limited:
        # what was read of files makes room
        assert memory.free() == 1048576 - 700000 + 100000
    elif free is not None:
        assert memory.free() > 1048576


def test_nobody_knows_what_is_free_on_other_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "none")
    monkeypatch.setattr(memory, "_CONTAINERS", ())
    assert memory.free() is None


REFUSED = """
import resource, sys, tracemalloc
from pathlib import Path
from simulacra.data.formats.npy import read_npy
from simulacra.ground.errors import ResourceError

tracemalloc.start()
try:
    read_npy(Path(sys.argv[1]))
except ResourceError as error:
    print("refused", tracemalloc.get_traced_memory()[1] < 1 << 20)
"""


def test_an_array_larger_than_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A file with a hole takes no room on the disk, and claims truly what it holds."""
    path, length = tmp_path / "a.npy", 1 << 43
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({length},), }}\n"
    with path.open("wb") as file:
        file.write(b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode())
        try:
            file.truncate(file.tell() + length)
        except OSError:
            pytest.skip("this file system has no files of 8 TiB")
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "refused True\n"
