"""What commands that use a trained model are given: a run, observations, a mask, vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simulacra.cli import terminal
from simulacra.cli.flags import open_run
from simulacra.ground.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from simulacra.data.dataset import Dataset
    from simulacra.ground.spec import DataSpec
    from simulacra.models.model import Model
    from simulacra.runs.run import Run


def opened(run: Path) -> Run:
    """A run to use; what is wrong with its newest checkpoints is told."""
    found = open_run(run)
    for line in found.newest("model", "weights", "training")[2]:
        terminal.note(f"{line}; the one before it is used")
    return found


def observations(
    model: Model, data: Dataset, files: Sequence[Path], label: int | None, number: int | None
) -> tuple[Tensor, Tensor | None, list[str]]:
    """Observations of files, or the first ones of the validation split, for a model to look at.

    Args:
        model: That they are for.
        data: That it learned from.
        files: Images, or .npy files of raw values; none for validation observations.
        label: The class of all; that of the data otherwise.
        number: How many at most.

    Returns:
        `(N, *event_shape)`, their context if the model takes any, and a name for each.

    Raises:
        MissingCapability: If there is a label that the model does not take.
        UsageError: If it is out of range, or missing; see `read_observations` too.
        DataError: See `read_observations`.
    """
    import torch

    from simulacra.data.foreign.observations import read_observations
    from simulacra.tasks.sample import check_label, check_takes

    name, classes = type(model).__name__, model.spec.classes
    if label is not None:
        check_takes(model, label=True)
        check_label(model, label, "--label")
    if files and model.context == "vector":
        raise UsageError(
            f"this {name} needs a context vector for each observation, which a file does not "
            "have: leave the files out, for validation ones"
        )
    if files and model.context == "label" and label is None:
        raise UsageError(
            f"this {name} needs the class of a file: --label 0 … {classes - 1}, or without files "
            "validation ones"
        )
    if files:
        parts = [read_observations(path, data) for path in files]
        names = [
            str(path) if len(rows) == 1 else f"{path} [{row}]"
            for path, rows in zip(files, parts, strict=True)
            for row in range(len(rows))
        ]
        x, context = torch.cat(parts)[:number], None
    else:
        rows = len(data.validation)
        if number is not None and number > rows:
            terminal.note(f"there are {rows} validation observations, fewer than -n {number}")
        rows = rows if number is None else min(number, rows)
        x, context = data.validation.batch(torch.arange(rows))
        names = [f"validation {row}" for row in range(rows)]
    if label is not None:
        context = torch.full((len(x),), label)
    return x, None if model.context == "none" else context, names[: len(x)]


def read_mask(path: Path, spec: DataSpec) -> Tensor:
    """What a mask leaves to be seen.

    Args:
        path: A picture, hidden where it is brighter than mid-grey; or an .npy of booleans, true
            where hidden.
        spec: Of the data.

    Returns:
        Booleans `event_shape`, true where observed.

    Raises:
        DataError: If it cannot be read, is of another size, or hides nothing or everything.
        UsageError: If it is no file of either kind.
    """
    import torch

    hidden = _hidden(path, spec)
    if hidden.all() or not hidden.any():
        what = "everything: simulacra sample draws whole ones" if hidden.all() else "nothing"
        raise DataError(f"{path} hides {what} (white or true is hidden)")
    return torch.from_numpy(~hidden).expand(spec.event_shape)


def _hidden(path: Path, spec: DataSpec) -> NDArray[np.bool_]:
    """What a file hides, `(H, W)` of pictures or `event_shape`."""
    from simulacra.data.formats.images import FAULTS, SUFFIXES, read_image
    from simulacra.data.formats.npy import read_npy

    if path.is_dir():
        raise UsageError(f"{path} is a folder: --mask is a file")
    if not path.exists():
        raise DataError(f"{path} does not exist: check the path")
    suffix, size = path.suffix.lower(), spec.event_shape[-2:]
    if suffix == ".npy":
        values = read_npy(path)
        shapes = {spec.event_shape, size} if spec.is_image else {spec.event_shape}
        if values.dtype.kind != "b" or values.shape not in shapes:
            wanted = " or ".join(map(str, sorted(shapes, key=len)))
            raise DataError(
                f"{path} should hold booleans {wanted}, true where hidden, got {values.dtype} "
                f"{values.shape}"
            )
        return values
    if not spec.is_image or suffix not in SUFFIXES:
        known = f"{' '.join(sorted(SUFFIXES))} .npy" if spec.is_image else ".npy, of booleans"
        raise UsageError(f"--mask is one of {known}, got {str(path)!r}")
    try:
        pixels = read_image(path, colour="grey")
    except FAULTS as fault:
        why = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
        raise DataError(f"{path} cannot be read as an image: {why}") from fault
    if pixels.shape != size:
        raise DataError(
            f"{path} is {pixels.shape[1]}×{pixels.shape[0]}, and the pictures are "
            f"{size[1]}×{size[0]}: draw a mask of their size"
        )
    return pixels > 127


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
