"""Files that samples and completions are written to: pictures, sounds, raw values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulacra.cli.flags import file_target

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from simulacra.ground.spec import DataSpec


def write_samples(
    spec: DataSpec, target: Path, x: Tensor, columns: int | None, shown: Tensor | None = None
) -> str:
    """Samples as .npy and, where they can be shown, as PNG; sounds as WAV too.

    Args:
        spec: Of the data.
        target: The PNG file; the others lie beside it.
        x: Levels or floats on the CPU, `(N, *event_shape)`.
        columns: Of the picture; chosen by the number of samples otherwise.
        shown: What is to be seen and heard, where that is not the samples alone.

    Returns:
        What was written, in words.
    """
    from simulacra.drawing.observations import MOST_SOUNDS, look
    from simulacra.ground.storage import write_bytes

    raw = target.with_suffix(".npy")
    write_values(spec, raw, x)
    told = f"{raw}: {len(x)} sample{'' if len(x) == 1 else 's'}"
    seen = x if shown is None else shown
    if spec.is_image:
        write_bytes(target, look(spec, seen, columns=columns))
    elif spec.rate is not None:
        first = spec.to_float(seen[:MOST_SOUNDS])
        write_sounds(target, first, spec.rate, columns)
        some = "" if len(first) == len(seen) else f", the first {len(first)} drawn and to be heard"
        return f"{target}, {target.with_suffix('.wav')} and {told}{some}"
    elif spec.levels is None and spec.dims <= 2:
        write_bytes(target, look(spec, seen))
    else:
        return told
    return f"{target} and {told}"


def write_pairs(target: Path, before: Tensor, after: Tensor) -> None:
    """Pictures before and after, side by side, as PNG.

    Args:
        target: The PNG file.
        before: Floats in [0, 1], `(N, C, H, W)`.
        after: As many, of the same shape.
    """
    import torch

    from simulacra.drawing import files, grids
    from simulacra.ground.storage import write_bytes

    pairs = torch.stack([before, after], 1).flatten(0, 1)
    write_bytes(target, files.png(grids.grid(pairs, columns=_COLUMNS, gap=_GAP)))


_COLUMNS, _GAP = 8, 3
"""Of a picture of pairs, and pixels between them."""


def write_sounds(
    target: Path,
    sounds: Tensor,
    rate: int,
    columns: int | None = None,
    shaded: Tensor | None = None,
) -> None:
    """Waveforms and spectrograms as PNG, and the same sounds one after another as WAV beside it.

    Args:
        target: The PNG file.
        sounds: Amplitudes in [−1, 1], `(N, T)`.
        rate: Samples a second.
        columns: Of the picture.
        shaded: Which samples have a shade in which column: see `charts.waves`; without
            spectrograms then.
    """
    from simulacra.data.formats.soundfiles import wav
    from simulacra.drawing import charts, files
    from simulacra.drawing.sounds import heard
    from simulacra.ground.storage import write_bytes

    write_bytes(target.with_suffix(".wav"), wav(sounds, rate))
    if shaded is None:
        figure = heard(sounds, rate, columns=columns)
    else:
        figure = charts.waves(sounds, rate, columns=columns, shaded=shaded)
    write_bytes(target, files.png(figure))


def ways_target(spec: DataSpec, out: Path | None, usual: Path) -> Path | None:
    """Where frames of ways go: .png or .gif of pictures, .png of sounds, .npy of vectors.

    Args:
        spec: Of the data.
        out: What the user asked for.
        usual: The PNG file of pictures and sounds otherwise.

    Returns:
        The file; nothing for vectors that are to be printed.

    Raises:
        UsageError: If the name is that of another kind of file.
        ResourceError: See `file_target`.
    """
    if not spec.is_image and spec.rate is None:
        return None if out is None else file_target(out, "--out", ".npy")
    gif = spec.is_image and out is not None and out.suffix.lower() == ".gif"
    return file_target(out or usual, "--out", ".gif" if gif else ".png")


def write_ways(
    spec: DataSpec, target: Path | None, frames: Tensor, names: Sequence[str] = ()
) -> str:
    """Observations along ways: a row of frames for each, moving in a GIF, printed of vectors.

    Args:
        spec: Of the data.
        target: See `ways_target`.
        frames: `(rows, steps, *event_shape)`, on any device.
        names: Of the columns of vectors.

    Returns:
        What was written, in words.
    """
    values = spec.to_float(frames.flatten(0, 1).cpu())
    return write_numbers(spec, target, values.unflatten(0, frames.shape[:2]), names)


def write_numbers(
    spec: DataSpec, target: Path | None, values: Tensor, names: Sequence[str] = ()
) -> str:
    """What `write_ways` writes, of numbers for people `(rows, steps, …)`: see `to_float`."""
    import torch

    from simulacra.drawing import animation, files, grids
    from simulacra.ground.storage import write_bytes

    rows, steps = values.shape[:2]
    told = f"{rows} way{'' if rows == 1 else 's'} of {steps} frames"
    flat = values.flatten(0, 1)
    if target is None:
        return _print_ways(values.flatten(2), names)
    if target.suffix.lower() == ".npy":
        _write_array(target, values.numpy())
    elif spec.rate is not None:
        write_sounds(target, flat, spec.rate, columns=steps)
        return f"{target} and {target.with_suffix('.wav')}: {told}"
    elif target.suffix.lower() == ".gif":
        write_bytes(target, animation.gif(list(torch.unbind(values, 1))))
    else:
        write_bytes(target, files.png(grids.grid(flat, columns=steps, gap=2)))
    return f"{target}: {told}"


_MOST_PRINTED = 8
"""Columns of vectors that are printed."""


def _print_ways(values: Tensor, names: Sequence[str]) -> str:
    """A table of vectors `(rows, steps, D)`, a line for each frame."""
    from simulacra.cli import terminal

    dims = values.shape[2]
    headings = [
        names[i] if i < len(names) else f"value {i}" for i in range(min(dims, _MOST_PRINTED))
    ]
    lines = [
        {"way": f"{row}", "frame": f"{step}"}
        | {name: f"{float(value):.4g}" for name, value in zip(headings, frame, strict=False)}
        for row, way in enumerate(values)
        for step, frame in enumerate(way)
    ]
    terminal.print_table(lines, right=["way", "frame", *headings])
    more = f"the first {_MOST_PRINTED} of {dims} values; " if dims > _MOST_PRINTED else ""
    return f"{more}-o FILE.npy writes them all"


def write_values(spec: DataSpec, path: Path, x: Tensor) -> None:
    """Levels in the smallest type that holds them, or floats in the columns' own units, as .npy."""
    import numpy as np

    if spec.levels is None:
        values = spec.to_float(x).numpy()
    else:
        values = x.numpy().astype(np.uint8 if spec.levels <= 256 else np.int32)
    _write_array(path, values)


def _write_array(path: Path, values: NDArray[Any]) -> None:
    import io

    import numpy as np

    from simulacra.ground.storage import write_bytes

    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Arrays by name, for other programs, as .npz."""
    import io

    import numpy as np

    from simulacra.ground.storage import write_bytes

    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getvalue())
