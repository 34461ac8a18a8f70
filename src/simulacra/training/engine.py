"""The engine that trains: devices, precision and processes, by Lightning Fabric."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from simulacra.ground import processes
from simulacra.ground.errors import ResourceError, UsageError
from simulacra.models.game import Game
from simulacra.models.model import Model
from simulacra.models.modes import evaluating
from simulacra.training.options import Options

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others: the first one may be drawing pictures meanwhile."""


def make_fabric(options: Options) -> Fabric:
    """The engine for a device and a precision, in as many processes as torchrun started.

    Args:
        options: `device` and `precision` are met here.

    Raises:
        UsageError: If the machine lacks the device, or torchrun started processes that cannot
            train together.
        ResourceError: If another process of the training is not there.
    """
    # seconds to import, for which nobody waits who does not train
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    accelerator = device_of(options).type
    # what auto means is settled with the model at hand, see `settled`
    precision = {"auto": "32-true", "32": "32-true", "bf16": "bf16-mixed"}[options.precision]
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    if processes.count() == 1:
        return Fabric(accelerator=accelerator, devices=1, precision=precision)  # type: ignore[arg-type]
    # in one process of several, Fabric means by "devices" those of all processes of a machine
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    if accelerator == "mps":
        raise UsageError("mps trains in one process: start it without torchrun, or use cpu")
    if processes.count() % here:
        raise UsageError(
            f"every machine starts as many processes: {processes.count()} in all, {here} on this"
        )
    if accelerator == "cuda" and torch.cuda.device_count() < here:
        raise UsageError(
            f"{here} processes on this machine need a GPU each, it shows "
            f"{torch.cuda.device_count()}: start fewer, or use cpu"
        )
    _quieten()
    strategy = DDPStrategy(
        process_group_backend="nccl" if accelerator == "cuda" else "gloo",
        timeout=PATIENCE,
        # in a turn of a game, and in models with branches, some parameters get no gradient
        find_unused_parameters=True,
        # masks and tables are buffers too, and are the same everywhere already
        broadcast_buffers=False,
    )
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


def device_of(options: Options) -> torch.device:
    """The device that options name, or that `auto` means; nothing is started.

    Raises:
        UsageError: If the machine lacks it.
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
    kind = options.device
    if kind == "auto":
        kind = "cuda" if available["cuda"] else "cpu"
    if kind == "cpu":
        return torch.device(kind)
    # a GPU each for the processes of a machine, in order
    return torch.device(kind, int(os.environ["LOCAL_RANK"]) if processes.count() > 1 else 0)


def has_matrix_units(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 matrices by units made for that."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))


@torch.no_grad()
def settled(options: Options, model: Model, batch: tuple[Tensor, Tensor | None]) -> Options:
    """The options with a precision that is not `auto` any more.

    bfloat16 needs matrix units, gradients, and a validation loss, or scores of a game, whose
    differences between observations it keeps: of a new model the mean says nothing, for it is near
    that of independent values whatever the network does.

    Args:
        options: See `Options`.
        model: On its device, prepared.
        batch: A few observations and their context.
    """
    if options.precision != "auto":
        return options
    device = batch[0].device
    full = replace(options, precision="32")
    stage = model.stages[0]
    score = stage.validation_loss or model.validation_loss
    if isinstance(model, Game):
        # what both players learn from
        score = model.scores
    if stage.by_sweeps or not has_matrix_units(device) or len(batch[0]) < 2:
        # of one observation there is no spread to hold a difference against
        return full
    with evaluating(model):
        exact = score(*batch)
        with torch.autocast(device.type, torch.bfloat16):
            rounded = score(*batch)
    if exact is None or rounded is None:
        return full
    off = (rounded.double() - exact.double()).square().mean().sqrt()
    agrees = bool(off <= _AGREES * exact.double().std())
    return replace(options, precision="bf16") if agrees else full


def put_channels_last(model: Model) -> None:
    """Lay weights of convolutions out in the order that kernels of low precision are quick in.

    Those of four axes alone: to torch's `to`, a table of five is one too many.
    """
    for value in (*model.parameters(), *model.buffers()):
        if value.ndim == 4:
            value.data = value.data.to(memory_format=torch.channels_last)


_AGREES = 0.1
"""How far bfloat16 may move a validation loss, in standard deviations between observations."""


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
            f"another of the {processes.count()} processes of this training ended, or cannot be "
            "reached: if it does not say why, start all of them again with `simulacra resume RUN`"
        ) from error


def _quieten() -> None:
    """Leave out what the engine tells each process about itself."""
    # an option of DDP that newer versions of torch call otherwise; and where all parameters do get
    # gradients, which it need not have looked for
    for message in (".*broadcast_buffers", ".*find_unused_parameters"):
        warnings.filterwarnings("ignore", message=message)


def check_shared(options: Options, count: int) -> None:
    """Refuse batches that so many processes cannot share out.

    Raises:
        UsageError: If `accumulate` is not a multiple of their number.
    """
    if options.accumulate % count:
        raise UsageError(
            f"accumulate is shared out among processes: {options.accumulate} batches are not for "
            f"{count}; start another number of processes, or make the run with another --accumulate"
        )


def sum_over_processes(fabric: Fabric, values: Tensor) -> Tensor:
    """The sum of what every process has here; the values themselves stay as they are."""
    if fabric.world_size == 1:
        return values
    total = values.detach().to(fabric.device, copy=True)
    torch.distributed.all_reduce(total)
    return total.to(values.device)


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
