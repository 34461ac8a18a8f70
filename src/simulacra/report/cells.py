"""`Cell`: an entry of a table, with what its places are told by: figures and words alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from simulacra.judging.figures.figure import Figure
from simulacra.report.text import NONE, PREFIXES, fixed, number, supported


@dataclass(frozen=True)
class Cell:
    """What stands in a place of a table.

    Args:
        head: The number or the words.
        error: What is quiet beside it: `± 0.02`, `[0.60, 1.02]`.
        mark: What a reader is to see of it: `tie`.
        loud: What must not be overlooked.
        decimals: Digits behind the point of a number, that stands in line with others; `None` of
            words, and of numbers with a unit of their own.
        beside: Whether `error` stands beside the head, as one number with it, and not below.
        reference: Whether it names a row that is no model, but what models are read between.
        why: The rest of the sentence that the head begins, where there are no figures.
    """

    head: str = NONE
    error: str = ""
    mark: str = ""
    loud: str = ""
    decimals: int | None = None
    beside: bool = False
    reference: bool = False
    why: str = ""

    def __str__(self) -> str:
        """In one line, as a terminal shows it."""
        text = f"{self.head}: {self.why}" if self.why else self.head
        text = " ".join(part for part in (text, self.error, self.mark) if part)
        return f"{text}; {self.loud}" if self.loud else text

    @property
    def empty(self) -> bool:
        """Whether nothing is known here."""
        return self == NOTHING

    @property
    def quiet(self) -> bool:
        """Whether the head stands for a figure that is not there."""
        return self.head in (NONE, NO_LIKELIHOOD)

    def but(self, *, mark: str = "", loud: str = "") -> Cell:
        """The cell with a mark, or something loud, beside what it has."""
        return replace(self, mark=mark, loud=loud)


NOTHING = Cell()
NO_LIKELIHOOD = "no likelihood"

Row = dict[str, Cell]
Rows = list[Row]
"""Heading → cell, all rows with the same headings, of which the first names the row."""


def words(text: str | None) -> Cell:
    """Words, if there are any."""
    return Cell(text) if text else NOTHING


def count(value: int | None) -> Cell:
    """A whole number with its thousands set apart."""
    return NOTHING if value is None else Cell(f"{value:,}", decimals=0)


def seconds(value: float | None) -> Cell:
    """A duration to about three digits and never finer than a millisecond."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if 0 < value < 0.001:
        return Cell("<0.001", decimals=3)
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return Cell(f"{value:,.{decimals}f}", decimals=decimals)


def amount(value: float | None, unit: str = "") -> Cell:
    """A quantity to three digits in thousands, millions and so on: `1.23 GFLOP`, `12.3 M`."""
    if value is None or not math.isfinite(value):
        return NOTHING
    power = 0
    # 999.6 has three digits as 1.00 of the next
    while abs(value) >= 999.5 and power < len(PREFIXES) - 1:
        value, power = value / 1000, power + 1
    whole = power == 0 and float(value).is_integer()
    decimals = 0 if whole or abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    text = f"{fixed(value, decimals)} {PREFIXES[power]}{unit}".rstrip()
    return Cell(text, decimals=None if power or unit else decimals)


def small(value: float | None) -> Cell:
    """A number near zero to two digits: `0.031`, `2.1e−7`, `0`."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{value:.2g}"
    exponent = "e" in text
    head = text.replace("e-0", "e-").replace("-", "−")
    return Cell(head, decimals=None if exponent else len(text.partition(".")[2]))


def share(value: float | None, decimals: int) -> Cell:
    """A share as a percentage."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return Cell(f"{fixed(100 * value, decimals)} %", decimals=decimals)


def plain(value: float | None, decimals: int) -> Cell:
    """A number with so many decimals."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return Cell(fixed(value, decimals), decimals=decimals)


def related(sign: str, value: float | None, error: float | None, *, note: str = "") -> Cell:
    """A figure with its relation, standard error and a note: `≤ 2.71 ± 0.02 (k 50)`.

    Args:
        sign: `=`, or that of a bound.
        value: The figure.
        error: Its standard error, to whose digits it is written.
        note: What it rests on, to stand in brackets.
    """
    parts = []
    if value is not None and error is not None and math.isfinite(error) and error > 0:
        parts.append(f"± {number(error, error)}")
    if note:
        parts.append(f"({note})")
    finite = value is not None and math.isfinite(value)
    return Cell(
        f"{sign} {number(value, error)}",
        " ".join(parts),
        decimals=min(6, supported(error)) if finite else None,
        beside=True,
    )


def interval_column(
    figures: Sequence[Figure | None],
    *,
    percent: bool = False,
    sign: bool = False,
    least: int = 0,
    most: int = 4,
) -> list[Cell]:
    """Figures as a column on the same decimals, each with its 95 % interval: `0.81 [0.60, 1.02]`.

    The decimals are those that the narrowest interval of the column supports.

    Args:
        figures: `None` for a row without the figure.
        percent: Shares, written as percentages.
        sign: Differences, written with their sign.
        least: Decimals at least, whatever the intervals support.
        most: Decimals at most; of percentages one.
    """
    scale = 100.0 if percent else 1.0
    widths = [
        scale * (f.high - f.low) / 2
        for f in figures
        if f and math.isfinite(f.value) and f.low is not None and f.high is not None
        and math.isfinite(f.high - f.low) and f.high > f.low
    ]  # fmt: skip
    decimals = max(map(supported, widths)) if widths else 2
    decimals = min(1 if percent else most, max(decimals, least))
    return [_with_interval(f, scale, decimals, sign) for f in figures]


def _with_interval(f: Figure | None, scale: float, decimals: int, sign: bool) -> Cell:
    if not f:
        return NOTHING
    if not math.isfinite(f.value):
        return Cell("not finite")
    text = fixed(scale * f.value, decimals, sign=sign) + (" %" if scale == 100 else "")
    interval = ""
    if f.low is not None and f.high is not None and math.isfinite(f.low) and math.isfinite(f.high):
        ends = (fixed(scale * end, decimals, sign=sign) for end in (f.low, f.high))
        interval = f"[{', '.join(ends)}]"
    return Cell(text, interval, decimals=decimals)


def without_empty(rows: Rows, *, keep: Sequence[str] = ("model",)) -> Rows:
    """The rows without the columns in which nothing is known of any model."""
    empty = {
        h for h in (rows[0] if rows else ())
        if h not in keep and all(row[h].empty for row in rows)
    }  # fmt: skip
    return [{h: cell for h, cell in row.items() if h not in empty} for row in rows]


def in_line(rows: Sequence[Mapping[str, Cell]]) -> list[dict[str, Cell]]:
    """The rows with figure spaces behind numbers, so that decimal points of a column stand in line.

    The first column names the row, and is left as it is.
    """
    aligned = [dict(row) for row in rows]
    for title in list(rows[0])[1:] if rows else ():
        column = [row[title] for row in rows]
        most = max((cell.decimals or 0 for cell in column), default=0)
        for row, cell in zip(aligned, column, strict=True):
            if cell.decimals is not None and cell.decimals < most:
                point = "" if cell.decimals else "\u2008"
                spaces = "\u2007" * (most - cell.decimals)
                row[title] = replace(cell, head=f"{cell.head}{point}{spaces}")
    return aligned
