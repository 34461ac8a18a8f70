"""Watching a training: when it is looked at, what is seen, and that nothing of it changes."""

from __future__ import annotations

import io
import re
import signal
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from simulacra.cli import watch as command
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.drawing import animation
from simulacra.ground.errors import MissingCapability
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.model import Model
from simulacra.tasks.watch import Watching, following
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options
from toys import Autoencoder

# ---- when ---------------------------------------------------------------------------------------


def moments(steps: int, frames: int, **told: Any) -> list[int]:
    """The steps that are looked at, the beginning and the end among them."""
    found = [0]
    while len(found) < frames and found[-1] < steps:
        found.append(following(found[-1], steps, frames - len(found), **told))
    return found


@pytest.mark.parametrize(("steps", "frames"), [(3000, 40), (100_000, 8), (50, 40), (1, 2), (7, 8)])
def test_moments_go_from_the_beginning_to_the_end(steps: int, frames: int) -> None:
    found = moments(steps, frames)
    assert found[0] == 0
    assert found[-1] == steps
    assert len(found) == min(frames, steps + 1)
    assert all(before < after for before, after in pairwise(found))


def test_moments_are_geometric_from_a_three_hundredth_on() -> None:
    found = moments(30_000, 20)
    assert found[1] == 100
    ratios = [after / before for before, after in pairwise(found[1:])]
    assert max(ratios) < 1.02 * min(ratios)


def test_sweeps_are_looked_at_from_the_first_on() -> None:
    """How many there will be is not known: what converges early was seen nevertheless."""
    found = moments(1_000_000, 40, by_sweeps=True)
    assert found[:4] == [0, 1, 2, 3]
    assert sum(step <= 100 for step in found) > 10


# ---- what ---------------------------------------------------------------------------------------


def made_up(spec: DataSpec, n: int = 60) -> Dataset:
    with seeded(0):
        size = (n, *spec.event_shape)
        x = torch.randn(size) if spec.levels is None else torch.randint(spec.levels, size)
    split = Observations(x, torch.arange(n) % 2 if spec.classes else None)
    return Dataset("made up", spec, split, split, split)


KINDS: dict[str, tuple[str, DataSpec, dict[str, Any]]] = {
    "plane": ("nice", DataSpec((2,), None), {"hidden": (4,)}),
    "plane of classes": (
        "made", DataSpec((2,), None, classes=2), {"hidden": (4,), "context": "label"}
    ),
    "plane without density": ("gan", DataSpec((2,), None), {"hidden": (4,)}),
    "line": ("made", DataSpec((1,), None), {"hidden": (4,)}),
    "vectors": ("gmm", DataSpec((5,), None), {"components": 2}),
    "pictures": ("nice", DataSpec((1, 4, 3), 4), {"hidden": (4,)}),
    "colours": ("vae", DataSpec((3, 4, 4), 4), {"hidden": (4,), "latent": 2}),
    "sounds": ("made", DataSpec((40,), 16, coding="mu-law", rate=800), {"hidden": (4,)}),
}  # fmt: skip


def seen(name: str) -> tuple[Watching, list[Image.Image]]:
    model, spec, keywords = KINDS[name]
    data = made_up(spec)
    with seeded(0):
        built = registry.build(model, spec, keywords)
        built.prepare(*data.train.batch(torch.arange(60)))
    watching = Watching(built, data)
    watching.add(built, "before")
    with torch.no_grad():
        for value in built.state_dict().values():
            value.mul_(1.5) if value.is_floating_point() else None
    watching.add(built, "after, with some more words")
    return watching, watching.images()


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_seen(name: str) -> None:
    watching, images = seen(name)
    assert images[0].size == images[1].size
    below = [np.asarray(image)[30:] for image in images]
    assert (below[0] != below[1]).any()
    dense = name in ("plane", "plane of classes", "line")
    assert all((moment.log_p is not None) == dense for moment in watching.moments)


def test_a_seed_shows_the_same_samples_while_nothing_changes() -> None:
    model, spec, keywords = KINDS["pictures"]
    built, data = registry.build(model, spec, keywords), made_up(spec)
    watching = Watching(built, data, seed=3)
    for _ in range(2):
        watching.add(built, "")
    first, second = watching.moments
    assert first.x is not None
    assert second.x is not None
    assert torch.equal(first.x, second.x)
    other = Watching(built, data, seed=4)
    other.add(built, "")
    assert other.moments[0].x is not None
    assert not torch.equal(first.x, other.moments[0].x)


def test_what_does_not_sample_gives_back() -> None:
    data = load("digits")
    watching = Watching(Autoencoder(data.spec), data)
    watching.add(Autoencoder(data.spec), "")
    (image,) = watching.images()
    # the first row is of pictures as they are
    scale, gap = 420 // 8 // 5, 5
    top = np.asarray(image.convert("L"))[24 : 24 + 8 * scale, : 8 * scale]
    known = data.spec.to_float(data.validation.batch(torch.arange(1))[0])[0, 0]
    wanted = (known * 255).round().byte().repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    assert (top == wanted.numpy()).all()
    assert image.width == 5 * (8 * scale + gap) - gap


def test_nothing_to_see_is_told() -> None:
    class Mute(Model):
        def loss(self, *_: Any, **__: Any) -> Any:
            raise AssertionError

    spec = DataSpec((1, 4, 4), 4)
    with pytest.raises(MissingCapability, match="Mute neither samples nor gives back"):
        Watching(Mute(spec), made_up(spec))


# ---- a training is not disturbed ----------------------------------------------------------------


