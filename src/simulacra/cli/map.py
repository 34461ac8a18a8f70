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
    Label,
    Out,
    Whole,
    check_device,
    check_positive,
    check_seed,
    file_target,
    results_folder,
    whole,
)
from simulacra.cli.inputs import observations, opened, read_class
from simulacra.cli.output import ways_target, write_ways
from simulacra.ground.errors import DataError, MissingCapability, UsageError

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
    traverse: bool = False,
    spread: bool = False,
    levels: bool = False,
    styles: bool = False,
    label: Label = None,
    frames: Whole = 7,
    number: Annotated[int, Parameter(name=["--number", "-n"], converter=whole)] = 6,
    seed: Whole = 0,
    out: Out = None,
    data_dir: Path | None = None,
    device: Device = "auto",
    code: Code = None,
) -> None:
    """Show what lies where: densities of points, the map of a model's codes, or ways among them.

    Of a run that has codes: what decodes all over the prior's quantiles, and beside it the codes of
    validation observations by class. Codes of more than two values are seen along their first two
    principal components; those of a gan along the two directions that change what it generates the
    most, the rest as in one code of the prior, which --seed chooses.

    Of a run on one or two columns also the density, the true one where it is known, and samples; of
    a flow on two, the densities between its maps.

    With --traverse, one validation observation as each value of its code is moved from -3 to 3, the
    rows that move it most first, and a table of what else that changes. With --spread, what codes a
    few observations have when each is encoded many times.

    With --levels, of a code of several levels, a few observations with each level drawn anew, one
    at a time.

    With --direction, validation observations on the way to a class: the mean code of its training
    observations less that of the others, or of another class, is added to the code of each, not at
    all at the left of a row, three times at the right, for what sets one observation apart from
    another is mostly more than what sets their classes apart.

    With --styles, of a model that is told labels, validation observations at the left of a row, and
    beside each what its code stands for in every class.

    Of a decoder that draws, the map, traversals, spreads and styles show the expected levels, as
    papers do, and directions show draws.

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo.
        direction: A class, by its name or number, or by its parts, as in digit=7,speaker=theo; or
            two, of which the second is what the first is held against, instead of all others.
        traverse: Move each value of a code, the first 16 that move most.
        spread: Encode each of a few observations 200 times.
        levels: Draw each level of a hierarchical code anew.
        styles: Decode the code of each observation as every class, the first 20.
        label: What the grid of the map is told, for a model trained with --set context=label; the
            first class by default.
        frames: In each row.
        number: How many validation observations, of --direction, --spread, --levels and --styles.
        seed: Of samples, of a decoder that draws, or of what is mapped of a gan.
        out: A .png or, of --direction and --traverse of pictures, to see it move, a .gif; by
            default RUN/map.png, or the picture's own name there, as traversals.png or
            direction-CLASS.png.
            What has no room in it goes beside it. Ways of vectors are an .npy, or printed.
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
    if sum((bool(direction), traverse, spread, levels, styles)) > 1:
        raise UsageError(
            "--direction, --traverse, --spread, --levels and --styles are pictures: give one"
        )
    if label is not None and (direction or traverse or spread or levels or styles):
        raise UsageError("--label is what the grid of the map is told: leave it out here")
    place = check_device(device)
    found = opened(run)
    if traverse or spread:
        _draw_ways(found, out, place, data_dir, code=code, seed=seed,
                   frames=frames if traverse else None, number=number)  # fmt: skip
        return
    if levels:
        from simulacra.cli.codes import draw_levels

        drawn_to = file_target(out or results_folder(found) / "levels.png", "--out")
        learned = found.dataset(str(data_dir) if data_dir else None)
        draw_levels(found.model(code=code).to(place), learned, drawn_to, number=number, seed=seed)
        return
    if styles:
        _draw_styles(found, out, place, data_dir, code=code, number=number, seed=seed)
        return
    if not direction:
        _draw(found, out, place, data_dir, code=code, label=label, seed=seed)
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


def _draw_ways(
    found: Run,
    out: Path | None,
    place: torch.device,
    data_dir: Path | None,
    *,
    code: str | None,
    frames: int | None,
    number: int,
    seed: int,
) -> None:
    """Traversals of so many frames, or the spread of codes."""
    from simulacra.cli.codes import draw_spread
    from simulacra.cli.traversals import draw_traversal

    usual = results_folder(found) / ("spread.png" if frames is None else "traversals.png")
    if frames is None:
        target: Path | None = file_target(out or usual, "--out")
    else:
        target = ways_target(found.spec, out, usual)
    model = found.model(code=code).to(place)
    data = found.dataset(str(data_dir) if data_dir else None)
    if frames is None:
        assert target is not None
        draw_spread(model, data, target, number=number, seed=seed)
    else:
        draw_traversal(model, data, target, frames=frames, seed=seed)


def _draw_styles(
    found: Run,
    out: Path | None,
    place: torch.device,
    data_dir: Path | None,
    *,
    code: str | None,
    number: int,
    seed: int,
) -> None:
    """A row for each validation observation: itself, and its code in every class."""
    from simulacra.cli.output import write_numbers
    from simulacra.tasks.expected import words_of
    from simulacra.tasks.styles import styles

    target = ways_target(found.spec, out, results_folder(found) / "styles.png")
    model = found.model(code=code).to(place)
    data = found.dataset(str(data_dir) if data_dir else None)
    x, context, _ = observations(model, data, (), None, number)
    drawn = styles(model, x, context, seed=seed)
    names = data.class_names or tuple(map(str, range(data.spec.classes)))
    written = write_numbers(data.spec, target, drawn, data.columns)
    means = words_of(model)
    terminal.note(
        f"{written}, validation observations and their codes as {names[0]} … "
        f"{names[drawn.shape[1] - 2]}{f' ({means})' if means else ''}"
    )


def _draw(
    found: Run,
    out: Path | None,
    place: torch.device,
    data_dir: Path | None,
    *,
    code: str | None,
    label: str | None,
    seed: int,
) -> None:
    """The density of points of a plane or a line, and the codes of whatever has any."""
    from simulacra.cli.codes import draw_codes
    from simulacra.cli.planes import draw_line, draw_plane
    from simulacra.models.model import Encoding, Invertible, Latent
    from simulacra.tasks.densities import is_line, is_plane

    spec = found.spec
    target = file_target(out or results_folder(found) / "map.png", "--out")
    model = found.model(code=code).to(place).eval()
    data = found.dataset(str(data_dir) if data_dir else None)
    # an invertible model's codes on a plane are shown by the densities between its maps
    coded = isinstance(model, (Encoding, Latent))
    if is_plane(spec) or is_line(spec):
        (draw_plane if is_plane(spec) else draw_line)(model, data, target, seed=seed)
        if not coded or isinstance(model, Invertible):
            return
        target = target.with_name(f"{target.stem}-codes.png")
    if not coded:
        raise MissingCapability(
            f"{type(model).__name__} has no codes to map, and observations {spec.event_shape} are "
            "no points of a plane or a line: use vae, gan or nice"
        )
    draw_codes(model, data, target, label=label, seed=seed)


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
