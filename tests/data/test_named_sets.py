from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from simulacra.data.catalogue import NAMES, load
from simulacra.data.dataset import DynamicallyBinarised
from simulacra.data.sets.cifar10 import read_batch
from simulacra.ground.errors import DataError


def ones(dataset_part: torch.Tensor) -> int:
    return int(dataset_part.long().sum())


# --- MNIST and its kin, from small files


def test_a_small_mnist_is_read_and_noted(small_mnist: Callable[..., Path]) -> None:
    dataset = load("mnist", data_dir=small_mnist())
    assert dataset.counts == {"train": 54, "validation": 6, "test": 20}
    assert dataset.notes == (
        "train: 60 images, where the whole set has 60000",
        "test: 20 images, where the whole set has 10000",
    )


def test_images_and_labels_must_agree(small_mnist: Callable[..., Path], tmp_path: Path) -> None:
    folder = small_mnist() / "mnist"
    longer = small_mnist("other", train=61) / "other"
    name = "train-labels-idx1-ubyte.gz"
    (folder / name).write_bytes((longer / name).read_bytes())
    with pytest.raises(DataError, match=r"60 images but .* 61 labels"):
        load("mnist", data_dir=tmp_path)
    bad = bytearray(gzip.decompress((folder / name).read_bytes()))[:-1]
    bad[7] = 60
    bad[20] = 10
    (folder / name).write_bytes(gzip.compress(bytes(bad)))
    with pytest.raises(DataError, match="labels 0 … 9, got 10"):
        load("mnist", data_dir=tmp_path)


def test_dynamic_binarisation_fixes_validation_and_test(small_mnist: Callable[..., Path]) -> None:
    folder = small_mnist()
    first, second = (load("binarized-mnist-dynamic", data_dir=folder) for _ in range(2))
    assert first.counts == {"train": 50, "validation": 10, "test": 20}
    assert isinstance(first.train, DynamicallyBinarised)
    for name in ("validation", "test"):
        part, other = first.splits[name], second.splits[name]
        assert not isinstance(part, DynamicallyBinarised)
        first.spec.check(part.x)
        assert torch.equal(part.batch(torch.arange(5), epoch=7)[0], other.x[:5].long())
    first.spec.check(first.train.batch(torch.arange(5), epoch=1)[0])
    assert first.fingerprint == second.fingerprint
    grey = load("mnist", data_dir=folder)
    assert torch.equal(first.test.context, grey.test.context)  # type: ignore[arg-type]


# --- stacked MNIST


def test_three_digits_make_a_picture(small_mnist: Callable[..., Path]) -> None:
    folder = small_mnist()
    first, second = (load("stacked-mnist", data_dir=folder) for _ in range(2))
    assert first.counts == {"train": 54, "validation": 6, "test": 51}
    assert first.spec.event_shape == (3, 28, 28)
    assert first.spec.parts == (("red", 10), ("green", 10), ("blue", 10))
    assert first.class_names[123] == "1, 2, 3"
    assert len(first.notes) == 2
    for part in first.splits.values():
        first.spec.check(part.x.long())
        assert part.x.dtype == torch.uint8
    # the same on every machine: the orders are those of our own hashes
    assert first.fingerprint == second.fingerprint
    assert first.train.context is not None
    assert first.train.context[:3].tolist() == [[9, 4, 4], [6, 3, 3], [7, 8, 3]]


def test_stacked_digits_are_those_of_mnist_with_their_labels(
    small_mnist: Callable[..., Path],
) -> None:
    """Each training digit once in each colour; no digit in two splits."""
    folder = small_mnist()
    grey, colour = (load(name, data_dir=folder) for name in ("mnist", "stacked-mnist"))
    seen: set[bytes] = set()
    for name, part in colour.splits.items():
        own, labels = grey.splits[name], part.context
        assert own.context is not None
        assert labels is not None
        known = {row.numpy().tobytes(): int(own.context[i]) for i, row in enumerate(own.x)}
        assert not seen & set(known)
        seen |= set(known)
        counts = []
        for place in range(3):
            rows = [row.numpy().tobytes() for row in part.x[:, place].contiguous()]
            assert [known[row] for row in rows] == labels[:, place].tolist()
            counts.append(sorted(rows.count(row) for row in known))
        # of the test digits each comes twice or thrice
        wanted = [2] * 9 + [3] * 11 if name == "test" else [1] * len(own)
        assert counts == [wanted] * 3
    # the colours do not go together
    x = colour.train.x
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert int((x[:, a] == x[:, b]).flatten(1).all(1).sum()) < 6


# --- CIFAR-10


def records(count: int, label: int = 3) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3073), dtype=np.uint8)
    pixels[:, 0] = label
    return pixels.tobytes()


