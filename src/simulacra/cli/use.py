"""Commands that use a trained model: sample, complete."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from simulacra.cli import terminal
from simulacra.cli.flags import (
    Code,
    Device,
    Whole,
    check_device,
    check_positive,
    check_seed,
    open_run,
    png_target,
    whole,
)
from simulacra.cli.samples import read_vectors, write_samples, write_sounds
from simulacra.errors import MissingCapability, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from simulacra.model import Model
    from simulacra.run import Run
    from simulacra.spec import DataSpec


def sample(
    run: Path,
    /,
    *,
    number: Annotated[int | None, Parameter(name=["--number", "-n"], converter=whole)] = None,
    label: Whole | None = None,
    context: Path | None = None,
    temperature: float = 1.0,
    seed: Whole = 0,
    out: Path | None = None,
    device: Device = "auto",
    code: Code = None,
) -> None:
    """Draw samples: a PNG to look at, a WAV of sounds, and the raw levels as .npy beside it.

    Args:
        run: A run's name below runs/, or its folder.
        number: How many; 64 by default, or as many as there are context vectors.
        label: The class to draw of a model trained with --set context=label; all by default.
        context: A .npy or .npz file of vectors (N, D), for a model trained with --set
            context=vector: row i is for sample i.
        temperature: Below 1 for likelier samples, of autoregressive models; 1 samples the model.
        seed: The same seed gives the same samples on the same kind of device.
        out: The PNG file; RUN/samples-SEED.png by default. The others go beside it.
        device: Where it is computed.
        code: file.py:Class of a model of your own.
    """
    import torch

    from simulacra.autoregressive import Autoregressive
    from simulacra.model import Sampling
    from simulacra.randomness import seeded

    check_positive(number=number, temperature=temperature)
    check_seed(seed)
    place = check_device(device)
    opened = _opened(run)
    model = opened.model(code=code)
    target = png_target(out or opened.folder / f"samples-{seed}.png", "--out")
    if not isinstance(model, Sampling):
        raise MissingCapability(f"{type(model).__name__} draws no samples")
    number, told = _context(model, number, label, context)
    told = None if told is None else told.to(place)
    model = model.to(place)
    with seeded(seed), torch.no_grad():
        if temperature == 1.0:
            x = model.sample(number, told)
        elif isinstance(model, Autoregressive):
            *_, x = model.sample_steps(number, told, temperature=temperature)
        else:
            raise MissingCapability(f"{type(model).__name__} has no temperature: leave it at 1")
    in_turn = model.context == "label" and label is None and model.spec.classes <= _MOST_COLUMNS
    columns = model.spec.classes if in_turn else None
    terminal.note(write_samples(opened.spec, target, x.cpu(), columns))


def complete(
    run: Path,
    /,
    *,
    hide: Literal["bottom", "top", "left", "right", "centre"] | None = None,
    number: Annotated[int, Parameter(name=["--number", "-n"], converter=whole)] = 6,
    times: Whole = 4,
    seed: Whole = 0,
    out: Path | None = None,
    data_dir: Path | None = None,
    device: Device = "auto",
    code: Code = None,
) -> None:
    """Complete half-hidden validation pictures or sounds: rows of given | completions | truth.

    Args:
        run: A run's name below runs/, or its folder.
        hide: The part to hide and draw; the bottom of a picture, the right of a sound by default.
        number: How many pictures or sounds.
        times: Completions of each.
        seed: The same seed gives the same completions on the same kind of device.
        out: The PNG file; RUN/completions-HIDE.png by default. The WAV of sounds goes beside it.
        data_dir: Folder that holds the data's files, if it moved.
        device: Where it is computed.
        code: file.py:Class of a model of your own.
    """
    import torch

    from simulacra import plot
    from simulacra.checkpoint import write_bytes
    from simulacra.tasks.complete import complete as draw
    from simulacra.tasks.complete import mask, strips

    check_positive(number=number, times=times)
    check_seed(seed)
    place = check_device(device)
    opened = _opened(run)
    model = opened.model(code=code).to(place)
    spec = opened.spec
    hidden = hide or ("bottom" if spec.rate is None else "right")
    target = png_target(out or opened.folder / f"completions-{hidden}.png", "--out")
    observed = mask(spec.event_shape, hidden) if spec.rate is None else _heard(spec, hidden)
    found = opened.dataset(str(data_dir) if data_dir else None)
    x, context = found.validation.batch(torch.arange(min(number, len(found.validation))))
    told = context.to(place) if context is not None and model.context != "none" else None
    many = draw(model, x.to(place), observed, times=times, context=told, seed=seed).cpu()
    drawn = spec.to_float(many.flatten(0, 1)).unflatten(0, (len(x), times))
    written = str(target)
    if spec.rate is None:
        rows = strips(spec.to_float(x), observed, drawn)
        write_bytes(target, plot.png(plot.grid(rows, columns=times + 2)))
    else:
        truth = spec.to_float(x)
        rows = torch.cat([(truth * observed)[:, None], drawn, truth[:, None]], 1).flatten(0, 1)
        write_sounds(target, rows, spec.rate, columns=times + 2)
        written += f" and {target.with_suffix('.wav')}"
    exactly = model.completes_exactly(observed)  # type: ignore[operator]
    kind = "drawn from the model's own conditional" if exactly else "approximate (~)"
    times_ = f"{times} completions" if times > 1 else "a completion"
    terminal.note(f"{written}: {len(x)} rows of given | {times_}, {kind} | truth")


_MOST_COLUMNS = 16
"""With no more classes than these, each has a column of the samples."""

_USUAL = 64
"""Samples to draw."""


def _opened(run: Path) -> Run:
    """A run to use; what is wrong with its newest checkpoints is told."""
    opened = open_run(run)
    for line in opened.newest("model", "weights", "training")[2]:
        terminal.note(f"{line}; the one before it is used")
    return opened


def _heard(spec: DataSpec, hide: str) -> Tensor:
    """Which samples of a sound `(T,)` are observed when a part of it is hidden.

    Raises:
        UsageError: If a sound has no such part.
    """
    import torch

    (samples,) = spec.event_shape
    hidden = {
        "left": slice(0, samples // 2),
        "right": slice(samples // 2, None),
        "centre": slice(samples // 4, samples - samples // 4),
    }
    if hide not in hidden:
        raise UsageError(f"a sound has no {hide}: --hide {', '.join(hidden)}")
    observed = torch.ones(samples, dtype=torch.bool)
    observed[hidden[hide]] = False
    return observed


def _context(
    model: Model, number: int | None, label: int | None, vectors: Path | None
) -> tuple[int, Tensor | None]:
    """How many samples to draw, and the context of each.

    Raises:
        MissingCapability: If the model takes no such context.
        UsageError: If a label or the number of vectors is out of range, or vectors are missing.
        DataError: If the vectors cannot be read.
    """
    import torch

    name, spec = type(model).__name__, model.spec
    if label is not None and model.context != "label":
        raise MissingCapability(f"this {name} takes no label: train one with --set context=label")
    if vectors is not None and model.context != "vector":
        raise MissingCapability(
            f"this {name} takes no context vectors: train one with --set context=vector"
        )
    if model.context == "vector":
        if vectors is None:
            raise UsageError(
                f"this {name} needs context vectors: pass --context FILE, an .npy of floats "
                f"(N, {spec.context_width})"
            )
        rows = read_vectors(vectors, spec.context_width)
        number = len(rows) if number is None else number
        if number > len(rows):
            raise UsageError(
                f"{vectors} has {len(rows)} rows: --number is at most that, got {number}"
            )
        return number, rows[:number]
    number = _USUAL if number is None else number
    if model.context == "none":
        return number, None
    if label is None:
        return number, torch.arange(number) % spec.classes
    if not 0 <= label < spec.classes:
        raise UsageError(f"--label goes from 0 to {spec.classes - 1}, got {label}")
    return number, torch.full((number,), label)
