"""What figures depend on beside the models: the data, and where they were measured."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path
from typing import Any

import torch

from simulacra.data.dataset import Dataset
from simulacra.ground.threads import usual
from simulacra.judging.figures.likelihood import valid_dims
from simulacra.judging.results import DataSummary, Machine
from simulacra.runs.record import versions


def data_summary(data: Dataset) -> DataSummary:
    """What all was measured on."""
    spec = data.spec
    return DataSummary(
        name=data.name,
        description=data.description,
        notes=tuple(data.notes),
        event_shape=tuple(spec.event_shape),
        levels=spec.levels,
        rate=spec.rate,
        valid=valid_dims(data.test),
        truth=_truth(data),
        classes=spec.classes,
        class_names=tuple(data.class_names),
        train=len(data.train),
        validation=len(data.validation),
        test=len(data.test),
        fingerprint=data.fingerprint,
    )


def summary(data: Dataset) -> list[Any]:
    """What figures depend on of some data, in a few values.

    Beside the observations themselves, which their fingerprint stands for, the names of classes,
    what varies together, and whether the true density is known.
    """
    groups = data.test.groups
    shared = None if groups is None else hashlib.sha256(groups.numpy().tobytes()).hexdigest()
    return [data.fingerprint, list(data.class_names), shared, data.density is not None]


def machine(device: torch.device | None) -> Machine:
    """Where it was measured; without a device, on the CPU."""
    return Machine(
        processor=_processor(),
        threads=usual(),
        device="cpu" if device is None else device.type,
        **versions(),
    )


def _truth(data: Dataset) -> float | None:
    """Mean log-density of the test split under what it was drawn from, if that is known."""
    if data.density is None:
        return None
    return float(data.density.log_prob(data.test.x[:]).mean())


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
