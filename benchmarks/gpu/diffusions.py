"""What a step of a diffusion takes, a call of its network, and a sample: compiled, in halves."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from functools import partial

import torch

from benchmarks import work
from benchmarks.figures.rows import PICTURED
from benchmarks.gpu.board import Figure, Place
from benchmarks.gpu.learning import PRECISIONS
from benchmarks.measure import measure
from simulacra.ground.randomness import seeded
from simulacra.models.diffusion.base import Diffusion
from simulacra.models.registry import build, find
from simulacra.training.compiling import compiled
from simulacra.training.options import Options

ROUNDS = 5
"""Readings of each time, fewer where time is short."""
CALLS = (1, 64, 1024)
"""Batches of a call of the network."""


def speeds(place: Place) -> Iterator[Figure]:
    """Steps of a training, calls of the network and samples; what is compiled comes last."""
    fast = place.device.type == "cuda"
    side, batch = (28, 256) if fast else (8, 16)
    # a CPU's compiler takes a minute for each
    ways = [(False, precision) for precision in PRECISIONS]
    ways += [(True, precision) for precision in PRECISIONS] if fast else []
    of = f"{PICTURED}, {side}×{side}"
    for compiles, precision in ways:
        way = f"{PRECISIONS[precision]}{', compiled' * compiles}"
        steps = {"step": _step(side, batch, precision, place, compiles=compiles)}
        read = measure(steps, ROUNDS, clock=place.clock, until=place.until)["step"]
        yield Figure(f"{of}, step of {batch}, {way}", 1000 * statistics.median(read), "ms")
        model = _model(side, place)
        network = compiled(model.network.forward) if compiles else model.network
        for n in CALLS[: None if fast else 2]:
            calls = {"call": _half(precision, place, partial(_call, model, network, n))}
            read = measure(calls, ROUNDS, clock=place.clock, until=place.until)["call"]
            yield Figure(f"{of}, call of {n}, {way}", 1000 * statistics.median(read), "ms")
            if place.left <= 0:
                return
    model, n = _model(side, place), CALLS[-1] if fast else 4
    for precision, way in PRECISIONS.items():
        draws = {"draw": _half(precision, place, work.sample(model, n))}
        read = measure(draws, 1, clock=place.clock, until=place.until)["draw"]
        unit = f"samples/s of {model.sampling_steps} calls"
        yield Figure(f"{of}, {n:,} at once, {way}", n / statistics.median(read), unit)
        if place.left <= 0:
            return


def _model(side: int, place: Place) -> Diffusion:
    with seeded(0):
        model = build(PICTURED, work.form(find(PICTURED), side)).to(place.device).eval()
    assert isinstance(model, Diffusion)
    return model


def _step(
    side: int, batch: int, precision: str, place: Place, *, compiles: bool
) -> Callable[[], object]:
    """A step of the training loop."""
    of = work.Work(PICTURED, side, batch, place.device)
    options = Options(
        batch=batch, lr=1e-12, device=place.device.type, precision=precision, compile=compiles,  # type: ignore[arg-type]
    )  # fmt: skip
    return work.loop(of.model, of.x, options)


@torch.no_grad()
def _call(model: Diffusion, network: Callable[..., object], n: int) -> None:
    """The network's answer about n pictures, at the same time for all."""
    device, spec = model.shift.device, model.spec
    z = torch.zeros(n, *spec.event_shape, device=device)
    network(z, torch.full((n,), 0.5, device=device), z.new_zeros(n, 0))


def _half(precision: str, place: Place, job: Callable[[], object]) -> Callable[[], object]:
    """The same, within autocast where it is bf16."""

    def run() -> None:
        with torch.autocast(place.device.type, torch.bfloat16, enabled=precision == "bf16"):
            job()

    return run
