"""Numbers as a report writes them: decimals, units, and the short tables of a terminal."""

from __future__ import annotations

import io
import math
import re

import pytest
from rich.console import Console

from reported import fig, five, full, share, texts, typed
from simulacra.cli import terminal
from simulacra.judging.figures.figure import Figure
from simulacra.report import short, tables
from simulacra.report.cells import Cell, amount, in_line, interval_column, small
from simulacra.report.text import fixed


@pytest.mark.parametrize(
    ("figures", "options", "texts"),
    [
        ([fig(12.34, 0.31), fig(812.0, 22.0)], {}, ["12.3 [12.0, 12.7]", "812.0 [790.0, 834.0]"]),
        ([fig(0.5, 0.012), None], {}, ["0.500 [0.488, 0.512]", "–"]),
        ([fig(1.0, 1e-9)], {}, ["1.0000 [1.0000, 1.0000]"]),
        ([fig(-12.345)], {}, ["−12.35"]),
        ([fig(12.0, 3.0), fig(1.5, 2.0)], {"least": 1}, ["12.0 [9.0, 15.0]", "1.5 [−0.5, 3.5]"]),
        ([fig(12.0, 3.0)], {"least": 9}, ["12.0000 [9.0000, 15.0000]"]),
        ([fig(-0.0001, 0.2)], {}, ["0.0 [−0.2, 0.2]"]),
        ([fig(0.0123, 0.008)], {"percent": True}, ["1.2 % [0.4, 2.0]"]),
        ([fig(0.05, 0.03), fig(0, 0.03)], {"sign": True},
         ["+0.05 [+0.02, +0.08]", "0.00 [−0.03, +0.03]"]),
        ([{"value": math.inf, "count": 1}], {}, ["not finite"]),
        ([], {}, []),
    ],
)  # fmt: skip
def test_a_column_of_figures_has_the_same_decimals(figures, options, texts):
    made = [None if each is None else Figure(**each) for each in figures]
    assert list(map(str, interval_column(made, **options))) == texts


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (7, "7"), (53.2, "53.2"), (999.6, "1.00 k"), (123_456, "123 k"), (9_996, "10.0 k"),
     (1.234e9, "1.23 G"), (0.0132, "0.01"), (None, "–"), (math.nan, "–")],
)  # fmt: skip
def test_amounts_have_three_digits(value, text):
    assert str(amount(value)) == text
    flop = str(amount(value, "FLOP"))
    assert flop == text if text == "–" else flop.endswith("FLOP")


def test_small_numbers_and_zero():
    assert [str(small(v)) for v in (2.13e-7, 0.0812, 0.0, None)] == ["2.1e−7", "0.081", "0", "–"]
    assert fixed(-0.0, 2) == "0.00"


def test_decimal_points_of_a_column_stand_in_line():
    figures = [Cell("1.25", "[1, 2]", decimals=2), Cell("7", "[6, 8]", decimals=0), Cell()]
    words = [Cell("1.23 G"), Cell("7 k"), Cell("12.5", decimals=1)]
    rows = in_line([
        {"m": Cell("a", decimals=0), "f": figure, "w": word}
        for figure, word in zip(figures, words, strict=True)
    ])  # fmt: skip
    assert [row["f"].head for row in rows] == ["1.25", "7\u2008\u2007\u2007", "–"]
    assert [row["f"].error for row in rows] == ["[1, 2]", "[6, 8]", ""]
    # what has a unit of its own stands in no line, and the first column names the row
    assert [row["w"].head for row in rows] == ["1.23 G", "7 k", "12.5"]
    assert [row["m"].head for row in rows] == ["a", "a", "a"]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Cell("= 1.85", "± 0.02"), "= 1.85 ± 0.02"),
        (Cell("0.5", "[0.4, 0.6]", "tie"), "0.5 [0.4, 0.6] tie"),
        (Cell("= 2", loud="3 of 9 not finite"), "= 2; 3 of 9 not finite"),
        (Cell("failed", why="memory ran out"), "failed: memory ran out"),
        (Cell(), "–"),
    ],
)
def test_a_cell_is_one_line_in_a_terminal(cell, text):
    assert str(cell) == text


@pytest.fixture
def shown(monkeypatch):
    """What a terminal shows of results: on standard output, and beside it."""

    def show(results, width=80):
        out, beside = io.StringIO(), io.StringIO()
        # colourless, but a terminal: in a file or a pipe lines stay whole
        screen = Console(file=out, width=width, force_terminal=True, color_system=None)
        monkeypatch.setattr(terminal, "console", screen)
        monkeypatch.setattr(terminal, "errors", Console(file=beside, width=width))
        terminal.print_results(typed(results))
        return [line.rstrip() for line in out.getvalue().splitlines()], beside.getvalue()

    return show


def test_the_first_view_in_short():
    rows = texts(short.sample_figures, full())
    assert list(rows[0]) == ["model", "Fréchet distance ↓", "precision → real", "recall → real",
                             "coverage → real", "C_T → 0"]  # fmt: skip
    assert [row["model"] for row in rows] == ["real (floor)", "pixelcnn", "gmm", "vae", "nice",
                                              "gan", "independent (ceiling)"]  # fmt: skip
    assert {row["model"]: row for row in rows}["gan"]["C_T → 0"] == "−7.40"
    assert texts(short.sample_figures, five()) == []


