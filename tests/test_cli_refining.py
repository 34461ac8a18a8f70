"""What is done with models that refine noise, from the command line."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import simulacra as sim
from commands import BRIEF, train
from simulacra.data.catalogue import load
from simulacra.drawing.animation import FRAME
from simulacra.runs.run import Run

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = ["--set", "channels=8", "--set", "sampling_steps=5"]
SEEN = ["--budget", "60steps", "--batch", "32", "--lr", "5e-3", "--ema", "0.9"]


@pytest.fixture(scope="module")
def places(tmp_path_factory, kept):
    root = tmp_path_factory.mktemp("refining")
    found = {"root": root, "vae": kept.run(*BRIEF["vae"])}
    found["flow"] = kept.run("flow-matching", "digits", *SMALL, *SEEN, into=root / "flow")
    brief = ["digits", "--budget", "1steps", *SMALL]
    found["told"] = kept.run("ddpm", *brief, "--set", "context=label", into=root / "told")
    found["d3pm"] = kept.run("d3pm", *brief, into=root / "d3pm")
    plane = np.random.default_rng(0).normal(2, 3, size=(60, 2)).astype(np.float32)
    np.save(root / "plane.npy", plane)
    found["plane"] = root / "plane"
    train("ddpm", root / "plane.npy", "--budget", "1steps", "--set", "hidden=8", "--set",
          "sampling_steps=5", "--out", found["plane"])  # fmt: skip
    clean = digits(3)
    noisy = clean + 0.3 * np.random.default_rng(1).normal(size=clean.shape)
    np.save(root / "noisy.npy", noisy.astype(np.float32))
    for number, each in enumerate(noisy):
        pixels = (each[0].clip(0, 1) * 255).round().astype(np.uint8)
        found[f"noisy{number}"] = root / f"noisy{number}.png"
        Image.fromarray(pixels).save(found[f"noisy{number}"])
    return found


def digits(n: int) -> np.ndarray:
    """Validation digits as intensities `(n, 1, 8, 8)`."""
    return load("digits").validation.x[:n].numpy() / 16


def off(path: object, clean: np.ndarray) -> float:
    """Root of the mean square by which levels in a file are off, in intensities."""
    return float(np.sqrt(np.square(np.load(str(path)) / 16 - clean).mean()))


# ---- samples ------------------------------------------------------------------------------------


def test_steps_and_guidance_reach_the_sampler_and_are_told(ok, places):
    _, err = ok("sample", places["told"], "-n", "4", "-o", "a.png", "--steps", "5")
    assert err.splitlines() == ["a.png and a.npy: 4 samples"], "as evaluate draws them"
    _, err = ok("sample", places["told"], "-n", "4", "-o", "b.png", "--steps", "2",
                "--guidance", "3", "--temperature", "0.5")  # fmt: skip
    usual = "its figures are those of 5 steps and guidance 1 and temperature 1"
    assert f"not drawn as those that evaluate judges: {usual}" in err
    model = Run.open(places["told"]).model()
    expected = sim.sample(model, 4, steps=2, guidance=3.0, temperature=0.5).x
    assert (np.load("b.npy") == expected.numpy()).all()
    _, err = ok("sample", places["d3pm"], "-n", "2", "-o", "c.png", "--steps", "500")
    assert "64 steps are all that there are: so many were taken" in err
    assert err.endswith("its figures are those of 5 steps\n")


def test_noise_becoming_pictures_can_be_watched(ok, places):
    _, err = ok("sample", places["flow"], "-n", "18", "-o", "a.png", "--watch", "a.gif")
    assert err.endswith("a.gif: the first 16 as they grow, 6 frames\n")
    ok("sample", places["flow"], "-n", "18", "-o", "b.png")
    assert Path("a.npy").read_bytes() == Path("b.npy").read_bytes()
    with Image.open("a.gif") as image:
        assert image.n_frames == 6
        times = []
        for number in range(6):
            image.seek(number)
            times.append(image.info["duration"])
        last = np.asarray(image.convert("L")).astype(float)
    assert times[-1] >= 2000, "what was drawn stays"
    assert min(times) >= 300, "few frames are shown for longer"
    scale = FRAME // 32  # four rows of eight pixels
    gap = max(2, scale // 2)
    drawn = np.load("a.npy")[:16, 0] * (255.0 / 16)
    for row in range(8):
        line = last[row * scale + scale // 2 :: 8 * scale + gap]
        shown = line[:, scale // 2 :: 8 * scale + gap].flatten()
        np.testing.assert_allclose(shown, drawn[:, row, 0], atol=4)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("sample {vae} --steps 3", "VAE refines no noise, as --steps needs: use ddpm"),
        ("sample {vae} --guidance 3", "VAE refines no noise, as --guidance needs: use ddpm"),
        ("sample {vae} --watch a.gif", "draws a picture at once, and --watch .* or ddpm"),
        ("sample {flow} --guidance 2", "told nothing that guidance could weigh: train one with"),
        ("sample {flow} --steps 0", "--steps is a positive number, got 0"),
        ("sample {told} --guidance -1", "--guidance is a number of at least 0, got -1"),
        ("sample {told} --guidance nan", "--guidance is a number of at least 0, got nan"),
        ("sample {flow} --top-k 3", "does not draw one value after another, as --top-k needs"),
        ("sample {flow} --start random:3", "does not draw one value after another, as a start"),
        ("sample {d3pm} --temperature 0.5", "D3PM has no temperature"),
        ("sample {plane} --watch a.gif", "--watch shows pictures, not vectors"),
        ("map {flow} --traverse", "noise, of which no value says anything alone: use interpolate"),
        ("complete {flow} --candidates 3", "predicts no value from those before it"),
        ("denoise {vae} {noisy0}", "VAE takes no noise .* use ddpm, vdm or flow-matching"),
        ("denoise {d3pm} {noisy0}", "D3PM takes no noise from observations"),
        ("denoise {flow}", "denoise needs the files that noise is taken from"),
        ("denoise {flow} {noisy0} --noise -1", "--noise is a standard deviation of at least 0"),
        ("denoise {flow} {noisy0} -o a.npy", "--out is a .png file"),
        ("denoise {told} {noisy0}", "needs the class of a file: --label 0 … 9"),
        ("denoise {plane} {root}/plane.npy", "cannot be seen in one of them: tell its size by"),
    ],
)
def test_what_cannot_be_done_is_refused(cli, places, words, told):
    code, _, err = cli(*words.format(**places).split())
    assert code == 2
    assert re.search(told, err)


# ---- noise is taken away ------------------------------------------------------------------------


def test_a_noisy_digit_comes_nearer_to_the_clean_one(ok, places):
    clean = digits(3)
    noisy = np.load(places["root"] / "noisy.npy")
    _, err = ok("denoise", places["flow"], places["root"] / "noisy.npy", "--noise", "0.3",
                "-o", "d/a.png")  # fmt: skip
    assert err == "d/a.png: pairs of before | after; d/a.npy: 3 observations\n"
    before, after = float(np.sqrt(np.square(noisy - clean).mean())), off("d/a.npy", clean)
    assert after < 0.7 * before
    _, err = ok("denoise", places["flow"], *(places[f"noisy{i}"] for i in range(3)),
                "-o", "b.png")  # fmt: skip
    size = re.search(
        r"the noise found in 3 pictures has a standard deviation of (\S+) … (\S+)", err
    )
    assert size
    assert 0.05 < float(size[1]) < float(size[2]) < 0.6
    assert re.search(r"\d\d% of the values are black or white, where noise is cut off", err)
    assert off("b.npy", clean) < off("d/a.npy", clean) + 0.05, "8 bits cut off what helps least"
    with Image.open("b.png") as image:
        shown = np.asarray(image.convert("L")).astype(float)
    scale = (shown.shape[0]) // 8
    seen = shown[scale // 2 :: scale, scale // 2 : 8 * scale : scale] / 255
    np.testing.assert_allclose(seen, noisy[0, 0].clip(0, 1), atol=0.01)


def test_vectors_and_labelled_pictures_lose_noise_too(ok, places):
    _, err = ok("denoise", places["plane"], places["root"] / "plane.npy", "--noise", "0.5",
                "-o", "a.npy")  # fmt: skip
    assert err == "a.npy: 60 observations\n"
    assert np.load("a.npy").shape == (60, 2)
    _, err = ok("denoise", places["told"], places["noisy1"], "--label", "3", "--noise", "0.1")
    assert "1 observation\n" in err
    assert Path(places["told"], "denoised.png").exists()


# ---- walking and completing ---------------------------------------------------------------------


def test_ways_between_noise_end_near_what_they_join(ok, places):
    _, err = ok("interpolate", places["flow"], "0", "1", "--frames", "3", "-o", "a.png")
    assert err == "a.png: 1 way of 3 frames, between validation 0 and validation 1\n"
    model = Run.open(places["flow"]).model()
    model.sampling_steps = 20
    x, _ = load("digits").validation.batch(torch.arange(2))
    back = sim.reconstruct(model, x)
    assert float(back.exact.mean()) > 0.9
    assert float(back.error.mean()) < 0.1
    way = sim.interpolate(model, ends=(x[:1], x[1:2]), steps=3)[0]
    assert torch.equal(way[[0, 2]], back.x)
    between = model.spec.to_float(way[1:2])
    assert float(between.std()) > 0.8 * float(model.spec.to_float(x).std()), "no mush"


def test_what_is_hidden_is_refined_beside_what_is_seen(ok, places):
    _, err = ok("complete", places["flow"], "-n", "2", "--times", "2", "-o", "a.png")
    assert err == "a.png: 2 rows of given | 2 completions, approximate (~) | truth\n"
