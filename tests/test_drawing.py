"""Grids show every pixel as it is; curves are sound SVG with each name where it can be read."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from simulacra.drawing import charts, files, grids, style
from simulacra.drawing.curves import curves
from simulacra.ground.errors import UsageError

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: bytes) -> dict[str, float]:
    """The words in an SVG with their heights from the top, where it gives them."""
    found = ElementTree.fromstring(svg).iter(f"{SVG}text")
    return {t.text or "": float(t.get("y", "nan")) for t in found}


def falling(last: float, n: int = 20) -> dict[str, list[float | None]]:
    """A learning curve that falls steeply and levels out."""
    return {"s": [float(i + 1) for i in range(n)], "v": [last + 9 * math.exp(-i) for i in range(n)]}


def test_a_grid_places_every_pixel_and_leaves_gaps() -> None:
    pictures = torch.arange(12).reshape(3, 1, 2, 2) / 255
    image = np.asarray(grids.grid(pictures, columns=2, scale=3, gap=2))
    assert image.shape == (2 * 6 + 2, 2 * 6 + 2)
    expected = np.full((14, 14), style.GAP)
    for i, (top, left) in enumerate([(0, 0), (0, 8), (8, 0)]):
        for row in range(2):
            for column in range(2):
                at = (
                    slice(top + 3 * row, top + 3 * row + 3),
                    slice(left + 3 * column, left + 3 * column + 3),
                )
                expected[at] = 4 * i + 2 * row + column
    assert (image == expected).all()


def test_no_grey_is_like_what_is_hidden_and_gaps_are_told_apart_from_it() -> None:
    assert max(style.HIDDEN) - min(style.HIDDEN) > 0.3
    light = sum(style.HIDDEN) / 3 * 255
    assert style.GAP - light > 40, "beside it"
    assert 255 - style.GAP > 20, "beside white"


def test_a_shade_lies_where_it_is_asked_for() -> None:
    shaded = torch.tensor([[False, True, True, False, True], [False] * 5])
    figure = charts.waves(torch.zeros(4, 5), 10, columns=2, shaded=shaded)
    left, right = figure.axes
    spans = [path.get_extents() for path in left.collections[0].get_paths()]
    # in milliseconds, around samples 1 and 2 and around 4
    assert [(round(span.x0), round(span.x1)) for span in spans] == [(50, 250), (350, 450)]
    assert all((span.y0, span.y1) == (-3, 1) for span in spans)
    assert not right.collections[0].get_paths()


def test_a_grid_keeps_colours_and_rounds_to_the_nearest() -> None:
    colour = torch.tensor([0.0, 0.5, 1.0]).reshape(1, 3, 1, 1).expand(1, 3, 2, 4)
    image = grids.grid(colour, scale=1)
    assert (image.mode, image.size) == ("RGB", (4, 2))
    assert {image.getpixel((x, y)) for x in range(4) for y in range(2)} == {(0, 128, 255)}


@pytest.mark.parametrize(
    ("side", "tile"), [(8, 48), (16, 48), (28, 56), (32, 64), (64, 64), (4, 48)]
)
def test_the_default_scale_makes_tiles_of_about_fifty_pixels(side: int, tile: int) -> None:
    assert grids.grid(torch.zeros(9, 1, side, side), gap=0).size == (3 * tile, 3 * tile)


@pytest.mark.parametrize(
    ("pictures", "options", "says"),
    [
        (torch.zeros(3, 8, 8), {}, r"\(3, 8, 8\)"),
        (torch.zeros(3, 2, 8, 8), {}, "1 or 3 channels"),
        (torch.zeros(0, 1, 8, 8), {}, "at least one"),
        (torch.zeros(3, 1, 8, 8, dtype=torch.long), {}, "spec.to_float"),
        (torch.full((1, 1, 2, 2), math.nan), {}, "4 values that are not"),
        (torch.full((1, 1, 2, 2), math.inf), {}, "finite"),
        (torch.full((1, 1, 2, 2), 1.01), {}, "1.01"),
        (torch.full((1, 1, 2, 2), -0.01), {}, "-0.01"),
        (torch.zeros(3, 1, 8, 8), {"columns": 0}, "columns"),
        (torch.zeros(3, 1, 8, 8), {"scale": 0}, "scale"),
        (torch.zeros(3, 1, 8, 8), {"gap": -1}, "gap"),
    ],
)
def test_what_is_no_picture_is_refused(
    pictures: torch.Tensor, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        grids.grid(pictures, **options)


def test_png_and_save_keep_the_pixels(tmp_path: Path) -> None:
    image = grids.grid(torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)))
    (tmp_path / "bytes.png").write_bytes(files.png(image))
    files.save(image, tmp_path / "saved.png")
    for name in ("bytes.png", "saved.png"):
        with Image.open(tmp_path / name) as again:
            assert again.format == "PNG"
            assert (np.asarray(again) == np.asarray(image)).all()


def test_a_save_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"before")

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        files.save(grids.grid(torch.zeros(1, 1, 2, 2)), path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_curves_are_xml_with_words_as_words() -> None:
    series = {"pixelcnn": falling(1.8), "<b>&$x$": falling(2.4), "模型": falling(3.1)}
    svg = curves(series, x="s", y="v", x_label="training, seconds", y_label="bits $")
    assert {*series, "training, seconds"} <= set(texts(svg))
    assert any(text.startswith("bits $") for text in texts(svg))
    assert svg == curves(series, x="s", y="v", x_label="training, seconds", y_label="bits $")


def test_names_stand_in_the_order_of_the_ends_and_apart() -> None:
    series = {f"m{i}": falling(2 + 0.001 * i) for i in (3, 0, 4, 1, 2)}
    heights = texts(curves({**series, "far": falling(3)}, x="s", y="v"))
    placed = [heights[f"m{i}"] for i in range(5)]
    assert all(a - b > 11 for a, b in pairwise(placed))
    assert heights["far"] < placed[-1] - 60


def test_steep_beginnings_are_cut_off_and_it_says_so() -> None:
    steep = curves({"a": falling(1.8)}, x="s", y="v")
    assert any("steep beginnings are cut off" in text for text in texts(steep))
    words = ElementTree.fromstring(steep).iter(f"{SVG}text")
    ticks = [float(t.text or "") for t in words if "anchor: end" in t.get("style", "")]
    assert 1.5 < min(ticks) < max(ticks) < 4
    gentle = {"s": [0.0, 1.0, 2.0, 3.0], "v": [4.0, 3.0, 2.0, 1.0]}
    assert not any("cut off" in text for text in texts(curves({"a": gentle}, x="s", y="v")))


def test_unmeasured_points_are_passed_over_and_infinite_ones_leave_a_hole() -> None:
    def strokes(values: list[float | None]) -> int:
        columns: dict[str, list[float | None]] = {"s": [0, 1, 2, 3, 4], "v": values}
        root = ElementTree.fromstring(curves({"a": columns}, x="s", y="v"))
        line = next(g for g in root.iter(f"{SVG}g") if g.get("id") == "curve-0")
        return str(next(line.iter(f"{SVG}path")).get("d")).count("M")

    assert strokes([1.0, 1.5, None, 1.2, 1.4]) == 1
    assert strokes([1.0, 1.5, math.inf, 1.2, 1.4]) == 2
    assert strokes([1.0, 1.5, 1.2, 1.4, math.nan]) == 1


def test_curves_without_a_point_or_with_a_ragged_column_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one finite value"):
        curves({"a": {"s": [1.0], "v": [None]}}, x="s", y="v")
    with pytest.raises(UsageError, match="'a': 2 values of 's', 1 of 'v'"):
        curves({"a": {"s": [1.0, 2.0], "v": [1.0]}}, x="s", y="v")


# ---- waves, points, histograms ------------------------------------------------------------------


def lines(figure: Any) -> list[list[np.ndarray[Any, Any]]]:
    """The curves of each pair of axes as (x, y) arrays, row by row."""
    return [[np.stack(line.get_data()) for line in axes.get_lines()] for axes in figure.axes]


def test_waves_keep_every_sample_and_its_time() -> None:
    sounds = torch.rand(5, 400, generator=torch.Generator().manual_seed(0)) * 2 - 1
    drawn = lines(charts.waves(sounds, 8000, columns=2))
    assert [len(column) for column in drawn] == [3, 2]
    for i, sound in enumerate(sounds):
        time, height = drawn[i % 2][i // 2]
        assert time == pytest.approx(np.arange(400) / 8)  # milliseconds
        assert height + 2 * (i // 2) == pytest.approx(sound.numpy(), abs=1e-6)


@pytest.mark.parametrize(
    ("samples", "words", "end"), [(4000, "time, ms", 500), (8000, "time, s", 1)]
)
def test_the_axis_of_time_has_its_unit(samples: int, words: str, end: float) -> None:
    (axes,) = charts.waves(torch.zeros(1, samples), 8000).axes
    assert axes.get_xlabel() == words
    assert axes.get_xlim() == (0, end)


def test_waves_of_one_figure_share_one_scale() -> None:
    loud, quiet = charts.waves(torch.tensor([[1.0, -1.0], [0.01, 0.0]]), 2, columns=2).axes
    assert loud.get_ylim() == quiet.get_ylim() == (-1, 1)


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (8, 1), (9, 2), (20, 3), (64, 4), (100, 4)])
def test_many_waves_have_several_columns(n: int, columns: int) -> None:
    drawn = lines(charts.waves(torch.zeros(n, 3), 3))
    assert len(drawn) == columns
    assert sum(map(len, drawn)) == n


def test_points_are_drawn_where_they_are_on_one_scale() -> None:
    points = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([2, 1])
    figure = charts.scatter(points, ("a $", "b"))
    (axes,) = figure.axes
    assert lines(figure)[0][0] == pytest.approx(points.T.numpy())
    assert axes.get_aspect() == 1
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a $", "b")
    assert charts.scatter(points).axes[0].get_xlabel() == ""


def test_columns_of_different_units_have_a_scale_each() -> None:
    points = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1e6, 1])
    (axes,) = charts.scatter(points).axes
    assert axes.get_aspect() == "auto"
    lower, upper = axes.get_ylim()
    assert upper - lower < 2 * float(points[:, 1].amax() - points[:, 1].amin())


def test_histograms_count_every_value_of_each_column() -> None:
    values = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    axes = charts.histograms(values, ["height", "weight"]).axes
    assert [each.get_title(loc="left") for each in axes] == ["height", "weight", "column 2"]
    for column, each in enumerate(axes):
        bars = each.patches
        assert sum(bar.get_height() for bar in bars) == 500
        low, high = bars[0].get_x(), bars[-1].get_x() + bars[-1].get_width()
        assert (low, high) == pytest.approx(
            (float(values[:, column].min()), float(values[:, column].max()))
        )


def test_of_many_columns_some_are_drawn_and_it_says_so() -> None:
    figure = charts.histograms(torch.zeros(3, 30))
    assert len(figure.axes) == 24
    assert figure.get_suptitle() == "the first 24 of 30 columns"
    assert charts.histograms(torch.zeros(3, 24)).get_suptitle() == ""


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda: charts.waves(torch.zeros(3), 8), r"sounds \(N, T\)"),
        (lambda: charts.waves(torch.zeros(0, 3), 8), "at least one"),
        (lambda: charts.waves(torch.zeros(2, 3, dtype=torch.uint8), 8), "uint8"),
        (lambda: charts.waves(torch.full((2, 3), math.nan), 8), "6 values that are not"),
        (lambda: charts.waves(torch.full((2, 3), 1.1), 8), "1.1"),
        (lambda: charts.waves(torch.full((2, 3), -1.1), 8), "-1.1"),
        (lambda: charts.waves(torch.zeros(2, 3), 0), "rate"),
        (lambda: charts.waves(torch.zeros(2, 3), 8, shaded=torch.ones(3).bool()), r"\(1, 3\)"),
        (lambda: charts.waves(torch.zeros(2, 3), 8, columns=0), "columns"),
        (lambda: charts.waves(torch.zeros(801, 3), 8, columns=1), "at most 400 rows"),
        (lambda: charts.scatter(torch.zeros(5, 3)), r"\(N, 2\)"),
        (lambda: charts.scatter(torch.zeros(2)), r"\(N, 2\)"),
        (lambda: charts.scatter(torch.tensor([[0, math.inf]])), "finite"),
        (lambda: charts.histograms(torch.zeros(5)), r"\(N, D\)"),
        (lambda: charts.histograms(torch.tensor([[math.nan]])), "finite"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        draw()


def test_figures_become_png_whatever_the_script_of_the_names() -> None:
    draws: list[Callable[[], Any]] = [
        lambda: charts.waves(torch.zeros(9, 30), 8),
        lambda: charts.scatter(torch.arange(8.0).reshape(4, 2), ("模型", "b")),
        lambda: charts.histograms(torch.arange(40.0).reshape(8, 5), ["模型"]),
        lambda: charts.histograms(torch.zeros(1, 1)),
    ]
    for draw in draws:
        content = files.png(draw())
        assert content == files.png(draw())
        with Image.open(io.BytesIO(content)) as image:
            assert image.format == "PNG"
            assert min(image.size) > 100
            darkest, brightest = image.convert("L").getextrema()
            assert darkest < 150 < brightest == 255
