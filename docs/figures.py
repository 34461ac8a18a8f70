"""Draw the pictures of the models' pages that show how each model works.

`python docs/figures.py` draws all of them into docs/figures (a few minutes on one core), and
`python docs/figures.py pixelcnn` one. The pictures of samples beside them are drawn by the scripts
in examples/.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import soundfile
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from PIL import Image
from torch import Tensor
from torch.distributions import Normal

import simulacra as sim
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.formats.soundfiles import wav
from simulacra.drawing import files, grids, planes, style
from simulacra.drawing.sounds import heard
from simulacra.judging.figures.roc import Pairs
from simulacra.models import registry
from simulacra.models.adversarial.gan import GAN
from simulacra.models.adversarial.objectives import ObjectiveName, objective_of
from simulacra.models.adversarial.regularisers import (
    RegulariserName,
    gradient_penalty,
    squared_slope,
)
from simulacra.models.autoregressive.base import level_logits
from simulacra.models.autoregressive.pixelcnn import PixelCNN
from simulacra.models.autoregressive.wavenet import WaveNet
from simulacra.models.diffusion.d3pm import D3PM
from simulacra.models.diffusion.ddpm import DDPM
from simulacra.models.diffusion.flow_matching import FlowMatching
from simulacra.models.diffusion.vdm import VDM
from simulacra.models.flow.base import Flow
from simulacra.models.flow.halves import HalvesCoupling
from simulacra.models.flow.nice import NICE
from simulacra.models.latent import observations
from simulacra.models.latent.pca import PCA
from simulacra.models.latent.pixelvae import PixelVAE
from simulacra.models.latent.sequential_vae import SequentialVAE
from simulacra.models.latent.vae import VAE
from simulacra.models.mixture.bernoulli_mixture import BernoulliMixture
from simulacra.models.mixture.gmm import FullGMM
from simulacra.models.mixture.kde import KDE
from simulacra.models.mixture.mfa import MFA
from simulacra.models.refining import Refining
from simulacra.nn.frechet import frechet, gaussian
from simulacra.nn.random_convolutions import RandomConvolutions
from simulacra.runs import zoo
from simulacra.tasks.code_levels import redrawn
from simulacra.tasks.complete import mask
from simulacra.tasks.densities import Plane, log_density
from simulacra.tasks.expected import mean_of
from simulacra.tasks.paths import Paths

HERE = Path(__file__).parent / "figures"
BLUE, RED, GREEN = "#0072b2", "#d55e00", "#009e73"


def panels(count: int, width: float = 2.6) -> tuple[Figure, list[Axes]]:
    """A figure with so many square panels side by side."""
    figure = Figure((width * count, width + 0.5), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def write(figure: Figure, name: str, colours: int | None = None) -> None:
    """The figure as a small PNG file, of so many colours: many slanted lines have too many."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    # without the transparency that matplotlib writes, which nothing here uses
    image = Image.open(buffer).convert("RGB")
    if colours is not None:
        image = image.quantize(colours, dither=Image.Dither.NONE)
    image.save(HERE / f"{name}.png", optimize=True)


@torch.no_grad()
def gmm() -> None:
    """EM on points of three clusters: the ellipses of one standard deviation, by sweeps."""
    torch.manual_seed(3)
    centres = torch.tensor([[-2.0, 0.0], [2.0, 1.0], [0.5, -2.0]])
    slants = torch.tensor([[[0.9, 0], [0.6, 0.3]], [[0.3, 0], [0.0, 1.0]], [[0.9, 0], [-0.4, 0.4]]])
    which = torch.randint(3, (400,))
    points = centres[which] + torch.einsum("nde,ne->nd", slants[which], torch.randn(400, 2))
    model = FullGMM(sim.DataSpec((2,), None), components=3, covariance="full")
    model.prepare(points)
    # a start that is plainly wrong shows more than that of k-means
    model.means.copy_(torch.tensor([[-0.5, 0.8], [0.0, 0.6], [0.5, 0.8]]))
    model.keep(torch.arange(3), 0.6 * torch.eye(2).expand(3, 2, 2))
    figure, axes = panels(4)
    sweeps = 0
    for axis, wanted in zip(axes, (0, 1, 5, 40), strict=True):
        while sweeps < wanted:
            model.update([(points, None)])
            sweeps += 1
        axis.plot(*points.T.numpy(), ".", color="#9aa3ad", markersize=2)
        for mean, factor, colour in zip(
            model.means, model.factors(slice(3), points), (BLUE, RED, GREEN), strict=True
        ):
            scale = model.scale.diag() @ factor
            (small, large), vectors = torch.linalg.eigh(scale @ scale.T)
            angle = float(torch.atan2(vectors[1, 1], vectors[0, 1]).rad2deg())
            place = (mean * model.scale + model.shift).tolist()
            size = [2 * float(value) ** 0.5 for value in (large, small)]
            axis.add_patch(
                Ellipse(place, *size, angle=angle, fill=False, color=colour, linewidth=2)
            )
            axis.plot(*place, "+", color=colour)
        axis.set_title(f"{wanted} sweep{'s' * (wanted != 1)}", fontsize=10)
        axis.set_aspect("equal")
        axis.set_axis_off()
    write(figure, "gmm-em")


def kde() -> None:
    """A density of one number from 20 kernels, too narrow, by leaving one out, and too wide."""
    data = sim.load_data("two-peaks")
    assert data.density is not None
    points = data.train.x[:20]
    model = KDE(data.spec)
    model.prepare(points)
    while not model.update([])["converged"]:
        pass
    found = model.bandwidths.clone()
    line = torch.linspace(float(points.min()) - 1.5, float(points.max()) + 1.5, 600)[:, None]
    figure, axes = panels(3, 2.4)
    for axis, factor, name in zip(
        axes, (0.2, 1.0, 4.0), ("too narrow", "by leaving one out", "too wide"), strict=True
    ):
        model.bandwidths.copy_(found * factor)
        width = float(model.bandwidths * model.scale)
        for point in points[:, 0]:
            bump = Normal(point, width).log_prob(line).exp() / len(points)
            axis.plot(line, bump, color="#9aa3ad", linewidth=0.7)
        axis.plot(line, data.density.log_prob(line).exp(), "--", color=RED, linewidth=1)
        axis.plot(line, model.log_likelihood(line).exp(), color=BLUE, linewidth=2)
        axis.plot(points, torch.zeros(len(points)), "|", color="black")
        loss = float(model.loss(points)["loss"])
        axis.set_title(f"{name}: h = {width:.2f}\nleft out {-loss:.2f} nats", fontsize=10)
        axis.set_yticks([])
    write(figure, "kde-bumps")


