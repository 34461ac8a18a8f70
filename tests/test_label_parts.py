"""Labels of several parts, and labels that are not told: from the files to the figures."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import simulacra as sim
from commands import train
from simulacra.cli.inputs import read_label
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.foreign.samples import read_samples
from simulacra.data.formats.soundfiles import wav
from simulacra.data.label_patterns import parts_of
from simulacra.ground.errors import CheckpointError, DataError, MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.judging.figures.likelihood import likelihood
from simulacra.judging.judge import Judge
from simulacra.judging.scoring import score_model
from simulacra.models import registry
from simulacra.nn.context import ContextEmbedding
from simulacra.runs.record import class_names_of, read_record
from simulacra.tasks.bayes import class_frequencies
from simulacra.tasks.sample import classes_in_turn, frequent_context

PARTS = (("digit", 3), ("speaker", 2))
SPOKEN = DataSpec((1, 2, 2), 3, classes=6, parts=PARTS)
PLAIN = DataSpec((1, 2, 2), 3, classes=6)


# ---- the form of data ----------------------------------------------------------------------------


def test_a_class_and_its_parts_are_one_and_the_same():
    classes = torch.arange(-1, 6)
    labels = SPOKEN.labels(classes)
    assert labels.tolist() == [[-1, -1], [0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]]
    assert torch.equal(SPOKEN.joint(labels), classes)
    assert SPOKEN.joint(torch.tensor([[-1, 1], [2, -1], [2, 1]])).tolist() == [-1, -1, 5]
    assert torch.equal(PLAIN.labels(classes), classes)
    assert torch.equal(PLAIN.joint(classes), classes)


def test_classes_of_any_parts_come_back():
    for sizes in ((2, 3, 4), (1, 5), (7, 1, 2), (3, 3)):
        parts = tuple((f"part{place}", size) for place, size in enumerate(sizes))
        spec = DataSpec((2,), 2, classes=math.prod(sizes), parts=parts)
        labels = spec.labels(torch.arange(spec.classes))
        assert len(labels.unique(dim=0)) == spec.classes
        assert torch.equal(labels.amax(0) + 1, torch.tensor(sizes))
        assert torch.equal(spec.joint(labels), torch.arange(spec.classes))


@pytest.mark.parametrize(
    ("parts", "word"),
    [
        ((("digit", 6),), "a name of its own"),
        ((("digit", 3), ("digit", 2)), "a name of its own"),
        ((("digit", 3), ("speaker", 3)), "their product"),
        ((("digit", 6), ("speaker", 0)), "parts are several"),
        (("digit", "speaker"), "parts are several"),
    ],
)
def test_parts_that_no_labels_can_have_are_refused(parts, word):
    with pytest.raises(UsageError, match=word):
        DataSpec((1, 2, 2), 3, classes=6, parts=parts)


def test_the_form_survives_json_and_old_records_read():
    told = json.loads(json.dumps(SPOKEN.to_json()))
    assert DataSpec.from_json(told) == SPOKEN
    # run records and checkpoints of before are those of the same form
    old = PLAIN.to_json()
    assert "parts" not in old
    assert DataSpec.from_json(old) == PLAIN


def test_data_of_one_part_keep_their_fingerprint():
    # as it was before labels had parts
    x = torch.arange(16).view(4, 1, 2, 2).remainder(3).to(torch.uint8)
    split = Observations(x, torch.tensor([0, 1, 2, 0]))
    assert Dataset("some", PLAIN, split, split, split).fingerprint.startswith("c05538d619a9")


# ---- what models are told ------------------------------------------------------------------------


def test_the_features_of_parts_are_added_and_untold_ones_add_nothing():
    embedding = ContextEmbedding("label", SPOKEN, 4)
    like = torch.zeros(4, 1)
    labels = torch.tensor([[2, 1], [2, -1], [-1, 1], [-1, -1]])
    both, digit, speaker, none = embedding(labels, like)
    assert torch.equal(both, digit + speaker)
    assert torch.equal(digit, embedding.embed.weight[2])
    assert torch.equal(speaker, embedding.embed.weight[4])
    assert not none.any()
    both.sum().backward()
    assert embedding.embed.weight.grad.sum(1).tolist() == [0, 0, 4, 0, 4]


def test_features_of_no_width_are_none_whatever_is_told():
    for spec, told in ((SPOKEN, torch.zeros(5, 2).long()), (PLAIN, torch.zeros(5).long())):
        assert ContextEmbedding("label", spec)(told, torch.zeros(5)).shape == (5, 0)


def test_labels_of_one_part_are_what_they_were_and_may_be_untold():
    embedding = ContextEmbedding("label", PLAIN, 4)
    assert list(embedding.state_dict()) == ["embed.weight"]
    assert embedding.embed.weight.shape == (6, 4)
    found = embedding(torch.tensor([5, -1]), torch.zeros(2, 1))
    assert torch.equal(found[0], embedding.embed.weight[5])
    assert not found[1].any()


@pytest.mark.parametrize(
    ("spec", "labels", "word"),
    [
        (SPOKEN, [[0, 2]], "labels of speaker go from 0 to 1, or −1 where untold, got 2 to 2"),
        (SPOKEN, [[-2, 0]], "labels of digit go from 0 to 2"),
        (SPOKEN, [3], r"a label of digit and speaker for each row, \(1, 2\); got shape \(1,\)"),
        (PLAIN, [6], "labels go from 0 to 5"),
        (PLAIN, [-2], "labels go from 0 to 5"),
        (PLAIN, [[0, 0]], r"a label for each row, \(1,\)"),
    ],
)
def test_labels_that_no_class_has_are_refused(spec, labels, word):
    embedding = ContextEmbedding("label", spec, 4)
    with pytest.raises(UsageError, match=word):
        embedding(torch.tensor(labels), torch.zeros(1, 1))


def test_samples_are_drawn_for_combinations_or_for_what_is_told_of_them():
    model = registry.build("made", SPOKEN, {"hidden": (8,), "context": "label"})
    assert torch.equal(sim.sample(model, 8).labels, SPOKEN.labels(torch.arange(8) % 6))
    assert sim.sample(model, 2, label=3).labels.tolist() == [[1, 1], [1, 1]]
    told = torch.tensor([[2, -1], [-1, -1]])
    assert torch.equal(sim.sample(model, context=told).labels, told)
    with pytest.raises(UsageError, match="label goes from 0 to 5"):
        sim.sample(model, 2, label=6)


# ---- figures -------------------------------------------------------------------------------------


def spoken(rows: int = 60, untold: float = 0.0, spec: DataSpec = SPOKEN) -> Dataset:
    """Pictures whose first value is the digit and whose second is the speaker."""
    generator = torch.Generator().manual_seed(3)

    def split() -> Observations:
        classes = torch.randint(spec.classes, (rows,), generator=generator)
        parts = SPOKEN.labels(classes)
        x = torch.randint(3, (rows, 1, 2, 2), generator=generator)
        x[:, 0, 0] = parts
        labels = spec.labels(classes)
        hidden = torch.rand(rows, generator=generator) < untold
        labels = torch.where(hidden.view(-1, *[1] * (labels.dim() - 1)), -1, labels)
        return Observations(x.to(torch.uint8), labels)

    return Dataset("spoken", spec, split(), split(), split())


def untrained(spec: DataSpec) -> sim.Model:
    with seeded(0):
        return registry.build("made", spec, {"hidden": (8,), "context": "label"}).eval()


def test_frequencies_count_whole_labels_alone():
    labels = torch.tensor([[0, 0], [0, 0], [2, 1], [2, -1], [-1, -1]])
    split = Observations(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), labels)
    found = class_frequencies(split, SPOKEN)
    assert found is not None
    assert torch.allclose(found, torch.tensor([2 / 3, 0, 0, 0, 0, 1 / 3]))
    assert class_frequencies(replace(split, context=torch.full((5, 2), -1)), SPOKEN) is None


def test_the_sum_over_classes_needs_no_labels():
    data, model = spoken(), untrained(SPOKEN)
    frequencies = class_frequencies(data.train, SPOKEN)
    whole = likelihood(model, data.test, class_frequencies=frequencies)
    own = SPOKEN.joint(data.test.context)
    assert torch.equal(whole.given_each_label[torch.arange(60), own], whole.given_label.values)
    some = data.test.context.clone()
    some[::3] = -1
    some[1, 0] = -1
    hidden = replace(data.test, context=some)
    part = likelihood(model, hidden, class_frequencies=frequencies)
    assert torch.equal(part.marginal.values, whole.marginal.values)
    kept = (some >= 0).all(1)
    assert torch.equal(part.given_label.rows, kept.nonzero()[:, 0])
    assert torch.equal(part.given_label.values, whole.given_label.values[kept])
    assert torch.equal(part.of_told, whole.given_each_label[kept])


@pytest.mark.parametrize("spec", [SPOKEN, PLAIN], ids=["parts", "plain"])
def test_figures_by_class_leave_out_what_is_not_told_and_say_so(spec):
    data, model = spoken(untold=0.4, spec=spec), untrained(spec)
    told = int((spec.joint(data.test.context) >= 0).sum())
    assert 0 < told < 60
    found = score_model(
        model, "made", data, frequencies=class_frequencies(data.train, spec), draws=1, limit=None,
        flops=None, baseline=lambda: None,
    )  # fmt: skip
    assert any(f"{60 - told} of 60 test observations have no label" in w for w in found.warnings)
    assert found.found["classifier"].observations == told
    per_class = found.found["likelihood_given_label"].per_class
    assert sum(each.observations or 0 for each in per_class) == told
    assert found.found["likelihood"].observations == 60


def test_a_test_split_without_any_label_has_no_figures_by_class():
    data, model = spoken(), untrained(SPOKEN)
    data = replace(data, test=replace(data.test, context=torch.full((60, 2), -1)))
    found = score_model(
        model, "made", data, frequencies=class_frequencies(data.train, SPOKEN), draws=1,
        limit=None, flops=None, baseline=lambda: None,
    )  # fmt: skip
    assert "classifier" not in found.found
    assert found.found["likelihood"].observations == 60


def test_samples_to_be_judged_are_drawn_for_whole_labels():
    data, model = spoken(untold=0.9), untrained(SPOKEN)
    drawn = frequent_context(model, data, 40, seed=0)
    assert bool((drawn >= 0).all())
    assert classes_in_turn(model, 6).tolist() == SPOKEN.labels(torch.arange(6)).tolist()


def test_a_judge_copes_with_labels_of_which_most_are_not_told(monkeypatch):
    monkeypatch.setattr("simulacra.judging.features.pinned_classifier._FEWEST_STEPS", 60)
    data, spec = spoken(120, untold=0.7), SPOKEN
    # a classifier finds what stands in the pictures
    judge = Judge(data, draws=1)
    told = int((spec.joint(data.test.context) >= 0).sum())
    assert judge.baseline.observations == told
    figures = judge.model(untrained(spec), "made").entry.samples
    assert figures.refused is None
    # samples are drawn for whole labels, all of them
    assert figures.whole["class_accuracy"].count == figures.count
    # and each of them is counted in each part, wherever it was wrong
    assert {name: each.count for name, each in figures.by_part.items()} == {
        "digit": figures.count, "speaker": figures.count
    }  # fmt: skip
    assert figures.count == judge.samples.count
    # the classifier was not trained on real data that are asked about in the same way
    real, chance = judge.samples.references.real, judge.samples.references.chance
    classes = spec.labels(spec.joint(data.train.context))
    classes = classes[(classes >= 0).all(1)]
    for part, (name, _) in enumerate(spec.parts):
        assert real.by_part[name].value > 0.9
        commonest = float(classes[:, part].bincount().max()) / len(classes)
        assert chance.by_part[name].value == pytest.approx(commonest)
    # a model that knows nothing draws no better than chance
    assert figures.by_part["digit"].low < chance.by_part["digit"].value


# ---- reading -------------------------------------------------------------------------------------


def test_a_pattern_of_several_parts_names_them():
    assert parts_of("{digit}_{speaker}_*", "7_theo_32") == {"digit": "7", "speaker": "theo"}
    assert parts_of("*/{person}/{mood}-*", "faces/ann/sad-1") == {"person": "ann", "mood": "sad"}
    with pytest.raises(DataError, match="labels' pattern"):
        parts_of("{digit}_{speaker}_*", "7_theo")
    # no part spans folders
    with pytest.raises(DataError, match="groups' pattern"):
        parts_of("x{person}y/*", "xa/by/1", "groups")


SPEAKERS = ("george", "theo")


def recordings(folder: Path, count: int = 24) -> Path:
    """Sounds called as those of FSDD: each a tone of its own, 40 samples long."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        digit, speaker = 6 + number % 3, SPEAKERS[number // 3 % 2]
        tone = 0.5 * np.sin(np.arange(40) * (0.1 + 0.05 * digit) + number)
        path = folder / f"{digit}_{speaker}_{number:02}.wav"
        path.write_bytes(wav(torch.from_numpy(tone[None].astype(np.float32)), 8000))
    return folder


