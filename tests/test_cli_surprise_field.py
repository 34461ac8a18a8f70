"""Watching, completing any mask, surprise and fields, from the command line."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image, ImageSequence

from commands import BRIEF, train
from simulacra.data.catalogue import load
from simulacra.drawing import style
from simulacra.judging.figures.likelihood import likelihood
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.nn import masked_convolution
from simulacra.runs.run import Run

TINY = BRIEF["pixelcnn"][2:]
OWN = """
import torch
from torch.distributions import Categorical
from simulacra.models.autoregressive.base import Autoregressive


class Walk(Autoregressive):
    \"\"\"Each value is near to the one before it.\"\"\"

    def __init__(self, spec):
        super().__init__(spec)
        self.sharpness = torch.nn.Parameter(torch.ones(()))

    def conditionals(self, x, context=None):
        before = torch.nn.functional.pad(x.flatten(1), (1, 0))[:, :-1].view_as(x)
        far = before[..., None] - torch.arange(self.spec.levels, device=x.device)
        return Categorical(logits=-self.sharpness * far.abs().float(), validate_args=False)


class Peeks(Walk):
    \"\"\"Each value is near to the one after it.\"\"\"

    def conditionals(self, x, context=None):
        return super().conditionals(x.roll(-2, -1))


class Mirror(Walk):
    \"\"\"Each value is near to itself.\"\"\"

    def conditionals(self, x, context=None):
        return super().conditionals(x.flatten(1).roll(-1, -1).view_as(x))
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory, kept):
    root = tmp_path_factory.mktemp("look")
    noise = np.random.default_rng(0)
    found = {"own": root / "own.py", "rgb data": root / "rgb.npy"}
    found["own"].write_text(OWN)
    np.save(found["rgb data"], noise.integers(0, 256, (40, 3, 5, 4)).astype(np.uint8))
    np.save(root / "plane.npy", noise.normal(size=(60, 2)).astype(np.float32))
    for number in range(20):
        (root / "wavs").mkdir(exist_ok=True)
        tone = np.sin(np.arange(120) * (0.2 + 0.02 * number)) * 0.6
        soundfile.write(root / "wavs" / f"{number}.wav", tone, 800)
    trained = {
        "labelled": ["pixelcnn", "digits", *TINY, "--set", "context=label"],
        "rgb": ["pixelcnn", found["rgb data"], *TINY, "--levels", "4"],
        "sound": [f"{found['own']}:Walk", root / "wavs", "--window", "64", "--levels", "16",
                  "--budget", "1steps"],
        "peeks": [f"{found['own']}:Peeks", "digits", "--budget", "1steps"],
        "plane": ["gmm", root / "plane.npy", "--set", "components=2", "--budget", "1steps"],
    }  # fmt: skip
    for name, arguments in trained.items():
        found[name] = root / name
        train(*arguments, "--out", found[name])
    found["ar"] = kept.run(*BRIEF["pixelcnn"], into=root / "ar")
    digits = load("digits").validation.x[:3, 0].numpy()
    for number, digit in enumerate(digits):
        found[f"digit{number}"] = root / f"digit{number}.png"
        Image.fromarray((digit * 255.0 / 16).round().astype(np.uint8)).save(found[f"digit{number}"])
    hidden = np.zeros((8, 8), bool)
    hidden[1:5, 2:6] = True
    found["mask"], found["mask.npy"] = root / "mask.png", root / "mask.npy"
    Image.fromarray(np.where(hidden, 255, 0).astype(np.uint8)).save(found["mask"])
    np.save(found["mask.npy"], hidden)
    return found


HIDDEN = np.array(style.HIDDEN) * 255


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("L")).astype(int)


# ---- watching and narrowing ---------------------------------------------------------------------


def frames(path):
    with Image.open(path) as image:
        assert image.format == "GIF"
        shown = [
            np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(image)
        ]
        times = []
        for number in range(image.n_frames):
            image.seek(number)
            times.append(image.info["duration"])
    return shown, times


