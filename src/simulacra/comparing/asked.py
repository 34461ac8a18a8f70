"""What a comparison was asked for, in its folder: to be asked for again, and nothing else there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from simulacra.ground.errors import CheckpointError, UsageError
from simulacra.ground.storage import read_json, write_json
from simulacra.runs.alone import check_free
from simulacra.training.options import Budget, Options

RECORD = "compare.json"
FORMAT = 1
_PARTS = {
    "models": list, "data": dict, "fingerprint": str, "budget": str, "options": dict,
    "keywords": dict, "draws": int,
}  # fmt: skip


def recorded(folder: Path) -> dict[str, Any]:
    """What an unfinished comparison was asked for, to be asked for again.

    Raises:
        CheckpointError: If the folder holds no comparison, or a part of its record is not of its
            kind.
    """
    path = folder / RECORD
    try:
        record = dict(read_json(path))
        version = record.pop("format")
        if type(version) is not int or version != FORMAT:
            raise CheckpointError(f"{path} is of another format than {FORMAT}")
        odd = [name for name in record if name not in _PARTS]
        if odd:
            raise CheckpointError(f"{path} has {odd[0]!r}, which is no part of a comparison")
        for part, kind in _PARTS.items():
            # a bool is an int to isinstance
            if type(record[part]) is not kind:
                raise TypeError(f"{part} is no {kind.__name__}")
        if not record["models"] or not all(isinstance(name, str) for name in record["models"]):
            raise TypeError("models are the names of at least one")
        if not all(isinstance(own, dict) for own in record["keywords"].values()):
            raise TypeError("the keywords of a model are no dict")
        if not isinstance(record["data"]["source"], str):
            raise TypeError("data have no source")
        record.pop("fingerprint")
        record["budget"] = Budget.parse(record["budget"])
        record["options"] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in record["options"].items()
        }
        Options(**record["options"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return record


def ask(folder: Path, asked: dict[str, Any]) -> None:
    """Note what a new comparison is asked for, or see that an old one was asked for the same.

    Raises:
        UsageError: If the folder holds another comparison, or something else.
    """
    path, text = folder / RECORD, json.loads(json.dumps(asked, default=str))
    if path.is_file():
        if read_json(path) != text:
            raise UsageError(f"{folder} holds another comparison: choose another folder")
        return
    check_own(folder)
    write_json(path, text)


def check_own(folder: Path) -> None:
    """Refuse a folder with anything but a comparison in it."""
    if not (folder / RECORD).is_file():
        check_free(folder)