def test_names_of_recordings_tell_digit_and_speaker(tmp_path):
    data = sim.load_data(str(recordings(tmp_path / "s")), labels="{digit}_{speaker}_*", window=40)
    assert data.spec.parts == (("digit", 3), ("speaker", 2))
    assert data.part_names == {"digit": ("6", "7", "8"), "speaker": SPEAKERS}
    assert data.class_names[3] == "7, theo"
    assert data.train.context.shape == (len(data.train), 2)
    alone = sim.load_data(str(tmp_path / "s"), labels="*_{label}_*", window=40)
    assert alone.spec.parts == ()
    assert torch.equal(alone.train.context, data.train.context[:, 1])
    for path in (tmp_path / "s").glob("*_theo_*"):
        path.unlink()
    with pytest.raises(UsageError, match="the same speaker, 'george'"):
        sim.load_data(str(tmp_path / "s"), labels="{digit}_{speaker}_*", window=40)


def table(path: Path, rows: int = 60, told: int = 6, speaker: str = ",speaker") -> Path:
    """Two columns of numbers, a digit that only the first rows tell, and a speaker."""
    generator = np.random.default_rng(0)
    lines = [f"a,b,digit{speaker}"]
    for row in range(rows):
        a, b = generator.normal(size=2)
        digit = 7 + row % 3 if row < told else ""
        lines.append(f"{a:.4f},{b:.4f},{digit}")
        lines[-1] += f",{SPEAKERS[row // 3 % 2]}" if speaker else ""
    path.write_text("\n".join(lines))
    return path


