from __future__ import annotations

import csv
import io
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simulacra.data.catalogue import load
from simulacra.data.form import Form
from simulacra.data.splits import permutation
from simulacra.data.tables import load_table
from simulacra.ground.errors import DataError, SimulacraError, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.adversarial.gan import GAN
from simulacra.models.flow.nice import NICE
from simulacra.models.latent.vae import VAE
from simulacra.models.mixture.gmm import GMM, FullGMM

ROWS = 40


def numbers(rows: int = ROWS, columns: int = 3) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(0).normal(size=(rows, columns)).round(4)


def write(path: Path, rows: Any, *, delimiter: str = ",", header: str = "") -> Path:
    lines = [delimiter.join(map(str, row)) for row in rows]
    path.write_text("\n".join([header] * bool(header) + lines) + "\n", encoding="utf-8")
    return path


def in_order(dataset: Any) -> torch.Tensor:
    """All rows as they came, by undoing the split."""
    x = torch.cat([dataset.test.x, dataset.validation.x, dataset.train.x])
    return x[permutation(len(x)).argsort()]


@pytest.mark.parametrize(
    ("name", "delimiter", "header"),
    [
        ("t.csv", ",", ""),
        ("t.csv", ",", "a,b,c"),
        ("t.csv", ";", ""),
        ("t.csv", ";", '"a,b";x;y'),
        ("t.csv", "\t", ""),
        ("t.tsv", "\t", "a\tb\tc"),
        ("T.CSV", ", ", ""),
    ],
)
def test_a_table_comes_back(tmp_path: Path, name: str, delimiter: str, header: str) -> None:
    values = numbers()
    path = write(tmp_path / name, values, delimiter=delimiter, header=header)
    dataset = load(str(path))
    assert torch.equal(in_order(dataset), torch.from_numpy(values).float())
    assert dataset.spec.event_shape == (3,)
    assert dataset.spec.levels is None
    assert dataset.counts == {"train": 28, "validation": 4, "test": 8}
    assert dataset.notes == ()
    assert load(**json.loads(json.dumps(dataset.options))).fingerprint == dataset.fingerprint


def test_byte_marks_line_ends_and_quotes_are_no_matter(tmp_path: Path) -> None:
    values = numbers()
    plain = load(str(write(tmp_path / "plain.csv", values)))
    text = "\ufeffa,b,c\r\n" + "\r\n".join(",".join(f'" {v}"' for v in row) for row in values)
    (tmp_path / "other.csv").write_bytes((text + "\r\n\r\n \n").encode())
    assert load(str(tmp_path / "other.csv")).fingerprint == plain.fingerprint


@pytest.mark.parametrize("how", ["name", "number", "number without header"])
def test_a_column_of_words_is_labels(tmp_path: Path, how: str) -> None:
    values = numbers()
    words = [["rose", "daisy", "tulip"][i % 3] for i in range(ROWS)]
    rows = [[a, word, b, c] for (a, b, c), word in zip(values, words, strict=True)]
    header = "" if how == "number without header" else "a,kind,b,c"
    path = write(tmp_path / "t.csv", rows, header=header)
    dataset = load(str(path), labels="kind" if how == "name" else "2")
    assert dataset.class_names == ("daisy", "rose", "tulip")
    assert dataset.spec.classes == 3
    assert torch.equal(in_order(dataset), torch.from_numpy(values).float())
    assert dataset.test.context is not None
    order = permutation(ROWS)[: len(dataset.test)]
    assert [dataset.class_names[i] for i in dataset.test.context] == [words[i] for i in order]


def test_numbers_as_labels_are_in_their_order(tmp_path: Path) -> None:
    labels = [(10, "2", 3.0)[i % 3] for i in range(ROWS)]
    rows = [[*row, label] for row, label in zip(numbers(), labels, strict=True)]
    dataset = load(str(write(tmp_path / "t.csv", rows)), labels="4")
    assert dataset.class_names == ("2", "3", "10")
    assert dataset.train.context is not None
    assert set(dataset.train.context.tolist()) == {0, 1, 2}


