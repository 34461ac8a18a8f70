"""Mixture: a hundred blurred digits explain all others (gmm, by expectation–maximisation).

python examples/mixture.py --budget 30s --out mixture.png
"""

import argparse

import torch

import simulacra as sim
from simulacra.drawing import files, grids
from simulacra.tasks.complete import mask

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--budget", default="30s", help="half for EM at most")
parser.add_argument("--model", default="gmm", help="or bernoulli-mixture, for pixels of 2 levels")
parser.add_argument("--out", default="mixture.png", help="the picture to write")
arguments = parser.parse_args()

# %% Data
# 1,797 handwritten digits of 8×8 pixels come with scikit-learn. A pixel has one of 17 levels; the
# data stay these integers, so that a probability is a probability.
data = sim.load_data("digits", levels=2 if arguments.model == "bernoulli-mixture" else None)

# %% Model
# p(x) = Σ_k π_k Π_i P_k(x_i): a component is picked, then every pixel is drawn on its own. The
# probability of a level is a Gaussian integrated over its bin, or of two levels that of a coin, so
# the likelihood is exact.
torch.manual_seed(0)
model = sim.build(arguments.model, data.spec)

# %% Train
# Each sweep assigns the digits to components (E), then moves the components to their digits (M), in
# closed form. When a sweep gains nothing, gradient steps of `gmm` climb the likelihood itself, of
# whole bins, where EM climbs a bound that it can maximise.
model = sim.fit(model, data, budget=arguments.budget)
score = sim.likelihood(model, data.test).marginal
print(f"{score.relation} {score.bits_per_dim:.3f} ± {score.bits_standard_error:.3f} bits/dim")

# %% Look
# One row each of: the heaviest components' means; digits drawn from the model; and validation
# digits whose lower half was hidden and drawn again, which a mixture does exactly.
model = model.cpu()  # where the digits are: it may have learnt on a GPU
heaviest = model.mixing.shares.detach().argsort(descending=True)[:8]
means = model.means[heaviest].detach()
if data.spec.levels > 2:
    # those of a `gmm` are in units in which all levels together are [−1, 1)
    means = (means * model.scale + model.shift) / (data.spec.levels - 1)
means = means.clamp(0, 1).view(-1, *data.spec.event_shape)
samples = data.spec.to_float(sim.sample(model, 8).x)
truth, _ = data.validation.batch(torch.arange(8))
completed = sim.complete(model, truth, mask(data.spec.event_shape, "bottom"))[:, 0]
rows = [means, samples, data.spec.to_float(completed), data.spec.to_float(truth)]
files.save(grids.grid(torch.cat(rows), columns=8, scale=6, gap=3), arguments.out)
print(f"rows: means, samples, completions, truth: {arguments.out}")
