"""The engine that trains: devices and precision, by Lightning Fabric."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric

from simulacra.errors import UsageError
from simulacra.options import Options


def make_fabric(options: Options) -> Fabric:
    """The engine for a device and a precision.

    Raises:
        UsageError: If the machine lacks the device.
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
    return Fabric(accelerator=accelerator, devices=1, precision=precision)  # type: ignore[arg-type]
