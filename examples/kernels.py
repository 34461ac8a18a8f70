"""Kernels: every training digit is the middle of a bump (kde, bandwidths by leaving one out).

python examples/kernels.py --budget 30s --out kernels.png
"""

import argparse

import torch

import simulacra as sim
from simulacra.drawing import files, grids
from simulacra.tasks.complete import mask

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--budget", default="30s", help="at most: it ends when it has converged")
parser.add_argument("--out", default="kernels.png", help="the picture to write")
arguments = parser.parse_args()

# %% Data
# 1,797 handwritten digits of 8×8 pixels come with scikit-learn; a pixel has one of 17 levels.
data = sim.load_data("digits")

# %% Model
# p(x) = 1/N Σ_n Π_i K(x_i | c_ni): a training digit is picked, then every pixel is drawn near its
# own. How near is all that there is to learn.
model = sim.build("kde", data.spec)

# %% Train
# Bandwidths at which every digit is best explained by all others.
model = sim.fit(model, data, budget=arguments.budget)
score = sim.likelihood(model, data.test).marginal
print(f"{score.relation} {score.bits_per_dim:.3f} ± {score.bits_standard_error:.3f} bits/dim")

# %% Look
# One row each of: draws from kernels a tenth as wide, which are copies of training digits; draws
# from the kernels of the same; validation digits whose lower half was hidden and drawn again; the
# same in truth.
truth, _ = data.validation.batch(torch.arange(8))
drawn = []
for factor in (0.1, 1.0):
    model.bandwidths.mul_(factor)
    drawn.append(sim.sample(model, 8).x)
    model.bandwidths.div_(factor)
completed = sim.complete(model, truth, mask(data.spec.event_shape, "bottom"))[:, 0]
rows = [data.spec.to_float(each) for each in (*drawn, completed, truth)]
files.save(grids.grid(torch.cat(rows), columns=8, scale=6, gap=3), arguments.out)
print(f"rows: copies, draws, completions, truth: {arguments.out}")