def vae() -> None:
    """A code of two numbers: where digits are in it, and what each place decodes to."""
    data = sim.load_data("digits")
    torch.manual_seed(0)
    model = sim.build("vae", data.spec, {"latent": 2})
    model = sim.fit(model, data, "4000steps", sim.Options(lr=2e-3))
    assert isinstance(model, VAE)
    figure, (axis,) = panels(1, 4.2)
    with torch.no_grad():
        x, labels = data.validation.batch(torch.arange(len(data.validation)))
        codes = model.encode(x)
        # places that the prior makes equally likely: quantiles of a normal distribution
        at = torch.distributions.Normal(0.0, 1.0).icdf(torch.linspace(0.03, 0.97, 11))
        places = torch.stack(torch.meshgrid(at, -at, indexing="xy"), -1).flatten(0, 1)
        mean = mean_of(model.likelihood(places)) / 16
    assert labels is not None
    axis.scatter(codes[:, 0].numpy(), codes[:, 1].numpy(), c=labels.numpy(), cmap="tab10", s=9)
    for label in range(10):
        across, up = codes[labels == label].mean(0).tolist()
        axis.text(across, up, str(label), fontsize=13, weight="bold")
    axis.set_aspect("equal", adjustable="datalim")
    write(figure, "vae-codes")
    files.save(grids.grid(mean.clamp(0, 1), columns=11, scale=4, gap=2), HERE / "vae-plane.png")


def sequential_vae() -> None:
    """What each step of a chain draws, beside draws of a vae: the mean levels, without noise."""
    data = sim.load_data("digits")
    torch.manual_seed(0)
    model = sim.build("sequential-vae", data.spec, {"hidden": (128, 64)})
    model = sim.fit(model, data, "600steps")
    assert isinstance(model, SequentialVAE)
    torch.manual_seed(2)
    rows = []
    with torch.no_grad():
        for step in model.chain(model.prior(12)):
            rows.append((observations.expected(step.base_dist, data.spec) + 1) / 2)
        rows.append(data.spec.to_float(data.validation.batch(torch.arange(12))[0]))
    shown = torch.cat(rows).clamp(0, 1)
    files.save(grids.grid(shown, columns=12, scale=4, gap=2), HERE / "sequential-vae-chain.png")


def hvae() -> None:
    """Digits with one level of their code drawn anew, of the model that comes with the package."""
    data, model = sim.load_data("digits"), sim.from_zoo("hvae-digits")
    x = data.validation.x[:6]
    found = redrawn(model, x, draws=3)
    parts = [data.spec.to_float(x)[:, None], found.middle[:, None], found.levels.flatten(1, 2)]
    rows = torch.cat(parts, 1)
    shown = grids.grid(rows.flatten(0, 1).clamp(0, 1), columns=rows.shape[1], scale=4, gap=2)
    files.save(shown, HERE / "hvae-digits.png")


def pixelvae() -> None:
    """What a code holds and what the nested model adds: one code in each row, drawn nine times."""
    data = sim.load_data("digits")
    torch.manual_seed(0)
    model = sim.fit(sim.build("pixelvae", data.spec), data, "800steps")
    assert isinstance(model, PixelVAE)
    x, _ = data.validation.batch(torch.arange(6))
    torch.manual_seed(1)
    with torch.no_grad():
        drawn = model.likelihood(model.encode(x)).sample((9,))
    rows = torch.cat([x[:, None], drawn.movedim(0, 1)], 1).flatten(0, 1)
    shown = data.spec.to_float(rows)
    files.save(grids.grid(shown, columns=10, scale=4, gap=2), HERE / "pixelvae-draws.png")


def iwae() -> None:
    """The bound of test digits by the number of codes that it is of, trained on one and on 20."""
    data = sim.load_data("digits")
    figure, (axis,) = panels(1, 4.2)
    numbers = [1, 2, 5, 10, 20, 50, 100, 200]
    told = (("vae", {}, "vae: trained on 1", BLUE), ("iwae", {"draws": 20}, "iwae: on 20", RED))
    for name, keywords, label, colour in told:
        torch.manual_seed(0)
        model = sim.build(name, data.spec, {"hidden": (128, 64), **keywords})
        model = sim.fit(model, data, "1500steps", sim.Options(lr=2e-3))
        scores = [sim.likelihood(model, data.test, draws=n).marginal for n in numbers]
        bounds = [-score.nats for score in scores if score is not None]
        axis.plot(numbers, bounds, "o-", color=colour, label=label, markersize=4)
    axis.set(xscale="log", xlabel="codes of the bound", ylabel="log p(x) ≥, nats")
    axis.legend(frameon=False)
    write(figure, "iwae-bound")


def pixelcnn() -> None:
    """What the pixel in the middle sees: measured by gradients, beside what the model declares."""
    side, at = 15, (7, 7)
    spec = sim.DataSpec((1, side, side), 2)
    figure, axes = panels(3)
    for axis, layers in zip(axes, (0, 2, 6), strict=True):
        torch.manual_seed(0)
        model = PixelCNN(spec, channels=8, layers=layers, first_kernel_size=5).double()
        seen = reached(model, at)
        pixel = at[0] * side + at[1]
        declared = model.blind_spot()[:, pixel].view(side, side)
        later = torch.arange(side * side).view(side, side) >= pixel
        if not torch.equal(seen, ~declared & ~later):
            raise RuntimeError("gradients and PixelCNN.blind_spot disagree: one is wrong")
        shown = torch.where(later, 0, torch.where(declared, 2, 1))
        shown[at] = 3
        colours = ListedColormap(["#e3e6ea", BLUE, "#f0b27a", "black"])
        axis.imshow(shown.numpy(), cmap=colours, vmin=0, vmax=3)
        axis.set_title(f"{layers} blocks", fontsize=10)
        axis.set_xticks([i - 0.5 for i in range(side + 1)], [])
        axis.set_yticks([i - 0.5 for i in range(side + 1)], [])
        axis.tick_params(length=0)
        axis.grid(color="white", linewidth=0.8)
    write(figure, "pixelcnn-field")


