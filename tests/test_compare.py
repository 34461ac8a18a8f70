"""A comparison: every model judged alike, and the report says what the figures are."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from commands import blank, run_main, undrawn
from simulacra.cli.compare import usual
from simulacra.comparing.asked import recorded
from simulacra.comparing.compare import compare
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.errors import CheckpointError, UsageError
from simulacra.ground.spec import DataSpec
from simulacra.judging.judge import Judge
from simulacra.judging.judgement import Judged, Judgement
from simulacra.judging.results import Entry, Results
from simulacra.models import registry
from simulacra.models.mixture.gmm import GMM
from simulacra.report.tables import table
from simulacra.runs.run import Run
from simulacra.training.options import Budget
from simulacra.training.progress import Record

pytestmark = pytest.mark.usefixtures("short_chains")

KEYWORDS: dict[str, dict[str, Any]] = {
    "gmm": {"components": 4},
    "vae": {"latent": 2, "hidden": (16,)},
    "pixelcnn": {"channels": 4, "layers": 1},
    "gan": {"latent": 2, "hidden": (16,)},
    "nice": {"hidden": (16,)},
}
OPTIONS = {"batch": 32, "device": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def blank_diagrams() -> Iterator[None]:
    """Those of reports are looked at in the tests of reports."""
    with pytest.MonkeyPatch.context() as patch:
        blank(patch)
        yield


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="module")
def few(digits: Dataset) -> Dataset:
    """For what is no matter of figures: 44 pictures to be held against, and no labels."""
    parts = {
        name: Observations(split.x[:count])
        for (name, split), count in zip(digits.splits.items(), (300, 60, 44), strict=True)
    }
    spec = replace(digits.spec, classes=0)
    return replace(digits, **parts, spec=spec, class_names=())


@pytest.fixture(scope="module")
def compared(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("compare") / "all"
    results = compare(
        digits, list(KEYWORDS), folder=folder, budget=Budget(6, "steps"), options=OPTIONS,
        keywords=KEYWORDS, draws=3,
    )  # fmt: skip
    return folder, results


def entry(results: Any, name: str) -> Any:
    return next(each for each in results.models if each.model == name)


def test_every_figure_is_of_the_model_that_was_kept(
    compared: tuple[Path, Any], digits: Dataset
) -> None:
    folder, results = compared
    x, _ = digits.test.batch(torch.arange(len(digits.test)))
    for name in ("gmm", "vae", "pixelcnn", "nice"):
        model = Run.open(folder / name).model()
        with torch.no_grad():
            scores = model.log_likelihood(x, draws=3).double()  # type: ignore[operator]
        bits = -scores / (64 * math.log(2))
        shown = entry(results, name).likelihood
        assert shown.bits_per_dim == pytest.approx(float(bits.mean()), rel=1e-6)
        assert shown.standard_error == pytest.approx(float(bits.std()) / len(x) ** 0.5, rel=1e-6)
        assert shown.log_likelihood == pytest.approx(float(scores.mean()), rel=1e-6)
        assert shown.observations == len(digits.test)
        assert shown.non_finite == 0


def test_bounds_and_likelihoods_are_told_apart(compared: tuple[Path, Any]) -> None:
    _, results = compared
    signs = {each.model: each.likelihood and each.likelihood.relation
             for each in results.models}  # fmt: skip
    assert signs == {"gmm": "=", "vae": "≤", "pixelcnn": "=", "gan": None, "nice": "≤"}
    draws = {each.model: each.likelihood and each.likelihood.draws
             for each in results.models}  # fmt: skip
    assert draws == {"gmm": 1, "vae": 3, "pixelcnn": 1, "gan": None, "nice": 3}


def test_budgets_are_the_same_for_all(compared: tuple[Path, Any]) -> None:
    _, results = compared
    assert {each.steps for each in results.models} == {6}
    for each in results.models:
        assert each.cost.training_seconds > 0
        assert each.cost.samples_per_second > 0


def test_capabilities_are_what_the_classes_say(compared: tuple[Path, Any]) -> None:
    _, results = compared
    can = {each.model: set(each.capabilities) for each in results.models}
    assert can["pixelcnn"] == {"samples", "likelihood", "completes exactly"}
    assert can["gan"] == {"samples", "decodes", "interpolates", "completes ~"}
    assert can["nice"] == {
        "samples", "likelihood", "completes ~", "encodes", "decodes", "interpolates",
    }  # fmt: skip
    assert "completes exactly" in can["gmm"]


def test_the_page_and_the_file_hold_the_same_figures(compared: tuple[Path, Any]) -> None:
    folder, results = compared
    stored = json.loads((folder / "results.json").read_text())
    assert Results.from_json(stored) == results
    assert stored["models"][0]["class"] == "GMM"
    page = (folder / "report.html").read_text()
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)
    for row in table(results):
        assert str(row["model"]) in page
    pictures = {name: page.count(f">{name}<") for name in KEYWORDS}
    assert all(pictures.values()), pictures
    # real, five samples, five completions, three interpolations, rates, and suspects of each
    assert page.count("data:image/png") == 1 + 5 + 5 + 3 + 1 + 5


def test_the_test_split_is_looked_at_by_the_judge_alone(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training on a data set whose test split cannot be read must not notice."""
    looked: list[str] = []
    kind = type(digits.test)
    for name in ("batch", "batches"):
        real = getattr(kind, name)

        def spy(self: Any, *args: Any, real: Any = real, **kwargs: Any) -> Any:
            looked.append("test" if self is digits.test else "other")
            return real(self, *args, **kwargs)

        monkeypatch.setattr(kind, name, spy)
    when: dict[str, int] = {}

    class Watcher:
        def on_start(self, model: str, training: Any) -> None: ...
        def on_record(self, model: str, record: Record) -> None: ...
        def on_done(self, model: str, entry: Any) -> None:
            when["done"] = looked.count("test")

        def on_judge(self, model: str) -> None:
            when["judge"] = looked.count("test")

    compare(
        digits, ["nice"], folder=tmp_path / "c", budget=Budget(3, "steps"), options=OPTIONS,
        keywords={"nice": KEYWORDS["nice"]}, draws=1, watcher=Watcher(),
    )  # fmt: skip
    assert when["judge"] == 0
    assert when["done"] > 0


