"""The command that measures what an autoregressive model sees."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from simulacra.cli import terminal
from simulacra.cli.flags import (
    Code,
    Out,
    Set,
    Whole,
    check_positive,
    file_target,
    results_folder,
    run_folder,
)
from simulacra.cli.inputs import opened
from simulacra.ground.errors import SimulacraError, UsageError, nearest
from simulacra.models import registry
from simulacra.models.keywords import parse_assignments

if TYPE_CHECKING:
    from torch import Tensor

    from simulacra.models.model import Model
    from simulacra.runs.run import Run
    from simulacra.tasks.field import Field


def field(
    model: str,
    /,
    *,
    side: Whole | None = None,
    colours: Whole | None = None,
    set_: Set = [],  # noqa: B006 (read only)
    at: str | None = None,
    masks: bool = False,
    out: Out = None,
    code: Code = None,
) -> None:
    """Measure which earlier pixels influence the prediction of one, and draw it.

    Each value of random pictures is changed, and predictions are compared bit by bit in float64.
    A later pixel that influences an earlier one is a fault, and so is a blind spot that the model
    does not declare: then the exit code is 1.

    Args:
        model: An autoregressive model's name (see: simulacra models), or my.py:MyModel, with
            random weights; or a run's name below runs/, its folder, or the name of a model of
            the zoo, with its own.
        side: Height and width of the pictures, of a model by name; 15 by default.
        colours: Colours of a pixel, of a model by name: 1 by default, or 3.
        set_: A keyword of a model by name; repeat it for more.
        at: The pixel that is predicted, as ROW,COLUMN from 0; the middle by default.
        masks: Draw the masks of its convolutions instead, as they are: those of the widest with
            mask A and of the widest with mask B, by colours.
        out: The PNG file; RUN/field.png or field-MODEL.png by default, or masks for field.
        code: file.py:Class of a model of your own, for its runs.
    """
    from simulacra.drawing import files, maps
    from simulacra.ground.storage import write_bytes
    from simulacra.tasks.field import field as field_of

    check_positive(side=side, colours=colours)
    place = None if at is None else _place(at)
    if masks and at is not None:
        raise UsageError("--at is a pixel of the field, and --masks draws the masks: pass one")
    kind = "masks" if masks else "field"
    if model in registry.MODELS or ":" in model:
        if code is not None:
            raise UsageError(f"--code is the class of a run, and {model} names one already")
        registry.find(model)
        # a class of one's own by its own name, whatever its file is called
        name = model.rpartition(":")[2]
        target = file_target(out or Path(f"{kind}-{name}.png"), "--out")
        built = _random(model, side or 15, colours or 1, set_)
    else:
        run = _run(model)
        if side is not None or colours is not None or set_:
            raise UsageError(
                f"--side, --colours and --set are of a model by name, and {model} is none: a run "
                "has its own"
            )
        name = run.folder.resolve().name
        target = file_target(out or results_folder(run) / f"{kind}.png", "--out")
        built = run.model(code=code)
    if masks:
        _draw_masks(built, name, target)
        return
    found = field_of(built, place)
    row, column = found.at
    _, height, width = built.spec.event_shape
    title = f"{name}, {height}×{width}: what pixel ({row}, {column}) sees"
    leaks = found.leaks.view(*built.spec.event_shape, -1).any(3).any(0)
    write_bytes(target, files.png(maps.field(*_pixels(found, built), leaks, found.at, title)))
    terminal.print_line(f"{name}, {height}×{width}: {_said(found, built)}")
    red = ", seen too early in red" if bool(leaks.any()) else ""
    terminal.note(f"{target}: influence in blue, none in orange, later pixels in grey{red}")
    if fault := _fault(found, built):
        raise SimulacraError(f"{name} {fault}")


def _draw_masks(model: Model, name: str, target: Path) -> None:
    """Draw the masks of a model, and say what a pixel sees of itself.

    Raises:
        SimulacraError: If something is seen too early.
    """
    from simulacra.drawing import files, maps
    from simulacra.ground.storage import write_bytes
    from simulacra.tasks.masks import masks as masks_of

    found = masks_of(model)
    count = found[0].seen.shape[0]
    names = ("R", "G", "B") if count == 3 else tuple(map(str, range(1, count + 1)))
    panels = []
    for mask in found:
        side = mask.seen.shape[-1]
        own = mask.seen[..., side // 2, side // 2] > 0
        # a convolution along the row has no rows above
        tall = side if bool(mask.seen[..., : side // 2, :].any()) else 1
        title = f"{name}, mask {mask.kind}, {tall}×{side}"
        panels.append((title, mask.seen, mask.leaks))
        if count > 1:
            told = [
                f"{names[i]} sees {' '.join(names[j] for j in range(count) if own[i, j]) or 'none'}"
                for i in range(count)
            ]
            said = f"of its own pixel {', '.join(told)}"
        else:
            said = f"a pixel {'sees' if bool(own.any()) else 'does not see'} itself"
        terminal.print_line(f"{title}: {said}")
    write_bytes(target, files.png(maps.masks(panels, names)))
    wrong = [mask.kind for mask in found if bool(mask.leaks.any())]
    red = ", seen too early in red" if wrong else ""
    terminal.note(f"{target}: seen in blue, not seen in grey, the pixel with a dot{red}")
    if wrong:
        raise SimulacraError(f"{name} leaks: mask {' and '.join(wrong)} shows what comes later")


_LEVELS = 4
"""Of the random pictures that a model by name is built for; how many does not matter."""


def _run(name: str) -> Run:
    """A run to measure.

    Raises:
        UsageError: If there is none, and the name is nearly that of a model.
        CheckpointError: If there is none.
    """
    folder = run_folder(Path(name))
    if not folder.exists() and get_close_matches(name.lower(), registry.MODELS, 1, cutoff=0.75):
        raise UsageError(f"no model is called {name!r}: {nearest(name, registry.MODELS)}")
    return opened(Path(name))


def _random(name: str, side: int, colours: int, assignments: list[str]) -> Model:
    """A model by name with random weights, none of which is 0 because training begins so."""
    import torch

    from simulacra.ground.randomness import seeded
    from simulacra.ground.spec import DataSpec

    if colours not in (1, 3):
        raise UsageError(f"--colours is 1 or 3, got {colours}")
    spec = DataSpec((colours, side, side), _LEVELS, classes=2, context_width=2)
    with seeded(0), torch.no_grad():
        built = registry.build(name, spec, parse_assignments(assignments))
        for parameter in built.parameters():
            if not bool(parameter.any()):
                inputs = parameter[0].numel() if parameter.ndim > 1 else 10
                parameter.normal_(std=inputs**-0.5)
    return built.eval()


def _place(at: str) -> tuple[int, int]:
    """A pixel as ROW,COLUMN.

    Raises:
        UsageError: If it is none.
    """
    row, _, column = at.partition(",")
    try:
        return int(row), int(column)
    except ValueError as error:
        raise UsageError(f"--at is ROW,COLUMN as in 7,7, got {at!r}") from error


_FAINT = 1e-300
"""Nats, less than float64 can tell from nothing beside a log-probability."""


def _pixels(found: Field, model: Model) -> tuple[Tensor, Tensor]:
    """Strength of each pixel's influence, and which pixels come earlier: both `(H, W)`."""
    import torch

    # what only other weights show is fainter than all else, but no blind spot
    strength = torch.where(found.reached, found.strength.clamp_min(_FAINT / 2), 0)
    shape = (*model.spec.event_shape, -1)
    earlier = found.earlier.view(shape).any(3).any(0)
    earlier[found.at] = False
    return strength.view(shape).amax((0, 3)), earlier


