"""The command that shows what surprises an autoregressive model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from simulacra.cli import terminal
from simulacra.cli.flags import (
    Code,
    Device,
    Label,
    Out,
    check_device,
    check_positive,
    file_target,
    results_folder,
    whole,
)
from simulacra.cli.inputs import observations, opened
from simulacra.ground.errors import MissingCapability

if TYPE_CHECKING:
    from torch import Tensor

    from simulacra.data.dataset import Dataset
    from simulacra.models.model import Model


def surprise(
    run: Path,
    /,
    *images: Path,
    label: Label = None,
    number: Annotated[int, Parameter(name=["--number", "-n"], converter=whole)] = 6,
    out: Out = None,
    data_dir: Path | None = None,
    device: Device = "auto",
    code: Code = None,
) -> None:
    """Show where pictures or sounds surprise an autoregressive model: −log₂ p of each pixel.

    The surprise of a pixel is what the model would need to send it after those before it: 0 bits
    for one that it is sure of. The colours of a pixel are added up. Printed is the mean of a
    picture, and how many validation pictures surprise less.

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo.
        images: Image files, or .npy files of raw values; some validation ones by default.
        label: Their class, for a model trained with --set context=label, by its name or number, or
            by its parts, as in digit=7,speaker=theo; validation pictures have their own.
        number: How many validation pictures or sounds, without files.
        out: The PNG file; RUN/surprise.png by default.
        data_dir: Folder that holds the data's files, if it moved.
        device: Where it is computed.
        code: file.py:Class of a model of your own.
    """
    from simulacra.drawing import files, maps
    from simulacra.ground.storage import write_bytes
    from simulacra.tasks.surprise import surprise as surprise_of

    check_positive(number=number)
    place = check_device(device)
    found = opened(run)
    spec = found.spec
    if not spec.is_image and spec.rate is None:
        raise MissingCapability(
            f"surprise is drawn of pictures and sounds, not of vectors {spec.event_shape}: "
            "in Python, simulacra.tasks.surprise.surprise(model, x) has its bits"
        )
    target = file_target(out or results_folder(found) / "surprise.png", "--out")
    model = found.model(code=code).to(place)
    data = found.dataset(str(data_dir) if data_dir else None)
    x, context, names = observations(model, data, images, label, None if images else number)
    bits = surprise_of(model, x, context)
    usual = _usual(model, data)
    kind = "picture" if spec.is_image else "sound"
    means = bits.flatten(1).mean(1).tolist()
    shown = slice(_MOST)
    # what the font lacks is named by its number, here and there
    short = [_short(name) for name in names]
    numbers = [None if maps.drawable(n) else f"{kind} {i}" for i, n in enumerate(short, 1)]
    titles = [
        f"{number or name}: {value:.2f} bits/dim"
        for number, name, value in zip(numbers, short, means, strict=True)
    ]
    rows = [
        {
            kind: f"{name} ({number})" if number and i < _MOST else name,
            "bits/dim": f"{value:.3f}",
            _THAN: _share(value, usual),
        }
        for i, (number, name, value) in enumerate(zip(numbers, names, means, strict=True))
    ]
    values = spec.to_float(x[shown])
    figure = (
        maps.surprises(values, bits[shown].sum(1), titles[shown])
        if spec.rate is None
        else maps.surprise_curves(values, bits[shown], spec.rate, titles[shown])
    )
    write_bytes(target, files.png(figure))
    terminal.print_table(rows, right=("bits/dim", _THAN), words=(kind,))
    terminal.print_line(f"as held against {len(usual)} validation {kind}s")
    part = f"the first {_MOST} {kind}s" if len(x) > _MOST else f"{kind}s"
    which = f"a {kind}, and {{}} it" if len(x) == 1 else f"{part}, and {{}} each"
    where, what = ("beside", "a map") if spec.is_image else ("below", "a curve")
    terminal.note(f"{target}: {which.format(where)} {what} of its surprise, in bits")


_MOST = 24
"""Pictures or sounds that are drawn."""

_USUAL = 500
"""Validation observations that say which surprise is usual."""


def _usual(model: Model, data: Dataset) -> Tensor:
    """Mean bits of validation observations, each with its own context."""
    from simulacra.data.splits import permutation
    from simulacra.tasks.surprise import surprise as surprise_of

    # their order may be by class
    x, context = data.validation.batch(permutation(len(data.validation))[:_USUAL])
    told = None if model.context == "none" else context
    return surprise_of(model, x, told).flatten(1).mean(1)


_THAN = "more surprising than"


def _share(value: float, usual: Tensor) -> str:
    """The part of validation observations that surprise less."""
    less = int((usual < value).sum())
    if less in (0, len(usual)):
        return "all" if less else "none"
    # neither all nor none of them
    return f"{min(99, max(1, round(100 * less / len(usual))))} %"


def _short(name: str) -> str:
    """A file's name with room for it above a picture."""
    name = Path(name).name
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST // 2]}…{name[-_LONGEST // 2 :]}"


_LONGEST = 24
"""Characters of a name above a picture."""