def reached(model: PixelCNN, at: tuple[int, int]) -> Tensor:
    """Which pixels move the prediction of the one at `at`, by gradients; booleans `(H, W)`."""
    _, height, width = model.spec.event_shape
    # many random inputs, so that no path is hidden by a ReLU that is off
    inputs = torch.randn(32, 1, height, width, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(32, 2 * model.channels, 1, 1, dtype=torch.float64)
    logits = model._network(inputs, [bias] * (model.layers + 1), lambda layer, h: layer(h))
    (gradient,) = torch.autograd.grad(logits[:, :, at[0], at[1]].square().sum(), inputs)
    return gradient.abs().sum((0, 1)) > 0


def gan() -> None:
    """One value, two humps: densities of real and generated, and the discriminator, by steps."""
    torch.manual_seed(0)
    x = torch.cat([torch.randn(3000, 1) * 0.5 - 2, torch.randn(3000, 1) * 0.8 + 1.5])
    players = {"latent": 4, "hidden": (64, 64), "dropout": 0.0, "rates": (1.0, 1.0)}
    model = sim.build("gan", sim.DataSpec((1,), None), players)
    assert isinstance(model, GAN)
    split = Observations(x)
    options = sim.Options(batch=256, lr=5e-4, betas=(0.5, 0.999), schedule="constant", clip=0.0)
    training = sim.Training(model, split, split, options)
    training.set_plan(sim.Budget(4000, "steps"))
    figure, axes = panels(4, 2.7)
    wanted = iter(zip(axes, (1, 100, 500, 4000), strict=True))
    axis, step = next(wanted)
    for record in training:
        if record.step < step:
            continue
        with torch.no_grad():
            drawn = model.sample(6000)[:, 0]
            line = torch.linspace(-6, 6, 200)[:, None]
            judged = model.scores(line).sigmoid()
        bins = torch.linspace(-6, 6, 61).tolist()
        axis.hist(x[:, 0].numpy(), bins, density=True, color="#c8cdd3", label="real")
        axis.hist(drawn.numpy(), bins, density=True, histtype="step", color=RED, label="generated")
        axis.plot(line[:, 0].numpy(), judged.numpy(), color=BLUE, label="D(x)")
        axis.axhline(0.5, color=BLUE, linewidth=0.6, linestyle=":")
        axis.set_ylim(0, 1.05)
        axis.set_title(f"step {record.step}", fontsize=10)
        if (axis, step) == (axes[-1], 4000):
            break
        axis, step = next(wanted)
    axes[0].legend(fontsize=8, frameon=False)
    write(figure, "gan-game")


def played(name: str, data: Dataset, steps: str, **keywords: object) -> GAN:
    """A game that learnt pictures."""
    torch.manual_seed(0)
    model = sim.fit(sim.build(name, data.spec, keywords), data, steps).eval()
    assert isinstance(model, GAN)
    return model


def dcgan() -> None:
    """Arithmetic of codes: steps from one to another, and along light ones less dark ones."""
    data = sim.load_data("digits")
    model = played("dcgan", data, "1000steps")
    torch.manual_seed(1)
    codes = model.prior(4000)
    with torch.no_grad():
        ink = data.spec.to_float(model.decode(codes)).flatten(1).mean(1)
    light, dark = (codes[ink.argsort(descending=first)[:400]].mean(0) for first in (True, False))
    begin, end = codes[:5, None], codes[5:10, None]
    turn = torch.linspace(0, torch.pi / 2, 8)[:, None]
    # on the arc between them, where codes have the usual length
    arc = turn.cos() * begin + turn.sin() * end
    moved = begin + torch.linspace(-2, 2, 8)[:, None] * (light - dark)
    with torch.no_grad():
        drawn = data.spec.to_float(model.decode(torch.cat([arc, moved], 1).flatten(0, 1)))
    rows = drawn.unflatten(0, (5, 16))
    between = torch.full_like(rows[:, :1], style.GAP / 255)
    rows = torch.cat([rows[:, :8], between, rows[:, 8:]], 1)
    picture = grids.grid(rows.flatten(0, 1), columns=17, scale=4, gap=2)
    files.save(picture, HERE / "dcgan-codes.png")


def pull(name: ObjectiveName, scores: Tensor) -> Tensor:
    """What a generated observation gains by a higher score, `(N,)`."""
    scores = scores.detach().requires_grad_()
    loss = len(scores) * objective_of(name).generator(scores, scores)
    (slope,) = torch.autograd.grad(loss, scores)
    return -slope


def lsgan() -> None:
    """How much each objective pulls by the score, and where that leads."""
    told: dict[ObjectiveName, str] = {
        "minimax": "#9aa3ad", "non-saturating": BLUE, "hinge": GREEN, "least-squares": RED,
    }  # fmt: skip
    figure, axes = panels(4, 2.6)
    line = torch.linspace(-4, 4, 200)
    for name, colour in told.items():
        axes[0].plot(line, pull(name, line), color=colour, label=name)
    axes[0].axhline(0, color="black", linewidth=0.6)
    axes[0].set(ylim=(-3, 5.2), xlabel="score", title="pull of the generator")
    axes[0].legend(fontsize=8, frameon=False)
    del told["hinge"]
    for axis, (name, colour) in zip(axes[1:], told.items(), strict=True):
        at = [torch.linspace(-4, 4, 13)]
        while len(at) <= 100:
            at.append(at[-1] + 0.05 * pull(name, at[-1]))
        axis.plot(torch.linspace(0, 5, 101), torch.stack(at), color=colour, linewidth=1)
        axis.axhline(objective_of(name).undecided or 0.0, color="black", linewidth=0.6)
        axis.set(ylim=(-4.5, 7), xlabel="time", ylabel="score", title=name)
    write(figure, "lsgan-pull", colours=64)


def wgan_gp() -> None:
    """Data and samples that do not meet: what a discriminator and a critic say between them."""
    figure, axes = panels(2, 3.4)
    line = torch.linspace(-4, 4, 200)[:, None].requires_grad_()
    for axis, name in zip(axes, ("gan", "wgan-gp"), strict=True):
        torch.manual_seed(0)
        real, fake = 0.3 * torch.randn(256, 1) + 2, 0.3 * torch.randn(256, 1) - 2
        keywords = {"hidden": (64, 64), "dropout": 0.0}
        model = sim.build(name, sim.DataSpec((1,), None), keywords)
        assert isinstance(model, GAN)
        opponent, held = model.player(model.opponent), model.estimates_distance

        def score(y: Tensor, opponent: torch.nn.Module = opponent) -> Tensor:
            said: Tensor = opponent(y, None)
            return said

        optimiser = torch.optim.Adam(opponent.parameters(), 2e-3, (0.0, 0.9))
        for _ in range(1000):
            loss = objective_of(model.objective).opponent(score(real), score(fake))
            if held:
                loss = loss + 10 * gradient_penalty(score, real, fake)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        said = score(line) if held else score(line).sigmoid()
        (slope,) = torch.autograd.grad(said.sum(), line)
        for points, colour in ((real, "#9aa3ad"), (fake, RED)):
            axis.hist(points[:, 0], 20, density=True, color=colour, alpha=0.5)
        at = line[:, 0].detach()
        axis.plot(at, said.detach() - said.detach().mean() * held, color=BLUE)
        axis.plot(at, slope[:, 0], color=GREEN)
        axis.set_ylim(-3, 3)
        title = "D(x) of gan, and its slope"
        if held:
            found = float((score(real).mean() - score(fake).mean()).detach())
            true = float((real.sort(0).values - fake.sort(0).values).abs().mean())
            title = f"critic, and its slope: says {found:.2f}, true {true:.2f}"
        axis.set_title(title, fontsize=10)
    write(figure, "wgan-gp-critic")


def sngan() -> None:
    """Singular values of a discriminator's layers; and digits without classes, and with them."""
    data = sim.load_data("digits")
    figure, axes = panels(2, 3.0)
    told: tuple[tuple[RegulariserName, str, str], ...] = (
        ("none", "as it is", "#9aa3ad"), ("spectral", "divided", RED),
    )  # fmt: skip
    for regulariser, label, colour in told:
        model = played("sngan", data, "300steps", network="mlp", regulariser=regulariser)
        body = model.player("discriminator").body
        layers = [layer for layer in body.modules() if isinstance(layer, torch.nn.Linear)]
        for place, (axis, layer) in enumerate(zip(axes, layers, strict=True), start=1):
            values = torch.linalg.svdvals(layer.weight.detach())
            axis.plot(range(1, len(values) + 1), values, color=colour, label=label)
            axis.set(title=f"layer {place}", xlabel="singular value, largest first")
    for axis in axes:
        axis.axhline(1, color="black", linewidth=0.6, linestyle=":")
        axis.set_ylim(bottom=0)
        axis.legend(frameon=False)
    write(figure, "sngan-spectrum")
    plain, by_class = (
        played("sngan", data, "1000steps", context=context) for context in ("none", "label")
    )
    torch.manual_seed(1)
    codes, classes = plain.prior(3).repeat_interleave(10, 0), torch.arange(10).repeat(3)
    with torch.no_grad():
        shown = torch.cat([plain.decode(plain.prior(30)), by_class.decode(codes, classes)])
    picture = grids.grid(data.spec.to_float(shown), columns=10, scale=4, gap=2)
    files.save(picture, HERE / "sngan-classes.png")


def r3gan() -> None:
    """Two numbers, by steps: the one value that a generator makes, and its opponent's slope."""
    rate, weight = 0.1, 0.2
    games: tuple[tuple[ObjectiveName, str, str], ...] = (
        ("minimax", "none", "minimax"),
        ("wasserstein", "gradient-penalty", "wasserstein,\ngradient penalty"),
        ("relativistic", "none", "relativistic"),
        ("relativistic", "r1-r2", "relativistic,\nR1 + R2"),
    )
    figure, axes = panels(4, 2.4)
    real = torch.zeros(1, 1)
    for axis, (objective, regulariser, title) in zip(axes, games, strict=True):
        torch.manual_seed(0)
        game = objective_of(objective)
        value, slope = (torch.full((1, 1), 1.0, requires_grad=True) for _ in range(2))

        def score(y: Tensor, slope: Tensor = slope) -> Tensor:
            return (slope * y).sum(1)

        path = []
        for _ in range(400):
            path.append((value.item(), slope.item()))
            loss = game.opponent(score(real), score(value.detach()))
            if regulariser == "gradient-penalty":
                loss = loss + weight * gradient_penalty(score, real, value.detach())
            if regulariser == "r1-r2":
                slopes = squared_slope(score, real) + squared_slope(score, value)
                loss = loss + weight * slopes.mean() / 2
            (up,) = torch.autograd.grad(loss, slope)
            slope.data -= rate * up
            (along,) = torch.autograd.grad(game.generator(score(real), score(value)), value)
            value.data -= rate * along
        axis.plot(*zip(*path, strict=True), color=BLUE, linewidth=1)
        axis.plot(*path[0], "o", color=RED)
        axis.plot(0, 0, "+", color="black")
        axis.set(xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), aspect="equal")
        axis.set_xlabel("generated value (data: 0)", fontsize=9)
        axis.set_title(title, fontsize=10)
    axes[0].set_ylabel("slope of the opponent", fontsize=9)
    write(figure, "r3gan-paths", colours=64)


