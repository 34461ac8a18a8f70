import inspect
import json
import os
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from commands import BRIEF, blank, undrawn
from forked import Forked
from simulacra.cli import app, stopping, terminal
from simulacra.cli.training_display import TrainingDisplay
from simulacra.data.catalogue import load
from simulacra.drawing import charts, files, grids, observations, style

pytestmark = pytest.mark.usefixtures("short_chains")

SHARED = Path(__file__).parents[2] / "shared" / "data"
TINY = BRIEF["pixelcnn"][2:]
COMMANDS = (
    "models",
    "data",
    "train",
    "resume",
    "sample",
    "complete",
    "denoise",
    "reconstruct",
    "invert",
    "interpolate",
    "map",
    "encode",
    "probe",
    "evaluate",
    "compare",
    "classify",
    "surprise",
    "field",
    "runs",
    "export",
    "again",
    "push",
    "watch",
    "outliers",
)
OWN = """
import soundfile
import torch
from simulacra.models.model import Likelihood, Sampling


class Own(Likelihood, Sampling):
    \"\"\"Each value on its own.

    Args:
        sharpness: Multiplies the logits.
    \"\"\"

    exact = True

    def __init__(self, spec, *, sharpness: float = 1.0):
        super().__init__(spec)
        self.sharpness = sharpness
        self.logits = torch.nn.Parameter(torch.zeros(*spec.event_shape, spec.levels))

    def log_likelihood(self, x, context=None, *, draws=1, seed=0):
        log_p = (self.sharpness * self.logits).log_softmax(-1).expand(len(x), *self.logits.shape)
        return log_p.gather(-1, x.long()[..., None]).flatten(1).sum(1)

    def loss(self, x, context=None, *, turn="model"):
        return {"loss": -self.log_likelihood(x).mean()}

    def sample(self, n, context=None):
        return torch.distributions.Categorical(logits=self.logits).sample((n,))


class Other:
    pass
"""


