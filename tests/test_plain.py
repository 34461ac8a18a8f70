"""Streams that cannot have all characters get plain ones, in columns that still stand in line."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from commands import BRIEF, blank, run_main
from forked import Forked
from kept import Kept
from rooms import ROOT
from simulacra.cli import terminal
from simulacra.cli.plain import never_fail, plain

ROWS = [
    {"model": "pixelcnn", "bits/dim ↓": "= 3.9917 ± 0.0017", "what it is": "Of pixels …"},
    {"model": "vae", "bits/dim ↓": "≤ 4.1 ± 0.02", "what it is": "é × ₂"},
]


@pytest.fixture
def stdout(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Callable[[], str]]:
    """Standard output in an encoding; what was written there."""

    def encoded(encoding: str) -> Callable[[], str]:
        bytes_ = io.BytesIO()
        stream = io.TextIOWrapper(bytes_, encoding=encoding, errors="strict", write_through=True)
        monkeypatch.setattr(sys, "stdout", stream)
        return lambda: bytes_.getvalue().decode(encoding)

    return encoded


def test_every_character_of_ours_has_a_plain_form() -> None:
    ours = {c for path in ROOT.rglob("*.py") for c in path.read_text("utf-8") if not c.isascii()}
    assert {"±", "≤", "→", "…", "×"} <= ours
    without = {c for c in ours if "\\" in plain(c, "ascii")}
    # of formulas in explanations of code, and bars of terminals
    assert without <= set("∂∃∇∘∝∪⊙⌈⌉γ")


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("3.9 ± 0.1 ≤ 4 × 2", "ascii", "3.9 +- 0.1 <= 4 x 2"),
        ("3.9 ± 0.1 ≤ 4 × 2", "latin-1", "3.9 ± 0.1 <= 4 × 2"),
        ("−log₂ p(é) → …", "ascii", "-log2 p(e) -> ..."),
        ("中", "ascii", "\\u4e2d"),
        ("\udcff ≤", "utf-8", "\\udcff ≤"),
    ],
)
def test_what_an_encoding_lacks_is_written_plainly(text: str, encoding: str, expected: str) -> None:
    assert plain(text, encoding) == expected


@pytest.mark.parametrize("width", [30, 80])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_columns_stand_in_line(
    encoding: str,
    width: int,
    stdout: Callable[[str], Callable[[], str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = stdout(encoding)
    monkeypatch.setattr(terminal.console, "width", width)
    terminal.print_table(ROWS, right=["bits/dim ↓"], words=["what it is"])
    lines = written().splitlines()
    assert max(map(len, lines)) <= width
    figures = [plain(row["bits/dim ↓"], encoding) for row in ROWS]
    ends = {line.index(f) + len(f) for line in lines for f in figures if f in line}
    assert len(ends) == 1
    if encoding == "ascii":
        assert figures == ["= 3.9917 +- 0.0017", "<= 4.1 +- 0.02"]
        assert all(line.isascii() for line in lines)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_says_the_same(encoding: str, stdout: Callable[[str], Callable[[], str]]) -> None:
    written, value = stdout(encoding), {"relation": "≤", "name": "é 中"}
    terminal.print_json(value)
    assert json.loads(written()) == value


def test_whatever_else_is_written_does_not_fail(
    stdout: Callable[[str], Callable[[], str]],
) -> None:
    written = stdout("ascii")
    never_fail()
    print("≤ 中")
    assert written() == "<= \\u4e2d\n"


def speak(encoding: str, *commands: list[str]) -> None:
    """Commands whose streams have an encoding, as they are when Python starts so."""
    sys.stdout = io.TextIOWrapper(os.fdopen(os.dup(1), "wb"), encoding, "strict")
    sys.stderr = io.TextIOWrapper(os.fdopen(os.dup(2), "wb"), encoding, "backslashreplace")
    with pytest.MonkeyPatch.context() as patch:
        blank(patch)
        codes = [run_main(*command) for command in commands]
    print(codes)
    sys.stdout.flush()
    sys.stderr.flush()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_no_command_fails_for_its_words(encoding: str, kept: Kept, tmp_path: Path) -> None:
    run = str(kept.run(*BRIEF["vae"], into=tmp_path / "né ≤"))
    commands = [
        ["models"], ["models", "vae"], ["data"], ["data", "digits"], ["runs", str(tmp_path)],
        ["sample", run, "-n", "1"], ["surprise", "--help"], ["train", "vae", "≤"],
    ]  # fmt: skip
    # so few that their samples are not judged
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32))
    small = ["--budget", "1steps", "--set", "nice.hidden=4", "--out", "c"]
    commands.insert(0, ["compare", "v.npy", "--models", "nice,pixelcnn", *small])
    process = Forked(speak, encoding, *commands, log=tmp_path / "log", folder=tmp_path)
    assert process.wait(120) == 0
    said = process.log.read_bytes().decode(encoding)
    assert said.endswith(f"{[0] * (len(commands) - 1) + [3]}\n"), said
    assert "\\" not in said
    assert "-log2 p" in said
    assert "<=-1.png" in said or "<=/samples-0.png" in said
    assert plain(" ± ", encoding) in said


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("arguments", [["--help"], ["trin≤"]])
def test_a_process_that_starts_so_speaks_plainly(encoding: str, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simulacra", *arguments], capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )  # fmt: skip
    said = (done.stdout + done.stderr).decode(encoding)
    assert done.returncode == (0 if arguments == ["--help"] else 2), said
    assert "\\" not in said
    words = "-log2 p of each pixel" if arguments == ["--help"] else "'trin<='"
    assert words in " ".join(said.replace("|", " ").split())
    assert not any("─" in line for line in said.splitlines())


def test_every_command_begins_so(stdout: Callable[[str], Callable[[], str]]) -> None:
    written = stdout("ascii")
    assert run_main("--version") == 0
    print("≤ 中")
    assert written().endswith("\n<= \\u4e2d\n")
