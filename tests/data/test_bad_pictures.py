"""Folders as people have them: odd names, odd files, and files that are no pictures at all."""

from __future__ import annotations

import os
import socket
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from simulacra.data import folder as folder_module
from simulacra.data.folder import load_folder
from simulacra.data.form import Form
from simulacra.data.formats import images as images_module
from simulacra.data.formats.images import FAULTS, read_picture
from simulacra.data.formats.listing import counted, list_files, shown
from simulacra.ground.errors import DataError, ResourceError

SEVERAL = np.arange(0, 240, 5, dtype=np.uint8).reshape(6, 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of 120 grey pictures: one that cannot be read is tolerated, two are not."""
    place = tmp_path / "pictures"
    place.mkdir()
    for i in range(120):
        Image.new("L", (8, 8), i).save(place / f"{i:03}.png")
    return place


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A grey PNG that claims a size, whatever data it has."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def cut(place: Path, form: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    whole = BytesIO()
    Image.fromarray(noise).save(whole, form)
    place.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])


def unbound(place: Path) -> None:
    # a socket's path may not be long
    here = os.getcwd()
    os.chdir(place.parent)
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(place.name)
    finally:
        os.chdir(here)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "html": (lambda p: p.write_text("<!DOCTYPE html><p>Not found"), "it holds text"),
    "noise": (lambda p: p.write_bytes(b"\x00\xff" * 50), "it is no PNG, JPEG"),
    "empty": (Path.touch, "it is empty"),
    "cut PNG": (lambda p: cut(p, "PNG"), "truncated"),
    "cut JPEG": (lambda p: cut(p, "JPEG"), "truncated"),
    "pipe": (os.mkfifo, "no regular file"),
    "socket": (unbound, "no regular file"),
    "folder": (Path.mkdir, ""),
    "device": (lambda p: p.symlink_to("/dev/zero"), "no regular file"),
    "link that leads nowhere": (lambda p: p.symlink_to("nowhere"), "No such file"),
    "link to itself": (lambda p: p.symlink_to(p.name), "symbolic links"),
    "no pixels": (lambda p: p.write_bytes(b"P6 0 0 255\n"), ""),
    "small bomb": (lambda p: p.write_bytes(png(8192, 8192)), "claims 67108864 pixels in"),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("kind", list(BAD))
def test_one_bad_file_is_skipped_and_counted_and_two_are_named(folder: Path, kind: str) -> None:
    make, why = BAD[kind]
    make(folder / "bad.png")
    dataset = load_folder(folder)
    assert sum(dataset.counts.values()) == 120
    if kind == "folder":
        assert dataset.notes == ()
        return
    assert dataset.notes == ("1 file could not be read and was skipped",)
    make(folder / "worse.png")
    with pytest.raises(DataError, match=r"^2 of 122 images in .*bad.png \(.*worse.png") as caught:
        load_folder(folder)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "descriptor" not in str(caught.value)
    assert "object at" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_what_may_not_be_read_is_told(folder: Path) -> None:
    (folder / "003.png").chmod(0)
    assert load_folder(folder).notes == ("1 file could not be read and was skipped",)
    (folder / "locked").mkdir(mode=0)
    with pytest.raises(DataError, match=r"locked cannot be listed \(Permission denied\)"):
        load_folder(folder)
    (folder / "locked").chmod(0o700)


def test_a_folder_that_cannot_be_listed_is_not_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "locked").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"locked cannot be listed \(Permission denied\)"):
        load_folder(folder)


@pytest.mark.parametrize("change", [Path.unlink, lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n")])
def test_a_file_that_changes_after_listing_is_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]
) -> None:
    def list_and_change(place: Path, endings: frozenset[str]) -> object:
        listing = list_files(place, endings)
        change(folder / "050.png")
        return listing

    monkeypatch.setattr(folder_module, "list_files", list_and_change)
    assert load_folder(folder).notes == ("1 file could not be read and was skipped",)


@pytest.mark.parametrize("name", [b"new\nline", b"\x1b[31mred", b"\xff\xfe", "é".encode()])
def test_names_are_shown_on_one_line(folder: Path, name: bytes) -> None:
    try:
        for i in range(2):
            place = os.path.join(os.fsencode(folder), name + b"%d.png" % i)
            with open(place, "wb") as stream:
                stream.write(b"nothing")
    except OSError:
        pytest.skip("this file system does not take such names")
    with pytest.raises(DataError) as caught:
        load_folder(folder)
    message = str(caught.value)
    assert message.isprintable()
    assert message.encode("utf-8")
    assert "0.png (it holds text)" in message


@settings(deadline=None, database=None)
@given(st.binary(min_size=1))
@example(b"a\nb\x00\x1b")
def test_any_name_can_be_shown(name: bytes) -> None:
    text = shown(name.decode("utf-8", "surrogateescape"))
    assert text.isprintable()
    text.encode("utf-8")


def test_odd_class_names_can_be_written_down(tmp_path: Path) -> None:
    for name in (b"bad\xff", b"line\nbreak"):
        place = os.path.join(os.fsencode(tmp_path), name)
        try:
            os.mkdir(place)
        except OSError:
            pytest.skip("this file system does not take such names")
        for i in range(6):
            Image.new("L", (4, 4), i).save(os.path.join(os.fsdecode(place), f"{i}.png"))
    assert load_folder(tmp_path).class_names == ("bad\\xff", "line\\nbreak")


def test_links_end_and_no_file_counts_twice(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
        for other in ("a", "b"):
            (folder / name / f"to {other}").symlink_to(folder / other)
        (folder / name / "up").symlink_to(folder)
        (folder / name / "far up").symlink_to("/")
    dataset = load_folder(folder)
    assert sum(dataset.counts.values()) == 120
    assert dataset.notes == ("8 links to folders read already passed over, such as a/far up",)


def test_folders_elsewhere_are_read_through_links(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "linked"
    place.mkdir()
    for name in ("cat", "dog"):
        (tmp_path / f"real {name}").mkdir()
        for i in range(6):
            Image.new("L", (8, 8), i).save(tmp_path / f"real {name}" / f"{i}.png")
        (place / name).symlink_to(tmp_path / f"real {name}")
    dataset = load_folder(place)
    assert dataset.class_names == ("cat", "dog")
    assert sum(dataset.counts.values()) == 12


def test_a_folder_whose_name_begins_like_another_is_no_loop(tmp_path: Path) -> None:
    (tmp_path / "ab" / "c").mkdir(parents=True)
    (tmp_path / "a").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "a" / "x.png")
    (tmp_path / "ab" / "link").symlink_to(tmp_path / "a")
    assert list_files(tmp_path / "ab", {".png"}).files == ("link/x.png",)


def test_frames_after_the_first_are_counted(folder: Path) -> None:
    frames = [Image.new("L", (8, 8), value).convert("RGB") for value in (1, 90, 180)]
    for suffix in ("gif", "png", "webp", "tif"):
        frames[0].save(folder / f"moving.{suffix}", save_all=True, append_images=frames[1:])
    dataset = load_folder(folder)
    assert dataset.notes == ("4 files of several frames: the first frame is taken",)


def test_a_broken_later_frame_does_not_lose_the_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)) for _ in range(2)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    content = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "a.gif").write_bytes(content[:-40])
    assert np.array_equal(read_picture(tmp_path / "a.gif").plain(), np.asarray(frames[0]))


@pytest.mark.parametrize(
    ("count", "message"),
    [(1, "holds 1 image, expected at least 10"), (9, "holds 9 images, expected at least 10")],
)
def test_too_few_pictures_are_refused(tmp_path: Path, count: int, message: str) -> None:
    for i in range(count):
        Image.new("L", (8, 8), i).save(tmp_path / f"{i}.png")
    with pytest.raises(DataError, match=message):
        load_folder(tmp_path)


def test_one_other_file_is_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match="holds 1 other file but no image: expected"):
        load_folder(tmp_path)
    assert (counted(0, "file"), counted(2, "file")) == ("0 files", "2 files")


def test_classes_that_are_none_are_noted(folder: Path, tmp_path: Path) -> None:
    dataset = load_folder(tmp_path)
    assert dataset.class_names == ()
    assert dataset.notes == ("all images lie in one sub-folder: classes need two",)
    (tmp_path / "other").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "other" / "a.png")
    (tmp_path / "nothing" / "deep").mkdir(parents=True)
    dataset = load_folder(tmp_path)
    assert dataset.class_names == ("other", "pictures")
    assert dataset.notes == (
        "1 sub-folder without images, such as nothing: no class is made of it",
    )


def test_lines_of_pixels_and_a_side_beyond_them(folder: Path) -> None:
    for place in folder.iterdir():
        Image.new("L", (1, 9), 200).save(place)
    assert load_folder(folder).spec.event_shape == (1, 9, 1)
    large = load_folder(folder, Form(side=5))
    assert large.spec.event_shape == (1, 5, 5)
    assert large.train.x.unique().tolist() == [200]
    assert large.notes == ("120 images smaller than side 5 enlarged",)


def test_a_big_picture_must_fit_into_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_module, "_BIG", 100)
    Image.new("L", (20, 20)).save(folder / "big.png")
    assert load_folder(folder, Form(side=8)).spec.event_shape == (1, 8, 8)
    # half of it is 128 KiB: room for the set as 8×8, not for 16 bytes a pixel of 100×100
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 256, "SC_PAGE_SIZE": 1024}.__getitem__)
    Image.effect_noise((100, 100), 9).save(folder / "big.png")
    with pytest.raises(ResourceError, match=r"big\.png would take"):
        load_folder(folder, Form(side=8))


def _whole(suffix: str) -> list[bytes]:
    """Small pictures of every mode that a format has."""
    grey = Image.fromarray(SEVERAL)
    rgb = Image.merge("RGB", (grey, grey.rotate(180), grey.transpose(Image.Transpose.ROTATE_180)))
    turned = Image.Exif()
    turned[0x0112] = 6
    several = [rgb, grey, rgb.quantize(9), grey.convert("1"), rgb.convert("RGBA")]
    several += [grey.convert("LA"), rgb.convert("CMYK")]
    several += [Image.fromarray(SEVERAL.astype(np.uint16) << 8)]
    found = []
    for image in several:
        for options in ({}, {"exif": turned}, {"save_all": True, "append_images": [image]}):
            stream = BytesIO()
            try:
                image.save(stream, Image.registered_extensions()[suffix], **options)
            except (OSError, ValueError, KeyError):
                continue
            found.append(stream.getvalue())
    return found


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".tif", ".webp", ".bmp", ".ppm"])
@settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_any_damage_gives_pixels_or_a_known_fault(
    tmp_path: Path, suffix: str, data: st.DataObject
) -> None:
    Image.init()
    whole = _WHOLE.setdefault(suffix, _whole(suffix))
    content = bytearray(data.draw(st.sampled_from(whole)))
    # the head is where damage does most
    for place in data.draw(st.lists(st.integers(0, min(len(content), 200) - 1), max_size=4)):
        content[place] = data.draw(st.sampled_from([0, 1, 127, 255]) | st.integers(0, 255))
    end = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    (tmp_path / "a.bin").write_bytes(content[:end])
    _pixels_or_fault(tmp_path / "a.bin")


_WHOLE: dict[str, list[bytes]] = {}

MAGIC = (
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"BM",
    b"P6 ",
    b"P5 ",
    b"P1 ",
    b"II*\x00",
    b"\xff\xd8\xff",
)


@settings(
    max_examples=300,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(head=st.sampled_from(MAGIC), rest=st.binary(max_size=60))
@pytest.mark.filterwarnings("ignore")
def test_any_bytes_give_pixels_or_a_known_fault(tmp_path: Path, head: bytes, rest: bytes) -> None:
    (tmp_path / "a.bin").write_bytes(head + rest)
    _pixels_or_fault(tmp_path / "a.bin")


def _pixels_or_fault(path: Path) -> None:
    for colour in (None, "palette"):
        try:
            picture = read_picture(path, side=None if colour is None else 3, colour=colour)
        except (*FAULTS, DataError, ResourceError):
            continue
        assert picture.pixels.dtype == np.uint8
        assert picture.plain().ndim == 2 or picture.plain().shape[2] == 3
        assert 0 not in picture.pixels.shape
