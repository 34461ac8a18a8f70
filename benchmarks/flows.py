"""`python -m benchmarks.flows`: our flows beside those of other packages, at equal architecture.

Training steps and samples in interleaved rounds, all with one thread and in one process. The other
packages are for this alone: `pip install zuko==1.6.0 nflows==0.14 normflows==1.7.3`, best in an
environment of their own. What is not installed, and a model of ours that is not there, is told.
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
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import work
from benchmarks.bench import threads, to_stderr
from benchmarks.machine import describe
from benchmarks.measure import measure, ratio
from benchmarks.peers import Peer, Wrapped
from benchmarks.table import NONE, seconds, table
from simulacra.ground.errors import SimulacraError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.model import Model, Sampling
from simulacra.models.registry import build

OURS = "simulacra"


class Drawn(Wrapped, Sampling):
    """Another package's flow.

    Args:
        spec: Vectors or pictures.
        network: What has the parameters.
        score: A scalar to be minimised.
        draw: So many samples.
    """

    def __init__(
        self, spec: DataSpec, network: nn.Module, score: Callable[[Tensor], Tensor],
        draw: Callable[[int], Any],
    ) -> None:  # fmt: skip
        super().__init__(spec, network, score)
        self.draw = draw

    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        """The package's own samples, in whatever form it has them."""
        drawn: Tensor = self.draw(n)
        return drawn


def _zuko_maf(sizes: Any) -> Model:  # noqa: ANN401 (a spec and keywords)
    flow = importlib.import_module("zuko.flows").MAF(
        sizes.spec.dims, transforms=sizes.transforms, hidden_features=sizes.hidden
    )
    return Drawn(sizes.spec, flow, lambda x: -flow().log_prob(x).mean(),
                 lambda n: flow().sample((n,)))  # fmt: skip


def _nflows_maf(sizes: Any) -> Model:  # noqa: ANN401
    # one block: it is a second layer behind a first, which has no activation of its own
    width, _ = sizes.hidden
    flow = importlib.import_module("nflows.flows").MaskedAutoregressiveFlow(
        sizes.spec.dims, width, sizes.transforms, 1, use_residual_blocks=False
    )
    return Drawn(sizes.spec, flow, lambda x: -flow.log_prob(x).mean(), flow.sample)


def _normflows(sizes: Any, block: Callable[[Any, int, int], list[nn.Module]]) -> Model:  # noqa: ANN401
    """Its example for CIFAR-10: squeeze, so many steps, half of the channels out, in each scale."""
    package = importlib.import_module("normflows")
    spec, scales = sizes.spec, sizes.scales
    channels, *sides = spec.event_shape
    bases, flows, merges = [], [], []
    # the innermost first
    for i in range(scales):
        width = channels * 2 ** (scales + 1 - i)
        each = [part for step in range(sizes.steps) for part in block(package.flows, width, step)]
        flows.append([*each, package.flows.Squeeze()])
        if i:
            merges.append(package.flows.Merge())
        left = channels * 2 ** (scales - i + (i == 0))
        side = [size // 2 ** (scales - i) for size in sides]
        bases.append(package.distributions.DiagGaussian((left, *side), trainable=False))
    flow = package.MultiscaleFlow(bases, flows, merges, class_cond=False)
    levels = spec.levels or 1

    def score(x: Tensor) -> Tensor:
        y = (x.float() + torch.rand(x.shape)) * (2 / levels) - 1
        loss: Tensor = flow.forward_kld(y)
        return loss

    return Drawn(spec, flow, score, lambda n: flow.sample(n)[0])


def _normflows_glow(sizes: Any) -> Model:  # noqa: ANN401
    return _normflows(sizes, lambda flows, width, _: [flows.GlowBlock(width, sizes.hidden)])


def _normflows_realnvp(sizes: Any) -> Model:  # noqa: ANN401
    def block(flows: Any, width: int, step: int) -> list[nn.Module]:  # noqa: ANN401 (its module)
        # half of the channels moves the other one, by turns
        network = _Residual(width // 2, sizes.hidden, width, sizes.blocks)
        split = ("channel", "channel_inv")[step % 2]
        # in this order: to a log-determinant that is one for all rows it cannot add others
        return [
            flows.ActNorm((width, 1, 1)),
            flows.AffineCouplingBlock(network, split_mode=split),
        ]

    # ours has so many of each kind
    doubled = SimpleNamespace(**{**vars(sizes), "steps": 2 * sizes.steps})
    return _normflows(doubled, block)


class _Residual(nn.Module):
    """The layers of `realnvp`'s networks, which normflows has none like, as one writes them."""

    def __init__(self, inputs: int, hidden: int, outputs: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, hidden, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(), nn.Conv2d(hidden, hidden, 3, padding=1),
                nn.ReLU(), nn.Conv2d(hidden, hidden, 1),
            )
            for _ in range(blocks)
        )  # fmt: skip
        self.last = nn.Conv2d(hidden, outputs, 1)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h)
        y: Tensor = self.last(torch.relu(h))
        return y


@dataclass(frozen=True)
class Case:
    """A flow of ours beside others of the same architecture.

    Args:
        ours: Its name in the registry.
        spec: What it learns from.
        keywords: Its sizes.
        batch: Of a training step.
        samples: Drawn at once.
        peers: Made of these sizes.
    """

    ours: str
    spec: DataSpec
    keywords: Mapping[str, Any]
    batch: int
    samples: int
    peers: tuple[Peer, ...]

    @property
    def sizes(self) -> SimpleNamespace:
        """The spec and the keywords, as attributes."""
        return SimpleNamespace(spec=self.spec, **self.keywords)


