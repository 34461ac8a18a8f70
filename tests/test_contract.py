"""Every model of the registry keeps every law that applies to it.

Each law is asked of each model on its usual data, and once more by turns on rarer ones; with
`--every`, on all that it can be asked on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import torch

import laws
import several
from forked import Forked
from simulacra.data.dataset import Observations
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.ground.storage import detached_copy
from simulacra.models import description, registry, saved
from simulacra.models.adversarial.completion import InversionCompletion
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.diffusion.base import Diffusion
from simulacra.models.diffusion.flow_matching import FlowMatching
from simulacra.models.flow.completion import DensityCompletion
from simulacra.models.latent.completion import CodeCompletion
from simulacra.models.latent.pca import PCA
from simulacra.models.lawbook.probability import half
from simulacra.models.lawbook.trials import FORMS, learnt_with, players_of, trial
from simulacra.models.laws import Case, cases, laws_of
from simulacra.models.mixture.kde import KDE
from simulacra.models.model import Likelihood, Model, Sampling
from simulacra.training.compiling import compiled
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options

KINDS = {name: registry.find(name) for name in registry.MODELS}
FAMILY = [name for name, kind in KINDS.items() if issubclass(kind, Autoregressive)]
_FULL = {"covariance": "full"}
_CODED = ("vae", "iwae", "beta-vae", "infovae", "sequential-vae", "pixelvae", "m2")
_NEARLY = (DensityCompletion, CodeCompletion, InversionCompletion, Diffusion)
_REFINED = {name: {} for name, kind in KINDS.items() if issubclass(kind, Diffusion)}
UNASKED: dict[str, dict[str, dict[str, Any]]] = {
    # a bound that is not tight says less than a test of samples needs; other laws hold these
    "sampling": {
        "gmm": _FULL,
        "mfa": {},
        "hvae": {},
        **{key: {} for key in _CODED},
        **_REFINED,
        **{key: {} for key in ("nice", "realnvp", "glow", "spline-flow", "maf", "iaf")},
    },
    "sampling of vectors": {
        **{key: {} for key in _CODED},
        # but for a density that is followed, not bounded
        **{key: {} for key in _REFINED if KINDS[key] is not FlowMatching},
    },
    # its codes of one level are not of one unit; tests/test_hvae.py integrates over two levels
    "sampling of codes": {"hvae": {}},
    # a full covariance conditions on the middles of bins; factors are resampled from a few draws;
    # of a flow, and of codes, a chain comes near; of a game, what fits what is observed; what
    # refines noise is told of it at each step
    "exact completion": {
        "gmm": _FULL,
        "mfa": {},
        **{name: {} for name, kind in KINDS.items() if issubclass(kind, _NEARLY)},
    },
    # codes of a density that cannot be narrowed
    "temperature": {"autoencoder": {}, "vqvae": {}},
    # learns by sweeps alone
    "turns": {"kde": {}, "pca": {}},
    "learning": {"kde": {}},
    # nor has a context alone, for it is told identities
    "context refused": {"kde": {}, "pca": {}, "triplet": {}},
    # the best step is chosen by the likelihood, which other laws hold, or by nothing
    "validation": {
        name: {}
        for name, kind in KINDS.items()
        if kind.validation_loss in (Model.validation_loss, Likelihood.validation_loss)
    },
}
"""Laws that have nothing to ask of a model with some keywords, and are asked of all others."""


@pytest.fixture
def quick(case: Case, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.config.getoption("every"):
        laws.make_quick(monkeypatch, case.kind)


def usual(name: str, **keywords: Any) -> Any:
    """A model with its usual small keywords, of the first form that it takes."""
    form = next(form for form, spec in FORMS.items() if KINDS[name].takes.includes(spec))
    given = {**KINDS[name].small[0], **keywords}
    return trial(KINDS[name].class_for(**given), FORMS[form], given)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    every = metafunc.config.getoption("every")
    if "case" in metafunc.fixturenames:
        asked = list(all_cases(every))
        metafunc.parametrize(("name", "case"), asked, ids=[label(*each) for each in asked])
    if "colours" in metafunc.fixturenames:
        asked = list(compiled_cases(every))
        metafunc.parametrize(("name", "number", "colours", "backend"), asked)


def compiled_cases(every: bool) -> Iterator[tuple[str, int, int, str]]:
    """Small keywords and colours of each model that is compiled, and by what: one, by turns.

    Of each family every second one, in an order that is drawn once: to trace one takes seconds, and
    its neighbours are made of the same layers. With `--every`, all.
    """
    # what learns by sweeps alone has no step
    names = [name for name, kind in KINDS.items() if not kind.not_compiled]
    names = [name for name in names if KINDS[name] not in (KDE, PCA)]
    if not every:
        names = [name for family in families(names) for name in family[::2]]
    for name in names:
        kind = KINDS[name]
        lot = crc32(name.encode())
        for number, colours in itertools.product(range(len(kind.small)), (1, 3)):
            mine = number == lot % len(kind.small) and colours == (1, 3)[lot // 28 % 2]
            if every or mine:
                yield name, number, colours, "eager"
            # it has random numbers of its own
            if every and number == 0 and name in FAMILY:
                yield name, number, colours, "inductor"


def families(names: list[str]) -> list[list[str]]:
    """The names by the folders of their models, each in an order by lot."""
    drawn = sorted(names, key=lambda name: (family_of(name), crc32(name.encode())))
    return [list(family) for _, family in itertools.groupby(drawn, family_of)]


def family_of(name: str) -> str:
    return KINDS[name].__module__.split(".")[-2]


def all_cases(every: bool) -> Iterator[tuple[str, Case]]:
    for name, kind in KINDS.items():
        for case in cases(kind, every=every):
            yield name, case


def number(case: Case) -> int:
    """Which of the model's small keywords it has, beside those of the law."""
    small = [{**each, **case.law.keywords} for each in case.kind.small]
    return small.index(dict(case.keywords))


