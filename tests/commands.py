"""The command line, run inside a test."""

from __future__ import annotations

import pytest

from simulacra.cli import app


def run_main(*arguments: object) -> int:
    """Run a command, and give its exit code."""
    with pytest.raises(SystemExit) as ending:
        app.main([str(argument) for argument in arguments])
    return int(ending.value.code or 0)
