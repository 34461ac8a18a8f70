"""`python -m benchmarks.gates`: what the gates and the second stack of a gated PixelCNN are worth.

`gated-pixelcnn` beside itself with rectifiers in place of gates, with one stack that has the blind
spot, and with both taken away; beside these `pixelcnn`, and two PixelRNNs. All have about as many
weights and learn from the same batches in the same order. Their loss is that of each validation
picture, so differences are paired. Each is shown at the better of the rates, for gates bear
larger ones. Rows that are in gates.json are not done again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from benchmarks.machine import describe
from benchmarks.table import table
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.ground.storage import write_json
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.autoregressive.gated_pixelcnn import GatedPixelCNN, gate
from simulacra.models.registry import build
from simulacra.nn.levels import input_channels
from simulacra.nn.masked_convolution import ConvAbove, MaskedConv2d, blind_pixels
from simulacra.training.fit import fit
from simulacra.training.options import Options


class Layer(nn.Module):
    """A layer of `gated-pixelcnn`, from which its gates, a stack, or both can be taken.

    Args:
        inputs: Channels that come in.
        channels: p.
        kernel_size: n of the n×n convolution.
        colours: Colours of a pixel, one after another.
        first: Whether the picture comes in, of which a pixel may not see itself.
        gated: tanh(a) ⊙ σ(b) of 2p features, or the rectifier of p.
        stacks: Two as in the paper of 2016, or one masked convolution.
    """

    def __init__(
        self, inputs: int, channels: int, kernel_size: int, colours: int,
        *, first: bool, gated: bool, stacks: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.first, self.activation = first, gate if gated else torch.relu
        gates = 2 if gated else 1
        wide = gates * channels
        self.above = stacks == 2
        if self.above:
            self.vertical = ConvAbove(inputs, wide, kernel_size, own=not first)
            self.across = nn.Conv2d(wide, wide, 1, bias=False)
        self.horizontal = MaskedConv2d(
            inputs, wide, kernel_size, mask="A" if first else "B", colours=colours,
            rows=0 if self.above else None, gates=gates,
        )  # fmt: skip
        self.out = MaskedConv2d(channels, channels, 1, mask="B", colours=colours, bias=False)

    def forward(self, v: Tensor, h: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        """Both stacks' features after the layer; of one stack the first stay as they are."""
        features = self.horizontal(h)
        if self.above:
            above = self.vertical(v)
            features = features + self.across(above)
            v = self.activation(above) if self.first else v + self.activation(above)
        y = self.out(self.activation(features))
        return v, y if self.first else h + y


class Ablated(GatedPixelCNN):
    """`gated-pixelcnn` of layers from which something was taken; nothing of it here.

    Args:
        spec: Pictures of integer levels.
        channels: p, the width of each stack.
        layers: Number of layers, the first one included.
        kernel_size: n of the layers after the first.
        first_kernel_size: n of the first layer, with mask A.
    """

    gated_layers: ClassVar[bool] = True
    stacks: ClassVar[int] = 2
    # fewer than the base has, whose number mypy takes for its type
    small = ({"channels": 6, "layers": 2, "first_kernel_size": 3},)  # type: ignore[assignment]

    def __init__(
        self, spec: DataSpec, *, channels: int = 64, layers: int = 10, kernel_size: int = 3,
        first_kernel_size: int = 7,
    ) -> None:  # fmt: skip
        super().__init__(
            spec, channels=channels, layers=layers, kernel_size=kernel_size,
            first_kernel_size=first_kernel_size,
        )  # fmt: skip
        layer = partial(
            Layer, channels=channels, colours=self.colours, gated=self.gated_layers,
            stacks=self.stacks,
        )  # fmt: skip
        self.gated = nn.ModuleList(
            [layer(input_channels(spec), kernel_size=first_kernel_size, first=True)]
            + [layer(channels, kernel_size=kernel_size, first=False) for _ in range(layers - 1)]
        )

    def blind_spot(self) -> Tensor:
        """Earlier pixels that no path of the layers reaches; see `Autoregressive.blind_spot`."""
        if self.stacks == 2:
            return super().blind_spot()
        first, *after = (layer.horizontal for layer in self.stack)
        return blind_pixels(self.spec.event_shape, first, [layer.spread for layer in after])

    def in_turn(self, canvas: Tensor, context: Tensor | None = None) -> Iterator[Tensor]:
        """The predictions by the whole network for each: the cached form knows gates alone."""
        return Autoregressive.in_turn(self, canvas, context)


