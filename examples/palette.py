"""Colours of a palette: the same drawings regressed as numbers, and as one colour of eight.

python examples/palette.py --budget 30s --out palette.png
"""

import argparse
import math
import tempfile

import numpy as np
import torch

import simulacra as sim
from simulacra.drawing import files, grids
from simulacra.tasks.complete import mask

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--budget", default="30s", help="for each: 90s, 2000steps, 10epochs or 2Mobs")
parser.add_argument("--out", default="palette.png", help="the picture to write")
arguments = parser.parse_args()

# %% Data
# Lollipops of 12×12 pixels: paper, ink, and six colours, of which one or two make the sweet.
torch.manual_seed(0)
colours = torch.tensor([
    [255, 255, 255], [40, 40, 48], [220, 50, 47], [38, 110, 220], [60, 170, 60], [245, 195, 40],
    [150, 70, 190], [90, 200, 215],
])  # fmt: skip
n, rows, columns = 2000, torch.arange(12).view(1, 12, 1), torch.arange(12).view(1, 1, 12)
x, y, size = (torch.randint(low, high, (n, 1, 1)) for low, high in ((4, 8), (4, 6), (2, 5)))
first, second = torch.randint(2, 8, (2, n, 1, 1))
far = ((columns - x) ** 2 + (rows - y) ** 2).sqrt()
stick = (columns == x) & (rows > y)
sweet = torch.where(far < size - 1.3, second, first)
drawings = colours[torch.where(far < size, sweet, torch.where(stick, 1, 0))].permute(0, 3, 1, 2)
with tempfile.TemporaryDirectory() as folder:
    np.save(f"{folder}/drawings.npy", drawings.numpy().astype(np.uint8))
    rgb = sim.load_data(f"{folder}/drawings.npy")
    palette = sim.load_data(f"{folder}/drawings.npy", colour="palette")

# %% Model
# The same network twice: one number regressed for red, green and blue each, and 1 of 8 colours.
torch.manual_seed(0)
small = {"channels": 24, "layers": 3}
regressed = sim.build("pixelcnn", rgb.spec, {**small, "output": "gaussian"})
chosen = sim.build("pixelcnn", palette.spec, small)

# %% Train
regressed = sim.fit(regressed, rgb, arguments.budget).cpu()
chosen = sim.fit(chosen, palette, arguments.budget).cpu()
for name, model, data in (("regressed", regressed, rgb), ("palette", chosen, palette)):
    score = sim.likelihood(model, data.test).marginal
    # every colour is in the palette, so both are likelihoods of the same drawings
    print(f"{name}: {score.nats / math.log(2):.0f} bits a drawing")

# %% Look
# Test drawings; of each model samples, the likeliest continuation of the drawings' first six
# rows, and of the palette what it makes of one pixel in ten.
shown = [rgb.spec.to_float(rgb.test.batch(torch.arange(10))[0])]
for model, data in ((regressed, rgb), (chosen, palette)):
    given, _ = data.test.batch(torch.arange(10))
    observed = torch.zeros(data.spec.event_shape, dtype=torch.bool)
    observed[:, :6] = True
    drawn = [
        sim.sample(model, 10, seed=1).x,
        sim.sample(model, 10, top_k=1, start=(given, observed)).x,
    ]
    shown += [data.spec.to_float(x) for x in drawn]
few = mask(palette.spec.event_shape, "random:0.9", seed=2)
given, _ = palette.test.batch(torch.arange(10))
shown.append(palette.spec.to_float(sim.complete(chosen, given, few)[:, 0]))
files.save(grids.grid(torch.cat(shown), columns=10, scale=4, gap=3), arguments.out)
