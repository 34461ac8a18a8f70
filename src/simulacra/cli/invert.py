"""The command that seeks the codes of observations in a model without an encoder."""

from __future__ import annotations

import math
import time
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
from simulacra.cli.inputs import observations, opened, read_label
from simulacra.cli.output import write_arrays, write_sounds
from simulacra.ground.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from simulacra.data.dataset import Dataset
    from simulacra.ground.spec import DataSpec
    from simulacra.models.model import Model


def invert(
    run: Path,
    /,
    *sources: str,
    label: Label = None,
    number: Annotated[int, Parameter(name=["--number", "-n"], converter=whole)] = 8,
    seed: Whole = 0,
    out: Out = None,
    data_dir: Path | None = None,
    device: Device = "auto",
    code: Code = None,
) -> None:
    """Seek the codes of pictures, sounds or vectors in a model that has no encoder, such as a gan.

    Eight codes of the prior are improved by 100 gradients each for every observation, and the best
    is kept. Drawn are the real ones, what was found, and the difference, where mid-grey is none.

    Printed is the residual, the root of the mean square over values: of levels in levels, and in dB
    below their range; of vectors in standard deviations of the data. Beside it stand the distance
    of the nearest training observation, and that of samples of the model.

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo.
        sources: Image files, .npy files of raw values, folders, or data sets, of which the test
            split is taken; some validation observations by default.
        label: Their class, for a model trained with --set context=label, by its name or number, or
            by its parts, as in digit=7,speaker=theo; validation observations have their own.
        number: How many validation observations, or of each of the sources, at most.
        seed: Of the codes that are begun at.
        out: The PNG file; RUN/inversions.png by default. The WAV of sounds goes beside it. Or an
            .npz, of the codes in place of a picture; vectors are printed alone without.
        data_dir: Folder that holds the data's files, if it moved.
        device: Where it is computed.
        code: file.py:Class of a model of your own.
    """
    from simulacra.cli.waiting import Waiting
    from simulacra.tasks.invert import generates, nearest
    from simulacra.tasks.invert import invert as inverted

    check_positive(number=number)
    check_seed(seed)
    place = check_device(device)
    found = opened(run)
    target = _target(found.spec, out, results_folder(found) / "inversions.png")
    model = found.model(code=code).to(place)
    game = generates(model)
    data = found.dataset(str(data_dir) if data_dir else None)
    x, context, names = _given(model, data, sources, label, number, data_dir)
    with Waiting(doing="seeking") as waiting:
        waiting.begin(f"the codes of {len(x)} observation{'s' if len(x) > 1 else ''}")
        began = time.perf_counter()
        inversion = inverted(model, x, context, seed=seed)
        seconds = time.perf_counter() - began
        near, count = nearest(game, x, data)
    _print(found.spec, names, inversion.residual, near, inversion.sample)
    terminal.note(
        f"{inversion.steps} gradients for each took {seconds:.3g} s in all; the nearest of {count} "
        "training observations; the mean of samples"
    )
    if target is None:
        return
    if target.suffix.lower() == ".npz":
        import numpy as np

        write_arrays(target, {
            "codes": inversion.codes.numpy(), "residuals": inversion.residual.numpy(),
            "names": np.array(names), "run": np.array(found.folder.name),
        })  # fmt: skip
        terminal.note(f"{target}: codes {tuple(inversion.codes.shape)}, residuals, names")
        return
    terminal.note(_draw(found.spec, target, x, inversion.x))


def _target(spec: DataSpec, out: Path | None, usual: Path) -> Path | None:
    """A picture or codes; of vectors codes, or nothing."""
    if out is not None and out.suffix.lower() == ".npz":
        return file_target(out, "--out", ".npz")
    if spec.is_image or spec.rate is not None:
        return file_target(out or usual, "--out")
    if out is not None:
        raise UsageError(f"of vectors {spec.event_shape} --out is an .npz of codes, got {out}")
    return None


