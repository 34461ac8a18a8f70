"""FSDD: spoken digits with their official split."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from simulacra.data.dataset import Dataset
from simulacra.data.file_names import arranged
from simulacra.data.form import Form
from simulacra.data.sets.named import NamedSet
from simulacra.data.sounds import cut, read_recordings
from simulacra.data.splits import hold_out
from simulacra.ground.errors import DataError

_NAME = re.compile(r"\d_[a-z]+_(\d+)\.wav")

_TEST = 5
"""Recordings below this index are the test split, by the authors' README."""


def _read(this: NamedSet, paths: list[Path], form: Form) -> Dataset:
    recordings = read_recordings(paths[0], form)
    indices = []
    for name in recordings.names:
        fits = _NAME.fullmatch(name)
        if fits is None:
            raise DataError(
                f"{paths[0]} should hold recordings called DIGIT_SPEAKER_INDEX.wav, got {name!r}: "
                "get the file again"
            )
        indices.append(int(fits[1]))
    # the speaker as well, if asked for: --labels '{digit}_{speaker}_*'
    said = arranged(recordings.names, form.labels or "{label}_*", None, this.name, "sound")
    places, index = torch.arange(len(indices)), torch.tensor(indices)
    (whole,) = said.ready(places, places.tolist()).values()
    rest, test = (whole.take(mask.nonzero()[:, 0]) for mask in (index >= _TEST, index < _TEST))
    return cut(
        recordings,
        hold_out(rest, test),
        said.names,
        form,
        name=this.name,
        description=this.description,
    )


FSDD = NamedSet(
    name="fsdd",
    description="Spoken English digits of six speakers, 8 kHz, windows of one second by default "
    "(Free Spoken Digit Dataset, Jackson and contributors, CC BY-SA 4.0).",
    event_shape=(8000,),
    levels=256,
    classes=10,
    counts=(2448, 272, 302),
    read=_read,
    files=(("recordings.zip",),),
    folders=("fsdd", "FSDD"),
    kind="sounds",
)
