"""Fixtures of every test that uses the command line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from commands import run_main


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch) -> Callable[..., tuple[int, str, str]]:
    """Run a command in an empty folder: its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_main(*arguments)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def ok(cli) -> Callable[..., tuple[str, str]]:
    """Run a command that must succeed: its standard output and standard error."""

    def run(*arguments: object) -> tuple[str, str]:
        code, out, err = cli(*arguments)
        assert code == 0, err
        return out, err

    return run
