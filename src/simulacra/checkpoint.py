"""Folders of tensors and records that are whole or absent, and that notice any change.

A folder is written beside its place, checksummed, synced and renamed: a process killed at any
moment leaves the folder complete or not there. Tensors are safetensors, records JSON; reading
runs no code.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from simulacra.errors import CheckpointError, ResourceError

MANIFEST = "MANIFEST.json"
FORMAT = 1
PARTIAL = ".partial-"
"""How the name begins of a folder that is not written to its end."""


def write_folder(folder: Path, state: dict[str, Any]) -> None:
    """Write a folder whole, or leave things as they were.

    Args:
        folder: Must not exist; its parents are made.
        state: A nested value for each name: dictionaries, lists, numbers, strings, `None` and
            tensors. `name` becomes `name.json`, and its tensors `name.safetensors`.

    Raises:
        CheckpointError: If the folder exists.
        ResourceError: If the disk is full.
    """
    if folder.exists():
        raise CheckpointError(f"{folder} exists already")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.parent / f"{PARTIAL}{folder.name}-{secrets.token_hex(4)}"
        partial.mkdir()
        try:
            files: dict[str, dict[str, Any]] = {}
            for name, value in state.items():
                tensors: dict[str, Tensor] = {}
                record = json.dumps(_detach(value, tensors, ""), indent=1).encode()
                _put(partial, f"{name}.json", record, files)
                if tensors:
                    _put(partial, f"{name}.safetensors", save_tensors(tensors), files)
            manifest = {"format": FORMAT, "files": files}
            _put(partial, MANIFEST, json.dumps(manifest, indent=1).encode(), {})
            _sync(partial)
            partial.rename(folder)
            _sync(folder.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise _explained(error, folder) from error


def read_folder(folder: Path, *names: str) -> dict[str, Any]:
    """Read what `write_folder` wrote, after checking every byte of it.

    Args:
        folder: The folder.
        names: Which of its values; all by default.

    Raises:
        CheckpointError: If the folder is not complete or was altered; it says which file.
    """
    manifest = _manifest(folder)
    wanted = names or tuple(Path(n).stem for n in manifest["files"] if n.endswith(".json"))
    state = {}
    for name in wanted:
        record = _verified(folder, f"{name}.json", manifest)
        tensors: dict[str, Tensor] = {}
        if f"{name}.safetensors" in manifest["files"]:
            try:
                tensors = load_tensors(_verified(folder, f"{name}.safetensors", manifest))
            except SafetensorError as error:
                raise CheckpointError(f"{folder / name}.safetensors is broken: {error}") from error
        state[name] = _attach(json.loads(record), tensors)
    return state


def write_json(path: Path, record: Any) -> None:  # noqa: ANN401 (any JSON value)
    """Replace a JSON file at once."""
    write_bytes(path, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file at once: whoever reads it sees the old or the new content, whole.

    Raises:
        ResourceError: If the disk is full.
    """
    partial = path.with_name(f".{path.name}-partial")
    try:
        partial.write_bytes(content)
        _sync(partial)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _explained(error, path) from error


def _explained(error: OSError, path: Path) -> Exception:
    """Disk full and forbidden places, in a user's words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceError(f"no space left to write {path}: free some and resume")
    return ResourceError(f"cannot write {path}: {error.strerror or error}")


def _put(folder: Path, name: str, content: bytes, files: dict[str, dict[str, Any]]) -> None:
    (folder / name).write_bytes(content)
    _sync(folder / name)
    files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        version = manifest["format"]
        if not isinstance(manifest["files"], dict):
            raise TypeError("files is no table")
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is no complete checkpoint: no {MANIFEST}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / MANIFEST} cannot be read: {error}") from error
    if version != FORMAT:
        raise CheckpointError(
            f"{folder} has format {version}, this simulacra reads {FORMAT}: use the version that "
            "wrote it"
        )
    for name in manifest["files"]:
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name} is missing")
    return dict(manifest)


def _verified(folder: Path, name: str, manifest: dict[str, Any]) -> bytes:
    path, entry = folder / name, manifest["files"].get(name)
    if not isinstance(entry, dict):
        raise CheckpointError(f"{folder} holds no {name}")
    try:
        if path.stat().st_size != entry.get("bytes"):
            raise CheckpointError(f"{path} was cut: expected {entry.get('bytes')} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != entry.get("sha256"):
        raise CheckpointError(f"{path} was altered: its checksum is not the manifest's")
    return content


_TENSOR = "$tensor"
_PAIRS = "$pairs"


def _detach(value: Any, tensors: dict[str, Tensor], path: str) -> Any:  # noqa: ANN401
    """The value with each tensor moved into `tensors`, and its place marked."""
    if isinstance(value, Tensor):
        while path in tensors:
            path += "'"  # the keys 1 and "1", or "a/b" and b below a
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: path}
    if isinstance(value, dict):
        parts = {k: _detach(v, tensors, _below(path, k)) for k, v in value.items()}
        # optimisers number their parameters, and JSON has no integer keys
        return parts if all(isinstance(k, str) for k in parts) else {_PAIRS: list(parts.items())}
    if isinstance(value, (list, tuple)):
        return [_detach(v, tensors, _below(path, i)) for i, v in enumerate(value)]
    return value


def _below(path: str, key: object) -> str:
    return f"{path}/{key}" if path else str(key)


def _attach(value: Any, tensors: dict[str, Tensor]) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        if value.keys() == {_TENSOR}:
            return tensors[value[_TENSOR]]
        if value.keys() == {_PAIRS}:
            return {k: _attach(v, tensors) for k, v in value[_PAIRS]}
        return {k: _attach(v, tensors) for k, v in value.items()}
    if isinstance(value, list):
        return [_attach(v, tensors) for v in value]
    return value


def detached_copy(value: Any) -> Any:  # noqa: ANN401 (a nested state of any kind)
    """A nested state whose tensors share no memory with the original's."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {k: detached_copy(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [detached_copy(v) for v in value]
    return value
