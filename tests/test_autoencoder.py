"""Autoencoders: principal components, dense and convolutional ones, sparse codes, densities."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn import decomposition
from torch import Tensor, nn
from torch.distributions import Bernoulli, kl_divergence

from simulacra.data.catalogue import load as load_data
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry, saved
from simulacra.models.latent import pca, random_features
from simulacra.models.latent.pca import PCA
from simulacra.models.latent.random_features import RandomFeatures
from simulacra.models.model import Latent, Likelihood, Sampling
from simulacra.models.swept import Swept
from simulacra.nn.random_convolutions import RandomConvolutions
from simulacra.training.fit import fit
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options

CPU = Options(device="cpu")


# ---- principal components -----------------------------------------------------------------------


def swept(model: PCA, x: Tensor, part: int = 300) -> int:
    """Sweeps until one is not worth another; how many."""
    for sweeps in range(1, 200):
        if model.update((rows, None) for rows in x.split(part))["converged"]:
            return sweeps
    raise AssertionError("sweeps do not end")


@pytest.mark.parametrize(("most", "sweeps"), [(2048, 1), (10, 20)])
def test_components_are_those_of_scikit_learn(
    most: int, sweeps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all observations, begun from a few of them, by the covariance and by subspaces."""
    monkeypatch.setattr(pca, "_COVARIANCE", most)
    x = load_data("digits").train.x[:]
    model = PCA(DataSpec((1, 8, 8), 17), components=5)
    model.prepare(x[:40])
    for _ in range(sweeps):
        model.update([(x[:700], None), (x[700:], None)])
    y = (x.double() / 8 - 1).flatten(1).numpy()
    right = decomposition.PCA(5, svd_solver="full").fit(y)
    codes = torch.as_tensor(right.transform(y))
    signs = (model.axes.double() @ torch.as_tensor(right.components_).T).diagonal().sign()
    assert torch.allclose(model.encode(x).double(), codes * signs, atol=1e-5)
    again = torch.as_tensor(right.inverse_transform(right.transform(y)))
    error = (again - torch.as_tensor(y)).square().sum(1)
    assert torch.allclose(model.validation_loss(x).double(), error, atol=1e-5)
    levels = ((again.view(-1, 1, 8, 8) + 1) * 8).round().clamp(0, 16).long()
    assert (model.decode(model.encode(x)) != levels).float().mean() < 1e-4


def test_all_components_give_vectors_back() -> None:
    x = torch.randn(50, 3) * torch.tensor([1.0, 30.0, 0.1]) + 7
    model = PCA(DataSpec((3,), None), components=16)
    model.prepare(x[:20])
    assert swept(model, x) == 1
    assert model.encode(x).shape == (50, 3)
    assert torch.allclose(model.decode(model.encode(x)), x, atol=1e-4)
    assert model.learnt == 3 + 9 - 6


@pytest.mark.parametrize("rows", [1, 4])
def test_a_constant_has_no_components_and_comes_back(rows: int) -> None:
    x = torch.full((rows, 1, 4, 4), 3)
    model = PCA(DataSpec((1, 4, 4), 5), components=2)
    model.prepare(x)
    swept(model, x)
    assert torch.equal(model.decode(model.encode(x)), x)


def test_a_sweep_tells_the_error_before_it_and_ends() -> None:
    data = load_data("digits")
    model = fit(registry.build("pca", data.spec, {"components": 8}), data, "50steps", CPU)
    assert isinstance(model, PCA)
    counts = model.update([(data.train.x[:], None)])
    loss = float(model.validation_loss(data.train.x[:]).mean())
    assert counts["loss"] == pytest.approx(loss, rel=1e-4)
    assert counts["converged"]
    assert 0.6 < counts["explained"] < 0.8
    with pytest.raises(UsageError, match="components is positive, got 0"):
        registry.build("pca", data.spec, {"components": 0})


# ---- autoencoders -------------------------------------------------------------------------------


def built(name: str = "autoencoder", spec: DataSpec | None = None, **keywords: Any) -> Any:
    with seeded(0):
        return registry.build(name, spec or DataSpec((1, 8, 8), 17), keywords)


def steps(model: Any, x: Tensor, count: int, lr: float = 5e-3, turn: str = "model") -> float:
    """So many steps on all observations at once; the loss of the last one."""
    optimiser = torch.optim.Adam(model.player(turn).parameters(), lr)
    loss = torch.tensor(0.0)
    for _ in range(count):
        optimiser.zero_grad()
        told = model.loss(x, turn=turn)
        loss = told["loss"]
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            model.moved(turn, {key: each for key, each in told.items() if each.ndim})
    return float(loss.detach())


