"""What was drawn, of pixels or of lines, as PNG files."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def png(picture: Image.Image | Figure) -> bytes:
    """The picture, of pixels or drawn, as the bytes of a PNG file."""
    buffer = io.BytesIO()
    if isinstance(picture, Image.Image):
        picture.save(buffer, "PNG", optimize=True)
        return buffer.getvalue()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box is drawn for it
        picture.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


def save(picture: Image.Image | Figure, path: str | os.PathLike[str]) -> None:
    """A PNG file that is there as a whole or not at all: whoever reads `path` sees no half of it.

    Raises:
        OSError: If the folder is missing or full; what was at `path` before is then untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(png(picture))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