def test_watching_shows_the_front_and_changes_nothing(ok, places):
    ok("sample", places["ar"], "-n", "20", "--out", "plain.png")
    _, err = ok("sample", places["ar"], "-n", "20", "--out", "watched.png", "--watch", "d/w.gif")
    assert Path("plain.npy").read_bytes() == Path("watched.npy").read_bytes()
    assert Path("plain.png").read_bytes() == Path("watched.png").read_bytes()
    assert err.endswith("d/w.gif: the first 16 as they grow, 60 frames\n")
    shown, times = frames("d/w.gif")
    assert len(shown) == 60
    assert times[0] < 200
    assert times[-1] >= 2000
    samples = np.load("plain.npy")[:16, 0] * 255.0 / 16
    tile = (shown[0].shape[0] + 6) // 4  # four rows, three gaps
    scale = tile // 8
    gap = max(2, scale // 2)
    first, _, _ = (
        frame[scale // 2 :: 8 * scale + gap][:, scale // 2 :: 8 * scale + gap]
        for frame in (shown[0], shown[29], shown[-1])
    )
    np.testing.assert_allclose(first[..., 0].flatten(), samples[:, 0, 0], atol=1)
    for row in range(8):
        at = row * scale + scale // 2
        lines = [frame[at :: 8 * scale + gap][:, 7 * scale + scale // 2 :: 8 * scale + gap]
                 for frame in (shown[0], shown[29], shown[-1])]  # fmt: skip
        np.testing.assert_allclose(lines[2][..., 0].flatten(), samples[:, row, 7], atol=1)
        blank = [bool((abs(line - HIDDEN) <= 2).all()) for line in lines[:2]]
        assert blank == [True, row >= 4], "not drawn yet"


def test_few_values_and_colours_can_be_watched(ok, places):
    _, err = ok("sample", places["rgb"], "-n", "1", "--out", "a.png", "--watch", "a.gif")
    assert "a.gif: 1 as they grow, 60 frames" in err
    with Image.open("a.gif") as image:
        assert image.n_frames <= 60
        assert min(image.size) >= 200, "legible"
        image.seek(image.n_frames - 1)
        shown = np.asarray(image.convert("RGB")).astype(int)
    drawn = np.load("a.npy")[0] * 85
    scale = shown.shape[0] // 5
    np.testing.assert_allclose(
        shown[scale // 2 :: scale, scale // 2 :: scale].transpose(2, 0, 1), drawn, atol=3
    )


def test_options_of_drawing_reach_the_sampler_and_are_told(ok, places, monkeypatch):
    told = []
    inner = Autoregressive.sample_steps

    def steps(self, n, context=None, **options):
        if n == 2:
            # one alone is drawn to count its memory
            told.append(options)
        return inner(self, n, context, **options)

    monkeypatch.setattr(Autoregressive, "sample_steps", steps)
    _, err = ok("sample", places["ar"], "-n", "2", "--out", "a.png")
    assert "evaluate" not in err
    _, err = ok(
        "sample", places["ar"], "-n", "2", "--out", "a.png", "--top-k", "17", "--top-p", "1"
    )
    assert "evaluate" not in err, "nothing is left out"
    _, err = ok("sample", places["ar"], "-n", "2", "--out", "b.png", "--top-k", "1")
    assert "the figures of evaluate are those of temperature 1 and all levels" in err
    ok("sample", places["ar"], "-n", "2", "--out", "c.png", "--top-p", "0.5", "--temperature", "2",
       "--watch", "c.gif")  # fmt: skip
    usual = {"temperature": 1.0, "top_k": None, "top_p": 1.0}
    told.remove(usual | {"top_k": 17})
    assert told == [usual, usual | {"top_k": 1}, usual | {"top_p": 0.5, "temperature": 2.0}]
    likeliest = np.load("b.npy")
    assert (likeliest[0] == likeliest[1]).all(), "the likeliest level leaves no choice"


def test_a_sound_is_not_watched(cli, places):
    code, _, err = cli("sample", places["sound"], "--code", f"{places['own']}:Walk",
                       "--watch", "a.gif")  # fmt: skip
    assert code == 2
    assert "--watch shows pictures, not sounds (64,): leave it out" in err


# ---- completing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mask", "mask.npy"])
def test_what_a_mask_hides_is_drawn(ok, places, kind):
    _, err = ok("complete", places["ar"], "--mask", places[kind], "--image", places["digit0"],
                places["digit2"], "--times", "3", "--out", "c.png")  # fmt: skip
    assert err == "c.png: 2 rows of given | 3 completions, approximate (~) | truth\n"
    with Image.open("c.png") as image:
        drawn = np.asarray(image.convert("RGB")).astype(int)
    hidden = np.load(places["mask.npy"])
    scale = (drawn.shape[0] - 3) // 16
    assert drawn.shape == (2 * 8 * scale + 3, 5 * 8 * scale + 4 * 3, 3)
    for row, name in enumerate(("digit0", "digit2")):
        tiles = [
            drawn[row * (8 * scale + 3) :, column * (8 * scale + 3) :][: 8 * scale : scale]
            [:, : 8 * scale : scale]
            for column in range(5)
        ]  # fmt: skip
        truth = pixels(places[name])[..., None].repeat(3, -1)
        np.testing.assert_allclose(tiles[4], truth, atol=1)
        assert (abs(tiles[0][hidden] - HIDDEN) <= 1).all()
        for tile in tiles[:4]:
            np.testing.assert_allclose(tile[~hidden], truth[~hidden], atol=1)
        assert any((tiles[1] != tile).any() for tile in tiles[2:4])


def test_candidates_are_weighed_and_told(ok, places, monkeypatch):
    asked = []
    inner = Autoregressive.resample

    def resample(self, *arguments, candidates):
        asked.append(candidates)
        return inner(self, *arguments, candidates=candidates)

    monkeypatch.setattr(Autoregressive, "resample", resample)
    arguments = ["complete", places["ar"], "-n", "2", "--times", "2", "--out", "a.png"]
    _, err = ok(*arguments, "--hide", "random", "--candidates", "5")
    found = re.search(r"chosen by weight from 5 candidates, in effect from (\S+) on average", err)
    assert found
    assert 1 <= float(found[1]) <= 5
    _, err = ok(*arguments, "--hide", "bottom", "--candidates", "5")
    assert "this mask needs no candidates" in err
    _, err = ok(*arguments, "--hide", "top")
    assert "candidates" not in err
    assert asked == [5]


def test_a_label_is_that_of_the_data_unless_given(ok, cli, places, monkeypatch):
    told = []
    inner = Autoregressive.complete

    def complete(self, x, observed, context=None, **options):
        told.append(context.tolist())
        return inner(self, x, observed, context, **options)

    monkeypatch.setattr(Autoregressive, "complete", complete)
    run = places["labelled"]
    ok("complete", run, "-n", "3", "--times", "2", "--out", "a.png")
    labels = load("digits").validation.context[:3].tolist()
    ok("complete", run, "--image", places["digit1"], "--label", "7", "--times", "2",
       "--out", "b.png")  # fmt: skip
    assert told == [[label for label in labels for _ in range(2)], [7, 7]]
    code, _, err = cli("complete", run, "--image", places["digit1"])
    assert code == 2
    assert "needs the class of a file: --label 0 … 9" in err


def test_a_sound_is_completed_by_any_mask(ok, places, tmp_path):
    hidden = np.zeros(64, bool)
    hidden[5:9] = True
    np.save(tmp_path / "hidden.npy", hidden)
    own = ["--code", f"{places['own']}:Walk"]
    _, err = ok("complete", places["sound"], *own, "--mask", "hidden.npy", "-n", "1",
                "--candidates", "3", "--out", "a.png")  # fmt: skip
    assert "a.png and a.wav: 1 row of given | 4 completions, approximate (~) | truth" in err
    assert "from 3 candidates" in err


WRONG = {
    "nothing.npy": np.zeros((8, 8), bool),
    "all.npy": np.ones((1, 8, 8), bool),
    "whole.npy": np.ones((8, 8), np.uint8),
    "small.npy": np.zeros((8, 7), bool),
    "small.png": np.zeros((7, 8), np.uint8),
    "black.png": np.full((8, 8), 127, np.uint8),
    "white.png": np.full((8, 8), 128, np.uint8),
}


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("complete {ar} --mask nothing.npy", 3, "nothing.npy hides nothing"),
        ("complete {ar} --mask black.png", 3, "black.png hides nothing"),
        ("complete {ar} --mask all.npy", 3, "hides everything: simulacra sample"),
        ("complete {ar} --mask white.png", 3, "hides everything"),
        ("complete {ar} --mask whole.npy", 3, "booleans (8, 8) or (1, 8, 8), true where hidden"),
        ("complete {ar} --mask small.npy", 3, "booleans (8, 8) or (1, 8, 8) bool (8, 7)"),
        ("complete {ar} --mask small.png", 3, "small.png is 8×7, and the pictures are 8×8"),
        ("complete {ar} --mask cut.png", 3, "cut.png cannot be read"),
        ("complete {ar} --mask none.png", 3, "none.png does not exist"),
        ("complete {ar} --mask .", 2, ". is a folder"),
        ("complete {ar} --mask own.txt", 2, "--mask is one of .npy 'own.txt'"),
        ("complete {ar} --mask {mask} --hide top", 2, "--hide --mask one of them"),
        ("complete {ar} --image none.png", 3, "none.png does not exist"),
        ("complete {ar} --image small.png", 3, "small.png is 8×7 8×8"),
        ("complete {ar} --image {digit0} --label 1", 2, "takes no label"),
        ("complete {labelled} --image {digit0} --label 10", 2, "--label 0 9 10"),
        ("complete {plane}", 2, "not of vectors (2,): tasks.complete.complete"),
        ("surprise {plane}", 2, "not of vectors (2,): tasks.surprise.surprise"),
        ("complete {ar} --out new/a.jpg --code no.py:No", 2, "--out is a .png file"),
        ("surprise {ar} --out new/a.jpg --code no.py:No", 2, "--out is a .png file"),
        ("field {ar} --out new/a.jpg --code no.py:No", 2, "--out is a .png file"),
        ("field pixelcnn --out a.jpg --side 999999", 2, "--out is a .png file"),
        ("field pixelcnn --code {own}:Walk", 2, "--code is the class of a run, and pixelcnn"),
        ("field pixelcn", 2, "no model is called 'pixelcn': did you mean 'pixelcnn'"),
        ("field pixelcnn --side 999999", 5, "memory ran out: use a smaller --side or model"),
        ("surprise {labelled} {digit0}", 2, "class of a file: --label"),
        ("surprise {ar} small.png", 3, "small.png is 8×7 8×8"),
        ("field {sound} --code {own}:Walk", 2, "pictures (C, H, W) not of (64,)"),
        ("field nothing", 4, "nothing holds no run"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(cli, places, tmp_path, line, code, words):
    for name, values in WRONG.items():
        if name.endswith("npy"):
            np.save(tmp_path / name, values)
        else:
            Image.fromarray(values).save(tmp_path / name)
    (tmp_path / "own.txt").write_text("words")
    (tmp_path / "cut.png").write_bytes(places["mask"].read_bytes()[:40])
    before = sorted(tmp_path.iterdir())
    came, out, err = cli(*(part.format(**places) for part in line.split()))
    assert (came, out) == (code, ""), err
    assert err.count("\n") == 1
    for word in words.split():
        assert word in err, word
    assert sorted(tmp_path.iterdir()) == before, "a mistake leaves nothing behind"


# ---- surprise -----------------------------------------------------------------------------------


def test_surprise_is_a_share_of_the_validation_pictures(ok, places):
    for name in ("digit0", "digit2"):
        Path(f"{name}.png").write_bytes(places[name].read_bytes())
    out, err = ok("surprise", places["ar"], "digit0.png", "digit2.png", "--out", "s.png")
    assert err == "s.png: pictures, and beside each a map of its surprise, in bits\n"
    data, model = load("digits"), Run.open(places["ar"]).model()
    every = likelihood(model, data.validation).marginal.values / -(64 * np.log(2))
    lines = " ".join(out.split())
    for number in (0, 2):
        share = 100 * float((every < every[number]).double().mean())
        assert f"digit{number}.png {every[number]:.3f}" in lines
        assert f"{every[number]:.3f} {share:.0f} %" in lines
    assert f"against {len(every)} validation pictures" in lines
    with Image.open("s.png") as image:
        assert image.format == "PNG"
        assert image.width > 2 * image.height


def test_without_files_validation_pictures_surprise_with_their_labels(ok, places, monkeypatch):
    drawn = {}

    def keep(pictures, bits, titles):
        drawn.update(pictures=pictures, bits=bits, titles=titles)
        return Image.new("L", (1, 1))

    monkeypatch.setattr("simulacra.drawing.maps.surprises", keep)
    out, _ = ok("surprise", places["labelled"], "-n", "3")
    data, model = load("digits"), Run.open(places["labelled"]).model()
    x, labels = data.validation.batch(torch.arange(3))
    with torch.no_grad():
        expected = -model.conditionals(x, labels).log_prob(x)[:, 0].double() / np.log(2)
    torch.testing.assert_close(drawn["bits"], expected)
    assert torch.equal(drawn["pictures"], data.spec.to_float(x))
    assert drawn["titles"][1] == f"validation 1: {float(expected[1].mean()):.2f} bits/dim"
    assert out.count("validation pictures") == 1
    assert (places["labelled"] / "surprise.png").is_file()
    ok("surprise", places["labelled"], places["digit0"], "--label", "4", "--out", "a.png")
    with torch.no_grad():
        four = -model.conditionals(x[:1], torch.tensor([4])).log_prob(x[:1])[:, 0].double()
    torch.testing.assert_close(drawn["bits"], four / np.log(2))


def test_one_file_and_one_of_a_name_that_the_font_lacks(ok, places, monkeypatch):
    drawn = {}

    def keep(pictures, bits, titles):
        drawn.update(titles=titles)
        return Image.new("L", (1, 1))

    monkeypatch.setattr("simulacra.drawing.maps.surprises", keep)
    for name in ("é $x$.png", "日本.png"):
        Path(name).write_bytes(places["digit0"].read_bytes())
    out, err = ok("surprise", places["ar"], "é $x$.png", "日本.png", "--out", "a.png")
    assert "日本.png (picture 2)" in out
    assert [title.partition(":")[0] for title in drawn["titles"]] == ["é $x$.png", "picture 2"]
    _, err = ok("surprise", places["ar"], "-n", "1", "--out", "a.png")
    assert err == "a.png: a picture, and beside it a map of its surprise, in bits\n"
    for command in ("surprise", "complete"):
        _, err = ok(command, places["ar"], "-n", "999", "--out", "a.png")
        assert "there are 180 validation observations, fewer than -n 999" in err


def test_colours_of_a_pixel_are_added_up(ok, places, monkeypatch):
    drawn = {}

    def keep(pictures, bits, titles):
        drawn.update(bits=bits)
        return Image.new("L", (1, 1))

    monkeypatch.setattr("simulacra.drawing.maps.surprises", keep)
    out, _ = ok("surprise", places["rgb"], "-n", "2", "--out", "a.png")
    assert drawn["bits"].shape == (2, 5, 4)
    mean = float(drawn["bits"][0].sum()) / 60
    assert f"{mean:.3f}" in out


def test_a_sound_has_a_curve(ok, places):
    own = ["--code", f"{places['own']}:Walk"]
    out, err = ok("surprise", places["sound"], *own, "-n", "2", "--out", "a.png")
    assert "a.png: sounds, and below each a curve of its surprise, in bits" in err
    assert "validation sounds" in out
    with Image.open("a.png") as image:
        assert image.format == "PNG"


# ---- fields -------------------------------------------------------------------------------------

SMALL = ["--set", "channels=4", "--set", "first_kernel_size=3"]


def said(out):
    return " ".join(out.split())


def test_a_field_is_counted_and_drawn(ok):
    out, err = ok("field", "pixelcnn", *SMALL, "--set", "layers=2", "--side", "7", "--at", "3,3")
    assert said(out) == (
        "pixelcnn, 7×7: 21 of 24 earlier pixels influence pixel (3, 3); 3 (12.5 %) do not (blind "
        "spot); as the model declares"
    )
    assert err.startswith("field-pixelcnn.png: ")
    with Image.open("field-pixelcnn.png") as image:
        assert image.format == "PNG"
    out, _ = ok("field", "pixelcnn", *SMALL, "--set", "layers=1", "--side", "4", "--colours", "3")
    assert "pixelcnn, 4×4: all 10 earlier pixels influence pixel (2, 2)" in said(out)
    out, _ = ok("field", "pixelcnn", *SMALL, "--set", "layers=4", "--side", "3", "--at", "2,2")
    assert "all 8 earlier pixels influence pixel (2, 2), no blind spot; as the model" in said(out)
    out, _ = ok("field", "pixelcnn", *SMALL, "--side", "3", "--at", "0,0")
    assert said(out) == "pixelcnn, 3×3: no pixel comes before pixel (0, 0)"


def test_a_runs_field_is_that_of_its_weights(ok, places):
    out, err = ok("field", places["ar"])
    assert out.startswith("ar, 8×8: ")
    assert "pixel (4, 4)" in out
    assert out.endswith("as the model declares\n")
    assert err.startswith(f"{places['ar'] / 'field.png'}: ")
    assert (places["ar"] / "field.png").is_file()


def test_a_leak_ends_with_exit_code_1(cli, places):
    code, out, err = cli("field", places["peeks"], "--code", f"{places['own']}:Peeks",
                         "--at", "2,2")  # fmt: skip
    assert code == 1
    assert out == "peeks, 8×8: pixel (2, 2) sees (2, 3), and 0 of 18 earlier pixels\n"
    assert "error: peeks leaks: pixel (2, 2) sees (2, 3), which should not be known yet" in err
    assert "seen too early in red" in err


def test_a_pixel_that_sees_itself_is_named_so_and_a_class_by_its_own_name(cli, places):
    code, out, err = cli("field", f"{places['own']}:Mirror", "--side", "3")
    assert code == 1
    assert out == "Mirror, 3×3: pixel (1, 1) sees itself, and 0 of 4 earlier pixels\n"
    assert "error: Mirror leaks: pixel (1, 1) sees itself, which" in err
    assert Path("field-Mirror.png").is_file()


def test_a_false_declaration_ends_with_exit_code_1(cli, places):
    """The walk sees one value back, and declares no blind spot."""
    code, out, err = cli("field", f"{places['own']}:Walk", "--side", "4")
    assert code == 1
    assert "1 of 10 earlier pixels influence pixel (2, 2); 9 (90.0 %) do not" in said(out)
    assert "blind spot that it does not declare: pixel (2, 2) never sees (0, 0)" in err
    assert "and 6 more" in err


FIVE = ["--masks", "--colours", "3", "--set", "first_kernel_size=5", "--set", "kernel_size=5"]


def test_masks_are_said_and_drawn(ok):
    out, err = ok("field", "pixelcnn", *FIVE, "--set", "channels=4", "--set", "layers=1")
    assert out.splitlines() == [
        "pixelcnn, mask A, 5×5: of its own pixel R sees none, G sees R, B sees R G",
        "pixelcnn, mask B, 5×5: of its own pixel R sees R, G sees R G, B sees R G B",
    ]
    assert err.startswith("masks-pixelcnn.png: seen in blue, not seen in grey")
    with Image.open("masks-pixelcnn.png") as image:
        assert image.format == "PNG"


def test_masks_of_a_model_that_convolves_along_the_row(ok):
    out, _ = ok("field", "gated-pixelcnn", "--masks", "--set", "channels=2", "--set", "layers=2",
                "--out", "new/gated.png")  # fmt: skip
    assert "mask A, 1×7: a pixel does not see itself" in out
    assert "mask B, 1×3: a pixel sees itself" in out
    assert Path("new/gated.png").is_file()


def test_a_mask_that_leaks_is_drawn_and_ends_with_exit_code_1(cli, monkeypatch):
    """Mask A that shows its own colour, as B does: the fault that courses begin with."""
    true = masked_convolution.seen_colours
    monkeypatch.setattr(
        masked_convolution, "seen_colours",
        lambda outputs, inputs, colours, _, gates=1: true(outputs, inputs, colours, "B", gates),
    )  # fmt: skip
    code, out, err = cli("field", "pixelcnn", *FIVE, "--set", "channels=4", "--set", "layers=1")
    assert code == 1
    assert "mask A, 5×5: of its own pixel R sees R, G sees R G, B sees R G B" in out
    assert "error: pixelcnn leaks: mask A shows what comes later" in err
    assert "seen too early in red" in err
