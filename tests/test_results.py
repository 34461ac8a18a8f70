"""Results go to JSON and back whole, and what is none is refused in a sentence."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from reported import five, full, typed
from simulacra.ground.errors import CheckpointError
from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.records import LikelihoodFigures
from simulacra.judging.results import FORMAT, Entry, Results


@pytest.mark.parametrize("make", [five, full])
def test_what_is_written_is_what_is_read(make):
    results = typed(make())
    text = json.dumps(results.to_json())
    assert Results.from_json(json.loads(text)) == results
    written = json.loads(text)
    assert written["format"] == FORMAT
    # a class is called so, as it was before there were types
    assert [m["class"] for m in written["models"]] == [m.class_name for m in results.models]
    assert "class_name" not in text


def test_a_class_keeps_its_name_in_the_rows_of_classes():
    row = full()["models"][0]["likelihood"]["per_class"][3]
    read = typed(full()).models[0]
    assert read.likelihood.per_class[3].class_name == row["class"] == "3"
    assert read.to_json()["likelihood"]["per_class"][3]["class"] == "3"
    assert Entry.from_json(read.to_json()) == read


def test_what_is_not_finite_is_read_back():
    likelihood = LikelihoodFigures(exact=True, bits_per_dim=math.inf, log_likelihood=-math.inf)
    entry = Entry(model="a", likelihood=likelihood, kl=Figure(math.inf, 3))
    assert Entry.from_json(json.loads(json.dumps(entry.to_json()))) == entry


@pytest.mark.parametrize("version", [None, 0, FORMAT + 1, "1", True, 1.0])
def test_another_format_is_refused_by_its_number(version):
    value = typed(five()).to_json() | {"format": version}
    with pytest.raises(CheckpointError, match=f"have format {version}, this simulacra reads 1"):
        Results.from_json(value)


@pytest.mark.parametrize(
    ("spoil", "where"),
    [
        (lambda r: r["models"][0].pop("model"), "model"),
        (lambda r: r["models"][0].update(steps="many"), r"models\[0\]\.steps"),
        (lambda r: r["models"][0]["likelihood"].update(relation="<"), "relation"),
        (
            lambda r: r["models"][0].update(kl={"value": math.nan, "count": 1}),
            "a figure is a number",
        ),
        (lambda r: r.update(models={"a": 1}), "models"),
        (lambda r: r.update(models=[3]), r"models\[0\]"),
        (lambda r: r.update(data=None), "data"),
    ],
)
def test_what_is_no_result_says_where(spoil, where):
    value = typed(five()).to_json()
    spoil(value)
    with pytest.raises(CheckpointError, match=f"results cannot be read.*{where}"):
        Results.from_json(value)


@pytest.mark.parametrize("value", [None, [], "results", 3])
def test_what_is_no_table_is_no_result(value):
    with pytest.raises(CheckpointError):
        Results.from_json(value)


def test_an_entry_knows_why_it_has_no_figures():
    entry = typed(five()).models[0]
    assert entry.absent == ""
    assert replace(entry, failed="memory ran out").absent == "memory ran out"
    assert replace(entry, failed="x", left_out="no pictures").absent == "no pictures"
