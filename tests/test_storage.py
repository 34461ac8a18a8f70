"""Folders that are whole or absent, and that notice any change."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import random
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors

from forked import Forked
from simulacra.ground import storage as checkpoint
from simulacra.ground.errors import CheckpointError, ResourceError
from simulacra.ground.storage import (
    MANIFEST,
    detached_copy,
    read_folder,
    read_json,
    write_bytes,
    write_folder,
    write_json,
)
from simulacra.ground.tensor_files import write_tensors
from simulacra.runs.run import Run

STATE: dict[str, Any] = {
    "model": {"model": "vae", "keywords": {"latent": 3, "hidden": [4, 5], "context": None}},
    "weights": {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.tensor([-1.5])},
    "training": {
        "step": 7,
        "best": math.inf,
        "streak": True,
        "optimizers": {"model": {"state": {0: {"step": torch.tensor(7.0)}, 11: {}}}},
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "7", STATE)
    return tmp_path / "7"


def same(a: Any, b: Any) -> bool:
    """Equal in value and type all the way down; tensors bit for bit, and NaN is itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor):
        return (
            a.dtype == b.dtype
            and a.shape == b.shape
            and torch.equal(a.contiguous().flatten().view(torch.uint8),
                            b.contiguous().flatten().view(torch.uint8))
        )  # fmt: skip
    return a == b or (a != a and b != b)


# ---- there and back -----------------------------------------------------------------------------


def test_a_nested_state_comes_back(tmp_path: Path) -> None:
    shared = torch.arange(12.0)
    state = {
        "plain": {
            "none": None, "yes": True, "no": False, "one": 1, "float": 0.1, "text": "é ≤ \"x\"\n",
            "nan": math.nan, "inf": math.inf, "minus": -math.inf, "big": 2**62, "tiny": 5e-324,
            "empty": {}, "list": [], "nested": [[1, [None]], {"a": []}], "": "no key",
        },
        "keys": {0: "a", 10: {3: {}, 2: {}}, -1: [{5: 6}]},
        "mixed": {1: "int", "1": "text", None: "none", False: "bool"},
        "tensors": {
            "scalar": torch.tensor(3.5),
            "empty": torch.zeros(0, 3),
            "half": torch.randn(5).bfloat16(),
            "double": torch.tensor([math.pi, math.nan, math.inf, -0.0], dtype=torch.float64),
            "bytes": torch.arange(256, dtype=torch.uint8),
            "long": torch.tensor([-(2**63), 2**63 - 1]),
            "bool": torch.tensor([True, False]),
            "transposed": torch.arange(6.0).view(2, 3).T,
            "strided": torch.arange(10)[::3],
            "expanded": torch.ones(1, 2).expand(3, 2),
            "whole": shared,
            "part": shared[2:5],
            "alias": shared,
            "learnt": torch.arange(2.0, requires_grad=True).detach(),
        },
        "list_of_tensors": [torch.zeros(1), {"x": torch.ones(2)}, [torch.eye(2)]],
        "optimizer": {"state": {0: {"step": torch.tensor(1.0), "m": torch.randn(2)}, 1: {}}},
        "alone": torch.tensor([1, 2]),
        "number": 3,
        "nothing": None,
    }  # fmt: skip
    write_folder(tmp_path / "a" / "b" / "c", state)
    again = read_folder(tmp_path / "a" / "b" / "c")
    assert again.keys() == state.keys()
    for name, value in state.items():
        assert same(value, again[name]), name


def test_tuples_become_lists_and_parameters_tensors(tmp_path: Path) -> None:
    write_folder(tmp_path / "x", {"v": {"t": (1, (2,)), "p": torch.nn.Parameter(torch.ones(2))}})
    again = read_folder(tmp_path / "x")["v"]
    assert again["t"] == [1, [2]]
    assert type(again["p"]) is torch.Tensor
    assert not again["p"].requires_grad


