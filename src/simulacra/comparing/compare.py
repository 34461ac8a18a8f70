"""Many models on the same data under one budget, judged alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from simulacra.data.dataset import Dataset
from simulacra.ground.errors import (
    CheckpointError,
    DivergedError,
    MissingCapability,
    ResourceError,
    UsageError,
)
from simulacra.ground.storage import read_json, write_json
from simulacra.judging.entries import described, is_swept
from simulacra.judging.judge import Judge
from simulacra.judging.judgement import Judgement
from simulacra.judging.results import Entry, Results
from simulacra.models import registry
from simulacra.models.description import describe_class
from simulacra.models.sizes import TRAINED
from simulacra.report.folder import write_report
from simulacra.runs.record import RECORD as RUN
from simulacra.runs.run import Run
from simulacra.training.engine import device_of
from simulacra.training.loop import Training
from simulacra.training.memory import check_room
from simulacra.training.options import Budget, Options
from simulacra.training.plan import Record

RECORD = "compare.json"
FORMAT = 1
_PARTS = {
    "models": list, "data": dict, "fingerprint": str, "budget": str, "options": dict,
    "keywords": dict, "draws": int,
}  # fmt: skip


class Watcher(Protocol):
    """Who is told how a comparison goes; training shows nothing itself."""

    def on_start(self, model: str, training: Training) -> None:
        """A model's training begins or goes on."""

    def on_record(self, model: str, record: Record) -> None:
        """A step was done."""

    def on_judge(self, model: str) -> None:
        """Training is over; likelihood, samples and times are measured."""

    def on_done(self, model: str, entry: Entry) -> None:
        """A model's figures are there."""


class _Nobody:
    def on_start(self, model: str, training: Training) -> None: ...
    def on_record(self, model: str, record: Record) -> None: ...
    def on_judge(self, model: str) -> None: ...
    def on_done(self, model: str, entry: Entry) -> None: ...