def nice() -> None:
    """Which value depends on which, coupling by coupling: Jacobians of a trained model."""
    data = sim.load_data("digits", side=4)
    torch.manual_seed(0)
    model = sim.fit(sim.build("nice", data.spec, {"hidden": (64,)}), data, "1000steps")
    assert isinstance(model, NICE)
    figure, axes = panels(5, 2.0)
    y = model.standardised(data.train.x[:1])
    every = list(model.maps)
    for count, axis in enumerate(axes):
        # a map of the first `count` couplings alone, without the scaling
        model.maps = torch.nn.ModuleList(every[:count])
        jacobian = torch.autograd.functional.jacobian(lambda v: model.transform(v)[0], y)
        jacobian = jacobian.reshape(16, 16)
        # the even values first, so that the two halves are blocks
        halves = torch.cat([torch.arange(0, 16, 2), torch.arange(1, 16, 2)])
        shown = jacobian[halves][:, halves]
        volume = float(torch.linalg.det(shown.double()))
        axis.imshow(shown.numpy(), cmap="RdBu", vmin=-1, vmax=1)
        axis.set_title(f"{count} couplings\ndet = {volume:.3f}", fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    write(figure, "nice-jacobians")


def counted(count: int, what: str) -> str:
    """How many, in words of a title."""
    return f"{count} {what}{'s' * (count != 1)}"


def strip(model: Flow, title: Callable[[int], str], name: str) -> None:
    """The density of a plane after each map: from the data, standardised, to the base."""
    line = torch.linspace(-3, 3, 110)
    # few colours make a small file
    colours = colormaps["magma"].resampled(28)
    points = torch.cartesian_prod(line, line)
    figure, axes = panels(len(model.maps) + 1, 1.5)
    for count, axis in enumerate(axes):
        with torch.no_grad():
            density = model.log_density_after(points, count).exp().view(110, 110).T
        # the brightest hundredth alike: a density may have narrow tops
        axis.imshow(density.numpy(), cmap=colours, origin="lower", interpolation="nearest", vmin=0,
                    vmax=float(density.flatten().quantile(0.99)))  # fmt: skip
        axis.set_title(title(count), fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    write(figure, name)


def trained(name: str, data: str, steps: str, **keywords: object) -> Flow:
    """A flow that learnt a toy."""
    toy = sim.load_data(data)
    torch.manual_seed(0)
    options = sim.Options(batch=256, **registry.preset(name))
    model = sim.fit(sim.build(name, toy.spec, keywords), toy, steps, options).eval()
    assert isinstance(model, Flow)
    return model


def spline_flow() -> None:
    """A board, coupling by coupling; and the splines of the last one for three seen values."""
    model = trained("spline-flow", "checkerboard", "1500steps")
    strip(model, lambda count: counted(count, "coupling"), "spline-flow-strip")
    coupling = model.maps[-1]
    assert isinstance(coupling, HalvesCoupling)
    figure, (axis,) = panels(1, 3.2)
    line = torch.linspace(-2.5, 2.5, 400)
    for seen, colour in ((-1.0, BLUE), (0.2, RED), (1.3, GREEN)):
        # the value that is changed, and the one that is seen
        y = torch.stack([line, torch.full_like(line, seen)], 1)
        if coupling.changes == 1:
            y = y.flip(1)
        with torch.no_grad():
            z = coupling(y, y.new_zeros(400, 0))[0][:, coupling.changes]
        axis.plot(line.numpy(), z.numpy(), color=colour, label=f"seen {seen:g}")
    axis.set_xlabel("changed value, before")
    axis.set_ylabel("after")
    axis.legend(fontsize=8, frameon=False)
    write(figure, "spline-flow-splines")


def maf() -> None:
    """Five arms, map by map, to a normal plane."""
    model = trained("maf", "pinwheel", "1500steps", components=1, hidden=(64, 64))
    strip(model, lambda count: counted(count, "map"), "maf-strip")


def iaf() -> None:
    """Which code depends on which value: Jacobians after so many maps of digits of 4×4 pixels."""
    data = sim.load_data("digits", side=4)
    torch.manual_seed(0)
    keywords = {"hidden": (64,), "transforms": 3}
    model = sim.fit(sim.build("iaf", data.spec, keywords), data, "300steps").eval()
    assert isinstance(model, Flow)
    y = model.standardised(data.train.x[:1])
    told = y.new_zeros(1, 0)
    figure, axes = panels(4, 2.0)

    def codes(v: Tensor, count: int) -> Tensor:
        for each in model.maps[:count]:
            v, _ = each(v, told)
        return v

    for axis, count in zip(axes, (1, 2, 3, 3), strict=True):
        last = axis is axes[-1]
        at = codes(y, 3).detach() if last else y
        matrix = torch.autograd.functional.jacobian(
            model.invert if last else lambda v, count=count: codes(v, count), at
        ).reshape(16, 16)
        most = float(matrix.abs().max())
        axis.imshow(matrix.numpy(), cmap="RdBu", vmin=-most, vmax=most)
        axis.set_title(
            "3 maps back, z to y" if last else f"{counted(count, 'map')}, y to z", fontsize=9
        )
        axis.set_xticks([])
        axis.set_yticks([])
    write(figure, "iaf-jacobians")


def realnvp() -> None:
    """Which pixels a coupling changes."""
    row, column = torch.arange(4)[:, None], torch.arange(4)[None]
    boards = {
        "black fields": (row + column) % 2 == 0, "white fields": (row + column) % 2 == 1,
        "upper rows": row % 2 + 0 * column == 0, "lower rows": row % 2 + 0 * column == 1,
    }  # fmt: skip
    figure, axes = panels(4, 1.6)
    for axis, (title, changed) in zip(axes, boards.items(), strict=True):
        axis.imshow(changed.numpy(), cmap="Blues", vmin=-0.2, vmax=1.3)
        axis.set_title(title, fontsize=9)
        for at in (0.5, 1.5, 2.5):
            axis.axhline(at, color="white", linewidth=3 if at == 1.5 else 1)
            axis.axvline(at, color="white", linewidth=3 if at == 1.5 else 1)
        axis.set_xticks([])
        axis.set_yticks([])
    write(figure, "realnvp-masks")


def glow() -> None:
    """What stays of digits when only the codes of the last scales are kept."""
    data = sim.load_data("digits")
    torch.manual_seed(0)
    options = sim.Options(**registry.preset("glow"))
    model = sim.fit(sim.build("glow", data.spec), data, "800steps", options).eval()
    assert isinstance(model, Flow)
    truth, _ = data.validation.batch(torch.arange(12))
    torch.manual_seed(1)
    with torch.no_grad():
        codes, fresh = model.encode(truth).flatten(1), model.prior(12).flatten(1)
        rows = [truth]
        for gone in (32, 48):
            # what leaves first comes first
            kept = torch.cat([fresh[:, :gone], codes[:, gone:]], 1)
            rows.append(model.decode(kept.view(12, *data.spec.event_shape)))
    shown = data.spec.to_float(torch.cat(rows))
    files.save(grids.grid(shown, columns=12, scale=5, gap=3), HERE / "glow-scales.png")


def bernoulli_mixture() -> None:
    """Static MNIST: means of heavy and light components, samples, completions and the truth."""
    data = sim.load_data("binarized-mnist")
    torch.manual_seed(0)
    model = sim.fit(sim.build("bernoulli-mixture", data.spec), data, "60s")
    assert isinstance(model, BernoulliMixture)
    chosen = model.mixing.shares.argsort(descending=True)[::45][:12]
    means = model.means[chosen].detach().view(-1, *data.spec.event_shape)
    truth, _ = data.test.batch(torch.arange(12))
    hidden = sim.complete(model, truth, mask(data.spec.event_shape, "bottom"), seed=1)[:, 0]
    rows = [sim.sample(model, 12, seed=1).x, hidden, truth]
    shown = torch.cat([means, *(data.spec.to_float(row) for row in rows)])
    files.save(grids.grid(shown, columns=12, scale=2, gap=3), HERE / "bernoulli-mixture.png")


def mfa() -> None:
    """What two factors of some components do to a digit."""
    data = sim.load_data("digits")
    torch.manual_seed(0)
    model = sim.fit(sim.build("mfa", data.spec), data, "1500steps").eval()
    assert isinstance(model, MFA)
    heaviest = model.mixing.shares.argsort(descending=True)
    walks = []
    with torch.no_grad():
        for k in heaviest[:6].tolist():
            # factors have no order and may be turned: their principal directions have one
            turned, lengths, _ = torch.linalg.svd(model.loadings[k], full_matrices=False)
            for direction in (turned * lengths).T[:2]:
                steps = torch.linspace(-2, 2, 7)[:, None] * direction
                walks.append((model.means[k] + steps) * model.pooled.sqrt())
    # a value of 1 is the end of the last bin
    shown = ((torch.cat(walks) + 1) / 2).clamp(0, 1).view(-1, *data.spec.event_shape)
    files.save(grids.grid(shown, columns=14, scale=4, gap=2), HERE / "mfa-factors.png")


def beta_vae() -> None:
    """What each unit of a code costs, dearest first, by the weight that it is paid for with."""
    data = sim.load_data("digits")
    figure, (axis,) = panels(1, 4.2)
    x, _ = data.validation.batch(torch.arange(len(data.validation)))
    for beta, colour in ((0.25, GREEN), (1.0, BLUE), (4.0, RED)):
        torch.manual_seed(0)
        model = sim.build("beta-vae", data.spec, {"latent": 16, "beta": beta})
        model = sim.fit(model, data, "1500steps").eval()
        assert isinstance(model, VAE)
        with torch.no_grad():
            terms = model.terms(x)
        rates = terms.rates.mean(0).sort(descending=True).values
        told = f"β = {beta:g}: rate {terms.kl.mean():.0f}, distortion {terms.distortion.mean():.0f}"
        axis.plot(range(1, 17), rates, "o-", color=colour, label=told, markersize=4)
    axis.set(xlabel="unit of the code, dearest first", ylabel="rate, nats")
    axis.legend(frameon=False)
    write(figure, "beta-vae-rates")


def infovae() -> None:
    """Codes of digits in a plane, held to the prior each by itself, and all together."""
    data = sim.load_data("digits")
    x, labels = data.validation.batch(torch.arange(len(data.validation)))
    assert labels is not None
    figure, axes = panels(2, 3.6)
    turns = torch.linspace(0, 2 * torch.pi, 100)
    for axis, (name, keywords) in zip(
        axes, (("vae", {}), ("infovae", {"alpha": 0.5})), strict=True
    ):
        torch.manual_seed(0)
        model = sim.build(name, data.spec, {"latent": 2, **keywords})
        model = sim.fit(model, data, "2000steps").eval()
        assert isinstance(model, VAE)
        with torch.no_grad():
            posterior = model.posterior(x)
            codes, terms = posterior.rsample(), model.terms(x)
        axis.scatter(codes[:, 0], codes[:, 1], c=labels, cmap="tab10", s=7)
        for radius in (1, 2):
            axis.plot(radius * turns.cos(), radius * turns.sin(), color="#9aa3ad", linewidth=1)
        axis.set_title(
            f"{name}: rate {terms.kl.mean():.1f}, distortion {terms.distortion.mean():.1f} nats",
            fontsize=10,
        )
        axis.set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), aspect="equal")
    write(figure, "infovae-codes")


