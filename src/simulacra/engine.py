"""The engine that trains: devices, precision and processes, by Lightning Fabric."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from datetime import timedelta

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from simulacra import processes
from simulacra.errors import ResourceError, UsageError
from simulacra.options import Options

PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others: the first one may be drawing pictures meanwhile."""


def make_fabric(options: Options, *, game: bool = False) -> Fabric:
    """The engine for a device and a precision, in as many processes as torchrun started.

    Args:
        options: `device` and `precision` are met here.
        game: Whether only a part of the parameters gets gradients in each turn.

    Raises:
        UsageError: If the machine lacks the device.
        ResourceError: If another process of the training is not there.
    """
    known = ("auto", "cpu", "cuda", "mps")
    if options.device not in known:
        raise UsageError(f"device is one of {', '.join(known)}, got {options.device!r}")
    available = {
        "auto": True,
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available[options.device]:
        raise UsageError(f"this machine or this build of torch has no {options.device}: use cpu")
    accelerator = options.device
    if accelerator == "auto":
        accelerator = "cuda" if available["cuda"] else "cpu"
    precision = {"32": "32-true", "bf16": "bf16-mixed"}[options.precision]
    if processes.count() == 1:
        return Fabric(accelerator=accelerator, devices=1, precision=precision)  # type: ignore[arg-type]
    # in one process of several, Fabric means by "devices" those of all processes of a machine
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    strategy = DDPStrategy(
        process_group_backend="nccl" if accelerator == "cuda" else "gloo",
        timeout=PATIENCE,
        find_unused_parameters=game,
        # masks and tables are buffers too, and are the same everywhere already
        broadcast_buffers=False,
    )
    # it announces itself
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    with together():
        fabric = Fabric(
            accelerator=accelerator,
            devices=here,
            num_nodes=processes.count() // here,
            strategy=strategy,
            precision=precision,  # type: ignore[arg-type]
        )
        fabric.launch()
    return fabric


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Say in a user's words that another process of the training was lost.

    Raises:
        ResourceError: Instead of what the communication raises.
    """
    try:
        yield
    except (RuntimeError, torch.distributed.DistError) as error:
        if processes.count() == 1 or not _lost(error):
            raise
        raise ResourceError(
            f"another of the {processes.count()} processes of this training ended or cannot be "
            "reached: start all of them again with `simulacra resume RUN`"
        ) from error


@torch.no_grad()
def follow_first(fabric: Fabric, *modules: torch.nn.Module) -> None:
    """Give every process the first one's weights and buffers."""
    if fabric.world_size == 1:
        return
    for module in modules:
        for value in module.state_dict().values():
            # a form of memory and a type that every backend takes
            sent = value.to(torch.uint8 if value.dtype == torch.bool else value.dtype).contiguous()
            torch.distributed.broadcast(sent, src=0)
            value.copy_(sent)


def _lost(error: Exception) -> bool:
    """Whether it is the communication that failed; gloo has no exception of its own."""
    text = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or any(
        word in text for word in ("gloo", "connection closed", "connection reset", "timed out")
    )
