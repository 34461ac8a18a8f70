"""How a model computes for a while: in evaluation; and scores, in all digits that it has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from simulacra.ground.threads import settled


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module and its parts into evaluation, and each back to what it was in.

    In a training not all parts need be in training: `module.train()` would wake those that rest.
    Outside of one, so many threads work as `threads.settled` says.
    """
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with settled():
            yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def scoring() -> Iterator[None]:
    """Compute as likelihoods are told: without gradients, and with all digits of each number.

    Inside, nothing is cast to fewer digits, and products of float32 are of float32: a GPU rounds
    the operands of its convolutions and recurrent layers to ten bits (TF32) unless it is told
    not to, and those of matrix products if a process asks for it, as a CPU does. Also a decorator.
    """
    # each of its own: torch's older switches refuse to be read where these differ
    of: Any = torch.backends
    switches = (
        of.cuda.matmul, of.cudnn.conv, of.cudnn.rnn,
        of.mkldnn.matmul, of.mkldnn.conv, of.mkldnn.rnn,
    )  # fmt: skip
    before = [switch.fp32_precision for switch in switches]
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(settled())
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        try:
            for switch in switches:
                switch.fp32_precision = "ieee"
            yield
        finally:
            for switch, value in zip(switches, before, strict=True):
                switch.fp32_precision = value
