"""MNIST and its kin: grey, statically binarised, dynamically binarised, and Fashion-MNIST."""

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
from simulacra.data.sets.named import NamedSet, labels_of
from simulacra.data.splits import hold_out, permutation
from simulacra.ground.errors import DataError
from simulacra.ground.spec import DataSpec

_SHAPE = (1, 28, 28)
_DIGITS = tuple("0123456789")
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
    whole = {"train": sum(this.counts[:2]), "test": this.counts[2]}
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
