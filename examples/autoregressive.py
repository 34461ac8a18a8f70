"""Autoregressive: each pixel is predicted from those before it (pixelcnn, or another one).

python examples/autoregressive.py --budget 60s --out autoregressive.png
"""

import argparse

import torch

import simulacra as sim
from simulacra.drawing import files, grids
from simulacra.tasks.complete import mask, strips

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--budget", default="60s", help="90s, 2000steps, 10epochs or 2Mobs")
parser.add_argument("--model", default="pixelcnn", help="or gated-pixelcnn, row-lstm, made …")
parser.add_argument("--out", default="autoregressive.png", help="the picture to write")
arguments = parser.parse_args()

# %% Data
# Handwritten digits of 8×8 pixels and 17 levels, which come with scikit-learn.
data = sim.load_data("digits")

# %% Model
# p(x) = Π_i p(x_i | x_1 … x_{i−1}), pixel by pixel from the top left. One pass of the network gives
# all factors at once, and no factor sees its own pixel or a later one. Nothing is approximated: the
# likelihood is exact.
torch.manual_seed(0)
model = sim.build(arguments.model, data.spec)

# %% Train
# The loss is the negative log-likelihood itself. Small batches: many steps learn more in the time.
model = sim.fit(model, data, arguments.budget, sim.Options(batch=16))
score = sim.likelihood(model, data.test).marginal
print(f"{score.relation} {score.bits_per_dim:.3f} ± {score.bits_standard_error:.3f} bits/dim")

# %% Look
# The lower half of validation digits is hidden and drawn again, four times. All that is seen comes
# before all that is hidden, so these are draws from the model's own conditional distribution.
truth, _ = data.validation.batch(torch.arange(8))
observed = mask(data.spec.event_shape, "bottom")
drawn = sim.complete(model, truth, observed, times=4)
completions = data.spec.to_float(drawn.flatten(0, 1)).unflatten(0, (8, 4))
rows = strips(data.spec.to_float(truth), observed, completions)
files.save(grids.grid(rows, columns=6, scale=6, gap=3), arguments.out)
print(f"rows: given, four completions, truth: {arguments.out}")