def test_cifar_from_small_files(tmp_path: Path) -> None:
    for i in range(1, 6):
        packed = i % 2
        path = tmp_path / f"data_batch_{i}.bin{'.xz' if packed else ''}"
        path.write_bytes(lzma.compress(records(4, i)) if packed else records(4, i))
    (tmp_path / "test_batch_first1000.bin.xz").write_bytes(lzma.compress(records(3, 9)))
    dataset = load("cifar10", data_dir=tmp_path)
    assert dataset.counts == {"train": 18, "validation": 2, "test": 3}
    assert dataset.notes[0].startswith("test: the first 3 of 10000 images")
    raw = np.frombuffer(records(3), np.uint8).reshape(-1, 3073)[:, 1:].reshape(-1, 3, 32, 32)
    assert np.array_equal(dataset.test.x.numpy(), raw)
    assert dataset.test.context is not None
    assert dataset.test.context.tolist() == [9, 9, 9]
    labels = torch.cat([dataset.train.context, dataset.validation.context])  # type: ignore[list-item]
    assert labels.bincount().tolist() == [0, 4, 4, 4, 4, 4]
    (tmp_path / "data_batch_4.bin").unlink()
    with pytest.raises(
        DataError, match=r"needs data_batch_4.bin or data_batch_4.bin.xz, not found"
    ):
        load("cifar10", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got 0 bytes"),
        (records(3)[:-1], "got 9218 bytes"),
        (records(3) + b"x", "got 9220 bytes"),
        (bytes(3073) * 10001, "got more"),
        (records(3, 10), "labels 0 … 9, got 10"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_cifar_batches_that_are_not_whole_records_are_refused(
    tmp_path: Path, content: bytes, message: str, packed: bool
) -> None:
    path = tmp_path / ("a.bin.xz" if packed else "a.bin")
    path.write_bytes(lzma.compress(content, preset=0) if packed else content)
    with pytest.raises(DataError, match=message):
        read_batch(path)


def test_cut_and_foreign_xz_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.bin.xz"
    whole = lzma.compress(records(3))
    path.write_bytes(whole[:-40])
    with pytest.raises(DataError, match="ends before its data do"):
        read_batch(path)
    path.write_bytes(b"something else")
    with pytest.raises(DataError, match="cannot be unpacked"):
        read_batch(path)


def test_an_xz_that_asks_for_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.bin.xz"
    greedy = bytearray(lzma.compress(records(3), preset=0))
    # the dictionary size of LZMA2's properties in the block header, and that header's CRC-32
    place = greedy.index(b"\x21\x01", 12) + 2
    greedy[place] = 39
    size = (greedy[12] + 1) * 4
    greedy[12 + size - 4 : 12 + size] = zlib.crc32(greedy[12 : 12 + size - 4]).to_bytes(4, "little")
    path.write_bytes(greedy)
    with pytest.raises(DataError, match=r"[Mm]emory"):
        read_batch(path)


# --- other files


def test_files_of_another_form_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "olivetti_faces.npz", images=np.zeros((4, 9, 9)), labels=np.zeros(4))
    with pytest.raises(DataError, match="images and labels as uint8"):
        load("olivetti-faces", data_dir=tmp_path)
    np.savez(tmp_path / "binarized_mnist.npz", train=np.zeros((4, 784), np.uint8))
    with pytest.raises(DataError, match="packed bits"):
        load("binarized-mnist", data_dir=tmp_path)


# --- the real files


def test_real_mnist(real_data: Path) -> None:
    dataset = load("mnist", data_dir=real_data)
    assert tuple(dataset.counts.values()) == NAMES["mnist"].counts
    assert dataset.notes == ()
    labels = torch.cat([dataset.train.context, dataset.validation.context])  # type: ignore[list-item]
    assert labels.bincount().tolist() == [
        *(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
    ]
    assert dataset.test.context is not None
    assert dataset.test.context[:5].tolist() == [7, 2, 1, 0, 4]
    pixels = torch.cat([dataset.train.x, dataset.validation.x])
    assert abs(float(pixels.double().mean()) / 255 - 0.1307) < 1e-4


def test_real_static_binarisation(real_data: Path) -> None:
    dataset = load("binarized-mnist", data_dir=real_data)
    assert tuple(dataset.counts.values()) == (50000, 10000, 10000)
    assert [ones(part.x) for part in dataset.splits.values()] == [5118041, 1028036, 1038896]
    assert dataset.train.context is None
    assert dataset.split_seed is None
    # in the file's own order the first thousand are all zeros, which leave the middle blank
    assert float(dataset.test.x[:900, 0, 12:16, 12:16].double().mean()) > 0.3


def test_real_dynamic_binarisation(real_data: Path) -> None:
    dataset = load("binarized-mnist-dynamic", data_dir=real_data)
    assert tuple(dataset.counts.values()) == (50000, 10000, 10000)
    # Salakhutdinov and Murray's draw of the same test images, within four standard errors
    assert abs(ones(dataset.test.x) - 1038896) < 4 * (2 * 7840000 * 0.03) ** 0.5


def test_real_fashion_mnist_is_not_taken_for_mnist(real_data: Path) -> None:
    dataset = load("fashion-mnist", data_dir=real_data)
    assert dataset.class_names[9] == "Ankle boot"
    assert dataset.test.context is not None
    assert dataset.test.context.bincount().tolist() == [1000] * 10
    for name, folder in (("mnist", "fashion_mnist"), ("fashion-mnist", "mnist")):
        with pytest.raises(DataError, match=f"put the files of {name} into a folder"):
            load(name, data_dir=real_data / folder)


def test_real_cifar_batch(real_data: Path) -> None:
    batch = read_batch(real_data / "cifar10" / "test_batch_first1000.bin.xz")
    assert batch.x.shape == (1000, 3, 32, 32)
    assert batch.context is not None
    assert batch.context.bincount().tolist() == [103, 89, 100, 103, 90, 86, 112, 102, 106, 109]


def test_real_olivetti_faces(real_data: Path) -> None:
    dataset = load("olivetti-faces", data_dir=real_data)
    assert tuple(dataset.counts.values()) == NAMES["olivetti-faces"].counts
    labels = torch.cat([part.context for part in dataset.splits.values()])  # type: ignore[misc]
    assert labels.bincount().tolist() == [10] * 40