def test_a_stopped_comparison_goes_on(
    digits: Dataset, tmp_path: Path, compared: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Record] = []

    class Watcher:
        def on_start(self, model: str, training: Any) -> None: ...
        def on_judge(self, model: str) -> None: ...
        def on_done(self, model: str, entry: Any) -> None: ...
        def on_record(self, model: str, record: Record) -> None:
            seen.append(record)

    folder = tmp_path / "stopped"
    # one is done, one is stopped, and one has not begun
    some = {name: KEYWORDS[name] for name in ("gmm", "vae", "pixelcnn")}
    results = compare(
        digits, list(some), folder=folder, budget=Budget(6, "steps"), options=OPTIONS,
        keywords=some, draws=3, watcher=Watcher(), should_stop=lambda: len(seen) >= 9,
    )  # fmt: skip
    assert results.stopped
    assert not (folder / "report.html").exists()
    asked = recorded(folder)
    data = load(**asked.pop("data"))
    measured, model = list[str](), Judge.model

    def spy(self: Judge, *arguments: Any, **keywords: Any) -> Any:
        measured.append(arguments[1])
        return model(self, *arguments, **keywords)

    monkeypatch.setattr(Judge, "model", spy)
    again = compare(data, folder=folder, **asked)
    # what was judged before the stop is found in its run
    assert measured == ["vae", "pixelcnn"]
    assert not again.stopped
    _, whole = compared
    for name in some:
        assert entry(again, name).likelihood == entry(whole, name).likelihood


