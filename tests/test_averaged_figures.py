"""What the judge says of figures whose draws are averaged, and of solvers that are off."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

import simulacra as sim
from simulacra.judging import scoring
from simulacra.judging.figures.likelihood import Score
from simulacra.judging.figures.paired import of_both, paired
from simulacra.judging.results import Results
from simulacra.report import tables
from simulacra.report.ranking import figure, unit_of
from simulacra.report.verdict import verdict
from simulacra.tasks.bayes import draws_of


def score(off: float | None, *, exact: bool = False, levels: int | None = 4, **more: bool) -> Score:
    values = torch.tensor([-3.0, -4.0, -5.0, -4.5])
    return Score.of(
        values, torch.arange(4), exact=exact, dims=2, levels=levels, solver_error=off, **more
    )


def test_a_solver_that_is_further_off_than_the_standard_error_makes_an_estimate() -> None:
    error = score(None).standard_error
    assert [score(off).relation for off in (None, 0.5 * error, 2 * error)] == ["≤", "≤", "≈"]
    assert [score(off, exact=True).relation for off in (None, -2 * error)] == ["=", "≈"]
    assert score(math.nan).relation == "≈"
    # a density that is estimated along random directions is no bound of it
    assert score(0.0, levels=None, averaged=True).relation == "≈"
    assert score(None, levels=None, averaged=True).relation == "≤"
    shown = score(2 * error).figures()
    assert shown.solver_error == pytest.approx(2 * error / (2 * math.log(2)))
    assert score(2 * error).take(torch.tensor([0, 1])).solver_error == 2 * error  # type: ignore[union-attr]


def test_no_pair_is_told_apart_by_less_than_a_solver_is_off() -> None:
    first = score(None)
    better = dataclasses.replace(first, values=first.values + 0.3)
    assert paired(first, better).winner == 1
    assert paired(first, dataclasses.replace(better, solver_error=-0.4)).tie


def test_a_pair_is_of_the_observations_that_both_were_asked_about() -> None:
    whole = score(None)
    some = whole.take(torch.tensor([2, 0]))
    assert some is not None
    first, second = of_both(whole, some)
    assert first.rows.tolist() == second.rows.tolist() == [0, 2]
    assert paired(first, second).difference == 0
    assert of_both(whole, whole) == (whole, whole)


def test_a_judge_says_what_an_averaged_figure_rests_on(monkeypatch: pytest.MonkeyPatch) -> None:
    data = sim.load_data("digits")
    few = {name: split.take(torch.arange(19)) for name, split in data.splits.items()}
    data = dataclasses.replace(data, **few)
    keywords = {"channels": 4, "sampling_steps": 2, "solver_steps": 2}
    model = sim.build("flow-matching", data.spec, keywords)
    assert draws_of(model, 64) == 4
    monkeypatch.setattr(scoring, "_FEWEST", 11)
    monkeypatch.setattr(scoring, "_WORK", 1.0)
    results = sim.judge_model(model, data).results
    (entry,) = results.models
    found = entry.likelihood
    assert found is not None
    assert (found.averaged, found.draws, found.observations) == (True, 4, 11)
    assert found.solver_error is not None
    assert any("scored on 11 of 19 test observations" in each for each in entry.warnings)
    assert "4 draws, solver error " in str(figure(found, unit_of(results)))
    assert entry.cost.sequential_calls == 2
    (row,) = tables.likelihoods(results)
    assert str(row["draws, averaged"]) == "4"
    assert "draws, k" not in row
    assert found.relation in verdict(results) or found.relation == "≤"
    assert Results.from_json(results.to_json()).models[0].likelihood == found
