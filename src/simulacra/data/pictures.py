"""Folders of pictures in the form asked for: large ones are decoded once, into a cache.

A cache is one file: the levels of the training, the validation and the test split one after
another, then a record in JSON of all else, then how long that is and its checksum. There is one
for each folder and form, and what is decoded anew takes its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import secrets
import struct
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.folder import load_folder
from simulacra.data.form import Form
from simulacra.data.formats.images import SUFFIXES
from simulacra.data.formats.listing import Listing, list_files
from simulacra.data.reform import reform
from simulacra.data.stored import OpenFile, Source, StoredRows, portion, rows_in
from simulacra.ground.caching import cache_folder, replacing
from simulacra.ground.errors import DataError
from simulacra.ground.spec import DataSpec

_FORMAT = b"levels-1"
"""Another one when the same pictures would be read otherwise, or written otherwise."""

_END = struct.Struct("<Q32s8s")
"""The end of a cache: bytes of the record, their SHA-256, the format."""
_ENDING = ".levels"
_FAULTS = (OSError, ValueError, KeyError, DataError)
"""What reading a broken cache raises."""


def load_pictures(folder: Path, form: Form, listing: Listing | None = None) -> Dataset:
    """The pictures of a folder, in a side, colour and number of levels, and with their labels.

    Large ones stay in a file, of which rows are read when they are asked for. It is found again
    as long as names, sizes and times of the pictures are what they were. Where it cannot be
    written they are in memory, as small ones are.

    Args:
        folder: The folder.
        form: `side`, `colour`, `levels`, `labels` and `groups` are met.
        listing: Its pictures, if they are known.

    Raises:
        DataError: As `load_folder`.
        UsageError: As `load_folder` and `reform`.
        ResourceError: As `load_folder`.
    """
    listing = listing or list_files(folder, SUFFIXES)
    place, state = _place(folder, form), _state(listing)
    kept = _opened(place, state)
    if kept is not None:
        return kept
    unread: list[str] = []
    dataset = load_folder(folder, form, listing, unread)
    dataset = reform(dataset, side=form.side, colour=form.colour, levels=form.levels)
    # pictures that changed meanwhile may be half of the old and half of the new
    changed = _state(list_files(folder, SUFFIXES)) != state
    # and what could not be read may be another time, though it is the same
    if isinstance(dataset.train.x, StoredRows) and not changed and not unread:
        with contextlib.suppress(OSError):
            _keep(dataset, folder, place, state)
            # what is there now may be another process's, which is as good
            return _opened(place, state) or dataset
    return dataset


def _place(folder: Path, form: Form) -> Path:
    asked = [os.fspath(folder), form.side, form.colour, form.levels, form.labels, form.groups]
    key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    return cache_folder() / "pictures" / f"{key}{_ENDING}"


def _state(listing: Listing) -> str:
    """All that the levels of a folder depend on, beside the form: its files and the decoders."""
    readers = [_version("simulacra"), _version("pillow")]
    seen = [*readers, listing.folders, listing.again]
    digest = hashlib.sha256(json.dumps(seen).encode())
    digest.update("\0".join(listing.files).encode("utf-8", "surrogateescape"))
    for stamps in listing.stamps:
        digest.update(stamps.tobytes())
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _keep(dataset: Dataset, folder: Path, place: Path, state: str) -> None:
    """Write a cache.

    Raises:
        OSError: If there is no room for it.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    _sweep(place.parent)
    train = dataset.train.x
    with replacing(place) as file:
        for split in dataset.splits.values():
            for rows in split.x.split(portion(train)) if len(split) else ():
                file.write(rows.contiguous().numpy().data)
        record = {
            "folder": os.fspath(folder),
            "state": state,
            "name": secrets.token_hex(16),
            "dtype": str(train.dtype),
            "spec": dataset.spec.to_json(),
            "counts": dataset.counts,
            "labels": {name: _listed(split.context) for name, split in dataset.splits.items()},
            "groups": {name: _listed(split.groups) for name, split in dataset.splits.items()},
            "about": {name: getattr(dataset, name) for name in _ABOUT},
        }
        content = json.dumps(record).encode()
        file.write(content)
        file.write(_END.pack(len(content), hashlib.sha256(content).digest(), _FORMAT))


_DTYPES = {str(dtype): dtype for dtype in (torch.uint8, torch.int16, torch.int32)}
_ABOUT = ("name", "class_names", "part_names", "description", "notes", "split_seed")


def _listed(numbers: Tensor | None) -> list[Any] | None:
    return None if numbers is None else numbers.tolist()


def _unlisted(numbers: list[Any] | None) -> Tensor | None:
    return None if numbers is None else torch.tensor(numbers, dtype=torch.long)


def _opened(place: Path, state: str) -> Dataset | None:
    """What a cache holds; nothing if there is none, or it is broken or of another state."""
    if not hasattr(os, "preadv"):
        return None
    try:
        file = OpenFile(os.open(place, os.O_RDONLY))
        record, size = _record(file)
        if record["state"] != state:
            return None
        spec, dtype = DataSpec.from_json(record["spec"]), _DTYPES[record["dtype"]]
        counts, start = record["counts"], 0
        bytes_each = math.prod(spec.event_shape) * dtype.itemsize
        if sum(counts.values()) * bytes_each != size:
            return None
        splits = {}
        for name, count in counts.items():
            read = rows_in(file, start, spec.event_shape, dtype)
            source = Source(f"{record['name']} {name}", file, place.with_suffix(".json"))
            labels, groups = (_unlisted(record[part][name]) for part in ("labels", "groups"))
            rows = StoredRows(read, torch.arange(count), source)
            splits[name] = Observations(rows, labels, groups=groups)
            start += count * bytes_each
        about: dict[str, Any] = record["about"]
        about = {k: tuple(v) if isinstance(v, list) else v for k, v in about.items()}
        about["part_names"] = {part: tuple(own) for part, own in about["part_names"].items()}
        whole: dict[str, Any] = {"spec": spec, **splits, **about}
        return Dataset(**whole)
    except _FAULTS:
        return None


def _record(file: OpenFile) -> tuple[dict[str, Any], int]:
    """What is written behind the levels, and how many bytes these have.

    Raises:
        ValueError: If it is not whole.
        OSError: If it cannot be read.
    """
    total = os.fstat(file.descriptor).st_size
    length, checksum, written = _END.unpack(_part(file, total - _END.size, _END.size))
    start = total - _END.size - length
    if written != _FORMAT or start < 0:
        raise ValueError("this is no cache, or was cut")
    content = _part(file, start, length)
    if hashlib.sha256(content).digest() != checksum:
        raise ValueError("the record was altered")
    return json.loads(content), start


def _part(file: OpenFile, start: int, length: int) -> bytes:
    if start < 0:
        raise ValueError("this is too short for a cache")
    part = bytearray(length)
    file.fill(memoryview(part), start)
    return bytes(part)


def _sweep(caches: Path) -> None:
    """Remove the caches of folders that are gone."""
    for place in caches.glob(f"*{_ENDING}"):
        with contextlib.suppress(*_FAULTS):
            record, _ = _record(OpenFile(os.open(place, os.O_RDONLY)))
            if not os.path.isdir(record["folder"]):
                place.unlink()
                place.with_suffix(".json").unlink(missing_ok=True)
