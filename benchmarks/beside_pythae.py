"""`python -m benchmarks.beside_pythae`: training steps of our VAEs beside those of pythae.

The fully connected ones are `vae` with one hidden layer. The convolutional one is the network that
pythae brings for MNIST, layer for layer, of our layers (`nn/convolutions.py`) with our loss on
logits. Everything is timed in interleaved rounds of one process, with one thread, and with one
optimiser for both.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import work
from benchmarks.bench import threads, to_stderr
from benchmarks.machine import describe
from benchmarks.measure import measure, ratio
from benchmarks.peers import Peer, Wrapped, pythae
from benchmarks.table import seconds, table
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.model import Model
from simulacra.models.registry import build
from simulacra.nn.convolutions import Convolution, PictureNorm, TransposedConvolution

SPEC = DataSpec((1, 28, 28), levels=2)
LATENT = 16
WIDTHS = (128, 256, 512, 1024)


def layers() -> tuple[nn.Module, nn.Module]:
    """The encoder and the decoder of pythae's network for MNIST, of our layers."""
    down: list[nn.Module] = []
    for inputs, outputs in zip((1, *WIDTHS), WIDTHS, strict=False):
        down += [Convolution(inputs, outputs, 4, 2, 1), PictureNorm(outputs), nn.ReLU()]
    up: list[nn.Module] = []
    for inputs, outputs, more in ((1024, 512, 0), (512, 256, 1), (256, 1, 1)):
        up += [TransposedConvolution(inputs, outputs, 3, 2, 1, more)]
        up += [PictureNorm(outputs), nn.ReLU()] if outputs > 1 else []
    encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(1024, 2 * LATENT))
    return encoder, nn.Sequential(
        nn.Linear(LATENT, 1024 * 4 * 4), nn.Unflatten(1, (1024, 4, 4)), *up
    )


def negative_bound(networks: nn.Module, x: Tensor) -> Tensor:
    """−ELBO of black and white pictures under (encoder, decoder), nats, the mean of a batch."""
    encoder, decoder = networks.children()
    mean, log_variance = encoder(x).chunk(2, 1)
    z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
    distortion = functional.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
    rate = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
    return (distortion + rate) / len(x)


def _our_convolutions() -> Model:
    networks = nn.ModuleList(layers())
    return Wrapped(SPEC, networks, lambda x: negative_bound(networks, x.float()))


def _their_convolutions(ours: Any) -> Model:  # noqa: ANN401 (as all peers)
    models, mnist = map(
        importlib.import_module, ("pythae.models", "pythae.models.nn.benchmarks.mnist")
    )
    config = models.VAEConfig(
        input_dim=SPEC.event_shape, latent_dim=LATENT, reconstruction_loss="bce"
    )
    network = models.VAE(
        config, encoder=mnist.Encoder_Conv_VAE_MNIST(config),
        decoder=mnist.Decoder_Conv_AE_MNIST(config),
    )  # fmt: skip
    return Wrapped(ours.spec, network, lambda x: network({"data": x.float()}).loss)


def _connected(hidden: int) -> Callable[[], Model]:
    return lambda: build("vae", SPEC, {"encoder": "mlp", "hidden": (hidden,), "latent": 2})


@dataclass(frozen=True)
class Case:
    """Networks of one form.

    Args:
        name: Widths, or what the network is.
        ours: Makes our model.
        peer: Theirs.
    """

    name: str
    ours: Callable[[], Model]
    peer: Peer


CASES = (
    Case("784-256-2", _connected(256), Peer("pythae", "vae", 2, pythae)),
    Case("784-512-2", _connected(512), Peer("pythae", "vae", 2, pythae)),
    Case("convolutions", _our_convolutions, Peer("pythae", "vae", 2, _their_convolutions)),
)


def compare(case: Case, batch: int, rounds: int, seed: int) -> dict[str, Any]:
    """Both training steps in the same rounds.

    Returns:
        `name`, `parameters`, `step` (seconds) of ours; and `missing`, or `theirs` (parameters),
        `their_step` and `times`, which is their time divided by ours.
    """
    x = work.pictures(SPEC, batch, seed)
    with seeded(seed):
        ours = case.ours()
        ours.prepare(x)
        theirs = case.peer.make(ours)
    jobs = {"ours": work.step(ours, x)}
    if not isinstance(theirs, str):
        jobs["theirs"] = work.step(theirs, x)
    readings = measure(jobs, rounds)
    row = {"name": case.name, "parameters": _size(ours), "version": case.peer.version,
           "step": statistics.median(readings["ours"])}  # fmt: skip
    if isinstance(theirs, str):
        return row | {"missing": theirs}
    return row | {
        "theirs": _size(theirs), "their_step": statistics.median(readings["theirs"]),
        "times": ratio(readings["theirs"], readings["ours"]),
    }  # fmt: skip


def _size(model: Model) -> int:
    return sum(p.numel() for p in model.parameters())


def markdown(report: Mapping[str, Any]) -> str:
    """A row for each network; above 1, ours is faster."""
    head = ("network", "parameters", "pythae", "ours", "pythae ÷ ours")
    rows = [
        [row["name"], f"{row['parameters']:,}", row.get("missing") or seconds(row["their_step"]),
         seconds(row["step"]), "—" if "missing" in row else f"{row['times']:.2f}"]
        for row in report["cases"]
    ]  # fmt: skip
    return table(head, rows)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, and write `beside_pythae.json`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.beside_pythae",
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--batch", type=int, default=128, help="pictures in a step")
    parser.add_argument("--rounds", type=int, default=9, help="readings of each")
    parser.add_argument("--seed", type=int, default=0, help="of weights and pictures")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder of the figures")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    with threads(1):
        cases = []
        for case in CASES:
            to_stderr(case.name)
            cases.append(compare(case, given.batch, given.rounds, given.seed))
        report = {"machine": describe(torch.device("cpu"), 1, given.seed), "batch": given.batch,
                  "rounds": given.rounds, "cases": cases}  # fmt: skip
    (given.out / "beside_pythae.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