def _said(found: Field, model: Model) -> str:
    """The size of the field and of the blind spot, in words."""
    strength, earlier = _pixels(found, model)
    row, column = found.at
    count = int(earlier.sum())
    blind = int((earlier & (strength == 0)).sum())
    if early := _early(found, model):
        text = f"pixel ({row}, {column}) sees {early}"
        return f"{text}, and {count - blind} of {count} earlier pixels" if count else text
    if not count:
        return f"no pixel comes before pixel ({row}, {column})"
    if blind:
        text = (
            f"{count - blind} of {count} earlier pixels influence pixel ({row}, {column}); {blind} "
            f"({100 * blind / count:.1f} %) do not (blind spot)"
        )
    else:
        text = f"all {count} earlier pixels influence pixel ({row}, {column}), no blind spot"
    faint = int((earlier & (strength > 0) & (strength < _FAINT)).sum())
    if faint:
        text += f"; {faint} too faintly for these weights to show, but other weights do"
    return f"{text}; {'not ' if _fault(found, model) else ''}as the model declares"


def _fault(found: Field, model: Model) -> str | None:
    """What is wrong with a model that does not keep to the order, or to its word."""
    row, column = found.at
    if early := _early(found, model):
        return f"leaks: pixel ({row}, {column}) sees {early}, which should not be known yet"
    for faults, words in (
        (found.denied, "declares a blind spot where there is none: pixel ({}) sees {}"),
        (found.undeclared, "has a blind spot that it does not declare: pixel ({}) never sees {}"),
    ):
        if bool(faults.any()):
            return words.format(f"{row}, {column}", _some(_places(faults, model)))
    return None


def _early(found: Field, model: Model) -> str:
    """Which pixels are seen that come later, the predicted one first of all; nothing if none."""
    pixels = _places(found.leaks, model)
    others = [pixel for pixel in pixels if pixel != found.at]
    parts = ["itself"] if found.at in pixels else []
    return " and ".join([*parts, _some(others)] if others else parts)


def _some(pixels: list[tuple[int, int]]) -> str:
    """The first of them."""
    more = f" and {len(pixels) - 3} more" if len(pixels) > 3 else ""
    return ", ".join(f"({row}, {column})" for row, column in pixels[:3]) + more


def _places(values: Tensor, model: Model) -> list[tuple[int, int]]:
    """Rows and columns of the pixels of some values `(dims, C)`."""
    pixels = values.view(*model.spec.event_shape, -1).any(3).any(0).nonzero().tolist()
    return [(row, column) for row, column in pixels]
