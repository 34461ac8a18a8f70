"""Outlier scores: what they tell, what a plain code takes, and the command that ranks by them."""

from __future__ import annotations

import csv
import io
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from commands import BRIEF, train
from simulacra.data.catalogue import load
from simulacra.data.foreign.anything import read_anything
from simulacra.ground.errors import DataError, MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.tasks.compressed import _filtered, compressed_bits
from simulacra.tasks.outliers import corrected, separation

# ---- how a score tells --------------------------------------------------------------------------


def test_an_auroc_counts_pairs() -> None:
    found = separation(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0]))
    assert found.auroc == 0.75
    assert separation(torch.ones(3), torch.ones(5)).auroc == 0.5
    assert separation(torch.zeros(3), torch.ones(5)).auroc == 0


def test_what_is_not_finite_lies_farthest_out() -> None:
    found = separation(torch.tensor([math.nan, math.inf, 0.0]), torch.arange(100.0))
    assert found.beyond.tolist() == [True, True, False]
    assert found.threshold == 98
    # one of a hundred that is infinite is beyond 99 %, and so no threshold
    assert separation(torch.zeros(1), torch.cat([torch.arange(99.0), torch.tensor([math.inf])]))
    assert math.isnan(separation(torch.zeros(1), torch.arange(9.0)).standard_error)


def test_one_in_a_hundred_of_the_same_lies_beyond() -> None:
    with seeded(0):
        found = separation(torch.randn(20_000), torch.randn(20_000))
    assert int(found.beyond.sum()) == pytest.approx(200, abs=60)
    assert abs(found.auroc - 0.5) < 3 * found.standard_error


def test_the_error_of_an_auroc_is_how_much_it_varies() -> None:
    with seeded(0):
        draws = [separation(torch.randn(60) + 1, torch.randn(90)) for _ in range(300)]
    spread = torch.tensor([each.auroc for each in draws]).std()
    error = torch.tensor([each.standard_error for each in draws]).mean()
    assert float(error) == pytest.approx(float(spread), rel=0.15)


def test_no_scores_tell_nothing() -> None:
    with pytest.raises(UsageError, match="at least one"):
        separation(torch.zeros(0), torch.zeros(3))


def test_what_a_code_takes_is_taken_off_in_bits() -> None:
    nats = torch.tensor([-8 * math.log(2)])
    assert float(corrected(nats, torch.tensor([5.0]))) == pytest.approx(3)


# ---- codes --------------------------------------------------------------------------------------

GREY = DataSpec((1, 16, 16), 256)
SOUND = DataSpec((1000,), 256, coding="mu-law", rate=8000)


def test_plain_is_short_and_noise_is_long() -> None:
    with seeded(0):
        noise = torch.randint(256, (4, 3, 32, 32))
    spec = DataSpec((3, 32, 32), 256)
    bits = compressed_bits(noise, spec) / spec.dims
    assert bool((bits > 8).all())
    assert bool((bits < 8.1).all())
    assert bool((compressed_bits(torch.full((1, 3, 32, 32), 7), spec) / spec.dims < 0.1).all())


def test_filters_shorten_what_changes_slowly() -> None:
    rows = torch.arange(16) * 3
    slope = (rows[:, None] + rows)[None, None]
    flat = 8 * len(zlib.compress(slope.numpy().astype(np.uint8).tobytes(), 9))
    assert float(compressed_bits(slope, GREY)) < flat / 3


def test_a_pixel_is_guessed_from_its_neighbours_as_in_png() -> None:
    picture = np.array([[[10, 10], [20, 25]]], np.uint8)
    left_over = [int(each[1, 1, 0]) for each in _filtered(picture)]
    # nothing, left, up, half of both, and of the three the one nearest to left + up − corner
    assert left_over == [25, 5, 15, 10, 5]


def test_codes_are_about_as_short_as_png() -> None:
    x = load("digits").test.batch(torch.arange(20))[0]
    x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    ours = compressed_bits(x, DataSpec((1, 16, 16), 17))
    for picture, bits in zip(x[:, 0], ours.tolist(), strict=True):
        file = io.BytesIO()
        Image.fromarray(picture.numpy().astype(np.uint8)).save(file, "PNG", optimize=True)
        # its signature, header, checksums and the frame of the stream
        png = 8 * (len(file.getvalue()) - 8 - 25 - 12 - 12 - 6)
        assert bits < 1.1 * png
        assert bits > 0.5 * png


