"""The hierarchical VAE: its levels against integrals over them, and what each of them holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import simulacra as sim
from simulacra.cli.codes import draw_levels
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.randomness import seeded
from simulacra.judging.figures.codes import collapse, idle
from simulacra.judging.results import Results
from simulacra.models.latent.hvae import HVAE
from simulacra.models.latent.posteriors import log_normal
from simulacra.models.latent.variational import Draw
from simulacra.models.lawbook.trials import randomise
from simulacra.nn.distributions import log_mean_exp
from simulacra.report.code_tables import level_table, unit_table
from simulacra.tasks.code_levels import redrawn

SMALL: dict[str, Any] = {"latent": 2, "units": 1, "channels": 4, "hidden": 8}
PICTURES = sim.DataSpec((1, 8, 8), 4)


def built(spec: sim.DataSpec = PICTURES, **keywords: Any) -> HVAE:
    with seeded(0):
        return randomise(HVAE(spec, **{**SMALL, **keywords})).eval()


def pictures(n: int, spec: sim.DataSpec = PICTURES) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(spec.levels or 0, (n, *spec.event_shape), generator=generator)


@pytest.fixture(scope="module")
def two() -> tuple[HVAE, Tensor, Tensor]:
    """A model of two levels of one unit each, codes all over their plane, and log p(x, u) there."""
    model = built(sim.DataSpec((1, 1, 1), 4), levels=2, latent=1).double()
    line = torch.linspace(-7, 7, 281, dtype=torch.float64)
    codes = torch.cartesian_prod(line, line)
    with torch.no_grad():
        decoded = model.likelihood(codes)
        x = torch.arange(4).view(4, 1, 1, 1)
        log_joint = torch.stack([decoded.log_prob(row.double()) for row in x])
    cell = 2 * (line[1] - line[0]).log()
    return model, codes, log_joint + log_normal(codes).sum(1) + cell


def many(model: HVAE, x: Tensor, n: int) -> Draw:
    """Codes of one observation, drawn n times."""
    rows = x.expand(n, *x.shape[1:])
    with torch.no_grad(), seeded(2):
        return model.drawn(rows, model.posterior(rows), model.noise(n))


def test_the_bound_is_below_the_integral_and_many_draws_reach_it(
    two: tuple[HVAE, Tensor, Tensor],
) -> None:
    model, _, log_joint = two
    true = log_joint.logsumexp(1)
    torch.testing.assert_close(true.exp().sum(), torch.tensor(1.0).double(), rtol=1e-6, atol=0)
    for level, log_p in enumerate(true):
        weights = many(model, torch.full((1, 1, 1, 1), level), 100_000).log_weight()
        torch.testing.assert_close(log_mean_exp(weights), log_p, rtol=0, atol=0.05)
        assert weights.mean() < log_p - 0.01


def test_samples_are_those_of_the_integral(two: tuple[HVAE, Tensor, Tensor]) -> None:
    model, _, log_joint = two
    with seeded(3):
        drawn = model.sample(40_000).flatten().bincount(minlength=4) / 40_000
    torch.testing.assert_close(drawn.double(), log_joint.logsumexp(1).exp(), rtol=0, atol=0.01)


@torch.no_grad()
def test_rates_are_the_divergence_of_a_density_that_integrates_to_one(
    two: tuple[HVAE, Tensor, Tensor],
) -> None:
    model, codes, _ = two
    line = codes[:281, 1]
    cell = 2 * (line[1] - line[0]).log()
    for level in range(4):
        x = torch.full((1, 1, 1, 1), level)
        log_q = model.posterior(x.expand(len(codes), 1, 1, 1)).log_prob(codes)
        assert abs(float((log_q + cell).logsumexp(0))) < 1e-4
        kl = ((log_q + cell).exp() * (log_q - log_normal(codes).sum(1))).sum()
        rates = many(model, x, 20_000).rates.mean(0)
        torch.testing.assert_close(rates.sum(), kl, rtol=0.02, atol=0.01)


@torch.no_grad()
def test_a_code_in_its_place_costs_what_it_was_placed_at() -> None:
    model = built(levels=4).double()
    x, noise = pictures(5), torch.randn(5, model.code_size, dtype=torch.float64)
    posterior = model.posterior(x)
    u, log_q = posterior.placed(noise)
    torch.testing.assert_close(posterior.log_prob(u), log_q.sum(1), rtol=1e-4, atol=1e-3)
    draw = model.drawn(x, posterior, noise)
    explained = model.likelihood(draw.z).log_prob(x.double())
    torch.testing.assert_close(draw.log_likelihood, explained)


@torch.no_grad()
def test_a_level_is_told_of_those_above_and_not_of_those_below() -> None:
    model = built(levels=3)
    x = pictures(2)
    posterior = model.posterior(x)
    noise = torch.zeros(2, model.code_size)
    before = posterior.placed(noise)[0].split(model.ladder.sizes, 1)
    noise[:, model.ladder.sizes[0]] = 2.0
    after = posterior.placed(noise)[0].split(model.ladder.sizes, 1)
    same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert same == [True, False, False]


@pytest.mark.parametrize(
    "spec",
    [
        sim.DataSpec((3, 27, 18), 256),
        sim.DataSpec((1, 9, 65), 2),
        sim.DataSpec((1, 5, 1), 5, ordered=False),
    ],
)
@torch.no_grad()
def test_any_side_and_colour(spec: sim.DataSpec) -> None:
    model = built(spec)
    x = pictures(2, spec)
    assert model.sample(2).shape == x.shape
    assert bool(model.log_likelihood(x).isfinite().all())
    assert sum(size for _, size in model.hierarchy) == model.encode(x).shape[1]


def test_a_cheap_level_costs_its_free_bits() -> None:
    model = built(levels=3, free_bits=50.0, warmup=0.0)
    found = model.loss(pictures(4))
    each = [found[f"kl {level}"] for level in (1, 2, 3)]
    paid = sum(kl.clamp_min(50.0) for kl in each)
    torch.testing.assert_close(found["loss"], found["reconstruction"] + paid)
    torch.testing.assert_close(found["kl"], sum(each))


@pytest.mark.parametrize("keywords", [{"levels": 0}, {"units": 0}, {"dropout": 1.0}])
def test_keywords_out_of_range_are_refused(keywords: dict[str, Any]) -> None:
    with pytest.raises(sim.UsageError, match="levels, latent, units, channels and hidden"):
        HVAE(PICTURES, **keywords)


def deaf(model: HVAE, level: int) -> HVAE:
    """The model, to whose decoder a level tells nothing, and whose posterior there is the prior."""
    own = model.ladder.maps[level - 2]
    with torch.no_grad():
        own.told.weight.zero_()  # type: ignore[union-attr,operator]
        last = own.posterior[-1]  # type: ignore[index]
        assert isinstance(last, nn.Conv2d)
        last.weight.zero_()
        last.bias.zero_()  # type: ignore[union-attr]
    return model


@pytest.fixture(scope="module")
def dead() -> tuple[HVAE, Dataset]:
    x = Observations(pictures(24))
    return deaf(built(levels=3), 2), Dataset("squares", PICTURES, x, x, x)


def test_what_each_level_costs_is_told_and_a_dead_one_named(dead: tuple[HVAE, Dataset]) -> None:
    model, data = dead
    found = sim.bound_terms(model, data.test)
    assert [level.name for level in found.levels] == ["level 1", "level 2", "level 3"]
    assert found.rate is not None
    total = sum(level.rate.nats for level in found.levels)
    assert abs(total - found.rate.nats) < 1e-6
    for level in found.levels:
        own = sum(unit.rate.nats for unit in found.units_of(level))
        assert abs(own - level.rate.nats) < 1e-6
    assert [level.name for level in found.dead] == ["level 2"]
    assert not collapse(found, model.keywords)
    said = idle(found, model.keywords)
    assert said.startswith("level 2 of its code costs under 0.1 nats: nothing is told there; ")
    assert "free_bits" in said
    assert not idle(sim.bound_terms(built(levels=3), data.test))
    cheap = replace(found, units=tuple(
        replace(unit, rate=replace(unit.rate, nats=0.05), variance=1.0) for unit in found.units
    ))  # fmt: skip
    assert idle(cheap, model.keywords).startswith("level 2 of its code")
    silent = replace(found, units=tuple(
        replace(unit, rate=replace(unit.rate, nats=0.0), variance=0.0) for unit in found.units
    ))  # fmt: skip
    assert "none of its 34 units" in collapse(silent, model.keywords)


def test_the_tables_tell_levels_and_not_hundreds_of_units(dead: tuple[HVAE, Dataset]) -> None:
    model, data = dead
    judge = sim.Judge(data, draws=2, limit=20)
    results = judge.together([judge.model(model, "h")]).results
    again = Results.from_json(results.to_json())
    assert again.models[0].codes == results.models[0].codes
    rows = level_table(results)
    assert [str(row["level"]) for row in rows] == ["h, level 1", "h, level 2", "h, level 3"]
    assert str(rows[1]["that"]) == "costs nothing"
    assert not unit_table(results)


def test_a_level_that_is_drawn_anew_changes_what_it_tells(
    dead: tuple[HVAE, Dataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = dead
    found = redrawn(model, data.validation.x[:3], draws=2)
    assert found.levels.shape == (3, 3, 2, 1, 8, 8)
    assert found.moves[1] < 1e-5
    assert bool((found.moves[[0, 2]] > 1e-2).all())
    draw_levels(model, data, tmp_path / "levels.png", number=2)
    assert (tmp_path / "levels.png").stat().st_size > 100
    assert "level 1 0." in capsys.readouterr().err
    with pytest.raises(sim.MissingCapability, match="has no code of several levels: train an hvae"):
        redrawn(built(levels=1), data.validation.x[:3])
