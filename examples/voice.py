"""A voice that says what is asked for: WaveNet told a vowel and how high it is to be said.

python examples/voice.py --budget 5m --out voice.png
"""

import argparse
import math
import tempfile
from pathlib import Path

import torch

import simulacra as sim
from simulacra.data.formats.soundfiles import wav
from simulacra.drawing import charts, files

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--budget", default="5m", help="90s, 2000steps, 10epochs or 2Mobs")
parser.add_argument(
    "--out", default="voice.png", help="the picture to write; a .wav goes beside it"
)
arguments = parser.parse_args()

# %% Data
# Vowels made by code, as a voice makes them: pulses of the glottis, so many a second, through
# resonances of the mouth (formants, in Hz). A folder of recordings would be read the same way: the
# names of its files say what was said, and how high.
RATE, WINDOW = 4000, 1000
FORMANTS = {"a": (730, 1090), "i": (270, 1800), "u": (300, 870)}
PITCHES = {"low": 110, "high": 190}


def said(vowel: str, pitch: str) -> torch.Tensor:
    """A fifth of a second of a vowel, `(T,)` in [−1, 1]; no two are the same."""
    time = torch.arange(int(RATE * (0.16 + 0.08 * torch.rand(())))) / RATE
    hertz = PITCHES[pitch] * (1 + 0.08 * torch.randn(())) * (1 - 0.4 * time)
    pulses = (hertz.cumsum(0) / RATE).diff(prepend=torch.zeros(1)).cumsum(0).remainder(1) < 0.1
    echo = torch.arange(120) / RATE
    formants = torch.tensor(FORMANTS[vowel])[:, None]
    mouth = ((-60 * math.pi * echo).exp() * (2 * math.pi * formants * echo).sin()).sum(0)
    pulses, mouth = pulses[None, None].float(), mouth.flip(0)[None, None]
    sound = torch.nn.functional.conv1d(pulses, mouth, padding=119)[0, 0, : len(time)]
    loud = (time * 40).clamp_max(1) * ((time[-1] - time) * 20).clamp_max(1)
    return 0.8 * loud * sound / sound.abs().max() + 0.002 * torch.randn(len(time))


torch.manual_seed(0)
with tempfile.TemporaryDirectory() as folder:
    for number in range(40):
        for vowel in FORMANTS:
            for pitch in PITCHES:
                sound = said(vowel, pitch)[None].clamp(-1, 1)
                (Path(folder) / f"{vowel}_{pitch}_{number}.wav").write_bytes(wav(sound, RATE))
    data = sim.load_data(folder, labels="{vowel}_{pitch}_*", window=WINDOW)

# %% Model
# p(x) = Π p(x_t | x_<t): convolutions of two taps, 1, 2, 4 … 128 samples apart, tell each sample
# from the eighth of a second before it. Both parts of the label enter every gate.
torch.manual_seed(0)
model = sim.build("wavenet", data.spec, {"context": "label"})

# %% Train
# Samples are 256 levels of the μ-law: the loss is that of guessing the next one.
model = sim.fit(model, data, arguments.budget).cpu()
score = sim.likelihood(model, data.test, limit=12, class_frequencies=torch.full((6,), 1 / 6))
print(f"{score.marginal.nats / score.marginal.nats_per_unit:.2f} bits for each sample, of 8")

# %% Look
# Each vowel low and high, said by the data and by the model.
rows = [int((data.spec.joint(data.test.context) == label).nonzero()[0]) for label in range(6)]
real = data.spec.to_float(data.test.x[torch.tensor(rows)])
with torch.no_grad():
    drawn = data.spec.to_float(model.sample(6, data.spec.labels(torch.arange(6))))
both = torch.stack([real, drawn], 1).flatten(0, 1)
files.save(charts.waves(both, RATE, columns=2), arguments.out)
Path(arguments.out).with_suffix(".wav").write_bytes(wav(drawn, RATE))
print(f"rows: {'; '.join(data.class_names)}; left the data's, right the model's: {arguments.out}")