def test_names_that_look_alike_keep_their_own_tensors(tmp_path: Path) -> None:
    state = {1: torch.zeros(1), "1": torch.ones(1), "a/b": torch.full((1,), 2.0),
             "a": {"b": torch.full((1,), 3.0), "b'": torch.full((1,), 4.0)},
             "a/b'": torch.full((1,), 5.0)}  # fmt: skip
    write_folder(tmp_path / "x", {"v": state})
    assert same(read_folder(tmp_path / "x")["v"], state)


def test_tables_that_look_like_our_marks_come_back(tmp_path: Path) -> None:
    state = {"a": {"$tensor": "b"}, "b": {"$pairs": [[1, 2]]}, "c": {"$tensor": torch.ones(1)}}
    write_folder(tmp_path / "x", {"v": state})
    assert same(read_folder(tmp_path / "x")["v"], state)


def test_some_values_can_be_read_alone(folder: Path) -> None:
    assert same(read_folder(folder, "model"), {"model": STATE["model"]})
    assert read_folder(folder, "weights", "model").keys() == {"weights", "model"}
    with pytest.raises(CheckpointError, match=r"holds no other\.json"):
        read_folder(folder, "other")


def test_what_is_read_shares_no_memory(folder: Path) -> None:
    first = read_folder(folder)
    first["weights"]["a.bias"].fill_(9)
    assert same(read_folder(folder), STATE)


def test_the_files_are_what_others_read(folder: Path) -> None:
    """Plain JSON and safetensors, each with its size and SHA-256 in the manifest."""
    names = {"model.json", "weights.json", "weights.safetensors", "training.json",
             "training.safetensors"}  # fmt: skip
    assert {path.name for path in folder.iterdir()} == names | {MANIFEST}
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["files"].keys() == names
    assert json.loads((folder / "model.json").read_text()) == STATE["model"]
    tensors = load_file(folder / "weights.safetensors")
    assert torch.equal(tensors["a.weight"], STATE["weights"]["a.weight"])


def test_other_files_are_let_be(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    (folder / "other.json").write_text("{broken")
    assert same(read_folder(folder), STATE)


def test_a_folder_that_exists_is_refused(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(CheckpointError, match="exists already"):
        write_folder(folder, {"model": 1})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(folder.parent.iterdir()) == [folder]
    (folder.parent / "file").write_text("")
    with pytest.raises(CheckpointError, match="exists already"):
        write_folder(folder.parent / "file", {})


def test_a_value_that_json_has_not_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_folder(tmp_path / "x", {"good": 1, "bad": {"path": Path()}})
    assert list(tmp_path.iterdir()) == []


# ---- damage -------------------------------------------------------------------------------------


def flipped(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def check_refused(folder: Path, path: Path) -> None:
    """A damaged file is named; of the manifest, damage may also show as another file's."""
    try:
        again = read_folder(folder)
    except CheckpointError as error:
        message = str(error)
    else:
        # white space of the manifest: nothing that it says is another
        assert path.name == MANIFEST
        assert same(again, STATE)
        return
    assert str(folder) in message
    if path.name != MANIFEST:
        assert path.name in message


def test_a_flipped_bit_is_noticed(folder: Path) -> None:
    rng = random.Random(0)
    for path in sorted(folder.iterdir()):
        sound = path.read_bytes()
        for bit in rng.sample(range(8 * len(sound)), 60):
            flipped(path, bit)
            check_refused(folder, path)
            path.write_bytes(sound)
    assert same(read_folder(folder), STATE)


def test_a_flipped_bit_in_a_name_is_noticed(folder: Path) -> None:
    """A file that the manifest no longer names, or names otherwise, is not passed over."""
    path = folder / MANIFEST
    sound = path.read_bytes()
    for name in (b"weights.safetensors", b"model.json"):
        start = sound.index(name)
        for bit in range(8 * start, 8 * (start + len(name))):
            flipped(path, bit)
            with pytest.raises(CheckpointError):
                read_folder(folder)
            path.write_bytes(sound)


@pytest.mark.parametrize("kept", [0.0, 0.5, -1])
def test_a_cut_or_grown_file_is_named(folder: Path, kept: float) -> None:
    for path in sorted(folder.iterdir()):
        sound = path.read_bytes()
        path.write_bytes(sound[:-1] if kept < 0 else sound[: int(kept * len(sound))])
        with pytest.raises(CheckpointError, match=path.name):
            read_folder(folder)
        if path.name != MANIFEST:
            path.write_bytes(sound + b" ")
            with pytest.raises(CheckpointError, match=path.name):
                read_folder(folder)
        path.write_bytes(sound)


def test_a_missing_file_is_named(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        sound = path.read_bytes()
        path.unlink()
        with pytest.raises(CheckpointError, match=path.name):
            read_folder(folder)
        path.mkdir()
        with pytest.raises(CheckpointError, match=path.name):
            read_folder(folder)
        path.rmdir()
        path.write_bytes(sound)


def test_two_files_changed_for_one_another_are_noticed(folder: Path) -> None:
    shutil.copy(folder / "training.safetensors", folder / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
        read_folder(folder)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", '"x"', "{}", '{"format": 1}', '{"files": {}}',
     '{"format": 1, "files": []}', '{"format": 1, "files": null}', "\xff"],
)  # fmt: skip
def test_a_manifest_that_is_none_is_named(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=MANIFEST):
        read_folder(folder)


@pytest.mark.parametrize("entry", [None, [], 3, "x", {}, {"bytes": 1}, {"sha256": None}])
def test_a_manifest_that_says_nothing_of_a_file_is_no_excuse(folder: Path, entry: Any) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["weights.safetensors"] = entry
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
        read_folder(folder)


@pytest.mark.parametrize("version", [2, 0, None, "1", True, 1.0, 10**30])
def test_another_format_is_refused(folder: Path, version: Any) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "format": version}))
    with pytest.raises(CheckpointError, match=f"format {version}, this simulacra reads 1") as error:
        read_folder(folder)
    newer = type(version) is int and version > 1
    assert ("it is newer, update simulacra" in str(error.value)) == newer


