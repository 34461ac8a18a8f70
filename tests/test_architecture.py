"""Who may import whom: a file imports only from floors below its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import simulacra

ROOT = Path(simulacra.__file__).parent
# the floor of a file is that of the longest name here that it starts with
FLOORS = {
    "errors": 0, "processes": 0,
    "options": 1, "progress": 1, "spec": 1, "randomness": 1, "checkpoint": 1,
    "memory": 1, "compiling": 1,
    "plot": 2, "curves": 3, "maps": 3, "distributions": 2, "mixtures": 3, "nn": 2,
    "data": 3, "model": 3, "look": 3,
    "autoregressive": 4,
    "flow": 4,
    "engine": 3, "players": 4, "models": 5,
    "train": 5, "evaluate": 5,
    "fitting": 6, "report": 6,
    "registry": 6,
    "classifier": 5, "pinned": 6, "extractors": 7,
    "metrics": 6,
    "journal": 7, "export": 7, "hub": 9, "zoo": 9,
    "run": 8, "run_record": 7, "tasks": 7,
    "album": 8, "entry": 8, "judge": 9,
    "compare": 10,
    "cli": 11,
    "__main__": 12,
}  # fmt: skip
# files of one floor that may import one another: a room's own parts
ROOMS = ("nn", "data", "evaluate", "report", "cli")
LIBRARIES = {
    "rich": ("cli",),
    "cyclopts": ("cli",),
    "matplotlib": ("plot", "curves", "maps"),
    "jinja2": ("report.page",),
    "lightning_fabric": ("engine", "players"),
    "PIL": ("plot", "data"),
    "safetensors": ("checkpoint", "nn.inception"),
}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def floor_of(name: str) -> int:
    matches = [place for place in FLOORS if name == place or name.startswith(f"{place}.")]
    return FLOORS[max(matches, key=len)]


def imports_of(source: str) -> list[str]:
    """Every module imported, at the top or inside a function; types alone count too."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "simulacra":
                found += [f"simulacra.{alias.name}" for alias in node.names]
            else:
                found.append(node.module)
    return found


def faults_of(name: str, source: str) -> list[str]:
    faults = []
    for imported in imports_of(source):
        top = imported.partition(".")[0]
        if top in LIBRARIES and not any(
            name == place or name.startswith(f"{place}.") for place in LIBRARIES[top]
        ):
            faults.append(f"{name} imports {top}")
        if top != "simulacra" or imported == "simulacra":
            continue
        other = imported.removeprefix("simulacra.")
        room = name.partition(".")[0]
        same_room = room in ROOMS and other.partition(".")[0] == room
        if floor_of(other) >= floor_of(name) and not same_room:
            faults.append(f"{name} imports {other}")
    return faults


FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_down(path: Path) -> None:
    assert faults_of(name_of(path).removesuffix(".__init__"), path.read_text("utf-8")) == []


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*/__init__.py")), ids=name_of)
def test_inner_packages_import_nothing(path: Path) -> None:
    assert imports_of(path.read_text("utf-8")) == []


def test_the_rule_sees_a_model_that_imports_its_trainer() -> None:
    assert faults_of("models.flow.nice", "from simulacra.training.loop import Training") == [
        "models.flow.nice imports train"
    ]
    assert faults_of("models.flow.nice", "from simulacra.models.latent.vae import VAE") == [
        "models.flow.nice imports models.latent.vae"
    ]
    assert faults_of("train", "def f():\n    import rich.progress") == ["train imports rich"]
    assert faults_of("data.idx", "from simulacra import model") == ["data.idx imports model"]


def test_no_public_name_is_hidden_by_a_module_of_that_name() -> None:
    """Importing `simulacra.fit` would put the module where the function was."""
    modules = {path.stem for path in ROOT.iterdir()}
    assert not modules & set(simulacra.__all__)
    for name in simulacra.__all__:
        assert getattr(simulacra, name) is not None
