"""What the command line shows: tables, a live line of training, errors."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simulacra.cli.plain import plain
from simulacra.ground import processes

if TYPE_CHECKING:
    from simulacra.judging.results import Results
    from simulacra.report.cells import Rows


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Called while a `BrokenPipeError` is handled, which `app.main` sees to."""
        raise


# of the processes of one training, the first one shows what all do
console = _Console(quiet=not processes.first())
errors = Console(stderr=True, quiet=not processes.first())


def print_json(value: Any) -> None:  # noqa: ANN401 (any JSON value)
    """JSON alone on standard output, for another program; what is not finite becomes null."""
    escaped = not console.encoding.startswith("utf")
    sys.stdout.write(json.dumps(_finite(value), indent=2, ensure_ascii=escaped) + "\n")
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
    """Words, broken where the terminal ends; in a file or a pipe they stay on one line."""
    text = plain(text, console.encoding)
    if console.is_terminal:
        _print_broken(text, indent)
    else:
        console.print(Text(" " * indent + text), soft_wrap=True)


def _print_broken(text: str, indent: int) -> None:
    for line in Text(text or " ").wrap(console, max(1, console.width - indent)):
        console.print(Text(" " * indent) + line)


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
    rows = [{h: plain(cell, console.encoding) for h, cell in row.items()} for row in rows]
    headings = list(rows[0])
    kept = [heading for heading in headings if heading not in words]
    broken = {heading: plain(heading, console.encoding) for heading in headings}
    if _width(rows, kept, broken) > console.width:
        # an arrow stays with what it points to, a bar with what it stands behind
        parts = {heading: re.sub(r"(?<![→>]) (?![|↑↓])", "\n", heading) for heading in right}
        broken |= {heading: plain(text, console.encoding) for heading, text in parts.items()}
    taken = _width(rows, kept, broken)
    room = console.width - taken - len(words)
    widths = {h: min(_width(rows, [h], broken), max(_WORDS, _longest_word(rows, h))) for h in words}
    if sum(widths.values()) <= room:
        _widen(widths, {h: _width(rows, [h], broken) for h in words}, room)
        for line in _lines(_table(rows, headings, broken, right, widths)):
            console.print(line)
    elif taken <= console.width:
        lines = _lines(_table(rows, kept, broken, right, {}))
        above = len(lines) - len(rows)
        for number, line in enumerate(lines):
            console.print(line)
            if number >= above:
                for heading in words:
                    _print_broken(rows[number - above][heading], indent=2)
    else:
        for row in rows:
            first, *others = row.items()
            _print_broken(first[1], 0)
            for heading, cell in others:
                _print_broken(f"{plain(heading, console.encoding)}: {cell}", indent=2)


_WORDS = 18
"""A column of words is at least so wide, or as wide as its longest cell."""

_LONG = 30
"""A word of more is broken, as a path may be."""


def _longest_word(rows: Sequence[Mapping[str, str]], heading: str) -> int:
    return min(_LONG, max(cell_len(w) for row in rows for w in (row[heading].split() or [""])))


def _widen(widths: dict[str, int], wanted: Mapping[str, int], room: int) -> None:
    """Give columns what room is left, to the narrowest first, up to what they want."""
    while sum(widths.values()) < room:
        narrow = [heading for heading in widths if widths[heading] < wanted[heading]]
        if not narrow:
            return
        widths[min(narrow, key=widths.__getitem__)] += 1


