"""`check_model`: a good model is told its laws, and wrong ones of each kind which they break."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import laws
import toys
import wrong_diffusions
import wrong_models
import wrong_vectors
from simulacra.ground.errors import BrokenLaw, UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.adversarial.gan import GAN
from simulacra.models.flow.nice import NICE
from simulacra.models.latent.vae import VAE
from simulacra.models.laws import cases, check_model, laws_of
from simulacra.models.mixture.gmm import GMM
from simulacra.models.model import Encoding, Model, Sampling
from wrong_models import Table

WRONG = [*wrong_models.WRONG, *wrong_vectors.WRONG, *wrong_diffusions.WRONG]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    laws.make_quick(monkeypatch)


def test_a_good_model_is_told_which_laws_it_keeps() -> None:
    kept = check_model(Table)
    assert {
        "causality", "keywords", "docstring", "turns", "learning", "completion", "contexts",
        "normalisation", "sampling", "exact completion", "saving", "takes",
    } <= set(kept)  # fmt: skip
    # it has no sampler beside the plain one
    assert not {"inverse", "incremental sampling", "sampling of vectors"} & set(kept)
    own = DataSpec((1, 2, 2), 2, classes=2)
    assert "sampling" in check_model(Table, keywords={"smoothing": 3.0}, specs={"own": own})
    large = {"large": DataSpec((1, 5, 5), 4), "vectors": DataSpec((2,), None)}
    assert {"jacobian", "normalisation"} & set(check_model(NICE, specs=large)) == {"jacobian"}


@pytest.mark.parametrize("kind", wrong_vectors.GOOD)
@pytest.mark.parametrize("values", [1, 2])
def test_a_density_is_integrated_whatever_its_form(kind: type[Model], values: int) -> None:
    kept = check_model(kind, specs={"own": DataSpec((values,), None)})
    assert {"normalisation of vectors", "sampling of vectors"} <= set(kept)


def test_a_law_that_asks_nothing_is_not_named() -> None:
    # of three values a density is not integrated
    kept = check_model(wrong_vectors.Bell, specs={"own": DataSpec((3,), None)})
    assert not [law for law in kept if "of vectors" in law]
    assert "decoding" not in check_model(wrong_vectors.DecodesAlone)
    assert not {"turns", "learning", "context refused"} & set(check_model(toys.Sweeps))
    assert not {"learning", "score alone"} & set(check_model(GAN))


def test_a_large_picture_is_not_changed_value_by_value() -> None:
    large = DataSpec((1, 28, 28), 256)
    asked = {case.law.name for case in cases(Table, specs={"large": large})}
    assert "turns" in asked
    assert not {"causality", "incremental sampling", "incremental prediction"} & asked
    small = DataSpec((1, 10, 10), 256)
    both = cases(Table, specs={"large": large, "small": small})
    assert ("causality", "small") in {(case.law.name, case.form) for case in both}


def test_a_place_or_a_name_will_do(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(
        "from simulacra.models.flow.nice import NICE\n\n"
        "class Mine(NICE):\n    small = ({'hidden': (4,)},)\n    __doc__ = NICE.__doc__\n"
    )
    assert {"jacobian", "inverse", "encoding"} <= set(check_model(f"{tmp_path}/my.py:Mine"))


def hold(kind: type[Model], law: str) -> None:
    """To one law, without those before it, which take longest."""
    for case in cases(kind):
        if case.law.name == law:
            case.check()


@pytest.mark.parametrize(("kind", "law", "what"), WRONG)
def test_a_wrong_model_is_refused_by_the_laws_name(
    kind: type[Model], law: str, what: str, request: pytest.FixtureRequest
) -> None:
    # and with --every, it keeps all laws before that one
    with pytest.raises(BrokenLaw) as caught:
        check_model(kind) if request.config.getoption("every") else hold(kind, law)
    assert str(caught.value).startswith(f"{kind.__name__} breaks the law `{law}`: ")
    assert re.search(re.escape(what), str(caught.value))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_each_law_has_a_wrong_model() -> None:
    """Those that no class here breaks are broken in `test_planted_faults.py`."""
    names = {law.name for kind in (Table, VAE, NICE, GAN, GMM) for law in laws_of(kind)}
    assert names - {law for _, law, _ in WRONG} == {
        "incremental sampling", "exact completion", "terms of a bound",
    }  # fmt: skip


def test_what_is_no_model_is_refused() -> None:
    class Half(Sampling, Encoding):
        """Has nothing."""

    with pytest.raises(UsageError, match="takes a class of models or its name, got 5"):
        check_model(5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="Half lacks encode, loss, sample"):
        check_model(Half)
    with pytest.raises(UsageError, match="no model is called"):
        check_model("xyzzy")
    with pytest.raises(UsageError, match=r"as {'x': DataSpec\(.*\)}; got 'x': \(1, 2\)"):
        check_model("made", specs={"x": (1, 2)})  # type: ignore[dict-item]
    with pytest.raises(UsageError, match=r"forms of data by name.*got DataSpec"):
        check_model("made", specs=DataSpec((1, 2, 2), 3))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="takes none of these data"):
        check_model(NICE, specs={"one": DataSpec((1,), None)})