def label(name: str, case: Case) -> str:
    return f"{case.law.name.replace(' ', '-')}-{name}{number(case)}-{case.form}"


@pytest.mark.usefixtures("quick")
def test_a_law(name: str, case: Case) -> None:
    excused = UNASKED.get(case.law.name, {}).get(name)
    asked = excused is None or not excused.items() <= case.keywords.items()
    assert case.check() == asked


def test_what_is_excused_from_an_exact_completion_claims_none() -> None:
    for covariance in ("diagonal", "full"):
        model = usual("gmm", covariance=covariance)
        for mask in (torch.ones(model.spec.event_shape).bool(), half(model)):
            assert model.completes_exactly(mask) == (covariance == "diagonal")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("form", ["picture", "vectors"])
def test_a_refused_context_is_called_what_it_is(name: str, form: str) -> None:
    """The law is content with any `UsageError`; ours say what is wanted."""
    kind, spec = KINDS[name], FORMS[form]
    for keywords in kind.small:
        if not kind.takes_with(**keywords).includes(spec):
            continue
        model = kind.class_for(**keywords)(spec, **keywords)
        if model.classes_in_batch is not None:
            # beside its observations it is told whose they are
            continue
        wanted = model.context != "none"
        told = None if wanted else torch.zeros(4).long()
        turn = {"turn": model.turns[0]} if model.turns else {}
        with pytest.raises(UsageError, match="takes a" if wanted else "takes no context"):
            model.loss(laws.observations(model, 4), told, **turn)


@pytest.mark.parametrize("name", KINDS)
def test_the_rotation_meets_everything(name: str) -> None:
    """Every small keyword and every form of data that any law could be asked on; each law once."""
    some, every = (list(cases(KINDS[name], every=each)) for each in (False, True))
    for show in (number, lambda case: case.form, lambda case: case.law):
        met = [show(case) for case in some]
        assert all(show(case) in met for case in every)
    assert [case.law for case in every if case not in some]
    taken = {form for form, spec in FORMS.items() if KINDS[name].takes.includes(spec)}
    # a keyword may choose a subclass, which has laws of its own
    kinds = [KINDS[name].class_for(**keywords) for keywords in KINDS[name].small]
    due = {law.name for kind in kinds for law in laws_of(kind) if taken & set(law.forms)}
    assert {case.law.name for case in some} == due - (
        set() if "context" in KINDS[name].signature() else {"contexts"}
    )


def test_a_step_of_each_family_is_compiled() -> None:
    some, every = ({name for name, *_ in compiled_cases(each)} for each in (False, True))
    assert some < every
    assert {family_of(name) for name in some} == {family_of(name) for name in KINDS}


def test_cases_are_known_without_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model was built")

    for kind in KINDS.values():
        monkeypatch.setattr(kind, "__init__", refuse)
    for kind in KINDS.values():
        assert kind.small[0] == {} or kind.small[0]
        assert {case.form for case in cases(kind, specs=FORMS)} & {"grey", "rgb", "sequence"}


@pytest.mark.parametrize("name", FAMILY)
def test_no_candidate_is_refused_even_where_one_is_enough(name: str) -> None:
    model = usual(name)
    x = laws.observations(model, 2)
    for observed in (torch.ones(x.shape[1:]), torch.zeros(x.shape[1:])):
        with pytest.raises(UsageError, match="candidates is at least 1, got 0"):
            model.complete(x, observed.bool(), candidates=0)


