"""Who may import whom: rooms in order, each importing only from those before it, and itself."""

from __future__ import annotations

from pathlib import Path

import pytest

import simulacra
from rooms import FILES, ROOMS, ROOT, arrows, arrows_between_rooms, drawn, imports_of, name_of

DESIGN = Path(__file__).parents[1] / "docs" / "design.md"
FAMILIES = {path.parent.name for path in (ROOT / "models").glob("*/__init__.py")} - {"lawbook"}
"""Folders of models; the laws are nobody's."""
NO_FAMILY = ("training", "runs", "judging", "report", "comparing", "cli")
"""Rooms that know the interface of models, and never a family."""
LIBRARIES = {
    "rich": ("cli",),
    "cyclopts": ("cli",),
    "docstring_parser": ("ground.docstrings",),
    "matplotlib": ("drawing",),
    "jinja2": ("report.page",),
    "lightning_fabric": ("training",),
    "PIL": ("drawing", "data"),
    "safetensors": ("ground.storage", "judging.features.inception"),
}
MOST_ARROWS = 50


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


def test_files_import_from_rooms_above() -> None:
    faults = [fault for name, source in FILES.items() for fault in faults_of(name, source)]
    assert faults == []


def test_nothing_stands_outside_the_rooms() -> None:
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}
    folders = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(ROOMS)


def test_there_is_no_circle() -> None:
    assert circle(arrows()) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def test_there_are_few_arrows() -> None:
    assert len(arrows_between_rooms()) < MOST_ARROWS


def test_the_document_draws_these_rooms() -> None:
    assert f"```\n{drawn()}\n```" in DESIGN.read_text("utf-8")


def test_every_family_has_a_base() -> None:
    assert {"autoregressive", "flow", "latent", "adversarial", "mixture"} <= FAMILIES
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
