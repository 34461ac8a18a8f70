"""What is drawn of codes: the map of their plane, and how far those of one input spread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from simulacra.cli import terminal
from simulacra.cli.inputs import read_label

if TYPE_CHECKING:
    from torch import Tensor

    from simulacra.data.dataset import Dataset
    from simulacra.drawing.animation import Picture as Pixels
    from simulacra.drawing.codes import Classes
    from simulacra.models.model import Model
    from simulacra.tasks.codes import View

_WIDE = 640
"""Pixels that a grid is wide and high, or a little less."""
_MOST_TILES = 20
_LEAST_TILE = 40
"""Pixels that a tile's longer side comes near to, at least."""
_SOUNDS = 4
"""Sounds in a row, and in a column."""
_FRAMES = 12
"""Tiles of a line."""


def draw_codes(
    model: Model, data: Dataset, target: Path, *, label: str | None = None, seed: int = 0
) -> None:
    """A picture of the codes of validation data by class, beside what decodes at each place.

    Args:
        model: One with codes, on its device.
        data: That it learned from.
        target: The PNG file; a grid of sounds goes beside it, into NAME-grid.png and .wav.
        label: That what is decoded is told, of a model that takes labels; the first otherwise.
        seed: Of draws of the prior.
    """
    from simulacra.drawing import codes as drawing
    from simulacra.drawing import files
    from simulacra.ground.storage import write_bytes
    from simulacra.models.model import Decoding, Encoding
    from simulacra.tasks.codes import validation_codes, view_of
    from simulacra.tasks.expected import words_of

    codes = validation_codes(model, data) if isinstance(model, Encoding) else None
    view = view_of(model, data, codes, _tiles(data), seed=seed)
    line = len(view.axes) == 1
    if line:
        view = view_of(model, data, codes, _FRAMES, seed=seed)
    told = told_of(model, data, label)
    parts: list[drawing.Picture] = []
    words = []
    decodes = isinstance(model, Decoding)
    grid = _grid(model, data, view, told, target, seed) if decodes else None
    if grid is not None:
        parts.append(grid)
    gridded = decodes and (grid is not None or data.spec.rate is not None)
    if gridded:
        means = words_of(model)
        words.append(
            f"what decodes at quantiles of {view.by}{f' ({means})' if means else ''}"
            f"{_for(model, told)}"
        )
    if codes is not None:
        seen, classes = view.seen(codes), classes_of(data)
        by = " by class" if classes is not None else ""
        words.append(f"codes of {len(codes)} validation observations{by}")
        if line:
            wide = max(6.0, drawing.inches(grid, 0)) if grid is not None else 7.0
            parts.append(drawing.histogram(seen[:, 0], classes, name=view.names[0], wide=wide))
        else:
            side = drawing.inches(grid, 1) if grid is not None else 6.0
            # of wide vectors there is no grid, whose edge a frame would be
            ends = view.outermost if gridded else None
            parts.append(drawing.scatter(seen, classes, names=view.names, side=side, frame=ends))
    if parts:
        joined = (drawing.below if line else drawing.beside)(*parts)
        write_bytes(target, files.png(joined))
    terminal.note(f"{target}: {' | '.join(words)}")
    if view.share and codes is None:
        terminal.note(
            f"codes have {view.centre.numel()} values: across and up go the two directions that "
            f"change what is generated most, which make {view.share[0]:.0%} and "
            f"{view.share[1]:.0%} of all change; the rest is that of one code, which --seed chooses"
        )
    elif view.share:
        terminal.note(
            f"codes have {view.centre.numel()} values, and are seen along their first two "
            f"principal components, which hold {view.share[0]:.0%} and {view.share[1]:.0%} of "
            "their variance"
        )


def told_of(model: Model, data: Dataset, label: str | None) -> Tensor | None:
    """What one decoded code is told, `(1, …)`: a label that was asked for, or the first."""
    from simulacra.tasks.sample import example_context

    if label is not None:
        return read_label(label, model, data.names_by_part)[None]
    return example_context(model, data, 1)


def _for(model: Model, told: Tensor | None) -> str:
    """For which class that is."""
    if told is None:
        return ""
    if model.context == "vector":
        return ", for the vector of validation 0"
    return f", for class {', '.join(map(str, told.flatten().tolist()))}"


def classes_of(data: Dataset) -> Classes | None:
    """The classes of the validation observations that are mapped; `None` without labels."""
    from simulacra.data.labels import joint_classes
    from simulacra.drawing.codes import Classes
    from simulacra.tasks.codes import validation_rows

    labels = joint_classes(data.validation, data.spec)
    if labels is None:
        return None
    names = data.class_names or tuple(map(str, range(data.spec.classes)))
    found = Classes(labels[validation_rows(data)], names)
    return found if found.told else None