def _given(
    model: Model,
    data: Dataset,
    sources: tuple[str, ...],
    label: str | None,
    number: int,
    data_dir: Path | None,
) -> tuple[Tensor, Tensor | None, list[str]]:
    """Observations, what the model is told of each, and their names."""
    import torch

    from simulacra.data.foreign.anything import read_anything

    if not sources:
        return observations(model, data, (), label, number)
    if model.context != "none" and label is None:
        raise UsageError(
            f"this {type(model).__name__} is told a {model.context} with each observation: "
            + ("--label tells it" if model.context == "label" else "leave out what has none")
            + ", or without files validation ones have it"
        )
    told = None if label is None else read_label(label, model, data.names_by_part)
    parts, names = [], []
    for source in sources:
        foreign = read_anything(source, data, data_dir)
        for line in foreign.notes:
            terminal.note(line)
        some = foreign.names[:number]
        parts.append(foreign.observations.batch(torch.arange(len(some)))[0])
        alone = foreign.names == [source]
        names += some if alone else [f"{source} [{name}]" for name in some]
    x = torch.cat(parts)
    return x, None if told is None else told.expand(len(x), *told.shape), names


def _print(
    spec: DataSpec, names: list[str], residual: Tensor, near: Tensor, sample: Tensor
) -> None:
    """A row for each observation, and one for all."""
    kind = "picture" if spec.is_image else "sound" if spec.rate is not None else "vector"
    of = "residual, levels" if spec.levels is not None else "residual, deviations"
    columns = {of: residual, "nearest training": near, "samples": sample}

    def line(name: str, *values: float) -> dict[str, str]:
        told = {kind: name} | {
            key: f"{value:.3f}" for key, value in zip(columns, values, strict=True)
        }
        if spec.levels is not None:
            told["dB"] = f"{_decibels(values[0], spec.levels):.1f}"
        return told

    rows = [
        line(*each) for each in zip(names, *(c.tolist() for c in columns.values()), strict=True)
    ]
    if len(names) > 1:
        # the root of the mean square, as of an observation's values
        means = (float(values.square().mean().sqrt()) for values in columns.values())
        rows.append(line(f"all {len(names)}", *means))
    terminal.print_table(rows, right=[*columns, "dB"], words=(kind,))


def _decibels(residual: float, levels: int) -> float:
    """By how much it is below the range of levels."""
    return 20 * math.log10((levels - 1) / residual) if residual else math.inf


def _draw(spec: DataSpec, target: Path, x: Tensor, again: Tensor) -> str:
    """Real ones, those that were found, and the difference, as PNG, and WAV of sounds."""
    import torch

    from simulacra.drawing import files, grids
    from simulacra.drawing.observations import MOST_SOUNDS
    from simulacra.drawing.style import GAP
    from simulacra.ground.storage import write_bytes

    real, found = spec.to_float(x), spec.to_float(again)
    if spec.rate is not None:
        some = MOST_SOUNDS // 3
        three = torch.stack([real, found, (found - real).clamp(-1, 1)], 1)[:some].flatten(0, 1)
        write_sounds(target, three, spec.rate, columns=3)
        first = f"the first {some}: " if len(x) > some else ""
        wav = target.with_suffix(".wav")
        return f"{target} and {wav}: {first}rows of real | found | difference"
    three = torch.stack([real, found, (found - real + 1) / 2])
    columns = min(_COLUMNS, len(x))
    # what is not there is as what is between pictures
    empty = three.new_full((3, -len(x) % columns, *three.shape[2:]), GAP / 255)
    blocks = torch.cat([three, empty], 1).unflatten(1, (-1, columns)).transpose(0, 1)
    write_bytes(target, files.png(grids.grid(blocks.flatten(0, 2), columns=columns, gap=3)))
    return f"{target}: rows of real | found | difference"


_COLUMNS = 8
