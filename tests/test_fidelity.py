import math

import pytest
import torch
from prdc import compute_prdc
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from simulacra.ground.errors import UsageError
from simulacra.judging.figures import neighbours as module
from simulacra.judging.figures.fidelity import (
    coverage,
    density,
    fidelity,
    frechet_distance,
    kernel_distance,
    precision,
    recall,
)
from simulacra.judging.figures.neighbours import NEIGHBOURS

KEYS = ["frechet", "kernel", "precision", "recall", "density", "coverage"]
VALUES = [frechet_distance, kernel_distance, precision, recall, density, coverage]


def normal(n, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=generator, dtype=torch.float64)


def with_moments(mean, covariance, n=40, seed=0):
    """Rows whose unbiased moments are these to rounding."""
    x = normal(n, len(mean), seed)
    x = x - x.mean(0)
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(x.T @ x / (n - 1)), x.T, upper=False
    )
    return mean + white.T @ torch.linalg.cholesky(covariance).T


def test_the_frechet_distance_is_the_closed_form_between_gaussians():
    mean, mean_ = torch.tensor([[1.0, -2.0], [0.5, 1.0]], dtype=torch.float64)
    a = torch.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
    b = torch.tensor([[0.5, -0.3], [-0.3, 3.0]], dtype=torch.float64)
    # of two by two matrices: (tr √M)² = tr M + 2 √det M
    root = math.sqrt((a @ b).trace() + 2 * math.sqrt(a.det() * b.det()))
    expected = 0.25 + 9.0 + float(a.trace() + b.trace()) - 2 * root
    found = frechet_distance(with_moments(mean, a), with_moments(mean_, b, seed=1))
    assert found == pytest.approx(expected, rel=1e-10)


def test_the_frechet_distance_is_that_of_torchmetrics():
    x, y = normal(300, 20), 1.4 * normal(300, 20, 1) @ normal(20, 20, 2) / 5 + 0.2
    oracle = _compute_fid(x.mean(0), x.T.cov(), y.mean(0), y.T.cov())
    assert frechet_distance(x, y) == pytest.approx(float(oracle), rel=1e-9)


def test_singular_covariances_have_a_frechet_distance():
    x, y = normal(200, 3), 1.5 * normal(200, 3, 1) + 1
    turn = torch.linalg.qr(normal(12, 12, 2))[0][:3]
    flat = frechet_distance(x @ turn, y @ turn)
    assert flat == pytest.approx(frechet_distance(x, y), rel=1e-6)
    figures = fidelity(x @ turn, y @ turn)
    assert figures["frechet"].high == pytest.approx(fidelity(x, y)["frechet"].high, rel=1e-3)


def test_the_kernel_distance_is_that_of_torchmetrics():
    x, y = normal(150, 9), 1.2 * normal(150, 9, 1) + 0.3
    assert kernel_distance(x, y) == pytest.approx(float(poly_mmd(x, y)), rel=1e-9)


def test_the_kernel_distance_of_equal_distributions_is_zero_on_average():
    found = torch.tensor(
        [kernel_distance(normal(40, 3, 2 * i), normal(40, 3, 2 * i + 1)) for i in range(400)]
    )
    assert abs(found.mean()) < 4 * found.std() / math.sqrt(len(found))


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1.4, 0.1), (0.7, 0.3)])
def test_the_figures_of_neighbours_are_those_of_prdc(scale, shift):
    x, y = normal(240, 8), scale * normal(240, 8, 1) + shift
    oracle = compute_prdc(x.numpy(), y.numpy(), nearest_k=NEIGHBOURS)
    found = {f.__name__: f(x, y) for f in (precision, recall, density, coverage)}
    assert found == pytest.approx({name: float(value) for name, value in oracle.items()})
    assert found["precision"] != found["recall"]


def test_the_figures_are_the_plain_values():
    x, y = normal(120, 6), 1.2 * normal(120, 6, 1)
    figures = fidelity(x, y)
    assert set(figures) == set(KEYS)
    assert [figures[key].value for key in KEYS] == pytest.approx([f(x, y) for f in VALUES])
    assert all(figure.count == 120 for figure in figures.values())


def modes(n, seed, centres):
    which = torch.arange(n) % len(centres)
    return normal(n, 2, seed) + 100.0 * torch.tensor(centres, dtype=torch.float64)[which][:, None]


def test_half_of_the_modes_has_precision_and_half_the_recall():
    real, samples = modes(200, 0, [0, 1, 2, 3]), modes(200, 1, [0, 2])
    for one, other, sides in (
        (precision, recall, (real, samples)),
        (recall, precision, (samples, real)),
    ):
        assert one(*sides) > 0.9
        assert 0.4 < other(*sides) <= 0.5
    assert 0.4 < coverage(real, samples) <= 0.5
    figures = fidelity(real, samples)
    assert figures["precision"].low > 0.8 > 0.6 > figures["recall"].high


def test_samples_wider_than_the_data_have_recall_and_little_precision():
    real, samples = normal(200, 10), 2 * normal(200, 10, 1)
    assert recall(real, samples) > 0.95 > 0.2 > precision(real, samples)


def test_equal_distributions_have_density_one_and_a_known_coverage():
    n, found = 60, []
    for i in range(150):
        x, y = normal(n, 3, 2 * i), normal(n, 3, 2 * i + 1)
        found.append([density(x, y), coverage(x, y)])
    found = torch.tensor(found)
    expected = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, NEIGHBOURS + 1))
    error = 4 * found.std(0) / math.sqrt(len(found))
    assert ((found.mean(0) - torch.tensor([1.0, expected])).abs() < error).all()


