"""MNIST and its kin: grey, binarised, stacked as colours, and Fashion-MNIST."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simulacra.data.dataset import Dataset, DynamicallyBinarised, Observations
from simulacra.data.form import Form
from simulacra.data.formats.idx import read_idx
from simulacra.data.formats.npy import NpzFile
from simulacra.data.labels import form_of, names_of
from simulacra.data.sets.named import NamedSet, labels_of
from simulacra.data.splits import hold_out, permutation
from simulacra.ground.errors import DataError
from simulacra.ground.spec import COLOURS, DataSpec

_SHAPE = (1, 28, 28)
_DIGITS = tuple("0123456789")
_COLOURS = dict.fromkeys(COLOURS, _DIGITS)
_GARMENTS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
# the two sets share their file names, so a folder of one can be mistaken for the other
_FIRST_TEST_LABELS = {
    "MNIST": [7, 2, 1, 0, 4, 1, 4, 9, 5, 9],
    "Fashion-MNIST": [9, 2, 1, 1, 6, 1, 4, 6, 5, 7],
}
_FILES = tuple(
    (f"{part}.gz", part)
    for part in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    )
)


def _read_part(images_path: Path, labels_path: Path, classes: int) -> Observations:
    images = read_idx(images_path, 3)
    labels = read_idx(labels_path, 1)
    if images.shape[1:] != _SHAPE[1:]:
        raise DataError(f"{images_path} should hold images of 28×28, got {images.shape[1:]}")
    if len(images) != len(labels):
        raise DataError(
            f"{images_path} holds {len(images)} images but {labels_path} {len(labels)} labels: "
            "get both files from one place"
        )
    return Observations(
        torch.tensor(images).unsqueeze(1), labels_of(torch.tensor(labels), classes, labels_path)
    )


def _read_both(this: NamedSet, paths: list[Path]) -> tuple[Observations, Observations, Any]:
    """All of train, all of test, and a note for each that is not whole."""
    train = _read_part(paths[0], paths[1], 10)
    test = _read_part(paths[2], paths[3], 10)
    other = "MNIST" if this.name == "fashion-mnist" else "Fashion-MNIST"
    if test.context is not None and test.context[:10].tolist() == _FIRST_TEST_LABELS[other]:
        raise DataError(
            f"{paths[3]} has the labels of {other}: put the files of {this.name} into a folder of "
            "that name"
        )
    whole = {"train": 60_000, "test": 10_000}
    notes = tuple(
        f"{name}: {len(part)} images, where the whole set has {whole[name]}"
        for name, part in (("train", train), ("test", test))
        if len(part) != whole[name]
    )
    return train, test, notes


def _read_grey(this: NamedSet, paths: list[Path], _form: Form) -> Dataset:
    train, test, notes = _read_both(this, paths)
    return Dataset(
        name=this.name,
        spec=DataSpec(_SHAPE, 256, classes=10),
        **hold_out(train, test, at_most=5000),
        class_names=_DIGITS if this.name == "mnist" else _GARMENTS,
        description=this.description,
        notes=notes,
    )


def _read_dynamic(this: NamedSet, paths: list[Path], _form: Form) -> Dataset:
    train, test, notes = _read_both(this, paths)
    kept = len(train) - len(train) // 6
    places = torch.arange(len(train))
    if not 0 < kept < len(train) or not len(test):
        raise DataError(f"{paths[0]} and {paths[2]} hold too few images to split: get the files")

    def dynamic(part: Observations, seed: int) -> DynamicallyBinarised:
        return DynamicallyBinarised(part.x, part.context, seed=seed)

    return Dataset(
        name=this.name,
        spec=DataSpec(_SHAPE, 2, classes=10),
        train=dynamic(train.take(places[:kept]), 0),
        validation=dynamic(train.take(places[kept:]), 1).freeze(),
        test=dynamic(test, 2).freeze(),
        class_names=_DIGITS,
        description=this.description,
        notes=notes,
    )


def _read_stacked(this: NamedSet, paths: list[Path], _form: Form) -> Dataset:
    train, test, notes = _read_both(this, paths)
    # digits are split before they are stacked, so that no two splits share one
    digits = hold_out(train, test, at_most=5000)
    return Dataset(
        name=this.name,
        spec=DataSpec((3, *_SHAPE[1:]), 256, **form_of(_COLOURS, this.name)),
        train=stacked(digits["train"], len(digits["train"]), seed=1),
        validation=stacked(digits["validation"], len(digits["validation"]), seed=2),
        test=stacked(digits["test"], STACKED_TEST * len(test) // 10000, seed=3),
        **names_of(_COLOURS),
        description=this.description,
        notes=notes,
        split_seed=digits["split_seed"],
    )


def stacked(digits: Observations, count: int, *, seed: int) -> Observations:
    """Pictures of three digits each, one in red, one in green, one in blue.

    In each colour the digits stand in a random order, and again in another one where there are
    fewer of them than pictures: so each comes as often as any other, or once more.

    Args:
        digits: Grey levels `(N, 1, H, W)`, with labels.
        count: How many pictures.
        seed: Of the orders, which are the same in every version.

    Returns:
        Levels `(count, 3, H, W)` uint8 and labels of three parts `(count, 3)`.
    """
    assert digits.context is not None  # they are read with their labels
    grey, labels = digits.x[:], digits.context
    x = torch.empty(count, 3, *grey.shape[2:], dtype=grey.dtype)
    parts = torch.empty(count, 3, dtype=torch.long)
    rounds = range(0, count, len(grey))
    for colour in range(3):
        for turn, start in enumerate(rounds):
            rows = permutation(len(grey), seed + 10 * colour + 100 * turn)[: count - start]
            x[start : start + len(rows), colour] = grey[rows, 0]
            parts[start : start + len(rows), colour] = labels[rows]
    return Observations(x, parts)


def _read_static(this: NamedSet, paths: list[Path], _form: Form) -> Dataset:
    with NpzFile(paths[0]) as npz:
        train, validation, test = (_unpack(npz, part) for part in ("train", "valid", "test"))
    return Dataset(
        name=this.name,
        spec=DataSpec(_SHAPE, 2),
        train=Observations(train),
        validation=Observations(validation),
        # the file has them digit by digit, and its first thousand would be all zeros
        test=Observations(test[permutation(len(test))]),
        description=this.description,
    )


def _unpack(npz: NpzFile, part: str) -> torch.Tensor:
    packed: NDArray[Any] = npz.read(part)
    if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != 98 or not len(packed):
        raise DataError(
            f"{npz.path} should hold {part!r} as packed bits, uint8 (N, 98), "
            f"got {packed.dtype} {packed.shape}"
        )
    bits = np.unpackbits(packed, axis=1, count=784)
    return torch.from_numpy(bits.reshape(-1, *_SHAPE))


MNIST = NamedSet(
    name="mnist",
    description="Handwritten digits, 28×28 grey (LeCun, Cortes and Burges, from NIST).",
    event_shape=_SHAPE,
    levels=256,
    classes=10,
    counts=(55000, 5000, 10000),
    read=_read_grey,
    files=_FILES,
    folders=("mnist", "MNIST", "MNIST/raw"),
)

FASHION_MNIST = NamedSet(
    name="fashion-mnist",
    description="Pictures of clothes, 28×28 grey (Xiao, Rasul and Vollgraf, Zalando, 2017).",
    event_shape=_SHAPE,
    levels=256,
    classes=10,
    counts=(55000, 5000, 10000),
    read=_read_grey,
    files=_FILES,
    folders=("fashion-mnist", "fashion_mnist", "FashionMNIST", "FashionMNIST/raw"),
)

STACKED_TEST = 25_600
"""Test pictures of stacked MNIST: as many as Metz et al. count modes among."""

STACKED_MNIST = NamedSet(
    name="stacked-mnist",
    description="Three MNIST digits as red, green and blue, 28×28: 1,000 modes (Metz et al. 2016, "
    "arXiv 1611.02163; Srivastava et al. 2017, arXiv 1705.07761; Lin et al. 2018, arXiv "
    "1712.04086); stacked here by a fixed seed, no digit in two splits.",
    event_shape=(3, *_SHAPE[1:]),
    levels=256,
    classes=1000,
    counts=(55000, 5000, STACKED_TEST),
    read=_read_stacked,
    files=_FILES,
    folders=MNIST.folders,
)

BINARIZED_MNIST = NamedSet(
    name="binarized-mnist",
    description="MNIST binarised once (Salakhutdinov and Murray 2008) in Larochelle's split; "
    "its test images in a fixed random order.",
    event_shape=_SHAPE,
    levels=2,
    classes=0,
    counts=(50000, 10000, 10000),
    read=_read_static,
    files=(("binarized_mnist.npz",),),
    folders=("binarized-mnist", "binarized_mnist"),
    fixed=True,
)

BINARIZED_MNIST_DYNAMIC = NamedSet(
    name="binarized-mnist-dynamic",
    description="MNIST binarised anew in every epoch, P(1) = grey / 255; validation (the last "
    "10000 of train) and test are drawn once.",
    event_shape=_SHAPE,
    levels=2,
    classes=10,
    counts=(50000, 10000, 10000),
    read=_read_dynamic,
    files=_FILES,
    folders=MNIST.folders,
    fixed=True,
)
