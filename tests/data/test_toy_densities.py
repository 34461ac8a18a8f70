from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from simulacra.data.catalogue import load
from simulacra.data.sets.toy_densities import TOYS, Sawtooth, Smeared, Tiles, Toy
from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded

NAMES = [toy.name for toy in TOYS]
REACH = 6.0
"""No toy has more than a ten thousandth of its mass beyond, but for what is asserted below."""


@cache
def density_of(name: str) -> Toy:
    density = load(name).density
    assert isinstance(density, Toy)
    return density


# how fine: cells of each axis by the number of axes, and points of Gauss's rule in each
CELLS, POINTS = {1: 144, 2: 24}, 6


@cache
def mass_of_all(density: Toy) -> Tensor:
    """Mass of each cell of a regular grid over [−6, 6]^D, of as many axes."""
    dims = density.event_shape[0]
    cells = CELLS[dims]
    half = REACH / cells
    nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(POINTS))
    middles = -REACH + 2 * half * (torch.arange(cells).double() + 0.5)
    at = torch.cartesian_prod(*[(middles[:, None] + half * nodes).flatten()] * dims)
    weight = torch.cartesian_prod(*[(half * weights).repeat(cells)] * dims).reshape(-1, dims)
    mass = density.log_prob(at.reshape(-1, dims)).exp() * weight.prod(1)
    return mass.reshape((cells, POINTS) * dims).sum(tuple(range(1, 2 * dims, 2)))


