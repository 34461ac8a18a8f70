"""Maps, traversals, spreads, codes in files, probes and encoders, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from commands import train
from simulacra.data.catalogue import load
from simulacra.runs.run import Run

BRIEF = ["--budget", "2steps", "--set", "hidden=4"]


@pytest.fixture(scope="module")
def places(tmp_path_factory, kept):
    root = tmp_path_factory.mktemp("codes")
    found = {"root": root}
    for name, options in {
        "vae": ["--set", "latent=2"],
        "wide": ["--set", "latent=5"],
        "line": ["--set", "latent=1"],
        "told": ["--set", "latent=2", "--set", "context=label"],
    }.items():
        found[name] = kept.run("vae", "digits", *BRIEF, *options)
    found["gan"] = kept.run("gan", "digits", *BRIEF, "--set", "latent=2")
    found["moons"] = kept.run("vae", "moons", *BRIEF, "--set", "latent=2")
    found["peaks"] = kept.run("vae", "two-peaks", *BRIEF, "--set", "latent=1")
    (root / "wavs").mkdir()
    for number in range(20):
        tone = np.sin(np.arange(120) * (0.2 + 0.02 * number)) * 0.6
        soundfile.write(root / "wavs" / f"{number}.wav", tone, 800)
    found["sound"] = root / "sound"
    train("vae", root / "wavs", *BRIEF, "--set", "latent=2", "--set", "encoder=mlp",
          "--window", "64", "--levels", "16", "--out", found["sound"])  # fmt: skip
    return found


def size(path: str) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


# ---- maps ---------------------------------------------------------------------------------------


def test_two_values_are_mapped_over_the_prior_and_by_class(ok, places):
    out, err = ok("map", places["vae"], "-o", "m.png")
    assert out == ""
    assert err == (
        "m.png: what decodes at quantiles of the prior (expected levels) | codes of 180 validation "
        "observations by class\n"
    )
    wide, high = size("m.png")
    assert 500 < high < 700
    assert wide > 1.8 * high


def test_more_values_are_seen_along_their_principal_components(ok, places):
    _, err = ok("map", places["wide"], "-o", "m.png")
    assert "at quantiles of the validation codes" in err
    assert "codes have 5 values, and are seen along their first two principal components" in err


def test_one_value_has_a_row_and_a_histogram(ok, places):
    ok("map", places["line"], "-o", "m.png")
    wide, high = size("m.png")
    assert wide > high


def test_a_generator_has_a_grid_alone(ok, places):
    _, err = ok("map", places["gan"], "-o", "m.png")
    assert err == "m.png: what decodes at quantiles of the prior\n"


def test_the_grid_is_told_a_class(ok, places):
    _, err = ok("map", places["told"], "--label", "7", "-o", "m.png")
    assert "(expected levels), for class 7 |" in err
    ok("map", places["told"], "-o", "other.png")
    assert Path("m.png").read_bytes() != Path("other.png").read_bytes()


def test_points_have_their_density_and_then_their_codes(ok, places):
    _, err = ok("map", places["moons"], "-o", "m.png")
    first, second = err.splitlines()
    assert first == "m.png: density | true density | samples"
    assert second.startswith(
        "m-codes.png: what decodes at quantiles of the prior (expected values)"
    )
    assert size("m-codes.png")[0] > 1000
    _, err = ok("map", places["peaks"], "-o", "p.png")
    assert err.startswith("p.png: density, true density, samples, data\np-codes.png: codes of")


def test_sounds_of_a_grid_are_heard(ok, places):
    _, err = ok("map", places["sound"], "-o", "m.png")
    assert err.startswith("m-grid.png and m-grid.wav: the grid, row by row\nm.png: ")
    assert soundfile.info("m-grid.wav").frames == 16 * 64 + 15 * (800 // 4)


# ---- traversals and spreads ---------------------------------------------------------------------


def test_each_value_of_a_code_has_a_row(ok, places):
    out, err = ok("map", places["wide"], "--traverse", "--frames", "3", "-o", "t.png")
    heading, *lines = out.splitlines()
    assert heading.split()[:4] == ["unit", "KL,", "nats", "moves"]
    assert heading.endswith("towards away from")
    assert sorted(line.split()[0] for line in lines) == ["z1", "z2", "z3", "z4", "z5"]
    moves = [float(line.split()[2]) for line in lines]
    assert moves == sorted(moves, reverse=True)
    assert err.startswith(
        "t.png: 5 ways of 3 frames, of validation 0, a unit of its code at a time"
    )
    assert "standard deviations of the prior (expected levels)" in err


def test_traversals_of_other_kinds(ok, places):
    ok("map", places["sound"], "--traverse", "-o", "t.png")
    assert Path("t.wav").exists()
    ok("map", places["vae"], "--traverse", "-o", "t.gif")
    ok("map", places["moons"], "--traverse", "-o", "t.npy")
    assert np.load("t.npy").shape == (2, 7, 2)
    out, _ = ok("map", places["moons"], "--traverse", "--frames", "2")
    assert "value 1" in out


@pytest.mark.parametrize("name", ["vae", "line", "wide", "sound", "moons"])
def test_codes_of_one_input_spread(ok, places, name):
    _, err = ok("map", places[name], "--spread", "-n", "3", "-o", "s.png")
    assert err.startswith("s.png: 200 codes of each of ")
    assert ("its mean code decoded" in err) == (name != "moons")
    assert Path("s-decoded.wav").exists() == (name == "sound")


def test_a_straight_way(ok, places):
    ok("interpolate", places["wide"], "0", "1", "--linear", "-o", "a.png")
    ok("interpolate", places["wide"], "0", "1", "-o", "b.png")
    assert size("a.png") == size("b.png")


# ---- files of codes -----------------------------------------------------------------------------


def test_codes_of_all_splits_are_written(ok, places):
    _, err = ok("encode", places["vae"], "-o", "c.npz")
    assert err.startswith("c.npz: train (1258, 2), train_labels (1258,), validation (180, 2), ")
    data, model = load("digits"), Run.open(places["vae"]).model().eval()
    with np.load("c.npz", allow_pickle=False) as found:
        assert str(found["run"]) == places["vae"].name
        for name, split in data.splits.items():
            x, labels = split.batch(torch.arange(len(split)))
            with torch.no_grad():
                np.testing.assert_allclose(found[name], model.encode(x).numpy(), atol=1e-5)
            assert labels is not None
            np.testing.assert_array_equal(found[f"{name}_labels"], labels.numpy())


def test_codes_of_files_have_names(ok, places):
    x = load("digits").validation.x[:2]
    np.save("some.npy", x.numpy())
    Image.fromarray((x[0, 0].numpy() * 255.0 / 16).round().astype(np.uint8)).save("one.png")
    _, err = ok("encode", places["vae"], "some.npy", "one.png", "-o", "c.npz")
    assert err == "c.npz: codes (3, 2), names (3,)\n"
    with np.load("c.npz", allow_pickle=False) as found:
        assert found["names"].tolist() == ["some.npy [0]", "some.npy [1]", "one.png"]
        np.testing.assert_allclose(found["codes"][0], found["codes"][2], atol=1e-5)


def test_a_probe_is_told_beside_plainer_features(ok, places):
    out, err = ok("probe", places["vae"])
    assert [line.split("  ")[0].strip() for line in out.splitlines()][1:] == [
        "codes", "principal components", "raw values", "most frequent class"
    ]  # fmt: skip
    assert "95 % interval" in out
    assert err.endswith("the test split was not looked at\n")
    told = json.loads(ok("probe", places["vae"], "--json")[0])
    assert told[2]["accuracy"] > 0.9
    assert told[0]["observations"] == 180
