"""Digits: small grey images that come with scikit-learn, so that no file is needed."""

from __future__ import annotations

from pathlib import Path

import torch

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.form import Form
from simulacra.data.sets.named import NamedSet
from simulacra.data.splits import split_all
from simulacra.ground.spec import DataSpec


def _read(this: NamedSet, _: list[Path], _form: Form) -> Dataset:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(images).to(torch.uint8).reshape(-1, *this.event_shape)
    return Dataset(
        name=this.name,
        spec=DataSpec(this.event_shape, this.levels, classes=this.classes),
        **split_all(Observations(x, torch.from_numpy(labels).long())),
        class_names=tuple("0123456789"),
        description=this.description,
    )


DIGITS = NamedSet(
    name="digits",
    description="Handwritten digits, 8×8 with 17 grey levels, the UCI test set that scikit-learn "
    "carries (Alpaydin and Kaynak 1998).",
    event_shape=(1, 8, 8),
    levels=17,
    classes=10,
    counts=(1258, 180, 359),
    read=_read,
)
