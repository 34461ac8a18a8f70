"""The examples run from data to a picture that shows something."""

from __future__ import annotations

import re
import runpy
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

import simulacra as sim
from kept import Kept
from simulacra.ground.randomness import seeded
from simulacra.models import description, registry
from simulacra.models.lawbook.device import Elsewhere
from simulacra.models.model import Model

EXAMPLES = Path(__file__).parents[1] / "examples"
# rows and columns of digits in each picture
PICTURES = {
    "mixture": (4, 8), "factors": (4, 12), "kernels": (4, 8), "latent": (6, 10),
    "autoregressive": (8, 6), "adversarial": (6, 10), "flow": (5, 10), "judging": (4, 8),
    "chain": (3, 10), "few_labels": (8, 11), "codebook": (6, 10), "palette": (6, 10),
    "portraits": (6, 10), "diffusion": (8, 10),
}  # fmt: skip
SIDE, GAP = 8 * 6, 3
WRITTEN = {"voice": ["here.png", "here.wav"]}
"""What others than pictures of tiles write."""


def run(name: str, kept: Kept) -> Path:
    """Where an example was run, once: it leaves what it says that it writes, and nothing else.

    What it trains lies elsewhere from then on, as on a machine with a GPU.
    """
    path = EXAMPLES / f"{name}.py"
    there, elsewhere, fit = Elsewhere(), ExitStack(), sim.fit

    def fit_on_a_gpu(*args: Any, **options: Any) -> Model:
        model = fit(*args, **options)
        elsewhere.enter_context(there)
        there.bring([*model.parameters(), *model.buffers()])
        return model

    def make(place: Path) -> None:
        place.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(place)
            patch.setattr(sys, "argv", [str(path), "--budget", "2steps", "--out", "here.png"])
            patch.setattr(sim, "fit", fit_on_a_gpu)
            # the script seeds torch's global generator, which is not its own here
            with seeded(0), elsewhere:
                runpy.run_path(str(path), run_name="__main__")

    made = kept.once(f"{__name__} {name}", make)
    assert sorted(path.name for path in made.iterdir()) == WRITTEN.get(name, ["here.png"])
    return made


def drawn(name: str, kept: Kept) -> np.ndarray:
    """The picture of an example, in grey."""
    with Image.open(run(name, kept) / "here.png") as image:
        return np.asarray(image.convert("L"))


def tiles(picture: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The digits of a picture, `(rows, columns, 8, 8)`."""
    step = SIDE + GAP
    assert picture.shape == (rows * step - GAP, columns * step - GAP)
    each = [
        picture[top : top + SIDE : 6, left : left + SIDE : 6]
        for top in range(0, rows * step, step)
        for left in range(0, columns * step, step)
    ]
    return np.stack(each).reshape(rows, columns, 8, 8)


def test_there_is_an_example_for_every_family() -> None:
    families = {description.describe(name).family for name in registry.MODELS}
    scripts = {path.stem for path in EXAMPLES.glob("*.py")}
    assert {*PICTURES, *WRITTEN} == scripts
    # an embedding is there for what is drawn by it
    assert {"portraits" if family == "embedding" else family for family in families} <= scripts


@pytest.mark.parametrize("name", PICTURES)
def test_an_example_ends_in_a_picture(name: str, kept: Kept) -> None:
    digits = tiles(drawn(name, kept), *PICTURES[name])
    # no digit is of one grey, and no two rows are the same, but for those there and back by a flow
    assert (digits.max((2, 3)) > digits.min((2, 3))).all()
    assert len(np.unique(digits.reshape(len(digits), -1), axis=0)) == len(digits) - (name == "flow")


def test_a_flow_gives_its_digits_back(kept: Kept) -> None:
    digits = tiles(drawn("flow", kept), *PICTURES["flow"])
    np.testing.assert_array_equal(digits[0], digits[2])
    assert (digits[0] != digits[1]).any()


def test_completions_keep_what_was_given(kept: Kept) -> None:
    digits = tiles(drawn("autoregressive", kept), *PICTURES["autoregressive"])
    upper, lower = digits[:, :, :4], digits[:, :, 4:]
    for column in range(1, 6):
        np.testing.assert_array_equal(upper[:, column], upper[:, 0])
    assert (lower[:, 0] == lower[0, 0, 0, 0]).all()
    assert (lower[:, 1] != lower[:, 2]).any()


def test_a_voice_is_seen_and_heard(kept: Kept) -> None:
    """Waveforms of data and model side by side; all six vowels of the model, one after another."""
    picture = drawn("voice", kept)
    left, right = np.array_split(picture, 2, 1)
    assert min(left.min(), right.min()) < 128 < picture.mean()
    sounds, rate = soundfile.read(run("voice", kept) / "here.wav")
    assert rate == 4000
    assert len(sounds) == 6 * 1000 + 5 * rate // 4
    starts = range(0, len(sounds), 1000 + rate // 4)
    assert all(np.ptp(sounds[start : start + 1000]) > 0 for start in starts)


@pytest.mark.parametrize("name", [*PICTURES, *WRITTEN])
def test_an_example_is_told_in_four_parts(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text("utf-8")
    assert re.findall(r"^# %% (.*)$", text, re.M) == ["Data", "Model", "Train", "Look"]
    assert len(text.splitlines()) < 80
    assert f"python examples/{name}.py --budget" in text
