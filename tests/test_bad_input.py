"""Whatever is given to the command line: one line that helps, the right exit code, nothing lost."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forked import Forked
from simulacra.cli import app
from simulacra.cli.terminal import printable
from simulacra.ground.errors import ResourceError
from simulacra.ground.storage import MANIFEST, read_folder, read_json, write_folder
from simulacra.runs.run import Run

TINY = ("--set", "hidden=4", "--set", "latent=2")
Cli = Callable[..., tuple[int, str]]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command in an empty folder: its exit code and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ending:
            app.main([str(argument) for argument in arguments])
        return int(ending.value.code or 0), capfd.readouterr().err

    return run


def check(came: tuple[int, str], code: int, *words: str) -> None:
    """One printable line that begins with `error:` and has some words."""
    number, err = came
    assert number == code, err
    # what was begun may be said before
    *_, last = err.splitlines()
    assert err.count("error: ") == 1, err
    assert last.startswith("error: ")
    assert last.isprintable()
    assert "Traceback" not in err
    for word in words:
        assert word in last


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two checkpoints, which tests copy."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.raises(SystemExit) as ending:
        app.main(["train", "vae", "digits", "--budget", "3steps", *TINY, "--out", str(folder)])
    assert not ending.value.code
    return folder


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A run of our own to damage, called `run`."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


# ---- messages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("plain é 字 ≤ …", "plain é 字 ≤ …"),
        ("two\nlines\r\n\tand\x0bmore\u2028end ", "two lines and more end"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("turned \u202egnp.exe", r"turned \u202egnp.exe"),
        ("no text \udcff", r"no text \udcff"),
        ("nul \0", r"nul \x00"),
        ("wide \U000e0001", r"wide \U000e0001"),
    ],
)
def test_a_message_is_shown_on_one_line(message: str, shown: str) -> None:
    assert printable(message) == shown


def test_a_long_message_keeps_its_ends() -> None:
    shown = printable("begin " + "x" * 10**6 + " end")
    assert shown.startswith("begin xx")
    assert shown.endswith("xx end")
    assert len(shown) < 5000


NAMES = [
    "no\x1b[31msuch",
    "no\nsuch",
    "../no\x07such.npy",
    "\u202egnp.npz",
    "bad\udcff",
    "l" * 5000,
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_are_shown_safely(cli: Cli, tmp_path: Path, name: str) -> None:
    long = len(name) > 1000
    check(cli("data", name), 2 if long else 3)
    check(cli("train", "vae", name), 2 if long else 3)
    check(cli("train", name, "digits"), 2)
    check(cli("sample", name), 2 if long else 4)
    check(cli(name), 2)
    check(cli("train", "vae", "digits", f"--{name}"), 2)
    check(cli("train", "vae", "digits", "--set", f"{name}=3"), 2)
    check(cli("train", "vae", "digits", "--budget", name), 2)
    assert not list(tmp_path.iterdir())


# ---- configuration ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "assignment",
    ["latent=1e400", "latent=nan", "latent=inf", "latent=-1", "latent=0", "latent=", "hidden=-4",
     "hidden=0", "hidden=1e400", f"latent={'9' * 30}", f"latent={'9' * 5000}", "hidden=[[[[",
     f"hidden=1,{'[' * 9000}", "=3", "latent", "latent=1\x00", "latnet=3"],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_keywords_that_no_model_takes_are_usage(cli: Cli, tmp_path: Path, assignment: str) -> None:
    check(cli("train", "vae", "digits", "--budget", "1steps", "--set", assignment), 2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "keyword", ["hidden=100000000", "latent=10000000000000", "hidden=1000000000000000000"]
)
def test_a_model_larger_than_memory_is_a_matter_of_resources(
    cli: Cli, tmp_path: Path, keyword: str
) -> None:
    check(cli("train", "vae", "digits", "--budget", "1steps", "--set", keyword), 5, "memory")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "budget", ["1e400s", "nans", "infs", "-5s", "0epochs", "0s", "1e300steps", "", "9" * 5000 + "s"]
)
def test_budgets_that_no_training_has_are_usage(cli: Cli, tmp_path: Path, budget: str) -> None:
    check(cli("train", "vae", "digits", "--budget", budget), 2, "budget" if budget != "1e300steps"
          else "steps")  # fmt: skip
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("budget", ["1e-9s", "1e-9epochs"])
def test_the_smallest_budget_is_a_step(cli: Cli, tmp_path: Path, budget: str) -> None:
    code, err = cli("train", "vae", "digits", "--budget", budget, *TINY, "--out", "run")
    assert code == 0, err
    plan = Run.open(tmp_path / "run").plan
    assert plan is not None
    assert plan.steps == 1


@pytest.mark.parametrize(
    "option",
    ["--batch=0", "--batch=9223372036854775808", "--warmup=1e3", f"--warmup={10**30}", "--lr=1e400",
     "--lr=nan", "--lr=-1", "--ema=1e400", "--clip=inf", "--weight-decay=nan", "--seed=1e400",
     f"--seed={2**63}", "--accumulate=0", "--device=\x1b[2J"],
    ids=ascii,
)  # fmt: skip
def test_options_that_no_training_has_are_usage(cli: Cli, tmp_path: Path, option: str) -> None:
    check(cli("train", "vae", "digits", *TINY, option), 2, option[2:].split("=")[0].split("-")[0])
    assert not list(tmp_path.iterdir())


# ---- where a run is put -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a/../b", "../sibling", "sp ace", "li\nne", "e\x1b[31m"], ids=ascii
)
def test_any_name_of_a_folder_is_taken_as_it_is(cli: Cli, tmp_path: Path, name: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    os.chdir(inner)
    code, err = cli("train", "vae", "digits", "--budget", "1steps", *TINY, "--out", name)
    assert code == 0, err
    assert (inner / name / "run.json").is_file()
    assert cli("sample", name, "-n", "1")[0] == 0
    outside = [path for path in tmp_path.iterdir() if path != inner]
    assert [path.name for path in outside] == (["sibling"] if name == "../sibling" else [])


@pytest.mark.parametrize("command", ["train vae digits", "compare digits --models vae"])
def test_a_place_that_cannot_be_one_is_said(cli: Cli, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("mine")
    start = [*command.split(), "--budget", "1steps"]
    check(cli(*start, "--out", "file"), 2, "file exists")
    check(cli(*start, "--out", "l" * 300), 2, "File name too long")
    check(cli(*start, "--out", "/".join(["d" * 200] * 40)), 2, "File name too long")
    check(cli(*start, "--out", os.devnull), 2, os.devnull)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_place_below_a_file_is_a_matter_of_resources(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    came = cli("train", "vae", "digits", "--budget", "1steps", *TINY, "--out", "file/run")
    check(came, 5, "file/run")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_forbidden_place_is_a_matter_of_resources(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs tests as root may write anywhere, so the system's answer is given for it."""
    (tmp_path / "locked").mkdir()
    make = Path.mkdir

    def forbidden(self: Path, *arguments: Any, **keywords: Any) -> None:
        if "locked" in self.parts:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        make(self, *arguments, **keywords)

    monkeypatch.setattr(Path, "mkdir", forbidden)
    came = cli("train", "vae", "digits", "--budget", "1steps", *TINY, "--out", "locked/run")
    check(came, 5, "locked/run", "Permission denied")