@pytest.mark.parametrize("levels", [17, 2])
def test_few_digits_come_back_exactly(levels: int) -> None:
    """The networks can say all of sixteen digits, and decoding rounds to the level that was."""
    x = load_data("digits").train.x[:16].long()
    x = x if levels == 17 else (x > 8).long()
    model = built(spec=DataSpec((1, 8, 8), levels), latent=8, hidden=(128,))
    steps(model, x, 300)
    exact = (model.eval().decode(model.encode(x)) == x).float().mean()
    assert exact > 0.97


@pytest.mark.parametrize(
    ("encoder", "seed"),
    [
        pytest.param(encoder, seed, marks=[pytest.mark.nightly] * (seed != number))
        for number, encoder in enumerate(("conv", "resnet", "rnn"))
        for seed in range(3)
    ],
)
def test_every_network_tells_digits_apart(encoder: str, seed: int) -> None:
    """One that is dead where it begins comes to their mean, and stays there."""
    x = load_data("digits").train.x[:16].long()
    with seeded(seed):
        model = registry.build(
            "autoencoder", DataSpec((1, 8, 8), 17),
            {"latent": 8, "hidden": (64,), "encoder": encoder, "channels": 8},
        )  # fmt: skip
    y = x.float() / 8 - 1
    mean = float((y - y.mean(0)).square().sum((1, 2, 3)).mean())
    assert steps(model, x, 80) < 0.7 * mean