# ---- what is whole by its checksums, but was not written by us ----------------------------------


def forge(folder: Path, **contents: bytes) -> None:
    """Put contents into a checkpoint whose manifest then agrees; `a_json` stands for a.json."""
    manifest = json.loads((folder / MANIFEST).read_text())
    for key, content in contents.items():
        name = ".".join(key.rsplit("_", 1))
        (folder / name).write_bytes(content)
        manifest["files"][name] = {
            "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)
        }  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps(manifest))


DEEP = 100_000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "weights.json cannot be read"),
        (b"\xff", "weights.json cannot be read"),
        (b'{"a": 1, "a": 2}', "'a' is in it twice"),
        (b'{"a": [{"b": 1, "b": 1}]}', "'b' is in it twice"),
        (b'{"a": 1e400}', "1e400 is no finite number"),
        (b'{"a": -1e400}', "-1e400 is no finite number"),
        (b"[" * DEEP, "nested too deep"),
        (b"[" * DEEP + b"]" * DEEP, "nested too deep"),
        (b'{"a": ' * 900 + b"1" + b"}" * 900, "what weights.json refers to"),
        (b"9" * 5000, "weights.json cannot be read"),
        (b'{"$tensor": "none"}', "what weights.json refers to"),
        (b'{"$tensor": ["a"]}', "what weights.json refers to"),
        (b'{"$pairs": [1]}', "what weights.json refers to"),
        (b'{"$pairs": [[[], 1]]}', "what weights.json refers to"),
        (b'{"$pairs": 5}', "what weights.json refers to"),
    ],
)
def test_a_forged_record_is_named(folder: Path, content: bytes, words: str) -> None:
    forge(folder, weights_json=content)
    with pytest.raises(CheckpointError, match=re.escape(words)) as error:
        read_folder(folder, "weights")
    assert str(folder) in str(error.value)


def header(text: bytes, data: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        b"\xff" * 8,
        header(b"{}")[:-1],
        header(b'{"a.bias": 3}'),
        header(b'{"a.bias": {"dtype": "F32", "shape": [1], "data_offsets": [0, 400]}}', b"1234"),
        header(b'{"a.bias": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', b"1234"),
        header(b'{"a.bias": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}', b"1234"),
        header(b'{"a.bias": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}}', b"12345678"),
        header(b'{"a.bias": {"dtype": "F32", "shape": [4611686018427387904, 4], '
               b'"data_offsets": [0, 0]}}'),
        save_tensors({"other": torch.ones(1)}),
        save_tensors({}),
    ],
)  # fmt: skip
def test_forged_tensors_are_named(folder: Path, content: bytes) -> None:
    forge(folder, weights_safetensors=content)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
        read_folder(folder, "weights")


