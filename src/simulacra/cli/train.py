"""Commands that train: train, resume, compare."""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from simulacra.cli import terminal
from simulacra.cli.flags import (
    RUNS,
    Code,
    DataFlags,
    Json,
    Length,
    Set,
    TrainingFlags,
    Whole,
    check_positive,
    given,
    load,
    new_folder,
    open_run,
    run_folder,
)
from simulacra.cli.stopping import stopping
from simulacra.cli.training_display import TrainingDisplay
from simulacra.ground import processes
from simulacra.ground.errors import UsageError
from simulacra.models import registry
from simulacra.models.keywords import parse_assignments
from simulacra.training.options import Budget, Options

if TYPE_CHECKING:
    from simulacra.data.dataset import Dataset
    from simulacra.runs.run import Run

COMPARED = ("gmm", "vae", "pixelcnn", "gan", "nice")
"""One model of each family."""


def train(
    model: str,
    source: Annotated[str, Parameter(name="DATA")],
    /,
    *,
    budget: Length = "60s",
    out: Path | None = None,
    set_: Set = [],  # noqa: B006 (read only)
    tensorboard: bool = False,
    flags: DataFlags = DataFlags(),
    training: TrainingFlags = TrainingFlags(),
) -> None:
    """Train a model on data, into a run folder.

    Started by torchrun (torchrun --nproc-per-node 2 -m simulacra train …), all processes train
    one model together, each its share of the --accumulate batches of a step.

    Args:
        model: Its name (see: simulacra models), or my.py:MyModel.
        source: A data set's name (see: simulacra data), or a path.
        budget: How long: 90s, 5m, 2000steps or 10epochs.
        out: The run folder, which must not exist; runs/MODEL-DATA by default.
        set_: A keyword of the model (see: simulacra models MODEL); repeat it for more.
        tensorboard: Write files for TensorBoard too, into RUN/tensorboard.
        flags: How the data are read.
        training: How to train.
    """
    from simulacra.runs.run import Run
    from simulacra.training.engine import check_shared, make_fabric, together

    keywords, length = parse_assignments(set_), Budget.parse(budget)
    found_model = registry.find(model)
    found = load(source, flags)
    chosen = Options(**{**registry.preset(model), **given(training)})
    name = re.sub(r"[^\w.-]+", "-", f"{Path(model.partition(':')[0]).stem}-{found.name}")
    fabric = make_fabric(chosen)  # a device that is not there, before there is a folder
    if "accumulate" not in given(training):
        # a batch for each process
        whole = math.ceil(chosen.accumulate / fabric.world_size) * fabric.world_size
        chosen = replace(chosen, accumulate=whole)
    elif found_model.turns:
        check_shared(chosen, fabric.world_size)
    with together():
        folder = fabric.broadcast(out if out is not None else new_folder(RUNS, name))
    run = Run.create(
        folder, model=model, keywords=keywords, data=found, options=chosen, budget=length
    )
    _go_on(run, found, code=model, tensorboard=tensorboard)


def resume(
    run: Path,
    /,
    *,
    data_dir: Path | None = None,
    code: Code = None,
    tensorboard: bool = False,
    json: Json = False,
) -> None:
    """Go on with a training, or a comparison, that was stopped.

    Args:
        run: A run's name below runs/, or the folder of a run or comparison.
        data_dir: Folder that holds the data's files, if it moved.
        code: file.py:Class of a model of your own.
        tensorboard: Write files for TensorBoard too, into RUN/tensorboard.
        json: Print JSON, of a comparison.
    """
    from simulacra.comparing.compare import RECORD, recorded
    from simulacra.data.catalogue import load

    folder = run_folder(run)
    if (folder / RECORD).is_file():
        _alone()
        asked = recorded(folder)
        for name in asked["models"]:
            if registry.allowed_name(name, code) != name:
                raise UsageError(f"{folder} compares {name!r}, got --code {code}: pass that")
        read = asked.pop("data") | ({"data_dir": str(data_dir)} if data_dir else {})
        _compare(load(**read), folder, **asked, json=json)
        return
    opened = open_run(run)
    registry.allowed_name(opened.record["model"], code)
    found = opened.dataset(str(data_dir) if data_dir else None)
    _go_on(opened, found, code=code, tensorboard=tensorboard)


