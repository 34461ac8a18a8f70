"""Few labels: of 1,258 digits 50 have one (m2), and the others teach the classifier too.

python examples/few_labels.py --budget 30s --out few_labels.png
"""

import argparse

import torch

import simulacra as sim
from simulacra.drawing import files, grids

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--budget", default="30s", help="90s, 2000steps, 10epochs or 2Mobs")
parser.add_argument("--labelled", type=int, default=50, help="labels that are told")
parser.add_argument("--out", default="few_labels.png", help="the picture to write")
arguments = parser.parse_args()

# %% Data
# Handwritten digits of 8×8 pixels. Five labels of each class are told, all others are −1; those of
# the validation split are hidden too, for nothing is to be chosen by them.
data = sim.load_data("digits", labelled=arguments.labelled)

# %% Model
# p(x) = Σ p(y) ∫ p(z) p(x | y, z) dz. Where a label is told it is a VAE that is told it; where it
# is not, the bound is summed over the classes, as probable as a classifier q(y | x) takes them for.
torch.manual_seed(0)
model = sim.build("m2", data.spec)

# %% Train
# Each batch holds some of the labels. What chooses the best step is the loss without any.
model = sim.fit(model, data, arguments.budget).cpu()

# %% Look
# How many test digits does the classifier find? Then class and style apart: validation digits in
# the first column, and what the code of each stands for as every other class.
with torch.no_grad():
    x, labels = data.test.batch(torch.arange(len(data.test)))
    wrong = model.class_log_probabilities(x).argmax(1) != labels
print(f"{100 * wrong.float().mean():.1f} % of {len(x)} test digits are taken for others")
rows = sim.styles(model, *data.validation.batch(torch.arange(8)))
files.save(grids.grid(rows.flatten(0, 1), columns=11, scale=6, gap=3), arguments.out)
print(f"rows: a digit, and its style in all ten: {arguments.out}")
