"""Folders of tensors and records that are whole or absent, and that notice any change.

A folder is written beside its place, checksummed, synced and renamed: a process killed at any
moment leaves the folder complete or not there. Tensors are safetensors, records JSON; reading
runs no code.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from simulacra.ground.caching import replacing
from simulacra.ground.errors import CheckpointError, ResourceError, disk_full
from simulacra.ground.tensor_files import write_tensors

MANIFEST = "MANIFEST.json"
FORMAT = 1
PARTIAL = ".partial-"
"""How the name begins of a folder that is not written to its end."""

_PORTION = 1 << 20
_LONGEST_RECORD = 16 << 20
"""Bytes; a manifest or `run.json` has some thousands."""


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
    try:
        if folder.exists():
            raise CheckpointError(f"{folder} exists already")
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
                    place = partial / f"{name}.safetensors"
                    files[place.name] = write_tensors(place, tensors)
                    _sync(place)
            manifest = {"format": FORMAT, "files": files}
            _put(partial, MANIFEST, json.dumps(manifest, indent=1).encode(), {})
            _sync(partial)
            partial.rename(folder)
            _sync(folder.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise _explained(error, folder) from error


def read_folder(folder: Path, *names: str, records: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read what `write_folder` wrote, after checking every byte of it.

    Args:
        folder: The folder.
        names: Which of its values; all by default.
        records: Of which of them the tensors are checked and left out, each being `None`.

    Raises:
        CheckpointError: If the folder is not complete or was altered; it says which file.
    """
    files = _manifest(folder)
    wanted = names or tuple(Path(n).stem for n in files if n.endswith(".json"))
    state = {}
    for name in wanted:
        path = folder / f"{name}.json"
        record = _parsed(_verified(path, files), path)
        tensors: dict[str, Any] = {}
        if f"{name}.safetensors" in files:
            path = folder / f"{name}.safetensors"
            try:
                if name in records:
                    for _ in _verifying(path, files, _PORTION):
                        pass
                    tensors = defaultdict(type(None))
                else:
                    tensors = load_tensors(_verified(path, files))
            except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
                raise CheckpointError(f"{path} is broken: {error}") from error
        try:
            state[name] = _attach(record, tensors)
        except (KeyError, ValueError, TypeError, RecursionError) as error:
            # whole by their checksums, and yet not what `write_folder` writes
            raise CheckpointError(f"{path} does not hold what {name}.json refers to") from error
    return state


def read_json(path: Path) -> Any:  # noqa: ANN401 (any JSON value)
    """The value of a JSON file of a run, which anybody may have edited.

    Raises:
        CheckpointError: If it cannot be read, is too long for a record or nested too deep, names
            a key twice, or has a number that is none: NaN, Infinity, 1e400.
    """
    try:
        content = b"".join(_content(path, _LONGEST_RECORD))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    return _parsed(content, path, finite=True)


def write_json(path: Path, record: Any) -> None:  # noqa: ANN401 (any JSON value)
    """Replace a JSON file at once."""
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    # a path may hold bytes that are no text; the backslash form of those is JSON's own
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file at once: whoever reads it sees the old or the new content, whole.

    Of several processes that write it together, the last one wins.

    Raises:
        ResourceError: If the disk is full or the place forbidden.
    """
    try:
        with replacing(path) as file:
            file.write(content)
        _sync(path.parent)
    except OSError as error:
        raise _explained(error, path) from error


def _explained(error: OSError, path: Path) -> Exception:
    """Disk full and forbidden places, in a user's words."""
    if disk_full(error):
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


def _content(path: Path, at_most: int, portion: int | None = None) -> Iterator[bytes]:
    """The bytes of a file, all together or so many at a time.

    Raises:
        OSError: If it is no file of its own, or longer: a link may lead anywhere, and a pipe
            would be waited for.
    """
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is a link, a folder or a device, not a file")
    if found.st_size > max(0, at_most):
        raise OSError(errno.EFBIG, f"it has {found.st_size} bytes, expected at most {at_most}")
    left = found.st_size
    with path.open("rb") as file:
        while left and (part := file.read(min(left, portion or left))):
            left -= len(part)
            yield part


