"""Classifying files by a conditional model: two obvious classes, and files that do not fit."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from commands import train
from simulacra.ground.errors import DataError, MissingCapability
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.model import Likelihood
from simulacra.tasks.classify import classify


def picture(bright, seed, side=6):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 70, (side, side), dtype=np.uint8) + (180 if bright else 10)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of small models, two hundred dark pictures and as many bright ones, and new files."""
    place = tmp_path_factory.mktemp("classify")
    for seed in range(400):
        folder = place / "pictures" / ("bright" if seed % 2 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed % 2, seed)).save(folder / f"{seed:03}.png")
    new = place / "new"
    new.mkdir()
    for name, bright in (("night", False), ("day", True)):
        Image.fromarray(picture(bright, 1000 + bright)).save(new / f"{name}.png")
    Image.fromarray(picture(True, 7)).convert("RGB").save(new / "colour.png")
    Image.fromarray(picture(True, 7)).save(new / "grey.png")
    chess = np.indices((6, 6)).sum(0) % 2 * 255
    Image.fromarray(chess.astype(np.uint8)).save(new / "chess.png")
    Image.fromarray(picture(True, 8, side=9)).save(new / "large.png")
    Image.new("L", (6, 6), 40).save(new / "blank.png")
    (new / "text.png").write_text("no picture")
    (new / "notes.txt").write_text("notes")
    generator = np.random.default_rng(0)
    labels = np.arange(600) % 3
    np.savez(
        place / "vectors.npz", y=labels, x=generator.normal(size=(600, 2)) + 4 * labels[:, None]
    )
    np.save(place / "new/grid.npy", np.mgrid[-1:10:0.5, -1:10:0.5].reshape(2, -1).T)
    np.save(place / "new/rows.npy", np.array([[0.1, -0.2], [8.1, 7.8], [90.0, -90.0]]))
    common = ["--seed", 0, "--device", "cpu", "--lr", 0.02]
    pictures = [place / "pictures", "--levels", 16, *common]
    vectors = [place / "vectors.npz", *common]
    told, tiny = ["--set", "context=label"], ["--set", "hidden=16"]
    for name, arguments in {
        "vae": ["vae", *pictures, "--budget", "40steps", *told, *tiny, "--set", "latent=2"],
        "cnn": ["pixelcnn", *pictures, "--budget", "30steps", *told, "--set", "channels=4",
                "--set", "layers=1"],
        "plain": ["vae", *pictures, "--budget", "1steps", *tiny],
        "vectors": ["nice", *vectors, "--budget", "80steps", *told, *tiny],
    }.items():  # fmt: skip
        train(*arguments, "--out", place / name)
    return place


# ---- the command ----------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["vae", "cnn"])
def test_dark_and_bright_are_told_apart(ok, runs, model):
    new = runs / "new"
    out, _ = ok("classify", runs / model, new / "night.png", new / "day.png", "--json",
                "--draws", 4)  # fmt: skip
    found = json.loads(out)
    assert [each["class"] for each in found["images"]] == ["dark", "bright"]
    assert [each["second"] for each in found["images"]] == ["bright", "dark"]
    assert found["bound"] is (model == "vae")
    for each in found["images"]:
        assert each["probability"] > 0.9
        assert each["probability"] + each["second_probability"] == pytest.approx(1)
        assert 0 < each["usual_low"] < each["usual_high"] < 8


def test_the_table_names_classes_and_says_what_it_is_of(ok, runs):
    new = runs / "new"
    out, err = ok("classify", runs / "vae", new / "day.png", "--draws", 4)
    assert "day.png" in out
    assert "bright" in out
    assert "bits/dim" in out
    assert "VAE has a bound on likelihood (4 draws)" in err
    assert "95 % of validation data have bits/dim" in err
    _, err = ok("classify", runs / "cnn", new / "day.png")
    assert "bound" not in err


def test_what_is_less_likely_than_the_data_is_marked_for_all_its_class(ok, runs):
    out, _ = ok("classify", runs / "cnn", runs / "new/chess.png", runs / "new/day.png", "--json")
    chess, day = json.loads(out)["images"]
    assert chess["less_likely_than_usual"] is True
    assert chess["bits_per_dim"] > chess["usual_high"]
    assert chess["class"] in ("dark", "bright")
    assert day["less_likely_than_usual"] is False
    out, _ = ok("classify", runs / "cnn", runs / "new/chess.png")
    assert "less likely than 97.5 % of the data" in out


def test_what_is_likelier_than_the_data_is_not_marked(ok, runs):
    out, _ = ok("classify", runs / "cnn", runs / "new/blank.png", "--json")
    (blank,) = json.loads(out)["images"]
    assert blank["bits_per_dim"] < blank["usual_low"]
    assert blank["less_likely_than_usual"] is False
    out, err = ok("classify", runs / "cnn", runs / "new/blank.png")
    assert "less likely" not in out
    assert "a likelihood cannot find blank pictures" in err
    # in nats, where more is more likely
    out, _ = ok("classify", runs / "vectors", runs / "new/grid.npy", "--json")
    grid = json.loads(out)["images"]
    for above, marked in ((True, {False}), (False, {False, True})):
        chosen = [e for e in grid if (e["log_likelihood"] > e["usual_high"]) is above]
        assert {e["less_likely_than_usual"] for e in chosen} == marked


