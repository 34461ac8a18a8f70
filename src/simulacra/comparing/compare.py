"""Many models on the same data under one budget, judged alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from simulacra.comparing.asked import FORMAT, ask, check_own
from simulacra.comparing.failures import Failure, failure_of, failures, forget, note_failure
from simulacra.data.dataset import Dataset
from simulacra.ground.errors import (
    DataError,
    MissingCapability,
    ResourceError,
    SimulacraError,
    UsageError,
    disk_full,
)
from simulacra.ground.locks import held
from simulacra.judging.entries import described, is_swept
from simulacra.judging.judge import Judge
from simulacra.judging.judgement import Judgement
from simulacra.judging.results import Entry, Results
from simulacra.models import registry
from simulacra.models.description import describe_class
from simulacra.models.sizes import TRAINED
from simulacra.report.folder import write_report
from simulacra.runs.encoder import ENCODER, encoder_of
from simulacra.runs.record import RECORD as RUN
from simulacra.runs.run import Run
from simulacra.training.engine import device_of
from simulacra.training.loop import Training
from simulacra.training.memory import check_room
from simulacra.training.options import Budget, Options
from simulacra.training.progress import Record


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
    retry: bool = False,
    told: Callable[[str], None] = lambda _: None,
    noted: Callable[[str], None] = lambda _: None,
) -> Results:
    """Train each model under one budget, judge all alike, and write the report.

    A folder that holds the same comparison, unfinished, goes on where it stopped. A model that
    fails, whatever the error, has a row that says so, and the others go on; it is not tried again
    unless asked for.

    Args:
        data: What all learn from.
        models: Their names.
        folder: Gets a run folder for each, `results.json` and `report.html`.
        budget: Of each, as on the command line: `90s`, `2000steps`, `2Mobs`.
        options: Training options that differ from each model's preset; see `Options`.
        keywords: Constructor keywords by model.
        draws: Importance draws of bounds.
        watcher: Told how it goes.
        should_stop: Asked after every step.
        retry: Whether to try again what failed before.
        told: Told in words what is being measured, for whoever waits.
        noted: Told in words what there is to know of the folder; see `Run.train`.

    Returns:
        All figures; `stopped` is true if `should_stop` was.

    Raises:
        UsageError: If a model is unknown, refuses its keywords, or is named twice; or if the
            folder holds anything but the same comparison.
        CheckpointError: If another process has the folder.
        ResourceError: If there is no space left on the disk.

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
    lost = {} if retry else failures(folder)
    whole = _checked(models, data, keywords, options, folder, lost)
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
    check_own(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder, "compared") as unlocked:
        ask(folder, asked)
        if data.encoder is not None and encoder_of(folder) is None:
            data.encoder.save(folder / ENCODER)
        if unlocked:
            noted(unlocked)
        if retry:
            forget(folder, [_place(folder, name) for name in models])
        plain = Options(**options)
        judge = Judge(data, draws=draws, device=device_of(plain), told=told)
        judged: list[Judgement] = []
        for name in models:
            found: Judgement | None
            if name in lost:
                found = _failed(name, lost[name])
            else:
                make = partial(_run, folder, name, data, options, whole[name], budget)
                code = registry.own_code(name, keywords.get(name, {}))
                start = partial(_told_start, watcher, noted, name)
                found = _judged(folder, name, make, code, judge, watcher, start, should_stop)
            if found is None:
                break
            judged.append(found)
            watcher.on_done(name, found.entry)
        seed, words = plain.seed, str(budget)
        if len(judged) < len(models):
            # what samples are held against takes time, and nobody asked for a report yet
            entries = [each.entry for each in judged]
            return replace(judge.unjudged(entries, seed=seed, budget=words), stopped=True)
        all_found = judge.together(judged, seed=seed, budget=words)
        write_report(folder, all_found)
        return all_found.results


