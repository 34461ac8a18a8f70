"""What commands that use a trained model are given: observations, a label, a mask, vectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from simulacra.cli import terminal
from simulacra.cli.flags import open_run
from simulacra.ground.errors import DataError, UsageError, nearest

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
    for line in found.newest("model", "weights", "training", records=("training",))[2]:
        terminal.note(f"{line}; the one before it is used")
    return found


def read_label(text: str, model: Model, names: Mapping[str, Sequence[str]]) -> Tensor:
    """The label that `--label` asks for.

    Args:
        text: The name of a class or its number; of labels of several parts also some of their
            parts, as in `digit=7,speaker=theo`.
        model: That is to be told.
        names: Of the classes of each part, as `Dataset.names_by_part` has them; a class without a
            name goes by its number.

    Returns:
        `()`, or `(K,)` of K parts, int64; −1 for a part that is left out, which is then untold.

    Raises:
        MissingCapability: If the model takes no labels.
        UsageError: If there is no such class or part.
    """
    from simulacra.tasks.sample import check_takes

    check_takes(model, label=True)
    return read_class(text, model, names)


def read_class(
    text: str, model: Model, names: Mapping[str, Sequence[str]], option: str = "--label"
) -> Tensor:
    """The label that an option names, whether or not the model is told any; see `read_label`.

    Args:
        text: As for `read_label`.
        model: That learned from data with such labels.
        names: As for `read_label`.
        option: What the user calls it.

    Raises:
        UsageError: If there is no such class or part.
    """
    import torch

    from simulacra.data.labels import LABEL
    from simulacra.tasks.sample import check_label

    spec = model.spec
    if not spec.classes:
        raise UsageError(f"{option} names a class, and these data have no labels: see --labels")
    if not spec.parts:
        return torch.tensor(_class_of(text, names.get(LABEL, ()), spec.classes, "", option))
    if "=" not in text:
        joint = [", ".join(each) for each in product(*names.values())] if names else []
        if text not in joint and not _is_whole(text):
            raise UsageError(
                f"these labels have parts, got {option} {text!r}: give some, as in {option} "
                + ",".join(f"{name}={next(iter(names.get(name, ())), 0)}" for name, _ in spec.parts)
            )
        number = joint.index(text) if text in joint else int(text)
        check_label(model, number, option)
        return spec.labels(torch.tensor([number]))[0]
    sizes, told = dict(spec.parts), {}
    # a name may have a comma, but not one that looks as if another part came
    for piece in re.split(r",(?=[^,=]+=)", text):
        part, _, name = (each.strip() for each in piece.partition("="))
        if part not in sizes:
            raise UsageError(f"labels have no part {part!r}: {nearest(part, sizes)}")
        if part in told:
            raise UsageError(f"{option} tells {part} twice: once is enough")
        told[part] = _class_of(name, names.get(part, ()), sizes[part], part, option)
    return torch.tensor([told.get(part, -1) for part in sizes])


def _class_of(text: str, names: Sequence[str], size: int, part: str, option: str) -> int:
    """The number of a class that is given by its name or number.

    Raises:
        UsageError: If there is none.
    """
    if text in names:
        number = list(names).index(text)
        if _is_whole(text) and int(text) != number:
            terminal.note(f"the class called {text} is taken, whose number is {number}")
        return number
    if _is_whole(text):
        if 0 <= int(text) < size:
            if names and all(map(_is_whole, names)):
                # a place among numbers would draw another class than the one that was meant
                of = f" {part}" if part else ""
                raise UsageError(f"no class{of} is called {text}: {nearest(text, names)}")
            return int(text)
        of = f" {part}" if part else ""
        raise UsageError(f"{option}{of} goes from 0 to {size - 1}, got {text}")
    if not names:
        raise UsageError(
            f"the run does not know the names of its classes: {option} is a number 0 … {size - 1}, "
            f"got {text!r}"
        )
    raise UsageError(f"no {part or 'class'} is called {text!r}: {nearest(text, names)}")


def _is_whole(text: str) -> bool:
    # Python refuses to read thousands of digits
    return re.fullmatch(r"-?[0-9]{1,18}", text) is not None


def observations(
    model: Model,
    data: Dataset,
    files: Sequence[Path],
    label: str | None,
    number: int | None,
    *,
    read: Callable[[Path, Dataset], Tensor] | None = None,
) -> tuple[Tensor, Tensor | None, list[str]]:
    """Observations of files, or the first ones of the validation split, for a model to look at.

    Args:
        model: That they are for.
        data: That it learned from.
        files: Images, or .npy files of raw values; none for validation observations. The vectors of
            a model that takes some are those of the data's encoder.
        label: That of all, as for `read_label`; that of the data otherwise.
        number: How many at most.
        read: What reads a file, where that is not `read_observations`.

    Returns:
        `(N, *event_shape)`, their context if the model takes any, and a name for each.

    Raises:
        MissingCapability: If there is a label that the model does not take.
        UsageError: If it is out of range, or missing; see `read_observations` too.
        DataError: See `read_observations`.
    """
    import torch

    from simulacra.data.foreign.observations import read_observations

    name, classes = type(model).__name__, model.spec.classes
    told = None if label is None else read_label(label, model, data.names_by_part)
    if files and model.context == "vector" and data.encoder is None:
        raise UsageError(
            f"this {name} needs a context vector for each observation, which a file does not "
            "have: leave the files out, for validation ones; or train one with --context RUN, "
            "whose codes are the vectors, and it keeps what encodes"
        )
    if files and model.context == "label" and label is None:
        raise UsageError(
            f"this {name} needs the class of a file: --label 0 … {classes - 1}, or without files "
            "validation ones"
        )
    if files:
        parts = [(read or read_observations)(path, data) for path in files]
        names = [
            str(path) if len(rows) == 1 else f"{path} [{row}]"
            for path, rows in zip(files, parts, strict=True)
            for row in range(len(rows))
        ]
        x, context = torch.cat(parts)[:number], None
        if model.context == "vector" and data.encoder is not None:
            context = torch.cat([data.encoder.read(path) for path in files])[:number]
    else:
        rows = len(data.validation)
        if number is not None and number > rows:
            terminal.note(f"there are {rows} validation observations, fewer than -n {number}")
        rows = rows if number is None else min(number, rows)
        x, context = data.validation.batch(torch.arange(rows))
        names = [f"validation {row}" for row in range(rows)]
    if told is not None:
        context = told.expand(len(x), *told.shape)
    return x, None if model.context == "none" else context, names[: len(x)]


def one_observation(
    model: Model, data: Dataset, text: str, label: str | None
) -> tuple[Tensor, Tensor | None, str]:
    """The observation of a file, or at a place of the validation split.

    Args:
        model: That it is for.
        data: That it learned from.
        text: The file, or the number of the validation observation.
        label: As for `observations`.

    Returns:
        `(1, *event_shape)`, its context if the model takes any, and a name.

    Raises:
        DataError: If a file holds several; see `observations` too.
        UsageError: If there is no such validation observation; see `observations` too.
    """
    import torch

    if not is_number(text):
        x, context, (name, *_) = observations(model, data, [Path(text)], label, None)
        if len(x) > 1:
            raise DataError(f"{text} holds {len(x)} observations, expected one")
        return x, context, name
    row, rows = int(text), len(data.validation)
    if row >= rows:
        raise UsageError(f"validation observations go from 0 to {rows - 1}, got {row}")
    x, context = data.validation.batch(torch.tensor([row]))
    if label is not None:
        context = read_label(label, model, data.names_by_part)[None]
    return x, None if model.context == "none" else context, f"validation {row}"


def is_number(text: str) -> bool:
    """Whether a word that may be a file is the number of a validation observation."""
    return re.fullmatch(r"[0-9]{1,18}", text) is not None


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
