"""Quality against steps: what the judge measures of models that refine noise, and shows."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor

import simulacra as sim
from reported import digits_pictures, fig, full, render, typed, words
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.drawing.quality import quality
from simulacra.ground.errors import UsageError
from simulacra.judging import pictures as album
from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.records import SampleFigures
from simulacra.judging.figures.sample_judge import SampleJudge
from simulacra.judging.results import Results
from simulacra.judging.steps import in_steps, tried
from simulacra.models.refining import Refining
from simulacra.report.step_tables import step_chart, step_said, step_table
from test_sample_judge import Random

SVG = "{http://www.w3.org/2000/svg}"


class Copying(Refining):
    """Noise after one step, and the nearer to training observations the more steps there are."""

    sampling_steps = 20

    def __init__(self, data: Dataset, most: int | None = None) -> None:
        super().__init__(data.spec)
        self.data, self.most = data, most
        self.drawn: set[int | None] = set()

    @property
    def most_steps(self) -> int | None:
        return self.most

    def loss(self, x: Tensor, context: Tensor | None = None, *, turn: str = "model") -> dict:  # type: ignore[type-arg]
        raise NotImplementedError

    def sample_steps(
        self,
        n: int,
        context: Tensor | None = None,
        *,
        steps: int | None = None,
        guidance: float = 1.0,
    ) -> Iterator[Tensor]:
        self.drawn.add(steps)
        levels = self.data.spec.levels
        assert levels is not None
        x, _ = self.data.train.batch(torch.randint(len(self.data.train), (n,)))
        noise = torch.randint(levels, x.shape)
        noisy = torch.rand(x.shape) >= min(1.0, (steps or self.sampling_steps) / 10)
        yield torch.where(noisy, noise, x)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="module")
def judge(digits: Dataset) -> SampleJudge:
    return SampleJudge(digits, [Random(digits)])


def usual(value: float, n: int) -> SampleFigures:
    return SampleFigures(count=n, views={"features": {"frechet": Figure(value, n)}})


def test_a_model_that_copies_in_more_steps_has_a_falling_curve(
    digits: Dataset, judge: SampleJudge
) -> None:
    model = Copying(digits).eval()
    found = in_steps(model, digits, judge, usual(0.5, judge.count), flops=None)
    assert [each.steps for each in found] == [1, 2, 5, 10, 20, 50]
    assert model.drawn == {1, 2, 5, 10, 50}, "its usual samples are there already"
    assert found[4].frechet.value == 0.5
    values = [each.frechet.value for each in found]
    assert values[0] > values[1] > values[2] > 2 * values[3]
    assert {each.frechet.count for each in found} == {judge.count}


def test_the_distance_is_that_which_is_among_all_other_figures(judge: SampleJudge) -> None:
    real = judge.references.real
    assert real is not None
    assert judge.frechet(judge.real) == real.figure("features", "frechet")


def test_only_so_many_steps_are_tried_as_there_is_work_for(digits: Dataset) -> None:
    model = Copying(digits)
    assert tried(model, 100, None) == tried(model, 100, 20) == [1, 2, 5, 10, 50]
    # beside a dear draw of 100 in 20 steps a quarter may be spent: five steps, or 3 of these
    assert tried(model, 100, 10**12) == [1, 2]
    assert tried(Copying(digits, most=4), 100, None) == [1, 2]


def test_samples_that_are_no_numbers_have_no_distance() -> None:
    data = load("moons")
    judge = SampleJudge(data, [Random(data, 2)])
    x, _ = data.train.batch(torch.arange(judge.count))
    assert judge.frechet(x) is not None
    assert judge.frechet(x * 1e30) is None
    assert judge.frechet(torch.full_like(x, torch.inf)) is None
    assert judge.frechet(x[1:]) is None


def test_a_judge_tries_steps_of_what_refines_and_of_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(album, "model_pictures", lambda *_, **__: {})
    data = load("moons")
    few = {name: split.take(torch.arange(100)) for name, split in data.splits.items()}
    data = dataclasses.replace(data, **few)
    judge = sim.Judge(data, draws=1, limit=2, most=40)
    keywords = {"hidden": (8,), "sampling_steps": 3, "solver_steps": 2}
    models = [sim.build("flow-matching", data.spec, keywords), sim.build("gmm", data.spec)]
    models[1].prepare(data.train.batch(torch.arange(100))[0])
    results = judge.unjudged([judge.model(each).entry for each in models])
    refines, other = results.models
    assert [each.steps for each in refines.in_steps] == [1, 2, 3, 5, 10, 20, 50]
    assert refines.samples is not None
    assert refines.in_steps[2].frechet == refines.samples.figure(judge.views[0].name, "frechet")
    assert other.in_steps == ()
    assert Results.from_json(json.loads(json.dumps(results.to_json()))) == results


# ---- shown ---------------------------------------------------------------------------------------


def refined() -> dict:  # type: ignore[type-arg]
    """Results of six models, of which one refines."""
    results = full()
    vae = results["models"][1]
    vae["in_steps"] = [
        {"steps": steps, "frechet": fig(40 / steps, 0.2 / steps)} for steps in (1, 5, 20)
    ]
    return results


def test_results_without_steps_are_read_and_show_none() -> None:
    results = typed(full())
    assert all(m.in_steps == () for m in results.models)
    assert step_chart(results) is None
    assert step_table(results) == []
    assert "Fewer steps" not in render(full(), digits_pictures())


def test_a_line_for_what_refines_a_point_for_each_other_and_the_floor() -> None:
    svg = step_chart(typed(refined()))
    assert svg is not None
    root = ElementTree.fromstring(svg)
    drawn = {g.get("id"): g for g in root.iter(f"{SVG}g") if "quality" in (g.get("id") or "")}
    marks = {name: len(list(g.iter(f"{SVG}use"))) for name, g in drawn.items()}
    assert sorted(marks.values()) == [0, 1, 1, 1, 1, 3], "the floor, four others, and a line"
    said = {text.text for text in root.iter(f"{SVG}text")}
    assert {"vae", "gmm", "gan", "nice", "pixelcnn", "real data", "1", "2", "5", "50"} <= said


def test_the_page_has_the_steps_in_a_table_and_a_chart() -> None:
    page = render(refined(), digits_pictures())
    assert page.count('aria-label="Fréchet distance against calls of the network') == 1
    assert step_said(typed(refined())) in words(page)
    (row,) = step_table(typed(refined()))
    assert [str(cell) for cell in row.values()] == [
        "vae", "40.0 [39.8, 40.2]", "8.00 [7.96, 8.04]", "2.000 [1.990, 2.010]",
    ]  # fmt: skip


def test_distances_without_a_place_on_a_scale_of_ratios_are_left_out() -> None:
    results = refined()
    results["models"][1]["in_steps"][0]["frechet"] = {"value": 0.0, "count": 179}
    assert step_chart(typed(results)) is not None
    with pytest.raises(UsageError, match="positive"):
        quality({"a": [(1, 0.0)]}, x_label="x", y_label="y")
