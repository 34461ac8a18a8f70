"""The rooms of the house in order, and who imports whom, read from the code."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import simulacra

ROOT = Path(simulacra.__file__).parent
ROOMS = {
    "ground": "errors, the form of data, randomness, files whole or absent",
    "drawing": "tensors as pictures",
    "nn": "layers that two families share",
    "data": "observations, read and split",
    "models": "the interface, names, saving, and the families",
    "training": "a model learning under a plan; no files, no screen",
    "tasks": "what is done with a model",
    "runs": "a training on disk; the zoo; the hub",
    "judging": "all figures of a model, or of anyone's samples",
    "report": "results in words and as one page",
    "comparing": "many models under one budget",
    "cli": "the command line, and what the terminal shows",
}
"""What each is for; it imports only from those above it, and from itself."""


def name_of(path: Path) -> str:
    """`models.flow.nice`; of a folder's `__init__.py`, the folder."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(source: str) -> list[str]:
    """Every module imported, at the top or inside a function; types alone count too."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
            if node.module.partition(".")[0] == "simulacra":
                # what is taken from a folder is one of its files
                found += [
                    f"{node.module}.{alias.name}"
                    for alias in node.names
                    if is_module(f"{node.module}.{alias.name}")
                ]
    return found


def is_module(name: str) -> bool:
    place = ROOT.joinpath(*name.split(".")[1:])
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


FILES = {
    name_of(path): path.read_text("utf-8")
    for path in sorted(ROOT.rglob("*.py"))
    if path.parent != ROOT
}


@cache
def arrows() -> dict[str, set[str]]:
    """File → the files that it imports."""
    return {
        name: {
            other.removeprefix("simulacra.")
            for other in imports_of(source)
            if other.removeprefix("simulacra.") in FILES and other != f"simulacra.{name}"
        }
        for name, source in FILES.items()
    }


def arrows_between_rooms() -> set[tuple[str, str]]:
    pairs = {(a.partition(".")[0], b.partition(".")[0]) for a, bs in arrows().items() for b in bs}
    return {(a, b) for a, b in pairs if a != b}


def drawn() -> str:
    """The rooms as `docs/design.md` shows them: what each is for, and what it imports from."""
    order, lines = list(ROOMS), []
    for room, what in ROOMS.items():
        used = sorted((b for a, b in arrows_between_rooms() if a == room), key=order.index)
        lines.append(f"{room + '/':<12}{what}")
        lines.append(f"{'':<12}← {', '.join(used) or 'nothing'}")
    lines += ["", f"{len(ROOMS)} rooms, {len(arrows_between_rooms())} arrows between them"]
    return "\n".join(lines)
