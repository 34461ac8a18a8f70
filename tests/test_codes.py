"""What codes cost: a bound's parts against closed forms, and a collapse that is named."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

import simulacra as sim
from simulacra.cli import train as command
from simulacra.cli.codes import draw_codes
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.randomness import keyed_normal, keys_of, seeded
from simulacra.judging.figures.codes import collapse, idle
from simulacra.judging.results import Entry, Results
from simulacra.models.lawbook.bounds import terms_are_the_bound
from simulacra.models.laws import laws_of
from simulacra.nn.distributions import importance_weighted
from simulacra.report.code_tables import code_table, unit_table

PULL = 1.5
SPEC = sim.DataSpec((3,), None, classes=2)


class Linear(sim.Bounded):
    """x = a z + noise, unit by unit, with its true posterior: every bound is the likelihood.

    Args:
        spec: Vectors.
        heard: Units that the decoder hears, of which there are no more than values; the posterior
            of all others is the prior.
        latent: Units.
        floor: Nats that each unit costs whether it tells anything or not.
    """

    exact = False

    def __init__(
        self,
        spec: sim.DataSpec,
        *,
        heard: int = 2,
        latent: int = 4,
        floor: float = 0.0,
    ) -> None:
        super().__init__(spec)
        self.heard, self.latent, self.floor = heard, latent, floor
        self.pull = nn.Parameter(torch.full((heard,), PULL))

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, scale = x.new_zeros(len(x), self.latent), x.new_ones(len(x), self.latent)
        mean[:, : self.heard] = x[:, : self.heard] * self.pull / (1 + self.pull.square())
        scale[:, : self.heard] = (1 + self.pull.square()).rsqrt()
        return mean, scale

    def _distortion(self, x: Tensor, z: Tensor) -> Tensor:
        loc = torch.zeros_like(x)
        loc[:, : self.heard] = z[:, : self.heard] * self.pull
        return -Normal(loc, 1.0).log_prob(x).sum(1)

    def terms(self, x: Tensor, context: Tensor | None = None, *, seed: int = 0) -> sim.Terms:
        mean, scale = self._posterior(x)
        z = mean + scale * keyed_normal(keys_of(x, seed), (self.latent,)).to(mean)
        rates = 0.5 * (scale.square() + mean.square() - 1) - scale.log()
        return sim.Terms(self._distortion(x, z), rates + self.floor)

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        mean, scale = self._posterior(x)

        def log_weight(keys: Tensor) -> Tensor:
            z = mean + scale * keyed_normal(keys, (self.latent,)).to(mean)
            gap = Normal(0.0, 1.0).log_prob(z) - Normal(mean, scale).log_prob(z)
            return gap.sum(1) - self._distortion(x, z)

        return importance_weighted(x, draws, seed, log_weight)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self._posterior(x)[0]

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        loc = z.new_zeros(len(z), self.spec.dims)
        loc[:, : self.heard] = z[:, : self.heard] * self.pull
        return loc + torch.randn_like(loc)

    def prior(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        return temperature * torch.randn(n, self.latent)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        return {"loss": -self.log_likelihood(x, context).mean()}


@pytest.fixture(scope="module")
def drawn() -> Observations:
    """Of the model with two units heard; labels that tell nothing, some of them untold."""
    with seeded(3):
        x = Linear(SPEC).sample(4000)
    return Observations(x.detach(), torch.arange(4000) % 3 - 1)


def planted(**keywords: Any) -> Linear:
    return Linear(SPEC, **keywords).eval()


class Doubled(Linear):
    """As if the divergence were counted twice."""

    def terms(self, x: Tensor, context: Tensor | None = None, *, seed: int = 0) -> sim.Terms:
        found = super().terms(x, context, seed=seed)
        return sim.Terms(found.distortion, 2 * found.rates)


class Together(Linear):
    """The whole rate in the place of that of each unit."""

    def terms(self, x: Tensor, context: Tensor | None = None, *, seed: int = 0) -> sim.Terms:
        found = super().terms(x, context, seed=seed)
        return sim.Terms(found.distortion, found.kl[:, None])


class Negative(Linear):
    """Rates that sum to the right number, one of them below 0."""

    def terms(self, x: Tensor, context: Tensor | None = None, *, seed: int = 0) -> sim.Terms:
        found = super().terms(x, context, seed=seed)
        return sim.Terms(found.distortion, found.rates + torch.tensor([1.0, 0.0, 0.0, -1.0]))


class Shared(Linear):
    """One distortion for all."""

    def terms(self, x: Tensor, context: Tensor | None = None, *, seed: int = 0) -> sim.Terms:
        found = super().terms(x, context, seed=seed)
        return sim.Terms(found.distortion.mean().expand(len(x)), found.rates)


def test_the_law_of_terms() -> None:
    assert "terms of a bound" in {law.name for law in laws_of(Linear)}
    terms_are_the_bound(planted())


@pytest.mark.parametrize(
    ("kind", "told"),
    [(Doubled, "off log_likelihood"), (Together, "of 4 units"), (Negative, "below 0"),
     (Shared, "beside it")],
)  # fmt: skip
def test_the_law_catches(kind: type[Linear], told: str) -> None:
    with pytest.raises(sim.BrokenLaw, match=told):
        terms_are_the_bound(kind(SPEC).eval())


def test_terms_are_their_closed_forms(drawn: Observations) -> None:
    """Of the true posterior: each rate is half log(1 + a²), and −ELBO is the entropy."""
    found = sim.bound_terms(planted(), drawn)
    assert found.observations == 4000
    assert not found.non_finite
    for unit in found.units[:2]:
        error = unit.rate.standard_error
        assert error is not None
        assert abs(unit.rate.nats - 0.5 * math.log(1 + PULL**2)) < 4 * error
        assert abs(unit.variance - PULL**2 / (1 + PULL**2)) < 0.08
    for unit in found.units[2:]:
        assert abs(unit.rate.nats) < 1e-6
        assert unit.variance == 0
    assert (found.active, found.unused, found.collapsed) == (2, 2, False)
    assert found.rate
    assert found.distortion
    assert found.bound
    assert found.rate.nats == pytest.approx(sum(unit.rate.nats for unit in found.units))
    score = sim.likelihood(planted(), drawn).marginal
    assert score is not None
    # of one code each: another draw of the distortion, so within its error
    assert found.bound.standard_error is not None
    assert abs(found.bound.nats - score.nats) < 4 * found.bound.standard_error
    assert found.bound.bits_per_dim is None


def test_the_observations_are_those_of_the_likelihood(drawn: Observations) -> None:
    few = sim.bound_terms(planted(), drawn, limit=50)
    score = sim.likelihood(planted(), drawn, limit=50).marginal
    assert score is not None
    assert few.observations == 50
    alone = sim.bound_terms(planted(), drawn.take(score.rows))
    assert alone == few


def test_a_context_is_told_and_untold_labels_are_left_out(drawn: Observations) -> None:
    model = planted()
    model.context = "label"
    found = sim.bound_terms(model, drawn)
    assert found.given == "label"
    assert drawn.context is not None
    assert found.observations == int((drawn.context >= 0).sum())


def test_columns_in_their_own_units(drawn: Observations) -> None:
    """The distortion of a density is that of the columns' own units, as the likelihood's is."""
    from simulacra.ground.column import Column

    wide = replace(SPEC, columns=(Column(scale=10.0), Column(), Column()))
    here, there = (sim.bound_terms(Linear(s).eval(), drawn) for s in (SPEC, wide))
    assert here.distortion
    assert there.distortion
    assert there.distortion.nats - here.distortion.nats == pytest.approx(math.log(10), abs=1e-6)
    assert here.rate == there.rate


def test_what_is_not_finite_is_counted(drawn: Observations) -> None:
    broken = planted()
    x = drawn.x[:20].clone()
    x[7, 0] = math.inf
    found = sim.bound_terms(broken, Observations(x))
    assert (found.observations, found.non_finite, found.rate) == (20, 1, None)
    assert not collapse(found, ())


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"heard": 0}, "none of its 4 units tells of an observation (each costs under 0.01 nats)"),
        ({"heard": 0, "latent": 1}, "not even its one unit"),
        # what free bits buy alone is paid for, and tells nothing
        ({"heard": 0, "floor": 0.25}, "1.00 nats buy nothing"),
    ],
)
def test_a_collapse_is_named(drawn: Observations, keywords: dict[str, Any], named: str) -> None:
    found = sim.bound_terms(planted(**keywords), drawn, limit=200)
    said = collapse(found, {"latent", "beta"})
    assert "collapsed posterior" in said
    assert named in said
    assert "what may help: a longer training, " in said
    assert "a smaller --set beta" in said
    assert ("a smaller --set latent" in said) == (len(found.units) > 1)
    assert "warmup" not in said
    assert not idle(found)


def test_no_model_is_advised_what_it_refuses(drawn: Observations) -> None:
    found = sim.bound_terms(planted(heard=0), drawn, limit=50)
    spec = sim.DataSpec((1, 8, 8), 2)
    for name, advised in (("vae", True), ("iwae", False), ("pixelvae", True)):
        said = collapse(found, sim.build(name, spec, {"latent": 2, "hidden": (8,)}).keywords)
        assert ("free_bits" in said) == advised
        assert ("decoder.layers" in said) == ("set hidden" not in said) == (name == "pixelvae")
        assert "warmup" in said


def test_what_is_healthy_is_not(drawn: Observations) -> None:
    partly = sim.bound_terms(planted(), drawn, limit=200)
    assert not collapse(partly, {"latent"})
    assert idle(partly).startswith("2 of 4 units of its code cost under 0.01 nats each")
    # "16 of 16 units active" may stand beside it
    assert "not used" not in idle(partly)
    one = replace(partly, units=partly.units[:-1])
    assert idle(one).startswith("1 of 3 units of its code costs under 0.01 nats: it tells")
    whole = sim.bound_terms(planted(latent=2), drawn, limit=200)
    assert not collapse(whole, {"latent"})
    assert not idle(whole)


@pytest.fixture(scope="module")
def judged(drawn: Observations) -> Any:
    few = drawn.take(torch.arange(200))
    data = Dataset("plane", SPEC, few, few, few, class_names=("a", "b"))
    judge = sim.Judge(data, draws=8, limit=100)
    return judge.together(
        [judge.model(planted(), "healthy"), judge.model(planted(heard=0), "deaf")]
    )


def test_the_judge_keeps_what_codes_cost(judged: Any) -> None:
    results = judged.results
    again = Results.from_json(json.loads(json.dumps(results.to_json())))
    assert again.models[0].codes == results.models[0].codes
    assert results.models[0].codes.observations == 100
    healthy, deaf = results.models
    assert not any("collapsed" in warning for warning in healthy.warnings)
    assert any("collapsed posterior" in warning for warning in deaf.warnings)
    assert {"healthy/rates", "deaf/rates"} <= set(judged.pictures)


def test_tables_and_page_tell_it(judged: Any) -> None:
    from simulacra.report.page import render

    rows = {str(row["model"]): row for row in code_table(judged.results)}
    assert str(rows["healthy"]["active units"]) == "2 of 4"
    assert str(rows["deaf"]["active units"]) == "0 of 4"
    assert "(k 8)" in str(rows["healthy"]["by IWAE, nats"])
    units = unit_table(judged.results)
    assert len(units) == 8
    assert str(units[7]["that"]) == "costs nothing, not active"
    page = render(judged.results, judged.pictures)
    assert "What codes cost" in page
    assert "2 of 4 units of its code" in page
    assert page.count("collapsed posterior") == 2


def test_an_entry_from_before_is_read() -> None:
    old = Entry(model="vae").to_json()
    del old["codes"]
    assert Entry.from_json(old).codes is None


def test_models_without_codes_have_no_terms(drawn: Observations) -> None:
    gmm = sim.build("gmm", SPEC, {"components": 2})
    with pytest.raises(sim.MissingCapability, match="no bound over codes"):
        sim.bound_terms(gmm, drawn)
    with pytest.raises(sim.UsageError, match="at least one observation"):
        sim.bound_terms(planted(), drawn, limit=0)


def test_the_end_of_a_training_tells_it(
    drawn: Observations, capsys: pytest.CaptureFixture[str]
) -> None:
    few = drawn.take(torch.arange(50))
    data = Dataset("plane", SPEC, few, few, few)
    command.told_of_codes(planted(), data)
    healthy = capsys.readouterr().err
    assert "codes: distortion" in healthy
    assert "2 of 4 units active (50 validation" in healthy
    assert "collapsed" not in healthy
    assert "2 of 4 units of its code" in healthy
    command.told_of_codes(planted(heard=0), data)
    assert "collapsed posterior" in capsys.readouterr().err
    command.told_of_codes(sim.build("gmm", SPEC, {"components": 2}), data)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("dims", [2, 3])
def test_a_frame_is_the_edge_of_a_grid(
    dims: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    frames = []

    def seen(*_: Any, frame: Any, **__: Any) -> Any:
        frames.append(frame)
        raise StopIteration

    monkeypatch.setattr("simulacra.drawing.codes.scatter", seen)
    spec = sim.DataSpec((dims,), None)
    few = Observations(torch.randn(20, dims))
    data = Dataset("plane", spec, few, few, few)
    model = sim.build("vae", spec, {"latent": 2, "hidden": (8,)}).eval()
    with pytest.raises(StopIteration):
        draw_codes(model, data, tmp_path / "map.png")
    assert (frames[0] is None) == (dims == 3)


def test_what_follows_a_training_is_what_its_model_can_do() -> None:
    keywords = {"latent": 2, "hidden": (8,)}
    assert command.what_next(sim.build("vae", SPEC, keywords)) == ("sample", "evaluate")
    plain = sim.build("autoencoder", SPEC, keywords)
    assert command.what_next(plain) == ("reconstruct", "evaluate")
    drawing = sim.build("autoencoder", SPEC, keywords | {"density": "gmm"})
    assert command.what_next(drawing) == ("sample", "evaluate")


def test_iwae_takes_exactly_k_draws() -> None:
    """Each of them a code of its own."""
    for draws in (1, 5, 64):
        seen: list[Tensor] = []
        x = torch.zeros(3, 2)

        def log_weight(keys: Tensor, seen: list[Tensor] = seen) -> Tensor:
            seen.append(keys)
            return torch.zeros(3)

        importance_weighted(x, draws, 0, log_weight)
        assert len(seen) == draws == len({int(keys[0]) for keys in seen})