def test_a_record_whose_tensors_the_manifest_leaves_out_is_refused(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["files"]["weights.safetensors"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"what weights\.json refers to"):
        read_folder(folder)


@pytest.mark.parametrize(
    "name",
    ["../secret.json", "/etc/hosts.json", "a/b.json", "..", "", "x.pkl", "a\0.json", "\ud800"],
)
def test_a_manifest_names_files_of_its_folder_alone(folder: Path, name: str) -> None:
    (folder.parent / "secret.json").write_text("{}")
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = manifest["files"]["model.json"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="which is no file of a checkpoint"):
        read_folder(folder)


@pytest.mark.parametrize("size", [10**18, -5, 2**70, True, 1.5, "7", None])
def test_a_size_that_lies_is_no_reason_to_read_more(folder: Path, size: Any) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["weights.safetensors"]["bytes"] = size
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
        read_folder(folder)


def test_a_manifest_too_long_to_be_one_is_not_read(folder: Path) -> None:
    with (folder / MANIFEST).open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match=r"MANIFEST\.json .* expected at most"):
        read_folder(folder)


@pytest.mark.parametrize("name", [MANIFEST, "model.json", "weights.safetensors"])
@pytest.mark.parametrize("kind", ["link", "broken link", "link to itself", "folder", "pipe"])
def test_what_is_no_file_is_not_opened(folder: Path, kind: str, name: str) -> None:
    path = folder / name
    moved = folder.parent / "moved"
    path.rename(moved)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"link": moved, "broken link": "nowhere", "link to itself": path}[kind])
    with pytest.raises(CheckpointError, match=f"{name} cannot be read: it is a link, a folder or"):
        read_folder(folder)


def test_a_checkpoint_may_lie_behind_a_link(folder: Path) -> None:
    (folder.parent / "linked").symlink_to(folder)
    assert same(read_folder(folder.parent / "linked"), STATE)


def test_places_without_a_checkpoint_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(CheckpointError, match=str(place)):
            read_folder(place)


# ---- interruptions ------------------------------------------------------------------------------

KILLED = {"model": {"name": "x"}, "weights": {"w": torch.arange(9000.0)}, "more": [1, 2]}


def write_until(folder: Path, last: int) -> None:
    """Write a checkpoint, killed after so many lines."""
    lines = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal lines
        writing = frame.f_code.co_filename in (checkpoint.__file__, shutil.__file__)
        if not writing or frame.f_code.co_name == "_detach":
            return None
        if event == "line":
            lines += 1
            if lines > last:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    write_folder(folder, KILLED)


def write_and_kill(root: Path) -> None:
    """A checkpoint for every second line that writing one runs, killed there; say how many."""
    last, killed = 0, True
    while killed:
        child = os.fork()
        if not child:
            write_until(root / str(last), last)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        assert killed or os.WEXITSTATUS(status) == 0
        folder = root / str(last)
        if folder.exists():
            assert torch.equal(read_folder(folder)["weights"]["w"], KILLED["weights"]["w"])
        else:
            assert killed
        last += 2
    print(last)


def test_a_killed_writer_leaves_a_whole_folder_or_none(tmp_path: Path) -> None:
    """Killed before every second line that it runs, in turn."""
    root = tmp_path / "root"
    root.mkdir()
    process = Forked(write_and_kill, root, log=tmp_path / "log")
    assert process.wait() == 0, process.said()
    moments = int(process.said())
    left = [path.name for path in root.iterdir()]
    partial = [name for name in left if name.startswith(".")]
    whole = sorted(int(name) for name in left if not name.startswith("."))
    assert moments > 40
    assert len(partial) > 20, "most moments lie within the writing"
    # from the renaming on, and only from there, it is whole
    assert whole == list(range(whole[0], moments, 2))
    assert len(whole) < len(partial)


