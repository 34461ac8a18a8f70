"""Codebooks: how entries move and begin anew, what codes cost, and that a dead one is named."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import simulacra as sim
from simulacra.cli import train as command
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.ground.randomness import seeded
from simulacra.judging.features import pinned_classifier
from simulacra.judging.figures.codebook import mostly_dead
from simulacra.judging.results import Entry, Results
from simulacra.models import registry
from simulacra.models.latent.codebooks import Codebook, FiniteScalars, levels_of
from simulacra.models.latent.vqvae import VQVAE
from simulacra.models.latent.vqvae_networks import grid
from simulacra.models.lawbook.codebooks import codes_are_entries, terms_cost
from simulacra.models.lawbook.trials import FORMS, observations, trial
from simulacra.report.codebook_tables import codebook_table

TINY: dict[str, Any] = {
    "codes": 12, "channels": 8, "prior": {"name": "made", "keywords": {"hidden": (8,)}},
}  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> Dataset:
    data = load("digits")
    few = {name: split.take(torch.arange(40)) for name, split in data.splits.items()}
    return replace(data, **few)


# ---- entries ------------------------------------------------------------------------------------


def told(book: Codebook, z: Tensor, *seed: int) -> dict[str, Tensor]:
    with seeded(*seed):
        return book.sums(z, book.indices(z))


def codebook(z: Tensor, size: int = 6) -> Codebook:
    with seeded(0):
        book = Codebook(size, z.shape[1])
        book.prepare(z)
    return book


def test_entries_move_to_the_mean_of_what_they_stand_for() -> None:
    z = torch.randn(50, 3, 2, 2)
    book = codebook(z)
    for _ in range(400):
        book.moved(told(book, z, 1))
    rows, nearest = z.movedim(1, -1).reshape(-1, 3), book.indices(z).flatten()
    for entry in range(book.size):
        torch.testing.assert_close(book.entries[entry], rows[nearest == entry].mean(0))


def test_batches_of_a_move_are_one_whatever_shares_them() -> None:
    """Sums of four batches, added in any order, move entries alike; a new one is of one batch."""
    with seeded(0):
        lots = torch.randn(4, 20, 3, 2, 2) + torch.arange(4.0).view(4, 1, 1, 1, 1) * 100
        book = codebook(lots.flatten(0, 1))
        parts = [told(book, z, number) for number, z in enumerate(lots)]
        whole = told(book, lots.flatten(0, 1), 9)
    added = {key: sum(part[key] for part in parts) for key in parts[0]}
    for key in ("counts", "totals"):
        torch.testing.assert_close(added[key], whole[key])
    drawn = added["drawn"] / added["weights"]
    rows = lots.movedim(2, -1).reshape(-1, 3)
    away = torch.cdist(drawn, rows).amin(1)
    # of four numbers between 0 and 1 the largest two may lie near to each other: then it is between
    assert bool((away < 1).float().mean() > 0.7)
    again = codebook(lots.flatten(0, 1))
    book.moved(added)
    again.moved({key: sum(part[key] for part in parts[::-1]) for key in parts[0]})
    torch.testing.assert_close(book.entries, again.entries)


def test_dead_entries_begin_anew_at_vectors_of_the_encoder() -> None:
    z = torch.randn(50, 3, 2, 2)
    book = codebook(z)
    # all but one where nothing ever is
    book.entries[1:] += 1000
    book.totals[1:] += 1000
    for number in range(200):
        book.moved(told(book, z, number))
    assert len(book.indices(z).unique()) == book.size
    assert float(book.entries.abs().max()) < 10


@pytest.mark.parametrize("levels", [(9,), (2, 3), (8, 6, 5), (4, 4, 4)])
def test_finite_scalars_are_all_their_entries(levels: tuple[int, ...]) -> None:
    scalars = FiniteScalars(levels)
    every = torch.arange(scalars.size)
    entries = scalars.vectors(every)
    assert entries.shape == (scalars.size, len(levels))
    assert len(entries.unique(dim=0)) == scalars.size
    assert torch.equal(scalars.indices(entries), every)
    assert float(entries.abs().max()) <= 1
    # whatever an encoder says lands on one of them, and every one can be reached
    raw = 8 * torch.rand(200_000, len(levels)) - 4
    quantised, bounded, indices = scalars(raw)
    torch.testing.assert_close(quantised, scalars.vectors(indices))
    assert len(indices.unique()) == scalars.size
    half = torch.tensor([size // 2 for size in levels])
    assert bool(((quantised - bounded).abs() * half <= 0.5 + 2e-3).all())


def test_levels_are_as_alike_as_can_be() -> None:
    assert levels_of(256, None) == (7, 6, 6)
    assert levels_of(1000, 4) == (6, 6, 5, 5)
    assert levels_of(4, None) == (4,)
    assert levels_of(729, 6) == (3,) * 6
    with pytest.raises(sim.UsageError, match="at least 3 levels each: give 27 codes or more"):
        levels_of(7, 3)


@pytest.mark.parametrize("quantiser", ["codebook", "fsq"])
def test_gradients_pass_straight_through(quantiser: str) -> None:
    book = codebook(torch.randn(9, 3)) if quantiser == "codebook" else FiniteScalars((5, 5, 5))
    raw = torch.randn(4, 3, requires_grad=True)
    quantised, bounded, _ = book(raw)
    weights = torch.randn(4, 3)
    through = torch.autograd.grad((weights * quantised).sum(), raw, retain_graph=True)[0]
    torch.testing.assert_close(through, torch.autograd.grad((weights * bounded).sum(), raw)[0])


# ---- the model ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "sides"),
    [
        ((1, 28, 28), (7, 7)), ((3, 32, 32), (8, 8)), ((1, 64, 64), (8, 8)), ((1, 8, 8), (4, 4)),
        ((3, 20, 20), (5, 5)), ((1, 7, 30), (2, 8)), ((8000,), (500,)), ((100,), (13,)),
        ((4,), (4,)), ((1, 1, 1), (1, 1)),
    ],
)  # fmt: skip
def test_grids(shape: tuple[int, ...], sides: tuple[int, ...]) -> None:
    spec = sim.DataSpec(shape, 4)
    assert grid(spec) == sides
    if spec.dims < 1000:
        model = sim.build("vqvae", spec, TINY).eval()
        x = observations(model, 2)
        assert model.encode(x).shape == (2, 16, *sides)  # type: ignore[operator]
        assert model.decode(model.encode(x)).shape == x.shape  # type: ignore[operator]


def test_a_code_costs_what_prior_and_decoder_say(digits: Dataset) -> None:
    model: Any = trial(VQVAE, digits.spec, TINY)
    x = digits.test.x[:6]
    with torch.no_grad():
        terms = model.codebook_terms(x)
        grids = terms.indices.view(6, 1, 4, 4)
        torch.testing.assert_close(terms.rate, -model.of_codes.log_likelihood(grids))
        entries = model.entries.entries[grids[:, 0]].movedim(-1, 1)
        torch.testing.assert_close(model.encode(x), entries)
        log_p = model.values(entries).log_prob(x).flatten(1).sum(1)
        torch.testing.assert_close(terms.distortion, -log_p)
    # rate + distortion is what it is judged by, and nothing says likelihood
    torch.testing.assert_close(model.validation_loss(x), terms.total)
    assert not isinstance(model, sim.Likelihood)


def test_each_stage_learns_its_own_and_uses_its_entries(digits: Dataset) -> None:
    whole = load("digits")
    with seeded(0):
        model = sim.build("vqvae", whole.spec, TINY)
    options = sim.Options(batch=32, device="cpu", warmup=0, precision="32", ema=0.5)
    training = sim.Training(model, whole.train, whole.validation, options)
    training.set_plan(sim.Budget(60, "steps"))
    records = list(training)
    first, last = ([r for r in records if r.stage == stage] for stage in (0, 1))
    assert {"autoencoder/distortion", "autoencoder/perplexity", "autoencoder/used"} < set(
        first[0].losses
    )
    assert set(last[0].losses) == {"prior model/loss"}
    assert first[-1].losses["autoencoder/distortion"] < first[0].losses["autoencoder/distortion"]
    # the second stage leaves codes as they were
    kept: Any = training.averaged
    found = sim.codebook_terms(kept, whole.validation)
    assert found.used == found.entries
    assert found.rate is not None
    assert found.rate.nats == pytest.approx(training.progress.best, rel=1e-4)


def whole_training(data: Dataset) -> sim.Training:
    with seeded(0):
        model = sim.build("vqvae", data.spec, TINY)
    options = sim.Options(batch=8, device="cpu", warmup=0, precision="32", accumulate=2)
    made = sim.Training(model, data.train, data.validation, options)
    made.set_plan(sim.Budget(10, "steps"))
    return made


@pytest.mark.parametrize("stop", [4, 8])
def test_a_training_that_goes_on_is_bit_for_bit(digits: Dataset, stop: int) -> None:
    """Entries and their averages are part of its state, in either stage."""
    whole, first = whole_training(digits), whole_training(digits)
    records = list(whole)
    for record in first:
        if record.step == stop:
            break
    again = whole_training(digits)
    again.load_state_dict(first.state_dict())
    rest = list(again)
    assert [r.losses for r in records[stop:]] == [r.losses for r in rest]
    expected, found = whole.averaged.state_dict(), again.averaged.state_dict()
    assert {"entries.entries", "entries.counts", "entries.totals", "entries.moves"} < set(found)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_the_prior_is_named_and_told_the_context(digits: Dataset) -> None:
    given = {"prior": "gated-pixelcnn", "prior.layers": "2", "prior.channels": "4"}
    model: Any = registry.build("vqvae", digits.spec, {**given, "context": "label"})
    assert type(model.of_codes).__name__ == "GatedPixelCNN"
    assert model.keywords["prior"]["keywords"]["layers"] == 2
    assert model.of_codes.context == "label"
    assert model.of_codes.spec == sim.DataSpec((1, 4, 4), 256, ordered=False, classes=10)
    with pytest.raises(sim.MissingCapability, match="needs pictures"):
        registry.build("vqvae", sim.DataSpec((64,), 4), given)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"codes": 1}, "codes is at least 2"),
        ({"commitment": -1.0}, "commitment is not negative"),
        ({"quantiser": "rvq"}, "quantiser is one of codebook, fsq, got 'rvq'"),
        ({"quantiser": "fsq", "codes": 26, "code_width": 3}, "at least 3 levels each"),
        (
            {"prior": {"name": "made", "keywords": {"context": "label"}}},
            "leave its own context=label out",
        ),
        ({"prior": {"name": "autoencoder", "keywords": {}}}, "has a likelihood, samples"),
    ],
)
def test_refusals(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(sim.UsageError, match=message):
        VQVAE(FORMS["picture"], **keywords)


# ---- what is told of it -------------------------------------------------------------------------


def dead(model: Any) -> Any:
    """The same with all its entries but one far away from all vectors."""
    model.entries.entries[1:] += 1000
    return model


def test_a_dead_codebook_is_named(digits: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    model = trial(VQVAE, digits.spec, TINY)
    command.told_of_codes(model, digits)
    healthy = capsys.readouterr().err
    assert "which is no likelihood" in healthy
    assert "dead" not in healthy
    command.told_of_codes(dead(model), digits)
    said = capsys.readouterr().err
    assert "1 of 12 entries used, perplexity 1.0" in said
    assert "dead codebook: 1 of 12 entries" in said
    assert "--set codes=2" in said
    assert "--set quantiser=fsq" in said
    found = sim.codebook_terms(model, digits.test)
    assert "--set" not in mostly_dead(found, {})
    # of few places an entry that is nowhere may be rare
    assert not mostly_dead(replace(found, places=100), model.keywords)


def test_judge_tables_and_page_tell_it(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    from simulacra.report.page import render

    # of what samples look like to it nothing is said here
    monkeypatch.setattr(pinned_classifier, "_FEWEST_STEPS", 10)
    judge = sim.Judge(digits, limit=30)
    models = {
        "alive": trial(VQVAE, digits.spec, TINY),
        "dead": dead(trial(VQVAE, digits.spec, TINY)),
    }
    judged = judge.together([judge.model(model, name) for name, model in models.items()])
    results = judged.results
    again = Results.from_json(json.loads(json.dumps(results.to_json())))
    assert again.models[0].codebook == results.models[0].codebook
    assert results.models[0].codebook is not None
    assert results.models[0].codebook.observations == 30
    assert results.models[0].likelihood is None
    assert [any("dead codebook" in said for said in m.warnings) for m in results.models] == [
        False, True,
    ]  # fmt: skip
    rows = {str(row["model"]): row for row in codebook_table(results)}
    assert str(rows["dead"]["entries used"]) == "1 of 12"
    page = render(results, judged.pictures)
    assert "What codebooks cost" in page
    assert "is no likelihood" in page
    assert page.count("dead codebook") == 2


def test_what_is_not_finite_is_counted(digits: Dataset) -> None:
    model: Any = trial(VQVAE, digits.spec, TINY)
    with torch.no_grad():
        next(model.of_codes.parameters()).fill_(torch.nan)
    found = sim.codebook_terms(model, digits.test, limit=7)
    assert (found.non_finite, found.observations, found.rate) == (7, 7, None)


def test_who_has_no_codebook_has_no_terms(digits: Dataset) -> None:
    with pytest.raises(sim.MissingCapability, match="has no codebook: use vqvae"):
        sim.codebook_terms(sim.build("gan", digits.spec, {"hidden": (4,)}), digits.test)
    with pytest.raises(sim.UsageError, match="at least one observation"):
        sim.codebook_terms(trial(VQVAE, digits.spec, TINY), digits.test, limit=0)


def test_an_entry_from_before_is_read() -> None:
    old = Entry(model="vae").to_json()
    del old["codebook"]
    assert Entry.from_json(old).codebook is None


# ---- laws that catch ----------------------------------------------------------------------------


class Unsnapped(VQVAE):
    __doc__ = VQVAE.__doc__

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        # vectors as they are given, far out so that it shows
        return super().decode(self.entries.vectors(self.entries.indices(z) * 0) + 0 * z) + (
            z.flatten(1).sum(1) > self.entries.vectors(self.entries.indices(z)).flatten(1).sum(1)
        ).long().view(-1, *[1] * len(self.spec.event_shape))


class Shared(VQVAE):
    __doc__ = VQVAE.__doc__

    def codebook_terms(self, x: Tensor, context: Tensor | None = None) -> sim.CodebookTerms:
        terms = super().codebook_terms(x, context)
        return replace(terms, rate=terms.rate.mean().expand(len(x)))


@pytest.mark.parametrize(
    ("kind", "law", "said"),
    [
        (Unsnapped, codes_are_entries, "a vector beside an entry is not decoded as that entry"),
        (Shared, terms_cost, "the rate of an observation depends"),
    ],
)
def test_the_laws_catch(kind: type[VQVAE], law: Any, said: str) -> None:
    model = trial(kind, FORMS["picture"], dict(VQVAE.small[0]))
    with pytest.raises(AssertionError, match=said):
        law(model)
    law(trial(VQVAE, FORMS["picture"], dict(VQVAE.small[0])))


def test_finite_scalars_follow_the_precision_of_the_model(digits: Dataset) -> None:
    own = trial(VQVAE, digits.spec, {**TINY, "quantiser": "fsq", "codes": 27, "code_width": 3})
    found = own.double().codebook_terms(digits.test.x[:3])
    assert found.distortion.dtype == torch.float64
    assert own.encode(digits.test.x[:3]).dtype == torch.float64


def test_no_model_is_advised_what_it_has(digits: Dataset) -> None:
    found = sim.codebook_terms(dead(trial(VQVAE, digits.spec, TINY)), digits.test)
    assert "quantiser" not in mostly_dead(found, {"codes": 27, "quantiser": "fsq"})
