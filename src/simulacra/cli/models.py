"""The command that shows which models there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulacra.cli import terminal
from simulacra.cli.flags import Json
from simulacra.models import registry
from simulacra.models.keywords import written

if TYPE_CHECKING:
    from simulacra.models import description


def models(name: str | None = None, /, *, json: Json = False) -> None:
    """List the models, or describe one with its keywords.

    Args:
        name: A model, or my.py:MyModel.
        json: Print JSON.
    """
    from simulacra.models import description

    if name is None:
        found = [description.describe(each) for each in registry.MODELS]
        if json:
            terminal.print_json([_model_json(about) for about in found])
            return
        terminal.print_table(
            [
                {
                    "model": about.name,
                    "family": about.family,
                    "can": ", ".join(about.capabilities),
                    "what it is": about.summary,
                }
                for about in found
            ],
            words=("can", "what it is"),
        )
        from simulacra.runs import zoo

        if names := zoo.names():
            terminal.note(
                f"trained already, in the zoo: {', '.join(names)}; as in simulacra sample "
                f"{names[0]}"
            )
        return
    about = description.describe(name)
    if json:
        terminal.print_json(_model_json(about))
        return
    lines = [f"{about.class_name} ({about.family}): {about.summary}"]
    if about.paper:
        lines.append(f"Paper: {about.paper}")
    if about.departs:
        lines.append(f"Departs from the paper: {about.departs}")
    lines.append(f"Can: {', '.join(about.capabilities)}")
    for line in lines:
        terminal.print_line(line)
    terminal.print_line("")
    terminal.print_table(
        [
            {"--set": key, "type": kind, "default": written(default), "meaning": meaning}
            for key, (kind, default, meaning) in about.keywords.items()
        ],
        words=("type", "meaning"),
    )


def _model_json(about: description.Description) -> dict[str, Any]:
    keywords = {
        key: {"type": kind, "default": default, "meaning": meaning}
        for key, (kind, default, meaning) in about.keywords.items()
    }
    return {**vars(about), "keywords": keywords}