def _lines(table: Table) -> list[Text]:
    """The lines of a table without blanks at their ends."""
    lines = []
    for parts in console.render_lines(table, pad=False):
        line = Text.assemble(*((part.text, part.style or "") for part in parts))
        line.rstrip()
        lines.append(line)
    return lines


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
    words: Mapping[str, int],
) -> Table:
    """A table of some columns; those of words are as wide as is said."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold",
                  show_header=any(h.strip() for h in headings))  # fmt: skip
    for heading in headings:
        table.add_column(
            Text(broken[heading]),
            justify="right" if heading in right else "left",
            vertical="top" if words else "bottom",
            no_wrap=heading not in words,
            width=words.get(heading),
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(row[heading]) for heading in headings))
    return table


def print_figures(rows: Rows) -> None:
    """The rows of a report's table, without what only its page has room for.

    Why a model failed or was left out is a sentence, which the verdict has.
    """
    from simulacra.report.tables import DISTANCE, SEEN

    left_out = ("family", "can", DISTANCE)
    # as in `runs`: the whole heading is wider than a terminal has room for
    shown = [
        {"seen" if h == SEEN else h: replace(cell, why="")
         for h, cell in row.items() if h not in left_out}
        for row in rows
    ]  # fmt: skip
    _print_right(shown)


def _print_right(rows: Rows) -> None:
    """A table whose columns behind the first are figures."""
    shown = [{heading: str(cell) for heading, cell in row.items()} for row in rows]
    print_table(shown, right=[heading for row in rows[:1] for heading in list(row)[1:]])


def print_results(results: Results) -> None:
    """What was measured: the main table, the samples' figures, the answer in words."""
    from simulacra.report import ranking, warned
    from simulacra.report.code_tables import level_table
    from simulacra.report.short import (
        class_lines,
        code_figures,
        codebook_figures,
        detail_figures,
        sample_figures,
    )
    from simulacra.report.sound_tables import predictor_line
    from simulacra.report.tables import table
    from simulacra.report.verdict import verdict
    from simulacra.report.verification_tables import (
        not_verified,
        verification_said,
        verification_table,
    )

    if not ranking.foreign(results):
        print_figures(table(results))
        if fewer := ranking.observed(results):
            print_line(f"Likelihood on {fewer} test observations")
        if simple := predictor_line(results):
            print_line(simple)
        print_line("")
    if samples := sample_figures(results):
        seen, real = results.views[0], results.references.real
        against = f"{real.count} against as many real ones, " if real else ""
        print_line(f"Samples, {against}seen by {seen.extractor}, {seen.width} wide")
        _print_right(samples)
        print_line("")
    if details := detail_figures(results):
        baseline = results.baseline_classifier
        found = f"{100 * baseline.accuracy.value:.1f} %" if baseline else ""
        print_line(f"Overfitting and labels{f'; baseline accuracy {found}' if found else ''}")
        _print_right(details)
        print_line("")
    if classes := class_lines(results):
        for line in classes:
            print_line(line)
        print_line("")
    if codes := code_figures(results):
        print_line(
            "What codes cost: −log p by the ELBO is distortion + rate; by IWAE, of k codes each"
        )
        _print_right(codes)
        print_line("")
    if levels := level_table(results):
        print_line("What each level of a code costs, the highest first")
        _print_right(levels)
        print_line("")
    if codebooks := codebook_figures(results):
        print_line("What codebooks cost: rate + distortion, which is no likelihood")
        _print_right(codebooks)
        print_line("")
    if verified := verification_table(results):
        print_line(f"Verification: {verification_said(results)}")
        _print_right(verified)
        print_line("")
    print_line(verdict(results))
    for doubt in results.doubts:
        note(doubt)
    warnings = [*warned.of_models(results), *warned.of_samples(results), *not_verified(results)]
    for name, warning in warnings:
        note(f"{name}: {warning}" if name else warning)


def printable(message: str) -> str:
    """A message on one line that a terminal can show, and that does nothing else to it.

    Names of files, arrays and keywords may hold what moves the cursor or turns the text around;
    that is shown by its number.
    """
    line = " ".join(message.split())
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}"
    return _harmless(line)


def _harmless(line: str) -> str:
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line
    )
    return plain(shown, errors.encoding)


_LONGEST = 4000
"""Characters of a message; more would bury what is wrong."""


def note(text: str) -> None:
    """A line beside the results: on standard error, so that `--json` stays JSON.

    It is never broken, for commands in it are there to be copied.
    """
    errors.print(Text(printable(text)), soft_wrap=True)


def row(text: str) -> None:
    """As `note`, of a line whose parts stand below those of another: their distances stay."""
    errors.print(Text(_harmless(text)), soft_wrap=True)


def fail(message: str) -> None:
    """One line that says what was expected, what came, and what to do."""
    who = f"process {processes.rank()}: " if processes.count() > 1 else ""
    line = Text.assemble(("error: ", "bold red"), who + printable(message))
    Console(stderr=True).print(line, soft_wrap=True)