def _tiles(data: Dataset) -> int:
    """How many steps a grid has along each axis."""
    spec = data.spec
    if not spec.is_image:
        return _SOUNDS if spec.rate is not None else _MOST_TILES
    longest = max(spec.event_shape[1:])
    scale = _scale(longest)
    return max(4, min(_MOST_TILES, _WIDE // (longest * scale + _gap(scale))))


def _scale(longest: int) -> int:
    return max(1, round(_LEAST_TILE / longest))


def _gap(scale: int) -> int:
    """Pixels between tiles: strokes that reach the edges of small pictures would run together."""
    return scale // 2 + 1


def _grid(
    model: Model, data: Dataset, view: View, told: Tensor | None, target: Path, seed: int
) -> Pixels | None:
    """What decodes all over the view; sounds are written beside the picture."""
    from simulacra.cli.output import write_sounds
    from simulacra.drawing import codes, grids
    from simulacra.drawing.animation import raster
    from simulacra.tasks.expected import expected

    spec, places = data.spec, view.grid()
    if not spec.is_image and spec.rate is None and spec.dims != 2:
        return None
    context = None if told is None else told.expand(len(places), *told.shape[1:])
    decoded = expected(model, view.codes(places), context, seed=seed)
    line = len(view.axes) == 1
    if spec.is_image:
        columns = len(view.ends[0])
        scale = _scale(max(spec.event_shape[1:]))
        if line:
            return grids.grid(decoded, columns=columns, gap=3)
        return grids.grid(decoded, columns=columns, scale=scale, gap=_gap(scale))
    if spec.rate is not None:
        beside = target.with_name(f"{target.stem}-grid.png")
        write_sounds(beside, decoded, spec.rate, columns=1 if line else len(view.ends[0]))
        terminal.note(f"{beside} and {beside.with_suffix('.wav')}: the grid, row by row")
        return None
    size = len(view.ends[0])
    flat = decoded.double().flatten(1)
    known = spec.to_float(data.validation.batch(_first(data))[0]).double()
    return raster(codes.lattice(flat if line else flat.view(size, size, 2), known, data.columns))


def _first(data: Dataset) -> Tensor:
    from simulacra.tasks.codes import looked_at

    return looked_at(data.validation, _POINTS)


_POINTS = 2000


def draw_spread(
    model: Model, data: Dataset, target: Path, *, number: int = 6, seed: int = 0
) -> None:
    """A picture of a few observations encoded many times, and of what their codes decode to.

    Args:
        model: One with a posterior over codes, on its device.
        data: That it learned from.
        target: The PNG file; sounds go beside it, into NAME-decoded.png and .wav.
        number: Validation observations.
        seed: Of the draws.
    """
    import torch

    from simulacra.cli.output import write_sounds
    from simulacra.drawing import codes as drawing
    from simulacra.drawing import files, grids
    from simulacra.ground.storage import write_bytes
    from simulacra.tasks.codes import validation_codes, view_of
    from simulacra.tasks.expected import words_of
    from simulacra.tasks.spread import DRAWS, random_encoder, spread

    random_encoder(model)
    spec, number = data.spec, min(number, len(data.validation))
    x, context = data.validation.batch(torch.arange(number))
    found = spread(model, x, None if model.context == "none" else context, seed=seed)
    codes = validation_codes(model, data)
    view = view_of(model, data, codes, 2, seed=seed)
    clouds = view.seen(found.codes.flatten(0, 1)).unflatten(0, (number, DRAWS))
    seen = view.seen(codes)
    names = view.names
    if len(view.axes) == 1:
        # on a line: each observation's codes at a height of their own
        heights = torch.arange(number, dtype=torch.float64)[:, None, None].expand_as(clouds)
        jitter = torch.linspace(-0.3, 0.3, DRAWS, dtype=torch.float64)[None, :, None]
        clouds = torch.cat([clouds, -heights + jitter], 2)
        seen, names = torch.cat([seen, torch.ones_like(seen)], 1), (*names, "")
    parts: list[drawing.Picture] = [drawing.scatter(seen, None, names=names, ellipses=list(clouds))]
    rows = torch.cat([spec.to_float(x)[:, None], found.middle[:, None], found.decoded], 1)
    columns, flat = rows.shape[1], rows.flatten(0, 1)
    if spec.is_image:
        parts.append(grids.grid(flat, columns=columns, gap=3))
    write_bytes(target, files.png(drawing.beside(*parts)))
    terminal.note(
        f"{target}: {DRAWS} codes of each of {number} validation observations, and the ellipse "
        "that holds 95 % of them if they are normal"
    )
    beside = target
    if spec.rate is not None:
        beside = target.with_name(f"{target.stem}-decoded.png")
        write_sounds(beside, flat, spec.rate, columns=columns)
    if spec.is_image or spec.rate is not None:
        means = words_of(model)
        terminal.note(
            f"{beside}: a row for each, as it is | its mean code decoded | "
            f"{columns - 2} of its codes decoded{f' ({means})' if means else ''}"
        )


def draw_levels(
    model: Model, data: Dataset, target: Path, *, number: int = 6, seed: int = 0
) -> None:
    """A picture of a few observations, each level of whose codes is drawn anew, one at a time.

    Args:
        model: One with a code of several levels, on its device.
        data: That it learned from.
        target: The PNG file.
        number: Validation observations.
        seed: Of the draws.
    """
    import torch

    from simulacra.drawing import files, grids
    from simulacra.ground.storage import write_bytes
    from simulacra.tasks.code_levels import redrawn
    from simulacra.tasks.expected import words_of

    spec, number = data.spec, min(number, len(data.validation))
    x, context = data.validation.batch(torch.arange(number))
    told = None if model.context == "none" else context
    found = redrawn(model, x, told, draws=_ANEW, seed=seed)
    rows = torch.cat(
        [spec.to_float(x)[:, None], found.middle[:, None], found.levels.flatten(1, 2)], 1
    )
    write_bytes(target, files.png(grids.grid(rows.flatten(0, 1), columns=rows.shape[1], gap=3)))
    means = words_of(model)
    terminal.note(
        f"{target}: a row for each of {number} validation observations, as it is | its mean code "
        f"decoded | with a level of it drawn anew, {_ANEW} times each, the highest first"
        f"{f' ({means})' if means else ''}"
    )
    moved = zip(found.names, found.moves.tolist(), strict=True)
    terminal.note("what it moves a value by: " + ", ".join(f"{a} {b:.3f}" for a, b in moved))


_ANEW = 3
"""Draws of each level."""
