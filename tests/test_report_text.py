"""Numbers as a report writes them: decimals, units, and the short tables of a terminal."""

from __future__ import annotations

import io
import math
import re

import pytest
from rich.console import Console

from reported import fig, five, full
from simulacra.cli import terminal
from simulacra.report import tables
from simulacra.report.page import cells
from simulacra.report.tables import table
from simulacra.report.text import amount, fixed, interval_column, small


@pytest.mark.parametrize(
    ("figures", "options", "texts"),
    [
        ([fig(12.34, 0.31), fig(812.0, 22.0)], {}, ["12.3 [12.0, 12.7]", "812.0 [790.0, 834.0]"]),
        ([fig(0.5, 0.012), None], {}, ["0.500 [0.488, 0.512]", "–"]),
        ([fig(1.0, 1e-9)], {}, ["1.0000 [1.0000, 1.0000]"]),
        ([fig(-12.345)], {}, ["−12.35"]),
        ([fig(-0.0001, 0.2)], {}, ["0.0 [−0.2, 0.2]"]),
        ([fig(0.0123, 0.008)], {"percent": True}, ["1.2 % [0.4, 2.0]"]),
        ([fig(0.05, 0.03), fig(0, 0.03)], {"sign": True},
         ["+0.05 [+0.02, +0.08]", "0.00 [−0.03, +0.03]"]),
        ([{"value": math.inf, "low": None, "high": None}], {}, ["not finite"]),
        ([{"value": None, "low": None, "high": None}], {}, ["not finite"]),
        ([], {}, []),
    ],
)  # fmt: skip
def test_a_column_of_figures_has_the_same_decimals(figures, options, texts):
    assert interval_column(figures, **options) == texts


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (7, "7"), (53.2, "53.2"), (999.6, "1.00 k"), (123_456, "123 k"), (9_996, "10.0 k"),
     (1.234e9, "1.23 G"), (0.0132, "0.01"), (None, "–"), (math.nan, "–")],
)  # fmt: skip
def test_amounts_have_three_digits(value, text):
    assert amount(value) == text
    assert amount(value, "FLOP") == text if text == "–" else amount(value, "FLOP").endswith("FLOP")


def test_small_numbers_and_zero():
    assert [small(v) for v in (2.13e-7, 0.0812, 0.0, None)] == ["2.1e−7", "0.081", "0", "–"]
    assert fixed(-0.0, 2) == "0.00"


def test_decimal_points_of_a_column_stand_in_line():
    rows = [{"m": "a", "f": "1.25 [1, 2]"}, {"m": "b", "f": "7 [6, 8]"}, {"m": "c", "f": "–"}]
    heads = [row["f"]["head"] for row in cells(rows)]
    assert heads == ["1.25", "7\u2008\u2007\u2007", "–"]
    assert [row["f"]["error"] for row in cells(rows)] == ["[1, 2]", "[6, 8]", ""]


def test_a_terminal_gets_the_first_view_in_short(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=out, width=100))
    rows = tables.sample_figures(full())
    assert list(rows[0]) == ["model", "Fréchet distance", "precision", "recall", "coverage", "C_T"]
    assert [row["model"] for row in rows] == ["real", "pixelcnn", "gmm", "vae", "nice", "gan",
                                              "independent"]  # fmt: skip
    assert {row["model"]: row for row in rows}["gan"]["C_T"] == "−7.40"
    terminal.print_figures(rows)
    assert re.search(r"gan +6\.3 +0\.74 +0\.73 +0\.76 +−7\.40", out.getvalue())
    terminal.print_figures(table(full()))
    assert re.search(r"realnvp +left out +–", out.getvalue())
    terminal.print_figures([])
    assert tables.sample_figures(five()) == []
