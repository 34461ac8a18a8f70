"""The live lines of trainings under way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from simulacra.cli.standing import (
    Columns,
    balance_of,
    counted,
    line_cells,
    losses_of,
    of_steps,
    parts_of,
    plan_of,
    seconds_left,
    sentence,
    span,
    steps_of,
)
from simulacra.cli.terminal import errors, note, row
from simulacra.cli.waiting import EVERY, Waiting
from simulacra.training.progress import INVERTS_WITHIN, Outcome

if TYPE_CHECKING:
    from simulacra.data.dataset import Dataset
    from simulacra.judging.results import Entry
    from simulacra.training.loop import Training
    from simulacra.training.progress import Record


class TrainingDisplay:
    """A live line for each model in training: bar, steps, loss, validation, time left.

    Args:
        names: The models, in order.
        data: That they learn from, which say in what unit validation is shown.
        clock: Seconds, from any moment on.
    """

    def __init__(
        self, names: Sequence[str], data: Dataset, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock, self.waiting, self.columns = clock, Waiting(clock), Columns()
        self.shown_as, self.unit = shown_as(data), unit_of(data)
        self.progress = Progress(
            TextColumn("{task.fields[name]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=errors,
        )
        self.width = width = max(map(len, names))
        self.tasks: dict[str, TaskID] = {
            name: self.progress.add_task(
                name, name=name.ljust(width), state="waiting", start=False, total=None
            )
            for name in names
        }
        # in a log file, a line when a model starts, one now and then, and one when it is done
        self.live = Live(self.progress, console=errors, refresh_per_second=4)
        self.shown = errors.is_terminal
        self.validation: dict[str, float] = {}
        self.trainings: dict[str, Training] = {}
        self.kind: dict[str, str] = {}
        # the largest inverse error that was told of each model
        self.told_error: dict[str, float] = {}
        self.stage: dict[str, int] = {}
        # when a line was last written, and the step and seconds of the training then
        self.told_at: dict[str, tuple[float, int, float]] = {}

    def __enter__(self) -> TrainingDisplay:
        if self.shown:
            self.live.__enter__()
        else:
            self.waiting.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.shown:
            self.live.__exit__(kind, error, trace)
        else:
            self.waiting.__exit__(kind, error, trace)

    def told(self, what: str) -> None:
        """What is measured now: see `compare`."""
        if not self.shown:
            self.waiting.begin(what)

    def calibrating(self, model: str) -> None:
        """The first steps are being timed."""
        self.progress.update(self.tasks[model], state="preparing")

    def on_start(self, model: str, training: Training) -> None:
        """See `compare.Watcher`."""
        self.trainings[model] = training
        self.kind[model] = kind_of(training)
        task, done = self.tasks[model], training.progress.step
        steps = steps_of(training)
        state = f"{of_steps(done, steps)} {self.kind[model]}"
        self.progress.update(task, total=steps, completed=done, state=state)
        self.progress.start_task(task)
        self.stage[model] = training.progress.stage
        self._begins(model, done)

    def _begins(self, model: str, done: int) -> None:
        """In a log, a line when a training or a stage of it begins."""
        training = self.trainings[model]
        if not self.shown:
            plan, progress, kind = plan_of(training), training.progress, self.kind[model]
            done -= plan.start
            stage = f"stage {training.stage.name}: " if len(training.stages) > 1 else ""
            left = seconds_left(training, 0.0)
            # of a stage of one step, the record that tells of it is also its last one
            if Outcome.of(progress, plan).finished and progress.step == plan.start + done:
                note(f"{model}: {stage}{counted(done, kind)} done before, which are all")
            elif left is None:
                since = f", {done} of them done" if done else ""
                note(f"{model}: {stage}{counted(plan.length, kind)} to do{since}")
            else:
                since = f", {counted(done, kind)} done" if done else ""
                note(f"{model}: {stage}{span(left)} to go{since}")
            self.told_at[model] = (self.clock(), progress.step, progress.seconds)

    def on_record(self, model: str, record: Record) -> None:
        """See `compare.Watcher`."""
        training = self.trainings[model]
        if record.stage != self.stage.setdefault(model, record.stage):
            # another stage, another loss
            self.stage[model] = record.stage
            self.validation.pop(model, None)
            self._begins(model, training.plan.start)
        if record.validation is not None:
            self.validation[model] = record.validation
        self._tell_error(model, record)
        for found in record.diagnoses:
            note(f"{model}: {sentence(found, training.model.keywords)}")
        validation = self._validation(model, record)
        if not self.shown:
            self._log(model, record, validation)
        # a plan may be counted again
        steps = steps_of(training)
        state = f"{of_steps(record.step, steps)} {self.kind[model]}"
        if len(training.stages) > 1:
            state = f"{training.stages[record.stage].name}  {state}"
        state += f"  {validation or losses_of(record)}"
        if seen := balance_of(training):
            state += f"  {seen}"
        if errors.width >= _WIDE and (parts := parts_of(training, record)):
            state += f"  {parts}"
        if record.skipped:
            state += f"  {record.skipped} skipped"
        self.progress.update(self.tasks[model], total=steps, completed=record.step, state=state)

    def _tell_error(self, model: str, record: Record) -> None:
        """Name a model that does not invert, and again where it has become ten times worse."""
        error = record.inverse_error
        if error is None or error <= max(INVERTS_WITHIN, 10 * self.told_error.get(model, 0.0)):
            return
        self.told_error[model] = error
        note(
            f"{model}, step {record.step}: held-out observations come back from their codes off "
            f"by {error:.2g}, more than {INVERTS_WITHIN:g}: its samples are not what its "
            "likelihood says; train it with a lower --lr"
        )

    def _validation(self, model: str, record: Record) -> str:
        """The last validation, in words; empty before the first."""
        if model not in self.validation:
            return ""
        in_nats = self.trainings[model].in_nats(record.stage)
        return f"validation {self.in_words(self.validation[model], in_nats=in_nats)}"

    def in_words(self, validation: float, *, in_nats: bool) -> str:
        """A validation in the unit that it is shown in; one that is no likelihood has none."""
        return f"{self.shown_as(validation):.3f} {self.unit}" if in_nats else f"{validation:.3f}"

    def _log(self, model: str, record: Record, validation: str) -> None:
        """In a log, a line every few seconds."""
        now, (then, step, seconds) = self.clock(), self.told_at[model]
        if now - then < EVERY:
            return
        took = record.seconds - seconds
        # none is known where a rollback has taken steps back
        pace = max(0.0, (record.step - step) / took) if took > 0 else 0.0
        self.told_at[model] = (now, record.step, record.seconds)
        cells = line_cells(self.trainings[model], record, pace, validation, self.kind[model])
        row(f"{model + ':':<{self.width + 1}} {self.columns.line(cells)}")

    def on_judge(self, model: str) -> None:
        """See `compare.Watcher`."""
        task = self.progress.tasks[self.tasks[model]]
        self.progress.update(self.tasks[model], state=f"{task.fields['state']}  measuring")

    def on_done(self, model: str, entry: Entry) -> None:
        """See `compare.Watcher`."""
        self.waiting.begin("")
        task = self.progress.tasks[self.tasks[model]]
        state = str(task.fields["state"]).removesuffix("  measuring")
        if entry.absent:
            state = "left out" if entry.left_out else entry.failed_when
        self.progress.update(
            self.tasks[model], completed=task.completed, total=task.completed or 1, state=state
        )
        self.progress.stop_task(self.tasks[model])
        if not self.shown:
            # what was not made has a reason, of any form; else there are columns
            told = note if entry.absent else row
            told(": ".join(filter(None, (model, state, entry.absent))))


_WIDE = 120
"""Columns of a terminal that has room for the parts of a loss."""


def kind_of(training: Training) -> str:
    """What its steps are called."""
    return "sweeps" if all(stage.by_sweeps for stage in training.stages) else "steps"


def shown_as(found: Dataset) -> Callable[[float], float]:
    """What turns mean nats per observation into the figure that is shown, in `unit_of`."""
    from simulacra.judging.figures.likelihood import bits_per_dim, valid_dims

    dims = valid_dims(found.validation)
    return lambda nats: bits_per_dim(nats, found.spec, dims)


def unit_of(found: Dataset) -> str:
    """The unit of what `shown_as` gives."""
    if found.spec.levels is None:
        return "nats"
    return "bits/dim" if found.spec.rate is None else "bits/valid sample"