class NoGates(Ablated):
    """Two stacks of rectified convolutions: no blind spot, and no gates."""

    gated_layers = False


class OneStack(Ablated):
    """One stack of gated masked convolutions, with the blind spot of `pixelcnn`."""

    stacks = 1


class Neither(Ablated):
    """One stack of rectified masked convolutions: `pixelcnn` but for the form of its blocks."""

    gated_layers, stacks = False, 1


OWN: dict[str, type[Ablated]] = {
    "no gates": NoGates, "one stack": OneStack, "neither": Neither,
}  # fmt: skip
LAYERS = {"pixelcnn": 8, "row-lstm": 4, "diagonal-bilstm": 4}
"""Where not those that are asked for: a block has a masked convolution beside the first one, and
an LSTM sees far without many."""
ROWS = ("gated-pixelcnn", *OWN, *LAYERS)
KEPT_OUT = ("rows", "rates", "seeds", "out", "data_dir")
"""What may be asked otherwise, and the table is the same."""


def weights(model: nn.Module) -> int:
    """How many weights it has that no mask hides."""
    hidden = sum(
        int((~part.mask).sum()) for part in model.modules() if isinstance(part, MaskedConv2d)
    )
    return sum(p.numel() for p in model.parameters()) - hidden


def sized(row: str, spec: DataSpec, count: int, layers: int) -> Autoregressive:
    """A model with about so many weights: of the width that comes nearest."""

    def made(channels: int) -> Autoregressive:
        keywords = {"channels": channels, "layers": LAYERS.get(row, layers)}
        model = OWN[row](spec, **keywords) if row in OWN else build(row, spec, keywords)
        assert isinstance(model, Autoregressive)
        return model

    low, high = 2, 3
    while weights(made(high)) < count:
        low, high = high, high + 1
    return made(min((low, high), key=lambda width: abs(weights(made(width)) - count)))


@torch.no_grad()
def scored(model: Autoregressive, data: Dataset, most: int) -> list[float]:
    """Nats of the first validation pictures, each."""
    found = []
    for rows in torch.arange(min(most, len(data.validation))).split(200):
        x, _ = data.validation.batch(rows)
        found += (-model.log_likelihood(x)).double().tolist()
    return found


def measure(
    row: str, lr: float, seed: int, data: Dataset, given: argparse.Namespace
) -> dict[str, Any]:
    """A row: a model of that seed, its weights, its loss, and seconds of a processor."""
    with seeded(seed):
        model = sized(row, data.spec, given.weights, given.layers)
    blind, size = model.blind_spot(), weights(model)
    pairs = len(blind) * (len(blind) - 1) / 2
    begun = time.process_time()
    options = Options(batch=given.batch, lr=lr, seed=seed, device="cpu")
    trained = fit(model, data, f"{given.steps}steps", options)
    assert isinstance(trained, Autoregressive)
    return {
        "row": row, "lr": lr, "seed": seed, "channels": model.keywords["channels"], "weights": size,
        "layers": model.keywords["layers"], "blind": float(blind.sum()) / pairs,
        "seconds": time.process_time() - begun,
        "nats": [round(nats, 4) for nats in scored(trained, data, given.pictures)],
    }  # fmt: skip


