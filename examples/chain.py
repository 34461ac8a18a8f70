"""A chain of decoders: each gives the digit anew, from the one before and a part of the code.

python examples/chain.py --budget 60s --out chain.png
"""

import argparse

import torch

import simulacra as sim
from simulacra.drawing import files, grids

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--budget", default="60s", help="90s, 2000steps, 10epochs or 2Mobs")
parser.add_argument("--out", default="chain.png", help="the picture to write")
arguments = parser.parse_args()

# %% Data
# Handwritten digits of 8×8 pixels and 17 levels, which come with scikit-learn.
data = sim.load_data("digits")

# %% Model
# x¹ → … → x^T: step t is the decoder of a VAE that is also told the means of the step before, so
# its part of the code need not tell again what is there already.
torch.manual_seed(0)
model = sim.build("sequential-vae", data.spec, {"steps": 3, "hidden": (128, 64)})

# %% Train
# Every step is trained to give the digit itself; the loss is the sum of the steps' bounds.
model = sim.fit(model, data, arguments.budget)
score = sim.likelihood(model, data.test, draws=64).marginal
codes = sim.bound_terms(model, data.test)
print(f"{score.relation} {score.bits_per_dim:.3f} bits/dim with {score.draws} draws")
print(f"{codes.rate.nats:.2f} nats of codes, {codes.active} of {len(codes.units)} units active")

# %% Look
# Ten draws, each in a column: its first step above, its last below.
with torch.no_grad():
    steps = torch.stack([data.spec.to_float(x).cpu() for x in model.sample_steps(10)])
files.save(grids.grid(steps.flatten(0, 1), columns=10, scale=6, gap=3), arguments.out)
print(f"each column a draw, each row a step of the chain: {arguments.out}")