def test_a_copy_has_no_distance():
    x = normal(200, 5)
    figures = fidelity(x, x[torch.randperm(200, generator=torch.Generator().manual_seed(1))])
    assert figures["frechet"].value == pytest.approx(0, abs=1e-12)
    assert figures["kernel"].value < 0
    assert all(figures[key].value == 1 for key in ("precision", "recall", "coverage"))
    # each ball holds its centre and its k neighbours
    assert figures["density"].value == pytest.approx((NEIGHBOURS + 1) / NEIGHBOURS)


def constant(value):
    return torch.full((100, 4), value, dtype=torch.float64)


@pytest.mark.parametrize(
    ("real", "samples", "frechet", "precise", "covered"),
    [
        (constant(2.0), constant(2.0), 0.0, 1.0, 1.0),
        (constant(2.0), constant(3.0), 4.0, 0.0, 0.0),
        (normal(100, 4), constant(50.0), None, 0.0, 0.0),
        (constant(50.0), normal(100, 4), None, 0.0, 0.0),
        (constant(0.0), constant(0.0), 0.0, 1.0, 1.0),
    ],
)
def test_constant_features_have_defined_figures(real, samples, frechet, precise, covered):
    figures = fidelity(real, samples)
    ends = [end for f in figures.values() for end in (f.low, f.value, f.high)]
    assert all(math.isfinite(end) for end in ends)
    if frechet is not None:
        assert figures["frechet"].value == pytest.approx(frechet)
    assert figures["precision"].value == figures["recall"].value == precise
    assert figures["coverage"].value == covered


def test_none_in_n_is_not_known_to_be_none():
    figures = fidelity(normal(100, 4), normal(100, 4, 1) + 50)
    for key in ("precision", "recall", "density", "coverage"):
        assert (figures[key].value, figures[key].low) == (0, 0)
        assert 0.01 < figures[key].high < 0.1


def two_modes(n, width, share, seed):
    x = normal(n, width, seed)
    chosen = torch.rand(n, generator=torch.Generator().manual_seed(seed)) < share
    x[:, 0] += 6.0 * chosen
    return x


@pytest.mark.parametrize("case", ["equal", "skewed", "modes"])
def test_the_intervals_hold_the_expected_value(case, monkeypatch):
    monkeypatch.setattr(module, "_CUTS", 24)  # enough, and quicker
    n, width, repetitions = 60, 4, 60
    decay = torch.arange(1, width + 1) ** -1.0
    found = []
    for i in range(repetitions):
        x, y = normal(n, width, 2 * i), normal(n, width, 2 * i + 1)
        if case == "skewed":  # one direction alone has nearly all of the noise
            x, y = 3 * x * decay, 3 * y * decay
        elif case == "modes":
            x, y = two_modes(n, width, 0.5, 2 * i), two_modes(n, width, 0.1, 2 * i + 1)
        figures = fidelity(x, y, seed=i)
        found.append([(figures[k].low, figures[k].value, figures[k].high) for k in KEYS])
    low, value, high = torch.tensor(found, dtype=torch.float64).unbind(2)
    expected = value.mean(0)
    held = ((low <= expected) & (expected <= high)).sum(0)
    assert (held >= 51).all(), held
    if case == "equal":  # nor are they wide, against the true spread over fresh draws
        breadth = (high - low).mean(0) / (2 * 1.96 * value.std(0))
        assert ((breadth > 0.7) & (breadth < 1.4)).all(), breadth


def test_the_seed_moves_the_intervals_of_neighbours_alone():
    x, y = normal(100, 5), normal(100, 5, 1)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = fidelity(x, y), fidelity(x, y), fidelity(x, y, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert first == again != other
    assert [f.value for f in first.values()] == [f.value for f in other.values()]


def test_large_sets_are_cut_into_more_parts(monkeypatch):
    x, y = normal(320, 4), 1.1 * normal(320, 4, 1)
    halves = fidelity(x, y)
    monkeypatch.setattr(module, "_PART", 50)
    sixths = fidelity(x, y)
    for key in ("precision", "recall", "density", "coverage"):
        assert sixths[key] != halves[key]
        ratio = (sixths[key].high - sixths[key].low) / (halves[key].high - halves[key].low)
        assert 0.7 < ratio < 1.4


def test_single_precision_is_computed_in_double():
    x, y = normal(100, 5).float() + 100, normal(100, 5, 1).float() + 100
    assert fidelity(x, y) == fidelity(x.double(), y.double())


def broken(value):
    x = normal(100, 4)
    x[3, 1] = value
    return x


@pytest.mark.parametrize(
    ("real", "samples", "says"),
    [
        (normal(100, 4), normal(99, 4), "as many"),
        (normal(100, 4), normal(100, 5), "as wide"),
        (normal(100, 4)[:, 0], normal(100, 4), "count, width"),
        (normal(19, 1), normal(19, 1), "at least 20"),
        (normal(100, 11), normal(100, 11), "a tenth"),
        (normal(100, 0), normal(100, 0), "a tenth"),
        (normal(100, 4), broken(math.nan), "1 of 100 samples' features"),
        (broken(math.inf), normal(100, 4), "1 of 100 real features"),
        (normal(100, 4), broken(1e30), "standardise"),
    ],
)
@pytest.mark.parametrize("figure", [fidelity, *VALUES])
def test_what_cannot_be_measured_is_refused(figure, real, samples, says):
    with pytest.raises(UsageError, match=says):
        figure(real, samples)


def test_the_largest_and_smallest_features_are_measured():
    for scale in (1e20 / 6, 1e-160, 1e-320):
        x, y = scale * normal(100, 4), scale * normal(100, 4, 1)
        figures = fidelity(x, y)
        assert all(math.isfinite(f.low) and math.isfinite(f.high) for f in figures.values())
