"""What the command line shows: tables, a live line of training, errors."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from simulacra import processes

if TYPE_CHECKING:
    from simulacra.progress import Record
    from simulacra.train import Training


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Called while a `BrokenPipeError` is handled, which `app.main` sees to."""
        raise


# of the processes of one training, the first one shows what all do
console = _Console(quiet=not processes.first())
errors = Console(stderr=True, quiet=not processes.first())


def print_json(value: Any) -> None:  # noqa: ANN401 (any JSON value)
    """JSON alone on standard output, for another program; what is not finite becomes null."""
    sys.stdout.write(json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _finite(value: Any) -> Any:  # noqa: ANN401 (any JSON value)
    """JSON has no NaN and no infinity, and most readers refuse them."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


def print_line(text: str, indent: int = 0) -> None:
    """Words, broken where the terminal ends."""
    console.print(Padding(Text(text or " "), (0, 0, 0, indent), expand=False))


def print_table(
    rows: Sequence[Mapping[str, str]], *, right: Sequence[str] = (), words: Sequence[str] = ()
) -> None:
    """Rows under their headings, in a form that loses nothing where the terminal is narrow.

    What does not fit beside the other columns stands below its row, and where even those do not
    fit, every cell stands on a line of its own.

    Args:
        rows: All with the same headings.
        right: Headings of columns of figures.
        words: Headings of columns of words, whose cells may be broken.
    """
    if not rows:
        return
    headings = list(rows[0])
    kept = [heading for heading in headings if heading not in words]
    broken = {heading: heading for heading in headings}
    if _width(rows, kept, broken) > console.width:
        # an arrow stays with what it points to, a bar with what it stands behind
        broken |= {heading: re.sub(r"(?<![→>]) (?![|↑↓])", "\n", heading) for heading in right}
    taken = _width(rows, kept, broken)
    shortest = (min(_WORDS, _width(rows, [h], broken)) + 1 for h in words)
    if taken + sum(shortest) <= console.width:
        console.print(_table(rows, headings, broken, right, words))
    elif taken <= console.width:
        lines = console.render_lines(_table(rows, kept, broken, right, ()), pad=False)
        above = len(lines) - len(rows)
        for number, line in enumerate(lines):
            console.print(Text.assemble(*((part.text, part.style or "") for part in line)))
            if number >= above:
                for heading in words:
                    print_line(rows[number - above][heading], indent=2)
    else:
        for row in rows:
            first, *others = row.items()
            print_line(first[1])
            for heading, cell in others:
                print_line(f"{heading}: {cell}", indent=2)


_WORDS = 18
"""A column of words is at least so wide, or as wide as its longest cell."""


def _width(
    rows: Sequence[Mapping[str, str]], headings: Sequence[str], broken: Mapping[str, str]
) -> int:
    """How wide a table of some columns is, a space between them."""
    widths = [
        max(*(cell_len(line) for line in broken[heading].split("\n")),
            *(cell_len(row[heading]) for row in rows))
        for heading in headings
    ]  # fmt: skip
    return sum(widths) + len(widths) - 1


def _table(
    rows: Sequence[Mapping[str, str]],
    headings: Sequence[str],
    broken: Mapping[str, str],
    right: Sequence[str],
    words: Sequence[str],
) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold",
                  show_header=any(h.strip() for h in headings))  # fmt: skip
    for heading in headings:
        table.add_column(
            Text(broken[heading]),
            justify="right" if heading in right else "left",
            vertical="top" if words else "bottom",
            no_wrap=heading not in words,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(row[heading]) for heading in headings))
    return table


def print_figures(rows: Sequence[Mapping[str, str]]) -> None:
    """The rows of a report's table, without what only its page has room for.

    Why a model failed or was left out is a sentence, which the verdict has.
    """
    from simulacra.report.tables import DISTANCE

    left_out = ("family", "can", DISTANCE)
    shown = [
        {
            heading: text.partition(": ")[0]
            if text.startswith(("failed: ", "left out: "))
            else text
            for heading, text in row.items()
            if heading not in left_out
        }
        for row in rows
    ]
    _print_right(shown)


def _print_right(rows: Sequence[Mapping[str, str]]) -> None:
    """A table whose columns behind the first are figures."""
    print_table(rows, right=[heading for row in rows[:1] for heading in list(row)[1:]])


def print_results(results: Mapping[str, Any]) -> None:
    """What was measured: the main table, the samples' figures, the answer in words."""
    from simulacra.report import ranking, warned
    from simulacra.report.short import detail_figures, sample_figures
    from simulacra.report.tables import table
    from simulacra.report.verdict import verdict

    if not ranking.foreign(results):
        print_figures(table(results))
        if fewer := ranking.observed(results):
            print_line(f"Likelihood on {fewer} test observations")
        print_line("")
    if samples := sample_figures(results):
        seen, count = results["views"][0], results["references"]["real"]["count"]
        by = f"seen by {seen['extractor']}, {seen['width']} wide"
        print_line(f"Samples, {count} against as many real ones, {by}")
        _print_right(samples)
        print_line("")
    if details := detail_figures(results):
        accuracy = (results.get("baseline_classifier") or {}).get("accuracy")
        beside = f"; baseline accuracy {100 * accuracy['value']:.1f} %" if accuracy else ""
        print_line(f"Overfitting and labels{beside}")
        _print_right(details)
        print_line("")
    print_line(verdict(results))
    for doubt in results.get("doubts") or []:
        note(doubt)
    for name, warning in [*warned.of_models(results), *warned.of_samples(results)]:
        note(f"{name}: {warning}" if name else warning)


def printable(message: str) -> str:
    """A message on one line that a terminal can show, and that does nothing else to it.

    Names of files, arrays and keywords may hold what moves the cursor or turns the text around;
    that is shown by its number.
    """
    line = " ".join(message.split())
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}"
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line
    )