def test_an_empty_cell_is_a_label_that_is_not_told(tmp_path):
    path = table(tmp_path / "t.csv")
    data = sim.load_data(str(path), labels="digit,speaker")
    assert data.spec.parts == (("digit", 3), ("speaker", 2))
    every = torch.cat([split.context for split in data.splits.values()])
    assert int((every[:, 0] >= 0).sum()) == 6
    assert bool((every[:, 1] >= 0).all())
    assert "54 of 60 labels are not told whole" in data.notes
    with pytest.raises(UsageError, match="name a column twice"):
        sim.load_data(str(path), labels="digit,3")
    with pytest.raises(UsageError, match="no column 'speeker' for labels: did you mean 'speaker'"):
        sim.load_data(str(path), labels="digit,speeker")
    single = sim.load_data(str(table(tmp_path / "u.csv", speaker="")), labels="digit")
    assert single.class_names == ("7", "8", "9")
    assert "54 of 60 labels are not told" in single.notes


def test_samples_of_a_table_are_of_combinations(tmp_path):
    data = sim.load_data(str(table(tmp_path / "t.csv", told=60)), labels="digit,speaker")
    samples = table(tmp_path / "s.csv", rows=40, told=40)
    samples.write_text(samples.read_text().replace(",8,", ",8.0,"))
    _, labels, _ = read_samples(samples, data)
    assert labels.tolist() == [2 * (row % 3) + row // 3 % 2 for row in range(40)]
    samples.write_text(samples.read_text().replace(",theo", ",thea"))
    with pytest.raises(DataError, match="a label '7, thea', no class of"):
        read_samples(samples, data)


def test_a_column_with_a_comma_in_its_name_is_one(tmp_path):
    rows = "\n".join(f"{i * 0.3},{i % 2}" for i in range(20))
    (tmp_path / "t.csv").write_text(f'a,"x,y"\n{rows}')
    assert sim.load_data(str(tmp_path / "t.csv"), labels="x,y").class_names == ("0", "1")


def test_arrays_have_parts_and_untold_labels(tmp_path):
    x = np.arange(240).reshape(60, 4).astype(np.uint8)
    y = np.stack([np.arange(60) % 3, np.arange(60) % 2], 1)
    y[10:, 0] = -1
    np.savez(tmp_path / "a.npz", x=x, y=y)
    data = sim.load_data(str(tmp_path / "a.npz"))
    assert data.spec.parts == (("part1", 3), ("part2", 2))
    assert "50 of 60 labels are not told whole" in data.notes
    rows = data.train.x[:, 0].long() // 4
    assert torch.equal(data.train.context, torch.from_numpy(y)[rows])
    np.savez(tmp_path / "b.npz", x=x, y=np.where(np.arange(60) < 9, np.arange(60) % 3, -1))
    assert int((sim.load_data(str(tmp_path / "b.npz")).train.context >= 0).sum()) <= 9


def test_too_many_combinations_are_no_classes(tmp_path):
    x = np.arange(1200).reshape(600, 2) % 251
    y = np.stack([np.arange(600) % 120, np.arange(600) % 101], 1)
    np.savez(tmp_path / "a.npz", x=x.astype(np.uint8), y=y)
    with pytest.raises(DataError, match="120 of part1 × 101 of part2 = 12120 combinations"):
        sim.load_data(str(tmp_path / "a.npz"))


# ---- the command line ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spoken_run(tmp_path_factory):
    """A run on sounds whose names tell digit and speaker; it is told both."""
    place = tmp_path_factory.mktemp("spoken")
    train("made", recordings(place / "sounds"), "--labels", "{digit}_{speaker}_*", "--window", "40",
          "--levels", "8", "--set", "context=label", "--set", "hidden=8", "--budget", "3steps",
          "--out", place / "run")  # fmt: skip
    return place / "run"


def test_a_run_keeps_the_names_of_its_classes(spoken_run):
    record = json.loads((spoken_run / "run.json").read_text())
    assert record["data"]["classes"] == {"digit": ["6", "7", "8"], "speaker": list(SPEAKERS)}
    assert record["spec"]["parts"] == [["digit", 3], ["speaker", 2]]


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("digit=7,speaker=theo", [1, 1]),
        ("speaker=george, digit=8", [2, 0]),
        ("speaker=theo", [-1, 1]),
        ("7, theo", [1, 1]),
        ("4", [2, 0]),
        ("speaker=0", [-1, 0]),
    ],
)
def test_a_label_is_asked_for_by_its_parts(label, told, spoken_run):
    run = sim.Run.open(spoken_run)
    assert read_label(label, run.model(), class_names_of(run.record)).tolist() == told