def test_what_was_left_half_written_is_no_checkpoint(tmp_path: Path) -> None:
    run = Run(tmp_path, {})
    write_folder(tmp_path / "checkpoints" / "7", STATE)
    write_folder(tmp_path / "checkpoints" / "12", STATE)
    shutil.copytree(tmp_path / "checkpoints" / "7", tmp_path / "checkpoints" / ".20-abc123")
    (tmp_path / "checkpoints" / "30").mkdir()
    assert [path.name for path in run.checkpoints()] == ["30", "12", "7"]
    newest, state, broken = run.newest("training")
    assert newest.name == "12"
    assert same(state["training"], STATE["training"])
    assert len(broken) == 1
    assert MANIFEST in broken[0]


CALLS = {
    "write": (Path, "write_bytes"),
    "tensors": (checkpoint, "write_tensors"),
    "sync": (os, "fsync"),
    "rename": (Path, "rename"),
}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", CALLS)
def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """Full at the first such call, the second, and so on."""
    owner, name = CALLS[call]
    true, failed = getattr(owner, name), 0
    for place in range(20):
        left = place

        def full(*arguments: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(number, os.strerror(number))
            return true(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, full)
            try:
                write_folder(tmp_path / "x" / "7", STATE)
            except ResourceError as error:
                assert "no space left to write" in str(error)  # noqa: PT017
                failed += 1
            else:
                break
        if call == "sync" and (tmp_path / "x" / "7").exists():
            # the last sync is of the folder above, after the renaming
            shutil.rmtree(tmp_path / "x" / "7")
        assert list((tmp_path / "x").iterdir()) == []
    assert failed == {"write": 4, "tensors": 2, "sync": 8, "rename": 1}[call]
    assert same(read_folder(tmp_path / "x" / "7"), STATE)


def test_a_forbidden_place_is_a_matter_of_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "write_bytes", forbidden)
    with pytest.raises(ResourceError, match=r"cannot write .*7: Permission denied"):
        write_folder(tmp_path / "7", STATE)
    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(ResourceError, match=r"cannot write .*run\.json: Permission denied"):
        write_json(tmp_path / "run.json", {})


# ---- single files -------------------------------------------------------------------------------


def test_a_record_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    for record in ({"a": [1, None, 0.5]}, {"name": "é ≤"}):
        write_json(path, record)
        assert json.loads(path.read_bytes()) == record
    assert "é ≤" in path.read_text("utf-8")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["open", "replace", "sync"])
def test_a_failed_replacement_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"a": 1})

    true = Path.open

    def full(*told: Any, **keywords: Any) -> Any:
        if step == "open" and "xb" not in told:
            return true(*told, **keywords)
        # the content is seen by nobody until it is all there
        assert json.loads(path.read_bytes()) == {"a": 1}
        raise OSError(errno.ENOSPC, "full")

    owner, name = (os, "fsync") if step == "sync" else (Path, step)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full)
        with pytest.raises(ResourceError, match="no space left"):
            write_json(path, {"a": 2})
    assert json.loads(path.read_bytes()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_record_that_json_has_not_keeps_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "run.json", {"a": Path()})
    assert json.loads((tmp_path / "run.json").read_bytes()) == {"a": 1}


