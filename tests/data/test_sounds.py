"""Sound files become windows of μ-law levels, and broken ones are told by name."""

from __future__ import annotations

import io
import itertools
import math
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.form import Form
from simulacra.data.formats.soundfiles import SoundFiles, decode, holds_sounds, wav
from simulacra.data.sounds import load_sounds
from simulacra.data.windows import mu_law, windows
from simulacra.ground.errors import DataError, ResourceError, UsageError
from simulacra.ground.spec import DataSpec

RATE = 1000


def encoded(
    sound: np.ndarray, rate: int = RATE, kind: str = "wav", subtype: str | None = None
) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, sound, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def save(path: Path, seconds: float = 1.0, value: float = 0.5, rate: int = RATE) -> None:
    """A constant sound, so that its windows can be told from another's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = np.full(round(seconds * rate), float(value))
    path.write_bytes(encoded(sound, rate, path.suffix[1:].lower()))


def save_numbered(folder: Path, count: int = 20, seconds: float = 1.0) -> None:
    for i in range(count):
        save(folder / f"{i:03}.wav", seconds, (i + 1) / 1000)


def firsts(dataset: Dataset) -> dict[str, list[int]]:
    """Which of the numbered recordings each split has, by the first sample of its windows."""
    sounds = {split: dataset.spec.to_float(part.x[:, 0]) for split, part in dataset.splits.items()}
    return {split: (1000 * s - 1).round().int().tolist() for split, s in sounds.items()}


# ---- the μ-law ----------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [2, 3, 16, 255, 256, 1024, 65536])
def test_the_mu_law_inverts_to_float(levels: int) -> None:
    spec = DataSpec((levels,), levels, coding="mu-law")
    every = torch.arange(levels)
    assert mu_law(spec.to_float(every[None])[0].numpy(), levels).tolist() == every.tolist()


@settings(deadline=None, database=None)
@given(st.floats(-1, 1), st.integers(2, 300))
def test_no_level_is_nearer_after_companding(amplitude: float, levels: int) -> None:
    """By the definition: f(s) = sign(s) ln(1 + μ|s|) / ln(1 + μ), on a grid of levels."""
    mu = levels - 1
    f = math.copysign(math.log(1 + mu * abs(amplitude)) / math.log(1 + mu), amplitude)
    level = int(mu_law(np.array([amplitude]), levels)[0])
    assert 0 <= level < levels
    assert abs((f + 1) / 2 * mu - level) <= 0.5 + 1e-6


def test_levels_have_the_smallest_type_and_loud_sounds_are_clipped() -> None:
    loud = np.array([-3.0, -1.0, 0.0, 1.0, 7.0])
    assert mu_law(loud, 256).tolist() == [0, 0, 128, 255, 255]
    assert [mu_law(loud, n).dtype for n in (256, 257, 65536)] == [np.uint8, np.int16, np.int32]


# ---- windows ------------------------------------------------------------------------------------


@settings(deadline=None, database=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 12), st.randoms())
def test_windows_hold_every_sample_once_and_silence(sizes, window, random) -> None:
    recordings = [np.arange(100 * i, 100 * i + n).astype(np.int16) for i, n in enumerate(sizes)]
    order = random.sample(range(len(sizes)), len(sizes))
    cut = windows(
        recordings, Observations(torch.tensor(order), torch.tensor(order)), window=window,
        levels=1025,
    )  # fmt: skip
    lengths = torch.full((len(cut),), window) if cut.lengths is None else cut.lengths
    valid = [row[:n].tolist() for row, n in zip(cut.x, lengths.tolist(), strict=True)]
    whole = np.concatenate([recordings[i] for i in order])
    assert list(itertools.chain(*valid)) == whole.tolist()
    silence = [row[n:].tolist() for row, n in zip(cut.x, lengths.tolist(), strict=True)]
    assert set(itertools.chain(*silence)) <= {512}
    assert (cut.lengths is None) == all(n % window == 0 for n in sizes)
    assert cut.context is not None
    assert cut.context.tolist() == [row[0] // 100 for row in valid]
    assert cut.groups is not None
    assert cut.groups.tolist() == cut.context.tolist()


# ---- a folder -----------------------------------------------------------------------------------


def test_a_folder_becomes_windows_of_a_second(tmp_path: Path) -> None:
    save_numbered(tmp_path)
    dataset = load_sounds(tmp_path, Form())
    assert dataset.spec == DataSpec((RATE,), 256, coding="mu-law", rate=RATE)
    assert dataset.counts == {"train": 14, "validation": 2, "test": 4}
    assert dataset.train.x.dtype == torch.uint8
    assert dataset.train.lengths is None
    assert dataset.train.context is None
    assert load_sounds(tmp_path, Form()).fingerprint == dataset.fingerprint


def test_windows_know_their_recording_through_split_and_context(tmp_path: Path) -> None:
    save_numbered(tmp_path / "sounds", 30, seconds=3.25)
    place, vectors = str(tmp_path / "sounds"), tmp_path / "vectors.npz"
    plain = load(place, levels=65536, window=500)
    np.savez(vectors, **{s: np.ones((n, 2), np.float32) for s, n in plain.counts.items()})
    told = load(place, levels=65536, window=500, context=str(vectors))
    seen: list[int] = []
    for dataset in (plain, told):
        for split, recordings in firsts(dataset).items():
            groups = dataset.splits[split].groups
            assert groups is not None
            assert groups.tolist() == recordings
    for split in plain.splits.values():
        assert split.groups is not None
        assert int(torch.bincount(split.groups).max()) == 7
        seen += split.groups.unique().tolist()
    assert sorted(seen) == list(range(30))


def test_no_recording_lies_in_two_splits(tmp_path: Path) -> None:
    save_numbered(tmp_path, 30, seconds=3.25)
    dataset = load_sounds(tmp_path, Form(levels=65536))
    of = {split: set(numbers) for split, numbers in firsts(dataset).items()}
    assert set.union(*of.values()) == set(range(30))
    assert sum(map(len, of.values())) == 30
    assert dataset.counts == {"train": 21 * 4, "validation": 3 * 4, "test": 6 * 4}
    assert dataset.test.lengths is not None
    assert dataset.test.lengths.tolist() == [1000, 1000, 1000, 250] * 6
    # 750 of 4000, the same for every recording
    assert dataset.notes[0] == "18.8% of the samples are silence that fills up last windows"


def test_window_levels_and_rate_are_met(tmp_path: Path) -> None:
    save_numbered(tmp_path)
    dataset = load(str(tmp_path), window=300, levels=1024, rate=500)
    assert dataset.spec == DataSpec((300,), 1024, coding="mu-law", rate=500)
    assert sum(dataset.counts.values()) == 40
    assert dataset.test.lengths is not None
    assert dataset.test.lengths.tolist() == [300, 200] * 4
    assert dataset.options["window"] == 300


def test_sub_folders_are_classes_and_ready_splits(tmp_path: Path) -> None:
    for split, count in (("train", 12), ("valid", 2), ("test", 3)):
        for name, value in (("dog", 0.25), ("cat", -0.25)):
            for i in range(count):
                save(tmp_path / split / name / f"{i}.flac", 1.5, value)
    dataset = load_sounds(tmp_path, Form())
    assert dataset.counts == {"train": 48, "validation": 8, "test": 12}
    assert dataset.class_names == ("cat", "dog")
    for part in dataset.splits.values():
        assert part.context is not None
        assert torch.equal(part.x[:, 0] > 128, part.context == 1)


def test_labels_come_from_names_by_a_pattern(tmp_path: Path) -> None:
    for i in range(12):
        save(
            tmp_path / f"{i}" / f"{i}_{'yes' if i % 2 else 'no'}.wav", value=0.5 if i % 2 else -0.5
        )
    dataset = load_sounds(tmp_path, Form(labels="*_{label}"))
    assert dataset.class_names == ("no", "yes")
    assert dataset.spec.classes == 2
    assert dataset.train.context is not None
    assert torch.equal(dataset.train.x[:, 0] > 128, dataset.train.context == 1)
    save(tmp_path / "odd.wav")
    with pytest.raises(DataError, match="'odd' does not fit"):
        load_sounds(tmp_path, Form(labels="*_{label}"))


def test_one_label_for_all_is_refused(tmp_path: Path) -> None:
    for i in range(10):
        save(tmp_path / f"a_{i}.wav")
    with pytest.raises(UsageError, match=r"the same label, 'a': expected at least two"):
        load_sounds(tmp_path, Form(labels="{label}_*"))


def test_a_folder_that_is_linked_twice_is_read_once(tmp_path: Path) -> None:
    save_numbered(tmp_path / "a", 12)
    os.symlink(tmp_path / "a", tmp_path / "b")
    dataset = load_sounds(tmp_path, Form())
    assert sum(dataset.counts.values()) == 12
    assert dataset.notes[0] == "1 link to folders read already passed over, such as b"


def test_channels_are_averaged(tmp_path: Path) -> None:
    both = np.stack([np.full(RATE, 0.75), np.full(RATE, -0.25)], 1)
    for i in range(10):
        (tmp_path / f"{i}.wav").write_bytes(encoded(both, subtype="FLOAT"))
    dataset = load_sounds(tmp_path, Form(levels=65536))
    assert dataset.spec.to_float(dataset.train.x).numpy() == pytest.approx(0.25, abs=1e-4)


def test_resampling_keeps_the_tone(tmp_path: Path) -> None:
    """A sine of 50 Hz at another rate is the same sine."""
    for i in range(10):
        time = np.arange(RATE * 2) / (RATE * 2)
        tone = 0.5 * np.sin(2 * np.pi * 50 * time)
        (tmp_path / f"{i}.wav").write_bytes(encoded(tone, RATE * 2, subtype="FLOAT"))
    dataset = load_sounds(tmp_path, Form(rate=750, levels=65536))
    expected = 0.5 * np.sin(2 * np.pi * 50 * np.arange(750) / 750)
    middle = slice(100, -100)  # the filter rings where a sound begins and ends
    drawn = dataset.spec.to_float(dataset.train.x[:1])[0].numpy()
    assert drawn[middle] == pytest.approx(expected[middle], abs=0.01)


def test_rates_that_differ_are_refused_unless_resampled(tmp_path: Path) -> None:
    save_numbered(tmp_path)
    save(tmp_path / "other.wav", rate=2000)
    with pytest.raises(
        DataError, match=r"000.wav has 1000 .* other.wav has 2000: pass --rate N to resample"
    ):
        load_sounds(tmp_path, Form())
    assert load_sounds(tmp_path, Form(rate=1000)).train.lengths is None


def test_every_ending_is_read_and_hidden_names_and_loops_are_passed_over(tmp_path: Path) -> None:
    for i, name in enumerate(("a/b.WAV", "c.Flac", "d.ogg", ".e.wav", ".f/g.wav")):
        save(tmp_path / name, value=i / 10)
    (tmp_path / "a" / "notes.txt").touch()
    os.symlink(tmp_path, tmp_path / "a" / "again")
    with SoundFiles(tmp_path) as files:
        assert files.names == ["a/b.WAV", "c.Flac", "d.ogg"]
        for name in files.names:
            assert decode(files.read(name))[0].shape == (RATE,)


def test_a_folder_is_of_what_it_holds_most(tmp_path: Path) -> None:
    assert not holds_sounds(tmp_path)
    for name in ("cover.jpg", "notes.txt", "more.txt"):
        (tmp_path / name).touch()
    save(tmp_path / "a.wav")
    assert not holds_sounds(tmp_path)
    save(tmp_path / "b" / "c.ogg")
    assert holds_sounds(tmp_path)


# ---- a zip --------------------------------------------------------------------------------------


def zipped(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_a_zip_is_the_folder_that_it_packs(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        save_numbered(tmp_path / "data" / name, 10)
    files = {
        path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*.wav")
    }
    hidden = {"__MACOSX/data/._a.wav": b"x", "data/.b/c.wav": b"x", "notes.txt": b"x"}
    packed = load(str(zipped(tmp_path / "a.zip", files | hidden)))
    assert packed.fingerprint == load(str(tmp_path / "data")).fingerprint
    assert packed.class_names == ("cat", "dog")


def test_a_zip_without_sounds_or_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is one file"):
        load(str(zipped(tmp_path / "a.zip", {"a.txt": b"x"})))
    (tmp_path / "b.zip").write_bytes(b"not a zip")
    with pytest.raises(DataError, match=r"is no \.zip"):
        load(str(tmp_path / "b.zip"))
    os.mkfifo(tmp_path / "c.zip")
    with pytest.raises(DataError, match="no regular file"):
        load(str(tmp_path / "c.zip"))


def test_a_member_that_lies_about_its_size_is_not_unpacked(tmp_path: Path) -> None:
    good = {f"{i}.wav": encoded(np.full(RATE, 0.1)) for i in range(10)}
    path = zipped(tmp_path / "a.zip", good | {"z.wav": encoded(np.zeros(RATE))})
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"z.wav") - 46  # its entry in the directory at the end
    assert content[entry : entry + 4] == b"PK\x01\x02"
    struct.pack_into("<I", content, entry + 24, 3 << 30)
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"1 of 11 .*z.wav \(it claims more than its bytes can hold"
    ):
        load_sounds(path, Form())


def test_a_member_that_is_corrupt_is_named(tmp_path: Path) -> None:
    good = {f"{i}.wav": encoded(np.full(RATE, 0.1)) for i in range(10)}
    path = zipped(tmp_path / "a.zip", good, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(b"3.wav") + 500] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"1 of 10 sounds .*3.wav \(Bad CRC-32"):
        load_sounds(path, Form())


# ---- bad sounds ---------------------------------------------------------------------------------

NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 60_000)
WAV, FLAC, OGG = encoded(NOISE), encoded(NOISE, kind="flac"), encoded(NOISE, 8000, "ogg")


def patched(content: bytes, place: int, number: int) -> bytes:
    return content[:place] + struct.pack("<I", number) + content[place + 4 :]


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "words": (b"no sound at all", "not a WAV, FLAC or Ogg file"),
    "another format": (encoded(NOISE, kind="aiff"), "not a WAV, FLAC or Ogg file"),
    "wav, cut": (WAV[:-1], "claims 120000 bytes and holds 119999"),
    "wav, half": (WAV[: len(WAV) // 2], "claims 120000 bytes"),
    "wav, head": (WAV[:30], "has no data"),
    "wav, long": (patched(WAV, 40, 0xFFFFFFFF), "claims 4294967295 bytes"),
    "wav, no sample": (encoded(NOISE[:0]), "holds no sample"),
    "wav, slow": (encoded(NOISE, 99), "99 samples a second"),
    "wav, fast": (patched(WAV, 24, 1_000_001), "1000001 samples a second"),
    "nan": (encoded(np.array([0, np.nan]), subtype="FLOAT"), "NaN or infinite"),
    "infinite": (encoded(np.array([0, np.inf]), subtype="DOUBLE"), "NaN or infinite"),
    "flac, cut": (FLAC[:-1], "lost sync"),
    "flac, half": (FLAC[: len(FLAC) // 2], "lost sync"),
    "ogg, cut": (OGG[:-1], "its last page is cut"),
    "ogg, half": (OGG[: len(OGG) // 2], "ends before its last page"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_sound_is_refused_in_words(name: str) -> None:
    content, message = BAD[name]
    with pytest.raises(ValueError, match=message) as caught:
        decode(content)
    assert "object at 0x" not in str(caught.value)


@pytest.mark.parametrize("cut", [0, 1, 7, 100, 1000])
@pytest.mark.parametrize("kind", ["wav", "flac", "ogg"])
def test_a_cut_file_is_never_read_as_a_whole_one(kind: str, cut: int) -> None:
    whole = encoded(NOISE, 8000, kind)
    assert decode(whole)[0].shape == NOISE.shape
    with pytest.raises(ValueError, match=r".+"):
        decode(whole[:cut])


@settings(deadline=None, database=None)
@given(st.data())
def test_garbage_raises_what_is_expected(data: st.DataObject) -> None:
    """Whatever the bytes are: a sound without NaN, or a ValueError."""
    content = bytearray(encoded(NOISE[:500], kind=data.draw(st.sampled_from(["wav", "flac"]))))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        sound, rate = decode(bytes(content))
    except ValueError:
        return
    assert np.isfinite(sound).all()
    assert len(sound) > 0
    assert 100 <= rate <= 1_000_000


def test_a_flac_that_claims_hours_takes_no_memory_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(encoded(NOISE[:1000], kind="flac"))
    content[21] |= 0x0F  # the upper 4 of the 36 bits of the number of samples
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 4096, "SC_PAGE_SIZE": 4096}.__getitem__)
    with pytest.raises(ValueError, match=r".+"):
        decode(bytes(content))


def test_one_bad_file_in_a_hundred_is_skipped_and_told(tmp_path: Path) -> None:
    save_numbered(tmp_path, 99, 0.1)
    (tmp_path / "000a.wav").write_bytes(BAD["nan"][0])
    dataset = load_sounds(tmp_path, Form(window=100))
    assert sum(dataset.counts.values()) == 99
    assert dataset.notes[0] == "1 file could not be read and was skipped"


def test_more_bad_files_are_refused_by_name(tmp_path: Path) -> None:
    save_numbered(tmp_path, 20, 0.1)
    for i in range(6):
        (tmp_path / f"bad{i}.wav").write_bytes(b"no sound")
    with pytest.raises(
        DataError, match=r"6 of 26 sounds .*bad0.wav \(not a WAV.*bad4.wav.* and 1 more: repair"
    ) as caught:
        load_sounds(tmp_path, Form())
    assert "bad5" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pipe_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    save_numbered(tmp_path, 10, 0.1)
    os.mkfifo(tmp_path / "pipe.wav")
    os.symlink(tmp_path / "nowhere", tmp_path / "lost.wav")
    with pytest.raises(
        DataError, match=r"2 of 12 .*lost.wav \(No such file.*pipe.wav \(it is no reg"
    ):
        load_sounds(tmp_path, Form())


def test_silence_is_told(tmp_path: Path) -> None:
    for i in range(10):
        save(tmp_path / f"{i}.wav", value=0)
    assert load_sounds(tmp_path, Form()).notes == ("every sound is silent",)
    save(tmp_path / "loud.wav")
    (note,) = load_sounds(tmp_path, Form()).notes
    assert note.startswith("90.9% of the valid samples are silence")


def test_too_few_sounds_and_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no sound"):
        load_sounds(tmp_path, Form())
    save_numbered(tmp_path, 9)
    with pytest.raises(DataError, match=r"holds 9 sounds, expected at least 10.*no recording"):
        load_sounds(tmp_path, Form())


@pytest.mark.parametrize("rate", [1, 99, 1_000_001])
def test_a_rate_that_no_sound_has_is_refused(tmp_path: Path, rate: int) -> None:
    save_numbered(tmp_path)
    with pytest.raises(UsageError, match="--rate goes from 100"):
        load_sounds(tmp_path, Form(rate=rate))


def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 256 KiB, of which half may be taken."""
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 64, "SC_PAGE_SIZE": 4096}.__getitem__)


