"""One image file as an array of 8-bit levels, whatever mode it was stored in."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from simulacra.data.form import Colour
from simulacra.data.formats.listing import open_regular, shown
from simulacra.data.formats.safe_reading import ensure_room
from simulacra.data.resize import centre_square
from simulacra.ground.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset(
    ".png .jpg .jpeg .bmp .gif .webp .pbm .pgm .ppm .pnm .tif .tiff".split()  # noqa: SIM905 (a list would be twelve lines)
)
"""Endings of the files that are taken for images, in lower case."""

# by content, not by name: Pillow would hand an EPS called .png to Ghostscript
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")

FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise on a file that is cut or corrupt."""

_BIG = 1 << 24
"""Images of more pixels than this are decoded one at a time."""

_DENSEST = 10_000
"""Pixels a byte that a big image may have; only blank ones of few formats have more."""

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Picture:
    """One image, decoded.

    Args:
        pixels: `(H, W)` grey or indices of a palette, `(H, W, 3)` RGB.
        palette: Its colours, 256 times three bytes of RGB, if the pixels are indices.
        animated: Whether this is the first of several frames.
        enlarged: Whether it was smaller than the side asked for.
    """

    pixels: NDArray[np.uint8]
    palette: bytes | None = None
    animated: bool = False
    enlarged: bool = False

    def plain(self) -> NDArray[np.uint8]:
        """`(H, W)` if it is grey, or of a palette of which it uses greys alone, else RGB."""
        return self.pixels if self.palette is None else look_up(self.palette, self.pixels)