def test_a_coloured_file_is_read_as_the_grey_of_the_data(ok, runs):
    out, _ = ok("classify", runs / "cnn", runs / "new/colour.png", runs / "new/grey.png", "--json")
    colour, grey = json.loads(out)["images"]
    assert colour["bits_per_dim"] == pytest.approx(grey["bits_per_dim"])


def test_rows_of_vectors_are_classified(ok, runs):
    out, err = ok("classify", runs / "vectors", runs / "new/rows.npy", "--json")
    first, last, far = json.loads(out)["images"]
    assert (first["class"], last["class"]) == ("0", "2")
    assert first["image"].endswith("rows.npy [0]")
    assert [each["less_likely_than_usual"] for each in (first, far)] == [False, True]
    assert far["log_likelihood"] < far["usual_low"]
    out, err = ok("classify", runs / "vectors", runs / "new/rows.npy")
    assert "log p" in out
    assert "bound" not in err


@pytest.mark.parametrize(
    ("run", "files", "code", "words"),
    [
        ("cnn", [], 2, "classify needs a file at least"),
        ("cnn", ["new/missing.png"], 3, "missing.png does not exist"),
        ("cnn", ["new"], 2, "is a folder: name the files in it"),
        ("cnn", ["new/notes.txt"], 2, "notes.txt is no image or .npy"),
        ("cnn", ["new/text.png"], 3, "text.png cannot be read as an image: it holds text"),
        ("cnn", ["new/large.png"], 3, "large.png is 9×9, and pictures holds images of 6×6"),
        ("cnn", ["new/rows.npy"], 3, "rows.npy should hold levels 0 … 15 (1, 6, 6)"),
        ("vectors", ["new/day.png"], 2, "day.png is an image, and vectors.npz holds floats (2)"),
        ("plain", ["new/day.png"], 2, "takes no labels: train one with --set context=label"),
        ("nothing", ["new/day.png"], 4, "holds no run"),
    ],
)
def test_what_cannot_be_classified_is_refused_in_words(cli, runs, run, files, code, words):
    ended, out, err = cli("classify", runs / run, *(runs / file for file in files))
    assert (ended, out) == (code, "")
    assert words in " ".join(err.split())


def test_draws_are_positive(cli, runs):
    ended, _, err = cli("classify", runs / "cnn", runs / "new/day.png", "--draws", 0)
    assert ended == 2
    assert "--draws is a positive number" in err


# ---- the task -------------------------------------------------------------------------------


class Told(Likelihood):
    """Its log-likelihood is a function of observation and label."""

    exact = True
    context = "label"

    def __init__(self, score):
        super().__init__(DataSpec((2,), None, classes=3))
        self.register_buffer("somewhere", torch.zeros(1))
        self.score = score

    def loss(self, x, context=None, *, turn=""):
        raise AssertionError("nothing is trained here")

    def log_likelihood(self, x, context=None, *, draws=1, seed=0):
        return self.score(x, context)


def test_probabilities_are_those_of_bayes():
    model = Told(lambda x, y: -x[:, 0] * (y + 1))
    x = torch.rand(300, 2)
    p = torch.tensor([0.2, 0.0, 0.8])
    found = classify(model, x, p)
    joint = p.double() * torch.exp(-x[:, :1].double() * torch.tensor([1.0, 2.0, 3.0]))
    assert torch.allclose(found.probabilities, joint / joint.sum(1, keepdim=True), atol=1e-6)
    assert torch.allclose(found.log_likelihood, joint.sum(1).log(), atol=1e-6)
    assert bool((found.probabilities[:, 1] == 0).all())


def test_an_impossible_observation_is_of_no_class():
    model = Told(lambda x, y: torch.where(x[:, 0] > 0, -math.inf, -1.0 * y))
    found = classify(model, torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.full((3,), 1 / 3))
    assert bool(found.probabilities[0].isnan().all())
    assert float(found.probabilities[1].sum()) == pytest.approx(1)


def test_models_that_cannot_say_what_they_lack():
    spec = DataSpec((1, 2, 2), 2, classes=2)
    x, p = torch.zeros(1, 1, 2, 2, dtype=torch.long), torch.tensor([0.5, 0.5])
    with pytest.raises(MissingCapability, match="GAN has no likelihood"):
        classify(registry.build("gan", spec, {"hidden": (4,)}), x, p)
    with pytest.raises(MissingCapability, match="--set context=label"):
        classify(registry.build("gmm", spec, {"components": 1}), x, p)
    with pytest.raises(DataError, match="at least two classes"):
        classify(Told(lambda x, _: x[:, 0]), torch.zeros(1, 2), torch.tensor([0.0, 1.0, 0.0]))
