"""The live lines of trainings under way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from simulacra.cli.terminal import errors, note

if TYPE_CHECKING:
    from simulacra.data.dataset import Dataset
    from simulacra.judging.results import Entry
    from simulacra.training.loop import Training
    from simulacra.training.plan import Record


class TrainingDisplay:
    """A live line for each model in training: bar, steps, loss, validation, time left.

    Args:
        names: The models, in order.
        data: That they learn from, which say in what unit validation is shown.
    """

    def __init__(self, names: Sequence[str], data: Dataset) -> None:
        self.shown_as, self.unit = _shown_as(data), _unit(data)
        self.progress = Progress(
            TextColumn("{task.fields[name]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=errors,
        )
        width = max(map(len, names))
        self.tasks: dict[str, TaskID] = {
            name: self.progress.add_task(
                name, name=name.ljust(width), state="waiting", start=False, total=None
            )
            for name in names
        }
        # in a log file, a line when a model starts and one when it is done
        self.live = Live(self.progress, console=errors, refresh_per_second=4)
        self.shown = errors.is_terminal
        self.validation: dict[str, float] = {}
        self.trainings: dict[str, Training] = {}
        self.kind: dict[str, str] = {}
        self.stage: dict[str, int] = {}

    def __enter__(self) -> TrainingDisplay:
        if self.shown:
            self.live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.shown:
            self.live.__exit__(kind, error, trace)

    def calibrating(self, model: str) -> None:
        """The first steps are being timed."""
        self.progress.update(self.tasks[model], state="preparing")

    def on_start(self, model: str, training: Training) -> None:
        """See `compare.Watcher`."""
        self.trainings[model] = training
        self.kind[model] = _kind(training)
        task, done = self.tasks[model], training.progress.step
        state = f"{done}/{training.plan.steps} {self.kind[model]}"
        self.progress.update(task, total=training.plan.steps, completed=done, state=state)
        self.progress.start_task(task)
        self.stage[model] = training.progress.stage
        self._begins(model, done)

    def _begins(self, model: str, done: int) -> None:
        """In a log, a line when a training or a stage of it begins."""
        training = self.trainings[model]
        if not self.shown:
            plan = training.plan
            done -= plan.start
            since = f", {done} of them done" if done else ""
            stage = f"stage {training.stage.name}: " if len(training.stages) > 1 else ""
            note(f"{model}: {stage}{plan.length} {self.kind[model]} to do{since}")

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
        # a plan may be counted again
        steps = training.plan.steps
        state = f"{record.step:>{len(str(steps))}}/{steps} {self.kind[model]}"
        if len(training.stages) > 1:
            state = f"{training.stages[record.stage].name}  {state}"
        if model in self.validation:
            value, unit = self.validation[model], ""
            if training.in_nats(record.stage):
                value, unit = self.shown_as(value), f" {self.unit}"
            state += f"  validation {value:.3f}{unit}"
        else:
            losses = [f"{k.removesuffix('/loss')} {v:.3g}" for k, v in record.losses.items()
                      if k.endswith("loss")]  # fmt: skip
            state += "  " + ", ".join(losses)
        if record.skipped:
            state += f"  {record.skipped} skipped"
        self.progress.update(self.tasks[model], total=steps, completed=record.step, state=state)

    def on_judge(self, model: str) -> None:
        """See `compare.Watcher`."""
        task = self.progress.tasks[self.tasks[model]]
        self.progress.update(self.tasks[model], state=f"{task.fields['state']}  measuring")

    def on_done(self, model: str, entry: Entry) -> None:
        """See `compare.Watcher`."""
        task = self.progress.tasks[self.tasks[model]]
        state = str(task.fields["state"]).removesuffix("  measuring")
        if entry.failed:
            state = "failed"
        self.progress.update(
            self.tasks[model], completed=task.completed, total=task.completed or 1, state=state
        )
        self.progress.stop_task(self.tasks[model])
        if not self.shown:
            note(f"{model}: {state}")


def _kind(training: Training) -> str:
    return "sweeps" if all(stage.by_sweeps for stage in training.stages) else "steps"


def _shown_as(found: Dataset) -> Callable[[float], float]:
    """What turns mean nats per observation into the figure that is shown, in `_unit`."""
    from simulacra.judging.figures.likelihood import bits_per_dim, valid_dims

    dims = valid_dims(found.validation)
    return lambda nats: bits_per_dim(nats, found.spec, dims)


def _unit(found: Dataset) -> str:
    if found.spec.levels is None:
        return "nats"
    return "bits/dim" if found.spec.rate is None else "bits/valid sample"