def test_a_model_is_built_once_before_it_learns(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, build, restored = list[str](), registry.build, registry.restored

    def spy(name: str, *arguments: Any, **named: Any) -> Any:
        built.append(name)
        return build(name, *arguments, **named)

    def spy_on_records(said: Any, code: str | None) -> Any:
        built.append(said["model"])
        return restored(said, code)

    monkeypatch.setattr(registry, "build", spy)
    monkeypatch.setattr(registry, "restored", spy_on_records)
    before: dict[str, int] = {}

    class Watcher:
        def on_judge(self, model: str) -> None: ...
        def on_done(self, model: str, entry: Any) -> None: ...
        def on_record(self, model: str, record: Record) -> None: ...
        def on_start(self, model: str, training: Any) -> None:
            before[model] = built.count(model)

    monkeypatch.setattr(Judge, "run", lambda *_, **__: Judgement(Entry(model="any")))
    monkeypatch.setattr(Judge, "together", lambda *_, **__: Judged(Results(), {}, {}))
    monkeypatch.setattr("simulacra.comparing.compare.write_report", lambda *_: None)
    names = ["nice", "vae"]
    compare(
        digits, names, folder=tmp_path / "c", budget="1steps", options=OPTIONS,
        keywords={name: KEYWORDS[name] for name in names}, watcher=Watcher(),
    )  # fmt: skip
    # to see that it takes data and keywords, and to learn
    assert before == dict.fromkeys(names, 2)


def test_a_model_that_diverges_fails_alone(
    few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simulacra.models.flow.nice import NICE

    def broken(self: NICE, *_: Any, **__: Any) -> dict[str, Any]:
        return {"loss": self.maps[-1].s.sum() * torch.nan}

    monkeypatch.setattr(NICE, "loss", broken)
    results = compare(
        few, ["gmm", "nice"], folder=tmp_path / "c", budget=Budget(30, "steps"),
        options=OPTIONS, keywords={"gmm": KEYWORDS["gmm"], "nice": KEYWORDS["nice"]}, draws=1,
    )  # fmt: skip
    assert "not finite" in entry(results, "nice").failed
    assert entry(results, "gmm").failed is None
    assert "not finite" in (tmp_path / "c" / "report.html").read_text()


def test_conditional_models_have_two_columns(digits: Dataset, tmp_path: Path) -> None:
    results = compare(
        digits, ["pixelcnn"], folder=tmp_path / "c", budget=Budget(6, "steps"), options=OPTIONS,
        keywords={"pixelcnn": KEYWORDS["pixelcnn"] | {"context": "label"}}, draws=1,
    )  # fmt: skip
    found = entry(results, "pixelcnn")
    told, alone = found.likelihood_given_label, found.likelihood
    model = Run.open(tmp_path / "c" / "pixelcnn").model()
    x, y = digits.test.batch(torch.arange(len(digits.test)))
    frequencies = torch.bincount(digits.train.context, minlength=10) / len(digits.train)  # type: ignore[arg-type]
    with torch.no_grad():
        given = torch.stack(
            [model.log_likelihood(x, torch.full((len(x),), label)) for label in range(10)]  # type: ignore[operator]
        )
        marginal = (given + frequencies.log()[:, None]).logsumexp(0)
        own = model.log_likelihood(x, y)  # type: ignore[operator]
    assert alone.log_likelihood == pytest.approx(float(marginal.mean()), rel=1e-5)
    assert told.log_likelihood == pytest.approx(float(own.mean()), rel=1e-5)
    assert alone.exact
    # Bayes' rule by hand
    right = (given + frequencies.log()[:, None]).argmax(0) == y
    classifier = found.classifier
    assert classifier.accuracy.value == pytest.approx(float(right.double().mean()))
    assert results.baseline_classifier.accuracy.value > 0.9
    assert told.shuffled.count == len(x)
    assert len(told.per_class) == 10
    assert "class_accuracy" in found.samples.whole
    assert "data:image/png" in (tmp_path / "c" / "report.html").read_text()


def test_pairs_are_of_the_same_observations(compared: tuple[Path, Any]) -> None:
    folder, results = compared
    rows = np.genfromtxt(folder / "likelihoods.csv", delimiter=",", names=True)
    assert rows.dtype.names == ("index", "gmm", "vae", "pixelcnn", "nice")
    assert len(results.pairs) == 6
    for pair in results.pairs:
        a, b = pair.models
        bits = -(rows[b] - rows[a]) / (64 * math.log(2))
        assert pair.difference == pytest.approx(bits.mean())
        half = (pair.high - pair.low) / 2
        assert half == pytest.approx(1.967 * bits.std(ddof=1) / len(bits) ** 0.5, rel=1e-3)
        assert not pair.tie


def test_the_gap_is_that_of_train_and_test(compared: tuple[Path, Any]) -> None:
    _, results = compared
    for name in ("gmm", "vae", "pixelcnn", "nice"):
        found = entry(results, name).likelihood
        gap = found.bits_per_dim - found.train.bits_per_dim
        assert found.gap.value == pytest.approx(gap)
        assert found.train.observations == found.observations


def test_what_is_drawn_from_a_known_density_is_held_against_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undrawn(monkeypatch)
    data = load("ring-8")
    data = replace(data, train=data.train.take(torch.arange(2000)))
    # a thousand samples have figures of their own, of which nothing is asked here
    monkeypatch.setattr(Judge, "views", [])
    monkeypatch.setattr(Judge, "samples", "of no matter here")
    results = compare(
        data, ["gmm"], folder=tmp_path / "c", budget=Budget(40, "steps"), options=OPTIONS,
        keywords={"gmm": {"components": 8}}, draws=1,
    )  # fmt: skip
    found = entry(results, "gmm")
    truth = results.data.truth
    gap = truth - found.likelihood.log_likelihood
    assert found.kl.value == pytest.approx(gap, abs=1e-6)
    assert 0 < found.kl.value < 0.2
    assert found.kl.low < found.kl.value < found.kl.high


def test_judging_again_gives_the_same_figures(compared: tuple[Path, Any], digits: Dataset) -> None:
    folder, results = compared
    again = Judge(digits, draws=3).run(Run.open(folder / "vae"))
    before = entry(results, "vae")
    for key in ("likelihood", "samples", "steps", "nature"):
        assert getattr(again.entry, key) == getattr(before, key)
    assert set(again.pictures) == {"samples", "interpolation", "completions", "rates", "suspects"}


def test_vectors_are_compared_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undrawn(monkeypatch)
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(300, 4)).astype("float32"))
    results = compare(
        load(str(tmp_path / "v.npy")), ["gmm", "nice", "gan"], folder=tmp_path / "c",
        budget=Budget(5, "steps"), options=OPTIONS, keywords={"gmm": {"components": 2}}, draws=1,
    )  # fmt: skip
    assert entry(results, "nice").likelihood.exact
    assert entry(results, "nice").likelihood.bits_per_dim is None
    for each in results.models:
        if each.likelihood:
            # the curve goes where the table goes: more is better
            last = [v for v in each.curves.validation if v is not None][-1]
            assert last == pytest.approx(each.likelihood.log_likelihood, abs=2.0)
    page = (tmp_path / "c" / "report.html").read_text()
    # the real ones and each model's samples, as histograms
    assert page.count("data:image/png") == 1 + 3
    assert "log-likelihood" in page


