"""Columns of tables: large numbers keep their digits, and categories are told from numbers."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from commands import run_main, train
from simulacra.cli.output import write_samples
from simulacra.cli.training_display import TrainingDisplay
from simulacra.data import columns
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.data.foreign.observations import read_observations
from simulacra.data.foreign.samples import read_samples
from simulacra.data.form import Form
from simulacra.data.splits import permutation
from simulacra.ground.column import Column
from simulacra.ground.errors import DataError, MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.judging.entries import learning_curves
from simulacra.judging.features.views import views
from simulacra.judging.figures.diagnostics import shuffled
from simulacra.judging.figures.likelihood import bits_per_dim, likelihood
from simulacra.judging.figures.nature import nature
from simulacra.models import registry
from simulacra.models.flow.nice import NICE
from simulacra.models.lawbook.trials import randomise
from simulacra.models.mixture.gmm import GMM
from simulacra.runs.run import Run
from simulacra.tasks.bayes import class_frequencies

RNG = np.random.default_rng(0)
DATES = 20200101.0 + np.array([0, 1, 2, 27, 128, 929, 1130, 10001, 21230, 31231] * 4)
NORMAL = RNG.normal(size=40)


def table(path: Path, header: str, *columns: Any) -> Path:
    rows = [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([header, *rows]) + "\n", "utf-8")
    return path


def in_order(data: Dataset) -> Tensor:
    """All rows as they came, in their own units, by undoing the split."""
    x = data.spec.to_float(torch.cat([data.test.x, data.validation.x, data.train.x]))
    return x[permutation(len(x)).argsort()]


# ---- the form ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "date"}, "a column is one of number, category, got 'date'"),
        ({"scale": 0.0}, "a positive finite scale"),
        ({"scale": math.inf}, "a positive finite scale"),
        ({"offset": math.nan}, "a finite offset"),
        ({"offset": 3}, "offset and scale are floats, got 3"),
        ({"levels": 3}, "not of numbers"),
        ({"kind": "category"}, "at least 2 levels, got None"),
        ({"kind": "category", "levels": 1}, "at least 2 levels, got 1"),
        ({"kind": "category", "levels": 2, "offset": 1.0}, "no offset and no scale"),
        ({"kind": "category", "levels": 2, "words": ("a",)}, "2 categories need as many words"),
    ],
)
def test_a_column_is_checked(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Column(**wrong)


def test_columns_are_one_for_each_value_of_a_vector() -> None:
    two = (Column(offset=5.0, scale=0.25), Column("category", 3, words=("x", "y", "z")))
    spec = DataSpec((2,), None, columns=two)
    assert spec.mixed
    assert not DataSpec((1,), None, columns=two[:1]).mixed
    assert spec.log_scale == math.log(0.25)
    assert DataSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    # run records and checkpoints of before are those of the same form
    assert "columns" not in DataSpec((2,), None).to_json()
    for shape, levels in (((3,), None), ((2,), 4), ((2, 1), None)):
        with pytest.raises(UsageError, match="columns are those of a continuous vector"):
            DataSpec(shape, levels, columns=two)
    spec.check(torch.tensor([[0.3, 2.0]]))
    for place in (3.0, -1.0, 0.5, math.nan):
        with pytest.raises(UsageError, match="column 2 is a category: expected its places 0 … 2"):
            spec.check(torch.tensor([[0.3, place]]))
    with pytest.raises(UsageError, match="data have 4 levels"):
        DataSpec((2,), 4).from_float(torch.zeros(1, 2))


# ---- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".npy"])
def test_what_float32_rounds_comes_back(tmp_path: Path, suffix: str) -> None:
    columns = {
        "date": DATES,
        "time": 1.7e9 + NORMAL,
        "small": 1e-30 * NORMAL,
        "smaller": 1e-42 * NORMAL,
        "huge": 1e300 * NORMAL,
        "plain": NORMAL,
        # exact from its middle alone, for float32 counts up to 2^24
        "long": (1.8 * 2**24 * np.linspace(0, 1, 40) ** 3).round() + 5e9,
        # one row far off takes no digits from all others
        "missing": np.where(np.arange(40) == 7, -1.0, 1.7e9 + NORMAL),
    }
    path = tmp_path / f"t{suffix}"
    if suffix == ".npy":
        np.save(path, np.stack(list(columns.values()), 1))
    else:
        table(path, ",".join(columns), *(map(repr, v.tolist()) for v in columns.values()))
    data = load(str(path))
    found = dict(zip(columns, data.spec.columns, strict=True))
    assert data.train.x.dtype == torch.float32
    assert found["plain"] == found["small"] == Column()
    assert found["date"].scale == found["long"].scale == found["time"].scale == 1
    assert found["date"].offset.is_integer()
    assert found["smaller"].offset == found["huge"].offset == 0
    back = in_order(data)
    assert back.dtype == torch.float64
    for name, own in zip(columns, back.T.numpy(), strict=True):
        if name in ("date", "long"):
            assert own.tolist() == columns[name].tolist()
        else:
            off = np.abs(columns[name] - found[name].offset)
            assert (np.abs(own - columns[name]) <= off * 2**-24 + 1e-6 * found[name].scale).all()
    assert not [note for note in data.notes if "float32" in note]
    again = load(**json.loads(json.dumps(data.options)))
    assert (again.fingerprint, again.spec) == (data.fingerprint, data.spec)


def test_a_table_that_float32_holds_is_as_it_was(tmp_path: Path) -> None:
    """Fingerprints from before there were columns."""
    rows = [
        f"{(i * 37 % 101) / 7:.6f},{i * i % 89},{1990 + i % 30},{-1e-3 * (i * 53 % 97):.9g},"
        f"{'ab'[i % 2]}"
        for i in range(60)
    ]
    (tmp_path / "t.csv").write_text("x,count,year,small,kind\n" + "\n".join(rows) + "\n")
    data = load(str(tmp_path / "t.csv"), labels="kind")
    assert data.spec.columns == ()
    assert data.fingerprint == "2e5bf9efc6779d62466de34c99abf7947b6fee34ab040494f29e9f411dd5c10d"
    assert data.spec.to_float(data.train.x).dtype == torch.float32
    x = np.array([[(i * 37 % 101) / 7, -1e-3 * (i * 53 % 97)] for i in range(60)])
    np.save(tmp_path / "a.npy", x)
    data = load(str(tmp_path / "a.npy"))
    assert data.fingerprint == "661e4aef6f565405c12828dfe21f915f804eff075acf029880308ad738fe6983"
    # what was stored as float32 has no digits to lose
    np.save(tmp_path / "b.npy", (1.7e9 + 500 * RNG.normal(size=(40, 2))).astype(np.float32))
    assert load(str(tmp_path / "b.npy")).spec.columns == ()


@pytest.mark.parametrize("far", ["all", "one", "one of many"])
def test_too_many_orders_of_magnitude_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, far: str
) -> None:
    values = np.random.default_rng(1).normal(size=600)
    values = np.exp(50 * values) if far == "all" else values
    if far != "all":
        # a training row, and not among those that are looked at for merged fractions
        values[permutation(600)[-1]] = 1e200
    if far == "one of many":
        monkeypatch.setattr(columns, "_ROWS", 100)
    np.save(tmp_path / "t.npy", np.stack([values, values[::-1]], 1))
    path = table(tmp_path / "t.csv", "a,b", values, np.arange(600) % 7)
    for place in (path, tmp_path / "t.npy"):
        with pytest.raises(DataError, match=r"spans too many orders of magnitude.*take its logar"):
            load(str(place))


def test_a_column_that_overflows_has_a_scale_though_some_merge(tmp_path: Path) -> None:
    values = 1 + RNG.random(600)
    values[::4] *= 1e-9
    # a training row
    values[permutation(600)[-1]] = 1e40
    data = load(str(table(tmp_path / "t.csv", "a,b", values, RNG.normal(size=600))))
    assert data.spec.columns[0].scale > 1
    (note,) = data.notes
    assert "too many orders of magnitude, take its logarithm" in note


def test_a_column_that_nears_zero_has_a_note(tmp_path: Path) -> None:
    values = 10.0 ** -np.arange(0, 120, 0.2)
    data = load(str(table(tmp_path / "t.csv", "a,b", values, RNG.normal(size=600))))
    (note,) = data.notes
    assert "too many orders of magnitude, take its logarithm" in note


def test_offset_and_scale_are_those_of_the_training_rows(tmp_path: Path) -> None:
    first = permutation(40)[0]  # of the test split
    time = 1.7e9 + NORMAL
    data = load(str(table(tmp_path / "t.csv", "a,b", time, NORMAL)))
    time[first] = 1.8e9
    other = load(str(table(tmp_path / "t.csv", "a,b", time, NORMAL)))
    assert other.spec.columns == data.spec.columns
    for beyond in (1e39, -1e308):
        time[first] = beyond
        with pytest.raises(
            DataError, match=r"'a' holds .*e.*, which is too large for float32 besi"
        ):
            load(str(table(tmp_path / "t.csv", "a,b", time, NORMAL)))


# ---- what others made ----------------------------------------------------------------------------


@pytest.fixture
def dates(tmp_path: Path) -> Dataset:
    return load(str(table(tmp_path / "data.csv", "date,b", DATES.astype(int), NORMAL)))


def test_samples_are_read_in_the_form_of_the_data(tmp_path: Path, dates: Dataset) -> None:
    values = np.stack([DATES + 1, NORMAL], 1)
    np.save(tmp_path / "s.npy", values)
    table(tmp_path / "s.csv", "b,date", NORMAL, DATES.astype(int) + 1)
    for name in ("s.npy", "s.csv"):
        x, _, _ = read_samples(tmp_path / name, dates)
        assert x.dtype == torch.float32
        shown = dates.spec.to_float(x)
        assert shown[:, 0].tolist() == values[:, 0].tolist()
        assert np.allclose(shown[:, 1], NORMAL, rtol=0, atol=1e-6)
    assert torch.equal(read_observations(tmp_path / "s.npy", dates), x)
    np.save(tmp_path / "s.npy", DATES.astype(int)[:, None] + np.zeros((1, 2), int))
    assert dates.spec.to_float(read_samples(tmp_path / "s.npy", dates)[0])[3, 0] == DATES[3]
    np.save(tmp_path / "s.npy", np.full((30, 2), 1e39))
    for read in (read_samples, read_observations):
        with pytest.raises(DataError, match=r"s\.npy: column 'date' holds 1e.39, which is too lar"):
            read(tmp_path / "s.npy", dates)


def test_samples_are_written_in_the_units_of_the_data(tmp_path: Path, dates: Dataset) -> None:
    x = dates.train.x
    write_samples(dates.spec, tmp_path / "s.png", x, None)
    assert (tmp_path / "s.png").stat().st_size > 1000
    written = np.load(tmp_path / "s.npy")
    assert written.dtype == np.float64
    assert set(written[:, 0]) <= set(DATES)
    assert torch.equal(read_samples(tmp_path / "s.npy", dates)[0], x)


@pytest.mark.parametrize("fault", ["scale twice", "offset in float32", "no offset"])
def test_a_planted_fault_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """What the tests above rest on: a wrong unit does not come back."""
    sound = DataSpec.to_float

    def to_float(self: DataSpec, x: Tensor) -> Tensor:
        offset, scale = self._units(x.device)
        if fault == "scale twice":
            return sound(self, x.double() * scale)
        if fault == "offset in float32":
            return (x * scale.float() + offset.float()).double()
        return x.double() * scale

    columns = DATES, 1e40 * NORMAL
    path = table(tmp_path / "data.csv", "date,b", *columns)
    expected = in_order(load(str(path)))
    monkeypatch.setattr(DataSpec, "to_float", to_float)
    assert not torch.equal(in_order(load(str(path))), expected)


# ---- figures -------------------------------------------------------------------------------------


def moved(data: Dataset, scale: float, offset: float) -> Dataset:
    """The same vectors, held to stand for others: x · scale + offset."""
    columns = (Column(offset=offset, scale=scale), *[Column()] * (data.spec.dims - 1))
    return replace(data, spec=replace(data.spec, columns=columns))


def fitted(data: Dataset) -> GMM:
    with seeded(0):
        model = GMM(data.spec, components=2)
        model.prepare(data.train.x)
        for _ in range(5):
            model.update([(data.train.x, None)])
    return model.eval()


def conditional(data: Dataset) -> NICE:
    with seeded(0):
        model = NICE(data.spec, **NICE.small[0] | {"context": "label"})
        model.prepare(*data.train.batch(torch.arange(len(data.train))))
    return randomise(model)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Dataset, Dataset]:
    """A table with labels, and the same with its first column times 1000 plus 1e9."""
    a = RNG.normal(size=(400, 2)) @ np.array([[1.0, 0.4], [0.0, 0.8]])
    kinds = ["xy"[i] for i in (a[:, 1] > 0).astype(int)]
    x = np.round(a * 2**20) / 2**20
    paths = [
        table(tmp_path / f"{i}.csv", "a,b,kind", map(repr, column.tolist()), x[:, 1], kinds)
        for i, column in enumerate((x[:, 0], 1000 * x[:, 0] + 1e9))
    ]
    plain, large = (load(str(path), labels="kind") for path in paths)
    assert plain.spec.columns == ()
    assert large.spec.columns[0].offset != 0
    return plain, large


def test_log_p_changes_by_the_logarithm_of_the_unit(two: tuple[Dataset, Dataset]) -> None:
    """Times 1000 plus 1e9, a density is a thousandth: whichever offset and scale are held."""
    plain, large = two
    scores = [
        likelihood(fitted(data), data.test).marginal
        for data in (plain, large, moved(plain, 1000.0, 1e9))
    ]
    one, other, same = (score.values for score in scores if score is not None)
    assert torch.allclose(one - math.log(1000), other, rtol=0, atol=1e-3)
    # the same numbers are learned from, so nothing but the unit differs
    assert torch.equal(one - math.log(1000), same)


def test_what_follows_from_a_likelihood_is_in_the_same_units(two: tuple[Dataset, Dataset]) -> None:
    plain, _ = two
    large = moved(plain, 1000.0, 1e9)
    p = class_frequencies(plain.train, plain.spec)
    found = []
    for data in (plain, large):
        model = conditional(data)
        scores = likelihood(model, data.test, class_frequencies=p)
        # differences are in no unit
        with_classes = shuffled(model, data.test, scores, class_frequencies=p)
        without = shuffled(model, data.test, replace(scores, given_each_label=None))
        assert with_classes.nats is not None
        assert without.nats is not None
        assert scores.given_label is not None
        assert scores.marginal is not None
        found.append((scores, with_classes.nats.value, without.nats.value))
    (one, *differences), (other, *others) = found
    assert differences == pytest.approx(others, abs=1e-9)
    for key in ("marginal", "given_label"):
        gap = getattr(other, key).nats - getattr(one, key).nats
        assert gap == pytest.approx(math.log(1000), abs=1e-9)
    # what a training tells is in the units of the report where it is shown
    assert bits_per_dim(2.0, large.spec) == 2 + math.log(1000)
    curves = learning_curves({"validation": [2.0, None]}, fitted(large), large)
    assert curves.validation == (-2 - math.log(1000), None)


def test_commands_tell_the_units_of_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.concatenate([RNG.normal(size=(100, 2)) - 3, RNG.normal(size=(100, 2)) + 3])
    kinds = ["u"] * 100 + ["v"] * 100
    path = table(tmp_path / "t.csv", "a,b,kind", (1e40 * x[:, 0]).tolist(), x[:, 1], kinds)
    told = "--labels", "kind", "--set", "context=label", "--set", "hidden=4", "--device", "cpu"
    train("nice", path, *told, "--budget", "3steps", "--out", tmp_path / "runs" / "r")
    run = Run.open(tmp_path / "runs" / "r")
    data, model = run.dataset(), run.model().eval()
    p = class_frequencies(data.train, data.spec)
    scores = likelihood(model, data.validation, class_frequencies=p)
    assert scores.given_label is not None
    assert scores.marginal is not None
    assert 80 < scores.given_label.nats < 110  # about log 1e40 more than that of normal numbers
    capsys.readouterr()
    assert run_main("runs", tmp_path / "runs", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["validation"]["value"] == pytest.approx(-scores.given_label.nats, abs=1e-3)
    nats = run.outcome().best
    assert nats is not None
    shown = TrainingDisplay(["nice"], data).shown_as(nats)
    assert shown == pytest.approx(scores.given_label.nats, abs=1e-3)
    np.save(tmp_path / "v.npy", data.spec.to_float(data.validation.x).numpy())
    assert run_main("classify", run.folder, tmp_path / "v.npy", "--json") == 0
    entries = json.loads(capsys.readouterr().out)["images"]
    found = [each["log_likelihood"] for each in entries]
    assert found == pytest.approx(scores.marginal.values.tolist())


def test_features_are_those_of_the_vectors_as_they_are_held(two: tuple[Dataset, Dataset]) -> None:
    """In float32 they would be lost beside an offset."""
    plain, _ = two
    plain = replace(plain, spec=replace(plain.spec, classes=0))
    (one, *_), (other, *_) = (views(data, 100) for data in (plain, moved(plain, 1000.0, 1e15)))
    x = plain.test.x
    assert torch.equal(one.features(x), other.features(x))


def test_errors_of_codes_are_of_the_vectors_as_they_are_held(
    two: tuple[Dataset, Dataset],
) -> None:
    """A square of 1e300 is no float."""
    data = moved(two[0], 1e300, 0.0)
    found = nature(conditional(data), data, calls=1)
    assert found.reconstruction_error is not None
    assert found.reconstruction_error < 1e-3


# ---- categories ----------------------------------------------------------------------------------

WORDS = [("red", "green", "blue")[i % 3] for i in range(40)]


def test_a_column_can_be_a_category(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", "a,colour=,n", NORMAL, WORDS, [i % 2 + 5 for i in range(40)])
    data = load(str(path), column=("colour==category", "n=category", "a=number"))
    assert data.columns == ("a", "colour=", "n")
    colours = Column("category", 3, words=("blue", "green", "red"))
    assert data.spec.columns == (Column(), colours, Column("category", 2, words=("5", "6")))
    assert data.spec.mixed
    assert not data.notes
    assert data.description.endswith("t.csv: a, colour= (3 categories), n (2 categories).")
    places = in_order(data)[:, 1]
    assert [colours.words[int(i)] for i in places] == WORDS
    assert load(**json.loads(json.dumps(data.options))).fingerprint == data.fingerprint
    # without a header a column goes by its number
    lines = path.read_text().splitlines()[1:]
    (tmp_path / "u.csv").write_text("\n".join(lines) + "\n")
    numbered = load(str(tmp_path / "u.csv"), column=("2=category", "3=category"))
    assert numbered.fingerprint == data.fingerprint


def test_samples_have_the_categories_of_the_data(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", "a,colour,n", NORMAL, WORDS, [i % 2 for i in range(40)])
    data = load(str(path), column=("colour=category", "n=category"))
    few = ["red", "blue"] * 15
    table(tmp_path / "s.csv", "colour,n,a", few, [1.0] * 30, NORMAL[:30])
    x, _, _ = read_samples(tmp_path / "s.csv", data)
    assert x[:, 1].tolist() == [2.0, 0.0] * 15
    assert x[:, 2].tolist() == [1.0] * 30
    table(tmp_path / "s.csv", "colour,n,a", ["red", "pink"] * 15, [1] * 30, NORMAL[:30])
    with pytest.raises(DataError, match="'colour': 'pink' is none of the data's categories"):
        read_samples(tmp_path / "s.csv", data)
    np.save(tmp_path / "s.npy", np.full((30, 3), 2.0))
    with pytest.raises(
        DataError, match=r"column 3 is a category: expected its places 0 … 1, got 2"
    ):
        read_samples(tmp_path / "s.npy", data)


def test_parquet_has_categories_too(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    columns = {"a": NORMAL, "colour": WORDS}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    path = table(tmp_path / "t.csv", "a,colour", *columns.values())
    one, other = (load(str(p), column=("colour=category",)) for p in (tmp_path / "t.parquet", path))
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("column", "error", "message"),
    [
        (("colour",), UsageError, "column is NAME=number or NAME=category, got 'colour'"),
        (("=category",), UsageError, "got '=category'"),
        (("colour=date",), UsageError, "got 'colour=date'"),
        (("colour=category", "colour=number"), UsageError, "column names one twice"),
        (("color=category",), UsageError, "no column 'color' for a category: did you mean 'col"),
        (("kind=category",), UsageError, "'kind' holds the labels, and cannot be a category"),
        (("colour=number",), DataError, "'red' is no number.*--column 'colour=category'"),
        (("colour=category", "2=category"), UsageError, "'colour' and '2' are one column: name"),
        (("2=number", "colour=category"), UsageError, "'2' and 'colour' are one column: name"),
        (("a=category",), DataError, "column 'a': categories should be integers or words"),
        (("one=category",), DataError, "column 'one' is of one category: drop the column"),
        (("gap=category",), DataError, "line 3, column 'gap': an empty cell"),
    ],
)
def test_what_is_no_category_is_refused(
    tmp_path: Path, column: tuple[str, ...], error: type[Exception], message: str
) -> None:
    gaps = ["x", "", *["y"] * 38] if "gap" in column[0] else range(40)
    colours = WORDS if "colo" in column[0] else range(40)
    ones = ["w"] * 40 if "one" in column[0] else range(40)
    columns = NORMAL, colours, ["uv"[i % 2] for i in range(40)], ones, gaps
    path = table(tmp_path / "t.csv", "a,colour,kind,one,gap", *columns)
    with pytest.raises(error, match=message):
        load(str(path), labels="kind", column=column)


def test_only_tables_have_columns(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", RNG.normal(size=(40, 2)))
    for source in ("digits", "moons", str(tmp_path / "a.npy")):
        with pytest.raises(UsageError, match="column"):
            load(source, column=("1=category",))
    with pytest.raises(UsageError, match="column is of type tuple"):
        Form(column="a=category")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", registry.MODELS)
def test_models_refuse_mixed_columns(tmp_path: Path, name: str) -> None:
    path = table(tmp_path / "t.csv", "a,colour,b", NORMAL, WORDS, NORMAL)
    spec = replace(load(str(path), column=("colour=category",)).spec, classes=3)
    kind = registry.find(name)
    plain = replace(spec, columns=())
    assert not kind.takes.includes(spec)
    assert replace(kind.takes, mixed=True).includes(spec) == kind.takes.includes(plain)
    with pytest.raises(MissingCapability) as caught:
        registry.build(name, spec)
    # one may be for less with its usual keywords than with others
    if kind.takes_with().includes(plain):
        assert "needs columns of numbers, these have some of categories" in str(caught.value)
        registry.build(name, plain)