def test_samples_are_drawn_for_a_label_of_parts(spoken_run, ok, cli):
    ok("sample", spoken_run, "--label", "digit=7,speaker=theo", "-n", "3", "--out", "a.png",
       "--device", "cpu")  # fmt: skip
    drawn = np.load("a.npy")
    model = sim.Run.open(spoken_run).model()
    told = torch.tensor([[1, 1]]).expand(3, -1)
    assert np.array_equal(drawn, sim.sample(model, 3, context=told).x.numpy())
    ok("complete", spoken_run, "--label", "speaker=george", "-n", "2", "--times", "1",
       "--out", "b.png")  # fmt: skip


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("digit=7,speeker=theo", "no part 'speeker': did you mean 'speaker'"),
        ("digit=7,speaker=teo", "no speaker is called 'teo': did you mean 'theo'"),
        ("digit=7,digit=8", "tells digit twice"),
        # a place among numbers would be another number's
        ("digit=0", "no class digit is called 0: known: 6, 7, 8"),
        ("digit=9", "--label digit goes from 0 to 2, got 9"),
        ("theo", "as in --label digit=6,speaker=george"),
        ("6", "--label goes from 0 to 5, got 6"),
        ("speaker=", "no speaker is called ''"),
    ],
)
def test_a_label_that_is_none_is_named(label, words, spoken_run, cli):
    code, _, err = cli("sample", spoken_run, "--label", label)
    assert code == 2
    assert words in " ".join(err.split())


