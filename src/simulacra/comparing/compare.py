"""Many models on the same data under one budget, judged alike."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from simulacra.data.dataset import Dataset
from simulacra.ground.errors import (
    CheckpointError,
    DivergedError,
    MissingCapability,
    UsageError,
)
from simulacra.ground.storage import read_json, write_bytes, write_json
from simulacra.judging.figures.likelihood import valid_dims
from simulacra.judging.judge import Judge, Judgement
from simulacra.judging.pictures import real_pictures
from simulacra.judging.results import described
from simulacra.models import registry
from simulacra.report.page import render
from simulacra.runs.record import versions
from simulacra.runs.run import Run
from simulacra.training.engine import make_fabric
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options
from simulacra.training.plan import Record

RECORD = "compare.json"
RESULTS = "results.json"
REPORT = "report.html"
LIKELIHOODS = "likelihoods.csv"
FORMAT = 1


class Watcher(Protocol):
    """Who is told how a comparison goes; training shows nothing itself."""

    def on_start(self, model: str, training: Training) -> None:
        """A model's training begins or goes on."""

    def on_record(self, model: str, record: Record) -> None:
        """A step was done."""

    def on_judge(self, model: str) -> None:
        """Training is over; likelihood, samples and times are measured."""

    def on_done(self, model: str, entry: Mapping[str, Any]) -> None:
        """A model's figures are there."""


class _Nobody:
    def on_start(self, model: str, training: Training) -> None: ...
    def on_record(self, model: str, record: Record) -> None: ...
    def on_judge(self, model: str) -> None: ...
    def on_done(self, model: str, entry: Mapping[str, Any]) -> None: ...


