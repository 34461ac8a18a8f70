"""`run.json`: what a run was asked for, how it is written, and how it is read back."""

from __future__ import annotations

import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from simulacra.data.dataset import Dataset
from simulacra.ground.errors import CheckpointError, UsageError
from simulacra.ground.spec import DataSpec
from simulacra.ground.storage import read_json
from simulacra.ground.threads import usual
from simulacra.training.diagnosis import check_names
from simulacra.training.options import Budget, Options
from simulacra.training.plan import Event, Plan

RECORD = "run.json"
FORMAT = 1
_PARTS = (
    "format", "model", "keywords", "spec", "data", "options", "budget", "plan", "created",
    "threads", "versions",
    # of a run that began with another's weights, and of one that was changed as it went
    "start", "events",
    # of one that is to end when something is diagnosed
    "stop_on",
)  # fmt: skip
SETTLED = ("plan", "options", "events", "stop_on")
"""Parts that a training changes as it goes."""


def new_record(
    model: str, keywords: dict[str, Any], data: Dataset, options: Options, budget: Budget
) -> dict[str, Any]:
    """The record of a run that is about to begin.

    Args:
        model: What it is called.
        keywords: All that it was built with.
        data: What it learns from.
        options: How it trains.
        budget: How long.
    """
    told = data.encoder
    by = {} if told is None else {"encoder": {"run": told.origin, "hash": told.hash}}
    return {
        "format": FORMAT,
        "model": model,
        "keywords": keywords,
        "spec": data.spec.to_json(),
        "data": {
            "name": data.name,
            "options": dict(data.options),
            "fingerprint": data.fingerprint,
            "splits": data.counts,
            # so that a class can be asked for by its name without the data
            "classes": {part: list(names) for part, names in data.names_by_part.items()},
            # of data that were told codes of a trained model, which is kept with the run
            **by,
        },
        "options": asdict(options),
        "budget": str(budget),
        "plan": None,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "threads": usual(),
        "versions": versions(),
    }


def read_record(path: Path) -> dict[str, Any]:
    """The record in a file, each part of it of its kind.

    Raises:
        CheckpointError: If it cannot be read, is from a newer version, or is not of a run.
    """
    try:
        record: dict[str, Any] = read_json(path)
        version = record["format"]
        if type(version) is not int or version != FORMAT:
            newer = isinstance(version, int) and version > FORMAT
            raise CheckpointError(
                f"{path} has format {version}, this simulacra reads {FORMAT}: "
                + ("it is newer, update simulacra" if newer else "use what wrote it")
            )
        odd = [name for name in record if name not in _PARTS]
        if odd:
            raise CheckpointError(f"{path} has {odd[0]!r}, which is no part of a run")
        DataSpec.from_json(record["spec"])
        options_of(record)
        budget_of(record)
        plan = Plan(**({"steps": 1, "validate_every": 1} | (record["plan"] or {})))
        if not (plan.steps and plan.validate_every):
            raise ValueError("a plan's steps and validate_every are positive")
        threads = record.get("threads", 1)
        if type(threads) is not int or threads < 1:
            raise ValueError(f"threads are a whole number from 1 on, got {threads!r}")
        check_names(record.get("stop_on", []))
        for event in record.get("events", []):
            Event.from_json(event)
        for part, kind in (("model", str), ("keywords", dict), ("data", dict)):
            if not isinstance(record[part], kind):
                raise TypeError(f"{part} is no {kind.__name__}")
        if not isinstance(record["data"]["options"]["source"], str):
            raise TypeError("data has no source")
        for name in ("fingerprint", "name"):
            if not isinstance(record["data"][name], str):
                raise TypeError(f"data has no {name}")
        encoder = record["data"].get("encoder", {"run": "", "hash": ""})
        for name in ("run", "hash"):
            if not isinstance(encoder[name], str):
                raise TypeError(f"encoder has no {name}")
        for names in class_names_of(record).values():
            if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
                raise TypeError("the names of classes are lists of words")
    except (ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return record


def said_of(record: dict[str, Any]) -> dict[str, Any]:
    """Which model it is: checkpoints say it in the same words, whatever keywords came since."""
    return {name: record[name] for name in ("model", "keywords", "spec")}


def budget_of(record: dict[str, Any]) -> Budget:
    """How long a run was asked to train."""
    return Budget.parse(record["budget"])


def class_names_of(record: dict[str, Any]) -> dict[str, list[str]]:
    """Names of the classes of each part of a run's labels, as `Dataset.names_by_part` has them.

    Nothing of data without labels, and of runs from before names were kept.
    """
    names: dict[str, list[str]] = record["data"].get("classes", {})
    return names


def options_of(record: dict[str, Any]) -> Options:
    """How a run trains."""
    given: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in record["options"].items()
    }
    return Options(**given)


def versions() -> dict[str, str]:
    """What a figure depends on beside seed and data."""
    return {
        "simulacra": _own_version(),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
    }


def _own_version() -> str:
    try:
        return metadata.version("simulacra")
    except metadata.PackageNotFoundError:
        # it is used from its folder
        return "not installed"
