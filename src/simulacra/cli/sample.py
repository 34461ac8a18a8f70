"""The command that draws samples."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from simulacra.cli import terminal
from simulacra.cli.flags import (
    Code,
    Device,
    Whole,
    check_device,
    check_positive,
    check_seed,
    file_target,
    results_folder,
    whole,
)
from simulacra.cli.inputs import opened
from simulacra.cli.output import WATCHED, read_vectors, watched, write_samples
from simulacra.ground.errors import MissingCapability, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from simulacra.models.model import Model
    from simulacra.nn.distributions import Narrowing


def sample(
    run: Path,
    /,
    *,
    number: Annotated[int | None, Parameter(name=["--number", "-n"], converter=whole)] = None,
    label: Whole | None = None,
    context: Path | None = None,
    temperature: float = 1.0,
    top_k: Whole | None = None,
    top_p: float = 1.0,
    watch: Path | None = None,
    seed: Whole = 0,
    out: Path | None = None,
    device: Device = "auto",
    code: Code = None,
) -> None:
    """Draw samples: a PNG to look at, a WAV of sounds, and the raw levels as .npy beside it.

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo.
        number: How many; 64 by default, or as many as there are context vectors.
        label: The class to draw of a model trained with --set context=label; all by default.
        context: A .npy or .npz file of vectors (N, D), for a model trained with --set
            context=vector: row i is for sample i.
        temperature: Below 1 for likelier samples, of autoregressive models; 1 samples the model.
        top_k: Draw each value from its so many likeliest levels only, of autoregressive models.
        top_p: Draw each value from its likeliest levels that together have this probability only
            (nucleus sampling), of autoregressive models; 1 leaves all levels.
        watch: A GIF file that shows the first 16 pictures as they grow, of autoregressive models.
        seed: The same seed gives the same samples on the same kind of device.
        out: The PNG file; RUN/samples-SEED.png by default. The others go beside it.
        device: Where it is computed.
        code: file.py:Class of a model of your own.
    """
    import torch

    from simulacra.drawing import animation
    from simulacra.ground.randomness import seeded
    from simulacra.ground.storage import write_bytes
    from simulacra.models.autoregressive.base import Autoregressive
    from simulacra.models.model import Sampling
    from simulacra.nn.distributions import Narrowing

    check_positive(number=number, temperature=temperature, top_k=top_k, top_p=top_p)
    if top_p > 1:
        raise UsageError(f"--top-p is a probability: above 0 and at most 1, got {top_p:g}")
    check_seed(seed)
    place = check_device(device)
    found = opened(run)
    model = found.model(code=code)
    if not isinstance(model, Sampling):
        raise MissingCapability(f"{type(model).__name__} draws no samples")
    narrowing = Narrowing(temperature, top_k, top_p)
    if not isinstance(model, Autoregressive):
        _refuse_steps(model, narrowing, watch)
    elif watch is not None and not model.spec.is_image:
        kind = "vectors" if model.spec.rate is None else "sounds"
        raise MissingCapability(
            f"--watch shows pictures, not {kind} {model.spec.event_shape}: leave it out"
        )
    number, told = _context(model, number, label, context)
    told = None if told is None else told.to(place)
    target = file_target(out or results_folder(found) / f"samples-{seed}.png", "--out")
    film = None if watch is None else file_target(watch, "--watch", ".gif")
    model = model.to(place)
    frames: list[Tensor] = []
    with seeded(seed), torch.no_grad():
        if isinstance(model, Autoregressive):
            steps = model.sample_steps(number, told, **vars(narrowing))
            # one way for all, so that nothing but the numbers drawn decides what is drawn
            x = _last(steps) if film is None else watched(model, steps, frames)
        else:
            x = model.sample(number, told)
    in_turn = model.context == "label" and label is None and model.spec.classes <= _MOST_COLUMNS
    columns = model.spec.classes if in_turn else None
    written = write_samples(found.spec, target, x.cpu(), columns)
    drawn_in_columns = in_turn and (model.spec.is_image or model.spec.rate is not None)
    terminal.note(f"{written}, a column for each class" if drawn_in_columns else written)
    if film is not None:
        write_bytes(film, animation.gif(frames))
        first = f"the first {WATCHED}" if number > WATCHED else f"{number}"
        terminal.note(f"{film}: {first} as they grow, {len(frames)} frames")
    if _narrows(narrowing, model):
        terminal.note(
            "these are not drawn from the model itself: the figures of evaluate are those of "
            "temperature 1 and all levels"
        )


_MOST_COLUMNS = 16
"""With no more classes than these, each has a column of the samples."""

_USUAL = 64
"""Samples to draw."""


def _narrows(narrowing: Narrowing, model: Model) -> bool:
    """Whether another distribution than the model's own is drawn from."""
    levels = math.inf if model.spec.levels is None else model.spec.levels
    fewer = narrowing.top_k is not None and narrowing.top_k < levels
    return narrowing.temperature != 1 or narrowing.top_p < 1 or fewer


def _refuse_steps(model: Model, narrowing: Narrowing, watch: Path | None) -> None:
    """Refuse options of models that draw one value after another, for one that does not.

    Raises:
        MissingCapability: Naming the option.
    """
    name = type(model).__name__
    if narrowing.temperature != 1:
        raise MissingCapability(f"{name} has no temperature: leave it at 1")
    given = {
        "--top-k": narrowing.top_k is not None,
        "--top-p": narrowing.top_p != 1,
        "--watch": watch is not None,
    }
    for option in (option for option, is_given in given.items() if is_given):
        raise MissingCapability(
            f"{name} does not draw one value after another, as {option} needs: use pixelcnn"
        )


def _last(steps: Iterator[Tensor]) -> Tensor:
    *_, last = steps
    return last


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