def load_strictly(text: str):
    """JSON as its standard has it, without NaN and infinity."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def draw_pictures(folder: Path, count: int, *, rgb: bool, sides=(8,)) -> None:
    folder.mkdir(parents=True)
    noise = np.random.default_rng(len(folder.name))
    for number in range(count):
        side = sides[number % len(sides)]
        shape = (side, side, 3) if rgb else (side, side)
        pixels = noise.integers(0, 256, shape).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")


@pytest.fixture(autouse=True)
def blank_diagrams(monkeypatch):
    """Those of reports are looked at in the tests of reports."""
    blank(monkeypatch, "png")


@pytest.fixture(scope="module")
def places(tmp_path_factory, kept) -> dict[str, Path]:
    """Runs and data that tests read; what they change they copy."""
    root = tmp_path_factory.mktemp("cli")
    names = ("pixelcnn", "gan", "vae", "labelled")
    found = {name: kept.run(*BRIEF[name], into=root / name) for name in names}
    found |= {name: root / name for name in ("empty", "grey", "sizes", "cut", "lying", "a file")}
    found["empty"].mkdir()
    draw_pictures(found["grey"] / "a", 20, rgb=False)
    draw_pictures(found["grey"] / "b c", 20, rgb=False)
    draw_pictures(found["sizes"], 20, rgb=True, sides=(8, 9))
    draw_pictures(found["cut"], 20, rgb=False)
    whole = (found["cut"] / "07.png").read_bytes()
    (found["cut"] / "07.png").write_bytes(whole[: len(whole) // 2])
    found["lying"].mkdir()
    for split in ("train", "t10k"):
        header = struct.pack(">IIII", 0x803, 60000, 28, 28)
        (found["lying"] / f"{split}-images-idx3-ubyte").write_bytes(header + bytes(99))
        (found["lying"] / f"{split}-labels-idx1-ubyte").write_bytes(header[:8] + bytes(99))
    found["a file"].write_text("words")
    found["pickled"] = root / "pickled.npz"
    np.savez(found["pickled"], x=np.array([{}] * 20, dtype=object))
    found["vectors"] = root / "vectors.npy"
    noise = np.random.default_rng(0)
    np.save(found["vectors"], noise.normal(size=(60, 3)).astype(np.float32))
    found["own"] = root / "own.py"
    found["own"].write_text(OWN)
    return found


# ---- what is wrong ------------------------------------------------------------------------------

FAULTS = [
    # commands, options and arguments
    ("trian vae digits", 2, "'trian' 'train'"),
    ("--vresion", 2, "option '--vresion' '--version'"),
    ("train", 2, "MODEL train --help"),
    ("train vae", 2, "DATA"),
    ("train vae digits more", 2, "'more'"),
    ("train vae digits --bugdet 3steps", 2, "--bugdet '--budget'"),
    ("train vae digits --seed", 2, "value --seed"),
    ("train vae digits --seed one", 2, "--seed whole number 'one'"),
    ("train vae digits --seed -1", 2, "seed -1"),
    ("train vae digits --precision 64", 2, '"64" "32" "bf16"'),
    ("train vae digits --batch 0", 2, "batch 0"),
    ("train vae digits --device toaster", 2, "device 'toaster' cpu"),
    ("train vae digits --budget 0s", 2, "budget positive 0s 90s"),
    ("train vae digits --budget -5steps", 2, "budget -5steps 2000steps"),
    ("train vae digits --budget soon", 2, "budget 'soon' 10epochs"),
    ("train vae digits --budget 5M", 2, "5m is 5 minutes 5Mobs"),
    ("train vae digits --budget 1.5steps", 2, "whole 1.5"),
    # models and their keywords
    ("train vea digits", 2, "'vea' 'vae'"),
    ("models pixelcn", 2, "'pixelcn' 'pixelcnn'"),
    ("train vae digits --set latnet=3", 2, "'latnet' 'latent'"),
    ("train vae digits --set latent=big", 2, "latent int 'big'"),
    ("train vae digits --set latent", 2, "key=value 'latent'"),
    ("train vae digits --set latent=1 --set latent=2", 2, "latent twice"),
    ("train vae {vectors} --set observation=bernoulli", 2, "bernoulli levels vectors"),
    ("train vae {vectors} --set context=label", 2, "label"),
    ("train pixelcnn {vectors}", 2, "pixelcnn"),
    ("train {own}:Own digits --set sharpnes=2", 2, "'sharpnes' 'sharpness'"),
    ("train {own}:Missing digits", 2, "Missing"),
    ("train {own}:Other digits", 2, "Other Model"),
    ("train none.py:Own digits", 2, "none.py"),
    ("compare digits --models gmm,vea", 2, "'vea' 'vae'"),
    ("compare digits --models ,", 2, "--models ','"),
    ("compare digits --models gmm --set components=2", 2, "MODEL.KEY=VALUE 'components=2'"),
    ("compare digits --models gmm --draws 0", 2, "--draws 0"),
    # data
    ("train vae digit", 3, "'digit' 'digits'"),
    ("data ./none.npy", 3, "none.npy exist"),
    ("data {empty}", 3, "empty .png"),
    ("data {sizes}", 3, "8×8 9×9 --side"),
    ("data {cut}", 3, "1 20 07.png truncated"),
    ("data mnist --data-dir {lying}", 3, "train-images-idx3-ubyte 47040000"),
    ("data mnist --data-dir {lying}/none", 3, "--data-dir none"),
    ("data {pickled}", 3, "'x' pickled"),
    ("data {a file}", 3, ".npy .npz"),
    ("data {vectors} --levels 2", 2, "levels"),
    ("data digits --side 0", 2, "side 0"),
    ("data digits --levels 1", 2, "levels 1"),
    # runs
    ("sample none", 4, "none run"),
    ("sample {pixelcnn}/../pixelcn", 4, "pixelcn 'pixelcnn'"),
    ("resume none", 4, "none"),
    ("train vae digits --out {vae}", 2, "vae exists --out"),
    ("compare digits --models gmm --out {vae}", 2, "vae exists --out"),
    ("train vae digits --out {a file}", 2, "exists --out"),
    # what a model cannot do
    ("sample {vae} --top-k 2", 2, "VAE --top-k pixelcnn"),
    ("sample {vae} --top-p 0.5", 2, "VAE --top-p pixelcnn"),
    ("sample {gan} --watch a.gif", 2, "GAN --watch pixelcnn"),
    ("surprise {gan}", 2, "GAN pixelcnn"),
    ("surprise {vae}", 2, "VAE pixelcnn"),
    ("field {gan}", 2, "GAN pixelcnn"),
    ("field nice", 2, "NICE pixelcnn"),
    ("sample {vae} --label 1", 2, "VAE --set context=label"),
    ("sample {labelled} --label 10", 2, "--label 0 9 10"),
    ("sample {labelled} --label -1", 2, "--label 0 9 -1"),
    # numbers and files
    ("sample {vae} -n 0", 2, "--number 0"),
    ("sample {vae} --temperature nan", 2, "--temperature nan"),
    ("sample {pixelcnn} --top-k 0", 2, "--top-k 0"),
    ("sample {pixelcnn} --top-p 1.1", 2, "--top-p 1.1"),
    ("sample {pixelcnn} --top-p nan", 2, "--top-p nan"),
    ("sample {pixelcnn} --watch a.png", 2, "--watch .gif 'a.png'"),
    ("sample {pixelcnn} --watch '{a file}/x.gif'", 5, "file"),
    ("sample {vae} --seed -1", 2, "--seed -1"),
    ("sample {vae} --seed 9223372036854775808", 2, "--seed 9223372036854775808"),
    ("sample {vae} --out samples.npy", 2, ".png 'samples.npy'"),
    ("sample {vae} --out '{a file}/x.png'", 5, "file"),
    ("complete {pixelcnn} --out '{a file}/x.png'", 5, "file"),
    ("complete {pixelcnn} --hide up", 2, "'up' bottom random:SHARE"),
    ("complete {pixelcnn} --times 0", 2, "--times 0"),
    ("complete {pixelcnn} --candidates 0", 2, "--candidates 0"),
    ("surprise {pixelcnn} -n 0", 2, "--number 0"),
    ("surprise {pixelcnn} none.png", 3, "none.png exist"),
    ("surprise {pixelcnn} --label 1", 2, "no label --set context=label"),
    ("surprise {pixelcnn} --out a.gif", 2, ".png 'a.gif'"),
    ("field pixelcn", 2, "'pixelcnn'"),
    ("field pixelcnn --at 7", 2, "ROW,COLUMN '7'"),
    ("field pixelcnn --side 3 --at 3,0", 2, "0 … 2 3, 0"),
    ("field pixelcnn --side 0", 2, "--side 0"),
    ("field pixelcnn --colours 2", 2, "1 or 3 2"),
    ("field pixelcnn --masks --at 1,1", 2, "--at --masks"),
    ("field made --masks", 2, "MADE pixelcnn"),
    ("field pixelcnn --set layer=1", 2, "'layer' 'layers'"),
    ("field {pixelcnn} --side 8", 2, "--side run"),
    ("evaluate {vae} --test-limit 0", 2, "--test-limit 0"),
    ("evaluate {gan} --draws 0", 2, "--draws 0"),
]


def filled(arguments: str, places: dict[str, Path]) -> list[str]:
    kept = re.sub(r"(?<!')\{([a-z ]+)\}", r"'{\1}'", arguments)
    return shlex.split(kept.format(**places))


@pytest.mark.parametrize(("arguments", "code", "words"), FAULTS, ids=[f[0] for f in FAULTS])
def test_a_mistake_ends_with_its_code_and_one_line(arguments, code, words, cli, places, tmp_path):
    came, out, err = cli(*filled(arguments, places))
    assert (came, out) == (code, ""), err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for word in words.split():
        assert word in err, word
    assert not list(tmp_path.iterdir()), "a mistake leaves nothing behind"


def test_a_missing_gpu_is_said_before_there_is_a_folder(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for command in (["train", "gmm", "digits"], ["compare", "digits", "--models", "gmm"]):
        code, _, err = cli(*command, "--device", "cuda")
        assert code == 2
        assert err == "error: this machine or this build of torch has no cuda: use cpu\n"
    assert not list(tmp_path.iterdir())


def test_debug_shows_where_an_error_came_from(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        app.main(["train", "vea", "--debug", "digits"])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "UsageError: no model is called 'vea'" in told


ENDINGS = [
    (ZeroDivisionError("by zero"), 1, "error: ZeroDivisionError: by zero --debug"),
    (MemoryError(), 5, "error: memory use a smaller"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), 5, "error: memory"),
    (OSError(28, "No space left on device", "a.png"), 5, "error: a.png No space left"),
    (KeyboardInterrupt(), 130, "stopped"),
]


@pytest.mark.parametrize(("error", "code", "words"), ENDINGS, ids=[repr(e[0]) for e in ENDINGS])
def test_the_exit_code_says_what_kind_of_error_it_was(error, code, words, cli, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr("simulacra.models.description.describe", fail)
    came, _, err = cli("models")
    assert came == code
    assert err.count("\n") == 1
    for word in words.split():
        assert word in err


def test_a_training_that_diverges_ends_with_code_6(cli):
    code, _, err = cli("train", "vae", "digits", "--budget", "40steps", "--set", "hidden=4",
                       "--lr", "1e38", "--clip", "0", "--warmup", "0")  # fmt: skip
    assert code == 6
    assert "lower --lr" in err.splitlines()[-1]


# ---- help ---------------------------------------------------------------------------------------


def test_help_needs_no_torch():
    script = (
        "import sys\n"
        "from simulacra.cli.app import main\n"
        "for arguments in (['--help'], ['--version'], ['trian'], *([c, '--help'] for c in "
        f"{COMMANDS})):\n"
        "    try:\n"
        "        main(arguments)\n"
        "    except SystemExit:\n"
        "        pass\n"
        "print('torch is' if 'torch' in sys.modules else 'torch is not', 'imported')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.endswith("torch is not imported\n"), done.stderr
    assert done.stderr.count("\n") == 1  # trian


def test_help_names_every_command(ok):
    out, _ = ok("--help")
    assert re.findall(r"^│ (\w+) ", out, re.M) == sorted(COMMANDS)
    assert ok()[0] == out


DATA = "side colour levels window rate labels labelled labelled-seed groups context flip shift "
DATA += "limit column data-dir "
TRAINING = "batch accumulate lr betas weight-decay warmup schedule clip ema seed device precision "
TRAINING += "compile "
OPTIONS = {
    "train": "budget out set from tensorboard stop-on " + DATA + TRAINING,
    "compare": "models budget out set draws json " + DATA + TRAINING,
    "resume": "budget lr data-dir code tensorboard retry stop-on json",
    "sample": "number label context like temperature top-k top-p steps guidance start watch seed "
    "out device code",
    "complete": "hide mask image label number times candidates seed out data-dir device code",
    "denoise": "noise label out device code",
    "reconstruct": "label number seed out data-dir device code",
    "invert": "label number seed out data-dir device code",
    "interpolate": "frames linear label number seed out data-dir device code",
    "map": "direction traverse spread levels styles label frames number seed out data-dir device "
    "code",
    "encode": "out data-dir device code",
    "probe": "data-dir device code json",
    "surprise": "label number out data-dir device code",
    "field": "side colours set at masks out code",
    "evaluate": "against samples data draws test-limit inception out device code json " + DATA,
    "classify": "draws data-dir device code json",
    "models": "json",
    "data": "look json " + DATA,
    "runs": "json",
    "export": "part out code",
    "again": "out data-dir code",
    "push": "code private",
    "watch": "budget out set frames " + DATA + TRAINING,
    "outliers": "number draws out data-dir device code",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_and_option_has_help(command, ok):
    shown = app.app[command].assemble_argument_collection(parse_docstring=True)
    options = [argument for argument in shown if argument.name.startswith("--")]
    assert {argument.name[2:] for argument in options} == set(OPTIONS[command].split())
    out, _ = ok(command, "--help")
    for argument in shown:
        assert argument.parameter.help, argument.name
        assert argument.name in out or argument.name == "*"  # a group of options
        # help is about this option: the generic one of a type would not know what is written
        assert not argument.parameter.help.startswith("Whether")


@pytest.mark.parametrize("command", [c for c in COMMANDS if "out" in OPTIONS[c].split()])
def test_out_has_a_short_form_wherever_something_is_written(command, ok):
    assert re.search(r"--out +\(-o\)|--out +-o", ok(command, "--help")[0])


def test_out_is_explained_where_it_is_a_file_and_where_a_folder(ok):
    assert "The PNG file" in " ".join(ok("sample", "--help")[0].split())
    assert "The run folder" in " ".join(ok("train", "--help")[0].split())
    assert "MODEL.KEY=VALUE" in ok("compare", "--help")[0]


# ---- tables and JSON ----------------------------------------------------------------------------


def test_json_is_alone_on_standard_output(ok, places):
    models = load_strictly(ok("models", "--json")[0])
    assert {"gmm", "vae", "pixelcnn", "gan", "nice"} <= {model["name"] for model in models}
    about = load_strictly(ok("models", "vae", "--json")[0])
    assert about["keywords"]["latent"]["type"] == "int"
    sets = load_strictly(ok("data", "--json")[0])
    assert {row["name"]: row["missing"] for row in sets}["digits"] == ""
    digits = load_strictly(ok("data", "digits", "--json")[0])
    assert (digits["shape"], digits["levels"], digits["classes"]) == ([1, 8, 8], 17, 10)


def test_json_has_null_for_what_is_not_finite(capsys):
    terminal.print_json({"a": [float("nan"), (float("inf"), 1.5)], "b": "×"})
    assert load_strictly(capsys.readouterr().out) == {"a": [None, [None, 1.5]], "b": "×"}


ROWS = [
    {"model": "pixelcnn", "bits/dim, test": "= 3.9917 ± 0.0017", "64 samples, s": "0.026",
     "what it is": "Masked convolutions predict each pixel from the pixels above."},
    {"model": "my/models.py:MyOwnModelOfMany", "bits/dim, test": "no likelihood",
     "64 samples, s": "123.456", "what it is": "Short."},
]  # fmt: skip


@pytest.mark.parametrize("width", [36, 60, 82, 120])
def test_a_table_loses_nothing_in_a_narrow_terminal(width, capsys, monkeypatch):
    monkeypatch.setattr(terminal.console, "width", width)
    terminal.print_table(ROWS, right=("bits/dim, test", "64 samples, s"), words=("what it is",))
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    for row in ROWS:
        for heading, cell in row.items():
            if heading == "what it is":
                assert set(cell.split()) <= set(out.split())
            else:
                # on one line, whole
                assert cell in out, cell
    has_headings = any(line.startswith("model ") for line in out.splitlines())
    assert has_headings == (width > 36)


@pytest.mark.parametrize("names", [[], ["letters-made", "letters-vae"]])
def test_models_of_the_zoo_are_named_if_there_are_any(names, ok, monkeypatch):
    monkeypatch.setattr("simulacra.runs.zoo.names", lambda: names)
    _, err = ok("models")
    words = "in the zoo: letters-made, letters-vae; as in simulacra sample letters-made\n"
    assert err.endswith(words) if names else not err


def test_a_word_of_a_table_stays_whole(capsys, monkeypatch):
    monkeypatch.setattr(terminal.console, "width", 40)
    rows = [{"a": "name", "some": "one two three", "words": "by expectation–maximisation of it"}]
    terminal.print_table(rows, words=("some", "words"))
    out = capsys.readouterr().out
    assert "expectation–maximisation" in out
    assert all(line == line.rstrip() for line in out.splitlines())


def test_a_line_is_broken_in_a_terminal_alone(capsys, monkeypatch):
    text = "many words " * 20 + "end"
    terminal.print_line(text, indent=2)
    assert capsys.readouterr().out == f"  {text}\n"
    monkeypatch.setattr(type(terminal.console), "is_terminal", True)
    monkeypatch.setattr(terminal.console, "width", 40)
    terminal.print_line(text, indent=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 5
    assert max(map(len, lines)) <= 40
    assert " ".join(" ".join(lines).split()) == text


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_breaks_paragraphs_where_the_terminal_ends(command, ok, monkeypatch):
    monkeypatch.setattr(terminal.console, "width", 400)
    out, _ = ok(command, "--help")
    text = inspect.cleandoc(app.COMMANDS[command].__doc__).partition("Args:")[0]
    for paragraph in text.split("\n\n"):
        assert " ".join(paragraph.split()) in out
    for argument in app.app[command].assemble_argument_collection(parse_docstring=True):
        assert "\n" not in argument.parameter.help


def test_an_option_that_begins_so_is_suggested(cli):
    _, _, err = cli("sample", "x", "--temp", "1")
    assert "simulacra sample has no option --temp: did you mean '--temperature'?" in err
    _, _, err = cli("surprise", "x", "--seed=1")
    assert "simulacra surprise has no option --seed: known: --code, --data-dir" in err


@pytest.mark.parametrize("width", [60, 80])
def test_the_lists_fit_the_terminal(width, ok, monkeypatch):
    monkeypatch.setattr(terminal.console, "width", width)
    # in a file or a pipe lines stay whole
    monkeypatch.setattr(type(terminal.console), "is_terminal", True)
    for command in (["models"], ["models", "gan"], ["data"], ["data", "digits"]):
        out, _ = ok(*command)
        assert max(map(len, out.splitlines())) <= width
        assert "…" not in out
    out, _ = ok("data")
    assert "binarized-mnist-dynamic" in out


def test_a_model_is_described_with_its_keywords_and_paper(ok):
    out, _ = ok("models", "nice")
    for word in ("NICE", "flow", "1410.8516", "couplings", "hidden", "context"):
        assert word in out


def test_a_data_set_is_described_as_it_would_be_read(ok, places):
    out, _ = ok("data", places["grey"])
    assert re.search(r"class names +a, b c *\n", out)
    assert re.search(r"shape +1×8×8 *\n", out)
    about = load_strictly(ok("data", places["sizes"], "--side", "6", "--levels", "4",
                             "--colour", "grey", "--json")[0])  # fmt: skip
    assert (about["shape"], about["levels"]) == ([1, 6, 6], 4)
    assert "continuous" in ok("data", places["vectors"])[0]


def test_named_data_are_found_in_data_dir(ok):
    if not (SHARED / "olivetti_faces").is_dir():
        pytest.skip("the Olivetti faces are not in ../shared/data")
    out, _ = ok("data", "olivetti-faces", "--data-dir", SHARED, "--side", "8", "--json")
    about = load_strictly(out)
    assert (about["shape"], about["classes"]) == ([1, 8, 8], 40)
    shown, _ = ok("data", "olivetti-faces", "--data-dir", SHARED)
    assert "person 1, person 2" in shown
    assert "person 40" in shown
    assert "person 30" not in shown


def test_a_look_shows_what_a_model_sees(ok, places):
    changes = ("--flip", "--shift", "2")
    out, err = ok("data", "digits", *changes, "--look", "new/folder/grid.png", "--json")
    load_strictly(out)
    assert "64 training pictures" in err
    dataset = load("digits", flip=True, shift=2)
    x, _ = dataset.train.batch(torch.arange(64))
    expected = np.asarray(grids.grid(dataset.spec.to_float(x)))
    assert np.array_equal(np.asarray(Image.open("new/folder/grid.png")), expected)
    ok("data", "digits", "--look", "plain.png")
    assert not np.array_equal(np.asarray(Image.open("plain.png")), expected)
    # a handful of pictures is drawn as far as it goes
    ok("data", places["sizes"], "--side", "6", "--look", "few.png")
    assert np.asarray(Image.open("few.png")).shape == (195, 195, 3)  # 14 in rows of 4


@pytest.mark.parametrize(
    ("name", "draw", "told"),
    [
        ("moons", "scatter", "5000 training vectors"),
        ("two-peaks", "histograms", "5000 training vectors, column by column"),
        ("wide.csv", "histograms", "21 training vectors, column by column"),
        ("sounds", "heard", "64 training sounds"),
    ],
)
def test_a_look_at_vectors_and_sounds_is_a_drawing(ok, monkeypatch, name, draw, told):
    np.savetxt("wide.csv", np.random.default_rng(0).normal(size=(30, 5)), delimiter=",")
    asked = {}
    if name == "sounds":
        noise = np.random.default_rng(0).normal(size=(100, 150)) / 8
        Path("sounds").mkdir()
        for number, sound in enumerate(noise):
            soundfile.write(Path("sounds", f"{number}.wav"), sound, 8000)
        asked = {"window": 200}
    flags = [part for key, v in asked.items() for part in (f"--{key.replace('_', '-')}", v)]
    given, drawn = [], []
    with monkeypatch.context() as patch:
        # sounds are drawn by a module of their own
        room = observations if draw == "heard" else charts
        chart, png = getattr(room, draw), files.png

        def watched(*told, **named):
            given.append((*told, *named.values()))
            return chart(*told, **named)

        patch.setattr(room, draw, watched)
        patch.setattr(files, "png", lambda picture: drawn.append(png(picture)) or drawn[-1])
        out, err = ok("data", name, *flags, "--look", "look.png")
    assert err == f"look.png: {told}\n"
    dataset = load(name, **asked)
    x, _ = dataset.train.batch(torch.arange(int(told.split()[0])))
    [(values, *rest)], [picture] = given, drawn
    assert torch.equal(values, dataset.spec.to_float(x))
    assert [part for part in rest if part not in ((), None)] == [8000] * (name == "sounds")
    assert Path("look.png").read_bytes() == picture
    if name == "sounds":
        assert re.search(r"samples a second +8000", out)
        shortest = min(int(split.lengths.min()) for split in dataset.splits.values())
        assert re.search(rf"samples of the shortest window +{shortest}\b", out)
        assert re.search(r"shape +200\b", out)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("digits", "--look", "grid.jpg"), 2, "--look is a .png file, got 'grid.jpg'"),
        (("--look", "grid.png"), 2, "--look draws one data set: name it"),
        (("digits", "--look", "folder.png"), 5, "cannot write folder.png"),
        (("digits", "--look", "file/grid.png"), 5, "cannot make file"),
    ],
)
def test_a_look_that_cannot_be_written_is_refused(cli, arguments, code, message):
    Path("folder.png").mkdir()
    Path("file").write_text("")
    ended, out, err = cli("data", *arguments)
    assert (ended, out) == (code, "")
    assert message in " ".join(err.split())


def test_context_vectors_are_described(ok):
    rows = {"train": 1258, "validation": 180, "test": 359}
    np.savez("codes.npz", **{k: np.zeros((n, 4), np.float32) for k, n in rows.items()})
    out, _ = ok("data", "digits", "--context", "codes.npz")
    assert re.search(r"context vectors +4", out)
    assert "labels were replaced" in " ".join(out.split())
    assert "class names" not in out


# ---- train --------------------------------------------------------------------------------------


def record_of(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_bytes())


def test_a_run_gets_a_folder_of_its_own(ok, tmp_path, places):
    short = ["--budget", "1steps", "--set", "hidden=4"]
    ok("train", "vae", places["grey"] / "b c", *short)
    ok("train", "vae", places["grey"] / "b c", *short)
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["vae-b-c", "vae-b-c-2"]
    assert record_of(tmp_path / "runs" / "vae-b-c")["plan"]["steps"] == 1


def test_the_commands_that_training_proposes_can_be_copied(ok, tmp_path):
    _, err = ok("train", "vae", "digits", "--budget", "1steps", "--set", "hidden=4",
                "--out", "a folder/of mine")  # fmt: skip
    last = err.splitlines()[-1]
    proposed = [shlex.split(command) for command in last.partition("next: ")[2].split(", ")]
    assert [command[:2] for command in proposed] == [["simulacra", c] for c in
                                                     ("sample", "evaluate")]  # fmt: skip
    ok(*proposed[0][1:], "-n", "1")
    assert (tmp_path / "a folder" / "of mine" / "samples-0.png").is_file()


def test_what_the_user_says_reaches_the_run_and_goes_before_the_preset(ok, places):
    usual, preset = record_of(places["vae"])["options"], record_of(places["gan"])["options"]
    assert preset["betas"] == [0.0, 0.99]
    assert usual["betas"] == [0.9, 0.999]
    ok("train", "gan", places["grey"], "--out", "run", "--set", "hidden=4,6", "--lr", "0.5",
       "--seed", "7", "--batch", "9", "--budget", "2epochs", "--levels", "4", "--side", "6",
       "--betas", "0.1", "0.2", "--device", "cpu", "--precision", "bf16")  # fmt: skip
    record = record_of(Path("run"))
    assert record["keywords"]["hidden"] == [4, 6]
    assert record["spec"]["levels"] == 4
    assert record["spec"]["event_shape"] == [1, 6, 6]
    expected = {"lr": 0.5, "seed": 7, "batch": 9, "betas": [0.1, 0.2], "device": "cpu",
                "precision": "bf16", "clip": preset["clip"]}  # fmt: skip
    assert {key: record["options"][key] for key in expected} == expected
    assert record["budget"] == "2epochs"


def test_a_log_file_gets_a_line_when_a_model_starts_and_one_when_it_is_done(ok):
    _, err = ok("train", "gmm", "digits", "--budget", "2steps", "--set", "components=2",
                "--out", "run")  # fmt: skip
    first, *stages, done, spent, best, then = err.splitlines()
    assert first == "gmm on digits, into run"
    assert stages == ["gmm: stage sweeps: 1 step to do", "gmm: stage gradients: 1 step to do"]
    threads = torch.get_num_threads()
    assert re.fullmatch(
        rf"done: 2 steps, 1\.39 k observations in \d+\.\d s with {threads} threads?", done
    )
    told = re.findall(r"([a-z]+) (\d+\.\d)", spent)
    assert spent.startswith("seconds: ")
    seconds = float(re.findall(r"in (\S+) s", done)[0])
    assert sum(float(each) for _, each in told) == pytest.approx(seconds, abs=0.3)
    assert re.fullmatch(r"best validation: \d\.\d{3} bits/dim", best)
    assert then == "next: simulacra sample run, simulacra evaluate run"
    _, err = ok("resume", "run")
    assert err.splitlines()[1:3] == [
        "gmm: stage gradients: 1 step done before, which are all",
        "longer: simulacra resume run --budget +10m",
    ]


@pytest.mark.parametrize("model", ["gmm", "nice"])
def test_vectors_are_trained_on_and_sampled_as_numbers(model, ok, places, monkeypatch):
    undrawn(monkeypatch)
    keyword = {"gmm": "components=2", "nice": "hidden=4"}[model]
    ok("train", model, places["vectors"], "--budget", "2steps", "--set", keyword, "--out", "run")
    _, err = ok("sample", "run", "-n", "5")
    assert err == "run/samples-0.npy: 5 samples\n"
    drawn = np.load("run/samples-0.npy")
    assert drawn.shape == (5, 3)
    assert drawn.dtype == np.float32
    assert "nats" in ok("evaluate", "run")[0]


# ---- stopping and going on ----------------------------------------------------------------------


def signal_at(step: int, number: int, monkeypatch) -> None:
    """Send ourselves a signal when a step was done."""
    inner = TrainingDisplay.on_record

    def on_record(display, model, record):
        inner(display, model, record)
        if record.step == step:
            signal.raise_signal(number)

    monkeypatch.setattr(TrainingDisplay, "on_record", on_record)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("command", ["train", "compare"])
def test_a_signal_finishes_the_step_and_says_how_to_go_on(
    command, number, code, cli, places, monkeypatch
):
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    small = ["--budget", "9steps", "--out", "my run"]
    if command == "train":
        small = ["vae", "digits", "--set", "hidden=4", *small]
    else:
        # so few that their samples are not judged, which takes most of a comparison
        small = [places["grey"], "--models", "gmm,vae", "--set", "vae.hidden=4",
                 "--set", "gmm.components=2", *small]  # fmt: skip
    with monkeypatch.context() as patch:
        signal_at(4, number, patch)
        came, out, err = cli(command, *small)
    assert (came, out) == (code, "")
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
    proposed = shlex.split(err.splitlines()[-1].partition("go on with: ")[2])
    assert proposed == ["simulacra", "resume", "my run"]
    steps = [int(p.name) for p in Path("my run").glob("**/checkpoints/*")]
    assert 5 in steps
    assert 9 not in steps
    came, _, err = cli(*proposed[1:])
    assert came == 0
    assert "of them done" in err
    assert "9" in {p.name for p in Path("my run").glob("**/checkpoints/*")}


def test_a_run_can_be_stopped_again_and_again(cli, monkeypatch):
    # with a row of metrics every five steps
    command = ["train", "vae", "digits", "--budget", "1000steps", "--set", "hidden=4",
               "--out", "run"]  # fmt: skip
    for step in (2, 6, 8):
        with monkeypatch.context() as patch:
            signal_at(step, signal.SIGINT, patch)
            code, _, err = cli(*command)
        assert code == 130, err
        assert f"stopped after {step + 1} steps" in err
        command = ["resume", "run"]


def test_a_second_signal_ends_at_once(monkeypatch):
    class Ended(BaseException):
        pass

    def leave(code):
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", leave)
    with stopping.stopping() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.number == signal.SIGINT
        with pytest.raises(Ended, match="143"):
            signal.raise_signal(signal.SIGTERM)


def test_a_real_process_saves_on_sigterm(tmp_path):
    command = ["train", "pixelcnn", "digits", "--budget", "99999steps", *TINY[2:], "--out", "run"]
    process = Forked(app.main, command, log=tmp_path / "log", folder=tmp_path)
    until = time.monotonic() + 60
    while not (tmp_path / "log").exists() or "to do" not in process.said():
        assert process.poll() is None, process.said()
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    rest = process.said()
    steps = re.search(r"stopped after (\d+) steps? and saved", rest)
    assert steps
    assert (tmp_path / "run" / "checkpoints" / steps[1] / "MANIFEST.json").is_file()
    assert "Traceback" not in rest


@pytest.mark.parametrize("arguments", [["--help"], ["data", "--json"]])
def test_a_reader_who_has_had_enough_is_no_error(arguments):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "simulacra.cli.app", *arguments]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


# ---- runs that were damaged ---------------------------------------------------------------------


@pytest.fixture
def copied(places, tmp_path):
    """A run of our own to damage, called `broken`, with two checkpoints."""
    folder = tmp_path / "runs" / "broken"
    shutil.copytree(places["pixelcnn"], folder)
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"2", "3"}
    return folder


def damage(checkpoint: Path) -> None:
    for path in checkpoint.glob("*.safetensors"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)


@pytest.mark.parametrize("command", ["sample", "complete", "evaluate", "resume"])
def test_the_checkpoint_before_a_broken_one_is_used_and_that_is_said(command, ok, copied):
    damage(copied / "checkpoints" / "3")
    _, err = ok(command, "broken")
    [said] = [line for line in err.splitlines() if "altered" in line]
    assert "checkpoints/3" in said
    assert "the one before it is used" in said


@pytest.mark.parametrize("command", ["sample", "complete", "evaluate", "resume"])
def test_a_run_without_a_sound_checkpoint_ends_with_code_4(command, cli, copied):
    damage(copied / "checkpoints" / "2")
    damage(copied / "checkpoints" / "3")
    code, _, err = cli(command, "broken")
    assert code == 4
    assert "checkpoints/2" in err.splitlines()[-1]
    assert "checkpoints/3" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{", "["),
        ('"format": 1', '"format": 2'),
        ('"levels": 17', '"levels": -1'),
        ('"ema": 0.999', '"ema": 2'),
        ('"ema"', '"emma"'),
    ],
)
def test_an_altered_record_ends_with_code_4(old, new, cli, copied):
    text = (copied / "run.json").read_text()
    assert old in text
    (copied / "run.json").write_text(text.replace(old, new, 1))
    for command in ("sample", "resume"):
        code, _, err = cli(command, "broken")
        assert code == 4, err
        assert err.startswith("error: ")
        assert "run.json" in err


def test_data_that_changed_since_end_with_code_3(cli, ok, tmp_path):
    draw_pictures(tmp_path / "pics", 20, rgb=False)
    ok("train", "gmm", "pics", "--budget", "2steps", "--set", "components=2", "--out", "run")
    picture = tmp_path / "pics" / "03.png"
    with Image.open(picture) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(picture)
    for command in ("resume", "evaluate", "complete"):
        code, _, err = cli(command, "run")
        assert code == 3, err
        assert "fingerprint" in err
    ok("sample", "run", "-n", "1")


# ---- using a run --------------------------------------------------------------------------------


def test_a_run_is_known_by_its_name_or_its_folder(cli, ok, copied):
    Path("broken").mkdir()  # some folder that is no run
    assert "runs/broken/samples-0.png" in ok("sample", "broken", "-n", "1")[1]
    ok("sample", copied, "-n", "1")
    ok("sample", f"{copied}/", "-n", "1")
    shutil.copytree(copied, copied.parent / "group" / "one")
    assert "runs/group/one/" in ok("sample", "group/one", "-n", "1")[1]
    code, _, err = cli("sample", "brokne")
    assert (code, "'broken'" in err) == (4, True)


def test_samples_are_a_picture_and_levels_and_depend_on_the_seed_alone(ok, places):
    drawn = {}
    five = ["sample", places["pixelcnn"], "-n", "5"]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        _, err = ok(*five, "--seed", seed, "--out", f"d/{name}.png")
        assert err == f"d/{name}.png and d/{name}.npy: 5 samples\n"
        drawn[name] = np.load(f"d/{name}.npy")
        with Image.open(f"d/{name}.png") as image:
            assert image.format == "PNG"
    assert drawn["a"].shape == (5, 1, 8, 8)
    assert drawn["a"].dtype == np.uint8
    assert drawn["a"].max() < 17
    np.testing.assert_array_equal(drawn["a"], drawn["b"])
    assert (drawn["a"] != drawn["c"]).any()
    ok(*five, "--seed", "1", "--temperature", "0.1", "--out", "cold.png")
    assert (np.load("cold.npy") != drawn["a"]).any()


def test_a_label_is_drawn_when_asked_for_and_all_in_turn_otherwise(ok, places, monkeypatch):
    from simulacra.models.latent.vae import VAE

    told = []
    inner = VAE.sample

    def sample(model, n, context=None):
        told.append(context.tolist())
        return inner(model, n, context)

    monkeypatch.setattr(VAE, "sample", sample)
    ok("sample", places["labelled"], "--label", "3", "-n", "4", "--out", "a.png")
    ok("sample", places["labelled"], "-n", "12", "--out", "b.png")
    # how many are drawn at once is found with one of them
    assert [each for each in told if len(each) > 1] == [[3] * 4, [*range(10), 0, 1]]
    with Image.open("b.png") as image:
        assert image.width > 4 * image.height  # a column for each class
    for arguments, word in ((["-n", "12"], True), (["--label", "3", "-n", "1"], False)):
        _, err = ok("sample", places["labelled"], *arguments, "--out", "b.png")
        assert (", a column for each class" in err) == word
    assert "b.npy: 1 sample\n" in err


def test_completions_are_a_row_for_each_picture(ok, places):
    _, err = ok("complete", places["pixelcnn"], "-n", "3", "--times", "2", "--hide", "top",
                "--out", "c.png")  # fmt: skip
    assert err.startswith("c.png: 3 rows of given | 2 completions, approximate (~) | truth")
    with Image.open("c.png") as image:
        width, height = image.size
        shown = np.asarray(image.convert("RGB")) / 255
    assert width > height  # 4 pictures beside each other, 3 rows
    side = height // 3
    # what is hidden of *given*
    np.testing.assert_allclose(shown[2, 2 : side // 2] - style.HIDDEN, 0, atol=1 / 255)
    _, err = ok("complete", places["pixelcnn"], "-n", "1", "--times", "1")
    assert "1 row of given | a completion, drawn from the model's own conditional" in err


def test_evaluate_prints_figures_and_writes_a_report(ok, copied):
    out, err = ok("evaluate", "broken", "--test-limit", "9")
    assert re.search(r"pixelcnn +(= \S+ ± \S+)", out)
    assert err == "report: runs/broken/report.html\n"
    assert "<html" in (copied / "report.html").read_text()
    found = load_strictly(ok("evaluate", "broken", "--test-limit", "9", "--json")[0])
    assert found["models"][0]["likelihood"]["observations"] == 9


def test_compare_trains_judges_and_answers(ok, cli):
    arguments = ["digits", "--models", "gmm, gan", "--budget", "2steps", "--set",
                 "gmm.components=3", "--set", "gan.hidden=4", "--seed", "5"]  # fmt: skip
    out, err = ok("compare", *arguments)
    assert re.search(r"gmm +(= \S+ ± \S+)", out)
    assert re.search(r"gan +no likelihood", out)
    assert err.endswith("report: compare/digits/report.html\n")
    for name, key, value in (("gmm", "components", 3), ("gan", "hidden", [4])):
        record = record_of(Path("compare/digits") / name)
        assert record["keywords"][key] == value
        assert record["options"]["seed"] == 5
    # done, it is only measured again
    results = load_strictly(ok("resume", "compare/digits", "--json")[0])
    assert [model["model"] for model in results["models"]] == ["gmm", "gan"]
    assert not results["stopped"]
    code, _, err = cli("sample", "compare/digits")
    assert code == 2
    assert "compare/digits/gmm" in err


def test_a_comparison_without_any_model_ends_with_an_error(cli, monkeypatch):
    undrawn(monkeypatch)
    np.save("v.npy", np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32))
    asked = ["compare", "v.npy", "--budget", "2steps", "--out", "c"]
    code, out, err = cli(*asked, "--models", "bernoulli-mixture,pixelcnn")
    assert code == 2
    assert re.search(r"bernoulli-mixture +left out", out)  # the table comes first
    *_, last = err.splitlines()
    assert last.startswith("error: no model could be trained: bernoulli-mixture (")
    assert "; pixelcnn (" in last
    assert Path("c/report.html").is_file()
    # done again, it is no better; in JSON too
    code, out, _ = cli("resume", "c", "--json")
    assert code == 2
    models = [each["model"] for each in load_strictly(out)["models"]]
    assert models == ["bernoulli-mixture", "pixelcnn"]
    # one that can be trained is enough
    asked[-1] = "d"
    code, _, _ = cli(*asked, "--models", "gmm,pixelcnn")
    assert code == 0


# ---- a model of the user's own ------------------------------------------------------------------


def test_a_model_of_ones_own_runs_only_when_it_is_named(ok, cli, places, tmp_path):
    shutil.copy(places["own"], tmp_path / "mine.py")
    _, err = ok("train", "mine.py:Own", places["grey"], "--budget", "2steps",
                "--set", "sharpness=2", "--out", "run")  # fmt: skip
    assert "sample run --code mine.py:Own" in err
    for command in ("sample", "evaluate", "resume"):
        code, _, err = cli(command, "run")
        assert code == 4
        assert "--code" in err
        assert err.count("\n") == 1
        ok(command, "run", "--code", "mine.py:Own")
    assert np.load("run/samples-0.npy").shape == (64, 1, 8, 8)
    shown, _ = ok("models", "mine.py:Own")
    assert "sharpness" in shown
    assert "Paper" not in shown


def test_a_comparison_runs_no_code_that_only_its_record_names(ok, cli, places, tmp_path):
    shutil.copy(places["own"], tmp_path / "mine.py")
    ok("compare", places["grey"], "--models", "mine.py:Own", "--budget", "2steps", "--out", "both")
    (tmp_path / "mine.py").write_text("from pathlib import Path\n\nPath('ran').touch()\n" + OWN)
    for code_option in ([], ["--code", "mine.py:Other"], ["--code", "gmm"]):
        code, _, err = cli("resume", "both", *code_option)
        assert code in (2, 4), err
        assert "mine.py:Own" in err
        assert not Path("ran").exists()
    ok("resume", "both", "--code", "mine.py:Own")
    assert Path("ran").exists()


@pytest.mark.parametrize(
    "arguments",
    ["train nice digits --batch 8.6", "data digits --side 7.5", "sample runs/x -n 1.5",
     "compare digits --draws 2.5"],
)  # fmt: skip
def test_a_fraction_is_no_whole_number(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        app.main(arguments.split())
    assert ended.value.code == 2
    assert "a whole number is expected, got" in capsys.readouterr().err


def test_data_that_moved_are_named_anew(tmp_path, monkeypatch, capsys):
    undrawn(monkeypatch)
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(60, 2)).astype("float32"))
    train = ["train", "gmm", "v.npy", "--set", "components=2", "--budget", "2steps", "--out", "r"]
    for arguments in (train, ["evaluate", "r", "--data-dir", "moved.npy"]):
        with pytest.raises(SystemExit) as ended:
            app.main(arguments)
        assert ended.value.code == 0, capsys.readouterr().err
        if arguments == train:
            (tmp_path / "v.npy").rename(tmp_path / "moved.npy")
