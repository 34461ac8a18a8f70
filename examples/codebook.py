"""A codebook: a digit becomes a grid of entries (vqvae), and a prior draws such grids.

python examples/codebook.py --budget 60s --out codebook.png
"""

import argparse

import torch

import simulacra as sim
from simulacra.drawing import files, grids

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--budget", default="60s", help="90s, 2000steps, 10epochs or 2Mobs")
parser.add_argument("--out", default="codebook.png", help="the picture to write")
arguments = parser.parse_args()

# %% Data
# Handwritten digits of 8×8 pixels and 17 levels, which come with scikit-learn.
data = sim.load_data("digits")

# %% Model
# 4×4 places, in each of which one of 64 entries stands; and a prior over such grids.
torch.manual_seed(0)
model = sim.build("vqvae", data.spec, {"codes": 64})

# %% Train
# First encoder, decoder and entries; then the prior, to which the indices of entries are data.
model = sim.fit(model, data, arguments.budget)
# What it takes to write down a digit's code, and then the digit: no likelihood.
found = sim.codebook_terms(model, data.test)
print(f"rate {found.rate.nats:.1f} + distortion {found.distortion.nats:.1f} nats")
print(f"{found.used} of {found.entries} entries used, perplexity {found.perplexity:.1f}")

# %% Look
# Two rows of digits, the same as they come back, and two rows of samples.
x, _ = data.test.batch(torch.arange(20))
model = model.cpu()  # where the digits are: it may have learnt on a GPU
with torch.no_grad():
    again = model.decode(model.encode(x))
    drawn = model.sample(20)
shown = data.spec.to_float(torch.cat([x, again, drawn]))
files.save(grids.grid(shown, columns=10, scale=6, gap=3), arguments.out)