def test_the_colour_of_samples_in_short_where_there_is_any():
    results = full()
    results["models"][1]["samples"]["whole"]["saturation"] = fig(0.414)
    results["references"]["real"]["whole"]["saturation"] = fig(1.02)
    rows = {row["model"]: row for row in texts(short.sample_figures, results)}
    assert rows["vae"]["saturation → 1"] == "0.414"
    assert rows["real (floor)"]["saturation → 1"] == "1.02"
    assert rows["gan"]["saturation → 1"] == "–"


def test_overfitting_and_labels_in_short():
    results = full()
    results["references"]["real"]["whole"]["class_accuracy"] = share(0.994)
    rows = {row["model"]: row for row in texts(short.detail_figures, results)}
    assert list(rows) == ["real (floor)", "pixelcnn", "gmm", "vae", "nice", "gan"]
    assert list(rows["vae"].values()) == [
        "vae", "+0.05 [0.00, +0.10]", "79.0 %", "93.0 %", "+0.21 [+0.18, +0.24]"
    ]  # fmt: skip
    assert list(rows["real (floor)"].values()) == ["real (floor)", "–", "99.4 %", "–", "–"]
    vae = results["models"][1]
    vae["likelihood_given_label"] = dict(vae["likelihood"]) | {"ignores_context": True}
    assert texts(short.detail_figures, results)[3]["label shuffled"].endswith("; ignores it")
    # only what is known has a column, and without one there is no table
    for m in results["models"]:
        m["classifier"] = m["likelihood_given_label"] = None
        (m["likelihood"] or {}).pop("shuffled", None)
        (m.get("samples") or {"whole": {}})["whole"].pop("class_accuracy", None)
    assert list(texts(short.detail_figures, results)[0]) == ["model", "gap, bits/dim"]
    assert texts(short.detail_figures, five()) == []


def test_a_terminal_shows_three_tables_and_the_answer(shown):
    results = full()
    results["doubts"] = ["the test split is unlike the training data"]
    data = "no saturation: the data are grey"
    for samples in (results["references"]["real"], *(m["samples"] for m in results["models"][:5])):
        samples["warnings"] = [data]
    results["models"][0]["samples"]["warnings"] = [data, "all samples are one and the same"]
    results["models"][1]["likelihood_given_label"] = dict(results["models"][1]["likelihood"])
    lines, beside = shown(results)
    assert max(map(len, lines)) <= 80
    head = lines.index("Samples, 179 against as many real ones, seen by classifier-64, 17 wide")
    first, second = lines[head + 1 : head + 3]
    assert first.split() == ["Fréchet", "precision", "recall", "coverage", "C_T"]
    assert re.sub(" +", " ", second) == "model distance ↓ → real → real → real → 0"
    assert any(re.search(r"^gan +6\.27 +0\.74 +0\.73 +0\.76 +−7\.40", line) for line in lines)
    assert "Overfitting and labels; baseline accuracy 97.8 %" in lines
    assert any(re.search(r"^vae .*79\.0 % +93\.0 % ", line) for line in lines)
    # the main table's headings take few lines
    assert next(i for i, line in enumerate(lines) if line.startswith("pixelcnn")) <= 3
    assert "unlike the training data\n" in beside
    assert beside.count(data) == 1
    assert f"\n{data}\n" in beside
    assert "gmm: all samples are one and the same\n" in beside
    wide, _ = shown(results, width=200)
    assert any("Fréchet distance ↓ precision → real" in line for line in wide)


def test_a_terminal_says_when_likelihoods_rest_on_few(shown):
    assert "Likelihood on" not in " ".join(shown(full())[0])
    results = full()
    results["models"][0]["likelihood"]["observations"] = 30
    assert "Likelihood on 30 of 359 test observations" in shown(results)[0]


def test_a_terminal_shows_samples_alone_without_a_table_of_models(shown):
    results = full() | {"models": [{"model": "mine", "samples": full()["models"][0]["samples"]}]}
    lines, _ = shown(results | {"pairs": []})
    assert lines[0].startswith("Samples, 179 against")
    assert "likelihood" not in " ".join(lines)
    assert any(line.startswith("mine: Fréchet distance 10.76 [") for line in lines)


def test_the_main_table_in_a_terminal(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=out, width=100))
    terminal.print_figures(tables.table(typed(full())))
    assert re.search(r"realnvp +left out +–", out.getvalue())
    terminal.print_figures([])


def test_the_usual_models_have_a_line_each_in_a_usual_terminal(monkeypatch):
    """The mixture's steps, which converge, are the widest."""
    out = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=out, width=80))
    results = five()
    for each in results["models"]:
        each["converged"] = each["model"] == "gmm"
    terminal.print_figures(tables.table(typed(results)))
    lines = out.getvalue().splitlines()
    assert any(re.search(r"^gmm .* 48 sweeps, converged +148 k$", line) for line in lines)
    assert re.search(r" steps +seen$", lines[0])