# ---- data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.zip"])
def test_a_pipe_is_no_data(cli: Cli, tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    check(cli("data", name), 3, name)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\3\4", b"\0" * 99])
def test_a_file_that_is_nothing_is_no_data(
    cli: Cli, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    check(cli("data", name), 3, name, "cannot be read")


@pytest.mark.parametrize("place", [os.devnull, "/dev/zero"])
def test_a_device_is_no_data(cli: Cli, place: str) -> None:
    check(cli("data", place), 3, place)


# ---- checkpoints --------------------------------------------------------------------------------


def newest(run: Path) -> Path:
    return Run.open(run).checkpoints()[0]


def each(run: Path, change: Callable[[Path], object]) -> None:
    """Do the same to every checkpoint of a run."""
    for folder in Run.open(run).checkpoints():
        change(folder)


def rewritten(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """A checkpoint with other values, whole by its checksums."""
    state = read_folder(folder)
    change(state)
    shutil.rmtree(folder)
    write_folder(folder, state)


def a_newer_format(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "format": 2}))


def linked(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.rename(folder.parent / f"moved-{folder.name}")
    path.symlink_to(folder.parent / f"moved-{folder.name}")


def a_pipe(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    os.mkfifo(folder / "weights.safetensors")


def nested(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"[" * 100_000)


def leading_out(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["../x.json"] = manifest["files"]["model.json"]
    (folder / MANIFEST).write_text(json.dumps(manifest))


def a_nan(folder: Path) -> None:
    def change(state: dict[str, Any]) -> None:
        state["weights"]["decoding.layers.0.weight"][0] = torch.nan

    rewritten(folder, change)


def another_shape(folder: Path) -> None:
    def change(state: dict[str, Any]) -> None:
        state["weights"]["decoding.layers.0.weight"] = torch.zeros(7, 7)

    rewritten(folder, change)


def doubles(folder: Path) -> None:
    def change(state: dict[str, Any]) -> None:
        weight = state["weights"]["decoding.layers.0.weight"]
        state["weights"]["decoding.layers.0.weight"] = weight.double()

    rewritten(folder, change)


DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (a_newer_format, "newer"),
    (linked, "weights.safetensors"),
    (a_pipe, "weights.safetensors"),
    (nested, "nested too deep"),
    (leading_out, "'../x.json'"),
    (a_nan, "decoding.layers.0.weight"),
    (another_shape, "decoding.layers.0.weight"),
    (doubles, "decoding.layers.0.weight"),
    (shutil.rmtree, "no sound checkpoint"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGE, ids=[d[0].__name__ for d in DAMAGE])
def test_a_damaged_checkpoint_ends_with_code_4(
    cli: Cli, copied: Path, damage: Callable[[Path], None], words: str
) -> None:
    each(copied, damage)
    check(cli("sample", "run"), 4, words)


def test_the_checkpoint_before_a_newer_one_is_used(cli: Cli, copied: Path) -> None:
    a_newer_format(newest(copied))
    code, err = cli("sample", "run", "-n", "1")
    assert code == 0, err
    assert "newer" in err


# ---- run.json -----------------------------------------------------------------------------------


def with_part(part: str, value: Any) -> Callable[[dict[str, Any]], object]:
    """Sets `options.lr`, say, of a record."""

    def change(record: dict[str, Any]) -> None:
        *path, last = part.split(".")
        for name in path:
            record = record[name]
        record[last] = value

    return change


PARTS = [
    ("format", 2), ("format", "1"), ("format", None),
    ("model", 5), ("model", None), ("model", "\x1b[31m"),
    ("keywords", []), ("keywords", None), ("keywords.odd", 1), ("keywords.latent", "two"),
    ("options", []), ("options.odd", 1), ("options.batch", 64.5), ("options.batch", "64"),
    ("options.lr", "fast"), ("options.lr", -1), ("options.betas", 0.9), ("options.seed", -1),
    ("options.device", 5), ("options.schedule", None),
    ("plan", [3]), ("plan.odd", 1), ("plan", "soon"),
    ("budget", 5), ("budget", "soon"), ("budget", "1e400s"),
    ("data", []), ("data.options", []), ("data.options.source", 5), ("data.fingerprint", 5),
    ("spec", []), ("spec.levels", -1), ("spec.levels", "17"), ("spec.event_shape", 5),
    ("spec.odd", 1), ("spec.event_shape", []),
]  # fmt: skip


@pytest.mark.parametrize(("part", "value"), PARTS, ids=[f"{p}={v!r}" for p, v in PARTS])
@pytest.mark.parametrize("command", ["sample", "resume"])
def test_an_edited_record_ends_with_code_4(
    cli: Cli, copied: Path, command: str, part: str, value: Any
) -> None:
    record = json.loads((copied / "run.json").read_text())
    with_part(part, value)(record)
    (copied / "run.json").write_text(json.dumps(record))
    check(cli(command, "run"), 4)


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"5", b"[]", b"\xff\xfe{}", b"\0" * 99])
@pytest.mark.parametrize("command", ["sample", "resume"])
def test_a_record_that_is_none_ends_with_code_4(
    cli: Cli, copied: Path, command: str, content: bytes
) -> None:
    (copied / "run.json").write_bytes(content)
    check(cli(command, "run"), 4, "run.json")


STRICT = [
    ('"seed": 0', '"seed": 0, "seed": 1', "twice"),
    ('"model": "vae"', '"model": "gan", "model": "vae"', "twice"),
    ('"seed": 0', '"seed": NaN', "NaN"),
    ('"ema": 0.', '"ema": 1e400, "e": 0.', "1e400"),
    ('"format": 1', '"format": true', "format"),
    ('"format": 1', '"format": 1, "odd": 1', "odd"),
    ('"plan": {', f'"deep": {"[" * 9999}{"]" * 9999}, "plan": {{', "nested"),
    ('"steps": 3', '"steps": 3.5', "steps"),
    ('"steps": 3', '"steps": -3', "steps"),
    ('"steps": 3', '"steps": "3"', "steps"),
    ('"levels": 17', '"levels": 17.5', "levels"),
]


@pytest.mark.parametrize(("old", "new", "words"), STRICT, ids=[s[1][:40] for s in STRICT])
@pytest.mark.parametrize("command", ["sample", "resume"])
def test_a_record_is_read_strictly(
    cli: Cli, copied: Path, command: str, old: str, new: str, words: str
) -> None:
    text = (copied / "run.json").read_text()
    assert old in text
    (copied / "run.json").write_text(text.replace(old, new, 1))
    check(cli(command, "run"), 4, "run.json", words)


# ---- a full disk --------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("this machine has no mount")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(folder: Path, left: int) -> Path:
    """A file that takes all of a disk but some bytes."""
    path = folder / "filler"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    path.write_bytes(bytes(max(0, free - left)))
    return path


def final(run: Path) -> dict[str, Any]:
    """What a run came to: its newest weights and state of training."""
    return read_folder(newest(run), "weights", "training")


def equal(a: Any, b: Any) -> bool:
    """Whether two states are the same, but for what the machine did beside."""
    unlike = ("seconds", "spent", "peak_bytes")
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a if k not in unlike)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.fixture(scope="module")
def peace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that always had room."""
    folder = tmp_path_factory.mktemp("peace") / "run"
    with pytest.raises(SystemExit) as ending:
        app.main(["train", "vae", "digits", "--budget", "40steps", *TINY, "--out", str(folder)])
    assert not ending.value.code
    return folder


@pytest.mark.parametrize("left", [0, 90_000, 170_000])
def test_a_full_disk_loses_nothing(cli: Cli, small_disk: Path, peace: Path, left: int) -> None:
    """Whichever file no longer fits, the run goes on once there is room, and ends the same."""
    run = small_disk / "run"
    # the record alone, so that there is something to go on with
    run.mkdir()
    shutil.copy(peace / "run.json", run)
    filler = fill(small_disk, left)
    check(cli("resume", run), 5, "space")
    filler.unlink()
    code, err = cli("resume", run)
    assert code == 0, err
    assert equal(final(run), final(peace))
    assert not list(run.rglob(".*partial*"))
    lines = [(place / "metrics.csv").read_text().splitlines() for place in (run, peace)]
    steps, expected = ([line.split(",")[0] for line in part] for part in lines)
    assert steps == expected


def test_a_disk_that_is_full_from_the_start_may_be_tried_again(cli: Cli, small_disk: Path) -> None:
    again = ("train", "vae", "digits", "--budget", "2steps", *TINY, "--out", small_disk / "run")
    filler = fill(small_disk, 0)
    check(cli(*again), 5, "space")
    filler.unlink()
    code, err = cli(*again)
    assert code == 0, err


def test_files_written_to_a_full_disk_leave_the_old_ones(small_disk: Path) -> None:
    from simulacra.ground.storage import write_bytes, write_json

    write_json(small_disk / "run.json", {"a": 1})
    write_folder(small_disk / "checkpoints" / "1", {"v": {"w": torch.ones(3)}})
    filler = fill(small_disk, 4096)
    large = torch.arange(5000.0)
    with pytest.raises(ResourceError, match="no space left to write"):
        write_folder(small_disk / "checkpoints" / "2", {"v": {"w": large}})
    with pytest.raises(ResourceError, match="no space left to write"):
        write_json(small_disk / "run.json", {"a": "x" * 20_000})
    with pytest.raises(ResourceError, match="no space left to write"):
        write_bytes(small_disk / "report.html", bytes(20_000))
    assert read_json(small_disk / "run.json") == {"a": 1}
    assert torch.equal(read_folder(small_disk / "checkpoints" / "1")["v"]["w"], torch.ones(3))
    names = sorted(str(path.relative_to(small_disk)) for path in small_disk.rglob("*"))
    assert names == ["checkpoints", "checkpoints/1", f"checkpoints/1/{MANIFEST}",
                     "checkpoints/1/v.json", "checkpoints/1/v.safetensors", "filler",
                     "run.json"]  # fmt: skip
    filler.unlink()
    write_folder(small_disk / "checkpoints" / "2", {"v": {"w": large}})
    assert torch.equal(read_folder(small_disk / "checkpoints" / "2")["v"]["w"], large)


def with_small_files(*arguments: str) -> None:
    """A command in a process whose files may have four kilobytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    app.main(list(arguments))


def test_a_limit_on_files_is_a_matter_of_resources(copied: Path, tmp_path: Path) -> None:
    """Such as `ulimit -f` sets; works on every file system."""
    before = {p: p.read_bytes() for p in copied.rglob("*") if p.is_file()}
    for arguments in (
        ["train", "vae", "digits", "--budget", "2steps", *TINY, "--out", "new"],
        ["sample", "run"],
    ):
        process = Forked(with_small_files, *arguments, log=tmp_path / "log", folder=tmp_path)
        check((process.wait(), process.said()), 5, "File too large")
    assert {p: p.read_bytes() for p in copied.rglob("*") if p.is_file()} == before
    assert not list(tmp_path.rglob(".*partial*"))


# ---- memory -------------------------------------------------------------------------------------


def with_little_memory(room: int, *arguments: str) -> None:
    """A command in a process that may have so many megabytes more than it has.

    The limit is set once everything is imported, for that is what takes most.
    """
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (room << 20),) * 2)
    app.main(list(arguments))


def test_a_process_short_of_memory_says_so(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2000, 100, 100), np.uint8))
    if not Path("/proc/self/statm").is_file():
        pytest.skip("this system does not tell how much a process takes")
    # the second is seen before it is made
    hungry = ["train", "vae", "digits", "--budget", "1steps", "--set", "hidden=4000000"]
    for room, arguments, word in (
        (8, ["data", "a.npy"], "memory ran out"),
        (300, hungry, "training vae on such data needs 60.3 GB of memory"),
    ):
        process = Forked(
            with_little_memory, room, *arguments, log=tmp_path / "log", folder=tmp_path
        )
        check((process.wait(), process.said()), 5, word)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "log"]
