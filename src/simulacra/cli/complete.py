"""The command that completes hidden parts of pictures and sounds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
from simulacra.cli.inputs import observations, opened, read_mask
from simulacra.cli.output import write_sounds
from simulacra.ground.errors import MissingCapability, UsageError


def complete(
    run: Path,
    /,
    *,
    hide: str | None = None,
    mask: Path | None = None,
    image: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
    label: Label = None,
    number: Annotated[int, Parameter(name=["--number", "-n"], converter=whole)] = 6,
    times: Whole = 4,
    candidates: Whole = 1,
    seed: Whole = 0,
    out: Out = None,
    data_dir: Path | None = None,
    device: Device = "auto",
    code: Code = None,
) -> None:
    """Complete half-hidden pictures or sounds: rows of given | completions | truth.

    Completions are drawn from the model's own conditional where a mask allows it: of
    autoregressive models where all that is hidden comes last, as the bottom of a picture. Others
    are marked by ~. What was hidden is light blue.

    Of autoregressive models each hidden value then knows only what comes before it, and of
    --candidates those are chosen that lead to what comes after. Of flows and of a vae a chain of
    draws ends near the conditional. Of a gan a code is sought that fits what is seen.

    Diffusion and flow matching refine what is hidden out of noise beside what is seen, each of
    sampling_steps steps five times; d3pm draws hidden levels some at a time.

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo.
        hide: The part to hide and draw: bottom, top, left, right, centre or random; the bottom of
            a picture, the right of a sound by default. random scatters half of the pixels, and
            random:0.9 nine tenths of them.
        mask: A file that says what to hide, instead: a picture of the data's size, white where it
            is hidden and black where not; or an .npy of booleans, true where it is hidden.
        image: Your own pictures to complete, or .npy files of raw values, instead of validation
            ones.
        label: Their class, for a model trained with --set context=label, by its name or number, or
            by its parts, as in digit=7,speaker=theo; validation pictures have their own.
        number: How many validation pictures or sounds.
        times: Completions of each.
        candidates: Choose each completion of an autoregressive model from so many, weighed by how
            well they lead to what is seen: the more, the nearer to the model's own conditional.
        seed: The same seed gives the same completions on the same kind of device.
        out: The PNG file; RUN/completions-HIDE.png by default. The WAV of sounds goes beside it.
        data_dir: Folder that holds the data's files, if it moved.
        device: Where it is computed.
        code: file.py:Class of a model of your own.
    """
    import torch

    from simulacra.cli.waiting import Waiting
    from simulacra.drawing import files, grids
    from simulacra.ground.storage import write_bytes
    from simulacra.models.refining import Refining
    from simulacra.tasks.complete import mask as part
    from simulacra.tasks.complete import resample, strips

    check_positive(number=number, times=times, candidates=candidates)
    check_seed(seed)
    if mask is not None and hide is not None:
        raise UsageError("--hide names a part and --mask is a file: give one of them")
    place = check_device(device)
    found = opened(run)
    spec = found.spec
    if not spec.is_image and spec.rate is None:
        raise MissingCapability(
            f"completions are drawn of pictures and sounds, not of vectors {spec.event_shape}: "
            "in Python, simulacra.tasks.complete.complete(model, x, observed) has them"
        )
    hidden = hide or ("bottom" if spec.rate is None else "right")
    # some systems take no colon into a name
    named = hidden.replace(":", "-") if mask is None else "mask"
    target = file_target(out or results_folder(found) / f"completions-{named}.png", "--out")
    model = found.model(code=code).to(place)
    observed = part(spec.event_shape, hidden, seed=seed) if mask is None else read_mask(mask, spec)
    data = found.dataset(str(data_dir) if data_dir else None)
    own = image or []
    x, context, _ = observations(model, data, own, label, None if own else number)
    told = None if context is None else context.to(place)
    with Waiting(doing="drawing") as waiting:
        waiting.begin(f"{len(x) * times} completions" if isinstance(model, Refining) else "")
        many, effective = resample(
            model, x.to(place), observed, times=times, candidates=candidates, context=told,
            seed=seed,
        )  # fmt: skip
    truth = spec.to_float(x)
    drawn = spec.to_float(many.cpu().flatten(0, 1)).unflatten(0, (len(x), times))
    written = str(target)
    if spec.rate is None:
        rows = strips(truth, observed, drawn)
        write_bytes(target, files.png(grids.grid(rows, columns=times + 2, gap=_GAP)))
    else:
        rows = torch.cat([(truth * observed)[:, None], drawn, truth[:, None]], 1).flatten(0, 1)
        shaded = (~observed).expand(times + 2, -1).clone()
        shaded[-1] = False  # the truth is all there
        write_sounds(target, rows, spec.rate, columns=times + 2, shaded=shaded)
        written += f" and {target.with_suffix('.wav')}"
    exactly = model.completes_exactly(observed.to(place))  # type: ignore[operator]
    kind = "drawn from the model's own conditional" if exactly else "approximate (~)"
    times_ = f"{times} completions" if times > 1 else "a completion"
    rows_ = f"{len(x)} rows" if len(x) > 1 else "1 row"
    terminal.note(f"{written}: {rows_} of given | {times_}, {kind} | truth")
    _note(candidates, effective, exactly=exactly)


_GAP = 3
"""Pixels between pictures, so that those of which all is hidden at an edge are told apart."""


def _note(candidates: int, effective: float | None, *, exactly: bool) -> None:
    """What came of the candidates."""
    if effective is not None:
        terminal.note(
            f"each was chosen by weight from {candidates} candidates, in effect from "
            f"{effective:.1f} on average: where that is near 1, more --candidates help"
        )
    elif candidates > 1 and exactly:
        terminal.note("this mask needs no candidates: all are worth the same, and one is drawn")
