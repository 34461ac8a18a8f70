"""Mixture: forty blurred digits explain all others (gmm, by expectation–maximisation).

python examples/mixture.py --budget 30s --out mixture.png
"""

import argparse

import torch

import simulacra as sim
from simulacra.drawing import files, grids
from simulacra.tasks.complete import mask

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--budget", default="30s", help="at most: EM ends when it has converged")
parser.add_argument("--out", default="mixture.png", help="the picture to write")
arguments = parser.parse_args()

# %% Data
# 1,797 handwritten digits of 8×8 pixels come with scikit-learn. A pixel has one of 17 levels; the
# data stay these integers, so that a probability is a probability.
data = sim.load_data("digits")

# %% Model
# p(x) = Σ_k π_k Π_i P_k(x_i): a component is picked, then every pixel is drawn on its own. The
# probability of a level is a Gaussian integrated over its bin, so the likelihood is exact.
torch.manual_seed(0)
model = sim.build("gmm", data.spec, {"components": 40})

# %% Train
# No gradients: each sweep assigns the digits to components (E), then moves the components to their
# digits (M). `fit` ends it when a sweep gains nothing.
model = sim.fit(model, data, budget=arguments.budget)
score = sim.likelihood(model, data.test).marginal
print(f"{score.relation} {score.bits_per_dim:.3f} ± {score.bits_standard_error:.3f} bits/dim")

# %% Look
# One row each of: the heaviest components' means; digits drawn from the model; and validation
# digits whose lower half was hidden and drawn again, which a mixture does exactly.
model = model.cpu()  # where the digits are: it may have learnt on a GPU
heaviest = model.log_weights.argsort(descending=True)[:8]
# level k is the bin [k, k + 1), so a mean of k + 1/2 is level k
means = ((model.means[heaviest] - 0.5) / (data.spec.levels - 1)).clamp(0, 1)
means = means.view(-1, *data.spec.event_shape)
samples = data.spec.to_float(sim.sample(model, 8).x)
truth, _ = data.validation.batch(torch.arange(8))
completed = sim.complete(model, truth, mask(data.spec.event_shape, "bottom"))[:, 0]
rows = [means, samples, data.spec.to_float(completed), data.spec.to_float(truth)]
files.save(grids.grid(torch.cat(rows), columns=8, scale=6, gap=3), arguments.out)
print(f"rows: means, samples, completions, truth: {arguments.out}")
