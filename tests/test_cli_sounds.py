"""The command line on sounds and on vectors: trained, sampled, completed and judged."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from commands import train
from simulacra.data.catalogue import load
from simulacra.models.latent.vae import VAE

RATE = 800


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, Path]:
    """Runs that tests read."""
    root = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for number in range(40):
        size = 100 + 10 * (number % 5)
        tone = np.sin(np.arange(size) * (0.2 if number % 2 else 0.6)) * rng.uniform(0.2, 0.9)
        folder = root / "wavs" / ("high", "low")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{number}.wav", tone, RATE)
    vectors = rng.normal(size=(60, 2)).astype(np.float32)
    np.savez(root / "told.npz", x=rng.integers(0, 4, (60, 1, 4, 4)).astype(np.uint8), y=vectors)
    np.save(root / "plane.npy", vectors)
    np.save(root / "line.npy", vectors[:, :1])
    tiny = ["--set", "hidden=4", "--budget", "2steps"]
    sounds = [root / "wavs", "--window", "64", "--levels", "16"]
    trained = {
        "gmm": ["gmm", *sounds, "--set", "components=2", "--budget", "2steps"],
        "vae": ["vae", *sounds, *tiny],
        "labelled": ["vae", *sounds, *tiny, "--set", "context=label"],
        "told": ["vae", root / "told.npz", *tiny, "--set", "context=vector"],
        "plane": ["gmm", root / "plane.npy", "--set", "components=2", "--budget", "2steps"],
        "line": ["gmm", root / "line.npy", "--set", "components=2", "--budget", "2steps"],
    }
    for name, arguments in trained.items():
        train(*arguments, "--out", root / name)
    return {name: root / name for name in (*trained, "wavs")}


# ---- sounds -------------------------------------------------------------------------------------


def test_samples_of_sounds_are_seen_heard_and_kept(ok, places):
    _, err = ok("sample", places["gmm"], "-n", "5", "--out", "d/a.png")
    assert err == "d/a.png, d/a.wav and d/a.npy: 5 samples\n"
    levels = np.load("d/a.npy")
    assert (levels.dtype, levels.shape) == (np.uint8, (5, 64))
    assert levels.max() < 16
    heard, rate = soundfile.read("d/a.wav")
    assert rate == RATE
    assert soundfile.info("d/a.wav").subtype == "PCM_16"
    gap = RATE // 4
    assert len(heard) == 5 * 64 + 4 * gap
    spec = load(str(places["wavs"]), window=64, levels=16).spec
    amplitudes = spec.to_float(torch.from_numpy(levels)).numpy()
    for i, sound in enumerate(amplitudes):
        start = i * (64 + gap)
        assert heard[start : start + 64] == pytest.approx(sound, abs=1e-4)
        assert not heard[start + 64 : start + 64 + gap].any()
    with Image.open("d/a.png") as image:
        assert image.format == "PNG"


def test_a_seed_and_a_label_give_the_same_sounds(ok, places):
    run = places["labelled"]
    ok("sample", run, "-n", "4", "--out", "a.png")
    _, err = ok("sample", run, "-n", "4", "--out", "b.png", "--device", "cpu")
    assert "b.wav" in err
    for ending in ("png", "wav", "npy"):
        assert Path(f"a.{ending}").read_bytes() == Path(f"b.{ending}").read_bytes()
    ok("sample", run, "-n", "4", "--label", "1", "--seed", "1", "--out", "c.png")
    assert (np.load("a.npy") != np.load("c.npy")).any()


def test_of_many_sounds_some_are_drawn_and_all_are_kept(ok, places):
    _, err = ok("sample", places["vae"], "-n", "70", "--out", "a.png")
    assert err == (
        "a.png, a.wav and a.npy: 70 samples, the first 64 drawn and to be heard\n"
    )  # fmt: skip
    assert np.load("a.npy").shape == (70, 64)
    assert soundfile.info("a.wav").frames == 64 * 64 + 63 * (RATE // 4)


@pytest.mark.parametrize(
    ("hide", "hidden"),
    [(None, slice(32, 64)), ("left", slice(0, 32)), ("centre", slice(16, 48))],
)
def test_a_part_of_a_sound_is_completed(ok, places, hide, hidden, monkeypatch):
    written = {}

    def keep(target, sounds, rate, columns, shaded):
        written.update(target=target, sounds=sounds, rate=rate, columns=columns, shaded=shaded)

    monkeypatch.setattr("simulacra.cli.complete.write_sounds", keep)
    _, err = ok("complete", places["gmm"], "-n", "3", "--times", "2",
                *(["--hide", hide] if hide else []))  # fmt: skip
    name = hide or "right"
    assert f"completions-{name}.png and " in err
    assert f"completions-{name}.wav: 3 rows of given | 2 completions, drawn" in err
    assert (written["rate"], written["columns"]) == (RATE, 4)
    rows = written["sounds"].unflatten(0, (3, 4))
    dataset = load(str(places["wavs"]), window=64, levels=16)
    truth = dataset.spec.to_float(dataset.validation.x[:3])
    assert torch.equal(rows[:, 3], truth)
    seen = torch.ones(64, dtype=torch.bool)
    seen[hidden] = False
    for column in range(3):
        assert torch.equal(rows[:, column, seen], truth[:, seen])
    assert not rows[:, 0, ~seen].any()
    assert torch.equal(written["shaded"][:3], (~seen).expand(3, -1))
    assert not written["shaded"][3].any()
    assert not torch.equal(rows[:, 1], rows[:, 2])


def test_completions_of_sounds_are_written(ok, places):
    ok("complete", places["gmm"], "-n", "2", "--times", "1", "--out", "a.png")
    assert soundfile.info("a.wav").frames == 6 * 64 + 5 * (RATE // 4)
    with Image.open("a.png") as image:
        assert image.format == "PNG"


def test_a_sounds_figures_are_bits_for_each_valid_sample(ok, places):
    """From the mean log-likelihood of a window, which has its padding's cost in it."""
    record = json.loads(ok("evaluate", places["gmm"], "--json")[0])["models"][0]["likelihood"]
    dataset = load(str(places["wavs"]), window=64, levels=16)
    lengths = dataset.test.lengths
    assert lengths is not None
    assert lengths.double().mean() < 62
    expected = -record["log_likelihood"] / float(lengths.double().mean()) / math.log(2)
    assert record["bits_per_dim"] == pytest.approx(expected)
    assert record["observations"] == len(dataset.test)


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("complete {gmm} --hide bottom", 2, "a sound has no bottom --hide right"),
        ("complete {gmm} --hide top", 2, "a sound has no top"),
        ("sample {gmm} --context a.npy", 2, "no context vectors --set context=vector"),
        ("sample {told}", 2, "needs context vectors --context FILE (N, 2)"),
        ("sample {told} --label 1", 2, "takes no label"),
        ("sample {told} --context three.npy", 3, "three.npy floats (N, 2) (4, 3)"),
        ("sample {told} --context whole.npy", 3, "whole.npy floats int64"),
        ("sample {told} --context none.npy", 3, "none.npy (0, 2)"),
        ("sample {told} --context nan.npy", 3, "nan.npy NaN 1 of 4"),
        ("sample {told} --context two.npz", 3, "two.npz one array a, b"),
        ("sample {told} --context lost.npy", 3, "lost.npy"),
        ("sample {told} --context a.csv", 2, ".npy or .npz 'a.csv'"),
        ("sample {told} --context good.npy -n 5", 2, "good.npy 4 rows 5"),
        ("sample {gmm} --device toaster", 2, "device 'toaster' cpu"),
        ("complete {gmm} --device toaster", 2, "device 'toaster' cpu"),
        ("evaluate {gmm} --device toaster", 2, "device 'toaster' cpu"),
    ],
)
def test_mistakes_are_told_in_one_line(cli, places, tmp_path, line, code, words):
    good = np.zeros((4, 2), np.float32)
    np.save(tmp_path / "good.npy", good)
    np.save(tmp_path / "three.npy", np.zeros((4, 3), np.float32))
    np.save(tmp_path / "whole.npy", np.zeros((4, 2), np.int64))
    np.save(tmp_path / "none.npy", good[:0])
    np.save(tmp_path / "nan.npy", np.array([[0, 0], [0, np.nan], [0, 0], [0, 0]]))
    np.savez(tmp_path / "two.npz", a=good, b=good)
    arguments = [part.format(**places) for part in line.split()]
    got, out, err = cli(*arguments)
    assert (got, out) == (code, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for word in words.split():
        assert word in err, word


# ---- context vectors, vectors, devices ----------------------------------------------------------


@pytest.fixture
def seen(monkeypatch) -> list[torch.Tensor]:
    """Context that samples were drawn with."""
    found: list[torch.Tensor] = []
    inner = VAE.sample

    def sample(model, n, context=None):
        assert len(context) == n
        found.append(context)
        return inner(model, n, context)

    monkeypatch.setattr(VAE, "sample", sample)
    return found


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_row_i_of_the_vectors_is_for_sample_i(ok, places, seen, kind):
    vectors = np.arange(14, dtype=np.float64).reshape(7, 2)
    if kind == "npy":
        np.save("v.npy", vectors)
    else:
        np.savez("v.npz", anything=vectors)
    ok("sample", places["told"], "--context", f"v.{kind}", "--out", "a.png")
    assert np.load("a.npy").shape == (7, 1, 4, 4)
    ok("sample", places["told"], "--context", f"v.{kind}", "-n", "3", "--out", "b.png")
    # how many are drawn at once is found with one of them
    drawn = [each.tolist() for each in seen if len(each) > 1]
    assert drawn == [vectors.tolist(), vectors[:3].tolist()]
    assert seen[0].dtype == torch.float32


@pytest.mark.parametrize(("name", "dims"), [("plane", 2), ("line", 1)])
def test_vectors_of_one_or_two_numbers_are_drawn(ok, places, name, dims):
    _, err = ok("sample", places[name], "-n", "30", "--out", "a.png")
    assert err == "a.png and a.npy: 30 samples\n"
    assert np.load("a.npy").shape == (30, dims)
    with Image.open("a.png") as image:
        assert image.format == "PNG"


@pytest.mark.parametrize("command", ["sample", "complete", "evaluate"])
def test_a_device_that_is_not_there_is_refused(cli, places, command, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, _, err = cli(command, places["gmm"], "--device", "cuda")
    assert code == 2
    assert "no cuda: use cpu" in err


def test_models_and_context_go_to_the_device_asked_for(cli, places, monkeypatch, seen):
    """On torch's device without data, where what stayed on the CPU cannot be told to meet it."""
    np.save("v.npy", np.zeros((3, 2), np.float32))
    monkeypatch.setattr("simulacra.cli.sample.check_device", lambda name: torch.device(name))
    asked: list[str] = []

    def sample(model, n, context=None):
        asked.append(str(next(model.parameters()).device))
        asked.append(str(context.device))
        return torch.zeros(n, 1, 4, 4, dtype=torch.long)

    monkeypatch.setattr(VAE, "sample", sample)
    code, _, err = cli("sample", places["told"], "--context", "v.npy", "--device", "meta",
                       "--out", "a.png")  # fmt: skip
    assert code == 0, err
    assert asked
    assert set(asked) == {"meta"}


def test_what_is_judged_elsewhere_keeps_the_options_of_its_training(ok, places):
    trained = json.loads((places["gmm"] / "run.json").read_text())["options"]
    assert trained["device"] == "auto"
    record = json.loads(ok("evaluate", places["gmm"], "--json", "--device", "cpu")[0])
    assert record["models"][0]["options"] == trained


def test_the_page_of_sounds_speaks_of_valid_samples(ok, places, tmp_path):
    out, _ = ok(
        "compare", places["wavs"], "--window", "64", "--levels", "16", "--models",
        "gmm,vae", "--set", "gmm.components=2", "--set", "vae.hidden=4", "--budget", "2steps",
        "--draws", "1", "--out", tmp_path / "c",
    )  # fmt: skip
    assert "bits/valid" in out
    assert "bits/dim" not in out
    page = (tmp_path / "c" / "report.html").read_text()
    assert "bits/dim" not in page
    assert "Fewer bits per valid sample are better" in page
    data = json.loads((tmp_path / "c" / "results.json").read_text())["data"]
    assert data["rate"] == RATE
    assert data["valid"] < 64
    # four bits for each sample of a window, shared by the valid ones
    assert f"costs {4 * 64 / data['valid']:.3f} bits, padding included" in page


def test_sounds_that_are_too_loud_are_noted(ok, tmp_path):
    for number in range(12):
        loud = np.linspace(-2, 2, 101).astype(np.float32)
        soundfile.write(tmp_path / f"{number}.wav", loud, RATE, subtype="FLOAT")
    out, _ = ok("data", tmp_path, "--window", "50", "--json")
    assert "49.50% of the samples lie beyond ±1 and are clipped" in json.loads(out)["notes"]