def table_text(**changed: str) -> str:
    rows = [f"{i},{i * 0.37},{i % 7 + 0.5}" for i in range(12)]
    for line, text in changed.items():
        rows[int(line.removeprefix("line")) - 2] = text
    return "a,b,c\n" + "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("content", "labels", "message"),
    [
        ("", None, r"t\.csv is empty"),
        ("\n \n", None, r"t\.csv is empty"),
        ("a,b\n", None, "holds 0 rows, expected at least 10"),
        ("a,b\n1,2\n", None, "holds 1 rows"),
        (table_text(line5="1,2"), None, "line 5: 2 cells where the first row has 3"),
        (table_text(line5="1,2,3,4"), None, "line 5: 4 cells where the first row has 3"),
        (table_text(line5=""), None, "line 5: empty: drop it"),
        (table_text(line5="1,rose,3"), None, "line 5, column 'b': 'rose' is no.*--labels 'b'"),
        (table_text(line5="1,,3"), None, "line 5, column 'b': an empty cell: fill"),
        (table_text(line5="1,nan,3"), None, "line 5, column 'b': a missing value"),
        (table_text(line5="1,-inf,3"), None, "line 5, column 'b': an infinite value"),
        (table_text(line5="1,1e400,3"), None, "line 5, column 'b': an infinite value"),
        (table_text(line5="1,1_000,3"), None, "'1_000' is no number"),
        (table_text(line5='1,"2,3'), None, r"line \d+: .*repair it"),
        (table_text(line5="1,\x1b[31m,3"), None, r"'\\x1b\[31m' is no number"),
        (table_text().replace("a,b,c", "a,b,a"), None, "two columns called 'a'"),
        (table_text().replace(",", ";").replace(".", ","), None, "decimal comma: write a point"),
        (table_text(), "d", "no column 'd' for labels"),
        (table_text(), "4", "no column '4' for labels"),
        (table_text(), "0", "no column '0' for labels"),
        (table_text(), "9" * 5000, "no column '999"),
        (table_text(), "b", "labels should be integers or words"),
        (table_text(), "a", "labels take 12 values in 12 rows, which are no classes"),
        (table_text().replace("\n", ",\n"), "4", "no row has a label"),
        (table_text().partition("\n")[2], "x", "name it by its number, 1 to 3"),
        ("a\n" + "1\n2\n" * 9, "a", "one column only"),
        ("a,b\n" + "1,5\n2,5\n" * 9, None, "column 'b' takes one value in all training rows"),
        ("a,b\n" + "1,5\n2,5\0\n" * 9, None, "line 3: a NUL byte"),
        ("ä,b\n".encode("latin-1") + b"1,5\n" * 9, None, "line 1: no UTF-8 text: save it as UTF-8"),
        (table_text().encode("utf-16"), None, "no UTF-8 text"),
        ("1" * 200_000 + "\n", None, "field larger than field limit"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, content: str | bytes, labels: str | None, message: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SimulacraError, match=message) as caught:
        load(str(path), **({"labels": labels} if labels else {}))
    assert "\n" not in str(caught.value)
    usage = message.startswith(("no column", "name it", "one column"))
    assert isinstance(caught.value, UsageError if usage else DataError)


def test_options_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", numbers())
    for option in ({"side": 4}, {"levels": 4}, {"flip": True}, {"window": 5}):
        with pytest.raises(UsageError, match=rf"{next(iter(option))} is for .*; t\.csv holds tab"):
            load(str(path), **option)
    with pytest.raises(UsageError, match="limit is for data on the Hugging Face hub"):
        load(str(path), limit=4)


def test_suspicious_columns_are_noted(tmp_path: Path) -> None:
    count = 1000
    x = np.random.default_rng(0).normal(size=count)
    dice = np.arange(count) % 6
    time = 1.7e9 + np.arange(count) / 7
    many = np.arange(count) % 100
    rows = zip(x, dice, time, range(count), many, strict=True)
    path = write(tmp_path / "t.csv", rows, header="x,dice,time,index,many")
    dice_note, index_note = load(str(path)).notes
    assert dice_note.startswith("column 'dice' takes 6 values only: a density of it can be made")
    assert index_note.startswith("column 'index' counts the rows")
    numbered = write(tmp_path / "n.csv", numbers(), header="0,1,2")
    assert load(str(numbered)).notes[0].startswith("the first row counts the columns")


@settings(max_examples=300, deadline=None, database=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.text('0123456789.,;-+e"\n\r\t naif_ax', max_size=300).map(str.encode),
        st.lists(
            st.lists(st.sampled_from(["1", "-2.5", "1e3", "x", "", "nan", '"4"']), max_size=3),
            min_size=10,
            max_size=15,
        ).map(lambda rows: "\n".join(map(",".join, rows)).encode()),
    ),
    st.sampled_from([".csv", ".tsv"]),
    st.sampled_from([None, "1", "x", "2"]),
)
def test_any_bytes_are_a_table_or_an_error(content: bytes, suffix: str, labels: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"t{suffix}"
        path.write_bytes(content)
        try:
            dataset = load_table(path, Form(labels=labels))
        except (DataError, UsageError) as fault:
            told = str(fault)
        else:
            told = dataset.description + "".join(dataset.notes)
            assert bool(dataset.train.x.isfinite().all())
        assert told.isprintable()


floats32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=50, deadline=None, database=None)
@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(floats32, min_size=width, max_size=width), min_size=10)
    ),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from([",", ";", "\t"]),
)
def test_what_was_written_is_read(rows: list[list[float]], quoting: Any, delimiter: str) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=quoting, delimiter=delimiter).writerows(rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_text(text.getvalue(), encoding="utf-8", newline="")
        try:
            dataset = load_table(path, Form())
        except DataError as fault:
            assert "takes one value" in str(fault)  # noqa: PT017 (constants are refused)
        else:
            assert torch.equal(in_order(dataset), torch.tensor(rows))


# ---- parquet -----------------------------------------------------------------------------------


@pytest.fixture
def parquet() -> Any:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    return parquet


def test_parquet_holds_the_same_table(tmp_path: Path, parquet: Any) -> None:
    import pyarrow

    values = numbers()
    words = ["rose", "daisy"] * (ROWS // 2)
    columns = {"a": values[:, 0], "b": values[:, 1], "kind": words, "c": values[:, 2]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    path = write(tmp_path / "t.csv", zip(*columns.values(), strict=True), header="a,b,kind,c")
    one = load(str(tmp_path / "t.parquet"), labels="kind")
    assert one.fingerprint == load(str(path), labels="kind").fingerprint
    assert one.class_names == ("daisy", "rose")
    coded = pyarrow.table(columns | {"kind": pyarrow.array(words).dictionary_encode()})
    parquet.write_table(coded, tmp_path / "coded.parquet")
    assert load(str(tmp_path / "coded.parquet"), labels="3").fingerprint == one.fingerprint


@pytest.mark.parametrize(
    ("column", "labels", "message"),
    [
        ([1.0] * 11 + [None], None, "row 12, column 'b': missing"),
        ([1.0] * 11 + [math.nan], None, "row 12, column 'b': a missing value"),
        ([1.0] * 11 + [math.inf], None, "row 12, column 'b': an infinite value"),
        (["x"] * 12, None, "column 'b': string is no number.*--labels 'b'.*--column 'b=cat"),
        ([[1, 2]] * 12, "b", "column 'b': labels are integers or words"),
        ([2.0] * 12, None, "column 'b' takes one value"),
        ([2.0] * 12, "c", "no column 'c' for labels"),
    ],
)
def test_what_is_wrong_in_parquet_is_named(
    tmp_path: Path, parquet: Any, column: list[Any], labels: str | None, message: str
) -> None:
    import pyarrow

    path = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({"a": np.arange(12.0), "b": column}), path)
    with pytest.raises(SimulacraError, match=message):
        load_table(path, Form(labels=labels))


def test_broken_parquet_is_a_data_error(tmp_path: Path, parquet: Any) -> None:
    import pyarrow

    path = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({"a": np.arange(50.0), "b": np.arange(50) % 7}), path)
    whole = path.read_bytes()
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"cannot be read as \.parquet"):
        load_table(path, Form())
    for cut in range(0, len(whole), 97):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError):
            load_table(path, Form())


