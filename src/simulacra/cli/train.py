"""The command that trains a model."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from simulacra.cli import terminal
from simulacra.cli.flags import (
    RUNS,
    DataFlags,
    Length,
    Out,
    Set,
    StopOn,
    TrainingFlags,
    given,
    load,
    new_folder,
    open_run,
)
from simulacra.cli.standing import counted, sentence
from simulacra.cli.stopping import Stop, stopping
from simulacra.cli.training_display import TrainingDisplay
from simulacra.ground import processes
from simulacra.models import registry
from simulacra.models.keywords import parse_assignments
from simulacra.training.diagnosis import check_names
from simulacra.training.options import Budget, Options

if TYPE_CHECKING:
    from simulacra.data.dataset import Dataset
    from simulacra.models.model import Model
    from simulacra.runs.run import Run
    from simulacra.training.progress import Outcome


def train(
    model: str,
    source: Annotated[str, Parameter(name="DATA")],
    /,
    *,
    budget: Length = "60s",
    out: Out = None,
    set_: Set = [],  # noqa: B006 (read only)
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    tensorboard: bool = False,
    stop_on: StopOn = [],  # noqa: B006 (read only)
    flags: DataFlags = DataFlags(),
    training: TrainingFlags = TrainingFlags(),
) -> None:
    """Train a model on data, into a run folder.

    Started by torchrun (torchrun --nproc-per-node 2 -m simulacra train …), all processes train
    one model together, each its share of the --accumulate batches of a step.

    Args:
        model: Its name (see: simulacra models), or my.py:MyModel.
        source: A data set's name (see: simulacra data), or a path.
        budget: How long: 90s, 5m, 1h, 2000steps, 10epochs, 2Mobs or 3Gflops.
        out: The run folder, which must not exist; runs/MODEL-DATA by default.
        set_: A keyword of the model (see: simulacra models MODEL); repeat it for more.
        from_: A run of the same model, whose weights it begins with; its keywords are the usual
            ones then.
        tensorboard: Write files for TensorBoard too, into RUN/tensorboard.
        stop_on: End when a game is diagnosed so: strong, collapse, oscillation or divergence;
            repeat it for more. The run is kept as it is.
        flags: How the data are read.
        training: How to train.
    """
    from simulacra.runs.run import Run
    from simulacra.training.engine import device_of, make_fabric, together

    keywords, length = parse_assignments(set_), Budget.parse(budget)
    check_names(stop_on)
    found_model = registry.find(model)
    found = load(source, flags)
    chosen = Options(**{**registry.preset(model), **given(training)})
    name = re.sub(r"[^\w.-]+", "-", f"{Path(model.partition(':')[0]).stem}-{found.name}")
    device_of(chosen)  # one that is not there is told before there is a folder
    count = processes.count()
    if "accumulate" not in given(training):
        # a batch for each process
        whole = math.ceil(chosen.accumulate / count) * count
        chosen = replace(chosen, accumulate=whole)
    if chosen.compile and found_model.not_compiled:
        terminal.note(f"--compile is left out: {model} is not compiled, {found_model.not_compiled}")
    folder = out if out is not None else new_folder(RUNS, name)
    if count > 1:
        # another process may have found one more folder there than the first did
        with together():
            folder = make_fabric(chosen).broadcast(folder)
    start = None if from_ is None else open_run(from_)
    run = Run.create(
        folder,
        model=model,
        keywords=keywords,
        data=found,
        options=chosen,
        budget=length,
        start=start,
    )
    if found.spec.context_width and run.record["keywords"].get("context") != "vector":
        terminal.note(f"{model} is told no context vectors: give --set context=vector for that")
    code = registry.own_code(model, keywords)
    leave_if_ended(go_on(run, found, code=code, tensorboard=tensorboard, stop_on=stop_on))


def leave_if_ended(outcome: Outcome) -> None:
    """End the program as a stop does, where a diagnosis ended the training."""
    if outcome.stopped_on:
        Stop().leave()


def go_on(
    run: Run,
    found: Dataset,
    *,
    code: str | None,
    tensorboard: bool,
    longer: Budget | None = None,
    rates: Mapping[str | None, float] = MappingProxyType({}),
    stop_on: Sequence[str] = (),
) -> Outcome:
    """Train a run to its end, or until it is asked to stop, with its live line.

    Args:
        run: As far as it is.
        found: Its data.
        code: file.py:Class of a model of one's own.
        tensorboard: Whether to write files for TensorBoard too.
        longer: How much longer than planned.
        rates: Learning rates of players from here on.
        stop_on: Diagnoses on which it ends.
    """
    from simulacra.report.cells import amount

    name, folder = run.record["model"], shlex.quote(str(run.folder))
    own = "" if code is None or code in registry.MODELS else f" --code {shlex.quote(code)}"
    terminal.note(f"{name} on {found.name}, into {run.folder}")
    with stopping() as stop:
        with TrainingDisplay([name], found) as display:
            display.calibrating(name)

            def on_start(training: Any, notes: list[str]) -> None:  # noqa: ANN401
                for line in notes:
                    terminal.note(line)
                display.on_start(name, training)
                if training.progress.step >= training.plan.steps:
                    terminal.note(f"longer: simulacra resume {folder}{own} --budget +10m")

            outcome = run.train(
                found,
                code=code,
                on_start=on_start,
                on_record=lambda record: display.on_record(name, record),
                should_stop=lambda: stop.number is not None,
                tensorboard=tensorboard,
                longer=longer,
                rates=rates,
                stop_on=stop_on,
            )
        kind = display.kind[name]
        if not outcome.finished:
            terminal.note(
                f"stopped after {counted(outcome.steps, kind)} and saved; go on with: "
                f"simulacra resume {folder}{own}"
            )
            stop.leave()
    # not known of a training that was at its end before anyone counted
    seen = "" if outcome.observations is None else f", {amount(outcome.observations)} observations"
    device = display.trainings[name].fabric.device.type
    threads = f"with {outcome.threads} thread{'s' if outcome.threads != 1 else ''}"
    where = threads if device == "cpu" else f"on {device}"
    why = ", converged" if outcome.converged else ""
    made = f"{counted(outcome.steps, kind)}{seen}"
    terminal.note(f"done: {made} in {outcome.seconds:.1f} s {where}{why}")
    terminal.note(f"seconds: {seconds_by_kind(outcome)}")
    if 2 * outcome.spent.get("compiling", 0.0) > outcome.seconds:
        terminal.note("most of these went into compiling: a longer --budget leaves more for steps")
    if outcome.best is not None:
        best = display.in_words(outcome.best, in_nats=outcome.in_nats)
        terminal.note(f"best validation: {best}")
    for each in outcome.diagnoses:
        terminal.note(f"diagnosed: {sentence(each, run.record['keywords'])}")
    if outcome.stopped_on:
        longer_by = f"simulacra resume {folder}{own} --budget +10m"
        terminal.note(f"ended by --stop-on {outcome.stopped_on}; all the same longer: {longer_by}")
    if processes.first():
        model = run.model(code=code)
        told_of_codes(model, found)
        nexts = (f"simulacra {command} {folder}{own}" for command in what_next(model))
        terminal.note(f"next: {', '.join(nexts)}")
    return outcome


def what_next(model: Model) -> tuple[str, ...]:
    """The commands that a trained model of its kind can be looked at with, the quickest first."""
    from simulacra.models.model import Decoding, Encoding, Sampling

    if isinstance(model, Sampling):
        return "sample", "evaluate"
    both = isinstance(model, Encoding) and isinstance(model, Decoding)
    return ("reconstruct", "evaluate") if both else ("evaluate",)


_LOOKED_AT = 256
"""Validation observations that codes are looked at on, at most."""


def told_of_codes(model: Model, found: Dataset) -> None:
    """What codes cost at a model's best step, and loudly if none of them tells anything.

    Args:
        model: Of any kind; nothing is told of one without a bound over codes, or a codebook.
        found: Whose validation split it is looked at on.
    """
    from simulacra.models.bounded import Bounded
    from simulacra.models.quantised import Quantised

    if isinstance(model, Quantised):
        _told_of_codebook(model, found)
    if not isinstance(model, Bounded):
        return
    from simulacra.judging.figures.codes import bound_terms, collapse, idle

    codes = bound_terms(model.eval(), found.validation, limit=_LOOKED_AT)
    if codes.rate is None or codes.distortion is None or codes.bound is None:
        terminal.note(f"codes: not finite for {codes.non_finite} of {codes.observations}")
        return
    terminal.note(
        f"codes: distortion {codes.distortion.nats:.2f} + rate {codes.rate.nats:.2f} = −ELBO "
        f"{codes.bound.nats:.2f} nats, {codes.active} of {len(codes.units)} units active "
        f"({codes.observations} validation observations)"
    )
    if codes.levels:
        told = ", ".join(f"{level.name} {level.rate.nats:.2f}" for level in codes.levels)
        terminal.note(f"codes: rate in nats, the highest level first: {told}")
    if said := collapse(codes, model.keywords) or idle(codes, model.keywords):
        terminal.note(said)


def _told_of_codebook(model: Model, found: Dataset) -> None:
    """What codes of a codebook cost, and loudly if most of its entries are dead."""
    from simulacra.judging.figures.codebook import codebook_terms, mostly_dead

    codes = codebook_terms(model.eval(), found.validation, limit=_LOOKED_AT)
    if codes.rate is None or codes.distortion is None or codes.total is None:
        terminal.note(f"codes: not finite for {codes.non_finite} of {codes.observations}")
        return
    terminal.note(
        f"codes: distortion {codes.distortion.nats:.2f} + rate {codes.rate.nats:.2f} = "
        f"{codes.total.nats:.2f} nats, which is no likelihood; {codes.used} of {codes.entries} "
        f"entries used, perplexity {codes.perplexity:.1f} ({codes.observations} validation "
        "observations)"
    )
    if said := mostly_dead(codes, model.keywords):
        terminal.note(said)


def seconds_by_kind(outcome: Outcome) -> str:
    """Where the seconds of a training went, the most first; what is next to nothing is left out."""
    spent = sorted(outcome.spent.items(), key=lambda each: -each[1])
    return ", ".join(f"{kind} {each:.1f}" for kind, each in spent if each >= 0.05) or "none"