@pytest.mark.parametrize(
    ("form", "seconds", "what"),
    [
        (Form(), 10, "{folder} would"),  # all the recordings
        (Form(window=10_000), 1, "14 windows of 10000 samples would"),
        (Form(rate=100_000), 1, "a resampled sound would"),
        (Form(), 40, "a sound would"),  # one of them, decoded
    ],
)
def test_what_would_not_fit_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form, seconds: float, what: str
) -> None:
    save_numbered(tmp_path, seconds=1)
    small_memory(monkeypatch)
    assert sum(load_sounds(tmp_path, Form()).counts.values()) == 20
    monkeypatch.undo()
    save_numbered(tmp_path, seconds=seconds)
    small_memory(monkeypatch)
    with pytest.raises(ResourceError, match=what.format(folder=tmp_path)):
        load_sounds(tmp_path, form)


# ---- writing ------------------------------------------------------------------------------------


def test_a_wav_holds_all_sounds_with_gaps() -> None:
    sounds = torch.tensor([[0.5, -0.25, 1.0], [0.0, 0.125, -1.0]])
    again, rate = decode(wav(sounds, 1000, gap=0.002))
    assert rate == 1000
    assert again.tolist() == pytest.approx([0.5, -0.25, 1, 0, 0, 0, 0.125, -1], abs=1e-4)


@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"]
)
def test_every_depth_of_wav_is_read(subtype: str) -> None:
    sound = np.sin(np.arange(400) / 9) / 2
    again, _ = decode(encoded(sound, subtype=subtype))
    assert again == pytest.approx(sound, abs=0.02)


def test_options_of_pictures_are_refused(tmp_path: Path) -> None:
    save_numbered(tmp_path)
    with pytest.raises(UsageError, match="side is for pictures"):
        load(str(tmp_path), side=8)
