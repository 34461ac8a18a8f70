"""Sound files in a folder or a .zip: which there are, and one of them as amplitudes."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulacra.data.formats.images import SUFFIXES as PICTURES
from simulacra.data.formats.listing import Listing, list_files, open_regular, shown
from simulacra.data.formats.safe_reading import DEFLATE_RATIO, FAULTS, ensure_room, read_at_most
from simulacra.ground.errors import DataError

SUFFIXES = frozenset((".wav", ".flac", ".ogg"))
"""Endings of the files that are taken for sounds, in lower case."""

RATES = (100, 1_000_000)
"""Samples a second that a sound may have; what is beyond is a broken header."""

UNREADABLE = (*FAULTS, zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError)
"""What is raised on a sound that is cut or corrupt; libsndfile's errors are RuntimeErrors."""

_BLOCK = 1 << 20
"""Numbers that are decoded at once."""


class SoundFiles(AbstractContextManager["SoundFiles"]):
    """The sound files of a folder, all folders below included, or of a .zip; a context manager.

    Hidden names are passed over. Nothing is unpacked to disk.

    Args:
        path: The folder or .zip.

    Attributes:
        names: Paths below the folder with `/` on every system, sorted. A folder that a .zip wraps
            around all of its files is left out.
        again: Links to folders that are listed already; they were passed over.

    Raises:
        DataError: If it is not a .zip archive, or not to be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive: zipfile.ZipFile | None = None
        self.again: tuple[str, ...] = ()
        if path.is_dir():
            listing = list_files(path, SUFFIXES)
            self._places = {name: name for name in listing.files}
            self.again = listing.again
        else:
            try:
                if not path.is_file():
                    raise OSError("it is no regular file")
                self._archive = zipfile.ZipFile(path)
            except UNREADABLE as fault:
                raise DataError(
                    f"{shown(str(path))} is no .zip to be read ({fault}): save it again"
                ) from fault
            self._places = _unwrapped(
                [m.filename for m in self._archive.infolist() if _is_sound(m.filename)]
            )
        self.names = sorted(self._places)

    def read(self, name: str) -> bytes:
        """The bytes of one file.

        Raises:
            OSError: If it cannot be read or is no regular file; or another of `UNREADABLE`.
            ResourceError: If it would not fit into memory.
        """
        what = shown(f"{name} in {self.path}")
        if self._archive is None:
            with open_regular(self.path / self._places[name]) as file:
                size = os.fstat(file.fileno()).st_size
                ensure_room(size, what)
                return read_at_most(file, size)
        member = self._archive.getinfo(self._places[name])
        if member.file_size > member.compress_size * DEFLATE_RATIO + 1024:
            raise ValueError("it claims more than its bytes can hold")
        ensure_room(member.file_size, what)
        with self._archive.open(member) as stream:
            return read_at_most(stream, member.file_size)

    def __exit__(self, *_: object) -> None:
        """Close the archive."""
        if self._archive is not None:
            self._archive.close()


def holds_sounds(path: Path, listing: Listing | None = None) -> bool:
    """Whether a folder or .zip is one of sounds, which are more than the pictures beside them.

    Args:
        path: The folder or .zip.
        listing: The folder's sounds and pictures, if they are known.

    Raises:
        DataError: If it is a .zip that cannot be read.
    """
    if not path.is_dir():
        with SoundFiles(path) as packed:
            return bool(packed.names)
    found = listing or list_files(path, SUFFIXES | PICTURES)
    sounds = len(found.only(SUFFIXES).files)
    return sounds > len(found.files) - sounds


def decode(data: bytes) -> tuple[NDArray[np.float32], int]:
    """The amplitudes of a WAV, FLAC or Ogg file, and samples a second.

    Args:
        data: The file's bytes.

    Returns:
        The mean of its channels, `(T,)`, usually in [−1, 1]; and its rate.

    Raises:
        ValueError: If it is none of these, cut, empty, or holds numbers that are not finite; or
            another of `UNREADABLE`.
        ResourceError: If it would not fit into memory.
    """
    import soundfile

    # by content, not by name: libsndfile would take two dozen other formats
    if data[:4] == b"RIFF":
        _check_wav(data)
    elif data[:4] == b"OggS":
        _check_ogg(data)
    elif data[:4] != b"fLaC":
        raise ValueError("not a WAV, FLAC or Ogg file" if data else "empty")
    blocks: list[NDArray[np.float32]] = []
    held = 0
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            rate, claimed = int(sound.samplerate), int(sound.frames)
            if not RATES[0] <= rate <= RATES[1]:
                raise ValueError(f"{rate} samples a second")
            # a header may claim any length: memory grows with what is really there
            portion = max(1, _BLOCK // sound.channels)
            while len(block := sound.read(portion, dtype="float32", always_2d=True)):
                held += len(block)
                ensure_room(8 * held, "a sound")
                blocks.append(block.mean(axis=1))
    except soundfile.LibsndfileError as fault:
        raise ValueError(fault.error_string) from fault
    if held != claimed:
        raise ValueError(f"it claims {claimed} samples and holds {held}")
    if not held:
        raise ValueError("it holds no sample")
    sound = np.concatenate(blocks)
    if not np.isfinite(sound).all():
        raise ValueError("it holds NaN or infinite samples")
    return sound, rate


def wav(sounds: Tensor, rate: int, *, gap: float = 0.25) -> bytes:
    """A WAV file of 16 bits with sounds one after another.

    Args:
        sounds: Amplitudes in [−1, 1], `(N, T)`; what is beyond is clipped.
        rate: Samples a second.
        gap: Silence between two of them, in seconds.
    """
    import soundfile

    silence = torch.zeros(len(sounds), round(gap * rate))
    row = torch.cat([sounds.detach().cpu().float(), silence], 1).flatten()
    buffer = io.BytesIO()
    row = row[: len(row) - silence.shape[1]]
    soundfile.write(buffer, row.numpy(), rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def flac(levels: NDArray[np.integer], count: int) -> bytes:
    """A FLAC file of levels, silence in the middle: as small as they get without any loss.

    Args:
        levels: `(T,)`, each 0 … count − 1.
        count: At most 65,536. Up to 256 levels are samples of 8 bits, more are of 16.
    """
    import soundfile

    bits = 8 if count <= 1 << 8 else 16
    # libsndfile takes the upper bits of what it is given
    samples = (levels.astype(np.int32) - count // 2) << (16 - bits)
    buffer = io.BytesIO()
    soundfile.write(
        buffer, samples.astype(np.int16), _FLAC_RATE, format="FLAC",
        subtype="PCM_S8" if bits == 8 else "PCM_16", compression_level=1.0,
    )  # fmt: skip
    return buffer.getvalue()


_FLAC_RATE = 8000
"""Samples a second that a FLAC file claims, which change nothing else in it."""


def _check_wav(data: bytes) -> None:
    """Refuse a WAV whose samples are fewer than it claims: libsndfile reads what is there."""
    place = 12
    while place + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, place)
        place += 8
        if name == b"data":
            if size > len(data) - place:
                raise ValueError(f"it claims {size} bytes and holds {len(data) - place}")
            return
        place += size + size % 2
    raise ValueError("it has no data")


def _check_ogg(data: bytes) -> None:
    """Refuse an Ogg file without its last page, which says that it is the last."""
    # a page is its head of 27 bytes, the lengths of its segments, and these
    place = data.rfind(b"OggS")
    head = place + 27
    if len(data) < head or not data[place + 5] & 4:
        raise ValueError("it ends before its last page")
    count = data[head - 1]
    segments = data[head : head + count]
    if len(data) < head + count + sum(segments):
        raise ValueError("its last page is cut")


def _is_sound(name: str) -> bool:
    hidden = any(part.startswith(".") for part in name.split("/"))
    # in a .zip, what ends in / is a folder
    return not hidden and name[-1] != "/" and Path(name).suffix.lower() in SUFFIXES


def _unwrapped(names: list[str]) -> dict[str, str]:
    """Names of members without the folders that wrap all of them → the members."""
    short = {name: name for name in names}
    while len({name.partition("/")[0] for name in short}) == 1 and all(
        "/" in name for name in short
    ):
        short = {name.partition("/")[2]: member for name, member in short.items()}
    return short
