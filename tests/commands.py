"""The command line, run inside a test."""

from __future__ import annotations

from typing import IO, Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from simulacra.cli import app
from simulacra.drawing import files
from simulacra.runs.journal import Journal

BRIEF = {
    "pixelcnn": ["pixelcnn", "digits", "--budget", "3steps", "--set", "channels=4",
                 "--set", "layers=1"],
    "vae": ["vae", "digits", "--budget", "2steps", "--set", "hidden=4"],
    "labelled": ["vae", "digits", "--budget", "2steps", "--set", "hidden=4",
                 "--set", "context=label"],
    "gan": ["gan", "digits", "--budget", "2steps", "--set", "hidden=4"],
    "gmm": ["gmm", "digits", "--budget", "2steps", "--set", "components=3"],
}  # fmt: skip
"""Arguments of trainings that last a moment: tests of several files share what they make."""


def run_main(*arguments: object) -> int:
    """Run a command, and give its exit code."""
    with pytest.raises(SystemExit) as ending:
        app.main([str(argument) for argument in arguments])
    return int(ending.value.code or 0)


def undrawn(patch: pytest.MonkeyPatch) -> None:
    """Let trainings draw no pictures of samples, which take longest where they are diagrams."""
    patch.setattr(Journal, "_draw", lambda *_: None)


def blank(patch: pytest.MonkeyPatch, *looked_at: str) -> None:
    """Let diagrams, which take longest to draw, be empty where no test looks at them.

    Args:
        patch: Undoes it.
        looked_at: Those of these formats are drawn: `png` are of vectors and sounds.
    """
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"></svg>'
    empty = {"svg": svg, "png": files.png(Image.new("L", (1, 1)))}
    draw = Figure.savefig

    def saved(figure: Figure, file: IO[bytes], *, format: str, **told: Any) -> None:
        if format in looked_at:
            draw(figure, file, format=format, **told)
        else:
            file.write(empty[format])

    patch.setattr(Figure, "savefig", saved)


def train(*arguments: object) -> None:
    """Train what a test is to use, without pictures."""
    with pytest.MonkeyPatch.context() as patch:
        undrawn(patch)
        assert run_main("train", *arguments) == 0