def _go_on(run: Run, found: Dataset, *, code: str | None, tensorboard: bool) -> None:
    name, folder = run.record["model"], shlex.quote(str(run.folder))
    own = "" if name in registry.MODELS else f" --code {shlex.quote(str(code))}"
    terminal.note(f"{name} on {found.name}, into {run.folder}")
    scale = _nats_per_bit(found)
    with stopping() as stop:
        with TrainingDisplay([name], scale, _unit(found)) as display:
            display.calibrating(name)

            def on_start(training: Any, broken: list[str]) -> None:  # noqa: ANN401
                for line in broken:
                    terminal.note(f"{line}; the one before it is used")
                display.on_start(name, training)

            outcome = run.train(
                found,
                code=code,
                on_start=on_start,
                on_record=lambda record: display.on_record(name, record),
                should_stop=lambda: stop.number is not None,
                tensorboard=tensorboard,
            )
        kind = display.kind[name]
        if not outcome.finished:
            terminal.note(
                f"stopped after {outcome.steps} {kind} and saved; go on with: "
                f"simulacra resume {folder}{own}"
            )
            stop.leave()
    terminal.note(
        f"done: {outcome.steps} {kind} in {outcome.seconds:.1f} s; next: "
        f"simulacra sample {folder}{own}, simulacra evaluate {folder}{own}"
    )


def compare(
    source: Annotated[str, Parameter(name="DATA")],
    /,
    *,
    models: str = ",".join(COMPARED),
    budget: Length = "40s",
    out: Path | None = None,
    set_: Set = [],  # noqa: B006 (read only)
    draws: Whole = 64,
    flags: DataFlags = DataFlags(),
    training: TrainingFlags = TrainingFlags(),
    json: Json = False,
) -> None:
    """Train several models on the same data under one budget, and write a report.

    Args:
        source: A data set's name, or a path.
        models: Their names, with commas between.
        budget: Of each model: 90s, 5m, 2000steps or 10epochs.
        out: Folder of the report and the runs, which must not exist; compare/DATA by default.
        set_: A keyword of one model, as MODEL.KEY=VALUE; repeat it for more.
        draws: Importance draws of the bounds on likelihood.
        flags: How the data are read.
        training: How to train.
        json: Print JSON.
    """
    from simulacra.training.engine import make_fabric

    names = [name.strip() for name in models.split(",") if name.strip()]
    keywords: dict[str, dict[str, str]] = {}
    for assignment in set_:
        model, dot, rest = assignment.partition(".")
        if not dot or "=" in model:
            raise UsageError(f"compare takes --set MODEL.KEY=VALUE, got {assignment!r}")
        keywords.setdefault(model, {}).update(parse_assignments([rest]))
    length = Budget.parse(budget)
    _alone()
    check_positive(draws=draws)
    if not names:
        raise UsageError(f"--models names no model, got {models!r}: write --models gmm,vae")
    for name in names:
        registry.find(name)
    make_fabric(Options(**given(training)))
    found = load(source, flags)
    folder = out if out is not None else new_folder(Path("compare"), found.name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists already: choose another --out, or resume it")
    _compare(found, folder, names, length, given(training), keywords, draws, json=json)


def _nats_per_bit(found: Dataset) -> float:
    """What turns nats per observation into bits per value; 0 for vectors, whose nats stay nats."""
    from simulacra.judging.figures.likelihood import valid_dims

    return valid_dims(found.validation) * math.log(2) if found.spec.levels else 0.0


def _unit(found: Dataset) -> str:
    return "bits/dim" if found.spec.rate is None else "bits/valid sample"


def _alone() -> None:
    if processes.count() > 1:
        raise UsageError(
            "compare trains its models one after another in one process: start it without "
            "torchrun, or train them with `torchrun … -m simulacra train`"
        )


def _compare(
    found: Dataset,
    folder: Path,
    models: list[str],
    budget: Budget,
    options: dict[str, Any],
    keywords: dict[str, dict[str, Any]],
    draws: int,
    *,
    json: bool = False,
) -> None:
    from simulacra.comparing.compare import REPORT
    from simulacra.comparing.compare import compare as run_comparison

    scale = _nats_per_bit(found)
    own = [f" --code {shlex.quote(name)}" for name in models if name not in registry.MODELS]
    again = shlex.quote(str(folder)) + "".join(own)
    terminal.note(f"{', '.join(models)} on {found.name}, {budget} each, into {folder}")
    with stopping() as stop:
        with TrainingDisplay(models, scale, _unit(found)) as display:
            results = run_comparison(
                found,
                models,
                folder=folder,
                budget=budget,
                options=options,
                keywords=keywords,
                draws=draws,
                watcher=display,
                should_stop=lambda: stop.number is not None,
            )
        if results["stopped"]:
            terminal.note(f"stopped and saved; go on with: simulacra resume {again}")
            stop.leave()
    if json:
        terminal.print_json(results)
    else:
        terminal.print_results(results)
    terminal.note(f"report: {folder / REPORT}")
    lost = {m["model"]: m.get("failed") or m.get("left_out") for m in results["models"]}
    if all(lost.values()):
        told = "; ".join(f"{name} ({why})" for name, why in lost.items())
        raise UsageError(f"no model could be trained: {told}")
