"""Judging: a copycat has the Fréchet distance of real data, and is caught.

python examples/judging.py --budget 10s --out judging.png
"""

import argparse

import torch

import simulacra as sim
from simulacra.drawing import files, grids

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--budget", default="10s", help="of the one honest model's training")
parser.add_argument("--out", default="judging.png", help="the picture to write")
arguments = parser.parse_args()

# %% Data
# Half of the test digits are the reference, the other half is judged as if a model had drawn it:
# that is the floor of every figure. Pixels drawn independently of one another are the ceiling.
data = sim.load_data("digits")
judge = sim.Judge(data)
bench = judge.samples

# %% Model
# Three models: a mixture that learns, pixels that know nothing of one another, and a copycat that
# returns training digits with one pixel in ten changed by a level.
torch.manual_seed(0)
mixture = sim.build("gmm", data.spec, {"components": 40})
copied = data.train.x[torch.randperm(len(data.train))[: bench.count]].long()
changed = (torch.rand(copied.shape) < 0.1) * torch.randint(-1, 2, copied.shape)
copied = (copied + changed).clamp(0, data.spec.levels - 1)

# %% Train
mixture = sim.fit(mixture, data, budget=arguments.budget)
samples = {
    "real": bench.real,
    "copycat": copied,
    "mixture": sim.sample(mixture, bench.count).x,
    "independent": bench.independent(),
}

# %% Look
# The Fréchet distance cannot tell the copycat from real data. C_T asks whether samples lie nearer
# to the training digits than held-out digits do (below −3 they do), membership whether they know
# which digits were trained on (above 4).
print(f"{bench.count} samples against as many, seen by {judge.views[0].extractor}")
print(f"{'':12}{'Fréchet distance':>24}{'C_T':>8}{'membership':>12}")
for name, x in samples.items():
    figures = judge.foreign(name, x).entry.samples
    frechet, c_t = (figures.figure("features", key) for key in ("frechet", "c_t"))
    # not in features that were learned from the training digits, to which these look special
    member = figures.figure("pixels", "membership")
    interval = f"{frechet.value:.2f} [{frechet.low:.2f}, {frechet.high:.2f}]"
    print(f"{name:12}{interval:>24}{c_t.value:8.1f}{member.value:12.1f}")
shown = torch.cat([x[:8] for x in samples.values()])
files.save(grids.grid(data.spec.to_float(shown), columns=8, scale=6, gap=3), arguments.out)
print(f"rows: {', '.join(samples)}: {arguments.out}")
