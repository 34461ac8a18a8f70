"""Modes that samples cover, and samples that are near to one: counted by hand, and judged."""

from __future__ import annotations

import math

import pytest
import torch

from reported import fig, full, render, share, texts, words
from simulacra.data.catalogue import load
from simulacra.data.sets.toy_densities import TOYS, Modes
from simulacra.judging.figures.sample_judge import SampleJudge
from simulacra.report import sample_tables, short
from simulacra.tasks.covered import covered, modes_of

TWO = Modes(torch.tensor([[0.0, 0.0], [10.0, 0.0]]).double(), torch.tensor([1.0, 0.1]).double())


def test_a_mode_has_a_hundredth_of_the_samples() -> None:
    x = torch.zeros(200, 2)
    assert covered(x, TWO).covered == 1
    x[0] = torch.tensor([10.0, 0.0])
    assert covered(x, TWO).covered == 1
    x[1] = torch.tensor([10.0, 0.0])
    found = covered(x, TWO)
    assert (found.modes, found.covered, found.good) == (2, 2, 1.0)
    # what is in no mode covers none, though one is the nearest
    assert covered(torch.full((9, 2), 5.0), TWO).covered == 0
    assert str(found) == "modes 2 of 2, good samples 100 %"


def test_near_is_three_deviations_of_that_mode_in_any_direction() -> None:
    x = torch.tensor([
        [0.0, 2.99], [-3.01, 0.0], [2.5, 2.5], [10.0, 0.29], [10.31, 0.0], [math.nan, 0.0],
        [math.inf, 0.0], [5.0, 0.0],
    ])  # fmt: skip
    for row, good in zip(x, (1, 0, 0, 1, 0, 0, 0, 0), strict=True):
        assert covered(row[None], TWO).good == good, row
    assert covered(x, TWO).good == 2 / 8


def test_a_sample_between_two_modes_counts_for_one() -> None:
    data = load("two-peaks")
    modes = modes_of(data)
    assert modes is not None
    # two deviations from the left one, two and three quarters from the right one
    assert covered(torch.tensor([[-1.2]]), modes).covered == 1


@pytest.mark.parametrize("toy", [toy.name for toy in TOYS])
def test_draws_of_a_density_cover_its_modes(toy: str) -> None:
    """Those of curves and areas are nobody's: there are none to count."""
    data = load(toy)
    modes = modes_of(data)
    count = {"ring-8": 8, "grid-25": 25, "two-peaks": 2}.get(toy)
    assert count == (modes and len(modes))
    if modes is None:
        return
    found = covered(data.test.x[:], modes)
    assert found.covered == count
    whole = 1 - math.exp(-4.5) if data.spec.dims == 2 else math.erf(3 / math.sqrt(2))
    assert found.good == pytest.approx(whole, abs=4 * math.sqrt(0.0111 / len(data.test)))


def test_other_data_have_no_modes() -> None:
    assert modes_of(load("digits")) is None


# ---- judged and told ----------------------------------------------------------------------------


def test_samples_are_judged_by_the_modes_of_the_density() -> None:
    data = load("ring-8")
    judge = SampleJudge(data, [])
    found = judge.judge(data.train.x[data.train.context != 0])
    assert found.whole["modes"].value == 7
    assert (found.whole["modes"].low, found.whole["modes"].count) == (None, judge.count)
    good = found.whole["good"]
    assert good.low is not None
    assert good.low < 0.989 < (good.high or 0)
    real, independent = judge.references.real, judge.references.independent
    assert real is not None
    assert real.whole["modes"].value == 8
    assert independent is not None
    assert independent.whole["good"].value < 0.8


def test_data_without_modes_have_no_such_figures() -> None:
    data = load("moons")
    assert not {"modes", "good"} & set(SampleJudge(data, []).judge(data.train.x[:]).whole)


def test_modes_are_a_table_and_two_columns() -> None:
    results = full()
    for table in (sample_tables.mode_table, short.sample_figures):
        assert not [head for row in texts(table, results) for head in row if "modes" in head]
    results["references"]["real"]["whole"] |= {"modes": {"value": 8, "count": 179},
                                               "good": share(0.9876)}  # fmt: skip
    gan = next(m for m in results["models"] if m["model"] == "gan")
    gan["samples"]["whole"] |= {"modes": {"value": 5, "count": 179}, "good": fig(0.61, 0.07)}
    rows = {row["model"]: row for row in texts(sample_tables.mode_table, results)}
    assert rows["gan"]["modes covered → real"] == "5"
    assert rows["gan"]["good samples → real"].startswith("61")
    assert rows["real (floor)"]["modes covered → real"] == "8"
    rows = {row["model"]: row for row in texts(short.sample_figures, results)}
    assert rows["gan"]["modes covered → real"] == "5"
    assert rows["real (floor)"]["good samples → real"] == "98.8 %"
    assert "Modes of the density that the data were drawn from" in words(render(results, {}))
