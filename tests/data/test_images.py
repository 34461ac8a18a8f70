from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from simulacra.data.formats.images import FAULTS, SUFFIXES, read_image, read_picture
from simulacra.ground.errors import DataError

RAMP = np.arange(0, 240, 5, dtype=np.uint8).reshape(6, 8)
COLOUR = np.stack([RAMP, RAMP[::-1], 255 - RAMP], axis=-1)


@pytest.mark.parametrize(
    ("suffix", "pixels"),
    [(suffix, RAMP) for suffix in sorted(SUFFIXES - {".jpg", ".jpeg", ".pbm", ".ppm"})]
    + [(suffix, COLOUR) for suffix in sorted(SUFFIXES - {".jpg", ".jpeg", ".pbm", ".pgm"})],
)
def test_lossless_formats_give_their_pixels(
    tmp_path: Path, suffix: str, pixels: np.ndarray
) -> None:
    path = tmp_path / f"some{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(pixels).save(path, **options)
    read = read_image(path, colour="grey" if pixels.ndim == 2 else None)
    assert read.dtype == np.uint8
    assert np.array_equal(read, pixels)


def test_jpeg_is_near_and_pbm_is_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - RAMP).mean() < 3
    Image.fromarray(RAMP > 100).save(tmp_path / "a.pbm")
    assert np.array_equal(read_image(tmp_path / "a.pbm"), np.where(RAMP > 100, 255, 0))


@pytest.mark.parametrize(("alpha", "expected"), [(0, 255), (255, 100), (128, 177)])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_on_white(tmp_path: Path, mode: str, alpha: int, expected: int) -> None:
    colour = (100, 100, 100, alpha) if mode == "RGBA" else (100, alpha)
    Image.new(mode, (4, 4), colour).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert read.shape == ((4, 4, 3) if mode == "RGBA" else (4, 4))
    assert np.abs(read.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_colour_declared_transparent_becomes_white(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(np.array([[0, 90], [90, 0]], np.uint8)).convert(mode)
    transparent = {"L": 90, "RGB": (90, 90, 90), "P": image.getpixel((1, 0))}[mode]
    image.save(tmp_path / "a.png", transparency=transparent)
    read = read_image(tmp_path / "a.png", colour="grey")
    assert read.tolist() == [[0, 255], [255, 0]]


def test_palettes_are_grey_only_if_their_colours_are(tmp_path: Path) -> None:
    Image.fromarray(RAMP).convert("P").save(tmp_path / "grey.png")
    assert np.array_equal(read_image(tmp_path / "grey.png"), RAMP)
    Image.fromarray(COLOUR).quantize(200).save(tmp_path / "colour.png")
    assert read_image(tmp_path / "colour.png").shape == (6, 8, 3)


def test_sixteen_bits_keep_their_upper_eight(tmp_path: Path) -> None:
    deep = (RAMP.astype(np.uint16) << 8) + 77
    for name in ("a.png", "a.tif", "a.pgm"):
        Image.fromarray(deep).save(tmp_path / name)
        assert np.array_equal(read_image(tmp_path / name), RAMP), name


def test_cmyk_is_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4), (255, 0, 0, 0)).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif")[0, 0].tolist() == [0, 255, 255]


def test_cmyk_of_a_jpeg_is_near(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (255, 0, 0, 0)).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - [0, 255, 255]).max() <= 6


def test_indices_turn_with_their_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(COLOUR).quantize(200)
    image.save(tmp_path / "a.png", exif=exif)
    picture = read_picture(tmp_path / "a.png")
    assert np.array_equal(picture.pixels, np.rot90(np.asarray(image), -1))
    assert np.array_equal(picture.plain(), np.rot90(np.asarray(image.convert("RGB")), -1))


def test_exif_orientation_is_followed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RAMP).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), np.rot90(RAMP, -1))


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    first, second = (Image.new("L", (4, 4), value) for value in (50, 200))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert np.unique(read_image(tmp_path / "a.gif")).tolist() == [50]


def test_side_crops_and_resizes_after_colour(tmp_path: Path) -> None:
    wide = np.full((6, 12, 3), 10, np.uint8)
    wide[:, 3:9] = (200, 100, 50)
    Image.fromarray(wide).save(tmp_path / "a.png")
    assert np.unique(read_image(tmp_path / "a.png", side=3).reshape(-1, 3), axis=0).tolist() == [
        [200, 100, 50]
    ]
    assert read_image(tmp_path / "a.png", side=3, colour="grey").shape == (3, 3)


def test_pixels_without_a_known_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="no known range"):
        read_image(tmp_path / "a.tif")
    Image.fromarray(RAMP.astype(np.int32) * 100000).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="beyond 16 bits"):
        read_image(tmp_path / "a.tif")


def test_a_file_is_opened_by_its_content_among_image_formats_alone(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    with pytest.raises(OSError, match="it holds text"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".tif", ".webp", ".bmp", ".ppm"])
@given(data=st.data())
@settings(
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@pytest.mark.filterwarnings("ignore")
def test_any_bytes_give_pixels_or_a_known_fault(
    tmp_path: Path, suffix: str, data: st.DataObject
) -> None:
    path = tmp_path / f"whole{suffix}"
    if not path.exists():
        Image.fromarray(COLOUR).save(path)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    broken = tmp_path / f"broken{suffix}"
    broken.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        read = read_image(broken)
    except (*FAULTS, DataError):
        return
    assert read.dtype == np.uint8
    assert read.ndim in (2, 3)
