"""The command that walks from one observation to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
    results_folder,
    whole,
)
from simulacra.cli.inputs import is_number, observations, one_observation, opened, read_label
from simulacra.cli.output import ways_target, write_ways
from simulacra.ground.errors import DataError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from simulacra.data.dataset import Dataset
    from simulacra.models.model import Model


def interpolate(
    run: Path,
    /,
    *ends: str,
    frames: Whole = 10,
    linear: bool = False,
    label: Label = None,
    number: Annotated[int, Parameter(name=["--number", "-n"], converter=whole)] = 6,
    seed: Whole = 0,
    out: Out = None,
    data_dir: Path | None = None,
    device: Device = "auto",
    code: Code = None,
) -> None:
    """Walk from one observation to another among a model's codes: a row of frames for each way.

    The codes of both ends are joined by an arc whose length goes over from one to the other, as
    codes of many values all lie far from the middle; with --linear, by a straight way. Of a model
    that takes labels, a way has one label from end to end, that of A or --label. A gan has no
    encoder: the codes of A and B are sought as by invert, and a way's ends are near to them.

    A model without codes that is told vectors (--set context=vector) draws along the way from the
    vector of A to that of B; all frames of a row by the same random numbers. Of files it needs a
    run trained with --context RUN, which knows their vectors. Rows begin and end with A and B.

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo.
        ends: A and B: image files, .npy files of one observation, or numbers of validation
            observations. Without, ways between validation observations, or of a model that does
            not encode between draws of its prior.
        frames: On each way, both ends included.
        linear: Go straight from code to code, as between codes of an autoencoder without a prior.
        label: The class of the way, for a model trained with --set context=label, by its name or
            number, or by its parts, as in digit=7,speaker=theo.
        number: How many ways, without A and B; with them, of a model that is told vectors, how many
            rows of other draws.
        seed: Of what is drawn.
        out: A .png or, to see it move, a .gif; RUN/interpolation.png by default. Of vectors an
            .npy; without, they are printed.
        data_dir: Folder that holds the data's files, if it moved.
        device: Where it is computed.
        code: file.py:Class of a model of your own.
    """
    from simulacra.models.game import Game
    from simulacra.models.model import Encoding, Latent
    from simulacra.tasks.interpolate import ends_in_codes
    from simulacra.tasks.interpolate import interpolate as ways
    from simulacra.tasks.sample import example_context

    check_positive(number=number, frames=frames)
    check_seed(seed)
    if frames < 2:
        raise UsageError(f"--frames is at least 2, both ends included, got {frames}")
    if len(ends) not in (0, 2):
        raise UsageError(f"a way has two ends, A and B, or none to choose them: got {len(ends)}")
    path: Literal["spherical", "linear"] = "linear" if linear else "spherical"
    place = check_device(device)
    found = opened(run)
    target = ways_target(found.spec, out, results_folder(found) / "interpolation.png")
    model = found.model(code=code).to(place)
    by_vector = model.context == "vector" and not isinstance(model, (Encoding, Game, Latent))
    if ends and not by_vector:
        ends_in_codes(model)
    files = bool(ends) and not any(map(is_number, ends))
    # of files nothing has to be known of the data but their form
    if by_vector and files and data_dir is None:
        data = found.form
    else:
        data = found.dataset(str(data_dir) if data_dir else None)
    if by_vector:
        if label is not None:
            read_label(label, model, data.names_by_part)
        drawn, between = _told_ways(model, data, ends, number, frames, path, seed)
    elif ends or isinstance(model, Encoding):
        x, other, context, between = _pairs(model, data, ends, label, number)
        drawn = ways(model, ends=(x, other), steps=frames, path=path, context=context, seed=seed)
        between += "" if isinstance(model, Encoding) else ", as near as codes were found to them"
    else:
        told = example_context(model, data, number)
        if label is not None:
            own = read_label(label, model, data.names_by_part)
            told = own.expand(number, *own.shape)
        drawn = ways(model, rows=number, steps=frames, path=path, context=told, seed=seed)
        between = "draws of the prior"
    terminal.note(f"{write_ways(found.spec, target, drawn, data.columns)}, between {between}")


def _told_ways(
    model: Model,
    data: Dataset,
    ends: tuple[str, ...],
    number: int,
    frames: int,
    path: Literal["spherical", "linear"],
    seed: int,
) -> tuple[Tensor, str]:
    """What is drawn along ways between vectors, from A to B in each row; and what it lies between.

    With A and B all rows are one way, by other random numbers.
    """
    import torch

    from simulacra.tasks.interpolate import walk

    if ends:
        (a, start, first), (b, end, last) = (
            one_observation(model, data, each, None) for each in ends
        )
        between = f"{first} and {last}"
    else:
        x, told, _ = observations(model, data, (), None, 2 * number)
        half = _half(x)
        a, b, between = x[:half], x[half : 2 * half], _validation(half)
        start, end = (None, None) if told is None else (told[:half], told[half : 2 * half])
    assert start is not None  # the model is told vectors
    assert end is not None
    draws = number if ends else 1
    drawn = walk(model, (start, end), frames, draws=draws, path=path, seed=seed)
    left, right = (x.repeat_interleave(draws, 0)[:, None].to(drawn.dtype) for x in (a, b))
    return torch.cat([left, drawn, right], 1), f"{between}, with these on either side"


def _pairs(
    model: Model, data: Dataset, ends: tuple[str, ...], label: str | None, number: int
) -> tuple[Tensor, Tensor, Tensor | None, str]:
    """Observations at both ends of ways, what the ways are told, and what they lie between."""
    if ends:
        (x, context, start), (other, _, end) = (
            one_observation(model, data, each, label) for each in ends
        )
        return x, other, context, f"{start} and {end}"
    x, context, _ = observations(model, data, (), label, 2 * number)
    half = _half(x)
    told = None if context is None else context[:half]
    return x[:half], x[half : 2 * half], told, _validation(half)


def _half(x: Tensor) -> int:
    """How many ways there are between observations: neighbours in their order may be alike."""
    if len(x) < 2:
        raise DataError("a way needs two validation observations, and there is one: name A and B")
    return len(x) // 2


def _validation(half: int) -> str:
    return f"validation {'0 and 1' if half == 1 else f'0 … {half - 1} and {half} …'}"
