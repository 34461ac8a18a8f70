"""What is claimed of autoencoders: a linear model against closed forms, and the measures."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    # the benchmarks are run from the project's folder and not installed
    sys.path.append(str(ROOT))

from benchmarks.latent import __main__ as command  # noqa: E402
from benchmarks.latent import blur, bound, noise, numbers, rates  # noqa: E402
from benchmarks.latent.common import middle  # noqa: E402
from benchmarks.latent.linear import (  # noqa: E402
    bound as closed_bound,
)
from benchmarks.latent.linear import (  # noqa: E402
    linear,
    log_density,
    set_posterior,
    true_posterior,
)

from simulacra.ground.randomness import seeded  # noqa: E402
from simulacra.nn.distributions import DiscretisedLogistic  # noqa: E402

# ---- probabilistic PCA ---------------------------------------------------------------------------

MEAN = torch.tensor([0.3, -1.0, 2.0, 0.5, 0.0], dtype=torch.float64)
DEVIATION = 0.6


def observations(n: int) -> Tensor:
    with seeded(1):
        noise = torch.randn(n, 7, dtype=torch.float64)
    return noise[:, :2] @ weight().T + MEAN + DEVIATION * noise[:, 2:]


def weight() -> Tensor:
    with seeded(2):
        return torch.randn(5, 2, dtype=torch.float64)


@torch.no_grad()
def test_the_bound_is_the_likelihood_where_q_is_the_posterior() -> None:
    x, w = observations(200), weight()
    matrix, covariance = true_posterior(w, DEVIATION)
    model = linear(w, DEVIATION, "full", MEAN)
    set_posterior(model, matrix, torch.linalg.cholesky(covariance), MEAN)
    exact = log_density(w, DEVIATION, x, MEAN)
    # with q = p(z | x) the weight of every code is p(x) itself: no noise is left
    torch.testing.assert_close(model.log_likelihood(x, draws=1), exact, rtol=1e-9, atol=1e-9)
    set_posterior(model, matrix, torch.linalg.cholesky(covariance))
    at_zero = closed_bound(model, x - MEAN, w, DEVIATION)
    torch.testing.assert_close(at_zero, exact, rtol=1e-9, atol=1e-9)


def model_bound(model: Any, x: Tensor) -> Tensor:
    return torch.stack([model.terms(x, seed=seed).bound for seed in range(20)]).mean(0)


@torch.no_grad()
def test_another_posterior_is_below_and_draws_close_the_gap() -> None:
    x, w = observations(100), weight()
    matrix, covariance = true_posterior(w, DEVIATION)
    # a diagonal one, off its place, and wider: no optimum
    model = linear(w, DEVIATION, "diagonal", MEAN)
    set_posterior(model, 0.95 * matrix, 1.2 * covariance.diagonal().sqrt().diag(), MEAN)
    exact = log_density(w, DEVIATION, x, MEAN).mean()
    below = model_bound(model, x).mean()
    assert below < exact - 0.05
    tight = model.log_likelihood(x, draws=1024).mean()
    assert float(tight) == pytest.approx(float(exact), abs=0.01)


@torch.no_grad()
def test_the_closed_bound_is_what_draws_find() -> None:
    x, w = observations(50) - MEAN, weight()
    for family in ("diagonal", "full"):
        model = linear(w, DEVIATION, family)
        factor = torch.tensor([[0.5, 0.0], [0.2, 0.3]], dtype=torch.float64)
        set_posterior(model, true_posterior(w, DEVIATION)[0], factor)
        drawn = torch.stack([model.terms(x, seed=seed).bound for seed in range(400)])
        closed = closed_bound(model, x, w, DEVIATION)
        error = drawn.std(0) / 400**0.5
        assert ((drawn.mean(0) - closed).abs() < 5 * error).all()
        assert bool((closed < log_density(w, DEVIATION, x)).all())


def test_q_alone_reaches_the_likelihood_only_if_it_is_full() -> None:
    with seeded(0):
        noise = torch.randn(40, 6, dtype=torch.float64)
    x = noise[:, :2] @ bound.WEIGHT.T + bound.DEVIATION * noise[:, 2:]
    exact = float(log_density(bound.WEIGHT, bound.DEVIATION, x).mean())
    ends = {family: bound._learnt(family, x, 400)[-1][1] for family in ("diagonal", "full")}
    assert exact - 0.02 < ends["full"] <= exact
    # KL of independent Gaussians of the same precisions: −½ log det of the correlations
    covariance = true_posterior(bound.WEIGHT, bound.DEVIATION)[1]
    precision = torch.linalg.inv(covariance)
    gap = 0.5 * float(precision.diagonal().log().sum() - precision.logdet())
    assert exact - ends["diagonal"] == pytest.approx(gap, abs=0.02)


# ---- measures ------------------------------------------------------------------------------------


def test_the_middle_of_every_distribution_over_levels() -> None:
    assert float(middle(Bernoulli(torch.tensor(0.3)))) == pytest.approx(0.3)
    assert float(middle(Categorical(torch.tensor([0.5, 0.0, 0.5])))) == pytest.approx(1)
    narrow = DiscretisedLogistic(torch.tensor([3.5]), torch.tensor([0.05]), 8, validate_args=False)
    assert float(middle(Independent(narrow, 1))[0]) == pytest.approx(3, abs=1e-3)


def test_blur_lowers_what_is_high() -> None:
    with seeded(0):
        sharp = torch.rand(50, 1, 16, 16)
    blurred = torch.nn.functional.avg_pool2d(sharp, 3, 1, 1)
    assert blur.sharpness(blurred) < 0.3 * blur.sharpness(sharp)
    # white noise: each ring has as much power as it has frequencies
    rings = [round(math.hypot(i, j)) for i in range(-8, 8) for j in range(-8, 8)]
    high = sum(4 < ring <= 8 for ring in rings) / sum(0 < ring <= 8 for ring in rings)
    assert blur.sharpness(sharp) == pytest.approx(high, abs=0.03)
    wave = (2 * math.pi * 7 * torch.arange(16) / 16).cos().expand(1, 1, 16, 16)
    waves = wave * torch.tensor([1.0, -1.0])[:, None, None, None]
    assert blur.sharpness(waves) == pytest.approx(1)
    assert int(blur.spectrum(waves).argmax()) == 6


# ---- the commands --------------------------------------------------------------------------------


def test_a_command_measures_draws_and_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["curves", "--out", str(tmp_path)]
    assert command.main(asked) == 0
    told = capsys.readouterr().out
    assert json.loads((tmp_path / "latent.curves.json").read_text("utf-8"))
    path = tmp_path / "figures" / "latent-curves.png"
    with Image.open(path) as picture:
        assert picture.size[0] > 500
    path.unlink()
    assert command.main([*asked, "--drawn"]) == 0
    assert capsys.readouterr().out == told
    assert path.is_file()


def test_the_page_is_of_what_was_measured() -> None:
    page = (ROOT / "docs" / "latent.md").read_text("utf-8")
    measured = []
    for module in (noise, bound, rates, numbers, blur):
        name = module.__name__.rpartition(".")[2]
        path = ROOT / "docs" / f"latent.{name}.json"
        if path.is_file():
            assert module.markdown(json.loads(path.read_text("utf-8"))) in page
            measured.append(name)
        else:
            assert f"<!-- generated: measured latent.{name} -->\n\nNot measured yet." in page
    assert measured
