"""Portraits: new pictures of somebody who was never seen in training, from one of them.

python examples/portraits.py --budget 3m --out portraits.png
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

import simulacra as sim
from simulacra.drawing import files, grids
from simulacra.tasks.interpolate import walk

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--budget", default="3m", help="of each of both: 90s, 2000steps, 10epochs")
parser.add_argument("--out", default="portraits.png", help="the picture to write")
arguments = parser.parse_args()
folder = tempfile.TemporaryDirectory()
place = Path(folder.name)

# %% Data
# 300 persons drawn by code, 8 pictures of each: a person is a head, hair, eyes and a mouth of one's
# own; a picture has its light and its place. A person is a group, which never spans two splits.
rng = np.random.default_rng(0)
person = np.repeat(np.arange(300), 8)
own, pose = rng.random((300, 8))[person, :, None, None], rng.random((2400, 4))[..., None, None]
y, x = np.mgrid[-1:1:16j, -1:1:16j][:, None] + 0.15 * (pose[:, :2] - 0.5).swapaxes(0, 1)
width, skin, line, hair, apart, at, mouth, smile = own.swapaxes(0, 1)
head = (x / (0.55 + 0.35 * width)) ** 2 + (y / 0.95) ** 2 < 1
face = np.where(head, 0.5 + 0.4 * skin, 0.05)
face = np.where(head & (y < -0.75 + 0.5 * line), 0.15 + 0.6 * hair, face)
face -= 0.6 * np.exp(-(((abs(x) - 0.2 - 0.25 * apart) ** 2 + (y + 0.25 * at) ** 2) / 0.012))
curve = y - 0.45 - 0.2 * mouth + (smile - 0.5) * 0.8 * (x**2 - 0.05)
face -= 0.5 * np.exp(-((curve / 0.1) ** 2) - (x / 0.35) ** 4)
face += 0.2 * (pose[:, 2] - 0.5) + 0.25 * (pose[:, 3] - 0.5) * x
levels = np.clip(face * 8, 0, 7).astype(np.uint8)[:, None]
np.savez(place / "persons.npz", x=levels, person=person)
data = sim.load_data(str(place / "persons.npz"), levels=8, groups="person")

# %% Model
# What encodes a picture learns first; its codes are all that the other one is told of a person.
torch.manual_seed(0)
options = sim.Options(device="cpu")
encoder = sim.Run.create(
    place / "encoder", model="triplet", keywords={}, data=data, options=options,
    budget=sim.Budget.parse(arguments.budget),
)  # fmt: skip

# %% Train
encoder.train(data)
told = encoder.tell(data)
folder.cleanup()
model = sim.build("gated-pixelcnn", told.spec, {"channels": 24, "layers": 6, "context": "vector"})
options = sim.Options(**type(model).preset)
model = sim.fit(model, told, arguments.budget, options=options)

# %% Look
# Five persons of the test split: a picture, and what is drawn from it. Below, from one to another.
_, rows = np.unique(data.test.groups, return_index=True)
given, vectors = told.test.batch(torch.from_numpy(rows[:6]))
drawn = sim.sample(model, context=vectors[:5].repeat_interleave(9, 0)).x.unflatten(0, (5, 9))
pictures = torch.cat([given[:5, None], drawn], 1)
way = walk(model, (vectors[:1], vectors[5:]), steps=8)
pictures = torch.cat([pictures, torch.cat([given[:1, None], way, given[5:, None]], 1)])
shown = data.spec.to_float(pictures.flatten(0, 1))
files.save(grids.grid(shown, columns=10, scale=3, gap=3), arguments.out)
print(f"rows: a picture and others like it; last, a way between two persons: {arguments.out}")
