"""Any bit of a checkpoint flipped: it loads right, or is refused by name."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulacra.ground.errors import CheckpointError
from simulacra.ground.storage import MANIFEST, read_folder, read_json, write_folder
from simulacra.runs.run import Run

FLIPS = 10_000
STATE: dict[str, Any] = {
    "model": {"model": "vae", "keywords": {"latent": 3}},
    "weights": {"w": torch.arange(5.0), "b": torch.tensor([-1.5], dtype=torch.float64)},
    "training": {"step": 7, "moments": {0: torch.tensor([1, 2])}, "best": 0.25},
}


def equal(a: Any, b: Any) -> bool:
    """Equal all the way down, types too."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return bool(a == b)


def test_no_flipped_bit_passes_for_another_value(tmp_path: Path) -> None:
    """Files take turns, so that the small ones are met as often as the large."""
    folder = tmp_path / "7"
    write_folder(folder, STATE)
    rng, loaded = random.Random(0), 0
    files = {path: path.read_bytes() for path in sorted(folder.iterdir())}
    for number in range(FLIPS):
        path = list(files)[number % len(files)]
        place, bit = rng.randrange(len(files[path])), rng.randrange(8)
        handle = os.open(path, os.O_WRONLY)
        os.pwrite(handle, bytes([files[path][place] ^ 1 << bit]), place)
        try:
            state = read_folder(folder)
        except CheckpointError as error:
            # what the manifest says of another file may be what does not fit
            assert str(folder) in str(error)  # noqa: PT017
            assert path.name == MANIFEST or path.name in str(error)  # noqa: PT017
        else:
            assert path.name == MANIFEST
            assert equal(state, STATE), (path, place, bit)
            loaded += 1
        os.pwrite(handle, files[path][place : place + 1], place)
        os.close(handle)
    assert equal(read_folder(folder), STATE)
    # white space can hardly be flipped into other white space
    assert loaded < FLIPS / 100


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["format", "files", "$tensor", "$pairs", "a"]), inner)
    ),
    max_leaves=8,
)
FUZZED = settings(
    max_examples=200,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@FUZZED
@given(content=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "7"
    if not folder.exists():
        write_folder(folder, STATE)
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"7|MANIFEST"):
        read_folder(folder, "model")


@FUZZED
@given(data=st.data())
def test_a_manifest_with_any_part_changed_loads_right_or_is_refused(
    tmp_path: Path, data: st.DataObject
) -> None:
    folder = tmp_path / "7"
    if not folder.exists():
        write_folder(folder, STATE)
        (tmp_path / "sound").write_bytes((folder / MANIFEST).read_bytes())
    manifest = json.loads((tmp_path / "sound").read_bytes())
    name = data.draw(st.sampled_from(sorted(manifest["files"])))
    part = data.draw(st.sampled_from(["format", "files", "name", "entry", "bytes", "sha256"]))
    value = data.draw(JSON)
    if part in ("format", "files"):
        manifest[part] = value
    elif part == "name":
        manifest["files"][data.draw(st.text(max_size=12))] = manifest["files"].pop(name)
    elif part == "entry":
        manifest["files"][name] = value
    else:
        manifest["files"][name][part] = value
    (folder / MANIFEST).write_text(json.dumps(manifest))
    try:
        state = read_folder(folder, *STATE)
    except CheckpointError:
        return
    assert equal(state, STATE)


@FUZZED
@given(content=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_record_of_a_run_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    try:
        value = read_json(path)
    except CheckpointError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert value == json.loads(content)
    with pytest.raises(CheckpointError):
        Run.open(tmp_path)