def m2() -> None:
    """Digits with 50 labels: the style of one digit in every class, and samples by class."""
    data = sim.load_data("digits", labelled=50)
    torch.manual_seed(0)
    model = sim.build("m2", data.spec)
    model = sim.fit(model, data, "1500steps").eval()
    x, labels = data.validation.batch(torch.arange(8))
    shown = sim.styles(model, x, labels)
    files.save(grids.grid(shown.flatten(0, 1), columns=11, scale=4, gap=2), HERE / "m2-styles.png")
    with torch.no_grad():
        drawn = model.sample(60, torch.arange(60) % 10)  # type: ignore[operator]
    files.save(
        grids.grid(data.spec.to_float(drawn), columns=10, scale=4, gap=2), HERE / "m2-samples.png"
    )


def pca() -> None:
    """The mean digit, moved along each of the first directions."""
    data = sim.load_data("digits")
    model = sim.fit(sim.build("pca", data.spec), data, "5steps").eval()
    assert isinstance(model, PCA)
    with torch.no_grad():
        spread = model.encode(data.train.x[:]).std(0)
        steps = torch.linspace(-2, 2, 9)
        codes = steps[None, :, None] * torch.diag(spread)[:8, None]
        shown = data.spec.to_float(model.decode(codes.flatten(0, 1)))
    files.save(grids.grid(shown, columns=9, scale=4, gap=2), HERE / "pca-directions.png")


