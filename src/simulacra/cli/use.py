"""Commands that use a trained model: evaluate, sample, complete."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from simulacra.cli import terminal
from simulacra.cli.flags import Code, Json, check_positive, check_seed, open_run
from simulacra.errors import MissingCapability, ResourceError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from simulacra.model import Model
    from simulacra.run import Run


def evaluate(
    run: Path,
    /,
    *,
    draws: int = 64,
    limit: int | None = None,
    data_dir: Path | None = None,
    code: Code = None,
    json: Json = False,
) -> None:
    """Measure a trained model on the test split, and write its report.

    Args:
        run: A run's name below runs/, or its folder.
        draws: Importance draws of a bound on likelihood.
        limit: Look only at so many test observations.
        data_dir: Folder that holds the data's files, if it moved.
        code: file.py:Class of a model of your own.
        json: Print JSON.
    """
    from simulacra.compare import REPORT, assemble, write_report
    from simulacra.evaluate.report import table
    from simulacra.judge import judge, real_pictures

    check_positive(draws=draws, limit=limit)
    opened = _opened(run)
    found = opened.dataset(str(data_dir) if data_dir else None)
    entry, drawn = judge(opened, found, draws=draws, limit=limit, code=code)
    results = assemble(found, [entry], options=opened.options, budget=opened.record["budget"])
    pictures = {f"{entry['model']}/{kind}": png for kind, png in drawn.items()}
    write_report(opened.folder, results, real_pictures(found) | pictures)
    if json:
        terminal.print_json(results)
    else:
        terminal.print_figures(table(results))
        for warning in entry["warnings"]:
            terminal.note(warning)
    terminal.note(f"report: {opened.folder / REPORT}")


def sample(
    run: Path,
    /,
    *,
    number: Annotated[int, Parameter(name=["--number", "-n"])] = 64,
    label: int | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    out: Path | None = None,
    code: Code = None,
) -> None:
    """Draw samples: a grid as PNG, and the raw levels as .npy beside it.

    Args:
        run: A run's name below runs/, or its folder.
        number: How many.
        label: The class to draw of a model trained with --set context=label; all by default.
        temperature: Below 1 for likelier samples, of autoregressive models; 1 samples the model.
        seed: The same seed gives the same samples.
        out: The PNG file; RUN/samples-SEED.png by default. The levels go beside it.
        code: file.py:Class of a model of your own.
    """
    import torch

    from simulacra.autoregressive import Autoregressive
    from simulacra.model import Sampling
    from simulacra.randomness import seeded

    check_positive(number=number, temperature=temperature)
    check_seed(seed)
    opened = _opened(run)
    model = opened.model(code=code)
    target = _target(out, opened.folder / f"samples-{seed}.png")
    if not isinstance(model, Sampling):
        raise MissingCapability(f"{type(model).__name__} draws no samples")
    context = _context(model, number, label)
    with seeded(seed), torch.no_grad():
        if temperature == 1.0:
            x = model.sample(number, context)
        elif isinstance(model, Autoregressive):
            *_, x = model.sample_steps(number, context, temperature=temperature)
        else:
            raise MissingCapability(f"{type(model).__name__} has no temperature: leave it at 1")
    in_turn = model.context == "label" and label is None and model.spec.classes <= _MOST_COLUMNS
    _write_pictures(opened, target, x, columns=model.spec.classes if in_turn else None)


def complete(
    run: Path,
    /,
    *,
    hide: Literal["bottom", "top", "left", "right", "centre"] = "bottom",
    number: Annotated[int, Parameter(name=["--number", "-n"])] = 6,
    times: int = 4,
    seed: int = 0,
    out: Path | None = None,
    data_dir: Path | None = None,
    code: Code = None,
) -> None:
    """Complete half-hidden validation pictures: rows of given | completions | truth.

    Args:
        run: A run's name below runs/, or its folder.
        hide: The part to hide and draw.
        number: How many pictures.
        times: Completions of each.
        seed: The same seed gives the same completions.
        out: The PNG file; RUN/completions-HIDE.png by default.
        data_dir: Folder that holds the data's files, if it moved.
        code: file.py:Class of a model of your own.
    """
    import torch

    from simulacra import plot
    from simulacra.checkpoint import write_bytes
    from simulacra.tasks.complete import complete as draw
    from simulacra.tasks.complete import mask, strips

    check_positive(number=number, times=times)
    check_seed(seed)
    opened = _opened(run)
    model = opened.model(code=code)
    target = _target(out, opened.folder / f"completions-{hide}.png")
    observed = mask(opened.spec.event_shape, hide)
    found = opened.dataset(str(data_dir) if data_dir else None)
    x, context = found.validation.batch(torch.arange(min(number, len(found.validation))))
    told = context if model.context != "none" else None
    many = draw(model, x, observed, times=times, context=told, seed=seed)
    to_float = found.spec.to_float
    rows = strips(to_float(x), observed, to_float(many.flatten(0, 1)).unflatten(0, (len(x), times)))
    write_bytes(target, plot.png(plot.grid(rows, columns=times + 2)))
    exactly = model.completes_exactly(observed)  # type: ignore[operator]
    kind = "drawn from the model's own conditional" if exactly else "approximate (~)"
    times_ = f"{times} completions" if times > 1 else "a completion"
    terminal.note(f"{target}: {len(x)} rows of given | {times_}, {kind} | truth")


_MOST_COLUMNS = 16
"""With no more classes than these, each has a column of the samples."""


def _opened(run: Path) -> Run:
    """A run to use; what is wrong with its newest checkpoints is told."""
    opened = open_run(run)
    for line in opened.newest("model", "weights", "training")[2]:
        terminal.note(f"{line}; the one before it is used")
    return opened


def _target(out: Path | None, usual: Path) -> Path:
    """The PNG file to write, in a folder that is there.

    Raises:
        UsageError: If the name is that of another kind of file.
        ResourceError: If its folder cannot be made.
    """
    target = usual if out is None else out
    if target.suffix.lower() != ".png":
        raise UsageError(f"--out is a .png file, got {str(target)!r}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"cannot make {target.parent}: {error.strerror}") from error
    if target.is_dir() or not os.access(target.parent, os.W_OK):
        raise ResourceError(f"cannot write {target}: choose another --out")
    return target


def _context(model: Model, n: int, label: int | None) -> Tensor | None:
    import torch

    if model.context == "none":
        if label is not None:
            raise MissingCapability(
                f"this {type(model).__name__} takes no label: train one with --set context=label"
            )
        return None
    if model.context == "vector":
        raise MissingCapability(
            f"this {type(model).__name__} needs context vectors, which sample cannot give yet"
        )
    if label is None:
        return torch.arange(n) % model.spec.classes
    if not 0 <= label < model.spec.classes:
        raise UsageError(f"--label goes from 0 to {model.spec.classes - 1}, got {label}")
    return torch.full((n,), label)


def _write_pictures(run: Run, target: Path, x: Tensor, columns: int | None) -> None:
    """A grid as PNG where the data are pictures, and the raw values as .npy."""
    import io

    import numpy as np

    from simulacra import plot
    from simulacra.checkpoint import write_bytes

    values, raw = x.cpu().numpy(), target.with_suffix(".npy")
    if run.spec.levels is not None:
        values = values.astype(np.uint8 if run.spec.levels <= 256 else np.int32)
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    write_bytes(raw, buffer.getvalue())
    if run.spec.is_image:
        write_bytes(target, plot.png(plot.grid(run.spec.to_float(x.cpu()), columns=columns)))
        terminal.note(f"{target} and {raw}: {len(x)} samples")
    else:
        terminal.note(f"{raw}: {len(x)} samples")