def test_a_sound_is_predicted() -> None:
    time = torch.arange(1000)
    slow = (128 + 60 * torch.sin(time / 40)).round().long()[None]
    with seeded(0):
        noise = torch.randint(256, (1, 1000))
    assert float(compressed_bits(slow, SOUND)) < 0.4 * float(compressed_bits(noise, SOUND))
    # deflate finds nothing in small noise, and Rice codes do
    quiet = 128 + noise % 5 - 2
    entropy = 1000 * math.log2(5)
    assert entropy < float(compressed_bits(quiet, SOUND)) < 1.35 * entropy


def test_two_bytes_are_taken_where_one_does_not_do() -> None:
    spec = DataSpec((1, 16, 16), 4096)
    assert float(compressed_bits(torch.full((1, 1, 16, 16), 4095), spec)) < 300
    with seeded(0):
        noise = torch.randint(4096, (1, 1, 16, 16))
    assert float(compressed_bits(noise, spec)) > 256 * 11
    with pytest.raises(MissingCapability, match="no lossless code"):
        compressed_bits(torch.zeros(1, 2), DataSpec((2,), None))


# ---- anything, in the form of the data ----------------------------------------------------------


def test_a_named_set_is_brought_to_the_form() -> None:
    digits = load("digits")
    data = load("digits", side=12, levels=4)
    found = read_anything("digits", data)
    assert found.observations.x.shape == (359, 1, 12, 12)
    assert found.notes == ("digits is read with side 12, levels 4, as digits is",)
    assert read_anything("digits", digits).notes == ()
    with pytest.raises(DataError, match="ring-8 holds observations 2, and digits 1×8×8 of 17 lev"):
        read_anything("ring-8", digits)


def test_files_keep_their_names(tmp_path: Path) -> None:
    data = load("digits")
    (tmp_path / "some" / "below").mkdir(parents=True)
    for name in ("b.png", "a.png", "below/c.png"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "some" / name)
    found = read_anything(str(tmp_path / "some"), data)
    assert found.names == ["a.png", "b.png", "below/c.png"]
    one = read_anything(str(tmp_path / "some" / "a.png"), data)
    assert one.names == [str(tmp_path / "some" / "a.png")]
    np.save(tmp_path / "rows.npy", np.zeros((3, 1, 8, 8), np.uint8))
    assert read_anything(str(tmp_path / "rows.npy"), data).names == ["0", "1", "2"]


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    data = load("digits")
    with pytest.raises(DataError, match="did you mean 'mnist'"):
        read_anything("mnst", data)
    with pytest.raises(DataError, match="check the path"):
        read_anything(str(tmp_path / "none.npy"), data)
    with pytest.raises(DataError, match="no picture"):
        read_anything(str(tmp_path), data)


# ---- the command --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, kept: Any) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("outliers")
    noise = np.random.default_rng(0)
    points = noise.normal(size=(200, 3))
    np.save(root / "points.npy", points.astype(np.float32))
    far = np.concatenate([points[:20], points[20:25] + 50])
    np.save(root / "far.npy", far.astype(np.float32))
    found = {name: root / name for name in ("table", "digits", "gan", "labelled", "pictures")}
    train("gmm", root / "points.npy", "--set", "components=1", "--budget", "2steps",
          "--out", found["table"])  # fmt: skip
    for name, brief in (("digits", "gmm"), ("gan", "gan"), ("labelled", "labelled")):
        kept.run(*BRIEF[brief], into=found[name])
    found["pictures"].mkdir()
    for number, picture in enumerate(load("digits").validation.x[:5, 0].numpy()):
        pixels = (picture * 255.0 / 16).round().astype(np.uint8)
        Image.fromarray(pixels).save(found["pictures"] / f"digit{number}.png")
    Image.fromarray(noise.integers(0, 256, (8, 8)).astype(np.uint8)).save(
        found["pictures"] / "noise.png"
    )
    return {**found, "far": root / "far.npy"}


def rows_of(path: str) -> list[dict[str, str]]:
    with Path(path).open() as file:
        return list(csv.DictReader(file))


