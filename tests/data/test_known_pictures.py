from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from simulacra.data.catalogue import load
from simulacra.data.sets.known_pictures import (
    KNOWN,
    SHAPES,
    KnownPictures,
    PixelMixture,
    PixelTable,
    mixture,
    table,
)
from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded

NAMES = [named.name for named in KNOWN]
TEMPERATURES = (0.7, 1.0, 1.3)


def tiny_mixture(temperature: float = 1.0) -> PixelMixture:
    """Three components over 2×3 pixels of three levels."""
    with seeded(3):
        logits = 1.5 * torch.randn(3, 2, 3, 3, dtype=torch.float64)
    return PixelMixture(torch.tensor([0.5, 0.3, 0.2]), logits, temperature)


def tiny_table(temperature: float = 1.0) -> PixelTable:
    """3×3 pixels, all sixteen probabilities different."""
    return PixelTable(torch.linspace(0.1, 0.85, 16), (3, 3), temperature)


TINY = {"mixture": tiny_mixture, "table": tiny_table}


def states(density: KnownPictures) -> Tensor:
    """Every picture there is, `(L^(H·W), 1, H, W)`."""
    pixels = density.event_shape.numel()
    every = list(itertools.product(range(density.levels), repeat=pixels))
    return torch.tensor(every).reshape(-1, *density.event_shape)


def disagreement(density: KnownPictures, n: int = 100_000) -> float:
    """The p-value of a χ² test of draws against the probability of every picture."""
    shape = density.event_shape
    base = density.levels ** torch.arange(shape.numel()).flip(0)
    with seeded(5):
        draws = density.sample((n,)).flatten(1) @ base
    counts = draws.bincount(minlength=density.levels ** shape.numel()).double()
    expected = density.log_prob(states(density)).exp() * n
    often = expected >= 10
    expected = torch.cat([expected[often], expected[~often].sum()[None]])
    counts = torch.cat([counts[often], counts[~often].sum()[None]])
    return float(stats.chi2.sf(((counts - expected) ** 2 / expected).sum(), len(counts) - 1))


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("kind", TINY)
def test_probabilities_of_all_pictures_sum_to_one(kind: str, temperature: float) -> None:
    density = TINY[kind](temperature)
    total = density.log_prob(states(density)).exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("kind", TINY)
def test_draws_follow_the_probabilities(kind: str, temperature: float) -> None:
    assert disagreement(TINY[kind](temperature)) > 1e-6


