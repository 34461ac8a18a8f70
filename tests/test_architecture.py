"""Who may import whom: rooms in order, each importing only from those before it, and itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import simulacra

ROOT = Path(simulacra.__file__).parent
DESIGN = Path(__file__).parents[1] / "docs" / "design.md"
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
FAMILIES = ("autoregressive", "flow", "latent", "adversarial", "mixture")
NO_FAMILY = ("training", "runs", "judging", "report", "comparing", "cli")
"""Rooms that know the interface of models, and never a family."""
LIBRARIES = {
    "rich": ("cli",),
    "cyclopts": ("cli",),
    "docstring_parser": ("models.description",),
    "matplotlib": ("drawing",),
    "jinja2": ("report.page",),
    "lightning_fabric": ("training",),
    "PIL": ("drawing", "data"),
    "safetensors": ("ground.storage", "judging.features.inception"),
}
MOST_ARROWS = 50


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


def below(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def faults_of(name: str, source: str) -> list[str]:
    """What a file imports that it may not."""
    order, faults = list(ROOMS), []
    room, _, rest = name.partition(".")
    family = rest.partition(".")[0] if room == "models" else ""
    for imported in imports_of(source):
        top, _, other = imported.partition(".")
        if top in LIBRARIES and not below(name, LIBRARIES[top]):
            faults.append(f"{name} imports {top}")
        if top != "simulacra" or not other:
            continue
        other_room, _, other_rest = other.partition(".")
        other_family = other_rest.partition(".")[0] if other_room == "models" else ""
        wrong = (
            other_room not in order
            or order.index(other_room) > order.index(room)
            or (other_family in FAMILIES and room == "models" and family != other_family)
            or (other_family in FAMILIES and room in NO_FAMILY)
        )
        if wrong:
            faults.append(f"{name} imports {other}")
    return faults


FILES = {
    name_of(path): path.read_text("utf-8")
    for path in sorted(ROOT.rglob("*.py"))
    if path.parent != ROOT
}
ARROWS = {
    name: {
        other.removeprefix("simulacra.")
        for other in imports_of(source)
        if other.removeprefix("simulacra.") in FILES and other != f"simulacra.{name}"
    }
    for name, source in FILES.items()
}
"""File → the files that it imports."""


def arrows_between_rooms() -> set[tuple[str, str]]:
    pairs = {(a.partition(".")[0], b.partition(".")[0]) for a, bs in ARROWS.items() for b in bs}
    return {(a, b) for a, b in pairs if a != b}


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Files that import one another, in a ring; nothing if there is none."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return way[way.index(name) :]
        if name in done:
            return []
        for other in sorted(arrows.get(name, ())):
            if found := walk(other, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(arrows) if (found := walk(name, []))), [])


def drawn() -> str:
    """The rooms as `docs/design.md` shows them: what each is for, and what it imports from."""
    order, lines = list(ROOMS), []
    for room, what in ROOMS.items():
        used = sorted((b for a, b in arrows_between_rooms() if a == room), key=order.index)
        lines.append(f"{room + '/':<12}{what}")
        lines.append(f"{'':<12}← {', '.join(used) or 'nothing'}")
    return "\n".join(lines)


def test_files_import_from_rooms_above() -> None:
    faults = [fault for name, source in FILES.items() for fault in faults_of(name, source)]
    assert faults == []


def test_nothing_stands_outside_the_rooms() -> None:
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}
    folders = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(ROOMS)


def test_there_is_no_circle() -> None:
    assert circle(ARROWS) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def test_there_are_few_arrows() -> None:
    assert len(arrows_between_rooms()) < MOST_ARROWS


def test_the_document_draws_these_rooms() -> None:
    assert f"```\n{drawn()}\n```" in DESIGN.read_text("utf-8")


def test_every_family_has_a_base() -> None:
    for family in FAMILIES:
        assert f"models.{family}.base" in FILES


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*/__init__.py")), ids=name_of)
def test_inner_packages_import_nothing(path: Path) -> None:
    assert imports_of(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("name", "source", "fault"),
    [
        ("models.flow.nice", "from simulacra.training.loop import Training", "training.loop"),
        ("models.flow.nice", "from simulacra.models.latent.vae import VAE", "models.latent.vae"),
        ("training.loop", "def f():\n    import rich.progress", "rich"),
        ("training.loop", "import simulacra.models.flow.base", "models.flow.base"),
        ("judging.judge", "from simulacra.report import page", "report"),
        ("data.formats.idx", "from simulacra.models import model", "models"),
        ("data.reform", "from simulacra.elsewhere import thing", "elsewhere"),
    ],
)
def test_the_rule_sees_what_is_wrong(name: str, source: str, fault: str) -> None:
    assert f"{name} imports {fault}" in faults_of(name, source)


def test_no_public_name_is_a_room() -> None:
    """Importing `simulacra.models` would put the room where the name was."""
    assert not {path.stem for path in ROOT.iterdir()} & set(simulacra.__all__)
    for name in simulacra.__all__:
        assert getattr(simulacra, name) is not None