def test_what_lies_far_out_comes_first(ok: Any, places: dict[str, Path]) -> None:
    out, err = ok("outliers", places["digits"], places["pictures"], "-o", "all.csv")
    lines = out.splitlines()
    assert lines[0].split() == [
        "observation", "bits/dim", "compressed", "corrected", "beyond", "99", "%",
    ]  # fmt: skip
    rows = rows_of("all.csv")
    assert [int(row["rank"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[0]["observation"] == "noise.png"
    assert rows[0]["beyond_bits_per_dim"] == "1"
    for row in rows:
        bits, code, score = (
            float(row[key]) for key in ("bits_per_dim", "compressed_bits_per_dim", "corrected")
        )
        assert bits - code == pytest.approx(score)
    scores = [float(row["corrected"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    # a lossless code of 17 levels has something left to say of each
    assert min(float(row["compressed_bits_per_dim"]) for row in rows) > 1
    assert "AUROC" in out
    assert "of data like these 1 % would be" in err
    with Image.open("all.png") as image:
        assert image.format == "PNG"
    assert "all 6, the highest score first" in err


def test_numbers_have_no_code(ok: Any, places: dict[str, Path]) -> None:
    out, err = ok("outliers", places["table"], places["far"], "-o", "far.csv")
    rows = rows_of("far.csv")
    assert set(rows[0]) == {"rank", "observation", "nats", "beyond_nats"}
    assert {row["observation"] for row in rows[:5]} == {"20", "21", "22", "23", "24"}
    assert [row["beyond_nats"] for row in rows[:5]] == ["1"] * 5
    assert sum(int(row["beyond_nats"]) for row in rows) < 8
    assert "corrected" not in out
    assert "numbers without levels have no lossless code: −log p is all there is" in err
    data = load(str(places["far"].with_name("points.npy")))
    far = np.load(places["far"])
    known = sum(bool((data.train.x.numpy() == row).all(1).any()) for row in far)
    assert 0 < known < 20
    assert f"{known} of 25 observations are training data" in err


def test_a_set_by_its_name_and_a_model_of_classes(ok: Any, places: dict[str, Path]) -> None:
    out, err = ok("outliers", places["labelled"], "digits", "-n", "30")
    assert "… and 20 more, with lower scores" in out
    assert "VAE has a bound on likelihood, and scores are the bound's" in err
    assert (places["labelled"] / "outliers-digits.png").is_file()
    assert "of 30 validation" not in out
    assert "99 % of 30 validation observations" in err


def test_what_is_likelier_than_the_data_is_told(ok: Any, places: dict[str, Path]) -> None:
    """The middle of a Gaussian is likelier than what it draws, and nothing drawn lies there."""
    np.save("middle.npy", np.zeros((20, 3), np.float32))
    out, err = ok("outliers", places["table"], "middle.npy")
    assert "by −log p alone observations of middle.npy are likelier than the validation" in err
    first = next(line for line in out.splitlines() if line.startswith("−log p"))
    assert "0 of 20" in first
    assert float(first.split()[-3]) < 0.1


@pytest.mark.parametrize(
    ("run", "data", "code", "words"),
    [
        ("gan", "digits", 2, "GAN has no likelihood to score by: train nice or vae instead"),
        ("digits", "dgits", 3, "did you mean 'digits'"),
        ("digits", "ring-8", 3, "holds observations 2"),
        ("table", "digits", 3, "holds observations 1×8×8"),
    ],
)
def test_what_cannot_be_scored_is_told_on_a_line(
    run: str, data: str, code: int, words: str, cli: Any, places: dict[str, Path]
) -> None:
    ended, _, err = cli("outliers", places[run], data)
    assert ended == code, err
    assert err.count("\n") == 1
    assert words in err


def test_all_scores_go_into_a_table(cli: Any, places: dict[str, Path]) -> None:
    code, _, err = cli("outliers", places["digits"], "digits", "-o", "a.png")
    assert code == 2
    assert "--out is a .csv file, got 'a.png'" in err


# ---- maps ---------------------------------------------------------------------------------------


def test_a_plane_is_mapped_and_what_is_between_the_maps_of_a_flow(ok: Any, kept: Any) -> None:
    run = kept.run("nice", "ring-8", "--set", "hidden=4", "--set", "couplings=2", "--budget",
                   "2steps", into=Path("flow").absolute())  # fmt: skip
    _, err = ok("map", run)
    assert "map.png: density | true density | samples" in err
    assert "map-maps.png: the base, and its density" in err
    for name in ("map.png", "map-maps.png"):
        with Image.open(run / name) as image:
            assert image.format == "PNG"


def test_what_is_no_plane_is_mapped_by_its_codes(cli: Any, places: dict[str, Path]) -> None:
    for run in ("digits", "table"):
        code, _, err = cli("map", places[run])
        assert code == 0, err
        assert "codes of" in err
