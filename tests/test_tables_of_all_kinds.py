"""Tables whose columns are numbers, categories, labels and groups, all in one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import run_main, train
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.data.foreign.samples import read_samples
from simulacra.ground.errors import DataError, UsageError
from simulacra.runs.run import Run

ROWS = 60
X = np.random.default_rng(0).normal(size=ROWS)
COLUMNS: dict[str, list[Any]] = {
    "person": [f"p{i // 4}" for i in range(ROWS)],
    "date": [20200101 + 100 * (i % 12) + i % 7 for i in range(ROWS)],
    "digit": [7 + i % 3 if i % 5 else "" for i in range(ROWS)],
    "colour": [("red", "green", "blue")[i % 3] for i in range(ROWS)],
    "speaker": [("theo", "george")[i // 3 % 2] for i in range(ROWS)],
    "x": X.round(4).tolist(),
}
TOLD = {"labels": "digit,speaker", "groups": "person"}
CATEGORY = ("colour=category",)


def csv(path: Path, *names: str, header: bool = True, **changed: list[Any]) -> Path:
    """Some of the columns, by their names."""
    columns = [changed.get(name, COLUMNS[name]) for name in names]
    rows = [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([*[",".join(names)] * header, *rows]) + "\n", "utf-8")
    return path


def whole(path: Path, **told: Any) -> Path:
    return csv(path, *COLUMNS, **told)


def check(data: Dataset) -> None:
    """That each column was read as what it is."""
    assert data.spec.parts == (("digit", 3), ("speaker", 2))
    date, colour, x = data.spec.columns
    assert date.offset > 2e7
    assert colour.words == ("blue", "green", "red")
    assert (x.offset, x.scale) == (0, 1)
    persons = [set(split.groups.tolist()) for split in data.splits.values()]
    assert sum(map(len, persons)) == 15 == len(set().union(*persons))
    # what was beside each number in the file is beside it still
    beside = {row[-1]: row for row in zip(*COLUMNS.values(), strict=True)}
    names = data.part_names
    for split in data.splits.values():
        values = data.spec.to_float(split.x)
        for (day, place, number), label in zip(
            values.tolist(), split.context.tolist(), strict=True
        ):
            _, when, digit, hue, speaker, _ = beside[round(number, 4)]
            assert (day, colour.words[int(place)]) == (when, hue)
            told = "" if label[0] < 0 else names["digit"][label[0]]
            assert (told, names["speaker"][label[1]]) == (str(digit), speaker)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_one_file_has_columns_of_all_kinds(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t.{suffix}"
    if suffix == "csv":
        whole(path)
    else:
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        digits = [None if digit == "" else digit for digit in COLUMNS["digit"]]
        parquet.write_table(pyarrow.table(COLUMNS | {"digit": digits}), path)
    data = load(str(path), **TOLD, column=CATEGORY)
    check(data)
    assert "12 of 60 labels are not told whole" in data.notes
    assert load(**json.loads(json.dumps(data.options))).fingerprint == data.fingerprint


def test_columns_go_by_their_numbers(tmp_path: Path) -> None:
    data = load(str(whole(tmp_path / "t.csv")), **TOLD, column=CATEGORY)
    asked = {"labels": "3,5", "groups": "1", "column": ("4=category",)}
    for header in (True, False):
        path = whole(tmp_path / "n.csv", header=header)
        assert load(str(path), **asked).train.x.equal(data.train.x)


def test_a_category_is_neither_label_nor_group_nor_untold(tmp_path: Path) -> None:
    path = str(whole(tmp_path / "t.csv"))
    for column, what in (("speaker", "labels"), ("person", "groups")):
        with pytest.raises(UsageError, match=f"column '{column}' holds the {what}, and cannot be"):
            load(path, **TOLD, column=(f"{column}=category",))
    whole(tmp_path / "t.csv", colour=["red", "", *COLUMNS["colour"][2:]])
    with pytest.raises(DataError, match="line 3, column 'colour': an empty cell"):
        load(path, **TOLD, column=CATEGORY)
    pyarrow, parquet = (pytest.importorskip(f"pyarrow{part}") for part in ("", ".parquet"))
    columns = {"x": COLUMNS["x"], "colour": ["red", "", *COLUMNS["colour"][2:]]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="column 'colour': row 2 has no category"):
        load(str(tmp_path / "t.parquet"), column=CATEGORY)


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("labelled", [True, False])
def test_samples_have_all_columns_but_groups(tmp_path: Path, header: bool, labelled: bool) -> None:
    """By their numbers too, which then are those of a file without groups."""
    asked = TOLD | {"column": CATEGORY}
    if not header:
        asked = {"labels": "3,5", "groups": "1", "column": ("4=category",)}
    data = load(str(whole(tmp_path / "t.csv", header=header)), **asked)
    names = [name for name in COLUMNS if name != "person"]
    if not labelled:
        names = ["date", "colour", "x"]
    digits = [7 + i % 3 for i in range(ROWS)]
    x, labels, _ = read_samples(csv(tmp_path / "s.csv", *names, header=header, digit=digits), data)
    shown = data.spec.to_float(x)
    assert shown[:, 0].tolist() == COLUMNS["date"]
    words = data.spec.columns[1].words
    assert [words[int(i)] for i in shown[:, 1]] == COLUMNS["colour"]
    if not labelled:
        assert labels is None
        return
    assert labels is not None
    asked_for = [f"{d}, {s}" for d, s in zip(digits, COLUMNS["speaker"], strict=True)]
    assert [data.class_names[i] for i in labels.tolist()] == asked_for


def test_an_npz_has_groups_parts_and_large_numbers(tmp_path: Path) -> None:
    x = np.stack([COLUMNS["date"], X], 1).astype(np.float64)
    people = np.array(COLUMNS["person"])
    y = np.stack([np.arange(ROWS) % 3, np.arange(ROWS) // 3 % 2], 1)
    np.savez(tmp_path / "a.npz", x=x, y=y, person=people)
    data = load(str(tmp_path / "a.npz"), groups="person")
    assert data.spec.parts == (("part1", 3), ("part2", 2))
    days = {
        day for split in data.splits.values() for day in data.spec.to_float(split.x)[:, 0].tolist()
    }
    assert days == set(COLUMNS["date"])
    persons = [set(split.groups.tolist()) for split in data.splits.values()]
    assert sum(map(len, persons)) == 15


def test_the_hub_has_columns_of_all_kinds(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "t").mkdir()
    path = whole(tmp_path / "t" / "train.csv")
    data = load(f"hf:{tmp_path / 't'}", **TOLD, column=CATEGORY)
    check(data)
    assert data.fingerprint == load(str(path), **TOLD, column=CATEGORY).fingerprint
    with pytest.raises(UsageError, match="no column 'person' for --column: it holds the groups"):
        load(f"hf:{tmp_path / 't'}", **TOLD, column=("person=category",))


def test_a_model_refuses_the_category_and_learns_from_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "--labels", "digit,speaker", "--groups", "person", "--set", "context=label"
    told = *told, "--set", "hidden=8", "--budget", "3steps", "--device", "cpu"
    path = whole(tmp_path / "t.csv")
    place = tmp_path / "run"
    assert run_main("train", "nice", path, *told, "--column", *CATEGORY, "--out", place) == 2
    assert "nice needs columns of numbers, these have some of categories" in capsys.readouterr().err
    csv(path, *[name for name in COLUMNS if name != "colour"])
    train("nice", path, *told, "--out", place)
    assert run_main("sample", place, "--label", "digit=8,speaker=theo", "-n", "6",
                    "--out", tmp_path / "s.png") == 0  # fmt: skip
    values = np.load(tmp_path / "s.npy")
    assert (values.shape, values.dtype) == ((6, 2), np.float64)
    # in the units of the file: a day is some 2·10⁷
    assert (np.abs(values[:, 0] - 20200700) < 1e5).all()
    run = Run.open(place)
    assert run.spec.parts == (("digit", 3), ("speaker", 2))
    assert run.dataset().options["groups"] == "person"