def compare(
    data: Dataset,
    models: Sequence[str],
    *,
    folder: Path,
    budget: Budget,
    options: Mapping[str, Any] | None = None,
    keywords: Mapping[str, Mapping[str, Any]] | None = None,
    draws: int = 64,
    watcher: Watcher | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train each model under one budget, judge all alike, and write the report.

    A folder that holds the same comparison, unfinished, goes on where it stopped.

    Args:
        data: What all learn from.
        models: Their names.
        folder: Gets a run folder for each, `results.json` and `report.html`.
        budget: Of each.
        options: Training options that differ from each model's preset; see `Options`.
        keywords: Constructor keywords by model.
        draws: Importance draws of bounds.
        watcher: Told how it goes.
        should_stop: Asked after every step.

    Returns:
        What `results.json` holds; `stopped` in it is true if `should_stop` was.

    Raises:
        UsageError: If a model is unknown, refuses its keywords, or is named twice; or if the
            folder holds anything but the same comparison.
    """
    options, keywords = dict(options or {}), {k: dict(v) for k, v in (keywords or {}).items()}
    watcher = watcher or _Nobody()
    _check(models, data, keywords)
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
    judge, judged = Judge(data, draws=draws), list[Judgement]()
    stopped = False
    for name in models:
        try:
            run = _run(folder, name, data, options, keywords.get(name, {}), budget)
            outcome = run.train(
                data,
                code=name,
                on_start=partial(_told_start, watcher, name),
                on_record=partial(watcher.on_record, name),
                should_stop=should_stop,
            )
            stopped = not outcome.finished
            if stopped:
                break
            watcher.on_judge(name)
            judged.append(judge.run(run, outcome, code=name))
        except MissingCapability as error:
            judged.append(_without(name, left_out=str(error)))
        except (UsageError, DivergedError) as error:
            judged.append(_without(name, failed=str(error)))
        except (MemoryError, torch.OutOfMemoryError):
            judged.append(_without(name, failed="memory ran out: a smaller --batch"))
        watcher.on_done(name, judged[-1].entry)
    if stopped:
        # what samples are held against takes time, and nobody asked for a report yet
        return assemble(data, judged, {}, options=Options(**options), budget=str(budget)) | {
            "stopped": True
        }
    found = judge.results(judged)
    results = assemble(data, judged, found, options=Options(**options), budget=str(budget))
    results["stopped"] = False
    write_report(folder, data, results, judged)
    return results


def _without(name: str, **why: str) -> Judgement:
    return Judgement(described(name) | why)


def _told_start(watcher: Watcher, name: str, training: Training, _: list[str]) -> None:
    watcher.on_start(name, training)


def recorded(folder: Path) -> dict[str, Any]:
    """What an unfinished comparison was asked for, to be asked for again.

    Raises:
        CheckpointError: If the folder holds no comparison.
    """
    path = folder / RECORD
    try:
        record = dict(read_json(path))
        if record.pop("format") != FORMAT:
            raise CheckpointError(f"{path} is of another format than {FORMAT}")
        record.pop("fingerprint")
        record["budget"] = Budget.parse(record["budget"])
        record["options"] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in record["options"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return record


def _check(models: Sequence[str], data: Dataset, keywords: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse what cannot be compared before anything is trained."""
    if not models:
        raise UsageError("a comparison needs at least one model")
    twice = {name for name in models if models.count(name) > 1}
    if twice:
        raise UsageError(f"{', '.join(sorted(twice))} is named twice")
    for name in models:
        # a model that cannot take these data is shown as such, beside the others
        with contextlib.suppress(MissingCapability):
            registry.build(name, data.spec, dict(keywords.get(name, {})))
    stray = set(keywords) - set(models)
    if stray:
        raise UsageError(
            f"--set names {', '.join(sorted(stray))}, which is not compared: write model.key=value"
        )


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


def _run(
    folder: Path,
    name: str,
    data: Dataset,
    options: Mapping[str, Any],
    keywords: Mapping[str, Any],
    budget: Budget,
) -> Run:
    """The run of a model: the one that is there, or a new one."""
    place = folder / name.replace("/", "_").replace(":", "_")
    if (place / "run.json").is_file():
        return Run.open(place)
    chosen = Options(**{**registry.preset(name), **options})
    return Run.create(
        place, model=name, keywords=dict(keywords), data=data, options=chosen, budget=budget
    )


def assemble(
    data: Dataset,
    judged: Sequence[Judgement],
    found: Mapping[str, Any],
    *,
    options: Options,
    budget: str | None,
) -> dict[str, Any]:
    """What `results.json` holds: the models' entries, and what they depend on.

    Args:
        data: That they were judged on.
        judged: The models.
        found: What `Judge.results` says of all together.
        options: Of the training, or where samples were judged.
        budget: Of each model's training, if there was one.
    """
    spec = data.spec
    return {
        "title": None,
        "command": " ".join(["simulacra", *sys.argv[1:]]),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "seed": options.seed,
        "budget": budget,
        "machine": {
            "processor": _processor(),
            "threads": torch.get_num_threads(),
            "device": make_fabric(options).device.type,
            **versions(),
        },
        "data": {
            "name": data.name,
            "description": data.description,
            "notes": list(data.notes),
            "event_shape": list(spec.event_shape),
            "levels": spec.levels,
            "rate": spec.rate,
            "valid": valid_dims(data.test),
            "truth": _truth(data),
            "classes": spec.classes,
            "class_names": list(data.class_names),
            "train": len(data.train),
            "validation": len(data.validation),
            "test": len(data.test),
            "fingerprint": data.fingerprint,
        },
        **found,
        "models": [each.entry for each in judged],
    }


def _truth(data: Dataset) -> float | None:
    """Mean log-density of the test split under what it was drawn from, if that is known."""
    if data.density is None:
        return None
    return float(data.density.log_prob(data.test.x).mean())


def write_report(
    folder: Path, data: Dataset, results: dict[str, Any], judged: Sequence[Judgement]
) -> None:
    """Write `results.json`, `report.html` and `likelihoods.csv`, a row a test observation."""
    pictures = real_pictures(data) | {
        f"{each.entry['model']}/{kind}": png
        for each in judged
        for kind, png in each.pictures.items()
    }
    write_json(folder / RESULTS, results)
    write_bytes(folder / REPORT, render(results, pictures).encode())
    scores = {each.entry["model"]: each.score for each in judged if each.score is not None}
    if not scores:
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["index", *scores])
    first = next(iter(scores.values()))
    columns = [score.values.tolist() for score in scores.values()]
    writer.writerows(zip(first.rows.tolist(), *columns, strict=True))
    write_bytes(folder / LIKELIHOODS, text.getvalue().encode())


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