def vqvae() -> None:
    """Digits, what comes back of them, and two rows of draws of the prior."""
    data = sim.load_data("digits")
    torch.manual_seed(0)
    model = sim.fit(sim.build("vqvae", data.spec, {"codes": 64}), data, "1200steps").eval()
    assert isinstance(model, sim.Quantised)
    x, _ = data.validation.batch(torch.arange(14))
    with torch.no_grad():
        shown = torch.cat([x, model.decode(model.encode(x)), model.sample(28)])
    picture = grids.grid(data.spec.to_float(shown), columns=14, scale=4, gap=2)
    files.save(picture, HERE / "vqvae-digits.png")


@torch.no_grad()
def wavenet() -> None:
    """From which samples the last one is predicted, and through which features of each layer."""
    length, layers = 22, 4
    spec = sim.DataSpec((length,), levels=16, coding="mu-law", rate=8000)
    torch.manual_seed(0)
    model = WaveNet(spec, channels=8, layers=layers, cycle=layers).double()
    x = torch.randint(16, (1, length))
    changed = x.repeat(length, 1)
    changed[torch.arange(length), torch.arange(length)] = (x[0] + 1) % 16
    before, after = (
        level_logits(model.conditionals(each), each, 16)[:, -1] for each in (x, changed)
    )
    seen = (before != after).any(1)
    figure = Figure((7.2, 2.6), layout="constrained")
    axis = figure.subplots()
    # features of time t were made of the sample before it
    lit = {length - 1}
    for depth in range(layers, 0, -1):
        back = model.stack[depth - 1].dilation
        for t in sorted(lit):
            for place in (t, t - back):
                axis.plot([t, place], [depth + 1, depth], color=BLUE, linewidth=1.2, zorder=1)
        lit = {place for t in lit for place in (t, t - back)}
    for t in lit:
        axis.plot([t, t - 1], [1, 0], color=BLUE, linewidth=1.2, zorder=1)
    if {t - 1 for t in lit} != set(seen.nonzero()[:, 0].tolist()):
        raise RuntimeError("the lines end elsewhere than the samples that are seen: one is wrong")
    for depth in range(layers + 2):
        axis.scatter(range(length), [depth] * length, s=24, color="#d5d9de", zorder=2)
    axis.scatter(seen.nonzero()[:, 0], [0] * int(seen.sum()), s=30, color=BLUE, zorder=3)
    axis.scatter([length - 1], [layers + 1], s=46, color=RED, zorder=3)
    names = ["samples", "input", *(f"dilation {layer.dilation}" for layer in model.stack)]
    axis.set_yticks(range(layers + 2), names, fontsize=9)
    axis.set_xticks([])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    write(figure, "wavenet-reach")
    voice()


