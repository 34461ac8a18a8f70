"""What samples begin with: random pixels, a picture with some, the beginning of a sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch import Tensor

import simulacra as sim
from commands import train
from simulacra.data.foreign.beginnings import read_beginning
from simulacra.drawing.style import HIDDEN
from simulacra.ground.errors import DataError, MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.model import Model
from simulacra.tasks.growing import WATCHED, Growing
from simulacra.tasks.sample import draw
from simulacra.tasks.start import first, random_start

GREY = DataSpec((1, 4, 5), 6)
RGB = DataSpec((3, 4, 5), 4)
COLOURS = ((0, 0, 0), (255, 0, 0), (0, 0, 255))
PALETTE = DataSpec((1, 4, 5), 3, ordered=False, coding="palette", palette=COLOURS)
SOUND = DataSpec((32,), 16, coding="mu-law", rate=800)


def cnn(spec: DataSpec) -> Model:
    with seeded(1):
        return registry.build("pixelcnn", spec, {"channels": 4, "layers": 1}).eval()


class Noted:
    """Data of which nothing but the form is known."""

    name = "some"

    def __init__(self, spec: DataSpec) -> None:
        self.spec, self.options = spec, {}


# ---- drawing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [GREY, RGB, PALETTE])
def test_random_beginnings_are_whole_pixels_in_the_order_of_drawing(spec: DataSpec) -> None:
    model = cnn(spec)
    given, observed = random_start(model, 50, 7, seed=3)
    there = observed.all(0)
    assert torch.equal(observed, there.expand_as(observed))
    assert there.flatten().tolist() == [True] * 7 + [False] * 13
    assert given.shape == (50, *spec.event_shape)
    # every level comes, in each of the beginnings another
    assert given[:, observed].unique().tolist() == list(range(spec.levels or 0))
    assert len(given[:, observed].unique(dim=0)) == 50
    before = torch.get_rng_state()
    assert torch.equal(given, random_start(model, 50, 7, seed=3)[0])
    assert not torch.equal(given, random_start(model, 50, 7, seed=4)[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_beginning_is_kept_and_the_rest_is_drawn_from_what_follows_it() -> None:
    """As `complete` does it from the same numbers, in lots as well."""
    model, (given, observed) = cnn(RGB), random_start(cnn(RGB), 9, 6)
    drawn = draw(model, 9, start=(given, observed), seed=(4,)).x
    assert torch.equal(drawn[:, observed], given[:, observed])
    with seeded(4):
        assert torch.equal(drawn, model.complete(given, observed))
    in_lots = draw(model, 9, start=(given, observed), seed=(4,), at_once=4).x
    assert torch.equal(in_lots[:, observed], given[:, observed])
    one = sim.sample(model, 5, start=(given[2], observed)).x
    assert torch.equal(one[:, observed], given[2, observed].expand(5, -1))
    assert not torch.equal(one[0], one[1])


def test_a_growing_picture_shows_its_beginning_from_the_first_frame() -> None:
    model, (given, observed) = cnn(GREY), random_start(cnn(GREY), 3, 15)
    growing = Growing(model, observed)
    draw(model, 3, start=(given, observed), on_step=growing.add)
    assert len(growing.frames) == 5
    blue = torch.tensor(HIDDEN)[:, None]
    shown = GREY.to_float(given).flatten(2)[..., :15].expand(3, 3, 15)
    for number, frame in enumerate(growing.frames, 16):
        flat = frame.flatten(2)
        assert torch.equal(flat[..., :15], shown)
        assert torch.equal(flat[..., number:], blue.expand(3, 3, 20 - number))
        assert number == 20 or not torch.equal(flat[..., number - 1 : number], blue.expand(3, 3, 1))
    assert WATCHED > 3


def test_beginnings_that_are_none_are_refused() -> None:
    model, (given, observed) = cnn(GREY), random_start(cnn(GREY), 3, 2)
    for count in (0, 20, 99):
        with pytest.raises(UsageError, match=f"from 1 to 19, got {count}"):
            first(model, count)  # type: ignore[arg-type]
    for start, words in (
        ((given, observed), "4 samples need as many beginnings, got 3"),
        ((given[0], observed[0]), r"booleans \(1, 4, 5\)"),
        ((given[0], observed.long()), "booleans"),
        ((given[0] + 9, observed), "levels 0 … 5"),
    ):
        with pytest.raises(UsageError, match=words):
            draw(model, 4, start=start)
    vae = registry.build("vae", GREY, {"hidden": (4,)})
    with pytest.raises(MissingCapability, match="VAE does not draw one value after another"):
        draw(vae, 3, start=(given, observed))
    vectors = registry.build("made", DataSpec((4,), None), {"hidden": (4,)})
    with pytest.raises(MissingCapability, match="of levels"):
        random_start(vectors, 2, 1)


# ---- reading ------------------------------------------------------------------------------------


def saved(pixels: Any, path: Path, mode: str | None = None) -> Path:
    Image.fromarray(np.asarray(pixels, np.uint8), mode).save(path)
    return path


def read(path: Path, spec: DataSpec) -> tuple[Tensor, Tensor]:
    return read_beginning(path, Noted(spec))


def test_a_lower_picture_is_the_first_rows(tmp_path: Path) -> None:
    levels = np.arange(10).reshape(2, 5) % 6
    given, observed = read(saved(levels * 51, tmp_path / "a.png"), GREY)
    assert torch.equal(given[0, :2], torch.from_numpy(levels))
    assert observed[0].tolist() == [[True] * 5] * 2 + [[False] * 5] * 2
    colours = np.array(COLOURS)[levels % 3]
    given, observed = read(saved(colours, tmp_path / "b.png"), PALETTE)
    assert torch.equal(given[0, :2], torch.from_numpy(levels % 3))
    given, observed = read(saved(colours, tmp_path / "c.png"), RGB)
    assert torch.equal(given[:, :2] * 85, torch.from_numpy(colours).permute(2, 0, 1))
    assert torch.equal(observed, observed[:1].expand(3, 4, 5))


@pytest.mark.parametrize("spec", [GREY, RGB, PALETTE])
def test_what_is_transparent_is_to_be_drawn(spec: DataSpec, tmp_path: Path) -> None:
    pixels = np.zeros((4, 5, 4), np.uint8)
    pixels[1, 2] = (255, 0, 0, 255)
    pixels[3, 4] = (0, 0, 0, 255)
    pixels[0, 0, 3] = 127
    given, observed = read(saved(pixels, tmp_path / "a.png"), spec)
    assert observed.all(0).nonzero().tolist() == [[1, 2], [3, 4]]
    red = {GREY: [1], RGB: [3, 0, 0], PALETTE: [1]}[spec]
    assert given[:, 1, 2].tolist() == red
    # an indexed picture with one transparent colour
    indexed = Image.fromarray(np.arange(20, dtype=np.uint8).reshape(4, 5) % 3, "P")
    indexed.putpalette(np.array(COLOURS, np.uint8).tobytes())
    indexed.save(tmp_path / "b.png", transparency=2)
    _, observed = read(tmp_path / "b.png", spec)
    assert observed[0].flatten().tolist() == [i % 3 != 2 for i in range(20)]


def test_arrays_have_a_mark_where_nothing_is_given(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[3, -1, 0, 5, -1]]))
    given, observed = read(tmp_path / "a.npy", GREY)
    assert given[0, 0].tolist() == [3, 0, 0, 5, 0]
    assert observed[0, 0].tolist() == [True, False, True, True, False]
    assert not observed[0, 1:].any()
    np.save(tmp_path / "b.npy", np.arange(9) - 1)
    given, observed = read(tmp_path / "b.npy", SOUND)
    assert given[:9].tolist() == [0, *range(8)]
    assert observed.tolist() == [False] + [True] * 8 + [False] * 23


def test_a_sound_begins_at_the_rate_of_the_data_and_is_cut(tmp_path: Path) -> None:
    tone = np.sin(np.arange(40) * 0.3)
    soundfile.write(tmp_path / "a.wav", tone[:10], 800)
    given, observed = read(tmp_path / "a.wav", SOUND)
    assert observed.tolist() == [True] * 10 + [False] * 22
    heard = SOUND.to_float(given[None])[0, :10].numpy()
    assert abs(heard - tone[:10]).max() < 0.2
    soundfile.write(tmp_path / "b.wav", tone[:20], 1600)
    given, observed = read(tmp_path / "b.wav", SOUND)
    assert int(observed.sum()) == 10
    soundfile.write(tmp_path / "c.wav", tone, 800)
    assert read(tmp_path / "c.wav", SOUND)[1].all()


@pytest.mark.parametrize(
    ("name", "spec", "error", "words"),
    [
        ("none.png", GREY, DataError, "does not exist"),
        ("wide.png", GREY, DataError, r"6×2, and some holds pictures of 5×4: a start is as wide"),
        ("high.png", GREY, DataError, "5×5"),
        ("clear.png", GREY, DataError, "gives nothing"),
        ("a.txt", GREY, UsageError, "a start is one of .* got '.txt'"),
        ("a.wav", GREY, UsageError, "a start is one of .* got '.wav'"),
        ("wide.png", SOUND, UsageError, "a start is one of .flac .ogg .wav .npy, got '.png'"),
        ("bad.wav", SOUND, DataError, "cannot be read as a sound"),
        ("bad.png", GREY, DataError, "cannot be read as an image"),
        ("floats.npy", GREY, DataError, r"levels \(1, h, 5\), got float64"),
        ("colours.npy", GREY, DataError, r"levels \(1, h, 5\), got \(3, 4, 5\)"),
        ("many.npy", GREY, DataError, "levels 0 … 5, or −1 where they are to be drawn, got -1 … 6"),
        ("floats.npy", SOUND, DataError, "levels .* of at most 32"),
        (".", GREY, UsageError, "got a folder"),
    ],
)  # fmt: skip
def test_files_that_begin_nothing_are_refused(
    name: str, spec: DataSpec, error: type[Exception], words: str, tmp_path: Path
) -> None:
    saved(np.zeros((2, 6)), tmp_path / "wide.png")
    saved(np.zeros((5, 5)), tmp_path / "high.png")
    saved(np.zeros((4, 5, 4)), tmp_path / "clear.png")
    for bad in ("a.txt", "a.wav", "bad.wav", "bad.png"):
        (tmp_path / bad).write_bytes(b"RIFF nothing")
    np.save(tmp_path / "floats.npy", np.zeros((1, 4, 5)))
    np.save(tmp_path / "colours.npy", np.zeros((3, 4, 5), int))
    np.save(tmp_path / "many.npy", np.array([[-1, 6, 0, 0, 0]]))
    with pytest.raises(error, match=words):
        read(tmp_path / name, spec)


# ---- the command --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("start")
    rng = np.random.default_rng(0)
    np.save(root / "rgb.npy", rng.integers(0, 4, (40, 3, 4, 5)).astype(np.uint8))
    np.save(root / "plane.npy", rng.normal(size=(60, 2)).astype(np.float32))
    (root / "wavs").mkdir()
    for number in range(20):
        soundfile.write(root / "wavs" / f"{number}.wav", rng.uniform(-0.5, 0.5, 60), 800)
    tiny = ["--set", "hidden=4", "--budget", "1steps"]
    sounds = [root / "wavs", "--window", "64", "--levels", "16"]
    trained = {
        "rgb": ["made", root / "rgb.npy", "--levels", "4", *tiny],
        "sound": ["pixel-rnn", *sounds, *tiny],
        "vae": ["vae", root / "rgb.npy", "--levels", "4", *tiny],
        "plane": ["made", root / "plane.npy", *tiny],
    }
    for name, arguments in trained.items():
        train(*arguments, "--out", root / name)
    pixels = np.full((2, 5, 3), 85)
    pixels[0] = rng.integers(0, 4, (5, 3)) * 85
    saved(pixels, root / "rows.png")
    saved(np.zeros((4, 5, 3)), root / "whole.png")
    soundfile.write(root / "seven.wav", rng.uniform(-0.5, 0.5, 20), 800)
    soundfile.write(root / "long.wav", rng.uniform(-0.5, 0.5, 200), 800)
    return {path.name: path for path in root.iterdir()}


def test_samples_begin_with_what_is_asked_for(ok: Any, places: dict[str, Path]) -> None:
    def drawn(*arguments: object) -> tuple[Any, str]:
        _, err = ok("sample", *arguments, "-n", "3", "--out", "a.png")
        return np.load("a.npy").astype(int), err

    rows = np.array(Image.open(places["rows.png"])).transpose(2, 0, 1) // 85
    x, err = drawn(places["rgb"], "--start", places["rows.png"])
    assert (x[:, :, :2] == rows).all()
    assert (x[0] != x[1]).any()
    told = f"10 of 20 pixels of each are of {places['rows.png']}; "
    assert told + "the rest is drawn from the model's own conditional" in err
    x, err = drawn(places["rgb"], "--start", f"{places['rows.png']}:3", "--watch", "a.gif")
    assert (x[:, :, 0, :3] == rows[:, 0, :3]).all()
    assert (x[:, :, :2] != rows).any()
    assert "3 of 20 pixels" in err
    x, err = drawn(places["rgb"], "--start", "random:4", "--seed", "2")
    assert "4 of 20 pixels of each are drawn at random, every level alike" in err
    assert (x[0, :, 0, :4] != x[1, :, 0, :4]).any()
    x, err = drawn(places["sound"], "--start", places["seven.wav"])
    heard = read(places["seven.wav"], DataSpec((64,), 16, coding="mu-law", rate=800))[0][:20]
    assert (x[:, :20] == heard.numpy()).all()
    assert "20 of 64 samples" in err


def test_a_later_pixel_alone_is_told_to_be_unknown_to_earlier_ones(
    ok: Any, places: dict[str, Path]
) -> None:
    some = np.full((3, 4, 5), -1)
    some[:, 2, 2] = 1
    np.save("some.npy", some)
    _, err = ok("sample", places["rgb"], "--start", "some.npy", "-n", "2", "--out", "a.png")
    assert "1 of 20 pixels of each are of some.npy; what comes before later ones was drawn" in err
    assert (np.load("a.npy")[:, :, 2, 2] == 1).all()


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("{vae} --start random:3", 2, "VAE one value after another pixelcnn"),
        ("{plane} --start random:1", 2, "--start vectors (2,)"),
        ("{rgb} --start random", 2, "random:K"),
        ("{rgb} --start random:0", 2, "from 1 to 19"),
        ("{rgb} --start random:20", 2, "from 1 to 19"),
        ("{rgb} --start none.png", 3, "none.png does not exist"),
        ("{rgb} --start {whole.png}", 2, "leaves nothing to draw FILE:K"),
        ("{sound} --start {long.wav}", 2, "leaves nothing to draw FILE:K"),
        ("{sound} --start {rows.png}", 2, "a start is one of .wav"),
    ],
)
def test_mistakes_are_told_in_one_line(
    cli: Any, places: dict[str, Path], line: str, code: int, words: str
) -> None:
    filled = [
        str(places[part[1:-1]]) if part[:1] == "{" else part for part in line.split()
    ]  # fmt: skip
    got, _, err = cli("sample", *filled)
    assert got == code, err
    assert err.count("\n") == 1
    for word in words.split():
        assert word in err, word


def test_a_long_recording_is_continued_from_its_first_samples(
    ok: Any, places: dict[str, Path]
) -> None:
    ok("sample", places["sound"], "--start", f"{places['long.wav']}:30", "-n", "2", "-o", "a.png")
    heard = read(places["long.wav"], DataSpec((64,), 16, coding="mu-law", rate=800))[0][:30]
    x = np.load("a.npy").astype(int)
    assert (x[:, :30] == heard.numpy()).all()
    assert (x[0] != x[1]).any()
