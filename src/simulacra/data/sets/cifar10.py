"""CIFAR-10 from its binary version: records of a label and 32×32 red, green and blue bytes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.form import Form
from simulacra.data.formats.listing import open_regular
from simulacra.data.formats.safe_reading import FAULTS, read_at_most, unpack_xz
from simulacra.data.sets.named import NamedSet, labels_of
from simulacra.data.splits import hold_out
from simulacra.ground.errors import DataError
from simulacra.ground.spec import DataSpec

_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_BATCH = 10000
_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def read_batch(path: Path) -> Observations:
    """The images and labels of one batch file, plain or .xz.

    Args:
        path: Records of 3073 bytes, at most 10000 of them.

    Raises:
        DataError: If it is cut or corrupt, not whole records, too long, or has a label above 9.
    """
    limit = _BATCH * _RECORD
    try:
        if path.suffix == ".xz":
            content = unpack_xz(path, limit)
        else:
            with open_regular(path) as stream:
                content = read_at_most(stream, limit + 1)
    except FAULTS as fault:
        raise DataError(f"{path} cannot be read ({fault}): get the file again") from fault
    if not content or len(content) % _RECORD:
        came = f"{len(content)} bytes" if len(content) <= limit else "more"
        raise DataError(
            f"{path} should hold 1 to {_BATCH} records of {_RECORD} bytes, got {came}: "
            "get the file again"
        )
    records = torch.from_numpy(np.frombuffer(content, np.uint8).reshape(-1, _RECORD).copy())
    labels = labels_of(records[:, 0], len(_CLASSES), path)
    return Observations(records[:, 1:].reshape(-1, *_SHAPE), labels)


def _read(this: NamedSet, paths: list[Path], _form: Form) -> Dataset:
    # lzma releases the interpreter lock, so that the batches unpack side by side
    with ThreadPoolExecutor(len(paths)) as pool:
        *batches, test = pool.map(read_batch, paths)
    labels = [batch.context for batch in batches if batch.context is not None]
    train = Observations(torch.cat([batch.x[:] for batch in batches]), torch.cat(labels))
    notes = []
    if len(test) < this.counts[2]:
        notes.append(
            f"test: the first {len(test)} of {this.counts[2]} images, so figures are not "
            "comparable with published ones"
        )
    if len(train) != sum(this.counts[:2]):
        notes.append(f"train: {len(train)} images, where the whole set has {sum(this.counts[:2])}")
    return Dataset(
        name=this.name,
        spec=DataSpec(_SHAPE, 256, classes=len(_CLASSES)),
        **hold_out(train, test, at_most=5000),
        class_names=_CLASSES,
        description=this.description,
        notes=tuple(notes),
    )


CIFAR10 = NamedSet(
    name="cifar10",
    description="Photographs of animals and vehicles, 32×32 RGB (Krizhevsky, Nair, Hinton 2009).",
    event_shape=_SHAPE,
    levels=256,
    classes=10,
    counts=(45000, 5000, 10000),
    read=_read,
    files=(
        *((f"data_batch_{i}.bin", f"data_batch_{i}.bin.xz") for i in range(1, 6)),
        ("test_batch.bin", "test_batch.bin.xz", "test_batch_first1000.bin.xz"),
    ),
    folders=("cifar10", "cifar-10", "cifar-10-batches-bin"),
)
