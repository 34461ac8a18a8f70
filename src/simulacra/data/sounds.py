"""Data sets from a folder or .zip of sound files: windows of levels by the μ-law."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.file_names import arranged, check_broken
from simulacra.data.form import Form
from simulacra.data.formats.listing import counted, shown
from simulacra.data.formats.safe_reading import ensure_room
from simulacra.data.formats.soundfiles import (
    RATES,
    SUFFIXES,
    UNREADABLE,
    SoundFiles,
    decode,
)
from simulacra.data.labels import Names, form_of, names_of
from simulacra.data.splits import FEWEST, Splits, arrange
from simulacra.data.windows import mu_law, windows
from simulacra.ground.errors import DataError, UsageError
from simulacra.ground.spec import DataSpec

__all__ = ["Recordings", "cut", "load_sounds", "read_recordings", "resampled"]


@dataclass(frozen=True)
class Recordings:
    """Whole recordings as levels, before they are split and cut.

    Args:
        names: Paths of their files, sorted.
        levels: Of each, `(T,)`.
        rate: Samples a second of all.
        notes: What a reader of results has to know.
    """

    names: tuple[str, ...]
    levels: tuple[NDArray[np.integer], ...]
    rate: int
    notes: tuple[str, ...]


def load_sounds(path: Path, form: Form) -> Dataset:
    """The sounds of a folder and all folders below, or of a .zip, cut into windows.

    Recordings are split before they are cut, so that none lies in two splits. Sub-folders are
    classes or ready splits as for pictures; with `form.labels`, the files' names tell the label,
    and with `form.groups` what never spans two splits, such as a speaker.

    Args:
        path: The folder or .zip.
        form: `levels` (256 otherwise), `window` (one second otherwise), `rate`, `labels` and
            `groups`.

    Raises:
        DataError: If there are no sounds, more than one in a hundred cannot be read, their rates
            differ while no rate is given, or a name does not fit a pattern.
        UsageError: If the rate is not one of a sound, a pattern is none or gives every sound the
            same label, or labels are made of groups.
        ResourceError: If they would not fit into memory.
    """
    recordings = read_recordings(path, form)
    names, place = recordings.names, shown(str(path))
    if len(names) < FEWEST:
        raise DataError(
            f"{place} holds {counted(len(names), 'sound')}, expected at least {FEWEST}, for no "
            "recording may lie in two splits: add more, or cut long ones into several files"
        )
    said = arranged(names, form.labels, form.groups, place, "sound")
    places = torch.arange(len(names))
    return cut(
        replace(recordings, notes=(*recordings.notes, *said.notes)),
        arrange(said.ready(places, places.tolist()), path),
        said.names,
        form,
        name=shown(path.name) or place,
        description=f"Sounds from {place}.",
    )


def cut(
    recordings: Recordings,
    splits: Splits,
    names: Names,
    form: Form,
    *,
    name: str,
    description: str,
) -> Dataset:
    """The data set of recordings that are split already.

    Args:
        recordings: All of them.
        splits: Of the recordings' places, with their labels and groups.
        names: Of the classes of each part of the labels.
        form: `levels` and `window`, as for `load_sounds`.
        name: Of the data set.
        description: One sentence with the origin.

    Raises:
        ResourceError: If the windows would not fit into memory.
    """
    levels, window = form.levels or 256, form.window or recordings.rate

    def windows_of(split: Observations) -> Observations:
        return windows(recordings.levels, split, window=window, levels=levels)

    train, validation, test = (
        windows_of(splits["train"]), windows_of(splits["validation"]), windows_of(splits["test"])
    )  # fmt: skip
    spec = DataSpec(
        (window,), levels, coding="mu-law", rate=recordings.rate, **form_of(names, name)
    )
    return Dataset(
        name=name,
        spec=spec,
        train=train,
        validation=validation,
        test=test,
        split_seed=splits["split_seed"],
        **names_of(names),
        description=description,
        notes=(
            *recordings.notes,
            *_padding(train, validation, test),
            *_silence(recordings.levels, spec),
        ),
    )


def _padding(*splits: Observations) -> Iterator[str]:
    """How much of the windows is padding, if any is: it is learnt, and its cost is counted."""
    total = sum(split.x[:].numel() for split in splits)
    valid = sum(
        split.x[:].numel() if split.lengths is None else int(split.lengths.sum())
        for split in splits
    )
    if valid < total:
        yield f"{1 - valid / total:.1%} of the samples are silence that fills up last windows"


_FRAME, _QUIET = 0.02, 0.01
"""Seconds of a frame, and the share of full scale that no sample of a silent one goes beyond."""


def _silence(sounds: Sequence[NDArray[np.integer]], spec: DataSpec) -> Iterator[str]:
    """How much of the recordings themselves is silence, which costs few bits and so lowers all."""
    assert spec.levels is not None
    assert spec.rate is not None
    amplitudes = spec.to_float(torch.arange(spec.levels)).abs().numpy()
    # of few levels the one in the middle stands for more than a hundredth
    loud = amplitudes > max(_QUIET, float(amplitudes[spec.levels // 2]))
    frame = max(1, round(_FRAME * spec.rate))
    total, silent = 0, 0
    for sound in sounds:
        starts = np.arange(0, len(sound), frame)
        heard = np.logical_or.reduceat(loud[sound], starts)
        silent += int(np.diff(starts, append=len(sound))[~heard].sum())
        total += len(sound)
    # where all of it is, that was told already
    if 0.001 * total <= silent < total:
        yield (
            f"{silent / total:.1%} of the valid samples are silence (frames of "
            f"{1000 * _FRAME:g} ms within {_QUIET:.0%} of full scale), which lowers bits "
            "per valid sample"
        )


def read_recordings(path: Path, form: Form) -> Recordings:
    """Every sound of a folder or .zip at one rate, as levels.

    Args:
        path: The folder or .zip.
        form: `levels` and `rate`, as for `load_sounds`.

    Raises:
        DataError: If there are no sounds, more than one in a hundred cannot be read, or their
            rates differ while no rate is given.
        UsageError: If the rate is not one of a sound.
        ResourceError: If they would not fit into memory.
    """
    if form.rate is not None and not RATES[0] <= form.rate <= RATES[1]:
        raise UsageError(f"--rate goes from {RATES[0]} to {RATES[1]}, got {form.rate}")
    levels, rate, place = form.levels or 256, form.rate, shown(str(path))
    if levels < 3:
        raise UsageError(f"sounds need at least 3 levels, for one of them is silence, got {levels}")
    kept: dict[str, NDArray[np.integer]] = {}
    broken: list[tuple[str, str]] = []
    held, silent, loud, total = 0, True, 0, 0
    with SoundFiles(path) as files:
        if not files.names:
            raise DataError(
                f"{place} holds no sound: expected files that end in {' '.join(sorted(SUFFIXES))}"
            )
        for name in files.names:
            try:
                sound, its_rate = decode(files.read(name))
            except UNREADABLE as fault:
                broken.append((name, _why(fault, path)))
                continue
            if rate is None:
                rate = its_rate
            if form.rate is not None:
                sound = resampled(sound, its_rate, form.rate)
            elif its_rate != rate:
                raise DataError(
                    f"sounds in {place} differ in rate, {shown(next(iter(kept)))} has {rate} "
                    f"samples a second and {shown(name)} has {its_rate}: pass --rate N to resample "
                    "all of them"
                )
            silent = silent and not sound.any()
            loud += int((np.abs(sound) > 1).sum())
            total += len(sound)
            kept[name] = mu_law(sound, levels)
            held += kept[name].nbytes
            ensure_room(held, place)
    notes = check_broken(broken, len(kept) + len(broken), place, "sound")
    if files.again:
        links = counted(len(files.again), "link")
        notes.append(
            f"{links} to folders read already passed over, such as {shown(files.again[0])}"
        )
    if loud:
        notes.append(f"{loud / total:.2%} of the samples lie beyond ±1 and are clipped")
    if silent:
        notes.append("every sound is silent")
    return Recordings(tuple(kept), tuple(kept.values()), rate or 0, tuple(notes))


def _why(fault: BaseException, path: Path) -> str:
    """What is wrong with a file, on one line and without its path."""
    told = getattr(fault, "strerror", None) or str(fault)
    return shown(" ".join(told.replace(str(path), "…").split())) or type(fault).__name__


def resampled(sound: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.floating]:
    """The sound `(T,)` at another rate, by a polyphase filter."""
    if rate == wanted:
        return sound
    from scipy.signal import resample_poly

    ensure_room(8 * math.ceil(len(sound) * wanted / rate), "a resampled sound")
    divisor = math.gcd(rate, wanted)
    return np.asarray(resample_poly(sound, wanted // divisor, rate // divisor))