@pytest.mark.parametrize("form", ["vectors", "wide", "palette"])
def test_a_refusal_names_models_that_take_the_data(form: str) -> None:
    """The law `takes` holds what they say they take to what they do."""
    spec, said = FORMS[form], []
    for name in FAMILY:
        if not KINDS[name].takes.includes(spec):
            with pytest.raises(MissingCapability) as caught:
                registry.build(name, spec)
            said.append(str(caught.value).rpartition(" use ")[2])
    assert said
    for names in said:
        for name in names.replace(" or ", ", ").split(", "):
            assert KINDS[name].takes.includes(spec)


# of the compiler's own doing, and not shown by default; all others are errors
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.*should not be instantiated")
def test_a_compiled_step_is_the_plain_one(
    name: str,
    number: int,
    colours: int,
    backend: str,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The compiler takes it as it is, without a word; pictures of one colour, and of several."""
    keywords, shape = dict(KINDS[name].small[number]), (colours, 3, 3)
    if not request.config.getoption("--every"):
        shape = (colours, 2, 3)
        # every resolution or coupling more takes a second to trace, and is the same again
        keywords |= {"pixelcnnpp": {"scales": 1}, "realnvp": {"steps": 1}}.get(name, {})
    spec = DataSpec(shape, min(3, KINDS[name].takes.most_levels or 3), classes=3, context_width=2)
    if not KINDS[name].takes.includes(spec):
        spec = replace(spec, event_shape=(math.prod(shape),))
    model = trial(KINDS[name], spec, keywords).train()
    for turn in players_of(model):
        torch.compiler.reset()
        parameters = list(model.player(turn).parameters())
        traced = compiled(type(model).loss, backend=backend)
        # of MADE so many steps that every mask comes
        for seed in range(6 if name == "made" else 1):
            x, told = laws.observations(model, 4, seed), learnt_with(model, 4)
            found, before = [], detached_copy(model.state_dict())
            for loss in (type(model).loss, traced):
                # a spectral norm goes on from where it is
                model.load_state_dict(before)
                with seeded(seed):
                    value = loss(model, x, told, turn=turn)["loss"]
                found.append([value.detach(), *torch.autograd.grad(value, parameters)])
            torch.testing.assert_close(found[1], found[0])
    assert not [r for r in caplog.records if r.levelname in ("WARNING", "ERROR")]


@pytest.mark.parametrize("name", KINDS)
def test_a_training_in_low_precision_stays_finite(
    name: str, request: pytest.FixtureRequest
) -> None:
    """Steps in bfloat16, weights of convolutions with their channels last, figures in float32."""
    kind, forms = KINDS[name], list(FORMS)
    cases = [
        (number, form) for number, form in itertools.product(range(len(kind.small)), forms)
        if kind.takes_with(**kind.small[number]).includes(FORMS[form])
    ]  # fmt: skip
    lot = crc32(name.encode())
    for number, form in cases if request.config.getoption("--every") else [cases[lot % len(cases)]]:
        with seeded(0):
            model = kind(FORMS[form], **kind.small[number])
        x, told = laws.observations(model, 16), learnt_with(model, 16)
        split = Observations(x.to(torch.uint8) if model.spec.levels else x, told)
        options = Options(precision="bf16", device="cpu", batch=8, warmup=0)
        training = Training(model, split, split, options)
        training.set_plan(Budget(2, "steps"))
        losses = [value for record in training for value in record.losses.values()]
        assert losses
        assert all(map(math.isfinite, losses))
        kept = training.averaged.eval()
        assert {value.dtype for value in kept.parameters()} <= {torch.float32}
        if isinstance(kept, Likelihood):
            scores = kept.log_likelihood(x, told)
            assert scores.dtype == torch.float32
            assert bool(scores.isfinite().all())


@pytest.mark.parametrize("name", KINDS)
def test_docstrings_are_complete(name: str) -> None:
    """More than the law asks of a model of the user's own: its paper, and where it departs."""
    about = description.describe(name)
    assert about.summary.endswith(".")
    assert any(character.isdigit() for character in about.paper)
    assert about.departs


def test_a_saved_model_draws_the_same_in_a_fresh_process(tmp_path: Path) -> None:
    expected, folder = [], tmp_path / "saved"
    for name in sorted(name for name, kind in KINDS.items() if issubclass(kind, Sampling)):
        model = usual(name)
        saved.save(model, folder / name, name)
        for seed in (0, 1):
            with seeded(seed), torch.no_grad():
                drawn = model.sample(5, several.told(model))
                expected.append(f"{name} {seed} {drawn.flatten().tolist()}")
    process = Forked(several.draw_saved, folder, log=tmp_path / "log")
    assert process.wait() == 0, process.said()
    assert process.said().splitlines() == expected
    assert all(
        a.split(" ", 2)[2] != b.split(" ", 2)[2]
        for a, b in zip(expected[::2], expected[1::2], strict=True)
    )
