"""The command that gives a trained model to others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from simulacra.cli import terminal
from simulacra.cli.flags import Code
from simulacra.cli.inputs import opened


def push(
    run: Path,
    repository: Annotated[str, Parameter(name="OWNER/NAME")],
    /,
    *,
    private: bool = False,
    code: Code = None,
) -> None:
    """Upload a trained model to the Hugging Face hub: its weights, what it is, and a card.

    Who you are there is what `hf auth login` or HF_TOKEN says.

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo.
        repository: Where to, as owner/name; it is made if it is not there.
        private: Let nobody but its owner see it, if it is made.
        code: file.py:Class of a model of your own, which is not uploaded.
    """
    from simulacra.runs.hub import push_to_hub

    terminal.print_line(push_to_hub(opened(run), repository, private=private, code=code))
    terminal.note(f"load it in Python with: simulacra.from_pretrained({repository!r})")