def test_classes_of_one_part_go_by_name_too():
    model = registry.build("made", PLAIN, {"hidden": (4,), "context": "label"})
    names = {"label": ("one", "two", "three", "four", "5", "4")}
    assert int(read_label("three", model, names)) == 2
    assert int(read_label("0", model, names)) == 0
    # a name wins over a number
    assert int(read_label("4", model, names)) == 5
    with pytest.raises(UsageError, match="no class is called 'tree': did you mean 'three'"):
        read_label("tree", model, names)
    with pytest.raises(UsageError, match="does not know the names"):
        read_label("three", model, {})
    plain = registry.build("made", PLAIN, {"hidden": (4,)})
    with pytest.raises(MissingCapability, match="takes no label"):
        read_label("three", plain, names)


def test_a_record_without_names_reads_and_one_with_odd_ones_does_not(spoken_run, tmp_path):
    record = json.loads((spoken_run / "run.json").read_text())
    del record["data"]["classes"], record["spec"]["parts"]
    record["spec"]["classes"] = 6
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert class_names_of(read_record(tmp_path / "run.json")) == {}
    for odd in ([], {"digit": "678"}, {"digit": [6, 7]}):
        record["data"]["classes"] = odd
        (tmp_path / "run.json").write_text(json.dumps(record))
        with pytest.raises(CheckpointError, match="cannot be read"):
            read_record(tmp_path / "run.json")


def test_a_model_learns_where_nine_labels_of_ten_are_not_told(tmp_path, ok):
    path = table(tmp_path / "t.csv", rows=100, told=10, speaker="")
    train("nice", path, "--labels", "digit", "--set", "context=label", "--set", "hidden=8",
          "--budget", "3steps", "--out", tmp_path / "run")  # fmt: skip
    ok("sample", tmp_path / "run", "--label", "8", "-n", "2", "--out", "a.png")
    run = sim.Run.open(tmp_path / "run")
    data = run.dataset()
    assert int((data.train.context < 0).sum()) > 60
    score = likelihood(run.model(), data.train, class_frequencies=class_frequencies(
        data.train, data.spec))  # fmt: skip
    assert score.marginal.observations == len(data.train)
    assert score.given_label.observations == int((data.train.context >= 0).sum())
    assert not score.marginal.non_finite
