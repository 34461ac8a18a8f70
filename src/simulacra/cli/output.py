"""Files that samples and completions are written to: pictures, sounds, raw values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from simulacra.ground.errors import DataError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from simulacra.ground.spec import DataSpec
    from simulacra.models.autoregressive.base import Autoregressive


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


WATCHED = 16
"""Pictures that are shown growing."""

_FRAMES = 60
"""Of an animation, at most: a value each would take minutes to look at."""


def watched(model: Autoregressive, steps: Iterator[Tensor], frames: list[Tensor]) -> Tensor:
    """The last of the steps of sampling pictures, with frames of the way there.

    What is not drawn yet is light blue in a frame.

    Args:
        model: That samples.
        steps: From its `sample_steps`.
        frames: Filled with the first pictures on the way, floats in [0, 1] `(n, 3, H, W)`.
    """
    import torch

    from simulacra.drawing.style import HIDDEN

    spec = model.spec
    blank = torch.tensor(HIDDEN)[:, None, None]
    kept = {round((i + 1) * spec.dims / _FRAMES) for i in range(_FRAMES)} - {0}
    drawn = torch.zeros(spec.dims, dtype=torch.bool)
    for number, (position, x) in enumerate(zip(model.order.tolist(), steps, strict=True), 1):
        drawn[position] = True
        if number in kept:
            # a pixel is there when all its colours are
            there = drawn.view(spec.event_shape).all(0)
            frames.append(torch.where(there, spec.to_float(x[:WATCHED].cpu()), blank))
    return x


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


def read_vectors(path: Path, width: int) -> Tensor:
    """Context vectors of samples.

    Args:
        path: An .npy file, or an .npz with one array.
        width: Numbers in a vector.

    Returns:
        Floats `(N, width)`.

    Raises:
        UsageError: If the name is that of another kind of file.
        DataError: If it holds anything else, or cannot be read.
    """
    from simulacra.data.contexts import continuous
    from simulacra.data.formats.npy import NpzFile, read_npy, some

    if path.suffix.lower() == ".npz":
        with NpzFile(path) as file:
            # words that tell where vectors come from are no vectors
            names = tuple(name for name in file.names if name not in ("run", "hash"))
            if len(names) != 1:
                raise DataError(f"{path} should hold one array of vectors, got {some(names)}")
            values = file.read(names[0])
    elif path.suffix.lower() == ".npy":
        values = read_npy(path)
    else:
        raise UsageError(f"--context is an .npy or .npz file, got {str(path)!r}")
    if (
        values.dtype.kind != "f"
        or values.ndim != 2
        or values.shape[1:] != (width,)
        or not len(values)
    ):
        raise DataError(
            f"{path} should hold floats (N, {width}), a row for each sample, "
            f"got {values.dtype} {values.shape}"
        )
    return continuous(values, path)


def _write_values(spec: DataSpec, path: Path, x: Tensor) -> None:
    """Levels in the smallest type that holds them, or floats, as .npy."""
    import io

    import numpy as np

    from simulacra.ground.storage import write_bytes

    values = x.numpy()
    if spec.levels is not None:
        values = values.astype(np.uint8 if spec.levels <= 256 else np.int32)
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    write_bytes(path, buffer.getvalue())
