"""Flow: an invertible map between digits and independent noise (nice).

python examples/flow.py --budget 60s --out flow.png
"""

import argparse

import torch

import simulacra as sim
from simulacra.drawing import files, grids

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--model", default="nice", help="or maf, iaf, spline-flow …")
parser.add_argument("--budget", default="60s", help="90s, 2000steps, 10epochs or 2Mobs")
parser.add_argument("--out", default="flow.png", help="the picture to write")
arguments = parser.parse_args()

# %% Data
# Handwritten digits of 8×8 pixels and 17 levels, which come with scikit-learn.
data = sim.load_data("digits")

# %% Model
# log p(y) = log p(z) + log |det ∂z/∂y| with z = f(y). Of nice each coupling adds to one half of the
# values a function of the other half, so f is inverted exactly and only a last scaling changes
# volume; others have other maps.
torch.manual_seed(0)
model = sim.build(arguments.model, data.spec)

# %% Train
# A density lives on real numbers, digits on levels: y = x + u with u uniform in [0, 1). The mean
# log-density of y is a lower bound of log P(x), which more draws of u tighten.
model = sim.fit(model, data, arguments.budget, sim.Options(**model.preset))
score = sim.likelihood(model, data.test, draws=64).marginal
print(f"{score.relation} {score.bits_per_dim:.3f} bits/dim with {score.draws} draws")

# %% Look
# Row 1: validation digits. Row 2: their codes, squeezed into grey by the logistic function; were
# the map perfect, these would be noise. Row 3: the codes decoded, which gives the digits back.
# Rows 4, 5: fresh noise decoded.
truth, _ = data.validation.batch(torch.arange(10))
model = model.cpu()  # where the digits are: it may have learnt on a GPU
with torch.no_grad():
    codes = model.encode(truth)
    again = model.decode(codes)
print(f"{int((again != truth).sum())} of {truth.numel()} pixels differ after there and back")
pictures = [truth, again, sim.sample(model, 20).x]
real, back, drawn = (data.spec.to_float(x) for x in pictures)
rows = torch.cat([real, codes.sigmoid(), back, drawn])
files.save(grids.grid(rows, columns=10, scale=6, gap=3), arguments.out)
print(f"rows: digits, codes, decoded again, samples (2): {arguments.out}")
