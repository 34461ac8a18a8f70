"""`python -m benchmarks.assembled`: a density on a line, assembled from Gaussians.

Left from twelve of a mixture, right from infinitely many, those of all codes of a `vae`; the same
observations, the same axes. Draws docs/figures/mixtures-assembled.png.
"""

from __future__ import annotations

import io
from pathlib import Path

import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

import simulacra as sim
from simulacra.models.latent.vae import VAE
from simulacra.models.mixture.gmm import GMM

FIGURES = Path(__file__).parents[1] / "docs" / "figures"


def draw(path: Path, steps: tuple[int, int] = (400, 3000)) -> None:
    """Fit both for so many steps, and draw them side by side."""
    data = sim.load_data("sawtooth")
    assert data.density is not None
    torch.manual_seed(0)
    few = sim.build("gmm", data.spec, {"components": 12, "prior": 0.1})
    few = sim.fit(few, data, f"{steps[0]}steps", sim.Options(lr=2e-3, batch=1024))
    torch.manual_seed(0)
    # of one number: see mixtures.md for what more do here
    many = sim.build("vae", data.spec, {"latent": 1})
    many = sim.fit(many, data, f"{steps[1]}steps", sim.Options(lr=2e-3, batch=128))
    assert isinstance(few, GMM)
    assert isinstance(many, VAE)
    line = torch.linspace(-0.7, 4.7, 541)
    truth = data.density.log_prob(line[:, None]).exp()
    with torch.no_grad():
        joint = few.mixing(None, line[:, None]) + few.log_likelihoods(line[:, None])
        codes = many.prior(4000)
        drawn = many.likelihood(codes).base_dist
        at = ((line - many.shift) / many.scale)[:, None]
        # the sum over 4,000 codes; 40 of them are shown, each with a fortieth of the whole
        each = drawn.expand((len(line), *codes.shape)).log_prob(at[:, None])[..., 0]
        each = each.exp() / many.scale
    figure = Figure((9.6, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    told = (
        (left, joint.exp(), joint.exp().sum(1), "gmm: 12 Gaussians, each with its weight"),
        (right, each[:, :40] / 40, each.mean(1), "vae: a Gaussian for every code, 40 shown"),
    )
    for axis, parts, whole, title in told:
        middles = line[parts.argmax(0)]
        for part, middle in zip(parts.T, middles, strict=True):
            colour = colormaps["viridis"](0.05 + 0.85 * float(middle) / 4)
            axis.plot(line.numpy(), part.numpy(), color=colour, linewidth=0.9)
        axis.plot(line.numpy(), whole.numpy(), color="black", linewidth=2.2, label="their sum")
        axis.plot(line.numpy(), truth.numpy(), color="#d55e00", linewidth=1.2, linestyle="--",
                  label="the truth")  # fmt: skip
        axis.set_title(title, fontsize=10)
        axis.set_ylim(0, None)
        axis.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=9, loc="upper left")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    picture = Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    draw(FIGURES / "mixtures-assembled.png")