def test_a_replacement_outlives_a_loss_of_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content reaches the disk before its name, and the name before the call returns."""
    path, calls = tmp_path / "run.json", []
    sync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        is_folder = os.path.samestat(os.fstat(handle), tmp_path.stat())
        calls.append("sync folder" if is_folder else "sync file")
        sync(handle)

    def replaced(source: Path, target: Path) -> Path:
        calls.append("replace")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    write_bytes(path, b"content")
    assert calls == ["sync file", "replace", "sync folder"]


def test_a_link_in_the_way_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"mine")
    (tmp_path / "x").symlink_to(tmp_path / "other")
    write_bytes(tmp_path / "x", b"new")
    assert (tmp_path / "other").read_bytes() == b"mine"
    assert (tmp_path / "x").read_bytes() == b"new"


def test_two_that_write_a_file_together_both_succeed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = iter([lambda: write_bytes(tmp_path / "x", b"of another process")])
    # which writes the same file whole while this one is about to sync
    monkeypatch.setattr(os, "fsync", lambda _: next(others, lambda: None)())
    write_bytes(tmp_path / "x", b"ours")
    assert (tmp_path / "x").read_bytes() == b"ours"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_folder_in_the_way_is_a_matter_of_resources(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(ResourceError, match="cannot write"):
        write_bytes(tmp_path / "x", b"new")
    with pytest.raises(ResourceError, match="cannot write"):
        write_bytes(tmp_path / ("x" * 300), b"new")
    with pytest.raises(ResourceError, match="cannot write"):
        write_folder(tmp_path / ("x" * 300), STATE)


def test_a_path_that_is_no_text_is_recorded_as_it_is(tmp_path: Path) -> None:
    record = {"source": os.fsdecode(b"pictures-\xff"), "other": "é\\udcff"}
    write_json(tmp_path / "run.json", record)
    assert read_json(tmp_path / "run.json") == record
    (tmp_path / "run.json").read_text("utf-8")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read"),
        (b'{"a": 1, "a": 1}', "'a' is in it twice"),
        (b'{"lr": 1e400}', "1e400 is no finite number"),
        (b'{"lr": NaN}', "NaN is no finite number"),
        (b'{"lr": -Infinity}', "-Infinity is no finite number"),
        (b"[" * DEEP, "nested too deep"),
        (b" " * (16 << 20) + b"{}", "expected at most 16777216"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_an_edited_record_is_refused_by_name(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"run\.json .*{words}"):
        read_json(tmp_path / "run.json")


def test_a_record_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"run\.json cannot be read: No such file"):
        read_json(tmp_path / "run.json")


def test_what_was_left_of_a_killed_replacement_is_removed_in_time(tmp_path: Path) -> None:
    left = tmp_path / ".partial-x-0123abcd"
    left.write_bytes(b"much longer than what comes")
    os.utime(left, (0, 0))
    write_bytes(tmp_path / "x", b"short")
    assert (tmp_path / "x").read_bytes() == b"short"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


# ---- copies -------------------------------------------------------------------------------------


def test_a_detached_copy_shares_no_memory() -> None:
    original = {"w": torch.ones(2, requires_grad=True), "l": [torch.zeros(1)], "t": (1, "x", None)}
    copy = detached_copy(original)
    assert same(copy["w"], original["w"].detach())
    assert not copy["w"].requires_grad
    assert copy["t"] == [1, "x", None]
    with torch.no_grad():
        original["w"].fill_(5)
        original["l"][0].fill_(5)
    assert copy["w"].tolist() == [1, 1]
    assert copy["l"][0].tolist() == [0]


def test_reading_runs_no_code() -> None:
    text = Path(checkpoint.__file__).read_text()
    assert "import pickle" not in text
    assert "torch.load" not in text


def test_tensors_are_written_as_the_library_writes_them(tmp_path: Path) -> None:
    kinds = (
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.float16, torch.bfloat16,
        torch.int32, torch.float32, torch.complex64, torch.float64, torch.int64,
    )  # fmt: skip
    tensors = {f"ä/{kind}'\"": torch.arange(3).to(kind) for kind in kinds}
    tensors |= {"none": torch.zeros(0, 3), "one": torch.tensor(7.0), "b": torch.ones(2, 3, 1)}
    said = write_tensors(tmp_path / "x", tensors)
    content = (tmp_path / "x").read_bytes()
    assert content == save_tensors(tensors)
    assert said == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_a_record_is_read_without_its_tensors_and_these_are_checked(tmp_path: Path) -> None:
    write_folder(tmp_path / "7", STATE)
    read = read_folder(tmp_path / "7", records=("training",))
    assert read["training"]["step"] == STATE["training"]["step"]
    assert read["training"]["optimizers"]["model"]["state"][0]["step"] is None
    assert same(read_folder(tmp_path / "7", "weights"), {"weights": STATE["weights"]})
    place = tmp_path / "7" / "training.safetensors"
    place.write_bytes(place.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="was altered"):
        read_folder(tmp_path / "7", records=("training",))
