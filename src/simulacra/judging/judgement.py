"""`Judgement`: what is known of a model, and how it is kept in the folder of its run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simulacra.ground.errors import CheckpointError, ResourceError
from simulacra.ground.storage import read_folder, write_folder
from simulacra.judging.figures.likelihood import Score
from simulacra.judging.results import FORMAT, Entry, Results
from simulacra.models.model import Model

KEPT = "judgement"
"""Folder of a run that holds what it was judged to be."""


@dataclass(frozen=True)
class Judgement:
    """What is known of a model, or of anyone's samples.

    Args:
        entry: Its figures.
        pictures: PNG files by kind.
        score: Of p(x), if there is one.
        found: The folder that it was found in, if it was not measured now.
    """

    entry: Entry
    pictures: dict[str, bytes] = field(default_factory=dict)
    score: Score | None = None
    found: Path | None = None


@dataclass(frozen=True)
class Judged:
    """All that a report is written from: see `report.folder.write_report`.

    Args:
        results: The figures.
        pictures: PNG files by name: `real`, and `<model>/<kind>`.
        scores: Of each model with a likelihood p(x), observation by observation.
    """

    results: Results
    pictures: dict[str, bytes]
    scores: dict[str, Score]


def keep(place: Path, fingerprint: str, judgement: Judgement) -> None:
    """Put a judgement into a folder, in place of what was there; or not, if it cannot be written.

    Args:
        place: The folder.
        fingerprint: Of all that it depends on; see `fingerprint_of`.
        judgement: To be found again by that.
    """
    shutil.rmtree(place, ignore_errors=True)
    pictures = {
        name: torch.frombuffer(bytearray(png), dtype=torch.uint8)
        for name, png in judgement.pictures.items()
    }
    score = judgement.score
    state = {
        "fingerprint": fingerprint,
        "entry": judgement.entry.to_json(),
        "pictures": pictures,
        "score": score and {name: getattr(score, name) for name in _SCORE},
    }
    # it saves time alone: without it the figures are measured once more
    with contextlib.suppress(ResourceError, CheckpointError):
        write_folder(place, {KEPT: state})


_SCORE = (
    "values",
    "rows",
    "exact",
    "dims",
    "levels",
    "draws",
    "valid",
    "groups",
    "averaged",
    "solver_error",
)
"""What makes a score again."""


def kept(place: Path, fingerprint: str | None = None) -> Judgement | None:
    """The judgement in a folder, if there is one that can be read.

    Args:
        place: The folder.
        fingerprint: That it has to have; any by default.
    """
    if not place.is_dir():
        return None
    try:
        state = read_folder(place, KEPT)[KEPT]
        if fingerprint is not None and state["fingerprint"] != fingerprint:
            return None
        pictures = {name: bytes(png.numpy()) for name, png in state["pictures"].items()}
        score = None
        if state["score"] is not None:
            score = Score.of(**{name: state["score"][name] for name in _SCORE})
        return Judgement(Entry.from_json(state["entry"]), pictures, score, place)
    except (CheckpointError, KeyError, TypeError, ValueError, AttributeError, RuntimeError):
        return None


def fingerprint_of(model: Model, **depends: Any) -> str:  # noqa: ANN401 (any JSON value)
    """A hash of all that a judgement depends on.

    Args:
        model: Its weights, its code and the device that it is on count.
        depends: What else counts.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(_bytes(value))
        depends["device"] = value.device.type
    ours = type(model).__module__.startswith(f"{__package__.partition('.')[0]}.")
    depends |= {
        "format": FORMAT,
        "package": _package(),
        "code": None if ours else _own_code(),
        "keywords": model.keywords,
        "spec": model.spec.to_json(),
    }
    digest.update(json.dumps(depends, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _own_code() -> str:
    """A hash of all code that is neither Python's nor installed: a user's model, and what it uses.

    Which of the modules that are loaded a model uses, nobody can tell; so all of them count.
    """
    installed = {Path(place).resolve() for place in sysconfig.get_paths().values()}
    installed |= {Path(place).resolve() for place in (*sys.path, "") if "site-packages" in place}

    @cache
    def is_installed(folder: str) -> bool:
        path = Path(folder).resolve()
        return not installed.isdisjoint((path, *path.parents))

    files = set()
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        # of thousands of files nearly all are seen to be installed by their folder alone
        if not file or (not os.path.islink(file) and is_installed(os.path.dirname(file))):
            continue
        path = Path(file).resolve()
        if path.suffix == ".py" and path.is_file() and installed.isdisjoint(path.parents):
            files.add(path)
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _package() -> str:
    """A hash of this package's own code: what another version says is measured anew."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _bytes(value: Tensor) -> bytes:
    return bytes(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