def by_person(data: Dataset) -> Dataset:
    """Faces whose people are groups: 28 to learn from, 4 to validate on, 8 that nobody has seen."""
    parts = [data.train, data.validation, data.test]
    x, people = torch.cat([p.x[:] for p in parts]), torch.cat([p.context for p in parts])

    def of(first: int, last: int) -> Observations:
        rows = ((people >= first) & (people < last)).nonzero()[:, 0]
        return Observations(x[rows], groups=people[rows])

    return replace(
        data, spec=replace(data.spec, classes=0), class_names=(), train=of(0, 28),
        validation=of(28, 32), test=of(32, 40),
    )  # fmt: skip


def triplet() -> None:
    """Distances between faces of unseen people, of pixels and of codes, and both curves."""
    data = by_person(sim.load_data("olivetti-faces", side=32))
    torch.manual_seed(0)
    model = sim.fit(sim.build("triplet", data.spec), data, "400steps")
    who = data.test.groups
    assert who is not None
    ways = {
        "pixels": data.spec.to_float(data.test.x[:]).flatten(1),
        "codes": sim.encode(model, data.test.x[:].long()),
    }
    figure, (*left, right) = panels(3)
    for axis, colour, (name, codes) in zip(left, (BLUE, RED), ways.items(), strict=True):
        pairs = Pairs.of(codes, who)
        for kind, label, shade in ((pairs.same, "one", colour), (~pairs.same, "two", "#9aa3ad")):
            gaps = pairs.gaps[kind].numpy()
            axis.hist(gaps, 30, density=True, alpha=0.7, color=shade, label=f"pairs of {label}")
        axis.set_title(f"distances of {name}", fontsize=10)
        axis.set_yticks([])
        axis.legend(frameon=False, fontsize=8)
        rates = pairs.rates()
        right.plot(rates.false, rates.true, color=colour, label=f"{name}: {rates.area:.3f}")
    right.set_title("ROC, and the area below", fontsize=10)
    right.set(xlabel="pairs of two taken for one", ylabel="pairs of one taken for one")
    right.legend(frameon=False, fontsize=8, loc="lower right")
    write(figure, "triplet-distances", 64)


def voice() -> None:
    """Ten digits by two voices, the first draw of each: to be seen, and to be heard."""
    run = zoo.run_of("wavenet-fsdd")
    model, names = run.model(), run.record["data"]["classes"]
    speakers = ("jackson", "nicolas")
    labels = torch.tensor([
        [digit, names["speaker"].index(speaker)] for speaker in speakers for digit in range(10)
    ])  # fmt: skip
    drawn = model.spec.to_float(sim.sample(model, context=labels).x)
    for speaker, own in zip(speakers, drawn.split(10), strict=True):
        sounds = HERE.parent / "sounds"
        sounds.mkdir(exist_ok=True)
        samples, rate = soundfile.read(io.BytesIO(wav(own, 8000)))
        soundfile.write(sounds / f"digits-{speaker}.wav", samples, rate, subtype="PCM_U8")
    write(heard(drawn, 8000, columns=4), "voice-digits", 12)


@cache
@torch.enable_grad()
def diffused(name: str, steps: str = "1000steps") -> Refining:
    """A model of digits that are refined from noise, learnt once for all its pictures."""
    data = sim.load_data("digits")
    torch.manual_seed(0)
    model = sim.fit(sim.build(name, data.spec), data, steps).eval()
    assert isinstance(model, Refining)
    return model


@torch.no_grad()
def ddpm() -> None:
    """Two digits with more and more noise, and what the network expects behind it."""
    data, model = sim.load_data("digits"), diffused("ddpm")
    assert isinstance(model, DDPM)
    x, _ = data.validation.batch(torch.tensor([4, 11]))
    y = model.scaled(x)
    torch.manual_seed(0)
    noise, times = torch.randn_like(y), torch.linspace(0, 1, 9)
    figure = Figure((7.6, 3.7), layout="constrained")
    axes = figure.subplots(4, len(times))
    for column, time in zip(axes.T, times.tolist(), strict=True):
        now = torch.full((2,), time)
        alpha, sigma = (each[0] for each in model.signal(now))
        z = alpha * y + sigma * noise
        expected, _ = model.predict(z, now, model.told(None, z))
        ratio = float(sigma / alpha)
        told = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"
        column[0].set_title(f"t = {1000 * time:.0f}\nσ / α = {told}", fontsize=8)
        for row, shown in enumerate(torch.stack([z, expected], 1).flatten(0, 1)):
            column[row].imshow(shown[0].clamp(-1.5, 1.5), cmap="gray", vmin=-1.5, vmax=1.5)
            column[row].set_xticks([])
            column[row].set_yticks([])
    for row, words in enumerate(("z", "expected", "z", "expected")):
        axes[row, 0].set_ylabel(words, fontsize=9)
    write(figure, "ddpm-chain", 64)
    diffusion_steps()