@pytest.mark.parametrize(
    ("models", "keywords", "words"),
    [
        ([], {}, "at least one"),
        (["gmm", "gmm"], {}, "named twice"),
        (["gmn"], {}, "did you mean 'gmm'"),
        (["gmm"], {"vae": {"latent": 2}}, "not compared"),
        (["gmm"], {"gmm": {"component": 2}}, "did you mean 'components'"),
    ],
)
def test_wrong_requests_are_refused(
    models: list[str], keywords: Any, words: str, digits: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        compare(digits, models, folder=tmp_path / "c", budget=Budget(1, "steps"), keywords=keywords)


def test_no_comparison_to_go_on_with(tmp_path: Path) -> None:
    (tmp_path / "compare.json").write_text("[1")
    with pytest.raises(CheckpointError, match=r"compare\.json"):
        recorded(tmp_path)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("keywords", [], "keywords is no dict"),
        ("keywords", {"gmm": [1]}, "the keywords of a model are no dict"),
        ("models", {"gmm": 1}, "models is no list"),
        ("models", [["gmm"]], "models are the names"),
        ("models", [], "models are the names of at least one"),
        ("models", None, "models"),
        ("data", ["digits"], "data is no dict"),
        ("data", {"source": 3}, "data have no source"),
        ("data", {"source": "digits", "side": "wide"}, "its data are none"),
        ("options", {"pace": 1}, "pace"),
        ("budget", "soon", "soon"),
        ("draws", True, "draws is no int"),
        ("format", True, "another format"),
        ("more", 1, "'more', which is no part of a comparison"),
    ],
)
def test_an_altered_comparison_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, value: Any, message: str
) -> None:
    asked: dict[str, Any] = {
        "format": 1, "models": ["gmm"], "data": {"source": "digits"}, "fingerprint": "0",
        "budget": "1steps", "options": {}, "keywords": {}, "draws": 1,
    }  # fmt: skip
    asked[part] = value
    if value is None:
        del asked[part]
    (tmp_path / "compare.json").write_text(json.dumps(asked))
    assert run_main("resume", tmp_path) == CheckpointError.exit_code
    assert re.search(f"compare.json.*{message}", capsys.readouterr().err.replace("\n", " "))


