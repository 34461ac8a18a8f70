"""The public face: the names of `import simulacra as sim`, and an example of each that runs."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import simulacra as sim
from simulacra.runs import zoo

SOURCE = ast.parse(Path(sim.__file__).read_text("utf-8"))


def test_the_names_are_shown() -> None:
    assert dir(sim) == sorted(sim.__all__)
    assert len(set(sim.__all__)) == len(sim.__all__)
    with pytest.raises(AttributeError, match="simulacra has no nothing"):
        _ = sim.nothing


def test_checkers_of_types_see_what_is_imported() -> None:
    """The imports that are never run name the same places as those that are."""
    told = {}
    for node in ast.walk(SOURCE):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("simulacra."):
            told |= {each.asname or each.name: (node.module, each.name) for each in node.names}
    assert sorted(told) == dir(sim)
    for name, (module, attribute) in told.items():
        assert getattr(sim, name) is getattr(importlib.import_module(module), attribute)


def test_importing_waits_for_nothing() -> None:
    code = "import sys, simulacra; print(sorted({'torch', 'numpy', 'rich'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands for the Hugging Face hub, and holds one model."""
    library = pytest.importorskip("huggingface_hub", reason="huggingface_hub is an extra")
    commit = SimpleNamespace(commit_url="https://huggingface.co/someone/digits/commit/1a2b3c")
    held = zoo.run_of("pixelcnnpp-binarized-mnist").checkpoints()[0]
    monkeypatch.setattr(library, "create_repo", lambda *_, **__: None)
    monkeypatch.setattr(library, "upload_folder", lambda **_: commit)
    monkeypatch.setattr(library, "snapshot_download", lambda *_, **__: held)


@pytest.mark.parametrize("name", sim.__all__)
def test_each_name_has_an_example_that_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if name in ("from_pretrained", "push_to_hub"):
        request.getfixturevalue("hub")
    if name == "export_onnx":
        pytest.importorskip("onnxscript", reason="onnxscript is an extra")
    monkeypatch.chdir(tmp_path)
    doc = inspect.getdoc(getattr(sim, name)) or ""
    assert "Example:\n    >>> import simulacra as sim" in doc
    example = doctest.DocTestParser().get_doctest(doc, {}, name, None, None)
    told: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=told.append)
    assert not told, "".join(told)
    assert not list(tmp_path.iterdir())