@torch.no_grad()
def vdm() -> None:
    """Where on the schedule the bits of digits are, and how often each place is learnt from."""
    data, model = sim.load_data("digits"), diffused("vdm")
    assert isinstance(model, VDM)
    x, _ = data.validation.batch(torch.arange(len(data.validation)))
    y, told = model.scaled(x), model.told(None, model.scaled(x))
    low, high = model.ends.tolist()
    times, bits = torch.linspace(0, 1, 60), []
    torch.manual_seed(0)
    for time in times.tolist():
        each = model._diffusion(y, told, torch.full((len(y),), time), torch.randn_like(y))
        bits.append(float(each.mean()) / (high - low) / data.spec.dims / math.log(2))
    figure = Figure((6.4, 3.4), layout="constrained")
    axis = figure.subplots()
    gamma = low + (high - low) * times
    axis.fill_between(gamma, bits, color=BLUE, alpha=0.25, linewidth=0)
    axis.plot(gamma, bits, color=BLUE)
    axis.set(xlim=(low, high), ylim=(0, 1.6 * max(bits)), xlabel="γ = log σ² / α²")
    axis.set_ylabel("bits/dim for each unit of γ", color=BLUE)
    over = axis.twinx()
    chances = model.chances / ((high - low) / len(model.chances))
    edges = torch.linspace(low, high, len(chances) + 1)
    over.stairs(chances, edges, color=RED)
    over.axhline(1 / (high - low), color=RED, linewidth=0.8, linestyle=":")
    over.set_ylim(0, 1.6 * float(chances.max()))
    over.set_ylabel("how often γ is learnt from", color=RED)
    noise = torch.randn_like(y[:1])
    shown = torch.linspace(0.08, 0.92, 7)
    for time in shown.tolist():
        alpha, sigma = model.signal(torch.tensor([time]))
        inset = axis.inset_axes((time - 0.055, 0.7, 0.11, 0.26))
        inset.imshow((alpha * y[4] + sigma * noise[0])[0].clamp(-1.5, 1.5), cmap="gray")
        inset.set_xticks([])
        inset.set_yticks([])
    write(figure, "vdm-bits", 64)


def flow_matching() -> None:
    """Two moons: the paths of samples, where places are carried on the way, and the density."""
    data = sim.load_data("moons")
    torch.manual_seed(0)
    model = sim.fit(sim.build("flow-matching", data.spec), data, "2000steps").eval()
    assert isinstance(model, FlowMatching)
    seen = Paths(model, data, seed=(1,))
    half, late = (seen.travelled(model, 11)[place] for place in (5, 8))
    plane = Plane(seen.plane.low, seen.plane.high, 100)
    density = plane.grid(log_density(model, data, plane.points))
    panels = [
        replace(seen.whole(model), title="paths, from noise to data"),
        *(replace(panel, title=f"carried, time {time:.1f}") for time, panel in (half, late)),
        planes.Panel("density, log scale", plane.extent, log_density=density),
    ]
    write(planes.planes(panels, size=2.3), "flow-matching-paths", 96)


@torch.no_grad()
def d3pm() -> None:
    """Digits whose values are shown one after another: after none, 8 … 64 of them."""
    data, model = sim.load_data("digits"), diffused("d3pm")
    assert isinstance(model, D3PM)
    torch.manual_seed(3)
    hidden = torch.full((6, *data.spec.event_shape), -1)
    none = torch.zeros_like(hidden, dtype=torch.bool)
    steps = [x.clone() for x in model._shown(hidden, none, None, 64, 1.0)]
    x = torch.stack(steps[::8], 1).flatten(0, 1)
    blank = torch.tensor(style.HIDDEN)[:, None, None]
    shown = torch.where(x < 0, blank, data.spec.to_float(x.clamp_min(0)))
    files.save(grids.grid(shown, columns=9, scale=5, gap=3), HERE / "d3pm-shown.png")


@torch.no_grad()
def diffusion_steps() -> None:
    """The distance of samples from validation digits by calls of the network, of four models."""
    data = sim.load_data("digits")
    features = RandomConvolutions(1, 2, seed=5)

    def told(x: Tensor) -> tuple[Tensor, Tensor]:
        return gaussian(features(data.spec.to_float(x)).double())

    held = told(data.validation.x[:])
    figure, (axis,) = panels(1, 4.2)
    counts = [1, 2, 4, 8, 16, 32, 64]
    colours = {"ddpm": BLUE, "vdm": GREEN, "flow-matching": RED, "d3pm": "#cc79a7"}
    for name, colour in colours.items():
        model, found = diffused(name), []
        for steps in counts:
            torch.manual_seed(0)
            found.append(frechet(*told(model.sample(500, steps=steps)), *held))
        axis.plot(counts, found, "o-", color=colour, label=name, markersize=4)
    floor = frechet(*told(data.train.x[:500]), *held)
    axis.axhline(floor, color="black", linewidth=0.8, linestyle=":", label="training digits")
    axis.set(xscale="log", yscale="log", xlabel="calls of the network")
    axis.set_ylabel("Fréchet distance, random features")
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.minorticks_off()
    axis.legend(frameon=False)
    write(figure, "diffusion-steps", 64)


FIGURES: dict[str, Callable[[], None]] = {
    "gmm": gmm, "mfa": mfa, "bernoulli-mixture": bernoulli_mixture, "kde": kde, "vae": vae,
    "iwae": iwae, "pixelcnn": pixelcnn, "gan": gan, "nice": nice, "spline-flow": spline_flow,
    "maf": maf, "iaf": iaf, "realnvp": realnvp, "glow": glow, "sequential-vae": sequential_vae,
    "beta-vae": beta_vae, "infovae": infovae, "pca": pca, "pixelvae": pixelvae, "m2": m2,
    "vqvae": vqvae, "hvae": hvae, "dcgan": dcgan, "lsgan": lsgan, "wgan-gp": wgan_gp,
    "sngan": sngan, "r3gan": r3gan, "wavenet": wavenet, "triplet": triplet, "ddpm": ddpm,
    "vdm": vdm, "flow-matching": flow_matching, "d3pm": d3pm,
}  # fmt: skip


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for name in sys.argv[1:] or FIGURES:
        FIGURES[name]()
