"""How much memory a training needs: foreseen, and at its peak, beyond what was in use before."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from simulacra.data.dataset import Observations
from simulacra.ground import live, memory
from simulacra.ground.errors import ResourceError
from simulacra.ground.randomness import seeded
from simulacra.models.model import Model
from simulacra.models.modes import evaluating
from simulacra.models.sizes import TRAINED, held
from simulacra.training.engine import device_of
from simulacra.training.options import Options

STATUS = Path("/proc/self/status")
"""Where Linux says how much memory this process has."""
_RESET = Path("/proc/self/clear_refs")


class PeakMemory:
    """The highest growth of this process's memory, or of a GPU's, from here on.

    On the CPU it is the growth over what the process had here: what was loaded before, torch's
    own libraries among it, is not in it, nor are files that are mapped into memory, such as the
    code that a first call reads. Unused memory is handed back to the system first: else what
    another training left free would be used again, and seem to be no growth at all. On a GPU it
    is the growth of torch's own allocations.

    The system keeps one peak for the whole process, and making a second `PeakMemory` begins it
    anew for the first one too.

    Args:
        device: Where the memory is.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        gc.collect()
        self._before: int | None = None
        if device.type == "cuda":
            torch.cuda.init()
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
        elif device.type == "cpu":
            _hand_back()
            self._before = _begin_anew()

    def growth(self) -> int | None:
        """Bytes at the peak so far, beyond those at the beginning; `None` where no one counts."""
        if self._before is None:
            return None
        peak: int | None
        if self.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self.device)
        else:
            peak = _own("VmHWM")
        return None if peak is None else max(0, peak - self._before)


def check_room(model: Model, observations: Observations, options: Options) -> None:
    """Refuse a training whose batches memory has no room for.

    What one observation takes in a step, forwards and back, is counted on one, and on a second one
    if so many might not fit. A GPU has memory of its own, and says itself what it lacks.

    Args:
        model: That is to learn, on the CPU.
        observations: Of its training.
        options: Of its training.

    Raises:
        ResourceError: Saying how much a batch needs, and which smaller one fits as often as makes
            up for it.
    """
    room, batch = memory.free(), min(options.batch, len(observations))
    stage = next((stage for stage in model.stages if stage.turns), None)
    if stage is None or model.classes_in_batch is not None:
        return
    if room is None or device_of(options).type != "cpu":
        return
    # the weights are there already, and gradients are counted with the step
    free = _USED * room - (TRAINED - 2) * held(model)
    x, context = observations.batch(torch.arange(min(2, batch)))
    told = None if model.context == "none" else context
    step = partial(_steps, model, stage.turns, x, told)
    try:
        with seeded(options.seed), evaluating(model), torch.enable_grad():
            one = live.history(partial(step, 1))
            if _MARGIN * max(one) * batch <= free or len(x) < 2:
                return
            moments = live.of_rows(one, live.history(partial(step, 2)))
    except Exception:
        # a loss that fails does so in the training too, which is where it is told
        return

    def needed(rows: int) -> float:
        return max(first + _MARGIN * more * (rows - 1) for first, more in moments)

    if needed(batch) <= free:
        return
    for parts in range(2, batch + 1):
        size = math.ceil(batch / parts)
        if needed(size) <= free:
            fits = f"--batch {size} --accumulate {options.accumulate * parts} fits"
            break
    else:
        fits = "not even --batch 1 fits: take a smaller model, side, window or number of levels"
    there = memory.amount(max(0, free))
    raise ResourceError(
        f"a batch of {batch} needs {memory.amount(needed(batch))} of memory, "
        f"beside the weights {there} are free: {fits}"
    )


def _steps(
    model: Model, turns: tuple[str, ...], x: Tensor, context: Tensor | None, rows: int
) -> None:
    """The gradients of each turn's loss of the first rows, which nobody keeps."""
    own = [each for each in model.parameters() if each.requires_grad]
    told = None if context is None else context[:rows]
    for turn in dict.fromkeys(turns):
        loss = model.loss(x[:rows], told, turn=turn)["loss"]
        if loss.requires_grad:
            torch.autograd.grad(loss, own, allow_unused=True)


_USED = 0.9
"""Of what is free; the rest is for what a training loads, and for its data."""
_MARGIN = 1.5
"""Kernels take room of their own while they run, and memory that is freed is not all used again."""


def _hand_back() -> None:
    """Give freed memory back to the system, where the C library can (glibc)."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _begin_anew() -> int | None:
    """Forget the peak, and say what is in memory now; `None` where the system cannot forget."""
    try:
        _RESET.write_text("5")
    except OSError:
        return None
    return _own("VmRSS")


def _own(field: str) -> int | None:
    """Bytes of a field of `STATUS`, without mapped files, of which only the present is known."""
    try:
        lines = STATUS.read_text().splitlines()
        kib = {name: int(text.split()[0]) for name, _, text in (row.partition(":") for row in lines)
               if name in (field, "RssFile")}  # fmt: skip
        return 1024 * (kib[field] - kib["RssFile"])
    except (OSError, KeyError):
        return None