def test_without_pyarrow_one_is_told_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"pip install 'simulacra\[parquet\]'"):
        load(str(tmp_path / "t.parquet"))


# ---- units -------------------------------------------------------------------------------------

TRIPLE = DataSpec((3,), None)
UNITS = torch.tensor([1024.0, 0.125, 4.0])
"""Powers of two, by which floats are multiplied without rounding."""


def cloud() -> torch.Tensor:
    with seeded(3):
        return torch.randn(400, 3) @ torch.randn(3, 3) + torch.tensor([2.0, -1.0, 0.5])


def trained(model: Any, x: torch.Tensor, steps: int = 60) -> Any:
    with seeded(1):
        model.prepare(x)
        if isinstance(model, GMM):
            for _ in range(10):
                model.update([(x, None)])
            return model
        optimiser = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(steps):
            optimiser.zero_grad()
            model.loss(x)["loss"].backward()
            optimiser.step()
    return model


@pytest.mark.parametrize("name", ["gmm", "gmm-full", "nice", "vae"])
def test_other_units_cost_what_they_must(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every column times s, log p changes by −Σ log |s|, and nothing else does."""
    # a bound's noise is keyed by the values, which are others here
    monkeypatch.setattr("simulacra.nn.distributions.keys_of", lambda x, _: torch.arange(len(x)))
    make = {
        "gmm": lambda: GMM(TRIPLE, components=3),
        "gmm-full": lambda: FullGMM(TRIPLE, components=3, covariance="full"),
        "nice": lambda: NICE(TRIPLE, hidden=(16,)),
        "vae": lambda: VAE(TRIPLE, latent=2, hidden=(16,)),
    }[name]
    x = cloud()
    scores = []
    for units in (torch.ones(3), UNITS):
        with seeded(0):
            model = make()
        model = trained(model, x * units)
        with torch.no_grad():
            scores.append(model.log_likelihood(x * units, draws=8))
    change = scores[1] - scores[0]
    expected = -float(UNITS.log().sum())
    assert float(change.mean()) == pytest.approx(expected, abs=2e-3)
    # what rounding differs by grows while a model is trained
    assert float((change - expected).abs().max()) < 0.05
    # and it has learnt something: better than one Gaussian with independent values
    plain = torch.distributions.Normal(x.mean(0), x.std(0)).log_prob(x).sum(1)
    assert float(scores[0].mean()) > float(plain.mean()) + 0.1


def test_a_gan_learns_on_columns_of_any_scale() -> None:
    units = torch.tensor([1e25, 1e-6, 1.0])
    x = cloud() * units
    with seeded(0):
        model = GAN(TRIPLE, latent=3, hidden=(16,))
        model.prepare(x)
        drawn = model.sample(2000)
    assert math.isfinite(model.loss(x, turn="discriminator")["loss"].item())
    with seeded(0):
        plain = GAN(TRIPLE, latent=3, hidden=(16,))
        plain.prepare(cloud())
        expected = plain.sample(2000)
    assert torch.allclose(drawn / units, expected, atol=1e-3)


def test_a_vae_of_huge_and_tiny_columns_is_finite() -> None:
    x = cloud() * torch.tensor([1e30, 1e-20, 1.0])
    model = trained(VAE(TRIPLE, latent=2, hidden=(16,)), x, steps=5)
    with torch.no_grad():
        assert bool(model.log_likelihood(x).isfinite().all())
        assert bool(model.sample(100).isfinite().all())
