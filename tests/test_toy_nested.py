"""A flow whose base hears the context, and models made of models: laws, names, and safety."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import toy_nested
from commands import run_main as cli
from simulacra.data.catalogue import load as load_data
from simulacra.ground.errors import BrokenLaw, CheckpointError, UsageError
from simulacra.ground.spec import DataSpec
from simulacra.ground.storage import read_folder, write_folder, write_json
from simulacra.models import registry, saved
from simulacra.models.keywords import parse_assignments
from simulacra.models.laws import check_model
from simulacra.models.model import Encoding
from simulacra.runs.run import Run
from simulacra.training.options import Budget, Options


def test_a_base_may_hear_the_context() -> None:
    kept = check_model(toy_nested.ConditionalBase)
    assert {"contexts", "sampling of vectors", "normalisation of vectors", "jacobian"} <= set(kept)


def test_a_prior_that_is_not_told_is_found() -> None:
    class Deaf(toy_nested.ConditionalBase):
        __doc__ = toy_nested.ConditionalBase.__doc__

        def prior(
            self, n: int, context: torch.Tensor | None = None, *, temperature: float = 1.0
        ) -> torch.Tensor:
            told = None if context is None else torch.zeros_like(context)
            return super().prior(n, told, temperature=temperature)

    with pytest.raises(BrokenLaw, match=r"law `(contexts|sampling of vectors)`"):
        check_model(Deaf)


# ---- models made of models ----------------------------------------------------------------------

SPEC = DataSpec((1, 2, 3), 3)
MADE = {
    "hidden": (6,), "masks": 1, "direct": True, "components": 10, "dropout": 0.0,
    "context": "none",
}  # fmt: skip


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.MODELS, "two-scales", "toy_nested:TwoScales")


def test_a_model_made_of_models_keeps_the_laws() -> None:
    kept = check_model(toy_nested.TwoScales)
    assert {"keywords", "normalisation", "sampling", "saving", "turns", "takes"} <= set(kept)


def test_what_does_not_belong_together_is_found() -> None:
    class Apart(toy_nested.TwoScales):
        __doc__ = toy_nested.TwoScales.__doc__

        def sample(self, n: int, context: torch.Tensor | None = None) -> torch.Tensor:
            return super().sample(n, context).roll(1, 0).where(torch.arange(n) % 2 == 0, 0)

    with pytest.raises(BrokenLaw):
        check_model(Apart)


def test_keywords_of_nested_models_are_all_filled_in() -> None:
    assert registry.build("two-scales", SPEC).keywords == {
        "coarse": {"name": "made", "keywords": MADE},
        "between": {"name": "made", "keywords": MADE},
    }
    text = ["coarse=two-scales", "coarse.coarse=made", "coarse.coarse.hidden=5", "between.masks=2"]
    model: Any = registry.build("two-scales", SPEC, parse_assignments(text))
    assert model.first.first.hidden == (5,)
    assert model.keywords["coarse"]["keywords"]["coarse"]["keywords"] == {**MADE, "hidden": (5,)}
    # of a default that is kept only what is said changes; another model has its own
    assert model.keywords["between"]["keywords"] == {**MADE, "masks": 2}
    assert registry.build("two-scales", SPEC, {"coarse": "made"}).keywords["coarse"][
        "keywords"
    ] == {**MADE, "hidden": (512,)}


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"coarse.hiden": "3"}, "no keyword 'coarse.hiden': did you mean 'coarse.hidden'"),
        ({"coarse.hidden": "x"}, "two-scales's coarse.hidden is whole numbers with commas"),
        ({"coarse": "two-scales", "coarse.between.masks": "x"}, "coarse.between.masks is of type"),
        ({"coarse": "mad"}, "two-scales's coarse: no model is called 'mad': did you mean 'made'"),
        ({"coarse": 5}, "coarse is a model's name, its keywords after a dot, got 5"),
        ({"coarse": {"name": "made", "more": 1}}, "coarse is a model's name"),
        ({"coarse": None}, "coarse is a model's name"),
        ({"coarse.hidden.x": "3"}, "no keyword 'coarse.hidden.x'"),
        ({"coarse": "gan"}, "GAN lacks a likelihood or samples"),
    ],
)
def test_a_refusal_names_the_dotted_keyword(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace(".", r"\.")):
        registry.build("two-scales", SPEC, keywords)


def test_a_nested_model_may_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.MODELS, "optional", "toy_nested:MayHavePrior")
    for given in ({}, {"prior": None}, {"prior": "none"}):
        assert registry.build("optional", SPEC, given).keywords == {"prior": None}
    kept = registry.build("optional", SPEC, {"prior": "made", "prior.masks": "2"}).keywords
    assert kept["prior"]["keywords"]["masks"] == 2
    with pytest.raises(UsageError, match="prior is none and has no keywords: name a model too"):
        registry.build("optional", SPEC, {"prior.masks": "2"})


def test_a_nested_model_comes_back(tmp_path: Path) -> None:
    model = registry.build("two-scales", SPEC, {"coarse": "pixel-rnn", "coarse.hidden": 4})
    saved.save(model, tmp_path / "m", "two-scales")
    again = saved.load(tmp_path / "m")
    assert again.keywords == model.keywords
    x = torch.randint(3, (4, *SPEC.event_shape))
    assert torch.equal(again.log_likelihood(x), model.eval().log_likelihood(x))  # type: ignore[operator]


def test_help_shows_nested_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("models", "two-scales") == 0
    out = capsys.readouterr().out
    assert "made(hidden=(6,))" in out
    assert "a model's name" in out


# ---- a record never chooses which code is run ---------------------------------------------------


@pytest.fixture
def evil(tmp_path: Path) -> tuple[str, Path]:
    """A file that leaves a mark when it is imported."""
    mark, source = tmp_path / "ran", tmp_path / "evil.py"
    source.write_text(
        f"open({str(mark)!r}, 'w').close()\nfrom simulacra.models.autoregressive.made import MADE\n"
        "from toy_nested import TwoScales\nclass X(MADE): pass\nclass Top(TwoScales): pass\n"
    )
    return f"{source}:X", mark


def forged(name: str, evil: str) -> list[dict[str, Any]]:
    """Ways to name it at every depth."""
    nested = {"name": evil, "keywords": {}}
    return [
        {"coarse": evil},
        {"between": nested},
        {"coarse": {"name": name, "keywords": {"between": nested}}},
        {"coarse": {"name": name, "keywords": {"coarse": evil}}},
        {"coarse": {"name": name, "keywords": {"coarse.between": evil, "coarse": name}}},
        {"coarse": name, "coarse.between": nested},
    ]


@pytest.mark.parametrize("way", range(6))
@pytest.mark.parametrize("code", [None, "elsewhere/evil.py:X", "toy_nested:TwoScales"])
def test_a_checkpoint_that_names_other_code_is_refused(
    evil: tuple[str, Path], tmp_path: Path, way: int, code: str | None
) -> None:
    place, mark = evil
    saved.save(registry.build("two-scales", SPEC), tmp_path / "m", "two-scales")
    state = read_folder(tmp_path / "m")
    state["model"]["keywords"] = forged("two-scales", place)[way]
    write_folder(tmp_path / "forged", state)
    with pytest.raises(CheckpointError, match=r"evil\.py:X.*pass --code"):
        saved.load(tmp_path / "forged", code=code)
    assert not mark.exists()


@pytest.mark.parametrize("way", [1, 4])
def test_a_record_that_names_other_code_is_refused(
    evil: tuple[str, Path], tmp_path: Path, way: int
) -> None:
    place, mark = evil
    data, steps = load_data("digits"), Budget(1, "steps")
    run = Run.create(
        tmp_path / "run", model="two-scales", keywords={}, data=data,
        options=Options(device="cpu", batch=4), budget=steps,
    )  # fmt: skip
    write_json(run.folder / "run.json", run.record | {"keywords": forged("two-scales", place)[way]})
    with pytest.raises(CheckpointError, match=r"evil\.py:X.*pass --code"):
        Run.open(run.folder).train(data)
    assert cli("resume", run.folder) == 4
    assert not mark.exists()


def test_a_comparison_that_names_other_code_is_refused(
    evil: tuple[str, Path], tmp_path: Path
) -> None:
    place, mark = evil
    asked = {
        "format": 1, "models": ["two-scales"], "data": {"source": "digits"}, "fingerprint": "",
        "budget": "1steps", "options": {}, "keywords": {"two-scales": {"coarse": place}},
        "draws": 1,
    }  # fmt: skip
    (tmp_path / "c").mkdir()
    write_json(tmp_path / "c" / "compare.json", asked)
    assert cli("resume", tmp_path / "c") == 4
    assert not mark.exists()


def test_nested_code_of_ones_own_comes_from_the_file_that_is_allowed(
    evil: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, mark = evil
    monkeypatch.chdir(tmp_path)
    # whoever builds it says so
    model = registry.build("two-scales", SPEC, {"coarse": "evil.py:X", "coarse.hidden": "3"})
    saved.save(model, tmp_path / "m", "two-scales")
    top = registry.build("evil.py:Top", SPEC, {"coarse": "evil.py:X"})
    saved.save(top, tmp_path / "top", "evil.py:Top")
    assert mark.exists()
    assert type(saved.load(tmp_path / "m", code=place).first).__name__ == "X"  # type: ignore[union-attr]
    assert type(saved.load(tmp_path / "top", code="evil.py:Top")).__name__ == "Top"
    assert registry.own_code("two-scales", {"coarse": "evil.py:X"}) == "evil.py:X"
    assert registry.own_code("evil.py:Top", {}) == "evil.py:Top"
    assert registry.own_code("two-scales", {"coarse.masks": "2"}) == "two-scales"
    (tmp_path / "other.py").write_text("from toy_nested import TwoScales as Top\n")
    with pytest.raises(CheckpointError, match="all of one file"):
        saved.load(tmp_path / "top", code="other.py:Top")


def test_own_code_within_one_of_ours_is_trained_and_resumed(
    evil: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, _ = evil
    line = ["train", "two-scales", "digits", "--set", f"coarse={place}", "--set", "coarse.hidden=4"]
    assert cli(*line, "--budget", "2steps", "--out", tmp_path / "run") == 0
    assert f"--code {place}" in capsys.readouterr().err
    assert cli("sample", tmp_path / "run", "-n", "1") == 4
    assert cli("sample", tmp_path / "run", "-n", "1", "--code", place) == 0


# ---- a keyword that changes what a model can do -------------------------------------------------


def test_the_registry_chooses_the_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.MODELS, "chosen", "toy_nested:Chosen")
    plain, more = (registry.build("chosen", SPEC, {"codes": told}) for told in ("false", "true"))
    assert not isinstance(plain, Encoding)
    assert isinstance(more, Encoding)
    saved.save(more, tmp_path / "m", "chosen")
    assert type(saved.load(tmp_path / "m")) is type(more)
    assert "encoding" in check_model("chosen")
    assert "encoding" not in check_model("chosen", keywords={"codes": False})


@pytest.mark.parametrize("way", [0, 1, 2, 4])
def test_weights_of_a_run_that_names_other_code_are_refused(
    evil: tuple[str, Path], tmp_path: Path, way: int
) -> None:
    """Of which the record alone was forged, or the checkpoint too."""
    place, mark = evil
    told = {
        "model": "two-scales", "data": load_data("digits"), "budget": Budget(1, "steps"),
        "options": Options(device="cpu", batch=4),
    }  # fmt: skip
    run = Run.create(tmp_path / "run", keywords={}, **told)
    run.train(told["data"])
    wrong = forged("two-scales", place)[way]
    write_json(run.folder / "run.json", run.record | {"keywords": wrong})
    for forge_checkpoint in (False, True):
        if forge_checkpoint:
            for folder in run.checkpoints():
                state = read_folder(folder)
                state["model"]["keywords"] = wrong
                shutil.rmtree(folder)
                write_folder(folder, state)
        with pytest.raises(CheckpointError):
            Run.create(tmp_path / "begun", keywords={}, start=Run.open(run.folder), **told)
        assert not mark.exists()
        assert not (tmp_path / "begun").exists()


def test_code_of_two_files_is_refused_before_there_is_a_run(
    evil: tuple[str, Path], tmp_path: Path
) -> None:
    place, _ = evil
    keywords = {"coarse": f"{Path(__file__).with_name('toy_nested.py')}:MayHavePrior"}
    with pytest.raises(UsageError, match="from several files: put them into one"):
        Run.create(
            tmp_path / "run", model=place.replace(":X", ":Top"), keywords=keywords,
            data=load_data("digits"), options=Options(device="cpu"), budget=Budget(1, "steps"),
        )  # fmt: skip
    assert not (tmp_path / "run").exists()
