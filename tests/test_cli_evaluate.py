"""The command that judges: runs alone and in pairs, and samples of any program."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from commands import BRIEF, blank, run_main, train
from simulacra.cli import terminal
from simulacra.data.catalogue import load
from simulacra.data.splits import halves
from simulacra.judging.figures.measures import MEASURES
from simulacra.judging.figures.sample_judge import MOST
from simulacra.models.mixture.gmm import GMM

pytestmark = pytest.mark.usefixtures("short_chains")

FIDELITY = {"frechet", "kernel", "precision", "recall", "density", "coverage"}
NOVELTY = {"c_t", "membership", "authentic", "nearer", "suspects"}


def load_strictly(text: str):
    """JSON as its standard has it, without NaN and infinity."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def digits_as_files(folder: Path, split: str, rows: torch.Tensor) -> None:
    """Digits of a split as PNG files, in a folder for each class."""
    data = load("digits")
    x, labels = getattr(data, split).batch(rows)
    pixels = (data.spec.to_float(x)[:, 0] * 255).round().numpy().astype(np.uint8)
    for number, (picture, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
        place = folder / data.class_names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{number:03}.png")


@pytest.fixture(autouse=True)
def blank_diagrams(monkeypatch):
    """Those of reports are looked at in the tests of reports."""
    blank(monkeypatch)


@pytest.fixture(scope="module")
def places(tmp_path_factory, kept) -> dict[str, Path]:
    """Runs, data and samples that tests read, and nobody writes to."""
    root = tmp_path_factory.mktemp("evaluate")
    names = ("vectors", "few", "pictures")
    found = {name: root / f"{name}.npz" for name in names}
    noise = np.random.default_rng(0)
    np.savez(found["vectors"], x=noise.normal(size=(400, 2)).astype(np.float32))
    np.savez(found["few"], x=noise.normal(size=(60, 2)).astype(np.float32))
    np.savez(found["pictures"], x=noise.integers(0, 4, (220, 1, 4, 4)).astype(np.uint8))
    trained = {
        "plane": ("gmm", found["vectors"], "components=2"),
        "other": ("gmm", found["vectors"], "components=1"),
        "short": ("gmm", found["few"], "components=2"),
        "unlabelled": ("gmm", found["pictures"], "components=2"),
        "drawn": ("gan", found["pictures"], "hidden=4"),
    }
    for name, (model, data, *keywords) in trained.items():
        found[name] = root / "runs" / name
        told = [part for keyword in keywords for part in ("--set", keyword)]
        train(model, data, "--budget", "2steps", *told, "--out", found[name])
    for name, recipe in (("mixture", "gmm"), ("labelled", "labelled")):
        found[name] = kept.run(*BRIEF[recipe], into=root / "runs" / name)
    found["twin"] = root / "elsewhere" / "plane"
    train("gmm", found["vectors"], "--budget", "1steps", "--set", "components=3",
          "--out", found["twin"])  # fmt: skip
    # the half of the test split that is not the reference is new to all that is judged
    _, new = halves(load("digits").test, MOST)
    digits = {"new digits": ("test", new), "copies": ("train", torch.arange(200)),
              "leaked": ("validation", torch.arange(180)),
              "nineteen": ("test", new[:19]), "fifty": ("test", new[:50])}  # fmt: skip
    for name, (split, rows) in digits.items():
        found[name] = root / name
        digits_as_files(found[name], split, rows)
    one = next(found["fifty"].rglob("*.png"))
    one.rename(found["fifty"] / one.name)  # so that not all of them have a label
    found["larger"] = root / "larger"
    found["larger"].mkdir()
    for number in range(20):
        Image.fromarray(np.full((9, 9), number, np.uint8)).save(found["larger"] / f"{number}.png")
    found["more vectors"] = root / "more vectors.npy"
    np.save(found["more vectors"], noise.normal(size=(50, 2)).astype(np.float32))
    found["no weights"] = root / "weights.pth"
    found["no weights"].write_text("words")
    return found


@dataclass(frozen=True)
class Judged:
    """What `evaluate` said and wrote."""

    out: str
    err: str
    folder: Path

    @property
    def results(self):
        return load_strictly((self.folder / "results.json").read_text())


def judge(*arguments: object, out: Path) -> Judged:
    said, noted = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(noted):
        code = run_main("evaluate", *arguments, "--out", out)
    assert code == 0, noted.getvalue()
    return Judged(said.getvalue(), noted.getvalue(), out)


@pytest.fixture(scope="module")
def pair(places, tmp_path_factory) -> Judged:
    """Two models of digits, one with labels, as JSON."""
    out = tmp_path_factory.mktemp("pair") / "report"
    return judge(places["mixture"], "--against", places["labelled"], "--test-limit", 60,
                 "--draws", 2, "--json", out=out)  # fmt: skip


# ---- a run --------------------------------------------------------------------------------------


def references(results):
    """What samples are held against: real data, and independent values."""
    return [results["references"][name] for name in ("real", "independent")]


def test_a_run_is_judged_by_all_that_can_be_measured(pair):
    results = load_strictly(pair.out)
    assert results == pair.results
    mixture, labelled = results["models"]
    assert (mixture["model"], labelled["model"]) == ("gmm", "vae")
    found = mixture["likelihood"]
    assert (found["observations"], found["train"]["observations"]) == (60, 60)
    assert (found["draws"], labelled["likelihood"]["draws"]) == (1, 2)
    assert (results["budget"], results["data"]["name"]) == ("2steps", "digits")
    gap = found["bits_per_dim"] - found["train"]["bits_per_dim"]
    assert found["gap"]["value"] == pytest.approx(gap)
    assert found["gap"]["low"] < gap < found["gap"]["high"]
    assert sum(row["observations"] for row in found["per_class"]) == 60
    assert [row["class"] for row in found["per_class"]] == [str(i) for i in range(10)]
    for figures in (mixture["samples"], labelled["samples"], *references(results)):
        assert (figures["refused"], figures["count"]) == (None, 359 // 2)
        assert list(figures["views"]) == ["features", "pixels"]
        for view in figures["views"].values():
            # samples that crowd around a few observations have no membership
            assert FIDELITY | NOVELTY - {"membership"} <= set(view) <= FIDELITY | NOVELTY
    assert set(results["references"]) == {"real", "independent", "chance"}
    assert [view["extractor"] for view in results["views"]] == ["classifier-64", "pca"]
    assert len({view["hash"] for view in results["views"]}) == 2
    assert all(re.fullmatch(r"[0-9a-f]{64}", view["hash"]) for view in results["views"])
    assert mixture["cost"]["parameters"] == 3 * (64 * 2 + 1) - 1
    assert mixture["nature"]["likelihood"] == "exact"
    assert labelled["nature"]["likelihood"] == "bound"


def test_labels_are_asked_of_the_model_that_takes_them(pair):
    mixture, labelled = pair.results["models"]
    assert mixture["likelihood_given_label"] is mixture["classifier"] is None
    assert "class_accuracy" not in mixture["samples"]["whole"]
    assert 0 <= labelled["samples"]["whole"]["class_accuracy"]["value"] <= 1
    assert labelled["likelihood_given_label"]["shuffled"]["low"] is not None
    assert labelled["classifier"]["bound"]
    baseline = pair.results["baseline_classifier"]["accuracy"]
    assert baseline["low"] > labelled["classifier"]["accuracy"]["value"]


def test_two_runs_are_compared_observation_by_observation(pair):
    [found] = pair.results["pairs"]
    assert found["models"] == ["gmm", "vae"]
    rows = list(csv.DictReader((pair.folder / "likelihoods.csv").read_text().splitlines()))
    assert len({row["index"] for row in rows}) == len(rows) == 60
    bits = np.array([float(row["gmm"]) - float(row["vae"]) for row in rows]) / (64 * np.log(2))
    assert found["difference"] == pytest.approx(bits.mean(), rel=1e-5)
    apart = [model["likelihood"]["bits_per_dim"] for model in pair.results["models"]]
    assert found["difference"] == pytest.approx(apart[1] - apart[0], rel=1e-5)
    assert (found["tie"], found["low"] > 0) == (False, True)


def test_a_report_shows_the_models_the_data_and_what_they_were_held_against(pair):
    assert pair.err.endswith(f"report: {pair.folder / 'report.html'}\n")
    page = (pair.folder / "report.html").read_text()
    for words in ("gmm", "vae", "real (floor)", "independent (ceiling)", "classifier-64"):
        assert words in page, words
    assert page.count("data:image/png;base64,") >= 7  # real, and each one's samples and suspects


def test_a_reports_usual_place_is_the_run(ok, places):
    out, err = ok("evaluate", places["plane"])
    assert "nats" in out
    assert err.endswith(f"report: {places['plane'] / 'report.html'}\n")
    for name in ("results.json", "report.html", "likelihoods.csv"):
        assert (places["plane"] / name).stat().st_size > 0


# ---- what a terminal shows ----------------------------------------------------------------------


def number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", "").removesuffix(" %"))


def test_the_figures_of_samples_stand_in_aligned_columns(places, tmp_path, monkeypatch):
    monkeypatch.setattr(terminal.console, "width", 200)
    judged = judge(places["unlabelled"], "--against", places["drawn"], out=tmp_path / "r")
    lines = [line.rstrip() for line in judged.out.splitlines()]
    [told] = [line for line in lines if line.startswith("Samples, 22 against as many real ones")]
    assert "seen by random-convolutions-64" in told
    head, *rows = lines[lines.index(told) + 1 :][:5]
    results = judged.results
    references = results["references"]
    expected = {
        "real": references["real"],
        **{model["model"]: model["samples"] for model in results["models"]},
        "independent": references["independent"],
    }
    assert set(expected) == {"real", "gmm", "gan", "independent"}
    for name, row in zip(expected, rows, strict=False):
        assert row.startswith(name)
        for key in ("frechet", "precision", "recall", "coverage", "c_t"):
            # a heading and what stands below it end in one column
            heading = re.search(rf"{MEASURES[key].name}( [↑↓]| → \S+)?(?= |$)", head)
            assert heading, key
            [cell] = re.findall(r"(?<= )[−\d.,]+(?: %)?$", row[: heading.end()])
            value = expected[name]["views"]["features"][key]["value"] * (100 if "%" in cell else 1)
            # with as many digits as its interval bears
            assert number(cell) == pytest.approx(value, rel=0.3, abs=0.06), (name, key)


def test_without_labels_nothing_is_said_of_classes(places, tmp_path):
    judged = judge(places["unlabelled"], "--json", out=tmp_path / "r")
    results = load_strictly(judged.out)
    [model] = results["models"]
    assert results["baseline_classifier"] is model["classifier"] is None
    assert model["likelihood"]["per_class"] is None
    for samples in (model["samples"], *references(results)):
        assert not {key for key in samples["whole"] if key.startswith("class_")}
        assert any("no share of suspects" in warning for warning in samples["warnings"])
    assert [view["name"] for view in results["views"]] == ["features", "pixels"]
    assert "class accuracy" not in (judged.folder / "report.html").read_text()


# ---- what cannot be judged ----------------------------------------------------------------------


def test_of_a_small_test_split_the_likelihood_is_what_is_left(places, tmp_path, ok):
    out, err = ok("evaluate", places["short"], "--out", tmp_path / "r")
    assert "nats" in out
    assert "Samples," not in out
    asked = "gmm: no figures of samples: samples are judged against two halves of at least 20"
    assert f"{asked} test observations, got " in err
    results = load_strictly((tmp_path / "r" / "results.json").read_text())
    [model] = results["models"]
    assert model["likelihood"]["observations"] == 12
    assert (model["samples"]["views"], model["samples"]["whole"]) == ({}, {})
    assert results["views"] == []
    assert set(results["references"].values()) == {None}
    assert "two halves of at least 20" in (tmp_path / "r" / "report.html").read_text()


def test_samples_that_are_no_numbers_are_refused_and_not_counted(places, tmp_path, ok, monkeypatch):
    inner = GMM.sample

    def broken(model, n, context=None):
        x = inner(model, n, context)
        x[0] = float("nan")
        return x

    monkeypatch.setattr(GMM, "sample", broken)
    # whose judgement was kept would be judged by that
    own = shutil.copytree(places["plane"], "own", ignore=shutil.ignore_patterns("judgement"))
    out, err = ok("evaluate", own, "--out", tmp_path / "r")
    assert "gmm: no figures of samples: 1 of 40 samples are not finite" in err
    assert "nan" not in out.lower()
    results = load_strictly((tmp_path / "r" / "results.json").read_text())
    [model] = results["models"]
    assert model["samples"]["views"] == {}
    assert model["likelihood"]["log_likelihood"] < 0
    # the floor is there all the same
    assert results["references"]["real"]["views"]["features"]["frechet"]["value"] >= 0


def test_figures_that_were_measured_before_are_said_to_be_found(places, tmp_path, ok):
    own = shutil.copytree(places["plane"], "own", ignore=shutil.ignore_patterns("judgement"))
    command = ["evaluate", own, "--json", "--test-limit", 20]
    (first, quiet), (again, err) = ok(*command), ok(*command)
    before = (
        f"gmm: figures as they were measured before, from {own}/judgement: remove it to measure"
    )
    assert before not in quiet
    assert before in err
    first, again = load_strictly(first), load_strictly(again)
    assert first["models"] == again["models"]
    assert before not in ok(*command[:-1], 21)[1]


# ---- two runs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "names"),
    [("other", ["plane", "other"]), ("twin", ["runs/plane", "elsewhere/plane"])],
)
def test_two_runs_of_one_model_go_by_their_folders(places, tmp_path, ok, other, names):
    command = ["evaluate", places["plane"], "--against", places[other], "--out", tmp_path / "r"]
    results = load_strictly(ok(*command, "--json")[0])
    called = [model["model"] for model in results["models"]]
    assert [name[-len(end) :] for name, end in zip(called, names, strict=True)] == names
    assert len(set(called)) == 2
    [found] = results["pairs"]
    assert found["models"] == called
    for name in called:
        assert (tmp_path / "r" / "report.html").read_text().count(f'alt="Draws from {name}') <= 1
    header = (tmp_path / "r" / "likelihoods.csv").read_text().splitlines()[0]
    assert header == f"index,{called[0]},{called[1]}"
    bits = [model["likelihood"]["log_likelihood"] for model in results["models"]]
    assert found["difference"] == pytest.approx(bits[1] - bits[0])
    page = (tmp_path / "r" / "report.html").read_text()
    assert "Pair by pair" in page
    # real data, and what each of the two draws: a name with a slash hides no picture
    assert page.count("data:image/png;base64,") >= 3


@pytest.mark.parametrize("spelling", ["{}", "{}/", "{}/../plane", "link"])
def test_a_run_is_not_compared_with_itself(places, tmp_path, cli, spelling):
    (tmp_path / "link").symlink_to(places["plane"])
    other = spelling.format(places["plane"])
    code, out, err = cli("evaluate", places["plane"], "--against", other, "--out", "report")
    assert (code, out) == (2, "")
    assert "--against is another run" in err
    assert not Path("report").exists()


# ---- samples of any program ---------------------------------------------------------------------


def test_held_out_digits_show_no_sign_of_copying(ok, places):
    out, err = ok("evaluate", "--samples", places["new digits"], "--data", "digits")
    said = " ".join(out.split())
    for word in ("copies", "held out", "nearer to the training data"):
        assert word not in said, word
    assert err.endswith("report: evaluations/new digits/report.html\n")
    folder = Path("evaluations/new digits")
    results = load_strictly((folder / "results.json").read_text())
    [model] = results["models"]
    assert (model["model"], model["likelihood"], results["budget"]) == ("new digits", None, None)
    assert results["pairs"] == []
    floor = results["references"]["real"]
    for name, view in model["samples"]["views"].items():
        assert view["c_t"]["value"] > -3
        # they are the very observations that the floor is measured with
        for key in ("frechet", "kernel", "precision", "recall", "coverage", "nearer"):
            expected = floor["views"][name][key]["value"]
            assert view[key]["value"] == pytest.approx(expected, rel=1e-3, abs=1e-3), key
    # the names of their folders were taken for labels
    assert model["samples"]["whole"]["class_accuracy"]["low"] > 0.9
    assert model["samples"]["whole"]["duplicates"]["value"] < 0.05
    assert (folder / "report.html").is_file()
    assert not (folder / "likelihoods.csv").exists()


def test_training_digits_are_called_copies_whatever_their_distance(ok, places, tmp_path):
    out, _ = ok("evaluate", "--samples", places["copies"], "--data", "digits", "--out", "found")
    said = " ".join(out.split())
    assert "copies copies training data: 100.0 % equal a training observation; C_T = −" in said
    results = load_strictly(Path("found/results.json").read_text())
    [model] = results["models"]
    assert model["samples"]["whole"]["duplicates"]["value"] == 1
    for view in model["samples"]["views"].values():
        assert view["c_t"]["value"] < -3
        assert view["suspects"]["low"] > 0.5
        assert view["authentic"]["value"] < 0.05
    features, pixels = (model["samples"]["views"][name] for name in ("features", "pixels"))
    assert pixels["membership"]["value"] > 3
    # to features that were learned from them, training digits look special anyway
    assert "membership" not in features
    assert "copies training data" in Path("found/report.html").read_text()
    assert not (tmp_path / "evaluations").exists()


def test_samples_that_were_held_out_for_other_ends_make_figures_void(ok, places):
    out, _ = ok("evaluate", "--samples", places["leaked"], "--data", "digits")
    said = " ".join(out.split())
    assert "leaked repeats observations that were held out (100.0 % equal one)" in said
    assert "copies" not in said


def test_few_samples_are_held_against_as_few_real_ones(ok, places):
    _, err = ok("evaluate", "--samples", places["fifty"], "--data", "digits")
    assert "fifty: the samples have no labels" in err
    results = load_strictly(Path("evaluations/fifty/results.json").read_text())
    [model] = results["models"]
    for figures in (model["samples"], results["references"]["real"]):
        assert (figures["refused"], figures["count"]) == (None, 50)
        assert set(figures["views"]["features"]) >= FIDELITY
        assert "suspects" not in figures["views"]["features"]
    assert "no share of suspects: 99 held-out observations are needed" in err


def test_vectors_are_judged_and_each_report_gets_a_folder_of_its_own(ok, places):
    command = ["evaluate", "--samples", places["more vectors"], "--data", places["vectors"]]
    for name in ("more vectors.npy", "more vectors.npy-2"):
        results = load_strictly(ok(*command, "--json")[0])
        assert (Path("evaluations") / name / "report.html").is_file()
        [model] = results["models"]
        assert set(model["samples"]["views"]) == {"features"}
        assert model["samples"]["count"] == 40
    assert [view["extractor"] for view in results["views"]] == ["vector"]


# ---- what is wrong ------------------------------------------------------------------------------

FAULTS = [
    ("", 2, "RUN --samples --data"),
    ("{plane} --samples {more vectors}", 2, "RUN --samples"),
    ("{plane} --samples {more vectors} --data {vectors}", 2, "RUN --samples"),
    ("--samples {more vectors}", 2, "--samples --data"),
    ("--data digits", 2, "RUN --samples"),
    ("{plane} --data digits", 2, "--data --samples"),
    ("--samples {more vectors} --data {vectors} --against {plane}", 2, "--against RUN"),
    ("{mixture} --side 4", 2, "--side --samples"),
    ("{mixture} --levels 4 --against {labelled}", 2, "--levels --samples"),
    ("{mixture} --inception none.pth", 2, "--inception none.pth"),
    ("{mixture} --inception {copies}", 2, "--inception copies"),
    ("{mixture} --inception '{no weights}'", 4, "weights.pth"),
    ("{plane} --inception '{no weights}'", 2, "Inception pictures (2,)"),
    ("--samples {copies} --data digits --inception '{no weights}'", 4, "weights.pth"),
    ("{plane} --against none", 4, "none run"),
    ("{plane} --against {mixture}", 2, "same data vectors digits"),
    ("{plane} --against {short}", 2, "same data vectors few"),
    ("--samples none --data digits", 3, "none exist"),
    ("--samples {nineteen} --data digits", 3, "nineteen 19 20"),
    ("--samples {larger} --data digits", 3, "9×9 8×8 never"),
    ("--samples {more vectors} --data digits", 3, "(1, 8, 8) (50, 2)"),
    ("--samples {copies} --data {vectors}", 3, "copies .npy .csv"),
    ("--samples {copies} --data digit", 3, "'digit' 'digits'"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), FAULTS, ids=[f[0] for f in FAULTS])
def test_what_cannot_be_judged_is_refused(arguments, code, words, cli, places, tmp_path):
    quoted = re.sub(r"(?<!')\{([a-z ]+)\}", r"'{\1}'", arguments)
    came, out, err = cli("evaluate", *shlex.split(quoted.format(**places)))
    assert (came, out) == (code, ""), err
    *steps, err = err.splitlines()
    assert all(step.startswith("measuring ") for step in steps)
    assert err.startswith("error: ")
    for word in words.split():
        assert word in err, word
    assert not list(tmp_path.iterdir()), "a mistake leaves nothing behind"
