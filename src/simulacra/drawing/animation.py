"""Pictures one after another, as a moving one."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from torch import Tensor

from simulacra.drawing.grids import grid

FRAME = 420  # pixels that an animation comes near to, in height and in width


def gif(frames: Sequence[Tensor], *, seconds: float = 0.08, last: float = 2.5) -> bytes:
    """Grids of pictures one after another, again and again, as the bytes of a GIF file.

    Args:
        frames: Each as for `grid`, all of one shape; at least one.
        seconds: How long each is shown.
        last: How long the last one is.
    """
    n, _, height, width = frames[0].shape
    columns = math.ceil(math.sqrt(n))
    scale = max(1, FRAME // (columns * max(height, width)))
    first, *others = (
        grid(frame, columns=columns, scale=scale, gap=max(2, scale // 2)) for frame in frames
    )
    shown = [round(1000 * seconds)] * len(others) + [round(1000 * last)]
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=shown, loop=0)
    return buffer.getvalue()
