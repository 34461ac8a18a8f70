"""What a model costs: its parameters, and the time that its samples take."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor

from simulacra.model import Model, Sampling, Swept
from simulacra.randomness import seeded


def parameters(model: Model) -> int:
    """Free numbers that were learnt: by gradients, and by sweeps."""
    learnt = sum(p.numel() for p in model.parameters())
    return learnt + (model.learnt if isinstance(model, Swept) else 0)


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
        _wait_for(device)
        while len(times) < repeats and sum(times) < 3:
            begun = time.perf_counter()
            model.sample(n, context)
            _wait_for(device)
            times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _wait_for(device: torch.device) -> None:
    """Let a GPU finish what it was given: calls return before it does."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
