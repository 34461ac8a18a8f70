"""Factors: twenty digits, each of which may be bent in a few directions, explain all (mfa).

python examples/factors.py --budget 60s --out factors.png
"""

import argparse

import torch

import simulacra as sim
from simulacra.drawing import files, grids
from simulacra.tasks.complete import mask

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--budget", default="60s", help="of sweeps and of gradient steps together")
parser.add_argument("--out", default="factors.png", help="the picture to write")
arguments = parser.parse_args()

# %% Data
# 1,797 handwritten digits of 8×8 pixels come with scikit-learn. A pixel has one of 17 levels.
data = sim.load_data("digits")

# %% Model
# A component is picked, then sixteen numbers that move its mean along its directions, then every
# pixel gets noise of its own. What falls into the bin of a level is that level.
torch.manual_seed(0)
model = sim.build("mfa", data.spec)

# %% Train
# Sweeps of expectation and maximisation first, then gradient steps on the probability of levels.
options = sim.Options(**type(model).preset)
model = sim.fit(model, data, budget=arguments.budget, options=options)
score = sim.likelihood(model, data.test).marginal
print(f"{score.relation} {score.bits_per_dim:.3f} ± {score.bits_standard_error:.3f} bits/dim")

# %% Look
# Two rows of samples; validation digits whose lower half was hidden and drawn again; the truth.
samples = sim.sample(model, 24).x
truth, _ = data.validation.batch(torch.arange(12))
completed = sim.complete(model, truth, mask(data.spec.event_shape, "bottom"))[:, 0]
rows = data.spec.to_float(torch.cat([samples, completed, truth]))
files.save(grids.grid(rows, columns=12, scale=6, gap=3), arguments.out)
print(f"rows: samples (two), completions, truth: {arguments.out}")