class Clock:
    """Time goes on by a thousandth at each look, and by what somebody adds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class Slow(Watching):
    """Takes a hundred seconds to look."""

    clock: Clock

    def add(self, model: Model, words: str, playing: Model | None = None) -> None:
        super().add(model, words, playing)
        self.clock.now += 100


def trained(name: str, steps: int, frames: int) -> tuple[Training, Slow | None]:
    data, clock = load("digits"), Clock()
    with seeded(1):
        built = Autoencoder(data.spec) if name == "autoencoder" else registry.build(
            name, data.spec, {"hidden": (8,)}
        )  # fmt: skip
    options = Options(device="cpu", seed=1, batch=16)
    training = Training(built, data.train, data.validation, options, clock=clock)
    training.set_plan(Budget(steps, "steps"))
    if not frames:
        list(training)
        return training, None
    watching = Slow(built, data)
    watching.clock = clock
    command._train(training, watching, name, data, frames)
    return training, watching


@pytest.mark.parametrize("name", ["nice", "autoencoder"])
def test_a_training_learns_the_same_and_in_the_same_time(name: str) -> None:
    alone, _ = trained(name, 6, 0)
    training, watching = trained(name, 6, 4)
    assert watching is not None
    assert len(watching.moments) == 4
    assert training.progress.seconds == pytest.approx(alone.progress.seconds, abs=1)
    for key, value in alone.averaged.state_dict().items():
        assert torch.equal(training.averaged.state_dict()[key], value), key
    unit = " bits/dim" if name == "nice" else ""
    for moment, step in zip(watching.moments, (0, 1, 2, 6), strict=True):
        assert re.fullmatch(
            rf"step {step}, \d+\.\d s, validation \d+\.\d{{3}}{unit}", moment.words
        ), moment.words


def test_a_training_that_is_stopped_shows_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Training.__iter__

    def stopped(training: Training) -> Iterator[Any]:
        for record in whole(training):
            if record.step == 3:
                signal.raise_signal(signal.SIGINT)
            yield record

    monkeypatch.setattr(Training, "__iter__", stopped)
    training, watching = trained("nice", 1000, 4)
    assert watching is not None
    assert training.progress.step == 3
    assert watching.moments[-1].words.startswith("step 3, ")


def test_the_last_picture_is_of_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many steps there will be may be an estimate, which falls short."""
    monkeypatch.setattr("simulacra.tasks.watch.following", lambda *_, **__: 1)
    _, watching = trained("nice", 8, 4)
    assert watching is not None
    steps = [int(re.findall(r"\d+", moment.words)[0]) for moment in watching.moments]
    assert steps == [0, 1, 2, 8]


def test_stages_of_one_likelihood_are_all_watched() -> None:
    data = load("moons")
    training = Training(
        registry.build("gmm", data.spec, {"components": 5}), data.train, data.validation,
        Options(device="cpu", seed=1),
    )  # fmt: skip
    training.set_plan(Budget(20, "steps"))
    watching = Watching(training.model, data)
    command._train(training, watching, "gmm", data, 6)
    steps = [int(re.findall(r"\d+", moment.words)[0]) for moment in watching.moments]
    # three in its ten sweeps, and three in its ten gradient steps
    assert steps == [0, 1, 3, 10, 11, 20]


# ---- the command --------------------------------------------------------------------------------

BRIEF = ["made", "two-peaks", "--set", "hidden=4", "--budget", "5steps", "--batch", "8"]


def test_a_gif_moves_and_is_named_after_model_and_data(ok: Any, tmp_path: Any) -> None:
    _, err = ok("watch", *BRIEF, "--frames", "3")
    assert "watch-made-two-peaks.gif: 3 moments of learning" in err
    assert [path.name for path in tmp_path.iterdir()] == ["watch-made-two-peaks.gif"]
    with Image.open("watch-made-two-peaks.gif") as image:
        assert image.format == "GIF"
        shown = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
    assert len(shown) == 3
    assert (np.asarray(shown[0]) != np.asarray(shown[-1])).any()


def test_a_png_has_the_frames_side_by_side(ok: Any) -> None:
    _, err = ok("watch", *BRIEF, "-o", "into/a.PNG")
    # a step each, and the beginning
    assert "into/a.PNG: 6 moments" in err
    with Image.open("into/a.PNG") as image:
        assert image.format == "PNG"
        # three in a row
        assert 1400 < image.width < 1800
        assert 600 < image.height < 700


def test_who_is_stopped_ends_as_the_signal_would(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_train", lambda *_: command.Stop(signal.SIGINT))
    monkeypatch.setattr(command, "_write", lambda *_: None)
    assert cli("watch", *BRIEF)[0] == 130


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (["--frames", "1"], "--frames is at least 2, the first and the last, got 1"),
        (["-o", "a.mp4"], "--out is a .gif or a .png file, got 'a.mp4'"),
        (["--set", "hiden=4"], "hidden"),
    ],
)
def test_wrong_arguments_are_told_on_a_line(cli: Any, told: list[str], words: str) -> None:
    code, _, err = cli("watch", "nice", "ring-8", *told)
    assert code == 2
    assert err.count("\n") == 1
    assert words in err


def test_captions_have_room() -> None:
    small = [Image.new("L", (10, 10)), Image.new("L", (10, 10))]
    short, long = animation.captioned(small, ["a", "a line that is much longer than its picture"])
    assert short.size == long.size
    assert long.width > 200
    # nothing of the words is cut off
    assert (np.asarray(long)[:, -2:] == 255).all()
    both = animation.strip([short, long])
    assert both.size == (2 * long.width + 8, long.height)


def test_a_moving_picture_stands_still_at_its_end() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "green", "blue")]
    with Image.open(io.BytesIO(animation.moving(frames, seconds=0.1, last=2))) as image:
        times = []
        for number in range(image.n_frames):
            image.seek(number)
            times.append(image.info["duration"])
    assert times == [100, 100, 2000]
