"""Every model of the registry keeps every law that applies to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

import laws
import several
from forked import Forked
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import description, registry, saved
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.flow.base import Flow
from simulacra.models.latent.vae import VAE
from simulacra.models.model import Completion, Decoding, Encoding, Likelihood, Model, Sampling
from simulacra.training.compiling import compiled

GREY = DataSpec((1, 2, 2), 3, classes=3, context_width=2)
WIDE = DataSpec((2,), 16, classes=3, context_width=2)
RGB = DataSpec((3, 1, 2), 2, classes=3, context_width=2)
PALETTE = DataSpec((1, 2, 2), 3, ordered=False, classes=3)
PICTURE = DataSpec((1, 6, 6), 4, classes=3, context_width=2)
COLOUR_PICTURE = DataSpec((3, 3, 3), 4, classes=3, context_width=2)
VECTORS = DataSpec((3,), None, classes=3, context_width=2)

TINY: dict[str, list[dict[str, Any]]] = {
    "gmm": [{"components": 3}, {"components": 3, "covariance": "full"}],
    "vae": [
        {"latent": 2, "hidden": (8,)},
        {"latent": 2, "hidden": (8,), "observation": "categorical"},
        {"latent": 2, "hidden": (8,), "observation": "discretised-logistic"},
        {"latent": 2, "hidden": (8,), "context": "label"},
        {"latent": 2, "hidden": (8,), "context": "vector"},
    ],
    "pixelcnn": [
        {"channels": 6, "layers": 2, "first_kernel_size": 3},
        {"channels": 4, "layers": 1, "context": "label"},
        {"channels": 4, "layers": 1, "context": "vector"},
    ],
    "gated-pixelcnn": [
        {"channels": 12, "layers": 3, "first_kernel_size": 3},
        {"channels": 6, "layers": 2, "first_kernel_size": 3, "context": "label"},
        {"channels": 6, "layers": 2, "kernel_size": 1, "context": "vector"},
    ],
    "row-lstm": [
        {"channels": 8, "layers": 2, "first_kernel_size": 3},
        {"channels": 4, "layers": 1, "context": "label"},
        {"channels": 4, "layers": 1, "context": "vector"},
    ],
    "diagonal-bilstm": [
        {"channels": 6, "layers": 2, "first_kernel_size": 3},
        {"channels": 4, "layers": 1, "context": "label"},
        {"channels": 4, "layers": 1, "context": "vector"},
    ],
    "pixelcnnpp": [
        {"channels": 4, "blocks": 1, "components": 3},
        {"channels": 4, "blocks": 1, "scales": 1, "components": 2, "context": "label"},
        {"channels": 5, "blocks": 1, "scales": 2, "components": 2, "context": "vector"},
    ],
    "made": [
        {"hidden": (16, 12)},
        {"hidden": (8,), "masks": 3, "direct": False, "components": 2},
        {"hidden": (10,), "masks": 2, "components": 2, "context": "label"},
        {"hidden": (12,), "components": 2, "context": "vector"},
    ],
    "pixel-rnn": [
        {"hidden": 8},
        {"hidden": 6, "layers": 3, "context": "label"},
        {"cell": "gru", "hidden": 6, "layers": 1, "context": "vector"},
    ],
    "pixel-transformer": [
        {"width": 8, "layers": 2, "heads": 2},
        {"width": 8, "layers": 1, "heads": 2, "context": "label"},
        {"width": 8, "layers": 1, "heads": 1, "context": "vector"},
    ],
    "gan": [
        {"latent": 2, "hidden": (8,)},
        {"latent": 2, "hidden": (8,), "objective": "minimax", "context": "label"},
        {"latent": 2, "hidden": (8,), "context": "vector"},
    ],
    "nice": [
        {"hidden": (8,)},
        {"hidden": (8,), "couplings": 3, "context": "label"},
        {"hidden": (8,), "context": "vector"},
    ],
}
SPECS = {
    "grey": GREY, "wide": WIDE, "rgb": RGB, "palette": PALETTE, "picture": PICTURE,
    "colour-picture": COLOUR_PICTURE, "vectors": VECTORS,
}  # fmt: skip


def build(name: str, keywords: dict[str, Any], spec: DataSpec, scale: float = 0.3) -> Model:
    with seeded(0):
        model = registry.build(name, spec, keywords)
    x = laws.observations(model, 60)
    with seeded(1):
        model.prepare(x, laws.contexts(model, 60))
    return laws.randomise(model, scale)


def cases(kind: type[Model], *specs: str) -> list[Any]:
    """Each model of a capability, with each of its keywords, on each form of data it takes."""
    found = []
    for name, configurations in TINY.items():
        if not issubclass(registry.find(name), kind):
            continue
        for number, keywords in enumerate(configurations):
            for spec in specs:
                try:
                    build(name, keywords, SPECS[spec])
                except (MissingCapability, UsageError):
                    continue
                found.append(pytest.param(name, keywords, SPECS[spec], id=f"{name}{number}-{spec}"))
    return found


def test_every_model_is_here() -> None:
    assert list(TINY) == list(registry.MODELS)


@pytest.mark.parametrize(
    ("name", "keywords", "spec"), cases(Likelihood, "grey", "wide", "rgb", "palette")
)
def test_probabilities_sum_to_one(name: str, keywords: dict[str, Any], spec: DataSpec) -> None:
    model = build(name, keywords, spec)
    laws.sums_to_one(model)
    if model.exact:
        laws.sums_to_one(model.double())


@pytest.mark.parametrize(
    ("name", "keywords", "spec"), cases(Autoregressive, "picture", "colour-picture", "palette")
)
def test_causality(name: str, keywords: dict[str, Any], spec: DataSpec) -> None:
    laws.is_causal(build(name, keywords, spec))


FAMILY = [name for name in TINY if issubclass(registry.find(name), Autoregressive)]


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("context", ["none", "label", "vector"])
@torch.no_grad()
def test_no_observations_are_as_good_as_some(name: str, context: str) -> None:
    model = build(name, {**TINY[name][0], "context": context}, COLOUR_PICTURE)
    assert isinstance(model, Autoregressive)
    x, told = laws.observations(model, 0), laws.contexts(model, 0)
    assert model.log_likelihood(x, told).shape == (0,)
    assert model.sample(0, told).shape == x.shape
    observed = torch.zeros(x.shape[1:], dtype=torch.bool)
    assert model.complete(x, observed, told).shape == x.shape


@pytest.mark.parametrize("name", FAMILY)
def test_no_candidate_is_refused_even_where_one_is_enough(name: str) -> None:
    model = build(name, TINY[name][0], GREY)
    assert isinstance(model, Autoregressive)
    x = laws.observations(model, 2)
    for observed in (torch.ones(x.shape[1:]), torch.zeros(x.shape[1:])):
        with pytest.raises(UsageError, match="candidates is at least 1, got 0"):
            model.complete(x, observed.bool(), candidates=0)


@pytest.mark.parametrize(
    "spec", [VECTORS, WIDE, PALETTE], ids=["vectors", "no-picture", "unordered"]
)
def test_a_refusal_names_models_that_take_the_data(spec: DataSpec) -> None:
    said = []
    for name in FAMILY:
        try:
            registry.build(name, spec)
        except MissingCapability as error:
            said.append(str(error).rpartition(" use ")[2])
    assert said
    for names in said:
        for name in names.replace(" or ", ", ").split(", "):
            with seeded(0):
                registry.build(name, spec)


COMPILED = [
    (name, TINY[name][number]) for name in FAMILY for number in (0, 1)
    if (name, number) != ("pixelcnnpp", 0)
]  # fmt: skip


@pytest.mark.parametrize(("name", "keywords"), COMPILED)
# of the compiler's own doing, and not shown by default; all others are errors
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.*should not be instantiated")
def test_a_compiled_step_is_the_plain_one(
    name: str, keywords: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The compiler takes it as it is, without a word."""
    torch.compiler.reset()
    spec = DataSpec((1, 3, 3), 3, classes=3)
    model = build(name, keywords, spec).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    traced = compiled(type(model).loss, backend="eager")
    # of MADE so many steps that every mask comes
    for seed in range(6 if name == "made" else 1):
        x = laws.observations(model, 4, seed)
        told = laws.contexts(model, 4)
        found = []
        for loss in (type(model).loss, traced):
            with seeded(seed):
                value = loss(model, x, told)["loss"]
            found.append([value.detach(), *torch.autograd.grad(value, parameters)])
        torch.testing.assert_close(found[1], found[0])
    assert not [r for r in caplog.records if r.levelname in ("WARNING", "ERROR")]


