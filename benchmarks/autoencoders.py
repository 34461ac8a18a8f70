"""`python -m benchmarks.autoencoders PICTURE`: what autoencoders are made of.

`holes`: what lies between codes of an autoencoder, beside a `vae`'s. `filters`: what first layers
answer to, before a training and after. `sparse`: how active each unit is. `blur`: what comes back
by levels and by random features, and samples of both. Each draws one picture into docs/figures and
prints its figures.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

import simulacra as sim
from simulacra.data.dataset import Dataset
from simulacra.judging.figures.appearance import appearance
from simulacra.models.latent.autoencoder import Autoencoder
from simulacra.models.latent.sparse_autoencoder import SparseAutoencoder
from simulacra.models.latent.vae import VAE
from simulacra.tasks.expected import mean_of

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
BLUE, RED = "#0072b2", "#d55e00"


def some(train: int, **form: Any) -> Dataset:  # noqa: ANN401 (options of reading)
    """MNIST with so many training pictures, and 200 to validate on."""
    data = sim.load_data("mnist", **form)
    return replace(
        data, train=data.train.take(torch.arange(train)),
        validation=data.validation.take(torch.arange(200)),
    )  # fmt: skip


def trained(name: str, data: Dataset, steps: int, **keywords: Any) -> Any:  # noqa: ANN401
    """A model of seed 0 after so many steps, on the CPU."""
    torch.manual_seed(0)
    model = sim.build(name, data.spec, keywords)
    usual = sim.Options(**{"batch": 32, "lr": 2e-3, **model.preset, "device": "cpu"})
    return sim.fit(model, data, f"{steps}steps", usual)


def write(figure: Figure, path: Path) -> None:
    """The figure as a small PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    # without the transparency that matplotlib writes, which nothing here uses
    Image.open(buffer).convert("RGB").save(path, optimize=True)


def tiled(pictures: Tensor, columns: int, *, around: float = 1.0) -> Tensor:
    """Pictures `(N, H, W)` side by side, a pixel apart, as one."""
    padded = torch.nn.functional.pad(pictures, (1, 1, 1, 1), value=around)
    rows = padded.unflatten(0, (-1, columns))
    return rows.permute(0, 2, 1, 3).flatten(0, 1).flatten(1)


def show(axis: Axes, picture: Tensor, title: str, colours: str = "gray", limit: float = 1) -> None:
    """A picture without its axes."""
    least = 0.0 if colours == "gray" else -limit
    axis.imshow(picture.numpy(), cmap=colours, vmin=least, vmax=limit, interpolation="nearest")
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()


# ---- holes --------------------------------------------------------------------------------------


@torch.no_grad()
def holes(path: Path, steps: int = 1000, side: int = 45) -> None:
    """Planes of codes, each place as dark as what it decodes to is unlike any real digit."""
    data = sim.load_data("digits")
    with torch.enable_grad():
        plain = trained("autoencoder", data, steps, latent=2, hidden=(64, 32))
        regular = trained("vae", data, steps, latent=2, hidden=(64, 32))
    x, labels = data.validation.batch(torch.arange(len(data.validation)))
    assert labels is not None
    real = data.train.x[:].flatten(1) / 16
    pairs = torch.randint(len(x), (600, 2), generator=torch.Generator().manual_seed(0))
    pairs = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]]
    figure = Figure((8.4, 6.6), layout="constrained")
    axes = figure.subplots(2, 2, height_ratios=(2, 1))
    for column, model in enumerate((plain, regular)):
        codes, name = model.encode(x), ("autoencoder", "vae")[column]
        low, high = codes.amin(0), codes.amax(0)
        low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
        across, up = (torch.linspace(float(low[i]), float(high[i]), side) for i in (0, 1))
        grid = torch.stack(torch.meshgrid(across, up, indexing="xy"), -1).flatten(0, 1)
        unlike = _unlike(_means(model, grid), real).view(side, side)
        between = (codes[pairs[:, 0]] + codes[pairs[:, 1]]) / 2
        ends, middles = (_unlike(_means(model, z), real).mean() for z in (codes, between))
        print(f"{name}: distance to the nearest real digit: at codes {float(ends):.3f}, halfway "
              f"between those of two classes {float(middles):.3f}, which is "
              f"{float(middles / ends):.2f} of it; in the whole rectangle "
              f"{float(unlike.mean()):.3f}")  # fmt: skip
        axis = axes[0, column]
        drawn = axis.imshow(
            unlike.numpy(), cmap="Greys", origin="lower", aspect="auto", vmin=0.8, vmax=2.4,
            extent=[float(across[0]), float(across[-1]), float(up[0]), float(up[-1])],
        )  # fmt: skip
        axis.scatter(*codes.T.numpy(), c=labels.numpy(), cmap="tab10", s=7)
        axis.set_title(f"{name}: codes of digits, and how unlike real ones\n"
                       "what lies between them is (darker)", fontsize=9)  # fmt: skip
        strips = []
        for (first, last), colour in zip(pairs[:4], (RED, BLUE, "black", "#009e73"), strict=True):
            ways = torch.lerp(codes[first], codes[last], torch.linspace(0, 1, 9)[:, None])
            axis.plot(*ways.T.numpy(), color=colour, linewidth=1.6)
            strips.append(_means(model, ways))
        show(axes[1, column], tiled(torch.cat(strips), 9), "along the red, blue, black and green "
             "line")  # fmt: skip
    figure.colorbar(drawn, ax=axes[0, 1], label="distance to the nearest real digit")
    write(figure, path)


