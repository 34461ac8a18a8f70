"""One image file as an array of 8-bit levels, whatever mode it was stored in."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simulacra.data.form import Colour
from simulacra.data.reform import centre_square
from simulacra.errors import DataError

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


def read_image(
    path: Path, *, side: int | None = None, colour: Colour | None = None
) -> NDArray[np.uint8]:
    """The pixels of an image file, the first frame if it has several.

    Turned upright by its EXIF orientation, transparency laid on white, 16 bits reduced to their
    upper 8, palette and CMYK converted to RGB.

    Args:
        path: The file.
        side: Crop the central square and resize it to `side × side`.
        colour: `grey` or `rgb`; as it is stored if not given, RGB for a palette to be found.

    Returns:
        `(H, W)` if grey, `(H, W, 3)` if RGB.

    Raises:
        DataError: If it has more pixels than Pillow's limit against decompression bombs.
        OSError: If it is cut or corrupt; or another of `FAULTS`.
    """
    from PIL import Image, ImageOps

    try:
        opened = Image.open(path, formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as fault:
        raise _bomb(path) from fault
    with opened:
        width, height = opened.size
        # Pillow itself stops at twice its limit only
        if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
            raise _bomb(path)
        image = _plain(ImageOps.exif_transpose(opened))
        if colour is not None:
            image = image.convert("L" if colour == "grey" else "RGB")
        if side is not None and image.size != (side, side):
            image = centre_square(image, side)
        return np.array(image, dtype=np.uint8)


def _bomb(path: Path) -> DataError:
    return DataError(
        f"{path} has more pixels than Pillow's limit against decompression bombs: make it smaller"
    )


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
    if image.mode in ("RGBA", "RGBa", "PA") or "transparency" in image.info:
        layers = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return _grey_if_palette(image, Image.alpha_composite(white, layers).convert("RGB"))
    return _grey_if_palette(image, image.convert("RGB"))


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