def difference(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> tuple[float, float]:
    """How much more nats the second need, and half of the 95 % interval over pictures.

    Args:
        pairs: Nats of each picture, of both, a pair for each seed.
    """
    gaps = torch.tensor([[b - a for a, b in zip(*pair, strict=True)] for pair in pairs]).mean(0)
    return float(gaps.mean()), 1.96 * float(gaps.std()) / math.sqrt(len(gaps))


def at_its_best(rows: Sequence[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """What one model has at that learning rate which is best in the mean over seeds, by seed."""
    rates: dict[float, dict[int, Mapping[str, Any]]] = {}
    for each in rows:
        rates.setdefault(each["lr"], {})[each["seed"]] = each
    return min(rates.values(), key=lambda seeds: statistics.mean(map(_mean, seeds.values())))


def _mean(row: Mapping[str, Any]) -> float:
    return statistics.mean(row["nats"])


def markdown(report: Mapping[str, Any]) -> str:
    """The rows as a table, each beside the first of the same seeds."""
    m, asked, rows = report["machine"], report["asked"], report["rows"]
    found = {name: [each for each in rows if each["row"] == name] for name in ROWS}
    best = {name: at_its_best(each) for name, each in found.items() if each}
    whole, lines = best.get(ROWS[0], {}), []
    for name, seeds in best.items():
        one = next(iter(seeds.values()))
        both = [(whole[s]["nats"], each["nats"]) for s, each in seeds.items() if s in whole]
        more = "" if name == ROWS[0] or not both else "{:+.2f} ± {:.2f}".format(*difference(both))
        others = sorted((each["lr"], each["seed"], _mean(each)) for each in found[name])
        lines.append([
            name if name in OWN else f"`{name}`", str(one["channels"]), f"{one['weights']:,}",
            f"{one['blind']:.0%}", f"{statistics.mean(map(_mean, seeds.values())):.2f}", more,
            f"{one['lr']:g}", ", ".join(f"{nats:.2f} ({lr:g})" for lr, _, nats in others),
            f"{statistics.mean(e['seconds'] for e in seeds.values()):.0f} s",
        ])  # fmt: skip
    head = ("model", "width", "weights", "blind", "nats", "more", "rate", "each", "of a core")
    return "\n\n".join([
        table(head, lines),
        f"{asked['data']}, {asked['pictures']} validation pictures; {asked['steps']} steps of "
        f"{asked['batch']}; {m['cpu']}, {m['threads']} thread, torch {m['torch']}, "
        f"{m['date'][:10]}.",
    ])  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing, and print what is there."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gates", description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("--data", default="mnist", help="pictures")
    add("--data-dir", help="where their files are")
    add("--side", type=int, default=12, help="height and width of the pictures")
    add("--levels", type=int, default=2, help="quantise to so many")
    add("--rows", default=",".join(ROWS), help="what is measured, with commas between")
    add("--layers", type=int, default=9, help="of the gated network and what is made of it")
    add("--weights", type=int, default=20_000, help="of each, about")
    add("--steps", type=int, default=1200, help="of each training")
    add("--batch", type=int, default=16, help="pictures in a step")
    add("--rates", default="2e-3,6e-3,1.2e-2", help="learning rates, with commas between")
    add("--seeds", type=int, default=1, help="how many, from 0 on")
    add("--pictures", type=int, default=2000, help="of the validation split, at most")
    add("--out", type=Path, default=Path("bench"), help="folder of gates.json")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    # what was asked otherwise is another table
    asked = {k: v for k, v in vars(given).items() if k not in KEPT_OUT}
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "gates.json"
    report = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    if report.get("asked") != asked:
        report = {"asked": asked, "rows": []}
    report["machine"] = describe(torch.device("cpu"), 1, 0)
    kept = {(each["row"], each["lr"], each["seed"]) for each in report["rows"]}
    data = load(given.data, data_dir=given.data_dir, side=given.side, levels=given.levels)
    rates = [float(each) for each in given.rates.split(",")]
    # seed by seed, so that what is stopped has some of each
    for seed, lr, row in product(range(given.seeds), rates, given.rows.split(",")):
        if (row, lr, seed) in kept:
            continue
        report["rows"].append(measure(row, lr, seed, data, given))
        write_json(path, report)
        shown = report["rows"][-1]
        print({**shown, "nats": statistics.mean(shown["nats"])}, file=sys.stderr, flush=True)
    print(markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