def test_unordered_levels_come_back_as_the_likeliest() -> None:
    spec = DataSpec((1, 4, 4), 5, ordered=False)
    x = torch.randint(5, (8, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    model = built(spec=spec, latent=4, hidden=(64,))
    # before it has learnt, every level is as likely
    assert float(model.loss(x)["loss"].detach()) == pytest.approx(16 * math.log(5), rel=0.1)
    steps(model, x, 200)
    assert (model.decode(model.encode(x)) == x).float().mean() > 0.97


def test_vectors_come_back_in_their_units() -> None:
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    x = torch.cat([x, x.sum(1, keepdim=True)], 1) * torch.tensor([1.0, 100.0, 0.01]) + 50
    model = built(spec=DataSpec((3,), None), latent=2, hidden=(32,))
    model.prepare(x)
    steps(model, x, 400)
    gap = (model.decode(model.encode(x)) - x).abs() / x.std(0)
    assert gap.mean() < 0.1


def test_random_features_are_the_same_and_forgive_a_small_shift() -> None:
    """Beside grey, which squared errors of values prefer to a line one pixel away."""
    features, x = RandomFeatures(1), -torch.ones(1, 1, 16, 16)
    line, beside, grey = x.clone(), x.clone(), x.clone()
    line[..., 6], beside[..., 7], grey[..., 6:8] = 1, 1, -0.5
    by_values = (beside - line).square().mean() / (grey - line).square().mean()
    by_features = features.distance(beside, line) / features.distance(grey, line)
    assert float(features.distance(line, line)) == 0
    assert float(by_features) < 0.8 * float(by_values)
    again = RandomFeatures(1).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in features.state_dict().items())


def test_features_are_none_that_the_judge_sees_samples_by() -> None:
    """No filter of the one is one of the other, nor nearly."""
    own = next(RandomFeatures(1).buffers()).flatten(1)
    theirs = next(RandomConvolutions(1, 2).buffers())[..., 1:4, 1:4].flatten(1)
    likeness = nn.functional.normalize(own) @ nn.functional.normalize(theirs).T
    assert float(likeness.abs().max()) < 0.95
    assert "judging" not in Path(random_features.__file__).read_text()


@pytest.mark.parametrize("form", [DataSpec((3,), None), DataSpec((9,), 4)])
def test_features_are_of_pictures(form: DataSpec) -> None:
    with pytest.raises(MissingCapability, match="leave reconstruction=features out"):
        built(spec=form, reconstruction="features")


def test_features_let_pictures_come_back() -> None:
    x = load_data("digits").train.x[:16].long()
    model = built(latent=8, hidden=(128,), reconstruction="features")
    steps(model, x, 120)
    assert (model.decode(model.encode(x)) - x).abs().float().mean() < 0.5


# ---- a density of codes -------------------------------------------------------------------------


def test_a_density_makes_it_sample_and_nothing_else_does() -> None:
    plain, dense = built(hidden=(8,)), built(hidden=(8,), density="gmm")
    assert not isinstance(plain, Sampling)
    assert isinstance(dense, Latent)
    assert isinstance(dense, Swept)
    assert not isinstance(dense, Likelihood)
    assert not isinstance(built(hidden=(8,), density="nice"), Swept)
    with pytest.raises(UsageError, match="density is a model that samples, got pca: use gmm"):
        built(density="pca")
    with pytest.raises(MissingCapability, match="pixelcnn needs pictures"):
        built(density="pixelcnn")


@pytest.mark.parametrize("density", ["gmm", "kde", "nice", "gan"])
def test_stages_train_the_codes_then_their_density(density: str, tmp_path: Path) -> None:
    data = load_data("digits")
    model = built(spec=data.spec, latent=2, hidden=(16,), density=density)
    names = [stage.name for stage in model.stages]
    assert names[0] == "autoencoder"
    assert all(name.startswith("density ") for name in names[1:])
    assert sum(stage.share for stage in model.stages) == pytest.approx(1)
    training = Training(model, data.train, data.validation, Options(device="cpu", batch=64))
    training.set_plan(Budget.parse("30steps"))
    weights = None
    for record in training:
        if record.stage:
            now = model.encoding.state_dict()
            weights = weights or {key: value.clone() for key, value in now.items()}
            assert all(torch.equal(now[key], value) for key, value in weights.items())
    saved.save(training.averaged, tmp_path / "m", "autoencoder")
    again = saved.load(tmp_path / "m")
    drawn = []
    for each in (training.averaged, again):
        with seeded(2):
            drawn.append(each.eval().sample(7))  # type: ignore[operator]
    assert torch.equal(*drawn)


def test_samples_are_codes_of_the_density_decoded() -> None:
    data = load_data("digits")
    model = built(spec=data.spec, latent=2, hidden=(32,), density="gmm")
    model = fit(model, data, "200steps", CPU)
    codes, drawn = model.encode(data.train.x[:]).detach(), model.prior(1000)
    assert torch.allclose(drawn.mean(0), codes.mean(0), atol=0.2 * float(codes.std()))
    assert torch.allclose(drawn.std(0), codes.std(0), rtol=0.15)
    with seeded(3):
        x = model.sample(9)
    with seeded(3):
        assert torch.equal(x, model.decode(model.prior(9)))


def test_a_density_is_told_what_the_autoencoder_is_told() -> None:
    spec = DataSpec((1, 8, 8), 17, classes=10)
    model = built(spec=spec, hidden=(8,), context="label", density="gmm")
    assert model.of_codes.context == "label"
    assert built(spec=spec, hidden=(8,), density="gmm").of_codes.context == "none"


# ---- sparse codes -------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [0.05, 0.2])
def test_units_are_as_active_as_they_shall_be(target: float) -> None:
    """Within a tenth: in the mean of all units, in most of them, and as the loss's row says."""
    x = load_data("digits").train.x[:256]
    model = built("sparse-autoencoder", target=target)
    steps(model, x, 250, 1e-2)
    active = model.encode(x).detach().mean(0)
    assert float(active.mean()) == pytest.approx(target, rel=0.1)
    assert ((active - target).abs() < 0.1 * target).float().mean() > 0.9
    told = {key: each.detach() for key, each in model.loss(x).items()}
    assert float(told["activation"]) == pytest.approx(target, rel=0.1)
    assert float(told["near"]) > 0.9
    # without the penalty they are not
    free = built("sparse-autoencoder", target=target, weight=0.0)
    steps(free, x, 100, 1e-2)
    assert float(free.loss(x)["near"].detach()) < 0.5


def test_the_penalty_is_the_divergence_of_two_coins() -> None:
    model = built("sparse-autoencoder", target=0.1).double()
    mean = torch.tensor([0.1, 0.5, 0.01], dtype=torch.float64)
    right = kl_divergence(Bernoulli(torch.full_like(mean, 0.1)), Bernoulli(mean)).sum()
    assert float(model._penalty(mean)) == pytest.approx(float(right))
    assert bool(model._penalty(torch.tensor([0.0, 1.0], dtype=torch.float64)).isfinite())
    l1 = built("sparse-autoencoder", penalty="l1")
    assert float(l1._penalty(mean)) == pytest.approx(0.61)


def test_l1_leaves_fewer_units_active() -> None:
    x = load_data("digits").train.x[:128]
    active = []
    for weight in (0.0, 0.3):
        model = built("sparse-autoencoder", penalty="l1", weight=weight, times=1)
        steps(model, x, 100, 1e-2)
        active.append(float(model.encode(x).detach().mean()))
    assert active[1] < 0.7 * active[0]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"times": 0}, "times is positive"),
        ({"target": 1.0}, "target between 0 and 1"),
        ({"weight": -1.0}, "weight not negative"),
        ({"penalty": "l2"}, "penalty is one of kl, l1, got 'l2'"),
    ],
)
def test_sparse_keywords_are_held_to_their_ranges(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        built("sparse-autoencoder", **keywords)
