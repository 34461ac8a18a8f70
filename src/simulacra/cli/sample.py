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
from simulacra.cli.inputs import is_number, one_observation, opened, read_label, read_vectors
from simulacra.cli.output import write_samples
from simulacra.cli.starts import note_start, read_start
from simulacra.ground.errors import MissingCapability, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from simulacra.models.model import Model
    from simulacra.nn.distributions import Narrowing
    from simulacra.runs.run import Run


def sample(
    run: Path,
    /,
    *,
    number: Annotated[int | None, Parameter(name=["--number", "-n"], converter=whole)] = None,
    label: Label = None,
    context: Path | None = None,
    like: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    temperature: float = 1.0,
    top_k: Whole | None = None,
    top_p: float = 1.0,
    steps: Whole | None = None,
    guidance: float = 1.0,
    start: str | None = None,
    watch: Path | None = None,
    seed: Whole = 0,
    out: Out = None,
    device: Device = "auto",
    code: Code = None,
) -> None:
    """Draw samples: a PNG to look at, a WAV of sounds, and the raw levels as .npy beside it.

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo.
        number: How many; 64 by default, or as many as there are context vectors; with --like 8 of
            each. Large ones are drawn some at a time, so that memory holds them.
        label: The class to draw of a model trained with --set context=label, by its name or number;
            of labels of several parts some of them, as in digit=7,speaker=theo. All by default.
        context: A .npy or .npz file of vectors (N, D), for a model trained with --set
            context=vector: row i is for sample i.
        like: Files to draw others like, or numbers of validation observations, for a model trained
            with --context RUN: what encodes is kept by the run. In the picture each comes first.
        temperature: Below 1 for likelier samples: it divides the logits of an autoregressive model,
            and multiplies the codes that a latent one decodes; 1 samples the model.
        top_k: Draw each value from its so many likeliest levels only, of autoregressive models.
        top_p: Draw each value from its likeliest levels that together have this probability only
            (nucleus sampling), of autoregressive models; 1 leaves all levels.
        steps: In which noise is refined, of diffusion and flow matching, each a call of the
            network; as many as the model's sampling_steps by default. Fewer are faster, and worse.
        guidance: Weight of what is drawn for, of the same models with --set context=label or
            vector: 1 as it was learnt, 0 without. Above 1 samples are more like their class and
            less varied; each step is then two calls.
        start: What each begins with, of autoregressive models. random:K draws the first K pixels
            at random, or samples of a sound. FILE is a sound to be continued, or a picture: its
            rows are the first ones, and what is transparent is drawn; or an .npy of levels, −1
            where they are to be drawn. FILE:K begins with the first K of it alone.
        watch: A GIF file that shows the first 16 pictures as they grow: value by value, of
            autoregressive models; out of noise, of diffusion and flow matching.
        seed: The same seed gives the same samples on the same kind of device.
        out: The PNG file; RUN/samples-SEED.png by default. The others go beside it.
        device: Where it is computed.
        code: file.py:Class of a model of your own.
    """
    import torch

    from simulacra.cli.waiting import Waiting
    from simulacra.models.model import Sampling
    from simulacra.models.refining import Refining
    from simulacra.nn.distributions import Narrowing
    from simulacra.runs.record import class_names_of
    from simulacra.tasks.growing import Growing
    from simulacra.tasks.sample import draw, samples_with

    check_positive(number=number, temperature=temperature, top_k=top_k, top_p=top_p, steps=steps)
    if top_p > 1:
        raise UsageError(f"--top-p is a probability: above 0 and at most 1, got {top_p:g}")
    if not 0 <= guidance < math.inf:
        raise UsageError(f"--guidance is a number of at least 0, got {guidance:g}")
    check_seed(seed)
    place = check_device(device)
    found = opened(run)
    model = found.model(code=code)
    if not isinstance(model, Sampling):
        can = ": with --set density=gmm it would" if "density" in model.keywords else ""
        raise MissingCapability(f"{type(model).__name__} draws no samples{can}")
    narrowing = Narrowing(temperature, top_k, top_p)
    _refuse_steps(model, narrowing, steps, guidance, watch)
    samples_with(model, narrowing, steps=steps, guidance=guidance)
    asked = None if label is None else read_label(label, model, class_names_of(found.record))
    if like and context is not None:
        raise UsageError("--like and --context both say what to draw: give one of them")
    alike = _like(found, model, like, number) if like else None
    if alike is None:
        number, told = _context(model, number, asked, context)
    else:
        number, told = len(alike[1]), alike[1]
    begun = None if start is None else read_start(start, model, found, number, seed)
    growing = None if watch is None else Growing(model, begun and begun[1], steps)
    target = file_target(out or results_folder(found) / f"samples-{seed}.png", "--out")
    film = None if watch is None else file_target(watch, "--watch", ".gif")
    on_step = growing.add if growing else lambda _: None
    with Waiting(doing="drawing") as waiting:
        waiting.begin(f"{number} samples" if isinstance(model, Refining) else "")
        x = draw(
            model.to(place), number, told, narrowing=narrowing, steps=steps, guidance=guidance,
            start=begun, seed=(seed,), on_step=on_step,
        ).x  # fmt: skip
    most = min(number, _MOST_COLUMNS)
    in_turn = model.context == "label" and label is None and model.spec.classes <= most
    columns = model.spec.classes if in_turn else None
    seen = None
    if alike is not None:
        given = alike[0][:, None].to(x.dtype)
        rows = torch.cat([given, x.unflatten(0, (len(given), -1))], 1)
        fits = len(given) > 1 or rows.shape[1] <= _MOST_COLUMNS
        seen, columns = rows.flatten(0, 1), rows.shape[1] if fits else None
    written = write_samples(found.spec, target, x, columns, seen)
    if model.spec.is_image or model.spec.rate is not None:
        written += ", a column for each class" if in_turn else ""
        written += "" if alike is None else ", after what they are to be like"
    terminal.note(written)
    if film is not None and growing is not None:
        from simulacra.drawing import animation
        from simulacra.ground.storage import write_bytes

        # few frames are shown for longer
        seconds = min(0.5, max(0.08, 3 / len(growing.frames)))
        write_bytes(film, animation.gif(growing.frames, seconds=seconds))
        shown = len(growing.frames[0])
        first = f"the first {shown}" if number > shown else f"{number}"
        terminal.note(f"{film}: {first} as they grow, {len(growing.frames)} frames")
    if begun is not None and start is not None:
        note_start(start, model, begun[1])
    _note_way(model, narrowing, steps, guidance)