@pytest.mark.parametrize(
    ("name", "keywords", "spec"), cases(Autoregressive, "picture", "colour-picture", "palette")
)
def test_incremental_sampling(name: str, keywords: dict[str, Any], spec: DataSpec) -> None:
    laws.samples_incrementally(build(name, keywords, spec))
    # weights of the size of trained ones: larger ones enlarge what float32 rounds away
    laws.predicts_in_turn(build(name, keywords, spec, scale=0.1))


@pytest.mark.parametrize(("name", "keywords", "spec"), cases(Likelihood, "grey", "rgb", "palette"))
def test_samples_agree_with_the_likelihood(
    name: str, keywords: dict[str, Any], spec: DataSpec
) -> None:
    model = build(name, keywords, spec)
    if isinstance(model, VAE):
        model = build(name, {**keywords, "latent": 1}, spec)
        x = laws.states(model)
        p = by_quadrature(model.double(), x, laws.one_context(model, len(x))).exp()
        laws.samples_as_it_says(model, p)
    elif model.exact:
        laws.samples_as_it_says(model)
    else:
        # a bound that is not tight says less than a test needs; other laws hold these models
        assert name in ("gmm", "nice")


@pytest.mark.parametrize(
    ("name", "keywords", "spec"), cases(Flow, "grey", "wide", "colour-picture", "vectors")
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_flows_invert(
    name: str, keywords: dict[str, Any], spec: DataSpec, dtype: torch.dtype
) -> None:
    laws.inverts(build(name, keywords, spec).to(dtype))


@torch.no_grad()
def by_quadrature(model: VAE, x: Tensor, context: Tensor | None = None) -> Tensor:
    """log p(x) = log ∫ p(x | z) p(z) dz for a code of one dimension, in float64."""
    grid = torch.linspace(-10, 10, 1501, dtype=torch.float64)
    told = None if context is None else context[:1].expand(len(grid), *context.shape[1:])
    decoded = model.likelihood(grid[:, None], told)
    log_joint = torch.stack([decoded.log_prob(row.double()) for row in x])
    log_joint = log_joint + Normal(0.0, 1.0).log_prob(grid)
    return log_joint.logsumexp(1) + (grid[1] - grid[0]).log()


@pytest.mark.parametrize("keywords", TINY["vae"][:3])
def test_the_bound_is_below_and_converges(keywords: dict[str, Any]) -> None:
    """Against p(x) by quadrature over a one-dimensional code."""
    model = build("vae", {**keywords, "latent": 1}, GREY).double()
    with torch.no_grad():
        # a posterior near the prior: loose enough to show, and wide enough to converge
        for parameter in model.encoder[-1].parameters():
            parameter.mul_(0.3)
        for parameter in model.decoder[-1].parameters():
            parameter.mul_(0.5)
        x = laws.states(model)[::8]
        true = by_quadrature(model, x)
        elbos = torch.stack([model.log_likelihood(x, seed=seed) for seed in range(200)])
        tight = torch.stack([model.log_likelihood(x, draws=1024, seed=s) for s in range(2)]).mean(0)
    error = 4 * elbos.std(0) / 200**0.5
    assert bool((elbos.mean(0) <= true + error).all())
    assert bool((elbos.mean(0) < true - 0.001).any()), "the bound is loose here, so it must show"
    assert float((tight - true).mean().abs()) < 0.01


def test_training_loss_is_the_negative_bound() -> None:
    """The closed-form KL in the loss agrees with the sampled one in the likelihood."""
    model = build("vae", TINY["vae"][0], PICTURE)
    x = laws.observations(model, 20)
    with torch.no_grad(), seeded(0):
        losses = torch.stack([model.loss(x)["loss"] for _ in range(400)])
        bounds = torch.stack([-model.log_likelihood(x, seed=s).mean() for s in range(400)])
    error = 4 * float((losses.var() / 400 + bounds.var() / 400).sqrt())
    assert abs(float(losses.mean() - bounds.mean())) < error


@pytest.mark.parametrize(("name", "keywords", "spec"), cases(Model, "picture", "vectors"))
def test_each_turn_moves_its_player(name: str, keywords: dict[str, Any], spec: DataSpec) -> None:
    laws.moves_one_player(build(name, keywords, spec))


@pytest.mark.parametrize(
    ("name", "keywords", "spec"), cases(Completion, "grey", "rgb", "colour-picture", "vectors")
)
def test_completions_keep_what_is_given(
    name: str, keywords: dict[str, Any], spec: DataSpec
) -> None:
    laws.completes(build(name, keywords, spec))


@pytest.mark.parametrize(("name", "keywords", "spec"), cases(Completion, "grey", "rgb"))
def test_exact_completions_are_exact(name: str, keywords: dict[str, Any], spec: DataSpec) -> None:
    model = build(name, keywords, spec)
    if keywords.get("covariance") == "full":
        assert not model.completes_exactly(torch.ones(spec.event_shape, dtype=torch.bool))
    else:
        laws.completes_by_its_conditional(model)


@pytest.mark.parametrize(
    ("name", "keywords", "spec"), cases(Likelihood, "picture", "colour-picture", "vectors")
)
def test_scores_do_not_depend_on_the_batch(
    name: str, keywords: dict[str, Any], spec: DataSpec
) -> None:
    laws.scores_alone(build(name, keywords, spec))


@pytest.mark.parametrize(("name", "keywords", "spec"), cases(Model, "picture", "vectors"))
def test_contexts_stay_in_their_rows(name: str, keywords: dict[str, Any], spec: DataSpec) -> None:
    model = build(name, keywords, spec)
    x = laws.observations(model, 4)
    if model.context == "none":
        if model.turns:
            with pytest.raises(UsageError, match="takes no context"):
                model.loss(x, torch.zeros(4).long(), turn=model.turns[0])
        return
    laws.keeps_contexts_apart(model)
    with pytest.raises(UsageError, match="takes a"):
        model.loss(x, turn=model.turns[0])


@pytest.mark.parametrize(("name", "keywords", "spec"), cases(Model, "picture"))
def test_configuration_is_the_keywords(name: str, keywords: dict[str, Any], spec: DataSpec) -> None:
    model = registry.build(name, spec, keywords)
    assert {key: model.keywords[key] for key in keywords} == keywords
    defaults = {key: p.default for key, p in type(model).signature().items()}
    assert model.keywords == defaults | keywords


@pytest.mark.parametrize("name", registry.MODELS)
def test_capabilities_are_the_methods(name: str) -> None:
    """What a model cannot do has no method on it; what it says it can do has one."""
    methods = {
        Sampling: "sample", Likelihood: "log_likelihood", Completion: "complete",
        Encoding: "encode", Decoding: "decode",
    }  # fmt: skip
    found = registry.find(name)
    for kind, method in methods.items():
        assert hasattr(found, method) == issubclass(found, kind)


@pytest.mark.parametrize("name", registry.MODELS)
def test_docstrings_are_complete(name: str) -> None:
    about = description.describe(name)
    assert about.summary.endswith(".")
    assert any(character.isdigit() for character in about.paper)
    assert about.departs
    assert all(meaning for _, _, meaning in about.keywords.values())


def test_a_saved_model_draws_the_same_in_a_fresh_process(tmp_path: Path) -> None:
    expected, folder = [], tmp_path / "saved"
    for name in sorted(TINY):
        model = build(name, TINY[name][0], PICTURE)
        saved.save(model, folder / name, name)
        for seed in (0, 1):
            with seeded(seed), torch.no_grad():
                expected.append(f"{name} {seed} {model.sample(5).flatten().tolist()}")
    process = Forked(several.draw_saved, folder, log=tmp_path / "log")
    assert process.wait() == 0, process.said()
    assert process.said().splitlines() == expected
    assert all(
        a.split(" ", 2)[2] != b.split(" ", 2)[2]
        for a, b in zip(expected[::2], expected[1::2], strict=True)
    )


@pytest.mark.parametrize(("name", "keywords", "spec"), cases(Likelihood, "picture"))
def test_broken_weights_give_scores_that_are_not_finite(
    name: str, keywords: dict[str, Any], spec: DataSpec
) -> None:
    """Never an exception, and never a number: the evaluation counts them."""
    model = build(name, keywords, spec)
    x, told = laws.observations(model, 3), laws.contexts(model, 3)
    with torch.no_grad():
        for value in (*model.parameters(), *model.buffers()):
            if value.is_floating_point():
                value.fill_(torch.nan)
        scores = model.log_likelihood(x, told)
    assert not bool(scores.isfinite().any())