def test_draws_from_another_distribution_are_caught() -> None:
    class Mirrored(PixelTable):
        def draw(self, uniform: Tensor) -> tuple[Tensor, None]:
            return super().draw(uniform)[0].flip(3), None

    class Unweighted(PixelMixture):
        def draw(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
            even = PixelMixture(torch.full((3,), 1 / 3), self.log_levels.reshape(3, 2, 3, 3))
            return even.draw(uniform)

    mirrored = Mirrored(torch.linspace(0.1, 0.85, 16), (3, 3))
    plain = tiny_mixture()
    unweighted = Unweighted(plain.log_weights.exp(), plain.log_levels.reshape(3, 2, 3, 3))
    assert disagreement(mirrored) < 1e-6
    assert disagreement(unweighted) < 1e-6


def test_the_table_by_hand() -> None:
    """A picture whose every pixel has another state, multiplied out."""
    p = torch.linspace(0.1, 0.85, 16).double()
    x = torch.tensor([[[1, 0, 1], [1, 1, 0], [0, 1, 1]]])
    # left + 2 · above left + 4 · above + 8 · above right
    states = [0, 1, 0, 4, 1 + 2 + 8, 1 + 4, 4 + 8, 2 + 4, 1 + 2]
    factors = [
        p[s] if bit else 1 - p[s] for s, bit in zip(states, x.flatten().tolist(), strict=True)
    ]
    expected = torch.stack(factors).log().sum()
    assert tiny_table().log_prob(x).item() == pytest.approx(expected.item(), abs=1e-12)


def test_the_mixture_by_hand() -> None:
    density = tiny_mixture()
    with seeded(1):
        x = density.sample((50,))
    levels = density.log_levels.exp()
    total = torch.zeros(50, dtype=torch.float64)
    for k in range(3):
        pixels = torch.stack([levels[k, i, x.flatten(1)[:, i]] for i in range(6)])
        total += density.log_weights.exp()[k] * pixels.prod(0)
    assert torch.allclose(density.log_prob(x), total.log(), atol=1e-12)


@pytest.mark.parametrize("make", [mixture, table])
def test_the_temperature_orders_the_models(make) -> None:
    """The farther from 1, on either side, the larger the divergence from the truth."""
    truth = make()
    with seeded(2):
        x = truth.sample((4000,))
    truth_of = truth.log_prob(x)
    kl = [float((truth_of - make(t).log_prob(x)).mean()) for t in (0.7, 0.85, 1.0, 1.15, 1.3)]
    assert kl[0] > kl[1] > 0.1
    assert kl[2] == 0
    assert kl[4] > kl[3] > 0.1


@pytest.mark.parametrize("make", TINY.values())
def test_the_higher_the_temperature_the_more_random(make) -> None:
    entropies = []
    for temperature in (0.1, 0.7, 1.0, 1.3, 50.0):
        log_prob = make(temperature).log_prob(states(make()))
        entropies.append(-float((log_prob.exp() * log_prob).sum()))
    assert entropies == sorted(entropies)
    assert entropies[0] < 0.8
    # nearly uniform
    assert entropies[-1] == pytest.approx(math.log(len(states(make()))), abs=0.01)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_is_positive(temperature: float) -> None:
    with pytest.raises(UsageError, match="a temperature is a positive number"):
        mixture(temperature)


@pytest.mark.parametrize("name", NAMES)
def test_the_data_set_is_drawn_from_its_distribution(name: str) -> None:
    dataset = load(name)
    density = dataset.density
    assert isinstance(density, KnownPictures)
    assert dataset.counts == {"train": 10_000, "validation": 1_000, "test": 2_000}
    assert dataset.spec.levels == density.levels
    assert dataset.spec.event_shape == tuple(density.event_shape) == (1, 8, 8)
    for split in dataset.splits.values():
        dataset.spec.check(split.x)
        assert split.x.dtype == torch.uint8
    assert load(name).fingerprint == dataset.fingerprint
    # the mean log-probability of data and of fresh draws: both estimate minus the entropy
    with seeded(4):
        fresh = density.log_prob(density.sample((10_000,)))
    seen = density.log_prob(dataset.train.x)
    error = (fresh.var() / len(fresh) + seen.var() / len(seen)).sqrt()
    assert abs(float(fresh.mean() - seen.mean())) < 5 * float(error)


FINGERPRINTS = {
    "mixture-8x8": "7e9867c8bf23f7c6e5ac289e974e2975eb486268a4a5c6e7e274a7045f034f4b",
    "table-8x8": "d15398972a5c89a4093567d0402a79280f662de86cf3999f0c74c7a89e0d391b",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_data_sets_never_change(name: str) -> None:
    assert load(name).fingerprint == FINGERPRINTS[name]


def test_labels_of_the_mixture_are_its_components() -> None:
    dataset, density = load("mixture-8x8"), mixture()
    assert dataset.class_names == tuple(SHAPES)
    labels = dataset.train.context
    assert labels is not None
    weights = density.log_weights.exp()
    share = labels.bincount(minlength=10) / len(labels)
    assert bool(((share - weights).abs() < 5 * (weights / len(labels)).sqrt()).all())
    assert len(set(weights.tolist())) == 10
    for label, shape in enumerate(SHAPES.values()):
        mine = dataset.train.x[labels == label, 0]
        assert torch.equal(mine.mode(0).values.long(), shape)
    assert load("table-8x8").train.context is None


@pytest.mark.parametrize("make", [mixture, table])
def test_shapes_kinds_and_the_seed(make) -> None:
    density = make()
    with seeded(1):
        one = density.sample((3, 2))
    with seeded(1):
        other = density.sample((3, 2))
    assert torch.equal(one, other)
    assert one.shape == (3, 2, 1, 8, 8)
    assert one.dtype == torch.int64
    assert density.log_prob(one).shape == (3, 2)
    assert density.log_prob(one).dtype == torch.float64
    assert density.log_prob(one[0, 0]).shape == ()
    assert density.log_prob(one[:0]).shape == (0, 2)
    assert torch.equal(density.log_prob(one.to(torch.uint8)), density.log_prob(one))
    # a score does not depend on what is scored beside it, nor on portions
    many = one[0, :1].repeat(5000, 1, 1, 1)
    assert torch.allclose(density.log_prob(many), density.log_prob(one[0, 0]), atol=1e-11)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(2, 1, 8, 7, dtype=torch.int64), r"expected observations \(N, 1, 8, 8\)"),
        (torch.zeros(8, 8, dtype=torch.int64), r"expected observations \(N, 1, 8, 8\)"),
        (torch.zeros(2, 1, 8, 8), "expected integer levels"),
        (torch.full((2, 1, 8, 8), 4), "expected levels 0 … [13], got 4 … 4"),
        (torch.full((2, 1, 8, 8), -1), "expected levels 0 … [13], got -1 … -1"),
    ],
)
@pytest.mark.parametrize("make", [mixture, table])
def test_what_is_no_picture_of_it_is_refused(make, value: Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make().log_prob(value)


@pytest.mark.parametrize("option", [{"side": 4}, {"levels": 2}, {"colour": "rgb"}])
def test_another_form_would_have_another_probability(option: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="mixture-8x8 is defined by its 4 levels"):
        load("mixture-8x8", **option)
    with pytest.raises(UsageError, match="has its own labels"):
        load("mixture-8x8", labels="{label}_*")
