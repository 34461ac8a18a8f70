"""Reconstructing, walking and moving along directions, from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from commands import BRIEF, train
from simulacra.cli import output
from simulacra.data.catalogue import load
from simulacra.models.flow.nice import NICE
from simulacra.runs.run import Run

pytestmark = pytest.mark.usefixtures("undrawn")

BRIEF_NICE = ["--budget", "2steps", "--set", "hidden=4"]


@pytest.fixture(scope="module")
def places(tmp_path_factory, kept):
    root = tmp_path_factory.mktemp("latent")
    noise = np.random.default_rng(0)
    np.save(root / "plane.npy", noise.normal(2, 3, size=(60, 2)).astype(np.float32))
    for number in range(20):
        (root / "wavs").mkdir(exist_ok=True)
        tone = np.sin(np.arange(120) * (0.2 + 0.02 * number)) * 0.6
        soundfile.write(root / "wavs" / f"{number}.wav", tone, 800)
    found = {"root": root}
    for name in ("vae", "gan", "pixelcnn", "gmm"):
        found[name] = kept.run(*BRIEF[name])
    found["nice"] = kept.run("nice", "digits", *BRIEF_NICE, into=root / "nice")
    found["told"] = kept.run("nice", "digits", *BRIEF_NICE, "--set", "context=label")
    for name, data, options in (
        ("sound", root / "wavs", ["--window", "64", "--levels", "16"]),
        ("plane", root / "plane.npy", []),
    ):
        found[name] = root / name
        train("nice", data, *BRIEF_NICE, *options, "--out", found[name])
    digits = load("digits").validation.x[:2, 0].numpy()
    for number, digit in enumerate(digits):
        found[f"digit{number}"] = root / f"digit{number}.png"
        Image.fromarray((digit * 255.0 / 16).round().astype(np.uint8)).save(found[f"digit{number}"])
    np.save(root / "both.npy", load("digits").validation.x[:2].numpy())
    np.save(root / "point.npy", np.array([1.5, -2.5], np.float32))
    return found


def tiles(path: object, columns: int, gap: int = 2, side: int = 8, scale: int = 6) -> np.ndarray:
    """The pixels of each tile of a grid, in levels 0 … 16."""
    with Image.open(str(path)) as image:
        shown = np.asarray(image.convert("L")).astype(float)
    step = side * scale + gap
    rows = (shown.shape[0] + gap) // step
    found = [
        shown[r * step + scale // 2 : r * step + side * scale : scale][
            :, c * step + scale // 2 : c * step + side * scale : scale
        ]
        for r in range(rows)
        for c in range(columns)
    ]
    return np.stack(found) * 16 / 255


def validation(n: int) -> np.ndarray:
    return load("digits").validation.x[:n, 0].numpy().astype(float)


# ---- reconstructing -----------------------------------------------------------------------------


def test_a_flow_gives_pictures_back_and_says_how_exactly(ok, places):
    out, err = ok("reconstruct", places["nice"], "-n", "5", "-o", "d/r.png")
    assert err == "d/r.png: pairs of original | reconstruction\n"
    pairs = tiles("d/r.png", 8, gap=3)[:10]
    np.testing.assert_allclose(pairs[::2], validation(5), atol=0.05)
    np.testing.assert_allclose(pairs[1::2], validation(5), atol=0.05)
    lines = out.splitlines()
    assert " ".join(lines[0].split()) == "picture levels exact mean error, levels inverse error"
    assert len(lines) == 7
    assert lines[1].split()[:4] == ["validation", "0", "100.00%", "0.0000"]
    assert lines[-1].split()[:3] == ["all", "5", "100.00%"]
    assert all(float(line.split()[-1]) < 1e-5 for line in lines[1:])


def test_what_a_vae_loses_is_measured_in_levels(ok, places):
    out, _ = ok("reconstruct", places["vae"], places["digit0"], places["digit1"], "-o", "r.png")
    assert "inverse" not in out
    lines = out.splitlines()
    assert len(lines) >= 4
    _, share, error = lines[-1].rsplit(maxsplit=2)
    pairs = tiles("r.png", 4, gap=3).round()
    change = np.abs(pairs[0::2] - pairs[1::2])
    assert float(share[:-1]) == pytest.approx(100 * (change == 0).mean(), abs=0.01)
    assert float(error) == pytest.approx(change.mean(), abs=1e-4)


def test_sounds_are_heard_beside_what_comes_back(ok, places):
    out, err = ok("reconstruct", places["sound"], "-n", "2", "-o", "r.png")
    assert err == "r.png and r.wav: pairs of original | reconstruction\n"
    assert soundfile.info("r.wav").frames == 4 * 64 + 3 * (800 // 4)
    assert out.splitlines()[-1].split()[:3] == ["all", "2", "100.00%"]


def test_vectors_are_printed_in_the_units_of_the_data(ok, places, monkeypatch):
    # a long path would be broken into two lines
    monkeypatch.setattr("simulacra.cli.terminal.console._width", 200)
    out, err = ok("reconstruct", places["plane"], places["root"] / "point.npy")
    heading, line = out.splitlines()
    assert heading.split() == ["vector", "largest", "error", "inverse", "error"]
    assert float(line.split()[-2]) < 1e-4
    assert err == ""


def test_an_inverse_that_is_off_is_named(ok, places, monkeypatch):
    exact = NICE.invert
    monkeypatch.setattr(NICE, "invert", lambda *told: exact(*told) + 2e-3)
    out, err = ok("reconstruct", places["nice"], "-n", "3", "-o", "r.png")
    assert "100.00%" in out, "rounding to levels hides it"
    assert "the map is not undone to 0.001 for 3 of 3" in err


# ---- walking ------------------------------------------------------------------------------------


def test_a_way_of_a_flow_leads_from_one_picture_to_the_other(ok, places):
    _, err = ok(
        "interpolate", places["nice"], places["digit0"], "1", "--frames", "5", "-o", "w.png"
    )
    assert err == f"w.png: 1 way of 5 frames, between {places['digit0']} and validation 1\n"
    row = tiles("w.png", 5)
    np.testing.assert_allclose(row[[0, -1]], validation(2), atol=0.05)
    assert np.abs(row[2] - row[0]).max() > 1


def test_without_ends_ways_lie_between_validation_pictures(ok, places):
    _, err = ok("interpolate", places["nice"], "-n", "3", "--frames", "4", "-o", "w.png")
    assert err == "w.png: 3 ways of 4 frames, between validation 0 … 2 and 3 …\n"
    rows = tiles("w.png", 4).reshape(3, 4, 8, 8)
    np.testing.assert_allclose(rows[:, 0], validation(3), atol=0.05)
    _, err = ok("interpolate", places["nice"], "-n", "1", "--frames", "4", "-o", "w.png")
    assert err == "w.png: 1 way of 4 frames, between validation 0 and 1\n"
    np.testing.assert_allclose(rows[:, -1], validation(6)[3:], atol=0.05)


def test_a_model_that_does_not_encode_walks_between_draws(ok, places):
    _, err = ok("interpolate", places["gan"], "-n", "2", "--frames", "3", "-o", "w.png")
    assert err == "w.png: 2 ways of 3 frames, between draws of the prior\n"


def test_a_way_has_one_label(ok, places):
    """B too is encoded under the label of A, or it would not come back."""
    ok("interpolate", places["told"], "0", "1", "--frames", "3", "-o", "w.png")
    np.testing.assert_allclose(tiles("w.png", 3)[[0, -1]], validation(2), atol=0.05)
    ok("interpolate", places["told"], "0", "1", "--frames", "3", "-o", "o.png", "--label", "7")
    other = tiles("o.png", 3)
    np.testing.assert_allclose(other[[0, -1]], validation(2), atol=0.05)


def test_a_way_moves_in_a_gif(ok, places):
    _, err = ok("interpolate", places["nice"], "0", "1", "--frames", "6", "-o", "w.gif")
    assert err.startswith("w.gif: 1 way of 6 frames")
    with Image.open("w.gif") as image:
        assert (image.format, image.n_frames) == ("GIF", 6)
        assert min(image.size) >= 200


def test_ways_of_sounds_and_vectors(ok, places, monkeypatch):
    ok("interpolate", places["sound"], "-n", "1", "--frames", "3", "-o", "w.png")
    assert soundfile.info("w.wav").frames == 3 * 64 + 2 * (800 // 4)
    ok("interpolate", places["plane"], "0", "1", "--frames", "3", "-o", "w.npy")
    way = np.load("w.npy")
    ends = load(str(places["root"] / "plane.npy")).validation.x[:2]
    assert way.shape == (1, 3, 2)
    np.testing.assert_allclose(way[0, [0, -1]], ends.numpy(), atol=1e-4)
    out, err = ok("interpolate", places["plane"], "0", "1", "--frames", "3")
    assert len(out.splitlines()) == 4
    assert err == "-o FILE.npy writes them all, between validation 0 and validation 1\n"
    monkeypatch.setattr(output, "_MOST_PRINTED", 1)
    out, err = ok("interpolate", places["plane"], "-n", "1", "--frames", "2")
    assert "value 0" in out
    assert "value 1" not in out
    assert err.startswith("the first 1 of 2 values; -o FILE.npy writes them all")


# ---- directions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "against"), [(["8"], "all others"), (["8", "3"], "3")])
def test_a_direction_is_the_difference_of_mean_codes(ok, places, asked, against):
    _, err = ok(
        "map", places["nice"], "--direction", *asked, "-n", "2", "--frames", "4", "-o", "m.png"
    )
    data = load("digits")
    x, labels = data.train.batch(torch.arange(len(data.train)))
    others = labels != 8 if len(asked) == 1 else labels == 3
    told = int((labels == 8).sum()), int(others.sum())
    assert err == (
        f"m.png: 2 ways of 4 frames, from 0 to 3 times the direction of 8 ({told[0]} training "
        f"observations) from {against} ({told[1]})\n"
    )
    rows = tiles("m.png", 4).reshape(2, 4, 8, 8)
    np.testing.assert_allclose(rows[:, 0], validation(2), atol=0.05)
    model = Run.open(places["nice"]).model()
    with torch.no_grad():
        towards = model.encode(x[labels == 8]).mean(0) - model.encode(x[others]).mean(0)
        codes = model.encode(data.validation.batch(torch.arange(2))[0])
        expected = model.decode(codes + 3 * towards)[:, 0]
    np.testing.assert_allclose(rows[:, -1], expected.numpy(), atol=0.05)


def test_a_part_of_a_label_has_a_direction(ok, places, tmp_path):
    folder = tmp_path / "some"
    folder.mkdir()
    noise = np.random.default_rng(1)
    for number in range(60):
        kind, tint = ("flat", "lined")[number % 2], ("dark", "bright")[number // 2 % 2]
        pixels = noise.integers(0, 40, (4, 4)) + 120 * (tint == "bright")
        name = folder / f"{kind}_{tint}_{number}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(name)
    train("nice", folder, *BRIEF_NICE, "--labels", "{kind}_{tint}_*", "--levels", "8",
          "--out", "parts")  # fmt: skip
    _, err = ok("map", "parts", "--direction", "tint=bright", "-n", "1")
    assert "direction-tint=bright.png: 1 way of 7 frames" in err
    _, err = ok("map", "parts", "--direction", "tint=bright", "tint=dark", "-n", "1")
    assert "from tint=dark (" in err


# ---- inverting ----------------------------------------------------------------------------------


def test_inversions_are_drawn_below_what_is_real_and_printed(ok, places):
    out, err = ok("invert", places["gan"], "-n", "10", "-o", "i.png")
    assert "800 gradients for each took" in err
    assert err.endswith("i.png: rows of real | found | difference\n")
    rows = tiles("i.png", 8, gap=3).reshape(2, 3, 8, 8, 8)
    np.testing.assert_allclose(rows[0, 0], validation(8), atol=0.05)
    np.testing.assert_allclose(rows[1, 0, :2], validation(10)[8:], atol=0.05)
    np.testing.assert_allclose(rows[0, 2], (rows[0, 1] - rows[0, 0] + 16) / 2, atol=0.1)
    *each, whole = (line.split() for line in out.splitlines()[1:])
    assert whole[:2] == ["all", "10"]
    found, real = rows[0, 1, 0].round(), rows[0, 0, 0].round()
    residual = np.sqrt(np.square(found - real).mean())
    assert float(each[0][2]) == pytest.approx(residual, abs=0.05)
    assert float(each[0][5]) == pytest.approx(20 * np.log10(16 / residual), abs=0.1)


def test_codes_that_were_found_are_written_and_ways_go_between_them(ok, places):
    _, err = ok(
        "invert", places["gan"], places["digit0"], places["root"] / "both.npy", "-o", "i.npz"
    )
    assert "i.npz: codes (3, 32), residuals, names" in err
    with np.load("i.npz") as found:
        assert found["codes"].shape == (3, 32)
        assert found["names"].tolist()[0] == str(places["digit0"])
        np.testing.assert_allclose(found["codes"][0], found["codes"][1], atol=1e-4)
        assert str(found["run"]) == places["gan"].name
    _, err = ok("interpolate", places["gan"], "0", "1", "--frames", "3", "-o", "w.png")
    assert "between validation 0 and validation 1, as near as codes were found" in err


def test_features_are_told_apart_from_codes(ok, places):
    _, err = ok("encode", places["gan"], "-o", "f.npz")
    assert "these are features of the discriminator, and no codes" in err
    with np.load("f.npz") as found:
        assert found["validation"].shape == (180, 4)
        assert str(found["what"]).startswith("features of the discriminator")
    _, err = ok("encode", places["gan"], places["digit0"], "-o", "g.npz")
    assert "g.npz: features (1, 4), names (1,)" in err


def test_a_generator_is_mapped_along_what_changes_most(ok, places):
    _, err = ok("map", places["gan"], "-o", "m.png")
    assert "codes have 32 values: across and up go the two directions that change" in err


# ---- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("reconstruct {gan}", 2, "GAN does not encode observations: use vae or nice"),
        ("reconstruct {pixelcnn}", 2, "PixelCNN does not encode observations: use vae or nice"),
        ("reconstruct {nice} lost.png", 3, "lost.png does not exist"),
        ("reconstruct {nice} --label 3", 2, "takes no label --set context=label"),
        ("reconstruct {told} {digit0}", 2, "needs the class --label 0 … 9"),
        ("reconstruct {told} {digit0} --label 12", 2, "--label 0 to 9, got 12"),
        ("reconstruct {plane} -o a.png", 2, "vectors (2,) are printed --out"),
        ("reconstruct {nice} -o a.gif", 2, "--out is a .png file 'a.gif'"),
        ("interpolate {gmm} 1 2", 2, "GMM does not encode observations use vae or nice"),
        ("invert {vae}", 2, "VAE has no generator to invert encode reconstruct"),
        ("invert {pixelcnn}", 2, "PixelCNN has no generator to invert: use gan, or vae"),
        ("invert {gan} lost.png", 3, "lost.png does not exist"),
        ("invert {gan} -o a.gif", 2, "--out is a .png file 'a.gif'"),
        ("invert {gan} --label 3", 2, "takes no label --set context=label"),
        ("interpolate {pixelcnn}", 2, "PixelCNN has no latent space use vae, gan or nice"),
        ("interpolate {nice} 1", 2, "A and B got 1"),
        ("interpolate {nice} 1 999", 2, "0 to 179, got 999"),
        ("interpolate {nice} 1 lost.png", 3, "lost.png does not exist"),
        ("interpolate {nice} 1 {root}/both.npy", 3, "both.npy holds 2 observations"),
        ("interpolate {nice} --frames 1", 2, "--frames is at least 2 got 1"),
        ("interpolate {nice} -o a.npy", 2, "--out is a .png file 'a.npy'"),
        ("interpolate {sound} -o a.gif", 2, "--out is a .png file 'a.gif'"),
        ("interpolate {plane} -o a.png", 2, "--out is a .npy file 'a.png'"),
        ("interpolate {nice} --label 3", 2, "takes no label --set context=label"),
        ("map {pixelcnn}", 2, "PixelCNN has no codes to map use vae, gan or nice"),
        ("map {nice} --traverse --spread", 2, "are pictures: give one"),
        ("map {nice} --traverse --label 3", 2, "--label is what the grid leave it out"),
        ("map {nice} --label 3", 2, "takes no label --set context=label"),
        ("map {nice} --spread", 2, "NICE gives an observation one code posterior of a vae"),
        ("map {gan} --traverse", 2, "GAN does not encode observations"),
        ("map {vae} --traverse -o a.npy", 2, "--out is a .png file 'a.npy'"),
        ("encode {pixelcnn}", 2, "PixelCNN does not encode observations: use vae or nice"),
        ("encode {vae} lost.png", 3, "lost.png does not exist"),
        ("encode {vae} -o a.npy", 2, "--out is a .npz file 'a.npy'"),
        ("encode {told} digits", 2, "is told a label with each leave DATA out"),
        ("probe {pixelcnn}", 2, "PixelCNN does not encode observations"),
        ("probe {told}", 2, "is told a label without --set context"),
        ("probe {plane}", 3, "plane.npy has no labels"),
        ("export {gan} --part encoder", 2, "GAN does not encode observations"),
        ("export {vae} --part discriminator", 2, "VAE has no discriminator"),
        ("map {nice} --direction 1 2 3", 2, "--direction CLASS OTHER got 3 classes"),
        ("map {nice} --direction seven", 2, "no class is called 'seven': known: 0, 1"),
        ("map {nice} --direction 12", 2, "--direction 0 to 9, got 12"),
        ("map {nice} --direction 3 3", 2, "may be both"),
        ("map {gan} --direction 3", 2, "GAN does not encode observations"),
        ("map {pixelcnn} --direction 3", 2, "PixelCNN does not encode observations"),
        ("map {told} --direction 3", 2, "is told a label without --set context"),
        ("map {plane} --direction 3", 2, "these data have no labels"),
        ("sample {gmm} --temperature 0.5", 2, "GMM has no temperature: leave it at 1"),
        ("sample {nice} --top-k 3", 2, "as --top-k needs: use pixelcnn"),
        ("sample {nice} --top-p 0.5", 2, "as --top-p needs: use pixelcnn"),
        ("complete {nice} --candidates 5", 2, "predicts no value leave them at 1"),
    ],
)
def test_mistakes_are_told_in_one_line(cli, places, line, code, words):
    got, out, err = cli(*[part.format(**places) for part in line.split()])
    assert (got, out) == (code, ""), err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for word in words.split():
        assert word in err, (word, err)
    assert not list(Path().iterdir())


# ---- what other commands do with a flow ---------------------------------------------------------


def test_a_flow_samples_at_a_temperature_and_completes(ok, places):
    _, err = ok("sample", places["nice"], "-n", "4", "--temperature", "0.7", "-o", "cold.png")
    assert "these are not drawn from the model itself" in err
    ok("sample", places["nice"], "-n", "4", "-o", "warm.png")
    assert (np.load("cold.npy") != np.load("warm.npy")).any()
    _, err = ok("complete", places["nice"], "-n", "2", "--times", "2", "-o", "c.png")
    assert err == "c.png: 2 rows of given | 2 completions, approximate (~) | truth\n"
    rows = tiles("c.png", 4, gap=3).reshape(2, 4, 8, 8)
    np.testing.assert_allclose(rows[:, 1:, :4], rows[:, 3:, :4].repeat(3, 1), atol=0.05)
