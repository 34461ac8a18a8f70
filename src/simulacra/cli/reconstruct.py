"""The command that encodes observations and decodes their codes."""

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
    Whole,
    check_device,
    check_positive,
    check_seed,
    file_target,
    results_folder,
    whole,
)
from simulacra.cli.inputs import observations, opened
from simulacra.cli.output import write_pairs, write_sounds
from simulacra.ground.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from simulacra.ground.spec import DataSpec
    from simulacra.tasks.reconstruct import Reconstruction


def reconstruct(
    run: Path,
    /,
    *files: Path,
    label: Label = None,
    number: Annotated[int, Parameter(name=["--number", "-n"], converter=whole)] = 16,
    seed: Whole = 0,
    out: Out = None,
    data_dir: Path | None = None,
    device: Device = "auto",
    code: Code = None,
) -> None:
    """Encode pictures, sounds or vectors and decode their codes: what comes back, and how exactly.

    Drawn are pairs of original | reconstruction. Printed is, of levels, the share of values that
    come back exactly and the mean absolute error in levels; of vectors the largest error in the
    units of the data; and of a flow the inverse error of its map, before levels are rounded, which
    rounding alone should make. A decoder that draws is drawn from, and its noise is in the error.

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo.
        files: Image files, or .npy files of raw values; some validation observations by default.
        label: Their class, for a model trained with --set context=label, by its name or number, or
            by its parts, as in digit=7,speaker=theo; validation observations have their own.
        number: How many validation observations, without files.
        seed: Of a decoder that draws.
        out: The PNG file; RUN/reconstructions.png by default. The WAV of sounds goes beside it;
            vectors are printed alone.
        data_dir: Folder that holds the data's files, if it moved.
        device: Where it is computed.
        code: file.py:Class of a model of your own.
    """
    from simulacra.tasks.reconstruct import reconstruct as reconstructed

    check_positive(number=number)
    check_seed(seed)
    place = check_device(device)
    found = opened(run)
    spec = found.spec
    shown = spec.is_image or spec.rate is not None
    if out is not None and not shown:
        raise UsageError(f"reconstructions of vectors {spec.event_shape} are printed: no --out")
    target = out or results_folder(found) / "reconstructions.png"
    target = file_target(target, "--out") if shown else target
    model = found.model(code=code).to(place)
    data = found.dataset(str(data_dir) if data_dir else None)
    x, context, names = observations(model, data, files, label, None if files else number)
    again = reconstructed(model, x, context, seed=seed)
    kind = "picture" if spec.is_image else "sound" if shown else "vector"
    _print(kind, names, again)
    if shown:
        _draw(spec, target, x, again.x)
    _note(again)


_MEASURES = {
    "exact": ("levels exact", "{:.2%}", "mean"),
    "error": ("mean error, levels", "{:.4f}", "mean"),
    "worst": ("largest error", "{:.2g}", "amax"),
    "inverse_error": ("inverse error", "{:.1e}", "amax"),
}
"""Heading of each measure, how it is written, and what stands for all observations."""

_LARGE = 1e-3
"""Inverse error that is more than rounding."""


def _print(kind: str, names: list[str], again: Reconstruction) -> None:
    """A row of measures for each observation, and one for all."""
    there = {key: value for key in _MEASURES if (value := getattr(again, key)) is not None}
    rows = [
        {kind: name} | {_MEASURES[key][0]: _MEASURES[key][1].format(float(values[i]))
                        for key, values in there.items()}
        for i, name in enumerate(names)
    ]  # fmt: skip
    if len(names) > 1:
        whole = {key: getattr(values, _MEASURES[key][2])() for key, values in there.items()}
        rows.append(
            {kind: f"all {len(names)}"}
            | {_MEASURES[key][0]: _MEASURES[key][1].format(float(value))
               for key, value in whole.items()}
        )  # fmt: skip
    terminal.print_table(rows, right=[_MEASURES[key][0] for key in there], words=(kind,))


def _draw(spec: DataSpec, target: Path, x: Tensor, again: Tensor) -> None:
    """Pairs of original and reconstruction, as PNG, and WAV of sounds."""
    import torch

    from simulacra.drawing.observations import MOST_SOUNDS

    before, after = spec.to_float(x), spec.to_float(again)
    if spec.rate is None:
        write_pairs(target, before, after)
        terminal.note(f"{target}: pairs of original | reconstruction")
        return
    pairs = torch.stack([before, after], 1).flatten(0, 1)
    write_sounds(target, pairs[:MOST_SOUNDS], spec.rate, columns=2)
    some = "" if len(pairs) <= MOST_SOUNDS else f"the first {MOST_SOUNDS // 2} "
    terminal.note(
        f"{target} and {target.with_suffix('.wav')}: {some}pairs of original | reconstruction"
    )


def _note(again: Reconstruction) -> None:
    """What an inverse error means that rounding does not explain."""
    if again.inverse_error is not None and float(again.inverse_error.max()) > _LARGE:
        count = int((again.inverse_error > _LARGE).sum())
        terminal.note(
            f"the map is not undone to {_LARGE:g} for {count} of {len(again.x)}: its inverse is "
            "numerically off there, and so may be its samples"
        )
