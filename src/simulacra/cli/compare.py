"""The command that compares models under one budget."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from simulacra.cli import terminal
from simulacra.cli.flags import (
    DataFlags,
    Json,
    Length,
    Out,
    Set,
    TrainingFlags,
    Whole,
    check_positive,
    given,
    load,
    new_folder,
)
from simulacra.cli.stopping import stopping
from simulacra.cli.training_display import TrainingDisplay
from simulacra.ground import processes
from simulacra.ground.errors import UsageError
from simulacra.ground.locks import is_taken
from simulacra.models import registry
from simulacra.models.keywords import parse_assignments
from simulacra.training.options import Budget, Options

if TYPE_CHECKING:
    from simulacra.data.dataset import Dataset
    from simulacra.ground.spec import DataSpec

COMPARED = (
    ("gmm",), ("vae",), ("pixelcnn", "made"), ("gan",), ("glow", "spline-flow"), ("vdm", "d3pm"),
)  # fmt: skip
"""Of each family the first that takes the data."""


def compare(
    source: Annotated[str, Parameter(name="DATA")],
    /,
    *,
    models: str | None = None,
    budget: Length = "40s",
    out: Out = None,
    set_: Set = [],  # noqa: B006 (read only)
    draws: Whole = 64,
    flags: DataFlags = DataFlags(),
    training: TrainingFlags = TrainingFlags(),
    json: Json = False,
) -> None:
    """Train several models on the same data under one budget, and write a report.

    Args:
        source: A data set's name, or a path.
        models: Their names, with commas between; by default one of each family that takes the data:
            gmm, vae, pixelcnn (or made), gan, glow (or spline-flow), vdm (or d3pm).
        budget: Of each model: 90s, 5m, 1h, 2000steps, 10epochs, 2Mobs or 3Gflops.
        out: Folder of the report and the runs, which must not exist; compare/DATA by default.
        set_: A keyword of one model, as MODEL.KEY=VALUE; repeat it for more.
        draws: Importance draws of the bounds on likelihood.
        flags: How the data are read.
        training: How to train.
        json: Print JSON.
    """
    from simulacra.training.engine import device_of

    # what was asked is looked at before any data are read
    names = None if models is None else [name.strip() for name in models.split(",") if name.strip()]
    keywords: dict[str, dict[str, str]] = {}
    for assignment in set_:
        # a file's name has a dot of its own
        own = next((name for name in names or () if assignment.startswith(f"{name}.")), None)
        model, dot, rest = (
            assignment.partition(".") if own is None else (own, ".", assignment[len(own) + 1 :])
        )
        if not dot or "=" in model:
            raise UsageError(f"compare takes --set MODEL.KEY=VALUE, got {assignment!r}")
        keywords.setdefault(model, {}).update(parse_assignments([rest]))
    length = Budget.parse(budget)
    alone()
    check_positive(draws=draws)
    if names is not None and not names:
        raise UsageError(f"--models names no model, got {models!r}: write --models gmm,vae")
    for name in names or ():
        registry.find(name)
    device_of(Options(**given(training)))
    found = load(source, flags)
    names = usual(found.spec) if names is None else names
    folder = out if out is not None else new_folder(Path("compare"), found.name)
    if is_taken(folder):
        raise UsageError(f"{folder} exists already: choose another --out, or resume it")
    go_on_comparing(found, folder, names, length, given(training), keywords, draws, json=json)


def usual(spec: DataSpec) -> list[str]:
    """One model of each family that takes data of this form."""
    taken = (
        [name for name in family if registry.takes(name).includes(spec)] for family in COMPARED
    )
    return [names[0] for names in taken if names]


def alone() -> None:
    """Refuse to compare in several processes.

    Raises:
        UsageError: If torchrun started them.
    """
    if processes.count() > 1:
        raise UsageError(
            "compare trains its models one after another in one process: start it without "
            "torchrun, or train them with `torchrun … -m simulacra train`"
        )


def go_on_comparing(
    found: Dataset,
    folder: Path,
    models: list[str],
    budget: Budget,
    options: dict[str, Any],
    keywords: dict[str, dict[str, Any]],
    draws: int,
    *,
    json: bool = False,
    retry: bool = False,
) -> None:
    """Compare to the end, or until it is asked to stop, with live lines; print what was found.

    Args:
        found: The data.
        folder: Of the report and the runs, as far as they are.
        models: Their names.
        budget: Of each.
        options: Of training, that the user set.
        keywords: Of the models, by name.
        draws: Importance draws of bounds.
        json: Whether to print JSON.
        retry: Whether to try again what failed before.

    Raises:
        UsageError: If no model could be trained.
    """
    from simulacra.comparing.compare import compare as run_comparison
    from simulacra.report.folder import REPORT

    own = [f" --code {shlex.quote(name)}" for name in models if name not in registry.MODELS]
    again = shlex.quote(str(folder)) + "".join(own)
    terminal.note(f"{', '.join(models)} on {found.name}, {budget} each, into {folder}")
    with stopping() as stop:
        with TrainingDisplay(models, found) as display:
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
                retry=retry,
                told=display.told,
                noted=terminal.note,
            )
        if results.stopped:
            terminal.note(f"stopped and saved; go on with: simulacra resume {again}")
            stop.leave()
    if json:
        terminal.print_json(results.to_json())
    else:
        terminal.print_results(results)
    terminal.note(f"report: {folder / REPORT}")
    if any(m.failed for m in results.models):
        terminal.note(f"try what failed again with: simulacra resume {again} --retry")
    lost = {m.model: m.absent for m in results.models}
    if all(lost.values()):
        told = "; ".join(f"{name} ({why})" for name, why in lost.items())
        raise UsageError(f"no model could be trained: {told}")