def _judged(
    folder: Path,
    name: str,
    make: Callable[[], Run],
    code: str | None,
    judge: Judge,
    watcher: Watcher,
    on_start: Callable[[Training, list[str]], None],
    should_stop: Callable[[], bool],
) -> Judgement | None:
    """A model trained and judged, or why it could not be; nothing if it was stopped.

    Raises:
        DataError: If the data are to blame, which all models share.
        ResourceError: If it is the disk.
    """
    begun = time.perf_counter()
    try:
        run = make()
        outcome = run.train(
            judge.data,
            code=code,
            on_start=on_start,
            on_record=partial(watcher.on_record, name),
            should_stop=should_stop,
        )
        if not outcome.finished:
            return None
        watcher.on_judge(name)
        return judge.run(run, outcome, code=code)
    except MissingCapability as error:
        return _without(name, left_out=str(error))
    except (DataError, ResourceError, BrokenPipeError):
        raise
    except Exception as error:
        # whatever one model does, the others go on
        if disk_full(error):
            raise
        failure = failure_of(error, time.perf_counter() - begun, _place(folder, name))
    note_failure(folder, name, failure)
    # what it had filled the memory with may be in rings of objects
    gc.collect()
    return _failed(name, failure)


def _failed(name: str, failure: Failure) -> Judgement:
    return _without(name, failed=failure.why, failed_after=failure.seconds)


def _without(name: str, **why: Any) -> Judgement:  # noqa: ANN401 (parts of an entry)
    found = registry.find(name)
    return Judgement(described(describe_class(found, name), swept=is_swept(found), **why))


def _told_start(
    watcher: Watcher,
    noted: Callable[[str], None],
    name: str,
    training: Training,
    notes: list[str],
) -> None:
    for each in notes:
        noted(f"{name}: {each}")
    watcher.on_start(name, training)


def _checked(
    models: Sequence[str],
    data: Dataset,
    keywords: Mapping[str, Mapping[str, Any]],
    options: Mapping[str, Any],
    folder: Path,
    lost: Collection[str],
) -> dict[str, dict[str, Any] | Exception]:
    """Refuse what cannot be compared before anything is trained.

    Returns:
        All keywords of each model, which was built once with them; or why it cannot take the
        data, or be built at all: it is shown as such, beside the others. A model whose run is
        there is not built, nor one that is `lost`.
    """
    if not models:
        raise UsageError("a comparison needs at least one model")
    twice = {name for name in models if models.count(name) > 1}
    if twice:
        raise UsageError(f"{', '.join(sorted(twice))} is named twice")
    whole: dict[str, dict[str, Any] | Exception] = {}
    for name in models:
        given = dict(keywords.get(name, {}))
        if name in lost or (_place(folder, name) / RUN).is_file():
            whole[name] = given
            continue
        try:
            built = registry.build(name, data.spec, given, copies=TRAINED)
            check_room(built, data.train, Options(**{**registry.preset(name), **options}))
            whole[name] = built.keywords
        except ResourceError as error:
            whole[name] = MissingCapability(str(error))
        except Exception as error:
            # a fault of one model is its row; a mistake of the user's is told before training
            if isinstance(error, SimulacraError) and not isinstance(error, MissingCapability):
                raise
            whole[name] = error
    stray = set(keywords) - set(models)
    if stray:
        raise UsageError(
            f"--set names {', '.join(sorted(stray))}, which is not compared: write model.key=value"
        )
    return whole


def _place(folder: Path, name: str) -> Path:
    return folder / name.replace("/", "_").replace(":", "_")


def _run(
    folder: Path,
    name: str,
    data: Dataset,
    options: Mapping[str, Any],
    keywords: dict[str, Any] | Exception,
    budget: Budget,
) -> Run:
    """The run of a model: the one that is there, or a new one.

    Raises:
        MissingCapability: If the model cannot take the data; or whatever it could not be built for.
    """
    if isinstance(keywords, Exception):
        raise keywords
    place = _place(folder, name)
    if (place / RUN).is_file():
        return Run.open(place)
    chosen = Options(**{**registry.preset(name), **options})
    return Run.of(place, model=name, keywords=keywords, data=data, options=chosen, budget=budget)