_VECTORS, _PICTURES = DataSpec((784,), levels=None), DataSpec((3, 32, 32), levels=256)
_LARGE = {"scales": 3, "hidden": 256, "coupling": "affine", "dequantisation": "uniform"}
CASES = (
    Case("maf", _VECTORS, {"transforms": 5, "hidden": (512, 512)}, 128, 64,
         (Peer("zuko", "maf", None, _zuko_maf), Peer("nflows", "maf", None, _nflows_maf))),
    Case("glow", _PICTURES, {**_LARGE, "steps": 16}, 16, 16,
         (Peer("normflows", "glow", 256, _normflows_glow),)),
    # 16 couplings in each scale too
    Case("realnvp", _PICTURES, {**_LARGE, "steps": 8, "blocks": 1}, 16, 16,
         (Peer("normflows", "realnvp", 256, _normflows_realnvp),)),
)  # fmt: skip


def _batch(case: Case, seed: int) -> Tensor:
    if case.spec.levels is not None:
        return work.pictures(case.spec, case.batch, seed)
    with seeded(seed):
        return torch.randn(case.batch, *case.spec.event_shape)


def compare(case: Case, rounds: int, seed: int) -> dict[str, Any]:
    """Ours and its peers in the same rounds.

    Args:
        case: Which.
        rounds: Readings of each.
        seed: Of weights and data.

    Returns:
        `ours` and its sizes; and `rows`, each with its `package` and `version`, and `missing` or
        `parameters`, `step` and `sample` (seconds), and as many times ours `steps` and `samples`.
    """
    models: dict[str, Model] = {}
    rows: list[dict[str, Any]] = [{"package": OURS, "version": ""}]
    x = _batch(case, seed)
    with seeded(seed):
        try:
            models[OURS] = build(case.ours, case.spec, dict(case.keywords))
            models[OURS].prepare(x)
        except SimulacraError as error:
            rows[0]["missing"] = str(error)
        for peer in case.peers:
            made = peer.make(case.sizes)  # type: ignore[arg-type]
            rows.append({"package": peer.package, "version": peer.version})
            if isinstance(made, str):
                rows[-1]["missing"] = made
            else:
                models[peer.package] = made
    tasks: dict[tuple[str, str], Callable[[], object]] = {}
    for name, model in models.items():
        assert isinstance(model, Sampling)
        tasks[name, "step"] = work.step(model, x)
        tasks[name, "sample"] = work.sample(model, case.samples)
    readings = measure(tasks, rounds) if tasks else {}
    for row in rows:
        name = row["package"]
        if name not in models:
            continue
        row["parameters"] = sum(p.numel() for p in models[name].parameters())
        for job in ("step", "sample"):
            row[job] = statistics.median(readings[name, job])
            if OURS in models:
                row[f"{job}s"] = ratio(readings[name, job], readings[OURS, job])
    told = {key: list(v) if isinstance(v, tuple) else v for key, v in case.keywords.items()}
    return {"ours": case.ours, "keywords": told, "batch": case.batch, "samples": case.samples,
            "rows": rows}  # fmt: skip


def markdown(report: Mapping[str, Any]) -> str:
    """All cases as tables; above 1, ours is faster."""
    parts = [", ".join(f"{key} {value}" for key, value in report["machine"].items())]
    for each in report["cases"]:
        sizes = ", ".join(f"{key}={value}" for key, value in each["keywords"].items())
        parts.append(f"### {each['ours']}({sizes})")
        head = ("package", "parameters", f"step, batch {each['batch']}", "÷ ours",
                f"{each['samples']} samples", "÷ ours")  # fmt: skip
        parts.append(table(head, (_cells(row) for row in each["rows"])))
    return "\n\n".join(parts) + "\n"


def _cells(row: Mapping[str, Any]) -> list[str]:
    name = f"{row['package']} {row['version']}".strip()
    if "missing" in row:
        return [name, row["missing"], *[NONE] * 4]
    cells = [name, f"{row['parameters']:,}"]
    for job in ("step", "sample"):
        times = row.get(f"{job}s")
        cells += [seconds(row[job]), NONE if times is None else f"{times:.2f}"]
    return cells


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the tables, and write `flows.json`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.flows", description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    names = [case.ours for case in CASES]
    parser.add_argument("--models", default=",".join(names), help="of ours, separated by commas")
    parser.add_argument("--rounds", type=int, default=3, help="readings of each")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder of flows.json")
    given = parser.parse_args(arguments)
    wanted = given.models.split(",")
    if unknown := set(wanted) - set(names):
        parser.error(f"--models are of {', '.join(names)}, got {', '.join(sorted(unknown))}")
    if given.rounds < 1:
        parser.error(f"--rounds is at least 1, got {given.rounds}")
    given.out.mkdir(parents=True, exist_ok=True)
    cases = []
    with threads(1):
        for case in CASES:
            if case.ours in wanted:
                to_stderr(f"{case.ours} beside {', '.join(peer.package for peer in case.peers)}")
                cases.append(compare(case, given.rounds, given.seed))
        report = {"machine": describe(torch.device("cpu"), 1, given.seed),
                  "rounds": given.rounds, "cases": cases}  # fmt: skip
    (given.out / "flows.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
