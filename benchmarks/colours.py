"""`python -m benchmarks.colours`: small colour pictures, as numbers, as 256 levels, as a palette.

The same networks learn the same pictures in three ways: red, green and blue regressed (`gaussian`),
red, green and blue as one of 256 levels each (`categorical`), and the pixel as one colour of a
palette (`palette`). Each learns for as many seconds of the processor. `--course` shows the last of
them after more and more epochs of few pictures instead.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.colours_course import course
from benchmarks.drawings import drawings
from benchmarks.machine import describe
from benchmarks.table import table
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.drawing import files, grids
from simulacra.drawing.style import HIDDEN
from simulacra.ground.randomness import seeded
from simulacra.ground.storage import detached_copy, read_json, write_json
from simulacra.judging.figures.appearance import appearance
from simulacra.judging.figures.likelihood import likelihood
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.registry import build, preset
from simulacra.nn.distributions import Narrowing
from simulacra.tasks.complete import complete, mask
from simulacra.tasks.sample import draw
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options

MODELS: dict[str, dict[str, Any]] = {
    "pixelcnn": {"channels": 32, "layers": 4}, "pixel-rnn": {"layers": 1},
}  # fmt: skip
"""Networks with keywords, small as the pictures are."""
WAYS = {
    "gaussian": "three numbers regressed", "categorical": "three of 256 levels",
    "palette": "one colour of a palette",
}  # fmt: skip
_FOUND = 64
"""Colours that k-means finds where pictures have no palette."""
_DRAWN = 64
"""Samples that colours are measured of."""
_NEAR = 16
_BEGUN = 4
"""First rows that continuations begin with: a share of all, 1 in so many."""


@dataclass(frozen=True)
class Ways:
    """The same pictures as RGB of 256 levels, and as colours of a palette.

    Args:
        rgb: What is regressed, or one of 256.
        palette: What is one colour.
        lossless: Whether every colour is in the palette.
    """

    rgb: Dataset
    palette: Dataset
    lossless: bool


def ways(name: str, data_dir: str | None, side: int, count: int) -> Ways:
    """A data set in both forms.

    Args:
        name: `drawings`, made by code, or a set of pictures.
        data_dir: Where its files are.
        side: Of pictures that are made smaller.
        count: Drawings.
    """
    if name == "drawings":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "drawings.npy"
            np.save(path, drawings(count).numpy())
            return Ways(load(str(path)), load(str(path), colour="palette"), lossless=True)
    if name == "pokemon-sprites":
        plain = load(name, data_dir=data_dir)
        return Ways(load(name, data_dir=data_dir, colour="rgb"), plain, lossless=True)
    own = load(name, data_dir=data_dir, side=side, colour="palette", levels=_FOUND)
    return Ways(load(name, data_dir=data_dir, side=side), own, lossless=False)


def trained(name: str, way: str, data: Dataset, seconds: float, seed: int) -> Autoregressive:
    """A network after so many seconds of one thread: its average at the best validation."""
    output = "gaussian" if way == "gaussian" else "categorical"
    with seeded(seed):
        model = build(name, data.spec, {**MODELS[name], "output": output})
    options = Options(**{**preset(name), "device": "cpu", "seed": seed})
    training = Training(
        model, data.train, data.validation, options, threads=1, clock=time.process_time
    )
    training.set_plan(Budget(seconds, "s"))
    best: dict[str, Tensor] = {}
    for record in training:
        if record.validated and record.step == training.progress.best_step:
            best = detached_copy(training.averaged.state_dict())
    training.averaged.load_state_dict(best)
    learned = training.averaged.eval()
    assert isinstance(learned, Autoregressive)
    return learned


def figures(model: Autoregressive, data: Dataset, most: int) -> tuple[dict[str, Any], Tensor]:
    """What a network is worth, and pictures of it.

    Returns:
        Figures for JSON; RGB `(5, 8, 3, H, W)` in [0, 1]: test pictures, samples, continuations of
        test pictures from their first rows as drawn and as the likeliest of each value alone,
        completions from one pixel in ten.
    """
    spec = data.spec
    score = likelihood(model, data.test, limit=most).marginal
    assert score is not None  # nothing is told beside the pictures
    found: dict[str, Any] = {
        "bits": score.nats / math.log(2),
        "error": score.standard_error / math.log(2),
        "dims": spec.dims, "levels": spec.levels, "scored": score.observations,
    }  # fmt: skip
    real = data.test.batch(torch.arange(min(1000, len(data.test))))[0]
    samples = draw(model, _DRAWN, seed=(1,)).x
    observed = torch.zeros(spec.event_shape, dtype=torch.bool)
    observed[:, : spec.event_shape[1] // _BEGUN] = True
    begun = real[:_DRAWN]
    continued, likeliest = (
        draw(model, len(begun), narrowing=each, start=(begun, observed), seed=(2,)).x
        for each in (Narrowing(), Narrowing(top_k=1))
    )
    for key, x in (("samples", samples), ("continued", continued), ("likeliest", likeliest)):
        ratio = appearance(spec, real, x)["saturation"]
        found[key] = [ratio.value, ratio.low, ratio.high]
    few = mask(spec.event_shape, "random:0.9", seed=3)
    filled = complete(model, real[:8], few, seed=4)[:, 0]
    shown = [spec.to_float(x[:8]) for x in (real, samples, continued, likeliest, filled)]
    given = torch.where(few.all(0), shown[0], torch.tensor(HIDDEN)[:, None, None])
    return found, torch.stack([*shown, given])


def known(pictures: Tensor, palette: Tensor) -> float:
    """The share of pixels that have a colour of the palette, within 16 of 255 in each of R, G, B.

    Args:
        pictures: `(N, 3, H, W)`, 0 … 255.
        palette: `(colours, 3)`.
    """
    pixels = pictures.movedim(1, -1).reshape(-1, 1, 3)
    far = (pixels - palette).abs().amax(-1).amin(1)
    return float((far <= _NEAR).double().mean())


def markdown(kept: dict[str, Any], palette: Tensor, told_of: str) -> str:
    """A row for each network and way."""
    lines = []
    for key, row in kept["rows"].items():
        name, way = key.split("/")
        samples, _, likeliest = torch.tensor(kept["pictures"][name][way])[1:4]
        rgb = way != "palette"
        bits = f"{row['bits']:,.0f} ± {row['error']:.0f}"
        each = f"{row['bits'] / row['dims']:.3f} bits a {'value' if rgb else 'pixel'}"
        of = "RGB" if rgb else f"{row['levels']} colours"
        lines.append([
            f"`{name}`", WAYS[way], of, bits, each,
            *(f"{row[k][0]:.2f}" for k in ("samples", "likeliest")),
            *(f"{known(each, palette):.0%}" for each in (samples, likeliest)),
        ])  # fmt: skip
    head = (
        "network", "a pixel is", "likelihood of", "bits a picture", "or", "saturation of samples",
        "of the likeliest", "samples' pixels of a known colour", "the likeliest's",
    )  # fmt: skip
    return f"{table(head, lines)}\n\n{told_of}"


def _small(pictures: Tensor) -> list[Any]:
    """Pictures in [0, 1] as whole numbers for JSON."""
    levels: list[Any] = (pictures * 255).round().to(torch.uint8).tolist()
    return levels


def strip(kept: dict[str, Any]) -> Tensor:
    """All pictures of a network: rows for the truth and each way, samples beside completions."""
    shown = {way: torch.tensor(kept[way]) / 255 for way in WAYS if way in kept}
    first = next(iter(shown.values()))
    rows = [torch.cat([first[0][:6], first[0][:4], first[5][:4]])]
    for each in shown.values():
        rows.append(torch.cat([each[1][:6], each[2][:4], each[4][:4]]))
    return torch.cat(rows)


def main(arguments: list[str] | None = None) -> int:
    """Measure what is not measured yet, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.colours", description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--data", default="drawings", help="drawings, or a set of colour pictures")
    parser.add_argument("--data-dir", help="where its files are")
    parser.add_argument("--side", type=int, default=20, help="of pictures of a set, made smaller")
    parser.add_argument("--count", type=int, default=4000, help="drawings")
    parser.add_argument("--seconds", type=float, default=120, help="of the processor, for each")
    parser.add_argument("--most", type=int, default=500, help="test pictures that are scored")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the batches")
    parser.add_argument("--out", default="colours", help="folder of rows and pictures")
    parser.add_argument("--course", action="store_true", help="samples by epochs instead")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    folder = Path(given.out)
    folder.mkdir(parents=True, exist_ok=True)
    if given.course:
        return course(folder, given.seed)
    path = folder / f"{given.data}-{given.seconds:g}s-{given.seed}.json"
    kept = read_json(path) if path.exists() else {"rows": {}, "pictures": {}}
    both = ways(given.data, given.data_dir, given.side, given.count)
    for name in MODELS:
        for way in WAYS:
            key = f"{name}/{way}"
            if key in kept["rows"]:
                continue
            data = both.palette if way == "palette" else both.rgb
            model = trained(name, way, data, given.seconds, given.seed)
            kept["rows"][key], pictures = figures(model, data, given.most)
            kept["pictures"].setdefault(name, {})[way] = _small(pictures)
            write_json(path, kept)
            print(key, kept["rows"][key], flush=True)
        picture = grids.grid(strip(kept["pictures"][name]), columns=14, scale=4, gap=2)
        files.save(picture, folder / f"colours-{given.data}-{name}.png")
    machine = describe(torch.device("cpu"), 1, given.seed)
    print(markdown(
        kept, torch.tensor(both.palette.spec.palette),
        f"{both.rgb.name}, {len(both.rgb.train):,} training pictures of {both.rgb.spec.event_shape}"
        f"; {given.seconds:g} s of one thread each, seed {given.seed}, {machine['cpu']}, torch "
        f"{machine['torch']}. "
        + ("Both are the same pictures one to one: bits a picture compare." if both.lossless else
           "The palette loses colours: its bits are of other data, and compare with nothing here."),
    ))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
