"""What is told of a model's traversals: a row of frames for each unit of a code, and a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from simulacra.cli import terminal

if TYPE_CHECKING:
    from simulacra.data.dataset import Dataset
    from simulacra.models.model import Model
    from simulacra.tasks.traverse import Traversal


def draw_traversal(
    model: Model, data: Dataset, target: Path | None, *, frames: int, seed: int = 0
) -> None:
    """A picture of how each unit of one validation observation's code moves it, and what it moves.

    Args:
        model: One that encodes and decodes, on its device.
        data: That it learned from.
        target: The PNG file, or GIF of pictures; nothing of vectors, which are printed.
        frames: In each row.
        seed: Of draws of the prior.
    """
    from simulacra.cli.output import write_numbers
    from simulacra.tasks.expected import words_of
    from simulacra.tasks.traverse import FARTHEST, traverse

    found = traverse(model, data, steps=frames, seed=seed)
    _print(found, data)
    written = write_numbers(data.spec, target, found.frames, data.columns)
    means = words_of(model)
    units = found.ends.shape[0]
    shown = (
        "" if len(found.units) == units else f"the {len(found.units)} of {units} that move most, "
    )
    terminal.note(
        f"{written}, {shown}of validation 0, a unit of its code at a time from {-FARTHEST:g} to "
        f"{FARTHEST:g} standard deviations of {found.by}{f' ({means})' if means else ''}"
    )
    terminal.note(
        "moves, and what else changes from one end to the other: means of several validation "
        "observations, in standard deviations of the data"
        + ("" if found.classes is None else "; classes as a linear classifier of raw values sees "
           "what decodes, in probability")
    )  # fmt: skip


def _print(found: Traversal, data: Dataset) -> None:
    names = data.class_names or tuple(map(str, range(data.spec.classes)))
    rows = []
    for place, unit in enumerate(found.units.tolist()):
        row = {"unit": f"z{unit + 1}"}
        if found.rates is not None:
            row["KL, nats"] = f"{float(found.rates[place]):.2f}"
        row["moves"] = f"{float(found.moves[place]):.2f}"
        row |= {name: f"{float(values[place]):+.1f}" for name, values in found.changes.items()}
        if found.classes is not None:
            most = found.classes[place]
            up, down = int(most.argmax()), int(most.argmin())
            row["towards"] = f"{names[up]} {float(most[up]):+.2f}"
            row["away from"] = f"{names[down]} {float(most[down]):+.2f}"
        rows.append(row)
    words = ("towards", "away from")
    terminal.print_table(rows, right=[key for key in rows[0] if key not in ("unit", *words)])
