"""What a model was judged to be is kept in its run's folder, and measured anew where it has to."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import simulacra as sim
from simulacra.data.catalogue import load
from simulacra.ground.randomness import seeded
from simulacra.judging import judge as module
from simulacra.judging import judgement
from simulacra.judging.judge import Judge, judge_model
from simulacra.judging.judgement import KEPT, fingerprint_of, kept
from simulacra.judging.results import Machine, Results
from simulacra.models import registry
from simulacra.runs import zoo
from simulacra.runs.run import Run
from simulacra.training.options import Budget, Options

pytestmark = pytest.mark.usefixtures("short_chains")

SMALL = {"draws": 1, "limit": 40, "most": 40}


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    run = Run.create(
        tmp_path_factory.mktemp("judged") / "nice", model="nice", keywords={"hidden": (8,)},
        data=digits, options=Options(batch=32, device="cpu"), budget=Budget(2, "steps"),
    )  # fmt: skip
    run.train(digits)
    return run


@pytest.fixture
def run(trained, tmp_path) -> Run:
    return Run.open(shutil.copytree(trained.folder, tmp_path / "nice"))


@pytest.fixture
def measured(monkeypatch) -> list[str]:
    """The models that were measured, and not found."""
    names = []
    model = Judge.model

    def spy(self, *arguments, **keywords):
        names.append(arguments[1])
        return model(self, *arguments, **keywords)

    monkeypatch.setattr(Judge, "model", spy)
    return names


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """What samples look like is of no matter to a test."""
    monkeypatch.setattr(module.album, "model_pictures", lambda *_, **__: {})


def test_nothing_is_judged_twice(run, digits, measured):
    first = Judge(digits, **SMALL).run(run)
    again = Judge(digits, **SMALL).run(Run.open(run.folder))
    assert measured == ["nice"]
    assert again.entry == first.entry
    assert again.pictures == first.pictures
    assert torch.equal(again.score.values, first.score.values)
    assert torch.equal(again.score.rows, first.score.rows)
    assert again.score == replace(
        first.score, values=again.score.values, rows=again.score.rows,
        valid=again.score.valid, groups=again.score.groups,
    )  # fmt: skip


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("changed", ["draws", "limit", "most"])
def test_another_question_is_asked_anew(run, digits, measured, changed):
    Judge(digits, **SMALL).run(run)
    Judge(digits, **SMALL | {changed: SMALL[changed] + 1}).run(run)
    assert measured == ["nice", "nice"]


@pytest.mark.usefixtures("undrawn")
def test_a_model_that_learnt_more_is_measured_anew(run, digits, measured):
    run = Run.create(
        run.folder.with_name("longer"), model="nice", keywords={"hidden": (8,)}, data=digits,
        options=Options(batch=32, device="cpu"), budget=Budget(3, "steps"),
    )  # fmt: skip
    assert not run.train(digits, should_stop=lambda: True).finished
    for _ in range(2):
        Judge(digits, **SMALL).run(run)
    run.train(digits)
    assert Judge(digits, **SMALL).run(run).entry.steps == 3
    assert measured == ["nice", "nice"]


@pytest.mark.usefixtures("undrawn")
def test_a_judgement_that_was_altered_is_measured_anew(run, digits, measured):
    Judge(digits, **SMALL).run(run)
    file = run.folder / KEPT / f"{KEPT}.json"
    file.write_text(file.read_text().replace('"bits_per_dim": ', '"bits_per_dim": 1'))
    assert kept(run.folder / KEPT) is None
    Judge(digits, **SMALL).run(run)
    assert measured == ["nice", "nice"]
    assert kept(run.folder / KEPT) is not None


def test_other_weights_data_and_code_have_another_fingerprint(digits, monkeypatch):
    with seeded(0):
        model = registry.build("nice", digits.spec, {"hidden": (8,)})
    one = fingerprint_of(model, data="a")
    assert fingerprint_of(model, data="a") == one
    assert fingerprint_of(model, data="b") != one
    monkeypatch.setattr(judgement, "_package", lambda: "of another version")
    assert fingerprint_of(model, data="a") != one
    monkeypatch.undo()
    with torch.no_grad():
        s = model.maps[-1].s.view(-1)
        s[0] = torch.nextafter(s[0], torch.tensor(9.0))
    assert fingerprint_of(model, data="a") != one


@pytest.mark.usefixtures("undrawn")
def test_names_of_classes_groups_and_the_machine_count(run, digits, measured, monkeypatch):
    def judged(data):
        return Judge(data, **SMALL).run(run)

    assert judged(digits).found is None
    assert judged(digits).found == run.folder / KEPT
    named = replace(digits, class_names=tuple("abcdefghij"))
    assert judged(named).entry.likelihood.per_class[0].class_name == "a"
    grouped = replace(digits, test=replace(digits.test, groups=torch.arange(len(digits.test)) // 3))
    assert judged(grouped).entry.likelihood.groups is not None
    assert grouped.fingerprint == digits.fingerprint
    elsewhere = Machine(processor="another", threads=1)
    monkeypatch.setattr(module, "machine", lambda _: elsewhere)
    assert judged(grouped).found is None
    assert measured == ["nice"] * 4


def test_code_that_a_model_of_ones_own_uses_counts(digits, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "used_by_mine.py").write_text("SHIFT = 0.0\n")
    (tmp_path / "mine.py").write_text(
        "import used_by_mine\nfrom simulacra.models.flow.nice import NICE\n"
        "class Mine(NICE):\n    shifted = used_by_mine.SHIFT\n"
    )
    with seeded(0):
        model = registry.build(f"{tmp_path / 'mine.py'}:Mine", digits.spec, {"hidden": (8,)})
        ours = registry.build("nice", digits.spec, {"hidden": (8,)})
    before = fingerprint_of(model), fingerprint_of(ours)
    (tmp_path / "used_by_mine.py").write_text("SHIFT = 1.0\n")
    assert fingerprint_of(model) != before[0]
    assert fingerprint_of(ours) == before[1]


def test_nothing_is_written_into_the_package(trained, digits, tmp_path, monkeypatch):
    place = tmp_path / "package"
    shutil.copytree(trained.folder, place / "nice")
    monkeypatch.setattr(zoo, "PLACE", place)
    monkeypatch.setattr(module.zoo, "PLACE", place)
    Judge(digits, **SMALL).run(Run.open(place / "nice"))
    assert not (place / "nice" / KEPT).exists()


def test_a_folder_that_cannot_be_written_is_judged_all_the_same(run, digits, monkeypatch):
    def full(*_: object) -> None:
        raise judgement.ResourceError("no space left")

    monkeypatch.setattr(judgement, "write_folder", full)
    assert Judge(digits, **SMALL).run(run).entry.likelihood is not None
    assert not (run.folder / KEPT).exists()


def test_whoever_trained_a_model_has_every_figure(digits, tmp_path: Path):
    """By a loop of one's own, without a run."""
    with seeded(0):
        model = sim.build("vae", digits.spec, {"latent": 2, "hidden": (8,), "context": "label"})
    mover = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(3):
        x, labels = digits.train.batch(torch.arange(64))
        model.loss(x, labels)["loss"].backward()
        mover.step()
        mover.zero_grad()
    judged = judge_model(model, digits, "mine", draws=2, limit=40)
    [entry] = judged.results.models
    assert (entry.model, entry.class_name, entry.family) == ("mine", "VAE", "latent")
    assert entry.keywords["latent"] == 2
    assert entry.likelihood.draws == 2
    assert entry.likelihood_given_label.shuffled is not None
    assert entry.samples.figure("features", "frechet") is not None
    assert entry.classifier is not None
    assert (entry.cost.training_seconds, entry.steps) == (None, None)
    page = sim.write_report(tmp_path / "report", judged)
    assert "mine" in page.read_text()
    written = json.loads((tmp_path / "report" / "results.json").read_text())
    assert Results.from_json(written) == judged.results
