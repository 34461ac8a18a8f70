"""What samples begin from, in the words of `--start`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulacra.cli import terminal
from simulacra.ground.errors import MissingCapability, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from simulacra.ground.spec import DataSpec
    from simulacra.models.model import Model
    from simulacra.runs.run import Run
    from simulacra.tasks.start import Start

RANDOM = "random"


@dataclass(frozen=True)
class _Noted:
    """Data as a run notes them: `intensities.Described`."""

    name: str
    spec: DataSpec
    options: dict[str, Any]


def read_start(text: str, model: Model, run: Run, number: int, seed: int) -> Start:
    """What each sample begins with.

    Args:
        text: `random:K`, `FILE` or `FILE:K`.
        model: That draws them.
        run: That it is of.
        number: Samples.
        seed: Of what is random.

    Raises:
        MissingCapability: If the model does not draw one value after another, or no pictures or
            sounds.
        UsageError: If it is none of these, or leaves nothing to draw.
        DataError: See `read_beginning`.
    """
    from simulacra.data.foreign.beginnings import read_beginning
    from simulacra.tasks.start import drawn_in_turn, first, random_start

    spec, turns = run.spec, drawn_in_turn(model)
    if not spec.is_image and spec.rate is None:
        raise MissingCapability(
            f"--start is of pictures and sounds, not of vectors {spec.event_shape}: leave it out"
        )
    file, count = _parted(text)
    if text.partition(":")[0] == RANDOM:
        if count is None:
            raise UsageError(f"--start is random:K, of a whole number K from 1 on, got {text!r}")
        return random_start(model, number, count, seed=seed)
    data = run.record["data"]
    given, observed = read_beginning(Path(file), _Noted(data["name"], spec, data["options"]))
    if count is not None:
        observed = observed & first(turns, count)
        if not observed.any():
            raise UsageError(f"--start {text}: nothing is given before place {count}: a larger K")
    if observed.all():
        raise UsageError(
            f"--start {file} leaves nothing to draw: FILE:K begins with its first K pixels, or "
            "samples of a sound, alone"
        )
    return given, observed


def _parted(text: str) -> tuple[str, int | None]:
    """The file, or `random`, and K where it is given."""
    file, _, count = text.rpartition(":")
    # no file that is read has a name that ends so
    if file and count.isascii() and count.isdigit():
        return file, int(count[:18])
    return text, None


def note_start(text: str, model: Model, observed: Tensor) -> None:
    """Say how much of each sample was given, and what the rest was drawn from."""
    from simulacra.tasks.start import drawn_in_turn, places

    turns = drawn_in_turn(model)
    total, spec = places(turns), model.spec
    given = int(observed.sum()) * total // spec.dims
    kind = "pixels" if spec.is_image else "samples"
    random = _parted(text)[0] == RANDOM
    from_ = "drawn at random, every level alike" if random else f"of {_parted(text)[0]}"
    rest = "the rest is drawn from the model's own conditional"
    if not turns.completes_exactly(observed):
        rest = "what comes before later ones was drawn without knowing them (~)"
    terminal.note(f"{given} of {total} {kind} of each are {from_}; {rest}")