_LONGEST = 4000
"""Characters of a message; more would bury what is wrong."""


def note(text: str) -> None:
    """A line beside the results: on standard error, so that `--json` stays JSON.

    It is never broken, for commands in it are there to be copied.
    """
    errors.print(Text(printable(text)), soft_wrap=True)


def fail(message: str) -> None:
    """One line that says what was expected, what came, and what to do."""
    who = f"process {processes.rank()}: " if processes.count() > 1 else ""
    line = Text.assemble(("error: ", "bold red"), who + printable(message))
    Console(stderr=True).print(line, soft_wrap=True)


class TrainingDisplay:
    """A live line for each model in training: bar, steps, loss, validation, time left.

    Args:
        names: The models, in order.
        nats_per_bit: Dimensions times log 2, for validation in bits per dimension; 0 shows nats.
        unit: What those bits are of.
    """

    def __init__(self, names: Sequence[str], nats_per_bit: float, unit: str = "bits/dim") -> None:
        self.nats_per_bit, self.unit = nats_per_bit, unit
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
        self.kind[model] = "steps" if training.turns else "sweeps"
        task, done = self.tasks[model], training.progress.step
        state = f"{done}/{training.plan.steps} {self.kind[model]}"
        self.progress.update(task, total=training.plan.steps, completed=done, state=state)
        self.progress.start_task(task)
        if not self.shown:
            since = f", {done} of them done" if done else ""
            note(f"{model}: {training.plan.steps} {self.kind[model]} to do{since}")

    def on_record(self, model: str, record: Record) -> None:
        """See `compare.Watcher`."""
        if record.validation is not None:
            self.validation[model] = record.validation
        # a plan may be counted again
        steps = self.trainings[model].plan.steps
        state = f"{record.step:>{len(str(steps))}}/{steps} {self.kind[model]}"
        if model in self.validation:
            value, unit = self.validation[model], "nats"
            if self.nats_per_bit:
                value, unit = value / self.nats_per_bit, self.unit
            state += f"  validation {value:.3f} {unit}"
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

    def on_done(self, model: str, entry: Mapping[str, Any]) -> None:
        """See `compare.Watcher`."""
        task = self.progress.tasks[self.tasks[model]]
        state = str(task.fields["state"]).removesuffix("  measuring")
        if entry.get("failed"):
            state = "failed"
        self.progress.update(
            self.tasks[model], completed=task.completed, total=task.completed or 1, state=state
        )
        self.progress.stop_task(self.tasks[model])
        if not self.shown:
            note(f"{model}: {state}")
