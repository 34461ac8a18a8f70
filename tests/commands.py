"""The command line, run inside a test."""

from __future__ import annotations

import pytest

from simulacra.cli import app
from simulacra.runs.journal import Journal


def run_main(*arguments: object) -> int:
    """Run a command, and give its exit code."""
    with pytest.raises(SystemExit) as ending:
        app.main([str(argument) for argument in arguments])
    return int(ending.value.code or 0)


def undrawn(patch: pytest.MonkeyPatch) -> None:
    """Let trainings draw no pictures of samples, which take longest where they are diagrams."""
    patch.setattr(Journal, "_draw", lambda _: None)


def train(*arguments: object) -> None:
    """Train what a test is to use, without pictures."""
    with pytest.MonkeyPatch.context() as patch:
        undrawn(patch)
        assert run_main("train", *arguments) == 0