def _means(model: Autoencoder | VAE, z: Tensor) -> Tensor:
    """What codes decode to without noise, `(N, 8, 8)` from 0 to 1."""
    if isinstance(model, VAE):
        return mean_of(model.likelihood(z))[:, 0] / 16
    return ((model.decoded(z)[:, 0, ..., 0] + 1) / 2).clamp(0, 1)


def _unlike(pictures: Tensor, real: Tensor) -> Tensor:
    """Distance to the nearest real one, `(N,)`."""
    return torch.cdist(pictures.flatten(1), real).amin(1)


# ---- filters ------------------------------------------------------------------------------------


@torch.no_grad()
def filters(path: Path, train: int = 4000, steps: tuple[int, int] = (600, 20)) -> None:
    """Weights of first layers as pictures: dense ones, and convolutions in a field as large."""
    data, shown = some(train), 24

    def dense(model: Any) -> Tensor:  # noqa: ANN401 (a network)
        weight: Tensor = model.encoding.layers[0].weight
        return weight.view(-1, 28, 28)

    def convolved(model: Any) -> Tensor:  # noqa: ANN401
        # the first two convolutions have nothing but a rectifier between them: 3×3 pixels together
        first, second = [each.weight for each in model.encoding.body if hasattr(each, "weight")][:2]
        padded = torch.nn.functional.pad(second[:shown], (1, 1, 1, 1))
        kernels = torch.nn.functional.conv2d(padded, first.flip(2, 3))
        field = torch.zeros(len(kernels), 28, 28)
        field[:, 12:15, 12:15] = kernels[:, 0]
        return field

    told: tuple[tuple[str, Callable[[Any], Tensor], int, dict[str, Any]], ...] = (
        ("dense", dense, steps[0], {"encoder": "mlp", "hidden": (128,)}),
        ("convolution", convolved, steps[1], {"encoder": "conv", "channels": shown}),
    )  # fmt: skip
    figure = Figure((8.4, 4.6), layout="constrained")
    axes = figure.subplots(2, 2)
    for row, (kind, of, count, keywords) in enumerate(told):
        torch.manual_seed(0)
        before = of(sim.build("autoencoder", data.spec, keywords))
        with torch.enable_grad():
            after = of(trained("autoencoder", data, count, **keywords))
        # of dense units many are silent from the start, and stay what they were
        most = (after - before).square().sum((1, 2)).topk(shown).indices
        for column, (when, weights) in enumerate((("before", before), ("after", after))):
            local = _locality(weights[most])
            print(f"{kind}, {when} {count} steps: {local:.2f} of the energy of the {shown} filters "
                  "that moved most within windows of 9x9")  # fmt: skip
            each = weights[most] / weights[most].abs().amax((1, 2), keepdim=True)
            show(axes[row, column], tiled(each, 8, around=torch.nan), f"{kind}, {when} {count} "
                 f"steps: {local:.0%} within 9×9", "RdBu_r")  # fmt: skip
    write(figure, path)


