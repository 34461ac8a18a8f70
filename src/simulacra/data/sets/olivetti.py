"""Olivetti faces: forty people, ten grey images of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.form import Form
from simulacra.data.formats.npy import NpzFile
from simulacra.data.sets.named import NamedSet, labels_of
from simulacra.data.splits import split_all
from simulacra.ground.errors import DataError
from simulacra.ground.spec import DataSpec


def _read(this: NamedSet, paths: list[Path], _form: Form) -> Dataset:
    with NpzFile(paths[0]) as npz:
        images, labels = npz.read("images"), npz.read("labels")
    expected = (len(labels), *this.event_shape[1:])
    if images.dtype != np.uint8 or labels.dtype != np.uint8 or images.shape != expected:
        raise DataError(
            f"{paths[0]} should hold images and labels as uint8 (N, 64, 64) and (N,), "
            f"got {images.dtype} {images.shape} and {labels.dtype} {labels.shape}"
        )
    people = labels_of(torch.tensor(labels), this.classes, paths[0])
    return Dataset(
        name=this.name,
        spec=DataSpec(this.event_shape, this.levels, classes=this.classes),
        **split_all(Observations(torch.tensor(images).unsqueeze(1), people)),
        class_names=tuple(f"person {i + 1}" for i in range(this.classes)),
        description=this.description,
    )


OLIVETTI_FACES = NamedSet(
    name="olivetti-faces",
    description="Faces of 40 people, 64×64 grey (Olivetti Research Laboratory; cropped by Roweis).",
    event_shape=(1, 64, 64),
    levels=256,
    classes=40,
    counts=(280, 40, 80),
    read=_read,
    files=(("olivetti_faces.npz",),),
    folders=("olivetti-faces", "olivetti_faces"),
)
