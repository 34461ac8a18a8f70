"""Files that samples and completions are written to: pictures, sounds, raw values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from simulacra.ground.spec import DataSpec


def write_samples(spec: DataSpec, target: Path, x: Tensor, columns: int | None) -> str:
    """Samples as .npy and, where they can be shown, as PNG; sounds as WAV too.

    Args:
        spec: Of the data.
        target: The PNG file; the others lie beside it.
        x: Levels or floats on the CPU, `(N, *event_shape)`.
        columns: Of the picture; chosen by the number of samples otherwise.

    Returns:
        What was written, in words.
    """
    from simulacra.drawing.observations import MOST_SOUNDS, look
    from simulacra.ground.storage import write_bytes

    raw = target.with_suffix(".npy")
    _write_values(spec, raw, x)
    told = f"{raw}: {len(x)} sample{'' if len(x) == 1 else 's'}"
    if spec.is_image:
        write_bytes(target, look(spec, x, columns=columns))
    elif spec.rate is not None:
        shown = spec.to_float(x[:MOST_SOUNDS])
        write_sounds(target, shown, spec.rate, columns)
        some = "" if len(shown) == len(x) else f", the first {len(shown)} drawn and to be heard"
        return f"{target}, {target.with_suffix('.wav')} and {told}{some}"
    elif spec.levels is None and spec.dims <= 2:
        write_bytes(target, look(spec, x))
    else:
        return told
    return f"{target} and {told}"


def write_sounds(
    target: Path,
    sounds: Tensor,
    rate: int,
    columns: int | None = None,
    shaded: Tensor | None = None,
) -> None:
    """Waveforms as PNG, and the same sounds one after another as WAV beside it.

    Args:
        target: The PNG file.
        sounds: Amplitudes in [−1, 1], `(N, T)`.
        rate: Samples a second.
        columns: Of the picture.
        shaded: Which samples have a shade in which column: see `charts.waves`.
    """
    from simulacra.data.formats.soundfiles import wav
    from simulacra.drawing import charts, files
    from simulacra.ground.storage import write_bytes

    write_bytes(target.with_suffix(".wav"), wav(sounds, rate))
    write_bytes(target, files.png(charts.waves(sounds, rate, columns=columns, shaded=shaded)))


def _write_values(spec: DataSpec, path: Path, x: Tensor) -> None:
    """Levels in the smallest type that holds them, or floats in the columns' own units, as .npy."""
    import io

    import numpy as np

    from simulacra.ground.storage import write_bytes

    if spec.levels is None:
        values = spec.to_float(x).numpy()
    else:
        values = x.numpy().astype(np.uint8 if spec.levels <= 256 else np.int32)
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    write_bytes(path, buffer.getvalue())
