"""What the READMEs say is so: their Python runs, their commands exist, both say the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from simulacra.cli.app import COMMANDS
from simulacra.data.catalogue import NAMES
from simulacra.models import registry

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", read(name), re.S)


def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # that of the other language is the same, as is tested below
    (code,) = blocks("README.md", "python")
    assert len([line for line in code.splitlines() if line]) <= 8
    known: dict[str, Any] = {}
    small = code.replace('"30s"', '"2steps"').replace(
        "data.spec)", 'data.spec, {"channels": 4, "layers": 1})', 1
    )
    assert small.count("channels") == small.count("2steps") == 1
    exec(small, known)
    assert Path("report/report.html").is_file()
    assert known["pictures"].shape == (64, 1, 8, 8)
    assert 0 <= float(known["pictures"].min()) <= float(known["pictures"].max()) <= 1


@pytest.mark.parametrize("name", READMES)
def test_commands_models_and_data_are_there(name: str) -> None:
    text = read(name)
    for command in COMMANDS:
        assert re.search(rf"`{command}[ `]", text), command
    for line in "".join(blocks(name, "")).splitlines():
        words = line.split()
        if words and words[0].endswith("simulacra"):
            assert words[1] in COMMANDS
    for model in registry.MODELS:
        assert f"`{model}`" in text
    for data in NAMES:
        assert f"`{data}`" in text


def test_both_languages_show_the_same_blocks_figures_and_links() -> None:
    english, chinese = (read(name) for name in READMES)
    assert blocks("README.md", "") == blocks("README.zh-CN.md", "")
    assert blocks("README.md", "python") == blocks("README.zh-CN.md", "python")
    figures = r"\d+\.\d+ ± \d+\.\d+"
    assert re.findall(figures, english) == re.findall(figures, chinese)
    assert len(re.findall(r"^## ", english, re.M)) == len(re.findall(r"^## ", chinese, re.M))


@pytest.mark.parametrize("name", READMES)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", read(name)):
        assert (ROOT / target).exists(), target