def _locality(weights: Tensor) -> float:
    """Mean share of a filter's energy that its best window of 9×9 pixels holds."""
    energy = weights.square()[:, None]
    inside = torch.nn.functional.avg_pool2d(energy, 9, 1).amax((1, 2, 3)) * 81
    return float((inside / energy.sum((1, 2, 3))).mean())


# ---- sparse -------------------------------------------------------------------------------------


@torch.no_grad()
def sparse(path: Path, steps: int = 1000) -> None:
    """How active each unit is in the mean of training digits, by penalty."""
    data = sim.load_data("digits")
    figure = Figure((8.4, 2.8), layout="constrained")
    told: tuple[tuple[str, dict[str, Any]], ...] = (
        ("kl, ρ = 0.05", {}), ("l1", {"penalty": "l1", "weight": 0.3}), ("none", {"weight": 0.0}),
    )  # fmt: skip
    for axis, (name, keywords) in zip(figure.subplots(1, 3), told, strict=True):
        with torch.enable_grad():
            model = trained("sparse-autoencoder", data, steps, **keywords)
        assert isinstance(model, SparseAutoencoder)
        codes = model.encode(data.train.x[:])
        active, x = codes.mean(0), data.validation.x[:]
        error = (model.decode(model.encode(x)) - x.long()).float() / 8
        near = float(((active - model.target).abs() < 0.1 * model.target).float().mean())
        square = float(error.square().flatten(1).sum(1).mean())
        print(f"{name}: mean activation {float(active.mean()):.4f}, {near:.1%} of units within a "
              f"tenth of 0.05; squared error {square:.2f}")  # fmt: skip
        axis.hist(active.numpy(), bins=40, color=BLUE)
        if not keywords:
            axis.axvspan(0.045, 0.055, color=RED, alpha=0.25)
            axis.set_xlim(0, 0.1)
        axis.set_title(f"{name}: {float(active.mean()):.3f} in the mean", fontsize=10)
        axis.set_xlabel("mean activation of a unit", fontsize=9)
        axis.set_yticks([])
    write(figure, path)


# ---- blur ---------------------------------------------------------------------------------------


@torch.no_grad()
def blur(path: Path, train: int = 2000, steps: int = 600) -> None:
    """Reconstructions and samples by what had to come back, and how much detail they have."""
    data = some(train, side=14)
    x = data.validation.x[:]
    figure = Figure((8.4, 4.4), layout="constrained")
    axes = figure.subplots(2, 2)
    for row, what in enumerate(("levels", "features")):
        with torch.enable_grad():
            model = trained(
                "autoencoder", data, steps, encoder="mlp", hidden=(128,), reconstruction=what,
                density={"name": "gmm", "keywords": {"components": 20}},
            )  # fmt: skip
        assert isinstance(model, Autoencoder)
        assert isinstance(model, sim.Sampling)
        again = model.decode(model.encode(x))
        torch.manual_seed(1)
        drawn = model.sample(200)
        error = ((again - x.long()).float() / 127.5).square().flatten(1).sum(1).mean()
        sharp = [appearance(data.spec, x, each)["sharpness"].value for each in (again, drawn)]
        print(f"{what}: squared error {float(error):.1f}, energy of detail beside real ones: "
              f"reconstructions {sharp[0]:.2f}, samples {sharp[1]:.2f}")  # fmt: skip
        pairs = torch.stack([x[:16].long(), again[:16]], 1).unflatten(0, (2, 8))
        pairs = pairs.transpose(1, 2).flatten(0, 2)[:, 0]
        show(axes[row, 0], tiled(pairs / 255, 8), f"{what}: real, reconstructed; detail "
             f"{sharp[0]:.2f}")  # fmt: skip
        show(axes[row, 1], tiled(drawn[:32, 0] / 255, 8), f"{what}: samples; detail "
             f"{sharp[1]:.2f}")  # fmt: skip
    write(figure, path)


PICTURES: dict[str, Callable[[Path], None]] = {
    "holes": holes, "filters": filters, "sparse": sparse, "blur": blur,
}  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", choices=PICTURES)
    chosen = parser.parse_args().picture
    torch.set_num_threads(1)
    file = "sparse-autoencoder-units" if chosen == "sparse" else f"autoencoder-{chosen}"
    PICTURES[chosen](FIGURES / f"{file}.png")