def compare(
    data: Dataset,
    models: Sequence[str],
    *,
    folder: Path | str,
    budget: Budget | str,
    options: Mapping[str, Any] | None = None,
    keywords: Mapping[str, Mapping[str, Any]] | None = None,
    draws: int = 64,
    watcher: Watcher | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Results:
    """Train each model under one budget, judge all alike, and write the report.

    A folder that holds the same comparison, unfinished, goes on where it stopped.

    Args:
        data: What all learn from.
        models: Their names.
        folder: Gets a run folder for each, `results.json` and `report.html`.
        budget: Of each, as on the command line: `90s`, `2000steps`, `10epochs`.
        options: Training options that differ from each model's preset; see `Options`.
        keywords: Constructor keywords by model.
        draws: Importance draws of bounds.
        watcher: Told how it goes.
        should_stop: Asked after every step.

    Returns:
        All figures; `stopped` is true if `should_stop` was.

    Raises:
        UsageError: If a model is unknown, refuses its keywords, or is named twice; or if the
            folder holds anything but the same comparison.

    Example:
        >>> import simulacra as sim, dataclasses, tempfile, torch
        >>> data = sim.load_data("digits")
        >>> few = {name: split.take(torch.arange(19)) for name, split in data.splits.items()}
        >>> data = dataclasses.replace(data, **few)  # so that it takes a second
        >>> with tempfile.TemporaryDirectory() as place:
        ...     results = sim.compare(
        ...         data, ["nice", "gan"], folder=f"{place}/few", budget="1steps"
        ...     )
        >>> [entry.model for entry in results.models]
        ['nice', 'gan']
    """
    options, keywords = dict(options or {}), {k: dict(v) for k, v in (keywords or {}).items()}
    watcher, folder = watcher or _Nobody(), Path(folder)
    budget = Budget.parse(budget) if isinstance(budget, str) else budget
    whole = _checked(models, data, keywords, options, folder)
    asked = {
        "format": FORMAT,
        "models": list(models),
        "data": data.options,
        "fingerprint": data.fingerprint,
        "budget": str(budget),
        "options": options,
        "keywords": keywords,
        "draws": draws,
    }
    _ask(folder, asked)
    plain = Options(**options)
    judge = Judge(data, draws=draws, device=device_of(plain))
    judged: list[Judgement] = []
    stopped = False
    for name in models:
        try:
            run = _run(folder, name, data, options, whole[name], budget)
            code = registry.own_code(name, keywords.get(name, {}))
            outcome = run.train(
                data,
                code=code,
                on_start=partial(_told_start, watcher, name),
                on_record=partial(watcher.on_record, name),
                should_stop=should_stop,
            )
            stopped = not outcome.finished
            if stopped:
                break
            watcher.on_judge(name)
            judged.append(judge.run(run, outcome, code=code))
        except MissingCapability as error:
            judged.append(_without(name, left_out=str(error)))
        except (UsageError, DivergedError) as error:
            judged.append(_without(name, failed=str(error)))
        except (MemoryError, torch.OutOfMemoryError):
            judged.append(_without(name, failed="memory ran out: a smaller --batch"))
        watcher.on_done(name, judged[-1].entry)
    seed, words = plain.seed, str(budget)
    if stopped:
        # what samples are held against takes time, and nobody asked for a report yet
        return replace(
            judge.unjudged([each.entry for each in judged], seed=seed, budget=words), stopped=True
        )
    found = judge.together(judged, seed=seed, budget=words)
    write_report(folder, found)
    return found.results


def _without(name: str, **why: str) -> Judgement:
    found = registry.find(name)
    return Judgement(described(describe_class(found, name), swept=is_swept(found), **why))


def _told_start(watcher: Watcher, name: str, training: Training, _: list[str]) -> None:
    watcher.on_start(name, training)


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


def _checked(
    models: Sequence[str],
    data: Dataset,
    keywords: Mapping[str, Mapping[str, Any]],
    options: Mapping[str, Any],
    folder: Path,
) -> dict[str, dict[str, Any] | MissingCapability]:
    """Refuse what cannot be compared before anything is trained.

    Returns:
        All keywords of each model, which was built once with them; or why it cannot take the
        data, or memory has no room for it: it is shown as such, beside the others. A model whose
        run is there is not built.
    """
    if not models:
        raise UsageError("a comparison needs at least one model")
    twice = {name for name in models if models.count(name) > 1}
    if twice:
        raise UsageError(f"{', '.join(sorted(twice))} is named twice")
    whole: dict[str, dict[str, Any] | MissingCapability] = {}
    for name in models:
        given = dict(keywords.get(name, {}))
        if (_place(folder, name) / RUN).is_file():
            whole[name] = given
            continue
        try:
            built = registry.build(name, data.spec, given, copies=TRAINED)
            check_room(built, data.train, Options(**{**registry.preset(name), **options}))
            whole[name] = built.keywords
        except MissingCapability as error:
            whole[name] = error
        except ResourceError as error:
            whole[name] = MissingCapability(str(error))
    stray = set(keywords) - set(models)
    if stray:
        raise UsageError(
            f"--set names {', '.join(sorted(stray))}, which is not compared: write model.key=value"
        )
    return whole


def _ask(folder: Path, asked: dict[str, Any]) -> None:
    """Note what a new comparison is asked for, or see that an old one was asked for the same.

    Raises:
        UsageError: If the folder holds another comparison, or something else.
    """
    path, text = folder / RECORD, json.loads(json.dumps(asked, default=str))
    if path.is_file():
        if read_json(path) != text:
            raise UsageError(f"{folder} holds another comparison: choose another folder")
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists already: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, text)


def _place(folder: Path, name: str) -> Path:
    return folder / name.replace("/", "_").replace(":", "_")


def _run(
    folder: Path,
    name: str,
    data: Dataset,
    options: Mapping[str, Any],
    keywords: dict[str, Any] | MissingCapability,
    budget: Budget,
) -> Run:
    """The run of a model: the one that is there, or a new one.

    Raises:
        MissingCapability: If the model cannot take the data.
    """
    if isinstance(keywords, MissingCapability):
        raise keywords
    place = _place(folder, name)
    if (place / RUN).is_file():
        return Run.open(place)
    chosen = Options(**{**registry.preset(name), **options})
    return Run.of(place, model=name, keywords=keywords, data=data, options=chosen, budget=budget)