_MOST_COLUMNS = 16
"""With no more classes than these, each has a column of the samples."""


def _note_way(model: Model, narrowing: Narrowing, steps: int | None, guidance: float) -> None:
    """Say so where samples are drawn otherwise than those that `evaluate` judges."""
    from simulacra.models.model import Latent
    from simulacra.models.refining import Refining
    from simulacra.tasks.refined import steps_taken

    narrows = isinstance(model, Latent) and model.narrows
    if not isinstance(model, Refining):
        if _narrows(narrowing, model):
            terminal.note(
                "these are not drawn from the model itself: the figures of evaluate are those of "
                "temperature 1 and all levels"
            )
        return
    taken, usual = steps_taken(model, steps), steps_taken(model)
    if steps is not None and taken < steps:
        terminal.note(f"{taken} steps are all that there are: so many were taken")
    if taken == usual and guidance == 1 and narrowing.temperature == 1:
        return
    weighed = ["guidance 1"] if model.guides else []
    warm = ["temperature 1"] if narrows else []
    terminal.note(
        "these are not drawn as those that evaluate judges: its figures are those of "
        + " and ".join([f"{usual} steps", *weighed, *warm])
    )


def _narrows(narrowing: Narrowing, model: Model) -> bool:
    """Whether another distribution than the model's own is drawn from."""
    levels = math.inf if model.spec.levels is None else model.spec.levels
    fewer = narrowing.top_k is not None and narrowing.top_k < levels
    return narrowing.temperature != 1 or narrowing.top_p < 1 or fewer


def _refuse_steps(
    model: Model, narrowing: Narrowing, steps: int | None, guidance: float, watch: Path | None
) -> None:
    """Refuse options of models that draw in steps of another kind than one does, or at once.

    Raises:
        MissingCapability: Naming the option.
    """
    from simulacra.models.model import Stepwise
    from simulacra.models.refining import Refining

    name, refining = type(model).__name__, isinstance(model, Refining)
    in_turn = isinstance(model, Stepwise) and not refining
    if not in_turn:
        given = {"--top-k": narrowing.top_k is not None, "--top-p": narrowing.top_p != 1}
        for option in (option for option, is_given in given.items() if is_given):
            raise MissingCapability(
                f"{name} does not draw one value after another, as {option} needs: use pixelcnn"
            )
    if not refining:
        given = {"--steps": steps is not None, "--guidance": guidance != 1}
        for option in (option for option, is_given in given.items() if is_given):
            raise MissingCapability(f"{name} refines no noise, as {option} needs: use ddpm")
    if watch is not None and not in_turn and not refining:
        raise MissingCapability(
            f"{name} draws a picture at once, and --watch shows one as it grows: use pixelcnn or "
            "ddpm"
        )


_LIKE = 8
"""Samples like each of what is given."""


def _like(run: Run, model: Model, like: list[str], number: int | None) -> tuple[Tensor, Tensor]:
    """Observations that samples are to be like, and the vector of each sample.

    Raises:
        MissingCapability: If the model takes no vectors.
        UsageError: If the run does not know the vectors of files.
        DataError: If a file cannot be read, or holds several observations.
    """
    import torch

    from simulacra.tasks.sample import check_takes

    check_takes(model, context=like)
    # of files nothing has to be known of the data but their form
    data = run.dataset() if any(map(is_number, like)) else run.form
    found = [one_observation(model, data, each, None) for each in like]
    each = _LIKE if number is None else number
    told = torch.cat([vector for _, vector, _ in found if vector is not None])
    return torch.cat([x for x, _, _ in found]), told.repeat_interleave(each, 0)


def _context(
    model: Model, number: int | None, label: Tensor | None, vectors: Path | None
) -> tuple[int, Tensor | None]:
    """How many samples to draw, and the context of each, in the words of the options.

    Raises:
        MissingCapability: If the model takes no such context.
        UsageError: If the number of vectors is out of range, or vectors are missing; or there is a
            label beside them.
        DataError: If the vectors cannot be read.
    """
    from simulacra.tasks.sample import USUAL, asked_context, check_takes

    check_takes(model, context=vectors)
    rows, width = None, model.spec.context_width
    if vectors is not None:
        rows = read_vectors(vectors, width)
        if number is not None and number > len(rows):
            raise UsageError(
                f"{vectors} has {len(rows)} rows: --number is at most that, got {number}"
            )
    elif model.context == "vector":
        raise UsageError(
            f"this {type(model).__name__} needs context vectors: pass --context FILE, an .npy of "
            f"floats (N, {width}), or --like FILE to a run that keeps its encoder"
        )
    if label is not None:
        rows = label.expand(USUAL if number is None else number, *label.shape)
    return asked_context(model, number, context=rows)
