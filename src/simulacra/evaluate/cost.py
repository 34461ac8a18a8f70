"""What a model costs: its parameters, and the time that its samples take."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor

from simulacra.model import Model, Sampling
from simulacra.randomness import seeded


def parameters(model: Model) -> int:
    """Numbers that were learnt: parameters, and what sweeps estimate."""
    learnt = sum(p.numel() for p in model.parameters())
    if not model.turns:
        learnt += sum(b.numel() for b in model.buffers() if b.ndim)
    return learnt


def sampling_seconds(
    model: Sampling, n: int, context: Tensor | None = None, *, repeats: int = 5
) -> float:
    """Median seconds that drawing n samples at once takes, after one draw to warm up.

    Args:
        model: In eval mode.
        n: Samples at once.
        context: One row for each.
        repeats: Timed draws; fewer if they are slow.
    """
    device = next(iter(model.state_dict().values())).device
    times: list[float] = []
    with seeded(0), torch.no_grad():
        model.sample(n, context)
        while len(times) < repeats and sum(times) < 3:
            begun = time.perf_counter()
            model.sample(n, context)
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - begun)
    return statistics.median(times)
