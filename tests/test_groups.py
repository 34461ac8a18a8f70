"""Groups, such as persons: none lies in two splits, and none becomes a class."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import simulacra as sim
from commands import train
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.splits import hold_out, split_all
from simulacra.ground.errors import DataError, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.judging.judge import Judge
from simulacra.models import registry

SPLITS = ("train", "validation", "test")


def grouped(sizes: list[int]) -> Observations:
    """Numbered observations, so many of each group, in a mixed order."""
    groups = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    groups = groups[torch.randperm(len(groups), generator=torch.Generator().manual_seed(1))]
    return Observations(torch.arange(len(groups), dtype=torch.int32)[:, None], groups=groups)


def apart(dataset: Dataset | dict) -> bool:
    """Whether no group is in two splits."""
    splits = dataset.splits if isinstance(dataset, Dataset) else {s: dataset[s] for s in SPLITS}
    own = [set(split.groups.tolist()) for split in splits.values()]
    return sum(map(len, own)) == len(set().union(*own))


# ---- splits --------------------------------------------------------------------------------------


def test_no_group_is_in_two_splits_and_their_sizes_are_near_the_usual_ones():
    chance = random.Random(0)
    for _ in range(60):
        sizes = [chance.randint(1, chance.choice([1, 4, 30])) for _ in range(chance.randint(3, 60))]
        sizes += [10] * (sum(sizes) < 10)
        whole = grouped(sizes)
        splits = split_all(whole)
        assert apart(splits)
        rows = torch.cat([splits[name].x[:, 0] for name in SPLITS])
        assert sorted(rows.tolist()) == list(range(len(whole)))
        for name, share in (("test", 0.2), ("validation", 0.1)):
            assert len(splits[name]) > 0
            assert abs(len(splits[name]) - share * len(whole)) <= max(sizes) + 1
        kept = hold_out(whole, grouped([4, 4]))
        assert not set(kept["train"].groups.tolist()) & set(kept["validation"].groups.tolist())
        assert 0 < len(kept["validation"]) <= 0.1 * len(whole) + max(sizes) + 1


def test_splits_by_groups_never_change():
    # runs made long ago have these splits: this must hold for ever
    splits = split_all(grouped([3, 1, 4, 1, 5, 9, 2, 6, 5, 3]))
    found = {name: sorted(set(splits[name].groups.tolist())) for name in SPLITS}
    assert found == {"train": [1, 2, 3, 4, 5, 6, 8], "validation": [0], "test": [7, 9]}


def test_groups_of_one_are_split_like_observations_in_size():
    splits = split_all(grouped([1] * 100))
    assert [len(splits[name]) for name in SPLITS] == [70, 10, 20]


def test_too_few_groups_are_refused():
    with pytest.raises(DataError, match="at least 3 groups for as many splits, got 2"):
        split_all(grouped([20, 20]))
    with pytest.raises(DataError, match="at least 2 groups for as many splits, got 1"):
        hold_out(grouped([20]), grouped([5]))


# ---- reading -------------------------------------------------------------------------------------


def faces(folder: Path, people: int = 6, each: int = 4, *, flat: bool = False) -> Path:
    """Pictures of people, in a folder for each or all in one, called by person and mood."""
    rng = np.random.default_rng(0)
    for person in range(people):
        name = f"p{person:02}"
        for number in range(each):
            mood = ("glad", "sad")[number % 2]
            path = folder / f"{name}_{mood}_{number}.png"
            if not flat:
                path = folder / name / f"{mood}_{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (4, 4), dtype=np.uint8)).save(path)
    return folder


def test_people_in_folders_are_groups_and_no_classes(tmp_path):
    data = sim.load_data(str(faces(tmp_path / "f")), groups="{person}/*")
    assert data.spec.classes == 0
    assert data.train.context is None
    assert apart(data)
    assert "6 groups, each in one split alone" in data.notes
    assert "sub-folders are the groups, so no classes are made of them" in data.notes
    # without groups they are classes
    assert sim.load_data(str(tmp_path / "f")).spec.classes == 6


@pytest.mark.parametrize("flat", [False, True])
def test_labels_and_groups_are_read_from_the_same_names(tmp_path, flat):
    where = {"groups": "{person}_*", "labels": "*_{label}_*"}
    if not flat:
        where = {"groups": "{person}/*", "labels": "{label}_*"}
    data = sim.load_data(str(faces(tmp_path / "f", flat=flat)), **where)
    assert data.class_names == ("glad", "sad")
    assert apart(data)
    assert data.counts["train"] > data.counts["test"] >= 4
    again = sim.load_data(**{k: v for k, v in data.options.items() if v is not None})
    assert again.fingerprint == data.fingerprint


def test_labels_that_say_the_same_as_groups_are_refused(tmp_path):
    path = str(faces(tmp_path / "f", flat=True))
    with pytest.raises(UsageError, match="a group is no class"):
        sim.load_data(path, groups="{person}_*", labels="{label}_*")
    with pytest.raises(UsageError, match="the classes of person, and a group is no class"):
        sim.load_data(path, groups="{who}_*", labels="{person}_{mood}_*")
    with pytest.raises(DataError, match="groups' pattern"):
        sim.load_data(path, groups="{person}/*")


def test_a_group_in_two_ready_splits_is_named(tmp_path):
    faces(tmp_path / "f" / "train", people=6)
    faces(tmp_path / "f" / "test", people=2)
    data = sim.load_data(str(tmp_path / "f"), groups="{person}/*", labels="{label}_*")
    (note,) = (note for note in data.notes if "ready splits" in note)
    assert "2 of 6 groups lie in several of the ready splits, such as 'p00' in test and" in note
    assert not set(data.train.groups.tolist()) & set(data.validation.groups.tolist())


def test_a_column_of_a_table_is_groups(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        f"{a:.3f},{b:.3f},p{i // 5},{i % 2}" for i, (a, b) in enumerate(rng.normal(size=(50, 2)))
    ]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["a,b,person,kind", *rows]))
    data = sim.load_data(str(path), groups="person", labels="kind")
    assert data.columns == ("a", "b")
    assert data.class_names == ("0", "1")
    assert apart(data)
    assert [len(split) % 5 for split in data.splits.values()] == [0, 0, 0]
    numbered = sim.load_data(str(path), groups="3", labels="4")
    assert numbered.fingerprint == data.fingerprint
    with pytest.raises(UsageError, match="both labels and groups: a group is no class"):
        sim.load_data(str(path), groups="person", labels="person")
    with pytest.raises(UsageError, match="no column 'persons' for groups: did you mean 'person'"):
        sim.load_data(str(path), groups="persons")
    path.write_text(path.read_text().replace("p3", ""))
    with pytest.raises(DataError, match="line 17: no group"):
        sim.load_data(str(path), groups="person", labels="kind")


def test_an_array_of_an_npz_is_groups(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (60, 3, 3), dtype=np.uint8)
    people, y = np.arange(60) // 6, np.arange(60) % 2
    np.savez(tmp_path / "a.npz", x=x, person=people, y=y)
    data = sim.load_data(str(tmp_path / "a.npz"), groups="person")
    assert data.spec.classes == 2
    assert apart(data)
    with pytest.raises(UsageError, match="no array 'people' of groups: did you mean"):
        sim.load_data(str(tmp_path / "a.npz"), groups="people")
    np.savez(tmp_path / "b.npz", x=x, y=people, person=people)
    with pytest.raises(UsageError, match="a group is no class"):
        sim.load_data(str(tmp_path / "b.npz"), groups="person")
    np.savez(tmp_path / "c.npz", train=x, test=x, train_person=people, test_person=people[::-1])
    notes = sim.load_data(str(tmp_path / "c.npz"), groups="person").notes
    assert any("10 of 10 groups lie in several" in note for note in notes)
    np.savez(tmp_path / "d.npz", x=x, person=people[:9])
    with pytest.raises(DataError, match=r"groups as integers or words \(60,\)"):
        sim.load_data(str(tmp_path / "d.npz"), groups="person")
    np.save(tmp_path / "e.npy", x)
    with pytest.raises(UsageError, match=r"in an \.npz"):
        sim.load_data(str(tmp_path / "e.npy"), groups="person")


def test_speakers_are_groups_of_recordings_and_of_their_windows(tmp_path):
    from simulacra.data.formats.soundfiles import wav

    for number in range(24):
        path = tmp_path / "s" / f"{number % 3}_s{number // 4}_{number}.wav"
        path.parent.mkdir(exist_ok=True)
        tone = torch.sin(torch.arange(50) * (0.1 + number % 3))
        path.write_bytes(wav(0.5 * tone[None], 8000, gap=0))
    data = sim.load_data(str(tmp_path / "s"), labels="{label}_*", groups="*_{speaker}_*", window=25)
    assert apart(data)
    assert len(torch.cat([split.groups for split in data.splits.values()]).unique()) == 6
    # without them each recording is one
    alone = sim.load_data(str(tmp_path / "s"), labels="{label}_*", window=25)
    assert len(torch.cat([split.groups for split in alone.splits.values()]).unique()) == 24


def test_sets_with_a_name_have_splits_of_their_own():
    with pytest.raises(UsageError, match="digits has splits of its own"):
        sim.load_data("digits", groups="{person}_*")


def test_context_vectors_in_the_order_of_the_source_do_not_fit_splits_by_groups(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (60, 3, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=x, person=np.arange(60) // 6)
    np.save(tmp_path / "c.npy", np.zeros((60, 2), np.float32) + np.arange(60)[:, None])
    with pytest.raises(DataError, match="should hold context vectors train"):
        sim.load_data(str(tmp_path / "a.npz"), groups="person", context=tmp_path / "c.npy")


# ---- figures -------------------------------------------------------------------------------------


def test_intervals_of_pictures_count_groups():
    rng = torch.Generator().manual_seed(0)
    spec = DataSpec((1, 2, 2), 3)

    def split() -> Observations:
        x = torch.randint(3, (80, 1, 2, 2), generator=rng).to(torch.uint8)
        return Observations(x, groups=torch.arange(80) // 8)

    data = Dataset("some", spec, split(), split(), split())
    with seeded(0):
        model = registry.build("made", spec, {"hidden": (4,)}).eval()
    entry = Judge(data, draws=1).model(model, "made").entry
    assert (entry.likelihood.observations, entry.likelihood.groups) == (80, 10)
    assert entry.samples.refused is None
    # half of the test split, without a group in both halves
    assert entry.samples.count == 40
    plain = replace(data, test=replace(data.test, groups=None))
    other = Judge(plain, draws=1).model(model, "made").entry
    assert other.likelihood.groups is None
    assert other.likelihood.log_likelihood == entry.likelihood.log_likelihood


def test_a_test_split_of_one_group_is_judged_as_far_as_that_goes():
    split = Observations(torch.zeros(60, 1, 2, 2, dtype=torch.uint8), groups=torch.zeros(60).long())
    spec = DataSpec((1, 2, 2), 3)
    model = registry.build("made", spec, {"hidden": (4,)}).eval()
    entry = Judge(Dataset("some", spec, split, split, split), draws=1).model(model, "made").entry
    assert "got 0 in each without a recording or group in both" in entry.samples.refused
    assert any("all of one group" in warning for warning in entry.warnings)


def test_a_run_on_people_apart_finds_its_data_again(tmp_path, ok):
    train("made", faces(tmp_path / "f", people=8), "--groups", "{person}/*", "--labels",
          "{label}_*", "--set", "context=label", "--set", "hidden=4", "--budget", "2steps",
          "--out", tmp_path / "run")  # fmt: skip
    data = sim.Run.open(tmp_path / "run").dataset()
    assert apart(data)
    ok("sample", tmp_path / "run", "--label", "sad", "-n", "2", "--out", "a.png")