def _parsed(content: bytes, path: Path, *, finite: bool = False) -> Any:  # noqa: ANN401
    """A JSON value that is not trusted; NaN and Infinity are let through unless `finite`."""
    try:
        return json.loads(
            content,
            object_pairs_hook=_unique,
            parse_float=_number,
            parse_constant=_number if finite else None,
        )
    except RecursionError as error:
        raise CheckpointError(f"{path} cannot be read: it is nested too deep") from error
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A table of which no entry hides another."""
    table: dict[str, Any] = {}
    for name, value in pairs:
        if name in table:
            raise ValueError(f"{name!r} is in it twice")
        table[name] = value
    return table


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no finite number")
    return number


def _manifest(folder: Path) -> dict[str, Any]:
    """What a checkpoint's manifest says of its files, all of which are there.

    Raises:
        CheckpointError: If it says nothing sound, or is of another format.
    """
    path = folder / MANIFEST
    if not os.path.lexists(path) and folder.is_dir():
        raise CheckpointError(f"{folder} is no complete checkpoint: no {MANIFEST}")
    manifest = read_json(path)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or not files:
        raise CheckpointError(f"{path} cannot be read: it lists no files")
    version = manifest.get("format")
    if type(version) is not int or version != FORMAT:
        newer = isinstance(version, int) and version > FORMAT
        raise CheckpointError(
            f"{path} has format {version}, this simulacra reads {FORMAT}: "
            + ("it is newer, update simulacra" if newer else "use the version that wrote it")
        )
    for name in files:
        # never a file of another folder
        if not re.fullmatch(r"[\w-]+\.(json|safetensors)", name):
            raise CheckpointError(f"{path} names {name!r}, which is no file of a checkpoint")
        if not os.path.lexists(folder / name):
            raise CheckpointError(f"{folder / name} is missing")
    return files


def _verified(path: Path, files: dict[str, Any]) -> bytes:
    """A file's bytes, which are those that the manifest describes."""
    return b"".join(_verifying(path, files, None))


def _verifying(path: Path, files: dict[str, Any], portion: int | None) -> Iterator[bytes]:
    """A file's bytes, so many at a time; at the end they are those that the manifest describes."""
    entry = files.get(path.name)
    if not isinstance(entry, dict):
        raise CheckpointError(f"{path.parent} holds no {path.name}")
    size = entry.get("bytes")
    if type(size) is not int:
        raise CheckpointError(f"{path.parent / MANIFEST} does not say how long {path.name} is")
    digest, count = hashlib.sha256(), 0
    try:
        for part in _content(path, size, portion):
            digest.update(part)
            count += len(part)
            yield part
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    if count != size:
        raise CheckpointError(f"{path} was cut: expected {size} bytes, got {count}")
    if digest.hexdigest() != entry.get("sha256"):
        raise CheckpointError(f"{path} was altered: its checksum is not the manifest's")


_TENSOR = "$tensor"
_PAIRS = "$pairs"
_MARKS = ({_TENSOR}, {_PAIRS})


def _detach(value: Any, tensors: dict[str, Tensor], path: str) -> Any:  # noqa: ANN401
    """The value with each tensor moved into `tensors`, and its place marked."""
    if isinstance(value, Tensor):
        while path in tensors:
            path += "'"  # the keys 1 and "1", or "a/b" and b below a
        tensors[path] = value.detach().cpu().contiguous()
        return {_TENSOR: path}
    if isinstance(value, dict):
        parts = {k: _detach(v, tensors, _below(path, k)) for k, v in value.items()}
        # optimisers number their parameters, and JSON has no integer keys
        plain = all(isinstance(k, str) for k in parts) and parts.keys() not in _MARKS
        return parts if plain else {_PAIRS: list(parts.items())}
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
