"""The command that shows which data there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulacra.cli import terminal
from simulacra.cli.flags import DataFlags, Json, file_target, load
from simulacra.ground.errors import UsageError

if TYPE_CHECKING:
    from simulacra.data.dataset import Dataset


def data(
    name: str | None = None,
    /,
    *,
    flags: DataFlags = DataFlags(),
    look: Path | None = None,
    json: Json = False,
) -> None:
    """List the data sets, or describe one.

    Args:
        name: A data set, a path to a folder of pictures or sounds or to an .npy, .npz, .csv, .tsv
            or .parquet file, or hf:NAME.
        flags: How it is read.
        look: A PNG file to draw training observations into, as a model will see them.
        json: Print JSON.
    """
    from simulacra.data.catalogue import catalogue

    if name is None:
        if look is not None:
            raise UsageError("--look draws one data set: name it, as in simulacra data digits")
        rows = catalogue(flags.data_dir if flags else None)
        if json:
            terminal.print_json([vars(row) for row in rows])
            return
        terminal.print_table(
            [
                {
                    "data": row.name,
                    "shape": "×".join(map(str, row.event_shape)),
                    "levels": str(row.levels or "–"),
                    "classes": str(row.classes or "–"),
                    "train": str(row.counts[0]),
                    "validation": str(row.counts[1]),
                    "test": str(row.counts[2]),
                    "here": "no" if row.missing else "yes",
                    "what it is": row.description,
                }
                for row in rows
            ],
            right=("levels", "classes", "train", "validation", "test"),
            words=("what it is",),
        )
        terminal.note(
            "also: any folder of pictures or sounds, any .npy, .npz, .csv, .tsv or .parquet file, "
            "and hf:NAME of the Hugging Face hub"
        )
        if any(row.missing for row in rows):
            terminal.note(
                "not here: name the folder with their files by --data-dir or SIMULACRA_DATA;"
                " simulacra data NAME says which files those are"
            )
        return
    target = None if look is None else file_target(look, "--look")
    found = load(name, flags)
    shortest = min(
        (int(split.lengths.min()) for split in found.splits.values() if split.lengths is not None),
        default=0,
    )
    about = {
        "name": found.name,
        "description": found.description,
        "shape": list(found.spec.event_shape),
        "levels": found.spec.levels,
        "samples a second": found.spec.rate or 0,
        "samples of the shortest window": shortest,
        "classes": found.spec.classes,
        "class names": list(found.class_names),
        "parts of labels": [f"{name} ({size})" for name, size in found.spec.parts],
        "context vectors": found.spec.context_width,
        "train": len(found.train),
        "validation": len(found.validation),
        "test": len(found.test),
        "notes": list(found.notes),
        "fingerprint": found.fingerprint,
    }
    if json:
        terminal.print_json(about)
    else:
        terminal.print_table(
            [{"": k, " ": _cell(v)} for k, v in about.items() if v not in ([], "", 0)],
            words=(" ",),
        )
    if target is not None:
        from simulacra.ground.storage import write_bytes

        picture, shown = _picture(found)
        write_bytes(target, picture)
        terminal.note(f"{target}: {shown}")


def _picture(dataset: Dataset) -> tuple[bytes, str]:
    """Some training observations as a PNG file, and what they are in words."""
    import torch

    from simulacra.drawing.observations import look

    spec, train = dataset.spec, dataset.train
    drawn = spec.is_image or spec.rate is not None
    x, _ = train.batch(torch.arange(min(len(train), _PICTURES if drawn else _POINTS)))
    if spec.is_image:
        what = "pictures, as a model sees them"
    else:
        what = "sounds" if drawn else "vectors" if spec.dims == 2 else "vectors, column by column"
    return look(spec, x), f"{len(x)} training {what}"


_PICTURES = 64
"""How many pictures or sounds are drawn."""

_POINTS = 5000
"""How many vectors are drawn."""

_NAMES = 12
"""How many class names are listed, before the last."""


def _cell(value: Any) -> str:  # noqa: ANN401 (any JSON value)
    if isinstance(value, list):
        if all(isinstance(v, int) for v in value):
            return "×".join(map(str, value))
        few = value if len(value) <= _NAMES + 2 else [*value[:_NAMES], "…", value[-1]]
        return ", ".join(few)
    return "none, these are continuous values" if value is None else str(value)
