"""Adversarial: a generator learns to fool an opponent, told which digit to draw (gan, r3gan …).

python examples/adversarial.py --budget 60s --out adversarial.png
"""

import argparse

import torch

import simulacra as sim
from simulacra.drawing import files, grids

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--budget", default="60s", help="90s, 2000steps, 10epochs or 2Mobs")
parser.add_argument("--model", default="gan", help="or dcgan, lsgan, wgan-gp, sngan, r3gan")
parser.add_argument("--out", default="adversarial.png", help="the picture to write")
arguments = parser.parse_args()

# %% Data
# Handwritten digits of 8×8 pixels and 17 levels, which come with scikit-learn, and their labels.
data = sim.load_data("digits")

# %% Model
# G maps a random code and a label to a digit; its opponent scores how real a digit is. With
# context="label" both players are told the label: without, a code stands for whichever digit it
# happens to become. There is no p(x) here: `sim.likelihood` refuses, and the samples are all there
# is to judge.
torch.manual_seed(0)
model = sim.build(arguments.model, data.spec, {"context": "label"})

# %% Train
# Two players move in turn, each on its own batch; of gan D minimises −log D(x) − log(1 − D(G(z))),
# and G −log D(G(z)). The options that suit a model, its `preset`, keep the players together: less
# momentum, no decay of the learning rate and no clipping.
model = sim.fit(model, data, arguments.budget)

# %% Look
# One column for each label. The rows below the line of real digits share their code, so that a row
# shows what the label alone changes.
labels = torch.arange(10)
real = torch.stack([data.train.x[data.train.context == label][0] for label in labels])
model = model.cpu()  # where the digits are: it may have learnt on a GPU
with torch.no_grad():
    codes = model.prior(5).repeat_interleave(10, dim=0)
    drawn = model.decode(codes, labels.repeat(5))
rows = data.spec.to_float(torch.cat([real.long(), drawn]))
files.save(grids.grid(rows, columns=10, scale=6, gap=3), arguments.out)
print(f"rows: real digits, then five codes with each label: {arguments.out}")