def test_a_folder_of_another_comparison_is_refused(
    compared: tuple[Path, Any], digits: Dataset, tmp_path: Path
) -> None:
    folder, _ = compared
    with pytest.raises(UsageError, match="holds another comparison"):
        compare(
            digits, list(KEYWORDS), folder=folder, budget=Budget(7, "steps"), options=OPTIONS,
            keywords=KEYWORDS, draws=3,
        )  # fmt: skip
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match="exists already"):
        compare(digits, ["gmm"], folder=tmp_path, budget=Budget(1, "steps"))


def test_a_model_that_refuses_the_data_fails_alone(
    few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise UsageError("these are too many observations for me")

    monkeypatch.setattr(GMM, "prepare", refuses)
    results = compare(
        few, ["gmm", "nice"], folder=tmp_path / "c", budget=Budget(2, "steps"),
        options=OPTIONS, keywords={"nice": KEYWORDS["nice"]}, draws=1,
    )  # fmt: skip
    assert "too many observations" in entry(results, "gmm").failed
    assert entry(results, "nice").failed is None


def test_a_model_that_cannot_take_the_data_is_shown_beside_the_others(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(60, 3)).astype("float32"))
    results = compare(
        load(str(tmp_path / "v.npy")), ["pixelcnn", "nice"], folder=tmp_path / "c",
        budget=Budget(2, "steps"), options=OPTIONS, keywords={"nice": KEYWORDS["nice"]}, draws=1,
    )  # fmt: skip
    assert "needs pictures" in entry(results, "pixelcnn").left_out
    assert entry(results, "pixelcnn").failed is None
    assert entry(results, "nice").failed is None


def test_judging_runs_no_code_but_what_is_named(few: Dataset, tmp_path: Path) -> None:
    (tmp_path / "ours.py").write_text(
        "from simulacra.models.flow.nice import NICE\nclass Mine(NICE): ...\n"
    )
    name = f"{tmp_path / 'ours.py'}:Mine"
    compare(
        few, [name], folder=tmp_path / "c", budget=Budget(2, "steps"), options=OPTIONS,
        keywords={name: KEYWORDS["nice"]},
    )  # fmt: skip
    run = Run.open(next((tmp_path / "c").glob("*/run.json")).parent)
    (tmp_path / "ours.py").write_text("raise SystemExit('it was run')")
    (tmp_path / "safe.py").write_text(
        "from simulacra.models.flow.nice import NICE\nclass Mine(NICE): ...\n"
    )
    with pytest.raises(CheckpointError, match="--code"):
        Judge(few, draws=1).run(run)
    judged = Judge(few, draws=1).run(run, code=f"{tmp_path / 'safe.py'}:Mine")
    assert judged.entry.class_name == "Mine"


def test_one_model_of_each_family_is_compared_that_takes_the_data() -> None:
    pictures, vectors = DataSpec((1, 8, 8), 17), DataSpec((2,), None)
    palettes = DataSpec((1, 8, 8), 17, ordered=False)
    assert usual(pictures) == ["gmm", "vae", "pixelcnn", "gan", "glow", "vdm"]
    assert {"gmm", "vae", "made", "spline-flow", "vdm"} <= set(usual(vectors))
    assert {"pixelcnn", "d3pm"} <= set(usual(palettes))
    for spec in (vectors, palettes):
        assert all(registry.takes(name).includes(spec) for name in usual(spec))
