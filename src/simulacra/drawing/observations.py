"""`look`: observations as a picture for people, whatever their kind."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from simulacra.drawing import charts, files, grids
from simulacra.drawing.sounds import heard
from simulacra.ground.spec import DataSpec

MOST_SOUNDS = 64
"""Only so many are drawn: what is more, nobody looks at."""


def look(
    spec: DataSpec,
    x: Tensor,
    *,
    columns: int | None = None,
    gap: int = 1,
    names: Sequence[str] = (),
) -> bytes:
    """A PNG of observations: pictures, waveforms and spectrograms, points of a plane, histograms.

    Args:
        spec: Their form.
        x: Raw levels or floats `(N, *event_shape)`, on any device.
        columns: Of pictures or waveforms in a row; chosen by their number otherwise.
        gap: Pixels between pictures.
        names: Of the columns of a table.
    """
    values = spec.to_float(x.cpu())
    if spec.is_image:
        return files.png(grids.grid(values, columns=columns, gap=gap))
    if spec.rate is not None:
        return files.png(heard(values[:MOST_SOUNDS], spec.rate, columns=columns))
    flat = values.flatten(1)
    return files.png(
        charts.scatter(flat, names) if flat.shape[1] == 2 else charts.histograms(flat, names)
    )