def look_up(palette: bytes, indices: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The colours of indices of any shape: RGB in a last axis, or none if all used are grey."""
    colours = np.frombuffer(palette, np.uint8).reshape(256, 3)
    used = colours[np.bincount(indices.ravel(), minlength=256) > 0]
    return colours[:, 0][indices] if (used == used[:, :1]).all() else colours[indices]


def read_image(
    path: Path, *, side: int | None = None, colour: Colour | None = None
) -> NDArray[np.uint8]:
    """The pixels of an image file: `read_picture` without its palette.

    Returns:
        `(H, W)` if grey, `(H, W, 3)` if RGB.
    """
    return read_picture(path, side=side, colour=colour).plain()


def read_picture(path: Path, *, side: int | None = None, colour: Colour | None = None) -> Picture:
    """An image file, the first frame if it has several.

    Turned upright by its EXIF orientation, transparency laid on white, 16 bits reduced to their
    upper 8, CMYK converted to RGB.

    Args:
        path: The file.
        side: Crop the central square and resize it to `side × side`.
        colour: `grey` or `rgb`; as it is stored if not given. With `palette`, images that have
            one are resized by the nearest pixel, so that no new colour arises.

    Returns:
        Grey or RGB; indices of a palette, if it is stored so and no `colour` or smooth resizing
        is in the way.

    Raises:
        DataError: If it has more pixels than Pillow's limit against decompression bombs.
        ResourceError: If it would not fit into memory.
        OSError: If it is no regular file, cut or corrupt; or another of `FAULTS`.
    """
    from PIL import Image, ImageOps

    with open_regular(path) as stream:
        try:
            with _opened(stream, path) as opened, _room(opened.size, path):
                image = ImageOps.exif_transpose(opened)
                if 0 in image.size:
                    raise ValueError("it has no pixels")
                resized = side is not None and image.size != (side, side)
                enlarged = side is not None and min(image.size) < side
                exact = image.mode == "P" and colour in (None, "palette")
                if exact and not (resized and colour is None):
                    palette = _palette(image)
                else:
                    palette, image = None, _plain(image)
                if colour in ("grey", "rgb"):
                    image = image.convert("L" if colour == "grey" else "RGB")
                if side is not None and resized:
                    image = centre_square(image, side)
                pixels = np.array(image, dtype=np.uint8)
                return Picture(pixels, palette, _animated(opened), enlarged)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as fault:
            raise _bomb(path) from fault


def read_opacity(path: Path) -> NDArray[np.bool_]:
    """Where an image, upright as `read_picture` has it, is more opaque than transparent, `(H, W)`.

    Raises:
        DataError: See `read_picture`; the others that it raises, too.
    """
    from PIL import ImageOps

    with open_regular(path) as stream, _opened(stream, path) as opened, _room(opened.size, path):
        image = ImageOps.exif_transpose(opened)
        if not image.has_transparency_data:
            return np.ones(image.size[::-1], dtype=bool)
        return np.array(image.convert("RGBA").getchannel("A")) > 127


def _opened(stream: BinaryIO, path: Path) -> Image:
    """The image, of which the header alone is read so far."""
    from PIL import Image, UnidentifiedImageError

    try:
        opened = Image.open(stream, formats=_FORMATS)
    except UnidentifiedImageError as fault:
        stream.seek(0)
        head = stream.read(64)
        if not head:
            raise OSError("it is empty") from fault
        text = all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in head)
        known = "PNG, JPEG, BMP, GIF, WebP, PPM or TIFF"
        raise OSError("it holds text" if text else f"it is no {known}, or cut") from fault
    pixels = opened.width * opened.height
    # Pillow itself stops at twice its limit only
    if Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS:
        raise _bomb(path)
    size = os.fstat(stream.fileno()).st_size
    if pixels > max(_BIG, _DENSEST * size):
        raise ValueError(f"it claims {pixels} pixels in {size} bytes")
    return opened


@contextmanager
def _room(size: tuple[int, int], path: Path) -> Iterator[None]:
    """Wait until no other big image is in memory."""
    pixels = size[0] * size[1]
    if pixels <= _BIG:
        yield
        return
    # four layers of RGBA, when transparency is laid on white
    ensure_room(16 * pixels, shown(str(path)))
    with _one_at_a_time:
        yield


def _animated(opened: Image) -> bool:
    try:
        return bool(getattr(opened, "is_animated", False))
    except FAULTS:
        # a later frame is broken, which is no matter of the first
        return True


def _bomb(path: Path) -> DataError:
    return DataError(
        f"{shown(str(path))} has more pixels than Pillow's limit against decompression bombs: "
        "make it smaller"
    )


def _palette(image: Image) -> bytes:
    """All 256 colours of an image of mode P, transparency laid on white."""
    # another picture with the same palette, that has every index once
    strip = image.crop((0, 0, 256, 1))
    strip.putdata(range(256))
    return _on_white(strip).tobytes()


def _plain(image: Image) -> Image:
    """The image in mode L or RGB."""
    from PIL import Image

    if image.mode in ("L", "RGB"):
        # a single colour may still be declared transparent
        if "transparency" not in image.info:
            return image
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I"):
        return _upper_bits(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if image.mode in ("LA", "La"):
        grey = image.convert("LA")
        white = Image.new("L", image.size, 255)
        return Image.composite(grey.getchannel("L"), white, grey.getchannel("A"))
    return _grey_if_palette(image, _on_white(image))


def _on_white(image: Image) -> Image:
    """The image as RGB, what is transparent laid on white."""
    from PIL import Image

    if image.mode not in ("RGBA", "RGBa", "PA") and "transparency" not in image.info:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _grey_if_palette(stored: Image, rgb: Image) -> Image:
    """Grey if the image was stored with a palette of which it uses greys alone."""
    if stored.mode not in ("P", "PA"):
        return rgb
    red, green, blue = rgb.split()
    same: bool = red.tobytes() == green.tobytes() == blue.tobytes()
    return red if same else rgb


def _upper_bits(image: Image) -> Image:
    """The upper 8 of 16 bits of grey."""
    from PIL import Image

    pixels: NDArray[Any] = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 0xFFFF:
        raise ValueError("grey values beyond 16 bits have no known range")
    return Image.fromarray((pixels >> 8).astype(np.uint8))
