"""Models by name, keywords by their types, and models of the user's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from simulacra.ground.errors import CheckpointError, MissingCapability, UsageError, nearest
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.ground.storage import read_folder, write_folder
from simulacra.models import description, registry, saved
from simulacra.models.keywords import parse_assignments, type_name
from simulacra.models.model import Model

GREY = DataSpec((1, 4, 4), 3, classes=3)

OWN = '''
from typing import Literal
import torch
from simulacra.models.model import Model

class Own(Model):
    """Has a keyword of every kind.

    Paper: None, 2026.
    Departs from the paper: in all.

    Args:
        spec: Anything.
        number: A whole
            number.
        rate: A rate.
    """

    def __init__(self, spec, *, number: int = 3, rate: float = 0.5, deep: bool = False,
                 word: str = "a", mode: Literal["one", "two"] = "one", size: Literal[1, 2] = 1,
                 widths: tuple[int, ...] = (2, 3), rates: tuple[float, ...] = (0.5,),
                 limit: int | None = None, either: int | str = 0):
        super().__init__(spec)
        self.number, self.rate, self.deep, self.word = number, rate, deep, word
        self.mode, self.size, self.widths, self.rates = mode, size, widths, rates
        self.limit, self.either = limit, either
        self.layer = torch.nn.Linear(number, 2)

    def loss(self, x, context=None, *, turn="model"):
        return {"loss": self.layer.weight.square().sum()}
'''


@pytest.fixture
def own(tmp_path: Path) -> str:
    (tmp_path / "my.py").write_text(OWN)
    return f"{tmp_path}/my.py:Own"


def refusal(name: str, keywords: dict[str, Any] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        registry.build(name, GREY, keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("pixelcn", "pixelcnn"), ("PixelCNN", "pixelcnn"), ("va", "vae"), ("gans", "gan"),
        ("pixelcnn++", "pixelcnnpp"), ("pixel-cnn++", "pixelcnnpp"), ("PixelCNN++", "pixelcnnpp"),
    ],
)  # fmt: skip
def test_the_nearest_name_is_suggested(asked: str, meant: str) -> None:
    assert f"no model is called '{asked}': did you mean '{meant}'?" in refusal(asked)


@pytest.mark.parametrize("asked", ["", "xyzzy", ":", ":Q"])
def test_a_name_like_none_lists_all(asked: str) -> None:
    message = refusal(asked)
    assert all(name in message for name in registry.MODELS)
    assert "my.py:MyModel" in message


def test_all_models_are_listed() -> None:
    assert registry.list_models() == list(registry.MODELS)
    for name in registry.list_models():
        assert registry.find(name).small


def test_nearest() -> None:
    assert nearest("latnt", ["latent", "hidden"]) == "did you mean 'latent'?"
    assert nearest("q", ["b", "a"]) == "known: a, b"
    assert nearest("q", []) == "none are known here"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("simulacra.models.latent.vae:Vae", "simulacra.models.latent.vae has no class Vae"),
        (
            "simulacra.ground.spec:DataSpec",
            "simulacra.ground.spec:DataSpec is no simulacra.Model",
        ),
        (
            "simulacra.ground.spec:Coding",
            "simulacra.ground.spec:Coding is no simulacra.Model",
        ),
        ("simulacra.models.model:Model", "simulacra.models.model:Model lacks loss"),
        ("no.such:Thing", "no.such cannot be imported: ModuleNotFoundError: No module named 'no'"),
        ("json.x:Thing", "json.x cannot be imported: ModuleNotFoundError"),
        ("..x:Thing", "..x cannot be imported: TypeError"),
        ("nothing.py:Thing", "nothing.py cannot be imported: FileNotFoundError"),
    ],
)
def test_places_without_a_model_are_refused(name: str, message: str) -> None:
    assert message in refusal(name)


def test_a_place_is_as_good_as_a_name() -> None:
    assert registry.find("simulacra.models.latent.vae:VAE") is registry.find("vae")


# ---- files of the user's ------------------------------------------------------------------------


def test_a_file_is_as_good_as_a_name(own: str) -> None:
    model = registry.build(own, GREY, {"number": "5"})
    assert type(model).__name__ == "Own"
    assert model.layer.weight.shape == (2, 5)
    about = description.describe(own)
    assert (about.family, about.class_name) == ("yours", "Own")
    assert about.summary == "Has a keyword of every kind."
    assert (about.paper, about.departs) == ("None, 2026.", "in all.")
    assert about.keywords["number"] == ("int", 3, "A whole number.")
    assert about.keywords["mode"][0] == "one | two"
    assert about.capabilities == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "has no class Own"),
        ("Own = 3", "is no simulacra.Model"),
        ("class Own: pass", "is no simulacra.Model"),
        ("def f(:", "SyntaxError: invalid syntax (my.py, line 1)"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import torch\ntorch.nonsense", "AttributeError: module 'torch' has no"),
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("raise RuntimeError('one\\ntwo')", "RuntimeError: one two"),
        ("raise KeyError", "cannot be imported: KeyError"),
        (OWN.replace("def loss", "def lose"), "lacks loss"),
        (OWN.replace("number: int = 3", "number: int"), "needs a value for its keyword number"),
        (OWN.replace("number: int = 3", "number=3"), "Own's number needs a type annotation"),
        (OWN.replace("number: int = 3", "number: int = None"), "number is of type int, got None"),
        (OWN.replace("number: int", "number: 'Whole'"), "name 'Whole' is not defined"),
    ],
)
def test_faulty_files_are_refused_in_a_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "my.py").write_text(text)
    assert message in refusal(f"{tmp_path}/my.py:Own")


def test_two_files_of_one_name_are_two(own: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "my.py").write_text(OWN.replace("number: int = 3", "number: int = 7"))
    first, second = registry.find(own), registry.find(f"{tmp_path}/other/my.py:Own")
    assert [c(GREY).number for c in (first, second)] == [3, 7]


# ---- keywords -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        ("number", [5, "5", " 5 ", 5.0], 5),
        ("rate", ["0.25", 0.25, "2.5e-1", ".25"], 0.25),
        ("rate", ["2", 2], 2.0),
        ("deep", [True, "true", "True"], True),
        ("deep", [False, "false"], False),
        ("word", ["none"], "none"),
        ("word", ["5"], "5"),
        ("mode", ["two"], "two"),
        ("size", ["2", 2], 2),
        (
            "widths",
            ["512,256", "512, 256", "(512, 256)", "[512,256]", (512, 256), [5.12e2, "256"]],
            (512, 256),
        ),
        ("widths", ["512", "512,", 512, [512], "(512,)"], (512,)),
        ("widths", ["", "()", "[]", []], ()),
        ("rates", ["1,2.5", [1, 2.5]], (1.0, 2.5)),
        ("limit", ["none", "None", None], None),
        ("limit", ["7", 7], 7),
        ("either", ["7"], 7),
        ("either", ["seven"], "seven"),
    ],
)  # fmt: skip
def test_values_take_their_keywords_type(
    own: str, key: str, values: list[Any], expected: object
) -> None:
    for value in values:
        kept = registry.build(own, GREY, {key: value}).keywords[key]
        assert kept == expected
        assert type(kept) is type(expected)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("number", ["64.5", 64.5, "many", "", True, None, [5], "nan", float("inf"), float("nan"),
                    2**63, -(2**63), str(2**63), "9" * 5000, 1e30, "1e400"]),
        ("rate", ["half", True, None, "nan", float("nan"), [0.5], "1,5", "1e400", "-1e400", "inf",
                  float("inf"), -float("inf"), 10**400]),
        ("deep", ["yes", "1", 1, 0, None, ""]),
        ("word", [5, None, True, ["a"]]),
        ("mode", ["three", "One", "", None, 1]),
        ("size", ["3", 3, "one", None]),
        ("widths", ["a,b", "5;6", "5.5,6", [5, None], [[6]], "1e999", "NaN", None, "true", "{}",
                    "[5", "5]", "((5))", "[[5]]", "(5]", "[" * 5000, "1," + "[" * 5000,
                    "1," + "[" * 5000 + "]" * 5000, "5,,"]),
        ("rates", ["1e400", "1,-1e400", "NaN", "Infinity", [float("inf")]]),
        ("limit", ["nothing", 1.5, "1.5"]),
    ],
)  # fmt: skip
def test_values_of_other_types_are_refused(own: str, key: str, values: list[Any]) -> None:
    for value in values:
        message = refusal(own, {key: value})
        assert f"Own's {key} is " in message
        assert f"got {value!r}" in message


def test_a_refusal_says_what_was_expected(own: str) -> None:
    assert refusal("vae", {"latent": "64.5"}) == "vae's latent is of type int, got '64.5'"
    assert refusal("gan", {"objective": "fun"}) == (
        "gan's objective is one of minimax, non-saturating, least-squares, wasserstein, hinge, "
        "relativistic, got 'fun'"
    )
    assert refusal("vae", {"hidden": "a"}) == (
        "vae's hidden is whole numbers with commas, as 512,256, or none, got 'a'"
    )
    assert "is numbers with commas, as 0.5,0.25, got" in refusal(own, {"rates": "a"})
    assert "deep is true or false, got 'yes'" in refusal(own, {"deep": "yes"})
    assert "is of type int | None, got" in refusal(own, {"limit": "a"})


def test_unknown_keywords_name_the_nearest() -> None:
    assert refusal("vae", {"latnt": 3}) == "vae has no keyword 'latnt': did you mean 'latent'?"
    assert "known: beta, channels, context, dropout" in refusal("vae", {"q": 3})
    assert "no keyword 'spec'" in refusal("vae", {"spec": 3})
    assert "no keyword 'self'" in refusal("vae", {"self": 3})


def test_a_keywords_value_may_still_be_refused_by_the_model() -> None:
    assert "got latent=0" in refusal("gan", {"latent": "0"})
    with pytest.raises(MissingCapability, match="ordered levels"):
        registry.build("nice", DataSpec((4,), 3, ordered=False))


# ---- keywords of a base -------------------------------------------------------------------------


def test_a_model_has_the_keywords_of_its_base_and_their_meanings() -> None:
    own, base = (description.describe(name).keywords for name in ("iwae", "vae"))
    assert set(own) == {*base, "draws"}
    assert own["beta"] == base["beta"]
    assert own["draws"][:2] == ("int", 5)
    # one whose default differs
    assert description.describe("beta-vae").keywords["beta"][1] == 4.0


def test_keywords_of_a_base_reach_it(tmp_path: Path) -> None:
    with seeded(0):
        model = registry.build("iwae", GREY, {"hidden": "4", "draws": "3"})
    assert model.keywords["hidden"] == (4,)
    saved.save(model, tmp_path / "m", "iwae")
    assert saved.load(tmp_path / "m").keywords == model.keywords
    assert refusal("iwae", {"depth": 3}).startswith("iwae has no keyword 'depth'")


def test_assignments_are_read() -> None:
    read = parse_assignments(["latent=3", " first-kernel-size = 5 ", "word=a=b", "empty="])
    assert read == {"latent": "3", "first_kernel_size": "5", "word": "a=b", "empty": ""}
    assert parse_assignments([]) == {}


@pytest.mark.parametrize(
    "texts", [["latent"], ["=3"], [" =3"], [""], ["a=1", "a=2"], ["a-b=1", "a_b=2"]]
)
def test_other_assignments_are_refused(texts: list[str]) -> None:
    with pytest.raises(UsageError, match=r"takes key=value|is given twice"):
        parse_assignments(texts)


# ---- saved and loaded ---------------------------------------------------------------------------


def small_vae(folder: Path, **keywords: Any) -> Model:
    with seeded(0):
        model = registry.build("vae", GREY, {"latent": 2, "hidden": (6, 5), **keywords})
    saved.save(model, folder, "vae")
    return model


def test_a_model_comes_back_as_it_was(tmp_path: Path) -> None:
    model = small_vae(tmp_path / "m", context="label")
    again = saved.load(tmp_path / "m")
    assert type(again) is type(model)
    assert again.keywords == model.keywords
    assert again.keywords["hidden"] == (6, 5)
    assert again.spec == model.spec
    assert not again.training
    before, after = model.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_every_kind_of_keyword_comes_back(own: str, tmp_path: Path) -> None:
    given = {
        "number": 4, "rate": 0.1, "deep": True, "word": "5", "mode": "two", "size": 2,
        "widths": (1, 2, 3), "rates": (), "limit": None, "either": "x",
    }  # fmt: skip
    saved.save(registry.build(own, GREY, given), tmp_path / "m", own)
    again = saved.load(tmp_path / "m", code=own).keywords
    assert again == given
    assert {k: type(v) for k, v in again.items()} == {k: type(v) for k, v in given.items()}


def test_foreign_code_runs_only_when_named(own: str, tmp_path: Path) -> None:
    saved.save(registry.build(own, GREY), tmp_path / "m", own)
    marker = tmp_path / "ran"
    source = Path(own.rpartition(":")[0])
    source.write_text(OWN + f"\nopen({str(marker)!r}, 'w').close()\n")
    with pytest.raises(CheckpointError, match=re.escape(f"{own!r}: pass --code file.py:Class")):
        saved.load(tmp_path / "m")
    assert not marker.exists()
    assert type(saved.load(tmp_path / "m", code=own)).__name__ == "Own"
    assert marker.exists()
    # a place inside this package is not in the registry either
    assert registry.allowed_name("vae", None) == "vae"
    with pytest.raises(CheckpointError, match="--code"):
        registry.allowed_name("simulacra.models.latent.vae:VAE", None)
    assert registry.allowed_name("anything.py:A", "my.py:B") == "my.py:B"


def test_weights_of_another_shape_do_not_fit(tmp_path: Path) -> None:
    small_vae(tmp_path / "m")
    state = read_folder(tmp_path / "m")
    state["model"]["keywords"]["latent"] = 3
    write_folder(tmp_path / "wider", state)
    del state["weights"]["decoding.layers.0.weight"]
    state["model"]["keywords"]["latent"] = 2
    write_folder(tmp_path / "fewer", state)
    for name in ("wider", "fewer"):
        with pytest.raises(CheckpointError, match=f"{name} does not fit vae: ") as caught:
            saved.load(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert "decoding.layers.0.weight" in str(caught.value)


def test_weights_of_a_model_that_was_built_otherwise_are_told_in_short(tmp_path: Path) -> None:
    small_vae(tmp_path / "m")
    state = read_folder(tmp_path / "m")
    state["weights"] = {name.replace("encoding", "e"): v for name, v in state["weights"].items()}
    write_folder(tmp_path / "older", state)
    with pytest.raises(CheckpointError, match=r"another version.* train again$") as caught:
        saved.load(tmp_path / "older")
    assert re.search(
        r"it lacks encoding\S+ and \d+ more and it has no place for e\.", str(caught.value)
    )
    assert len(str(caught.value).partition("does not fit")[2]) < 250


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path: Path, value: float) -> None:
    model = small_vae(tmp_path / "m")
    model.state_dict()["decoding.layers.0.weight"][0, 1] = value
    saved.save(model, tmp_path / "broken", "vae")
    with pytest.raises(
        CheckpointError,
        match=r"broken does not fit vae: .*decoding\.layers\.0\.weight has NaN or infinite",
    ):
        saved.load(tmp_path / "broken")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64, torch.complex64])
def test_weights_of_another_kind_are_refused_by_name(tmp_path: Path, dtype: torch.dtype) -> None:
    small_vae(tmp_path / "m")
    state = read_folder(tmp_path / "m")
    state["weights"]["decoding.layers.0.bias"] = state["weights"]["decoding.layers.0.bias"].to(
        dtype
    )
    write_folder(tmp_path / "other", state)
    with pytest.raises(
        CheckpointError, match=rf"decoding\.layers\.0\.bias is of {dtype}, expected"
    ):
        saved.load(tmp_path / "other")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("model", None), ("model", []), ("model", {}), ("model", {"model": 5}),
        ("spec", None), ("spec", {}), ("spec", []), ("spec", {"event_shape": 5, "levels": 2}),
        ("spec", {"event_shape": [1, 4.5, 4], "levels": 2}),
        ("spec", {"event_shape": [1, 4, 4], "levels": -1}),
        ("spec", {"event_shape": [1, 4, 4], "levels": 2, "odd": 1}),
        ("spec", {"event_shape": [1, 4, 4], "levels": "2"}),
        ("keywords", []), ("keywords", [["latent", 2]]), ("keywords", 5), ("keywords", {"odd": 1}),
        ("keywords", {"latent": "two"}), ("keywords", {"latent": 10**400}),
        ("weights", None), ("weights", []), ("weights", {}), ("weights", 5),
        ("weights", {"decoding.layers.0.bias": 5}),
    ],
)  # fmt: skip
def test_a_forged_model_is_refused(tmp_path: Path, place: str, value: Any) -> None:
    small_vae(tmp_path / "m")
    state = read_folder(tmp_path / "m")
    (state["model"] if place in ("spec", "keywords") else state)[place] = value
    write_folder(tmp_path / "forged", state)
    with pytest.raises(CheckpointError, match="forged") as caught:
        saved.load(tmp_path / "forged")
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no MANIFEST\.json"):
        saved.load(tmp_path)
    write_folder(tmp_path / "other", {"something": 1})
    with pytest.raises(CheckpointError, match=r"holds no model\.json"):
        saved.load(tmp_path / "other")


def test_type_names() -> None:
    names = {
        "int": int, "a | b": Literal["a", "b"], "tuple[str, ...]": tuple[str, ...],
        "int | None": int | None, "true or false": bool,
        "whole numbers with commas, as 512,256": tuple[int, ...],
    }  # fmt: skip
    assert {type_name(kind): kind for kind in names.values()} == names
