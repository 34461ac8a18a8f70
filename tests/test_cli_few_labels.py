"""Few labels from the command line: trained, shown by style, classified, judged."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from commands import blank, run_main, train
from simulacra.data.catalogue import load
from simulacra.judging.features import pinned_classifier
from simulacra.runs.run import Run

pytestmark = pytest.mark.usefixtures("short_chains")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("few") / "m2"
    train("m2", "digits", "--labelled", 20, "--labelled-seed", 3, "--budget", "2steps",
          "--set", "hidden=4", "--set", "latent=2", "--out", folder)  # fmt: skip
    return folder


def test_a_run_reads_its_few_labels_again(run):
    data = Run.open(run).dataset(None)
    asked = load("digits", labelled=20, labelled_seed=3)
    assert data.fingerprint == asked.fingerprint
    assert data.fingerprint != load("digits", labelled=20).fingerprint
    assert int((data.train.context >= 0).sum()) == 20


def test_styles_are_drawn_beside_their_digits(run, capsys):
    assert run_main("map", run, "--styles", "-n", 3) == 0
    assert "styles.png: 3 ways of 11 frames, validation observations" in capsys.readouterr().err
    with Image.open(run / "styles.png") as picture:
        shown = np.asarray(picture.convert("L"))
    digit = load("digits").validation.x[0, 0].numpy().astype(float) * 255 / 16
    assert np.abs(shown[3:48:6, 3:48:6] - digit).max() <= 1
    assert run_main("map", run, "--styles", "--traverse") == 2
    assert "give one" in capsys.readouterr().err


def test_files_are_classified_by_its_own_classifier(run, tmp_path, capsys):
    np.save(tmp_path / "some.npy", load("digits").validation.x[:2].numpy())
    assert run_main("classify", run, tmp_path / "some.npy", "--draws", 2) == 0
    assert "the classifier that M2 learned, q(y | x)" in capsys.readouterr().err


def test_the_report_has_both_classifiers(run, capsys, monkeypatch):
    blank(monkeypatch)
    # of how well the judge's own one knows the few labels nothing is said here
    monkeypatch.setattr(pinned_classifier, "_FEWEST_STEPS", 10)
    assert run_main("evaluate", run, "--draws", 1, "--test-limit", 20, "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)["models"]
    assert found["classifier"]["observations"] == found["own_classifier"]["observations"] == 20
    page = (run / "report.html").read_text("utf-8")
    assert "its own p(y | x)" in page
    assert "20 training labels of 1258 told" in page


def test_labels_that_no_data_have_are_not_told(tmp_path, capsys):
    np.save(tmp_path / "bare.npy", np.zeros((30, 4, 4), np.uint8))
    assert run_main("train", "m2", tmp_path / "bare.npy", "--labelled", 5) == 2
    assert "labelled is for data with labels" in capsys.readouterr().err
    assert run_main("train", "m2", "digits", "--labelled-seed", 5) == 2
    assert "give both" in capsys.readouterr().err
    assert run_main("train", "m2", "digits", "--labelled", 0) == 2
    assert "labelled needs at least 1 label" in capsys.readouterr().err
