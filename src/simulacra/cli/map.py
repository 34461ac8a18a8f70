"""The command that shows what lies where: on a plane, or among a model's codes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from simulacra.cli import terminal
from simulacra.cli.flags import (
    Code,
    Device,
    Out,
    Whole,
    check_device,
    check_positive,
    check_seed,
    file_target,
    results_folder,
    whole,
)
from simulacra.cli.inputs import opened, read_class
from simulacra.cli.output import ways_target, write_ways
from simulacra.ground.errors import DataError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from simulacra.data.dataset import Dataset
    from simulacra.models.model import Model
    from simulacra.runs.run import Run


def map_(
    run: Path,
    /,
    *,
    direction: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    frames: Whole = 7,
    number: Annotated[int, Parameter(name=["--number", "-n"], converter=whole)] = 6,
    seed: Whole = 0,
    out: Out = None,
    data_dir: Path | None = None,
    device: Device = "auto",
    code: Code = None,
) -> None:
    """Show what lies where: the density of points of a plane, or directions among codes.

    Without --direction, of a run on two columns: its density, the true one where it is known, and
    samples. Of a flow a second picture shows the densities between its maps, from the base to the
    data. With it, of any run that has codes: validation observations on the way to a class.

    The direction of a class is the mean code of its training observations less that of the others,
    or of another class. It is added to the code of each observation: not at all at the left of a
    row, three times at the right, for what sets one observation apart from another is mostly more
    than what sets their classes apart.

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo.
        direction: A class, by its name or number, or by its parts, as in digit=7,speaker=theo; or
            two, of which the second is what the first is held against, instead of all others.
        frames: In each row.
        number: How many validation observations.
        seed: Of samples, or of a decoder that draws.
        out: A .png or, to see it move, a .gif; RUN/direction-CLASS.png by default. Of vectors an
            .npy; without, they are printed. Without --direction a .png; RUN/map.png by default,
            and what lies between maps goes beside it.
        data_dir: Folder that holds the data's files, if it moved.
        device: Where it is computed.
        code: file.py:Class of a model of your own.
    """
    import torch

    from simulacra.tasks.directions import directed, moved
    from simulacra.tasks.directions import direction as direction_of

    check_positive(number=number, frames=frames)
    check_seed(seed)
    if frames < 2:
        raise UsageError(f"--frames is at least 2, got {frames}")
    if direction and len(direction) > 2:
        raise UsageError(
            f"map takes --direction CLASS, or --direction CLASS OTHER: got {len(direction)} classes"
        )
    place = check_device(device)
    found = opened(run)
    if not direction:
        _draw(found, out, place, data_dir, code=code, seed=seed)
        return
    named = re.sub(r"[^\w.,=-]+", "-", "-".join(direction))
    target = ways_target(found.spec, out, results_folder(found) / f"direction-{named}.png")
    model = found.model(code=code).to(place)
    directed(model)
    data = found.dataset(str(data_dir) if data_dir else None)
    has, lacks = _classes(model, data, direction)
    rows = min(number, len(data.validation))
    x, _ = data.validation.batch(torch.arange(rows))
    amounts = torch.linspace(0, _FARTHEST, frames)
    drawn = moved(model, x, direction_of(model, has, lacks), amounts, seed=seed)
    written = write_ways(found.spec, target, drawn, data.columns)
    against = direction[1] if len(direction) > 1 else "all others"
    terminal.note(
        f"{written}, from 0 to {_FARTHEST} times the direction of {direction[0]} ({len(has)} "
        f"training observations) from {against} ({len(lacks)})"
    )


def _draw(
    found: Run,
    out: Path | None,
    place: torch.device,
    data_dir: Path | None,
    *,
    code: str | None,
    seed: int,
) -> None:
    """The density of points of a plane.

    Raises:
        UsageError: If observations are none.
    """
    from simulacra.cli.planes import draw_plane
    from simulacra.tasks.densities import is_plane

    if not is_plane(found.spec):
        raise UsageError(
            "map needs --direction CLASS, or --direction CLASS OTHER: got none, and without one it "
            f"draws points of a plane, not observations {found.spec.event_shape}"
        )
    target = file_target(out or results_folder(found) / "map.png", "--out")
    model = found.model(code=code).to(place).eval()
    draw_plane(model, found.dataset(str(data_dir) if data_dir else None), target, seed=seed)


_FARTHEST = 3
"""Times that a direction is added at most: of `nice` on digits once makes one in five look like the
class to a support vector machine, and three times nine in ten."""

_MOST = 2000
"""Training observations of each side, at most."""


def _classes(model: Model, data: Dataset, named: list[str]) -> tuple[Tensor, Tensor]:
    """Training observations of a class, and of the others or of another one."""
    from simulacra.data.splits import permutation

    labels = data.train.context
    wanted = [read_class(text, model, data.names_by_part, "--direction") for text in named]
    if labels is None or labels.is_floating_point():
        raise DataError("--direction needs labels of the training data, and they have none")
    has, *other = (_are(labels, each) for each in wanted)
    lacks = other[0] if other else ~has & (labels.view(len(labels), -1) >= 0).all(1)
    if bool((has & lacks).any()):
        raise UsageError(f"--direction {' '.join(named)}: an observation may be both of them")
    # their order may be by anything
    order = permutation(len(labels))
    sides = []
    for chosen, name in ((has, named[0]), (lacks, named[1] if other else "any other class")):
        rows = order[chosen[order]][:_MOST]
        if not len(rows):
            raise DataError(f"no training observation is of {name}: a direction needs some")
        sides.append(data.train.batch(rows)[0])
    return sides[0], sides[1]


def _are(labels: Tensor, wanted: Tensor) -> Tensor:
    """Which labels have all parts that are told."""
    own, told = labels.view(len(labels), -1), wanted.view(1, -1)
    return ((own == told) | (told < 0)).all(1)