def mass_of_cells(density: Toy, cells: int = 24) -> Tensor:
    """Mass of each cell of a coarser grid."""
    mass = mass_of_all(density)
    mass = mass.reshape((cells, len(mass) // cells) * mass.ndim)
    return mass.sum(tuple(range(1, mass.ndim, 2))).flatten()


def places_of(x: Tensor, cells: int) -> Tensor:
    """How many draws fall into each cell of the same grid."""
    index = ((x + REACH) * (cells / (2 * REACH))).floor().long().clamp(0, cells - 1)
    flat = index @ (cells ** torch.arange(x.shape[1]).flip(0))
    return flat.bincount(minlength=cells ** x.shape[1]).double()


def disagreement(density: Toy, n: int = 200_000) -> float:
    """The p-value of a χ² test of draws against the density."""
    cells = 24 if density.event_shape[0] == 2 else 144
    expected = mass_of_cells(density, cells) * n
    with seeded(5):
        counts = places_of(density.sample((n,)), cells)
    often = expected >= 10
    expected = torch.cat([expected[often], expected[~often].sum()[None]])
    counts = torch.cat([counts[often], counts[~often].sum()[None]])
    if expected[-1] < 10:
        expected = torch.cat([expected[:-2], expected[-2:].sum()[None]])
        counts = torch.cat([counts[:-2], counts[-2:].sum()[None]])
    return float(stats.chi2.sf(((counts - expected) ** 2 / expected).sum(), len(counts) - 1))


@pytest.mark.parametrize("name", NAMES)
def test_the_density_integrates_to_one(name: str) -> None:
    assert float(mass_of_cells(density_of(name)).sum()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_draws_follow_the_density(name: str) -> None:
    assert disagreement(density_of(name)) > 1e-6


def test_a_wrong_density_is_caught() -> None:
    class Off(Tiles):
        def log_prob(self, value: Tensor) -> Tensor:
            return super().log_prob(value) + 0.01

    class Reversed(Sawtooth):
        def log_prob(self, value: Tensor) -> Tensor:
            return super().log_prob(len(self.weights) - value)

    off = Off(torch.tensor([[0.0, 0.0], [2.0, 2.0]]), 2.0)
    assert float(mass_of_cells(off).sum()) != pytest.approx(1, abs=1e-3)
    assert float(mass_of_cells(Reversed(3)).sum()) == pytest.approx(1, abs=1e-3)
    assert disagreement(Reversed(3)) < 1e-6


def test_a_smeared_curve_against_its_closed_form() -> None:
    """A straight line with noise: uniform across it, so a difference of normal integrals."""
    line = Smeared(
        lambda _, t: torch.stack([2 * t, torch.zeros_like(t)], -1),
        torch.tensor([1.0]),
        torch.tensor([0.3]),
        nodes=64,
    )
    x = torch.tensor([[-0.2, 0.1], [1.0, 0.0], [2.3, -0.4]], dtype=torch.float64)
    along = stats.norm.cdf(x[:, 0] / 0.3) - stats.norm.cdf((x[:, 0] - 2) / 0.3)
    expected = torch.from_numpy(along / 2 * stats.norm.pdf(x[:, 1] / 0.3) / 0.3).log()
    assert torch.allclose(line.log_prob(x), expected, atol=1e-9)


def test_points_are_torchs_own_mixture() -> None:
    density = density_of("two-peaks")
    assert isinstance(density, Smeared)
    whole = MixtureSameFamily(
        Categorical(density.weights),
        MultivariateNormal(density.centres[:, 0], torch.diag_embed(density.scales[:, None] ** 2)),
    )
    x = torch.linspace(-5, 5, 50).double()[:, None]
    assert torch.allclose(density.log_prob(x), whole.log_prob(x))


@pytest.mark.parametrize("name", NAMES)
def test_the_data_set_is_drawn_from_its_density(name: str) -> None:
    dataset = load(name)
    density = density_of(name)
    assert dataset.counts == {"train": 10_000, "validation": 1_000, "test": 2_000}
    assert dataset.spec.levels is None
    assert dataset.train.x.dtype == torch.float32
    assert load(name).fingerprint == dataset.fingerprint
    dims = density.event_shape[0]
    if dims == 2:
        expected = mass_of_cells(density, 6) * 10_000
        counts = places_of(dataset.train.x.double(), 6)
        seen = expected >= 10
        score = float(((counts - expected)[seen] ** 2 / expected[seen]).sum())
        assert stats.chi2.sf(score, int(seen.sum())) > 1e-6
    entropy = -density.log_prob(dataset.test.x).mean()
    assert math.isfinite(float(entropy))
    # no more than that of a Gaussian as wide
    variance = dataset.test.x.double().T.cov().reshape(dims, dims)
    assert entropy < 0.5 * torch.logdet(2 * math.pi * math.e * variance) + 0.05


@pytest.mark.parametrize("name", NAMES)
def test_the_class_is_the_part_that_an_observation_came_from(name: str) -> None:
    dataset = load(name)
    density = density_of(name)
    labels = dataset.train.context
    assert labels is not None
    assert dataset.spec.classes == len(density.weights) == len(dataset.class_names)
    share = labels.bincount(minlength=len(density.weights)) / len(labels)
    error = (density.weights * (1 - density.weights) / len(labels)).sqrt()
    assert bool(((share - density.weights).abs() < 5 * error).all())


def test_classes_lie_apart_in_space() -> None:
    """A class's mean is where its part is: labels and points belong together, row for row."""
    ring = load("ring-8")
    assert ring.test.context is not None
    for label in range(8):
        mean = ring.test.x[ring.test.context == label].mean(0)
        angle = math.pi / 4 * label
        assert torch.allclose(
            mean, torch.tensor([2 * math.cos(angle), 2 * math.sin(angle)]), atol=0.1
        )


def test_sampling_obeys_the_seed_and_the_shape() -> None:
    density = density_of("moons")
    with seeded(1):
        one = density.sample((3, 2))
    with seeded(1):
        other = density.sample((3, 2))
    assert one.shape == (3, 2, 2)
    assert torch.equal(one, other)
    assert density.log_prob(one).shape == (3, 2)
    assert density.sample().shape == (2,)
    assert density.log_prob(one[0, 0]).shape == ()


def test_toys_have_labels_of_their_own() -> None:
    with pytest.raises(UsageError, match="labels of moons are its parts"):
        load("moons", labels="1")
    with pytest.raises(UsageError, match="side is for pictures"):
        load("moons", side=8)
