"""Latent variables: a digit is decoded from a few numbers (vae), so one can walk between digits.

python examples/latent.py --budget 40s --out latent.png
"""

import argparse

import torch

import simulacra as sim
from simulacra.drawing import files, grids
from simulacra.tasks.expected import expected
from simulacra.tasks.interpolate import between

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--budget", default="40s", help="90s, 2000steps, 10epochs or 2Mobs")
models = ("vae", "iwae", "beta-vae", "infovae", "pixelvae")
parser.add_argument("--model", default="vae", choices=models)
parser.add_argument("--out", default="latent.png", help="the picture to write")
arguments = parser.parse_args()

# %% Data
# Handwritten digits of 8×8 pixels and 17 levels, which come with scikit-learn.
data = sim.load_data("digits")

# %% Model
# p(x) = ∫ p(z) p(x | z) dz. The decoder gives each pixel a distribution over its 17 levels, so that
# this is a probability of the digit itself. No one can do the integral; an encoder q(z | x) gives a
# lower bound of its logarithm.
torch.manual_seed(0)
model = sim.build(arguments.model, data.spec)

# %% Train
# The loss is the negative bound: reconstruction plus the divergence of the code from its prior; of
# iwae, the tighter bound of several codes.
model = sim.fit(model, data, arguments.budget)
# Many codes drawn for each digit tighten the bound; their number belongs to the figure.
score = sim.likelihood(model, data.test, draws=64).marginal
print(f"{score.relation} {score.bits_per_dim:.3f} bits/dim with {score.draws} draws")

# %% Look
# Each row goes from one validation digit's code to another's. The frames are the decoder's mean
# level, not draws: a draw picks each pixel on its own and looks grainy. Of pixelvae, whose pixels
# hear one another, they are draws.
first, second = (data.validation.batch(torch.arange(start, start + 6))[0] for start in (0, 6))
model = model.cpu()  # where the digits are: it may have learnt on a GPU
with torch.no_grad():
    codes = between(model.encode(first), model.encode(second), steps=8)
frames = expected(model, codes.flatten(0, 1)).unflatten(0, (6, 8))
ends = [data.spec.to_float(x)[:, None] for x in (first, second)]
rows = torch.cat([ends[0], frames, ends[1]], 1).flatten(0, 1)
files.save(grids.grid(rows.clamp(0, 1), columns=10, scale=6, gap=3), arguments.out)
print(f"rows: a digit, the way between their codes, another digit: {arguments.out}")
