"""Pictures one after another: as a moving one, or side by side."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from simulacra.drawing.files import png
from simulacra.drawing.grids import grid
from simulacra.drawing.style import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Picture = Image.Image

FRAME = 420  # pixels that an animation comes near to, in height and in width
_WIDE = 1800  # pixels of a strip, about
_LETTERS, _BAND = 13, 24  # pixels of a line of words, and of the band that it stands in


def gif(frames: Sequence[Tensor], *, seconds: float = 0.08, last: float = 2.5) -> bytes:
    """Grids of pictures one after another, again and again, as the bytes of a GIF file.

    Args:
        frames: Each as for `grid`, all of one shape; at least one.
        seconds: How long each is shown.
        last: How long the last one is.
    """
    return moving([enlarged(frame) for frame in frames], seconds=seconds, last=last)


def enlarged(pictures: Tensor, *, columns: int | None = None) -> Image.Image:
    """A grid that comes near to `FRAME` pixels a side.

    Args:
        pictures: As for `grid`.
        columns: Tiles in a row; by default the square root of their number, rounded up.
    """
    n, _, height, width = pictures.shape
    columns = math.ceil(math.sqrt(n)) if columns is None else columns
    scale = max(1, FRAME // (columns * max(height, width)))
    return grid(pictures, columns=columns, scale=scale, gap=max(2, scale // 2))


def moving(images: Sequence[Image.Image], *, seconds: float = 0.08, last: float = 2.5) -> bytes:
    """Images one after another, again and again, as the bytes of a GIF file.

    Args:
        images: All of one size; at least one.
        seconds: How long each is shown.
        last: How long the last one is.
    """
    first, *others = images
    shown = [round(1000 * seconds)] * len(others) + [round(1000 * last)]
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=shown, loop=0)
    return buffer.getvalue()


def raster(figure: Figure) -> Image.Image:
    """What was drawn by lines, as pixels."""
    return Image.open(io.BytesIO(png(figure))).convert("RGB")


def captioned(images: Sequence[Image.Image], words: Sequence[str]) -> list[Image.Image]:
    """Each image below a line of words, on white; all of one size, wide enough for each line.

    Args:
        images: At least one.
        words: A line for each.
    """
    from matplotlib.font_manager import findfont

    font = ImageFont.truetype(findfont("DejaVu Sans"), _LETTERS)
    wide = max(math.ceil(font.getlength(line)) + 12 for line in words)
    wide = max(wide, *(image.width for image in images))
    tall = max(image.height for image in images) + _BAND
    framed = []
    for image, line in zip(images, words, strict=True):
        canvas = Image.new("RGB", (wide, tall), "white")
        ImageDraw.Draw(canvas).text((6, 4), line, fill=INK, font=font)
        canvas.paste(image.convert("RGB"), ((wide - image.width) // 2, _BAND))
        framed.append(canvas)
    return framed


def strip(images: Sequence[Image.Image], *, gap: int = 8) -> Image.Image:
    """Images side by side, as many in a row as a screen is wide, on white.

    Args:
        images: All of one size; at least one.
        gap: Pixels between them.
    """
    rows = math.ceil(len(images) / max(1, _WIDE // images[0].width))
    # rows as long as one another
    columns = math.ceil(len(images) / rows)
    wide, tall = images[0].size
    size = (columns * (wide + gap) - gap, rows * (tall + gap) - gap)
    canvas = Image.new("RGB", size, "white")
    for i, image in enumerate(images):
        canvas.paste(image, ((i % columns) * (wide + gap), (i // columns) * (tall + gap)))
    return canvas
