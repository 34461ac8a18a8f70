"""Diffusion: noise refined into digits of a class, and noise and holes taken from others (ddpm).

python examples/diffusion.py --budget 60s --out diffusion.png
"""

import argparse

import torch

import simulacra as sim
from simulacra.drawing import files, grids
from simulacra.tasks.complete import mask

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--model", default="ddpm", help="or vdm, flow-matching, d3pm")
parser.add_argument("--budget", default="60s", help="90s, 2000steps, 10epochs or 2Mobs")
parser.add_argument("--out", default="diffusion.png", help="the picture to write")
arguments = parser.parse_args()

# %% Data
# Handwritten digits of 8×8 pixels and 17 levels, which come with scikit-learn, and their classes.
data = sim.load_data("digits")

# %% Model
# z_t = α_t x + σ_t ε: an observation with so much noise at each time t. A network is told z_t, t
# and the class, and says how much of it is x and how much ε.
torch.manual_seed(0)
model = sim.build(arguments.model, data.spec, {"context": "label", "sampling_steps": 20})

# %% Train
# The squared error of what it says is no likelihood. The bound on log p(x | y) has terms of its
# own, one for each time; a draw looks at one of them, here one for each digit.
model = sim.fit(model, data, arguments.budget)
score = sim.likelihood(model, data.test).given_label
print(f"log p(x | y): {score.relation} {score.bits_per_dim:.3f} bits/dim")

# %% Look
# Rows 1, 2: each class, in 20 calls of the network. Rows 3, 4: the same noise, where the class
# weighs three times: clearer, and less varied.
model = model.cpu()  # where the digits are: it may have learnt on a GPU
labels = torch.arange(20) % 10
rows = []
for guidance in (1.0, 3.0):
    torch.manual_seed(1)
    rows.append(model.sample(20, labels, guidance=guidance))
# Row 5: validation digits. Row 6: their lower halves drawn anew.
truth, told = data.validation.batch(torch.arange(10))
hidden = sim.complete(model, truth, mask(data.spec.event_shape, "bottom"), context=told)
rows += [truth, hidden[:, 0]]
# Rows 7, 8: with normal noise of four levels, and what is then expected.
if isinstance(model, sim.Denoising):
    noisy = truth + 4 * torch.randn(truth.shape)
    rows += [noisy.round().clamp(0, 16).long(), model.denoise(noisy, 4.0, told)]
shown = data.spec.to_float(torch.cat(rows))
files.save(grids.grid(shown, columns=10, scale=6, gap=3), arguments.out)
